//! Tables of the kernel in this process's memory: whole, or by windows.

use std::{
    ffi::c_void, marker::PhantomData, num::NonZeroUsize, ops::Range, os::fd::AsFd as _,
    ptr::NonNull, sync::atomic::AtomicU64,
};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use bytemuck::Zeroable;
use mptcp_common::track::{
    Atomics,
    table::{self, Bucket, CELLS, Table, WAYS, cell_of},
};
use nix::{
    libc::off_t,
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
    unistd::{SysconfVar, sysconf},
};

/// Bytes of a map that a reader has in memory at a time. To move a window costs as much as some 25
/// pages in it: it begins small, where an entry stands alone, and grows while one follows the other.
const SMALLEST: usize = 16 << 10;
const LARGEST: usize = 1 << 20;

/// Part of a map of the kernel, in this process's memory. All of its pages are there from the start, and
/// count as resident.
pub(super) struct Mapping<T> {
    memory: NonNull<c_void>,
    /// The part, in bytes of the map.
    bytes: Range<usize>,
    of: PhantomData<T>,
}

impl<T: Zeroable> Mapping<T> {
    /// All of an array of this length, to read and to write.
    pub(super) fn whole(map: &MapData, length: u32) -> Result<Self> {
        let bytes = 0..length as usize * size_of::<T>();
        Self::new(map, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)
    }

    /// `bytes` begins at a page.
    fn new(map: &MapData, bytes: Range<usize>, protection: ProtFlags) -> Result<Self> {
        let length = NonZeroUsize::new(bytes.len()).context("an empty map")?;
        // SAFETY: a new mapping, which overlaps nothing. The kernel refuses one that is longer than
        // the map's pages.
        let memory = unsafe {
            mmap(
                None,
                length,
                protection,
                MapFlags::MAP_SHARED,
                map.fd().as_fd(),
                bytes.start as off_t,
            )
        }
        .context("cannot map a table of the kernel")?;
        Ok(Self {
            memory,
            bytes,
            of: PhantomData,
        })
    }

    /// An element; `None` outside of the mapping.
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let start = index as usize * size_of::<T>();
        let is_inside = self.bytes.start <= start && start + size_of::<T>() <= self.bytes.end;
        // SAFETY: inside of the mapping, which lives as long as `self`, and aligned, as pages are and
        // the size of T is a multiple of its alignment. T is made of atomics, of which any bytes are
        // valid: the kernel changes them while they are read.
        is_inside.then(|| unsafe {
            let memory = self.memory.byte_add(start - self.bytes.start);
            memory.cast().as_ref()
        })
    }
}

// SAFETY: memory that the kernel shares with every process that maps it; T is made of atomics.
unsafe impl<T: Send> Send for Mapping<T> {}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and references to it end with it.
        let _ = unsafe { munmap(self.memory, self.bytes.len()) };
    }
}

/// Buckets without what is behind their tags: the entries that there are, by their numbers.
impl Table for Mapping<Bucket<Atomics>> {
    type Memory = Atomics;
    type Slot = ();

    fn buckets(&self) -> u32 {
        (self.bytes.len() / size_of::<Bucket<Atomics>>()) as u32
    }

    fn bucket(&self, bucket: u32) -> Option<&Bucket<Atomics>> {
        let before = self.bytes.start / size_of::<Bucket<Atomics>>();
        self.get(before as u32 + bucket)
    }

    fn slot(&self, _: u32) -> Option<&()> {
        Some(&())
    }
}

/// An array of the kernel, of which a window is in this process's memory: it moves to what is asked for.
struct Window<'a, T> {
    map: &'a MapData,
    /// Length of the array.
    bytes: usize,
    page: usize,
    /// Length of the window.
    window: usize,
    part: Option<Mapping<T>>,
}

impl<'a, T: Zeroable> Window<'a, T> {
    fn new((map, length): (&'a MapData, u32)) -> Result<Self> {
        let page = sysconf(SysconfVar::PAGE_SIZE)?.context("pages have no size")?;
        Ok(Self {
            map,
            bytes: length as usize * size_of::<T>(),
            page: page as usize,
            window: SMALLEST,
            part: None,
        })
    }

    /// An element; `None` behind the array's end.
    fn get(&mut self, index: u32) -> Result<Option<&T>> {
        if self
            .part
            .as_ref()
            .is_none_or(|part| part.get(index).is_none())
        {
            let start = index as usize * size_of::<T>();
            if start >= self.bytes {
                return Ok(None);
            }
            self.move_to(start)?;
        }
        Ok(self.part.as_ref().and_then(|part| part.get(index)))
    }

    /// Has the window begin at the page of this byte.
    fn move_to(&mut self, byte: usize) -> Result<&Mapping<T>> {
        // Gone before the next one comes.
        let end = self.part.take().map_or(0, |part| part.bytes.end);
        let start = byte / self.page * self.page;
        self.window = if start.abs_diff(end) <= self.window {
            LARGEST.min(2 * self.window)
        } else {
            SMALLEST
        };
        let end = (start + self.window.next_multiple_of(self.page)).min(self.bytes);
        let part = Mapping::new(self.map, start..end, ProtFlags::PROT_READ)?;
        Ok(self.part.insert(part))
    }
}

/// A table of the kernel that is read by windows.
pub(super) struct Windows<'a, S> {
    tags: Window<'a, Bucket<Atomics>>,
    slots: Window<'a, S>,
}

impl<'a, S: Zeroable> Windows<'a, S> {
    /// Those of two arrays, of these lengths.
    pub(super) fn new(tags: (&'a MapData, u32), slots: (&'a MapData, u32)) -> Result<Self> {
        Ok(Self {
            tags: Window::new(tags)?,
            slots: Window::new(slots)?,
        })
    }

    /// What is in a slot, entry or not; `None` behind the table's end.
    pub(super) fn slot(&mut self, slot: u32) -> Result<Option<&S>> {
        self.slots.get(slot)
    }

    /// Hands out all entries, by their slots in ascending order. Slots without an entry are not touched.
    pub(super) fn each(&mut self, mut visit: impl FnMut(u32, &S)) -> Result<()> {
        let mut start = 0;
        while start < self.tags.bytes {
            let tags = self.tags.move_to(start)?;
            let before = (start / size_of::<Bucket<Atomics>>()) as u32 * WAYS;
            for (slot, ()) in table::entries(tags) {
                if let Some(entry) = self.slots.get(before + slot)? {
                    visit(before + slot, entry);
                }
            }
            start = tags.bytes.end;
        }
        Ok(())
    }
}

/// A table of the kernel, all of it in this process's memory.
pub(super) struct Whole<S> {
    tags: Mapping<Bucket<Atomics>>,
    slots: Mapping<S>,
    filter: Option<Mapping<AtomicU64>>,
}

impl<S: Zeroable> Whole<S> {
    /// That of two arrays, of these lengths, and perhaps a filter.
    pub(super) fn new(
        tags: (&MapData, u32),
        slots: (&MapData, u32),
        filter: Option<(&MapData, u32)>,
    ) -> Result<Self> {
        let filter = filter.map(|(map, length)| Mapping::whole(map, length));
        Ok(Self {
            tags: Mapping::whole(tags.0, tags.1)?,
            slots: Mapping::whole(slots.0, slots.1)?,
            filter: filter.transpose()?,
        })
    }
}

impl<S: Zeroable> Table for Whole<S> {
    type Memory = Atomics;
    type Slot = S;

    fn buckets(&self) -> u32 {
        self.tags.buckets()
    }

    fn bucket(&self, bucket: u32) -> Option<&Bucket<Atomics>> {
        self.tags.get(bucket)
    }

    fn slot(&self, slot: u32) -> Option<&S> {
        self.slots.get(slot)
    }

    fn cell(&self, tag: u64) -> Option<&AtomicU64> {
        let filter = self.filter.as_ref()?;
        let cells = filter.bytes.len() / size_of::<AtomicU64>();
        filter.get(cell_of(tag, cells as u32 / CELLS))
    }
}
