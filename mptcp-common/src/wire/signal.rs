//! The short options that change or end a subflow: MP_PRIO, MP_FAIL, MP_FASTCLOSE, MP_TCPRST.
//!
//! ```text
//! MP_PRIO       3 = B;  version 0 also 4 = B, address identifier
//! MP_FAIL       12 = data sequence number, behind 12 reserved bits
//! MP_FASTCLOSE  12 = receiver's key, behind 12 reserved bits
//! MP_TCPRST     4 = flags, reason
//! ```

use crate::wire::{
    area::RawOption,
    option::{Fault, Key},
    segment::{Segment, TcpFlags},
};

/// Where fields stand, in bytes from the option's start.
const FLAGS: usize = 2;
const FOURTH: usize = 3;
const NUMBER: usize = 4;

#[inline(always)]
fn verdict(belongs: bool, fits: bool) -> Result<(), Fault> {
    if !belongs {
        Err(Fault::Segment)
    } else if !fits {
        Err(Fault::Length)
    } else {
        Ok(())
    }
}

#[inline(always)]
fn is_ack_or_rst(segment: Segment) -> bool {
    segment.is_later() && segment.flags.any(TcpFlags::ACK | TcpFlags::RST)
}

/// Returns true if any of the 12 bits behind the subtype is set.
#[inline(always)]
fn has_12_bits(option: &RawOption<'_>) -> bool {
    option.u8(FLAGS) & 0x0f | option.u8(FOURTH) != 0
}

/// An MP_PRIO option that was checked (RFC 8684 section 3.3.8).
#[derive(Clone, Copy)]
pub struct MpPrio<'a>(RawOption<'a>);

impl<'a> MpPrio<'a> {
    /// B: use the subflow as a backup path.
    const BACKUP: u8 = 0x01;
    const RESERVED: u8 = 0x0e;
    /// The length of the form with an address identifier.
    const WITH_ID: u32 = 4;

    /// Checks that this is an MP_PRIO that belongs on `segment`.
    ///
    /// # Errors
    /// [`Fault::Segment`] on a SYN, [`Fault::Length`].
    #[inline(always)]
    pub fn parse(option: RawOption<'a>, segment: Segment) -> Result<Self, Fault> {
        verdict(
            segment.is_later(),
            matches!(option.length(), 3 | Self::WITH_ID),
        )?;
        Ok(Self(option))
    }

    /// One that [`parse`](Self::parse) has allowed.
    #[inline(always)]
    pub(in crate::wire) fn allowed(option: RawOption<'a>) -> Self {
        Self(option)
    }

    /// Returns B.
    #[inline(always)]
    pub fn backup(&self) -> bool {
        self.0.u8(FLAGS) & Self::BACKUP != 0
    }

    /// Returns the identifier of the address whose subflows are meant, if not the subflow that carries the option (v0).
    #[inline(always)]
    pub fn address_id(&self) -> Option<u8> {
        (self.0.length() == Self::WITH_ID).then(|| self.0.u8(FOURTH))
    }

    /// Returns true if bits are set that mean nothing.
    #[inline(always)]
    pub fn has_reserved_bits(&self) -> bool {
        self.0.u8(FLAGS) & Self::RESERVED != 0
    }
}

impl core::fmt::Debug for MpPrio<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MpPrio")
            .field("backup", &self.backup())
            .field("address_id", &self.address_id())
            .finish()
    }
}

/// An MP_FAIL option that was checked (RFC 8684 section 3.7): on an ACK or a RST.
#[derive(Clone, Copy)]
pub struct MpFail<'a>(RawOption<'a>);

impl<'a> MpFail<'a> {
    /// Checks that this is an MP_FAIL that belongs on `segment`.
    ///
    /// # Errors
    /// [`Fault::Segment`], [`Fault::Length`].
    #[inline(always)]
    pub fn parse(option: RawOption<'a>, segment: Segment) -> Result<Self, Fault> {
        verdict(is_ack_or_rst(segment), option.length() == 12)?;
        Ok(Self(option))
    }

    /// Returns the data sequence number of the mapping whose checksum failed.
    #[inline(always)]
    pub fn data_sequence(&self) -> u64 {
        self.0.u64(NUMBER)
    }

    /// Returns true if bits are set that mean nothing.
    #[inline(always)]
    pub fn has_reserved_bits(&self) -> bool {
        has_12_bits(&self.0)
    }
}

impl core::fmt::Debug for MpFail<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MpFail")
            .field("data_sequence", &self.data_sequence())
            .finish()
    }
}

/// An MP_FASTCLOSE option that was checked (RFC 8684 section 3.5): on an ACK or a RST.
#[derive(Clone, Copy)]
pub struct MpFastclose<'a>(RawOption<'a>);

impl<'a> MpFastclose<'a> {
    /// Checks that this is an MP_FASTCLOSE that belongs on `segment`.
    ///
    /// # Errors
    /// [`Fault::Segment`], [`Fault::Length`].
    #[inline(always)]
    pub fn parse(option: RawOption<'a>, segment: Segment) -> Result<Self, Fault> {
        verdict(is_ack_or_rst(segment), option.length() == 12)?;
        Ok(Self(option))
    }

    /// One that [`parse`](Self::parse) has allowed.
    #[inline(always)]
    pub(in crate::wire) fn allowed(option: RawOption<'a>) -> Self {
        Self(option)
    }

    /// Returns the key of who gets the segment.
    #[inline(always)]
    pub fn receiver_key(&self) -> Key {
        Key(self.0.u64(NUMBER))
    }

    /// Returns true if bits are set that mean nothing.
    #[inline(always)]
    pub fn has_reserved_bits(&self) -> bool {
        has_12_bits(&self.0)
    }
}

impl core::fmt::Debug for MpFastclose<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MpFastclose")
            .field("receiver_key", &self.receiver_key())
            .finish()
    }
}

/// An MP_TCPRST option that was checked (RFC 8684 section 3.6): on a RST.
#[derive(Clone, Copy)]
pub struct MpTcpRst<'a>(RawOption<'a>);

impl<'a> MpTcpRst<'a> {
    /// T: the condition may pass.
    const TRANSIENT: u8 = 0x01;

    /// Checks that this is an MP_TCPRST that belongs on `segment`.
    ///
    /// # Errors
    /// [`Fault::Segment`] on anything but a RST, [`Fault::Length`].
    #[inline(always)]
    pub fn parse(option: RawOption<'a>, segment: Segment) -> Result<Self, Fault> {
        let belongs = segment.is_later() && segment.flags.any(TcpFlags::RST);
        verdict(belongs, option.length() == 4)?;
        Ok(Self(option))
    }

    /// One that [`parse`](Self::parse) has allowed.
    #[inline(always)]
    pub(in crate::wire) fn allowed(option: RawOption<'a>) -> Self {
        Self(option)
    }

    /// Returns T: the condition may pass; a new subflow can be tried later.
    #[inline(always)]
    pub fn is_transient(&self) -> bool {
        self.0.u8(FLAGS) & Self::TRANSIENT != 0
    }

    /// Returns the reason, as IANA's "MPTCP MP_TCPRST Reason Codes" numbers it.
    #[inline(always)]
    pub fn reason(&self) -> u8 {
        self.0.u8(FOURTH)
    }
}

impl core::fmt::Debug for MpTcpRst<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("MpTcpRst")
            .field("transient", &self.is_transient())
            .field("reason", &self.reason())
            .finish()
    }
}
