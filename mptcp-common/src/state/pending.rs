//! Joins that are pending: of a side of a session, and of all sessions.
//!
//! A join that nobody answers is over after a time, and nobody comes by to say so. So neither is a number that
//! is raised and lowered: a side knows the places of its joins, which are asked whether they still are, and joins
//! of all sessions are counted by the time at which they began.

use bytemuck::Zeroable;

use crate::{
    state::{
        expiry::is_half_open_over,
        handshake::{HalfOpen, HandshakeFacts, HandshakeKind},
        limits::Limits,
        session::{MAX_PENDING, SessionSide},
    },
    table::{Memory, Table, Word},
};

impl<M: Memory> SessionSide<M> {
    /// Remembers the join in a slot of `half_opens`, of the session in the slot `session` and of its
    /// `generation`; returns how many others of this side are pending.
    #[inline(always)]
    pub(crate) fn add_join(
        &self,
        slot: u32,
        session: [u32; 2],
        half_opens: &impl Table<Memory = M, Slot = HalfOpen<M>>,
        limits: &Limits,
        now: u64,
    ) -> u32 {
        let mut others = 0;
        let mut free = MAX_PENDING;
        for (place, join) in self.joins.iter().enumerate() {
            let other = join.load();
            let is_pending = other != 0
                && other != slot + 1
                && half_opens
                    .slot(other - 1)
                    .is_some_and(|entry| is_pending(entry, session, limits, now));
            if is_pending {
                others += 1;
            } else {
                free = place;
            }
        }
        for (place, join) in self.joins.iter().enumerate() {
            if place == free {
                join.store(slot + 1);
            }
        }
        others
    }
}

/// Is this a join of a session, by slot and generation, that is under way?
#[inline(always)]
fn is_pending<M: Memory>(
    entry: &HalfOpen<M>,
    [session, generation]: [u32; 2],
    limits: &Limits,
    now: u64,
) -> bool {
    entry.kind() == HandshakeKind::Join as u32
        && entry.flags.load() & HandshakeFacts::RESOLVED != 0
        && entry.session.load() == session
        && entry.generation.load() == generation
        && !is_half_open_over(entry, limits, now)
}

/// Slices of time that pending joins are counted by.
pub const SLICES: usize = 64;

/// So many of them are the time after which a join is over.
const LIFE: u64 = SLICES as u64 / 2;

/// Pending joins of all sessions, by the slice of time in which they began. One that is over by its time may be
/// among them for a slice longer: a 32nd of its time.
#[derive(Debug, Zeroable)]
#[zeroable(bound = "M::W64: Zeroable")]
#[repr(C)]
pub struct PendingJoins<M: Memory> {
    /// A ring: in the upper half of each word the lower 32 bits of the slice's number, in the lower half how many
    /// joins began in it and are pending.
    pub slices: [M::W64; SLICES],
}

/// The number of the slice that a time lies in.
#[inline(always)]
fn slice(limits: &Limits, time: u64) -> u32 {
    (time / (limits.handshake / LIFE + 1)) as u32
}

impl<M: Memory> PendingJoins<M> {
    /// Joins that began within the time after which they are over.
    #[inline(always)]
    pub(crate) fn count(&self, limits: &Limits, now: u64) -> u32 {
        let newest = slice(limits, now);
        let mut count = 0;
        for word in &self.slices {
            let word = word.load();
            if u64::from(newest.wrapping_sub((word >> 32) as u32)) <= LIFE {
                count += word as u32;
            }
        }
        count
    }

    /// One more, which began at `now`.
    #[inline(always)]
    pub(crate) fn add(&self, limits: &Limits, now: u64) {
        let number = slice(limits, now);
        let word = &self.slices[number as usize % SLICES];
        let present = word.load();
        let is_new = (present >> 32) as u32 != number;
        if !(is_new && word.replace(present, u64::from(number) << 32 | 1)) {
            word.add(1);
        }
    }

    /// One less, which began at `created`.
    #[inline(always)]
    pub(crate) fn remove(&self, limits: &Limits, created: u64) {
        let number = slice(limits, created);
        let word = &self.slices[number as usize % SLICES];
        let present = word.load();
        if (present >> 32) as u32 == number && present as u32 != 0 {
            word.add(u64::MAX);
        }
    }

    /// None any more.
    pub fn clear(&self) {
        for word in &self.slices {
            word.store(0);
        }
    }
}
