//! What exists now.

use crate::{
    counter::Gauges,
    state::{
        expiry::{is_half_open_over, is_session_over, is_subflow_open},
        handshake::{HalfOpen, HandshakeFacts, HandshakeKind},
        limits::Limits,
        session::{Session, SessionFacts},
        subflow::Subflow,
    },
    table::{self, Memory, Table, Word},
};

/// Counts what exists now.
pub fn census<M: Memory>(
    half_opens: &impl Table<Memory = M, Slot = HalfOpen<M>>,
    subflows: &impl Table<Memory = M, Slot = Subflow<M>>,
    sessions: &impl Table<Memory = M, Slot = Session<M>>,
    limits: &Limits,
    now: u64,
) -> Gauges {
    let mut gauges = Gauges::default();
    for (_, session) in table::entries(sessions) {
        if is_session_over(session, limits, now) {
            continue;
        }
        gauges.sessions += 1;
        gauges.sessions_v1 += u64::from(session.version.load() == 1);
        gauges.fallback += u64::from(session.flags.load() & SessionFacts::FALLBACK != 0);
        gauges.alone += u64::from(session.open.load() == 0);
    }
    for (_, subflow) in table::entries(subflows) {
        let lives = sessions
            .slot(subflow.session.load())
            .is_some_and(|session| {
                session.generation.load() == subflow.generation.load()
                    && !is_session_over(session, limits, now)
            });
        gauges.subflows += u64::from(lives && is_subflow_open(subflow, limits, now));
    }
    for (_, handshake) in table::entries(half_opens) {
        let is_join = handshake.kind() == HandshakeKind::Join as u32
            && handshake.flags.load() & HandshakeFacts::RESOLVED != 0
            && sessions
                .slot(handshake.session.load())
                .is_some_and(|session| {
                    session.generation.load() == handshake.generation.load()
                        && !is_session_over(session, limits, now)
                });
        gauges.pending += u64::from(is_join && !is_half_open_over(handshake, limits, now));
    }
    gauges
}
