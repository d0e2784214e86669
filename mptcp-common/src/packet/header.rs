//! IP and TCP headers: names of their fields, and a header that was found.

use crate::{
    packet::{
        flow::FlowKey,
        frame::{Frame, View},
        segment::Packet,
    },
    verifier::Opaque,
    wire::{MAX_OPTIONS, TIMESTAMP, TcpFlags},
};

const HOP_BY_HOP: u8 = 0;

pub(crate) const TCP: u8 = 6;

pub(crate) const UDP: u8 = 17;

pub(crate) const ICMPV6: u8 = 58;

pub(crate) const IPIP: u8 = 4;

pub(crate) const IPV6_IN_IP: u8 = 41;

pub(crate) const GRE: u8 = 47;

pub(crate) const ESP: u8 = 50;

const ROUTING: u8 = 43;

pub(crate) const FRAGMENT: u8 = 44;

pub(crate) const AUTHENTICATION: u8 = 51;

const DESTINATION: u8 = 60;

/// A header found: where it starts, its protocol, and how many bytes IP says there are.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub(crate) at: u32,
    pub(crate) protocol: u8,
    pub(crate) length: u32,
    pub(crate) ipv6: bool,
    /// True for the first fragment of a packet.
    pub(crate) is_fragment: bool,
    /// True if there are extension headers before it.
    pub(crate) is_extended: bool,
}

impl Header {
    #[inline(always)]
    pub(crate) fn is_tcp(&self) -> bool {
        self.protocol == TCP
    }

    /// Of a frame that is [`FrameClass::Ipv4`](super::FrameClass::Ipv4).
    #[inline(always)]
    pub(crate) fn ipv4(head: &impl View) -> Self {
        Self {
            at: IPV4_END,
            protocol: TCP,
            length: u32::from(u16::from_be(head.get(16))) - 20,
            ipv6: false,
            is_fragment: false,
            is_extended: false,
        }
    }

    /// Of a frame that is [`FrameClass::Ipv6`](super::FrameClass::Ipv6).
    #[inline(always)]
    pub(crate) fn ipv6(head: &impl View) -> Self {
        Self {
            at: IPV6_END,
            protocol: TCP,
            length: u16::from_be(head.get(18)).into(),
            ipv6: true,
            is_fragment: false,
            is_extended: false,
        }
    }

    /// Hides place and length from the verifier, by a number out of the frame.
    #[inline(always)]
    pub(crate) fn forgotten(self, verifier: &impl Opaque, unknown: u64) -> Self {
        let verifier = Unknown(verifier, unknown);
        Self {
            at: verifier.opaque(self.at),
            length: verifier.opaque(self.length),
            ..self
        }
    }
}

/// Bytes that nearly all frames have: Ethernet, and IPv4 and TCP, or IPv6, without more.
pub(crate) const HEAD: u32 = 14 + 40;

/// Where TCP starts behind Ethernet and IPv4 or IPv6 without more.
pub(crate) const IPV4_END: u32 = 14 + 20;

pub(crate) const IPV6_END: u32 = 14 + 40;

/// Bytes of the longest TCP header.
pub(crate) const MAX_HEADER: u32 = 20 + MAX_OPTIONS as u32;

/// No header is looked for behind this offset: 8 extension headers can be 16 KiB long.
pub(crate) const MAX_OFFSET: u32 = 0x7fff;

/// An offset that was compared with [`MAX_OFFSET`]. The mask changes nothing: the verifier of Linux
/// 6.1 sees the bound by it, having lost what it knew of a number that lay on the stack.
#[inline(always)]
pub(crate) fn bounded(verifier: &impl Opaque, at: u32) -> u32 {
    verifier.opaque(at) & MAX_OFFSET
}

/// Makes the verifier forget by a number out of the frame, of which it knows nothing.
pub(crate) struct Unknown<'a, F>(pub(crate) &'a F, pub(crate) u64);

impl<F: Opaque> Unknown<'_, F> {
    #[inline(always)]
    pub(crate) fn opaque(&self, value: u32) -> u32 {
        self.0.opaque_by(value, self.1)
    }
}

/// IPv4 addresses as IPv6 ones (`::ffff:a.b.c.d`), each in memory order, sender first.
#[inline(always)]
pub(crate) fn mapped(source: u32, destination: u32) -> [u64; 4] {
    let word = |address| u64::from(address) << 32 | 0xffff_0000;
    [0, word(source), 0, word(destination)]
}

/// Returns true if TCP may stand behind a header of this protocol (RFC 8200 section 4; AH also over IPv4, RFC 4302).
#[inline(always)]
pub(crate) fn is_extension(protocol: u8, ipv6: bool) -> bool {
    match protocol {
        AUTHENTICATION => true,
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION => ipv6,
        _ => false,
    }
}

/// Returns true if options begin here with a timestamp, as Linux writes it.
#[inline(always)]
pub(crate) fn has_timestamp(frame: &impl Frame, at: u32) -> bool {
    let view = frame.view(0, at + 4);
    view.is_some_and(|view| view.get::<u32>(at) == TIMESTAMP)
}

/// The flow, the sender first.
#[inline(always)]
pub(crate) fn flow(view: &impl View, header: &Header) -> FlowKey {
    let mut flow = FlowKey::default();
    flow.set_addresses(if header.ipv6 {
        view.get(22)
    } else {
        mapped(view.get(26), view.get(30))
    });
    flow.words[4] = view.get::<u32>(header.at).into();
    flow
}

/// The header of one packet.
#[inline(always)]
pub(crate) fn packet(
    view: &impl View,
    header: &Header,
    flags: TcpFlags,
    payload: u32,
    sender_is_second: bool,
) -> Packet {
    Packet {
        payload,
        packets: 1,
        sequence: u32::from_be(view.get(header.at + 4)),
        acknowledgment: u32::from_be(view.get(header.at + 8)),
        window: u16::from_be(view.get(header.at + 14)),
        flags,
        sender_is_second,
        ..Packet::default()
    }
}
