//! The maps of probes that are counting.

use anyhow::Result;
use jiff::Timestamp;
use mptcp_common::counter::{Counters, FexitCounts, Role};

use super::window;
use crate::{
    failure::Notice,
    interrupt::Interrupt,
    probe::{self, FexitHooks, HostLimits, Network, Pins, Probe, Remembered, Tables},
    snapshot::{
        host::Remark,
        reading::{Hooks, InterfaceReading, Reading},
        statistics::{Origin, Recent, Statistics, since},
    },
};

/// What is set to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clearing {
    /// The table's rows.
    Rows,
    /// The further numbers, too.
    All,
}

/// How often a reader tries to find a moment at which no packet is under way.
const TRIES: usize = 64;

/// One or more probes of the same role, read together.
pub(crate) struct Live {
    probes: Vec<Probe>,
    names: Vec<String>,
    role: Role,
    hooks: Option<FexitHooks>,
    /// The programs of each probe, where somebody asked for them to be watched.
    programs: Vec<Vec<u32>>,
    /// What the last display showed.
    shown: Option<Reading>,
}

impl Live {
    /// Reads the probes on interfaces of these names, which all count in `role`.
    pub(crate) fn new(probes: Vec<(String, Probe)>, role: Role, hooks: Option<FexitHooks>) -> Self {
        let (names, probes) = probes.into_iter().unzip();
        Self {
            probes,
            names,
            role,
            hooks,
            programs: Vec::new(),
            shown: None,
        }
    }

    /// Keeps in mind which programs count, so that [`Live::go_on`] tells when others have taken their place.
    pub(crate) fn watch(&mut self) {
        self.programs = self.probes.iter().map(Probe::linked_programs).collect();
    }

    /// Returns true if this command alone holds the probe on an interface of this name.
    pub(crate) fn is_temporary(&self, name: &str) -> bool {
        let mut probes = self.probes.iter().zip(&self.names);
        probes.any(|(probe, known)| known == name && !probe.is_pinned())
    }

    /// Goes on with the pinned probes that are there now, and with temporary ones; says in sentences what has become of
    /// those of before.
    pub(crate) fn go_on(&mut self, mut now: Self) -> Vec<String> {
        now.watch();
        let mut sentences = Vec::new();
        for ((name, probe), programs) in now.names.iter().zip(&now.probes).zip(&now.programs) {
            let since = probe.since();
            let sentence = match self.names.iter().position(|known| known == name) {
                None => format!("{name} has a probe now, and is counted since {since:.0}"),
                Some(at) if self.probes[at].since() != since => format!(
                    "the probe on {name} was detached and attached anew; it counts since {since:.0}"
                ),
                Some(at) if self.programs.get(at).is_some_and(|old| old != programs) => {
                    format!("the programs on {name} were replaced by another attach; counts go on")
                }
                Some(_) => continue,
            };
            sentences.push(sentence);
        }
        let before = std::mem::take(&mut self.probes).into_iter();
        for (name, probe) in std::mem::take(&mut self.names).into_iter().zip(before) {
            if !probe.is_pinned() {
                if now.probes.is_empty() {
                    now.role = self.role;
                }
                now.programs.push(probe.linked_programs());
                now.names.push(name);
                now.probes.push(probe);
            } else if !now.names.contains(&name) {
                sentences.push(format!(
                    "the probe on {name} was detached; it is not shown any more"
                ));
            }
        }
        now.shown = self.shown.take();
        *self = now;
        sentences
    }

    /// Returns what the probes count now.
    pub(crate) fn reading(&self) -> Result<Reading> {
        let time = Timestamp::now();
        let interfaces = self.probes.iter().zip(&self.names);
        let interfaces = interfaces.map(|(probe, name)| {
            let (counters, settled) = settled_sum(probe)?;
            Ok(InterfaceReading {
                name: name.clone(),
                since: probe.since(),
                attached_mid_traffic: probe.attached_mid_traffic(),
                in_flight: !settled,
                has_queues: probe.has_queues(),
                verifies_checksums: probe.verifies_checksums(),
                counters,
                cleared_rows: probe.remembered(Remembered::Rows)?,
                cleared_extras: probe.remembered(Remembered::Extras)?,
            })
        });
        // The probes of a namespace share their tables.
        let tables = self.probes.iter().find_map(Probe::tables);
        let hooks = self.hooks.as_ref().map(|hooks| {
            Ok::<_, anyhow::Error>(Hooks {
                counts: hooks.read()?,
                cleared: hooks
                    .remembered(Remembered::Rows)?
                    .map(|(_, counts)| counts),
            })
        });
        Ok(Reading {
            time,
            role: self.role,
            interfaces: interfaces.collect::<Result<_>>()?,
            gauges: tables.map(Tables::gauges).transpose()?,
            hooks: hooks.transpose()?,
        })
    }

    /// Returns the numbers now. Rates are since the last call, or else since one of the readings that the probe
    /// remembers, or else since counting began.
    pub(crate) fn read(&mut self) -> Result<Statistics> {
        let reading = self.reading()?;
        let mut recent = Vec::new();
        for (probe, now) in self.probes.iter().zip(&reading.interfaces) {
            // A probe that was attached anew since then has shown nothing.
            let shown = self.shown.as_ref().and_then(|shown| {
                let mut interfaces = shown.interfaces.iter();
                let same =
                    interfaces.find(|shown| shown.name == now.name && shown.since == now.since)?;
                Some((shown.time, same.counters))
            });
            let (time, counters) = match shown {
                Some(shown) => shown,
                None => {
                    let mut displayed = probe.displayed()?;
                    let base = window::base(&times(&displayed), now.since, reading.time);
                    base.and_then(|base| displayed.swap_remove(base))
                        .unwrap_or_else(|| (now.since, Counters::default()))
                }
            };
            recent.push(Recent {
                seconds: reading.time.duration_since(time).as_secs_f64(),
                counters: now.counters.since(&counters),
            });
        }
        let recent_hooks = self.recent_hooks(&reading)?;
        let statistics = reading.statistics(Origin::Live, recent, recent_hooks);
        self.shown = Some(reading);
        Ok(statistics)
    }

    fn recent_hooks(&self, reading: &Reading) -> Result<(f64, FexitCounts)> {
        let (Some(hooks), Some(now)) = (&self.hooks, &reading.hooks) else {
            return Ok((0.0, FexitCounts::default()));
        };
        // They are removed with the last probe of the namespace, and counted anew then.
        let shown = self.shown.as_ref().filter(|shown| {
            let mut interfaces = reading.interfaces.iter();
            interfaces.any(|now| {
                let mut before = shown.interfaces.iter();
                before.any(|shown| shown.since == now.since)
            })
        });
        let began = reading.interfaces.iter().map(|interface| interface.since);
        let began = began.min().unwrap_or(reading.time);
        let last = match shown {
            Some(Reading { time, hooks, .. }) => hooks.as_ref().map(|last| (*time, last.counts)),
            None => {
                let mut displayed = hooks.displayed()?;
                let base = window::base(&times(&displayed), began, reading.time);
                base.and_then(|base| displayed.swap_remove(base))
            }
        };
        let (time, last) = last.unwrap_or_else(|| (began, FexitCounts::default()));
        let seconds = reading.time.duration_since(time).as_secs_f64();
        Ok((seconds, since(&now.counts, &last)))
    }

    /// Returns what this host's own kernel says of its MPTCP, as far as it explains these numbers. The kernel of
    /// another network namespace is not asked.
    pub(crate) async fn host(&self, statistics: &Statistics) -> Vec<Remark> {
        let is_here = |namespace| self.probes.iter().all(|probe| probe.is_in(namespace));
        if self.role != Role::Host || !probe::namespace().is_ok_and(is_here) {
            return Vec::new();
        }
        let host = probe::read_host().await;
        host.remarks(self.role, &statistics.rows)
    }

    /// Returns limits that rows are judged by and that are not the host's any more, in sentences.
    pub(crate) async fn outdated_limits(&self) -> Vec<Notice> {
        let Ok(namespace) = probe::namespace() else {
            return Vec::new();
        };
        let follows = |probe: &&Probe| probe.is_in(namespace) && probe.follows_host();
        let followers: Vec<_> = self.probes.iter().filter(follows).collect();
        if followers.is_empty() {
            return Vec::new();
        }
        let host = HostLimits::read().await;
        let mut sentences = Vec::new();
        for probe in followers {
            let next = match probe.is_pinned() {
                true => {
                    "mptcp-user attach on its interfaces, with the options of before: counts go on"
                }
                false => "start this again",
            };
            for limit in probe.outdated_limits(&host) {
                let sentence = Notice::new(limit.text()).next(next);
                if !sentences.contains(&sentence) {
                    sentences.push(sentence);
                }
            }
        }
        sentences
    }

    /// Makes the probes remember what the last display showed, for the rates of those who come.
    pub(crate) fn remember(&mut self) -> Result<()> {
        let Some(shown) = &self.shown else {
            return Ok(());
        };
        for (probe, interface) in self.probes.iter_mut().zip(&shown.interfaces) {
            if let Some(place) = window::place(&times(&probe.displayed()?), shown.time) {
                probe.remember_displayed(place, shown.time, &interface.counters)?;
            }
        }
        if let (Some(hooks), Some(shown_hooks)) = (&mut self.hooks, &shown.hooks)
            && let Some(place) = window::place(&times(&hooks.displayed()?), shown.time)
        {
            hooks.remember_displayed(place, shown.time, &shown_hooks.counts)?;
        }
        Ok(())
    }

    /// Moves the baseline to what the last display showed: what came after it is not lost.
    pub(crate) fn clear(&mut self, what: Clearing) -> Result<()> {
        self.remember_as(match what {
            Clearing::Rows => &[Remembered::Rows],
            Clearing::All => &[Remembered::Rows, Remembered::Extras],
        })
    }

    fn remember_as(&mut self, which: &[Remembered]) -> Result<()> {
        let Some(shown) = &self.shown else {
            return Ok(());
        };
        for which in which {
            for (probe, interface) in self.probes.iter_mut().zip(&shown.interfaces) {
                probe.remember(*which, shown.time, &interface.counters)?;
            }
            // Of these there are no further numbers.
            if *which != Remembered::Extras
                && let (Some(hooks), Some(shown_hooks)) = (&mut self.hooks, &shown.hooks)
            {
                hooks.remember(*which, shown.time, &shown_hooks.counts)?;
            }
        }
        Ok(())
    }

    /// Empties the tables. On a host, the sessions that are there then are in them again, as those that
    /// were there before the probe.
    pub(crate) async fn clear_tables(
        &mut self,
        network: &Network,
        pins: &Pins,
        interrupt: &mut Interrupt,
    ) -> Result<()> {
        let (mut is_shared_done, mut sessions) = (false, 0);
        for probe in &mut self.probes {
            if probe.tables().is_some() && !(probe.is_pinned() && is_shared_done) {
                is_shared_done |= probe.is_pinned();
                sessions += probe.clear_tables(network, pins, interrupt).await?.sessions;
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

fn times<T>(readings: &[Option<(Timestamp, T)>]) -> Vec<Option<Timestamp>> {
    let time = |reading: &Option<(Timestamp, T)>| reading.as_ref().map(|(time, _)| *time);
    readings.iter().map(time).collect()
}

/// Returns the sum over all CPUs, and whether each was caught between packets.
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
