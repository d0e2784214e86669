//! Packets of subflows whose handshake is complete: data, mappings and acknowledgments.

use crate::{
    counter::{Fallback, Happening},
    packet::Next,
    packet::Work,
    state::{Map, SessionFacts, SubflowFacts, Tables, is_of_flow, since, ticks},
    table::{Word, bump},
    track::{
        accept::is_next,
        acknowledge::{acknowledge, data_ack},
        mapping::{announce, announced},
        payload::payload,
        segment::{Seen, touch},
    },
    wire::{DssFlags, Stage, Subtype, TcpFlags, after},
};

/// An option so long after its subflow was closed is an error (OptSesEr).
const AFTER_CLOSE_TIME: u64 = 2_000_000_000;

/// A packet of an established subflow.
#[inline(always)]
pub fn established<T: Tables>(tables: &T, work: &Work) {
    let Some(seen) = Seen::new(tables, work) else {
        return;
    };
    let (work, subflow, session) = (seen.work, seen.subflow, seen.session);
    if work.packet.flags.stage() != Stage::Later || !is_of_flow(subflow, work) {
        return;
    }
    if subflow.flags.load() & SubflowFacts::CLOSED != 0 {
        after_close(&seen);
        return;
    }
    if work.route.next.get() & Next::ACCEPTED == 0 && !is_next(&seen) {
        work.route.ask(Next::ACCEPT);
        return;
    }
    touch(&subflow.last_seen, seen.now);
    touch(&session.last_seen, seen.now);
    let way = seen.way();
    bump(&way.packets, seen.n());
    bump(&way.bytes, work.packet.payload.into());
    if session.flags.load() & SessionFacts::PROVISIONAL != 0 && speaks(&seen) {
        session.flags.and(!SessionFacts::PROVISIONAL);
    }
    if session.flags.load() & SessionFacts::FALLBACK == 0 {
        if work.route.seen.get() & !work.route.valid.get() & !Subtype::Experimental.bit() != 0 {
            way.bad_option.store(ticks(seen.now));
        }
        data(&seen);
        if work.route.seen.get() & !Subtype::Dss.bit() != 0 && !seen.is_old() {
            work.route.ask(Next::SIGNALS);
        }
    } else {
        work.route.ask(Next::FALLEN_BACK);
        if work.route.seen.get() != 0 && !seen.flags().any(TcpFlags::RST) {
            seen.count(|events| events.option_after_fallback += seen.n());
        }
    }
    if seen.flags().any(TcpFlags::RST) {
        work.route.ask(Next::CLOSE);
        return;
    }
    acknowledge(&seen);
    let facts = subflow.flags.load();
    let end = work.packet.sequence.wrapping_add(work.packet.payload);
    // Behind a FIN comes no data, and its own number is none.
    if after(end, way.next.load()) && facts & SubflowFacts::FIN << seen.side == 0 {
        way.next.store(end);
    }
    const BOTH: u32 = SubflowFacts::FIN_ACKED | SubflowFacts::FIN_ACKED << 1;
    if (seen.flags().any(TcpFlags::FIN) && !seen.is_old()) || facts & BOTH == BOTH {
        work.route.ask(Next::CLOSE);
    }
}

/// Has the segment data, or a DATA_ACK?
#[inline(always)]
fn speaks<T: Tables>(seen: &Seen<'_, T>) -> bool {
    seen.work.packet.payload != 0
        || (seen.has(Subtype::Dss) && seen.work.dss.flags().all(DssFlags::ACK))
}

/// An option on a subflow that was closed.
#[inline(always)]
fn after_close<T: Tables>(seen: &Seen<'_, T>) {
    let closed = seen.subflow.closed.load();
    if seen.work.route.seen.get() == 0
        || seen.flags().any(TcpFlags::RST)
        || since(closed, seen.now) <= AFTER_CLOSE_TIME
        || seen.subflow.flags.or(SubflowFacts::AFTER_CLOSE) & SubflowFacts::AFTER_CLOSE != 0
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

/// Mappings, DATA_ACK, DATA_FIN, and data without any of them.
#[inline(always)]
fn data<T: Tables>(seen: &Seen<'_, T>) {
    let packet = &seen.work.packet;
    if seen.has(Subtype::Dss) && seen.work.dss.flags().all(DssFlags::ACK) {
        seen.first(SubflowFacts::CONFIRMED);
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
        seen.first(SubflowFacts::SPOKEN);
    }
    // An infinite mapping has just ended all mappings.
    let facts = seen.session.flags.load();
    let is_mapped = facts & SessionFacts::FALLBACK == 0 && seen.is(SubflowFacts::FOLLOWED);
    if packet.payload > 0 && !packet.is_fragment && is_mapped {
        payload(seen, map);
        if facts & SessionFacts::CHECKSUM != 0 && seen.tables.verifies_checksums() {
            seen.work.route.ask(Next::CHECKSUM);
        }
    }
}

/// A segment without an MPTCP option, not a reset.
#[inline(always)]
fn plain<T: Tables>(seen: &Seen<'_, T>) {
    let packet = &seen.work.packet;
    if packet.payload > 0 && seen.first(SubflowFacts::BARE) {
        seen.count(|events| events.bare_data += 1);
    }
    if seen.is(SubflowFacts::CONFIRMED)
        || !seen.flags().any(TcpFlags::ACK)
        || seen.is_other(SubflowFacts::FIN)
    {
        return;
    }
    let other = seen.other_way();
    let acknowledges = after(packet.acknowledgment, other.acked.load())
        && seen.is_other(SubflowFacts::MAPPED)
        && !after(packet.acknowledgment, other.next.load());
    if seen.is(SubflowFacts::SPOKEN) && !acknowledges {
        return;
    }
    let is_initial = seen.subflow.flags.load() & SubflowFacts::JOINED == 0;
    if is_initial
        && seen.session.open.load() <= 1
        && seen.session.flags.load() & SessionFacts::JOINED == 0
    {
        if seen.session.flags.or(SessionFacts::FALLBACK) & SessionFacts::FALLBACK == 0 {
            seen.count(|events| events.fallback_plain_ack += 1);
            seen.report(Happening::FellBack, Fallback::PlainSegment as u32);
        }
    } else {
        seen.first(SubflowFacts::PLAIN_ACK);
    }
}
