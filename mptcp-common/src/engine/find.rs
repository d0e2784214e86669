//! Finds the options of a packet.

use crate::{
    counter::Outcome,
    packet::{self, Buffer, Flow, Frame, Header, Work},
    state::{Tables, look_up},
    verifier::Opaque,
    wire::{Dss, KIND_MPTCP, Subtype, TcpFlags, scan},
};

/// Finds the options of a packet.
pub fn find(work: &mut Work, tables: &impl Tables) {
    if !find_common(work, tables) {
        walk(work, tables);
    }
}

/// Finds the options of nearly every packet: none of kind 30, or a lone DSS that belongs where it
/// stands. False if they need a [`walk`].
#[inline(always)]
pub fn find_common(work: &mut Work, tables: &impl Tables) -> bool {
    let length = tables.opaque(work.packet.options);
    work.route.session.set(0);
    work.route.is_dss_alone.set(0);
    work.route.seen.set(0);
    if length == 0 {
        return true;
    }
    if !tables.fast_path_enabled() {
        return false;
    }
    if !work.packet.flags.any(TcpFlags::SYN | TcpFlags::RST)
        && let Some(dss) = Dss::read_in_place(|index| work.area.word(index), length)
    {
        work.dss = dss;
        work.route.seen.set(Subtype::Dss.bit());
        work.route.is_dss_alone.set(1);
        return true;
    }
    !work.area.contains(KIND_MPTCP)
}

/// Finds the options of any packet.
#[inline(always)]
pub fn walk(work: &mut Work, verifier: &impl Opaque) {
    let (area, found) = (&work.area, &mut work.found);
    let seen = scan::find(area, work.packet.options, found, verifier);
    if seen & Subtype::Dss.bit() != 0 {
        work.dss = Dss::read(&found.dss(area, verifier));
    }
    work.route.seen.set(seen);
}

/// Reads a TCP header ([`packet::parse`]), and looks up its flow if flows are followed.
///
/// # Errors
/// The leaf of a frame that is done.
#[inline(always)]
pub fn parse<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    is_tracking: bool,
    buffer: &mut Buffer,
    header: &Header,
    work: &mut Work,
) -> Result<(), Outcome> {
    let ipv6 = header.is_ipv6();
    packet::parse(frame, tables, buffer, header, work, move |work, is_syn| {
        if is_tracking {
            look_up(tables, work, ipv6, is_syn)
        } else {
            (Flow::UNKNOWN, 0)
        }
    })
}
