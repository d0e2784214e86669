//! What was counted between readings.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::Timestamp;
use mptcp_common::counter::{Counters, FexitCounts, Role, bounded_sum};

use super::MOST_NAMES;
use crate::{
    failure::{Failure, Kind},
    source::{Reading, Recent, since},
};

/// What was counted in a time.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// By interface.
    pub(crate) interfaces: BTreeMap<String, Recent>,
    /// In how many seconds, and what failed in the kernel's functions.
    pub(crate) hooks: (f64, FexitCounts),
}

/// Adds up what was counted from reading to reading.
#[derive(Default)]
pub(super) struct Counted {
    role: Option<Role>,
    /// The time of the last reading.
    time: Option<Timestamp>,
    /// The last that was read of each interface.
    last: BTreeMap<String, Last>,
    last_hooks: Option<(Timestamp, FexitCounts)>,
    taken: Taken,
}

struct Last {
    time: Timestamp,
    since: Timestamp,
    counters: Counters,
}

impl Counted {
    /// Fails if there are too many interfaces.
    pub(super) fn add(&mut self, reading: &Reading) -> Result<()> {
        if self.role.replace(reading.role) != Some(reading.role) {
            // What one role counted cannot be added to what the other did.
            *self = Self {
                role: self.role,
                ..Self::default()
            };
        }
        let before = self.time.replace(reading.time);
        for now in &reading.interfaces {
            let (from, counters) = match self.last.get(&now.name) {
                Some(last) if last.since == now.since => {
                    (last.time, now.counters.since(&last.counters))
                }
                // Another probe took its place, and counted from zero.
                Some(_) => (now.since, now.counters),
                // It came since.
                None if before.is_none_or(|before| before <= now.since) => {
                    (now.since, now.counters)
                }
                // It counted before, and was not recorded.
                None => (reading.time, Counters::default()),
            };
            self.taken
                .add(&now.name, seconds(from, reading.time), &counters);
            let last = Last {
                time: reading.time,
                since: now.since,
                counters: now.counters,
            };
            self.last.insert(now.name.clone(), last);
        }
        if let Some(hooks) = &reading.hooks {
            let began = reading.interfaces.iter().map(|interface| interface.since);
            let began = began.min().unwrap_or(reading.time);
            let (from, last) = self.last_hooks.unwrap_or((began, FexitCounts::default()));
            let counts = since(&hooks.counts, &last);
            self.taken.add_hooks(&(seconds(from, reading.time), counts));
            self.last_hooks = Some((reading.time, hooks.counts));
        }
        if self.last.len() > MOST_NAMES {
            return Err(Failure::error(
                Kind::Failed,
                format!(
                    "there are more than {MOST_NAMES} interfaces up to here\n  next: some of them, with \
                     -i, or some of the lines"
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn take(&mut self) -> Taken {
        std::mem::take(&mut self.taken)
    }
}

impl Taken {
    pub(super) fn merge(&mut self, other: &Self) {
        for (name, recent) in &other.interfaces {
            self.add(name, recent.seconds, &recent.counters);
        }
        self.add_hooks(&other.hooks);
    }

    fn add_hooks(&mut self, (more, others): &(f64, FexitCounts)) {
        let (seconds, counts) = &mut self.hooks;
        *seconds += more;
        add_hooks(counts, others);
    }

    fn add(&mut self, name: &str, seconds: f64, counters: &Counters) {
        let recent = self.interfaces.entry(name.to_owned()).or_insert(Recent {
            seconds: 0.0,
            counters: Counters::default(),
        });
        recent.seconds += seconds;
        recent.counters.add(counters);
    }
}

/// Adds failures, as [`Counters::add`].
pub(super) fn add_hooks(counts: &mut FexitCounts, others: &FexitCounts) {
    for (sum, count) in counts.iter_mut().zip(others) {
        *sum = count
            .map(|count| bounded_sum(count, sum.unwrap_or_default()))
            .or(*sum);
    }
}

/// 0 where the clock was set back.
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}
