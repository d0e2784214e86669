//! MP_CAPABLE (RFC 8684 section 3.1, RFC 6824 section 3.1).
//!
//! ```text
//! SYN       v0: 12 = sender's key          v1: 4
//! SYN/ACK   12 = sender's key
//! ACK       20 = sender's key, receiver's key
//! data      v1 only: 22 = the same and the data-level length; 24 = and a checksum
//! ```

use crate::wire::{
    area::RawOption,
    option::{Fault, Key},
    segment::{Segment, Stage},
};

/// Where its fields stand, in bytes from the option's start, and the lengths of its forms.
mod form {
    pub(super) const VERSION: usize = 2;
    pub(super) const FLAGS: usize = 3;
    pub(super) const SENDER_KEY: usize = 4;
    pub(super) const RECEIVER_KEY: usize = 12;
    pub(super) const DATA_LENGTH: usize = 20;
    pub(super) const CHECKSUM: usize = 22;

    pub(super) const SYN_V1: u32 = 4;
    pub(super) const ONE_KEY: u32 = 12;
    pub(super) const TWO_KEYS: u32 = 20;
    pub(super) const DATA: u32 = 22;
    pub(super) const DATA_AND_CHECKSUM: u32 = 24;
}

/// The flags byte of an MP_CAPABLE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapableFlags(pub u8);

impl CapableFlags {
    /// A: DSS checksums are required.
    pub const CHECKSUM_REQUIRED: u8 = 0x80;
    /// B: extensibility, must be 0.
    pub const EXTENSIBILITY: u8 = 0x40;
    /// C (v1): no more subflows to this address and port.
    pub const NO_JOIN_HERE: u8 = 0x20;
    /// D to G (v1): unassigned cryptographic algorithms, must be 0.
    pub const RESERVED_V1: u8 = 0x1e;
    /// C to G (v0): unassigned, must be 0.
    pub const RESERVED_V0: u8 = 0x3e;
    /// H: HMAC-SHA256 in v1, HMAC-SHA1 in v0.
    pub const HMAC: u8 = 0x01;

    /// Is any of these bits set?
    #[inline(always)]
    pub const fn any(self, bits: u8) -> bool {
        self.0 & bits != 0
    }

    /// Returns true if a SYN with these flags can be answered: it offers the algorithm that is known, and asks for
    /// no extension (RFC 8684 section 3.1).
    #[inline(always)]
    pub const fn can_be_answered(self) -> bool {
        self.any(Self::HMAC) && !self.any(Self::EXTENSIBILITY)
    }

    /// Returns true if these flags choose the algorithm that is known and no other, as behind the SYN exactly one
    /// is chosen (RFC 8684 section 3.1).
    #[inline(always)]
    pub const fn agrees(self) -> bool {
        self.can_be_answered() && !self.any(Self::RESERVED_V1)
    }
}

/// An MP_CAPABLE option that was checked.
#[derive(Clone, Copy)]
pub struct MpCapable<'a>(RawOption<'a>);

impl<'a> MpCapable<'a> {
    /// Checks that this is a form of the option that belongs on `segment`.
    ///
    /// A SYN of version 2 or higher passes with any length from 4: who sends it waits for an
    /// answer of a lower version, and what it holds is not ours to judge.
    ///
    /// # Errors
    /// [`Fault::Segment`], [`Fault::Version`], [`Fault::Length`].
    #[inline(always)]
    pub fn parse(option: RawOption<'a>, segment: Segment) -> Result<Self, Fault> {
        let this = Self(option);
        let (version, length) = (this.version(), option.length());
        match segment.flags.stage() {
            Stage::Syn => match (version, length) {
                (0, form::ONE_KEY) | (1, form::SYN_V1) | (2.., form::SYN_V1..) => Ok(this),
                _ => Err(Fault::Length),
            },
            Stage::SynAck => match (version, length) {
                (2.., _) => Err(Fault::Version),
                (_, form::ONE_KEY) => Ok(this),
                _ => Err(Fault::Length),
            },
            Stage::Later if segment.is_later_ack() => match (version, length) {
                (2.., _) => Err(Fault::Version),
                (_, form::TWO_KEYS) => Ok(this),
                (1, form::DATA | form::DATA_AND_CHECKSUM) if segment.has_payload => Ok(this),
                _ => Err(Fault::Length),
            },
            Stage::Later | Stage::Impossible => Err(Fault::Segment),
        }
    }

    /// One that [`parse`](Self::parse) has allowed, or of length 0.
    #[inline(always)]
    pub(in crate::wire) fn allowed(option: RawOption<'a>) -> Self {
        Self(option)
    }

    /// Returns true if the segment has no such option.
    #[inline(always)]
    pub(crate) fn is_absent(&self) -> bool {
        self.0.length() == 0
    }

    /// Returns the protocol version, 0 to 15.
    #[inline(always)]
    pub fn version(&self) -> u8 {
        self.0.u8(form::VERSION) & 0x0f
    }

    /// Returns the flags byte.
    #[inline(always)]
    pub fn flags(&self) -> CapableFlags {
        CapableFlags(self.0.u8(form::FLAGS))
    }

    /// Returns the key of who sent the segment, if this form has one.
    #[inline(always)]
    pub fn sender_key(&self) -> Option<Key> {
        // The keys of versions that nobody has written yet may stand elsewhere.
        (self.version() <= 1 && self.0.length() >= form::ONE_KEY)
            .then(|| Key(self.0.u64(form::SENDER_KEY)))
    }

    /// Returns the key of who gets the segment, if this form has one.
    #[inline(always)]
    pub fn receiver_key(&self) -> Option<Key> {
        (self.version() <= 1 && self.0.length() >= form::TWO_KEYS)
            .then(|| Key(self.0.u64(form::RECEIVER_KEY)))
    }

    /// Returns the keys of a SYN/ACK or a third segment, the sender's first; what is not in the form means nothing.
    #[inline(always)]
    pub(crate) fn keys(&self) -> [u64; 2] {
        [self.0.u64(form::SENDER_KEY), self.0.u64(form::RECEIVER_KEY)]
    }

    /// Returns the data-level length in bytes, if this form has one: a mapping of data sequence number IDSN + 1 to
    /// subflow sequence number 1.
    #[inline(always)]
    pub fn data_length(&self) -> Option<u16> {
        (self.version() <= 1 && self.0.length() >= form::DATA)
            .then(|| self.0.u16(form::DATA_LENGTH))
    }

    /// Returns the DSS checksum over that mapping, as on the wire, if this form has one.
    #[inline(always)]
    pub fn checksum(&self) -> Option<u16> {
        (self.version() <= 1 && self.0.length() >= form::DATA_AND_CHECKSUM)
            .then(|| self.0.u16(form::CHECKSUM))
    }

    /// Returns [`data_length`](Self::data_length) and [`checksum`](Self::checksum) of a segment behind the SYN/ACK,
    /// which is of version 0 or 1.
    #[inline(always)]
    pub(crate) fn mapping(&self) -> Option<(u16, Option<u16>)> {
        let length = self.0.length();
        (length > form::TWO_KEYS).then(|| {
            let checksum = (length > form::DATA).then(|| self.0.u16(form::CHECKSUM));
            (self.0.u16(form::DATA_LENGTH), checksum)
        })
    }
}

impl core::fmt::Debug for MpCapable<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MpCapable")
            .field("version", &self.version())
            .field("flags", &self.flags())
            .field("sender_key", &self.sender_key())
            .field("receiver_key", &self.receiver_key())
            .field("data_length", &self.data_length())
            .field("checksum", &self.checksum())
            .finish()
    }
}
