//! The filter says of no tag in its tables that it is in none, however many have the same cell.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};

use bytemuck::Zeroable;
use mptcp_common::table::{
    self, Atomics, Bucket, CELLS, Cell, Entry, Table, cell_shift, cells_for, place,
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
fn a_cell_that_was_full_comes_back_and_leaves_its_neighbours_alone() {
    let table = Tags::new();
    let others: Vec<_> = [9, 11]
        .into_iter()
        .flat_map(|cell| table.fill(tags(cell, 1)))
        .collect();
    for _ in 0..4 {
        let entries: Vec<_> = tags(10, 300)
            .filter_map(|tag| Some((table::claim(&table, tag, |_| false)?, tag)))
            .collect();
        // A tag more would find no place, in its bucket or that of another.
        assert_eq!(entries.len() as u64, table::MOST);
        let cells = table.cells();
        assert_eq!(
            (cells[9], u64::from(cells[10]), cells[11]),
            (1, table::MOST, 1)
        );
        for (slot, tag) in entries {
            assert!(!table.is_absent(place(tag)));
            table::release(&table, slot, tag);
            assert_eq!(table::find(&table, tag), None);
        }
        assert!(table.is_absent(place(tags(10, 1).next().expect("a tag"))));
    }
    for (slot, tag) in others {
        table::release(&table, slot, tag);
        assert!(table.is_absent(place(tag)));
    }
}

/// Two threads fill and empty the same cells; a third looks. A tag that is in the table is in its cell, at any time.
#[test]
fn a_cell_never_says_that_a_tag_is_absent_that_is_there() {
    let table = Tags::new();
    let wanted: Vec<_> = (10..14)
        .flat_map(|cell| table.fill(tags(cell, 3)))
        .collect();
    let is_over = AtomicU64::new(0);
    let looks = thread::scope(|scope| {
        let looker = scope.spawn(|| {
            let mut looks = 0_u64;
            while is_over.load(Relaxed) < 2 {
                for (_, tag) in &wanted {
                    assert!(!table.is_absent(place(*tag)));
                    looks += 1;
                }
            }
            looks
        });
        for thread in 0..2 {
            let (table, is_over) = (&table, &is_over);
            scope.spawn(move || {
                for round in 0..3000 {
                    // More than a cell takes, of both together.
                    let more = tags(10 + round % 4, 300).skip(3 + 100 * thread).take(45);
                    let entries: Vec<_> = more
                        .filter_map(|tag| Some((table::claim(table, tag, |_| false)?, tag)))
                        .collect();
                    for (slot, tag) in entries {
                        table::release(table, slot, tag);
                    }
                }
                is_over.fetch_add(1, Relaxed);
            });
        }
        looker.join().expect("no panic")
    });
    assert!(looks > 1000, "{looks}");
    let mut cells = vec![0; cells_for(BUCKETS) as usize];
    cells[10..14].fill(3);
    assert_eq!(table.cells(), cells);
}
