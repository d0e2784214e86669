//! A log: readings that `mptcp-user record` wrote.

mod append;
mod counted;
mod directory;
mod format;
mod history;

use std::io::{BufRead as _, BufReader, Read};

use anyhow::{Context as _, Result, ensure};
use indicatif::ProgressBar;

pub(crate) use self::append::Appender;
use self::counted::{Counted, Taken};
use self::format::LONGEST_LINE;
pub use self::format::line;
use super::file::{File, conclude};
use crate::{
    failure::{Failure, FailureKind},
    snapshot::{
        reading::{Range, Reading},
        statistics::{Origin, Statistics},
    },
};

/// What a test wants to know of a log that was read.
#[derive(Debug, PartialEq)]
pub struct Contents {
    /// The readings that were wanted.
    pub readings: Vec<Reading>,
    /// Lines that are no readings.
    pub skipped: u64,
    /// Why it could not be read, or not to its end.
    pub broken: Option<String>,
}

/// Reads a log from anywhere, as the commands do from files: for tests.
///
/// # Errors
/// If it is no log.
pub fn read(bytes: impl Read + 'static, range: Range) -> Result<Contents> {
    let mut log = Log::of(bytes, range)?;
    let mut readings = Vec::new();
    let failed = loop {
        match log.next() {
            Ok(Some(reading)) => readings.push(reading),
            Ok(None) => break None,
            Err(error) => break Some(format!("{error:#}")),
        }
    };
    Ok(Contents {
        readings,
        skipped: log.skipped,
        broken: failed.or(log.broken),
    })
}

/// A log that is being read.
pub(crate) struct Log {
    name: String,
    lines: BufReader<Box<dyn Read>>,
    bar: ProgressBar,
    range: Range,
    /// Of the last line that was read.
    number: u64,
    readings: u64,
    /// Lines that are no readings.
    skipped: u64,
    /// The number of the first of them.
    first_skipped: u64,
    /// True if the last line ends before its end.
    is_torn: bool,
    /// Why it could not be read to its end.
    broken: Option<String>,
    /// What was counted since the last [`Log::take`].
    counted: Counted,
}

impl Log {
    pub(super) fn new(file: File, range: Range) -> Self {
        Self {
            name: file.name,
            lines: BufReader::new(file.bytes),
            bar: file.bar,
            range,
            number: 0,
            readings: 0,
            skipped: 0,
            first_skipped: 0,
            is_torn: false,
            broken: None,
            counted: Counted::default(),
        }
    }

    /// Reads a log from anywhere.
    pub(crate) fn of(bytes: impl Read + 'static, range: Range) -> Result<Self> {
        let file = File::of("log", bytes, ProgressBar::hidden())?;
        ensure!(file.is_log, "it is no log");
        Ok(Self::new(file, range))
    }

    /// Returns the next reading that is wanted. What was counted up to it is added to what [`Log::take`] returns.
    pub(crate) fn next(&mut self) -> Result<Option<Reading>> {
        while let Some(mut reading) = self.any()? {
            if !self.range.interfaces.is_empty() {
                let wanted = &self.range.interfaces;
                reading
                    .interfaces
                    .retain(|interface| wanted.contains(&interface.name));
            }
            if reading.interfaces.is_empty() || self.range.until.is_some_and(|t| reading.time > t) {
                continue;
            }
            self.counted
                .add(&reading)
                .with_context(|| format!("cannot read {}: line {}", self.name, self.number))?;
            if self.range.since.is_none_or(|t| reading.time >= t) {
                return Ok(Some(reading));
            }
            self.counted.take();
        }
        self.bar.finish_and_clear();
        Ok(None)
    }

    /// Returns what was counted since this was last called, by interface.
    pub(crate) fn take(&mut self) -> Taken {
        self.counted.take()
    }

    /// Returns what is displayed of a reading.
    pub(crate) fn statistics(&self, reading: &Reading, taken: Taken) -> Statistics {
        reading.statistics(
            Origin::Log {
                file: self.name.clone(),
                broken: self.broken.clone(),
                skipped: self.skipped,
            },
            taken.interfaces.into_values().collect(),
            taken.hooks,
        )
    }

    /// Returns an error that says that none of its readings is wanted, or that it has none.
    pub(crate) fn nothing(&self) -> anyhow::Error {
        let failure = Failure::new(FailureKind::Failed, format!("cannot read {}", self.name));
        match (&self.broken, self.readings) {
            (Some(broken), _) => failure.why(broken),
            (None, 0) => {
                failure.why("it is no capture, and holds no readings of mptcp-user record")
            }
            (None, _) => failure
                .why("it holds no readings of that time and interface")
                .next("leave out --since, --until and -i to see those that it has"),
        }
        .into()
    }

    /// Returns what its reader should know, in sentences.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        let mut others = self.skipped;
        if self.is_torn {
            others -= 1;
            remarks.push(format!(
                "{}: its last line is torn, and left out",
                self.name
            ));
        }
        if others > 0 {
            remarks.push(format!(
                "{}: {others} lines are no readings, and left out; the first is line {}",
                self.name, self.first_skipped
            ));
        }
        remarks
    }

    /// Returns an error if it could not be read to its end.
    pub(crate) fn conclude(&self) -> Result<()> {
        conclude(&self.name, self.broken.as_deref())
    }

    /// Returns the next reading, whatever is wanted.
    fn any(&mut self) -> Result<Option<Reading>> {
        let mut line = Vec::new();
        while self.broken.is_none() {
            line.clear();
            let number = self.number + 1;
            let mut limited = (&mut self.lines).take(LONGEST_LINE);
            match limited.read_until(b'\n', &mut line) {
                Ok(0) => return Ok(None),
                Ok(_) if line.len() as u64 == LONGEST_LINE => {
                    self.broken = Some(format!("line {number} does not end"));
                    break;
                }
                Ok(_) => {}
                Err(error) => {
                    self.broken = Some(format!("line {number}: {error}"));
                    break;
                }
            }
            self.number = number;
            if line == b"\n" {
                continue;
            }
            let reading = format::parse(&line)
                .with_context(|| format!("cannot read {}: line {number}", self.name))?;
            if reading.is_some() {
                self.readings += 1;
                return Ok(reading);
            }
            self.is_torn = !line.ends_with(b"\n");
            self.skipped += 1;
            if self.skipped == 1 {
                self.first_skipped = number;
            }
        }
        Ok(None)
    }
}
