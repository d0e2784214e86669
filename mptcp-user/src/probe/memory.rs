//! Tables of the kernel in this process's memory: whole, or by windows.

use std::{
    ffi::c_void,
    marker::PhantomData,
    mem,
    num::NonZeroUsize,
    ops::Range,
    os::fd::{AsFd as _, BorrowedFd},
    ptr::NonNull,
    sync::atomic::AtomicU64,
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Array, Map, MapData};
use bytemuck::Zeroable;
use mptcp_common::{
    state::{HalfOpen, RangeChunk, Session, Subflow},
    table::{self, Atomics, BUCKET_SLOTS, Bucket, Cell, Table, cell_shift},
};
use nix::{
    libc::off_t,
    sys::mman::{MapFlags, ProtFlags, mmap, munmap},
    unistd::{SysconfVar, sysconf},
};

/// Bytes of a map that a reader has in memory at a time, a window. To move one costs as much as some 15 pages in
/// it, or five copies of slots. So a slot that stands alone is copied; where one follows the other, a window
/// comes, which grows as long as that is so.
const SMALLEST: usize = 16 << 10;
const LARGEST: usize = 1 << 20;

/// The descriptor of an array.
pub(super) fn descriptor(map: &Map) -> Result<BorrowedFd<'_>> {
    match map {
        Map::Array(map) => Ok(map.fd().as_fd()),
        _ => bail!("a table of the kernel is no array"),
    }
}

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
    pub(super) fn whole(map: &Map, length: u32) -> Result<Self> {
        let bytes = 0..length as usize * size_of::<T>();
        Self::new(map, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)
    }

    /// The same, to read alone.
    pub(super) fn read(map: &Map, length: u32) -> Result<Self> {
        Self::new(
            map,
            0..length as usize * size_of::<T>(),
            ProtFlags::PROT_READ,
        )
    }

    /// `bytes` begins at a page.
    fn new(map: &Map, bytes: Range<usize>, protection: ProtFlags) -> Result<Self> {
        let length = NonZeroUsize::new(bytes.len()).context("an empty map")?;
        // SAFETY: a new mapping, which overlaps nothing. The kernel refuses one that is longer than
        // the map's pages.
        let memory = unsafe {
            mmap(
                None,
                length,
                protection,
                MapFlags::MAP_SHARED,
                descriptor(map)?,
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
    map: &'a Map,
    /// Length of the array.
    bytes: usize,
    page: usize,
    /// Length of the next window.
    window: usize,
    /// Where what was read last ends.
    end: usize,
    part: Option<Mapping<T>>,
}

impl<'a, T: Zeroable> Window<'a, T> {
    /// The first one will have this length.
    fn new((map, length): (&'a Map, u32), window: usize) -> Result<Self> {
        let page = sysconf(SysconfVar::PAGE_SIZE)?.context("pages have no size")?;
        Ok(Self {
            map,
            bytes: length as usize * size_of::<T>(),
            page: page as usize,
            window,
            end: 0,
            part: None,
        })
    }

    /// Does this element follow what was read last?
    fn is_next(&self, index: u32) -> bool {
        let start = index as usize * size_of::<T>();
        start.abs_diff(self.end) <= self.window
    }

    /// Notes that this element was read in another way, and stands alone.
    fn pass(&mut self, index: u32) {
        self.end = (index as usize + 1) * size_of::<T>();
        self.window = SMALLEST;
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
        self.part = None;
        let start = byte / self.page * self.page;
        self.end = (start + self.window.next_multiple_of(self.page)).min(self.bytes);
        self.window = LARGEST.min(2 * self.window);
        let part = Mapping::new(self.map, start..self.end, ProtFlags::PROT_READ)?;
        Ok(self.part.insert(part))
    }
}

/// What a slot holds: words, of 4 and 8 bytes.
pub(super) trait Slot: Zeroable {
    /// Plain memory of its size.
    type Words: aya::Pod + bytemuck::Pod;
}

impl Slot for HalfOpen<Atomics> {
    type Words = [u64; size_of::<Self>() / 8];
}

impl Slot for Subflow<Atomics> {
    type Words = [u64; size_of::<Self>() / 8];
}

impl Slot for Session<Atomics> {
    type Words = [u64; size_of::<Self>() / 8];
}

impl Slot for RangeChunk<Atomics> {
    type Words = [u64; size_of::<Self>() / 8];
}

/// A slot that holds these words.
pub(super) fn of_words<S: Slot>(words: &S::Words) -> S {
    const { assert!(size_of::<S>() == size_of::<S::Words>()) };
    // SAFETY: as long as S, which is made of atomics, of which any bytes are valid.
    unsafe { mem::transmute_copy(words) }
}

/// The slots of a table of the kernel: where one follows the other by a window, else by copies.
struct Slots<'a, S: Slot> {
    window: Window<'a, S>,
    lone: Array<&'a MapData, S::Words>,
    copy: Option<S>,
}

impl<'a, S: Slot> Slots<'a, S> {
    fn new((map, length): (&'a Map, u32)) -> Result<Self> {
        Ok(Self {
            window: Window::new((map, length), SMALLEST)?,
            lone: map.try_into()?,
            copy: None,
        })
    }

    /// What is in a slot; `None` behind the array's end.
    fn get(&mut self, slot: u32) -> Result<Option<&S>> {
        if self.window.is_next(slot) {
            return self.window.get(slot);
        }
        if slot >= self.lone.len() {
            return Ok(None);
        }
        self.window.pass(slot);
        let words = self.lone.get(&slot, 0).context("cannot read a slot")?;
        Ok(Some(self.copy.insert(of_words(&words))))
    }
}

/// A table of the kernel that is read by windows.
pub(super) struct Windows<'a, S: Slot> {
    tags: Window<'a, Bucket<Atomics>>,
    slots: Slots<'a, S>,
}

impl<'a, S: Slot> Windows<'a, S> {
    /// Those of two arrays, of these lengths.
    pub(super) fn new(tags: (&'a Map, u32), slots: (&'a Map, u32)) -> Result<Self> {
        Ok(Self {
            // All of them are read.
            tags: Window::new(tags, LARGEST)?,
            slots: Slots::new(slots)?,
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
            let before = (start / size_of::<Bucket<Atomics>>()) as u32 * BUCKET_SLOTS;
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
        tags: (&Map, u32),
        slots: (&Map, u32),
        filter: Option<(&Map, u32)>,
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

    fn cell(&self, place: u64) -> Option<Cell<'_, AtomicU64>> {
        let filter = self.filter.as_ref()?;
        let shift = cell_shift(filter.bytes.len() as u32);
        Cell::find(place, shift, |word| filter.get(word as u32))
    }
}
