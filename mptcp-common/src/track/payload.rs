//! Payload: which mapping it is of, and whether it was sent before.

use crate::{
    state::{Mapping, Relation, SENT, SessionFacts, Tables},
    table::Word,
    track::{
        repeats::{ask_sent, count_sent},
        segment::SubflowSegment,
    },
    wire::{after, after_64},
};

/// A window of TCP, and so of MPTCP, is no larger (RFC 7323 section 2.3): sets of data sequence numbers hold what is
/// as near as that.
const REACH: u64 = 1 << 30;

/// Returns true if data with this number can be on its way, or have been.
#[inline(always)]
pub(crate) fn is_within_reach<T: Tables>(segment: &SubflowSegment<'_, T>, start: u64) -> bool {
    let next = segment.session.sides[segment.side & 1].next[SENT].load();
    start.wrapping_sub(next).wrapping_add(REACH) <= 2 * REACH
}

/// Returns true if this data is older than what is known of a session that did not begin before the probe's eyes.
#[inline(always)]
pub(crate) fn is_older<T: Tables>(segment: &SubflowSegment<'_, T>, start: u64) -> bool {
    let side = &segment.session.sides[segment.side & 1];
    segment.session.flags.load() & SessionFacts::KNOWN << segment.side == 0
        && after_64(side.idsn.load(), start)
}

/// Finds the mapping of the payload, and whether it was sent before.
///
/// Bytes are judged, and not segments: one that has a mapping of its own may have bytes that lie outside.
#[inline(always)]
pub(crate) fn payload<T: Tables>(segment: &SubflowSegment<'_, T>, own: Mapping) {
    let packet = &segment.work.packet;
    let subflow_side = segment.own_side();
    let mut relative = packet.sequence.wrapping_sub(subflow_side.base.load());
    let mut map = if own.holds(relative) {
        own
    } else {
        subflow_side.mapping_of(relative)
    };
    // Bytes that no mapping covers: from and to so many bytes behind the first, and in how many packets.
    let (mut skipped, mut from, mut to, mut bare) = (0, 0, 0, 0);
    if map.length == 0 {
        // Up to where its own mapping begins.
        let lead = own.ssn.wrapping_sub(relative);
        let begins = own.length != 0 && lead < packet.payload;
        skipped = if begins { lead } else { packet.payload };
        (to, bare) = (skipped, packet.packets_of(skipped));
        map = own;
        relative = relative.wrapping_add(skipped);
    }
    let skipped = segment.tables.opaque(skipped);
    let left = packet.payload.wrapping_sub(skipped);
    let offset = relative.wrapping_sub(map.ssn);
    let room = map.length.wrapping_sub(offset);
    let length = segment.tables.opaque(if left > room { room } else { left });
    if left > room {
        let end = relative.wrapping_add(room);
        if !own.holds(end) && subflow_side.mapping_of(end).length == 0 {
            let mapped = skipped.wrapping_add(room);
            let packets = packet.packets_behind(mapped);
            if own.length | segment.old() == 0 {
                segment.count(|events| events.more_data += u64::from(packets));
            }
            from = if bare == 0 { mapped } else { 0 };
            (to, bare) = (packet.payload, bare + packets);
        }
    }
    let (from, to) = (segment.tables.opaque(from), segment.tables.opaque(to));
    let bare = segment.tables.opaque(bare);
    if bare != 0 {
        leave_unmapped(segment, from, to, bare);
    }
    if length != 0 {
        let start = map.dsn.wrapping_add(offset.into());
        sent(segment, map, start, skipped.wrapping_add(length), length);
    }
}

/// Data of a mapping, `length` bytes of it from the data sequence number `start` on, which end `behind` bytes
/// behind the segment's first: counts it if it was sent before.
#[inline(always)]
fn sent<T: Tables>(
    segment: &SubflowSegment<'_, T>,
    map: Mapping,
    start: u64,
    behind: u32,
    length: u32,
) {
    let packet = &segment.work.packet;
    let subflow_side = segment.own_side();
    let side = &segment.session.sides[segment.side & 1];
    let size = packet.segment_size;
    if !is_within_reach(segment, start) || is_older(segment, start) {
        return;
    }
    // Here and below, what the verifier forgets makes it look at the rest once.
    let packets = segment.tables.opaque(packet.packets_of(behind));
    let set = side.sent_set();
    let mut again = 0;
    if packets > 1 {
        again = set.packets_inside(start, size, length, segment.tables);
    }
    again = segment.tables.opaque(again);
    let end = start.wrapping_add(length.into());
    match set.insert(start, end, segment.tables) {
        Relation::New => return,
        Relation::Partial => {}
        Relation::Inside => again = packets,
        Relation::Lost => return ask_sent(segment, map, [start, end], packets, again),
    }
    let again = segment.tables.opaque(again);
    if again != 0 {
        let by_tcp = packet.packets_before(subflow_side.next.load());
        count_sent(segment, map, start, again, by_tcp);
    }
}

/// Bytes of the packet in work that no mapping covers, `from` and `to` so many bytes behind the segment's first,
/// in so many packets.
#[inline(always)]
fn leave_unmapped<T: Tables>(segment: &SubflowSegment<'_, T>, from: u32, to: u32, packets: u32) {
    let subflow_side = segment.own_side();
    let sequence = segment.work.packet.sequence;
    let (start, end) = (sequence.wrapping_add(from), sequence.wrapping_add(to));
    // Not what a keep-alive or a window probe repeats, nor data of the SYN.
    if !after(end, subflow_side.acked.load())
        || !after(end, subflow_side.base.load().wrapping_add(1))
    {
        return;
    }
    let is_first = subflow_side.unmapped.load() == 0;
    if is_first || after(subflow_side.unmapped_start.load(), start) {
        subflow_side.unmapped_start.store(start);
    }
    if is_first || after(end, subflow_side.unmapped_end.load()) {
        subflow_side.unmapped_end.store(end);
    }
    // Not those packets of a buffer that are as old as that.
    let old = if from == 0 {
        segment
            .work
            .packet
            .packets_before(subflow_side.acked.load())
    } else {
        0
    };
    subflow_side.unmapped.add(packets.saturating_sub(old));
}
