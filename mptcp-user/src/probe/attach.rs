//! Attaching programs to an interface, and taking them off: XDP, TCX, clsact.

use std::mem;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    programs::{
        LinkOrder, SchedClassifier, Xdp, XdpMode as AttachMode,
        links::{FdLink, Link as _},
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions},
        xdp::XdpLink,
    },
    util::KernelVersion,
};
use nix::libc;

use super::{
    attachment::{AttachPoint, Attachment, attach_type, link_type, pin_name},
    link::{cut, wait_until_unloaded},
    network::{Interface, LinkLayer},
    pins::Directory,
    settings::XdpMode,
};
use crate::failure::{Failure, FailureKind, os_error, warn};

/// Takes programs off an interface. Those that have a link go with the link's pin.
pub(crate) fn detach(
    interface: &Interface,
    attachments: &[Attachment],
    pins: &Directory,
) -> Result<()> {
    let mut links = Vec::new();
    for attachment in attachments {
        let Some(filter) = attachment.filter else {
            let name = pin_name(attachment.point, attachment.ingress);
            if let Some(link) = pins.link(name, link_type(attachment.point)) {
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

/// Returns where TC programs are attached. TCX came with Linux 6.6 (commit e420bed02507).
fn tc_point() -> AttachPoint {
    match KernelVersion::current() {
        Ok(version) if version >= KernelVersion::new(6, 6, 0) => AttachPoint::Tcx,
        _ => AttachPoint::Clsact,
    }
}

/// Attaches the programs of one object to one interface.
#[derive(Debug)]
pub(crate) struct Attacher<'a> {
    pub(crate) programs: &'a mut Ebpf,
    /// True if they are those for several interfaces.
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
    pub(crate) fn ingress(&mut self, choice: XdpMode) -> Result<AttachPoint> {
        match choice {
            XdpMode::Native => self.xdp(AttachPoint::XdpNative),
            XdpMode::Generic => {
                warn(format!(
                    "{}: XDP generic runs behind GRO and counts merged segments once; \
                     --xdp off counts them all",
                    self.interface.name
                ));
                self.xdp(AttachPoint::XdpGeneric)
            }
            XdpMode::Off => self.tc(true),
            XdpMode::Auto
                if self.interface.link_layer != LinkLayer::Ethernet
                    || self.interface.is_loopback =>
            {
                self.tc(true)
            }
            XdpMode::Auto => match self.xdp(AttachPoint::XdpNative) {
                Err(error) if is_without_xdp(&error) => {
                    let point = self.tc(true)?;
                    warn(format!(
                        "{}: the driver has no XDP ({:#}); what comes in is counted at \
                         {} instead",
                        self.interface.name,
                        error.root_cause(),
                        point.name()
                    ));
                    Ok(point)
                }
                Ok(point) if self.interface.is_veth() => {
                    warn(format!(
                        "{}: with XDP in a veth's driver the kernel copies each packet, and splits what \
                         the peer sends as one buffer, which slows bulk transfers; --xdp off counts at \
                         TC instead",
                        self.interface.name
                    ));
                    Ok(point)
                }
                result => result,
            },
        }
    }

    /// Attaches to what goes out.
    pub(crate) fn egress(&mut self) -> Result<AttachPoint> {
        self.tc(false)
    }

    /// Returns what of `point` is attached already, and what else in this direction.
    fn present(&self, point: AttachPoint, ingress: bool) -> (Option<Attachment>, Vec<Attachment>) {
        let here = self
            .present
            .iter()
            .filter(|attachment| attachment.ingress == ingress)
            .cloned();
        let (mut same, mut other) = here.partition::<Vec<_>, _>(|a| a.point == point);
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

    /// Returns the name of a program, by that of the one for one interface.
    fn program(&self, name: &str) -> String {
        let suffix = if self.is_set { "_set" } else { "" };
        format!("{name}{suffix}")
    }

    /// Returns the pinned link that holds a program which is attached.
    fn link_of(&self, attachment: &Attachment) -> Option<FdLink> {
        let name = pin_name(attachment.point, attachment.ingress);
        let link = self.pins?.link(name, link_type(attachment.point))?;
        (link.info().ok()?.program_id() == attachment.program).then_some(link)
    }

    fn xdp(&mut self, point: AttachPoint) -> Result<AttachPoint> {
        let (kept, obsolete) = self.present(point, true);
        // An interface has room for one XDP program; TC can wait until this one is there.
        let (in_the_way, obsolete) = obsolete.into_iter().partition::<Vec<_>, _>(|a| {
            matches!(a.point, AttachPoint::XdpNative | AttachPoint::XdpGeneric)
        });
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
        let name = pin_name(point, true);
        if let Some(link) = link {
            let link = XdpLink::try_from(link)?;
            program.attach_to_link(link).with_context(|| {
                format!("cannot replace the XDP program on {}", self.interface.name)
            })?;
            self.detach(&obsolete)?;
            return Ok(point);
        }
        if let Some(pins) = self.pins {
            detach(self.interface, &in_the_way, pins)?;
        }
        let mode = if point == AttachPoint::XdpNative {
            AttachMode::Driver
        } else {
            AttachMode::Skb
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
        Ok(point)
    }

    fn tc(&mut self, ingress: bool) -> Result<AttachPoint> {
        let point = tc_point();
        let (kept, obsolete) = self.present(point, ingress);
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
                point.name()
            )
        };
        match point {
            AttachPoint::Tcx => {
                let name = pin_name(point, ingress);
                if let Some(link) = link {
                    let link = SchedClassifierLink::try_from(link)?;
                    program.attach_to_link(link).with_context(what)?;
                    self.detach(&obsolete)?;
                    return Ok(point);
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
        Ok(point)
    }
}

/// Returns true if this error says that the driver (or the kernel for this device) cannot run XDP.
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
        Some(libc::EBUSY | libc::EEXIST) => Failure::new(
            FailureKind::Busy,
            format!(
                "another XDP program runs on {0}, and an interface has room for one",
                interface.name
            ),
        )
        .next(format!(
            "`ip link show {0}` shows it; attach --xdp off counts what comes in at TC, behind \
                    that program",
            interface.name
        ))
        .into(),
        Some(libc::EOPNOTSUPP) => error.context(format!(
            "cannot attach to {} with XDP in this mode (next: --xdp auto, which counts at TC where \
             there is no XDP)",
            interface.name
        )),
        _ => error.context(format!("cannot attach to {} with XDP", interface.name)),
    }
}
