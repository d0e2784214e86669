//! Packets of subflows whose handshake is complete: data, mappings and acknowledgments.

use crate::{
    counter::{EventKind, Fallback, Role},
    packet::Next,
    packet::Work,
    state::{Mapping, SessionFacts, SubflowFacts, Tables, is_of_flow, since, ticks},
    table::{Word, bump},
    track::{
        accept::is_next,
        acknowledge::{acknowledge, data_ack},
        mapping::{announce, announced},
        payload::payload,
        segment::{SubflowSegment, settle, touch},
    },
    wire::{DssFlags, Stage, Subtype, TcpFlags, after},
};

/// A packet of an established subflow.
#[inline(always)]
pub fn established<T: Tables>(tables: &T, work: &Work) {
    if work.packet.flags.stage() != Stage::Later {
        return;
    }
    let Some(segment) = SubflowSegment::new(tables, work) else {
        // The flow may have another.
        work.route.ask(Next::ACCEPT);
        return;
    };
    let (work, subflow, session) = (segment.work, segment.subflow, segment.session);
    if !is_of_flow(subflow, work) {
        return;
    }
    let is_closed = subflow.flags.load() & SubflowFacts::CLOSED != 0;
    if is_closed || work.route.next.get() & Next::ACCEPTED == 0 && !is_next(&segment) {
        work.route.ask(Next::ACCEPT);
        return;
    }
    touch(&subflow.last_seen, segment.now);
    touch(&session.last_seen, segment.now);
    let subflow_side = segment.own_side();
    bump(&subflow_side.packets, segment.n());
    bump(&subflow_side.bytes, work.packet.payload.into());
    if session.flags.load() & SessionFacts::PROVISIONAL != 0 && speaks(&segment) {
        settle(&segment);
    }
    if session.flags.load() & SessionFacts::FALLBACK == 0 {
        if work.route.seen.get() & !work.route.valid.get() & !Subtype::Experimental.bit() != 0 {
            subflow_side.bad_option.store(ticks(segment.now));
        }
        data(&segment);
        if work.route.seen.get() & !Subtype::Dss.bit() != 0 {
            work.route.ask(Next::SIGNALS);
        }
    } else {
        work.route.ask(Next::FALLEN_BACK);
        if work.route.seen.get() != 0 && !segment.flags().any(TcpFlags::RST) {
            segment.count(|events| events.option_after_fallback += segment.n());
        }
    }
    if segment.flags().any(TcpFlags::RST) {
        work.route.ask(Next::CLOSE);
        return;
    }
    if tables.opaque(segment.old()) != 0 {
        return;
    }
    acknowledge(&segment);
    let facts = subflow.flags.load();
    let end = work.packet.sequence.wrapping_add(work.packet.payload);
    // Behind a FIN comes no data, and its own number is none.
    if after(end, subflow_side.next.load()) && facts & SubflowFacts::FIN << segment.side == 0 {
        subflow_side.next.store(end);
    }
    const BOTH: u32 = SubflowFacts::FIN_ACKED | SubflowFacts::FIN_ACKED << 1;
    if segment.flags().any(TcpFlags::FIN) || facts & BOTH == BOTH {
        work.route.ask(Next::CLOSE);
    }
}

/// Returns true if the segment has data, or a DATA_ACK, that says that there is a session. One of the ends has to be a host that does not
/// lie, or they have to go on for some time; else what they say is believed when it is acknowledged.
#[inline(always)]
fn speaks<T: Tables>(segment: &SubflowSegment<'_, T>) -> bool {
    let says = segment.work.packet.payload != 0
        || (segment.has(Subtype::Dss) && segment.work.dss.flags().all(DssFlags::ACK));
    let age = since(segment.session.created.load(), segment.now);
    says && (segment.tables.role() == Role::Host || age > FLOOD_TIME) && !segment.is_old()
}

/// Nobody forges sessions for so long only to have them seen.
const FLOOD_TIME: u64 = 10_000_000_000;

/// Mappings, DATA_ACK, DATA_FIN, and data without any of them.
#[inline(always)]
fn data<T: Tables>(segment: &SubflowSegment<'_, T>) {
    let packet = &segment.work.packet;
    let old = segment.old();
    let acks = u32::from(segment.work.dss.flags().0 & DssFlags::ACK) & !old;
    if segment.has(Subtype::Dss) && acks != 0 {
        segment.first(SubflowFacts::CONFIRMED);
        data_ack(segment, &segment.work.dss);
    }
    if segment.work.route.seen.get() == 0 && !segment.flags().any(TcpFlags::RST) {
        plain(segment);
    }
    const MAPS: u32 = Subtype::Dss.bit() | Subtype::MpCapable.bit();
    let mut map = Mapping::NONE;
    let mut is_disputed = 0;
    if segment.work.route.valid.get() & MAPS != 0 {
        let announced = announced(segment);
        if segment.tables.opaque(announced.is_there) != 0 {
            map = announce(segment, &announced);
            // What comes again has the mapping that it had.
            is_disputed = old & u32::from(map.length == 0);
        }
    }
    let map = map.forgotten(segment.tables);
    // The third segment of the handshake is not yet a word.
    const THIRD: u32 = Subtype::MpCapable.bit() | Subtype::MpJoin.bit();
    if segment.work.route.valid.get() & THIRD | old == 0 && segment.first(SubflowFacts::SPOKEN) {
        let long = (segment.work.dss.flags().0 & DssFlags::ACK_8) >> 1;
        let is_long = u32::from(long) & u32::from(segment.has(Subtype::Dss));
        segment
            .session
            .flags
            .or((SessionFacts::LONG * is_long) << segment.side);
    }
    // An infinite mapping has just ended all mappings.
    let facts = segment.session.flags.load();
    let is_mapped = facts & SessionFacts::FALLBACK == 0 && segment.is(SubflowFacts::FOLLOWED);
    let is_disputed = segment.tables.opaque(is_disputed) != 0;
    if packet.payload > 0 && !packet.is_fragment && is_mapped && !is_disputed {
        payload(segment, map);
        if facts & SessionFacts::CHECKSUM != 0 && segment.tables.verifies_checksums() {
            segment.work.route.ask(Next::CHECKSUM);
        }
    }
}

/// A segment without an MPTCP option, not a reset.
#[inline(always)]
fn plain<T: Tables>(segment: &SubflowSegment<'_, T>) {
    let packet = &segment.work.packet;
    if packet.payload > 0 && segment.first(SubflowFacts::BARE) {
        segment.count(|events| events.bare_data += 1);
    }
    if segment.is(SubflowFacts::CONFIRMED)
        || !segment.flags().any(TcpFlags::ACK)
        || segment.is_other(SubflowFacts::FIN)
    {
        return;
    }
    let other = segment.peer_side();
    let acknowledges = after(packet.acknowledgment, other.acked.load())
        && segment.is_other(SubflowFacts::MAPPED)
        && !after(packet.acknowledgment, other.next.load());
    if segment.is(SubflowFacts::SPOKEN) && !acknowledges {
        return;
    }
    let is_initial = segment.subflow.flags.load() & SubflowFacts::JOINED == 0;
    if is_initial
        && segment.session.open.load() <= 1
        && segment.session.flags.load() & SessionFacts::JOINED == 0
    {
        if segment.session.flags.or(SessionFacts::FALLBACK) & SessionFacts::FALLBACK == 0 {
            segment.count(|events| events.fallback_plain_ack += 1);
            segment.emit(EventKind::FellBack, Fallback::PlainSegment as u32);
        }
    } else {
        segment.first(SubflowFacts::PLAIN_ACK);
    }
}
