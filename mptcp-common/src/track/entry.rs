//! What is remembered of handshakes, subflows and sessions.
//!
//! A session has two *sides*: 0 is the initiator, who sent the MP_CAPABLE SYN, and 1 the listener.
//! What a side sent, or said of itself, stands at its index. Times are nanoseconds of the kernel's
//! monotonic clock, or of a capture's.
//!
//! Everything is zero in an entry that nobody used; the layouts have no padding.

use bytemuck::Zeroable;

use super::{
    Kind,
    pending::MAX_PENDING,
    table::Entry,
    word::{Memory, Word as _},
};

/// Two ends of a TCP connection, the lesser first, so that both directions have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FlowKey {
    /// Address of the first end (two words, as in memory; IPv4 as `::ffff:a.b.c.d`), of the second
    /// end, and the ports: the first in the lower half of the lower 32 bits.
    pub words: [u64; 5],
}

impl FlowKey {
    /// Sets the addresses, in the order of `words`.
    #[inline(always)]
    pub fn set_addresses(&mut self, addresses: [u64; 4]) {
        for (word, address) in self.words.iter_mut().zip(addresses) {
            *word = address;
        }
    }

    /// Is the first end the greater one, which stands second in a key?
    #[inline(always)]
    pub fn is_reversed(&self) -> bool {
        let [high, low, other_high, other_low, ports] = self.words;
        if high != other_high {
            high > other_high
        } else if low != other_low {
            low > other_low
        } else {
            ports as u16 > (ports >> 16) as u16
        }
    }

    /// Is it of IPv4? (No host has an address of IPv6 that stands for one of IPv4.)
    pub fn is_ipv4(&self) -> bool {
        const MAPPED: u64 = 0xffff_0000;
        self.words[0] == 0 && self.words[1] & u64::from(u32::MAX) == MAPPED
    }

    /// With the ends the other way round.
    #[inline(always)]
    pub fn reversed(&self) -> Self {
        let [a, b, c, d, ports] = self.words;
        let ports = (ports as u32).rotate_left(16);
        Self {
            words: [c, d, a, b, ports.into()],
        }
    }
}

/// A handshake that is not complete, or an option on a flow that nobody knows: a cache line, since a flood of
/// SYNs writes one each. Whose it is says its tag.
#[derive(Debug, Zeroable)]
#[zeroable(bound = "M::W32: Zeroable, M::W64: Zeroable")]
#[repr(C, align(64))]
pub struct HalfOpen<M: Memory> {
    /// Tag of the flow, 0 while free.
    pub tag: M::W64,
    /// When its first packet was seen.
    pub created: M::W64,
    /// Of opener and responder: MP_CAPABLE keys, 0 where not known; MP_JOIN nonces, with their [`Offer`]s in the
    /// upper halves.
    pub secrets: [M::W64; 2],
    /// See [`half_open`]; between the facts are kind and direction.
    pub flags: M::W32,
    /// Address identifiers of opener and responder (8 bits each, MP_JOIN), version (4 bits), receive
    /// queue (12 bits).
    pub facts: M::W32,
    /// Initial sequence numbers of opener and responder. Of stray segments: the first one's number, and what it
    /// acknowledged.
    pub isn: [M::W32; 2],
    /// What the responder acknowledged in its SYN/ACK.
    pub syn_acked: M::W32,
    /// Highest sequence number that the responder sent, plus 1; what the last stray segment acknowledged.
    pub next: M::W32,
    /// MP_JOIN: the session's slot. Else as the upper halves of `secrets` with MP_JOIN: what the opener's SYN
    /// says of its window.
    pub session: M::W32,
    /// MP_JOIN: the session's generation. Else the same of the responder's SYN/ACK.
    pub generation: M::W32,
}

impl<M: Memory> HalfOpen<M> {
    const KIND: u32 = 20;
    const DIRECTION: u32 = 22;
    const VERSION: u32 = 16;
    const QUEUE: u32 = 20;

    /// The flags of an entry of this kind, whose SYN counts in this direction, for [`flags`](Self::flags).
    #[inline(always)]
    pub fn flags_of(kind: Kind, direction: u32, facts: u32) -> u32 {
        facts | (kind as u32) << Self::KIND | direction << Self::DIRECTION
    }

    /// Forgets whose it is, and overwrites its keys and nonces.
    #[inline(always)]
    pub(super) fn forget(&self) {
        self.tag.store(0);
        for secret in &self.secrets {
            secret.store(0);
        }
    }

    /// A [`Kind`], by its discriminant; 0 if the entry was never used.
    #[inline(always)]
    pub fn kind(&self) -> u32 {
        (self.flags.load() >> Self::KIND) & 3
    }

    /// The direction that the SYN counted in, by its discriminant.
    #[inline(always)]
    pub(super) fn direction(&self) -> u32 {
        (self.flags.load() >> Self::DIRECTION) & 3
    }

    /// Begins with the SYN's version, and its receive queue plus 1: 0 where that is not known, as of one
    /// above 4094.
    #[inline(always)]
    pub(super) fn set_syn(&self, version: u32, queue: u32) {
        let queue = if queue < 1 << 12 { queue } else { 0 };
        self.facts
            .store((version & 15) << Self::VERSION | queue << Self::QUEUE);
    }

    /// Version of the SYN/ACK, or of the SYN before that.
    #[inline(always)]
    pub(super) fn version(&self) -> u32 {
        (self.facts.load() >> Self::VERSION) & 15
    }

    /// Sets the version.
    #[inline(always)]
    pub(super) fn set_version(&self, version: u32) {
        let others = self.facts.load() & !(15 << Self::VERSION);
        self.facts.store(others | (version & 15) << Self::VERSION);
    }

    /// Receive queue of the SYN, plus 1; 0 where not known.
    #[inline(always)]
    pub(super) fn queue(&self) -> u32 {
        self.facts.load() >> Self::QUEUE
    }

    /// What opener (0) or responder (1) said of its window.
    #[inline(always)]
    pub(super) fn offer(&self, end: usize) -> Offer {
        Offer(if self.kind() == Kind::Join as u32 {
            (self.secrets[end & 1].load() >> 32) as u32
        } else if end == 0 {
            self.session.load()
        } else {
            self.generation.load()
        })
    }

    /// Sets what the opener said of its window, of MP_CAPABLE, and forgets what the responder said.
    #[inline(always)]
    pub(super) fn set_offer(&self, offer: Offer) {
        self.session.store(offer.0);
        self.generation.store(0);
    }

    /// The same of the responder.
    #[inline(always)]
    pub(super) fn set_answer(&self, offer: Offer) {
        self.generation.store(offer.0);
    }

    /// Address identifiers of opener and responder.
    #[inline(always)]
    pub(super) fn ids(&self) -> [u32; 2] {
        let facts = self.facts.load();
        [facts & 0xff, facts >> 8 & 0xff]
    }

    /// Sets the address identifier of the opener (0) or the responder (1).
    #[inline(always)]
    pub(super) fn set_id(&self, end: u32, id: u8) {
        let others = self.facts.load() & !(0xff << (8 * end));
        self.facts.store(others | u32::from(id) << (8 * end));
    }
}

/// Facts of a [`HalfOpen`].
pub mod half_open {
    /// The first end of the key sent the SYN.
    pub const OPENER_IS_FIRST: u32 = 1;
    /// The opener is the session's listener (a join from the server).
    pub const OPENER_LISTENS: u32 = 1 << 1;
    /// A SYN/ACK with the option was seen.
    pub const ANSWERED: u32 = 1 << 2;
    /// A SYN/ACK without the option was seen; to a stray segment, the reset of somebody who knows of no connection.
    pub const REFUSED: u32 = 1 << 3;
    /// The third segment with the option was seen.
    pub const CONFIRMED: u32 = 1 << 4;
    /// The HMAC of the third segment was right, or could not be checked.
    pub const PROVEN: u32 = 1 << 5;
    /// The token belongs to a session.
    pub const RESOLVED: u32 = 1 << 6;
    /// Checksums are required by one of the ends.
    pub const CHECKSUM: u32 = 1 << 7;
    /// The opener's, and by `<< 1` the responder's, backup flag.
    pub const BACKUP: u32 = 1 << 8;
    /// The session had as many subflows as the policy allows.
    pub const OVER_LIMIT: u32 = 1 << 10;
    /// The third segment was wrong, and was counted as that.
    pub const FAILED: u32 = 1 << 12;
    /// More joins were pending than the policy allows.
    pub const OVER_PENDING: u32 = 1 << 13;
    /// It is known which end is the session's listener.
    pub const SIDES_KNOWN: u32 = 1 << 14;
    /// The opener sent a segment without an option instead of the third one.
    pub const PLAIN: u32 = 1 << 15;
    /// A stray segment had a DSS.
    pub const DSS: u32 = 1 << 16;
    /// A stray segment had an MP_CAPABLE.
    pub const CAPABLE: u32 = 1 << 17;
    /// The session had fallen back to TCP.
    pub const AFTER_FALLBACK: u32 = 1 << 18;
    /// More joins were pending in all sessions than the policy allows.
    pub const OVER_THRESHOLD: u32 = 1 << 19;
    /// The MP_CAPABLE of the SYN is to be ignored (extensibility, no known algorithm).
    pub const IGNORED: u32 = 1 << 11;
    /// Version 1: the initiator sent a DSS, and its key was not seen.
    pub const KEYLESS: u32 = 1 << 26;
    /// The SYN came again without MP_CAPABLE.
    pub const DROPPED: u32 = 1 << 27;
    /// The opener's, and by `<< 1` the responder's, address identifier was used by no other subflow.
    pub const NEW_ID: u32 = 1 << 24;
}

/// What a SYN or a SYN/ACK says of its sender's window: the window in the lowest 16 bits, which is not scaled
/// there, then the window scale in 4 bits, and a bit that tells whether it has one. 0 where nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer(pub(super) u32);

impl Offer {
    pub(super) const NONE: Self = Self(0);
    const IS_SCALED: u32 = 1 << 20;
    const IS_KNOWN: u32 = 1 << 21;

    /// Of a segment with this window, and this window scale option.
    #[inline(always)]
    pub(super) fn new(window: u16, scale: Option<u32>) -> Self {
        let scale = match scale {
            Some(scale) => Self::IS_SCALED | scale.min(MAX_SCALE) << 16,
            None => 0,
        };
        Self(u32::from(window) | scale | Self::IS_KNOWN)
    }

    /// One of [`HalfOpen::secrets`] with MP_JOIN.
    #[inline(always)]
    pub(super) fn with_nonce(self, nonce: u32) -> u64 {
        u64::from(self.0) << 32 | u64::from(nonce)
    }

    #[inline(always)]
    pub(super) fn is_known(self) -> bool {
        self.0 & Self::IS_KNOWN != 0
    }

    #[inline(always)]
    pub(super) fn is_scaled(self) -> bool {
        self.0 & Self::IS_SCALED != 0
    }

    #[inline(always)]
    pub(super) fn scale(self) -> u32 {
        self.0 >> 16 & 15
    }

    /// Bytes.
    #[inline(always)]
    pub(super) fn window(self) -> u32 {
        self.0 & 0xffff
    }
}

/// The highest window scale (RFC 7323 section 2.3).
pub(super) const MAX_SCALE: u32 = 14;

/// A mapping of data to a subflow.
#[derive(Debug, Zeroable)]
#[zeroable(bound = "M::W32: Zeroable, M::W64: Zeroable")]
#[repr(C)]
pub struct Mapping<M: Memory> {
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
pub struct Way<M: Memory> {
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
    /// When an option that is not allowed was seen last, in [`ticks`](super::ticks); 0 if none was.
    pub bad_option: M::W32,
    /// The right edge of the window that its sender offers: the highest acknowledgment plus window that was seen.
    /// Valid with [`subflow::WINDOW`].
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
    pub mappings: [Mapping<M>; MAPPINGS],
    /// What older mappings covered, the newest first (see [`runs`](super::runs)); 0 in an unused place.
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
    /// See [`sum`].
    pub facts: M::W32,
}

/// Facts of a [`Sum`], above the checksum in the lowest 16 bits.
pub mod sum {
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
    /// See [`subflow`].
    pub flags: M::W32,
    /// Address identifiers: side 0 in the lowest byte, side 1 in the next. Above them the window scales, 4 bits
    /// each, and the facts [`subflow::NUMBERS`] and [`subflow::WINDOW`].
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
    /// Of a conversation that goes on from other numbers than those that were seen (see [`super::accept`]): which of
    /// its sides have spoken, a bit each; from bit 16 on, the upper halves of the numbers that come next, side 0 first;
    /// and when its first segment was seen.
    pub resumed: M::W64,
    /// The flow.
    pub key: [M::W64; 5],
    /// The mapping of each side whose checksum is being verified.
    pub sums: [Sum<M>; 2],
    /// What each side sends.
    pub ways: [Way<M>; 2],
}

/// Facts of a [`Subflow`]; those that exist per side are shifted by it.
pub mod subflow {
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
}

/// Ranges of data sequence numbers above the contiguous part, per session and side.
pub const GAPS: usize = 16;

/// Ranges of data sequence numbers: the lower 32 bits of the start, in the upper half, and of the end; 0 in an
/// unused place.
pub type Ranges<M> = [<M as Memory>::W64; GAPS];

/// Ranges in a [`RangeChunk`].
pub const CHUNK_RANGES: usize = 29;

/// Chunks that a set of data sequence numbers may have.
pub const CHUNKS: u32 = 16;

/// Chunks for so many ranges.
pub const fn chunks_for(ranges: u32) -> u32 {
    ranges.div_ceil(CHUNK_RANGES as u32)
}

/// Ranges of data sequence numbers above the contiguous part that find no room in their session, or runs that find
/// none in their subflow: four cache lines of the pool that all sessions share.
///
/// Whose it is says its tag: of the session's slot and generation, the side, which of its sets or which subflow, and a
/// number.
#[derive(Debug, Zeroable)]
#[zeroable(bound = "M::W32: Zeroable, M::W64: Zeroable")]
#[repr(C, align(64))]
pub struct RangeChunk<M: Memory> {
    /// Its tag, 0 while it is free or being filled.
    pub tag: M::W64,
    /// When its ranges were looked at last; the lowest bit, [`EMPTY`](Self::EMPTY), says that there were none, the
    /// next, [`RUNS`](Self::RUNS), that they are runs.
    pub seen: M::W64,
    /// Slot of its session.
    pub session: M::W32,
    /// Generation of that session.
    pub generation: M::W32,
    /// As [`Ranges`].
    pub ranges: [M::W64; CHUNK_RANGES],
}

impl<M: Memory> RangeChunk<M> {
    /// In `seen`: no ranges are in it.
    pub const EMPTY: u64 = 1;
    /// In `seen`: what is in it are runs of a subflow.
    pub const RUNS: u64 = 2;

    /// Returns the slot of its session.
    pub fn session_slot(&self) -> u32 {
        self.session.load()
    }
}

/// Of the two sets of a [`Side`], that of the data that was mapped.
pub const MAPPED: usize = 0;
/// That of the data that was sent.
pub const SENT: usize = 1;

/// What one side of a session sent or said: a cache line of what every packet needs, and the rest.
///
/// Two sets of data sequence numbers are kept, of those that were mapped and of those that were
/// sent ([`MAPPED`], [`SENT`]): each is everything below its `next`, and `ranges` above it.
#[derive(Debug, Zeroable)]
#[zeroable(bound = "M::W32: Zeroable, M::W64: Zeroable")]
#[repr(C, align(64))]
pub struct Side<M: Memory> {
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
    /// See [`session`].
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
    pub sides: [Side<M>; 2],
}

/// Facts of a [`Session`]; those that exist per side are shifted by it.
pub mod session {
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
    /// Nothing but the handshake was seen: neither data nor a DATA_ACK.
    pub const PROVISIONAL: u32 = 1 << 24;
}

impl<M: Memory> Entry for HalfOpen<M> {
    #[inline(always)]
    fn tag(&self) -> u64 {
        self.tag.load()
    }

    #[inline(always)]
    fn fetch(&self) {
        self.tag.load();
    }
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
        for way in &self.ways {
            way.base.load();
            way.mappings[0].dsn.load();
            way.mappings[MAPPINGS / 2].dsn.load();
            way.runs[0].load();
        }
    }
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

impl<M: Memory> Entry for RangeChunk<M> {
    #[inline(always)]
    fn tag(&self) -> u64 {
        self.tag.load()
    }

    #[inline(always)]
    fn fetch(&self) {
        self.tag.load();
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
