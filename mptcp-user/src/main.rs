//! `mptcp-user`: counts Multipath TCP on the wire.
//!
//! The way of a number: the eBPF programs count into pinned maps ([`probe`] puts them there), a
//! [`source`] reads them, [`render`] shows them. Each subcommand has a file in [`commands`].

mod cli;
mod commands;
mod failure;
mod probe;
mod render;
mod source;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let cli = cli::Cli::parse_from(cli::normalise(std::env::args_os()));
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
