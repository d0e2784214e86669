//! `mptcp-user events`

use std::{ops::ControlFlow, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use aya::maps::{Map, RingBuf};
use jiff::Timestamp;
use mptcp_common::track::Report;

use super::{conclude_capture, print};
use crate::{
    cli::{Events, EventsOutput},
    failure::{Failure, Kind},
    interrupt::Interrupt,
    probe::{self, Lock, NamespacePins, Pins},
    render::events::Event,
    source::Capture,
    text::shown,
};

/// How often the ring is emptied.
const INTERVAL: Duration = Duration::from_millis(50);

pub(crate) async fn run(pins: &Pins, options: &Events) -> Result<()> {
    if let Some(file) = &options.capture.log_file {
        return capture(file, options);
    }
    let mut interrupt = Interrupt::new()?;
    // What the programs' clock shows now; what is older was told to nobody. Read before the ring is
    // locked, so that whoever sees the lock is told all that he does from then on.
    let start = probe::now()?;
    let offset = Timestamp::now();
    let shared = shared(pins)?;
    let _watch = watch(&shared)?;
    let map = probe::events(&shared)?.context("the events were removed at once")?;
    let mut ring = RingBuf::try_from(Map::RingBuf(map))?;
    let mut shown = 0;
    let mut poll = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            _ = poll.tick() => {}
            () = interrupt.wait() => return Ok(()),
        }
        let mut text = String::new();
        while let Some(item) = ring.next() {
            let Some(report) = Report::of(&item) else {
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
