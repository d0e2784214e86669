//! From a frame to the TCP header's numbers and option area.
//!
//! A cursor walks Ethernet, VLAN tags, PPPoE, IP and IPv6 extension headers ([`find_tcp`]); what the engine
//! needs is left in the packet in work ([`gather()`]). Both return `Err` with the leaf of a frame that
//! is done, the first one with what it holds instead of TCP. How bytes are read is up to the [`Frame`]: in the kernel
//! from packet memory, in user space from a slice.

use bytemuck::AnyBitPattern;

use crate::{
    counter::{Leaf, Passed, Protocol},
    engine::{self, Flow, Packet, Work},
    track::{
        FlowKey, Tables,
        hash::{Ends, Secrets, flow_tag},
        table::{self, Table as _},
    },
    wire::{
        Area, DssFields, DssFlags, Forget, KIND_MPTCP, MAX_OPTIONS, Subtype, TIMESTAMP,
        TIMESTAMP_WORDS, TcpFlags,
    },
};

/// Bytes of a frame, and what is known of them otherwise.
pub trait Frame {
    /// The value at offset `at`, as it lies in memory; `None` if the frame ends before.
    fn load<T: AnyBitPattern>(&self, at: u32) -> Option<T>;
    /// So many bytes at offset `at`, if they can be read at once; `None` says nothing.
    fn view(&self, at: u32, length: u32) -> Option<impl View>;
    /// The value at offset `at`, if it can be read at once; `None` says nothing.
    #[inline(always)]
    fn peek<T: AnyBitPattern>(&self, at: u32) -> Option<T> {
        Some(self.view(at, size_of::<T>() as u32)?.get(0))
    }
    /// Copies `length` bytes (4 to 40, a multiple of 4) at offset `at` to an option area; false if
    /// the frame ends before.
    fn copy_options(&self, at: u32, length: u32, area: &mut Area, verifier: &impl Forget) -> bool;
    /// Length in bytes of a buffer of several packets, else 0. Above 64 KiB (BIG TCP) the IP header
    /// of such a buffer has none.
    fn merged_length(&self) -> u32;
    /// Is it a buffer of several packets, for certain?
    #[inline(always)]
    fn is_merged(&self) -> bool {
        self.merged_length() != 0
    }
    /// VLAN tags that the device took out of the frame.
    fn stripped_tags(&self) -> u32;
}

/// Bytes of a frame that are there.
pub trait View: Copy {
    /// The value at offset `at` of these bytes, as it lies in memory. It has to end with them, or before.
    fn get<T: AnyBitPattern>(&self, at: u32) -> T;
    /// The same bytes, of which the compiler knows nothing: what is compared before is not compared after.
    #[inline(always)]
    fn opaque(self) -> Self {
        self
    }
}

/// What a buffer holds besides bytes.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// Packets on the wire; 0 where that still has to be found, from payload and `segment_size`.
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

    /// Are its packets still to be counted?
    #[inline(always)]
    pub fn is_uncounted(&self) -> bool {
        self.packets == 0
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
const ARP: u16 = 0x0806;
const MPLS: u16 = 0x8847;
const MPLS_MULTICAST: u16 = 0x8848;
const PPPOE_DISCOVERY: u16 = 0x8863;
const PPPOE_SESSION: u16 = 0x8864;
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

const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const IPIP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;
const ESP: u8 = 50;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// A header found: where it starts, its protocol, and how many bytes IP says there are.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    at: u32,
    protocol: u8,
    length: u32,
    ipv6: bool,
    /// The first fragment of a packet?
    is_fragment: bool,
    /// Are there extension headers before it?
    is_extended: bool,
}

impl Header {
    #[inline(always)]
    fn is_tcp(&self) -> bool {
        self.protocol == TCP
    }

    /// Of a frame that is [`Shape::Ipv4`].
    #[inline(always)]
    fn ipv4(head: &impl View) -> Self {
        Self {
            at: IPV4_END,
            protocol: TCP,
            length: u32::from(u16::from_be(head.get(16))) - 20,
            ipv6: false,
            is_fragment: false,
            is_extended: false,
        }
    }

    /// Of a frame that is [`Shape::Ipv6`].
    #[inline(always)]
    fn ipv6(head: &impl View) -> Self {
        Self {
            at: IPV6_END,
            protocol: TCP,
            length: u16::from_be(head.get(18)).into(),
            ipv6: true,
            is_fragment: false,
            is_extended: false,
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
/// `shape` is what [`judge`] said, and not that it is done. `work` gets the packet in work, which is asked for when there may be one.
/// The addresses go there.
#[inline(always)]
pub fn find_tcp<'a, F: Frame>(
    frame: &F,
    verifier: &impl Forget,
    shape: Shape,
    work: impl FnOnce() -> Option<&'a mut Work>,
) -> Result<(Header, &'a mut Work), Passed> {
    match shape {
        Shape::Ipv4 => {
            if let Some(head) = frame.view(0, HEAD) {
                let work = work().ok_or(Leaf::NotTcp)?;
                work.flow.set_addresses(mapped(head.get(26), head.get(30)));
                let checksum: u16 = head.get(24);
                return Ok((
                    Header::ipv4(&head).forgotten(verifier, checksum.into()),
                    work,
                ));
            }
        }
        Shape::Ipv6 => {
            if let Some(head) = frame.view(0, HEAD) {
                let work = work().ok_or(Leaf::NotTcp)?;
                let addresses: [u64; 4] = head.get(22);
                work.flow.set_addresses(addresses);
                return Ok((Header::ipv6(&head).forgotten(verifier, addresses[1]), work));
            }
        }
        _ => {}
    }
    let (mut at, mut ethertype) = link(frame, shape == Shape::Layer3)?;
    if ethertype != IPV4 && ethertype != IPV6 {
        match ethertype {
            VLAN_C | VLAN_S => return Err(Leaf::VlanDepth.into()),
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

/// Bytes that nearly all frames have: Ethernet, and IPv4 and TCP, or IPv6, without more.
const HEAD: u32 = 14 + 40;
/// Where TCP starts behind Ethernet and IPv4 or IPv6 without more.
const IPV4_END: u32 = 14 + 20;
const IPV6_END: u32 = 14 + 40;
/// Bytes of the longest TCP header.
const MAX_HEADER: u32 = 20 + MAX_OPTIONS as u32;

/// What the first bytes of a frame say it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
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
    /// The same, and it is IP with this protocol, which is known by its number alone.
    NotTcp(Protocol),
}

impl Shape {
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
/// `is_uncounted` says that the buffer's packets still have to be counted, `is_strange` of a flow that nobody
/// follows it. Not for frames that begin with the IP header: those are [`Shape::Layer3`].
#[inline(always)]
pub fn judge<F: Frame>(
    frame: &F,
    is_uncounted: impl Fn() -> bool,
    is_strange: impl Fn(&Ends) -> bool,
) -> Shape {
    const fn word(bytes: [u8; 4]) -> u32 {
        u32::from_ne_bytes(bytes)
    }
    let Some(head) = frame.view(0, HEAD) else {
        return Shape::Other;
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
                return Shape::Done(udp(head.get(IPV4_END + 2)));
            }
            if fields & FRAGMENT_BITS != 0 || kept == word([0, 0, 0, AUTHENTICATION]) {
                return Shape::Other;
            }
            return Shape::NotTcp(Protocol(head.get::<u8>(23).into()));
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
                if is_strange(&ends) {
                    return Shape::Done(Leaf::Tcp.into());
                }
            }
            return Shape::Ipv4;
        }
        return if length < 20 {
            Shape::Other
        } else {
            Shape::Ipv4
        };
    }
    if kind & word([0xff, 0xff, 0xf0, 0]) == word([0x86, 0xdd, 0x60, 0]) {
        let protocol: u8 = head.get(20);
        if protocol != TCP {
            match protocol {
                UDP => return Shape::Done(Protocol::UDP.into()),
                ICMPV6 => return Shape::Done(Protocol::ICMPV6.into()),
                IPIP => return Shape::Done(Protocol::IPIP.into()),
                IPV6_IN_IP => return Shape::Done(Protocol::IPV6_IN_IP.into()),
                GRE => return Shape::Done(Protocol::GRE.into()),
                ESP => return Shape::Done(Protocol::ESP.into()),
                _ => {}
            }
            // There are few others: the compiler may not put what takes longer in front.
            let protocol: u8 = head.opaque().get(20);
            if is_extension(protocol, true) {
                return Shape::Other;
            }
            return Shape::NotTcp(Protocol(protocol.into()));
        }
        // A length of 0 is none (BIG TCP).
        let length = u32::from(u16::from_be(head.get(18)));
        if length == 0 {
            return Shape::Other;
        }
        let Some(head) = frame.view(0, IPV6_END + 20) else {
            return Shape::Ipv6;
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
            if is_strange(&ends) {
                return Shape::Done(Leaf::Tcp.into());
            }
        }
        return Shape::Ipv6;
    }
    match u16::from_be(head.get(12)) {
        IPV4 | IPV6 | VLAN_C | VLAN_S | PPPOE_SESSION => Shape::Other,
        ethertype => Shape::Done(no_ip(ethertype, || is_snap(head.get(14), head.get(18)))),
    }
}

/// What a frame of this EtherType holds, that is none of those which are looked into. `is_snap` says whether an
/// EtherType follows that of IEEE 802.3.
#[inline(always)]
fn no_ip(ethertype: u16, is_snap: impl FnOnce() -> bool) -> Passed {
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
fn is_snap(first: u32, organization: u16) -> bool {
    (first, organization) == (u32::from_ne_bytes([0xaa, 0xaa, 3, 0]), 0)
}

/// UDP over IPv4 to a port, in the order of memory.
#[inline(always)]
fn udp(port: u16) -> Passed {
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
fn pppoe<F: Frame>(frame: &F, at: u32) -> Result<(u32, u16), Passed> {
    /// Version 1, type 1, and code 0: session data.
    const DATA: u16 = 0x1100;
    /// Bytes of PPP's protocol. (RFC 2516 section 7 advises against those of one byte: they count as other.)
    const PROTOCOL: u32 = 2;
    let header: u64 = frame.load(at).ok_or(Leaf::Truncated)?;
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
    let ip: u64 = frame.load(at).ok_or(Leaf::Truncated)?;
    let ip = u32::from((u64::from_be(ip) >> shift) as u16) + more;
    if ip + PROTOCOL > length.into() && !frame.is_merged() {
        return Err(Leaf::Truncated.into());
    }
    Ok((at, ethertype))
}

/// Do options begin here with a timestamp, as Linux writes it?
#[inline(always)]
fn has_timestamp(frame: &impl Frame, at: u32) -> bool {
    let view = frame.view(0, at + 4);
    view.is_some_and(|view| view.get::<u32>(at) == TIMESTAMP)
}

/// A segment whose options are a timestamp and a DSS. One packet, and not a buffer of several.
#[derive(Clone, Copy, Debug)]
pub struct Lone {
    /// The header, as far as [`engine::count_lone_dss`] and [`predict_flow`](crate::track::predict_flow)
    /// need it.
    pub packet: Packet,
    /// The DSS.
    pub dss: DssFields,
    /// The flow's tag.
    pub tag: u64,
}

/// Reads such a segment in place. `None` if there is more to look at.
///
/// `is_data`: none without payload is looked for. Without `secrets` there is no tag.
#[inline(always)]
pub fn peek_lone<F: Frame>(
    frame: &F,
    shape: Shape,
    buffer: &Buffer,
    is_data: bool,
    secrets: Option<&impl Secrets>,
) -> Option<Lone> {
    // For each shape by itself: places that the compiler knows cost less.
    match shape {
        Shape::Ipv4 => {
            let view = frame.view(0, IPV4_END + MAX_HEADER)?;
            lone(&view, &Header::ipv4(&view), buffer, is_data, secrets)
        }
        Shape::Ipv6 => {
            let view = frame.view(0, IPV6_END + MAX_HEADER)?;
            lone(&view, &Header::ipv6(&view), buffer, is_data, secrets)
        }
        _ => None,
    }
}

#[inline(always)]
fn lone(
    view: &impl View,
    header: &Header,
    buffer: &Buffer,
    is_data: bool,
    secrets: Option<&impl Secrets>,
) -> Option<Lone> {
    let (size, flags) = judge_tcp(view, header, buffer)?;
    if is_data && size == header.length {
        return None;
    }
    // Now, since it takes fewer registers than a flow.
    let flow = flow(view, header);
    let sender_is_second = flow.is_reversed();
    let tag = tag(secrets, &Ends::of(&flow, header.ipv6));
    let word = |index| view.get(header.at + 20 + 4 * index as u32);
    let dss = DssFields::read_from(word, TIMESTAMP_WORDS, size - 20)?;
    let payload = header.length - size;
    let packet = packet(view, header, flags, payload, sender_is_second);
    Some(Lone { packet, dss, tag })
}

/// Bytes of the TCP header of an acknowledgment: two NOPs and a timestamp, and a DSS.
const ACK_HEADER: u32 = 20 + 12 + 12;

/// The same of a segment without payload, and with a DATA_ACK of 8 bytes alone: its frame is shorter than
/// [`peek_lone`] needs it.
#[inline(always)]
pub fn peek_ack<F: Frame>(
    frame: &F,
    shape: Shape,
    buffer: &Buffer,
    secrets: Option<&impl Secrets>,
) -> Option<Lone> {
    match shape {
        Shape::Ipv4 => {
            let view = frame.view(0, IPV4_END + ACK_HEADER)?;
            ack(&view, &Header::ipv4(&view), buffer, secrets)
        }
        Shape::Ipv6 => {
            let view = frame.view(0, IPV6_END + ACK_HEADER)?;
            ack(&view, &Header::ipv6(&view), buffer, secrets)
        }
        _ => None,
    }
}

#[inline(always)]
fn ack(
    view: &impl View,
    header: &Header,
    buffer: &Buffer,
    secrets: Option<&impl Secrets>,
) -> Option<Lone> {
    const DSS: u32 = u32::from_ne_bytes([
        KIND_MPTCP,
        12,
        (Subtype::Dss as u8) << 4,
        DssFlags::ACK | DssFlags::ACK_8,
    ]);
    let (size, flags) = judge_tcp(view, header, buffer)?;
    let at = header.at;
    if size != ACK_HEADER || header.length != ACK_HEADER || view.get::<u32>(at + 32) != DSS {
        return None;
    }
    let flow = flow(view, header);
    let packet = packet(view, header, flags, 0, flow.is_reversed());
    let dss = DssFields {
        head: u32::from_be(DSS),
        data_ack: u64::from_be(view.get(at + 36)),
        ..DssFields::default()
    };
    let tag = tag(secrets, &Ends::of(&flow, header.ipv6));
    Some(Lone { packet, dss, tag })
}

/// The size and flags of a TCP header whose options begin with a timestamp, and that is of one packet, neither SYN
/// nor RST.
#[inline(always)]
fn judge_tcp(view: &impl View, header: &Header, buffer: &Buffer) -> Option<(u32, TcpFlags)> {
    let at = header.at;
    let size = u32::from(view.get::<u8>(at + 12) >> 4) * 4;
    let flags = TcpFlags(view.get(at + 13));
    let is_right = view.get::<u32>(at + 20) == TIMESTAMP
        && size >= 20
        && size <= header.length
        && buffer.packets == 1
        && !flags.any(TcpFlags::SYN | TcpFlags::RST);
    is_right.then_some((size, flags))
}

/// A flow's tag; 0 where there are no secrets.
#[inline(always)]
fn tag<S: Secrets>(secrets: Option<&S>, ends: &Ends) -> u64 {
    match secrets {
        Some(secrets) => flow_tag(secrets, ends),
        None => 0,
    }
}

/// The flow, the sender first.
#[inline(always)]
fn flow(view: &impl View, header: &Header) -> FlowKey {
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
fn packet(
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
fn link<F: Frame>(frame: &F, is_layer_3: bool) -> Result<(u32, u16), Passed> {
    if is_layer_3 {
        let first: u8 = frame.load(0).ok_or(Leaf::Truncated)?;
        return match first >> 4 {
            4 => Ok((0, IPV4)),
            6 => Ok((0, IPV6)),
            _ => Err(Passed::from(Protocol::OTHER_ETHERTYPE)),
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
        return Err(Leaf::VlanDepth.into());
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
) -> Result<(Header, &'a mut Work), Passed> {
    let words: [u32; 5] = frame.load(at).ok_or(Leaf::Truncated)?;
    let first = u32::from_be(words[0]);
    let header = (first >> 24 & 0x0f) * 4;
    if first >> 28 != 4 || header < 20 {
        return Err(Leaf::MalformedIp.into());
    }
    // A later fragment has payload where a first one has the TCP header.
    let fragment = u32::from_be(words[1]);
    if fragment & 0x1fff != 0 {
        return Err(Leaf::Fragment.into());
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
        return Err(Leaf::MalformedIp.into());
    }
    let work = work().ok_or(Leaf::NotTcp)?;
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
) -> Result<(Header, &'a mut Work), Passed> {
    let words: [u16; 4] = frame.load(at).ok_or(Leaf::Truncated)?;
    if u16::from_be(words[0]) >> 12 != 6 {
        return Err(Leaf::MalformedIp.into());
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
fn extensions<F: Frame>(frame: &F, verifier: &impl Forget, ip: Header) -> Result<Header, Passed> {
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
            return Err(Leaf::Ipv6Extensions.into());
        }
        // Every extension header has 8 bytes at least.
        let word: u64 = frame.load(bounded(verifier, at)).ok_or(Leaf::Truncated)?;
        let words = u64::from_be(word);
        let second = (words >> 48) as u32 & 0xff;
        let size = match protocol {
            // Fixed length; the second byte is reserved.
            FRAGMENT => {
                if words >> 32 & 0xfff8 != 0 {
                    return Err(Leaf::Fragment.into());
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
            return Err(Leaf::Truncated.into());
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
            is_extended: true,
        }),
        _ if is_extension(protocol, ipv6) => Err(Leaf::Ipv6Extensions.into()),
        _ => Err(other_ip(protocol, || None)),
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
        (options, first) != (4 * TIMESTAMP_WORDS as u32, TIMESTAMP)
    };
    work.flow.words[4] = words[0].into();
    let mut flow = Flow::Unknown as u32;
    let mut slot = 0;
    if is_tracking {
        work.tag = flow_tag(tables.secrets(), &Ends::of(&work.flow, header.ipv6));
        let is_syn = offset_and_flags & u32::from(TcpFlags::SYN) << 16 != 0;
        let (found, place) = if is_syn && tables.subflows().is_absent(table::place(work.tag)) {
            (Flow::Unknown, 0)
        } else {
            engine::locate(tables, work.tag)
        };
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
    packet.window = offset_and_flags as u16;
    packet.header_at = at;
    packet.checksum = words[4] & 0xffff;
    packet.ipv6 = header.ipv6;
    packet.is_fragment = header.is_fragment;
    packet.is_extended = header.is_extended;
    packet.ingress = buffer.ingress;
    packet.sender_is_second = work.flow.is_reversed();
    packet.queue = buffer.queue;
    let options_at = bounded(tables, at) + 20;
    if has_options && !frame.copy_options(options_at, options, &mut work.area, tables) {
        return Err(Leaf::Truncated);
    }
    Ok(())
}
