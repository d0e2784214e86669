//! From a frame to the numbers of its TCP header and its option area.
//!
//! [`classify`](classify()) looks at the first bytes of every frame. [`read_dss_in_place`] reads the segments
//! that nearly all are where they lie; [`find_tcp`] walks the headers of any other.

mod buffer;
mod classify;
mod flow;
mod frame;
pub mod hash;
mod header;
mod in_place;
mod link;
mod parse;
mod segment;
mod work;

pub(crate) use self::buffer::packets_from;
pub use self::classify::{FrameClass, classify};
pub use self::flow::FlowKey;
pub use self::frame::{Buffer, Frame, View};
pub use self::header::Header;
pub use self::in_place::{DssSegment, read_ack_in_place, read_dss_in_place};
pub use self::parse::{Flows, find_tcp, parse};
pub use self::segment::Packet;
pub(crate) use self::work::opposite;
pub use self::work::{Flow, Next, RangeSearch, Route, RunSearch, UNREAD, Work};
