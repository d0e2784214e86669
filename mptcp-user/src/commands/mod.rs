//! The subcommands, one file each.

mod attach;
mod detach;
mod stat;
mod status;

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{Cli, Command},
    probe::{self, Interface, InterfacePins, Pins, Probe},
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
            match cli.command {
                Command::Attach(options) => attach::run(&pins, &options).await,
                Command::Detach(options) => detach::run(&pins, &options).await,
                Command::Status(options) => status::run(&pins, is_in_namespace, &options).await,
                Command::Stat(options) => stat::run(&pins, &options).await,
            }
        })
}

/// Waits until somebody wants this process to end: by ctrl-C, or by SIGTERM as service managers do.
async fn interrupted() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for a signal")?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result.context("cannot wait for a signal"),
        _ = terminate.recv() => Ok(()),
    }
}

/// Prints to standard output; that nobody reads it any more is an error like others, so that
/// endless commands end.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// The pins of an interface by name: of the interface that has the name, or else of one that had
/// it and is gone.
fn find_pins(
    pins: &Pins,
    interfaces: &[Interface],
    name: &str,
) -> Result<Option<(InterfacePins, Option<Interface>)>> {
    let namespace = probe::namespace()?;
    if let Some(interface) = interfaces.iter().find(|interface| interface.name == name) {
        let here = pins.interface(namespace, interface.index);
        return Ok(here.exists().then(|| (here, Some(interface.clone()))));
    }
    for here in pins.interfaces()? {
        let is_gone = interfaces
            .iter()
            .all(|interface| interface.index != here.index);
        if here.namespace == namespace
            && is_gone
            && Probe::open(&here).is_ok_and(|probe| probe.name() == name)
        {
            return Ok(Some((here, None)));
        }
    }
    Ok(None)
}
