//! `mptcp-user events`

use std::{collections::BTreeMap, ops::ControlFlow, path::Path, time::Duration};

use anyhow::Result;
use jiff::Timestamp;
use mptcp_common::counter::Counters;
use tokio::time::Instant;

use super::{
    lookup::recording,
    output::{conclude_capture, print},
};
use crate::{
    args::{EventsArgs, EventsOutput},
    clock::now,
    failure::{self, Failure, FailureKind, Notice, is_forbidden, warn},
    interrupt::Interrupt,
    probe::{self, EventRing, Lock, NamespacePins, Pins, Probe},
    render::{
        events::TimedEvent,
        lost::{Loss, losses},
    },
    source::Capture,
    text::shown,
};

/// How often the ring is emptied.
const INTERVAL: Duration = Duration::from_millis(50);

/// How often it is asked whether the ring is still that of the probes.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) async fn run(pins: &Pins, options: &EventsArgs) -> Result<()> {
    if let Some(file) = recording(&options.capture)? {
        return capture(file, options);
    }
    let mut interrupt = Interrupt::new()?;
    // What the programs' clock shows now; what is older was told to nobody. Read before the ring is
    // locked, so that whoever sees the lock is told all that he does from then on.
    let start = now()?;
    let offset = Timestamp::now();
    let mut watched = Some(Watched::open(pins)?);
    let mut shown = 0;
    let mut poll = tokio::time::interval(INTERVAL);
    let mut look = tokio::time::interval(LOOK);
    look.tick().await;
    loop {
        // Looked at before the ring is emptied for the last time.
        let is_current = tokio::select! {
            _ = poll.tick() => true,
            _ = look.tick() => {
                if let Some(watched) = &mut watched {
                    watched.lost.tell(Instant::now());
                }
                watched.as_ref().is_some_and(Watched::is_current)
            }
            () = interrupt.wait() => {
                if let Some(watched) = &mut watched {
                    watched.lost.tell_rest();
                }
                return Ok(());
            }
        };
        let mut text = String::new();
        while let Some(report) = watched.as_mut().and_then(|watched| watched.ring.next()) {
            let Some(event) = TimedEvent::of(&report, start, offset) else {
                continue;
            };
            text.push_str(&line(&event, options.output));
            shown += 1;
            if options.count == Some(shown) {
                return print(&text);
            }
        }
        if !text.is_empty() {
            print(&text)?;
        }
        if !is_current {
            let had_one = watched.take().is_some();
            watched = Watched::open_again(pins, had_one)?;
        }
    }
}

/// The ring of a network namespace's probes.
struct Watched {
    pins: NamespacePins,
    ring: EventRing,
    lost: Lost,
    _lock: Lock,
}

/// How often it is told that more was lost.
const PAUSE: Duration = Duration::from_secs(10);

/// What the probes lose while their events are watched.
struct Lost {
    probes: Vec<Probe>,
    /// Of each kind, how much was told, or was lost before.
    told: BTreeMap<&'static str, u64>,
    /// When more may be told.
    next: Option<Instant>,
}

impl Lost {
    /// Those of this network namespace.
    fn new(pins: &Pins) -> Result<Self> {
        let namespace = probe::namespace()?;
        let interfaces = pins.interfaces()?.into_iter();
        let here = interfaces.filter(|here| here.namespace == namespace);
        let mut lost = Self {
            probes: here.filter_map(|here| Probe::open(&here).ok()).collect(),
            told: BTreeMap::new(),
            next: None,
        };
        // Where nobody watches, events are told to nobody. What sessions lack, they lack from then on.
        for loss in lost.read() {
            if !loss.is_of_state() {
                lost.told.insert(loss.name, loss.count);
            }
        }
        Ok(lost)
    }

    fn read(&self) -> Vec<Loss> {
        let mut sum = Counters::default();
        for counters in self.probes.iter().filter_map(|probe| probe.read().ok()) {
            for cpu in &*counters {
                sum.add(cpu);
            }
        }
        losses(&sum, self.probes.iter().map(Probe::since).min(), false)
    }

    /// Tells what was lost, unless it has just done so.
    fn tell(&mut self, now: Instant) {
        if self.next.is_none_or(|next| next <= now) && self.tell_rest() {
            self.next = Some(now + PAUSE);
        }
    }

    /// Tells what was lost that was not told; returns true if there was any.
    fn tell_rest(&mut self) -> bool {
        let mut is_told = false;
        for loss in self.read() {
            let before = self.told.insert(loss.name, loss.count).unwrap_or(0);
            if loss.count <= before {
                continue;
            }
            is_told = true;
            if loss.is_of_state() {
                warn(loss.sentence());
            } else {
                warn(format!(
                    "{} events are missing here: more happened at once than the probe tells (docs/maps.md)",
                    loss.count - before
                ));
            }
        }
        is_told
    }
}

impl Watched {
    fn open(pins: &Pins) -> Result<Self> {
        let shared = shared(pins)?;
        let lock = watch(&shared)?;
        let ring = EventRing::open(&shared)?;
        Ok(Self {
            lost: Lost::new(pins)?,
            pins: shared,
            ring,
            _lock: lock,
        })
    }

    /// Returns true if the ring is the one that is pinned, and not one that was removed.
    fn is_current(&self) -> bool {
        self.ring.is_pinned(&self.pins)
    }

    /// Returns the ring that has come in the place of one that was removed; `None` if there is none yet.
    fn open_again(pins: &Pins, had_one: bool) -> Result<Option<Self>> {
        match Self::open(pins) {
            Ok(watched) => {
                warn("the probes were attached anew; these are the events of the new ones");
                Ok(Some(watched))
            }
            Err(error) if failure::kind(&error) == FailureKind::Busy || is_forbidden(&error) => {
                Err(error)
            }
            Err(_) => {
                if had_one {
                    warn(
                        Notice::new(
                            "the probes were detached; events are told again when there is another",
                        )
                        .next("mptcp-user attach -i IFACE"),
                    );
                }
                Ok(None)
            }
        }
    }
}

fn line(event: &TimedEvent<'_>, output: EventsOutput) -> String {
    match output {
        EventsOutput::Text => event.text(),
        EventsOutput::Jsonl => format!("{}\n", event.json()),
    }
}

/// The events of a capture, as it is read.
fn capture(file: &Path, options: &EventsArgs) -> Result<()> {
    let mut capture = Capture::open(file, options.capture.analysis.config(), false)?;
    let mut shown = 0;
    capture.read(|time, report| {
        print(&line(&TimedEvent { time, report }, options.output))?;
        shown += 1;
        Ok(if options.count == Some(shown) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    let statistics = capture.statistics();
    for loss in losses(&statistics.rows, None, true) {
        warn(loss.sentence());
    }
    conclude_capture(&capture)
}

/// Returns the pins of this network namespace, if its probes follow sessions.
fn shared(pins: &Pins) -> Result<NamespacePins> {
    let namespace = probe::namespace()?;
    for here in pins.interfaces()? {
        let shared = here.shared();
        if here.namespace == namespace && EventRing::exists(&shared)? {
            return Ok(shared);
        }
    }
    Err(Failure::new(
        FailureKind::Failed,
        format!(
            "no probe in this network namespace follows sessions (pin directory {})",
            shown(pins.root())
        ),
    )
    .next("mptcp-user attach -i IFACE, without --no-track")
    .into())
}

/// Locks the ring: it has one reader, and what that took, nobody else sees.
fn watch(shared: &NamespacePins) -> Result<Lock> {
    shared.watch()?.ok_or_else(|| {
        Failure::new(
            FailureKind::Busy,
            "somebody else watches the events of this network namespace, and they are told once",
        )
        .next("end the other mptcp-user events")
        .into()
    })
}
