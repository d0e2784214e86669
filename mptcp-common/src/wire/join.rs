//! MP_JOIN (RFC 8684 section 3.2): three forms, told apart by the segment.
//!
//! ```text
//! SYN       12 = receiver's token, sender's nonce
//! SYN/ACK   16 = leftmost 64 bits of the sender's HMAC, sender's nonce
//! ACK       24 = leftmost 160 bits of the sender's HMAC
//! ```
//!
//! The third byte has B in the first two forms, the fourth the address identifier.

use crate::wire::{
    area::RawOption,
    option::{Fault, Nonce},
    segment::{Segment, Stage},
};

/// Where its fields stand, in bytes from the option's start, and the lengths of its forms.
mod form {
    pub(super) const FLAGS: usize = 2;
    pub(super) const ADDRESS_ID: usize = 3;
    pub(super) const TOKEN: usize = 4;
    pub(super) const SYN_NONCE: usize = 8;
    pub(super) const SYN_ACK_NONCE: usize = 12;
    pub(super) const HMAC: usize = 4;

    pub(super) const SYN: u32 = 12;
    pub(super) const SYN_ACK: u32 = 16;
    pub(super) const ACK: u32 = 24;

    /// B: use this subflow as a backup path.
    pub(super) const BACKUP: u8 = 0x01;
    /// Bits of the third byte that mean nothing yet where B stands there, and where it does not.
    pub(super) const RESERVED: u8 = 0x0e;
    pub(super) const RESERVED_ACK: u8 = 0x0f;
}

/// The three forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinForm {
    /// On a SYN.
    Syn,
    /// On a SYN/ACK.
    SynAck,
    /// On the third segment.
    Ack,
}

/// An MP_JOIN option that was checked.
///
/// ```
/// use mptcp_common::wire::{Area, MpJoin, RawOption, Segment, TcpFlags};
///
/// // Kind 30, 12 bytes, subtype 1 with the backup flag, address identifier 7, token and nonce.
/// let bytes = [30, 12, 0x11, 7, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 1];
/// let area = Area::from_bytes(&bytes);
/// let option = RawOption::new(&area, 0, 12);
/// let syn = Segment { flags: TcpFlags(TcpFlags::SYN), has_payload: false };
///
/// let join = MpJoin::parse(option, syn).expect("12 bytes are right on a SYN");
/// assert_eq!((join.token(), join.address_id(), join.backup()), (0xdead_beef, 7, true));
///
/// // A SYN/ACK has an HMAC of 64 bits as well: 16 bytes.
/// let syn_ack = Segment { flags: TcpFlags(TcpFlags::SYN | TcpFlags::ACK), ..syn };
/// assert!(MpJoin::parse(option, syn_ack).is_err());
/// ```
#[derive(Clone, Copy)]
pub struct MpJoin<'a>(RawOption<'a>);

impl<'a> MpJoin<'a> {
    /// Checks that this is the form of the option that belongs on `segment`.
    ///
    /// # Errors
    /// [`Fault::Segment`], [`Fault::Length`].
    #[inline(always)]
    pub fn parse(option: RawOption<'a>, segment: Segment) -> Result<Self, Fault> {
        let wanted = match segment.flags.stage() {
            Stage::Syn => form::SYN,
            Stage::SynAck => form::SYN_ACK,
            Stage::Later if segment.is_later_ack() => form::ACK,
            Stage::Later | Stage::Impossible => return Err(Fault::Segment),
        };
        if option.length() == wanted {
            Ok(Self(option))
        } else {
            Err(Fault::Length)
        }
    }

    /// One that [`parse`](Self::parse) has allowed.
    #[inline(always)]
    pub(in crate::wire) fn allowed(option: RawOption<'a>) -> Self {
        Self(option)
    }

    /// Returns its form.
    #[inline(always)]
    pub fn form(&self) -> JoinForm {
        match self.0.length() {
            form::SYN => JoinForm::Syn,
            form::SYN_ACK => JoinForm::SynAck,
            _ => JoinForm::Ack,
        }
    }

    /// Returns B of a SYN or SYN/ACK: use this subflow as a backup path.
    #[inline(always)]
    pub fn backup(&self) -> bool {
        self.0.u8(form::FLAGS) & form::BACKUP != 0
    }

    /// Returns the address identifier of a SYN or SYN/ACK: that of the sender's address.
    #[inline(always)]
    pub fn address_id(&self) -> u8 {
        self.0.u8(form::ADDRESS_ID)
    }

    /// Returns the receiver's token of a SYN: the connection that is joined.
    #[inline(always)]
    pub fn token(&self) -> u32 {
        self.0.u32(form::TOKEN)
    }

    /// Returns the sender's nonce of a SYN.
    #[inline(always)]
    pub fn syn_nonce(&self) -> Nonce {
        Nonce(self.0.u32(form::SYN_NONCE))
    }

    /// Returns the sender's nonce of a SYN/ACK.
    #[inline(always)]
    pub fn syn_ack_nonce(&self) -> Nonce {
        Nonce(self.0.u32(form::SYN_ACK_NONCE))
    }

    /// Returns a word of the sender's HMAC: one of two of a SYN/ACK, of five of the third segment.
    #[inline(always)]
    pub fn hmac_word(&self, index: usize) -> u32 {
        self.0.u32(form::HMAC + 4 * index)
    }

    /// Returns true if bits are set that mean nothing.
    #[inline(always)]
    pub fn has_reserved_bits(&self) -> bool {
        // B and the address identifier are fields of the first two forms only.
        let reserved = match self.0.length() {
            form::ACK => self.0.u8(form::FLAGS) & form::RESERVED_ACK | self.address_id(),
            _ => self.0.u8(form::FLAGS) & form::RESERVED,
        };
        reserved != 0
    }
}

impl core::fmt::Debug for MpJoin<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut debug = f.debug_struct("MpJoin");
        debug.field("form", &self.form());
        match self.form() {
            JoinForm::Syn | JoinForm::SynAck => debug
                .field("backup", &self.backup())
                .field("address_id", &self.address_id())
                .finish_non_exhaustive(),
            JoinForm::Ack => debug.finish_non_exhaustive(),
        }
    }
}
