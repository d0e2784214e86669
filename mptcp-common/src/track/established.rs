//! Packets of subflows whose handshake is complete: data, mappings and acknowledgments.

use super::{
    Fallback, Happening, Stages,
    entry::{session, subflow},
    seen::Seen,
    sequence::{Known, Map, Relation, after, after_64, is_in_window, raise},
    since,
    table::Table as _,
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

/// Is the packet in work a FIN or a reset that its receiver does not take, forged or of an older connection? It
/// changes nothing.
#[inline(always)]
pub fn is_ignored<T: Stages>(tables: &T) -> bool {
    let work = tables.work();
    if !work.packet.flags.any(TcpFlags::FIN | TcpFlags::RST) {
        return false;
    }
    let subflow = tables.subflows().slot(work.route.slot.get());
    subflow.is_some_and(|subflow| {
        let side = work.route.side.get() & 1;
        let way = &subflow.ways[side as usize & 1];
        let end = work.packet.sequence.wrapping_add(work.packet.payload);
        let is_followed = subflow.flags.load() & subflow::FOLLOWED << side != 0;
        subflow.tag.load() == work.tag
            && is_followed
            && !is_in_window(end, way.acked.load(), way.next.load())
    })
}

/// A packet of an established subflow.
#[inline(always)]
pub fn established<T: Stages>(tables: &T) {
    let Some(seen) = Seen::new(tables) else {
        return;
    };
    let (work, subflow, session) = (seen.work, seen.subflow, seen.session);
    if work.packet.flags.stage() != Stage::Later {
        return;
    }
    if subflow.flags.load() & subflow::CLOSED != 0 {
        after_close(&seen);
        return;
    }
    touch(&subflow.last_seen, seen.now);
    touch(&session.last_seen, seen.now);
    let way = seen.way();
    if !seen.is(subflow::FOLLOWED) && way.packets.load() == 0 {
        // The first that is seen of what was there before the probe.
        way.next.store(work.packet.sequence);
        way.acked.store(work.packet.sequence);
    }
    bump(&way.packets, seen.n());
    bump(&way.bytes, work.packet.payload.into());
    if session.flags.load() & session::FALLBACK == 0 {
        if work.route.seen.get() & !work.route.valid.get() & !Subtype::Experimental.bit() != 0 {
            way.bad_option.store(seen.now);
        }
        data(&seen);
        if work.route.seen.get() & !Subtype::Dss.bit() != 0 {
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
    if seen.flags().any(TcpFlags::FIN) || facts & BOTH == BOTH {
        work.route.ask(next::CLOSE);
    }
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
    if !seen.is_other(subflow::FOLLOWED) && other.packets.load() == 0 {
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
        // The receiver took bytes that no mapping covered.
        other.unmapped.store(0);
        // With one subflow that is a fallback, and TCP from now on (RFC 8684 section 3.7).
        let falls_back = seen.session.open.load() <= 1
            && seen.session.flags.or(session::FALLBACK) & session::FALLBACK == 0;
        seen.count_other(|events| {
            events.no_mapping += u64::from(unmapped);
            events.fallback_no_mapping += u64::from(falls_back);
        });
        seen.report(Happening::Error, 70);
        if falls_back {
            seen.report(Happening::FellBack, Fallback::NoMapping as u32);
        }
    }
}

/// Mappings, DATA_ACK, DATA_FIN, and data without any of them.
#[inline(always)]
fn data<T: Stages>(seen: &Seen<'_, T>) {
    let packet = &seen.work.packet;
    let mut map = Map::default();
    if seen.has(Subtype::Dss) {
        let dss = &seen.work.dss;
        if dss.flags().all(DssFlags::ACK) {
            seen.first(subflow::CONFIRMED);
            data_ack(seen, dss);
        }
        if dss.flags().all(DssFlags::MAPPING) {
            map = dss_mapping(seen, dss);
        }
    } else if let Some(option) = seen.option(Subtype::MpCapable) {
        let is_known = seen.session.flags.load() & session::KNOWN << seen.side != 0;
        if option.length() > 20 && option.u16(20) != 0 && is_known {
            seen.first(subflow::CONFIRMED);
            let idsn = seen.session.sides[seen.side & 1].idsn.load();
            let dsn = idsn.wrapping_add(1);
            map = Map {
                dsn,
                ssn: 1,
                length: option.u16(20).into(),
            };
            mapping(seen, map);
        }
    } else if seen.work.route.seen.get() == 0 && !seen.flags().any(TcpFlags::RST) {
        plain(seen);
    }
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
        && after_64(value, theirs.mapped_next.load().wrapping_add(1))
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

/// The mapping of a DSS (RFC 8684 section 3.3.1); of length 0 if it maps no bytes.
#[inline(always)]
fn dss_mapping<T: Stages>(seen: &Seen<'_, T>, dss: &DssFields) -> Map {
    let side = &seen.session.sides[seen.side & 1];
    let (ssn, length) = (dss.subflow_sequence, dss.data_length);
    let facts = seen.session.flags.load();
    let dsn = dss.data_sequence_near(side.highest.load());
    if length == 0 {
        infinite(seen, dss);
        return Map::default();
    }
    if dss.has_checksum() != (facts & session::CHECKSUM != 0) && seen.first(subflow::CHECKSUM_ODD) {
        seen.first(subflow::BAD_MAPPING);
        seen.count(|events| events.checksum_presence += 1);
        seen.way().bad_option.store(seen.now);
    }
    if facts & session::KNOWN << seen.side == 0 && seen.first_of_session(session::MAP_STARTED) {
        side.highest.store(dsn);
        side.idsn.store(dsn);
        side.mapped_set().reset(dsn);
        side.sent_set().reset(dsn);
    }
    let fin = u32::from(dss.flags().all(DssFlags::DATA_FIN));
    let map = Map {
        dsn,
        ssn,
        length: length - fin,
    };
    if map.length > 0 && (seen.is(subflow::FOLLOWED) || follow(seen, map)) {
        mapping(seen, map);
    }
    if fin != 0 {
        data_fin(
            seen,
            dsn.wrapping_add(u64::from(map.length)).wrapping_add(1),
        );
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

/// A mapping of length 0 (RFC 8684 section 3.7).
#[inline(always)]
fn infinite<T: Stages>(seen: &Seen<'_, T>, dss: &DssFields) {
    let alone = seen.session.open.load() <= 1;
    if dss.flags().all(DssFlags::DATA_FIN) || dss.checksum != 0 {
        // Counted by the look of it.
        seen.first(subflow::BAD_MAPPING);
        return;
    }
    if !alone {
        seen.first(subflow::BAD_MAPPING);
        const FAILS: u32 = session::FAIL | session::FAIL << 1;
        if seen.session.flags.load() & FAILS == 0 {
            seen.count(|events| events.infinite_too_early += seen.n());
        }
        return;
    }
    if seen.first_of_session(session::INFINITE) {
        seen.session.flags.or(session::FALLBACK);
        seen.count(|events| events.infinite_set += 1);
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
    let end = packet.sequence.wrapping_add(packet.payload);
    match way.compare(map, seen.tables) {
        Known::Same => {
            if packet.payload > 0 {
                let repeated = !after(end, way.next.load());
                seen.count(|events| {
                    if repeated {
                        events.map_duplicate += seen.n();
                    } else {
                        events.map_repeated += seen.n();
                    }
                });
            }
        }
        known => {
            if known == Known::Altered {
                seen.count(|events| events.map_altered += seen.n());
                seen.report(Happening::Error, 75);
            }
            new_mapping(seen, map);
        }
    }
    if packet.payload == 0 {
        return;
    }
    let offset = relative.wrapping_sub(map.ssn);
    if after(
        relative.wrapping_add(packet.payload),
        map.ssn.wrapping_add(map.length),
    ) {
        seen.count(|events| events.more_data += 1);
    }
    if offset >= map.length {
        // It does not map what it comes with.
        seen.first(subflow::BAD_MAPPING);
    }
}

/// A mapping that the subflow has not seen.
#[inline(always)]
fn new_mapping<T: Stages>(seen: &Seen<'_, T>, map: Map) {
    let way = seen.way();
    let side = &seen.session.sides[seen.side & 1];
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
    let relation = if is_older(seen, start) {
        Relation::New
    } else {
        side.mapped_set().insert(start, end, seen.tables)
    };
    match relation {
        Relation::New => {}
        Relation::Partial => seen.count(|events| events.map_partial += seen.n()),
        Relation::Inside => seen.count(|events| events.map_reinjected += 1),
        Relation::Lost => {
            seen.session.flags.or(session::LOSSY << seen.side);
            seen.count(|events| events.lost_ranges += 1);
        }
    }
    // Bytes that came before their mapping.
    let pending = way.unmapped.load();
    if pending != 0 {
        let last = way
            .unmapped_end
            .load()
            .wrapping_sub(way.base.load())
            .wrapping_sub(1);
        if map.holds(last) {
            way.unmapped.store(0);
        }
    }
}

/// Payload: of which mapping is it, and was it sent before?
#[inline(always)]
fn payload<T: Stages>(seen: &Seen<'_, T>, own: Map) {
    let packet = &seen.work.packet;
    let way = seen.way();
    let end = packet.sequence.wrapping_add(packet.payload);
    let relative = packet.sequence.wrapping_sub(way.base.load());
    let map = if own.holds(relative) {
        own
    } else {
        way.mapping_of(relative)
    };
    let is_old = !after(end, way.next.load());
    if map.length == 0 {
        // Not what a keep-alive or a window probe repeats, nor data of the SYN.
        let acked = way.acked.load();
        if after(end, acked) && own.length == 0 && after(end, way.base.load().wrapping_add(1)) {
            way.unmapped.add(seen.n() as u32);
            way.unmapped_end.store(end);
        }
        return;
    }
    let offset = relative.wrapping_sub(map.ssn);
    let room = map.length - offset;
    let length = if packet.payload > room {
        room
    } else {
        packet.payload
    };
    if packet.payload > room
        && own.length == 0
        && way.mapping_of(relative.wrapping_add(room)).length == 0
    {
        seen.count(|events| events.more_data += 1);
    }
    let side = &seen.session.sides[seen.side & 1];
    let start = map.dsn.wrapping_add(offset.into());
    let relation = if is_older(seen, start) {
        Relation::New
    } else {
        let end = start.wrapping_add(length.into());
        side.sent_set().insert(start, end, seen.tables)
    };
    match relation {
        Relation::New | Relation::Partial => {}
        Relation::Inside => seen.count(|events| {
            events.retransmitted += seen.n();
            if is_old {
                events.retransmitted_subflow += seen.n();
            } else {
                events.reinjected += seen.n();
            }
        }),
        Relation::Lost => {
            seen.session.flags.or(session::LOSSY << seen.side);
            seen.count(|events| events.lost_ranges += 1);
        }
    }
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
