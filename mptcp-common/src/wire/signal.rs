//! The short options that change or end a subflow: MP_PRIO, MP_FAIL, MP_FASTCLOSE, MP_TCPRST.

use super::{Fault, Key, RawOption, Segment, TcpFlags};

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

/// MP_PRIO (RFC 8684 section 3.3.8): length 3; version 0 also 4, with an address identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MpPrio {
    /// B: use the subflow as a backup path.
    pub backup: bool,
    /// The address whose subflows are meant, if not the subflow that carries the option (v0).
    pub address_id: Option<u8>,
}

impl MpPrio {
    /// Is this an MP_PRIO that belongs on `segment`?
    ///
    /// # Errors
    /// [`Fault::Segment`] on a SYN, [`Fault::Length`].
    #[inline(always)]
    pub fn check(option: &RawOption<'_>, segment: Segment) -> Result<(), Fault> {
        verdict(segment.is_later(), matches!(option.length(), 3 | 4))
    }

    /// B.
    #[inline(always)]
    pub fn backup_of(option: &RawOption<'_>) -> bool {
        option.u8(2) & 0x01 != 0
    }

    /// Checks and reads.
    ///
    /// # Errors
    /// As [`MpPrio::check`].
    pub fn decode(option: &RawOption<'_>, segment: Segment) -> Result<Self, Fault> {
        Self::check(option, segment)?;
        Ok(Self {
            backup: Self::backup_of(option),
            address_id: (option.length() == 4).then(|| option.u8(3)),
        })
    }
}

/// MP_FAIL (RFC 8684 section 3.7): length 12, on an ACK or a RST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MpFail {
    /// Data sequence number of the mapping whose checksum failed.
    pub data_sequence: u64,
}

impl MpFail {
    /// Is this an MP_FAIL that belongs on `segment`?
    ///
    /// # Errors
    /// [`Fault::Segment`], [`Fault::Length`].
    #[inline(always)]
    pub fn check(option: &RawOption<'_>, segment: Segment) -> Result<(), Fault> {
        verdict(is_ack_or_rst(segment), option.length() == 12)
    }

    /// Checks and reads.
    ///
    /// # Errors
    /// As [`MpFail::check`].
    pub fn decode(option: &RawOption<'_>, segment: Segment) -> Result<Self, Fault> {
        Self::check(option, segment)?;
        Ok(Self {
            data_sequence: option.u64(4),
        })
    }
}

/// MP_FASTCLOSE (RFC 8684 section 3.5): length 12, on an ACK or a RST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MpFastclose {
    /// Key of who gets the segment.
    pub receiver_key: Key,
}

impl MpFastclose {
    /// Is this an MP_FASTCLOSE that belongs on `segment`?
    ///
    /// # Errors
    /// [`Fault::Segment`], [`Fault::Length`].
    #[inline(always)]
    pub fn check(option: &RawOption<'_>, segment: Segment) -> Result<(), Fault> {
        verdict(is_ack_or_rst(segment), option.length() == 12)
    }

    /// Checks and reads.
    ///
    /// # Errors
    /// As [`MpFastclose::check`].
    pub fn decode(option: &RawOption<'_>, segment: Segment) -> Result<Self, Fault> {
        Self::check(option, segment)?;
        Ok(Self {
            receiver_key: Key(option.u64(4)),
        })
    }
}

/// MP_TCPRST (RFC 8684 section 3.6): length 4, on a RST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MpTcpRst {
    /// T: the condition may pass; a new subflow can be tried later.
    pub transient: bool,
    /// Reason, as IANA's "MPTCP MP_TCPRST Reason Codes" numbers it.
    pub reason: u8,
}

impl MpTcpRst {
    /// Is this an MP_TCPRST that belongs on `segment`?
    ///
    /// # Errors
    /// [`Fault::Segment`] on anything but a RST, [`Fault::Length`].
    #[inline(always)]
    pub fn check(option: &RawOption<'_>, segment: Segment) -> Result<(), Fault> {
        let belongs = segment.is_later() && segment.flags.any(TcpFlags::RST);
        verdict(belongs, option.length() == 4)
    }

    /// Checks and reads.
    ///
    /// # Errors
    /// As [`MpTcpRst::check`].
    pub fn decode(option: &RawOption<'_>, segment: Segment) -> Result<Self, Fault> {
        Self::check(option, segment)?;
        Ok(Self {
            transient: option.u8(2) & 0x01 != 0,
            reason: option.u8(3),
        })
    }
}
