//! Ranges of data beyond gaps that find no room in their session: chunks of a pool that all sessions share.
//!
//! Over paths of different length a receiver sees tens or hundreds of separate ranges. A session remembers
//! [`GAPS`] of them for each of its sets; a set with more takes chunks of the pool, of 29 ranges each, by
//! their numbers from 0 on, up to [`CHUNKS`]. From then on, until its chunks are empty again, what is inserted
//! goes through the stage here: the set is what is below its `next`, the ranges in the session, and those in the
//! chunks, no two of which touch.
//!
//! A chunk is in a [table](super::table), whose places are taken without a lock, and several CPUs may be at
//! work on a set. So:
//! - A range is one word, which is put in place, and taken out, by compare-and-swap.
//! - A chunk's place is handed on when its session is gone, or when its session is over, or it is empty, and nobody
//!   has looked at it for [`HOLD_TIME`]. Who takes it, and who puts a range in an empty one, first changes `seen`
//!   by compare-and-swap: one of them does. Who has put a range in place looks whether the chunk is still his.
//! - Only one CPU at a time takes a chunk for a set; the word `gaps` says that it is at it. The same word counts
//!   what is put in chunks: who finds all of them empty says so only if nothing was put there meanwhile.
//!
//! What two CPUs can do to each other is that a range is forgotten; none appears that was not inserted.

use core::cell::Cell;

use super::{
    Limits, Stages, Tables,
    entry::{CHUNKS, GAPS, MAPPED, RangeChunk, SENT, Session, session},
    established::{count_mapped, count_sent},
    is_session_over, runs,
    seen::Seen,
    sequence::{
        Buffer, CHUNKED, Map, Relation, Set, TRIES, after, after_64, clip, partial_or_new, raise,
        range,
    },
    since,
    table::{self, Table},
    word::{Memory, Word},
};
use crate::{engine::next, wire::expand};

/// How often a place is looked for, where another CPU is at the same set.
pub(crate) const ATTEMPTS: u32 = 16;

/// An empty chunk, and one whose session is over, is kept for this time.
const HOLD_TIME: u64 = 1_000_000_000;

/// The parts of [`Set::gaps`]: ranges in the session, chunks (as many as the highest number that is in use), a
/// count of ranges that were put in chunks, and whether a CPU is about to take a chunk.
mod gaps {
    pub(super) const RANGES: u32 = super::CHUNKED - 1;
    pub(super) const CHUNKS_SHIFT: u32 = 8;
    pub(super) const CHUNKS: u32 = 0xff << CHUNKS_SHIFT;
    pub(super) const PUT: u32 = 1 << 16;
    pub(super) const PUTS: u32 = 0x7fff << 16;
    pub(super) const TAKING: u32 = 1 << 31;
}

/// How many chunks a set may have, by its `gaps`.
#[inline(always)]
fn chunks(present: u32) -> u32 {
    (present & gaps::CHUNKS) >> gaps::CHUNKS_SHIFT
}

/// Asks for the stage: these numbers found no room in their session, or have to be looked for in chunks.
#[inline(always)]
pub(super) fn ask<T: Stages>(seen: &Seen<'_, T>, stage: u32, start: u64, end: u64) {
    let which = if stage & next::SENT_RANGES != 0 {
        SENT
    } else {
        MAPPED
    };
    let [first, behind] = &seen.work.insertion.asked[which];
    first.set(start);
    behind.set(end);
    seen.work.insertion.tries.set(0);
    seen.work.route.ask(stage);
}

/// The same of data that was sent in so many packets, of which `again` lie in the ranges of the session, and of its
/// mapping.
#[inline(always)]
pub(super) fn ask_sent<T: Stages>(
    seen: &Seen<'_, T>,
    map: Map,
    [start, end]: [u64; 2],
    packets: u32,
    again: u32,
) {
    let packet = &seen.work.packet;
    let insertion = &seen.work.insertion;
    insertion.shift.set(map.shift());
    insertion.packets.set(packets);
    insertion.again.set(again);
    // What is behind all that the subflow sent moves on before the stage comes.
    let by_tcp = packet.packets_before(seen.way().next.load());
    insertion.by_tcp.set(by_tcp);
    ask(seen, next::SENT_RANGES, start, end);
}

/// Counts a range that is forgotten.
#[inline(always)]
pub(super) fn count_lost<T: Stages>(seen: &Seen<'_, T>) {
    seen.session.flags.or(session::LOSSY << seen.side);
    seen.count(|events| events.lost_ranges += 1);
}

/// Begins to insert into a set of the session what [`ask`] was told, one of what was mapped and what was sent: looks
/// at the ranges that are in the session.
#[inline(always)]
pub fn find_ranges<T: Stages>(tables: &T) {
    let (route, insertion) = (&tables.work().route, &tables.work().insertion);
    let asked = route.next.get();
    let which = usize::from(asked & next::MAPPED_RANGES == 0);
    route.next.set(asked & !(next::MAPPED_RANGES << which));
    insertion.chunks.set(0);
    let Some(seen) = Seen::new(tables) else {
        insertion.which.set(u32::MAX);
        insertion.tries.set(0);
        return;
    };
    // By an index that the verifier does not know: it looks at what is behind once, and not once per set.
    let which = tables.forget(which as u32) as usize & 1;
    insertion.which.set(which as u32);
    let (slot, generation) = (seen.subflow.session.load(), seen.session.generation.load());
    let pool = Pool::new(tables, insertion);
    pool.begin([slot, generation], seen.side & 1, which);
    let [start, end] = &insertion.asked[which];
    let set = seen.session.sides[seen.side & 1].set(which);
    pool.find_in_session(&set, start.get(), end.get());
}

/// Looks at the ranges of the next chunk of the set.
#[inline(always)]
pub fn walk_chunk<T: Stages>(tables: &T) {
    let work = tables.work();
    Pool::new(tables, &work.insertion).walk(work.packet.segment_size);
}

/// Inserts what was looked for, and counts it.
#[inline(always)]
pub fn insert_range<T: Stages>(tables: &T) {
    let insertion = &tables.work().insertion;
    let which = insertion.which.get();
    let Some(seen) = Seen::new(tables).filter(|_| which <= SENT as u32) else {
        return;
    };
    // By an index that the compiler does not know to be in range: else it leaves the mask out, and the verifier of
    // Linux 6.1 has lost the comparison.
    let which = tables.forget(which) as usize & 1;
    let set = seen.session.sides[seen.side & 1].set(which);
    let tries = insertion.tries.get();
    let relation = Pool::new(tables, insertion).insert(&set);
    if tries < insertion.tries.get() && tries < ATTEMPTS - 1 {
        seen.work.route.ask(next::MAPPED_RANGES << which);
        return;
    }
    insertion.tries.set(0);
    if which == MAPPED {
        count_mapped(&seen, relation);
        return;
    }
    let again = match relation {
        Relation::Inside => insertion.packets.get(),
        Relation::Lost => {
            count_lost(&seen);
            0
        }
        Relation::New | Relation::Partial => insertion.again.get(),
    };
    if again != 0 {
        let map = Map {
            dsn: insertion.shift.get(),
            ..Map::NONE
        };
        let start = insertion.asked[SENT][0].get();
        count_sent(&seen, map, start, again, insertion.by_tcp.get());
    }
}

/// May this chunk's place be taken? `session` is what is in its session's slot.
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
            || runs::are_over::<M>(seen, now)
            || session.flags.load() & session::FALLBACK != 0
            || is_session_over(session, limits, now))
}

/// The chunks of one set.
pub(super) struct Pool<'a, T> {
    tables: &'a T,
    insertion: &'a Insertion,
    now: u64,
}

/// What is being inserted, and what was found so far. In the kernel it lies in a map, as all of the packet in work:
/// so the verifier knows as much of it at the hundredth range as at the first.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Insertion {
    /// What was asked for, of each set: start and end.
    asked: [[Cell<u64>; 2]; 2],
    /// What the tags of the set's chunks are made with.
    key: Cell<u64>,
    /// How far the data sequence numbers of what was sent lie from the subflow's.
    shift: Cell<u64>,
    /// Slot and generation of the session.
    owner: [Cell<u32>; 2],
    /// Packets that were sent, and how many of them are not new to the subflow.
    packets: Cell<u32>,
    by_tcp: Cell<u32>,
    /// How many of them lie in the set, where they are several.
    again: Cell<u32>,
    /// The part that lies above the contiguous one.
    start: Cell<u32>,
    end: Cell<u32>,
    /// The end of the contiguous part.
    next: Cell<u32>,
    /// The range that it becomes, with those that it meets.
    from: Cell<u32>,
    to: Cell<u32>,
    /// A [`Relation`], by its discriminant.
    relation: Cell<u32>,
    /// How often another CPU was in the way: then it is looked for a place once more, for all that it has become.
    tries: Cell<u32>,
    /// 0.
    reserved: Cell<u32>,
    /// Ranges that stay in the session, and a place there that is free; [`GAPS`] if there is none.
    used: Cell<u32>,
    spare: Cell<u32>,
    /// Which set it is, and its `gaps` when it was looked at.
    which: Cell<u32>,
    before: Cell<u32>,
    /// Chunks to look at, the number of the next, and ranges that stay in one, and in all of them.
    chunks: Cell<u32>,
    at: Cell<u32>,
    here: Cell<u32>,
    left: Cell<u32>,
    /// 1 if a range in a chunk holds all of it.
    is_inside: Cell<u32>,
    /// A chunk with a place that is free, [`CHUNKS`] if there is none, and the place.
    number: Cell<u32>,
    place: Cell<u32>,
    /// A chunk that is not there any more, [`CHUNKS`] if there is none.
    missing: Cell<u32>,
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

impl Insertion {
    /// Are there chunks that were not looked at?
    #[inline(always)]
    pub(crate) fn has_chunks(&self) -> bool {
        self.at.get() < self.chunks.get()
    }

    /// Begins with what lies above the contiguous part.
    #[inline(always)]
    fn begin(&self, next: u64, first: u64, end: u64) {
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
    /// Those that `insertion` is about.
    #[inline(always)]
    pub(super) fn new(tables: &'a T, insertion: &'a Insertion) -> Self {
        Self {
            tables,
            insertion,
            now: tables.now() & !RangeChunk::<T::Memory>::RUNS,
        }
    }

    /// Begins with one of the sets of a side of a session, of this slot and generation.
    #[inline(always)]
    fn begin(&self, owner: [u32; 2], side: usize, which: usize) {
        self.begin_with(owner, ((side << 1 | which) << 8) as u64);
    }

    /// Begins with chunks of a session, of this slot and generation, that `name` tells from its others. The lowest 8
    /// bits are 0.
    #[inline(always)]
    pub(super) fn begin_with(&self, [slot, generation]: [u32; 2], name: u64) {
        let owner = u64::from(slot) << 32 | u64::from(generation);
        let key = table::mix(self.tables.seed(), owner) ^ name;
        let insertion = self.insertion;
        insertion.key.set(key);
        insertion.owner[0].set(slot);
        insertion.owner[1].set(generation);
    }

    /// Looks at all ranges in the session.
    #[inline(always)]
    fn find_in_session(&self, set: &Set<'_, T::Memory>, start: u64, end: u64) {
        let insertion = self.insertion;
        let next = set.next.load();
        let before = set.gaps.load();
        insertion.before.set(before);
        insertion.begin(next, start, end);
        let is_inside = if insertion.tries.get() == 0 {
            !after_64(end, next)
        } else {
            !after(insertion.to.get(), next as u32)
        };
        if is_inside {
            insertion.is_inside.set(1);
            return;
        }
        for (word, i) in set.above.iter().zip(0..) {
            let range = word.load();
            if range == 0 {
                insertion.spare.set(i);
                continue;
            }
            match insertion.meet(range) {
                Met::Inside => {
                    insertion.is_inside.set(1);
                    return;
                }
                Met::Joined => {
                    // If it is another one now, another CPU has made it part of something greater.
                    word.replace(range, 0);
                    insertion.spare.set(i);
                }
                Met::Apart => bump(&insertion.used),
            }
        }
        insertion.chunks.set(chunks(before));
    }

    /// As [`Set::insert`], of what was looked for in all ranges.
    #[inline(always)]
    fn insert(&self, set: &Set<'_, T::Memory>) -> Relation {
        let insertion = self.insertion;
        if insertion.is_inside.get() != 0 && insertion.tries.get() == 0 {
            return Relation::Inside;
        }
        let relation = partial_or_new(insertion.relation.get());
        if insertion.is_inside.get() != 0 {
            return relation;
        }
        let (from, to) = (insertion.from.get(), insertion.to.get());
        let (used, spare) = (insertion.used.get(), insertion.spare.get());
        if !after(from, insertion.next.get()) {
            self.settle(set, used);
            raise(set.next, expand(set.next.load(), to));
            return relation;
        }
        let range = range(from, to);
        // As an index of which the compiler knows nothing, see `insert_range`.
        let place = self.tables.forget(spare) as usize & (GAPS - 1);
        if spare < GAPS as u32 && set.above[place].replace(0, range) {
            self.settle(set, used + 1);
            return relation;
        }
        match self.put_in_chunk(set, range) {
            Placed::There => relation,
            Placed::NoRoom => Relation::Lost,
            Placed::Meddled => {
                bump(&insertion.tries);
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
        let insertion = self.insertion;
        let (number, place) = (insertion.number.get(), insertion.place.get());
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
        let insertion = self.insertion;
        let (missing, chunks) = (insertion.missing.get(), chunks(insertion.before.get()));
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
        let before = self.insertion.before.get();
        let kept = if self.insertion.left.get() == 0 {
            gaps::TAKING
        } else {
            !gaps::RANGES
        };
        // Another CPU may have another number in hand: that stays, and is made right by the next that looks.
        set.gaps.replace(before, before & kept | used);
    }

    /// The tag of a chunk.
    #[inline(always)]
    fn tag(&self, number: u32) -> u64 {
        table::tag(table::mix(self.insertion.key.get(), number.into()))
    }

    /// The chunk with a number.
    #[inline(always)]
    pub(super) fn find(&self, number: u32) -> Option<&RangeChunk<T::Memory>> {
        table::find_entry(self.tables.range_chunks(), self.tag(number))
    }

    /// Counts the packets, of `size` bytes each but the last, that lie in ranges of the chunk at hand.
    #[inline(always)]
    fn count_packets(&self, chunk: &RangeChunk<T::Memory>, size: u32) {
        let insertion = self.insertion;
        let [start, end] = &insertion.asked[SENT];
        let start = start.get();
        let buffer = Buffer {
            start: start as u32,
            size,
            length: end.get().wrapping_sub(start) as u32,
        };
        for word in &chunk.ranges {
            let packets = buffer.packets_in(word.load(), insertion.next.get());
            insertion.again.set(insertion.again.get() + packets);
        }
    }

    /// Looks at all ranges of the chunk at hand. A buffer's packets but the last have `size` bytes.
    #[inline(always)]
    fn walk(&self, size: u32) {
        let insertion = self.insertion;
        let number = insertion.at.get();
        insertion.at.set(number + 1);
        let Some(chunk) = self.find(number) else {
            insertion.missing.set(number);
            return;
        };
        let is_buffer = insertion.which.get() == SENT as u32 && insertion.packets.get() > 1;
        if is_buffer && size != 0 && insertion.tries.get() == 0 {
            self.count_packets(chunk, size);
        }
        let seen = chunk.seen.load();
        insertion.here.set(0);
        for (word, i) in chunk.ranges.iter().zip(0..) {
            let range = word.load();
            if range == 0 {
                insertion.place.set(i);
                insertion.number.set(number);
                continue;
            }
            match insertion.meet(range) {
                Met::Inside => {
                    insertion.is_inside.set(1);
                    insertion.chunks.set(0);
                    return;
                }
                Met::Joined => {
                    word.replace(range, 0);
                }
                Met::Apart => bump(&insertion.here),
            }
        }
        let here = insertion.here.get();
        insertion.left.set(insertion.left.get() + here);
        // Since when it is empty is kept.
        let empty = RangeChunk::<T::Memory>::EMPTY;
        let now = self.now & !empty | u64::from(here == 0);
        if seen != now && seen & now & empty == 0 {
            chunk.seen.replace(seen, now);
        }
    }

    /// Puts a range in a place of a chunk, if that is free.
    #[inline(always)]
    fn put(&self, set: &Set<'_, T::Memory>, number: u32, place: u32, range: u64) -> bool {
        let Some(chunk) = self.find(number) else {
            return false;
        };
        let empty = RangeChunk::<T::Memory>::EMPTY;
        let seen = chunk.seen.load();
        if seen & empty != 0 && !chunk.seen.replace(seen, self.now & !empty) {
            return false;
        }
        let place = self.tables.forget(place) as usize & 31;
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
    fn announce(&self, set: &Set<'_, T::Memory>, number: u32) -> bool {
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
    pub(super) fn make(&self, number: u32) -> bool {
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
        chunk.session.store(self.insertion.owner[0].get());
        chunk.generation.store(self.insertion.owner[1].get());
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
