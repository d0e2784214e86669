//! What is counted.
//!
//! [`Counters`] is the raw truth: one struct per CPU and interface in a pinned map, only ever
//! added to. The rows of tables are formulas over them (`statistics` of mptcp-user). A counter is in wire packets
//! unless its description says otherwise.

mod event;
mod gauges;
mod hook;
mod protocol;
mod raw;
mod role;

pub use event::{Event, EventKind, Fallback, JoinFailure};
pub use gauges::Gauges;
pub use hook::{FexitCounts, FexitHook};
pub use protocol::{Passed, Protocol};
pub use raw::{
    Counters, DirectionCounters, LAYOUT_VERSION, Outcome, Outcomes, PLACES, Protocols, bounded_sum,
    place,
};
pub use role::{Direction, Role};
