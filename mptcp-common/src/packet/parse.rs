//! The headers of a frame, one by one.
//!
//! A cursor walks Ethernet, VLAN tags, PPPoE, IP and IPv6 extension headers ([`find_tcp`]); what the engine
//! needs is left in the packet in work ([`parse`]). Both return `Err` with the leaf of a frame that
//! is done, the first one with what it holds instead of TCP. How bytes are read is up to the [`Frame`]: in the kernel
//! from packet memory, in user space from a slice.

use crate::{
    counter::{Outcome, Passed, Protocol},
    packet::{
        classify::FrameClass,
        frame::{Buffer, Frame, View},
        header::{
            AUTHENTICATION, FRAGMENT, HEAD, Header, MAX_OFFSET, TCP, UDP, Unknown, bounded,
            is_extension, mapped,
        },
        link::{IPV4, IPV6, PPPOE_SESSION, VLAN_C, VLAN_S, is_snap, link, no_ip, pppoe, udp},
        work::{Flow, Work},
    },
    verifier::Opaque,
    wire::{TIMESTAMP, TIMESTAMP_WORDS, TcpFlags},
};

/// IPv6 extension headers that are followed.
const MAX_EXTENSIONS: u32 = 8;

/// Finds the TCP header; `Err` for a frame without one.
///
/// `shape` is what [`classify`](super::classify()) said, and not that it is done. `work` gets the packet in work, which is
/// asked for when there may be one. The addresses go there.
#[inline(always)]
pub fn find_tcp<'a, F: Frame>(
    frame: &F,
    verifier: &impl Opaque,
    shape: FrameClass,
    work: impl FnOnce() -> Option<&'a mut Work>,
) -> Result<(Header, &'a mut Work), Passed> {
    match shape {
        FrameClass::Ipv4 => {
            if let Some(head) = frame.view(0, HEAD) {
                let work = work().ok_or(Outcome::NotTcp)?;
                work.flow.set_addresses(mapped(head.get(26), head.get(30)));
                let checksum: u16 = head.get(24);
                return Ok((
                    Header::ipv4(&head).forgotten(verifier, checksum.into()),
                    work,
                ));
            }
        }
        FrameClass::Ipv6 => {
            if let Some(head) = frame.view(0, HEAD) {
                let work = work().ok_or(Outcome::NotTcp)?;
                let addresses: [u64; 4] = head.get(22);
                work.flow.set_addresses(addresses);
                return Ok((Header::ipv6(&head).forgotten(verifier, addresses[1]), work));
            }
        }
        _ => {}
    }
    let (mut at, mut ethertype) = link(frame, shape == FrameClass::Layer3)?;
    if ethertype != IPV4 && ethertype != IPV6 {
        match ethertype {
            VLAN_C | VLAN_S => return Err(Outcome::VlanDepth.into()),
            PPPOE_SESSION => (at, ethertype) = pppoe(frame, at)?,
            _ => {
                let snap = || is_snap(frame.load(at)?, frame.load(at + 4)?).then_some(());
                return Err(no_ip(ethertype, || snap().is_some()));
            }
        }
    }
    let (ip, work) = if ethertype == IPV4 {
        ipv4(frame, verifier, at, work)?
    } else {
        ipv6(frame, verifier, at, work)?
    };
    if ip.is_tcp() {
        return Ok((ip, work));
    }
    Ok((extensions(frame, verifier, ip)?, work))
}

/// The IPv4 header at `at`; options are skipped.
#[inline(always)]
pub(crate) fn ipv4<'a, F: Frame>(
    frame: &F,
    verifier: &impl Opaque,
    at: u32,
    work: impl FnOnce() -> Option<&'a mut Work>,
) -> Result<(Header, &'a mut Work), Passed> {
    let words: [u32; 5] = frame.load(at).ok_or(Outcome::Truncated)?;
    let first = u32::from_be(words[0]);
    let header = (first >> 24 & 0x0f) * 4;
    if first >> 28 != 4 || header < 20 {
        return Err(Outcome::MalformedIp.into());
    }
    // A later fragment has payload where a first one has the TCP header.
    let fragment = u32::from_be(words[1]);
    if fragment & 0x1fff != 0 {
        return Err(Outcome::Fragment.into());
    }
    let protocol = (u32::from_be(words[2]) >> 16) as u8;
    if protocol != TCP && !is_extension(protocol, false) {
        let port = || frame.load(at + header + 2);
        return Err(other_ip(protocol, port));
    }
    let total = match first & 0xffff {
        0 => frame.merged_length().saturating_sub(at),
        total => total,
    };
    if total < header {
        return Err(Outcome::MalformedIp.into());
    }
    let work = work().ok_or(Outcome::NotTcp)?;
    work.flow.set_addresses(mapped(words[3], words[4]));
    let header = Header {
        at: at + header,
        protocol,
        length: total - header,
        ipv6: false,
        is_fragment: fragment & 0x2000 != 0,
        is_extended: false,
    };
    // The checksum can be any number of 16 bits, and so, to the verifier, can what it is mixed into.
    Ok((header.forgotten(verifier, words[2].into()), work))
}

/// The IPv6 header at `at`.
#[inline(always)]
pub(crate) fn ipv6<'a, F: Frame>(
    frame: &F,
    verifier: &impl Opaque,
    at: u32,
    work: impl FnOnce() -> Option<&'a mut Work>,
) -> Result<(Header, &'a mut Work), Passed> {
    let words: [u16; 4] = frame.load(at).ok_or(Outcome::Truncated)?;
    if u16::from_be(words[0]) >> 12 != 6 {
        return Err(Outcome::MalformedIp.into());
    }
    let length = match u16::from_be(words[2]) {
        0 => frame.merged_length().saturating_sub(at + 40),
        length => u32::from(length),
    };
    let addresses: [u64; 4] = frame.load(at + 8).ok_or(Outcome::Truncated)?;
    let work = work().ok_or(Outcome::NotTcp)?;
    work.flow.set_addresses(addresses);
    let header = Header {
        at: at + 40,
        protocol: (u16::from_be(words[3]) >> 8) as u8,
        length,
        ipv6: true,
        is_fragment: false,
        is_extended: false,
    };
    // As the checksum in IPv4: the lower half of the source address.
    Ok((header.forgotten(verifier, addresses[1]), work))
}

/// IP with this protocol, which is not TCP. `port` gives the port that UDP over IPv4 goes to.
#[inline(always)]
fn other_ip(protocol: u8, port: impl FnOnce() -> Option<u16>) -> Passed {
    if protocol == UDP {
        port().map_or(Passed::from(Protocol::UDP), udp)
    } else {
        Passed::from(Protocol(protocol.into()))
    }
}

/// Skips extension headers up to TCP.
#[inline(always)]
fn extensions<F: Frame>(frame: &F, verifier: &impl Opaque, ip: Header) -> Result<Header, Passed> {
    let Header {
        mut at,
        mut protocol,
        mut length,
        ipv6,
        mut is_fragment,
        is_extended: _,
    } = ip;
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(protocol, ipv6) {
            break;
        }
        if at > MAX_OFFSET {
            return Err(Outcome::Ipv6Extensions.into());
        }
        // Every extension header has 8 bytes at least.
        let word: u64 = frame
            .load(bounded(verifier, at))
            .ok_or(Outcome::Truncated)?;
        let words = u64::from_be(word);
        let second = (words >> 48) as u32 & 0xff;
        let size = match protocol {
            // Fixed length; the second byte is reserved.
            FRAGMENT => {
                if words >> 32 & 0xfff8 != 0 {
                    return Err(Outcome::Fragment.into());
                }
                is_fragment |= words >> 32 & 1 != 0;
                8
            }
            // In words of 4 bytes, less 2.
            AUTHENTICATION => (second + 2) * 4,
            // In words of 8 bytes, less 1.
            _ => (second + 1) * 8,
        };
        if size > length {
            return Err(Outcome::Truncated.into());
        }
        protocol = (words >> 56) as u8;
        let verifier = Unknown(verifier, word);
        length = verifier.opaque(length - size);
        at = verifier.opaque(at + size);
    }
    match protocol {
        TCP => Ok(Header {
            at,
            protocol,
            length,
            ipv6,
            is_fragment,
            is_extended: true,
        }),
        _ if is_extension(protocol, ipv6) => Err(Outcome::Ipv6Extensions.into()),
        _ => Err(other_ip(protocol, || None)),
    }
}

/// Where flows are known. A trait, since a closure may become a function of its own in the kernel.
pub trait Flows {
    /// Returns where the flow of the packet in work is known, of which only the ends are there: a [`Flow`] by its
    /// discriminant, and a slot.
    fn look_up(&self, work: &mut Work, ipv6: bool, is_syn: bool) -> (u32, u32);
}

/// Reads what the engine needs of the TCP header to the packet in work, if that can be MPTCP; `Err` if not.
///
/// `flows` says where the flow is known once the packet in work has its ends.
#[inline(always)]
pub fn parse<F: Frame>(
    frame: &F,
    verifier: &impl Opaque,
    buffer: &mut Buffer,
    header: &Header,
    work: &mut Work,
    flows: &impl Flows,
) -> Result<(), Outcome> {
    let at = header.at;
    if at > MAX_OFFSET {
        return Err(Outcome::Ipv6Extensions);
    }
    let words: [u32; 5] = frame
        .load(bounded(verifier, at))
        .ok_or(Outcome::Truncated)?;
    if header.length < 20 {
        return Err(Outcome::Truncated);
    }
    let offset_and_flags = u32::from_be(words[3]);
    let size = (offset_and_flags >> 28) * 4;
    if size < 20 {
        return Err(Outcome::MalformedTcp);
    }
    if size > header.length {
        return Err(Outcome::Truncated);
    }
    let options = size - 20;
    let payload = header.length - size;
    if buffer.packets == 0 {
        buffer.packets = match buffer.segment_size {
            0 => 1,
            size => payload.div_ceil(size).max(1),
        };
    }
    let has_options = if options == 0 {
        false
    } else {
        let first: u32 = frame
            .load(bounded(verifier, at) + 20)
            .ok_or(Outcome::Truncated)?;
        (options, first) != (4 * TIMESTAMP_WORDS as u32, TIMESTAMP)
    };
    work.flow.words[4] = words[0].into();
    let is_syn = offset_and_flags & u32::from(TcpFlags::SYN) << 16 != 0;
    let (flow, slot) = flows.look_up(work, header.ipv6, is_syn);
    if !has_options && flow == Flow::Unknown as u32 {
        return Err(Outcome::Tcp);
    }
    work.route.flow.set(flow);
    work.route.slot.set(slot);
    let packet = &mut work.packet;
    packet.payload = payload;
    packet.segment_size = buffer.segment_size;
    packet.packets = buffer.packets;
    packet.options = if has_options { options } else { 0 };
    packet.payload_at = at + size;
    packet.sequence = u32::from_be(words[1]);
    packet.acknowledgment = u32::from_be(words[2]);
    packet.flags = TcpFlags((offset_and_flags >> 16) as u8);
    packet.window = offset_and_flags as u16;
    packet.header_at = at;
    packet.checksum = words[4] & 0xffff;
    packet.ipv6 = header.ipv6;
    packet.is_fragment = header.is_fragment;
    packet.is_extended = header.is_extended;
    packet.ingress = buffer.ingress;
    packet.sender_is_second = work.flow.is_reversed();
    packet.queue = buffer.queue;
    let options_at = bounded(verifier, at) + 20;
    if has_options && !frame.copy_options(options_at, options, &mut work.area, verifier) {
        return Err(Outcome::Truncated);
    }
    Ok(())
}
