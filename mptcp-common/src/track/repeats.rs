//! Data that was mapped or sent before: counted where that is certain, asked for where it is not.

use crate::{
    packet::Next,
    state::{MAPPED, Map, Relation, SENT, SessionFacts, Tables},
    table::Word,
    track::segment::Seen,
};

/// Asks for the stage: these numbers found no room in their session, or have to be looked for in chunks.
#[inline(always)]
pub(crate) fn ask_range<T: Tables>(seen: &Seen<'_, T>, stage: u32, start: u64, end: u64) {
    let which = if stage & Next::SENT_RANGES != 0 {
        SENT
    } else {
        MAPPED
    };
    let [first, behind] = &seen.work.insertion.asked[which];
    first.set(start);
    behind.set(end);
    seen.work.insertion.tries.set(0);
    seen.work.route.ask(stage);
}

/// The same of data that was sent in so many packets, of which `again` lie in the ranges of the session, and of its
/// mapping.
#[inline(always)]
pub(crate) fn ask_sent<T: Tables>(
    seen: &Seen<'_, T>,
    map: Map,
    [start, end]: [u64; 2],
    packets: u32,
    again: u32,
) {
    let packet = &seen.work.packet;
    let insertion = &seen.work.insertion;
    insertion.shift.set(map.shift());
    insertion.packets.set(packets);
    insertion.again.set(again);
    // What is behind all that the subflow sent moves on before the stage comes.
    let by_tcp = packet.packets_before(seen.way().next.load());
    insertion.by_tcp.set(by_tcp);
    ask_range(seen, Next::SENT_RANGES, start, end);
}

/// Counts a range that is forgotten.
#[inline(always)]
pub(crate) fn count_lost<T: Tables>(seen: &Seen<'_, T>) {
    seen.session.flags.or(SessionFacts::LOSSY << seen.side);
    seen.count(|events| events.lost_ranges += 1);
}

/// A mapping whose data was mapped before, or part of it.
#[inline(always)]
pub(crate) fn count_mapped<T: Tables>(seen: &Seen<'_, T>, relation: Relation) {
    match relation {
        Relation::New => {}
        // Where ranges were forgotten, all of it may have been there.
        Relation::Partial if seen.session.flags.load() & SessionFacts::LOSSY << seen.side != 0 => {}
        Relation::Partial => seen.count(|events| events.map_partial += 1),
        Relation::Inside => seen.count(|events| events.map_reinjected += 1),
        Relation::Lost => count_lost(seen),
    }
}

/// So many packets of data of a mapping that was sent before, from the data sequence number `start` on; of the packets
/// of their buffer, the first `by_tcp` are not new to the subflow.
#[inline(always)]
pub(crate) fn count_sent<T: Tables>(
    seen: &Seen<'_, T>,
    map: Map,
    start: u64,
    again: u32,
    by_tcp: u32,
) {
    let by_tcp = by_tcp.min(again);
    let mut anew = seen.tables.forget(again - by_tcp);
    if anew != 0 && seen.session.flags.load() & SessionFacts::JOINED != 0 {
        // Another subflow may have sent it.
        let size = seen.work.packet.segment_size;
        let first = start.wrapping_add(u64::from(by_tcp.wrapping_mul(size)));
        ask_runs(seen, map, first, anew);
        anew = 0;
    }
    seen.count(|events| {
        events.retransmitted += u64::from(again);
        events.retransmitted_subflow += u64::from(by_tcp);
        events.remapped += u64::from(anew);
    });
}

/// As [`Way::keep_oldest`]. A run that finds no place is given to the stage here.
#[inline(always)]
pub(crate) fn keep_oldest<T: Tables>(seen: &Seen<'_, T>) {
    let acked = || seen.session.sides[(seen.side ^ 1) & 1].data_ack.load();
    seen.way().keep_oldest(acked, |run| {
        seen.work.recall.spilled.set(run);
        seen.work.route.ask(Next::RUNS);
        true
    });
}

/// Asks for the stage: so many packets, the first of which begins with the data sequence number `first`, of a mapping,
/// were sent before, and not as the same bytes of their subflow.
#[inline(always)]
fn ask_runs<T: Tables>(seen: &Seen<'_, T>, map: Map, first: u64, packets: u32) {
    let recall = &seen.work.recall;
    recall.first.set(first);
    recall.shift.set(map.shift());
    recall.packets.set(packets);
    seen.work.route.ask(Next::RUNS);
}
