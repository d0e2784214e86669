//! The subcommands, one file each.

mod attach;
mod detach;
mod events;
mod probes;
mod record;
mod report;
mod sessions;
mod stat;
mod status;

use std::io::{self, BufWriter, Write as _};

use anyhow::{Context as _, Result};
use nix::libc;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{Cli, Command},
    failure::{self, Failure, Kind},
    probe::{self, Interface, InterfacePins, Pins, Probe},
    source::{Capture, Log},
    text::{Visible, visible},
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

/// What a probe on the loopback interface counts.
const LOOPBACK: &str = "each packet passes it twice, going out and coming in, and is counted once, where it comes in \
    (role middlebox). Both ends are this host: received is what the initiator of a session sends, sent is what its \
    listener sends";

/// Names without those that were given before.
fn once(names: &[String]) -> Vec<&str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name.as_str()) {
            seen.push(name.as_str());
        }
    }
    seen
}

/// All interfaces went wrong, or some.
fn conclude(mut failures: Vec<anyhow::Error>, asked: usize) -> Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    if asked == 1 {
        return failures.pop().map_or(Ok(()), Err);
    }
    let kind = if failures.len() < asked {
        Kind::Partly
    } else {
        failure::kind(&failures[0])
    };
    let reasons: Vec<_> = failures.iter().map(failure::sentence).collect();
    Err(Failure::error(
        kind,
        format!(
            "{} of {asked} interfaces failed\n{}",
            failures.len(),
            reasons.join("\n")
        ),
    ))
}

/// Tells what of a capture was not as it should be; an error if it could not be read to its end.
fn conclude_capture(capture: &Capture) -> Result<()> {
    for remark in capture.remarks() {
        failure::say(remark);
    }
    capture.conclude()
}

/// The same of a log.
fn conclude_log(log: &Log) -> Result<()> {
    for remark in log.remarks() {
        failure::say(remark);
    }
    log.conclude()
}

/// Prints to standard output; that nobody reads it any more is an error like others, so that
/// endless commands end.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(visible(text).as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// The same of an object, written as it is made.
fn print_json(object: &impl Serialize) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    serde_json::to_writer_pretty(Visible(&mut out), object)
        .map_err(io::Error::from)
        .and_then(|()| writeln!(out))
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// Is the network namespace of a probe certainly gone? That nothing names it here does not say so.
fn is_namespace_gone(here: &InterfacePins) -> bool {
    match probe::find_namespace(here.namespace) {
        Ok(Some(_)) => false,
        Ok(None) => probe::is_on_interface(here) != Some(true),
        Err(_) => probe::is_on_interface(here) == Some(false),
    }
}

/// The pins of an interface by name: of the interface that has the name, or else of one that had
/// it and is gone, or whose network namespace is.
fn find_pins(
    pins: &Pins,
    interfaces: &[Interface],
    name: &str,
) -> Result<Option<(InterfacePins, Option<Interface>)>> {
    let namespace = probe::namespace()?;
    if let Some(interface) = interfaces.iter().find(|interface| interface.name == name) {
        let here = pins.interface(namespace, interface.index);
        return Ok(here.exists()?.then(|| (here, Some(interface.clone()))));
    }
    for here in pins.interfaces()? {
        let is_gone = if here.namespace == namespace {
            interfaces
                .iter()
                .all(|interface| interface.index != here.index)
        } else {
            is_namespace_gone(&here)
        };
        if is_gone && Probe::open(&here).is_ok_and(|probe| probe.name() == name) {
            return Ok(Some((here, None)));
        }
    }
    Ok(None)
}
