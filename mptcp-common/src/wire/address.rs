//! ADD_ADDR and REMOVE_ADDR (RFC 8684 sections 3.4.1 and 3.4.2, RFC 6824 section 3.4).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Fault, RawOption, Segment};

/// An announced address, with the port if one was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The IP address.
    pub ip: IpAddr,
    /// The TCP port.
    pub port: Option<u16>,
}

/// An ADD_ADDR option.
///
/// The same bytes mean different things in the two versions: the low nibble of the third byte is
/// the IP version in v0 and, in v1, three reserved bits and E. Where the connection's version is
/// not known the form decides: only v1 has an HMAC; without one, E set is an echo of v1, and 4 or
/// 6 an announcement of v0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddAddr {
    /// Address identifier.
    pub address_id: u8,
    /// The address.
    pub address: Address,
    /// E: the peer has seen this announcement (v1).
    pub echo: bool,
    /// Truncated HMAC (v1 announcements).
    pub hmac: Option<u64>,
}

/// Length without port and HMAC: kind, length, subtype, identifier and the address.
const V4: u32 = 8;
const V6: u32 = 20;
const PORT: u32 = 2;
const HMAC: u32 = 8;
/// E in the low nibble of the third byte (v1).
const ECHO: u8 = 0x01;

impl AddAddr {
    /// Is this an ADD_ADDR that belongs on `segment`?
    ///
    /// # Errors
    /// [`Fault::Segment`] on a SYN, [`Fault::Length`], [`Fault::Flags`] where length and low
    /// nibble are each possible but not together.
    #[inline(always)]
    pub fn check(option: &RawOption<'_>, segment: Segment) -> Result<(), Fault> {
        if !segment.is_later() {
            return Err(Fault::Segment);
        }
        let nibble = option.u8(2) & 0x0f;
        let fits = match option.length() {
            16 | 18 | 28 | 30 => nibble & ECHO == 0,
            8 | 10 => nibble & ECHO != 0 || nibble == 4,
            20 | 22 => nibble & ECHO != 0 || nibble == 6,
            _ => return Err(Fault::Length),
        };
        if fits { Ok(()) } else { Err(Fault::Flags) }
    }

    /// Is a checked option an echo (v1)?
    #[inline(always)]
    pub fn is_echo(option: &RawOption<'_>) -> bool {
        option.u8(2) & ECHO != 0
    }

    /// Has a checked option the form of version 1?
    #[inline(always)]
    pub fn is_v1(option: &RawOption<'_>) -> bool {
        Self::is_echo(option) || matches!(option.length(), 16 | 18 | 28 | 30)
    }

    /// Does a checked option name a port?
    #[inline(always)]
    pub fn has_port(option: &RawOption<'_>) -> bool {
        matches!(option.length(), 10 | 18 | 22 | 30)
    }

    /// Checks and reads.
    ///
    /// # Errors
    /// As [`AddAddr::check`].
    pub fn decode(option: &RawOption<'_>, segment: Segment) -> Result<Self, Fault> {
        Self::check(option, segment)?;
        let echo = Self::is_echo(option);
        let with_hmac = Self::is_v1(option) && !echo;
        let with_port = Self::has_port(option);
        let port = if with_port { PORT } else { 0 };
        let bare = option.length() - if with_hmac { HMAC } else { 0 } - port;
        let ip = if bare == V6 {
            IpAddr::V6(Ipv6Addr::from(core::array::from_fn::<u8, 16, _>(|i| {
                option.u8(4 + i)
            })))
        } else {
            debug_assert_eq!(bare, V4);
            IpAddr::V4(Ipv4Addr::from(option.u32(4)))
        };
        Ok(Self {
            address_id: option.u8(3),
            address: Address {
                ip,
                port: with_port.then(|| option.u16(bare as usize)),
            },
            echo,
            hmac: with_hmac.then(|| option.u64((bare + port) as usize)),
        })
    }
}

/// A REMOVE_ADDR option: one address identifier or more.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RemoveAddr {
    ids: [u8; 37],
    count: u8,
}

impl RemoveAddr {
    /// Is this a REMOVE_ADDR that belongs on `segment`?
    ///
    /// # Errors
    /// [`Fault::Segment`] on a SYN, [`Fault::Length`] when it names no address.
    #[inline(always)]
    pub fn check(option: &RawOption<'_>, segment: Segment) -> Result<(), Fault> {
        if !segment.is_later() {
            return Err(Fault::Segment);
        }
        if option.length() < 4 {
            Err(Fault::Length)
        } else {
            Ok(())
        }
    }

    /// Checks and reads.
    ///
    /// # Errors
    /// As [`RemoveAddr::check`].
    pub fn decode(option: &RawOption<'_>, segment: Segment) -> Result<Self, Fault> {
        Self::check(option, segment)?;
        let count = (option.length() - 3).min(37) as u8;
        let mut ids = [0; 37];
        for (i, id) in ids.iter_mut().enumerate().take(usize::from(count)) {
            *id = option.u8(3 + i);
        }
        Ok(Self { ids, count })
    }

    /// The address identifiers, in the order of the option.
    pub fn address_ids(&self) -> &[u8] {
        &self.ids[..usize::from(self.count)]
    }
}

impl core::fmt::Debug for RemoveAddr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("RemoveAddr")
            .field(&self.address_ids())
            .finish()
    }
}
