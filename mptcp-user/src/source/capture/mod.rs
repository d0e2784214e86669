//! A capture file, run through the engine.

mod description;
mod input;
mod link;
mod tally;
mod time;
mod watch;

use std::{io::Read, ops::ControlFlow, path::Path};

use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use jiff::Timestamp;
use mptcp_common::{
    counter::{Counters, Event, FexitCounts, Role},
    state::Tables as _,
};

use self::{
    input::{Input, ReadStatus},
    tally::Tally,
    time::{SECOND, timestamp},
};
use super::file::{File, conclude};
use crate::{
    failure::{Failure, FailureKind},
    offline::Config,
    snapshot::{
        history::History,
        select::{Selection, select},
        session::Session,
        statistics::{Origin, Recent, Statistics, Unread},
    },
};

/// A capture and what was counted in it.
pub(crate) struct Capture {
    name: String,
    input: Input,
    tally: Tally,
    /// Why it could not be read to its end.
    broken: Option<String>,
}

/// What a test wants to know of a capture that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct CaptureContents {
    /// What was counted.
    pub counters: Counters,
    /// Packets behind link-layer headers that are not read.
    pub skipped: u64,
    /// Why it could not be read, or not to its end.
    pub broken: Option<String>,
}

/// Reads a capture from anywhere, as the commands do from files: for tests.
pub fn read(bytes: impl Read + 'static, config: Config) -> CaptureContents {
    let file = File::of("capture", bytes, ProgressBar::hidden());
    let mut capture = match file.and_then(|file| Capture::new(file, config)) {
        Ok(capture) => capture,
        Err(error) => {
            return CaptureContents {
                counters: Counters::default(),
                skipped: 0,
                broken: Some(format!("{error:#}")),
            };
        }
    };
    let failed = capture.read(|_, _| Ok(ControlFlow::Continue(()))).err();
    CaptureContents {
        counters: capture.tally.engine.counters(),
        skipped: capture.tally.unread.skipped(),
        broken: failed.map(|error| format!("{error:#}")).or(capture.broken),
    }
}

impl Capture {
    /// Opens a capture, for what a log does not hold.
    pub(crate) fn open(path: &Path, config: Config, shows_progress: bool) -> Result<Self> {
        let file = File::open(path, shows_progress)?;
        if file.is_log {
            return Err(Failure::new(
                FailureKind::Failed,
                format!(
                    "{} is a log, which holds counts and no sessions or events",
                    file.name
                ),
            )
            .next("mptcp-user stat -logFile shows what it holds")
            .into());
        }
        Self::new(file, config)
    }

    pub(super) fn new(file: File, config: Config) -> Result<Self> {
        let File {
            name, bytes, bar, ..
        } = file;
        let input = Input::new(bytes, bar).with_context(|| format!("cannot read {name}"))?;
        Ok(Self {
            name,
            input,
            tally: Tally::new(config),
            broken: None,
        })
    }

    /// Keeps its history while it is read.
    pub(crate) fn watch(&mut self) {
        self.tally.is_watched = true;
    }

    /// Returns what happened when, if it was watched.
    pub(crate) fn history(&mut self) -> Option<History> {
        let last = self.tally.times?.last;
        let watch = self.tally.watch.take()?;
        Some(watch.history(&self.tally.engine, last))
    }

    /// Reads as far as it can be read or is wanted, and tells what happens when.
    pub(crate) fn read(
        &mut self,
        mut tell: impl FnMut(Timestamp, &Event) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        loop {
            match self.input.next(|block| self.tally.block(&block))? {
                ReadStatus::On => {
                    for report in self.tally.engine.take_reports() {
                        if tell(timestamp(report.time), &report)?.is_break() {
                            return Ok(());
                        }
                    }
                }
                ReadStatus::Done => break,
                ReadStatus::Broken(reason) => {
                    self.broken = Some(reason);
                    break;
                }
            }
        }
        self.input.finish();
        self.tally.unread.others = self.input.others();
        if self.tally.engine.counters().frames > 0 {
            return Ok(());
        }
        let link_types: Vec<_> = self.tally.unread.link_types.keys().collect();
        let failure = Failure::new(FailureKind::Failed, format!("cannot read {}", self.name));
        match (&self.broken, link_types.as_slice()) {
            (Some(broken), _) => Err(failure.why(broken).into()),
            // There was nothing to read, and all of it was.
            (None, []) => Ok(()),
            (None, numbers) => {
                let names: Vec<_> = numbers.iter().map(|number| link::name(**number)).collect();
                let names = names.join(" and ");
                let why = format!("its packets are of {names}, which is not read");
                Err(failure.why(why).next(link::NEXT).into())
            }
        }
    }

    /// Returns the whole capture as one reading.
    pub(crate) fn statistics(&self) -> Statistics {
        let tally = &self.tally;
        let counters = tally.engine.counters();
        let times = tally.times;
        let seconds = times.map_or(0.0, |times| {
            (times.last - times.first) as f64 / SECOND as f64
        });
        let strays: u64 = counters
            .directions()
            .iter()
            .map(|(_, events)| events.unknown_flow)
            .sum();
        // On a middlebox it takes a SYN to tell directions.
        let undirected: u64 = counters.unknown.option.iter().sum();
        Statistics {
            time: times.map(|times| timestamp(times.last)),
            origin: Origin::Capture {
                file: self.name.clone(),
                broken: self.broken.clone(),
                unread: tally.unread.clone(),
            },
            interfaces: tally.names.clone(),
            role: tally.config.role,
            since: times.map(|times| timestamp(times.first)),
            attached_mid_traffic: strays + undirected > 0,
            in_flight: false,
            rows: counters,
            extras: counters,
            has_queues: false,
            verifies_checksums: tally.config.scope.is_verifying,
            hooks: FexitCounts::default(),
            host: Vec::new(),
            recent_hooks: (0.0, FexitCounts::default()),
            gauges: Some(tally.engine.gauges(times.map_or(0, |times| times.last))),
            recent: vec![Recent { seconds, counters }],
        }
    }

    /// Returns the role, the time of the last packet, and the sessions that existed then.
    pub(crate) fn sessions(
        &self,
        selection: &Selection,
    ) -> Result<(Role, Option<Timestamp>, Vec<Session>)> {
        let Tally { engine, config, .. } = &self.tally;
        let last = self.tally.times.map(|times| times.last);
        let tables = (engine.sessions(), engine.subflows());
        let sessions = select(&tables, selection, &config.limits, last.unwrap_or_default())?;
        Ok((config.role, last.map(timestamp), sessions))
    }

    /// Returns an error if it could not be read to its end.
    pub(crate) fn conclude(&self) -> Result<()> {
        conclude(&self.name, self.broken.as_deref())
    }

    /// Returns what its reader should know, in sentences.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let Unread {
            link_types,
            cut,
            backward,
            oversized,
            others,
        } = &self.tally.unread;
        let mut remarks = Vec::new();
        let mut remark = |count: u64, what: &str| {
            if count > 0 {
                remarks.push(format!("{}: {count} {what}", self.name));
            }
        };
        for (number, count) in link_types {
            let what = format!("packets of {}, which is not read", link::name(*number));
            remark(*count, &what);
        }
        remark(
            *cut,
            "packets cut off by the snap length before the end of their TCP options",
        );
        remark(
            *backward,
            "packets with a time before that of an earlier one, which holds",
        );
        remark(
            *oversized,
            "TCP packets of more than 1500 bytes, or without a length in the IP header (captured before \
             segmentation, if the MTU is not larger); each counts as one",
        );
        let what = format!(
            "further captures behind the first one, from byte {} on, read as if all were one; if they were not \
             taken one after the other, read each by itself, or merge them by time (mergecap)",
            others.first
        );
        remark(others.count, &what);
        remarks
    }
}
