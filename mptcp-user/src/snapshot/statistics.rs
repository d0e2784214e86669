//! The numbers of one display, wherever they came from.

use std::collections::BTreeMap;

use super::host::Remark;
use crate::statistics::{Extra, Need, Quality, Row, RowKind};
use jiff::Timestamp;
use mptcp_common::counter::{Counters, FexitCounts, Gauges, Role};

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
    /// True if there were sessions before the probe.
    pub(crate) attached_mid_traffic: bool,
    /// True if no moment was found at which no packet was under way.
    pub(crate) in_flight: bool,
    /// What the table's rows are made of.
    pub(crate) rows: Counters,
    /// What the further numbers are made of.
    pub(crate) extras: Counters,
    /// True if it is known at which receive queue each packet came in.
    pub(crate) has_queues: bool,
    /// True if DSS checksums are verified.
    pub(crate) verifies_checksums: bool,
    /// What exists now; `None` where flows are not followed.
    pub(crate) gauges: Option<Gauges>,
    /// What was counted since the last display.
    pub(crate) recent: Vec<Recent>,
    /// What failed in the kernel's functions.
    pub(crate) hooks: FexitCounts,
    /// What the host says of its own MPTCP, as far as it explains these numbers.
    pub(crate) host: Vec<Remark>,
    /// In how many seconds since the last display what failed in the kernel's functions.
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

/// Returns the failures of `now` that `earlier` has not; as [`Counters::since`].
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

    /// Returns how far a row can be trusted as it was counted.
    pub(crate) fn quality(&self, row: &Row) -> Quality {
        match self.row_total(row) {
            Some(_) => row.quality(self.role),
            None => Quality::Unavailable,
        }
    }

    /// Returns a row of what was counted in some time.
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

    /// Returns a further number of what was counted in some time.
    pub(crate) fn extra_of(&self, extra: &Extra, counters: &Counters) -> Option<u64> {
        self.further(extra, counters)
    }

    fn total(&self, row: &Row, counters: &Counters) -> Option<u64> {
        if (row.needs(Need::Queues) && !self.has_queues)
            || (row.needs(Need::Checksums) && !self.verifies_checksums)
        {
            return None;
        }
        row.total(counters, self.gauges.as_ref(), self.role)
    }

    /// Per second; `None` for gauges and for rows without a number.
    pub(crate) fn row_rate(&self, row: &Row) -> Option<f64> {
        if row.kind == RowKind::Gauge {
            return None;
        }
        if row.hooks().is_some() {
            let (seconds, hooks) = &self.recent_hooks;
            let failures = row.failures(hooks, self.role).filter(|_| *seconds > 0.0);
            return failures.map(|failures| failures as f64 / seconds);
        }
        self.rate(|counters| self.total(row, counters))
    }

    /// Returns over how many seconds rates are: of several interfaces, the longest time. `None` if there are no rates.
    pub(crate) fn rate_over(&self) -> Option<f64> {
        let seconds = self.recent.iter().map(|recent| recent.seconds);
        seconds.filter(|seconds| *seconds > 0.0).reduce(f64::max)
    }

    pub(crate) fn extra_total(&self, extra: &Extra) -> Option<u64> {
        self.further(extra, &self.extras)
    }

    fn further(&self, extra: &Extra, counters: &Counters) -> Option<u64> {
        if extra.needs(Need::Checksums) && !self.verifies_checksums {
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

/// What of a capture could not be taken as it stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unread {
    /// Packets behind link-layer headers that are not read, by the number of the link type.
    pub(crate) link_types: BTreeMap<i32, u64>,
    /// Packets cut short in front of the end of their TCP options.
    pub(crate) cut: u64,
    /// Packets with a time before that of an earlier one.
    pub(crate) backward: u64,
    /// TCP packets of more than Ethernet's usual MTU, or without a length in the IP header.
    pub(crate) oversized: u64,
    /// What stood behind the first capture in the file, and was read as if it were the same.
    pub(crate) others: Others,
}

impl Unread {
    /// Packets behind link-layer headers that are not read.
    pub(crate) fn skipped(&self) -> u64 {
        self.link_types.values().sum()
    }
}

/// Captures behind the first one of a file, which `cat` puts there. In pcapng they are sections.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Others {
    /// How many there are.
    pub(crate) count: u64,
    /// Where the first of them begins.
    pub(crate) first: u64,
}

impl Others {
    pub(crate) fn add(&mut self, at: u64) {
        if self.count == 0 {
            self.first = at;
        }
        self.count += 1;
    }
}
