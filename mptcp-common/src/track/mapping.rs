//! Mappings that are announced.

use crate::{
    counter::{Fallback, Happening},
    packet::Next,
    state::{Known, Map, Relation, SessionFacts, SubflowFacts, Tables, Way, ticks},
    table::{Memory, Word},
    track::{
        payload::{is_older, is_within_reach},
        repeats::{ask_range, count_mapped, keep_oldest},
        segment::Seen,
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
pub(crate) fn announced<T: Tables>(seen: &Seen<'_, T>) -> Announced {
    let side = &seen.session.sides[seen.side & 1];
    let dss = &seen.work.dss;
    let is_dss = seen.has(Subtype::Dss);
    let capable = seen.options().capable_or_absent().mapping();
    let is_known = seen.session.flags.load() & SessionFacts::KNOWN << seen.side != 0;
    if let Some((length, checksum)) = capable
        && !is_dss
        && is_known
    {
        seen.first(SubflowFacts::CONFIRMED);
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

/// Is a mapping's checksum there if and only if checksums were agreed on (RFC 8684 section 3.3)?
#[inline(always)]
fn check_presence<T: Tables>(seen: &Seen<'_, T>, has_checksum: bool) {
    let is_agreed = seen.session.flags.load() & SessionFacts::CHECKSUM != 0;
    if has_checksum != is_agreed && seen.first(SubflowFacts::CHECKSUM_ODD) {
        seen.first(SubflowFacts::BAD_MAPPING);
        seen.count(|events| events.checksum_presence += 1);
        seen.way().bad_option.store(ticks(seen.now));
    }
}

/// Takes a mapping that is announced into account; returns it, of length 0 if it maps no bytes.
#[inline(always)]
pub(crate) fn announce<T: Tables>(seen: &Seen<'_, T>, announced: &Announced) -> Map {
    let side = &seen.session.sides[seen.side & 1];
    let (dsn, fin) = (announced.dsn, seen.tables.forget(announced.fin));
    if announced.length == 0 {
        if seen.is_old() {
            return Map::NONE;
        }
        infinite(seen, fin != 0 || announced.checksum != 0);
        return Map::NONE;
    }
    check_presence(seen, seen.tables.forget(announced.has_checksum) != 0);
    let facts = seen.session.flags.load();
    if facts & SessionFacts::KNOWN << seen.side == 0
        && seen.first_of_session(SessionFacts::MAP_STARTED)
    {
        side.highest.store(dsn);
        side.idsn.store(dsn);
        side.mapped_set().reset(dsn);
        side.sent_set().reset(dsn);
    }
    let map = Map {
        dsn,
        ssn: seen.tables.forget(announced.ssn),
        length: seen.tables.forget(announced.length.wrapping_sub(fin)),
    };
    if map.length > 0 && (seen.is(SubflowFacts::FOLLOWED) || follow(seen, map)) {
        mapping(seen, map);
    }
    if fin != 0 && !seen.is_old() {
        let end = dsn.wrapping_add(u64::from(map.length)).wrapping_add(1);
        data_fin(seen, end);
    }
    map
}

/// The first mapping that is seen of what one side sends on a subflow that was there before the probe:
/// does it say which relative number its segment has? Then what comes from here on is judged.
#[inline(always)]
fn follow<T: Tables>(seen: &Seen<'_, T>, map: Map) -> bool {
    let packet = &seen.work.packet;
    let way = seen.way();
    if packet.payload == 0 || packet.is_fragment {
        return false;
    }
    if way.base.load() == 0 {
        // One that is as long as its segment begins with it.
        if packet.payload != map.length {
            return false;
        }
        way.base.store(packet.sequence.wrapping_sub(map.ssn));
    }
    // Mappings that nobody saw cover what lies before it, as if it had been acknowledged.
    let start = way.base.load().wrapping_add(map.ssn);
    way.mapped_end.store(map.ssn);
    seen.subflow.sums[seen.side & 1].next.store(map.ssn);
    if after(start, way.acked.load()) {
        way.acked.store(start);
    }
    seen.first(SubflowFacts::FOLLOWED);
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
fn data_fin<T: Tables>(seen: &Seen<'_, T>, end: u64) {
    let side = &seen.session.sides[seen.side & 1];
    lift(&side.highest, end);
    if seen.first_of_session(SessionFacts::FIN) {
        side.fin.store(end);
        seen.count(|events| events.session_fin += 1);
        let is_checked = seen.session.flags.load() & SessionFacts::CHECKSUM != 0;
        if is_checked && seen.work.packet.payload == 0 && seen.tables.verifies_checksums() {
            seen.work.route.ask(Next::CHECKSUM);
        }
    }
    let is_backup = seen.is(SubflowFacts::BACKUP) || seen.is_other(SubflowFacts::BACKUP);
    if is_backup && seen.session.open.load() > 1 && seen.first(SubflowFacts::FIN_ON_BACKUP) {
        let refused = seen.tables.limits().passive_close_refused != 0;
        seen.count(|events| {
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
fn infinite<T: Tables>(seen: &Seen<'_, T>, is_bad: bool) {
    if is_bad {
        // Counted by the look of it.
        seen.first(SubflowFacts::BAD_MAPPING);
        return;
    }
    if seen.session.open.load() > 1 {
        seen.first(SubflowFacts::BAD_MAPPING);
        const FAILS: u32 = SessionFacts::FAIL | SessionFacts::FAIL << 1;
        if seen.session.flags.load() & FAILS == 0 {
            seen.count(|events| events.infinite_too_early += seen.n());
        }
        return;
    }
    if seen.first_of_session(SessionFacts::INFINITE) {
        seen.session.flags.or(SessionFacts::FALLBACK);
        seen.count(|events| {
            events.infinite_set += 1;
            // The other packets of a buffer come after it.
            events.option_after_fallback += seen.n() - 1;
        });
        seen.report(Happening::FellBack, Fallback::InfiniteMapping as u32);
    }
}

/// A mapping of some bytes: is it one that is known, or does it contradict one?
#[inline(always)]
fn mapping<T: Tables>(seen: &Seen<'_, T>, map: Map) {
    seen.first(SubflowFacts::MAPPED);
    let packet = &seen.work.packet;
    let way = seen.way();
    let relative = packet.sequence.wrapping_sub(way.base.load());
    let known = way.compare(map, seen.tables);
    if known != Known::Same {
        if known == Known::Altered {
            seen.count(|events| events.map_altered += 1);
            seen.report(Happening::Error, 75);
        }
        new_mapping(seen, map);
    }
    if packet.payload == 0 {
        return;
    }
    // What the first packet of a buffer maps anew, the others repeat.
    let anew = seen.tables.forget(u32::from(known != Known::Same));
    let again = packet.packets.saturating_sub(anew);
    if again != 0 {
        let old = packet.packets_before(way.next.load()).saturating_sub(anew);
        seen.count(|events| {
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
        let packets = packet.packets_behind(seen.tables.forget(room));
        seen.count(|events| events.more_data += u64::from(packets));
    }
    if relative.wrapping_sub(map.ssn) >= map.length {
        // It does not map what it comes with.
        seen.first(SubflowFacts::BAD_MAPPING);
    }
}

/// A mapping that the subflow has not seen.
#[inline(always)]
fn new_mapping<T: Tables>(seen: &Seen<'_, T>, map: Map) {
    let way = seen.way();
    let side = &seen.session.sides[seen.side & 1];
    if seen.session.flags.load() & SessionFacts::JOINED != 0 {
        keep_oldest(seen);
    }
    way.remember(map);
    if seen.tables.verifies_checksums() {
        seen.work.route.ask(Next::NEW_MAPPING);
    }
    let start = map.dsn;
    let end = start.wrapping_add(map.length.into());
    if start
        .wrapping_sub(side.highest.load())
        .wrapping_add(DATA_WINDOW)
        > 2 * DATA_WINDOW
    {
        seen.first(SubflowFacts::BAD_MAPPING);
        return;
    }
    lift(&side.highest, end);
    let relation = if !is_within_reach(seen, start) || is_older(seen, start) {
        Relation::New
    } else {
        side.mapped_set().insert(start, end, seen.tables)
    };
    if relation == Relation::Lost {
        ask_range(seen, Next::MAPPED_RANGES, start, end);
    } else {
        count_mapped(seen, relation);
    }
    if way.unmapped.load() != 0 {
        map_late(way, map);
    }
}

/// A mapping that came after bytes without any: are these its own?
#[inline(always)]
fn map_late<M: Memory>(way: &Way<M>, map: Map) {
    let base = way.base.load();
    let (mut start, mut end) = (
        way.unmapped_start.load().wrapping_sub(base),
        way.unmapped_end.load().wrapping_sub(base),
    );
    if map.holds(start) {
        start = map.ssn.wrapping_add(map.length);
    }
    if map.holds(end.wrapping_sub(1)) {
        end = map.ssn;
    }
    // Between segments without a mapping there may have been some with one.
    let known = way.mapping_of(start);
    if known.length != 0 {
        start = known.ssn.wrapping_add(known.length);
    }
    if after(end, start) {
        way.unmapped_start.store(base.wrapping_add(start));
        way.unmapped_end.store(base.wrapping_add(end));
    } else {
        way.unmapped.store(0);
    }
}
