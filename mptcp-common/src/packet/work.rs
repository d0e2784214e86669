//! The packet in work, and what one stage tells the next.

use core::cell::Cell;

use crate::{
    counter::Direction,
    packet::{flow::FlowKey, segment::Packet},
    verifier::Opaque,
    wire::{Allowed, Options},
    wire::{Area, Dss, OptionOffsets, checksum::fold},
};

/// Everything about the packet in work. In the kernel it lies in a map: the verifier forgets what
/// it knew of a number that went through one, and the stages find it there.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Work {
    /// The option area.
    pub area: Area,
    /// Where its options stand.
    pub found: OptionOffsets,
    /// The numbers of its DSS, if it has one.
    pub dss: Dss,
    /// The header.
    pub packet: Packet,
    /// The connection, the sender first.
    pub flow: FlowKey,
    /// The connection's tag.
    pub tag: u64,
    /// What the stages hand on.
    pub route: Route,
    /// Sum of the 16-bit words of the payload, or of the whole segment, as they lie in memory, or [`UNREAD`].
    pub payload_sum: Cell<u64>,
    /// Of the kernel side: a count of the clock's ticks, and the time at the last of them.
    pub clock: [Cell<u64>; 2],
    /// Of the kernel side: which second it is, and how many events were emitted in it, of sessions that are known and of
    /// others.
    pub emitted: [Cell<u64>; 3],
    /// Data that is to be looked for in chunks of ranges, and remembered there.
    pub range_search: RangeSearch,
    /// Data that is to be looked for in what its subflow has mapped.
    pub search: RunSearch,
}

impl Work {
    /// Returns its options that are allowed where they stand.
    #[inline(always)]
    pub(crate) fn allowed<'a, V: Opaque>(&'a self, verifier: &'a V) -> Allowed<'a, V> {
        Allowed::new(self.options(self.route.valid.get(), verifier))
    }

    /// Returns its options of the subtypes in `set`, the first of each.
    #[inline(always)]
    pub(crate) fn options<'a, V: Opaque>(&'a self, set: u32, verifier: &'a V) -> Options<'a, V> {
        Options::new(&self.area, &self.found, set, verifier)
    }

    /// Returns true if the TCP checksum is right, by the sum of the segment; also if it is what the own machine writes for its hardware to
    /// complete: the sum of the pseudo-header (RFC 9293 section 3.1) alone; and where a header may have changed the
    /// addresses that it is of. Not if the segment goes on elsewhere, or is said to be longer than its frame.
    #[inline(always)]
    pub(crate) fn is_intact(&self) -> bool {
        const TCP: u16 = 6;
        let segment = self.payload_sum.get();
        let packet = &self.packet;
        if segment == UNREAD || packet.is_fragment {
            return false;
        }
        if packet.is_extended {
            return true;
        }
        let length = packet.payload + (packet.payload_at - packet.header_at);
        let words = &self.flow.words;
        let halves = |word: u64| (word & 0xffff_ffff) + (word >> 32);
        let addresses = if packet.ipv6 {
            halves(words[0]) + halves(words[1]) + halves(words[2]) + halves(words[3])
        } else {
            // IPv4 addresses stand in the upper halves.
            (words[1] >> 32) + (words[3] >> 32)
        };
        let pseudo = addresses + u64::from(TCP.to_be()) + u64::from((length as u16).to_be());
        fold(pseudo + segment) == 0xffff || fold(pseudo) == packet.checksum
    }
}

/// A payload that cannot be read as a whole has no sum.
pub const UNREAD: u64 = u64::MAX;

/// What one stage tells the next.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Route {
    /// Set of subtypes that the packet holds.
    pub seen: Cell<u32>,
    /// Those of them that are allowed where they stand.
    pub valid: Cell<u32>,
    /// A [`Flow`], by its discriminant.
    pub flow: Cell<u32>,
    /// Slot of the subflow or of the handshake.
    pub slot: Cell<u32>,
    /// Slot of the session that is joined or was made, plus 1; 0 if there is none.
    pub session: Cell<u32>,
    /// Side of the session that sent the packet.
    pub side: Cell<u32>,
    /// A [`Direction`], by its discriminant.
    pub direction: Cell<u32>,
    /// Stages that the packet still needs, of [`Next`].
    pub next: Cell<u32>,
    /// 1 if its options are a lone DSS that belongs where it stands.
    pub is_dss_alone: Cell<u32>,
    /// Kind of the handshake that the packet opens: a `HandshakeKind`, by its discriminant.
    pub opens: Cell<u32>,
    /// Slot of the handshake that the packet is of, or opens anew, plus 1; 0 if there is none.
    pub handshake: Cell<u32>,
    /// 0.
    pub reserved: Cell<u32>,
    /// Tag of that handshake: the flow's or, of a rival, one made of it.
    pub tag: Cell<u64>,
}

/// The stages that a stage can ask for.
#[derive(Clone, Copy, Debug)]
pub struct Next;

impl Next {
    /// [`verify_join`](crate::engine::Stages::verify_join).
    pub const VERIFY_JOIN: u32 = 1;
    /// [`open_session`](crate::engine::Stages::open_session).
    pub const OPEN_SESSION: u32 = 1 << 1;
    /// [`open_subflow`](crate::engine::Stages::open_subflow).
    pub const OPEN_SUBFLOW: u32 = 1 << 2;
    /// [`signals`](crate::engine::Stages::signals).
    pub const SIGNALS: u32 = 1 << 3;
    /// [`close`](crate::engine::Stages::close).
    pub const CLOSE: u32 = 1 << 4;
    /// [`checksum`](crate::engine::Stages::checksum), behind the sum of the payload.
    pub const CHECKSUM: u32 = 1 << 5;
    /// No stage: the packet's mapping was not seen before. Only said where checksums are verified.
    pub const NEW_MAPPING: u32 = 1 << 6;
    /// No stage: the session had fallen back before the packet came.
    pub const FALLEN_BACK: u32 = 1 << 7;
    /// [`find_ranges`](crate::engine::Stages::find_ranges) and what follows it, of what was mapped.
    pub const MAPPED_RANGES: u32 = 1 << 8;
    /// [`find_ranges`](crate::engine::Stages::find_ranges) and what follows it, of what was sent.
    pub const SENT_RANGES: u32 = 1 << 9;
    /// [`accept`](crate::engine::Stages::accept), and none of those above.
    pub const ACCEPT: u32 = 1 << 10;
    /// No stage: its receiver takes the segment.
    pub const ACCEPTED: u32 = 1 << 13;
    /// No stage: the segment has nothing but what its receiver has acknowledged.
    pub const OLD: u32 = 1 << 11;
    /// [`find_runs`](crate::engine::Stages::find_runs) and what follows it.
    pub const RUNS: u32 = 1 << 12;
    /// [`open_handshake`](crate::engine::Stages::open_handshake).
    pub const OPEN_HANDSHAKE: u32 = 1 << 14;
    /// No stage: the flow has a subflow beside the one that its handshake makes.
    pub const TWIN: u32 = 1 << 15;
}

impl Route {
    /// Says, past a router, which side of its session sent the packet.
    #[inline(always)]
    pub(crate) fn turn(&self, side: u32) {
        const _: () = assert!(Direction::Rx as u32 == 0 && Direction::Tx as u32 == 1);
        self.side.set(side);
        self.direction.set(side);
    }

    /// Asks for a stage.
    #[inline(always)]
    pub(crate) fn ask(&self, stage: u32) {
        self.next.set(self.next.get() | stage);
    }
}

/// Where a packet's flow is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Flow {
    /// Nowhere.
    Unknown = 0,
    /// In the table of subflows.
    Subflow = 1,
    /// In the table of half-open handshakes.
    HalfOpen = 2,
}

impl Flow {
    pub(crate) const UNKNOWN: u32 = Self::Unknown as u32;
    pub(crate) const SUBFLOW: u32 = Self::Subflow as u32;
    pub(crate) const HALF_OPEN: u32 = Self::HalfOpen as u32;
}

/// Opposite of a direction, by their numbers.
#[inline(always)]
pub(crate) fn opposite(direction: u32) -> u32 {
    match direction {
        0 => 1,
        1 => 0,
        other => other,
    }
}

/// What is being inserted, and what was found so far. In the kernel it lies in a map, as all of the packet in work:
/// so the verifier knows as much of it at the hundredth range as at the first.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct RangeSearch {
    /// What was asked for, of each set: start and end.
    pub(crate) asked: [[Cell<u64>; 2]; 2],
    /// What the tags of the set's chunks are made with.
    pub(crate) key: Cell<u64>,
    /// How far the data sequence numbers of what was sent lie from the subflow's.
    pub(crate) shift: Cell<u64>,
    /// Slot and generation of the session.
    pub(crate) owner: [Cell<u32>; 2],
    /// Packets that were sent, and how many of them are not new to the subflow.
    pub(crate) packets: Cell<u32>,
    pub(crate) by_tcp: Cell<u32>,
    /// How many of them lie in the set, where they are several.
    pub(crate) again: Cell<u32>,
    /// The part that lies above the contiguous one.
    pub(crate) start: Cell<u32>,
    pub(crate) end: Cell<u32>,
    /// The end of the contiguous part.
    pub(crate) next: Cell<u32>,
    /// The range that it becomes, with those that it meets.
    pub(crate) from: Cell<u32>,
    pub(crate) to: Cell<u32>,
    /// A `Relation`, by its discriminant.
    pub(crate) relation: Cell<u32>,
    /// How often another CPU was in the way: then it is looked for a place once more, for all that it has become.
    pub(crate) tries: Cell<u32>,
    /// 0.
    pub(crate) reserved: Cell<u32>,
    /// Ranges that stay in the session, and a place there that is free; `GAPS` if there is none.
    pub(crate) used: Cell<u32>,
    pub(crate) spare: Cell<u32>,
    /// Which set it is, and its `gaps` when it was looked at.
    pub(crate) which: Cell<u32>,
    pub(crate) before: Cell<u32>,
    /// Chunks to look at, the number of the next, and ranges that stay in one, and in all of them.
    pub(crate) chunks: Cell<u32>,
    pub(crate) at: Cell<u32>,
    pub(crate) here: Cell<u32>,
    pub(crate) left: Cell<u32>,
    /// 1 if a range in a chunk holds all of it.
    pub(crate) is_inside: Cell<u32>,
    /// A chunk with a place that is free, `CHUNKS` if there is none, and the place.
    pub(crate) number: Cell<u32>,
    pub(crate) place: Cell<u32>,
    /// A chunk that is not there any more, `CHUNKS` if there is none.
    pub(crate) missing: Cell<u32>,
}

/// What is looked for in runs, and what was found. In the kernel it lies in a map, as
/// [`RangeSearch`].
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct RunSearch {
    /// A run that found no place in its subflow, 0 if there is none.
    pub(crate) spilled: Cell<u64>,
    /// Data sequence number of the first packet, and how far it lies from the subflow's.
    pub(crate) first: Cell<u64>,
    pub(crate) shift: Cell<u64>,
    /// Up to where the other end has acknowledged.
    pub(crate) acked: Cell<u64>,
    /// Packets, 0 if there are none to look for; and how many of them the subflow has mapped before.
    pub(crate) packets: Cell<u32>,
    pub(crate) here: Cell<u32>,
    /// The number of the next chunk to look at, `CHUNKS` if there is none.
    pub(crate) at: Cell<u32>,
    /// A chunk with a place for a run, `CHUNKS` if there is none, and the place.
    pub(crate) number: Cell<u32>,
    pub(crate) place: Cell<u32>,
    /// 0.
    pub(crate) reserved: Cell<u32>,
}
