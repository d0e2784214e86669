//! MP_CAPABLE (RFC 8684 section 3.1, RFC 6824 section 3.1).
//!
//! ```text
//! SYN       v0: 12 = sender's key          v1: 4
//! SYN/ACK   12 = sender's key
//! ACK       20 = sender's key, receiver's key
//! data      v1 only: 22 = the same and the data-level length; 24 = and a checksum
//! ```

use super::{Fault, Key, RawOption, Segment, Stage};

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

/// An MP_CAPABLE option. What the option's form does not carry is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MpCapable {
    /// Protocol version, 0 to 15.
    pub version: u8,
    /// The flags byte.
    pub flags: CapableFlags,
    /// Key of who sent the segment.
    pub sender_key: Option<Key>,
    /// Key of who gets the segment.
    pub receiver_key: Option<Key>,
    /// Data-level length in bytes: a mapping of DSN IDSN + 1 to subflow sequence number 1.
    pub data_length: Option<u16>,
    /// DSS checksum over that mapping, as on the wire.
    pub checksum: Option<u16>,
}

impl MpCapable {
    /// Is this a form of the option that belongs on `segment`?
    ///
    /// A SYN of version 2 or higher passes with any length from 4: who sends it waits for an
    /// answer of a lower version, and what it holds is not ours to judge.
    ///
    /// # Errors
    /// [`Fault::Segment`], [`Fault::Version`], [`Fault::Length`].
    #[inline(always)]
    pub fn check(option: &RawOption<'_>, segment: Segment) -> Result<(), Fault> {
        let length = option.length();
        let version = Self::version_of(option);
        match segment.flags.stage() {
            Stage::Syn => match (version, length) {
                (0, 12) | (1, 4) | (2.., 4..) => Ok(()),
                _ => Err(Fault::Length),
            },
            Stage::SynAck => match (version, length) {
                (2.., _) => Err(Fault::Version),
                (_, 12) => Ok(()),
                _ => Err(Fault::Length),
            },
            Stage::Later if segment.is_later_ack() => match (version, length) {
                (2.., _) => Err(Fault::Version),
                (_, 20) => Ok(()),
                (1, 22 | 24) if segment.has_payload => Ok(()),
                _ => Err(Fault::Length),
            },
            Stage::Later | Stage::Impossible => Err(Fault::Segment),
        }
    }

    /// The version nibble.
    #[inline(always)]
    pub fn version_of(option: &RawOption<'_>) -> u8 {
        option.u8(2) & 0x0f
    }

    /// The flags byte.
    #[inline(always)]
    pub fn flags_of(option: &RawOption<'_>) -> CapableFlags {
        CapableFlags(option.u8(3))
    }

    /// Reads a checked option.
    #[inline(always)]
    pub fn read(option: &RawOption<'_>) -> Self {
        let version = Self::version_of(option);
        // The keys of versions that nobody has written yet may stand elsewhere.
        let length = if version > 1 { 0 } else { option.length() };
        Self {
            version,
            flags: Self::flags_of(option),
            sender_key: (length >= 12).then(|| Key(option.u64(4))),
            receiver_key: (length >= 20).then(|| Key(option.u64(12))),
            data_length: (length >= 22).then(|| option.u16(20)),
            checksum: (length >= 24).then(|| option.u16(22)),
        }
    }

    /// Checks and reads.
    ///
    /// # Errors
    /// As [`MpCapable::check`].
    pub fn decode(option: &RawOption<'_>, segment: Segment) -> Result<Self, Fault> {
        Self::check(option, segment)?;
        Ok(Self::read(option))
    }
}
