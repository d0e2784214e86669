//! A packet together with the subflow and the session that it belongs to.

use crate::{
    counter::{DirectionCounters, EventKind},
    packet::{Next, Work, opposite},
    state::{Session, SessionFacts, Subflow, SubflowFacts, SubflowSide, Tables},
    table::{Table, Word},
    track::release::token_of,
    wire::{Allowed, Subtype, TcpFlags},
};

/// A packet on its way through the functions here.
pub(crate) struct SubflowSegment<'a, T: Tables> {
    pub(crate) tables: &'a T,
    pub(crate) work: &'a Work,
    pub(crate) subflow: &'a Subflow<T::Memory>,
    pub(crate) session: &'a Session<T::Memory>,
    /// The side that sent it.
    pub(crate) side: usize,
    pub(crate) now: u64,
}

impl<'a, T: Tables> SubflowSegment<'a, T> {
    /// The packet in work; `None` if its subflow or session is not there any more.
    #[inline(always)]
    pub(crate) fn new(tables: &'a T, work: &'a Work) -> Option<Self> {
        let subflow = tables.subflows().slot(work.route.slot.get())?;
        if subflow.tag.load() != work.tag {
            return None;
        }
        let session = tables.sessions().slot(subflow.session.load())?;
        if session.generation.load() != subflow.generation.load() {
            return None;
        }
        Some(Self {
            tables,
            work,
            subflow,
            session,
            side: work.route.side.get() as usize & 1,
            now: tables.now(),
        })
    }

    /// Packets.
    #[inline(always)]
    pub(crate) fn n(&self) -> u64 {
        self.work.packet.packets.into()
    }

    #[inline(always)]
    pub(crate) fn direction(&self) -> u32 {
        self.work.route.direction.get()
    }

    /// Sets a fact of this side; returns true if it was new.
    #[inline(always)]
    pub(crate) fn first(&self, fact: u32) -> bool {
        let fact = fact << self.side;
        // A load costs less than an atomic change, and nearly always says that it was.
        self.subflow.flags.load() & fact == 0 && self.subflow.flags.or(fact) & fact == 0
    }

    /// Sets a fact of this side of the session; returns true if it was new.
    #[inline(always)]
    pub(crate) fn first_of_session(&self, fact: u32) -> bool {
        let fact = fact << self.side;
        self.session.flags.load() & fact == 0 && self.session.flags.or(fact) & fact == 0
    }

    /// Returns true if a fact of this side is set.
    #[inline(always)]
    pub(crate) fn is(&self, fact: u32) -> bool {
        self.subflow.flags.load() & fact << self.side != 0
    }

    /// Returns true if a fact of the other side is set.
    #[inline(always)]
    pub(crate) fn is_other(&self, fact: u32) -> bool {
        self.subflow.flags.load() & fact << (self.side ^ 1) != 0
    }

    #[inline(always)]
    pub(crate) fn own_side(&self) -> &SubflowSide<T::Memory> {
        &self.subflow.sides[self.side & 1]
    }

    #[inline(always)]
    pub(crate) fn peer_side(&self) -> &SubflowSide<T::Memory> {
        &self.subflow.sides[(self.side ^ 1) & 1]
    }

    #[inline(always)]
    pub(crate) fn count(&self, count: impl FnOnce(&mut DirectionCounters)) {
        self.tables.count(self.direction(), count);
    }

    /// Counts for the direction that this packet answers.
    #[inline(always)]
    pub(crate) fn count_other(&self, count: impl FnOnce(&mut DirectionCounters)) {
        self.tables.count(opposite(self.direction()), count);
    }

    /// Tells who watches.
    #[inline(always)]
    pub(crate) fn emit(&self, kind: EventKind, detail: u32) {
        self.tables.emit(kind, detail, token_of(self.session));
    }

    /// Returns its options that are allowed.
    #[inline(always)]
    pub(crate) fn options(&self) -> Allowed<'_, T> {
        self.work.allowed(self.tables)
    }

    #[inline(always)]
    pub(crate) fn has(&self, subtype: Subtype) -> bool {
        self.work.route.valid.get() & subtype.bit() != 0
    }

    /// Returns true if the segment has nothing but what its receiver has acknowledged.
    #[inline(always)]
    pub(crate) fn is_old(&self) -> bool {
        self.work.route.next.get() & Next::OLD != 0
    }

    /// Returns 1 if it has, else 0, for the verifier's sake: it goes both ways of a branch.
    #[inline(always)]
    pub(crate) fn old(&self) -> u32 {
        (self.work.route.next.get() / Next::OLD) & 1
    }

    #[inline(always)]
    pub(crate) fn flags(&self) -> TcpFlags {
        self.work.packet.flags
    }
}

/// Notes when something was seen. Once per tick of the clock: both directions share this cache line.
#[inline(always)]
pub(crate) fn touch<W: Word<u64>>(last_seen: &W, now: u64) {
    if last_seen.load() != now {
        last_seen.store(now);
    }
}

/// The session is more than its handshake.
#[inline(always)]
pub(crate) fn settle<T: Tables>(segment: &SubflowSegment<'_, T>) {
    segment.session.flags.and(!SessionFacts::PROVISIONAL);
    segment.subflow.flags.and(!SubflowFacts::PROVISIONAL);
}

/// How far a number that a packet names may lie beyond what was seen of the other end: packets overtake each other,
/// and some reach the other end and not the probe.
pub(crate) const SLACK: u32 = 1 << 20;
