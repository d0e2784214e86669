//! Link-layer headers of captures (<https://www.tcpdump.org/linktypes.html>).

use std::borrow::Cow;

use pcap_parser::Linktype;

/// A link-layer header that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Ethernet,
    /// None at all.
    Ip,
    /// Linux's stand-in for any interface (LINUX_SLL).
    Cooked,
    /// The same with the interface's number (LINUX_SLL2).
    Cooked2,
    /// An address family (NULL, LOOP).
    Family,
}

/// A packet, from where the engine can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inner<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// IP, or else Ethernet.
    pub(super) is_layer_3: bool,
    /// Did it come in, and not go out? `None` where the header does not say.
    pub(super) ingress: Option<bool>,
}

/// An Ethernet header with a reserved EtherType, for what has no Ethernet header and is not IP.
const NOT_IP: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const VLAN_C: [u8; 2] = [0x81, 0x00];
const VLAN_S: [u8; 2] = [0x88, 0xa8];

impl Link {
    /// `None` for headers that are not read.
    pub(super) fn new(linktype: Linktype) -> Option<Self> {
        // The upper half tells of the frame check sequence.
        match linktype.0 & 0xffff {
            1 => Some(Self::Ethernet),
            // OpenBSD's number, and DLT_RAW elsewhere, which some write.
            12 | 14 | 101 | 228 | 229 => Some(Self::Ip),
            0 | 108 => Some(Self::Family),
            113 => Some(Self::Cooked),
            276 => Some(Self::Cooked2),
            _ => None,
        }
    }

    /// The packet behind the header.
    pub(super) fn open(self, bytes: &[u8]) -> Inner<'_> {
        let (ethernet, ip) = (false, true);
        let (bytes, is_layer_3, ingress) = match self {
            Self::Ethernet => (bytes.into(), ethernet, None),
            Self::Ip => (bytes.into(), ip, None),
            // Its EtherType is followed by the packet, as in Ethernet, but stands 2 bytes later.
            Self::Cooked => {
                let ingress = bytes.get(1).map(|kind| *kind != OUTGOING);
                let bytes = bytes.get(2..).unwrap_or_default();
                (bytes.into(), ethernet, ingress)
            }
            Self::Cooked2 => {
                let ingress = bytes.get(10).map(|kind| *kind != OUTGOING);
                let (bytes, is_layer_3) = cooked_2(bytes);
                (bytes, is_layer_3, ingress)
            }
            Self::Family => {
                let (bytes, is_layer_3) = family(bytes);
                (bytes.into(), is_layer_3, None)
            }
        };
        Inner {
            bytes,
            is_layer_3,
            ingress,
        }
    }

    /// Is the usual MTU of such links Ethernet's?
    pub(super) fn has_mtu(self) -> bool {
        matches!(self, Self::Ethernet | Self::Cooked | Self::Cooked2)
    }
}

/// Packet type of what the capturing host sent.
const OUTGOING: u8 = 4;

/// The bytes behind the header, and whether they are IP.
fn cooked_2(bytes: &[u8]) -> (Cow<'_, [u8]>, bool) {
    let protocol = bytes.get(..2).unwrap_or_default();
    if protocol == VLAN_C || protocol == VLAN_S {
        // The tag's EtherType stands 12 bytes behind this place, as in an Ethernet header.
        (bytes.get(10..).unwrap_or_default().into(), false)
    } else if bytes.len() < 20 {
        (Cow::default(), false)
    } else if protocol == IPV4 || protocol == IPV6 {
        (bytes[20..].into(), true)
    } else {
        // PPPoE, and what is told apart by its EtherType: as Ethernet has it.
        ([&[0; 12], protocol, &bytes[20..]].concat().into(), false)
    }
}

/// The same of a header that is the number of an address family, in the byte order of the machine
/// (NULL) or of the network (LOOP).
fn family(bytes: &[u8]) -> (&[u8], bool) {
    // AF_INET, and AF_INET6 of NetBSD and OpenBSD, FreeBSD, Darwin, Linux.
    const INTERNET: [u32; 5] = [2, 24, 28, 30, 10];
    let Some((number, packet)) = bytes.split_first_chunk() else {
        return (&[], false);
    };
    let is_internet = INTERNET.contains(&u32::from_le_bytes(*number))
        || INTERNET.contains(&u32::from_be_bytes(*number));
    if is_internet {
        (packet, true)
    } else {
        (NOT_IP, false)
    }
}
