//! A table of fixed size in memory that several CPUs share: buckets of tags, slots, and a filter before them.
//!
//! Nothing here knows of MPTCP.

mod bucket;
mod filter;
mod word;

pub use self::bucket::{
    BUCKET_SLOTS, Bucket, Entry, Table, bar, buckets_for, claim, claim_home, entries, evict, find,
    free_barred, is_barred, mix, prefetch, release, tag, unbar,
};
pub use self::filter::{CELLS, Cell, MOST, cell_shift, cells_for, place};
#[cfg(not(target_arch = "bpf"))]
pub use self::word::Atomics;
pub use self::word::{Memory, Word};
pub(crate) use self::{
    bucket::{STAYS, evict_settled, find_entry, find_home, find_other, first_slot},
    word::bump,
};
