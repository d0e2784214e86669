//! Development commands, run as `cargo xtask COMMAND`. They install what they need.

mod bench;
mod count;
mod demo;
mod fuzz;
mod hooks;
mod install;
mod lint;
mod network;
mod setup;
mod shell;
mod smoke;
mod test;
mod toolchain;
mod trace;
mod vm;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

/// Development commands of mptcp-user.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what is missing to build, and with --all to test
    Setup {
        /// What the tests need too
        #[arg(long)]
        all: bool,
    },
    /// Build, and show the probe counting a real MPTCP transfer (root)
    Demo,
    /// Check formatting, lints, documentation of items, spelling and dependencies
    Lint,
    /// Check formatting and lints, and run every test (root)
    Test,
    /// Measure what the programs cost per packet (root)
    Bench {
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        output: bench::Output,
        /// How fast captures are read, beside tshark (2 GB of room for temporary files)
        #[arg(long)]
        captures: bool,
        /// Frames and transfers on interfaces, and one `stat`, instead
        #[arg(long, conflicts_with = "captures")]
        live: bool,
    },
    /// Count the instructions that reading captures takes per packet
    Count {
        /// Write the counts down, instead of comparing
        #[arg(long)]
        update: bool,
    },
    /// Run one packet of each kind through the translated programs: what it executes and touches (root)
    Trace {
        /// How to print it
        #[arg(long, value_enum, default_value_t)]
        output: bench::Output,
        /// Write the figures down, instead of comparing
        #[arg(long)]
        update: bool,
    },
    /// Try inputs that libFuzzer makes of the captures
    Fuzz {
        /// All, one after the other, if none is given
        #[arg(value_enum)]
        target: Option<fuzz::Target>,
        /// How long each is run: 30s, 10m, 1h
        #[arg(long, default_value = "10m", value_parser = fuzz::duration)]
        time: Duration,
    },
    /// Load, attach and count on Debian's kernels in virtual machines (root)
    Vm {
        /// Write down what the programs cost there, instead of comparing
        #[arg(long)]
        update: bool,
    },
    /// Build the release binary and copy it to PREFIX/bin
    Install {
        /// Where to install
        #[arg(long, default_value = "/usr/local")]
        prefix: PathBuf,
    },
    /// Kernel functions that fail
    #[command(hide = true)]
    Fail,
    /// MPTCP sockets without memory
    #[command(hide = true)]
    Starve,
    /// An MPTCP transfer without memory
    #[command(hide = true)]
    Press,
    /// The first process of a virtual machine
    #[command(hide = true)]
    VmInit,
}

fn main() -> ExitCode {
    if let Some(status) = fuzz::compile() {
        return status;
    }
    let result = match Cli::parse().command {
        Command::Setup { all } => setup::run(all),
        Command::Demo => demo::run(),
        Command::Lint => lint::run(),
        Command::Test => test::run(),
        Command::Bench {
            output,
            captures: true,
            ..
        } => bench::captures(output),
        Command::Bench { output, live, .. } => bench::packets(output, live),
        Command::Count { update } => count::run(update),
        Command::Trace { output, update } => trace::run(output, update),
        Command::Fuzz { target, time } => fuzz::run(target, time),
        Command::Vm { update } => vm::run(update),
        Command::Install { prefix } => install::run(&prefix),
        Command::Fail => hooks::fail(),
        Command::Starve => hooks::starve_here(),
        Command::Press => hooks::press_here(),
        Command::VmInit => vm::init(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
