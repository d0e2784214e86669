//! What is remembered of handshakes, subflows and sessions.
//!
//! A session has two *sides*: 0 is the initiator, who sent the MP_CAPABLE SYN, and 1 the listener.
//! What a side sent, or said of itself, stands at its index. Times are nanoseconds of the kernel's
//! monotonic clock, or of a capture's.
//!
//! Everything is zero in an entry that nobody used; the layouts have no padding.

use bytemuck::Zeroable;

use crate::table::{Entry, Memory, Word};

/// Ranges of data sequence numbers above the contiguous part, per session and side.
pub const GAPS: usize = 16;

/// Ranges of data sequence numbers: the lower 32 bits of the start, in the upper half, and of the end; 0 in an
/// unused place.
pub type Ranges<M> = [<M as Memory>::W64; GAPS];

/// That of the data that was sent.
pub const SENT: usize = 1;

/// What one side of a session sent or said: a cache line of what every packet needs, and the rest.
///
/// Two sets of data sequence numbers are kept, of those that were mapped and of those that were
/// sent ([`MAPPED`], [`SENT`]): each is everything below its `next`, and `ranges` above it.
#[derive(Debug, Zeroable)]
#[zeroable(bound = "M::W32: Zeroable, M::W64: Zeroable")]
#[repr(C, align(64))]
pub struct SessionSide<M: Memory> {
    /// The highest DATA_ACK that it sent.
    pub data_ack: M::W64,
    /// The highest data sequence number that it mapped, plus 1.
    pub highest: M::W64,
    /// The lowest number that it did not map, and the lowest that it did not send.
    pub next: [M::W64; 2],
    /// Data sequence number behind its DATA_FIN, valid with the session's flag.
    pub fin: M::W64,
    /// Its initial data sequence number, valid with the session's flag; without it, the first data
    /// sequence number that is judged.
    pub idsn: M::W64,
    /// Of each set how many of its `ranges` are in use, and above these bits what is known of its chunks; 0 if
    /// there is no range.
    pub gaps: [M::W32; 2],
    /// Its token, valid with the session's flag.
    pub token: M::W32,
    /// 0.
    pub reserved: M::W32,
    /// Address identifiers it announced or joined with, a bit each.
    pub known: [M::W64; 4],
    /// Address identifiers it removed.
    pub removed: [M::W64; 4],
    /// Address identifiers its subflows use.
    pub used: [M::W64; 4],
    /// Data that it mapped, and sent, beyond a gap.
    pub ranges: [Ranges<M>; 2],
    /// When it had more pending joins than the policy allows.
    pub over_pending: M::W64,
    /// Slots plus 1 of joins that it opened; those that are still pending have this session.
    pub joins: [M::W32; MAX_PENDING],
}

/// A session.
#[derive(Debug, Zeroable)]
#[zeroable(bound = "M::W32: Zeroable, M::W64: Zeroable")]
#[repr(C, align(64))]
pub struct Session<M: Memory> {
    /// Tag of the flow that was its first subflow, 0 while the entry is free or being filled.
    pub tag: M::W64,
    /// Counts the entries that were in this slot.
    pub generation: M::W32,
    /// See [`SessionFacts`].
    pub flags: M::W32,
    /// Subflows that are open.
    pub open: M::W32,
    /// Slot of the subflow that was one more than the policy allows.
    pub newcomer: M::W32,
    /// Protocol version.
    pub version: M::W32,
    /// Receive queue of its first SYN, plus 1; 0 where not known.
    pub queue: M::W32,
    /// When a packet was seen last.
    pub last_seen: M::W64,
    /// When its last subflow was closed.
    pub alone: M::W64,
    /// When it was created, 0 if that was before the probe came.
    pub created: M::W64,
    /// When the newcomer came.
    pub over_limit: M::W64,
    /// Initiator and listener.
    pub sides: [SessionSide<M>; 2],
}

/// Facts of a [`Session`]; those that exist per side are shifted by it.
#[derive(Clone, Copy, Debug)]
pub struct SessionFacts;

impl SessionFacts {
    /// Per side: token and initial data sequence number are known.
    pub const KNOWN: u32 = 1;
    /// Per side: DATA_FIN was sent.
    pub const FIN: u32 = 1 << 2;
    /// Per side: DATA_FIN was acknowledged.
    pub const FIN_ACKED: u32 = 1 << 4;
    /// Ended by a valid MP_FASTCLOSE.
    pub const FASTCLOSED: u32 = 1 << 6;
    /// Fell back to TCP.
    pub const FALLBACK: u32 = 1 << 7;
    /// Per side: an infinite mapping was accepted.
    pub const INFINITE: u32 = 1 << 8;
    /// Per side: MP_FAIL was sent.
    pub const FAIL: u32 = 1 << 10;
    /// DSS checksums are in use.
    pub const CHECKSUM: u32 = 1 << 12;
    /// Per side: ranges of its data were forgotten, for lack of room.
    pub const LOSSY: u32 = 1 << 14;
    /// Per side: it sent a DATA_ACK of data whose initial number is not known.
    pub const ACK_STARTED: u32 = 1 << 16;
    /// Per side: it mapped data whose initial number is not known.
    pub const MAP_STARTED: u32 = 1 << 18;
    /// What the initiator sends is received here: on a host, this is the listener's.
    pub const LISTENER_HERE: u32 = 1 << 20;
    /// Had more than one subflow.
    pub const JOINED: u32 = 1 << 21;
    /// Was there before the probe: its tokens are known, its keys and initial data sequence numbers
    /// are not.
    pub const ADOPTED: u32 = 1 << 22;
    /// Nobody says which of its ends is the initiator.
    pub const ROLES_UNKNOWN: u32 = 1 << 23;
    /// Nothing but the handshake was seen: neither data nor a DATA_ACK. Past a router, where both ends may be forged, also
    /// what one of them says within 10 seconds, until the other has acknowledged data.
    pub const PROVISIONAL: u32 = 1 << 24;
    /// Per side: the first that it said on a subflow had a DATA_ACK of 8 bytes.
    pub const LONG: u32 = 1 << 25;
}

impl<M: Memory> Entry for Session<M> {
    #[inline(always)]
    fn tag(&self) -> u64 {
        self.tag.load()
    }

    /// Ranges are not written.
    #[inline(always)]
    fn fetch(&self) {
        self.tag.load();
        for side in &self.sides {
            side.data_ack.load();
            side.known[0].load();
            side.used[0].load();
            side.over_pending.load();
        }
    }
}

/// The keys of a session: secrets, in a table of their own.
#[derive(Debug, Zeroable)]
#[zeroable(bound = "M::W32: Zeroable, M::W64: Zeroable")]
#[repr(C)]
pub struct Keys<M: Memory> {
    /// Key of each side, 0 where not known.
    pub keys: [M::W64; 2],
}

/// Pending joins of a side that are remembered, and so the highest limit of them.
pub const MAX_PENDING: usize = 6;

/// Of the two sets of a [`SessionSide`], that of the data that was mapped.
pub const MAPPED: usize = 0;
