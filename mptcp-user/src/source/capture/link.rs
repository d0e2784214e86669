//! Link-layer headers of captures (<https://www.tcpdump.org/linktypes.html>).

use pcap_parser::Linktype;

/// A link-layer header that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Ethernet,
    /// None at all.
    Ip,
    /// Linux's stand-in for any interface (LINUX_SLL).
    Cooked,
    /// A Linux cooked header with the interface's number (LINUX_SLL2).
    Cooked2,
    /// An address family (NULL, LOOP).
    Family,
    /// PPP, with address and control field (RFC 1662) or without; or Cisco's framing, which has an EtherType.
    Ppp,
    /// A byte that says who sent it, and PPP.
    PppDirection,
    /// PPP whose address field says who sent it.
    PppPppd,
    /// The header of PPPoE (RFC 2516), and PPP.
    Pppoe,
}

/// Link types by number: their names without `LINKTYPE_`, and how the header is read that packets of them begin with.
const LINK_TYPES: [(i32, &str, Option<Link>); 62] = [
    (0, "NULL", Some(Link::Family)),
    (1, "ETHERNET", Some(Link::Ethernet)),
    (3, "AX25", None),
    (6, "IEEE802_5", None),
    (7, "ARCNET_BSD", None),
    (8, "SLIP", None),
    (9, "PPP", Some(Link::Ppp)),
    (10, "FDDI", None),
    // DLT_RAW, which some write: here OpenBSD's number, there that of others.
    (12, "RAW", Some(Link::Ip)),
    (14, "RAW", Some(Link::Ip)),
    (50, "PPP_HDLC", Some(Link::Ppp)),
    (51, "PPP_ETHER", Some(Link::Pppoe)),
    (99, "SYMANTEC_FIREWALL", None),
    (100, "ATM_RFC1483", None),
    (101, "RAW", Some(Link::Ip)),
    (104, "C_HDLC", Some(Link::Ppp)),
    (105, "IEEE802_11", None),
    (107, "FRELAY", None),
    (108, "LOOP", Some(Link::Family)),
    (109, "ENC", None),
    (113, "LINUX_SLL", Some(Link::Cooked)),
    (114, "LTALK", None),
    (117, "PFLOG", None),
    (119, "IEEE802_11_PRISM", None),
    (122, "IP_OVER_FC", None),
    (123, "SUNATM", None),
    (127, "IEEE802_11_RADIOTAP", None),
    (129, "ARCNET_LINUX", None),
    (138, "APPLE_IP_OVER_IEEE1394", None),
    (139, "MTP2_WITH_PHDR", None),
    (140, "MTP2", None),
    (143, "DOCSIS", None),
    (144, "LINUX_IRDA", None),
    (147, "USER0", None),
    (149, "USER2 (PKTAP of older macOS)", None),
    (163, "IEEE802_11_AVS", None),
    (166, "PPP_PPPD", Some(Link::PppPppd)),
    (169, "GPRS_LLC", None),
    (177, "LINUX_LAPD", None),
    (187, "BLUETOOTH_HCI_H4", None),
    (189, "USB_LINUX", None),
    (192, "PPI", None),
    (195, "IEEE802_15_4_WITHFCS", None),
    (197, "ERF", None),
    (201, "BLUETOOTH_HCI_H4_WITH_PHDR", None),
    (204, "PPP_WITH_DIR", Some(Link::PppDirection)),
    (220, "USB_LINUX_MMAPPED", None),
    (226, "IPNET", None),
    (227, "CAN_SOCKETCAN", None),
    (228, "IPV4", Some(Link::Ip)),
    (229, "IPV6", Some(Link::Ip)),
    (230, "IEEE802_15_4_NOFCS", None),
    (239, "NFLOG", None),
    (240, "NETANALYZER", None),
    (242, "IPOIB", None),
    (249, "USBPCAP", None),
    (252, "WIRESHARK_UPPER_PDU", None),
    (253, "NETLINK", None),
    (258, "PKTAP", None),
    (270, "EPON", None),
    (276, "LINUX_SLL2", Some(Link::Cooked2)),
    (289, "ETW", None),
];

/// Returns the number of a link type: the upper half of the word tells of the frame check sequence.
pub(super) fn number(linktype: Linktype) -> i32 {
    linktype.0 & 0xffff
}

/// Names a link type, as a sentence does.
pub(super) fn name(number: i32) -> String {
    match LINK_TYPES.iter().find(|(known, ..)| *known == number) {
        Some((_, name, _)) => format!("link type {number} ({name})"),
        None => format!("link type {number}"),
    }
}

/// What to do about packets behind a header that is not read.
pub(super) const NEXT: &str = "capture with a header that is: tcpdump -i any, or tcpdump -y with one of those \
                               that tcpdump -L lists for the interface (EN10MB, RAW, PPP, NULL)";

/// A packet, from where the engine can read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inner<'a> {
    pub(super) bytes: &'a [u8],
    /// IP, or else Ethernet.
    pub(super) is_layer_3: bool,
    /// True if it came in, and did not go out; `None` where the header does not say.
    pub(super) ingress: Option<bool>,
}

/// Room for the Ethernet header of what has none and is not IP: only its EtherType tells.
pub(super) type Header = [u8; 14];

const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const VLAN_C: [u8; 2] = [0x81, 0x00];
const VLAN_S: [u8; 2] = [0x88, 0xa8];
const PPPOE_DISCOVERY: [u8; 2] = [0x88, 0x63];
const PPPOE: [u8; 2] = [0x88, 0x64];
const PPP: [u8; 2] = [0x88, 0x0b];

impl Link {
    /// `None` for headers that are not read.
    pub(super) fn new(linktype: Linktype) -> Option<Self> {
        let number = number(linktype);
        let known = LINK_TYPES.iter().find(|(known, ..)| *known == number)?;
        known.2
    }

    /// Returns the packet behind the header; `header` is room for another one.
    pub(super) fn open<'a>(self, bytes: &'a [u8], header: &'a mut Header) -> Inner<'a> {
        let (ethernet, ip) = (false, true);
        let ((bytes, is_layer_3), ingress) = match self {
            Self::Ethernet => ((bytes, ethernet), None),
            Self::Ip => ((bytes, ip), None),
            // Its EtherType is followed by the packet, as in Ethernet, but stands 2 bytes later.
            Self::Cooked => {
                let ingress = bytes.get(1).map(|kind| *kind != OUTGOING);
                ((bytes.get(2..).unwrap_or_default(), ethernet), ingress)
            }
            Self::Cooked2 => {
                let ingress = bytes.get(10).map(|kind| *kind != OUTGOING);
                (cooked_2(bytes, header), ingress)
            }
            Self::Family => (family(bytes, header), None),
            Self::Ppp => (ppp(bytes, header), None),
            Self::PppDirection => {
                let (sent, bytes) = bytes.split_at(bytes.len().min(1));
                (ppp(bytes, header), sent.first().map(|sent| *sent == 0))
            }
            // The control field may be left out, as it may behind an address field.
            Self::PppPppd => {
                let (sent, bytes) = bytes.split_at(bytes.len().min(1));
                let bytes = bytes.strip_prefix(&CONTROL[1..]).unwrap_or(bytes);
                (ppp(bytes, header), sent.first().map(|sent| *sent == 0))
            }
            Self::Pppoe => (pppoe(bytes, header), None),
        };
        Inner {
            bytes,
            is_layer_3,
            ingress,
        }
    }

    /// Returns true if the usual MTU of such links is Ethernet's, or less.
    pub(super) fn has_mtu(self) -> bool {
        !matches!(self, Self::Ip | Self::Family)
    }
}

/// Something that is not IP, by its EtherType.
fn other(ethertype: [u8; 2], header: &mut Header) -> (&[u8], bool) {
    *header = Header::default();
    header[12..].copy_from_slice(&ethertype);
    (header, false)
}

/// Address and control field of PPP, which always say the same.
const CONTROL: [u8; 2] = [0xff, 0x03];

/// Returns the bytes behind the header, and whether they are IP.
fn ppp<'a>(bytes: &'a [u8], header: &'a mut Header) -> (&'a [u8], bool) {
    // To one station or to all of them: an EtherType follows.
    const CISCO: [u8; 2] = [0x0f, 0x8f];
    const PPP_IPV4: u16 = 0x21;
    const PPP_IPV6: u16 = 0x57;
    let (protocol, packet) = match bytes.strip_prefix(&CONTROL).unwrap_or(bytes) {
        [station, _, high, low, packet @ ..] if CISCO.contains(station) => {
            return match [*high, *low] {
                IPV4 | IPV6 => (packet, true),
                ethertype => other(ethertype, header),
            };
        }
        // Without its upper half, if that is 0: only the last byte of a protocol is odd.
        [low, packet @ ..] if low % 2 == 1 => (u16::from(*low), packet),
        [high, low, packet @ ..] => (u16::from_be_bytes([*high, *low]), packet),
        _ => return (&[], false),
    };
    match protocol {
        PPP_IPV4 | PPP_IPV6 => (packet, true),
        _ => other(PPP, header),
    }
}

/// Returns what is behind the header of PPPoE: version and type, code, session, length. Frames that find and leave
/// sessions have a code, and no PPP.
fn pppoe<'a>(bytes: &'a [u8], header: &'a mut Header) -> (&'a [u8], bool) {
    match bytes {
        [0x11, 0, _, _, _, _, bytes @ ..] => ppp(bytes, header),
        // Discovery has a code. Of another version nothing is known.
        [_, code, _, _, _, _, ..] => {
            let kind = if *code == 0 { PPP } else { PPPOE_DISCOVERY };
            other(kind, header)
        }
        _ => (&[], false),
    }
}

/// Packet type of what the capturing host sent.
const OUTGOING: u8 = 4;

/// Returns the bytes behind the header, and whether they are IP.
fn cooked_2<'a>(bytes: &'a [u8], header: &'a mut Header) -> (&'a [u8], bool) {
    let [high, low, ..] = *bytes else {
        return (&[], false);
    };
    let protocol = [high, low];
    if protocol == VLAN_C || protocol == VLAN_S {
        // The tag's EtherType stands 12 bytes behind this place, as in an Ethernet header.
        return (bytes.get(10..).unwrap_or_default(), false);
    }
    let Some(packet) = bytes.get(20..) else {
        return (&[], false);
    };
    match protocol {
        IPV4 | IPV6 => (packet, true),
        PPPOE => pppoe(packet, header),
        _ => other(protocol, header),
    }
}

/// Returns what is behind a header that is the number of an address family, in the byte order of the machine
/// (NULL) or of the network (LOOP).
fn family<'a>(bytes: &'a [u8], header: &'a mut Header) -> (&'a [u8], bool) {
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
        other([0; 2], header)
    }
}
