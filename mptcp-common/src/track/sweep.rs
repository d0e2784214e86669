//! Frees handshakes that came to nothing, while programs work on them.
//!
//! Programs take over the place of such a one when they need it, and not before: no packet pays for a timer. So what a
//! flood of forged SYNs leaves stays in the table and in the filter, where the packets of others meet it, until somebody
//! in user space looks.

use crate::{
    state::{HalfOpen, HandshakeFacts, Limits, is_half_open_over, since},
    table::{self, BUCKET_SLOTS, Memory, Table, Word},
};

/// Where a table is crowded, a SYN that nobody has answered by then will not be.
pub const UNANSWERED: u64 = 30_000_000_000;

/// Of so many places, more than one is taken: it is worth a sweep.
const ENOUGH: u32 = 32;

/// Places of a table that are taken.
pub fn taken(tags: &impl Table) -> u32 {
    table::entries(tags).count() as u32
}

/// Returns true if a table with so many buckets, of whose places these are taken, is worth a [`sweep`].
pub fn is_worth_it(buckets: u32, taken: u32) -> bool {
    taken > buckets * BUCKET_SLOTS / ENOUGH
}

/// Frees handshakes whose time is over and, where half of the table is taken, those that nobody answered for
/// [`UNANSWERED`]: says how many. `grace` waits until all programs that run have ended. Two of these, or one and
/// [`clear`](super::clear()), may not run at once.
///
/// No packet of a flow that is followed is missed meanwhile: a handshake is taken out of its table by one
/// compare-and-swap of its tag, and the filter has heard of the tag until after that. What a program has found before,
/// it works on undisturbed until it ends; only then is the memory wiped, and the place free for another. Who is swept is
/// whom a program that wants the place would take over, at any time: nobody else.
///
/// Joins to a session that is known are left to programs: they hold identifiers and places of it.
///
/// # Errors
/// Those of `grace`. Handshakes that were taken out are then in nobody's reach, and their places not free.
pub fn sweep<M: Memory, E>(
    handshakes: &impl Table<Memory = M, Slot = HalfOpen<M>>,
    limits: &Limits,
    now: u64,
    grace: impl Fn() -> Result<(), E>,
) -> Result<u32, E> {
    let is_crowded = taken(handshakes) > handshakes.buckets() * BUCKET_SLOTS / 2;
    let mut swept = 0;
    for (slot, entry) in table::entries(handshakes) {
        const ANSWERED: u32 = HandshakeFacts::ANSWERED | HandshakeFacts::REFUSED;
        let (flags, tag) = (entry.flags.load(), entry.tag.load());
        let is_unanswered = flags & ANSWERED == 0 && since(entry.created.load(), now) > UNANSWERED;
        let is_over = is_half_open_over(entry, limits, now) || (is_crowded && is_unanswered);
        if tag != 0 && is_over && flags & HandshakeFacts::RESOLVED == 0 {
            swept += u32::from(table::bar(handshakes, slot, tag));
        }
    }
    if swept == 0 {
        return Ok(0);
    }
    grace()?;
    for slot in
        (0..handshakes.buckets() * BUCKET_SLOTS).filter(|slot| table::is_barred(handshakes, *slot))
    {
        if let Some(entry) = handshakes.slot(slot) {
            entry.forget();
        }
        table::free_barred(handshakes, slot);
    }
    Ok(swept)
}

/// How full a filter is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Cells.
    pub cells: u32,
    /// Those that are not 0: of flows that are not followed, so many packets take the slow path.
    pub used: u32,
    /// What the fullest says.
    pub fullest: u32,
}

impl Fill {
    /// Of these cells.
    pub fn of(cells: impl Iterator<Item = u8>) -> Self {
        cells.fold(Self::default(), |fill, cell| Self {
            cells: fill.cells + 1,
            used: fill.used + u32::from(cell != 0),
            fullest: fill.fullest.max(cell.into()),
        })
    }
}
