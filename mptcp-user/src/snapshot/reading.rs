//! What probes count at a moment: read from their maps, or from a log.

use jiff::Timestamp;
use mptcp_common::counter::{Counters, FexitCounts, Gauges, Role};

use super::statistics::{Origin, Recent, Statistics, since};

/// Probes of one role, read together.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// When they were read.
    pub time: Timestamp,
    /// Of all of them.
    pub role: Role,
    /// The probes.
    pub interfaces: Vec<InterfaceReading>,
    /// What exists; `None` where flows are not followed.
    pub gauges: Option<Gauges>,
    /// `None` where no function of the kernel is hooked.
    pub hooks: Option<Hooks>,
}

/// The probe on an interface.
#[derive(Clone, Debug, PartialEq)]
pub struct InterfaceReading {
    /// Of the interface.
    pub name: String,
    /// When its counting began, which tells it from another probe on the interface.
    pub since: Timestamp,
    /// True if there were sessions before it.
    pub attached_mid_traffic: bool,
    /// True if packets were being counted meanwhile.
    pub in_flight: bool,
    /// True if it is known at which receive queue each packet came in.
    pub has_queues: bool,
    /// True if DSS checksums are verified.
    pub verifies_checksums: bool,
    /// What it counted since it began.
    pub counters: Counters,
    /// The part of it that `-clearstats` took off the table's rows, and when.
    pub cleared_rows: Option<(Timestamp, Counters)>,
    /// The part of it that `-clearstats full` took off the further numbers, and when.
    pub cleared_extras: Option<(Timestamp, Counters)>,
}

/// What failed in the kernel's functions.
#[derive(Clone, Debug, PartialEq)]
pub struct Hooks {
    /// Since each was hooked.
    pub counts: FexitCounts,
    /// The part that `-clearstats` took off.
    pub cleared: Option<FexitCounts>,
}

impl Reading {
    /// Returns what is displayed of it, with what was counted since the last display.
    pub(crate) fn statistics(
        &self,
        origin: Origin,
        recent: Vec<Recent>,
        recent_hooks: (f64, FexitCounts),
    ) -> Statistics {
        let mut statistics = Statistics {
            time: Some(self.time),
            origin,
            interfaces: Vec::new(),
            role: self.role,
            since: None,
            attached_mid_traffic: false,
            in_flight: false,
            rows: Counters::default(),
            extras: Counters::default(),
            has_queues: true,
            verifies_checksums: true,
            gauges: self.gauges,
            recent,
            hooks: FexitCounts::default(),
            host: Vec::new(),
            recent_hooks,
        };
        for interface in &self.interfaces {
            let InterfaceReading { counters, .. } = interface;
            let (began, rows) = match &interface.cleared_rows {
                Some((time, baseline)) => (*time, counters.since(baseline)),
                None => (interface.since, *counters),
            };
            let extras = match &interface.cleared_extras {
                Some((_, baseline)) => counters.since(baseline),
                None => *counters,
            };
            statistics.interfaces.push(interface.name.clone());
            let since = statistics.since.map_or(began, |since| since.min(began));
            statistics.since = Some(since);
            statistics.attached_mid_traffic |= interface.attached_mid_traffic;
            statistics.in_flight |= interface.in_flight;
            statistics.has_queues &= interface.has_queues;
            statistics.verifies_checksums &= interface.verifies_checksums;
            statistics.rows.add(&rows);
            statistics.extras.add(&extras);
        }
        if let Some(hooks) = &self.hooks {
            statistics.hooks = match &hooks.cleared {
                Some(baseline) => since(&hooks.counts, baseline),
                None => hooks.counts,
            };
        }
        statistics
    }
}

/// The readings that are wanted.
#[derive(Clone, Debug, Default)]
pub struct Range {
    /// Not those before this.
    pub since: Option<Timestamp>,
    /// Not those after this.
    pub until: Option<Timestamp>,
    /// Only of interfaces of these names, if there are any.
    pub interfaces: Vec<String>,
}
