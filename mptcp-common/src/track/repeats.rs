//! Data that was mapped or sent before: counted where that is certain, asked for where it is not.

use crate::{
    packet::Next,
    state::{MAPPED, Mapping, Relation, SENT, SessionFacts, Tables},
    table::Word,
    track::segment::SubflowSegment,
};

/// Asks for the stage: these numbers found no room in their session, or have to be looked for in chunks.
#[inline(always)]
pub(crate) fn ask_range<T: Tables>(
    segment: &SubflowSegment<'_, T>,
    stage: u32,
    start: u64,
    end: u64,
) {
    let which = if stage & Next::SENT_RANGES != 0 {
        SENT
    } else {
        MAPPED
    };
    let [first, behind] = &segment.work.range_search.asked[which];
    first.set(start);
    behind.set(end);
    segment.work.range_search.tries.set(0);
    segment.work.route.ask(stage);
}

/// Asks for the stage for data that was sent in so many packets, of which `again` lie in the ranges of the session, and of its
/// mapping.
#[inline(always)]
pub(crate) fn ask_sent<T: Tables>(
    segment: &SubflowSegment<'_, T>,
    map: Mapping,
    [start, end]: [u64; 2],
    packets: u32,
    again: u32,
) {
    let packet = &segment.work.packet;
    let range_search = &segment.work.range_search;
    range_search.shift.set(map.shift());
    range_search.packets.set(packets);
    range_search.again.set(again);
    // What is behind all that the subflow sent moves on before the stage comes.
    let by_tcp = packet.packets_before(segment.own_side().next.load());
    range_search.by_tcp.set(by_tcp);
    ask_range(segment, Next::SENT_RANGES, start, end);
}

/// Counts a range that is forgotten.
#[inline(always)]
pub(crate) fn count_lost<T: Tables>(segment: &SubflowSegment<'_, T>) {
    segment
        .session
        .flags
        .or(SessionFacts::LOSSY << segment.side);
    segment.count(|events| events.lost_ranges += 1);
}

/// A mapping whose data was mapped before, or part of it.
#[inline(always)]
pub(crate) fn count_mapped<T: Tables>(segment: &SubflowSegment<'_, T>, relation: Relation) {
    match relation {
        Relation::New => {}
        // Where ranges were forgotten, all of it may have been there.
        Relation::Partial
            if segment.session.flags.load() & SessionFacts::LOSSY << segment.side != 0 => {}
        Relation::Partial => segment.count(|events| events.map_partial += 1),
        Relation::Inside => segment.count(|events| events.map_reinjected += 1),
        Relation::Lost => count_lost(segment),
    }
}

/// So many packets of data of a mapping that was sent before, from the data sequence number `start` on; of the packets
/// of their buffer, the first `by_tcp` are not new to the subflow.
#[inline(always)]
pub(crate) fn count_sent<T: Tables>(
    segment: &SubflowSegment<'_, T>,
    map: Mapping,
    start: u64,
    again: u32,
    by_tcp: u32,
) {
    let by_tcp = by_tcp.min(again);
    let mut anew = segment.tables.opaque(again - by_tcp);
    if anew != 0 && segment.session.flags.load() & SessionFacts::JOINED != 0 {
        // Another subflow may have sent it.
        let size = segment.work.packet.segment_size;
        let first = start.wrapping_add(u64::from(by_tcp.wrapping_mul(size)));
        ask_runs(segment, map, first, anew);
        anew = 0;
    }
    segment.count(|events| {
        events.retransmitted += u64::from(again);
        events.retransmitted_subflow += u64::from(by_tcp);
        events.remapped += u64::from(anew);
    });
}

/// As `SubflowSide::keep_oldest`. A run that finds no place is given to the stage here.
#[inline(always)]
pub(crate) fn keep_oldest<T: Tables>(segment: &SubflowSegment<'_, T>) {
    let acked = || {
        segment.session.sides[(segment.side ^ 1) & 1]
            .data_ack
            .load()
    };
    segment.own_side().keep_oldest(acked, |run| {
        segment.work.search.spilled.set(run);
        segment.work.route.ask(Next::RUNS);
        true
    });
}

/// Asks for the stage: so many packets, the first of which begins with the data sequence number `first`, of a mapping,
/// were sent before, and not as the same bytes of their subflow.
#[inline(always)]
fn ask_runs<T: Tables>(segment: &SubflowSegment<'_, T>, map: Mapping, first: u64, packets: u32) {
    let search = &segment.work.search;
    search.first.set(first);
    search.shift.set(map.shift());
    search.packets.set(packets);
    segment.work.route.ask(Next::RUNS);
}
