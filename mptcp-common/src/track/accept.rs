//! Which segments their receiver takes (RFC 9293 section 3.10.7.4; RFC 5961 for resets).
//!
//! Whoever knows addresses and ports can send segments in the name of either end. Their sequence numbers are a
//! guess then, and the receiver drops them; so does the probe. It does not see what the receiver has, but what was
//! sent, and the highest acknowledgment and window that the receiver told. Where that leaves a choice, the segment is
//! taken: no number that the probe does not know is held against the traffic.

use crate::{
    counter::{EventKind, Role},
    packet::{Next, Packet, Work},
    state::{SessionFacts, SubflowFacts, SubflowSide, TICK, Tables, since, ticks},
    table::{self, Memory, Table, Word},
    track::segment::SubflowSegment,
    wire::{DssFlags, Stage, Subtype, TcpFlags, after},
};

/// No window is larger (RFC 7323 section 2.3).
const LARGEST_WINDOW: u32 = 1 << 30;

/// Segments that have been acknowledged come again from at least so far behind, however small the window is now.
const OLD_DATA: u32 = 1 << 20;

/// Does the receiver take the segment in work, of an established subflow? Then it is [`Next::ACCEPTED`]; if it has
/// acknowledged all of it, it is [`Next::OLD`] too, and what it says is not heard.
///
/// Past a router, a flow may have two subflows: then the one that was chosen is asked, and the other.
#[inline(always)]
pub fn accept<T: Tables>(tables: &T, work: &Work) {
    accept_on(tables, work);
    let found = work.route.slot.get();
    if tables.role() == Role::Host
        || work.route.next.get() & Next::ACCEPTED != 0
        || !is_twin(tables, found)
    {
        return;
    }
    if let Some(other) = table::find_other(tables.subflows(), work.tag, found) {
        turn_to(tables, work, other);
        accept_on(tables, work);
        if work.route.next.get() & Next::ACCEPTED == 0 {
            turn_to(tables, work, found);
        }
    }
}

/// Returns true if the flow of the subflow in this slot may have another.
#[inline(always)]
pub(crate) fn is_twin<T: Tables>(tables: &T, slot: u32) -> bool {
    let subflow = tables.subflows().slot(slot);
    subflow.is_some_and(|subflow| subflow.ids.load() & SubflowFacts::TWIN != 0)
}

/// Returns true if a segment past a router needs to be given to one of two subflows.
#[inline(always)]
pub fn needs_choice<T: Tables>(tables: &T, work: &Work) -> bool {
    tables.role() == Role::Middlebox
        && work.packet.flags.stage() == Stage::Later
        && is_twin(tables, work.route.slot.get())
}

/// Of two subflows that a flow has past a router, of which one may be forged (see `track::handshake::rival`), a segment is
/// of the one whose numbers are nearer: who forges the other may choose its windows, but does not know the numbers of
/// this.
#[inline(always)]
pub fn choose<T: Tables>(tables: &T, work: &Work) {
    let found = work.route.slot.get();
    if let Some(other) = table::find_other(tables.subflows(), work.tag, found)
        && distance(tables, work, other) < distance(tables, work, found)
    {
        work.route.slot.set(other);
    }
}

/// How far the number of the segment in work is from the next of its sender on the subflow in this slot.
#[inline(always)]
fn distance<T: Tables>(tables: &T, work: &Work, slot: u32) -> u32 {
    tables.subflows().slot(slot).map_or(u32::MAX, |subflow| {
        let second = u32::from(work.packet.sender_is_second);
        let side = (subflow.flags.load() & SubflowFacts::FIRST_IS_LISTENER) ^ second;
        // Hidden, so that the mask stays: the verifier does not know that this is 0 or 1.
        let next = subflow.sides[tables.opaque(side) as usize & 1].next.load();
        let distance = work.packet.sequence.wrapping_sub(next);
        distance.min(distance.wrapping_neg())
    })
}

/// Routes a segment past a router to the subflow in this slot.
#[inline(always)]
fn turn_to<T: Tables>(tables: &T, work: &Work, slot: u32) {
    if let Some(subflow) = tables.subflows().slot(slot) {
        let second = u32::from(work.packet.sender_is_second);
        work.route.slot.set(slot);
        work.route
            .turn((subflow.flags.load() & SubflowFacts::FIRST_IS_LISTENER) ^ second);
    }
}

/// Accepts the segment in work on the subflow in the route, if its receiver takes it.
#[inline(always)]
fn accept_on<T: Tables>(tables: &T, work: &Work) {
    let Some(segment) = &SubflowSegment::new(tables, work) else {
        return;
    };
    if segment.flags().stage() != Stage::Later
        || segment.subflow.flags.load() & SubflowFacts::CLOSED != 0
    {
        return;
    }
    let packet = &segment.work.packet;
    // What a host sends is true.
    let is_own = tables.role() == Role::Host && !packet.ingress;
    let reception = if is_own { TRUSTED } else { judge(segment) };
    match tables.opaque(reception) {
        REFUSED => {}
        OLD => {
            // Of its options, a mapping says whose data it is. That of MP_CAPABLE came before.
            let mut maps = Subtype::Dss.bit();
            if segment.is(SubflowFacts::CONFIRMED) {
                maps |= Subtype::MpCapable.bit();
            }
            let route = &segment.work.route;
            if segment.session.flags.load() & SessionFacts::FALLBACK == 0 {
                route.seen.set(Subtype::Dss.bit());
            }
            route.valid.set(route.valid.get() & maps);
            route.ask(Next::OLD | Next::ACCEPTED);
        }
        reception => {
            segment.work.route.ask(Next::ACCEPTED);
            learn(segment, reception == TRUSTED);
        }
    }
}

/// Returns true if the segment in work ends something, so that its TCP checksum has to be looked at: a FIN or a reset
/// that comes in, of one packet.
#[inline(always)]
pub fn ends<T: Tables>(tables: &T, work: &Work) -> bool {
    work.packet.flags.any(TcpFlags::FIN | TcpFlags::RST)
        && work.packet.ingress
        && work.packet.packets == 1
        && tables.checks_segments()
}

/// Is the segment in work at exactly the next number, and is all that [`learn`] would set known but its window, which
/// is remembered? Then it is taken: nearly every one is.
#[inline(always)]
pub(crate) fn is_next<T: Tables>(segment: &SubflowSegment<'_, T>) -> bool {
    let known = segment.subflow.ids.load();
    let needed =
        SubflowFacts::NUMBERS | SubflowFacts::NUMBERS << 1 | SubflowFacts::WINDOW << segment.side;
    let packet = &segment.work.packet;
    let subflow_side = segment.own_side();
    let is_next = known & needed == needed
        && packet.sequence == subflow_side.next.load()
        && packet.flags.any(TcpFlags::ACK);
    // As the fast path of data does it.
    if is_next && (packet.payload == 0 || packet.acknowledgment != subflow_side.last_ack.load()) {
        raise_window(packet, subflow_side, known, segment.side);
    }
    is_next
}

/// Remembers the window that a packet offers, `known` being its subflow's `ids`.
#[inline(always)]
pub(crate) fn raise_window<M: Memory>(
    packet: &Packet,
    subflow_side: &SubflowSide<M>,
    known: u32,
    side: usize,
) {
    let end = window_end(packet, known, side);
    if after(end, subflow_side.window_end.load()) {
        subflow_side.window_end.store(end);
    }
}

/// The right edge of the window that a packet offers, which this side sent.
#[inline(always)]
fn window_end(packet: &Packet, known: u32, side: usize) -> u32 {
    let scale = known >> (SubflowFacts::SCALE + 4 * side as u32) & 15;
    packet
        .acknowledgment
        .wrapping_add(u32::from(packet.window) << scale)
}

/// It is at exactly the next number, or the own host's.
const TRUSTED: u32 = 0;

const TAKEN: u32 = 1;

const OLD: u32 = 2;

const REFUSED: u32 = 3;

/// Returns true if the segment is one of the side that this host has, by where the first SYN came from.
#[inline(always)]
fn is_own_side<T: Tables>(segment: &SubflowSegment<'_, T>) -> bool {
    let listens = segment.session.flags.load() & SessionFacts::LISTENER_HERE != 0;
    u32::from(listens) == segment.side as u32
}

/// Says which of these a segment is.
#[inline(always)]
fn judge<T: Tables>(segment: &SubflowSegment<'_, T>) -> u32 {
    let packet = &segment.work.packet;
    let (subflow_side, other) = (segment.own_side(), segment.peer_side());
    let (facts, known) = (segment.subflow.flags.load(), segment.subflow.ids.load());
    let sequence = packet.sequence;
    let is_host = segment.tables.role() == Role::Host;
    // What a host sends goes out.
    if is_host && is_own_side(segment) {
        return REFUSED;
    }
    let have = known | known >> (SubflowFacts::TOLD / SubflowFacts::NUMBERS).trailing_zeros();
    let have = have & SubflowFacts::NUMBERS << segment.side;
    if have == 0 && !is_host {
        return TAKEN;
    }
    let (acked, next) = (subflow_side.acked.load(), subflow_side.next.load());
    let fin = u32::from(facts & SubflowFacts::FIN << segment.side != 0);
    if have != 0 && (sequence == next || sequence == next.wrapping_add(fin)) {
        return TRUSTED;
    }
    let both = SubflowFacts::NUMBERS << segment.side | SubflowFacts::WINDOW << (segment.side ^ 1);
    if is_host && known & both != both {
        // Until the host has said what it takes next, and how much, nobody is believed at any other number.
        return if packet.flags.any(TcpFlags::RST) {
            REFUSED
        } else {
            OLD
        };
    }
    if packet.flags.any(TcpFlags::RST) {
        // Behind what was acknowledged, where the rest is on its way.
        return if sequence == acked { TAKEN } else { REFUSED };
    }
    // The receiver's window. Where more than that was sent, its latest is not known.
    let offered = other.window_end.load();
    let is_known = known & SubflowFacts::WINDOW << (segment.side ^ 1) != 0;
    let limit = if is_known && !after(next, offered.wrapping_add(1)) {
        offered
    } else {
        next.wrapping_add(LARGEST_WINDOW)
    };
    let end = sequence.wrapping_add(packet.payload);
    let oldest = limit.wrapping_sub(acked).max(OLD_DATA);
    if after(sequence, limit) || acked.wrapping_sub(end) as i32 > oldest as i32 {
        return REFUSED;
    }
    if known & SubflowFacts::NUMBERS << (segment.side ^ 1) != 0 {
        // What the other end has sent or, where not all of that was seen, may have sent.
        let sent = other.next.load().wrapping_add(1);
        let acknowledged = other.acked.load();
        let acknowledgment = packet.acknowledgment;
        let may_send = if known & SubflowFacts::WINDOW << segment.side != 0 {
            subflow_side.window_end.load()
        } else {
            sent.wrapping_add(LARGEST_WINDOW)
        };
        // Nor one that is older than all that its sender offered to take (RFC 5961 section 5.2).
        let oldest = may_send.wrapping_sub(acknowledged).max(OLD_DATA);
        if after(acknowledgment, sent) && after(acknowledgment, may_send)
            || acknowledged.wrapping_sub(acknowledgment) as i32 > oldest as i32
        {
            return REFUSED;
        }
    }
    if after(acked, end) { OLD } else { TAKEN }
}

/// Remembers what a segment that is taken tells of the numbers and the window of its sender, and of what the other
/// end sends.
#[inline(always)]
fn learn<T: Tables>(segment: &SubflowSegment<'_, T>, is_trusted: bool) {
    let packet = &segment.work.packet;
    let (subflow_side, other) = (segment.own_side(), segment.peer_side());
    let known = segment.subflow.ids.load();
    let mut news = 0;
    if known & SubflowFacts::NUMBERS << segment.side == 0 {
        // The first that is seen of what was there before the probe.
        subflow_side.next.store(packet.sequence);
        subflow_side.acked.store(packet.sequence);
        news = SubflowFacts::NUMBERS << segment.side;
    }
    if packet.flags.any(TcpFlags::ACK) {
        let acknowledgment = packet.acknowledgment;
        let are_numbers_known = known & SubflowFacts::NUMBERS << (segment.side ^ 1) != 0;
        if is_trusted && !are_numbers_known {
            other.next.store(acknowledgment);
            other.acked.store(acknowledgment);
            news |= SubflowFacts::NUMBERS << (segment.side ^ 1);
        }
        let end = window_end(packet, known, segment.side);
        let is_known = known & SubflowFacts::WINDOW << segment.side != 0;
        // One that acknowledges what was not sent may be forged: it must not open the window.
        let is_sure = is_trusted || !after(acknowledgment, other.next.load().wrapping_add(1));
        if is_sure && (!is_known || after(end, subflow_side.window_end.load())) {
            subflow_side.window_end.store(end);
            news |= SubflowFacts::WINDOW << segment.side;
        }
    }
    if known & news != news {
        segment.subflow.ids.or(news);
    }
}

/// A conversation that went on unseen is followed again when both ends agree on it for so long, 2.1 s, and nothing
/// else is seen of it. In [`ticks`] of 2^[`COARSE`].
const AGREEMENT: u64 = 8;

const COARSE: u32 = 8;

/// Numbers are near each other where one end's next and what the other acknowledges differ by so little, in their
/// upper halves.
const NEAR: u16 = 16;

/// A segment that its receiver does not take: it counts, and may be one of a conversation that went on unseen.
#[inline(always)]
pub fn refuse<T: Tables>(tables: &T, work: &Work) {
    let Some(segment) = &SubflowSegment::new(tables, work) else {
        return;
    };
    if segment.subflow.flags.load() & SubflowFacts::CLOSED != 0 {
        after_close(segment);
        return;
    }
    segment.count(|events| events.not_taken += segment.n());
    resume(segment);
}

/// An option so long after its subflow was closed is an error (OptSesEr).
const AFTER_CLOSE_TIME: u64 = 2_000_000_000;

/// An option on a subflow that was closed.
#[inline(always)]
fn after_close<T: Tables>(segment: &SubflowSegment<'_, T>) {
    let closed = segment.subflow.closed.load();
    if segment.work.route.seen.get() == 0
        || segment.flags().any(TcpFlags::RST)
        || since(closed, segment.now) <= AFTER_CLOSE_TIME
        || segment.subflow.flags.or(SubflowFacts::AFTER_CLOSE) & SubflowFacts::AFTER_CLOSE != 0
    {
        return;
    }
    let has_dss = segment.has(Subtype::Dss);
    segment.emit(EventKind::Error, 53);
    segment.count(|events| {
        events.option_no_session += 1;
        if has_dss {
            events.dss_no_subflow += 1;
        }
    });
}

/// Returns true if the segment has a DATA_ACK near those that were seen of its sender. Whoever knows no numbers does not guess 8
/// bytes. 4 bytes are believed of a sender that never sent more, and near by. A session that fell back has no more to
/// say.
#[inline(always)]
fn knows_data<T: Tables>(segment: &SubflowSegment<'_, T>) -> bool {
    let facts = segment.session.flags.load();
    let is_known = facts & SessionFacts::KNOWN << (segment.side ^ 1) != 0;
    if facts & SessionFacts::FALLBACK != 0 || !is_known {
        return true;
    }
    let dss = &segment.work.dss;
    let is_long = dss.flags().all(DssFlags::ACK_8);
    if !segment.has(Subtype::Dss)
        || !dss.flags().all(DssFlags::ACK)
        || (!is_long && facts & SessionFacts::LONG << segment.side != 0)
    {
        return false;
    }
    let highest = segment.session.sides[segment.side & 1].data_ack.load();
    let distance = dss.data_ack_near(highest).wrapping_sub(highest);
    let reach = if is_long { 1 << 32 } else { 1 << 24 };
    distance.wrapping_add(reach) <= 2 * reach
}

/// Of a segment that is not taken: do both ends go on from other numbers than those that were seen? Packets may have
/// gone past the probe for a while. Then the subflow is followed anew, as one that was there before the probe.
///
/// Each of these segments has to know the session's data too. A host's own segments are always taken: the window that
/// they offer leads to where its peer is.
#[inline(always)]
fn resume<T: Tables>(segment: &SubflowSegment<'_, T>) {
    const BEGAN: u32 = 48;
    const SIDES: u64 = 3;
    let packet = &segment.work.packet;
    if packet.flags.any(TcpFlags::RST)
        || !packet.flags.any(TcpFlags::ACK)
        || segment.tables.role() == Role::Host
        || !knows_data(segment)
    {
        return;
    }
    let (at, at_peer) = (16 + 16 * segment.side as u32, 32 - 16 * segment.side as u32);
    let upper_half = |number: u32| u64::from(number >> 16);
    let end = packet.sequence.wrapping_add(packet.payload);
    let present = segment.subflow.resumed.load();
    let is_near = |at: u32, number: u32| {
        let difference = (present >> at) as u16;
        let difference = difference.wrapping_sub((number >> 16) as u16);
        difference.wrapping_add(NEAR) <= 2 * NEAR
    };
    let now = u64::from(ticks(segment.now) >> COARSE) & 0xffff;
    let quiet = since(segment.subflow.last_seen.load(), segment.now) >> (TICK + COARSE);
    let agrees = present & SIDES != 0
        && quiet >= AGREEMENT
        && is_near(at, packet.sequence)
        && is_near(at_peer, packet.acknowledgment);
    let side = 1 << segment.side;
    if !agrees {
        let numbers = upper_half(end) << at | upper_half(packet.acknowledgment) << at_peer;
        segment.subflow.resumed.store(now << BEGAN | numbers | side);
        return;
    }
    let sides = present & SIDES | side;
    let elapsed = now.wrapping_sub(present >> BEGAN) & 0xffff;
    if sides != SIDES || elapsed < AGREEMENT {
        let others = present & !(SIDES | 0xffff << at);
        segment
            .subflow
            .resumed
            .store(others | upper_half(end) << at | sides);
        return;
    }
    segment.subflow.resumed.store(0);
    for (subflow_side, number) in [
        (segment.own_side(), packet.sequence),
        (segment.peer_side(), packet.acknowledgment),
    ] {
        subflow_side.next.store(number);
        subflow_side.acked.store(number);
        subflow_side.unmapped.store(0);
    }
    const BOTH: u32 = SubflowFacts::WINDOW | SubflowFacts::WINDOW << 1;
    segment.subflow.ids.and(!BOTH);
    const FOLLOWED: u32 = SubflowFacts::FOLLOWED | SubflowFacts::FOLLOWED << 1;
    segment.subflow.flags.and(!FOLLOWED);
}
