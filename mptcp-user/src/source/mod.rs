//! Where numbers come from. A source hands out [`Statistics`]; what shows them does not know
//! which source it was.

pub mod capture;
mod census;
mod file;
mod history;
mod live;
pub mod log;
mod packed;
mod reading;
mod select;
mod sessions;

use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;
use mptcp_common::counter::{Counters, Extra, FexitCounts, Gauges, Kind, Quality, Role, Row};

use crate::{
    failure::{self, Failure},
    offline::Config,
};

use self::file::File;
pub(crate) use self::{
    capture::{Capture, Unread},
    census::Census,
    history::{History, Point, Traffic},
    live::Live,
    log::{Appender, Log, Range, line as log_line},
    reading::{Hooks, Interface, Reading},
    select::{Entries, Order, Selection, select},
    sessions::{Session, State, Subflow, ends, flow},
};

/// What was recorded before.
pub(crate) enum Recording {
    Capture(Box<Capture>),
    Log(Box<Log>),
}

impl Recording {
    /// Opens a file, or standard input (`-`), whichever it is.
    pub(crate) fn open(
        path: &Path,
        config: Config,
        range: Range,
        shows_progress: bool,
    ) -> Result<Self> {
        let file = File::open(path, shows_progress)?;
        Ok(if file.is_log {
            Self::Log(Box::new(Log::new(file, range)))
        } else {
            Self::Capture(Box::new(Capture::new(file, config)?))
        })
    }
}

impl Capture {
    /// Opens a capture, for what a log does not hold.
    pub(crate) fn open(path: &Path, config: Config, shows_progress: bool) -> Result<Self> {
        let file = File::open(path, shows_progress)?;
        if file.is_log {
            return Err(Failure::error(
                failure::Kind::Failed,
                format!(
                    "{} is a log, which holds counts and no sessions or events\n  next: mptcp-user \
                     stat -logFile shows what it holds",
                    file.name
                ),
            ));
        }
        Self::new(file, config)
    }
}

/// The numbers of one display.
#[derive(Clone, Debug)]
pub(crate) struct Statistics {
    /// When they were read; of a capture, the time of its last packet. `None` where no packet has one.
    pub(crate) time: Option<Timestamp>,
    pub(crate) origin: Origin,
    /// Names of the interfaces that were summed.
    pub(crate) interfaces: Vec<String>,
    pub(crate) role: Role,
    /// When counting began, or was last cleared; of a capture, the time of its first packet. `None` as above.
    pub(crate) since: Option<Timestamp>,
    /// Were there sessions before the probe?
    pub(crate) attached_mid_traffic: bool,
    /// Could no moment be found at which no packet was under way?
    pub(crate) in_flight: bool,
    /// What the table's rows are made of.
    pub(crate) rows: Counters,
    /// What the further numbers are made of.
    pub(crate) extras: Counters,
    /// Is it known at which receive queue each packet came in?
    pub(crate) has_queues: bool,
    /// Are DSS checksums verified?
    pub(crate) verifies_checksums: bool,
    /// What exists now; `None` where flows are not followed.
    pub(crate) gauges: Option<Gauges>,
    /// What was counted since the last display.
    pub(crate) recent: Vec<Recent>,
    /// What failed in the kernel's functions.
    pub(crate) hooks: FexitCounts,
    /// The same since the last display, and in how many seconds.
    pub(crate) recent_hooks: (f64, FexitCounts),
}

/// What kind of source it was.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// Probes that count.
    Live,
    /// A capture.
    Capture {
        file: String,
        /// Why it could not be read to its end.
        broken: Option<String>,
        unread: Unread,
    },
    /// A log.
    Log {
        file: String,
        /// Why it could not be read to its end.
        broken: Option<String>,
        /// Lines that are no readings.
        skipped: u64,
    },
}

/// What one interface counted in a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recent {
    pub(crate) seconds: f64,
    pub(crate) counters: Counters,
}

/// The failures of `now` that `earlier` has not; as [`Counters::since`].
pub(crate) fn since(now: &FexitCounts, earlier: &FexitCounts) -> FexitCounts {
    std::array::from_fn(|i| {
        let count = now[i]?;
        let earlier = earlier[i].unwrap_or_default();
        Some(count.checked_sub(earlier).unwrap_or(count))
    })
}

impl Statistics {
    pub(crate) fn row_total(&self, row: &Row) -> Option<u64> {
        self.row_of(row, &self.rows, &self.hooks)
    }

    /// How far a row can be trusted as it was counted.
    pub(crate) fn quality(&self, row: &Row) -> Quality {
        match self.row_total(row) {
            Some(_) => row.quality(self.role),
            None => Quality::Unavailable,
        }
    }

    /// A row of what was counted in some time.
    pub(crate) fn row_of(
        &self,
        row: &Row,
        counters: &Counters,
        hooks: &FexitCounts,
    ) -> Option<u64> {
        match row.hooks() {
            Some(_) => row.failures(hooks, self.role),
            None => self.total(row, counters),
        }
    }

    /// A further number of what was counted in some time.
    pub(crate) fn extra_of(&self, extra: &Extra, counters: &Counters) -> Option<u64> {
        self.further(extra, counters)
    }

    fn total(&self, row: &Row, counters: &Counters) -> Option<u64> {
        if (row.needs_queues() && !self.has_queues)
            || (row.needs_checksums() && !self.verifies_checksums)
        {
            return None;
        }
        row.total(counters, self.gauges.as_ref(), self.role)
    }

    /// Per second; `None` for gauges and for rows without a number.
    pub(crate) fn row_rate(&self, row: &Row) -> Option<f64> {
        if row.kind == Kind::Gauge {
            return None;
        }
        if row.hooks().is_some() {
            let (seconds, hooks) = &self.recent_hooks;
            let failures = row.failures(hooks, self.role).filter(|_| *seconds > 0.0);
            return failures.map(|failures| failures as f64 / seconds);
        }
        self.rate(|counters| self.total(row, counters))
    }

    pub(crate) fn extra_total(&self, extra: &Extra) -> Option<u64> {
        self.further(extra, &self.extras)
    }

    fn further(&self, extra: &Extra, counters: &Counters) -> Option<u64> {
        if extra.needs_checksums() && !self.verifies_checksums {
            return None;
        }
        extra.total(counters, self.role)
    }

    pub(crate) fn extra_rate(&self, extra: &Extra) -> Option<f64> {
        self.rate(|counters| self.further(extra, counters))
    }

    fn rate(&self, total: impl Fn(&Counters) -> Option<u64>) -> Option<f64> {
        // A clock that was set back leaves no time to divide by.
        let recent = self.recent.iter().filter(|recent| recent.seconds > 0.0);
        recent.clone().next()?;
        recent
            .map(|recent| Some(total(&recent.counters)? as f64 / recent.seconds))
            .sum()
    }
}
