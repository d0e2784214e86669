//! The filter says of no tag in its tables that it is in none, however many have the same cell.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytemuck::Zeroable;
use mptcp_common::track::{
    Atomics,
    table::{self, Bucket, CELLS, Cell, Entry, Table, cell_shift, cells_for, place},
};

const BUCKETS: u32 = 64;

struct Slot(AtomicU64);

impl Entry for Slot {
    fn tag(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn fetch(&self) {}
}

/// A table that does not look at its slots.
struct Tags {
    buckets: Box<[Bucket<Atomics>]>,
    filter: Vec<AtomicU64>,
    slot: Slot,
}

impl Tags {
    fn new() -> Self {
        let words = cells_for(BUCKETS) / CELLS;
        Self {
            buckets: (0..BUCKETS).map(|_| Zeroable::zeroed()).collect(),
            filter: (0..words).map(|_| AtomicU64::new(0)).collect(),
            slot: Slot(AtomicU64::new(0)),
        }
    }

    fn cells(&self) -> Vec<u8> {
        let words = self.filter.iter().map(|word| word.load(Relaxed));
        words.flat_map(u64::to_ne_bytes).collect()
    }

    /// Puts tags in, and says where each is.
    fn fill(&self, tags: impl Iterator<Item = u64>) -> Vec<(u32, u64)> {
        tags.map(|tag| {
            let slot = table::claim(self, tag, |_| false).expect("room");
            (slot, tag)
        })
        .collect()
    }
}

impl Table for Tags {
    type Memory = Atomics;
    type Slot = Slot;

    fn buckets(&self) -> u32 {
        BUCKETS
    }

    fn bucket(&self, bucket: u32) -> Option<&Bucket<Atomics>> {
        self.buckets.get(bucket as usize)
    }

    fn slot(&self, _: u32) -> Option<&Slot> {
        Some(&self.slot)
    }

    fn cell(&self, place: u64) -> Option<Cell<'_, AtomicU64>> {
        let shift = cell_shift(self.filter.len() as u32 * CELLS);
        Cell::find(place, shift, |word| self.filter.get(word as usize))
    }
}

/// Tags of one cell: what differs is the half that finds the bucket.
fn tags(cell: u32, count: u64) -> impl Iterator<Item = u64> {
    let lower = u64::from(cell) << (cell_shift(cells_for(BUCKETS)) - 32) | 1;
    (0..count).map(move |i| (i * 0x9e37_79b9) << 32 | lower)
}

#[test]
fn there_are_about_eight_cells_for_a_bucket() {
    for buckets in (2..1 << 22).step_by(999) {
        let cells = cells_for(buckets);
        assert!(cells.is_power_of_two());
        assert!((6 * buckets..=12 * buckets).contains(&cells), "{buckets}");
    }
}

#[test]
fn a_cell_counts_its_tags_and_no_others() {
    for cell in [0, 1, 6, 7, 8, 255, cells_for(BUCKETS) - 1] {
        let table = Tags::new();
        let place = place(tags(cell, 1).next().expect("a tag"));
        assert!(table.is_absent(place));
        let entries = table.fill(tags(cell, 60));
        let mut wanted = vec![0; cells_for(BUCKETS) as usize];
        wanted[cell as usize] = 60;
        assert_eq!(table.cells(), wanted);
        for (slot, tag) in entries {
            assert!(!table.is_absent(place));
            table::release(&table, slot, tag);
        }
        assert!(table.is_absent(place));
        assert_eq!(table.cells(), vec![0; cells_for(BUCKETS) as usize]);
    }
}

#[test]
fn a_cell_with_too_many_tags_sticks_and_leaves_its_neighbours_alone() {
    let table = Tags::new();
    let others: Vec<_> = [9, 11]
        .into_iter()
        .flat_map(|cell| table.fill(tags(cell, 1)))
        .collect();
    for _ in 0..4 {
        let entries = table.fill(tags(10, 300));
        for (slot, tag) in entries {
            assert!(!table.is_absent(place(tag)));
            table::release(&table, slot, tag);
        }
    }
    let cells = table.cells();
    assert_eq!((cells[9], cells[11]), (1, 1));
    assert!(!table.is_absent(place(tags(10, 1).next().expect("a tag"))));
    for (slot, tag) in others {
        table::release(&table, slot, tag);
        assert!(table.is_absent(place(tag)));
    }
}
