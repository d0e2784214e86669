//! Ranges of data beyond gaps that find no room in their session: chunks of a pool that all sessions share.
//!
//! Over paths of different length a receiver sees tens or hundreds of separate ranges. A session remembers
//! [`GAPS`] of them for each of its sets; a set with more takes chunks of the pool, of 29 ranges each, by
//! their numbers from 0 on, up to [`CHUNKS`]. From then on, until its chunks are empty again, what is inserted
//! goes through the stage here: the set is what is below its `next`, the ranges in the session, and those in the
//! chunks, no two of which touch.
//!
//! A chunk is in a [table](super::table), whose places are taken without a lock, and several CPUs may be at
//! work on a set. So:
//! - A range is one word, which is put in place, and taken out, by compare-and-swap.
//! - A chunk's place is handed on when its session is gone, or when its session is over, or it is empty, and nobody
//!   has looked at it for [`HOLD_TIME`]. Who takes it, and who puts a range in an empty one, first changes `seen`
//!   by compare-and-swap: one of them does. Who has put a range in place looks whether the chunk is still his.
//! - Only one CPU at a time takes a chunk for a set; the word `gaps` says that it is at it. The same word counts
//!   what is put in chunks: who finds all of them empty says so only if nothing was put there meanwhile.
//!
//! What two CPUs can do to each other is that a range is forgotten; none appears that was not inserted.

use crate::{
    packet::Next,
    packet::Work,
    state::{MAPPED, Mapping, Relation, SENT, Tables},
    table::Word,
    track::{
        pool::{ATTEMPTS, Pool},
        repeats::{count_lost, count_mapped, count_sent},
        segment::SubflowSegment,
    },
};

/// Begins to insert into a set of the session what [`ask`] was told, one of what was mapped and what was sent: looks
/// at the ranges that are in the session.
#[inline(always)]
pub fn find_ranges<T: Tables>(tables: &T, work: &Work) {
    let (route, range_search) = (&work.route, &work.range_search);
    let asked = route.next.get();
    let which = usize::from(asked & Next::MAPPED_RANGES == 0);
    route.next.set(asked & !(Next::MAPPED_RANGES << which));
    range_search.chunks.set(0);
    let Some(segment) = SubflowSegment::new(tables, work) else {
        range_search.which.set(u32::MAX);
        range_search.tries.set(0);
        return;
    };
    // By an index that the verifier does not know: it looks at what is behind once, and not once per set.
    let which = tables.opaque(which as u32) as usize & 1;
    range_search.which.set(which as u32);
    let (slot, generation) = (
        segment.subflow.session.load(),
        segment.session.generation.load(),
    );
    let pool = Pool::new(tables, range_search);
    pool.begin([slot, generation], segment.side & 1, which);
    let [start, end] = &range_search.asked[which];
    let set = segment.session.sides[segment.side & 1].set(which);
    pool.find_in_session(&set, start.get(), end.get());
}

/// Looks at the ranges of the next chunk of the set.
#[inline(always)]
pub fn walk_chunk<T: Tables>(tables: &T, work: &Work) {
    Pool::new(tables, &work.range_search).walk(work.packet.segment_size);
}

/// Inserts what was looked for, and counts it.
#[inline(always)]
pub fn insert_range<T: Tables>(tables: &T, work: &Work) {
    let range_search = &work.range_search;
    let which = range_search.which.get();
    let Some(segment) = SubflowSegment::new(tables, work).filter(|_| which <= SENT as u32) else {
        return;
    };
    // By an index that the compiler does not know to be in range: else it leaves the mask out, and the verifier of
    // Linux 6.1 has lost the comparison.
    let which = tables.opaque(which) as usize & 1;
    let set = segment.session.sides[segment.side & 1].set(which);
    let tries = range_search.tries.get();
    let relation = Pool::new(tables, range_search).insert(&set);
    if tries < range_search.tries.get() && tries < ATTEMPTS - 1 {
        segment.work.route.ask(Next::MAPPED_RANGES << which);
        return;
    }
    range_search.tries.set(0);
    if which == MAPPED {
        count_mapped(&segment, relation);
        return;
    }
    let again = match relation {
        Relation::Inside => range_search.packets.get(),
        Relation::Lost => {
            count_lost(&segment);
            0
        }
        Relation::New | Relation::Partial => range_search.again.get(),
    };
    if again != 0 {
        let map = Mapping {
            dsn: range_search.shift.get(),
            ..Mapping::NONE
        };
        let start = range_search.asked[SENT][0].get();
        count_sent(&segment, map, start, again, range_search.by_tcp.get());
    }
}
