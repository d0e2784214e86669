//! `mptcp-user status`

use anyhow::Result;
use mptcp_common::{
    counter::{Counters, FexitHook, ROWS, Role},
    state::CHUNK_RANGES,
};
use serde_json::{Value, json};

use super::{LOOPBACK, print, probes::OUTSIDE};
use crate::{
    cli::{Status, StatusOutput},
    failure::{causes, is_forbidden},
    probe::{
        self, Agreement, Attachment, HookReason, HookState, HostLimits, InterfacePins, KernelHooks,
        Network, Outdated, Pins, Probe,
    },
    render::{
        json::lost,
        lost::losses,
        passed,
        table::{lines, new_table, role_name},
    },
    text::shown,
};

/// What is known of one probe.
struct Entry {
    pins: InterfacePins,
    name: String,
    /// The network namespace that it is in, if that is another one.
    elsewhere: Option<Elsewhere>,
    state: State,
    /// Why the state is as it is, where that is known.
    reason: Option<String>,
    probe: Option<Probe>,
    attachments: Vec<Attachment>,
    /// Both ends of what it sees are this host.
    is_loopback: bool,
    /// The limits of its host now, if it judges by such.
    host: Option<HostLimits>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// All its programs are attached.
    Counting,
    /// Some program is missing: the loader was killed, or somebody took it off.
    Incomplete,
    /// The interface or its network namespace does not exist any more.
    Gone,
    /// The interface is in another network namespace now, with its programs.
    Moved,
    /// The pinned maps cannot be read.
    Unreadable,
    /// Its network namespace cannot be found from here, and may be there all the same.
    OutOfSight,
}

/// Another network namespace: its name of `ip netns`, if it has one.
type Elsewhere = Option<String>;

impl Entry {
    /// Its name, where several namespaces have interfaces.
    fn label(&self) -> String {
        match &self.elsewhere {
            None => shown(&self.name).to_string(),
            Some(Some(netns)) => format!("{} in {}", shown(&self.name), shown(netns)),
            Some(None) => format!("{} in {}", shown(&self.name), self.pins.namespace),
        }
    }

    /// The name of the namespace, where that is another one.
    fn netns(&self) -> Option<&str> {
        self.elsewhere.as_ref()?.as_deref()
    }

    /// What to do about its state.
    fn advice(&self) -> Option<String> {
        let what = match self.state {
            State::Counting => return None,
            State::Incomplete => "attach",
            State::Gone | State::Moved => "detach",
            State::Unreadable => {
                return Some(format!(
                    "{} again, or {}",
                    self.command("attach"),
                    self.command("detach")
                ));
            }
            State::OutOfSight => {
                return Some(
                    "run mptcp-user status where the namespace can be seen: as root, with the host's /proc and \
                     /run/netns"
                        .to_owned(),
                );
            }
        };
        Some(self.command(what))
    }

    /// A command for it.
    fn command(&self, what: &str) -> String {
        let netns = self
            .netns()
            .map_or(String::new(), |netns| format!("--netns {} ", shown(netns)));
        format!("mptcp-user {netns}{what} -i {}", shown(&self.name))
    }

    /// What a state is without more.
    fn without_programs(pins: InterfacePins, state: State, reason: Option<String>) -> Self {
        let probe = Probe::open(&pins).ok();
        let name = match &probe {
            Some(probe) => probe.name(),
            None => format!("interface {}", pins.index),
        };
        Self {
            pins,
            name,
            elsewhere: None,
            state,
            reason,
            probe,
            attachments: Vec::new(),
            is_loopback: false,
            host: None,
        }
    }

    /// Limits that it judges by and that are not the host's any more.
    fn outdated(&self) -> Vec<Outdated> {
        match (&self.probe, &self.host) {
            (Some(probe), Some(host)) => probe.outdated_limits(host),
            _ => Vec::new(),
        }
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Counting => "counting",
            Self::Incomplete => "incomplete",
            Self::Gone => "gone",
            Self::Moved => "moved",
            Self::Unreadable => "unreadable",
            Self::OutOfSight => "out of sight",
        }
    }
}

pub(crate) async fn run(pins: &Pins, only_here: bool, options: &Status) -> Result<()> {
    probe::sweep(pins);
    let entries = entries(pins, only_here).await?;
    let text = match options.output {
        StatusOutput::Json => format!("{:#}\n", json(pins, &entries)),
        StatusOutput::Table if entries.is_empty() => {
            let next = if pins.are_out_of_sight() {
                OUTSIDE
            } else {
                "mptcp-user attach -i IFACE"
            };
            format!("no probe under {}\n  next: {next}\n", shown(pins.root()))
        }
        StatusOutput::Table => table(pins, &entries),
    };
    print(&text)
}

async fn entries(pins: &Pins, only_here: bool) -> Result<Vec<Entry>> {
    let namespace = probe::namespace()?;
    let _lock = pins.lock_to_read(None).await?;
    let network = Network::connect()?;
    let mut entries = Vec::new();
    for here in pins.interfaces()? {
        if here.namespace == namespace {
            entries.push(entry(&network, here).await?);
        } else if !only_here {
            entries.push(entry_elsewhere(here)?);
        }
    }
    Ok(entries)
}

/// A probe in another network namespace.
fn entry_elsewhere(here: InterfacePins) -> Result<Entry> {
    let found = probe::find_namespace(here.namespace);
    let (elsewhere, entry) = match found {
        Ok(Some(path)) => {
            let look = async |network: &Network| entry(network, here).await;
            (probe::name_of(&path), probe::in_namespace(&path, look)?)
        }
        Ok(None) if probe::is_on_interface(&here) == Some(true) => {
            let reason =
                "its programs are on an interface, of a network namespace that nothing names here";
            let reason = Some(reason.to_owned());
            (
                None,
                Entry::without_programs(here, State::OutOfSight, reason),
            )
        }
        Ok(None) => (None, Entry::without_programs(here, State::Gone, None)),
        // Links say so where names do not.
        Err(_) if probe::is_on_interface(&here) == Some(false) => {
            (None, Entry::without_programs(here, State::Gone, None))
        }
        Err(error) => {
            let reason = Some(causes(&error));
            (
                None,
                Entry::without_programs(here, State::OutOfSight, reason),
            )
        }
    };
    Ok(Entry {
        elsewhere: Some(elsewhere),
        ..entry
    })
}

/// A probe in the network namespace that `network` is in.
async fn entry(network: &Network, here: InterfacePins) -> Result<Entry> {
    let interfaces = network.interfaces().await?;
    let Some(interface) = interfaces
        .into_iter()
        .find(|interface| interface.index == here.index)
    else {
        if probe::is_on_interface(&here) != Some(true) {
            return Ok(Entry::without_programs(here, State::Gone, None));
        }
        let reason =
            "the interface is in another network namespace now, and its programs count there";
        let mut entry = Entry::without_programs(here, State::Moved, Some(reason.to_owned()));
        let is_native = entry.probe.as_ref().is_some_and(Probe::has_queues);
        entry.attachments = probe::linked(&entry.pins, is_native);
        return Ok(entry);
    };
    let probe = match Probe::open(&here) {
        Ok(probe) => probe,
        // Not the pins' fault.
        Err(error) if is_forbidden(&error) => return Err(error),
        Err(error) => {
            return Ok(Entry {
                name: interface.name,
                elsewhere: None,
                state: State::Unreadable,
                reason: Some(causes(&error)),
                probe: None,
                attachments: Vec::new(),
                is_loopback: interface.is_loopback,
                host: None,
                pins: here,
            });
        }
    };
    let attachments = probe::attachments(network, &interface, probe.counters_id()).await?;
    let wanted = match probe.role() {
        Role::Host => 2,
        Role::Middlebox => 1,
    };
    let has = |ingress| attachments.iter().any(|each| each.ingress == ingress);
    let (state, reason) = match (attachments.len() == wanted, has(true), has(false)) {
        (true, ..) => (State::Counting, None),
        (_, true, false) => (State::Incomplete, Some("what goes out is not counted")),
        (_, false, true) => (State::Incomplete, Some("what comes in is not counted")),
        (_, true, true) => (State::Incomplete, None),
        (_, false, false) => (State::Incomplete, Some("nothing is counted")),
    };
    let host = match probe.follows_host() {
        true => Some(HostLimits::read().await),
        false => None,
    };
    Ok(Entry {
        name: interface.name,
        elsewhere: None,
        state,
        reason: reason.map(str::to_owned),
        probe: Some(probe),
        attachments,
        is_loopback: interface.is_loopback,
        host,
        pins: here,
    })
}

fn table(pins: &Pins, entries: &[Entry]) -> String {
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
                .map_or("-", |attachment| attachment.hook.name())
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
            text.push_str(&format!("  next: {advice}\n"));
        }
    }
    text
}

/// A line on the tables of each network namespace.
fn tables(entries: &[Entry]) -> String {
    let mut text = String::new();
    let mut namespaces = Vec::new();
    for entry in entries {
        let tables = entry.probe.as_ref().and_then(Probe::tables);
        let Some(tables) = tables.filter(|_| !namespaces.contains(&entry.pins.namespace)) else {
            continue;
        };
        namespaces.push(entry.pins.namespace);
        let (agreement, gauges) = (tables.agreement(), tables.gauges());
        let [sessions, open] = match &gauges {
            Ok(gauges) => [gauges.sessions, gauges.subflows].map(|number| number.to_string()),
            // None is a number, too.
            Err(_) => ["?", "?"].map(str::to_owned),
        };
        let fill = tables.fill();
        let chunks = tables.range_chunks();
        let chunks = chunks.map_or("?".to_owned(), |chunks| chunks.to_string());
        let (sizes, limits, seeded) = (agreement.sizes(), agreement.limits, agreement.seeded());
        let [subflows, pending, threshold, _, handshake, alone, idle] =
            agreement.origins.named().map(|(_, origin)| origin.name());
        let [_, subflow, session, chunk] = Agreement::bytes_per_entry();
        let seconds = |nanoseconds: u64| nanoseconds / 1_000_000_000;
        text.push_str(&format!(
            "Tables of {}: {} of {} sessions ({session} bytes each), {} of {} subflows ({subflow} bytes \
             each), {} of {} chunks of {CHUNK_RANGES} ranges of data ({chunk} bytes each), {:.1} MiB in all; {} \
             sessions and {} subflows were there before the probe\n",
            entry.label(),
            sessions,
            sizes.sessions,
            open,
            sizes.subflows,
            chunks,
            agreement.chunks(),
            agreement.memory() as f64 / f64::from(1 << 20),
            seeded.sessions,
            seeded.subflows,
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

/// What of the limits of a network namespace's probes has changed since they were attached, and what to do.
fn changed_limits(entries: &[Entry], namespace: u64) -> String {
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
            "  next: {command}, with the options of before: counts go on, judged by the host's limits of now\n"
        ));
    }
    text
}

/// The hooks of a namespace on kernel functions; none for a middlebox.
fn hook_states(pins: &Pins, entry: &Entry) -> Vec<(FexitHook, HookState)> {
    let is_host = |probe: &Probe| probe.role() == Role::Host;
    if !entry.probe.as_ref().is_some_and(is_host) {
        return Vec::new();
    }
    let directory = pins.hooks(entry.pins.namespace);
    let hooks = KernelHooks::open(&directory);
    let states = FexitHook::ALL.map(|hook| {
        let state = match &hooks {
            Ok(Some(hooks)) => hooks
                .state(hook)
                .unwrap_or_else(|error| HookState::Unknown(causes(&error))),
            Ok(None) => HookState::Missing(HookReason::NotTried),
            Err(error) => HookState::Unknown(causes(error)),
        };
        (hook, state)
    });
    states.into()
}

/// Short names of the rows that a hook feeds.
fn rows_of(hook: FexitHook) -> impl Iterator<Item = &'static str> {
    ROWS.iter()
        .filter(move |row| row.hooks().is_some_and(|hooks| hooks.contains(&hook)))
        .map(|row| row.short)
}

/// The hooks of each network namespace.
fn hooks(pins: &Pins, entries: &[Entry]) -> String {
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

/// The same in JSON.
fn hooks_object(pins: &Pins, entry: &Entry) -> Vec<Value> {
    let states = hook_states(pins, entry);
    let object = |(hook, state): (FexitHook, HookState)| {
        json!({
            "function": hook.function(),
            "rows": rows_of(hook).collect::<Vec<_>>(),
            "state": state.name(),
            "reason": state.reason(),
        })
    };
    states.into_iter().map(object).collect()
}

/// The tables in JSON. How many sessions and subflows there are is null where it cannot be read.
fn tables_object(entry: &Entry) -> Option<Value> {
    let probe = entry.probe.as_ref()?;
    let tables = probe.tables()?;
    let (agreement, gauges) = (tables.agreement(), tables.gauges().ok());
    let host = entry.host.as_ref();
    let alone = host.and_then(|host| host.alone);
    let outdated = entry.outdated();
    let (sizes, limits) = (agreement.sizes(), agreement.limits);
    let [_, subflow, session, chunk] = Agreement::bytes_per_entry();
    Some(json!({
        "sessions": gauges.map(|gauges| gauges.sessions),
        "max_sessions": sizes.sessions,
        "subflows": gauges.map(|gauges| gauges.subflows),
        "max_subflows": sizes.subflows,
        "max_handshakes": sizes.handshakes,
        "range_chunks": tables.range_chunks().ok(),
        "max_range_chunks": agreement.chunks(),
        "max_ranges": sizes.ranges,
        "filter": tables.fill().ok().map(|fill| json!({
            "cells": fill.cells,
            "used": fill.used,
            "fullest": fill.fullest,
        })),
        "bytes": agreement.memory(),
        "bytes_per_session": session,
        "bytes_per_subflow": subflow,
        "bytes_per_range_chunk": chunk,
        "seeded_sessions": agreement.seeded().sessions,
        "seeded_subflows": agreement.seeded().subflows,
        "limits": {
            "subflows": limits.subflows,
            "pending_joins": limits.pending,
            "join_threshold": limits.threshold,
            "passive_close_refused": limits.passive_close_refused != 0,
            "handshake_ns": limits.handshake,
            "alone_ns": limits.alone,
            "idle_ns": limits.idle,
        },
        "limit_origins": agreement
            .origins
            .named()
            .into_iter()
            .map(|(name, origin)| (name.to_owned(), Value::from(origin.name())))
            .collect::<serde_json::Map<_, _>>(),
        "host_limits": {
            "subflows": host.and_then(|host| host.subflows),
            "alone_ns": alone.map(|time| time.as_nanos() as u64),
        },
        "outdated_limits": outdated.iter().map(|limit| limit.name()).collect::<Vec<_>>(),
        "has_earlier_limits": probe.has_earlier_limits(),
    }))
}

/// What a probe counted since it was attached.
fn counters(entry: &Entry) -> Option<Counters> {
    let mut sum = Counters::default();
    for cpu in entry.probe.as_ref()?.read().ok()? {
        sum.add(&cpu);
    }
    Some(sum)
}

fn json(pins: &Pins, entries: &[Entry]) -> Value {
    json!({
        "schema_version": 1,
        "pin_dir": pins.root().to_string_lossy(),
        "interfaces": entries
            .iter()
            .map(|entry| json!({
                "name": entry.name,
                "index": entry.pins.index,
                "namespace": entry.pins.namespace,
                "netns": entry.netns(),
                "pins": entry.pins.path().to_string_lossy(),
                "state": entry.state.name(),
                "reason": entry.reason,
                "loopback": entry.is_loopback,
                "role": entry.probe.as_ref().map(|probe| role_name(probe.role())),
                "since": entry.probe.as_ref().map(|probe| probe.since().to_string()),
                "frames": counters(entry).map(|counters| counters.frames),
                "note": counters(entry).and_then(|counters| passed::note(&counters)),
                "lost": lost(
                    &counters(entry).unwrap_or_default(),
                    entry.probe.as_ref().map(Probe::since),
                    false,
                ),
                "verifies_checksums": entry.probe.as_ref().map(Probe::verifies_checksums),
                "tables": tables_object(entry),
                "hooks": hooks_object(pins, entry),
                "programs": entry
                    .attachments
                    .iter()
                    .map(|attachment| json!({
                        "name": attachment.program_name,
                        "id": attachment.program,
                        "direction": if attachment.ingress { "ingress" } else { "egress" },
                        "hook": attachment.hook.name(),
                        "verified_instructions": attachment.verified,
                        "translated_bytes": attachment.translated,
                        "jited_bytes": attachment.jited,
                    }))
                    .collect::<Vec<_>>(),
            }))
            .collect::<Vec<_>>(),
    })
}
