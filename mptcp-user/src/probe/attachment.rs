//! What is attached to an interface. That is asked of the kernel, not of a note: a program is ours if it counts into
//! our map. So a loader that was killed at any moment leaves nothing that the next one does not find.

use anyhow::Result;
use aya::programs::{ProgramInfo, SchedClassifier, TcAttachType, links::LinkType, loaded_programs};
use mptcp_common::counter::Role;
use nix::libc;

use super::{
    link::link_interface,
    network::{Filter, Interface, Network},
    pins::InterfacePins,
};
use crate::failure::os_error;

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttachPoint {
    XdpNative,
    XdpGeneric,
    Tcx,
    Clsact,
}

impl AttachPoint {
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
    pub(crate) point: AttachPoint,
    pub(crate) ingress: bool,
    pub(crate) program: u32,
    pub(crate) program_name: String,
    /// Instructions that the verifier looked at to accept the program, where the kernel says.
    pub(crate) verified: Option<u32>,
    /// Bytes of the program as the verifier left it, and as machine code if it was compiled.
    pub(crate) translated: Option<u32>,
    pub(crate) jited: Option<u32>,
    pub(super) filter: Option<Filter>,
}

impl Attachment {
    fn of(
        program: &ProgramInfo,
        point: AttachPoint,
        ingress: bool,
        filter: Option<Filter>,
    ) -> Self {
        Self {
            point,
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

/// Returns the programs on `interface` that count into the map `counters` (a map id).
pub(crate) async fn attachments(
    network: &Network,
    interface: &Interface,
    counters: u32,
) -> Result<Vec<Attachment>> {
    let ours = programs_of(counters)?;
    let mut found = Vec::new();
    let mut add = |id: u32, point, ingress, filter| {
        if let Some(program) = ours.iter().find(|program| program.id() == id) {
            found.push(Attachment::of(program, point, ingress, filter));
        }
    };
    for program in &interface.xdp_programs {
        let point = if program.is_native {
            AttachPoint::XdpNative
        } else {
            AttachPoint::XdpGeneric
        };
        add(program.id, point, true, None);
    }
    for ingress in [true, false] {
        for program in tcx_programs(interface, ingress)? {
            add(program, AttachPoint::Tcx, ingress, None);
        }
        for filter in network.filters(interface.index, ingress).await? {
            add(filter.program, AttachPoint::Clsact, ingress, Some(filter));
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
    let linked = |point, ingress| {
        let link = directory
            .as_ref()?
            .link(pin_name(point, ingress), link_type(point))?;
        Some(link.info().ok()?.program_id())
    };
    let mut xdp = interface.xdp_programs.iter();
    let is_at_xdp = linked(AttachPoint::XdpNative, true)
        .is_some_and(|program| xdp.any(|present| present.id == program));
    let mut found = [is_at_xdp, false];
    for (found, ingress) in found.iter_mut().zip([true, false]) {
        if !*found && let Some(program) = linked(AttachPoint::Tcx, ingress) {
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
const LINKS: [(AttachPoint, bool); 3] = [
    (AttachPoint::XdpNative, true),
    (AttachPoint::Tcx, true),
    (AttachPoint::Tcx, false),
];

/// Returns the programs that a probe's pinned links hold.
pub(crate) fn linked_programs(pins: &InterfacePins) -> Vec<u32> {
    let Ok(Some(directory)) = pins.open() else {
        return Vec::new();
    };
    let program = |(point, ingress)| {
        let link = directory.link(pin_name(point, ingress), link_type(point))?;
        Some(link.info().ok()?.program_id())
    };
    LINKS.into_iter().filter_map(program).collect()
}

/// Returns what a probe's pinned links still hold on its interface, in whatever network namespace that is.
pub(crate) fn linked(pins: &InterfacePins, is_native: bool) -> Vec<Attachment> {
    let Ok(Some(directory)) = pins.open() else {
        return Vec::new();
    };
    let attachment = |(point, ingress)| {
        let name = pin_name(point, ingress);
        let info = directory.link(name, link_type(point))?.info().ok()?;
        if matches!(link_interface(&directory.reach(name)), None | Some(0)) {
            return None;
        }
        let program = loaded_programs()
            .flatten()
            .find(|program| program.id() == info.program_id())?;
        let point = match point {
            AttachPoint::XdpNative if !is_native => AttachPoint::XdpGeneric,
            point => point,
        };
        Some(Attachment::of(&program, point, ingress, None))
    };
    LINKS.into_iter().filter_map(attachment).collect()
}

/// Returns true if pinned links of a probe are on an interface that exists, wherever that is; `None` without links
/// that say.
pub(crate) fn is_on_interface(pins: &InterfacePins) -> Option<bool> {
    let directory = pins.open().ok()??;
    let indices: Vec<_> = ["xdp", "tcx", "tcx-ingress"]
        .into_iter()
        .filter(|name| matches!(directory.has(name), Ok(true)))
        .filter_map(|name| link_interface(&directory.reach(name)))
        .collect();
    (!indices.is_empty()).then(|| indices.iter().any(|index| *index != 0))
}

/// Returns the programs of an interface's TCX chain, by their identifiers; none where the kernel has no TCX.
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

/// Returns the loaded programs that use a map.
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

pub(super) fn pin_name(point: AttachPoint, ingress: bool) -> &'static str {
    match (point, ingress) {
        (AttachPoint::XdpNative | AttachPoint::XdpGeneric, _) => "xdp",
        (AttachPoint::Tcx | AttachPoint::Clsact, false) => "tcx",
        (AttachPoint::Tcx | AttachPoint::Clsact, true) => "tcx-ingress",
    }
}

/// Returns the type of the links by which programs are attached.
pub(super) fn link_type(point: AttachPoint) -> LinkType {
    match point {
        AttachPoint::XdpNative | AttachPoint::XdpGeneric => LinkType::Xdp,
        AttachPoint::Tcx | AttachPoint::Clsact => LinkType::Tcx,
    }
}

pub(super) fn attach_type(ingress: bool) -> TcAttachType {
    if ingress {
        TcAttachType::Ingress
    } else {
        TcAttachType::Egress
    }
}
