//! The end of a subflow.

use crate::{
    counter::EventKind,
    packet::Work,
    state::{REPLACE_TIME, SessionFacts, SubflowFacts, TICK, Tables, since, ticks},
    table::Word,
    track::{release::leave, segment::SubflowSegment},
    wire::{Subtype, TcpFlags},
};

/// A reset within so many ticks, 200 ms, answers an option that is not allowed (OptRstEr).
const BAD_OPTION_TIME: u32 = (200_000_000 >> TICK) as u32;

/// MP_TCPRST reason "MPTCP-specific error" (RFC 8684 section 3.6).
const MPTCP_ERROR: u8 = 1;

/// FIN or RST, or the acknowledgment of the last FIN.
#[inline(always)]
pub fn close<T: Tables>(tables: &T, work: &Work) {
    let Some(segment) = &SubflowSegment::new(tables, work) else {
        return;
    };
    if segment.flags().any(TcpFlags::RST) {
        reset(segment);
        return;
    }
    if segment.flags().any(TcpFlags::FIN) {
        fin(segment);
    }
    const BOTH: u32 = SubflowFacts::FIN_ACKED | SubflowFacts::FIN_ACKED << 1;
    if segment.subflow.flags.load() & BOTH == BOTH {
        segment.emit(EventKind::SubflowClosed, 0);
        leave(segment.tables, segment.subflow, segment.now);
    }
}

#[inline(always)]
fn fin<T: Tables>(segment: &SubflowSegment<'_, T>) {
    let packet = &segment.work.packet;
    if segment.first(SubflowFacts::FIN) {
        let fin = packet.sequence.wrapping_add(packet.payload);
        segment.own_side().fin.store(fin);
        if segment.session.flags.load() & SessionFacts::FALLBACK == 0 {
            segment.count(|events| events.subflow_fin += 1);
        }
        replaced(segment);
    }
}

/// A subflow is closed by a session that has just got one more than it may have.
#[inline(always)]
fn replaced<T: Tables>(segment: &SubflowSegment<'_, T>) {
    let over = segment.session.over_limit.load();
    if over != 0
        && since(over, segment.now) <= REPLACE_TIME
        && segment.work.route.slot.get() != segment.session.newcomer.load()
    {
        segment.session.over_limit.store(0);
        segment.count_other(|events| events.subflow_replaced += 1);
    }
}

/// A reset: what it answers decides what it counts as.
#[inline(always)]
fn reset<T: Tables>(segment: &SubflowSegment<'_, T>) {
    let reason = segment.options().tcprst().map_or(0, |rst| rst.reason());
    let has_reason = segment.has(Subtype::MpTcpRst);
    let bad = segment.peer_side().bad_option.load();
    let answers_bad = bad != 0 && ticks(segment.now).wrapping_sub(bad) <= BAD_OPTION_TIME;
    let is_fastclose = segment.has(Subtype::MpFastclose);
    let is_first = segment.subflow.flags.or(SubflowFacts::RESET) & SubflowFacts::RESET == 0;
    if !is_first {
        return;
    }
    let told = if has_reason { u32::from(reason) + 1 } else { 0 };
    segment.emit(EventKind::Reset, segment.tables.opaque(told));
    if !is_fastclose && (answers_bad || reason == MPTCP_ERROR) {
        segment.count(|events| events.option_reset += 1);
    }
    if segment.is_other(SubflowFacts::BAD_MAPPING) {
        segment.count_other(|events| events.map_reset += 1);
    }
    if segment.is_other(SubflowFacts::PLAIN_ACK) && !segment.is_other(SubflowFacts::CONFIRMED) {
        segment.count_other(|events| events.plain_ack_reset += 1);
    }
    replaced(segment);
    leave(segment.tables, segment.subflow, segment.now);
}
