//! The tables of a probe.

use core::ops::DerefMut;

use crate::{
    counter::{DirectionCounters, EventKind, Role},
    crypto::Compress,
    packet::hash::Secrets,
    state::{
        chunk::RangeChunk,
        handshake::HalfOpen,
        limits::Limits,
        pending::PendingJoins,
        runs::has_kept_oldest,
        session::{Keys, Session},
        subflow::Subflow,
    },
    table::{Bucket, Memory, Table},
    verifier::Opaque,
};

/// The tables, the clock and the counters of one probe.
pub trait Tables: Opaque {
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
    fn fast_path_enabled(&self) -> bool {
        true
    }
    /// The receive queue or CPU plus 1, 0 where that says nothing.
    fn queue(&self) -> u32;
    /// Tells who watches of something rare: what, a detail, and the token of the session's listener,
    /// 0 if that is not known. The packet in work is the one that did it.
    fn emit(&self, kind: EventKind, detail: u32, token: u32);
    /// The events of one direction (a [`crate::counter::Direction`] by its number), to add to.
    fn events(&self, direction: u32) -> impl DerefMut<Target = DirectionCounters>;

    /// `value`, which is likely `guess`. Where it is, what uses it need not wait for it to be loaded: a
    /// processor that predicts the comparison goes on with the guess.
    #[inline(always)]
    fn guess(&self, value: u32, guess: u32) -> u32 {
        let _ = guess;
        value
    }

    /// [`SubflowSide::keep_oldest`] of what a side sends on a subflow, if there is room for it there.
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
    fn count(&self, direction: u32, count: impl FnOnce(&mut DirectionCounters)) {
        count(&mut self.events(direction));
    }
}
