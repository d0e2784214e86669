//! The maps of probes that are counting.

use anyhow::Result;
use jiff::Timestamp;
use mptcp_common::counter::{Counters, HookCounts, Role};

use super::{Origin, Recent, Statistics, since};
use crate::{
    cli::ClearStats,
    probe::{KernelHooks, Network, Pins, Probe, Remembered},
};

/// How often a reader tries to find a moment at which no packet is under way.
const TRIES: usize = 64;

/// One or more probes of the same role, read together.
pub(crate) struct Live {
    probes: Vec<Probe>,
    names: Vec<String>,
    role: Role,
    /// What the last display showed, per probe.
    shown: Vec<Shown>,
    hooks: Option<KernelHooks>,
    /// The same of the hooks.
    shown_hooks: Option<(Timestamp, HookCounts)>,
}

#[derive(Clone, Debug)]
struct Shown {
    time: Timestamp,
    counters: Counters,
}

impl Live {
    /// Reads the probes on interfaces of these names, which all count in `role`.
    pub(crate) fn new(
        probes: Vec<(String, Probe)>,
        role: Role,
        hooks: Option<KernelHooks>,
    ) -> Self {
        let (names, probes) = probes.into_iter().unzip();
        Self {
            probes,
            names,
            role,
            shown: Vec::new(),
            hooks,
            shown_hooks: None,
        }
    }

    /// The numbers now. Rates are since the last call, or else since the reading that the probe
    /// remembers, or else since counting began.
    pub(crate) fn read(&mut self) -> Result<Statistics> {
        let mut statistics = Statistics {
            time: Timestamp::now(),
            origin: Origin::Live,
            interfaces: self.names.clone(),
            role: self.role,
            since: Timestamp::MAX,
            attached_mid_traffic: false,
            in_flight: false,
            rows: Counters::default(),
            extras: Counters::default(),
            has_queues: self.probes.iter().all(Probe::has_queues),
            verifies_checksums: self.probes.iter().all(Probe::verifies_checksums),
            gauges: None,
            recent: Vec::new(),
            hooks: HookCounts::default(),
            recent_hooks: (0.0, HookCounts::default()),
        };
        let mut shown = Vec::new();
        for (i, probe) in self.probes.iter().enumerate() {
            let (counters, settled) = settled_sum(probe)?;
            let time = Timestamp::now();
            let (since, rows) = match probe.remembered(Remembered::Rows)? {
                Some((time, baseline)) => (time, counters.since(&baseline)),
                None => (probe.since(), counters),
            };
            let extras = match probe.remembered(Remembered::Extras)? {
                Some((_, baseline)) => counters.since(&baseline),
                None => counters,
            };
            let (last_time, last) = match self.shown.get(i) {
                Some(shown) => (shown.time, shown.counters),
                None => probe
                    .remembered(Remembered::Last)?
                    .unwrap_or_else(|| (probe.since(), Counters::default())),
            };
            statistics.since = statistics.since.min(since);
            statistics.attached_mid_traffic |= probe.attached_mid_traffic();
            statistics.in_flight |= !settled;
            statistics.rows.add(&rows);
            statistics.extras.add(&extras);
            statistics.recent.push(Recent {
                seconds: time.duration_since(last_time).as_secs_f64(),
                counters: counters.since(&last),
            });
            shown.push(Shown { time, counters });
        }
        self.shown = shown;
        // The probes of a namespace share their tables.
        if let Some(tables) = self.probes.iter().find_map(Probe::tables) {
            statistics.gauges = Some(tables.gauges()?);
        }
        self.read_hooks(&mut statistics)?;
        Ok(statistics)
    }

    fn read_hooks(&mut self, statistics: &mut Statistics) -> Result<()> {
        let Some(hooks) = &self.hooks else {
            return Ok(());
        };
        let (time, counts) = (Timestamp::now(), hooks.read()?);
        statistics.hooks = match hooks.remembered(Remembered::Rows)? {
            Some((_, baseline)) => since(&counts, &baseline),
            None => counts,
        };
        let last = match self.shown_hooks {
            Some(last) => Some(last),
            None => hooks.remembered(Remembered::Last)?,
        };
        let (last_time, last) = last.unwrap_or((statistics.since, HookCounts::default()));
        let seconds = time.duration_since(last_time).as_secs_f64();
        statistics.recent_hooks = (seconds, since(&counts, &last));
        self.shown_hooks = Some((time, counts));
        Ok(())
    }

    /// Makes the probes remember what the last display showed, for the rates of the next one.
    pub(crate) fn remember(&mut self) -> Result<()> {
        for (probe, shown) in self.probes.iter_mut().zip(&self.shown) {
            probe.remember(Remembered::Last, shown.time, &shown.counters)?;
        }
        self.remember_hooks(Remembered::Last)
    }

    /// Moves the baseline to what the last display showed: what came after it is not lost.
    pub(crate) fn clear(&mut self, what: ClearStats) -> Result<()> {
        for (probe, shown) in self.probes.iter_mut().zip(&self.shown) {
            probe.remember(Remembered::Rows, shown.time, &shown.counters)?;
            if what == ClearStats::Full {
                probe.remember(Remembered::Extras, shown.time, &shown.counters)?;
            }
        }
        self.remember_hooks(Remembered::Rows)
    }

    fn remember_hooks(&mut self, which: Remembered) -> Result<()> {
        match (&mut self.hooks, &self.shown_hooks) {
            (Some(hooks), Some((time, counts))) => hooks.remember(which, *time, counts),
            _ => Ok(()),
        }
    }

    /// Empties the tables. On a host, the sessions that are there then are in them again, as those that
    /// were there before the probe.
    pub(crate) async fn clear_tables(&mut self, network: &Network, pins: &Pins) -> Result<()> {
        let (mut is_shared_done, mut sessions) = (false, 0);
        for probe in &mut self.probes {
            if probe.tables().is_some() && !(probe.is_pinned() && is_shared_done) {
                is_shared_done |= probe.is_pinned();
                sessions += probe.clear_tables(network, pins).await?.sessions;
            }
        }
        if sessions > 0 {
            for probe in &mut self.probes {
                probe.note_mid_traffic()?;
            }
        }
        Ok(())
    }
}

/// The sum over all CPUs, and whether each was caught between packets.
///
/// A busy CPU is caught soon: a packet is under way for some 50 ns, a copy takes about a
/// microsecond, and each CPU only has to be settled once, in a copy of its own.
fn settled_sum(probe: &Probe) -> Result<(Counters, bool)> {
    let mut cpus = probe.read()?;
    for _ in 1..TRIES {
        if cpus.iter().all(Counters::is_settled) {
            break;
        }
        for (cpu, again) in cpus.iter_mut().zip(probe.read()?) {
            if !cpu.is_settled() {
                *cpu = again;
            }
        }
    }
    let settled = cpus.iter().all(Counters::is_settled);
    let mut sum = Counters::default();
    for cpu in &cpus {
        sum.add(cpu);
    }
    Ok((sum, settled))
}
