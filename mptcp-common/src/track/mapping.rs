//! Mappings that are announced.

use crate::{
    counter::{EventKind, Fallback},
    packet::Next,
    state::{
        Mapping, MappingMatch, Relation, SessionFacts, SubflowFacts, SubflowSide, Tables, ticks,
    },
    table::{Memory, Word},
    track::{
        payload::{is_older, is_within_reach},
        repeats::{ask_range, count_mapped, keep_oldest},
        segment::SubflowSegment,
    },
    wire::{DssFlags, Subtype, after, after_64},
};

/// A data sequence number further from the expected one than this belongs to nothing.
const DATA_WINDOW: u64 = 1 << 31;

/// A mapping as the packet in work announces it.
pub(crate) struct Announced {
    /// 0 if there is none.
    pub(crate) is_there: u32,
    pub(crate) dsn: u64,
    pub(crate) ssn: u32,
    /// Data-level length, the DATA_FIN included.
    pub(crate) length: u32,
    /// 1 with a DATA_FIN.
    pub(crate) fin: u32,
    pub(crate) has_checksum: u32,
    /// 0 without one.
    pub(crate) checksum: u32,
}

/// The mapping of a DSS (RFC 8684 section 3.3.1), or that of an MP_CAPABLE with data (section 3.1), which is of
/// the first bytes in both sequence spaces.
#[inline(always)]
pub(crate) fn announced<T: Tables>(segment: &SubflowSegment<'_, T>) -> Announced {
    let side = &segment.session.sides[segment.side & 1];
    let dss = &segment.work.dss;
    let is_dss = segment.has(Subtype::Dss);
    let capable = segment.options().capable_or_absent().mapping();
    let is_known = segment.session.flags.load() & SessionFacts::KNOWN << segment.side != 0;
    if let Some((length, checksum)) = capable
        && !is_dss
        && is_known
    {
        segment.first(SubflowFacts::CONFIRMED);
        return Announced {
            is_there: 1,
            dsn: side.idsn.load().wrapping_add(1),
            ssn: 1,
            length: length.into(),
            fin: 0,
            has_checksum: checksum.is_some().into(),
            checksum: checksum.map_or(0, u32::from),
        };
    }
    Announced {
        is_there: (is_dss && dss.flags().all(DssFlags::MAPPING)).into(),
        dsn: dss.data_sequence_near(side.highest.load()),
        ssn: dss.subflow_sequence,
        length: dss.data_length,
        fin: dss.flags().all(DssFlags::DATA_FIN).into(),
        has_checksum: dss.has_checksum().into(),
        checksum: dss.checksum,
    }
}

/// Checks that a mapping's checksum is there if and only if checksums were agreed on (RFC 8684 section 3.3).
#[inline(always)]
fn check_presence<T: Tables>(segment: &SubflowSegment<'_, T>, has_checksum: u32) {
    let is_agreed = (segment.session.flags.load() / SessionFacts::CHECKSUM) & 1;
    if (has_checksum ^ is_agreed) & !segment.old() != 0 && segment.first(SubflowFacts::CHECKSUM_ODD)
    {
        segment.first(SubflowFacts::BAD_MAPPING);
        segment.count(|events| events.checksum_presence += 1);
        segment.own_side().bad_option.store(ticks(segment.now));
    }
}

/// Takes a mapping that is announced into account; returns it, of length 0 if it maps no bytes, or comes with bytes that
/// were acknowledged and is not theirs.
#[inline(always)]
pub(crate) fn announce<T: Tables>(
    segment: &SubflowSegment<'_, T>,
    announced: &Announced,
) -> Mapping {
    let side = &segment.session.sides[segment.side & 1];
    let (dsn, fin) = (announced.dsn, segment.tables.opaque(announced.fin));
    let old = segment.old();
    if announced.length == 0 {
        if old != 0 {
            return Mapping::NONE;
        }
        infinite(segment, fin != 0 || announced.checksum != 0);
        return Mapping::NONE;
    }
    check_presence(segment, segment.tables.opaque(announced.has_checksum));
    let facts = segment.session.flags.load();
    if facts & SessionFacts::KNOWN << segment.side | old == 0
        && segment.first_of_session(SessionFacts::MAP_STARTED)
    {
        side.highest.store(dsn);
        side.idsn.store(dsn);
        side.mapped_set().reset(dsn);
        side.sent_set().reset(dsn);
    }
    let map = Mapping {
        dsn,
        ssn: segment.tables.opaque(announced.ssn),
        length: segment.tables.opaque(announced.length.wrapping_sub(fin)),
    };
    let is_followed =
        map.length > 0 && (segment.is(SubflowFacts::FOLLOWED) || follow(segment, map));
    if is_followed && !mapping(segment, map) {
        return Mapping::NONE;
    }
    if segment.tables.opaque(fin & !old) != 0 {
        let end = dsn.wrapping_add(u64::from(map.length)).wrapping_add(1);
        data_fin(segment, end);
    }
    map
}

/// The first mapping that is seen of what one side sends on a subflow that was there before the probe:
/// does it say which relative number its segment has? Then what comes from here on is judged.
#[inline(always)]
fn follow<T: Tables>(segment: &SubflowSegment<'_, T>, map: Mapping) -> bool {
    let packet = &segment.work.packet;
    let subflow_side = segment.own_side();
    if packet.payload == 0 || packet.is_fragment || segment.is_old() {
        return false;
    }
    if subflow_side.base.load() == 0 {
        // One that is as long as its segment begins with it.
        if packet.payload != map.length {
            return false;
        }
        subflow_side
            .base
            .store(packet.sequence.wrapping_sub(map.ssn));
    }
    // Mappings that nobody saw cover what lies before it, as if it had been acknowledged.
    let start = subflow_side.base.load().wrapping_add(map.ssn);
    subflow_side.mapped_end.store(map.ssn);
    segment.subflow.sums[segment.side & 1].next.store(map.ssn);
    if after(start, subflow_side.acked.load()) {
        subflow_side.acked.store(start);
    }
    segment.first(SubflowFacts::FOLLOWED);
    true
}

/// Raises a number that only this packet's direction raises. Two CPUs at once could leave the lesser
/// of two, until the next mapping.
#[inline(always)]
fn lift<W: Word<u64>>(word: &W, value: u64) {
    if after_64(value, word.load()) {
        word.store(value);
    }
}

/// A DATA_FIN (RFC 8684 section 3.3.3); `end` is the number behind it.
#[inline(always)]
fn data_fin<T: Tables>(segment: &SubflowSegment<'_, T>, end: u64) {
    let side = &segment.session.sides[segment.side & 1];
    lift(&side.highest, end);
    if segment.first_of_session(SessionFacts::FIN) {
        side.fin.store(end);
        segment.count(|events| events.session_fin += 1);
        let is_checked = segment.session.flags.load() & SessionFacts::CHECKSUM != 0;
        if is_checked && segment.work.packet.payload == 0 && segment.tables.verifies_checksums() {
            segment.work.route.ask(Next::CHECKSUM);
        }
    }
    let is_backup = segment.is(SubflowFacts::BACKUP) || segment.is_other(SubflowFacts::BACKUP);
    if is_backup && segment.session.open.load() > 1 && segment.first(SubflowFacts::FIN_ON_BACKUP) {
        let refused = segment.tables.limits().passive_close_refused != 0;
        segment.count(|events| {
            events.fin_on_backup += 1;
            if refused {
                events.fin_on_backup_refused += 1;
            }
        });
    }
}

/// A mapping of length 0 (RFC 8684 section 3.7). `is_bad`: with a DATA_FIN or a checksum, it is none that ends
/// all mappings.
#[inline(always)]
fn infinite<T: Tables>(segment: &SubflowSegment<'_, T>, is_bad: bool) {
    if is_bad {
        // Counted by the look of it.
        segment.first(SubflowFacts::BAD_MAPPING);
        return;
    }
    if segment.session.open.load() > 1 {
        segment.first(SubflowFacts::BAD_MAPPING);
        const FAILS: u32 = SessionFacts::FAIL | SessionFacts::FAIL << 1;
        if segment.session.flags.load() & FAILS == 0 {
            segment.count(|events| events.infinite_too_early += segment.n());
        }
        return;
    }
    if segment.first_of_session(SessionFacts::INFINITE) {
        segment.session.flags.or(SessionFacts::FALLBACK);
        segment.count(|events| {
            events.infinite_set += 1;
            // The other packets of a buffer come after it.
            events.option_after_fallback += segment.n() - 1;
        });
        segment.emit(EventKind::FellBack, Fallback::InfiniteMapping as u32);
    }
}

/// Returns true if a mapping that comes with bytes that were acknowledged maps these, and to data that was sent. Whoever knows
/// no numbers, and means to say so, has to guess both.
#[inline(always)]
fn is_of_old<T: Tables>(segment: &SubflowSegment<'_, T>, map: Mapping, relative: u32) -> bool {
    let side = &segment.session.sides[segment.side & 1];
    map.holds(relative)
        && !after_64(side.idsn.load(), map.dsn)
        && !after_64(map.dsn.wrapping_add(map.length.into()), side.highest.load())
}

/// A mapping of some bytes: one that is known, or that contradicts one, or a new one. False if it comes with bytes that were
/// acknowledged, and is not theirs.
#[inline(always)]
fn mapping<T: Tables>(segment: &SubflowSegment<'_, T>, map: Mapping) -> bool {
    let packet = &segment.work.packet;
    let subflow_side = segment.own_side();
    let relative = packet.sequence.wrapping_sub(subflow_side.base.load());
    // As a number: the verifier would look at the rest once for each way to it.
    const SAME: u32 = MappingMatch::Same as u32;
    let known = segment
        .tables
        .opaque(subflow_side.compare(map, segment.tables) as u32);
    let is_odd = segment.old() & u32::from(known != SAME);
    if segment.tables.opaque(is_odd) != 0 && !is_of_old(segment, map, relative) {
        return false;
    }
    segment.first(SubflowFacts::MAPPED);
    if known != SAME {
        if known == MappingMatch::Altered as u32 {
            segment.count(|events| events.map_altered += 1);
            segment.emit(EventKind::Error, 75);
        }
        new_mapping(segment, map);
    }
    if packet.payload == 0 {
        return true;
    }
    // What the first packet of a buffer maps anew, the others repeat.
    let anew = segment.tables.opaque(u32::from(known != SAME));
    let again = packet.packets.saturating_sub(anew);
    if again != 0 {
        let old = packet
            .packets_before(subflow_side.next.load())
            .saturating_sub(anew);
        segment.count(|events| {
            events.map_duplicate += u64::from(old);
            events.map_repeated += u64::from(again - old);
        });
    }
    let end = map.ssn.wrapping_add(map.length);
    if after(relative.wrapping_add(packet.payload), end) {
        let room = if after(end, relative) {
            end.wrapping_sub(relative)
        } else {
            0
        };
        let packets = packet.packets_behind(segment.tables.opaque(room));
        segment.count(|events| events.more_data += u64::from(packets));
    }
    if relative.wrapping_sub(map.ssn) >= map.length {
        // It does not map what it comes with.
        segment.first(SubflowFacts::BAD_MAPPING);
    }
    true
}

/// A mapping that the subflow has not seen.
#[inline(always)]
fn new_mapping<T: Tables>(segment: &SubflowSegment<'_, T>, map: Mapping) {
    let subflow_side = segment.own_side();
    let side = &segment.session.sides[segment.side & 1];
    if segment.session.flags.load() & SessionFacts::JOINED != 0 {
        keep_oldest(segment);
    }
    subflow_side.remember(map);
    if segment.tables.verifies_checksums() {
        segment.work.route.ask(Next::NEW_MAPPING);
    }
    let start = map.dsn;
    let end = start.wrapping_add(map.length.into());
    if start
        .wrapping_sub(side.highest.load())
        .wrapping_add(DATA_WINDOW)
        > 2 * DATA_WINDOW
    {
        segment.first(SubflowFacts::BAD_MAPPING);
        return;
    }
    lift(&side.highest, end);
    let relation = if !is_within_reach(segment, start) || is_older(segment, start) {
        Relation::New
    } else {
        side.mapped_set().insert(start, end, segment.tables)
    };
    if relation == Relation::Lost {
        ask_range(segment, Next::MAPPED_RANGES, start, end);
    } else {
        count_mapped(segment, relation);
    }
    if subflow_side.unmapped.load() != 0 {
        map_late(subflow_side, map);
    }
}

/// A mapping that came after bytes without any: these may be its own.
#[inline(always)]
fn map_late<M: Memory>(subflow_side: &SubflowSide<M>, map: Mapping) {
    let base = subflow_side.base.load();
    let (mut start, mut end) = (
        subflow_side.unmapped_start.load().wrapping_sub(base),
        subflow_side.unmapped_end.load().wrapping_sub(base),
    );
    if map.holds(start) {
        start = map.ssn.wrapping_add(map.length);
    }
    if map.holds(end.wrapping_sub(1)) {
        end = map.ssn;
    }
    // Between segments without a mapping there may have been some with one.
    let known = subflow_side.mapping_of(start);
    if known.length != 0 {
        start = known.ssn.wrapping_add(known.length);
    }
    if after(end, start) {
        subflow_side.unmapped_start.store(base.wrapping_add(start));
        subflow_side.unmapped_end.store(base.wrapping_add(end));
    } else {
        subflow_side.unmapped.store(0);
    }
}
