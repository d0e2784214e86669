//! DSS checksums, verified over mappings that span packets.
//!
//! Per subflow and direction one mapping at a time is added up, in the order of its bytes. A mapping
//! of which bytes are missing when a later byte comes is given up: it is counted, and not verified.
//! Each mapping ends in one of three counts, once, however often TCP sends it.
//!
//! Bytes that have a mapping keep it (RFC 8684 section 3.3.1): they are added to the one that is being added
//! up, whatever another says of them, which then cannot be verified. (To Linux that is an invalid mapping:
//! DSSNotMatching.)

use crate::{
    counter::EventKind,
    packet::Work,
    packet::{Next, UNREAD},
    state::{Mapping, SessionFacts, SumFacts, Tables},
    table::Word,
    track::segment::SubflowSegment,
    wire::{DssFlags, Subtype, after, checksum},
};

/// In the facts of a [`SumFacts`](crate::state::Sum), above them: the number of the mapping in its ring.
const NUMBER: u32 = 19;

/// Adds the packet's payload, which was summed, to the sum of its mapping.
#[inline(always)]
pub fn checksum<T: Tables>(tables: &T, work: &Work) {
    let Some(segment) = SubflowSegment::new(tables, work) else {
        return;
    };
    let packet = &segment.work.packet;
    let (own, check) = announced(&segment);
    let subflow_side = segment.own_side();
    if packet.payload == 0 {
        return lone_data_fin(&segment, check);
    }
    let relative = packet.sequence.wrapping_sub(subflow_side.base.load());
    let end = relative.wrapping_add(packet.payload);
    let state = &segment.subflow.sums[segment.side & 1];
    let (reached, facts) = (state.next.load(), state.facts.load());
    let is_open = facts & SumFacts::OPEN != 0;
    let (open, new) = open_and_new(&segment, facts);
    let map = if open.holds(relative) {
        open
    } else if own.holds(relative) {
        own
    } else {
        subflow_side.mapping_of(relative)
    };
    if map.length == 0 {
        return;
    }
    if after(reached, relative) {
        // Sent before, or out of order and given up.
        if new.length > 0 && after(reached, new.ssn) {
            give_up(&segment);
        }
        return;
    }
    let map_end = map.ssn.wrapping_add(map.length);
    let starts = relative == map.ssn;
    let is_same = is_open && map == open;
    let continues = is_same && relative == reached;
    if is_open && !is_same || new != map && new.holds(relative) {
        // The bytes that an earlier mapping lacks were not seen, or those of a later one belong to it.
        give_up(&segment);
    }
    let payload = segment.work.payload_sum.get();
    if !(starts || continues) || payload == UNREAD || after(end, map_end) {
        // One that began before what is known was counted when it was given up for another.
        if is_same || starts || new == map || !after(reached, map.ssn) {
            give_up(&segment);
        }
        state.facts.store(0);
        state.next.store(map_end);
        return;
    }
    let earlier = if starts { 0 } else { state.sum.load() };
    let words = words(payload, relative.wrapping_sub(map.ssn));
    let total = tables.opaque(earlier + u32::from(words));
    // As Linux: what the first segment that has it says.
    let check = if continues && facts & SumFacts::KNOWN != 0 {
        facts & (SumFacts::OPEN - 1)
    } else {
        check * u32::from(own == map)
    };
    state.next.store(end);
    if end == map_end {
        state.facts.store(0);
        judge_mapping(&segment, total, map, check);
    } else {
        state.sum.store(checksum::fold(total.into()));
        let same = facts >> NUMBER;
        let number = if continues {
            same
        } else {
            subflow_side.number_of(map)
        };
        state.facts.store(check | SumFacts::OPEN | number << NUMBER);
    }
}

/// Returns the mapping that is being added up, by the facts of the sum, and the one that the packet has announced.
#[inline(always)]
fn open_and_new<T: Tables>(segment: &SubflowSegment<'_, T>, facts: u32) -> (Mapping, Mapping) {
    let subflow_side = segment.own_side();
    let numbered = |is_there: bool, number: u32| {
        if is_there {
            subflow_side.numbered(number)
        } else {
            Mapping::NONE
        }
    };
    let open = numbered(facts & SumFacts::OPEN != 0, facts >> NUMBER);
    let is_new = segment.work.route.next.get() & Next::NEW_MAPPING != 0;
    (open, numbered(is_new, subflow_side.newest.load()))
}

/// Counts a mapping that cannot be verified.
#[inline(always)]
fn give_up<T: Tables>(segment: &SubflowSegment<'_, T>) {
    segment.count(|events| events.checksum_unverified += 1);
}

/// Counts a mapping of payload whose bytes were all seen.
#[inline(always)]
fn judge_mapping<T: Tables>(segment: &SubflowSegment<'_, T>, sum: u32, map: Mapping, check: u32) {
    let fin = u32::from(check & SumFacts::FIN != 0);
    judge(segment, sum, map.dsn, map.ssn, map.length + fin, check);
}

/// A DATA_FIN without payload: its number, expanded, is the session's last one.
#[inline(always)]
fn lone_data_fin<T: Tables>(segment: &SubflowSegment<'_, T>, check: u32) {
    let dss = &segment.work.dss;
    if dss.data_length == 1 {
        let fin = segment.session.sides[segment.side & 1].fin.load();
        judge(
            segment,
            0,
            fin.wrapping_sub(1),
            dss.subflow_sequence,
            1,
            check,
        );
    }
}

/// Returns the sum of a payload that begins so many bytes behind the first of its mapping: from an odd place on, each
/// byte lies in the other half of its word.
#[inline(always)]
fn words(payload: u64, offset: u32) -> u16 {
    let folded = u16::from_be(checksum::fold(payload) as u16);
    if offset & 1 != 0 {
        folded.swap_bytes()
    } else {
        folded
    }
}

/// The packet's own mapping, its checksum and the facts of that, see [`SumFacts`]; empty without any.
#[inline(always)]
fn announced<T: Tables>(segment: &SubflowSegment<'_, T>) -> (Mapping, u32) {
    const NONE: (Mapping, u32) = (Mapping::NONE, 0);
    let side = &segment.session.sides[segment.side & 1];
    if segment.has(Subtype::Dss) {
        let dss = &segment.work.dss;
        let flags = dss.flags();
        // Of 32 bits the others only follow where the session's first number is known.
        let is_known = segment.session.flags.load() & SessionFacts::KNOWN << segment.side != 0;
        if !flags.all(DssFlags::MAPPING)
            || !dss.has_checksum()
            || !(is_known || flags.all(DssFlags::DSN_8))
        {
            return NONE;
        }
        let has_fin = flags.all(DssFlags::DATA_FIN);
        let map = Mapping {
            dsn: dss.data_sequence_near(side.highest.load()),
            ssn: dss.subflow_sequence,
            length: dss.data_length.wrapping_sub(has_fin.into()),
        };
        let fin = if has_fin { SumFacts::FIN } else { 0 };
        return (map, dss.checksum & 0xffff | SumFacts::KNOWN | fin);
    }
    match segment
        .options()
        .capable()
        .and_then(|capable| capable.mapping())
    {
        Some((length, Some(checksum))) => {
            let map = Mapping {
                dsn: side.idsn.load().wrapping_add(1),
                ssn: 1,
                length: length.into(),
            };
            (map, u32::from(checksum) | SumFacts::KNOWN)
        }
        _ => NONE,
    }
}

/// Counts a mapping whose bytes were all seen.
#[inline(always)]
fn judge<T: Tables>(
    segment: &SubflowSegment<'_, T>,
    payload: u32,
    dsn: u64,
    ssn: u32,
    length: u32,
    check: u32,
) {
    if check & SumFacts::KNOWN == 0 {
        segment.count(|events| events.checksum_unverified += 1);
    } else if checksum::is_right(payload, dsn, ssn, length, check & 0xffff) {
        segment.count(|events| events.checksum_verified += 1);
    } else {
        segment.count(|events| events.checksum_failed += 1);
        segment.emit(EventKind::Error, 60);
    }
}
