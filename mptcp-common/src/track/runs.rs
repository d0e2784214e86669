//! What each subflow of a session with several has mapped: where data is sent again with a new mapping, that says
//! whether it was on the same subflow or on another.
//!
//! A subflow remembers its last mappings one by one. What older ones covered, it remembers as *runs*: data whose mappings
//! followed each other, which is up to where another subflow went on. The last of them are in the subflow. An older one
//! is needed until the other end has acknowledged its data: till then it is in a chunk of the pool that ranges of data
//! are in too (see [`ranges`](super::ranges)).
//!
//! A session that never had a second subflow needs none of this.

use crate::{
    packet::Work,
    packet::{Next, RunSearch, packets_from},
    state::run_near,
    state::{CHUNK_RANGES, CHUNKS, Mapping, RangeChunk, Tables, is_needed},
    table::Word,
    track::{pool::Pool, segment::SubflowSegment},
    verifier::Opaque,
    wire::expand,
};

impl RunSearch {
    /// Returns true if there are chunks that were not looked at.
    #[inline(always)]
    pub(crate) fn has_chunks(&self) -> bool {
        self.at.get() < CHUNKS
    }

    /// Counts the packets that begin in so many numbers from `start` on.
    #[inline(always)]
    fn look(&self, verifier: &impl Opaque, size: u32, start: u64, length: u32) {
        // Of what is compared here, the verifier would know something else at each run.
        let (size, packets) = (verifier.opaque(size), verifier.opaque(self.packets.get()));
        let found = packets_from(self.first.get(), size, packets, start, length);
        self.here.set(self.here.get() + found);
    }

    /// Counts the packets that begin in a run.
    #[inline(always)]
    fn look_in_run(&self, verifier: &impl Opaque, size: u32, run: u64) {
        let (start, length) = run_near(run, self.first.get());
        self.look(verifier, size, start, length);
    }
}

/// Looks at what is remembered in the subflow.
#[inline(always)]
pub fn find_runs<T: Tables>(tables: &T, work: &Work) {
    let search = &work.search;
    work.route.next.set(work.route.next.get() & !Next::RUNS);
    search.here.set(0);
    search.at.set(CHUNKS);
    search.number.set(CHUNKS);
    let Some(segment) = SubflowSegment::new(tables, work) else {
        return;
    };
    let (subflow_side, size) = (segment.own_side(), work.packet.segment_size);
    let acked = segment.session.sides[(segment.side ^ 1) & 1]
        .data_ack
        .load();
    search.acked.set(acked);
    if search.packets.get() != 0 {
        for mapping in &subflow_side.mappings {
            let map = Mapping::read(mapping);
            if map.shift() != search.shift.get() {
                search.look(tables, size, map.dsn, map.length);
            }
        }
        for run in &subflow_side.runs {
            search.look_in_run(tables, size, run.load());
        }
        search.look_in_run(tables, size, search.spilled.get());
        /// Nothing that is further away is sent.
        const REACH: u32 = 1 << 31;
        let alone = segment.subflow.alone[segment.side & 1].load();
        if alone != 0 {
            let alone = expand(search.first.get(), alone);
            search.look(tables, size, alone.wrapping_sub(REACH.into()), REACH);
        }
    }
    if search.spilled.get() != 0 || search.here.get() < search.packets.get() {
        search.at.set(0);
        let owner = [
            segment.subflow.session.load(),
            segment.session.generation.load(),
        ];
        // Connections of the same place begin with other numbers. A set has no bit of these in its name.
        let connection =
            u64::from(subflow_side.base.load()) << 32 | u64::from(work.route.slot.get()) << 12;
        let name = connection ^ ((4 | segment.side as u64) << 8);
        Pool::new(tables, &work.range_search).begin_with(owner, name);
    }
}

/// Looks at the runs of the next chunk of the subflow.
#[inline(always)]
pub fn walk_runs<T: Tables>(tables: &T, work: &Work) {
    let search = &work.search;
    let number = search.at.get();
    let pool = Pool::new(tables, &work.range_search);
    let Some(chunk) = pool.find(number) else {
        // Those behind it are made when this one is full.
        search.at.set(CHUNKS);
        if search.number.get() == CHUNKS {
            search.number.set(number);
            search.place.set(CHUNK_RANGES as u32);
        }
        return;
    };
    search.at.set(number + 1);
    let size = work.packet.segment_size;
    let is_asked = search.packets.get() != 0;
    let has_place = search.number.get() < CHUNKS;
    for (word, i) in chunk.ranges.iter().zip(0..) {
        let run = word.load();
        if is_asked {
            search.look_in_run(tables, size, run);
        }
        if !is_needed(run, search.acked.get()) && !has_place {
            search.number.set(number);
            search.place.set(i);
        }
    }
    chunk.seen.store(seen_now::<T>(tables));
}

/// Finds a place in the pool for a run that has none, and counts what was looked for.
#[inline(always)]
pub fn count_runs<T: Tables>(tables: &T, work: &Work) {
    let search = &work.search;
    let packets = search.packets.replace(0);
    let spilled = search.spilled.replace(0);
    let is_lost = spilled != 0 && !put(tables, work, spilled);
    let here = search.here.get().min(packets);
    if packets == 0 && !is_lost {
        return;
    }
    tables.count(work.route.direction.get(), |events| {
        events.remapped += u64::from(here);
        events.reinjected += u64::from(packets - here);
        events.lost_ranges += u64::from(is_lost);
    });
}

/// Puts a run in the place that was found, or in a new chunk; says whether it did.
#[inline(always)]
fn put<T: Tables>(tables: &T, work: &Work, run: u64) -> bool {
    let search = &work.search;
    let pool = Pool::new(tables, &work.range_search);
    let (number, mut place) = (search.number.get(), search.place.get());
    if number >= CHUNKS {
        return false;
    }
    if place >= CHUNK_RANGES as u32 {
        if !pool.make(number) {
            return false;
        }
        place = 0;
    }
    let Some(chunk) = pool.find(number) else {
        return false;
    };
    let place = tables.opaque(place) as usize & 31;
    let Some(word) = chunk.ranges.get(place) else {
        return false;
    };
    word.store(run);
    chunk.seen.store(seen_now::<T>(tables));
    true
}

/// `seen` of a chunk of runs now.
#[inline(always)]
fn seen_now<T: Tables>(tables: &T) -> u64 {
    let (empty, runs) = (
        RangeChunk::<T::Memory>::EMPTY,
        RangeChunk::<T::Memory>::RUNS,
    );
    tables.now() & !empty | runs
}
