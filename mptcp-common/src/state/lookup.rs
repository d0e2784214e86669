//! Whose flow a packet is of.

use crate::{
    packet::{
        Flow, Work,
        hash::{Ends, Secrets, flow_place, flow_tag},
    },
    state::{subflow::Subflow, tables::Tables},
    table::{self, Memory, Table, Word},
    wire::Stage,
};

/// Whose flow is it? To be asked before the options are looked at: most packets are done then.
#[inline(always)]
pub fn locate(tables: &impl Tables, tag: u64) -> (Flow, u32) {
    if let Some(slot) = table::find(tables.subflows(), tag) {
        return (Flow::Subflow, slot);
    }
    if let Some(slot) = table::find(tables.half_opens(), tag) {
        return (Flow::HalfOpen, slot);
    }
    (Flow::Unknown, 0)
}

/// Gives the packet in work the tag of its flow, and says where that is known: a [`Flow`] by its discriminant, and a slot.
#[inline(always)]
pub(crate) fn look_up<T: Tables>(
    tables: &T,
    work: &mut Work,
    ipv6: bool,
    is_syn: bool,
) -> (u32, u32) {
    work.tag = flow_tag(tables.secrets(), &Ends::of(&work.flow, ipv6));
    let (flow, slot) = if is_syn && tables.subflows().is_absent(table::place(work.tag)) {
        (Flow::Unknown, 0)
    } else {
        locate(tables, work.tag)
    };
    (tables.opaque(flow as u32), slot)
}

/// Does nobody follow this flow? False if that is not sure.
#[inline(always)]
pub fn is_untracked(table: &impl Table, secrets: &impl Secrets, ends: &Ends) -> bool {
    table.is_absent(flow_place(secrets, ends))
}

/// Begins to fetch where the handshake of a SYN will stand: one of no flow that is known, and whose options may be
/// MPTCP's.
#[inline(always)]
pub fn prefetch(work: &Work, tables: &impl Tables) {
    if work.packet.flags.stage() == Stage::Syn && work.route.flow.get() == Flow::UNKNOWN {
        table::prefetch(tables.half_opens(), work.tag);
    }
}

/// Is this the subflow of the packet in work? Its tag says so, but for odds that nobody chooses (see
/// [`hash`](super::hash)); what changes a session asks the key as well. Two do not: the next data in order and its
/// acknowledgments, which are of another flow only if that has its tag and both its next numbers, and a handshake, which
/// has no key. A handshake's packets are known by numbers, keys and HMACs of their own, it is over after some seconds,
/// and what comes of it has the key of the packet that ended it.
#[inline(always)]
pub(crate) fn is_of_flow<M: Memory>(subflow: &Subflow<M>, work: &Work) -> bool {
    let mut difference = 0;
    for (word, value) in subflow.key.iter().zip(key_of(work)) {
        difference |= word.load() ^ value;
    }
    difference == 0
}

/// The key of the flow of the packet in work: the lesser end first.
#[inline(always)]
pub(crate) fn key_of(work: &Work) -> [u64; 5] {
    if work.packet.sender_is_second {
        work.flow.reversed().words
    } else {
        work.flow.words
    }
}
