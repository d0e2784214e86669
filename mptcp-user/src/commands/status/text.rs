//! The status as a table, with a line or more on what is shared or amiss.

use mptcp_common::state::CHUNK_RANGES;

use super::entry::{Entry, counters, hook_states, rows_of};
use crate::{
    commands::lookup::LOOPBACK,
    failure::{causes, next_step},
    probe::{Pins, Probe, SharedConfig},
    render::{
        lost::losses,
        passed,
        table::{lines, new_table},
    },
    schema::role_name,
};

pub(super) fn table(pins: &Pins, entries: &[Entry]) -> String {
    let mut table = new_table([
        "Interface",
        "Role",
        "Ingress",
        "Egress",
        "Frames",
        "Since",
        "State",
    ]);
    for column in table.column_iter_mut() {
        column.set_cell_alignment(comfy_table::CellAlignment::Left);
    }
    for entry in entries {
        let hook = |ingress| {
            entry
                .attachments
                .iter()
                .find(|attachment| attachment.ingress == ingress)
                .map_or("-", |attachment| attachment.point.name())
        };
        table.add_row([
            entry.label(),
            entry
                .probe
                .as_ref()
                .map_or("-", |probe| role_name(probe.role()))
                .to_owned(),
            hook(true).to_owned(),
            hook(false).to_owned(),
            counters(entry).map_or("-".to_owned(), |counters| counters.frames.to_string()),
            entry
                .probe
                .as_ref()
                .map_or("-".to_owned(), |probe| format!("{:.0}", probe.since())),
            entry.state.name().to_owned(),
        ]);
    }
    let mut text = lines(&table);
    for entry in entries {
        let since = entry.probe.as_ref().map(Probe::since);
        for loss in losses(&counters(entry).unwrap_or_default(), since, false) {
            if loss.is_of_state() {
                text.push_str(&format!("Lost on {}: {}\n", entry.label(), loss.sentence()));
            }
        }
        if let Some(note) = counters(entry).and_then(|counters| passed::note(&counters)) {
            text.push_str(&format!("Note on {}: {note}\n", entry.label()));
        }
    }
    text.push_str(&tables(entries));
    text.push_str(&hooks(pins, entries));
    for entry in entries {
        if entry.is_loopback && entry.probe.is_some() {
            text.push_str(&format!("{}: {LOOPBACK}\n", entry.label()));
        }
        if let Some(reason) = &entry.reason {
            text.push_str(&format!(
                "{} is {}: {reason}\n",
                entry.label(),
                entry.state.name()
            ));
        }
        if let Some(advice) = entry.advice() {
            text.push_str(&format!("{}\n", next_step(&advice)));
        }
    }
    text
}

/// Returns a line on the tables of each network namespace.
pub(super) fn tables(entries: &[Entry]) -> String {
    let mut text = String::new();
    let mut namespaces = Vec::new();
    for entry in entries {
        let tables = entry.probe.as_ref().and_then(Probe::tables);
        let Some(tables) = tables.filter(|_| !namespaces.contains(&entry.pins.namespace)) else {
            continue;
        };
        namespaces.push(entry.pins.namespace);
        let (config, gauges) = (tables.config(), tables.gauges());
        let [sessions, open] = match &gauges {
            Ok(gauges) => [gauges.sessions, gauges.subflows].map(|number| number.to_string()),
            // None is a number, too.
            Err(_) => ["?", "?"].map(str::to_owned),
        };
        let fill = tables.fill();
        let chunks = tables.range_chunks();
        let chunks = chunks.map_or("?".to_owned(), |chunks| chunks.to_string());
        let (capacity, limits, adopted) = (config.capacity(), config.limits, config.adopted());
        let [subflows, pending, threshold, _, handshake, alone, idle] =
            config.origins.named().map(|(_, origin)| origin.name());
        let [_, subflow, session, chunk] = SharedConfig::bytes_per_entry();
        let seconds = |nanoseconds: u64| nanoseconds / 1_000_000_000;
        text.push_str(&format!(
            "Tables of {}: {} of {} sessions ({session} bytes each), {} of {} subflows ({subflow} bytes \
             each), {} of {} chunks of {CHUNK_RANGES} ranges of data ({chunk} bytes each), {:.1} MiB in all; {} \
             sessions and {} subflows were there before the probe\n",
            entry.label(),
            sessions,
            capacity.sessions,
            open,
            capacity.subflows,
            chunks,
            config.chunks(),
            config.memory() as f64 / f64::from(1 << 20),
            adopted.sessions,
            adopted.subflows,
        ));
        text.push_str(&format!(
            "Limits of {}: {} subflows ({subflows}), {} pending joins ({pending}), threshold {} \
             ({threshold}); a handshake is forgotten after {} s ({handshake}), a session alone after \
             {} s ({alone}), idle after {} s ({idle})\n",
            entry.label(),
            limits.subflows,
            limits.pending,
            limits.threshold,
            seconds(limits.handshake),
            seconds(limits.alone),
            seconds(limits.idle),
        ));
        if let Ok(fill) = fill {
            text.push_str(&format!(
                "Filter of {}: {} of {} cells in use, at most {} entries in one; {:.1} % of the TCP packets \
                 of nobody take the long way\n",
                entry.label(),
                fill.used,
                fill.cells,
                fill.fullest,
                100.0 * f64::from(fill.used) / f64::from(fill.cells.max(1)),
            ));
        }
        if let Err(error) = gauges {
            text.push_str(&format!(
                "  how many there are is not known: {}\n",
                causes(&error)
            ));
        }
        text.push_str(&changed_limits(entries, entry.pins.namespace));
    }
    text
}

/// Returns what of the limits of a network namespace's probes has changed since they were attached, and what to do.
pub(super) fn changed_limits(entries: &[Entry], namespace: u64) -> String {
    let mut text = String::new();
    let (mut told, mut commands) = (Vec::new(), Vec::new());
    let mut tell = |sentence: String| {
        if !told.contains(&sentence) {
            text.push_str(&format!("  {sentence}\n"));
            told.push(sentence);
        }
    };
    for entry in entries
        .iter()
        .filter(|entry| entry.pins.namespace == namespace)
    {
        let outdated = entry.outdated();
        let has_earlier = entry.probe.as_ref().is_some_and(Probe::has_earlier_limits);
        for sentence in entry.host.iter().flat_map(|host| &host.unknown) {
            tell(format!(
                "{sentence}; whether the limits are still the host's is not known"
            ));
        }
        for limit in &outdated {
            tell(limit.text());
        }
        if has_earlier {
            tell(format!(
                "{} still judges by limits of before these",
                entry.label()
            ));
        }
        if has_earlier || !outdated.is_empty() {
            commands.push(entry.command("attach"));
        }
    }
    for command in commands {
        text.push_str(&format!(
            "{}, with the options of before: counts go on, judged by the host's limits of now\n",
            next_step(&command)
        ));
    }
    text
}

/// Returns the hooks of each network namespace.
pub(super) fn hooks(pins: &Pins, entries: &[Entry]) -> String {
    let mut text = String::new();
    let mut namespaces = Vec::new();
    for entry in entries {
        let states = hook_states(pins, entry);
        if states.is_empty() || namespaces.contains(&entry.pins.namespace) {
            continue;
        }
        namespaces.push(entry.pins.namespace);
        text.push_str(&format!("Hooks of {}:\n", entry.label()));
        for (hook, state) in states {
            text.push_str(&format!(
                "  {:27} {:17} {}\n",
                hook.function(),
                rows_of(hook).collect::<Vec<_>>().join(" "),
                match state.reason() {
                    Some(reason) => format!("{}: {reason}", state.name()),
                    None => "attached".to_owned(),
                }
            ));
        }
    }
    text
}
