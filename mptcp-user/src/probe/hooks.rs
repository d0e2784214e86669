//! Where programs are attached: XDP, TCX, clsact.
//!
//! What is attached is asked of the kernel, not of a note: a program is ours if it counts into our
//! map. So a loader that was killed at any moment leaves nothing that the next one does not find.

use std::{
    ffi::CString,
    mem,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    programs::{
        LinkOrder, ProgramInfo, SchedClassifier, TcAttachType, Xdp, XdpMode,
        links::{FdLink, Link as _, LinkType},
        loaded_links, loaded_programs,
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions},
        xdp::XdpLink,
    },
    util::KernelVersion,
};
use mptcp_common::counter::Role;
use nix::libc;

use super::{
    network::{Filter, Interface, LinkLayer, Network},
    pins::{Directory, InterfacePins},
};
use crate::{
    cli::XdpChoice,
    failure::{Failure, Kind, os_error, say},
};

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    XdpNative,
    XdpGeneric,
    Tcx,
    Clsact,
}

impl Hook {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::XdpNative => "XDP native",
            Self::XdpGeneric => "XDP generic",
            Self::Tcx => "TCX",
            Self::Clsact => "clsact",
        }
    }
}

/// A program of ours on an interface.
#[derive(Clone, Debug)]
pub(crate) struct Attachment {
    pub(crate) hook: Hook,
    pub(crate) ingress: bool,
    pub(crate) program: u32,
    pub(crate) program_name: String,
    /// Instructions that the verifier looked at to accept the program, where the kernel says.
    pub(crate) verified: Option<u32>,
    /// Bytes of the program as the verifier left it, and as machine code if it was compiled.
    pub(crate) translated: Option<u32>,
    pub(crate) jited: Option<u32>,
    filter: Option<Filter>,
}

impl Attachment {
    fn of(program: &ProgramInfo, hook: Hook, ingress: bool, filter: Option<Filter>) -> Self {
        Self {
            hook,
            ingress,
            program: program.id(),
            // Not as `name_as_str`, which loads programs to see whether this kernel has names.
            program_name: String::from_utf8_lossy(program.name()).into_owned(),
            verified: program.verified_instruction_count(),
            translated: program.size_translated(),
            jited: Some(program.size_jitted()).filter(|bytes| *bytes != 0),
            filter,
        }
    }
}

/// The programs on `interface` that count into the map `counters` (a map id).
pub(crate) async fn attachments(
    network: &Network,
    interface: &Interface,
    counters: u32,
) -> Result<Vec<Attachment>> {
    let ours = programs_of(counters)?;
    let mut found = Vec::new();
    let mut add = |id: u32, hook, ingress, filter| {
        if let Some(program) = ours.iter().find(|program| program.id() == id) {
            found.push(Attachment::of(program, hook, ingress, filter));
        }
    };
    for program in &interface.xdp_programs {
        let hook = if program.is_native {
            Hook::XdpNative
        } else {
            Hook::XdpGeneric
        };
        add(program.id, hook, true, None);
    }
    for ingress in [true, false] {
        for program in tcx_programs(interface, ingress)? {
            add(program, Hook::Tcx, ingress, None);
        }
        for filter in network.filters(interface.index, ingress).await? {
            add(filter.program, Hook::Clsact, ingress, Some(filter));
        }
    }
    Ok(found)
}

/// In which directions programs on `interface` count for the probe that is pinned there, into the map `counters`:
/// ingress and egress.
///
/// Where a pinned link of the probe holds a program that is on the interface, that is the answer; only
/// without one every program that is loaded has to be looked at.
pub(crate) async fn attached_directions(
    network: &Network,
    interface: &Interface,
    pins: &InterfacePins,
    role: Role,
    counters: u32,
) -> Result<[bool; 2]> {
    let directory = pins.open()?;
    let linked = |hook, ingress| {
        let link = directory
            .as_ref()?
            .link(pin_name(hook, ingress), link_type(hook))?;
        Some(link.info().ok()?.program_id())
    };
    let mut xdp = interface.xdp_programs.iter();
    let is_at_xdp = linked(Hook::XdpNative, true)
        .is_some_and(|program| xdp.any(|present| present.id == program));
    let mut found = [is_at_xdp, false];
    for (found, ingress) in found.iter_mut().zip([true, false]) {
        if !*found && let Some(program) = linked(Hook::Tcx, ingress) {
            *found = tcx_programs(interface, ingress)?.contains(&program);
        }
    }
    if found[0] && (found[1] || role == Role::Middlebox) {
        return Ok(found);
    }
    let attached = attachments(network, interface, counters).await?;
    Ok([true, false].map(|ingress| attached.iter().any(|each| each.ingress == ingress)))
}

/// Pins of links, where they are attached, and whether that is ingress. XDP in the driver stands for XDP in the stack.
const LINKS: [(Hook, bool); 3] = [
    (Hook::XdpNative, true),
    (Hook::Tcx, true),
    (Hook::Tcx, false),
];

/// The programs that a probe's pinned links hold.
pub(crate) fn linked_programs(pins: &InterfacePins) -> Vec<u32> {
    let Ok(Some(directory)) = pins.open() else {
        return Vec::new();
    };
    let program = |(hook, ingress)| {
        let link = directory.link(pin_name(hook, ingress), link_type(hook))?;
        Some(link.info().ok()?.program_id())
    };
    LINKS.into_iter().filter_map(program).collect()
}

/// What a probe's pinned links still hold on its interface, in whatever network namespace that is.
pub(crate) fn linked(pins: &InterfacePins, is_native: bool) -> Vec<Attachment> {
    let Ok(Some(directory)) = pins.open() else {
        return Vec::new();
    };
    let attachment = |(hook, ingress)| {
        let name = pin_name(hook, ingress);
        let info = directory.link(name, link_type(hook))?.info().ok()?;
        if matches!(link_interface(&directory.reach(name)), None | Some(0)) {
            return None;
        }
        let program = loaded_programs()
            .flatten()
            .find(|program| program.id() == info.program_id())?;
        let hook = match hook {
            Hook::XdpNative if !is_native => Hook::XdpGeneric,
            hook => hook,
        };
        Some(Attachment::of(&program, hook, ingress, None))
    };
    LINKS.into_iter().filter_map(attachment).collect()
}

/// Are pinned links of a probe on an interface that exists, wherever that is? `None` without links that say.
pub(crate) fn is_on_interface(pins: &InterfacePins) -> Option<bool> {
    let directory = pins.open().ok()??;
    let indices: Vec<_> = ["xdp", "tcx", "tcx-ingress"]
        .into_iter()
        .filter(|name| matches!(directory.has(name), Ok(true)))
        .filter_map(|name| link_interface(&directory.reach(name)))
        .collect();
    (!indices.is_empty()).then(|| indices.iter().any(|index| *index != 0))
}

/// Index of the interface that a pinned link is on, in whatever network namespace; 0 if that is gone. `None` if the
/// kernel does not say.
fn link_interface(path: &Path) -> Option<u32> {
    // The parts of `union bpf_attr` that BPF_OBJ_GET and BPF_OBJ_GET_INFO_BY_FD read, and what the latter writes of
    // links on interfaces (linux/bpf.h).
    #[repr(C)]
    struct Get {
        path: u64,
        descriptor: u32,
        flags: u32,
    }
    #[repr(C)]
    struct GetInfo {
        descriptor: u32,
        length: u32,
        info: u64,
    }
    #[derive(Default)]
    #[repr(C)]
    struct Info {
        kind: u32,
        id: u32,
        program: u32,
        padding: u32,
        interface: u32,
        rest: u32,
    }
    const BPF_OBJ_GET: i32 = 7;
    const BPF_OBJ_GET_INFO_BY_FD: i32 = 15;
    // bpf_link_type: XDP and TCX.
    const ON_INTERFACES: [u32; 2] = [6, 11];
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let get = Get {
        path: path.as_ptr() as u64,
        descriptor: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads the attributes and the path, which both live until it returns.
    let number =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const get, size_of::<Get>()) };
    let number = i32::try_from(number).ok().filter(|number| *number >= 0)?;
    // SAFETY: the kernel has just opened it for this process, and nobody else closes it.
    let link = unsafe { OwnedFd::from_raw_fd(number) };
    let mut info = Info::default();
    let get = GetInfo {
        descriptor: link.as_raw_fd() as u32,
        length: size_of::<Info>() as u32,
        info: &raw mut info as u64,
    };
    // SAFETY: the kernel reads the attributes, and writes as many bytes to `info` as it has; both live until it
    // returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_GET_INFO_BY_FD,
            &raw const get,
            size_of::<GetInfo>(),
        )
    };
    (result == 0 && ON_INTERFACES.contains(&info.kind)).then_some(info.interface)
}

/// The programs of an interface's TCX chain, by their identifiers; none where the kernel has no TCX.
///
/// # Errors
/// If the kernel may not be asked, which must never look like "none": attach would start anew.
fn tcx_programs(interface: &Interface, ingress: bool) -> Result<Vec<u32>> {
    const TRIES: usize = 3;
    let mut tries = 0;
    loop {
        let answer = SchedClassifier::query_tcx(&interface.name, attach_type(ingress));
        let error = match answer {
            Ok((_, programs)) => return Ok(programs.iter().map(ProgramInfo::id).collect()),
            Err(error) => anyhow::Error::from(error),
        };
        tries += 1;
        match os_error(&error) {
            // It has no TCX.
            Some(libc::EINVAL) => return Ok(Vec::new()),
            // A program was unloaded between two questions.
            Some(libc::ENOENT) if tries < TRIES => {}
            // So was the interface, with all its programs.
            Some(libc::ENODEV) => return Ok(Vec::new()),
            _ => {
                let what = format!("cannot ask which TCX programs {} has", interface.name);
                return Err(error.context(what));
            }
        }
    }
}

/// The loaded programs that use a map.
///
/// # Errors
/// If the kernel may not be asked, which must never look like "none": attach would start anew.
fn programs_of(map: u32) -> Result<Vec<ProgramInfo>> {
    let mut programs = Vec::new();
    for program in loaded_programs() {
        let maps = match program.and_then(|program| Ok((program.map_ids()?, program))) {
            Ok((Some(maps), program)) => Some((maps, program)),
            Ok((None, _)) => None,
            Err(error) => {
                let error = anyhow::Error::from(error);
                // It was unloaded between two questions.
                if os_error(&error) == Some(libc::ENOENT) {
                    continue;
                }
                return Err(error.context("cannot ask the kernel which programs are loaded"));
            }
        };
        programs.extend(
            maps.filter(|(maps, _)| maps.contains(&map))
                .map(|(_, program)| program),
        );
    }
    Ok(programs)
}

/// Takes programs off an interface. Those that have a link go with the link's pin.
pub(crate) fn detach(
    interface: &Interface,
    attachments: &[Attachment],
    pins: &Directory,
) -> Result<()> {
    let mut links = Vec::new();
    for attachment in attachments {
        let Some(filter) = attachment.filter else {
            let name = pin_name(attachment.hook, attachment.ingress);
            if let Some(link) = pins.link(name, link_type(attachment.hook)) {
                links.extend(cut(&link));
            }
            pins.remove(name)?;
            continue;
        };
        let link = SchedClassifierLink::attached(
            &interface.name,
            attach_type(attachment.ingress),
            filter.priority,
            filter.handle.into(),
            None,
        )?;
        link.detach()
            .with_context(|| format!("cannot remove a TC filter of {}", interface.name))?;
    }
    let linked = attachments.iter().filter(|a| a.filter.is_none());
    wait_until_unloaded(&linked.map(|a| a.program).collect::<Vec<_>>(), &links);
    Ok(())
}

/// Takes a link's program off its interface, now and not when the kernel lets go of the link. The link's id.
fn cut(link: &FdLink) -> Option<u32> {
    const BPF_LINK_GET_FD_BY_ID: libc::c_int = 30;
    const BPF_LINK_DETACH: libc::c_int = 34;
    let ask = |command: libc::c_int, number: u32| {
        let size = size_of_val(&number);
        // SAFETY: the kernel reads the bytes of a number, which both commands begin with.
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw const number, size) }
    };
    let id = link.info().ok()?.id();
    if let Ok(descriptor @ 0..) = i32::try_from(ask(BPF_LINK_GET_FD_BY_ID, id)) {
        // SAFETY: a new descriptor, which nobody else has.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        // Where it cannot, the link goes with its pin, a little later.
        ask(BPF_LINK_DETACH, descriptor.as_raw_fd() as u32);
    }
    Some(id)
}

/// The kernel lets go of a link some time after its pin, from a work queue, and until then its program
/// may count and be in the way of others. Programs that other links hold stay. Whoever follows the kernel side's
/// log has the program open, and is not waited for.
fn wait_until_unloaded(programs: &[u32], links: &[u32]) {
    const PATIENCE: Duration = Duration::from_secs(2);
    let start = Instant::now();
    let is_held = || {
        let others: Vec<_> = loaded_links()
            .flatten()
            .filter(|link| !links.contains(&link.id()))
            .map(|link| link.program_id())
            .collect();
        let mut loaded = loaded_programs().flatten().map(|program| program.id());
        loaded.any(|program| programs.contains(&program) && !others.contains(&program))
    };
    while is_held() && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
}

fn pin_name(hook: Hook, ingress: bool) -> &'static str {
    match (hook, ingress) {
        (Hook::XdpNative | Hook::XdpGeneric, _) => "xdp",
        (Hook::Tcx | Hook::Clsact, false) => "tcx",
        (Hook::Tcx | Hook::Clsact, true) => "tcx-ingress",
    }
}

/// The type of the links by which programs are attached.
fn link_type(hook: Hook) -> LinkType {
    match hook {
        Hook::XdpNative | Hook::XdpGeneric => LinkType::Xdp,
        Hook::Tcx | Hook::Clsact => LinkType::Tcx,
    }
}

fn attach_type(ingress: bool) -> TcAttachType {
    if ingress {
        TcAttachType::Ingress
    } else {
        TcAttachType::Egress
    }
}

/// TCX came with Linux 6.6 (commit e420bed02507).
fn has_tcx() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}

/// Attaches the programs of one object to one interface.
#[derive(Debug)]
pub(crate) struct Attacher<'a> {
    pub(crate) programs: &'a mut Ebpf,
    /// Those for several interfaces?
    pub(crate) is_set: bool,
    pub(crate) interface: &'a Interface,
    /// What was attached before, by an earlier run.
    pub(crate) present: Vec<Attachment>,
    /// Where links are pinned; without pins they end with this process.
    pub(crate) pins: Option<&'a Directory>,
}

impl Attacher<'_> {
    /// Attaches to what comes in. What was attached otherwise before is taken off.
    ///
    /// Without XDP in the driver, `auto` takes TC and not XDP in the stack: both see packets after
    /// GRO, but only a socket buffer says how many packets were merged into it.
    pub(crate) fn ingress(&mut self, choice: XdpChoice) -> Result<Hook> {
        match choice {
            XdpChoice::Native => self.xdp(Hook::XdpNative),
            XdpChoice::Generic => {
                say(format!(
                    "{}: XDP generic runs behind GRO and counts merged segments once; \
                     --xdp off counts them all",
                    self.interface.name
                ));
                self.xdp(Hook::XdpGeneric)
            }
            XdpChoice::Off => self.tc(true),
            XdpChoice::Auto
                if self.interface.link_layer != LinkLayer::Ethernet
                    || self.interface.is_loopback =>
            {
                self.tc(true)
            }
            XdpChoice::Auto => match self.xdp(Hook::XdpNative) {
                Err(error) if is_without_xdp(&error) => {
                    let hook = self.tc(true)?;
                    say(format!(
                        "{}: the driver has no XDP ({:#}); what comes in is counted at \
                         {} instead",
                        self.interface.name,
                        error.root_cause(),
                        hook.name()
                    ));
                    Ok(hook)
                }
                Ok(hook) if self.interface.is_veth() => {
                    say(format!(
                        "{}: with XDP in a veth's driver the kernel copies each packet, and splits what \
                         the peer sends as one buffer, which slows bulk transfers; --xdp off counts at \
                         TC instead",
                        self.interface.name
                    ));
                    Ok(hook)
                }
                result => result,
            },
        }
    }

    /// Attaches to what goes out.
    pub(crate) fn egress(&mut self) -> Result<Hook> {
        self.tc(false)
    }

    /// What of `hook` is attached already, and what else in this direction.
    fn present(&self, hook: Hook, ingress: bool) -> (Option<Attachment>, Vec<Attachment>) {
        let here = self
            .present
            .iter()
            .filter(|attachment| attachment.ingress == ingress)
            .cloned();
        let (mut same, mut other) = here.partition::<Vec<_>, _>(|a| a.hook == hook);
        let kept = same.pop();
        other.extend(same);
        (kept, other)
    }

    fn detach(&self, attachments: &[Attachment]) -> Result<()> {
        match self.pins {
            Some(pins) => detach(self.interface, attachments, pins),
            None => Ok(()),
        }
    }

    /// The name of a program, by that of the one for one interface.
    fn program(&self, name: &str) -> String {
        let suffix = if self.is_set { "_set" } else { "" };
        format!("{name}{suffix}")
    }

    /// The pinned link that holds a program which is attached.
    fn link_of(&self, attachment: &Attachment) -> Option<FdLink> {
        let name = pin_name(attachment.hook, attachment.ingress);
        let link = self.pins?.link(name, link_type(attachment.hook))?;
        (link.info().ok()?.program_id() == attachment.program).then_some(link)
    }

    fn xdp(&mut self, hook: Hook) -> Result<Hook> {
        let (kept, obsolete) = self.present(hook, true);
        // An interface has room for one XDP program; TC can wait until this one is there.
        let (in_the_way, obsolete) = obsolete
            .into_iter()
            .partition::<Vec<_>, _>(|a| matches!(a.hook, Hook::XdpNative | Hook::XdpGeneric));
        let link = kept.as_ref().and_then(|kept| self.link_of(kept));
        let name = self.program("xdp_ingress");
        let program: &mut Xdp = self
            .programs
            .program_mut(&name)
            .with_context(|| format!("the eBPF object has no program {name}"))?
            .try_into()?;
        if program.fd().is_err() {
            program
                .load()
                .with_context(|| format!("the kernel refuses the program {name}"))?;
        }
        let name = pin_name(hook, true);
        if let Some(link) = link {
            let link = XdpLink::try_from(link)?;
            program.attach_to_link(link).with_context(|| {
                format!("cannot replace the XDP program on {}", self.interface.name)
            })?;
            self.detach(&obsolete)?;
            return Ok(hook);
        }
        if let Some(pins) = self.pins {
            detach(self.interface, &in_the_way, pins)?;
        }
        let mode = if hook == Hook::XdpNative {
            XdpMode::Driver
        } else {
            XdpMode::Skb
        };
        let id = program
            .attach_to_if_index(self.interface.index, mode)
            .map_err(anyhow::Error::from)
            .map_err(|error| busy(error, self.interface))?;
        if let Some(pins) = self.pins {
            let link: FdLink = program
                .take_link(id)?
                .try_into()
                .context("the kernel has no links for XDP; Linux 5.9 or newer is needed")?;
            pins.remove(name)?;
            pins.pin(name, |path| link.pin(path))?;
        }
        self.detach(&obsolete)?;
        Ok(hook)
    }

    fn tc(&mut self, ingress: bool) -> Result<Hook> {
        let hook = if has_tcx() { Hook::Tcx } else { Hook::Clsact };
        let (kept, obsolete) = self.present(hook, ingress);
        let link = kept.as_ref().and_then(|kept| self.link_of(kept));
        let name = self.program(if ingress { "tc_ingress" } else { "tc_egress" });
        let program: &mut SchedClassifier = self
            .programs
            .program_mut(&name)
            .with_context(|| format!("the eBPF object has no program {name}"))?
            .try_into()?;
        if program.fd().is_err() {
            program
                .load()
                .with_context(|| format!("the kernel refuses the program {name}"))?;
        }
        let what = || {
            format!(
                "cannot attach to {} at {}",
                self.interface.name,
                hook.name()
            )
        };
        match hook {
            Hook::Tcx => {
                let name = pin_name(hook, ingress);
                if let Some(link) = link {
                    let link = SchedClassifierLink::try_from(link)?;
                    program.attach_to_link(link).with_context(what)?;
                    self.detach(&obsolete)?;
                    return Ok(hook);
                }
                if let Some(pins) = self.pins {
                    pins.remove(name)?;
                }
                let id = program
                    .attach_with_options(
                        &self.interface.name,
                        attach_type(ingress),
                        // First, so that no other program hides packets.
                        TcAttachOptions::TcxOrder(LinkOrder::first()),
                    )
                    .with_context(what)?;
                if let Some(pins) = self.pins {
                    let link: FdLink = program.take_link(id)?.try_into()?;
                    pins.pin(name, |path| link.pin(path))?;
                }
            }
            _ => {
                // Fails if there is one already, which is as well.
                let _ = tc::qdisc_add_clsact(&self.interface.name);
                let id = match kept.and_then(|attachment| attachment.filter) {
                    Some(filter) => program.attach_to_link(SchedClassifierLink::attached(
                        &self.interface.name,
                        attach_type(ingress),
                        filter.priority,
                        filter.handle.into(),
                        None,
                    )?),
                    None => program.attach_with_options(
                        &self.interface.name,
                        attach_type(ingress),
                        TcAttachOptions::Netlink(NlOptions {
                            priority: 1,
                            ..NlOptions::default()
                        }),
                    ),
                }
                .with_context(what)?;
                if self.pins.is_some() {
                    // The filter holds the program; the link would take it away when dropped.
                    mem::forget(program.take_link(id)?);
                }
            }
        }
        self.detach(&obsolete)?;
        Ok(hook)
    }
}

/// Does this error say that the driver (or the kernel for this device) cannot run XDP?
fn is_without_xdp(error: &anyhow::Error) -> bool {
    matches!(
        os_error(error),
        Some(
            libc::EOPNOTSUPP
                | libc::EINVAL
                | libc::ERANGE
                // Too few queues or too little memory for them.
                | libc::ENOSPC
                | libc::ENOMEM
        )
    )
}

/// Explains that another XDP program is there.
fn busy(error: anyhow::Error, interface: &Interface) -> anyhow::Error {
    match os_error(&error) {
        Some(libc::EBUSY | libc::EEXIST) => Failure::error(
            Kind::Busy,
            format!(
                "another XDP program runs on {0}, and an interface has room for one\n  next: \
                 `ip link show {0}` shows it; attach --xdp off counts what comes in at TC, behind \
                 that program",
                interface.name
            ),
        ),
        Some(libc::EOPNOTSUPP) => error.context(format!(
            "cannot attach to {} with XDP in this mode (next: --xdp auto, which counts at TC where \
             there is no XDP)",
            interface.name
        )),
        _ => error.context(format!("cannot attach to {} with XDP", interface.name)),
    }
}
