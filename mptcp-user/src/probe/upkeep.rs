//! What is done in passing to the tables of all network namespaces with probes.

use std::collections::HashSet;

use anyhow::Result;

use super::{pins::Pins, tables::Tables};

/// Frees handshakes that came to nothing, in all network namespaces with probes: what a flood has left, so that packets
/// of others do not meet it in the filter for good. It is nothing that a reader waits for, or fails for: another one
/// will.
pub(crate) fn sweep(pins: &Pins) {
    each(pins, Tables::sweep);
}

/// Wipes the keys of sessions whose time is over, in the same way.
pub(crate) fn wipe_keys(pins: &Pins) {
    each(pins, |tables| tables.wipe_keys(QUIET));
}

/// What is over for good has been without packets for so long, in nanoseconds: the same closing may be seen again
/// before.
const QUIET: u64 = 30_000_000_000;

/// Does something with the tables of all network namespaces with probes, if nobody else changes what is pinned.
fn each(pins: &Pins, work: impl Fn(&Tables) -> Result<u32>) {
    let Some(_lock) = pins.lock_at_once() else {
        return;
    };
    let mut namespaces = HashSet::new();
    for here in pins.interfaces().unwrap_or_default() {
        if namespaces.insert(here.namespace)
            && let Ok(Some(tables)) = Tables::pinned(&here.shared())
        {
            let _ = work(&tables);
        }
    }
}
