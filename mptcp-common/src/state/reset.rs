//! Entries as they begin.

use crate::{
    state::{
        session::{Session, SessionSide},
        subflow::{Subflow, SubflowSide},
    },
    table::{Memory, Word},
};

/// A new session in this entry.
#[inline(always)]
pub(crate) fn reset_session<M: Memory>(session: &Session<M>, flags: u32, now: u64) {
    session
        .generation
        .store(session.generation.load().wrapping_add(1));
    session.flags.store(flags);
    session.open.store(0);
    session.newcomer.store(0);
    session.last_seen.store(now);
    session.alone.store(now);
    session.over_limit.store(0);
}

/// A side of which nothing is known but its token, and the first number that it maps.
#[inline(always)]
pub(crate) fn reset_side<M: Memory>(this: &SessionSide<M>, token: u32, first: u64) {
    this.highest.store(first);
    this.fin.store(0);
    this.token.store(token);
    this.over_pending.store(0);
    for join in &this.joins {
        join.store(0);
    }
    for i in 0..4 {
        this.known[i].store(0);
        this.removed[i].store(0);
        this.used[i].store(0);
    }
    // Identifier 0 is the address of the first subflow (RFC 8684 section 3.4.1).
    this.known[0].store(1);
    this.used[0].store(1);
    this.mapped_set().reset(first);
    this.sent_set().reset(first);
}

#[inline(always)]
pub(crate) fn reset_sums<M: Memory>(subflow: &Subflow<M>) {
    for sum in &subflow.sums {
        sum.next.store(0);
        sum.sum.store(0);
        sum.facts.store(0);
    }
}

#[inline(always)]
pub(crate) fn reset_subflow_side<M: Memory>(
    subflow_side: &SubflowSide<M>,
    base: u32,
    last_ack: u32,
) {
    let first = base.wrapping_add(1);
    subflow_side.base.store(base);
    subflow_side.next.store(first);
    subflow_side.acked.store(first);
    subflow_side.fin.store(0);
    subflow_side.unmapped.store(0);
    subflow_side.unmapped_start.store(0);
    subflow_side.unmapped_end.store(0);
    subflow_side.newest.store(0);
    subflow_side.mapped_end.store(1);
    subflow_side.bad_option.store(0);
    subflow_side.window_end.store(0);
    subflow_side.packets.store(0);
    subflow_side.bytes.store(0);
    subflow_side.last_ack.store(last_ack);
    for mapping in &subflow_side.mappings {
        mapping.dsn.store(0);
        mapping.ssn.store(0);
        mapping.length.store(0);
    }
    for run in &subflow_side.runs {
        run.store(0);
    }
}
