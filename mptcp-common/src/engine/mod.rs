//! One packet in, counts out.
//!
//! The engine sees a packet that was already gathered: addresses, TCP header, option area. It is
//! the same code in the kernel, over BPF maps, and in user space. A packet is **located** (whose
//! flow is it?), its options are **found**, its direction follows from both, its options are
//! **counted** by themselves, and what they mean to their session is **tracked**.

mod count;

use core::cell::Cell;

pub(crate) use self::count::Options;
pub use self::count::{Found, count_lone_dss, count_predicted};
use crate::{
    counter::{Direction, Leaf, Role},
    track::{
        self, CHUNKS, FlowKey, Insertion, Recall, Tables, Word as _, half_open,
        hash::{Ends, Secrets, flow_place},
        subflow,
        table::{self, Table as _},
    },
    wire::{Area, DssFields, Forget, KIND_MPTCP, Stage, Subtype, TcpFlags, checksum::fold},
};

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

/// What the table's policy rows are judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Policy {
    /// Smallest MSS in bytes that is not an error, over IPv4.
    pub min_mss_v4: u16,
    /// The same over IPv6.
    pub min_mss_v6: u16,
    /// Is version 0 supported? Where it is not, a version 0 SYN counts in VerEr.
    pub version_0: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            min_mss_v4: count::DEFAULT_MSS[0],
            min_mss_v6: count::DEFAULT_MSS[1],
            version_0: true,
        }
    }
}

/// Everything about the packet in work. In the kernel it lies in a map: the verifier forgets what
/// it knew of a number that went through one, and the stages find it there.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Work {
    /// The option area.
    pub area: Area,
    /// Where its options stand.
    pub found: Found,
    /// The numbers of its DSS, if it has one.
    pub dss: DssFields,
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
    /// Of the kernel side: which second it is, and how many reports were made in it.
    pub reports: [Cell<u64>; 2],
    /// Data that is to be looked for in chunks of ranges, and remembered there.
    pub insertion: Insertion,
    /// Data that is to be looked for in what its subflow has mapped.
    pub recall: Recall,
}

impl Work {
    /// Is the TCP checksum right, by the sum of the segment? Also if not all of it was there, and if it is what the own
    /// machine writes for its hardware to complete: the sum of the pseudo-header (RFC 9293 section 3.1) alone.
    #[inline(always)]
    fn is_intact(&self) -> bool {
        const TCP: u16 = 6;
        let segment = self.payload_sum.get();
        if segment == UNREAD {
            return true;
        }
        let packet = &self.packet;
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
    /// Stages that the packet still needs, of [`next`].
    pub next: Cell<u32>,
    /// 1 if its options are a lone DSS that belongs where it stands.
    pub is_lone: Cell<u32>,
    /// 0.
    pub reserved: Cell<u32>,
}

/// The stages that a stage can ask for.
pub mod next {
    /// [`verify_join`](super::Stages::verify_join).
    pub const VERIFY_JOIN: u32 = 1;
    /// [`open_session`](super::Stages::open_session).
    pub const OPEN_SESSION: u32 = 1 << 1;
    /// [`open_subflow`](super::Stages::open_subflow).
    pub const OPEN_SUBFLOW: u32 = 1 << 2;
    /// [`signals`](super::Stages::signals).
    pub const SIGNALS: u32 = 1 << 3;
    /// [`close`](super::Stages::close).
    pub const CLOSE: u32 = 1 << 4;
    /// [`checksum`](super::Stages::checksum), behind the sum of the payload.
    pub const CHECKSUM: u32 = 1 << 5;
    /// No stage: the packet's mapping was not seen before. Only said where checksums are verified.
    pub const NEW_MAPPING: u32 = 1 << 6;
    /// No stage: the session had fallen back before the packet came.
    pub const FALLEN_BACK: u32 = 1 << 7;
    /// [`find_ranges`](super::Stages::find_ranges) and what follows it, of what was mapped.
    pub const MAPPED_RANGES: u32 = 1 << 8;
    /// The same of what was sent.
    pub const SENT_RANGES: u32 = 1 << 9;
    /// [`accept`](super::Stages::accept), and none of those above.
    pub const ACCEPT: u32 = 1 << 10;
    /// No stage: its receiver takes the segment.
    pub const ACCEPTED: u32 = 1 << 13;
    /// No stage: the segment has nothing but what its receiver has acknowledged.
    pub const OLD: u32 = 1 << 11;
    /// [`find_runs`](super::Stages::find_runs) and what follows it.
    pub const RUNS: u32 = 1 << 12;
}

impl Route {
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
    const UNKNOWN: u32 = Self::Unknown as u32;
    const SUBFLOW: u32 = Self::Subflow as u32;
    const HALF_OPEN: u32 = Self::HalfOpen as u32;
}

/// The packet in work, and the stages that are functions of their own in the kernel. Each acts on
/// that packet, and says what it found in its [`Route`]; none calls another, but for [`insert_ranges`].
pub trait Stages: Tables {
    /// The packet in work.
    fn work(&self) -> &Work;
    /// [`examine`].
    fn examine(&self);
    /// [`track::lookup_join`](crate::track::lookup_join).
    fn lookup_join(&self);
    /// [`track::handshake`](crate::track::handshake()).
    fn handshake(&self);
    /// [`track::verify_join`](crate::track::verify_join).
    fn verify_join(&self);
    /// [`track::open_session`](crate::track::open_session).
    fn open_session(&self);
    /// [`track::open_subflow`](crate::track::open_subflow).
    fn open_subflow(&self);
    /// [`track::accept`](crate::track::accept).
    fn accept(&self);
    /// [`track::refuse`](crate::track::refuse).
    fn refuse(&self);
    /// [`track::established`](crate::track::established()).
    fn established(&self);
    /// [`insert_ranges`], by the six that follow.
    fn insert_ranges(&self);
    /// [`track::find_ranges`](crate::track::find_ranges), of one of the two sets that can be asked for.
    fn find_ranges(&self);
    /// [`track::walk_chunk`](crate::track::walk_chunk), for each chunk of the set.
    fn walk_chunk(&self);
    /// [`track::insert_range`](crate::track::insert_range).
    fn insert_range(&self);
    /// [`track::find_runs`](crate::track::find_runs).
    fn find_runs(&self);
    /// [`track::walk_runs`](crate::track::walk_runs), for each chunk of the subflow.
    fn walk_runs(&self);
    /// [`track::count_runs`](crate::track::count_runs).
    fn count_runs(&self);
    /// [`track::checksum`](crate::track::checksum()).
    fn checksum(&self);
    /// [`track::signals`](crate::track::signals()).
    fn signals(&self);
    /// [`track::close`](crate::track::close()).
    fn close(&self);
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

/// Whose flow is it? To be asked before the options are looked at: most packets are done then.
#[inline(always)]
pub fn locate(tables: &impl Tables, tag: u64) -> (Flow, u32) {
    if let Some(slot) = table::find(tables.subflows(), tag) {
        return (Flow::Subflow, slot);
    }
    if let Some(slot) = table::find(tables.half_opens(), tag) {
        return (Flow::HalfOpen, slot);
    }
    (Flow::Unknown, 0)
}

/// Does nobody follow this flow? False if that is not sure.
#[inline(always)]
pub fn is_strange(table: &impl table::Table, secrets: &impl Secrets, ends: &Ends) -> bool {
    table.is_absent(flow_place(secrets, ends))
}

/// Finds the options of a packet.
pub fn find(work: &mut Work, tables: &impl Tables) {
    if !find_common(work, tables) {
        walk(work, tables);
    }
}

/// Finds the options of nearly every packet: none of kind 30, or a lone DSS that belongs where it
/// stands. False if they need a [`walk`].
#[inline(always)]
pub fn find_common(work: &mut Work, tables: &impl Tables) -> bool {
    let length = tables.forget(work.packet.options);
    work.route.session.set(0);
    work.route.is_lone.set(0);
    work.route.seen.set(0);
    if length == 0 {
        return true;
    }
    if !tables.takes_short_ways() {
        return false;
    }
    if !work.packet.flags.any(TcpFlags::SYN | TcpFlags::RST)
        && let Some(dss) = DssFields::read_lone(|index| work.area.word(index), length)
    {
        work.dss = dss;
        work.route.seen.set(Subtype::Dss.bit());
        work.route.is_lone.set(1);
        return true;
    }
    !work.area.contains(KIND_MPTCP)
}

/// Begins to fetch where the handshake of a SYN will stand: one of no flow that is known, and whose options may be
/// MPTCP's.
#[inline(always)]
pub fn prefetch(work: &Work, tables: &impl Tables) {
    if work.packet.flags.stage() == Stage::Syn && work.route.flow.get() == Flow::UNKNOWN {
        table::prefetch(tables.half_opens(), work.tag);
    }
}

/// Finds the options of any packet.
#[inline(always)]
pub fn walk(work: &mut Work, verifier: &impl Forget) {
    let (area, found) = (&work.area, &mut work.found);
    let seen = count::find(area, work.packet.options, found, verifier);
    if seen & Subtype::Dss.bit() != 0 {
        work.dss = DssFields::read(&found.dss(area, verifier));
    }
    work.route.seen.set(seen);
}

/// Counts what the options of a packet say by themselves, whichever they are.
#[inline(always)]
pub fn examine(stages: &impl Stages, policy: &Policy) {
    let work = stages.work();
    let route = &work.route;
    let seen = stages.forget(route.seen.get());
    let mut events = stages.events(route.direction.get());
    let valid = count::count(work, seen, policy, stages, &mut events);
    route.valid.set(valid);
}

/// Counts the packet in work, which was located and whose options were found, and says which leaf
/// it belongs to: [`Leaf::Tcp`] or [`Leaf::Mptcp`]. Without tracking no table is touched.
///
/// `sum` sets [`Work::payload_sum`], to that of the whole segment if it gets true; it is called if a checksum needs
/// it.
#[inline(always)]
pub fn packet<S: Stages>(stages: &S, is_tracking: bool, sum: impl Fn(bool)) -> Leaf {
    let work = stages.work();
    let route = &work.route;
    let seen = route.seen.get();
    let flow = stages.forget(route.flow.get());
    if seen == 0 && flow == Flow::UNKNOWN {
        return Leaf::Tcp;
    }
    let is_syn = work.packet.flags.stage() == Stage::Syn;
    if is_tracking && is_syn && seen & Subtype::MpJoin.bit() != 0 {
        stages.lookup_join();
    }
    direct(stages, work, flow);
    if seen == 0 {
        route.valid.set(0);
    } else if route.is_lone.get() != 0 {
        let mut events = stages.events(route.direction.get());
        count_lone_dss(&work.packet, &work.dss, &mut events);
        route.valid.set(seen);
    } else {
        stages.examine();
    }
    if !is_tracking {
        return Leaf::Mptcp;
    }
    route.next.set(0);
    if flow != Flow::UNKNOWN && track::ends(stages, work) {
        sum(true);
        if !work.is_intact() {
            stages.count(route.direction.get(), |events| events.not_taken += 1);
            return if seen == 0 { Leaf::Tcp } else { Leaf::Mptcp };
        }
    }
    if stages.forget(flow) != Flow::SUBFLOW || work.packet.flags.stage() != Stage::Later {
        stages.handshake();
        if route.next.get() & next::VERIFY_JOIN != 0 {
            stages.verify_join();
        }
        if route.next.get() & next::OPEN_SESSION != 0 {
            stages.open_session();
        }
        if route.next.get() & next::OPEN_SUBFLOW != 0 {
            stages.open_subflow();
        }
    }
    // Also one that the handshake has just made.
    if route.flow.get() == Flow::SUBFLOW && !track::is_predicted(stages) {
        stages.established();
        let mut asked = route.next.get();
        if asked & next::ACCEPT != 0 {
            stages.accept();
            if route.next.get() & next::ACCEPTED != 0 {
                stages.established();
            } else {
                stages.refuse();
            }
            asked = route.next.get();
        }
        if asked & (next::MAPPED_RANGES | next::SENT_RANGES | next::RUNS) != 0 {
            stages.insert_ranges();
        }
        if asked & next::CHECKSUM != 0 {
            sum(false);
            stages.checksum();
            asked = route.next.get();
        }
        if asked & next::SIGNALS != 0 {
            stages.signals();
            asked = route.next.get();
        }
        if asked & next::CLOSE != 0 {
            stages.close();
        }
    }
    if seen == 0 { Leaf::Tcp } else { Leaf::Mptcp }
}

/// Inserts what was mapped and what was sent into sets that have more ranges than their session has room for. Then looks
/// for what was sent again in the runs of its subflow, and puts one in the pool that finds no place there any more.
#[inline(always)]
pub fn insert_ranges(stages: &impl Stages) {
    let work = stages.work();
    for _ in 0..2 * track::ATTEMPTS {
        if work.route.next.get() & (next::MAPPED_RANGES | next::SENT_RANGES) == 0 {
            break;
        }
        stages.find_ranges();
        for _ in 0..CHUNKS {
            if !work.insertion.has_chunks() {
                break;
            }
            stages.walk_chunk();
        }
        stages.insert_range();
    }
    if work.route.next.get() & next::RUNS == 0 {
        return;
    }
    stages.find_runs();
    for _ in 0..CHUNKS {
        if !work.recall.has_chunks() {
            break;
        }
        stages.walk_runs();
    }
    stages.count_runs();
}

/// The direction of a packet that this side of its session sent, if that is known.
///
/// On a host, what comes in was received. On a middlebox, what the session's initiator sends was
/// received.
#[inline(always)]
pub fn direction(role: Role, ingress: bool, side: Option<u32>) -> Direction {
    match (role, side) {
        (Role::Host, _) if ingress => Direction::Rx,
        (Role::Host, _) => Direction::Tx,
        (Role::Middlebox, Some(0)) => Direction::Rx,
        (Role::Middlebox, Some(_)) => Direction::Tx,
        (Role::Middlebox, None) => Direction::Unknown,
    }
}

/// Finds the packet's side and direction. Of a packet without a session nothing is known but what its SYN
/// says.
#[inline(always)]
fn direct(tables: &impl Tables, work: &Work, flow: u32) {
    let second = u32::from(work.packet.sender_is_second);
    let stage = work.packet.flags.stage();
    let capable = work.route.seen.get() & Subtype::MpCapable.bit() != 0;
    let side = match flow {
        Flow::SUBFLOW => tables
            .subflows()
            .slot(work.route.slot.get())
            .map(|entry| (entry.flags.load() & subflow::FIRST_IS_LISTENER) ^ second),
        Flow::HALF_OPEN => tables
            .half_opens()
            .slot(work.route.slot.get())
            .and_then(|entry| {
                let flags = entry.flags.load();
                let responds = (flags & half_open::OPENER_IS_FIRST) ^ 1 ^ second;
                let opener_listens = u32::from(flags & half_open::OPENER_LISTENS != 0);
                (flags & half_open::SIDES_KNOWN != 0).then_some(responds ^ opener_listens)
            }),
        _ => None,
    };
    let side = match (stage, side) {
        // A new connection on the addresses of an old one.
        (Stage::Syn, _) if capable => Some(0),
        (Stage::Syn, _) if work.route.session.get() != 0 => Some(work.route.side.get()),
        (Stage::Syn, _) => None,
        (Stage::SynAck, None) if capable => Some(1),
        (_, side) => side,
    };
    let direction = direction(tables.role(), work.packet.ingress, side);
    work.route.side.set(side.unwrap_or(0));
    work.route.direction.set(direction as u32);
}
