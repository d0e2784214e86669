//! The numbers of a TCP packet.

use crate::wire::TcpFlags;

/// A TCP packet, or a buffer of several with the same header (GSO, GRO).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Packet {
    /// Payload of the whole buffer in bytes, by the IP header's length.
    pub payload: u32,
    /// Packets on the wire, 1 or more.
    pub packets: u32,
    /// Payload of each of them but the last, in bytes; only read where `packets` is above 1.
    pub segment_size: u32,
    /// Length of the option area in bytes, 0 to 40.
    pub options: u32,
    /// Offset of the payload in the frame.
    pub payload_at: u32,
    /// TCP sequence number.
    pub sequence: u32,
    /// TCP acknowledgment number.
    pub acknowledgment: u32,
    /// Receive queue plus 1, 0 where that is not known.
    pub queue: u32,
    /// TCP flags.
    pub flags: TcpFlags,
    /// IPv6?
    pub ipv6: bool,
    /// The first fragment of a packet? Then there is more payload than was seen.
    pub is_fragment: bool,
    /// Did it come in at the interface, and not go out?
    pub ingress: bool,
    /// Is the sender the second end of the flow's key?
    pub sender_is_second: bool,
    /// Behind IPv6 extension headers or AH? A routing header changes the addresses that the checksum is of.
    pub is_extended: bool,
    /// The window of the header, not scaled.
    pub window: u16,
    /// Offset of the TCP header in the frame.
    pub header_at: u32,
    /// The header's checksum, in the order of memory.
    pub checksum: u32,
}
