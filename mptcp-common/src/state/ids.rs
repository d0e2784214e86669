//! Sets of address identifiers.

use crate::table::Word;

/// The bit of an address identifier.
#[inline(always)]
pub(crate) fn bit<W: Word<u64>>(words: &[W; 4], id: u32) -> u64 {
    words[(id as usize >> 6) & 3].load() >> (id & 63) & 1
}

/// Sets it; was it set before?
#[inline(always)]
pub(crate) fn set_bit<W: Word<u64>>(words: &[W; 4], id: u32) -> bool {
    words[(id as usize >> 6) & 3].or(1 << (id & 63)) >> (id & 63) & 1 != 0
}

/// Clears it.
#[inline(always)]
pub(crate) fn clear_bit<W: Word<u64>>(words: &[W; 4], id: u32) {
    words[(id as usize >> 6) & 3].and(!(1 << (id & 63)));
}
