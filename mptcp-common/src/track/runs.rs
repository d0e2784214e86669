//! What each subflow of a session with several has mapped: where data is sent again with a new mapping, was that on the
//! same subflow, or on another?
//!
//! A subflow remembers its last mappings one by one. What older ones covered, it remembers as *runs*: data whose mappings
//! followed each other, which is up to where another subflow went on. The last of them are in the subflow. An older one
//! is needed until the other end has acknowledged its data: till then it is in a chunk of the pool that ranges of data
//! are in too (see [`ranges`](super::ranges)).
//!
//! A session that never had a second subflow needs none of this.

use core::cell::Cell;

use super::{
    Stages, Tables,
    buffer::packets_from,
    entry::{CHUNK_RANGES, CHUNKS, MAPPINGS, RUNS, RangeChunk, Session, Subflow, Way},
    ranges::Pool,
    seen::Seen,
    sequence::{Map, after_64},
    since, table,
    word::{Memory, Word},
};
use crate::{
    engine::next,
    wire::{Forget, expand},
};

/// A run in a word: the lower 40 bits of its first data sequence number, above its length.
mod run {
    pub(super) const SHIFT: u32 = 24;
    pub(super) const LENGTH: u64 = (1 << SHIFT) - 1;
    /// A run with these bits takes no mapping any more, each of which is shorter than 2^16.
    pub(super) const FULL: u64 = 0xff << 16;
}

/// A chunk of runs that nobody has looked at for so long has none that is needed: what it is about was acknowledged, or
/// its connection timed out.
const KEEP_TIME: u64 = 120_000_000_000;

/// Is what this chunk holds runs that are not needed any more, by its `seen`?
#[inline(always)]
pub(super) fn are_over<M: Memory>(seen: u64, now: u64) -> bool {
    seen & RangeChunk::<M>::RUNS != 0 && since(seen, now) > KEEP_TIME
}

/// The number behind a run, above [`run::SHIFT`] bits.
#[inline(always)]
fn end(run: u64) -> u64 {
    (run & !run::LENGTH).wrapping_add((run & run::LENGTH) << run::SHIFT)
}

/// A sender that does not know of a DATA_ACK yet, since it is on its way or was lost, sends again what lies before it by
/// so much.
const SLACK: u64 = 1 << 20;

/// Is this a run of which not all was acknowledged for long?
#[inline(always)]
fn is_needed(run: u64, acked: u64) -> bool {
    run != 0 && after_64(end(run), acked.wrapping_sub(SLACK) << run::SHIFT)
}

impl<M: Memory> Way<M> {
    /// Adds the oldest mapping that is remembered to the runs, if it is not in them, since another one will take its
    /// place.
    ///
    /// Where that is a run of its own, the oldest one gives way. If it is needed, which `acked` decides, the highest
    /// DATA_ACK of what is sent here, `spill` has to find another place for it. Returns false, with nothing changed, if
    /// that returns false.
    #[inline(always)]
    pub(super) fn keep_oldest(
        &self,
        acked: impl FnOnce() -> u64,
        spill: impl FnOnce(u64) -> bool,
    ) -> bool {
        let place = self.newest.load().wrapping_add(1) as usize & (MAPPINGS - 1);
        let oldest = &self.mappings[place];
        let (dsn, length) = (oldest.dsn.load(), u64::from(oldest.length.load()));
        let newest = self.runs[0].load();
        let behind = end(newest);
        if behind == dsn << run::SHIFT && newest & run::FULL != run::FULL {
            self.runs[0].store(newest + length);
            return true;
        }
        if behind == dsn.wrapping_add(length) << run::SHIFT && newest & run::LENGTH >= length {
            return true;
        }
        let last = self.runs[RUNS - 1].load();
        if last != 0 && is_needed(last, acked()) && !spill(last) {
            return false;
        }
        for i in (1..RUNS).rev() {
            self.runs[i].store(self.runs[i - 1].load());
        }
        self.runs[0].store(dsn << run::SHIFT | length);
        true
    }
}

/// [`Way::keep_oldest`] where no run that is needed gives way; returns false if one would have to.
#[inline(always)]
pub fn has_kept_oldest<M: Memory>(
    subflow: &Subflow<M>,
    session: &Session<M>,
    sender: usize,
) -> bool {
    let acked = || session.sides[(sender ^ 1) & 1].data_ack.load();
    subflow.ways[sender & 1].keep_oldest(acked, |_| false)
}

/// As [`Way::keep_oldest`]. A run that finds no place is given to the stage here.
#[inline(always)]
pub(super) fn keep_oldest<T: Stages>(seen: &Seen<'_, T>) {
    let acked = || seen.session.sides[(seen.side ^ 1) & 1].data_ack.load();
    seen.way().keep_oldest(acked, |run| {
        seen.work.recall.spilled.set(run);
        seen.work.route.ask(next::RUNS);
        true
    });
}

/// Asks for the stage: so many packets, the first of which begins with the data sequence number `first`, of a mapping,
/// were sent before, and not as the same bytes of their subflow.
#[inline(always)]
pub(super) fn ask<T: Stages>(seen: &Seen<'_, T>, map: Map, first: u64, packets: u32) {
    let recall = &seen.work.recall;
    recall.first.set(first);
    recall.shift.set(map.shift());
    recall.packets.set(packets);
    seen.work.route.ask(next::RUNS);
}

/// A session gets its second subflow: what was sent so far was sent on the first.
#[inline(always)]
pub(super) fn end_alone<T: Stages>(tables: &T, slot: u32, session: &Session<T::Memory>) {
    let Some(first) = table::find_entry(tables.subflows(), session.tag.load()) else {
        return;
    };
    let is_its = first.generation.load() == session.generation.load();
    if is_its && first.session.load() == slot {
        for (number, side) in first.alone.iter().zip(&session.sides) {
            // 0 says that there is none.
            number.store((side.highest.load() as u32).max(1));
        }
    }
}

/// What is looked for in runs, and what was found. In the kernel it lies in a map, as
/// [`Insertion`](super::ranges::Insertion).
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Recall {
    /// A run that found no place in its subflow, 0 if there is none.
    spilled: Cell<u64>,
    /// Data sequence number of the first packet, and how far it lies from the subflow's.
    first: Cell<u64>,
    shift: Cell<u64>,
    /// Up to where the other end has acknowledged.
    acked: Cell<u64>,
    /// Packets, 0 if there are none to look for; and how many of them the subflow has mapped before.
    packets: Cell<u32>,
    here: Cell<u32>,
    /// The number of the next chunk to look at, [`CHUNKS`] if there is none.
    at: Cell<u32>,
    /// A chunk with a place for a run, [`CHUNKS`] if there is none, and the place.
    number: Cell<u32>,
    place: Cell<u32>,
    /// 0.
    reserved: Cell<u32>,
}

impl Recall {
    /// Are there chunks that were not looked at?
    #[inline(always)]
    pub(crate) fn has_chunks(&self) -> bool {
        self.at.get() < CHUNKS
    }

    /// Counts the packets that begin in so many numbers from `start` on.
    #[inline(always)]
    fn look(&self, verifier: &impl Forget, size: u32, start: u64, length: u32) {
        // Of what is compared here, the verifier would know something else at each run.
        let (size, packets) = (verifier.forget(size), verifier.forget(self.packets.get()));
        let found = packets_from(self.first.get(), size, packets, start, length);
        self.here.set(self.here.get() + found);
    }

    /// Counts the packets that begin in a run.
    #[inline(always)]
    fn look_in_run(&self, verifier: &impl Forget, size: u32, run: u64) {
        // The number nearest to theirs with these 40 bits.
        let first = self.first.get();
        let distance = (run & !run::LENGTH).wrapping_sub(first << run::SHIFT) as i64 >> run::SHIFT;
        let start = first.wrapping_add_signed(distance);
        self.look(verifier, size, start, (run & run::LENGTH) as u32);
    }
}

/// Looks at what is remembered in the subflow.
#[inline(always)]
pub fn find_runs<T: Stages>(tables: &T) {
    let work = tables.work();
    let recall = &work.recall;
    work.route.next.set(work.route.next.get() & !next::RUNS);
    recall.here.set(0);
    recall.at.set(CHUNKS);
    recall.number.set(CHUNKS);
    let Some(seen) = Seen::new(tables) else {
        return;
    };
    let (way, size) = (seen.way(), work.packet.segment_size);
    let acked = seen.session.sides[(seen.side ^ 1) & 1].data_ack.load();
    recall.acked.set(acked);
    if recall.packets.get() != 0 {
        for mapping in &way.mappings {
            let map = Map::read(mapping);
            if map.shift() != recall.shift.get() {
                recall.look(tables, size, map.dsn, map.length);
            }
        }
        for run in &way.runs {
            recall.look_in_run(tables, size, run.load());
        }
        recall.look_in_run(tables, size, recall.spilled.get());
        /// Nothing that is further away is sent.
        const REACH: u32 = 1 << 31;
        let alone = seen.subflow.alone[seen.side & 1].load();
        if alone != 0 {
            let alone = expand(recall.first.get(), alone);
            recall.look(tables, size, alone.wrapping_sub(REACH.into()), REACH);
        }
    }
    if recall.spilled.get() != 0 || recall.here.get() < recall.packets.get() {
        recall.at.set(0);
        let owner = [seen.subflow.session.load(), seen.session.generation.load()];
        // Connections of the same place begin with other numbers. A set has no bit of these in its name.
        let connection = u64::from(way.base.load()) << 32 | u64::from(work.route.slot.get()) << 12;
        let name = connection ^ ((4 | seen.side as u64) << 8);
        Pool::new(tables, &work.insertion).begin_with(owner, name);
    }
}

/// Looks at the runs of the next chunk of the subflow.
#[inline(always)]
pub fn walk_runs<T: Stages>(tables: &T) {
    let work = tables.work();
    let recall = &work.recall;
    let number = recall.at.get();
    let pool = Pool::new(tables, &work.insertion);
    let Some(chunk) = pool.find(number) else {
        // Those behind it are made when this one is full.
        recall.at.set(CHUNKS);
        if recall.number.get() == CHUNKS {
            recall.number.set(number);
            recall.place.set(CHUNK_RANGES as u32);
        }
        return;
    };
    recall.at.set(number + 1);
    let size = work.packet.segment_size;
    let is_asked = recall.packets.get() != 0;
    let has_place = recall.number.get() < CHUNKS;
    for (word, i) in chunk.ranges.iter().zip(0..) {
        let run = word.load();
        if is_asked {
            recall.look_in_run(tables, size, run);
        }
        if !is_needed(run, recall.acked.get()) && !has_place {
            recall.number.set(number);
            recall.place.set(i);
        }
    }
    chunk.seen.store(seen_now::<T>(tables));
}

/// Finds a place in the pool for a run that has none, and counts what was looked for.
#[inline(always)]
pub fn count_runs<T: Stages>(tables: &T) {
    let work = tables.work();
    let recall = &work.recall;
    let packets = recall.packets.replace(0);
    let spilled = recall.spilled.replace(0);
    let is_lost = spilled != 0 && !put(tables, spilled);
    let here = recall.here.get().min(packets);
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
fn put<T: Stages>(tables: &T, run: u64) -> bool {
    let work = tables.work();
    let recall = &work.recall;
    let pool = Pool::new(tables, &work.insertion);
    let (number, mut place) = (recall.number.get(), recall.place.get());
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
    let place = tables.forget(place) as usize & 31;
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
