//! What is remembered of handshakes, subflows and sessions: entries of tables, and when they are over.
//!
//! A session has two *sides*: 0 is the initiator, who sent the MP_CAPABLE SYN, and 1 the listener.
//! What a side sent, or said of itself, stands at its index. Times are nanoseconds of the kernel's
//! monotonic clock, or of a capture's.
//!
//! Everything is zero in an entry that nobody used; the layouts have no padding.

mod census;
mod chunk;
mod expiry;
mod handshake;
mod ids;
mod limits;
mod lookup;
mod mapping;
mod pending;
mod reset;
mod runs;
mod session;
mod set;
mod subflow;
mod tables;
pub mod tokens;

pub use self::census::census;
pub use self::chunk::{CHUNK_RANGES, CHUNKS, RangeChunk, chunks_for};
pub(crate) use self::expiry::{HOLD_TIME, REPLACE_TIME, TICK, provisional, rank, since, ticks};
pub use self::expiry::{
    is_chunk_free, is_half_open_over, is_session_over, is_subflow_open, is_subflow_over,
};
#[cfg(not(target_arch = "bpf"))]
pub(crate) use self::handshake::MAX_SCALE;
pub(crate) use self::handshake::WindowOffer;
pub use self::handshake::{HalfOpen, HandshakeFacts, HandshakeKind};
pub(crate) use self::ids::{bit, clear_bit, set_bit};
pub use self::limits::Limits;
pub(crate) use self::lookup::{is_of_flow, key_of, look_up};
pub use self::lookup::{is_untracked, locate, prefetch};
pub(crate) use self::mapping::{Mapping, MappingMatch};
pub use self::pending::{PendingJoins, SLICES};
pub(crate) use self::reset::{reset_session, reset_side, reset_subflow_side, reset_sums};
pub use self::runs::has_kept_oldest;
pub(crate) use self::runs::{is_needed, run_near};
pub use self::session::{
    GAPS, Keys, MAPPED, MAX_PENDING, Ranges, SENT, Session, SessionFacts, SessionSide,
};
pub(crate) use self::set::{
    CHUNKED, DataBuffer, Relation, Set, TRIES, clip, partial_or_new, raise, range,
};
pub use self::subflow::{
    MAPPINGS, MappingSlot, RUNS, Subflow, SubflowFacts, SubflowSide, Sum, SumFacts,
};
pub use self::tables::Tables;
pub use self::tokens::BUCKETS;
pub(crate) use self::tokens::Tokens;
