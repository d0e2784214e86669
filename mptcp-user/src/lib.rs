//! `mptcp-user`: counts Multipath TCP on the wire.
//!
//! The way of a number: the eBPF programs count into pinned maps (`probe` puts them there), a
//! `source` reads them into values of `snapshot`, `render` shows these. Each subcommand has a file in `commands`.
//!
//! This is the library of one binary; what is public is so for the tests.

#![deny(missing_docs)]
#![deny(unsafe_code)]

mod args;
mod capacity;
mod clock;
mod commands;
mod failure;
mod inspect;
mod interrupt;
pub mod offline;
#[allow(
    unsafe_code,
    reason = "it talks with the kernel: each block says why it is sound"
)]
mod probe;
mod progress;
mod render;
mod schema;
mod snapshot;
mod source;
pub mod statistics;
mod text;

use std::process::ExitCode;

pub use inspect::pinned;
pub use probe::{OBJECT, filter};

/// Captures, for tests.
pub mod capture {
    pub use crate::source::capture::{CaptureContents, read};
}

/// Logs, for tests.
pub mod log {
    pub use crate::{
        inspect::log::{displays, page},
        snapshot::reading::{Hooks, InterfaceReading, Range, Reading},
        source::log::{Contents, line, read},
    };
}

/// Runs the program: reads the command line, does what it says.
pub fn main() -> ExitCode {
    match commands::run(args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
