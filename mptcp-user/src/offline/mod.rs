//! The engine over ordinary memory: the code that runs in the kernel, fed with frames from elsewhere.
//!
//! ```
//! use mptcp_common::packet::Buffer;
//! use mptcp_user::{offline::{Config, Offline}, statistics::ROWS};
//!
//! // Ethernet, IPv4, and a TCP SYN with MP_CAPABLE of version 1.
//! let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
//! frame.extend([0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
//! frame.extend([0x9c, 0x40, 0x13, 0x88, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0]);
//! frame.extend([30, 4, 0x01, 0x01]);
//!
//! let config = Config::default();
//! let mut engine = Offline::new(config);
//! engine.frame(&frame, Buffer::ONE, 1);
//! let row = ROWS.iter().find(|row| row.short == "MPSYN").expect("a row of the table");
//! assert_eq!(row.total(&engine.counters(), None, config.role), Some(1));
//! ```

mod config;
mod engine;
mod frame;
mod table;

pub use self::{
    config::{Config, Scope},
    engine::Offline,
    frame::{Captured, Slice},
    table::Owned,
};
pub use crate::capacity::Capacity;
