//! Packets of subflows whose handshake is complete: data, mappings and acknowledgments.

use super::{
    Fallback, Happening, Memory, Stages,
    accept::is_next,
    entry::{MAPPED, SENT, Way, session, subflow},
    open::is_of_flow,
    ranges, runs,
    seen::Seen,
    sequence::{Known, Map, Relation, after, after_64, raise},
    since, ticks,
    word::{Word, bump},
};
use crate::{
    engine::next,
    wire::{DssFields, DssFlags, Stage, Subtype, TcpFlags},
};

/// An option so long after its subflow was closed is an error (OptSesEr).
const AFTER_CLOSE_TIME: u64 = 2_000_000_000;
/// A data sequence number further from the expected one than this belongs to nothing.
const DATA_WINDOW: u64 = 1 << 31;

/// A packet of an established subflow.
#[inline(always)]
pub fn established<T: Stages>(tables: &T) {
    let Some(seen) = Seen::new(tables) else {
        return;
    };
    let (work, subflow, session) = (seen.work, seen.subflow, seen.session);
    if work.packet.flags.stage() != Stage::Later || !is_of_flow(subflow, work) {
        return;
    }
    if subflow.flags.load() & subflow::CLOSED != 0 {
        after_close(&seen);
        return;
    }
    if work.route.next.get() & next::ACCEPTED == 0 && !is_next(&seen) {
        work.route.ask(next::ACCEPT);
        return;
    }
    touch(&subflow.last_seen, seen.now);
    touch(&session.last_seen, seen.now);
    let way = seen.way();
    bump(&way.packets, seen.n());
    bump(&way.bytes, work.packet.payload.into());
    if session.flags.load() & session::PROVISIONAL != 0 && speaks(&seen) {
        session.flags.and(!session::PROVISIONAL);
    }
    if session.flags.load() & session::FALLBACK == 0 {
        if work.route.seen.get() & !work.route.valid.get() & !Subtype::Experimental.bit() != 0 {
            way.bad_option.store(ticks(seen.now));
        }
        data(&seen);
        if work.route.seen.get() & !Subtype::Dss.bit() != 0 && !seen.is_old() {
            work.route.ask(next::SIGNALS);
        }
    } else {
        work.route.ask(next::FALLEN_BACK);
        if work.route.seen.get() != 0 && !seen.flags().any(TcpFlags::RST) {
            seen.count(|events| events.option_after_fallback += seen.n());
        }
    }
    if seen.flags().any(TcpFlags::RST) {
        work.route.ask(next::CLOSE);
        return;
    }
    acknowledge(&seen);
    let facts = subflow.flags.load();
    let end = work.packet.sequence.wrapping_add(work.packet.payload);
    // Behind a FIN comes no data, and its own number is none.
    if after(end, way.next.load()) && facts & subflow::FIN << seen.side == 0 {
        way.next.store(end);
    }
    const BOTH: u32 = subflow::FIN_ACKED | subflow::FIN_ACKED << 1;
    if (seen.flags().any(TcpFlags::FIN) && !seen.is_old()) || facts & BOTH == BOTH {
        work.route.ask(next::CLOSE);
    }
}

/// Has the segment data, or a DATA_ACK?
#[inline(always)]
fn speaks<T: Stages>(seen: &Seen<'_, T>) -> bool {
    seen.work.packet.payload != 0
        || (seen.has(Subtype::Dss) && seen.work.dss.flags().all(DssFlags::ACK))
}

/// Notes when something was seen. Once per tick of the clock: both directions share this cache line.
#[inline(always)]
pub(super) fn touch<W: Word<u64>>(last_seen: &W, now: u64) {
    if last_seen.load() != now {
        last_seen.store(now);
    }
}

/// An option on a subflow that was closed.
#[inline(always)]
fn after_close<T: Stages>(seen: &Seen<'_, T>) {
    let closed = seen.subflow.closed.load();
    if seen.work.route.seen.get() == 0
        || seen.flags().any(TcpFlags::RST)
        || since(closed, seen.now) <= AFTER_CLOSE_TIME
        || seen.subflow.flags.or(subflow::AFTER_CLOSE) & subflow::AFTER_CLOSE != 0
    {
        return;
    }
    let has_dss = seen.has(Subtype::Dss);
    seen.report(Happening::Error, 53);
    seen.count(|events| {
        events.option_no_session += 1;
        if has_dss {
            events.dss_no_subflow += 1;
        }
    });
}

/// What the segment acknowledges of the other side's data, at the level of TCP.
#[inline(always)]
fn acknowledge<T: Stages>(seen: &Seen<'_, T>) {
    if !seen.flags().any(TcpFlags::ACK) {
        return;
    }
    let acknowledgment = seen.work.packet.acknowledgment;
    if seen.way().last_ack.load() == acknowledgment {
        // As most data packets: the other direction's cache line is left alone.
        return;
    }
    let other = seen.other_way();
    let (acked, next) = (other.acked.load(), other.next.load());
    if seen.is_other(subflow::FIN) && after(acknowledgment, other.fin.load()) {
        seen.subflow.flags.or(subflow::FIN_ACKED << (seen.side ^ 1));
    }
    if seen.subflow.ids.load() & subflow::NUMBERS << (seen.side ^ 1) == 0 {
        return;
    }
    if !after(acknowledgment, next.wrapping_add(1)) {
        seen.way().last_ack.store(acknowledgment);
    }
    // The FIN's own number is not data.
    let reached = if after(acknowledgment, next) {
        next
    } else {
        acknowledgment
    };
    if !after(reached, acked) {
        return;
    }
    other.acked.store(reached);
    if seen.work.route.next.get() & next::FALLEN_BACK == 0 {
        seen.count(|events| events.fresh_ack += 1);
    }
    let unmapped = other.unmapped.load();
    if unmapped != 0 && !after(other.unmapped_end.load(), reached) {
        other.unmapped.store(0);
        take_unmapped(seen, unmapped);
    }
}

/// The receiver took bytes that no mapping covers, in so many packets of the other side.
///
/// With one subflow that is a fallback, and TCP from now on (RFC 8684 section 3.7). A receiver that goes on
/// with DATA_ACKs has not fallen back, and one whose DATA_ACK goes beyond all that was mapped knew a mapping
/// that was not seen here.
#[inline(always)]
fn take_unmapped<T: Stages>(seen: &Seen<'_, T>, packets: u32) {
    let mut speaks_mptcp = false;
    if seen.has(Subtype::Dss) && seen.work.dss.flags().all(DssFlags::ACK) {
        let data_ack = seen
            .work
            .dss
            .data_ack_near(seen.session.sides[seen.side & 1].data_ack.load());
        let theirs = &seen.session.sides[(seen.side ^ 1) & 1];
        if after_64(data_ack, theirs.highest.load()) {
            return;
        }
        speaks_mptcp = true;
    }
    let falls_back = !speaks_mptcp
        && seen.session.open.load() <= 1
        && seen.session.flags.or(session::FALLBACK) & session::FALLBACK == 0;
    seen.count_other(|events| {
        events.no_mapping += u64::from(packets);
        events.fallback_no_mapping += u64::from(falls_back);
    });
    seen.report(Happening::Error, 70);
    if falls_back {
        seen.report(Happening::FellBack, Fallback::NoMapping as u32);
    }
}

/// Mappings, DATA_ACK, DATA_FIN, and data without any of them.
#[inline(always)]
fn data<T: Stages>(seen: &Seen<'_, T>) {
    let packet = &seen.work.packet;
    if seen.has(Subtype::Dss) && seen.work.dss.flags().all(DssFlags::ACK) {
        seen.first(subflow::CONFIRMED);
        data_ack(seen, &seen.work.dss);
    }
    if seen.work.route.seen.get() == 0 && !seen.flags().any(TcpFlags::RST) {
        plain(seen);
    }
    const MAPS: u32 = Subtype::Dss.bit() | Subtype::MpCapable.bit();
    let mut map = Map::NONE;
    if seen.work.route.valid.get() & MAPS != 0 {
        let announced = announced(seen);
        if seen.tables.forget(announced.is_there) != 0 {
            map = announce(seen, &announced);
        }
    }
    let map = map.forgotten(seen.tables);
    // The third segment of the handshake is not yet a word.
    const THIRD: u32 = Subtype::MpCapable.bit() | Subtype::MpJoin.bit();
    if seen.work.route.valid.get() & THIRD == 0 {
        seen.first(subflow::SPOKEN);
    }
    // An infinite mapping has just ended all mappings.
    let facts = seen.session.flags.load();
    let is_mapped = facts & session::FALLBACK == 0 && seen.is(subflow::FOLLOWED);
    if packet.payload > 0 && !packet.is_fragment && is_mapped {
        payload(seen, map);
        if facts & session::CHECKSUM != 0 && seen.tables.verifies_checksums() {
            seen.work.route.ask(next::CHECKSUM);
        }
    }
}

/// A DATA_ACK (RFC 8684 section 3.3.2).
#[inline(always)]
fn data_ack<T: Stages>(seen: &Seen<'_, T>, dss: &DssFields) {
    let ours = &seen.session.sides[seen.side & 1];
    let highest = ours.data_ack.load();
    let value = dss.data_ack_near(highest);
    let facts = seen.session.flags.load();
    let is_known = facts & session::KNOWN << (seen.side ^ 1) != 0;
    if is_known && !after_64(value, highest) {
        // As most data packets: the other side's cache line is left alone.
        return;
    }
    let theirs = &seen.session.sides[(seen.side ^ 1) & 1];
    if !is_known {
        // Without the key of whose data this acknowledges, the first value is where it starts.
        if seen.first_of_session(session::ACK_STARTED) {
            ours.data_ack.store(value);
            return;
        }
    } else if after_64(value, theirs.highest.load().wrapping_add(1))
        && after_64(value, theirs.next[MAPPED].load().wrapping_add(1))
    {
        // Beyond what was sent, or sent where the probe does not see it.
        seen.count(|events| events.data_ack_beyond += seen.n());
        return;
    }
    if raise(&ours.data_ack, value) {
        seen.count(|events| events.fresh_data_ack += 1);
        theirs.mapped_set().acknowledge(value);
        theirs.sent_set().acknowledge(value);
        let fin = theirs.fin.load();
        if facts & session::FIN << (seen.side ^ 1) != 0 && !after_64(fin, value) {
            seen.session.flags.or(session::FIN_ACKED << (seen.side ^ 1));
        }
    }
}

/// A mapping as the packet in work announces it.
struct Announced {
    /// 0 if there is none.
    is_there: u32,
    dsn: u64,
    ssn: u32,
    /// Data-level length, the DATA_FIN included.
    length: u32,
    /// 1 with a DATA_FIN.
    fin: u32,
    has_checksum: u32,
    /// 0 without one.
    checksum: u32,
}

/// The mapping of a DSS (RFC 8684 section 3.3.1), or that of an MP_CAPABLE with data (section 3.1), which is of
/// the first bytes in both sequence spaces.
#[inline(always)]
fn announced<T: Stages>(seen: &Seen<'_, T>) -> Announced {
    let side = &seen.session.sides[seen.side & 1];
    let dss = &seen.work.dss;
    let is_dss = seen.has(Subtype::Dss);
    let option = seen.option_or_empty(Subtype::MpCapable);
    let is_known = seen.session.flags.load() & session::KNOWN << seen.side != 0;
    let is_capable = !is_dss && option.length() > 20 && is_known;
    if is_capable {
        seen.first(subflow::CONFIRMED);
        let has_checksum = option.length() > 22;
        return Announced {
            is_there: 1,
            dsn: side.idsn.load().wrapping_add(1),
            ssn: 1,
            length: option.u16(20).into(),
            fin: 0,
            has_checksum: has_checksum.into(),
            checksum: if has_checksum {
                option.u16(22).into()
            } else {
                0
            },
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
fn check_presence<T: Stages>(seen: &Seen<'_, T>, has_checksum: bool) {
    let is_agreed = seen.session.flags.load() & session::CHECKSUM != 0;
    if has_checksum != is_agreed && seen.first(subflow::CHECKSUM_ODD) {
        seen.first(subflow::BAD_MAPPING);
        seen.count(|events| events.checksum_presence += 1);
        seen.way().bad_option.store(ticks(seen.now));
    }
}

/// Takes a mapping that is announced into account; returns it, of length 0 if it maps no bytes.
#[inline(always)]
fn announce<T: Stages>(seen: &Seen<'_, T>, announced: &Announced) -> Map {
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
    if facts & session::KNOWN << seen.side == 0 && seen.first_of_session(session::MAP_STARTED) {
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
    if map.length > 0 && (seen.is(subflow::FOLLOWED) || follow(seen, map)) {
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
fn follow<T: Stages>(seen: &Seen<'_, T>, map: Map) -> bool {
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
    seen.first(subflow::FOLLOWED);
    true
}

/// A window of TCP, and so of MPTCP, is no larger (RFC 7323 section 2.3): sets of data sequence numbers hold what is
/// as near as that.
const REACH: u64 = 1 << 30;

/// Can data with this number be on its way, or have been?
#[inline(always)]
fn is_within_reach<T: Stages>(seen: &Seen<'_, T>, start: u64) -> bool {
    let next = seen.session.sides[seen.side & 1].next[SENT].load();
    start.wrapping_sub(next).wrapping_add(REACH) <= 2 * REACH
}

/// Is this data older than what is known of a session that did not begin before the probe's eyes?
#[inline(always)]
fn is_older<T: Stages>(seen: &Seen<'_, T>, start: u64) -> bool {
    let side = &seen.session.sides[seen.side & 1];
    seen.session.flags.load() & session::KNOWN << seen.side == 0
        && after_64(side.idsn.load(), start)
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
fn data_fin<T: Stages>(seen: &Seen<'_, T>, end: u64) {
    let side = &seen.session.sides[seen.side & 1];
    lift(&side.highest, end);
    if seen.first_of_session(session::FIN) {
        side.fin.store(end);
        seen.count(|events| events.session_fin += 1);
        let is_checked = seen.session.flags.load() & session::CHECKSUM != 0;
        if is_checked && seen.work.packet.payload == 0 && seen.tables.verifies_checksums() {
            seen.work.route.ask(next::CHECKSUM);
        }
    }
    let is_backup = seen.is(subflow::BACKUP) || seen.is_other(subflow::BACKUP);
    if is_backup && seen.session.open.load() > 1 && seen.first(subflow::FIN_ON_BACKUP) {
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
fn infinite<T: Stages>(seen: &Seen<'_, T>, is_bad: bool) {
    if is_bad {
        // Counted by the look of it.
        seen.first(subflow::BAD_MAPPING);
        return;
    }
    if seen.session.open.load() > 1 {
        seen.first(subflow::BAD_MAPPING);
        const FAILS: u32 = session::FAIL | session::FAIL << 1;
        if seen.session.flags.load() & FAILS == 0 {
            seen.count(|events| events.infinite_too_early += seen.n());
        }
        return;
    }
    if seen.first_of_session(session::INFINITE) {
        seen.session.flags.or(session::FALLBACK);
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
fn mapping<T: Stages>(seen: &Seen<'_, T>, map: Map) {
    seen.first(subflow::MAPPED);
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
        seen.first(subflow::BAD_MAPPING);
    }
}

/// A mapping that the subflow has not seen.
#[inline(always)]
fn new_mapping<T: Stages>(seen: &Seen<'_, T>, map: Map) {
    let way = seen.way();
    let side = &seen.session.sides[seen.side & 1];
    if seen.session.flags.load() & session::JOINED != 0 {
        runs::keep_oldest(seen);
    }
    way.remember(map);
    if seen.tables.verifies_checksums() {
        seen.work.route.ask(next::NEW_MAPPING);
    }
    let start = map.dsn;
    let end = start.wrapping_add(map.length.into());
    if start
        .wrapping_sub(side.highest.load())
        .wrapping_add(DATA_WINDOW)
        > 2 * DATA_WINDOW
    {
        seen.first(subflow::BAD_MAPPING);
        return;
    }
    lift(&side.highest, end);
    let relation = if !is_within_reach(seen, start) || is_older(seen, start) {
        Relation::New
    } else {
        side.mapped_set().insert(start, end, seen.tables)
    };
    if relation == Relation::Lost {
        ranges::ask(seen, next::MAPPED_RANGES, start, end);
    } else {
        count_mapped(seen, relation);
    }
    if way.unmapped.load() != 0 {
        map_late(way, map);
    }
}

/// A mapping whose data was mapped before, or part of it.
#[inline(always)]
pub(super) fn count_mapped<T: Stages>(seen: &Seen<'_, T>, relation: Relation) {
    match relation {
        Relation::New => {}
        // Where ranges were forgotten, all of it may have been there.
        Relation::Partial if seen.session.flags.load() & session::LOSSY << seen.side != 0 => {}
        Relation::Partial => seen.count(|events| events.map_partial += 1),
        Relation::Inside => seen.count(|events| events.map_reinjected += 1),
        Relation::Lost => ranges::count_lost(seen),
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

/// Bytes of the packet in work that no mapping covers, `from` and `to` so many bytes behind the segment's first,
/// in so many packets.
#[inline(always)]
fn leave_unmapped<T: Stages>(seen: &Seen<'_, T>, from: u32, to: u32, packets: u32) {
    let way = seen.way();
    let sequence = seen.work.packet.sequence;
    let (start, end) = (sequence.wrapping_add(from), sequence.wrapping_add(to));
    // Not what a keep-alive or a window probe repeats, nor data of the SYN.
    if !after(end, way.acked.load()) || !after(end, way.base.load().wrapping_add(1)) {
        return;
    }
    let is_first = way.unmapped.load() == 0;
    if is_first || after(way.unmapped_start.load(), start) {
        way.unmapped_start.store(start);
    }
    if is_first || after(end, way.unmapped_end.load()) {
        way.unmapped_end.store(end);
    }
    // Not those packets of a buffer that are as old as that.
    let old = if from == 0 {
        seen.work.packet.packets_before(way.acked.load())
    } else {
        0
    };
    way.unmapped.add(packets.saturating_sub(old));
}

/// Payload: of which mapping is it, and was it sent before?
///
/// Bytes are judged, and not segments: one that has a mapping of its own may have bytes that lie outside.
#[inline(always)]
fn payload<T: Stages>(seen: &Seen<'_, T>, own: Map) {
    let packet = &seen.work.packet;
    let way = seen.way();
    let mut relative = packet.sequence.wrapping_sub(way.base.load());
    let mut map = if own.holds(relative) {
        own
    } else {
        way.mapping_of(relative)
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
    let skipped = seen.tables.forget(skipped);
    let left = packet.payload.wrapping_sub(skipped);
    let offset = relative.wrapping_sub(map.ssn);
    let room = map.length.wrapping_sub(offset);
    let length = seen.tables.forget(if left > room { room } else { left });
    if left > room {
        let end = relative.wrapping_add(room);
        if !own.holds(end) && way.mapping_of(end).length == 0 {
            let mapped = skipped.wrapping_add(room);
            let packets = packet.packets_behind(mapped);
            if own.length == 0 {
                seen.count(|events| events.more_data += u64::from(packets));
            }
            from = if bare == 0 { mapped } else { 0 };
            (to, bare) = (packet.payload, bare + packets);
        }
    }
    let (from, to) = (seen.tables.forget(from), seen.tables.forget(to));
    let bare = seen.tables.forget(bare);
    if bare != 0 {
        leave_unmapped(seen, from, to, bare);
    }
    if length != 0 {
        let start = map.dsn.wrapping_add(offset.into());
        sent(seen, map, start, skipped.wrapping_add(length), length);
    }
}

/// Data of a mapping, `length` bytes of it from the data sequence number `start` on, which end `behind` bytes
/// behind the segment's first: was it sent before?
#[inline(always)]
fn sent<T: Stages>(seen: &Seen<'_, T>, map: Map, start: u64, behind: u32, length: u32) {
    let packet = &seen.work.packet;
    let way = seen.way();
    let side = &seen.session.sides[seen.side & 1];
    let size = packet.segment_size;
    if !is_within_reach(seen, start) || is_older(seen, start) {
        return;
    }
    // Here and below, what the verifier forgets makes it look at the rest once.
    let packets = seen.tables.forget(packet.packets_of(behind));
    let set = side.sent_set();
    let mut again = 0;
    if packets > 1 {
        again = set.packets_inside(start, size, length, seen.tables);
    }
    again = seen.tables.forget(again);
    let end = start.wrapping_add(length.into());
    match set.insert(start, end, seen.tables) {
        Relation::New => return,
        Relation::Partial => {}
        Relation::Inside => again = packets,
        Relation::Lost => return ranges::ask_sent(seen, map, [start, end], packets, again),
    }
    let again = seen.tables.forget(again);
    if again != 0 {
        let by_tcp = packet.packets_before(way.next.load());
        count_sent(seen, map, start, again, by_tcp);
    }
}

/// So many packets of data of a mapping that was sent before, from the data sequence number `start` on; of the packets
/// of their buffer, the first `by_tcp` are not new to the subflow.
#[inline(always)]
pub(super) fn count_sent<T: Stages>(
    seen: &Seen<'_, T>,
    map: Map,
    start: u64,
    again: u32,
    by_tcp: u32,
) {
    let by_tcp = by_tcp.min(again);
    let mut anew = seen.tables.forget(again - by_tcp);
    if anew != 0 && seen.session.flags.load() & session::JOINED != 0 {
        // Another subflow may have sent it.
        let size = seen.work.packet.segment_size;
        let first = start.wrapping_add(u64::from(by_tcp.wrapping_mul(size)));
        runs::ask(seen, map, first, anew);
        anew = 0;
    }
    seen.count(|events| {
        events.retransmitted += u64::from(again);
        events.retransmitted_subflow += u64::from(by_tcp);
        events.remapped += u64::from(anew);
    });
}

/// A segment without an MPTCP option, not a reset.
#[inline(always)]
fn plain<T: Stages>(seen: &Seen<'_, T>) {
    let packet = &seen.work.packet;
    if packet.payload > 0 && seen.first(subflow::BARE) {
        seen.count(|events| events.bare_data += 1);
    }
    if seen.is(subflow::CONFIRMED)
        || !seen.flags().any(TcpFlags::ACK)
        || seen.is_other(subflow::FIN)
    {
        return;
    }
    let other = seen.other_way();
    let acknowledges = after(packet.acknowledgment, other.acked.load())
        && seen.is_other(subflow::MAPPED)
        && !after(packet.acknowledgment, other.next.load());
    if seen.is(subflow::SPOKEN) && !acknowledges {
        return;
    }
    let is_initial = seen.subflow.flags.load() & subflow::JOINED == 0;
    if is_initial
        && seen.session.open.load() <= 1
        && seen.session.flags.load() & session::JOINED == 0
    {
        if seen.session.flags.or(session::FALLBACK) & session::FALLBACK == 0 {
            seen.count(|events| events.fallback_plain_ack += 1);
            seen.report(Happening::FellBack, Fallback::PlainSegment as u32);
        }
    } else {
        seen.first(subflow::PLAIN_ACK);
    }
}
