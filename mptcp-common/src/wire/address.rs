//! ADD_ADDR and REMOVE_ADDR (RFC 8684 sections 3.4.1 and 3.4.2, RFC 6824 section 3.4).
//!
//! ```text
//! kind 30 | length | 3 and flags | address identifier | address | port, if any | HMAC, if any
//! kind 30 | length | 4 and reserved | one address identifier or more
//! ```

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    verifier::Opaque,
    wire::{area::RawOption, option::Fault, segment::Segment},
};

/// Where fields stand, in bytes from the option's start.
const FLAGS: usize = 2;
const ADDRESS_ID: usize = 3;
const ADDRESS: usize = 4;
/// The first identifier that is removed.
const REMOVED: u32 = 3;

/// An announced address, with the port if one was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The IP address.
    pub ip: IpAddr,
    /// The TCP port.
    pub port: Option<u16>,
}

/// An ADD_ADDR option that was checked.
///
/// The same bytes mean different things in the two versions: the low nibble of the third byte is
/// the IP version in v0 and, in v1, three reserved bits and E. Where the connection's version is
/// not known the form decides: only v1 has an HMAC; without one, E set is an echo of v1, and 4 or
/// 6 an announcement of v0.
#[derive(Clone, Copy)]
pub struct AddAddr<'a>(RawOption<'a>);

/// Length without port and HMAC: kind, length, subtype, identifier and the address.
const V4: u32 = 8;
const V6: u32 = 20;
const PORT: u32 = 2;
const HMAC: u32 = 8;
/// E in the low nibble of the third byte (v1).
const ECHO: u8 = 0x01;
/// Bits beside it that mean nothing yet (v1).
const RESERVED: u8 = 0x0e;

impl<'a> AddAddr<'a> {
    /// Checks that this is an ADD_ADDR that belongs on `segment`.
    ///
    /// # Errors
    /// [`Fault::Segment`] on a SYN, [`Fault::Length`], [`Fault::Flags`] where length and low
    /// nibble are each possible but not together.
    #[inline(always)]
    pub fn parse(option: RawOption<'a>, segment: Segment) -> Result<Self, Fault> {
        if !segment.is_later() {
            return Err(Fault::Segment);
        }
        let nibble = option.u8(FLAGS) & 0x0f;
        let fits = match option.length() {
            16 | 18 | 28 | 30 => nibble & ECHO == 0,
            8 | 10 => nibble & ECHO != 0 || nibble == 4,
            20 | 22 => nibble & ECHO != 0 || nibble == 6,
            _ => return Err(Fault::Length),
        };
        if fits {
            Ok(Self(option))
        } else {
            Err(Fault::Flags)
        }
    }

    /// One that [`parse`](Self::parse) has allowed.
    #[inline(always)]
    pub(in crate::wire) fn allowed(option: RawOption<'a>) -> Self {
        Self(option)
    }

    /// Returns the address identifier.
    #[inline(always)]
    pub fn address_id(&self) -> u8 {
        self.0.u8(ADDRESS_ID)
    }

    /// Returns E: the peer has seen this announcement (v1).
    #[inline(always)]
    pub fn is_echo(&self) -> bool {
        self.0.u8(FLAGS) & ECHO != 0
    }

    /// Returns true if it has the form of version 1.
    #[inline(always)]
    pub fn is_v1(&self) -> bool {
        self.is_echo() || matches!(self.0.length(), 16 | 18 | 28 | 30)
    }

    /// Returns true if it names a port.
    #[inline(always)]
    pub fn has_port(&self) -> bool {
        matches!(self.0.length(), 10 | 18 | 22 | 30)
    }

    /// Returns true if bits are set that mean nothing. (The nibble of version 0 is the IP version.)
    #[inline(always)]
    pub fn has_reserved_bits(&self) -> bool {
        self.is_v1() && self.0.u8(FLAGS) & RESERVED != 0
    }

    /// Returns the length of everything but port and HMAC, and those two.
    fn lengths(&self) -> [u32; 3] {
        let hmac = if self.is_v1() && !self.is_echo() {
            HMAC
        } else {
            0
        };
        let port = if self.has_port() { PORT } else { 0 };
        [self.0.length() - hmac - port, port, hmac]
    }

    /// Returns the address.
    pub fn address(&self) -> Address {
        let [bare, port, _] = self.lengths();
        let ip = if bare == V6 {
            IpAddr::V6(Ipv6Addr::from(core::array::from_fn::<u8, 16, _>(|i| {
                self.0.u8(ADDRESS + i)
            })))
        } else {
            debug_assert_eq!(bare, V4);
            IpAddr::V4(Ipv4Addr::from(self.0.u32(ADDRESS)))
        };
        Address {
            ip,
            port: (port != 0).then(|| self.0.u16(bare as usize)),
        }
    }

    /// Returns the truncated HMAC (v1 announcements).
    pub fn hmac(&self) -> Option<u64> {
        let [bare, port, hmac] = self.lengths();
        (hmac != 0).then(|| self.0.u64((bare + port) as usize))
    }

    /// Returns port and HMAC of a v1 announcement, of which the verifier knows nothing: it looks at what follows once,
    /// and not once per form.
    #[inline(always)]
    pub(crate) fn announcement(&self, verifier: &impl Opaque) -> Announcement {
        let option = &self.0;
        let is_v6 = verifier.opaque((option.length() >= V6 + HMAC).into()) != 0;
        let has_port = verifier.opaque(self.has_port().into()) != 0;
        let port_at = verifier.opaque(if is_v6 { V6 } else { V4 });
        let hmac_at = verifier.opaque(port_at + if has_port { PORT } else { 0 });
        let hmac = RawOption::new(option.area(), option.at() + hmac_at, HMAC).u64(0);
        let port = if has_port {
            RawOption::new(option.area(), option.at() + port_at, PORT).u16(0)
        } else {
            0
        };
        Announcement { is_v6, port, hmac }
    }

    /// Writes to `message` what the HMAC of a v1 announcement is of (RFC 8684 section 3.4.1): identifier, address and
    /// port. Returns its length in bytes.
    #[inline(always)]
    pub(crate) fn write_message(&self, announcement: &Announcement, message: &mut [u32; 8]) -> u32 {
        let option = &self.0;
        let port = u32::from(announcement.port) << 8;
        let word = |at: usize| option.u32(ADDRESS_ID + at);
        // The last byte of the address lies before the port.
        let last = |length: u32| u32::from(option.u8(length as usize - 1)) << 24;
        *message = [0; 8];
        message[0] = word(0);
        if announcement.is_v6 {
            message[1] = word(4);
            message[2] = word(8);
            message[3] = word(12);
            message[4] = last(V6) | port;
            V6 - 1
        } else {
            message[1] = last(V4) | port;
            V4 - 1
        }
    }
}

/// What [`AddAddr::announcement`] says.
#[derive(Clone, Copy)]
pub(crate) struct Announcement {
    is_v6: bool,
    /// 0 if it names none.
    port: u16,
    /// The truncated HMAC: a secret's product, as on the wire.
    pub(crate) hmac: u64,
}

impl core::fmt::Debug for AddAddr<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("AddAddr")
            .field("address_id", &self.address_id())
            .field("address", &self.address())
            .field("echo", &self.is_echo())
            .finish_non_exhaustive()
    }
}

/// A REMOVE_ADDR option that was checked: one address identifier or more.
#[derive(Clone, Copy)]
pub struct RemoveAddr<'a>(RawOption<'a>);

impl<'a> RemoveAddr<'a> {
    /// Identifiers that one can list: an option area less the three bytes before them.
    pub const MAX_IDS: u32 = 37;

    /// Checks that this is a REMOVE_ADDR that belongs on `segment`.
    ///
    /// # Errors
    /// [`Fault::Segment`] on a SYN, [`Fault::Length`] when it names no address.
    #[inline(always)]
    pub fn parse(option: RawOption<'a>, segment: Segment) -> Result<Self, Fault> {
        if !segment.is_later() {
            return Err(Fault::Segment);
        }
        if option.length() <= REMOVED {
            Err(Fault::Length)
        } else {
            Ok(Self(option))
        }
    }

    /// One that [`parse`](Self::parse) has allowed.
    #[inline(always)]
    pub(in crate::wire) fn allowed(option: RawOption<'a>) -> Self {
        Self(option)
    }

    /// Returns the address identifier with this number, if it lists so many.
    #[inline(always)]
    pub(crate) fn id(&self, number: u32, verifier: &impl Opaque) -> Option<u8> {
        if REMOVED + number >= self.0.length() {
            return None;
        }
        let at = verifier.opaque(self.0.at() + REMOVED + number);
        Some(RawOption::new(self.0.area(), at, 1).u8(0))
    }

    /// Returns the address identifiers, in the order of the option.
    pub fn address_ids(&self) -> impl Iterator<Item = u8> + use<'a> {
        let option = self.0;
        (REMOVED..option.length()).map(move |at| option.u8(at as usize))
    }

    /// Returns true if bits are set that mean nothing.
    #[inline(always)]
    pub fn has_reserved_bits(&self) -> bool {
        self.0.u8(FLAGS) & 0x0f != 0
    }
}

impl core::fmt::Debug for RemoveAddr<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RemoveAddr ")?;
        f.debug_list().entries(self.address_ids()).finish()
    }
}
