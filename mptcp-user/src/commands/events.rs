//! `mptcp-user events`

use std::{ops::ControlFlow, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, RingBuf};
use jiff::Timestamp;
use mptcp_common::counter::Event;

use super::{conclude_capture, print};
use crate::{
    cli::{Events, EventsOutput},
    failure::{self, Failure, Kind, is_forbidden, say},
    interrupt::Interrupt,
    probe::{self, Lock, NamespacePins, Pins},
    render::events::Event,
    source::Capture,
    text::shown,
};

/// How often the ring is emptied.
const INTERVAL: Duration = Duration::from_millis(50);

/// How often it is asked whether the ring is still that of the probes.
const LOOK: Duration = Duration::from_millis(500);

pub(crate) async fn run(pins: &Pins, options: &Events) -> Result<()> {
    if let Some(file) = &options.capture.log_file {
        return capture(file, options);
    }
    let mut interrupt = Interrupt::new()?;
    // What the programs' clock shows now; what is older was told to nobody. Read before the ring is
    // locked, so that whoever sees the lock is told all that he does from then on.
    let start = probe::now()?;
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
            _ = look.tick() => watched.as_ref().is_some_and(Watched::is_current),
            () = interrupt.wait() => return Ok(()),
        };
        let mut text = String::new();
        while let Some(item) = watched.as_mut().and_then(|watched| watched.ring.next()) {
            let Some(report) = Event::of(&item) else {
                continue;
            };
            let Some(event) = Event::of(&report, start, offset) else {
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
    ring: RingBuf<MapData>,
    /// Of the ring.
    id: u32,
    _lock: Lock,
}

impl Watched {
    fn open(pins: &Pins) -> Result<Self> {
        let pins = shared(pins)?;
        let lock = watch(&pins)?;
        let map = probe::events(&pins)?.context("the events were removed at once")?;
        let id = map.info()?.id();
        Ok(Self {
            pins,
            ring: RingBuf::try_from(Map::RingBuf(map))?,
            id,
            _lock: lock,
        })
    }

    /// Is the ring the one that is pinned, and not one that was removed?
    fn is_current(&self) -> bool {
        let id = || probe::events(&self.pins).ok()??.info().ok();
        id().is_some_and(|info| info.id() == self.id)
    }

    /// The ring that has come in the place of one that was removed; `None` if there is none yet.
    fn open_again(pins: &Pins, had_one: bool) -> Result<Option<Self>> {
        match Self::open(pins) {
            Ok(watched) => {
                say("the probes were attached anew; these are the events of the new ones");
                Ok(Some(watched))
            }
            Err(error) if failure::kind(&error) == Kind::Busy || is_forbidden(&error) => Err(error),
            Err(_) => {
                if had_one {
                    say(
                        "the probes were detached; events are told again when there is another\n  next: \
                         mptcp-user attach -i IFACE",
                    );
                }
                Ok(None)
            }
        }
    }
}

fn line(event: &Event<'_>, output: EventsOutput) -> String {
    match output {
        EventsOutput::Text => event.text(),
        EventsOutput::Jsonl => format!("{}\n", event.json()),
    }
}

/// The events of a capture, as it is read.
fn capture(file: &Path, options: &Events) -> Result<()> {
    let mut capture = Capture::open(file, options.capture.analysis.config(), false)?;
    let mut shown = 0;
    capture.read(|time, report| {
        print(&line(&Event { time, report }, options.output))?;
        shown += 1;
        Ok(if options.count == Some(shown) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    })?;
    conclude_capture(&capture)
}

/// The pins of this network namespace, if its probes follow sessions.
fn shared(pins: &Pins) -> Result<NamespacePins> {
    let namespace = probe::namespace()?;
    for here in pins.interfaces()? {
        let shared = here.shared();
        if here.namespace == namespace && probe::events(&shared)?.is_some() {
            return Ok(shared);
        }
    }
    Err(Failure::error(
        Kind::Failed,
        format!(
            "no probe in this network namespace follows sessions (pin directory {})\n  next: \
             mptcp-user attach -i IFACE, without --no-track",
            shown(pins.root())
        ),
    ))
}

/// A ring has one reader: what it took, nobody else sees.
fn watch(shared: &NamespacePins) -> Result<Lock> {
    shared.watch()?.ok_or_else(|| {
        Failure::error(
            Kind::Busy,
            "somebody else watches the events of this network namespace, and they are told once\n  \
             next: end the other mptcp-user events",
        )
    })
}
