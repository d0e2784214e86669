//! A table of the engine in ordinary memory.

use std::{rc::Rc, sync::atomic::AtomicU64};

use bytemuck::Zeroable;
use mptcp_common::table::{
    self, Atomics, BUCKET_SLOTS, Bucket, CELLS, Table, buckets_for, cell_shift,
};

/// A table in memory of its own.
#[derive(Debug)]
pub struct Owned<S> {
    pub(super) tags: Box<[Bucket<Atomics>]>,
    pub(super) slots: Box<[S]>,
    pub(super) filter: Option<Rc<[AtomicU64]>>,
}

impl<S: Zeroable> Owned<S> {
    pub(crate) fn new(entries: u32, filter: Option<&Rc<[AtomicU64]>>) -> Self {
        let buckets = buckets_for(entries);
        Self {
            tags: bytemuck::zeroed_slice_box(buckets as usize),
            slots: bytemuck::zeroed_slice_box((buckets * BUCKET_SLOTS) as usize),
            filter: filter.map(Rc::clone),
        }
    }
}

impl<S> Owned<S> {
    /// Puts something into a slot, whatever tag it says.
    pub(crate) fn put(&mut self, slot: u32, entry: S) {
        if let Some(place) = self.slots.get_mut(slot as usize) {
            *place = entry;
        }
    }
}

impl<S> Table for Owned<S> {
    type Memory = Atomics;
    type Slot = S;

    fn buckets(&self) -> u32 {
        self.tags.len() as u32
    }

    fn bucket(&self, bucket: u32) -> Option<&Bucket<Atomics>> {
        self.tags.get(bucket as usize)
    }

    fn slot(&self, slot: u32) -> Option<&S> {
        self.slots.get(slot as usize)
    }

    fn cell(&self, place: u64) -> Option<table::Cell<'_, AtomicU64>> {
        let filter = self.filter.as_ref()?;
        let shift = cell_shift(filter.len() as u32 * CELLS);
        table::Cell::find(place, shift, |word| filter.get(word as usize))
    }
}
