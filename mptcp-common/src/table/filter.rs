//! A filter before tables: a count of tags for each of its cells.

use crate::table::word::Word;

/// Cells in a word of a filter.
pub const CELLS: u32 = 8;

/// Cells of a filter: about eight for each bucket of its largest table, a power of two.
pub const fn cells_for(buckets: u32) -> u32 {
    1 << (buckets * (CELLS + CELLS / 2)).ilog2()
}

/// How far a [`place`] is shifted for the number of its cell, of so many.
pub const fn cell_shift(cells: u32) -> u32 {
    u64::BITS - cells.ilog2()
}

/// What begins with the number of a tag's cell, in any filter: its lower half.
#[inline(always)]
pub fn place(tag: u64) -> u64 {
    tag << 32
}

/// A cell of a filter, which several tables can share: how many tags with this cell are in them. A byte, so that
/// what every packet asks fits a cache. Cells stand in memory one after the other.
///
/// It says exactly how many, always: what one adds, the same one takes back, and a tag that finds [`MOST`] of them in
/// its cell gets no place in its table. (Nobody can aim at a cell, and by chance none comes near that.) So nothing
/// that ever was in a table makes packets of others take longer once it is gone, and no cell says 0 of a tag that is
/// there.
#[derive(Debug)]
pub struct Cell<'a, W> {
    word: &'a W,
    /// Of its lowest bit in the word.
    shift: u32,
}

/// Tags in a cell. Up to what a byte holds is room for what others have begun to add, each a CPU, and will take back.
pub const MOST: u64 = 0x40;

impl<'a, W: Word<u64>> Cell<'a, W> {
    /// That of a [`place`], where [`cell_shift`] says so.
    #[inline(always)]
    pub fn find(place: u64, shift: u32, word: impl FnOnce(u64) -> Option<&'a W>) -> Option<Self> {
        let cell = place >> shift;
        let byte = cell as u32 % CELLS;
        let byte = if cfg!(target_endian = "big") {
            CELLS - 1 - byte
        } else {
            byte
        };
        Some(Self {
            word: word(cell / u64::from(CELLS))?,
            shift: 8 * byte,
        })
    }

    /// What it says.
    #[inline(always)]
    pub(crate) fn count(&self) -> u64 {
        self.word.load() >> self.shift & 0xff
    }

    /// One tag more; false if there are too many.
    #[inline(always)]
    pub(crate) fn add(&self) -> bool {
        if self.count() >= MOST {
            return false;
        }
        let before = self.word.add(1 << self.shift) >> self.shift & 0xff;
        if before < MOST {
            return true;
        }
        self.subtract();
        false
    }

    /// One tag less, of those that were added.
    #[inline(always)]
    pub(crate) fn subtract(&self) {
        self.word.add(u64::MAX << self.shift);
    }
}
