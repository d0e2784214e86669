//! What frames hold that are passed by: what stands in the place of IP, or of TCP.

use super::{Outcome, Protocols};

/// An IP protocol by its number, or what else is told apart: the index of its count in [`Protocols`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Protocol(pub u32);

impl Protocol {
    /// Counts in [`Protocols`].
    pub const COUNTED: usize = size_of::<Protocols>() / 8;
    /// IP in IP.
    pub const IPIP: Self = Self(4);
    /// IPv6 in IP.
    pub const IPV6_IN_IP: Self = Self(41);
    /// GRE.
    pub const GRE: Self = Self(47);
    /// ESP.
    pub const ESP: Self = Self(50);
    /// ICMPv6.
    pub const ICMPV6: Self = Self(58);
    /// UDP to the ports of VXLAN (IANA's, and the one that Linux had before), IPv4.
    pub const VXLAN: Self = Self(256);
    /// UDP to the port of GENEVE, IPv4.
    pub const GENEVE: Self = Self(257);
    /// UDP to the port of GTP-U, IPv4.
    pub const GTP_U: Self = Self(258);
    /// The first that is not IP.
    pub const FIRST_LINK: u32 = Self::MPLS.0;
    /// MPLS.
    pub const MPLS: Self = Self(259);
    /// VLAN tags of other EtherTypes than IEEE's.
    pub const QINQ: Self = Self(260);
    /// MACsec.
    pub const MACSEC: Self = Self(261);
    /// PPPoE discovery.
    pub const PPPOE_DISCOVERY: Self = Self(262);
    /// PPPoE with a control protocol of PPP.
    pub const PPPOE_CONTROL: Self = Self(263);
    /// PPPoE with anything else that is not IP.
    pub const PPPOE_OTHER: Self = Self(264);
    /// IEEE 802.3 with SNAP and an EtherType.
    pub const SNAP: Self = Self(265);
    /// IEEE 802.3 otherwise.
    pub const LLC: Self = Self(266);
    /// LLDP and slow protocols.
    pub const LINK_CONTROL: Self = Self(267);
    /// Any other EtherType.
    pub const OTHER_ETHERTYPE: Self = Self(268);
    /// UDP to any other port, or over IPv6: not counted.
    pub const UDP: Self = Self(Self::COUNTED as u32);
    /// ARP: not counted.
    pub const ARP: Self = Self(Self::COUNTED as u32 + 1);
    /// Nothing of this kind: the frame's leaf says it all.
    pub const NONE: Self = Self(Self::COUNTED as u32 + 2);

    /// The name in JSON, and how it is called in sentences. `None` for IP protocols that are no more than a number
    /// here.
    pub fn name(self) -> Option<(&'static str, &'static str)> {
        let mut entries = PROTOCOLS.iter();
        let entry = entries.find(|entry| entry.protocol == self)?;
        Some((entry.name, entry.called))
    }

    /// Can TCP be hidden in it? What is not known may hide anything.
    pub fn hides_tcp(self) -> bool {
        let mut entries = PROTOCOLS.iter();
        entries
            .find(|entry| entry.protocol == self)
            .is_none_or(|entry| entry.hides)
    }
}

const _: () = assert!(Protocol::OTHER_ETHERTYPE.0 as usize + 1 == Protocol::COUNTED);

/// What became of a frame in which no TCP is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// The leaf it counts in.
    pub leaf: Outcome,
    /// What it holds, if that is `not_ip` or `not_tcp`; else [`Protocol::NONE`].
    pub protocol: Protocol,
}

impl From<Outcome> for Passed {
    #[inline(always)]
    fn from(leaf: Outcome) -> Self {
        Self {
            leaf,
            protocol: Protocol::NONE,
        }
    }
}

impl From<Protocol> for Passed {
    #[inline(always)]
    fn from(protocol: Protocol) -> Self {
        let leaf = if protocol.0 < Protocol::FIRST_LINK || protocol == Protocol::UDP {
            Outcome::NotTcp
        } else {
            Outcome::NotIp
        };
        Self { leaf, protocol }
    }
}

/// How a protocol is called.
struct Entry {
    protocol: Protocol,
    name: &'static str,
    called: &'static str,
    hides: bool,
}

/// Number, name in JSON, how it is called, and whether TCP can be hidden in it.
macro_rules! protocols {
    ($($protocol:expr, $name:literal, $called:literal, $hides:literal;)+) => {
        &[$(Entry {
            protocol: $protocol,
            name: $name,
            called: $called,
            hides: $hides,
        }),+]
    };
}

/// All that have a name. Of IP protocols: those that operators meet (IANA's registry has them all).
#[rustfmt::skip]
const PROTOCOLS: &[Entry] = protocols! {
    Protocol::ARP, "arp", "ARP (EtherType 0x0806)", false;
    Protocol::MPLS, "mpls", "MPLS (EtherType 0x8847)", true;
    Protocol::QINQ, "qinq", "QinQ of EtherType 0x9100 or 0x9200", true;
    Protocol::MACSEC, "macsec", "MACsec (EtherType 0x88e5)", true;
    Protocol::PPPOE_DISCOVERY, "pppoe_discovery", "PPPoE discovery (EtherType 0x8863)", false;
    Protocol::PPPOE_CONTROL, "pppoe_control", "PPPoE control (LCP, IPCP ...)", false;
    Protocol::PPPOE_OTHER, "pppoe_other", "PPPoE with other than IP", true;
    Protocol::SNAP, "snap", "LLC/SNAP (802.3 with an EtherType behind it)", true;
    Protocol::LLC, "llc", "LLC (802.3: spanning tree, IS-IS ...)", false;
    Protocol::LINK_CONTROL, "link_control", "LLDP or LACP", false;
    Protocol::OTHER_ETHERTYPE, "other_ethertype", "of another EtherType", true;
    Protocol::UDP, "udp", "UDP", false;
    Protocol::VXLAN, "vxlan", "VXLAN (UDP port 4789 or 8472)", true;
    Protocol::GENEVE, "geneve", "GENEVE (UDP port 6081)", true;
    Protocol::GTP_U, "gtp_u", "GTP-U (UDP port 2152)", true;
    Protocol(1), "icmp", "ICMP", false;
    Protocol(2), "igmp", "IGMP", false;
    Protocol::IPIP, "ipip", "IP in IP (IP protocol 4)", true;
    Protocol(33), "dccp", "DCCP", false;
    Protocol::IPV6_IN_IP, "ipv6_in_ip", "IPv6 in IP (IP protocol 41)", true;
    Protocol(46), "rsvp", "RSVP", false;
    Protocol::GRE, "gre", "GRE (IP protocol 47)", true;
    Protocol::ESP, "esp", "ESP (IP protocol 50)", true;
    Protocol::ICMPV6, "icmpv6", "ICMPv6", false;
    Protocol(59), "no_next_header", "IPv6 without a next header", false;
    Protocol(88), "eigrp", "EIGRP", false;
    Protocol(89), "ospf", "OSPF", false;
    Protocol(97), "etherip", "Ethernet in IP (IP protocol 97)", true;
    Protocol(103), "pim", "PIM", false;
    Protocol(108), "ipcomp", "IP compression (IP protocol 108)", true;
    Protocol(112), "vrrp", "VRRP", false;
    Protocol(115), "l2tp", "L2TP (IP protocol 115)", true;
    Protocol(132), "sctp", "SCTP", false;
    Protocol(136), "udplite", "UDP-Lite", false;
    Protocol(137), "mpls_in_ip", "MPLS in IP (IP protocol 137)", true;
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_has_one_name() {
        for (i, entry) in PROTOCOLS.iter().enumerate() {
            for other in &PROTOCOLS[..i] {
                assert_ne!(entry.protocol, other.protocol);
                assert_ne!(entry.name, other.name);
                assert_ne!(entry.called, other.called);
            }
            assert_eq!(entry.protocol.name(), Some((entry.name, entry.called)));
        }
        // All but IP protocols have one.
        for number in (0..Protocol::NONE.0).filter(|number| *number > 255) {
            assert!(Protocol(number).name().is_some(), "{number}");
        }
        // The counts are in the order of the numbers, under the names that JSON has.
        let mut at = 0;
        for (field, words, _) in Protocols::FIELDS {
            if *words == 1 {
                let name = Protocol(at).name().map(|(name, _)| name);
                assert_eq!(name, Some(*field));
            }
            at += *words as u32;
        }
    }

    #[test]
    fn what_may_hide_tcp() {
        for hiding in [
            Protocol::MPLS,
            Protocol::QINQ,
            Protocol::VXLAN,
            Protocol(47),
            Protocol(50),
            Protocol(253),
            Protocol::OTHER_ETHERTYPE,
        ] {
            assert!(hiding.hides_tcp(), "{hiding:?}");
        }
        for harmless in [
            Protocol::UDP,
            Protocol::ARP,
            Protocol::LLC,
            Protocol(1),
            Protocol(58),
            Protocol(89),
        ] {
            assert!(!harmless.hides_tcp(), "{harmless:?}");
        }
    }
}
