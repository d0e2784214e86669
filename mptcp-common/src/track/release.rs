//! The end of an entry.

use crate::{
    counter::EventKind,
    packet::Work,
    state::{
        HalfOpen, HandshakeFacts, Session, Subflow, SubflowFacts, Tables, clear_bit,
        is_session_over,
    },
    table::{self, Memory, Table, Word},
};

/// Forgets the handshake of the packet in work, its keys and nonces too. One that has rivals leaves the entry that they
/// are found by.
#[inline(always)]
pub(crate) fn free<T: Tables>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>, slot: u32) {
    if entry.flags.load() & HandshakeFacts::RIVALED != 0 {
        entry.empty();
        return;
    }
    entry.forget();
    table::release(tables.half_opens(), slot, work.route.tag.get());
}

/// The token of a session's listener.
#[inline(always)]
pub(crate) fn token_of<M: Memory>(session: &Session<M>) -> u32 {
    session.sides[1].token.load()
}

/// A subflow is over: its session has one less.
#[inline(always)]
pub(crate) fn leave<T: Tables>(tables: &T, subflow: &Subflow<T::Memory>, now: u64) {
    if subflow.flags.or(SubflowFacts::CLOSED) & SubflowFacts::CLOSED != 0 {
        return;
    }
    subflow.closed.store(now.max(1));
    let Some(session) = tables.sessions().slot(subflow.session.load()) else {
        return;
    };
    if session.generation.load() != subflow.generation.load() {
        return;
    }
    session.alone.store(now);
    session.open.add(u32::MAX);
    let ids = subflow.ids.load();
    for side in 0..2 {
        clear_bit(&session.sides[side].used, ids >> (8 * side) & 0xff);
    }
    // Keys are wiped when their session is over.
    let is_over = session.open.load() == 0 && is_session_over(session, &tables.limits(), now);
    if is_over {
        tables.emit(EventKind::SessionClosed, 0, token_of(session));
    }
    if is_over && let Some(place) = tables.keys(subflow.session.load()) {
        place.keys[0].store(0);
        place.keys[1].store(0);
    }
}

/// The packet in work ended its handshake without a subflow: the other packets of its buffer find none, and are
/// stray.
#[inline(always)]
pub(crate) fn count_rest<T: Tables>(tables: &T, work: &Work) {
    let others = u64::from(work.packet.packets) - 1;
    if others != 0 && work.route.seen.get() != 0 {
        tables.count(work.route.direction.get(), |events| {
            events.unknown_flow += others;
        });
    }
}
