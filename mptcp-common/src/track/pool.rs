//! The chunks of a set, or of the runs of a subflow.

use core::cell::Cell;

use crate::{
    packet::RangeSearch,
    state::{
        CHUNKED, CHUNKS, DataBuffer, GAPS, HOLD_TIME, RangeChunk, Relation, SENT, Set, TRIES,
        Tables, clip, is_chunk_free, partial_or_new, raise, range, since,
    },
    table::{self, Table, Word},
    wire::{after, after_64, expand},
};

/// How often a place is looked for, where another CPU is at the same set.
pub(crate) const ATTEMPTS: u32 = 16;

/// The parts of [`Set::gaps`]: ranges in the session, chunks (as many as the highest number that is in use), a
/// count of ranges that were put in chunks, and whether a CPU is about to take a chunk.
mod gaps {
    pub(super) const RANGES: u32 = super::CHUNKED - 1;
    pub(super) const CHUNKS_SHIFT: u32 = 8;
    pub(crate) const CHUNKS: u32 = 0xff << CHUNKS_SHIFT;
    pub(super) const PUT: u32 = 1 << 16;
    pub(super) const PUTS: u32 = 0x7fff << 16;
    pub(super) const TAKING: u32 = 1 << 31;
}

/// How many chunks a set may have, by its `gaps`.
#[inline(always)]
pub(crate) fn chunks(present: u32) -> u32 {
    (present & gaps::CHUNKS) >> gaps::CHUNKS_SHIFT
}

/// The chunks of one set.
pub(crate) struct Pool<'a, T> {
    pub(crate) tables: &'a T,
    pub(crate) range_search: &'a RangeSearch,
    pub(crate) now: u64,
}

/// What became of a range that was to be put in a chunk.
enum Placed {
    There,
    /// There is no chunk for it.
    NoRoom,
    /// Another CPU was at the same place.
    Meddled,
}

/// What a range is to what is inserted.
#[derive(PartialEq, Eq)]
enum Met {
    /// All of it is in the range.
    Inside,
    /// The range is part of it from now on, or of what is contiguous.
    Joined,
    /// Neither touches the other.
    Apart,
}

impl RangeSearch {
    /// Returns true if there are chunks that were not looked at.
    #[inline(always)]
    pub(crate) fn has_chunks(&self) -> bool {
        self.at.get() < self.chunks.get()
    }

    /// Begins with what lies above the contiguous part.
    #[inline(always)]
    pub(crate) fn begin(&self, next: u64, first: u64, end: u64) {
        self.next.set(next as u32);
        if self.tries.get() == 0 {
            let (relation, start) = clip(next, first);
            self.from.set(start);
            self.to.set(end as u32);
            self.relation.set(relation);
        }
        self.start.set(self.from.get());
        self.end.set(self.to.get());
        self.used.set(0);
        self.spare.set(GAPS as u32);
        self.at.set(0);
        self.left.set(0);
        self.is_inside.set(0);
        self.number.set(CHUNKS);
        self.place.set(0);
        self.missing.set(CHUNKS);
    }

    #[inline(always)]
    fn meet(&self, range: u64) -> Met {
        let (low, high) = ((range >> 32) as u32, range as u32);
        let (start, end) = (self.start.get(), self.end.get());
        if !after(low, start) && !after(end, high) {
            return Met::Inside;
        }
        if !after(high, self.next.get()) {
            return Met::Joined;
        }
        if after(low, end) || after(start, high) {
            return Met::Apart;
        }
        if after(high, start) && after(end, low) && self.tries.get() == 0 {
            self.relation.set(Relation::Partial as u32);
        }
        if after(self.from.get(), low) {
            self.from.set(low);
        }
        if after(high, self.to.get()) {
            self.to.set(high);
        }
        Met::Joined
    }
}

impl<'a, T: Tables> Pool<'a, T> {
    /// Those that `range_search` is about.
    #[inline(always)]
    pub(crate) fn new(tables: &'a T, range_search: &'a RangeSearch) -> Self {
        Self {
            tables,
            range_search,
            now: tables.now() & !RangeChunk::<T::Memory>::RUNS,
        }
    }

    /// Begins with one of the sets of a side of a session, of this slot and generation.
    #[inline(always)]
    pub(crate) fn begin(&self, owner: [u32; 2], side: usize, which: usize) {
        self.begin_with(owner, ((side << 1 | which) << 8) as u64);
    }

    /// Begins with chunks of a session, of this slot and generation, that `name` tells from its others. The lowest 8
    /// bits are 0.
    #[inline(always)]
    pub(crate) fn begin_with(&self, [slot, generation]: [u32; 2], name: u64) {
        let owner = u64::from(slot) << 32 | u64::from(generation);
        let key = table::mix(self.tables.seed(), owner) ^ name;
        let range_search = self.range_search;
        range_search.key.set(key);
        range_search.owner[0].set(slot);
        range_search.owner[1].set(generation);
    }

    /// Looks at all ranges in the session.
    #[inline(always)]
    pub(crate) fn find_in_session(&self, set: &Set<'_, T::Memory>, start: u64, end: u64) {
        let range_search = self.range_search;
        let next = set.next.load();
        let before = set.gaps.load();
        range_search.before.set(before);
        range_search.begin(next, start, end);
        let is_inside = if range_search.tries.get() == 0 {
            !after_64(end, next)
        } else {
            !after(range_search.to.get(), next as u32)
        };
        if is_inside {
            range_search.is_inside.set(1);
            return;
        }
        for (word, i) in set.above.iter().zip(0..) {
            let range = word.load();
            if range == 0 {
                range_search.spare.set(i);
                continue;
            }
            match range_search.meet(range) {
                Met::Inside => {
                    range_search.is_inside.set(1);
                    return;
                }
                Met::Joined => {
                    // If it is another one now, another CPU has made it part of something greater.
                    word.replace(range, 0);
                    range_search.spare.set(i);
                }
                Met::Apart => bump(&range_search.used),
            }
        }
        range_search.chunks.set(chunks(before));
    }

    /// As [`Set::insert`], of what was looked for in all ranges.
    #[inline(always)]
    pub(crate) fn insert(&self, set: &Set<'_, T::Memory>) -> Relation {
        let range_search = self.range_search;
        if range_search.is_inside.get() != 0 && range_search.tries.get() == 0 {
            return Relation::Inside;
        }
        let relation = partial_or_new(range_search.relation.get());
        if range_search.is_inside.get() != 0 {
            return relation;
        }
        let (from, to) = (range_search.from.get(), range_search.to.get());
        let (used, spare) = (range_search.used.get(), range_search.spare.get());
        if !after(from, range_search.next.get()) {
            self.settle(set, used);
            raise(set.next, expand(set.next.load(), to));
            return relation;
        }
        let range = range(from, to);
        // As an index of which the compiler knows nothing, see `insert_range`.
        let place = self.tables.opaque(spare) as usize & (GAPS - 1);
        if spare < GAPS as u32 && set.above[place].replace(0, range) {
            self.settle(set, used + 1);
            return relation;
        }
        match self.put_in_chunk(set, range) {
            Placed::There => relation,
            Placed::NoRoom => Relation::Lost,
            Placed::Meddled => {
                bump(&range_search.tries);
                Relation::Lost
            }
        }
    }

    /// Puts a range in a chunk with a place that is free or, if there is none, in another one.
    #[inline(always)]
    fn put_in_chunk(&self, set: &Set<'_, T::Memory>, range: u64) -> Placed {
        let placed = |is_put| {
            if is_put {
                Placed::There
            } else {
                Placed::Meddled
            }
        };
        let range_search = self.range_search;
        let (number, place) = (range_search.number.get(), range_search.place.get());
        if number < CHUNKS {
            return placed(self.put(set, number, place, range));
        }
        if set.gaps.or(gaps::TAKING) & gaps::TAKING != 0 {
            return Placed::Meddled;
        }
        let number = self.next_number(range);
        let placed = if number < CHUNKS && self.make(number) {
            placed(self.put(set, number, 0, range))
        } else {
            Placed::NoRoom
        };
        set.gaps.and(!gaps::TAKING);
        placed
    }

    /// The number of the next chunk: one that is missing among those that the set has, or a further one. Its places
    /// in the table may be others', so that it is not the same one for each range.
    #[inline(always)]
    fn next_number(&self, range: u64) -> u32 {
        let range_search = self.range_search;
        let (missing, chunks) = (
            range_search.missing.get(),
            chunks(range_search.before.get()),
        );
        let choice = table::mix(0, range) as u32;
        if missing < CHUNKS && (choice & 1 != 0 || chunks >= CHUNKS) {
            return missing;
        }
        let further = chunks + (choice >> 1 & 1);
        if further < CHUNKS { further } else { chunks }
    }

    /// Says how many ranges are in the session and, if there are none left in chunks, that it has none.
    #[inline(always)]
    fn settle(&self, set: &Set<'_, T::Memory>, used: u32) {
        let before = self.range_search.before.get();
        let kept = if self.range_search.left.get() == 0 {
            gaps::TAKING
        } else {
            !gaps::RANGES
        };
        // Another CPU may have another number in hand: that stays, and is made right by the next that looks.
        set.gaps.replace(before, before & kept | used);
    }

    /// The tag of a chunk.
    #[inline(always)]
    pub(crate) fn tag(&self, number: u32) -> u64 {
        table::tag(table::mix(self.range_search.key.get(), number.into()))
    }

    /// The chunk with a number.
    #[inline(always)]
    pub(crate) fn find(&self, number: u32) -> Option<&RangeChunk<T::Memory>> {
        table::find_entry(self.tables.range_chunks(), self.tag(number))
    }

    /// Counts the packets, of `size` bytes each but the last, that lie in ranges of the chunk at hand.
    #[inline(always)]
    fn count_packets(&self, chunk: &RangeChunk<T::Memory>, size: u32) {
        let range_search = self.range_search;
        let [start, end] = &range_search.asked[SENT];
        let start = start.get();
        let buffer = DataBuffer {
            start: start as u32,
            size,
            length: end.get().wrapping_sub(start) as u32,
        };
        for word in &chunk.ranges {
            let packets = buffer.packets_in(word.load(), range_search.next.get());
            range_search.again.set(range_search.again.get() + packets);
        }
    }

    /// Looks at all ranges of the chunk at hand. A buffer's packets but the last have `size` bytes.
    #[inline(always)]
    pub(crate) fn walk(&self, size: u32) {
        let range_search = self.range_search;
        let number = range_search.at.get();
        range_search.at.set(number + 1);
        let Some(chunk) = self.find(number) else {
            range_search.missing.set(number);
            return;
        };
        let is_buffer = range_search.which.get() == SENT as u32 && range_search.packets.get() > 1;
        if is_buffer && size != 0 && range_search.tries.get() == 0 {
            self.count_packets(chunk, size);
        }
        let seen = chunk.seen.load();
        range_search.here.set(0);
        for (word, i) in chunk.ranges.iter().zip(0..) {
            let range = word.load();
            if range == 0 {
                range_search.place.set(i);
                range_search.number.set(number);
                continue;
            }
            match range_search.meet(range) {
                Met::Inside => {
                    range_search.is_inside.set(1);
                    range_search.chunks.set(0);
                    return;
                }
                Met::Joined => {
                    word.replace(range, 0);
                }
                Met::Apart => bump(&range_search.here),
            }
        }
        let here = range_search.here.get();
        range_search.left.set(range_search.left.get() + here);
        // Since when it is empty is kept.
        let empty = RangeChunk::<T::Memory>::EMPTY;
        let now = self.now & !empty | u64::from(here == 0);
        if seen != now && seen & now & empty == 0 {
            chunk.seen.replace(seen, now);
        }
    }

    /// Puts a range in a place of a chunk, if that is free.
    #[inline(always)]
    pub(crate) fn put(
        &self,
        set: &Set<'_, T::Memory>,
        number: u32,
        place: u32,
        range: u64,
    ) -> bool {
        let Some(chunk) = self.find(number) else {
            return false;
        };
        let empty = RangeChunk::<T::Memory>::EMPTY;
        let seen = chunk.seen.load();
        if seen & empty != 0 && !chunk.seen.replace(seen, self.now & !empty) {
            return false;
        }
        let place = self.tables.opaque(place) as usize & 31;
        let Some(word) = chunk.ranges.get(place) else {
            return false;
        };
        if !word.replace(0, range) {
            return false;
        }
        if chunk.tag.load() == self.tag(number) && self.announce(set, number) {
            return true;
        }
        word.replace(range, 0);
        false
    }

    /// Says that a range was put in a chunk.
    #[inline(always)]
    pub(crate) fn announce(&self, set: &Set<'_, T::Memory>, number: u32) -> bool {
        for _ in 0..TRIES {
            let present = set.gaps.load();
            let chunks = chunks(present);
            let chunks = if chunks > number { chunks } else { number + 1 };
            let puts = present.wrapping_add(gaps::PUT) & gaps::PUTS;
            let others = present & (gaps::TAKING | gaps::RANGES);
            let new = others | puts | (chunks << gaps::CHUNKS_SHIFT & gaps::CHUNKS);
            if set.gaps.replace(present, new) {
                return true;
            }
        }
        false
    }

    /// Makes an empty chunk; says whether it did.
    #[inline(always)]
    pub(crate) fn make(&self, number: u32) -> bool {
        let chunks = self.tables.range_chunks();
        let tag = self.tag(number);
        let empty = RangeChunk::<T::Memory>::EMPTY;
        let now = self.now | empty;
        if let Some(chunk) = self.find(number) {
            let seen = chunk.seen.load();
            if seen & empty == 0 && since(seen, self.now) <= HOLD_TIME {
                // Another CPU has just made it.
                return true;
            }
            // From before the set was without chunks. What may be in it is not in the set.
            if !chunk.seen.replace(seen, now) {
                return false;
            }
            for word in &chunk.ranges {
                word.store(0);
            }
            return true;
        }
        let limits = self.tables.limits();
        let claimed = table::claim(chunks, tag, |chunk| {
            let seen = chunk.seen.load();
            let session = self.tables.sessions().slot(chunk.session.load());
            is_chunk_free(chunk, session, &limits, self.now)
                // Its session may be about to put something in it.
                && chunk.seen.replace(seen, self.now & !empty)
        });
        let Some(chunk) = claimed.and_then(|slot| chunks.slot(slot)) else {
            return false;
        };
        chunk.tag.store(0);
        for word in &chunk.ranges {
            word.store(0);
        }
        chunk.session.store(self.range_search.owner[0].get());
        chunk.generation.store(self.range_search.owner[1].get());
        chunk.seen.store(now);
        chunk.tag.store(tag);
        true
    }
}

#[inline(always)]
fn bump(count: &Cell<u32>) {
    count.set(count.get() + 1);
}

#[cfg(test)]
mod tests;
