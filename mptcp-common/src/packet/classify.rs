//! What the first bytes of a frame say it is.

use crate::{
    counter::{Outcome, Passed, Protocol},
    packet::frame::View,
    packet::{
        frame::Frame,
        hash::Ends,
        header::{
            AUTHENTICATION, ESP, GRE, HEAD, ICMPV6, IPIP, IPV4_END, IPV6_END, IPV6_IN_IP, TCP, UDP,
            has_timestamp, is_extension, mapped,
        },
        link::{IPV4, IPV6, PPPOE_SESSION, VLAN_C, VLAN_S, is_snap, no_ip, udp},
    },
};

/// What the first bytes of a frame say it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameClass {
    /// Ethernet without VLAN tags, IPv4 without options that is no fragment, and TCP.
    Ipv4,
    /// Ethernet without VLAN tags, IPv6 without extension headers, and TCP.
    Ipv6,
    /// There is more to look at.
    Other,
    /// It begins with the IP header.
    Layer3,
    /// The frame is done. Of a flow that nobody follows, that is a segment without options, or with a timestamp
    /// alone.
    Done(Passed),
    /// The frame is done, and it is IP with this protocol, which is known by its number alone.
    NotTcp(Protocol),
}

impl FrameClass {
    /// What became of a frame that is done.
    #[inline(always)]
    pub fn passed(self) -> Option<Passed> {
        match self {
            Self::Done(passed) => Some(passed),
            Self::NotTcp(protocol) => Some(protocol.into()),
            _ => None,
        }
    }
}

/// Looks at the first bytes of a frame. This is for every packet, so they are compared as they lie in memory,
/// several fields at once.
///
/// `is_uncounted` says that the buffer's packets still have to be counted, `is_untracked` of a flow that nobody
/// follows it. Not for frames that begin with the IP header: those are [`FrameClass::Layer3`].
#[inline(always)]
pub fn classify<F: Frame>(
    frame: &F,
    is_uncounted: impl Fn() -> bool,
    is_untracked: impl Fn(&Ends) -> bool,
) -> FrameClass {
    let Some(head) = frame.view(0, HEAD) else {
        return FrameClass::Other;
    };
    // EtherType, then the IP header's first byte.
    let kind: u32 = head.get(12);
    if kind & word([0xff, 0xff, 0xff, 0]) == word([0x08, 0x00, 0x45, 0]) {
        const FRAGMENT_BITS: u32 = word([0x3f, 0xff, 0, 0]);
        const PROTOCOL_BITS: u32 = word([0, 0, 0, 0xff]);
        // Fragment, time to live, protocol.
        let fields: u32 = head.get(20);
        let kept = fields & (FRAGMENT_BITS | PROTOCOL_BITS);
        if kept != word([0, 0, 0, TCP]) {
            if kept == word([0, 0, 0, UDP]) {
                return FrameClass::Done(udp(head.get(IPV4_END + 2)));
            }
            if fields & FRAGMENT_BITS != 0 || kept == word([0, 0, 0, AUTHENTICATION]) {
                return FrameClass::Other;
            }
            return FrameClass::NotTcp(Protocol(head.get::<u8>(23).into()));
        }
        let length = u32::from(u16::from_be(head.get(16)));
        let is_bare = match head.get::<u8>(46) >> 4 {
            5 => length >= 40,
            8 => length >= 52 && has_timestamp(frame, IPV4_END + 20),
            _ => false,
        };
        // Its length is right: nothing of it is needed behind this.
        if is_bare {
            if !is_uncounted() {
                let ends = Ends {
                    addresses: mapped(head.get(26), head.get(30)),
                    // By themselves: that takes less than to part them.
                    ports: [head.get::<u16>(34).into(), head.get::<u16>(36).into()],
                    ipv6: false,
                };
                if is_untracked(&ends) {
                    return FrameClass::Done(Outcome::Tcp.into());
                }
            }
            return FrameClass::Ipv4;
        }
        return if length < 20 {
            FrameClass::Other
        } else {
            FrameClass::Ipv4
        };
    }
    if kind & word([0xff, 0xff, 0xf0, 0]) == word([0x86, 0xdd, 0x60, 0]) {
        return ipv6(frame, &head, is_uncounted, is_untracked);
    }
    match u16::from_be(head.get(12)) {
        IPV4 | IPV6 | VLAN_C | VLAN_S | PPPOE_SESSION => FrameClass::Other,
        ethertype => FrameClass::Done(no_ip(ethertype, || is_snap(head.get(14), head.get(18)))),
    }
}

/// Bytes as they lie in memory.
const fn word(bytes: [u8; 4]) -> u32 {
    u32::from_ne_bytes(bytes)
}

/// Classifies IPv6.
#[inline(always)]
fn ipv6<F: Frame>(
    frame: &F,
    head: &impl View,
    is_uncounted: impl Fn() -> bool,
    is_untracked: impl Fn(&Ends) -> bool,
) -> FrameClass {
    let protocol: u8 = head.get(20);
    if protocol != TCP {
        match protocol {
            UDP => return FrameClass::Done(Protocol::UDP.into()),
            ICMPV6 => return FrameClass::Done(Protocol::ICMPV6.into()),
            IPIP => return FrameClass::Done(Protocol::IPIP.into()),
            IPV6_IN_IP => return FrameClass::Done(Protocol::IPV6_IN_IP.into()),
            GRE => return FrameClass::Done(Protocol::GRE.into()),
            ESP => return FrameClass::Done(Protocol::ESP.into()),
            _ => {}
        }
        // There are few others: the compiler may not put what takes longer in front.
        let protocol: u8 = head.opaque().get(20);
        if is_extension(protocol, true) {
            return FrameClass::Other;
        }
        return FrameClass::NotTcp(Protocol(protocol.into()));
    }
    // A length of 0 is none (BIG TCP).
    let length = u32::from(u16::from_be(head.get(18)));
    if length == 0 {
        return FrameClass::Other;
    }
    let Some(head) = frame.view(0, IPV6_END + 20) else {
        return FrameClass::Ipv6;
    };
    let is_bare = match head.get::<u8>(IPV6_END + 12) >> 4 {
        5 => length >= 20,
        8 => length >= 32 && has_timestamp(frame, IPV6_END + 20),
        _ => false,
    };
    if is_bare && !is_uncounted() {
        let ends = Ends {
            addresses: head.get(22),
            ports: [
                head.get::<u16>(IPV6_END).into(),
                head.get::<u16>(IPV6_END + 2).into(),
            ],
            ipv6: true,
        };
        if is_untracked(&ends) {
            return FrameClass::Done(Outcome::Tcp.into());
        }
    }
    FrameClass::Ipv6
}
