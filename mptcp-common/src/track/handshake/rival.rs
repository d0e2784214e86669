//! Handshakes of one flow that rival: which of them is true shows later.
//!
//! Whoever knows addresses and ports can send a SYN in the name of either end and, past a router, its answer too. So a
//! SYN replaces no other that waits for its answer, nor one that was answered: it gets an entry of its own, under a tag
//! that is made of the flow's and of the number that an answer acknowledges. There may be any number of them; each is
//! what any other handshake is, and gives way as one. What comes is of the one whose numbers it has.
//!
//! Past a router, what completes on the addresses of an open subflow makes another, beside that: a segment is of the one
//! whose numbers are nearer (see [`choose`](crate::track::choose())).

use crate::{
    packet::{Flow, Work},
    state::{HalfOpen, HandshakeFacts, Subflow, SubflowFacts, Tables, is_half_open_over},
    table::{self, Memory, Table, Word},
    track::{
        handshake::{
            entry::{CAPABLE, JOIN, is_next},
            pending::session_of_entry,
        },
        release::leave,
    },
    wire::{Stage, Subtype},
};

/// Options of a handshake.
const OPENS: u32 = Subtype::MpCapable.bit() | Subtype::MpJoin.bit();

/// Finds the handshake that the packet in work is of, or that its SYN replaces, if its flow has any: it is in the route,
/// with its tag. A segment of a subflow that does not take it is routed to the handshake, if it is of one that was
/// answered.
#[inline(always)]
pub fn find_handshake<T: Tables>(tables: &T, work: &Work) {
    let route = &work.route;
    let is_subflow = route.flow.get() == Flow::Subflow as u32;
    let stage = work.packet.flags.stage();
    route.tag.set(work.tag);
    route.handshake.set(0);
    let first = if is_subflow {
        table::find_home(tables.half_opens(), work.tag)
    } else {
        Some(route.slot.get())
    };
    let Some(first) = first else {
        return;
    };
    let Some(entry) = tables.half_opens().slot(first) else {
        return;
    };
    route.handshake.set(first + 1);
    if stage == Stage::Syn {
        if is_rival(tables, work, entry) {
            find_by_syn(tables, work, entry, first);
        }
    } else if entry.flags.load() & HandshakeFacts::RIVALED != 0 {
        find_by_numbers(tables, work, first);
    }
    let slot = route.handshake.get().wrapping_sub(1);
    if !is_subflow {
        route.slot.set(slot);
    } else if stage == Stage::Later {
        take_over(tables, work, slot);
    }
}

/// Returns true if the SYN in work rivals this entry. The entry's own SYN does not. A join of its session replaces it,
/// since nobody else knows the token.
#[inline(always)]
fn is_rival<T: Tables>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>) -> bool {
    if !is_live(tables, work, entry) || entry.isn[0].load() == work.packet.sequence {
        return false;
    }
    let is_replaced = entry.kind() == JOIN
        && work.route.session.get() == entry.session.load().wrapping_add(1)
        && session_of_entry(tables, entry).is_some();
    !is_replaced
}

/// Finds the rival that the SYN in work opened, or opens. One without an option opens none.
#[inline(always)]
fn find_by_syn<T: Tables>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>, first: u32) {
    let route = &work.route;
    let opens = route.seen.get() & OPENS != 0;
    if opens {
        entry.flags.or(HandshakeFacts::RIVALED);
        // Rivals are found by it, and have their whole time.
        entry.created.store(tables.now());
    }
    find_rival(
        tables,
        work,
        work.packet.sequence.wrapping_add(work.packet.payload),
    );
    if route.handshake.get() != 0 {
        return;
    }
    if opens {
        if route.flow.get() == Flow::HalfOpen as u32 {
            route.flow.set(Flow::Unknown as u32);
        }
    } else {
        route.tag.set(work.tag);
        route.handshake.set(first + 1);
    }
}

/// Returns true if this is an entry of the route's tag, of a handshake that is not over.
#[inline(always)]
fn is_live<T: Tables>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>) -> bool {
    let kind = entry.kind();
    (kind == CAPABLE || kind == JOIN)
        && entry.tag.load() == work.route.tag.get()
        && !is_half_open_over(entry, &tables.limits(), tables.now())
}

/// Finds the rival whose SYN, with its data, ends at this number.
#[inline(always)]
fn find_rival<T: Tables>(tables: &T, work: &Work, number: u32) {
    let route = &work.route;
    route
        .tag
        .set(table::tag(table::mix(work.tag, number.into())));
    let slot = table::find_home(tables.half_opens(), route.tag.get());
    route.handshake.set(slot.map_or(0, |slot| slot + 1));
}

/// Finds the rival that a packet behind the SYN is of: its opener's, which goes on behind the SYN, or its responder's,
/// which acknowledges it. Else it is of the first.
#[inline(always)]
fn find_by_numbers<T: Tables>(tables: &T, work: &Work, first: u32) {
    let route = &work.route;
    for i in 0..2 {
        let by_opener = tables.opaque(i) == 0;
        let packet = &work.packet;
        let number = if by_opener {
            packet.sequence
        } else {
            packet.acknowledgment
        };
        find_rival(tables, work, number.wrapping_sub(1));
        let entry = tables
            .half_opens()
            .slot(route.handshake.get().wrapping_sub(1));
        if let Some(entry) = entry
            && is_live(tables, work, entry)
            && is_by_opener(work, entry) == by_opener
        {
            return;
        }
    }
    route.tag.set(work.tag);
    route.handshake.set(first + 1);
}

/// Returns true if the sender of the packet in work opened this handshake.
#[inline(always)]
fn is_by_opener<M: Memory>(work: &Work, entry: &HalfOpen<M>) -> bool {
    let is_first = entry.flags.load() & HandshakeFacts::OPENER_IS_FIRST != 0;
    is_first != work.packet.sender_is_second
}

/// Routes a segment that no subflow of its flow takes to the handshake in this slot, if it is of it.
///
/// Not where the key was not seen: then nothing is known of the opener's numbers, and the new subflow would take those
/// of the other.
#[inline(always)]
fn take_over<T: Tables>(tables: &T, work: &Work, slot: u32) {
    const FACTS: u32 = HandshakeFacts::ANSWERED | HandshakeFacts::KEYLESS;
    let route = &work.route;
    let Some(entry) = tables.half_opens().slot(slot) else {
        return;
    };
    let flags = entry.flags.load();
    let by_opener = is_by_opener(work, entry);
    if flags & FACTS != HandshakeFacts::ANSWERED
        || !is_live(tables, work, entry)
        || !is_next(work, entry, by_opener)
    {
        return;
    }
    // Only what completes a handshake makes a subflow.
    if route.seen.get() & OPENS != 0 {
        make_room(tables, work);
    }
    let listens = u32::from(flags & HandshakeFacts::OPENER_LISTENS != 0);
    let side = u32::from(!by_opener) ^ listens;
    route.turn(side);
    route.flow.set(Flow::HalfOpen as u32);
    route.slot.set(slot);
}

/// A flow has two subflows at most: where it has, the one of which fewer packets were seen is given up, or the younger.
/// The one that stays is told that it will have another.
#[inline(always)]
fn make_room<T: Tables>(tables: &T, work: &Work) {
    let found = work.route.slot.get();
    let Some(a) = tables.subflows().slot(found) else {
        return;
    };
    let other = table::find_other(tables.subflows(), work.tag, found);
    if let Some(other) = other
        && let Some(b) = tables.subflows().slot(other)
    {
        b.ids.or(SubflowFacts::TWIN);
        let (slot, victim) = if is_less(a, b) {
            (found, a)
        } else {
            (other, b)
        };
        leave(tables, victim, tables.now());
        victim.tag.store(0);
        table::release(tables.subflows(), tables.opaque(slot), work.tag);
    }
    a.ids.or(SubflowFacts::TWIN);
}

/// Returns true if fewer packets of `a` were seen than of `b`; of as many, if it is the younger.
#[inline(always)]
fn is_less<M: Memory>(a: &Subflow<M>, b: &Subflow<M>) -> bool {
    let [x, y] = [a, b].map(|subflow| {
        let [one, other] = &subflow.sides;
        one.packets.load().wrapping_add(other.packets.load())
    });
    x < y || (x == y && a.created.load() > b.created.load())
}
