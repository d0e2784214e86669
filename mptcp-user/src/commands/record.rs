//! `mptcp-user record`

use std::{
    io::{self, IsTerminal as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::libc::{EDQUOT, EFBIG, ENOSPC};
use tokio::time::MissedTickBehavior;

use super::{
    output::print,
    probes::{Pinned, Remarks},
};
use crate::{
    args::RecordArgs,
    failure::{self, Failure, FailureKind, Notice, os_error, sentence, warn},
    interrupt::Interrupt,
    probe::{Network, Pins},
    snapshot::reading::Reading,
    source::{Appender, Live, log_line},
    text::shown,
};

pub(crate) async fn run(pins: &Pins, options: &RecordArgs) -> Result<()> {
    let mut interrupt = Interrupt::new()?;
    let network = Network::connect()?;
    let mut remarks = Remarks::default();
    let mut live = None;
    let mut interval = tokio::time::interval(options.interval);
    interval.tick().await;
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What is wrong from the start ends the command, and leaves no empty file.
    let first = read(
        &network,
        pins,
        options,
        &mut live,
        &mut remarks,
        &mut interrupt,
    )
    .await?;
    let mut output = Output::open(options)?;
    output.append(&first)?;
    let mut readings = 1;
    if io::stderr().is_terminal() && readings != options.ntimes {
        warn(recording_summary(&first.reading, options));
    }
    let mut missing = 0;
    let mut troubles = Remarks::default();
    while readings != options.ntimes {
        tokio::select! {
            _ = interval.tick() => {}
            () = interrupt.wait() => return Ok(()),
        }
        readings += 1;
        // What goes wrong later may be right again the next time: the probe is attached again, there
        // is room on the disk.
        let line = read(
            &network,
            pins,
            options,
            &mut live,
            &mut remarks,
            &mut interrupt,
        );
        let trouble = match line.await {
            // A signal ended the wait for the lock.
            Err(error) if failure::kind(&error) == FailureKind::Busy => return Err(error),
            Err(error) => Some(error),
            Ok(line) => match output.append(&line) {
                Err(error) if !matches!(os_error(&error), Some(ENOSPC | EDQUOT | EFBIG)) => {
                    return Err(error);
                }
                result => result.err(),
            },
        };
        match trouble {
            Some(error) => {
                missing += 1;
                troubles.tell(vec![Notice::new(sentence(&error))]);
            }
            None if missing > 0 => {
                warn(format!("recording again; {missing} readings are missing"));
                missing = 0;
                troubles = Remarks::default();
            }
            None => {}
        }
    }
    Ok(())
}

/// Reads the probes, which are opened each time, since they may be detached and attached again.
async fn read(
    network: &Network,
    pins: &Pins,
    options: &RecordArgs,
    live: &mut Option<Live>,
    remarks: &mut Remarks,
    interrupt: &mut Interrupt,
) -> Result<LogLine> {
    let _lock = pins.lock_to_read(Some(interrupt)).await?;
    let mut opened = Pinned::open(network, pins, &options.interfaces).await?;
    if let Some(name) = opened.absent.first() {
        network.interface(name).await?;
        return Err(
            Failure::new(FailureKind::Failed, format!("{name} has no probe"))
                .next(format!("mptcp-user attach -i {name}"))
                .into(),
        );
    }
    remarks.tell(std::mem::take(&mut opened.remarks));
    let mut now = opened.live(pins)?;
    match live {
        Some(live) => live.go_on(now).iter().for_each(warn),
        None => {
            now.watch();
            *live = Some(now);
        }
    }
    let reading = live.as_ref().context("there is a source")?.reading()?;
    let text = log_line(&reading)?;
    Ok(LogLine { reading, text })
}

/// A reading, and as it is written.
struct LogLine {
    reading: Reading,
    text: String,
}

/// Returns what is recorded, where, and until when.
fn recording_summary(reading: &Reading, options: &RecordArgs) -> String {
    let interfaces = reading.interfaces.iter();
    let interfaces: Vec<_> = interfaces
        .map(|interface| interface.name.as_str())
        .collect();
    let file = match options.output.to_str() {
        Some("-") => "standard output".to_owned(),
        _ => shown(&options.output).to_string(),
    };
    format!(
        "recording {} to {file} every {:?}; Ctrl-C ends it",
        interfaces.join(", "),
        options.interval
    )
}

enum Output {
    Standard,
    File(Appender),
}

impl Output {
    fn open(options: &RecordArgs) -> Result<Self> {
        if options.output == Path::new("-") {
            return Ok(Self::Standard);
        }
        Appender::open(
            &options.output,
            options.rotate_size,
            options.rotate_age,
            options.keep,
        )
        .map(Self::File)
    }

    fn append(&mut self, line: &LogLine) -> Result<()> {
        match self {
            Self::Standard => print(&line.text),
            Self::File(file) => file.append(&line.text, line.reading.time),
        }
    }
}
