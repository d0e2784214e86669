//! Acknowledgments, of TCP and of data.

use crate::{
    counter::{EventKind, Fallback},
    packet::Next,
    state::{MAPPED, SessionFacts, SubflowFacts, Tables, raise},
    table::Word,
    track::segment::{SubflowSegment, settle},
    wire::{Dss, DssFlags, Subtype, TcpFlags, after, after_64},
};

/// What the segment acknowledges of the other side's data, at the level of TCP.
#[inline(always)]
pub(crate) fn acknowledge<T: Tables>(segment: &SubflowSegment<'_, T>) {
    if !segment.flags().any(TcpFlags::ACK) {
        return;
    }
    let acknowledgment = segment.work.packet.acknowledgment;
    if segment.own_side().last_ack.load() == acknowledgment {
        // As most data packets: the other direction's cache line is left alone.
        return;
    }
    let other = segment.peer_side();
    let (acked, next) = (other.acked.load(), other.next.load());
    if segment.is_other(SubflowFacts::FIN) && after(acknowledgment, other.fin.load()) {
        segment
            .subflow
            .flags
            .or(SubflowFacts::FIN_ACKED << (segment.side ^ 1));
    }
    if segment.subflow.ids.load() & SubflowFacts::NUMBERS << (segment.side ^ 1) == 0 {
        return;
    }
    if !after(acknowledgment, next.wrapping_add(1)) {
        segment.own_side().last_ack.store(acknowledgment);
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
    if segment.session.flags.load() & SessionFacts::PROVISIONAL != 0 {
        settle(segment);
    }
    if segment.work.route.next.get() & Next::FALLEN_BACK == 0 {
        segment.count(|events| events.fresh_ack += 1);
    }
    let unmapped = other.unmapped.load();
    if unmapped != 0 && !after(other.unmapped_end.load(), reached) {
        other.unmapped.store(0);
        take_unmapped(segment, unmapped);
    }
}

/// The receiver took bytes that no mapping covers, in so many packets of the other side.
///
/// With one subflow that is a fallback, and TCP from now on (RFC 8684 section 3.7). A receiver that goes on
/// with DATA_ACKs has not fallen back, and one whose DATA_ACK goes beyond all that was mapped knew a mapping
/// that was not seen here.
#[inline(always)]
fn take_unmapped<T: Tables>(segment: &SubflowSegment<'_, T>, packets: u32) {
    let mut speaks_mptcp = false;
    if segment.has(Subtype::Dss) && segment.work.dss.flags().all(DssFlags::ACK) {
        let data_ack = segment
            .work
            .dss
            .data_ack_near(segment.session.sides[segment.side & 1].data_ack.load());
        let theirs = &segment.session.sides[(segment.side ^ 1) & 1];
        if after_64(data_ack, theirs.highest.load()) {
            return;
        }
        speaks_mptcp = true;
    }
    let falls_back = !speaks_mptcp
        && segment.session.open.load() <= 1
        && segment.session.flags.or(SessionFacts::FALLBACK) & SessionFacts::FALLBACK == 0;
    segment.count_other(|events| {
        events.no_mapping += u64::from(packets);
        events.fallback_no_mapping += u64::from(falls_back);
    });
    segment.emit(EventKind::Error, 70);
    if falls_back {
        segment.emit(EventKind::FellBack, Fallback::NoMapping as u32);
    }
}

/// A DATA_ACK (RFC 8684 section 3.3.2).
#[inline(always)]
pub(crate) fn data_ack<T: Tables>(segment: &SubflowSegment<'_, T>, dss: &Dss) {
    let ours = &segment.session.sides[segment.side & 1];
    let highest = ours.data_ack.load();
    let value = dss.data_ack_near(highest);
    let facts = segment.session.flags.load();
    let is_known = facts & SessionFacts::KNOWN << (segment.side ^ 1) != 0;
    if is_known && !after_64(value, highest) {
        // As most data packets: the other side's cache line is left alone.
        return;
    }
    let theirs = &segment.session.sides[(segment.side ^ 1) & 1];
    if !is_known {
        // Without the key of whose data this acknowledges, the first value is where it starts.
        if segment.first_of_session(SessionFacts::ACK_STARTED) {
            ours.data_ack.store(value);
            return;
        }
    } else if after_64(value, theirs.highest.load().wrapping_add(1))
        && after_64(value, theirs.next[MAPPED].load().wrapping_add(1))
    {
        // Beyond what was sent, or sent where the probe does not see it.
        segment.count(|events| events.data_ack_beyond += segment.n());
        return;
    }
    if raise(&ours.data_ack, value) {
        segment.count(|events| events.fresh_data_ack += 1);
        theirs.mapped_set().acknowledge(value);
        theirs.sent_set().acknowledge(value);
        let fin = theirs.fin.load();
        if facts & SessionFacts::FIN << (segment.side ^ 1) != 0 && !after_64(fin, value) {
            segment
                .session
                .flags
                .or(SessionFacts::FIN_ACKED << (segment.side ^ 1));
        }
    }
}
