//! What older mappings of a subflow covered.

use crate::{
    state::{
        session::Session,
        subflow::{MAPPINGS, RUNS, Subflow, SubflowSide},
    },
    table::{Memory, Word},
    wire::after_64,
};

/// A run in a word: the lower 40 bits of its first data sequence number, above its length.
mod run {
    pub(super) const SHIFT: u32 = 24;
    pub(super) const LENGTH: u64 = (1 << SHIFT) - 1;
    /// A run with these bits takes no mapping any more, each of which is shorter than 2^16.
    pub(super) const FULL: u64 = 0xff << 16;
}

/// The number behind a run, above [`run::SHIFT`] bits.
#[inline(always)]
fn end(run: u64) -> u64 {
    (run & !run::LENGTH).wrapping_add((run & run::LENGTH) << run::SHIFT)
}

/// A sender that does not know of a DATA_ACK yet, since it is on its way or was lost, sends again what lies before it by
/// so much.
const SLACK: u64 = 1 << 20;

/// Is this a run of which not all was acknowledged for long?
#[inline(always)]
pub(crate) fn is_needed(run: u64, acked: u64) -> bool {
    run != 0 && after_64(end(run), acked.wrapping_sub(SLACK) << run::SHIFT)
}

impl<M: Memory> SubflowSide<M> {
    /// Adds the oldest mapping that is remembered to the runs, if it is not in them, since another one will take its
    /// place.
    ///
    /// Where that is a run of its own, the oldest one gives way. If it is needed, which `acked` decides, the highest
    /// DATA_ACK of what is sent here, `spill` has to find another place for it. Returns false, with nothing changed, if
    /// that returns false.
    #[inline(always)]
    pub(crate) fn keep_oldest(
        &self,
        acked: impl FnOnce() -> u64,
        spill: impl FnOnce(u64) -> bool,
    ) -> bool {
        let place = self.newest.load().wrapping_add(1) as usize & (MAPPINGS - 1);
        let oldest = &self.mappings[place];
        let (dsn, length) = (oldest.dsn.load(), u64::from(oldest.length.load()));
        let newest = self.runs[0].load();
        let behind = end(newest);
        if behind == dsn << run::SHIFT && newest & run::FULL != run::FULL {
            self.runs[0].store(newest + length);
            return true;
        }
        if behind == dsn.wrapping_add(length) << run::SHIFT && newest & run::LENGTH >= length {
            return true;
        }
        let last = self.runs[RUNS - 1].load();
        if last != 0 && is_needed(last, acked()) && !spill(last) {
            return false;
        }
        for i in (1..RUNS).rev() {
            self.runs[i].store(self.runs[i - 1].load());
        }
        self.runs[0].store(dsn << run::SHIFT | length);
        true
    }
}

/// [`SubflowSide::keep_oldest`] where no run that is needed gives way; returns false if one would have to.
#[inline(always)]
pub fn has_kept_oldest<M: Memory>(
    subflow: &Subflow<M>,
    session: &Session<M>,
    sender: usize,
) -> bool {
    let acked = || session.sides[(sender ^ 1) & 1].data_ack.load();
    subflow.sides[sender & 1].keep_oldest(acked, |_| false)
}

/// The first data sequence number of a run, which is the nearest to `near` with these 40 bits, and its length in bytes.
#[inline(always)]
pub(crate) fn run_near(run: u64, near: u64) -> (u64, u32) {
    let distance = (run & !run::LENGTH).wrapping_sub(near << run::SHIFT) as i64 >> run::SHIFT;
    (
        near.wrapping_add_signed(distance),
        (run & run::LENGTH) as u32,
    )
}
