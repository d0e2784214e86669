//! `mptcp-user`: counts Multipath TCP on the wire.
//!
//! The way of a number: the eBPF programs count into pinned maps (`probe` puts them there), a
//! `source` reads them, `render` shows them. Each subcommand has a file in `commands`.
//!
//! This is the library of one binary; what is public is so for the tests.

mod cli;
mod commands;
mod failure;
mod interrupt;
pub mod offline;
mod probe;
mod progress;
mod render;
mod source;
mod text;

use std::process::ExitCode;

pub use probe::{OBJECT, filter, pinned};
pub use source::{capture, log};

/// The program: reads the command line, does what it says.
pub fn main() -> ExitCode {
    match commands::run(cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
