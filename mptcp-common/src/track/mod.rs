//! Handshakes, subflows and sessions: what has to be remembered to judge a packet.
//!
//! A packet that carries an MP_CAPABLE or MP_JOIN SYN opens an entry in the table of half-open
//! handshakes, which forgets the oldest when it is full. A handshake that completes moves into the
//! tables of subflows and sessions, which never evict: what has no room there is counted as lost.
//! So a flood of forged SYNs can displace handshakes, and nothing else.
//!
//! The code is the same in the kernel, over BPF maps, and in user space; it is generic over
//! [`Tables`]. What takes `Stages` alone is a function of its own in the kernel, so that its verifier
//! looks at each once; such a function finds the packet in [`Stages::work`].

mod accept;
#[cfg(not(target_arch = "bpf"))]
pub mod adopt;
mod buffer;
mod checksum;
#[cfg(not(target_arch = "bpf"))]
mod clear;
mod close;
mod entry;
mod established;
mod handshake;
pub mod hash;
mod join;
mod open;
pub mod pending;
mod predict;
mod ranges;
mod report;
mod runs;
mod seen;
mod sequence;
mod signals;
#[cfg(not(target_arch = "bpf"))]
pub mod sweep;
pub mod table;
pub mod tokens;
mod word;

#[cfg(not(target_arch = "bpf"))]
pub use self::clear::clear;
pub(crate) use self::ranges::ATTEMPTS;
pub use self::{
    accept::{accept, ends, refuse},
    checksum::checksum,
    close::close,
    entry::{
        CHUNK_RANGES, CHUNKS, FlowKey, GAPS, HalfOpen, Keys, MAPPED, MAPPINGS, Mapping, RUNS,
        RangeChunk, Ranges, SENT, Session, Side, Subflow, Sum, Way, chunks_for, half_open, session,
        subflow, sum,
    },
    established::established,
    handshake::handshake,
    join::{lookup_join, verify_join},
    open::{open_session, open_subflow},
    predict::{Predicted, is_predicted, predict_flow},
    ranges::{Insertion, find_ranges, insert_range, is_chunk_free, walk_chunk},
    report::{Fallback, Happening, JoinFailure, Report},
    runs::{Recall, count_runs, find_runs, has_kept_oldest, walk_runs},
    signals::signals,
    word::{Memory, Word},
};
use core::ops::DerefMut;

use bytemuck::{Pod, Zeroable};

#[cfg(not(target_arch = "bpf"))]
pub use self::word::Atomics;
use self::{
    hash::Secrets,
    pending::PendingJoins,
    table::{Bucket, Table},
};
use crate::engine::Stages;
use crate::{
    counter::{Events, Gauges, Role},
    crypto::Compress,
    wire::Forget,
};

/// What an entry of the half-open table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// Opened by an MP_CAPABLE SYN.
    Capable = 1,
    /// Opened by an MP_JOIN SYN.
    Join = 2,
    /// A segment with an MPTCP option on a flow of which no handshake was seen. A reset in answer
    /// tells that its receiver did not know it either.
    Stray = 3,
}

/// Limits and times that rows are judged by and tables are cleaned by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Limits {
    /// A pending handshake is forgotten after this time. Nanoseconds, as all times here.
    pub handshake: u64,
    /// A session without subflows is over after this time.
    pub alone: u64,
    /// A session without packets is over after this time.
    pub idle: u64,
    /// A closed subflow is remembered for this time.
    pub linger: u64,
    /// Subflows of a session, the first included; a join beyond is refused (MaxsfEr).
    pub subflows: u32,
    /// Pending joins of a session and side (PendRep).
    pub pending: u32,
    /// Pending joins of all sessions, 0 is no limit (JoinThEr).
    pub threshold: u32,
    /// Is closing on a backup subflow refused (DFpasveEr, FCpasvEr)?
    pub passive_close_refused: u32,
}

const SECOND: u64 = 1_000_000_000;

impl Limits {
    /// NetScaler's defaults where it has the limit, Linux's where it has not.
    pub const DEFAULT: Self = Self {
        handshake: 75 * SECOND,
        alone: 60 * SECOND,
        idle: 3600 * SECOND,
        linger: 10 * SECOND,
        subflows: 4,
        pending: 4,
        threshold: 0,
        passive_close_refused: 0,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The tables, the clock and the counters of one probe.
pub trait Tables: Forget {
    /// What the tables' words are made of.
    type Memory: Memory;
    /// Handshakes.
    type HalfOpens: Table<Memory = Self::Memory, Slot = HalfOpen<Self::Memory>>;
    /// Subflows.
    type Subflows: Table<Memory = Self::Memory, Slot = Subflow<Self::Memory>>;
    /// Sessions, placed by the flow that was the first.
    type Sessions: Table<Memory = Self::Memory, Slot = Session<Self::Memory>>;
    /// Ranges of data that found no room in their sessions.
    type RangeChunks: Table<Memory = Self::Memory, Slot = RangeChunk<Self::Memory>>;
    /// What computes hashes.
    type Digest: Compress;

    /// Handshakes that are not complete.
    fn half_opens(&self) -> &Self::HalfOpens;
    /// Subflows.
    fn subflows(&self) -> &Self::Subflows;
    /// Sessions.
    fn sessions(&self) -> &Self::Sessions;
    /// The pool of chunks that sessions with many ranges of data share.
    fn range_chunks(&self) -> &Self::RangeChunks;
    /// The keys of the session in this slot.
    fn keys(&self, session: u32) -> Option<&Keys<Self::Memory>>;
    /// Buckets of words that lead from [`tokens`] to sessions: [`tokens::BUCKETS`] of them for each bucket of
    /// sessions.
    fn tokens(&self, bucket: u32) -> Option<&Bucket<Self::Memory>>;
    /// Pending joins of all sessions.
    fn pending_joins(&self) -> Option<&PendingJoins<Self::Memory>>;
    /// Runs `hash` with what computes hashes.
    fn with_digest<R>(&self, hash: impl FnOnce(&mut Self::Digest) -> R) -> Option<R>;
    /// The secret that keys of range chunks are made with.
    fn seed(&self) -> u64;
    /// The secrets that tags are made with: of the seed.
    fn secrets(&self) -> &impl Secrets;
    /// Now, in nanoseconds; may be as coarse as some milliseconds.
    fn now(&self) -> u64;
    /// Where the packet comes in.
    fn role(&self) -> Role;
    /// Limits and times.
    fn limits(&self) -> Limits;
    /// Are DSS checksums verified?
    fn verifies_checksums(&self) -> bool;
    /// Are TCP checksums looked at of segments that end something?
    fn checks_segments(&self) -> bool;
    /// May what nearly every packet is take the way that is short for it? It has to say the same: a
    /// test compares.
    #[inline(always)]
    fn takes_short_ways(&self) -> bool {
        true
    }
    /// The receive queue or CPU plus 1, 0 where that says nothing.
    fn queue(&self) -> u32;
    /// Tells who watches of something rare: what, a detail, and the token of the session's listener,
    /// 0 if that is not known. The packet in work is the one that did it.
    fn report(&self, happening: Happening, detail: u32, token: u32);
    /// The events of one direction (a [`crate::counter::Direction`] by its number), to add to.
    fn events(&self, direction: u32) -> impl DerefMut<Target = Events>;

    /// `value`, which is likely `guess`. Where it is, what uses it need not wait for it to be loaded: a
    /// processor that predicts the comparison goes on with the guess.
    #[inline(always)]
    fn guess(&self, value: u32, guess: u32) -> u32 {
        let _ = guess;
        value
    }

    /// [`Way::keep_oldest`] of what a side sends on a subflow, if there is room for it there.
    #[inline(always)]
    fn keep_oldest(
        &self,
        subflow: &Subflow<Self::Memory>,
        session: &Session<Self::Memory>,
        sender: usize,
    ) -> bool {
        has_kept_oldest(subflow, session, sender)
    }

    /// Counts in one direction.
    #[inline(always)]
    fn count(&self, direction: u32, count: impl FnOnce(&mut Events)) {
        count(&mut self.events(direction));
    }
}

/// Time from then to now. A CPU's clock can be a tick behind another's, which wrote `then`: that is no
/// time, and not all the time there is.
#[inline(always)]
fn since(then: u64, now: u64) -> u64 {
    now.saturating_sub(then)
}

/// Bits of a time in nanoseconds that are below a tick of [`ticks`]: 1.05 ms.
const TICK: u32 = 20;

/// A time in 32 bits, not 0. It comes again after 52 days.
#[inline(always)]
fn ticks(time: u64) -> u32 {
    ((time >> TICK) as u32).max(1)
}

/// A replaced subflow or pending join is gone within this time (TotSFRep, PendRep).
const REPLACE_TIME: u64 = 2 * SECOND;

/// Is this handshake over?
#[inline(always)]
pub fn is_half_open_over<M: Memory>(entry: &HalfOpen<M>, limits: &Limits, now: u64) -> bool {
    entry.tag.load() == 0 || since(entry.created.load(), now) > limits.handshake
}

/// A session, or a subflow, of which nothing but the handshake was seen is over after this time without packets:
/// whoever forges handshakes cannot keep the tables full.
const PROVISIONAL_TIME: u64 = 30 * SECOND;

/// 1 if nothing but the handshake was seen of this subflow, the first of its session, else 0. Without branches: for each
/// place of a bucket, the verifier would go both ways.
#[inline(always)]
fn provisional<M: Memory>(entry: &Subflow<M>) -> u64 {
    const SHOWN: u32 = subflow::JOINED | subflow::CONFIRMED | subflow::CONFIRMED << 1;
    let shown = u64::from(entry.flags.load() & SHOWN)
        | entry.ways[0].bytes.load()
        | entry.ways[1].bytes.load();
    // Of one that was there before the probe, no handshake was seen.
    is_zero(shown) & (is_zero(entry.created.load()) ^ 1)
}

/// 1 for 0, else 0.
#[inline(always)]
fn is_zero(number: u64) -> u64 {
    (number | number.wrapping_neg()) >> 63 ^ 1
}

/// For how long an entry lives without packets.
#[inline(always)]
fn lifetime(limits: &Limits, provisional: u64) -> u64 {
    let less = limits.idle.wrapping_sub(PROVISIONAL_TIME.min(limits.idle));
    limits.idle.wrapping_sub(less.wrapping_mul(provisional))
}

/// May this subflow's entry be taken?
#[inline(always)]
pub fn is_subflow_over<M: Memory>(entry: &Subflow<M>, limits: &Limits, now: u64) -> bool {
    let closed = entry.closed.load();
    entry.tag.load() == 0
        || (closed != 0 && since(closed, now) > limits.linger)
        || since(entry.last_seen.load(), now) > lifetime(limits, provisional(entry))
}

/// Is this subflow open?
#[inline(always)]
pub fn is_subflow_open<M: Memory>(entry: &Subflow<M>, limits: &Limits, now: u64) -> bool {
    entry.tag.load() != 0
        && entry.closed.load() == 0
        && since(entry.last_seen.load(), now) <= lifetime(limits, provisional(entry))
}

/// Is this session over, so that its entry may be taken?
#[inline(always)]
pub fn is_session_over<M: Memory>(entry: &Session<M>, limits: &Limits, now: u64) -> bool {
    let flags = entry.flags.load();
    const FINS_ACKED: u32 = session::FIN_ACKED | session::FIN_ACKED << 1;
    let alone = entry.open.load() == 0;
    let provisional = u64::from((flags / session::PROVISIONAL) & 1);
    entry.tag.load() == 0
        || flags & session::FASTCLOSED != 0
        || (alone && flags & FINS_ACKED == FINS_ACKED)
        || (alone && flags & session::FALLBACK != 0)
        || (alone && since(entry.alone.load(), now) > limits.alone)
        || since(entry.last_seen.load(), now) > lifetime(limits, provisional)
}

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
        gauges.fallback += u64::from(session.flags.load() & session::FALLBACK != 0);
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
        let is_join = handshake.kind() == Kind::Join as u32
            && handshake.flags.load() & half_open::RESOLVED != 0
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
