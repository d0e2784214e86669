//! TCP option kind 30, from bytes to values.
//!
//! Two tiers. [`Area`] and [`RawOption`] are bytes with checked access; `MpCapable`, `Dss` and the
//! other values say what the bytes mean. Each value has a `check`, which judges length, flags and
//! the segment that carries the option, and a `decode`, which checks and reads. The engine checks,
//! and reads single fields by the functions that end in `_of`.
//!
//! All numbers are in host byte order once read; on the wire they are big-endian.

mod address;
mod area;
mod capable;
pub mod checksum;
mod decode;
mod dss;
mod join;
mod option;
pub(crate) mod scan;
mod segment;
mod sequence;
mod signal;

pub use self::address::{AddAddr, Address, RemoveAddr};
pub use self::area::{Area, MAX_OPTIONS, RawOption, Stop, walk};
pub use self::capable::{CapableFlags, MpCapable};
pub use self::decode::{Error, Mptcp, decode};
pub use self::dss::{Dss, DssFields, DssFlags, SequenceNumber};
pub use self::join::MpJoin;
pub use self::option::{
    Fault, KIND_EOL, KIND_MPTCP, KIND_MSS, KIND_NOP, KIND_WINDOW_SCALE, Key, Nonce, Subtype,
};
pub(crate) use self::option::{TIMESTAMP, TIMESTAMP_WORDS};
pub use self::scan::Found;
pub(crate) use self::scan::{NO_NIBBLE, Options, SHORTS};
pub use self::segment::{Segment, Stage, TcpFlags};
pub(crate) use self::sequence::{after, after_64, expand};
pub use self::signal::{MpFail, MpFastclose, MpPrio, MpTcpRst};
