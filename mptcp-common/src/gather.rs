//! From a frame to the TCP header's numbers and option area.
//!
//! A cursor walks Ethernet, VLAN tags, IP and IPv6 extension headers ([`find_tcp`]); what the engine
//! needs is left in the packet in work ([`gather()`]). Both return `Err` with the leaf of a frame that
//! is done. How bytes are read is up to the [`Frame`]: in the kernel from packet memory, in user
//! space from a slice.

use bytemuck::AnyBitPattern;

use crate::{
    counter::Leaf,
    engine::{self, Flow, Work},
    track::{FlowKey, Tables},
    wire::{Area, Forget, TcpFlags},
};

/// Bytes of a frame, and what is known of them otherwise.
pub trait Frame {
    /// The value at offset `at`, as it lies in memory; `None` if the frame ends before.
    fn load<T: AnyBitPattern>(&self, at: u32) -> Option<T>;
    /// The same if it can be read at once; `None` says nothing.
    fn peek<T: AnyBitPattern>(&self, at: u32) -> Option<T>;
    /// Copies `length` bytes (4 to 40, a multiple of 4) at offset `at` to an option area; false if
    /// the frame ends before.
    fn copy_options(&self, at: u32, length: u32, area: &mut Area, verifier: &impl Forget) -> bool;
    /// Length in bytes of a buffer of several packets, else 0. Above 64 KiB (BIG TCP) the IP header
    /// of such a buffer has none.
    fn merged_length(&self) -> u32;
    /// VLAN tags that the device took out of the frame.
    fn stripped_tags(&self) -> u32;
}

/// What a buffer holds besides bytes.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// Packets on the wire; 0 where that still has to be found from payload and `segment_size`.
    pub packets: u32,
    /// Payload bytes of each packet but the last of a GSO or GRO buffer, else 0.
    pub segment_size: u32,
    /// Receive queue plus 1, 0 where that is not known.
    pub queue: u32,
    /// Did it come in, and not go out?
    pub ingress: bool,
}

impl Buffer {
    /// One packet that came in.
    pub const ONE: Self = Self {
        packets: 1,
        segment_size: 0,
        queue: 0,
        ingress: true,
    };

    /// Are its packets still to be counted, by payload and segment size?
    #[inline(always)]
    fn is_uncounted(&self) -> bool {
        self.packets == 0 && self.segment_size != 0
    }

    /// Packets on the wire, as far as is known: 1 or more.
    #[inline(always)]
    pub fn count(&self) -> u64 {
        self.packets.max(1).into()
    }
}

/// An offset that was compared with [`MAX_OFFSET`]. The mask changes nothing: the verifier of Linux
/// 6.1 sees the bound by it, having lost what it knew of a number that lay on the stack.
#[inline(always)]
fn bounded(verifier: &impl Forget, at: u32) -> u32 {
    verifier.forget(at) & MAX_OFFSET
}

/// Makes the verifier forget by a number out of the frame, of which it knows nothing.
struct Unknown<'a, F>(&'a F, u64);

impl<F: Forget> Unknown<'_, F> {
    #[inline(always)]
    fn forget(&self, value: u32) -> u32 {
        self.0.forget_by(value, self.1)
    }
}

/// VLAN tags that may stand in a frame, the ones that the device took out included.
const MAX_TAGS: u32 = 2;
/// IPv6 extension headers that are followed.
const MAX_EXTENSIONS: u32 = 8;
/// No header is looked for behind this offset: 8 extension headers can be 16 KiB long.
const MAX_OFFSET: u32 = 0x7fff;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN_C: u16 = 0x8100;
const VLAN_S: u16 = 0x88a8;

const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// Length of an option area that holds NOP, NOP and a timestamp, and its first word: the most
/// common option area of all, and one without kind 30.
const TIMESTAMP_ONLY: (u32, u32) = (12, 0x0101_080a);

/// A header found: where it starts, its protocol, and how many bytes IP says there are.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    at: u32,
    protocol: u8,
    length: u32,
    ipv6: bool,
    /// The first fragment of a packet?
    is_fragment: bool,
}

impl Header {
    #[inline(always)]
    fn is_tcp(&self) -> bool {
        self.protocol == TCP
    }

    /// `Err` if what stands behind it, at `at`, is done: no TCP, or a segment without options, or with a
    /// timestamp alone, of a flow that nobody follows.
    #[inline(always)]
    fn judge<F: Frame>(
        &self,
        frame: &F,
        at: u32,
        addresses: [u64; 4],
        buffer: &Buffer,
        is_strange: impl Fn(&FlowKey) -> bool,
    ) -> Result<(), Leaf> {
        if !self.is_tcp() {
            return Err(Leaf::NotTcp);
        }
        let Some(words) = frame.peek::<[u32; 5]>(at) else {
            return Ok(());
        };
        let size = (u32::from_be(words[3]) >> 28) * 4;
        let is_bare = match size {
            20 => true,
            32 => frame.peek(at + 20).map(u32::from_be) == Some(TIMESTAMP_ONLY.1),
            _ => false,
        };
        if !is_bare || size > self.length || buffer.is_uncounted() {
            return Ok(());
        }
        let mut flow = FlowKey::default();
        flow.set_addresses(addresses);
        flow.words[4] = words[0].into();
        if is_strange(&flow) {
            Err(Leaf::Tcp)
        } else {
            Ok(())
        }
    }

    /// The same, of which the verifier knows nothing any more, by a number out of the frame.
    #[inline(always)]
    fn forgotten(self, verifier: &impl Forget, unknown: u64) -> Self {
        let verifier = Unknown(verifier, unknown);
        Self {
            at: verifier.forget(self.at),
            length: verifier.forget(self.length),
            ..self
        }
    }
}

/// Finds the TCP header; `Err` for a frame without one.
///
/// `is_layer_3`: frames begin with the IP header. `work` gets the packet in work, which is asked for
/// when there may be one. The addresses go there.
/// `is_strange` says of a flow that nobody follows it; then a segment that has no option, or only a
/// timestamp, is done ([`Leaf::Tcp`]).
#[inline(always)]
pub fn find_tcp<'a, F: Frame>(
    frame: &F,
    verifier: &impl Forget,
    is_layer_3: bool,
    buffer: &Buffer,
    is_strange: impl Fn(&FlowKey) -> bool,
    work: impl FnOnce() -> Option<&'a mut Work>,
) -> Result<(Header, &'a mut Work), Leaf> {
    if !is_layer_3
        && let Some(head) = frame.peek(HEAD_AT)
        && let Some(ip) = glance(&head)?
    {
        if !ip.ipv6 {
            let addresses = mapped(head[5], head[6]);
            ip.judge(frame, IPV4_END, addresses, buffer, is_strange)?;
            let work = work().ok_or(Leaf::NotTcp)?;
            work.flow.set_addresses(addresses);
            return Ok((ip.forgotten(verifier, head[4].into()), work));
        }
        if let Some(addresses) = frame.peek(22) {
            ip.judge(frame, IPV6_END, addresses, buffer, is_strange)?;
            let work = work().ok_or(Leaf::NotTcp)?;
            work.flow.set_addresses(addresses);
            return Ok((ip.forgotten(verifier, addresses[1]), work));
        }
    }
    let (at, ethertype) = link(frame, is_layer_3)?;
    let (ip, work) = match ethertype {
        IPV4 => ipv4(frame, verifier, at, work)?,
        IPV6 => ipv6(frame, verifier, at, work)?,
        VLAN_C | VLAN_S => return Err(Leaf::VlanDepth),
        _ => return Err(Leaf::NotIp),
    };
    if ip.is_tcp() {
        return Ok((ip, work));
    }
    Ok((extensions(frame, verifier, ip)?, work))
}

/// Where the first words of a frame are read from, for those of an IP header to be aligned.
const HEAD_AT: u32 = 6;
/// Where TCP starts behind Ethernet and IPv4 or IPv6 without more.
const IPV4_END: u32 = 14 + 20;
const IPV6_END: u32 = 14 + 40;

/// The IP header of nearly all frames: behind Ethernet without VLAN tags, IPv4 without options that is
/// no fragment, or IPv6, and in either no extension header. `None` if there is more to look at.
#[inline(always)]
fn glance(head: &[u32; 7]) -> Result<Option<Header>, Leaf> {
    let [_, ethertype, first, second, third, ..] = head.map(u32::from_be);
    let header = match ethertype as u16 {
        IPV4 if first >> 24 == 0x45 && second & 0x3fff == 0 && first & 0xffff >= 20 => Header {
            at: IPV4_END,
            protocol: (third >> 16) as u8,
            length: (first & 0xffff) - 20,
            ipv6: false,
            is_fragment: false,
        },
        IPV6 if first >> 28 == 6 && second >> 16 != 0 => Header {
            at: IPV6_END,
            protocol: (second >> 8) as u8,
            length: second >> 16,
            ipv6: true,
            is_fragment: false,
        },
        IPV4 | IPV6 | VLAN_C | VLAN_S => return Ok(None),
        _ => return Err(Leaf::NotIp),
    };
    Ok((!is_extension(header.protocol, header.ipv6)).then_some(header))
}

/// May TCP stand behind a header of this protocol (RFC 8200 section 4; AH also over IPv4, RFC 4302)?
#[inline(always)]
fn is_extension(protocol: u8, ipv6: bool) -> bool {
    match protocol {
        AUTHENTICATION => true,
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION => ipv6,
        _ => false,
    }
}

/// The EtherType, and where the header it announces starts.
#[inline(always)]
fn link<F: Frame>(frame: &F, is_layer_3: bool) -> Result<(u32, u16), Leaf> {
    if is_layer_3 {
        let first: u8 = frame.load(0).ok_or(Leaf::Truncated)?;
        return match first >> 4 {
            4 => Ok((0, IPV4)),
            6 => Ok((0, IPV6)),
            _ => Err(Leaf::NotIp),
        };
    }
    let mut ethertype = u16::from_be(frame.load(12).ok_or(Leaf::Truncated)?);
    let mut at = 14;
    for _ in 0..MAX_TAGS {
        if ethertype != VLAN_C && ethertype != VLAN_S {
            break;
        }
        ethertype = u16::from_be(frame.load(at + 2).ok_or(Leaf::Truncated)?);
        at += 4;
    }
    if at == 14 + 4 * MAX_TAGS && frame.stripped_tags() != 0 {
        return Err(Leaf::VlanDepth);
    }
    Ok((at, ethertype))
}

/// The IPv4 header at `at`; options are skipped.
#[inline(always)]
fn ipv4<'a, F: Frame>(
    frame: &F,
    verifier: &impl Forget,
    at: u32,
    work: impl FnOnce() -> Option<&'a mut Work>,
) -> Result<(Header, &'a mut Work), Leaf> {
    let words: [u32; 5] = frame.load(at).ok_or(Leaf::Truncated)?;
    let first = u32::from_be(words[0]);
    let header = (first >> 24 & 0x0f) * 4;
    if first >> 28 != 4 || header < 20 {
        return Err(Leaf::MalformedIp);
    }
    // A later fragment has payload where a first one has the TCP header.
    let fragment = u32::from_be(words[1]);
    if fragment & 0x1fff != 0 {
        return Err(Leaf::Fragment);
    }
    let total = match first & 0xffff {
        0 => frame.merged_length().saturating_sub(at),
        total => total,
    };
    if total < header {
        return Err(Leaf::MalformedIp);
    }
    let protocol = (u32::from_be(words[2]) >> 16) as u8;
    if protocol != TCP && !is_extension(protocol, false) {
        return Err(Leaf::NotTcp);
    }
    let work = work().ok_or(Leaf::NotTcp)?;
    work.flow.set_addresses(mapped(words[3], words[4]));
    let header = Header {
        at: at + header,
        protocol,
        length: total - header,
        ipv6: false,
        is_fragment: fragment & 0x2000 != 0,
    };
    // The checksum can be any number of 16 bits, and so, to the verifier, can what it is mixed into.
    Ok((header.forgotten(verifier, words[2].into()), work))
}

/// IPv4 addresses as IPv6 ones (`::ffff:a.b.c.d`), each in memory order, sender first.
#[inline(always)]
fn mapped(source: u32, destination: u32) -> [u64; 4] {
    let word = |address| u64::from(address) << 32 | 0xffff_0000;
    [0, word(source), 0, word(destination)]
}

/// The IPv6 header at `at`.
#[inline(always)]
fn ipv6<'a, F: Frame>(
    frame: &F,
    verifier: &impl Forget,
    at: u32,
    work: impl FnOnce() -> Option<&'a mut Work>,
) -> Result<(Header, &'a mut Work), Leaf> {
    let words: [u16; 4] = frame.load(at).ok_or(Leaf::Truncated)?;
    if u16::from_be(words[0]) >> 12 != 6 {
        return Err(Leaf::MalformedIp);
    }
    let length = match u16::from_be(words[2]) {
        0 => frame.merged_length().saturating_sub(at + 40),
        length => u32::from(length),
    };
    let addresses: [u64; 4] = frame.load(at + 8).ok_or(Leaf::Truncated)?;
    let work = work().ok_or(Leaf::NotTcp)?;
    work.flow.set_addresses(addresses);
    let header = Header {
        at: at + 40,
        protocol: (u16::from_be(words[3]) >> 8) as u8,
        length,
        ipv6: true,
        is_fragment: false,
    };
    // As the checksum in IPv4: the lower half of the source address.
    Ok((header.forgotten(verifier, addresses[1]), work))
}

/// Skips extension headers up to TCP.
#[inline(always)]
fn extensions<F: Frame>(frame: &F, verifier: &impl Forget, ip: Header) -> Result<Header, Leaf> {
    let Header {
        mut at,
        mut protocol,
        mut length,
        ipv6,
        mut is_fragment,
    } = ip;
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(protocol, ipv6) {
            break;
        }
        if at > MAX_OFFSET {
            return Err(Leaf::Ipv6Extensions);
        }
        // Every extension header has 8 bytes at least.
        let word: u64 = frame.load(bounded(verifier, at)).ok_or(Leaf::Truncated)?;
        let words = u64::from_be(word);
        let second = (words >> 48) as u32 & 0xff;
        let size = match protocol {
            // Fixed length; the second byte is reserved.
            FRAGMENT => {
                if words >> 32 & 0xfff8 != 0 {
                    return Err(Leaf::Fragment);
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
            return Err(Leaf::Truncated);
        }
        protocol = (words >> 56) as u8;
        let verifier = Unknown(verifier, word);
        length = verifier.forget(length - size);
        at = verifier.forget(at + size);
    }
    match protocol {
        TCP => Ok(Header {
            at,
            protocol,
            length,
            ipv6,
            is_fragment,
        }),
        _ if is_extension(protocol, ipv6) => Err(Leaf::Ipv6Extensions),
        _ => Err(Leaf::NotTcp),
    }
}

/// What the engine needs of the TCP header to the packet in work, if that can be MPTCP; `Err` if not.
/// `is_tracking`: flows are followed, and this one is looked up.
#[inline(always)]
pub fn gather<F: Frame, T: Tables>(
    frame: &F,
    tables: &T,
    is_tracking: bool,
    buffer: &mut Buffer,
    header: &Header,
    work: &mut Work,
) -> Result<(), Leaf> {
    let at = header.at;
    if at > MAX_OFFSET {
        return Err(Leaf::Ipv6Extensions);
    }
    let words: [u32; 5] = frame.load(bounded(tables, at)).ok_or(Leaf::Truncated)?;
    if header.length < 20 {
        return Err(Leaf::Truncated);
    }
    let offset_and_flags = u32::from_be(words[3]);
    let size = (offset_and_flags >> 28) * 4;
    if size < 20 {
        return Err(Leaf::MalformedTcp);
    }
    if size > header.length {
        return Err(Leaf::Truncated);
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
            .load(bounded(tables, at) + 20)
            .ok_or(Leaf::Truncated)?;
        (options, u32::from_be(first)) != TIMESTAMP_ONLY
    };
    work.flow.words[4] = words[0].into();
    let mut flow = Flow::Unknown as u32;
    let mut slot = 0;
    if is_tracking {
        work.tag = engine::flow_tag(tables.seed(), &work.flow);
        let (found, place) = engine::locate(tables, work.tag);
        flow = tables.forget(found as u32);
        slot = place;
    }
    if !has_options && flow == Flow::Unknown as u32 {
        return Err(Leaf::Tcp);
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
    packet.ipv6 = header.ipv6;
    packet.is_fragment = header.is_fragment;
    packet.ingress = buffer.ingress;
    packet.sender_is_second = work.flow.is_reversed();
    packet.queue = buffer.queue;
    let options_at = bounded(tables, at) + 20;
    if has_options && !frame.copy_options(options_at, options, &mut work.area, tables) {
        return Err(Leaf::Truncated);
    }
    Ok(())
}
