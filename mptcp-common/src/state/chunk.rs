//! Chunks of the pool that sessions share.

use bytemuck::Zeroable;

use crate::table::{Entry, Memory, Word};

/// Ranges in a [`RangeChunk`].
pub const CHUNK_RANGES: usize = 29;

/// Chunks that a set of data sequence numbers may have.
pub const CHUNKS: u32 = 16;

/// Chunks for so many ranges.
pub const fn chunks_for(ranges: u32) -> u32 {
    ranges.div_ceil(CHUNK_RANGES as u32)
}

impl<M: Memory> Entry for RangeChunk<M> {
    #[inline(always)]
    fn tag(&self) -> u64 {
        self.tag.load()
    }

    #[inline(always)]
    fn fetch(&self) {
        self.tag.load();
    }
}

/// Ranges of data sequence numbers above the contiguous part that find no room in their session, or runs that find
/// none in their subflow: four cache lines of the pool that all sessions share.
///
/// Whose it is says its tag: of the session's slot and generation, the side, which of its sets or which subflow, and a
/// number.
#[derive(Debug, Zeroable)]
#[zeroable(bound = "M::W32: Zeroable, M::W64: Zeroable")]
#[repr(C, align(64))]
pub struct RangeChunk<M: Memory> {
    /// Its tag, 0 while it is free or being filled.
    pub tag: M::W64,
    /// When its ranges were looked at last; the lowest bit, [`EMPTY`](Self::EMPTY), says that there were none, the
    /// next, [`RUNS`](Self::RUNS), that they are runs.
    pub seen: M::W64,
    /// Slot of its session.
    pub session: M::W32,
    /// Generation of that session.
    pub generation: M::W32,
    /// As [`Ranges`].
    pub ranges: [M::W64; CHUNK_RANGES],
}

impl<M: Memory> RangeChunk<M> {
    /// In `seen`: no ranges are in it.
    pub const EMPTY: u64 = 1;
    /// In `seen`: what is in it are runs of a subflow.
    pub const RUNS: u64 = 2;

    /// Returns the slot of its session.
    pub fn session_slot(&self) -> u32 {
        self.session.load()
    }
}
