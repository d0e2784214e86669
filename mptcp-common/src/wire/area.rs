//! The option area of a TCP header, and the walk over it.

use crate::{
    verifier::Opaque,
    wire::option::{Fault, KIND_EOL, KIND_MPTCP, KIND_NOP},
};

/// The longest option area a TCP header can have: a data offset of 15 words less the 5 fixed ones.
pub const MAX_OPTIONS: usize = 40;

/// The option area of one TCP header, copied: up to 40 bytes.
///
/// The buffer is larger than an option area can be, so that the field at a fixed offset behind any
/// position (both below 64) is inside it whatever the bytes say: no bounds test can fail, and the
/// eBPF verifier sees that from two masks. Bytes behind the area's end are left over from earlier
/// packets; every reader compares positions with the area's length before it believes a byte.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Area {
    words: [u64; 16],
}

impl Area {
    /// An area of the first 40 of `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut area = Self { words: [0; 16] };
        for (to, from) in area.bytes_mut().iter_mut().zip(bytes) {
            *to = *from;
        }
        area
    }

    /// The 32-bit word `index`, in memory order.
    #[inline(always)]
    pub fn word(&self, index: usize) -> u32 {
        let words: &[u32; 32] = bytemuck::cast_ref(&self.words);
        words[index & 15]
    }

    /// Returns true if any of the first 40 bytes has this value. It may be one behind the area's end, too.
    #[inline(always)]
    pub fn contains(&self, byte: u8) -> bool {
        const ONES: u64 = u64::from_ne_bytes([1; 8]);
        const TOPS: u64 = ONES << 7;
        // Of a word that has a zero byte, and of no other, a top bit appears by the subtraction that
        // was not there.
        let zeros = self.words[..MAX_OPTIONS / 8].iter().fold(0, |zeros, word| {
            let word = word ^ (ONES * u64::from(byte));
            zeros | (word.wrapping_sub(ONES) & !word)
        });
        zeros & TOPS != 0
    }

    /// The first 40 bytes, for a reader that fills them at once.
    #[inline(always)]
    pub fn bytes_mut(&mut self) -> &mut [u8; MAX_OPTIONS] {
        let bytes: &mut [u8; 128] = bytemuck::cast_mut(&mut self.words);
        bytes.first_chunk_mut().expect("128 bytes hold 40")
    }

    /// How many NOPs stand at `at`, where one does: 8 if they are a whole word, else 1. They may stand
    /// behind the area's end.
    #[inline(always)]
    fn nops(&self, at: u32) -> u32 {
        let is_word =
            at & 7 == 0 && self.words[(at >> 3 & 7) as usize] == u64::from_ne_bytes([KIND_NOP; 8]);
        if is_word { 8 } else { 1 }
    }

    #[inline(always)]
    fn byte(&self, at: u32, field: usize) -> u8 {
        let bytes: &[u8; 128] = bytemuck::cast_ref(&self.words);
        bytes[(at & 63) as usize + (field & 63)]
    }
}

/// One TCP option where it stands: its length was found to fit the area.
#[derive(Clone, Copy, Debug)]
pub struct RawOption<'a> {
    area: &'a Area,
    at: u32,
    length: u32,
}

impl<'a> RawOption<'a> {
    /// The option of `length` bytes at `at`; the caller has compared both with the area's length.
    #[inline(always)]
    pub fn new(area: &'a Area, at: u32, length: u32) -> Self {
        Self { area, at, length }
    }

    /// The area it stands in.
    #[inline(always)]
    pub fn area(&self) -> &'a Area {
        self.area
    }

    /// Offset of the kind byte in the area.
    #[inline(always)]
    pub fn at(&self) -> u32 {
        self.at
    }

    /// The length byte: kind and length bytes included.
    #[inline(always)]
    pub fn length(&self) -> u32 {
        self.length
    }

    /// The kind byte.
    #[inline(always)]
    pub fn kind(&self) -> u8 {
        self.u8(0)
    }

    /// The subtype nibble of an option of kind 30, 0 to 15.
    #[inline(always)]
    pub fn subtype(&self) -> u8 {
        self.u8(2) >> 4
    }

    /// The byte at offset `field` of the option.
    #[inline(always)]
    pub fn u8(&self, field: usize) -> u8 {
        self.area.byte(self.at, field)
    }

    /// The big-endian 16-bit number at offset `field`.
    #[inline(always)]
    pub fn u16(&self, field: usize) -> u16 {
        u16::from_be_bytes([self.u8(field), self.u8(field + 1)])
    }

    /// The big-endian 32-bit number at offset `field`.
    #[inline(always)]
    pub fn u32(&self, field: usize) -> u32 {
        (u32::from(self.u16(field)) << 16) | u32::from(self.u16(field + 2))
    }

    /// The big-endian 64-bit number at offset `field`.
    #[inline(always)]
    pub fn u64(&self, field: usize) -> u64 {
        (u64::from(self.u32(field)) << 32) | u64::from(self.u32(field + 4))
    }
}

/// Where and why a walk ended before the end of the area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkEnd {
    /// Kind of the option at which it ended; [`KIND_EOL`] also when it came to the end.
    pub kind: u8,
    /// Offset of that option.
    pub at: u32,
    /// Its length byte, 0 where that is missing.
    pub length: u32,
    /// Length of the area.
    pub end: u32,
}

impl WalkEnd {
    /// What is wrong with an option of kind 30 that ended the walk, and its subtype nibble where
    /// the area holds it; `None` if the walk ended otherwise.
    #[inline(always)]
    pub fn mptcp_fault(&self, area: &Area) -> Option<(Fault, Option<u8>)> {
        if self.kind != KIND_MPTCP {
            return None;
        }
        if self.length < 3 {
            return Some((Fault::Short, None));
        }
        let subtype = (self.at + 2 < self.end).then(|| area.byte(self.at, 2) >> 4);
        Some((Fault::Overrun, subtype))
    }
}

/// Visits the options of the first `len` bytes (at most 40) of `area`, NOPs left out.
///
/// As the kernel's `mptcp_get_options` and `tcp_parse_options` do, the walk ends at an EOL, at a
/// length below 2 and at an option that runs past the end: what stands behind is padding.
///
/// ```
/// use mptcp_common::{verifier::Plain, wire::{Area, walk}};
///
/// // Two NOPs, a timestamp, and an option of kind 30 that is longer than the area.
/// let area = Area::from_bytes(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 30, 20, 0x20, 0]);
/// let mut kinds = Vec::new();
/// let end = walk(&area, 16, &Plain, |option| kinds.push(option.kind()));
/// assert_eq!(kinds, [8]);
/// assert_eq!((end.kind, end.at, end.length), (30, 12, 20));
/// ```
#[inline(always)]
pub fn walk<'a>(
    area: &'a Area,
    len: u32,
    verifier: &impl Opaque,
    mut visit: impl FnMut(&RawOption<'a>),
) -> WalkEnd {
    let mut at = verifier.opaque(0);
    let mut stop = WalkEnd {
        kind: KIND_EOL,
        at: len,
        length: 0,
        end: len,
    };
    // Every option takes a byte at least, so 40 steps see all of them.
    for _ in 0..MAX_OPTIONS {
        if at >= len {
            break;
        }
        let kind = area.byte(at, 0);
        if kind == KIND_EOL {
            break;
        }
        if kind == KIND_NOP {
            at = verifier.opaque(at + area.nops(at));
            continue;
        }
        let length = if at + 1 < len {
            u32::from(area.byte(at, 1))
        } else {
            0
        };
        if length < 2 || at + length > len {
            stop = WalkEnd {
                kind,
                at,
                length,
                end: len,
            };
            break;
        }
        visit(&RawOption { area, at, length });
        at = verifier.opaque(at + length);
    }
    stop
}
