//! The end of a subflow.

use crate::{
    counter::Happening,
    packet::Work,
    state::{REPLACE_TIME, SessionFacts, SubflowFacts, TICK, Tables, since, ticks},
    table::Word,
    track::{release::leave, segment::Seen},
    wire::{Subtype, TcpFlags},
};

/// A reset within so many ticks, 200 ms, answers an option that is not allowed (OptRstEr).
const BAD_OPTION_TIME: u32 = (200_000_000 >> TICK) as u32;

/// MP_TCPRST reason "MPTCP-specific error" (RFC 8684 section 3.6).
const MPTCP_ERROR: u8 = 1;

/// FIN or RST, or the acknowledgment of the last FIN.
#[inline(always)]
pub fn close<T: Tables>(tables: &T, work: &Work) {
    let Some(seen) = &Seen::new(tables, work) else {
        return;
    };
    if seen.flags().any(TcpFlags::RST) {
        reset(seen);
        return;
    }
    if seen.flags().any(TcpFlags::FIN) {
        fin(seen);
    }
    const BOTH: u32 = SubflowFacts::FIN_ACKED | SubflowFacts::FIN_ACKED << 1;
    if seen.subflow.flags.load() & BOTH == BOTH {
        seen.report(Happening::SubflowClosed, 0);
        leave(seen.tables, seen.subflow, seen.now);
    }
}

#[inline(always)]
fn fin<T: Tables>(seen: &Seen<'_, T>) {
    let packet = &seen.work.packet;
    if seen.first(SubflowFacts::FIN) {
        let fin = packet.sequence.wrapping_add(packet.payload);
        seen.way().fin.store(fin);
        if seen.session.flags.load() & SessionFacts::FALLBACK == 0 {
            seen.count(|events| events.subflow_fin += 1);
        }
        replaced(seen);
    }
}

/// A subflow is closed by a session that has just got one more than it may have.
#[inline(always)]
fn replaced<T: Tables>(seen: &Seen<'_, T>) {
    let over = seen.session.over_limit.load();
    if over != 0
        && since(over, seen.now) <= REPLACE_TIME
        && seen.work.route.slot.get() != seen.session.newcomer.load()
    {
        seen.session.over_limit.store(0);
        seen.count_other(|events| events.subflow_replaced += 1);
    }
}

/// A reset: what it answers decides what it counts as.
#[inline(always)]
fn reset<T: Tables>(seen: &Seen<'_, T>) {
    let reason = seen.options().tcprst().map_or(0, |rst| rst.reason());
    let has_reason = seen.has(Subtype::MpTcpRst);
    let bad = seen.other_way().bad_option.load();
    let answers_bad = bad != 0 && ticks(seen.now).wrapping_sub(bad) <= BAD_OPTION_TIME;
    let is_fastclose = seen.has(Subtype::MpFastclose);
    let is_first = seen.subflow.flags.or(SubflowFacts::RESET) & SubflowFacts::RESET == 0;
    if !is_first {
        return;
    }
    let told = if has_reason { u32::from(reason) + 1 } else { 0 };
    seen.report(Happening::Reset, seen.tables.forget(told));
    if !is_fastclose && (answers_bad || reason == MPTCP_ERROR) {
        seen.count(|events| events.option_reset += 1);
    }
    if seen.is_other(SubflowFacts::BAD_MAPPING) {
        seen.count_other(|events| events.map_reset += 1);
    }
    if seen.is_other(SubflowFacts::PLAIN_ACK) && !seen.is_other(SubflowFacts::CONFIRMED) {
        seen.count_other(|events| events.plain_ack_reset += 1);
    }
    replaced(seen);
    leave(seen.tables, seen.subflow, seen.now);
}
