//! The short way of data in order, as TCP's header prediction.

use super::{
    Stages, Tables,
    entry::{Subflow, session, subflow},
    established::touch,
    sequence::{Map, after, after_64},
    table::{self, Table as _},
    word::{Word, bump},
};
use crate::{
    engine::Packet,
    wire::{DssFields, DssFlags, TcpFlags},
};

/// Is the packet in work the next data in order of an established subflow? Then [`predict`] has done all that
/// [`established`](super::established()) would, for a third of the cost. It is what most data packets are.
#[inline(always)]
pub fn is_predicted<T: Stages>(tables: &T) -> bool {
    let work = tables.work();
    if work.route.is_lone.get() == 0
        || !tables.takes_short_ways()
        || !may_be_next(&work.packet, &work.dss)
    {
        return false;
    }
    match tables.subflows().slot(work.route.slot.get()) {
        Some(subflow) if subflow.tag.load() == work.tag => predict(
            tables,
            &work.packet,
            &work.dss,
            subflow,
            work.route.side.get(),
        ),
        _ => false,
    }
}

/// The side that sent a packet, if that is the next data in order of an established subflow; then as
/// [`is_predicted`]. Else [`NOT_PREDICTED`].
///
/// `dss` is all that its options are, but for a timestamp. `tag` is the flow's.
#[inline(always)]
pub fn predict_flow<T: Tables>(tables: &T, packet: &Packet, dss: &DssFields, tag: u64) -> u32 {
    if !may_be_next(packet, dss) {
        return NOT_PREDICTED;
    }
    let Some(slot) = table::find(tables.subflows(), tag) else {
        return NOT_PREDICTED;
    };
    let Some(subflow) = tables.subflows().slot(slot) else {
        return NOT_PREDICTED;
    };
    let second = u32::from(packet.sender_is_second);
    let side = (subflow.flags.load() & subflow::FIRST_IS_LISTENER) ^ second;
    if subflow.tag.load() == tag && predict(tables, packet, dss, subflow, side) {
        side
    } else {
        NOT_PREDICTED
    }
}

/// No side.
pub const NOT_PREDICTED: u32 = 2;

/// Can this packet be the next data in order, mapped by the DSS that it comes with, and nothing else new?
#[inline(always)]
fn may_be_next(packet: &Packet, dss: &DssFields) -> bool {
    const DSS: u8 = DssFlags::ACK | DssFlags::MAPPING;
    dss.flags().0 & (DSS | DssFlags::DATA_FIN) == DSS
        && !dss.has_checksum()
        && dss.data_length == packet.payload
        && packet.payload != 0
        && !packet.is_fragment
        && packet.flags.0 & (TcpFlags::ACK | TcpFlags::FIN) == TcpFlags::ACK
}

/// Is it? Then it is taken into account.
#[inline(always)]
fn predict<T: Tables>(
    tables: &T,
    packet: &Packet,
    dss: &DssFields,
    subflow: &Subflow<T::Memory>,
    side: u32,
) -> bool {
    let Some(session) = tables.sessions().slot(subflow.session.load()) else {
        return false;
    };
    if session.generation.load() != subflow.generation.load() {
        return false;
    }
    // What is set early in a session's life and stays, and what comes at its end or never.
    const SET: u32 = subflow::FOLLOWED | subflow::CONFIRMED | subflow::MAPPED | subflow::SPOKEN;
    const CLEAR: u32 = subflow::CLOSED | subflow::FIN | subflow::FIN << 1;
    const KNOWN: u32 = session::KNOWN | session::KNOWN << 1;
    let facts = subflow.flags.load();
    let side = side as usize & 1;
    if facts & CLEAR != 0
        || facts >> side & SET != SET
        || session.flags.load() & (KNOWN | session::CHECKSUM | session::FALLBACK) != KNOWN
    {
        return false;
    }
    let (way, side) = (&subflow.ways[side], &session.sides[side]);
    let (dsn, acked) = (side.highest.load(), side.data_ack.load());
    let map = Map {
        dsn,
        ssn: dss.subflow_sequence,
        length: packet.payload,
    };
    if dss.data_sequence_near(dsn) != dsn
        || after_64(dss.data_ack_near(acked), acked)
        || packet.acknowledgment != way.last_ack.load()
        || packet.sequence.wrapping_sub(way.base.load()) != map.ssn
        || packet.sequence != way.next.load()
        || after(way.mapped_end.load(), map.ssn)
        || way.unmapped.load() != 0
        || !side.mapped_set().is_contiguous(dsn)
        || !side.sent_set().is_contiguous(dsn)
    {
        return false;
    }
    let now = tables.now();
    touch(&subflow.last_seen, now);
    touch(&session.last_seen, now);
    bump(&way.packets, packet.packets.into());
    bump(&way.bytes, packet.payload.into());
    way.remember(map);
    way.next.store(packet.sequence.wrapping_add(packet.payload));
    let end = dsn.wrapping_add(map.length.into());
    side.highest.store(end);
    side.mapped_next.store(end);
    side.sent_next.store(end);
    true
}
