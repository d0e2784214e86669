//! Subflows whose handshake was complete.

use bytemuck::Zeroable;

use crate::table::{Entry, Memory, Word};

/// A mapping of data to a subflow.
#[derive(Debug, Zeroable)]
#[zeroable(bound = "M::W32: Zeroable, M::W64: Zeroable")]
#[repr(C)]
pub struct MappingSlot<M: Memory> {
    /// Data sequence number of its first byte.
    pub dsn: M::W64,
    /// Subflow sequence number of its first byte, relative.
    pub ssn: M::W32,
    /// Bytes, the DATA_FIN not included; 0 in an unused place.
    pub length: M::W32,
}

/// Mappings that are remembered per subflow and direction.
pub const MAPPINGS: usize = 8;

/// Runs of mappings that are remembered beyond these, in a session that had several subflows.
pub const RUNS: usize = 8;

/// What one side sends on one subflow: a cache line of numbers, two of mappings, and one of runs.
#[derive(Debug, Zeroable)]
#[zeroable(bound = "M::W32: Zeroable, M::W64: Zeroable")]
#[repr(C, align(64))]
pub struct SubflowSide<M: Memory> {
    /// TCP sequence number of relative number 0; the first byte of data has 1.
    pub base: M::W32,
    /// Highest sequence number that was sent, plus 1. FIN not included.
    pub next: M::W32,
    /// Highest acknowledgment of it that was seen.
    pub acked: M::W32,
    /// Sequence number of the FIN, valid with the subflow's flag.
    pub fin: M::W32,
    /// Packets whose bytes lie in no mapping that was seen.
    pub unmapped: M::W32,
    /// Sequence number behind the last of these bytes.
    pub unmapped_end: M::W32,
    /// Place of the newest mapping.
    pub newest: M::W32,
    /// Relative number behind all bytes that were mapped.
    pub mapped_end: M::W32,
    /// When an option that is not allowed was seen last, in `ticks`; 0 if none was.
    pub bad_option: M::W32,
    /// The right edge of the window that its sender offers: the highest acknowledgment plus window that was seen.
    /// Valid with [`SubflowFacts::WINDOW`].
    pub window_end: M::W32,
    /// Packets, without SYN.
    pub packets: M::W64,
    /// Payload bytes, retransmissions included.
    pub bytes: M::W64,
    /// The acknowledgment that its sender sent last and that has been looked at.
    pub last_ack: M::W32,
    /// Sequence number of the first byte that lies in no mapping, where there are any.
    pub unmapped_start: M::W32,
    /// A ring of mappings.
    pub mappings: [MappingSlot<M>; MAPPINGS],
    /// What older mappings covered, the newest first (see `runs`); 0 in an unused place.
    pub runs: [M::W64; RUNS],
}

/// A mapping that is being added up.
#[derive(Debug, Zeroable)]
#[zeroable(bound = "M::W32: Zeroable")]
#[repr(C)]
pub struct Sum<M: Memory> {
    /// Relative number behind the last byte that was added, or given up.
    pub next: M::W32,
    /// Sum of its bytes so far, folded to 16 bits.
    pub sum: M::W32,
    /// See [`SumFacts`].
    pub facts: M::W32,
}

/// Facts of a [`Sum`], above the checksum in the lowest 16 bits.
#[derive(Clone, Copy, Debug)]
pub struct SumFacts;

impl SumFacts {
    /// The checksum is known.
    pub const KNOWN: u32 = 1 << 16;
    /// The mapping ends with a DATA_FIN.
    pub const FIN: u32 = 1 << 17;
    /// Bytes are still missing.
    pub const OPEN: u32 = 1 << 18;
}

/// A subflow whose handshake was complete.
#[derive(Debug, Zeroable)]
#[zeroable(bound = "M::W32: Zeroable, M::W64: Zeroable")]
#[repr(C, align(64))]
pub struct Subflow<M: Memory> {
    /// Tag of the flow, 0 while the entry is free or being filled.
    pub tag: M::W64,
    /// Slot of its session.
    pub session: M::W32,
    /// Generation of that session when the subflow came.
    pub generation: M::W32,
    /// See [`SubflowFacts`].
    pub flags: M::W32,
    /// Address identifiers: side 0 in the lowest byte, side 1 in the next. Above them the window scales, 4 bits
    /// each, and the facts [`SubflowFacts::NUMBERS`], [`SubflowFacts::WINDOW`] and
    /// [`SubflowFacts::TOLD`].
    pub ids: M::W32,
    /// When a packet was seen last.
    pub last_seen: M::W64,
    /// When it was closed, 0 while it is open.
    pub closed: M::W64,
    /// When it was established, 0 if that was before the probe came.
    pub created: M::W64,
    /// Of the first subflow of a session: all data of each side before the number with these lower 32 bits was sent on
    /// it, since there was no other. 0 while there is none.
    pub alone: [M::W32; 2],
    /// Of a conversation that goes on from other numbers than those that were seen (see `track::accept`): which of
    /// its sides have spoken, a bit each; from bit 16 on, the upper halves of the numbers that come next, side 0 first;
    /// and when its first segment was seen.
    pub resumed: M::W64,
    /// The flow.
    pub key: [M::W64; 5],
    /// The mapping of each side whose checksum is being verified.
    pub sums: [Sum<M>; 2],
    /// What each side sends.
    pub sides: [SubflowSide<M>; 2],
}

/// Facts of a [`Subflow`]; those that exist per side are shifted by it.
#[derive(Clone, Copy, Debug)]
pub struct SubflowFacts;

impl SubflowFacts {
    /// The first end of the key is the session's listener.
    pub const FIRST_IS_LISTENER: u32 = 1;
    /// Opened by an MP_JOIN.
    pub const JOINED: u32 = 1 << 1;
    /// Per side: what it sends is to be used as a backup only.
    pub const BACKUP: u32 = 1 << 2;
    /// Per side: it has shown here that it knows the session (DSS with DATA_ACK, mapping in MP_CAPABLE,
    /// ADD_ADDR with a right HMAC).
    pub const CONFIRMED: u32 = 1 << 4;
    /// Per side: a segment was seen after the handshake.
    pub const SPOKEN: u32 = 1 << 6;
    /// Per side: FIN was sent.
    pub const FIN: u32 = 1 << 8;
    /// Per side: FIN was acknowledged.
    pub const FIN_ACKED: u32 = 1 << 10;
    /// Per side: MP_FASTCLOSE was sent.
    pub const FASTCLOSE: u32 = 1 << 12;
    /// Per side: an invalid mapping was sent; a reset in answer tells that it was refused.
    pub const BAD_MAPPING: u32 = 1 << 14;
    /// Per side: a segment without option acknowledged mapped data too early.
    pub const PLAIN_ACK: u32 = 1 << 16;
    /// Per side: DATA_FIN was sent here while this was a backup.
    pub const FIN_ON_BACKUP: u32 = 1 << 18;
    /// An option came long after the subflow was closed.
    pub const AFTER_CLOSE: u32 = 1 << 20;
    /// Reset, by either side.
    pub const RESET: u32 = 1 << 21;
    /// Per side: bytes without a mapping or an option were sent in mid-flow.
    pub const BARE: u32 = 1 << 22;
    /// Per side: a mapping of bytes was sent, and judged.
    pub const MAPPED: u32 = 1 << 24;
    /// Closed.
    pub const CLOSED: u32 = 1 << 26;
    /// The first of a session, while that is [`provisional`](super::SessionFacts::PROVISIONAL).
    pub const PROVISIONAL: u32 = 1 << 27;
    /// Per side: a checksum was there against the negotiation, or was missing.
    pub const CHECKSUM_ODD: u32 = 1 << 28;
    /// Per side: the sequence numbers of what it sends are known, from the handshake or, of a
    /// subflow that was there before the probe, from the first mapping that says so.
    pub const FOLLOWED: u32 = 1 << 30;

    /// Where the window scale of side 0 stands in [`ids`](super::Subflow::ids), that of side 1 behind it.
    pub const SCALE: u32 = 16;
    /// In `ids`, per side: it is known which number it sends next, and what of it was acknowledged.
    pub const NUMBERS: u32 = 1 << 24;
    /// In `ids`, per side: the window that it offers is known.
    pub const WINDOW: u32 = 1 << 26;
    /// In `ids`, per side: this host's kernel says which number comes next of it. What its own segments say counts more.
    pub const TOLD: u32 = 1 << 28;
    /// In `ids`: past a router, another subflow has the same addresses, or had them.
    pub const TWIN: u32 = 1 << 30;
}

impl<M: Memory> Entry for Subflow<M> {
    #[inline(always)]
    fn tag(&self) -> u64 {
        self.tag.load()
    }

    #[inline(always)]
    fn fetch(&self) {
        self.tag.load();
        self.key[0].load();
        for subflow_side in &self.sides {
            subflow_side.base.load();
            subflow_side.mappings[0].dsn.load();
            subflow_side.mappings[MAPPINGS / 2].dsn.load();
            subflow_side.runs[0].load();
        }
    }
}
