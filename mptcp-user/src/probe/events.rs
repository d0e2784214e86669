//! The ring of events that the programs of a network namespace tell.

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, RingBuf};
use mptcp_common::counter::Event;

use super::{
    pins::NamespacePins,
    shared_config::{EVENTS, EVENTS_SHAPE},
};

/// A ring of events, open.
pub(crate) struct EventRing {
    ring: RingBuf<MapData>,
    /// Of the map.
    id: u32,
}

impl EventRing {
    /// Opens the ring of a namespace's probes.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn open(pins: &NamespacePins) -> Result<Self> {
        let map = events(pins)?.context("the events were removed at once")?;
        let id = map.info()?.id();
        Ok(Self {
            ring: RingBuf::try_from(Map::RingBuf(map))?,
            id,
        })
    }

    /// Returns true if the probes of a namespace have a ring.
    ///
    /// # Errors
    /// If that cannot be seen, which must not look like "none".
    pub(crate) fn exists(pins: &NamespacePins) -> Result<bool> {
        Ok(events(pins)?.is_some())
    }

    /// Returns true if the ring is the one that is pinned, and not one that was removed.
    pub(crate) fn is_pinned(&self, pins: &NamespacePins) -> bool {
        let id = || events(pins).ok()??.info().ok();
        id().is_some_and(|info| info.id() == self.id)
    }

    /// Takes the next event out of the ring.
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            // What is no event is left out.
            if let Some(report) = Event::of(&self.ring.next()?) {
                return Some(report);
            }
        }
    }
}

/// Returns the ring of events of a namespace's probes; `None` if there is none.
fn events(pins: &NamespacePins) -> Result<Option<MapData>> {
    match pins.open()? {
        Some(tables) => tables.find_map(EVENTS, &EVENTS_SHAPE),
        None => Ok(None),
    }
}
