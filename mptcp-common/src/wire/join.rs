//! MP_JOIN (RFC 8684 section 3.2): three forms, told apart by the segment.

use super::{Fault, Nonce, RawOption, Segment, Stage};

/// An MP_JOIN option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MpJoin {
    /// On a SYN, length 12.
    Syn {
        /// B: use this subflow as a backup path.
        backup: bool,
        /// Address identifier of the sender's address.
        address_id: u8,
        /// Receiver's token: the connection that is joined.
        token: u32,
        /// Sender's nonce.
        nonce: Nonce,
    },
    /// On a SYN/ACK, length 16.
    SynAck {
        /// B: use this subflow as a backup path.
        backup: bool,
        /// Address identifier of the sender's address.
        address_id: u8,
        /// Leftmost 64 bits of the sender's HMAC.
        hmac: u64,
        /// Sender's nonce.
        nonce: Nonce,
    },
    /// On the third segment, length 24.
    Ack {
        /// Leftmost 160 bits of the sender's HMAC.
        hmac: [u8; 20],
    },
}

impl MpJoin {
    /// Is this a form of the option that belongs on `segment`?
    ///
    /// # Errors
    /// [`Fault::Segment`], [`Fault::Length`].
    #[inline(always)]
    pub fn check(option: &RawOption<'_>, segment: Segment) -> Result<(), Fault> {
        let wanted = match segment.flags.stage() {
            Stage::Syn => 12,
            Stage::SynAck => 16,
            Stage::Later if segment.is_later_ack() => 24,
            Stage::Later | Stage::Impossible => return Err(Fault::Segment),
        };
        if option.length() == wanted {
            Ok(())
        } else {
            Err(Fault::Length)
        }
    }

    /// B of a SYN or SYN/ACK form.
    #[inline(always)]
    pub fn backup_of(option: &RawOption<'_>) -> bool {
        option.u8(2) & 0x01 != 0
    }

    /// Address identifier of a SYN or SYN/ACK form.
    #[inline(always)]
    pub fn address_id_of(option: &RawOption<'_>) -> u8 {
        option.u8(3)
    }

    /// Checks and reads.
    ///
    /// # Errors
    /// As [`MpJoin::check`].
    pub fn decode(option: &RawOption<'_>, segment: Segment) -> Result<Self, Fault> {
        Self::check(option, segment)?;
        let (backup, address_id) = (Self::backup_of(option), Self::address_id_of(option));
        Ok(match option.length() {
            12 => Self::Syn {
                backup,
                address_id,
                token: option.u32(4),
                nonce: Nonce(option.u32(8)),
            },
            16 => Self::SynAck {
                backup,
                address_id,
                hmac: option.u64(4),
                nonce: Nonce(option.u32(12)),
            },
            _ => Self::Ack {
                hmac: core::array::from_fn(|i| option.u8(4 + i)),
            },
        })
    }
}
