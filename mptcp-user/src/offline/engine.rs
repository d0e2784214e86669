//! The engine with its tables.

use std::{
    cell::{Cell, RefCell, RefMut},
    ops::DerefMut,
    rc::Rc,
    sync::atomic::AtomicU64,
};

use bytemuck::Zeroable as _;
use mptcp_common::{
    counter::{Counters, DirectionCounters, Event, EventKind, Gauges, Outcome, Passed, Role},
    crypto::Digest,
    engine::{self, Stages},
    packet::{
        self, Buffer, Flow, Frame, FrameClass, UNREAD, Work,
        hash::{Hashing, Secrets},
    },
    state::{
        self, HalfOpen, Keys, Limits, PendingJoins, RangeChunk, Session, Subflow, Tables,
        chunks_for, tokens,
    },
    table::{Atomics, Bucket, CELLS, buckets_for, cell_shift, cells_for},
    track,
    verifier::Opaque,
    wire::checksum,
    with_stages,
};

use super::{
    config::{Config, Scope},
    frame::{Captured, Readable, Slice, Unsegmented},
    table::Owned,
};

/// Counts frames as the programs in the kernel do.
pub struct Offline {
    config: Config,
    half_opens: Owned<HalfOpen<Atomics>>,
    subflows: Owned<Subflow<Atomics>>,
    sessions: Owned<Session<Atomics>>,
    range_chunks: Owned<RangeChunk<Atomics>>,
    hashing: Hashing,
    keys: Box<[Keys<Atomics>]>,
    tokens: Box<[Bucket<Atomics>]>,
    pending_joins: PendingJoins<Atomics>,
    counters: RefCell<Counters>,
    digest: RefCell<Digest>,
    reports: RefCell<Vec<Event>>,
    now: Cell<u64>,
    /// True if the last packet of a capture had no length in its IP header.
    lacks_length: Cell<bool>,
    work: Rc<Work>,
    /// In its place while it is changed.
    blank: Rc<Work>,
}

impl std::fmt::Debug for Offline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its tables hold keys.
        f.debug_struct("Offline")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Offline {
    /// Returns an engine that has seen nothing.
    pub fn new(config: Config) -> Self {
        let largest = config.sizes.subflows.max(config.sizes.handshakes);
        let cells = cells_for(buckets_for(largest));
        let filter: Rc<[AtomicU64]> = (0..cells / CELLS).map(|_| AtomicU64::new(0)).collect();
        let sessions = Owned::new(config.sizes.sessions, None);
        let (buckets, slots) = (sessions.tags.len(), sessions.slots.len());
        Self {
            half_opens: Owned::new(config.sizes.handshakes, Some(&filter)),
            subflows: Owned::new(config.sizes.subflows, Some(&filter)),
            sessions,
            range_chunks: Owned::new(chunks_for(config.sizes.ranges), None),
            hashing: Hashing::new(config.seed, cell_shift(cells)),
            keys: bytemuck::zeroed_slice_box(slots),
            tokens: bytemuck::zeroed_slice_box(buckets * tokens::BUCKETS as usize),
            pending_joins: PendingJoins::zeroed(),
            counters: RefCell::default(),
            digest: RefCell::default(),
            reports: RefCell::default(),
            now: Cell::new(0),
            lacks_length: Cell::new(false),
            work: Rc::default(),
            blank: Rc::default(),
            config,
        }
    }

    /// Counts a frame that was seen at `now`, in nanoseconds of any clock that does not go back.
    pub fn frame(&mut self, bytes: &[u8], buffer: Buffer, now: u64) -> Outcome {
        let whole = Slice {
            bytes,
            length: bytes.len(),
            stripped_tags: 0,
            is_merged: buffer.segment_size != 0,
            is_whole: self.config.fast_path_enabled,
        };
        self.count(whole, self.config.scope, buffer, now)
    }

    /// Counts a packet of a capture.
    pub fn captured(&mut self, captured: Captured<'_>, now: u64) -> Outcome {
        let lacks_length = Cell::new(false);
        let slice = Slice {
            bytes: captured.bytes,
            length: captured.length as usize,
            stripped_tags: 0,
            is_merged: false,
            is_whole: self.config.fast_path_enabled,
        };
        let frame = Unsegmented {
            slice,
            is_layer_3: captured.is_layer_3,
            lacks_length: &lacks_length,
        };
        let scope = Scope {
            is_layer_3: captured.is_layer_3,
            ..self.config.scope
        };
        let buffer = Buffer {
            ingress: captured.ingress,
            ..Buffer::ONE
        };
        let leaf = self.count(frame, scope, buffer, now);
        self.lacks_length.set(lacks_length.get());
        leaf
    }

    /// Returns true if the last packet of a capture had no length in its IP header, so that it was as long as what
    /// was captured.
    pub fn lacked_length(&self) -> bool {
        self.lacks_length.get()
    }

    fn count<'a, F: Readable<'a>>(
        &mut self,
        frame: F,
        scope: Scope,
        mut buffer: Buffer,
        now: u64,
    ) -> Outcome {
        self.now.set(now.max(1));
        // To be changed while tables are read, and too long to be copied.
        let mut held = std::mem::replace(&mut self.work, Rc::clone(&self.blank));
        let parsed = match Rc::get_mut(&mut held) {
            Some(work) => self.parse(frame, scope, &mut buffer, work),
            // Nobody else has it.
            None => Err(Outcome::NotTcp.into()),
        };
        self.work = held;
        let packets = buffer.count();
        self.counters.get_mut().frames += packets;
        let leaf = match parsed {
            Ok(()) => engine::packet(self, scope.is_tracking, |is_segment| {
                self.sum(frame.bytes(), is_segment);
            }),
            Err(Passed { leaf, protocol }) => {
                self.counters.get_mut().protocols.add(protocol, packets);
                leaf
            }
        };
        self.counters.get_mut().leaves.add(leaf, packets);
        leaf
    }

    /// Finds headers and options.
    fn parse<F: Frame>(
        &self,
        frame: F,
        scope: Scope,
        buffer: &mut Buffer,
        work: &mut Work,
    ) -> Result<(), Passed> {
        work.route.flow.set(Flow::Unknown as u32);
        let is_untracked = |ends: &_| {
            !scope.is_tracking || state::is_untracked(&self.subflows, &self.hashing, ends)
        };
        let shape = if scope.is_layer_3 {
            FrameClass::Layer3
        } else {
            packet::classify(&frame, || buffer.is_uncounted(), is_untracked)
        };
        if let Some(passed) = shape.passed() {
            return Err(passed);
        }
        let (header, work) = packet::find_tcp(&frame, self, shape, || Some(work))?;
        engine::parse(&frame, self, scope.is_tracking, buffer, &header, work)?;
        engine::find(work, self);
        Ok(())
    }

    /// Sums the payload of the packet in work, or the whole segment, if the frame holds all of it.
    fn sum(&self, frame: &[u8], is_segment: bool) {
        let packet = &self.work.packet;
        let end = packet.payload_at + packet.payload;
        let at = if is_segment {
            packet.header_at
        } else {
            packet.payload_at
        };
        let (at, length) = (at as usize, (end - at) as usize);
        let payload = frame.get(at..).and_then(|bytes| bytes.get(..length));
        // In the order of memory, as the kernel's helper sums.
        let sum = payload.map(|bytes| u64::from((checksum::sum(bytes) as u16).to_be()));
        self.work.payload_sum.set(sum.unwrap_or(UNREAD));
    }

    /// Returns the payload that the last packet brought to a subflow: its slot, the side that sent it, and bytes.
    pub fn payload(&self) -> Option<(u32, usize, u32)> {
        let route = &self.work.route;
        (route.flow.get() == Flow::Subflow as u32 && self.work.packet.payload > 0).then(|| {
            let side = route.side.get() & 1;
            (route.slot.get(), side as usize, self.work.packet.payload)
        })
    }

    /// Returns the filter that subflows and handshakes share (see [`Table::cell`](mptcp_common::table::Table::cell)).
    pub fn filter(&self) -> &[AtomicU64] {
        self.subflows.filter.as_deref().unwrap_or_default()
    }

    /// Returns what has happened since the last call.
    pub fn take_reports(&mut self) -> Vec<Event> {
        std::mem::take(self.reports.get_mut())
    }

    /// Returns what was counted.
    pub fn counters(&self) -> Counters {
        *self.counters.borrow()
    }

    /// Returns what exists at `now`.
    pub fn gauges(&self, now: u64) -> Gauges {
        state::census(
            &self.half_opens,
            &self.subflows,
            &self.sessions,
            &self.config.limits,
            now,
        )
    }
}

impl Opaque for Offline {
    fn opaque(&self, value: u32) -> u32 {
        value
    }

    fn opaque_by(&self, value: u32, _: u64) -> u32 {
        value
    }
}

impl Tables for Offline {
    type Memory = Atomics;
    type HalfOpens = Owned<HalfOpen<Atomics>>;
    type Subflows = Owned<Subflow<Atomics>>;
    type Sessions = Owned<Session<Atomics>>;
    type RangeChunks = Owned<RangeChunk<Atomics>>;
    type Digest = Digest;

    fn half_opens(&self) -> &Self::HalfOpens {
        &self.half_opens
    }

    fn subflows(&self) -> &Self::Subflows {
        &self.subflows
    }

    fn sessions(&self) -> &Self::Sessions {
        &self.sessions
    }

    fn range_chunks(&self) -> &Self::RangeChunks {
        &self.range_chunks
    }

    fn keys(&self, session: u32) -> Option<&Keys<Atomics>> {
        self.keys.get(session as usize)
    }

    fn tokens(&self, bucket: u32) -> Option<&Bucket<Atomics>> {
        self.tokens.get(bucket as usize)
    }

    fn pending_joins(&self) -> Option<&PendingJoins<Atomics>> {
        Some(&self.pending_joins)
    }

    fn with_digest<R>(&self, hash: impl FnOnce(&mut Digest) -> R) -> Option<R> {
        Some(hash(&mut self.digest.borrow_mut()))
    }

    fn seed(&self) -> u64 {
        self.config.seed
    }

    fn secrets(&self) -> &impl Secrets {
        &self.hashing
    }

    fn now(&self) -> u64 {
        self.now.get()
    }

    fn role(&self) -> Role {
        self.config.role
    }

    fn limits(&self) -> Limits {
        self.config.limits
    }

    fn checks_segments(&self) -> bool {
        self.config.scope.is_checking
    }

    fn verifies_checksums(&self) -> bool {
        self.config.scope.is_verifying
    }

    fn fast_path_enabled(&self) -> bool {
        self.config.fast_path_enabled
    }

    fn queue(&self) -> u32 {
        self.work.packet.queue
    }

    fn emit(&self, kind: EventKind, detail: u32, token: u32) {
        self.reports.borrow_mut().push(Event {
            time: self.now.get(),
            flow: self.work.flow.words,
            kind: kind as u32,
            detail,
            direction: self.work.route.direction.get(),
            token,
        });
    }

    fn events(&self, direction: u32) -> impl DerefMut<Target = DirectionCounters> {
        RefMut::map(self.counters.borrow_mut(), |counters| match direction {
            0 => &mut counters.rx,
            1 => &mut counters.tx,
            _ => &mut counters.unknown,
        })
    }
}

macro_rules! stages {
    ($($name:ident),+) => {
        impl Stages for Offline {
            fn work(&self) -> &Work {
                &self.work
            }

            fn examine(&self) {
                engine::examine(self, &self.config.policy);
            }

            fn insert_ranges(&self) {
                engine::insert_ranges(self);
            }

            $(
                fn $name(&self) {
                    track::$name(self, self.work());
                }
            )+
        }
    };
}
with_stages!(stages);
