//! The subcommands, one file each: the only place where what was typed meets settings and sources.

mod attach;
mod detach;
mod events;
mod lookup;
mod output;
mod probes;
mod record;
mod report;
mod sessions;
mod stat;
mod status;

use anyhow::{Context as _, Result};
use nix::libc;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    args::{Cli, Command},
    probe::{self, Pins},
};

/// Runs a command to its end.
pub(crate) fn run(cli: Cli) -> Result<()> {
    if let Some(name) = &cli.netns {
        // Before there is any other thread: a thread's namespace is its own.
        probe::enter(name)?;
    }
    let pins = Pins::new(cli.pin_dir);
    let is_in_namespace = cli.netns.is_some();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(async {
            // Where a file may not grow (ulimit -f), a write fails, and no signal ends this in the middle of a line.
            let _too_large = signal(SignalKind::from_raw(libc::SIGXFSZ));
            match cli.command {
                Command::Attach(options) => attach::run(&pins, &options).await,
                Command::Detach(options) => detach::run(&pins, is_in_namespace, &options).await,
                Command::Status(options) => status::run(&pins, is_in_namespace, &options).await,
                Command::Stat(options) => stat::run(&pins, &options).await,
                Command::Sessions(options) => sessions::run(&pins, &options).await,
                Command::Events(options) => events::run(&pins, &options).await,
                Command::Record(options) => record::run(&pins, &options).await,
                Command::Report(options) => report::run(&options),
            }
        })
}
