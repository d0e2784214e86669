//! The short way of data in order, as TCP's header prediction.

use super::{
    Stages,
    entry::{session, subflow},
    established::touch,
    seen::Seen,
    sequence::{Map, after, after_64},
    word::{Word, bump},
};
use crate::wire::{DssFlags, TcpFlags};

/// Is this packet the next data in order of an established subflow, mapped by the DSS that it comes
/// with, and nothing else new? Then does all that [`established`](super::established()) would, for a
/// third of the cost. It is what most data packets are.
#[inline(always)]
pub fn is_predicted<T: Stages>(tables: &T) -> bool {
    const DSS: u8 = DssFlags::ACK | DssFlags::MAPPING;
    let work = tables.work();
    let (packet, dss) = (&work.packet, &work.dss);
    if work.route.is_lone.get() == 0
        || dss.flags().0 & (DSS | DssFlags::DATA_FIN) != DSS
        || dss.has_checksum()
        || dss.data_length != packet.payload
        || packet.payload == 0
        || packet.is_fragment
        || packet.flags.0 & (TcpFlags::ACK | TcpFlags::FIN) != TcpFlags::ACK
        || !tables.takes_short_ways()
    {
        return false;
    }
    let Some(seen) = Seen::new(tables) else {
        return false;
    };
    // What is set early in a session's life and stays, and what comes at its end or never.
    const SET: u32 = subflow::FOLLOWED | subflow::CONFIRMED | subflow::MAPPED | subflow::SPOKEN;
    const CLEAR: u32 = subflow::CLOSED | subflow::FIN | subflow::FIN << 1;
    const KNOWN: u32 = session::KNOWN | session::KNOWN << 1;
    let facts = seen.subflow.flags.load();
    if facts & CLEAR != 0
        || facts >> seen.side & SET != SET
        || seen.session.flags.load() & (KNOWN | session::CHECKSUM | session::FALLBACK) != KNOWN
    {
        return false;
    }
    let way = seen.way();
    let side = &seen.session.sides[seen.side & 1];
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
    touch(&seen.subflow.last_seen, seen.now);
    touch(&seen.session.last_seen, seen.now);
    bump(&way.packets, seen.n());
    bump(&way.bytes, packet.payload.into());
    way.remember(map);
    way.next.store(packet.sequence.wrapping_add(packet.payload));
    let end = dsn.wrapping_add(map.length.into());
    side.highest.store(end);
    side.mapped_next.store(end);
    side.sent_next.store(end);
    true
}
