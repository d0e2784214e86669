//! What is counted, and what is made of it.
//!
//! [`Counters`] is the raw truth: one struct per CPU and interface in a pinned map, only ever
//! added to. [`ROWS`] are the 83 rows of the table and [`EXTRAS`] the further ones, each a formula
//! over the raw counters. A counter is in wire packets unless its description says otherwise.

/// A field of all three directions.
macro_rules! all {
    ($c:ident.$field:ident) => {
        $c.rx.$field + $c.tx.$field + $c.unknown.$field
    };
}

mod catalogue;
mod event;
mod extra;
mod hook;
mod protocol;
mod raw;

pub use catalogue::{Direction, Gauges, Group, Kind, Quality, ROWS, Role, Row, Value};
pub use event::{Event, EventKind, Fallback, JoinFailure};
pub use extra::{EXTRAS, Extra};
pub use hook::{FexitCounts, FexitHook};
pub use protocol::{Passed, Protocol};
pub use raw::{
    Counters, DirectionCounters, LAYOUT_VERSION, Outcome, Outcomes, PLACES, Protocols, bounded_sum,
    place,
};
