//! Sets of data sequence numbers.

use crate::{
    state::session::{MAPPED, Ranges, SENT, SessionSide},
    table::{Memory, Word},
    verifier::Opaque,
    wire::{after, after_64, expand},
};

/// Attempts at a change that another CPU may make at the same time.
pub(crate) const TRIES: u32 = 4;

/// Raises a number that several CPUs raise; says whether this one did.
#[inline(always)]
pub(crate) fn raise<W: Word<u64>>(word: &W, value: u64) -> bool {
    for _ in 0..TRIES {
        let present = word.load();
        if !after_64(value, present) {
            return false;
        }
        if word.replace(present, value) {
            return true;
        }
    }
    false
}

/// How a range of data lies to a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Relation {
    /// None of it was in the set.
    New = 0,
    /// Some of it was.
    Partial = 1,
    /// All of it was.
    Inside = 2,
    /// None of it was in the ranges at hand, and there was no room to remember it there.
    Lost = 3,
}

/// A set of data sequence numbers: everything below `next`, and ranges above it. Those that find no room in the
/// session are in chunks (see [`ranges`](super::ranges)).
pub(crate) struct Set<'a, M: Memory> {
    pub(crate) next: &'a M::W64,
    /// How many ranges `above` has; from [`CHUNKED`] on it is known to have chunks too.
    pub(crate) gaps: &'a M::W32,
    pub(crate) above: &'a Ranges<M>,
}

/// The least of [`Set::gaps`] with chunks.
pub(crate) const CHUNKED: u32 = 1 << 8;

impl<M: Memory> SessionSide<M> {
    /// What this side mapped.
    #[inline(always)]
    pub(crate) fn mapped_set(&self) -> Set<'_, M> {
        self.set(MAPPED)
    }

    /// What this side sent.
    #[inline(always)]
    pub(crate) fn sent_set(&self) -> Set<'_, M> {
        self.set(SENT)
    }

    /// One of its two sets.
    #[inline(always)]
    pub(crate) fn set(&self, which: usize) -> Set<'_, M> {
        Set {
            next: &self.next[which & 1],
            gaps: &self.gaps[which & 1],
            above: &self.ranges[which & 1],
        }
    }
}

impl<M: Memory> Set<'_, M> {
    /// Makes it the set of all numbers below `next`.
    #[inline(always)]
    pub(crate) fn reset(&self, next: u64) {
        self.next.store(next);
        self.gaps.store(0);
        for word in self.above {
            word.store(0);
        }
    }

    /// Is it all the numbers below `next`?
    #[inline(always)]
    pub(crate) fn is_contiguous(&self, next: u64) -> bool {
        self.next.load() == next && self.gaps.load() == 0
    }

    /// Adds the numbers from `start` up to but not including `end`, less than 2^31 of them.
    #[inline(always)]
    pub(crate) fn insert(&self, start: u64, end: u64, verifier: &impl Opaque) -> Relation {
        let next = self.next.load();
        if !after_64(end, next) {
            return Relation::Inside;
        }
        let gaps = self.gaps.load();
        if start == next && gaps == 0 {
            // In order, and no gap open: what nearly every packet does. A plain store: another CPU
            // raises the number meanwhile only if it has the same data in hand, and what is lost
            // then comes back with the next DATA_ACK.
            self.next.store(end);
            return Relation::New;
        }
        if gaps >= CHUNKED {
            return Relation::Lost;
        }
        self.insert_above(next, gaps, start, end, verifier)
    }

    /// How many of the packets of a buffer lie in it as a whole?
    #[inline(always)]
    pub(crate) fn packets_inside(
        &self,
        start: u64,
        size: u32,
        length: u32,
        verifier: &impl Opaque,
    ) -> u32 {
        if self.is_contiguous(start) || size == 0 {
            return 0;
        }
        let next = self.next.load();
        let buffer = DataBuffer {
            start: start as u32,
            size,
            length,
        };
        let mut packets = verifier.opaque(buffer.packets_below(start, next));
        for word in self.above {
            packets = verifier.opaque(packets + buffer.packets_in(word.load(), next as u32));
        }
        packets
    }

    /// Every packet that fills, opens or meets a gap.
    #[inline(always)]
    fn insert_above(
        &self,
        next: u64,
        gaps: u32,
        start: u64,
        end: u64,
        verifier: &impl Opaque,
    ) -> Relation {
        let (mut relation, start) = clip(next, start);
        let end = end as u32;
        let (mut from, mut to) = (start, end);
        let mut used = 0;
        for word in self.above {
            let range = word.load();
            if range == 0 {
                continue;
            }
            let (low, high) = ((range >> 32) as u32, range as u32);
            if !after(low, start) && !after(end, high) {
                return Relation::Inside;
            }
            // Behind the contiguous part, or touching what is new: one range from now on.
            let stale = !after(high, next as u32);
            if stale || (!after(low, to) && !after(from, high)) {
                if after(high, start) && after(end, low) {
                    relation = verifier.opaque(Relation::Partial as u32);
                }
                if !stale {
                    from = if after(from, low) { low } else { from };
                    to = if after(high, to) { high } else { to };
                }
                word.store(0);
            } else {
                used = verifier.opaque(used + 1);
            }
        }
        if !after(from, next as u32) {
            self.gaps.replace(gaps, used);
            raise(self.next, expand(next, to));
            return partial_or_new(relation);
        }
        for word in self.above {
            if word.load() == 0 && word.replace(0, range(from, to)) {
                self.gaps.replace(gaps, used + 1);
                return partial_or_new(relation);
            }
        }
        Relation::Lost
    }

    /// The other end has acknowledged everything below `next`: it got what was not seen here.
    #[inline(always)]
    pub(crate) fn acknowledge(&self, next: u64) {
        if after_64(next, self.next.load()) {
            raise(self.next, next);
        }
    }
}

/// The data of packets of `size` bytes each but the last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataBuffer {
    /// Data sequence number of the first byte.
    pub(crate) start: u32,
    pub(crate) size: u32,
    /// Bytes in all.
    pub(crate) length: u32,
}

impl DataBuffer {
    /// How many of the packets lie below `next` as a whole? `start` is the buffer's.
    #[inline(always)]
    fn packets_below(&self, start: u64, next: u64) -> u32 {
        if !after_64(next, start) {
            return 0;
        }
        let known = next.wrapping_sub(start);
        if known >= self.length.into() {
            return self.length.div_ceil(self.size);
        }
        known as u32 / self.size
    }

    /// How many lie in a range as a whole? What lies below `next` was counted.
    #[inline(always)]
    pub(crate) fn packets_in(&self, range: u64, next: u32) -> u32 {
        let (low, high) = ((range >> 32) as u32, range as u32);
        if range == 0 || !after(high, next) || !after(high, self.start) {
            return 0;
        }
        let from = if !after(low, next) {
            // An acknowledgment joined it to what lies below: those across both are whole.
            if after(next, self.start) {
                next.wrapping_sub(self.start) / self.size
            } else {
                0
            }
        } else if after(low, self.start) {
            low.wrapping_sub(self.start).div_ceil(self.size)
        } else {
            0
        };
        let reached = high.wrapping_sub(self.start);
        let to = if reached >= self.length {
            self.length.div_ceil(self.size)
        } else {
            reached / self.size
        };
        to.saturating_sub(from)
    }
}

/// What a range that ends above `next` begins as, and the part of it that does: what lies below is in the set.
#[inline(always)]
pub(crate) fn clip(next: u64, start: u64) -> (u32, u32) {
    if after_64(next, start) {
        (Relation::Partial as u32, next as u32)
    } else {
        (Relation::New as u32, start as u32)
    }
}

/// The word of a range.
#[inline(always)]
pub(crate) fn range(start: u32, end: u32) -> u64 {
    u64::from(start) << 32 | u64::from(end)
}

#[inline(always)]
pub(crate) fn partial_or_new(relation: u32) -> Relation {
    if relation == Relation::Partial as u32 {
        Relation::Partial
    } else {
        Relation::New
    }
}
