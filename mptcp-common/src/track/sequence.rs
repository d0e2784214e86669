//! Arithmetic of sequence numbers, and sets of them.

use super::{
    entry::{MAPPED, MAPPINGS, Mapping, Ranges, SENT, Side, Way},
    word::{Memory, Word},
};
use crate::wire::{Forget, expand};

/// Does `a` come after `b`, modulo 2^32?
#[inline(always)]
pub(super) fn after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

/// Does `a` come after `b`, modulo 2^64?
#[inline(always)]
pub(super) fn after_64(a: u64, b: u64) -> bool {
    (a.wrapping_sub(b) as i64) > 0
}

/// How far a number that a packet names may lie beyond what was seen of the other end: packets overtake each other,
/// and some reach the other end and not the probe.
pub(super) const SLACK: u32 = 1 << 20;

/// Attempts at a change that another CPU may make at the same time.
pub(super) const TRIES: u32 = 4;

/// Raises a number that several CPUs raise; says whether this one did.
#[inline(always)]
pub(super) fn raise<W: Word<u64>>(word: &W, value: u64) -> bool {
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
pub(super) enum Relation {
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
pub(super) struct Set<'a, M: Memory> {
    pub(super) next: &'a M::W64,
    /// How many ranges `above` has; from [`CHUNKED`] on it is known to have chunks too.
    pub(super) gaps: &'a M::W32,
    pub(super) above: &'a Ranges<M>,
}

/// The least of [`Set::gaps`] with chunks.
pub(super) const CHUNKED: u32 = 1 << 8;

impl<M: Memory> Side<M> {
    /// What this side mapped.
    #[inline(always)]
    pub(super) fn mapped_set(&self) -> Set<'_, M> {
        self.set(MAPPED)
    }

    /// What this side sent.
    #[inline(always)]
    pub(super) fn sent_set(&self) -> Set<'_, M> {
        self.set(SENT)
    }

    /// One of its two sets.
    #[inline(always)]
    pub(super) fn set(&self, which: usize) -> Set<'_, M> {
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
    pub(super) fn reset(&self, next: u64) {
        self.next.store(next);
        self.gaps.store(0);
        for word in self.above {
            word.store(0);
        }
    }

    /// Is it all the numbers below `next`?
    #[inline(always)]
    pub(super) fn is_contiguous(&self, next: u64) -> bool {
        self.next.load() == next && self.gaps.load() == 0
    }

    /// Adds the numbers from `start` up to but not including `end`, less than 2^31 of them.
    #[inline(always)]
    pub(super) fn insert(&self, start: u64, end: u64, verifier: &impl Forget) -> Relation {
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
    pub(super) fn packets_inside(
        &self,
        start: u64,
        size: u32,
        length: u32,
        verifier: &impl Forget,
    ) -> u32 {
        if self.is_contiguous(start) || size == 0 {
            return 0;
        }
        let next = self.next.load();
        let buffer = Buffer {
            start: start as u32,
            size,
            length,
        };
        let mut packets = verifier.forget(buffer.packets_below(start, next));
        for word in self.above {
            packets = verifier.forget(packets + buffer.packets_in(word.load(), next as u32));
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
        verifier: &impl Forget,
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
                    relation = verifier.forget(Relation::Partial as u32);
                }
                if !stale {
                    from = if after(from, low) { low } else { from };
                    to = if after(high, to) { high } else { to };
                }
                word.store(0);
            } else {
                used = verifier.forget(used + 1);
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
    pub(super) fn acknowledge(&self, next: u64) {
        if after_64(next, self.next.load()) {
            raise(self.next, next);
        }
    }
}

/// The data of packets of `size` bytes each but the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffer {
    /// Data sequence number of the first byte.
    pub(super) start: u32,
    pub(super) size: u32,
    /// Bytes in all.
    pub(super) length: u32,
}

impl Buffer {
    /// How many of the packets lie below `next` as a whole? `start` is the buffer's.
    #[inline(always)]
    pub(super) fn packets_below(&self, start: u64, next: u64) -> u32 {
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
    pub(super) fn packets_in(&self, range: u64, next: u32) -> u32 {
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
pub(super) fn clip(next: u64, start: u64) -> (u32, u32) {
    if after_64(next, start) {
        (Relation::Partial as u32, next as u32)
    } else {
        (Relation::New as u32, start as u32)
    }
}

/// The word of a range.
#[inline(always)]
pub(super) fn range(start: u32, end: u32) -> u64 {
    u64::from(start) << 32 | u64::from(end)
}

#[inline(always)]
pub(super) fn partial_or_new(relation: u32) -> Relation {
    if relation == Relation::Partial as u32 {
        Relation::Partial
    } else {
        Relation::New
    }
}

/// A mapping, read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) dsn: u64,
    pub(super) ssn: u32,
    /// Bytes, without DATA_FIN; 0 if there is none.
    pub(super) length: u32,
}

impl Map {
    /// Of no bytes.
    pub(super) const NONE: Self = Self {
        dsn: 0,
        ssn: 0,
        length: 0,
    };

    #[inline(always)]
    pub(super) fn read<M: Memory>(mapping: &Mapping<M>) -> Self {
        Self {
            dsn: mapping.dsn.load(),
            ssn: mapping.ssn.load(),
            length: mapping.length.load(),
        }
    }

    /// The same, of which the verifier knows nothing any more.
    #[inline(always)]
    pub(super) fn forgotten(self, verifier: &impl Forget) -> Self {
        let high = verifier.forget((self.dsn >> 32) as u32);
        Self {
            dsn: u64::from(high) << 32 | u64::from(verifier.forget(self.dsn as u32)),
            ssn: verifier.forget(self.ssn),
            length: verifier.forget(self.length),
        }
    }

    /// How far its data sequence numbers lie from the subflow's.
    #[inline(always)]
    pub(super) fn shift(&self) -> u64 {
        self.dsn.wrapping_sub(u64::from(self.ssn))
    }

    /// Does the byte with this relative number lie in it?
    #[inline(always)]
    pub(super) fn holds(&self, relative: u32) -> bool {
        relative.wrapping_sub(self.ssn) < self.length
    }
}

/// What a new mapping is to those that are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Known {
    /// Nothing like it.
    New = 0,
    /// The same was there.
    Same = 1,
    /// Bytes of the subflow that it maps were mapped to other data.
    Altered = 2,
}

impl<M: Memory> Way<M> {
    /// Compares a mapping with those of this ring.
    #[inline(always)]
    pub(super) fn compare(&self, map: Map, verifier: &impl Forget) -> Known {
        if self.is_newest(map) {
            return Known::Same;
        }
        if !after(self.mapped_end.load(), map.ssn) {
            // Behind everything that was mapped, as most are.
            return Known::New;
        }
        let mut known = Known::New as u32;
        for mapping in &self.mappings {
            let other = Map::read(mapping);
            if other.length == 0 {
                continue;
            }
            if other == map {
                return Known::Same;
            }
            let overlaps = other.holds(map.ssn) || map.holds(other.ssn);
            if overlaps && map.shift() != other.shift() {
                known = verifier.forget(Known::Altered as u32);
            }
        }
        if known == Known::Altered as u32 {
            Known::Altered
        } else {
            Known::New
        }
    }

    /// Is it the mapping that came last?
    #[inline(always)]
    pub(super) fn is_newest(&self, map: Map) -> bool {
        let newest = &self.mappings[self.newest.load() as usize & (MAPPINGS - 1)];
        newest.dsn.load() == map.dsn
            && newest.ssn.load() == map.ssn
            && newest.length.load() == map.length
    }

    /// Remembers a mapping in the place of the oldest.
    #[inline(always)]
    pub(super) fn remember(&self, map: Map) {
        let place = self.newest.load().wrapping_add(1);
        let mapping = &self.mappings[place as usize & (MAPPINGS - 1)];
        mapping.dsn.store(map.dsn);
        mapping.ssn.store(map.ssn);
        mapping.length.store(map.length);
        self.newest.store(place);
        let end = map.ssn.wrapping_add(map.length);
        if after(end, self.mapped_end.load()) {
            self.mapped_end.store(end);
        }
    }

    /// The number of a mapping that is remembered, in the order of their coming.
    #[inline(always)]
    pub(super) fn number_of(&self, map: Map) -> u32 {
        let newest = self.newest.load();
        for age in 0..MAPPINGS as u32 {
            let number = newest.wrapping_sub(age);
            if Map::read(&self.mappings[number as usize & (MAPPINGS - 1)]) == map {
                return number;
            }
        }
        newest
    }

    /// The mapping of a number, of which the lower 13 bits are known; of length 0 if it is forgotten.
    #[inline(always)]
    pub(super) fn numbered(&self, number: u32) -> Map {
        let age = self.newest.load().wrapping_sub(number) & 0x1fff;
        if age < MAPPINGS as u32 {
            Map::read(&self.mappings[number as usize & (MAPPINGS - 1)])
        } else {
            Map::NONE
        }
    }

    /// The remembered mapping that holds a byte, of length 0 if none does.
    #[inline(always)]
    pub(super) fn mapping_of(&self, relative: u32) -> Map {
        let newest = self.newest.load() as usize & (MAPPINGS - 1);
        let map = Map::read(&self.mappings[newest]);
        if map.holds(relative) {
            return map;
        }
        for mapping in &self.mappings {
            let map = Map::read(mapping);
            if map.holds(relative) {
                return map;
            }
        }
        Map::default()
    }
}
