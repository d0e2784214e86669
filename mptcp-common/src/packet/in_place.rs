//! Reads the segments that nearly all are without copying them.

use crate::{
    packet::{
        classify::FrameClass,
        frame::{Buffer, Frame, View},
        hash::{Ends, Secrets, flow_tag},
        header::{Header, IPV4_END, IPV6_END, MAX_HEADER, flow, packet},
        segment::Packet,
    },
    wire::{Dss, DssFlags, KIND_MPTCP, Subtype, TIMESTAMP, TIMESTAMP_WORDS, TcpFlags},
};

/// A segment whose options are a timestamp and a DSS. One packet, and not a buffer of several.
#[derive(Clone, Copy, Debug)]
pub struct DssSegment {
    /// The header, as far as [`engine::count_dss_segment`] and [`fast_path`](crate::track::fast_path)
    /// need it.
    pub packet: Packet,
    /// The DSS.
    pub dss: Dss,
    /// The flow's tag.
    pub tag: u64,
}

/// Reads such a segment in place. `None` if there is more to look at.
///
/// `is_data`: none without payload is looked for. Without `secrets` there is no tag.
#[inline(always)]
pub fn read_dss_in_place<F: Frame>(
    frame: &F,
    shape: FrameClass,
    buffer: &Buffer,
    is_data: bool,
    secrets: Option<&impl Secrets>,
) -> Option<DssSegment> {
    // For each shape by itself: places that the compiler knows cost less.
    match shape {
        FrameClass::Ipv4 => {
            let view = frame.view(0, IPV4_END + MAX_HEADER)?;
            lone(&view, &Header::ipv4(&view), buffer, is_data, secrets)
        }
        FrameClass::Ipv6 => {
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
) -> Option<DssSegment> {
    let (size, flags) = plain_header(view, header, buffer)?;
    if is_data && size == header.length {
        return None;
    }
    // Now, since it takes fewer registers than a flow.
    let flow = flow(view, header);
    let sender_is_second = flow.is_reversed();
    let tag = tag(secrets, &Ends::of(&flow, header.ipv6));
    let word = |index| view.get(header.at + 20 + 4 * index as u32);
    let dss = Dss::read_from(word, TIMESTAMP_WORDS, size - 20)?;
    let payload = header.length - size;
    let packet = packet(view, header, flags, payload, sender_is_second);
    Some(DssSegment { packet, dss, tag })
}

/// Bytes of the TCP header of an acknowledgment: two NOPs and a timestamp, and a DSS.
const ACK_HEADER: u32 = 20 + 12 + 12;

/// The same of a segment without payload, and with a DATA_ACK of 8 bytes alone: its frame is shorter than
/// [`read_dss_in_place`] needs it.
#[inline(always)]
pub fn read_ack_in_place<F: Frame>(
    frame: &F,
    shape: FrameClass,
    buffer: &Buffer,
    secrets: Option<&impl Secrets>,
) -> Option<DssSegment> {
    match shape {
        FrameClass::Ipv4 => {
            let view = frame.view(0, IPV4_END + ACK_HEADER)?;
            ack(&view, &Header::ipv4(&view), buffer, secrets)
        }
        FrameClass::Ipv6 => {
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
) -> Option<DssSegment> {
    const DSS: u32 = u32::from_ne_bytes([
        KIND_MPTCP,
        12,
        (Subtype::Dss as u8) << 4,
        DssFlags::ACK | DssFlags::ACK_8,
    ]);
    let (size, flags) = plain_header(view, header, buffer)?;
    let at = header.at;
    if size != ACK_HEADER || header.length != ACK_HEADER || view.get::<u32>(at + 32) != DSS {
        return None;
    }
    let flow = flow(view, header);
    let packet = packet(view, header, flags, 0, flow.is_reversed());
    let dss = Dss {
        head: u32::from_be(DSS),
        data_ack: u64::from_be(view.get(at + 36)),
        ..Dss::default()
    };
    let tag = tag(secrets, &Ends::of(&flow, header.ipv6));
    Some(DssSegment { packet, dss, tag })
}

/// The size and flags of a TCP header whose options begin with a timestamp, and that is of one packet, neither SYN
/// nor RST.
#[inline(always)]
fn plain_header(view: &impl View, header: &Header, buffer: &Buffer) -> Option<(u32, TcpFlags)> {
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
