//! Data Sequence Signal (RFC 8684 section 3.3).
//!
//! ```text
//! kind 30 | length | 2 and reserved | reserved and F m M a A
//! DATA_ACK            A: 4 bytes, with a 8
//! data sequence no.   M: 4 bytes, with m 8
//! subflow seq. no.    M: 4 bytes, relative to the subflow's initial sequence number
//! data-level length   M: 2 bytes, the DATA_FIN included
//! checksum            M, and only if negotiated: 2 bytes
//! ```

use crate::wire::{
    Segment,
    area::RawOption,
    option::{Fault, KIND_MPTCP, KIND_NOP, Subtype, TIMESTAMP, TIMESTAMP_WORDS},
    sequence::expand,
};

/// The flags byte of a DSS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DssFlags(pub u8);

impl DssFlags {
    /// F: the mapping's last byte is a DATA_FIN.
    pub const DATA_FIN: u8 = 0x10;
    /// m: the data sequence number has 8 bytes.
    pub const DSN_8: u8 = 0x08;
    /// M: a mapping is present.
    pub const MAPPING: u8 = 0x04;
    /// a: the DATA_ACK has 8 bytes.
    pub const ACK_8: u8 = 0x02;
    /// A: a DATA_ACK is present.
    pub const ACK: u8 = 0x01;
    /// Bits that mean nothing yet, in this byte.
    pub const RESERVED: u8 = 0xe0;

    /// Returns true if all of these bits are set.
    #[inline(always)]
    pub const fn all(self, bits: u8) -> bool {
        self.0 & bits == bits
    }

    /// Length of the DATA_ACK in bytes: 0, 4 or 8. Flag a without A means nothing.
    #[inline(always)]
    const fn ack_length(self) -> u32 {
        if !self.all(Self::ACK) {
            0
        } else if self.all(Self::ACK_8) {
            8
        } else {
            4
        }
    }

    /// Returns the length in bytes of a DSS with these flags and no checksum.
    #[inline(always)]
    pub const fn option_length(self) -> u32 {
        4 + self.ack_length() + self.mapping_length()
    }

    /// Length of DSN, SSN and data-level length in bytes: 0, 10 or 14. Flag m without M means
    /// nothing.
    #[inline(always)]
    const fn mapping_length(self) -> u32 {
        if !self.all(Self::MAPPING) {
            0
        } else if self.all(Self::DSN_8) {
            14
        } else {
            10
        }
    }
}

/// A DSS option, read: numbers in host byte order, each 0 where the flags announce none.
///
/// Read by [`read`](Self::read) where an option stands, and by [`read_in_place`](Self::read_in_place) of nearly every
/// segment, whose option area holds nothing else; mptcp-common/tests/dss.rs holds the two equal.
///
/// ```
/// use mptcp_common::wire::{Area, Dss, RawOption, Segment, TcpFlags};
///
/// // Kind 30, 18 bytes, subtype 2; DATA_ACK and data sequence number of 4 bytes each; checksum.
/// let bytes = [
///     30, 18, 0x20, 0x05, 0, 0, 0, 9, 0, 0, 1, 0, 0, 0, 0, 1, 0x05, 0xdc,
/// ];
/// let area = Area::from_bytes(&[&bytes[..], &[0xab, 0xcd]].concat());
///
/// let dss = Dss::read(&RawOption::new(&area, 0, 20));
/// assert_eq!((dss.data_ack, dss.data_sequence), (9, 0x100));
/// assert_eq!((dss.subflow_sequence, dss.data_length), (1, 1500));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Dss {
    /// DATA_ACK, the lower 32 bits only if the flags say so.
    pub data_ack: u64,
    /// Data sequence number, the lower 32 bits only if the flags say so.
    pub data_sequence: u64,
    /// Subflow sequence number.
    pub subflow_sequence: u32,
    /// Data-level length.
    pub data_length: u32,
    /// The option's first four bytes: kind, length, subtype and flags.
    pub head: u32,
    /// Checksum.
    pub checksum: u32,
}

impl Dss {
    /// Reads an option; of one that [`check`](Self::check) refuses the numbers mean nothing.
    #[inline(always)]
    pub fn read(option: &RawOption<'_>) -> Self {
        // All numbers are at multiples of 4 bytes from the option's start.
        let word = |at: u32| option.u32(at as usize & 31);
        let head = word(0);
        let flags = DssFlags(head as u8);
        let wide = |at: u32| (u64::from(word(at)) << 32) | u64::from(word(at + 4));
        let mut fields = Self {
            head,
            ..Self::default()
        };
        let mut at = 4;
        if flags.all(DssFlags::ACK) {
            if flags.all(DssFlags::ACK_8) {
                fields.data_ack = wide(4);
                at = 12;
            } else {
                fields.data_ack = word(4).into();
                at = 8;
            }
        }
        if flags.all(DssFlags::MAPPING) {
            if flags.all(DssFlags::DSN_8) {
                fields.data_sequence = wide(at);
                at += 8;
            } else {
                fields.data_sequence = word(at).into();
                at += 4;
            }
            fields.subflow_sequence = word(at);
            let tail = word(at + 4);
            fields.data_length = tail >> 16;
            if option.length() > flags.option_length() {
                fields.checksum = tail & 0xffff;
            }
        }
        fields
    }

    /// Reads the option area of nearly every data segment and acknowledgment: a timestamp behind two
    /// NOPs, or nothing, then a DSS that NOPs fill up to the next word. `None` for every other area,
    /// and if the DSS is malformed or has reserved bits. `word` is the area's word with this index, below
    /// 10, in memory order; `length` is the area's, a multiple of 4.
    ///
    /// Words at known places, one branch per flag: this runs for every packet.
    #[inline(always)]
    pub fn read_in_place(word: impl Fn(usize) -> u32, length: u32) -> Option<Self> {
        if word(0) == TIMESTAMP {
            Self::read_from(word, TIMESTAMP_WORDS, length)
        } else {
            Self::read_from(word, 0, length)
        }
    }

    /// Reads as [`read_in_place`](Self::read_in_place), without a look at the words before `first`, where the DSS starts.
    #[inline(always)]
    pub fn read_from(area: impl Fn(usize) -> u32, first: usize, length: u32) -> Option<Self> {
        const FORM: u32 = u32::from_be_bytes([KIND_MPTCP, 0, (Subtype::Dss as u8) << 4, 0]);
        const FORM_BITS: u32 = 0xff00_ff00 | DssFlags::RESERVED as u32;
        let word = |index| u32::from_be(area(first + index));
        let mut fields = Self {
            head: word(0),
            ..Self::default()
        };
        if fields.head & FORM_BITS != FORM {
            return None;
        }
        let flags = fields.flags();
        if !flags.all(DssFlags::ACK) {
            fields.read_mapping(area, first, 1, length)
        } else if flags.all(DssFlags::ACK_8) {
            fields.data_ack = (u64::from(word(1)) << 32) | u64::from(word(2));
            fields.read_mapping(area, first, 3, length)
        } else {
            fields.data_ack = word(1).into();
            fields.read_mapping(area, first, 2, length)
        }
    }

    /// The mapping, if there is one, `at` so many words behind the option's `first`; then its end.
    #[inline(always)]
    fn read_mapping(
        mut self,
        area: impl Fn(usize) -> u32,
        first: usize,
        at: usize,
        length: u32,
    ) -> Option<Self> {
        let word = |index| u32::from_be(area(first + at + index));
        let flags = self.flags();
        if !flags.all(DssFlags::MAPPING) {
            let is_whole = self.ends(first, at, 0, length) && !flags.all(DssFlags::DATA_FIN);
            return is_whole.then_some(self);
        }
        let (tail, words) = if flags.all(DssFlags::DSN_8) {
            self.data_sequence = (u64::from(word(0)) << 32) | u64::from(word(1));
            self.subflow_sequence = word(2);
            (word(3), 4)
        } else {
            self.data_sequence = word(0).into();
            self.subflow_sequence = word(1);
            (word(2), 3)
        };
        self.data_length = tail >> 16;
        if self.ends(first, at + words, 0, length) {
            self.checksum = tail & 0xffff;
            return Some(self);
        }
        const NOPS: u32 = u32::from_be_bytes([0, 0, KIND_NOP, KIND_NOP]);
        (self.ends(first, at + words, 2, length) && tail & 0xffff == NOPS).then_some(self)
    }

    /// Returns true if the option ends so many `words` behind its first, less a `fill` in bytes, and the area with
    /// them.
    #[inline(always)]
    fn ends(&self, first: usize, words: usize, fill: u32, length: u32) -> bool {
        let bytes = words as u32 * 4;
        self.option_length() == bytes - fill && length == first as u32 * 4 + bytes
    }

    /// The flags byte.
    #[inline(always)]
    pub fn flags(&self) -> DssFlags {
        DssFlags(self.head as u8)
    }

    /// All 64 bits of the DATA_ACK, given a number `near` it.
    #[inline(always)]
    pub(crate) fn data_ack_near(&self, near: u64) -> u64 {
        if self.flags().all(DssFlags::ACK_8) {
            self.data_ack
        } else {
            expand(near, self.data_ack as u32)
        }
    }

    /// All 64 bits of the data sequence number, given a number `near` it.
    #[inline(always)]
    pub(crate) fn data_sequence_near(&self, near: u64) -> u64 {
        if self.flags().all(DssFlags::DSN_8) {
            self.data_sequence
        } else {
            expand(near, self.data_sequence as u32)
        }
    }

    /// The option's length.
    #[inline(always)]
    pub fn option_length(&self) -> u32 {
        self.head >> 16 & 0xff
    }

    /// Returns true if bits are set that mean nothing.
    #[inline(always)]
    pub fn has_reserved_bits(&self) -> bool {
        self.head & (0x0f00 | u32::from(DssFlags::RESERVED)) != 0
    }

    /// Checks that this is a DSS that belongs on `segment`.
    ///
    /// A checksum's presence is not held against the connection's negotiation here.
    ///
    /// # Errors
    /// [`Fault::Segment`] on a SYN, [`Fault::Length`] when the length is not the one that the
    /// flags announce, [`Fault::Flags`] for a DATA_FIN without a mapping.
    #[inline(always)]
    pub fn check(&self, segment: Segment) -> Result<(), Fault> {
        if !segment.is_later() {
            return Err(Fault::Segment);
        }
        let (length, flags) = (self.option_length(), self.flags());
        let base = flags.option_length();
        if length < 4 || (length != base && !(length == base + 2 && flags.all(DssFlags::MAPPING))) {
            return Err(Fault::Length);
        }
        if flags.all(DssFlags::DATA_FIN) && !flags.all(DssFlags::MAPPING) {
            return Err(Fault::Flags);
        }
        Ok(())
    }

    /// Returns true if it has a checksum. Of a well-formed option: a mapping without one ends in the midst of a word.
    #[inline(always)]
    pub fn has_checksum(&self) -> bool {
        self.flags().all(DssFlags::MAPPING) && self.option_length().is_multiple_of(4)
    }
}
