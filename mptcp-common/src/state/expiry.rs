//! When an entry is over.

use crate::{
    state::{
        chunk::RangeChunk,
        handshake::HalfOpen,
        limits::{Limits, SECOND},
        session::{Session, SessionFacts},
        subflow::{Subflow, SubflowFacts},
    },
    table::{Memory, STAYS, Word},
};

/// Time from then to now. A CPU's clock can be a tick behind another's, which wrote `then`: that is no
/// time, and not all the time there is.
#[inline(always)]
pub(crate) fn since(then: u64, now: u64) -> u64 {
    now.saturating_sub(then)
}

/// Bits of a time in nanoseconds that are below a tick of [`ticks`]: 1.05 ms.
pub(crate) const TICK: u32 = 20;

/// A time in 32 bits, not 0. It comes again after 52 days.
#[inline(always)]
pub(crate) fn ticks(time: u64) -> u32 {
    ((time >> TICK) as u32).max(1)
}

/// A replaced subflow or pending join is gone within this time (TotSFRep, PendRep).
pub(crate) const REPLACE_TIME: u64 = 2 * SECOND;

/// Returns true if this handshake is over.
#[inline(always)]
pub fn is_half_open_over<M: Memory>(entry: &HalfOpen<M>, limits: &Limits, now: u64) -> bool {
    entry.tag.load() == 0 || since(entry.created.load(), now) > limits.handshake
}

/// A session, or a subflow, of which nothing but the handshake was seen is over after this time without packets:
/// whoever forges handshakes cannot keep the tables full.
const PROVISIONAL_TIME: u64 = 30 * SECOND;

/// Returns 1 if the session of this subflow, its first, is provisional, else 0. Without branches: for each place of a
/// bucket, the verifier would go both ways.
#[inline(always)]
pub(crate) fn provisional<M: Memory>(entry: &Subflow<M>) -> u64 {
    u64::from((entry.flags.load() / SubflowFacts::PROVISIONAL) & 1)
}

/// Returns the rank of an entry where the table is full, the lowest first: provisional ones, the oldest first. The others
/// stay.
#[inline(always)]
pub(crate) fn rank(provisional: u64, created: u64) -> u64 {
    STAYS - provisional.wrapping_mul(STAYS - created)
}

/// For how long an entry lives without packets.
#[inline(always)]
fn lifetime(limits: &Limits, provisional: u64) -> u64 {
    let less = limits.idle.wrapping_sub(PROVISIONAL_TIME.min(limits.idle));
    limits.idle.wrapping_sub(less.wrapping_mul(provisional))
}

/// Returns true if this subflow's entry may be taken.
#[inline(always)]
pub fn is_subflow_over<M: Memory>(entry: &Subflow<M>, limits: &Limits, now: u64) -> bool {
    let closed = entry.closed.load();
    entry.tag.load() == 0
        || (closed != 0 && since(closed, now) > limits.linger)
        || since(entry.last_seen.load(), now) > lifetime(limits, provisional(entry))
}

/// Returns true if this subflow is open.
#[inline(always)]
pub fn is_subflow_open<M: Memory>(entry: &Subflow<M>, limits: &Limits, now: u64) -> bool {
    entry.tag.load() != 0
        && entry.closed.load() == 0
        && since(entry.last_seen.load(), now) <= lifetime(limits, provisional(entry))
}

/// Returns true if this session is over, so that its entry may be taken.
#[inline(always)]
pub fn is_session_over<M: Memory>(entry: &Session<M>, limits: &Limits, now: u64) -> bool {
    let flags = entry.flags.load();
    const FINS_ACKED: u32 = SessionFacts::FIN_ACKED | SessionFacts::FIN_ACKED << 1;
    let alone = entry.open.load() == 0;
    let provisional = u64::from((flags / SessionFacts::PROVISIONAL) & 1);
    entry.tag.load() == 0
        || flags & SessionFacts::FASTCLOSED != 0
        || (alone && flags & FINS_ACKED == FINS_ACKED)
        || (alone && flags & SessionFacts::FALLBACK != 0)
        || (alone && since(entry.alone.load(), now) > limits.alone)
        || since(entry.last_seen.load(), now) > lifetime(limits, provisional)
}

/// An empty chunk, and one whose session is over, is kept for this time.
pub(crate) const HOLD_TIME: u64 = 1_000_000_000;

/// Returns true if this chunk's place may be taken. `session` is what is in its session's slot.
#[inline(always)]
pub fn is_chunk_free<M: Memory>(
    chunk: &RangeChunk<M>,
    session: Option<&Session<M>>,
    limits: &Limits,
    now: u64,
) -> bool {
    let Some(session) = session else {
        return true;
    };
    if chunk.tag.load() == 0 || session.generation.load() != chunk.generation.load() {
        return true;
    }
    let seen = chunk.seen.load();
    since(seen, now) > HOLD_TIME
        && (seen & RangeChunk::<M>::EMPTY != 0
            || are_over::<M>(seen, now)
            || session.flags.load() & SessionFacts::FALLBACK != 0
            || is_session_over(session, limits, now))
}

/// A chunk of runs that nobody has looked at for so long has none that is needed: what it is about was acknowledged, or
/// its connection timed out.
const KEEP_TIME: u64 = 120_000_000_000;

/// Returns true if this chunk holds runs that are not needed any more, by its `seen`.
#[inline(always)]
fn are_over<M: Memory>(seen: u64, now: u64) -> bool {
    seen & RangeChunk::<M>::RUNS != 0 && since(seen, now) > KEEP_TIME
}
