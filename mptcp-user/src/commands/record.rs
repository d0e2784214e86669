//! `mptcp-user record`

use std::{
    io::{self, IsTerminal as _},
    path::Path,
};

use anyhow::Result;
use nix::libc::{EDQUOT, EFBIG, ENOSPC};
use tokio::time::MissedTickBehavior;

use super::{print, probes::Pinned};
use crate::{
    cli::Record,
    failure::{Failure, Kind, os_error, say, sentence},
    interrupt::Interrupt,
    probe::{Network, Pins},
    source::{Appender, Reading, log_line},
    text::shown,
};

pub(crate) async fn run(pins: &Pins, options: &Record) -> Result<()> {
    let mut interrupt = Interrupt::new()?;
    let network = Network::connect()?;
    let mut remarks = Remarks::default();
    let mut interval = tokio::time::interval(options.interval);
    interval.tick().await;
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What is wrong from the start ends the command, and leaves no empty file.
    let first = read(&network, pins, options, &mut remarks, &mut interrupt).await?;
    let mut output = Output::open(options)?;
    output.append(&first)?;
    let mut readings = 1;
    if io::stderr().is_terminal() && readings != options.ntimes {
        say(told(&first.reading, options));
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
        let trouble = match read(&network, pins, options, &mut remarks, &mut interrupt).await {
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
                troubles.tell(vec![sentence(&error)]);
            }
            None if missing > 0 => {
                say(format!("recording again; {missing} readings are missing"));
                missing = 0;
                troubles = Remarks::default();
            }
            None => {}
        }
    }
    Ok(())
}

/// The probes are opened each time, since they may be detached and attached again.
async fn read(
    network: &Network,
    pins: &Pins,
    options: &Record,
    remarks: &mut Remarks,
    interrupt: &mut Interrupt,
) -> Result<Line> {
    let _lock = pins.lock_to_read(Some(interrupt)).await?;
    let mut opened = Pinned::open(network, pins, &options.interfaces).await?;
    if let Some(name) = opened.absent.first() {
        network.interface(name).await?;
        return Err(Failure::error(
            Kind::Failed,
            format!("{name} has no probe\n  next: mptcp-user attach -i {name}"),
        ));
    }
    remarks.tell(std::mem::take(&mut opened.remarks));
    let reading = opened.live(pins)?.reading()?;
    let text = log_line(&reading)?;
    Ok(Line { reading, text })
}

/// A reading, and as it is written.
struct Line {
    reading: Reading,
    text: String,
}

/// What is recorded, where, and until when.
fn told(reading: &Reading, options: &Record) -> String {
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

/// Tells what is not as it should be once, and not with every reading.
#[derive(Default)]
struct Remarks(Vec<String>);

impl Remarks {
    fn tell(&mut self, remarks: Vec<String>) {
        for remark in &remarks {
            if !self.0.contains(remark) {
                say(remark);
            }
        }
        self.0 = remarks;
    }
}

enum Output {
    Standard,
    File(Appender),
}

impl Output {
    fn open(options: &Record) -> Result<Self> {
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

    fn append(&mut self, line: &Line) -> Result<()> {
        match self {
            Self::Standard => print(&line.text),
            Self::File(file) => file.append(&line.text, line.reading.time),
        }
    }
}
