//! A packet together with the subflow and the session that it belongs to.

use super::{
    Happening, Stages,
    entry::{Session, Subflow, Way},
    open::token_of,
    table::Table as _,
    word::Word,
};
use crate::{
    counter::Events,
    engine::{Options, Work, next, opposite},
    wire::{RawOption, Subtype, TcpFlags},
};

/// A packet on its way through the functions here.
pub(super) struct Seen<'a, T: Stages> {
    pub(super) tables: &'a T,
    pub(super) work: &'a Work,
    pub(super) subflow: &'a Subflow<T::Memory>,
    pub(super) session: &'a Session<T::Memory>,
    /// The side that sent it.
    pub(super) side: usize,
    pub(super) now: u64,
}

impl<'a, T: Stages> Seen<'a, T> {
    /// The packet in work; `None` if its subflow or session is not there any more.
    #[inline(always)]
    pub(super) fn new(tables: &'a T) -> Option<Self> {
        let work = tables.work();
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
    pub(super) fn n(&self) -> u64 {
        self.work.packet.packets.into()
    }

    #[inline(always)]
    pub(super) fn direction(&self) -> u32 {
        self.work.route.direction.get()
    }

    /// Sets a fact of this side; was it new?
    #[inline(always)]
    pub(super) fn first(&self, fact: u32) -> bool {
        let fact = fact << self.side;
        // A load costs less than an atomic change, and nearly always says that it was.
        self.subflow.flags.load() & fact == 0 && self.subflow.flags.or(fact) & fact == 0
    }

    /// The same of the session.
    #[inline(always)]
    pub(super) fn first_of_session(&self, fact: u32) -> bool {
        let fact = fact << self.side;
        self.session.flags.load() & fact == 0 && self.session.flags.or(fact) & fact == 0
    }

    /// Is a fact of this side set?
    #[inline(always)]
    pub(super) fn is(&self, fact: u32) -> bool {
        self.subflow.flags.load() & fact << self.side != 0
    }

    /// Is a fact of the other side set?
    #[inline(always)]
    pub(super) fn is_other(&self, fact: u32) -> bool {
        self.subflow.flags.load() & fact << (self.side ^ 1) != 0
    }

    #[inline(always)]
    pub(super) fn way(&self) -> &Way<T::Memory> {
        &self.subflow.ways[self.side & 1]
    }

    #[inline(always)]
    pub(super) fn other_way(&self) -> &Way<T::Memory> {
        &self.subflow.ways[(self.side ^ 1) & 1]
    }

    #[inline(always)]
    pub(super) fn count(&self, count: impl FnOnce(&mut Events)) {
        self.tables.count(self.direction(), count);
    }

    /// Counts for the direction that this packet answers.
    #[inline(always)]
    pub(super) fn count_other(&self, count: impl FnOnce(&mut Events)) {
        self.tables.count(opposite(self.direction()), count);
    }

    /// Tells who watches.
    #[inline(always)]
    pub(super) fn report(&self, happening: Happening, detail: u32) {
        self.tables
            .report(happening, detail, token_of(self.session));
    }

    #[inline(always)]
    pub(super) fn option(&self, subtype: Subtype) -> Option<RawOption<'_>> {
        Options::new(self.work, self.work.route.valid.get(), self.tables).get(subtype)
    }

    /// As [`option`](Self::option), of length 0 where there is none.
    #[inline(always)]
    pub(super) fn option_or_empty(&self, subtype: Subtype) -> RawOption<'_> {
        Options::new(self.work, self.work.route.valid.get(), self.tables).get_or_empty(subtype)
    }

    #[inline(always)]
    pub(super) fn has(&self, subtype: Subtype) -> bool {
        self.work.route.valid.get() & subtype.bit() != 0
    }

    /// Has the segment nothing but what its receiver has acknowledged?
    #[inline(always)]
    pub(super) fn is_old(&self) -> bool {
        self.work.route.next.get() & next::OLD != 0
    }

    #[inline(always)]
    pub(super) fn flags(&self) -> TcpFlags {
        self.work.packet.flags
    }
}
