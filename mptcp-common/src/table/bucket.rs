//! A table of fixed size: buckets of tags, and a slot of memory behind each tag.
//!
//! A tag is 64 bits of a keyed hash, 0 where the place is free. Seven tags, and a word that says
//! whether more of them went to the neighbouring bucket, are a cache line: a lookup that finds
//! nothing touches one line and no slot. An entry never moves, and its slot's number is its tag's
//! place: claiming a slot is one compare-and-swap, and there is no list of free slots that two CPUs
//! could fight over.
//!
//! Nothing here runs on a timer: whoever inserts takes over a place whose entry has expired.

use bytemuck::Zeroable;

use crate::table::{
    filter::{Cell, place},
    word::{Memory, Word},
};

/// Tags in a bucket.
pub const BUCKET_SLOTS: u32 = 7;

/// In the place of a tag, which is never even: the entry is out of everybody's reach, and its slot is not
/// free.
const BARRED: u64 = 2;

/// One cache line of tags.
#[derive(Debug, Zeroable)]
#[zeroable(bound = "M::W32: Zeroable, M::W64: Zeroable")]
#[repr(C, align(64))]
pub struct Bucket<M: Memory> {
    tags: [M::W64; BUCKET_SLOTS as usize],
    /// Not 0 once an entry that belongs here had to go to the neighbour.
    overflowed: M::W64,
}

impl<M: Memory> Bucket<M> {
    /// The words, where they are no tags.
    #[inline(always)]
    pub(crate) fn words(&self) -> &[M::W64; BUCKET_SLOTS as usize] {
        &self.tags
    }

    /// Returns true if no place of it has been taken.
    fn is_empty(&self) -> bool {
        self.tags.iter().fold(0, |all, tag| all | tag.load()) == 0
    }

    /// The tags, for a reader of the whole table.
    pub fn tags(&self) -> impl Iterator<Item = u64> {
        self.tags.iter().map(Word::load)
    }
}

/// What a slot holds.
pub trait Entry {
    /// Its tag: not that of the slot's place while it is being filled.
    fn tag(&self) -> u64;
    /// Begins to fetch what is written of a new one: reads a word of each cache line.
    fn fetch(&self);
}

/// A table in some memory.
pub trait Table {
    /// What its words are made of.
    type Memory: Memory;
    /// What a slot holds.
    type Slot;

    /// Number of buckets: even.
    fn buckets(&self) -> u32;
    /// A bucket; `None` only where the memory is not there.
    fn bucket(&self, bucket: u32) -> Option<&Bucket<Self::Memory>>;
    /// A slot; `None` only where the memory is not there.
    fn slot(&self, slot: u32) -> Option<&Self::Slot>;
    /// The cell in the filter, if the table has one, of tags with this [`place`].
    #[inline(always)]
    fn cell(&self, place: u64) -> Option<Cell<'_, <Self::Memory as Memory>::W64>> {
        let _ = place;
        None
    }
    /// Returns true if no tag whose [`place`] has this beginning is in a table of the filter; false if that is not sure.
    #[inline(always)]
    fn is_absent(&self, place: u64) -> bool {
        self.cell(place).is_some_and(|cell| cell.count() == 0)
    }
}

/// Puts a tag in the place of what stands there; says whether it did. The filter has heard of a tag before
/// anybody can find it, and until nobody can.
#[inline(always)]
fn exchange<T: Table>(
    table: &T,
    word: &<T::Memory as Memory>::W64,
    present: u64,
    tag: u64,
) -> bool {
    if let Some(cell) = cell(table, tag)
        && !cell.add()
    {
        return false;
    }
    let is_done = word.replace(present, tag);
    if let Some(cell) = cell(table, if is_done { present } else { tag }) {
        cell.subtract();
    }
    is_done
}

/// Where a tag is counted; what is none is not counted.
#[inline(always)]
fn cell<T: Table>(table: &T, tag: u64) -> Option<Cell<'_, <T::Memory as Memory>::W64>> {
    if tag & 1 == 0 {
        return None;
    }
    table.cell(place(tag))
}

/// The slot of a tag.
#[inline(always)]
pub fn find<T: Table>(table: &T, tag: u64) -> Option<u32> {
    let home = home(table, tag);
    let bucket = table.bucket(home)?;
    // Of two entries with one tag, the first that came is likely there.
    let first = first_way(tag);
    if bucket.tags[first as usize].load() == tag {
        return Some(home * BUCKET_SLOTS + first);
    }
    if let Some(way) = way_of(bucket, tag) {
        return Some(home * BUCKET_SLOTS + way);
    }
    if bucket.overflowed.load() == 0 {
        return None;
    }
    let way = way_of(table.bucket(home ^ 1)?, tag)?;
    Some((home ^ 1) * BUCKET_SLOTS + way)
}

/// The slot of a tag in its home bucket, for a table that evicts.
#[inline(always)]
pub(crate) fn find_home<T: Table>(table: &T, tag: u64) -> Option<u32> {
    let home = home(table, tag);
    Some(home * BUCKET_SLOTS + way_of(table.bucket(home)?, tag)?)
}

/// A slot of a tag other than this one. A tag may be in a table twice.
#[inline(always)]
pub(crate) fn find_other<T: Table>(table: &T, tag: u64, slot: u32) -> Option<u32> {
    let home = home(table, tag);
    let bucket = table.bucket(home)?;
    let is_other = |bucket: &Bucket<T::Memory>, number: u32| {
        (0..BUCKET_SLOTS)
            .map(|way| (way, number * BUCKET_SLOTS + way))
            .find(|(way, at)| bucket.tags[*way as usize].load() == tag && *at != slot)
            .map(|(_, at)| at)
    };
    if let Some(at) = is_other(bucket, home) {
        return Some(at);
    }
    if bucket.overflowed.load() == 0 {
        return None;
    }
    is_other(table.bucket(home ^ 1)?, home ^ 1)
}

/// The entry of a tag. Most have the slot that they tried first, which needs no look at the bucket.
#[inline(always)]
pub(crate) fn find_entry<T: Table<Slot: Entry>>(table: &T, tag: u64) -> Option<&T::Slot> {
    let first = table.slot(first_slot(table, tag))?;
    if first.tag() == tag {
        return Some(first);
    }
    let entry = table.slot(find(table, tag)?)?;
    (entry.tag() == tag).then_some(entry)
}

#[inline(always)]
fn way_of<M: Memory>(bucket: &Bucket<M>, tag: u64) -> Option<u32> {
    (0..BUCKET_SLOTS).find(|way| bucket.tags[*way as usize].load() == tag)
}

/// Claims a slot for a tag that is not in the table: a free one, or one that `expired`.
#[inline(always)]
pub fn claim<T: Table<Slot: Entry>>(
    table: &T,
    tag: u64,
    expired: impl Fn(&T::Slot) -> bool,
) -> Option<u32> {
    let home = home(table, tag);
    if let Some(way) = claim_in(table, home, tag, &expired) {
        return Some(home * BUCKET_SLOTS + way);
    }
    table.bucket(home)?.overflowed.store(1);
    let way = claim_in(table, home ^ 1, tag, &expired)?;
    Some((home ^ 1) * BUCKET_SLOTS + way)
}

/// Claims a slot of the home bucket alone, for a table that evicts.
#[inline(always)]
pub fn claim_home<T: Table<Slot: Entry>>(
    table: &T,
    tag: u64,
    expired: impl Fn(&T::Slot) -> bool,
) -> Option<u32> {
    let home = home(table, tag);
    Some(home * BUCKET_SLOTS + claim_in(table, home, tag, &expired)?)
}

/// Begins to fetch what [`claim`] will want of a tag that is new, its bucket and the slot that it tries first: all
/// lines at once, and long before.
#[inline(always)]
pub fn prefetch<T: Table<Slot: Entry>>(table: &T, tag: u64) {
    if let Some(bucket) = table.bucket(home(table, tag)) {
        bucket.overflowed.load();
    }
    if let Some(slot) = table.slot(first_slot(table, tag)) {
        slot.fetch();
    }
}

/// The slot that a tag gets if it is free.
#[inline(always)]
pub(crate) fn first_slot<T: Table>(table: &T, tag: u64) -> u32 {
    home(table, tag) * BUCKET_SLOTS + first_way(tag)
}

/// The place in its bucket that a tag gets if it is free: by the lowest bits of the half whose highest find the
/// bucket.
#[inline(always)]
fn first_way(tag: u64) -> u32 {
    (((tag >> 32) as u32 & 0xff) * BUCKET_SLOTS) >> 8
}

#[inline(always)]
fn claim_in<T: Table<Slot: Entry>>(
    table: &T,
    number: u32,
    tag: u64,
    expired: &impl Fn(&T::Slot) -> bool,
) -> Option<u32> {
    let bucket = table.bucket(number)?;
    let first = first_way(tag);
    let word = &bucket.tags[first as usize];
    if word.load() == 0 && exchange(table, word, 0, tag) {
        return Some(first);
    }
    for way in 0..BUCKET_SLOTS {
        let word = &bucket.tags[way as usize];
        let present = word.load();
        let free = present == 0 || {
            let entry = table.slot(number * BUCKET_SLOTS + way)?;
            // Not one that another CPU is filling just now, and not one that is barred.
            entry.tag() == present && expired(entry)
        };
        if free && exchange(table, word, present, tag) {
            return Some(way);
        }
    }
    None
}

/// What `born` says of an entry that stays.
pub(crate) const STAYS: u64 = u64::MAX;

/// Claims the place of the home bucket whose entry was `born` first, whatever it holds; `None` also if somebody else did
/// so at the same time.
#[inline(always)]
pub fn evict<T: Table<Slot: Entry>>(
    table: &T,
    tag: u64,
    born: impl Fn(&T::Slot) -> u64,
) -> Option<u32> {
    evict_one::<T, false>(table, tag, born)
}

/// Evicts as [`evict`] an entry that is neither being filled nor barred; `None` also if all stay.
#[inline(always)]
pub(crate) fn evict_settled<T: Table<Slot: Entry>>(
    table: &T,
    tag: u64,
    born: impl Fn(&T::Slot) -> u64,
) -> Option<u32> {
    evict_one::<T, true>(table, tag, born)
}

#[inline(always)]
fn evict_one<T: Table<Slot: Entry>, const SETTLED: bool>(
    table: &T,
    tag: u64,
    born: impl Fn(&T::Slot) -> u64,
) -> Option<u32> {
    let home = home(table, tag);
    let bucket = table.bucket(home)?;
    let mut oldest = STAYS;
    let mut place = 0;
    let mut victim = 0;
    for way in 0..BUCKET_SLOTS {
        let present = bucket.tags[way as usize].load();
        let entry = table.slot(home * BUCKET_SLOTS + way)?;
        let time = born(entry);
        if time < oldest && (!SETTLED || entry.tag() == present) {
            oldest = time;
            place = way;
            victim = present;
        }
    }
    if oldest == STAYS {
        return None;
    }
    for way in 0..BUCKET_SLOTS {
        let word = &bucket.tags[way as usize];
        if way == place && !exchange(table, word, victim, tag) {
            return None;
        }
    }
    Some(home * BUCKET_SLOTS + place)
}

/// Frees a slot, if it is still this tag's.
#[inline(always)]
pub fn release<T: Table>(table: &T, slot: u32, tag: u64) {
    let number = slot / BUCKET_SLOTS;
    if let Some(bucket) = table.bucket(number) {
        for way in 0..BUCKET_SLOTS {
            if number * BUCKET_SLOTS + way == slot {
                exchange(table, &bucket.tags[way as usize], tag, 0);
            }
        }
    }
}

/// The word where the tag of a slot stands.
pub(crate) fn word<T: Table>(table: &T, slot: u32) -> Option<&<T::Memory as Memory>::W64> {
    let bucket = table.bucket(slot / BUCKET_SLOTS)?;
    bucket.tags.get((slot % BUCKET_SLOTS) as usize)
}

/// Puts an entry out of reach, if the slot is still this tag's: nobody finds it, and nobody takes its
/// place.
pub fn bar<T: Table>(table: &T, slot: u32, tag: u64) -> bool {
    word(table, slot).is_some_and(|word| exchange(table, word, tag, BARRED))
}

/// Returns true if the entry in this slot is out of reach.
pub fn is_barred<T: Table>(table: &T, slot: u32) -> bool {
    word(table, slot).is_some_and(|word| word.load() == BARRED)
}

/// Frees a slot that is barred.
pub fn free_barred<T: Table>(table: &T, slot: u32) {
    if let Some(word) = word(table, slot) {
        word.replace(BARRED, 0);
    }
}

/// Puts an entry in reach again, of which nothing was changed while it was barred.
pub fn unbar<T: Table>(table: &T, slot: u32, tag: u64) {
    if let Some(word) = word(table, slot) {
        word.replace(BARRED, tag);
    }
}

/// The bucket that a tag belongs in: its upper half, scaled to the number of buckets.
#[inline(always)]
fn home<T: Table>(table: &T, tag: u64) -> u32 {
    (((tag >> 32) * u64::from(table.buckets())) >> 32) as u32
}

/// Buckets of a table for this many entries. With four of them in a bucket of seven on average,
/// fewer than one in 300 of a full table's find no room in their bucket and its neighbour.
pub const fn buckets_for(entries: u32) -> u32 {
    (entries / 4 + 2) & !1
}

/// A tag from a hash: never 0.
#[inline(always)]
pub fn tag(hash: u64) -> u64 {
    hash | 1
}

/// Mixes a number with a secret one (multiply, xor and shift).
#[inline(always)]
pub fn mix(seed: u64, number: u64) -> u64 {
    let mut hash = (number ^ seed).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 29)
}

/// All slots that have a tag, with their numbers.
pub fn entries<T: Table>(table: &T) -> impl Iterator<Item = (u32, &T::Slot)> {
    (0..table.buckets())
        .filter_map(|number| Some((number, table.bucket(number)?)))
        // Most are, and it takes less to see than tag by tag.
        .filter(|(_, bucket)| !bucket.is_empty())
        .flat_map(move |(number, bucket)| {
            bucket
                .tags()
                .zip(0..)
                .filter(|(tag, _)| !matches!(*tag, 0 | BARRED))
                .filter_map(move |(_, way)| {
                    let slot = number * BUCKET_SLOTS + way;
                    Some((slot, table.slot(slot)?))
                })
        })
}
