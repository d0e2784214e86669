//! How what is counted develops, for a report.

use jiff::Timestamp;
use mptcp_common::counter::{Counters, FexitCounts, Gauges};

/// Points of time that a history has at most: neighbours become one when there are more.
pub(super) const POINTS: usize = 256;

/// What was counted when.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) begin: Timestamp,
    /// Never empty.
    pub(crate) points: Vec<Point>,
    pub(crate) traffic: Vec<Traffic>,
}

/// A time from the point before, or the beginning, to this one.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// Its end.
    pub(crate) time: Timestamp,
    /// What existed then.
    pub(crate) gauges: Option<Gauges>,
    /// What was counted in it.
    pub(crate) counters: Counters,
    /// What failed in it in the kernel's functions.
    pub(crate) hooks: FexitCounts,
}

/// How much went over several ways.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) title: &'static str,
    /// Of the sums.
    pub(crate) unit: &'static str,
    /// What the rates are.
    pub(crate) rate: &'static str,
    /// Those with most come first.
    pub(crate) series: Vec<Series>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) sum: u64,
    /// In the time of each point, per second; `None` where nothing counted.
    pub(crate) rates: Vec<Option<f64>>,
}
