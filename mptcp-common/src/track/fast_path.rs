//! The fast path of data in order and of acknowledgments, as TCP's header prediction.

use crate::{
    counter::DirectionCounters,
    packet::Packet,
    packet::Work,
    state::{MAPPED, Mapping, SENT, Session, SessionFacts, Subflow, SubflowFacts, Tables, raise},
    table::{self, Table, Word, bump},
    track::{accept::raise_window, segment::touch},
    wire::{Dss, DssFlags, Subtype, TcpFlags, after, after_64},
};

/// What became of a packet that was asked about here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastPath(u32);

impl FastPath {
    /// It is anything else, and has to take the slow path.
    pub const NOT: Self = Self(1 << 3);
    const FRESH_ACK: u32 = 1 << 1;
    const FRESH_DATA_ACK: u32 = 1 << 2;
    const MAP_REPEATED: u32 = 1 << 4;

    /// The side that sent it.
    #[inline(always)]
    pub fn side(self) -> u32 {
        self.0 & 1
    }

    /// Counts what it acknowledged anew, and that it has the mapping of the packet before.
    #[inline(always)]
    pub fn count(self, packet: &Packet, events: &mut DirectionCounters) {
        // What the first packet of a buffer maps anew, the others repeat.
        let again = packet.packets - u32::from(self.0 & Self::MAP_REPEATED == 0);
        if again != 0 {
            events.map_repeated += u64::from(again);
        }
        events.fresh_ack += u64::from(self.0 & Self::FRESH_ACK != 0);
        events.fresh_data_ack += u64::from(self.0 & Self::FRESH_DATA_ACK != 0);
    }
}

/// Returns true if the packet in work is the next data in order of an established subflow, or an acknowledgment of what
/// was sent on it. Then `next_segment` has done all that [`established`](super::established()) would, for a third of
/// the cost. It is what most packets are.
#[inline(always)]
pub fn take_fast_path<T: Tables>(tables: &T, work: &Work) -> bool {
    if work.route.is_dss_alone.get() == 0
        || !tables.fast_path_enabled()
        || !may_be_next(&work.packet, &work.dss)
    {
        return false;
    }
    let taken = match tables.subflows().slot(work.route.slot.get()) {
        Some(subflow) if subflow.tag.load() == work.tag => next_segment(
            tables,
            &work.packet,
            &work.dss,
            subflow,
            subflow.session.load(),
            work.route.side.get(),
        ),
        _ => FastPath::NOT,
    };
    if taken == FastPath::NOT {
        return false;
    }
    let direction = work.route.direction.get();
    tables.count(direction, |events| taken.count(&work.packet, events));
    true
}

/// Takes the fast path with a packet that is not in work; nothing is counted.
///
/// `dss` is all that its options are, but for a timestamp. `tag` is the flow's.
#[inline(always)]
pub fn fast_path<T: Tables>(tables: &T, packet: &Packet, dss: &Dss, tag: u64) -> FastPath {
    if !may_be_next(packet, dss) {
        return FastPath::NOT;
    }
    let Some(subflow) = table::find_entry(tables.subflows(), tag) else {
        return FastPath::NOT;
    };
    let second = u32::from(packet.sender_is_second);
    let side = (subflow.flags.load() & SubflowFacts::FIRST_IS_LISTENER) ^ second;
    // What comes in at an interface is mostly of one side: what this side sent comes from memory with the rest, and
    // not once its side is known.
    let side = tables.guess(tables.guess(side, 0), 1);
    // Where a session's first subflow leads to is known from its tag: both come from memory at once.
    let likely = table::first_slot(tables.sessions(), tag);
    let session = tables.guess(subflow.session.load(), likely);
    next_segment(tables, packet, dss, subflow, session, side)
}

/// Returns true if this packet can be the next data in order, all of it mapped by the DSS that it comes with, or an
/// acknowledgment, and nothing else new.
#[inline(always)]
fn may_be_next(packet: &Packet, dss: &Dss) -> bool {
    const DSS: u8 = DssFlags::ACK | DssFlags::MAPPING;
    if packet.is_fragment
        || packet.flags.0 & (TcpFlags::ACK | TcpFlags::FIN | TcpFlags::RST) != TcpFlags::ACK
    {
        return false;
    }
    let flags = dss.flags().0 & (DSS | DssFlags::DATA_FIN);
    if packet.payload == 0 {
        flags == DssFlags::ACK
    } else {
        flags == DSS && !dss.has_checksum() && dss.data_length >= packet.payload
    }
}

/// Says whether it is, and takes it into account. `session` is the slot of the subflow's.
#[inline(always)]
fn next_segment<T: Tables>(
    tables: &T,
    packet: &Packet,
    dss: &Dss,
    subflow: &Subflow<T::Memory>,
    session: u32,
    side: u32,
) -> FastPath {
    let Some(session) = tables.sessions().slot(session) else {
        return FastPath::NOT;
    };
    if session.generation.load() != subflow.generation.load() {
        return FastPath::NOT;
    }
    let side = side as usize & 1;
    if packet.payload == 0 {
        next_ack(tables, packet, dss, subflow, session, side)
    } else {
        next_data(tables, packet, dss, subflow, session, side)
    }
}

/// Facts of a subflow that come at its end.
const CLEAR: u32 = SubflowFacts::CLOSED | SubflowFacts::FIN | SubflowFacts::FIN << 1;

/// Facts of a session that are set when it begins.
const KNOWN: u32 = SessionFacts::KNOWN | SessionFacts::KNOWN << 1;

/// The next data in order, at exactly the number that its receiver expects: the first of a mapping, or more of it. A mapping is often longer than a packet, and all
/// that a sender cut from one buffer come with it.
///
/// The window that it offers is not looked at: with the acknowledgment of the packet before it rarely changes, and the
/// next that has a new one tells it.
#[inline(always)]
fn next_data<T: Tables>(
    tables: &T,
    packet: &Packet,
    dss: &Dss,
    subflow: &Subflow<T::Memory>,
    session: &Session<T::Memory>,
    sender: usize,
) -> FastPath {
    // What is set early in a subflow's life, and stays.
    const SET: u32 = SubflowFacts::FOLLOWED
        | SubflowFacts::CONFIRMED
        | SubflowFacts::MAPPED
        | SubflowFacts::SPOKEN;
    const JOINED: u32 = KNOWN | SessionFacts::JOINED;
    let facts = subflow.flags.load();
    if facts & CLEAR != 0 || facts >> sender & SET != SET {
        return FastPath::NOT;
    }
    let of_session = session.flags.load()
        & (JOINED | SessionFacts::CHECKSUM | SessionFacts::FALLBACK | SessionFacts::PROVISIONAL);
    if of_session != KNOWN {
        // Here, and not where a mapping is remembered, it costs nothing of a session with one subflow. This one will
        // be remembered, be it on the slow path.
        let (subflow_side, ssn) = (&subflow.sides[sender & 1], dss.subflow_sequence);
        let is_first = packet.sequence.wrapping_sub(subflow_side.base.load()) == ssn
            && !after(subflow_side.mapped_end.load(), ssn);
        if of_session != JOINED || (is_first && !tables.keep_oldest(subflow, session, sender)) {
            return FastPath::NOT;
        }
    }
    let (subflow_side, side) = (&subflow.sides[sender & 1], &session.sides[sender & 1]);
    let (highest, acked) = (side.highest.load(), side.data_ack.load());
    let map = Mapping {
        dsn: dss.data_sequence_near(highest),
        ssn: dss.subflow_sequence,
        length: dss.data_length,
    };
    let relative = packet.sequence.wrapping_sub(subflow_side.base.load());
    let offset = relative.wrapping_sub(map.ssn);
    let start = map.dsn.wrapping_add(offset.into());
    if after_64(dss.data_ack_near(acked), acked)
        || packet.acknowledgment != subflow_side.last_ack.load()
        || packet.sequence != subflow_side.next.load()
        || !side.sent_set().is_contiguous(start)
    {
        return FastPath::NOT;
    }
    let is_first = offset == 0;
    if is_first {
        if map.dsn != highest
            || after(subflow_side.mapped_end.load(), map.ssn)
            || subflow_side.unmapped.load() != 0
            || !side.mapped_set().is_contiguous(highest)
        {
            return FastPath::NOT;
        }
    } else if offset >= map.length
        || packet.payload > map.length - offset
        || !subflow_side.is_newest(map)
    {
        return FastPath::NOT;
    }
    let now = tables.now();
    touch(&subflow.last_seen, now);
    touch(&session.last_seen, now);
    bump(&subflow_side.packets, packet.packets.into());
    bump(&subflow_side.bytes, packet.payload.into());
    subflow_side
        .next
        .store(packet.sequence.wrapping_add(packet.payload));
    side.next[SENT].store(start.wrapping_add(packet.payload.into()));
    if !is_first {
        return FastPath(sender as u32 | FastPath::MAP_REPEATED);
    }
    subflow_side.remember(map);
    let end = highest.wrapping_add(map.length.into());
    side.highest.store(end);
    side.next[MAPPED].store(end);
    FastPath(sender as u32)
}

/// An acknowledgment of what was sent.
#[inline(always)]
fn next_ack<T: Tables>(
    tables: &T,
    packet: &Packet,
    dss: &Dss,
    subflow: &Subflow<T::Memory>,
    session: &Session<T::Memory>,
    sender: usize,
) -> FastPath {
    const SET: u32 = SubflowFacts::FOLLOWED | SubflowFacts::CONFIRMED | SubflowFacts::SPOKEN;
    const OVER: u32 = SessionFacts::PROVISIONAL
        | SessionFacts::FALLBACK
        | SessionFacts::FIN
        | SessionFacts::FIN << 1;
    let (facts, receiver) = (subflow.flags.load(), sender ^ 1);
    if facts & CLEAR != 0
        || facts >> sender & SET != SET
        || facts >> receiver & SubflowFacts::FOLLOWED == 0
        || session.flags.load() & (KNOWN | OVER) != KNOWN
    {
        return FastPath::NOT;
    }
    let (subflow_side, other) = (&subflow.sides[sender & 1], &subflow.sides[receiver & 1]);
    let (side, theirs) = (&session.sides[sender & 1], &session.sides[receiver & 1]);
    let highest = side.data_ack.load();
    let data_ack = dss.data_ack_near(highest);
    let is_data_acked = after_64(data_ack, highest);
    let (ack, is_acked) = (
        packet.acknowledgment,
        packet.acknowledgment != subflow_side.last_ack.load(),
    );
    if packet.sequence != subflow_side.next.load()
        || (is_acked && (after(ack, other.next.load()) || other.unmapped.load() != 0))
        || (is_data_acked
            && (after_64(data_ack, theirs.highest.load())
                || after_64(data_ack, theirs.next[MAPPED].load())
                || after_64(data_ack, theirs.next[SENT].load())))
    {
        return FastPath::NOT;
    }
    let now = tables.now();
    touch(&subflow.last_seen, now);
    touch(&session.last_seen, now);
    bump(&subflow_side.packets, packet.packets.into());
    let mut taken = sender as u32;
    if is_data_acked && raise(&side.data_ack, data_ack) {
        taken |= FastPath::FRESH_DATA_ACK;
    }
    if is_acked {
        subflow_side.last_ack.store(ack);
        if after(ack, other.acked.load()) {
            other.acked.store(ack);
            taken |= FastPath::FRESH_ACK;
        }
    }
    raise_window(packet, subflow_side, subflow.ids.load(), sender);
    FastPath(taken)
}

/// Counts one packet that took the [`fast_path`]: it has neither a checksum nor a FIN.
#[inline(always)]
pub fn count_fast_path(
    packet: &Packet,
    fields: &Dss,
    taken: FastPath,
    events: &mut DirectionCounters,
) {
    events.option[Subtype::Dss as usize] += 1;
    events.dss_flags[usize::from(fields.flags().0 & 31)] += 1;
    events.dss_partial += u64::from(packet.payload < fields.data_length);
    taken.count(packet, events);
}
