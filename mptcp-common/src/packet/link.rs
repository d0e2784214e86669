//! The link layer: Ethernet, VLAN tags, PPPoE; and what is not IP.

use crate::{
    counter::{Outcome, Passed, Protocol},
    packet::frame::Frame,
};

/// VLAN tags that may stand in a frame, the ones that the device took out included.
const MAX_TAGS: u32 = 2;

pub(crate) const IPV4: u16 = 0x0800;

pub(crate) const IPV6: u16 = 0x86dd;

pub(crate) const VLAN_C: u16 = 0x8100;

pub(crate) const VLAN_S: u16 = 0x88a8;

const ARP: u16 = 0x0806;

const MPLS: u16 = 0x8847;

const MPLS_MULTICAST: u16 = 0x8848;

const PPPOE_DISCOVERY: u16 = 0x8863;

pub(crate) const PPPOE_SESSION: u16 = 0x8864;

const MACSEC: u16 = 0x88e5;

const LLDP: u16 = 0x88cc;

const SLOW: u16 = 0x8809;

/// Tags of before IEEE 802.1ad.
const QINQ: u16 = 0x9100;

const QINQ_2: u16 = 0x9200;

/// Less than this is no EtherType, but a length (IEEE 802.3).
const FIRST_ETHERTYPE: u16 = 0x600;

/// Protocols of PPP (IANA's registry).
const PPP_IPV4: u16 = 0x0021;

const PPP_IPV6: u16 = 0x0057;

/// From here on they are control protocols (RFC 1661 section 2).
const PPP_CONTROL: u16 = 0x8000;

/// What a frame of this EtherType holds, that is none of those which are looked into. `is_snap` says whether an
/// EtherType follows that of IEEE 802.3.
#[inline(always)]
pub(crate) fn no_ip(ethertype: u16, is_snap: impl FnOnce() -> bool) -> Passed {
    Passed::from(match ethertype {
        ARP => Protocol::ARP,
        MPLS | MPLS_MULTICAST => Protocol::MPLS,
        QINQ | QINQ_2 => Protocol::QINQ,
        MACSEC => Protocol::MACSEC,
        PPPOE_DISCOVERY => Protocol::PPPOE_DISCOVERY,
        LLDP | SLOW => Protocol::LINK_CONTROL,
        0..FIRST_ETHERTYPE if is_snap() => Protocol::SNAP,
        0..FIRST_ETHERTYPE => Protocol::LLC,
        _ => Protocol::OTHER_ETHERTYPE,
    })
}

/// Is this an LLC header of SNAP, with an EtherType (RFC 1042)? Takes its first six bytes.
#[inline(always)]
pub(crate) fn is_snap(first: u32, organization: u16) -> bool {
    (first, organization) == (u32::from_ne_bytes([0xaa, 0xaa, 3, 0]), 0)
}

/// UDP over IPv4 to a port, in the order of memory.
#[inline(always)]
pub(crate) fn udp(port: u16) -> Passed {
    Passed::from(match u16::from_be(port) {
        4789 | 8472 => Protocol::VXLAN,
        6081 => Protocol::GENEVE,
        2152 => Protocol::GTP_U,
        _ => Protocol::UDP,
    })
}

/// The EtherType of what a PPPoE session frame carries (RFC 2516), and where that starts. Its length is that of the
/// PPP packet: what follows is padding.
#[inline(always)]
pub(crate) fn pppoe<F: Frame>(frame: &F, at: u32) -> Result<(u32, u16), Passed> {
    /// Version 1, type 1, and code 0: session data.
    const DATA: u16 = 0x1100;
    /// Bytes of PPP's protocol. (RFC 2516 section 7 advises against those of one byte: they count as other.)
    const PROTOCOL: u32 = 2;
    let header: u64 = frame.load(at).ok_or(Outcome::Truncated)?;
    let header = u64::from_be(header);
    let (length, protocol) = ((header >> 16) as u16, header as u16);
    if (header >> 48) as u16 != DATA {
        return Err(Passed::from(Protocol::PPPOE_OTHER));
    }
    let (ethertype, shift, more) = match protocol {
        PPP_IPV4 => (IPV4, 32, 0),
        PPP_IPV6 => (IPV6, 16, 40),
        PPP_CONTROL.. => return Err(Passed::from(Protocol::PPPOE_CONTROL)),
        _ => return Err(Passed::from(Protocol::PPPOE_OTHER)),
    };
    // IP's length has to lie within. That of a buffer of several packets is the first one's.
    let at = at + 8;
    let ip: u64 = frame.load(at).ok_or(Outcome::Truncated)?;
    let ip = u32::from((u64::from_be(ip) >> shift) as u16) + more;
    if ip + PROTOCOL > length.into() && !frame.is_merged() {
        return Err(Outcome::Truncated.into());
    }
    Ok((at, ethertype))
}

/// The EtherType, and where the header it announces starts.
#[inline(always)]
pub(crate) fn link<F: Frame>(frame: &F, is_layer_3: bool) -> Result<(u32, u16), Passed> {
    if is_layer_3 {
        let first: u8 = frame.load(0).ok_or(Outcome::Truncated)?;
        return match first >> 4 {
            4 => Ok((0, IPV4)),
            6 => Ok((0, IPV6)),
            _ => Err(Passed::from(Protocol::OTHER_ETHERTYPE)),
        };
    }
    let mut ethertype = u16::from_be(frame.load(12).ok_or(Outcome::Truncated)?);
    let mut at = 14;
    for _ in 0..MAX_TAGS {
        if ethertype != VLAN_C && ethertype != VLAN_S {
            break;
        }
        ethertype = u16::from_be(frame.load(at + 2).ok_or(Outcome::Truncated)?);
        at += 4;
    }
    if at == 14 + 4 * MAX_TAGS && frame.stripped_tags() != 0 {
        return Err(Outcome::VlanDepth.into());
    }
    Ok((at, ethertype))
}
