//! TCP option kind 30, from bytes to values.
//!
//! Two tiers. [`Area`] and [`RawOption`] are bytes with checked access. [`MpCapable`] and the other views have fields
//! with names. A view is made by its `parse` alone, which judges length, flags and the segment that carries the option:
//! who holds one need not check again. Of a [`Dss`] the numbers are read at once, and checked by themselves.
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
pub use self::area::{Area, MAX_OPTIONS, RawOption, WalkEnd, walk};
pub use self::capable::{CapableFlags, MpCapable};
pub use self::decode::{Error, Mptcp, decode};
pub use self::dss::{Dss, DssFlags};
pub use self::join::{JoinForm, MpJoin};
pub use self::option::{
    Fault, KIND_EOL, KIND_MPTCP, KIND_MSS, KIND_NOP, KIND_WINDOW_SCALE, Key, Nonce, Subtype,
};
pub(crate) use self::option::{TIMESTAMP, TIMESTAMP_WORDS};
pub use self::scan::OptionOffsets;
pub(crate) use self::scan::{Allowed, NO_NIBBLE, Options, SHORTS};
pub use self::segment::{Segment, Stage, TcpFlags};
pub(crate) use self::sequence::{after, after_64, expand};
pub use self::signal::{MpFail, MpFastclose, MpPrio, MpTcpRst};
