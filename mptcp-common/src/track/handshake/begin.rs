//! SYNs, and what begins on the addresses of a subflow.

use crate::{
    counter::{DirectionCounters, Role},
    packet::{Flow, Work},
    state::{
        HalfOpen, HandshakeFacts, HandshakeKind, Subflow, Tables, is_half_open_over, is_of_flow,
        is_subflow_over,
    },
    table::{self, Memory, Table, Word},
    track::{
        handshake::{
            entry::{CAPABLE, JOIN, answers, claim, drop, fill},
            join, pending,
            stray::Opens,
        },
        release::leave,
    },
    wire::Subtype,
};

/// A SYN: says what it opens.
#[inline(always)]
pub(crate) fn syn<S: Tables>(stages: &S, work: &Work) -> Opens {
    let route = &work.route;
    let now = stages.now();
    let kind = if route.valid.get() & Subtype::MpCapable.bit() != 0 {
        HandshakeKind::Capable
    } else if route.valid.get() & Subtype::MpJoin.bit() != 0 {
        HandshakeKind::Join
    } else {
        HandshakeKind::Stray
    };
    let opens = (kind != HandshakeKind::Stray).then_some(kind);
    if route.flow.get() != Flow::HalfOpen as u32 {
        return opens.map(|kind| (kind, None));
    }
    route.flow.set(Flow::Unknown as u32);
    let slot = route.slot.get();
    let entry = stages.half_opens().slot(slot)?;
    let is_of_flow = entry.tag.load() == route.tag.get();
    let over = !is_of_flow || is_half_open_over(entry, &stages.limits(), now);
    let same = !over && entry.isn[0].load() == work.packet.sequence;
    let present = entry.kind();
    if same && present == kind as u32 {
        syn_again(stages, work);
        return None;
    }
    // One without an option is nothing to us when it is answered, and else replaces nothing. Who has answered a join does
    // not take another (RFC 9293 section 3.10.7.4).
    let is_plain = opens.is_none() && present != HandshakeKind::Stray as u32;
    let is_answered = entry.flags.load() & HandshakeFacts::ANSWERED != 0;
    if !over && !same && (is_plain || is_answered) {
        return None;
    }
    if same && present == CAPABLE && opens.is_none() {
        // Who sent it took the option for the reason of a loss. What answers it says whether that is so.
        if entry.flags.or(HandshakeFacts::DROPPED) & HandshakeFacts::DROPPED == 0 {
            stages.count(route.direction.get(), |events| {
                events.capable_syn_dropped += 1;
            });
        }
        return None;
    }
    if is_of_flow && present == JOIN {
        pending::abandon(stages, entry);
        if !over && kind == HandshakeKind::Join {
            stages.count(route.direction.get(), |events| events.pending_replaced += 1);
        }
    }
    if opens.is_none() {
        drop(stages, work, entry);
    }
    opens.map(|kind| (kind, Some(slot)))
}

/// A SYN once more.
#[inline(always)]
fn syn_again<S: Tables>(stages: &S, work: &Work) {
    again(stages, work, |events, is_join| match is_join {
        false => &mut events.capable_syn_repeated,
        true => &mut events.join_syn_repeated,
    });
}

/// A packet with an option of a handshake once more: `of` says where it counts, by whether that is MP_JOIN.
#[inline(always)]
fn again<S: Tables>(
    stages: &S,
    work: &Work,
    of: impl FnOnce(&mut DirectionCounters, bool) -> &mut u64,
) {
    let is_join = match work.route.valid.get() {
        valid if valid & Subtype::MpCapable.bit() != 0 => false,
        valid if valid & Subtype::MpJoin.bit() != 0 => true,
        _ => return,
    };
    let n = u64::from(work.packet.packets);
    stages.count(work.route.direction.get(), |events| {
        *of(events, is_join) += n;
    });
}

/// Opens the handshake that the route says: in an entry that its flow has, or in another.
#[inline(always)]
pub fn open_handshake<S: Tables>(stages: &S, work: &Work) {
    let now = stages.now();
    let kind = work.route.opens.get();
    let present = work.route.handshake.get().checked_sub(1);
    let Some(slot) = present.or_else(|| claim(stages, work, now)) else {
        return;
    };
    let Some(entry) = stages.half_opens().slot(slot) else {
        return;
    };
    // What finds rivals stays.
    let is_rivaled = entry.flags.load() & HandshakeFacts::RIVALED;
    fill(stages, work, entry, kind, now);
    if present.is_some() {
        entry.flags.or(is_rivaled);
    }
    if kind == JOIN {
        join::syn(stages, work, entry, slot);
    }
    entry.tag.store(work.route.tag.get());
}

/// Does a SYN or a SYN/ACK on the addresses of a subflow belong to a new connection? The flow is routed to
/// its handshake then, or to none.
///
/// An open subflow of a host stays until the other end answers the SYN: anybody can send one in the name of an end, and
/// who has the connection answers with an acknowledgment (RFC 9293 section 3.10.7.4). Past a router, anybody can send
/// the answer too: there it stays, beside what begins (see [`rival`](super::rival)), but for a join of its own session,
/// whose token nobody else knows.
#[inline(always)]
pub(crate) fn begins<S: Tables>(stages: &S, work: &Work, is_syn: bool) -> bool {
    let route = &work.route;
    let Some(subflow) = stages.subflows().slot(route.slot.get()) else {
        return false;
    };
    if !is_of_flow(subflow, work) {
        return false;
    }
    let now = stages.now();
    let is_over = is_subflow_over(subflow, &stages.limits(), now);
    if !is_over && is_repeated(work, subflow, is_syn) {
        again(stages, work, |events, is_join| match (is_syn, is_join) {
            (true, false) => &mut events.capable_syn_repeated,
            (true, true) => &mut events.join_syn_repeated,
            // The third segment was lost behind the probe.
            (false, false) => &mut events.capable_synack_repeated,
            (false, true) => &mut events.join_synack_repeated,
        });
        return false;
    }
    // A handshake of the same ends may be under way.
    let half_open = route.handshake.get().checked_sub(1);
    let entry = half_open.and_then(|slot| stages.half_opens().slot(slot));
    if !is_syn {
        match entry {
            Some(entry) if is_answered(stages, work, entry) => {}
            _ => return false,
        }
    }
    let is_replaced = !is_syn && entry.is_some_and(|entry| replaces(subflow, entry));
    let is_answer = !is_syn && stages.role() == Role::Host;
    if is_replaced || is_answer || is_over || subflow.closed.load() != 0 {
        if let Some(entry) = entry
            && is_replaced
            && subflow.closed.load() == 0
        {
            stages.count(entry.direction(), |events| events.subflow_replaced += 1);
        }
        leave(stages, subflow, now);
        subflow.tag.store(0);
        table::release(stages.subflows(), route.slot.get(), work.tag);
    }
    route.flow.set(Flow::Unknown as u32);
    if let Some(slot) = half_open {
        route.flow.set(Flow::HalfOpen as u32);
        route.slot.set(slot);
    }
    true
}

/// More data than this no SYN has: a segment's.
const MAX_SYN_DATA: u32 = 1 << 14;

/// Returns true if this is the SYN or the SYN/ACK of the subflow once more.
#[inline(always)]
fn is_repeated<M: Memory>(work: &Work, subflow: &Subflow<M>, is_syn: bool) -> bool {
    let sequence = work.packet.sequence;
    let [first, second] =
        [&subflow.sides[0], &subflow.sides[1]].map(|subflow_side| subflow_side.base.load());
    if is_syn {
        // Behind the data that came with the SYN (TCP Fast Open), if any.
        first.wrapping_sub(sequence) <= MAX_SYN_DATA
            || second.wrapping_sub(sequence) <= MAX_SYN_DATA
    } else {
        let side = work.route.side.get() & 1;
        sequence == if side == 0 { first } else { second }
    }
}

/// Returns true if this SYN/ACK answers the SYN of a handshake on the addresses of a subflow.
#[inline(always)]
fn is_answered<S: Tables>(stages: &S, work: &Work, entry: &HalfOpen<S::Memory>) -> bool {
    let first = entry.flags.load() & HandshakeFacts::OPENER_IS_FIRST != 0;
    entry.tag.load() == work.route.tag.get()
        && entry.kind() != HandshakeKind::Stray as u32
        && first == work.packet.sender_is_second
        && answers(stages, work, entry)
}

/// Returns true if this is a join of the subflow's session: it replaces one that is open (TotSFRep).
#[inline(always)]
fn replaces<M: Memory>(subflow: &Subflow<M>, entry: &HalfOpen<M>) -> bool {
    entry.kind() == JOIN
        && entry.flags.load() & HandshakeFacts::RESOLVED != 0
        && entry.session.load() == subflow.session.load()
        && entry.generation.load() == subflow.generation.load()
}
