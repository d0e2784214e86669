//! `mptcp-user status`

use anyhow::Result;
use mptcp_common::counter::{KernelHook, ROWS, Role};
use serde_json::{Value, json};

use super::{print, probes::OUTSIDE};
use crate::{
    cli::{Status, StatusOutput},
    probe::{
        self, Agreement, Attachment, HookState, InterfacePins, KernelHooks, Network, Pins, Probe,
    },
    render::table::{lines, new_table, role_name},
};

/// What is known of one probe.
struct Entry {
    pins: InterfacePins,
    name: String,
    /// The network namespace that it is in, if that is another one.
    elsewhere: Option<Elsewhere>,
    state: State,
    probe: Option<Probe>,
    attachments: Vec<Attachment>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// All its programs are attached.
    Counting,
    /// Some program is missing: the loader was killed, or somebody took it off.
    Incomplete,
    /// The interface or its network namespace does not exist any more.
    Gone,
    /// The pinned maps cannot be read.
    Unreadable,
}

/// Another network namespace: its name of `ip netns`, if it has one.
type Elsewhere = Option<String>;

impl Entry {
    /// Its name, where several namespaces have interfaces.
    fn label(&self) -> String {
        match &self.elsewhere {
            None => self.name.clone(),
            Some(Some(netns)) => format!("{} in {netns}", self.name),
            Some(None) => format!("{} in {}", self.name, self.pins.namespace),
        }
    }

    /// The name of the namespace, where that is another one.
    fn netns(&self) -> Option<&str> {
        self.elsewhere.as_ref()?.as_deref()
    }

    /// What to do about its state.
    fn advice(&self) -> Option<String> {
        let what = self.state.advice()?;
        let netns = self
            .netns()
            .map_or(String::new(), |netns| format!("--netns {netns} "));
        Some(format!("mptcp-user {netns}{what} -i {}", self.name))
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Counting => "counting",
            Self::Incomplete => "incomplete",
            Self::Gone => "gone",
            Self::Unreadable => "unreadable",
        }
    }

    /// What to do about it.
    fn advice(self) -> Option<&'static str> {
        match self {
            Self::Counting => None,
            Self::Incomplete => Some("attach"),
            Self::Gone | Self::Unreadable => Some("detach"),
        }
    }
}

pub(crate) async fn run(pins: &Pins, only_here: bool, options: &Status) -> Result<()> {
    let entries = entries(pins, only_here).await?;
    let text = match options.output {
        StatusOutput::Json => format!("{:#}\n", json(pins, &entries)),
        StatusOutput::Table if entries.is_empty() => {
            let next = if pins.are_out_of_sight() {
                OUTSIDE
            } else {
                "mptcp-user attach -i IFACE"
            };
            format!("no probe under {}\n  next: {next}\n", pins.root().display())
        }
        StatusOutput::Table => table(pins, &entries),
    };
    print(&text)
}

async fn entries(pins: &Pins, only_here: bool) -> Result<Vec<Entry>> {
    let namespace = probe::namespace()?;
    let _lock = pins.lock_to_read()?;
    let network = Network::connect()?;
    let mut entries = Vec::new();
    for here in pins.interfaces()? {
        if here.namespace == namespace {
            entries.push(entry(&network, here).await?);
        } else if !only_here {
            let there = here.clone();
            let look = async |network: &Network| entry(network, there).await;
            let elsewhere = Some(probe::name_of(here.namespace));
            let found = probe::in_namespace(here.namespace, look)?;
            let entry = found.unwrap_or_else(|| gone(here));
            entries.push(Entry { elsewhere, ..entry });
        }
    }
    Ok(entries)
}

/// A probe in the network namespace that `network` is in.
async fn entry(network: &Network, here: InterfacePins) -> Result<Entry> {
    let interfaces = network.interfaces().await?;
    let Some(interface) = interfaces
        .into_iter()
        .find(|interface| interface.index == here.index)
    else {
        return Ok(gone(here));
    };
    let Ok(probe) = Probe::open(&here) else {
        return Ok(Entry {
            name: interface.name,
            elsewhere: None,
            state: State::Unreadable,
            probe: None,
            attachments: Vec::new(),
            pins: here,
        });
    };
    let attachments = probe::attachments(network, &interface, probe.counters_id()).await?;
    let wanted = match probe.role() {
        Role::Host => 2,
        Role::Middlebox => 1,
    };
    let state = if attachments.len() == wanted {
        State::Counting
    } else {
        State::Incomplete
    };
    Ok(Entry {
        name: interface.name,
        elsewhere: None,
        state,
        probe: Some(probe),
        attachments,
        pins: here,
    })
}

fn gone(here: InterfacePins) -> Entry {
    let probe = Probe::open(&here).ok();
    let name = match &probe {
        Some(probe) => probe.name(),
        None => format!("interface {}", here.index),
    };
    Entry {
        name,
        elsewhere: None,
        state: State::Gone,
        probe,
        attachments: Vec::new(),
        pins: here,
    }
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
            frames(entry).map_or("-".to_owned(), |frames| frames.to_string()),
            entry
                .probe
                .as_ref()
                .map_or("-".to_owned(), |probe| format!("{:.0}", probe.since())),
            entry.state.name().to_owned(),
        ]);
    }
    let mut text = lines(&table);
    text.push_str(&tables(entries));
    text.push_str(&hooks(pins, entries));
    for entry in entries {
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
        let (agreement, gauges) = (tables.agreement(), tables.gauges().unwrap_or_default());
        let (sizes, limits, seeded) = (agreement.sizes(), agreement.limits, agreement.seeded());
        let [subflows, pending, threshold, _, handshake, alone, idle] =
            agreement.origins.named().map(|(_, origin)| origin.name());
        let [_, subflow, session] = Agreement::bytes_per_entry();
        let seconds = |nanoseconds: u64| nanoseconds / 1_000_000_000;
        text.push_str(&format!(
            "Tables of {}: {} of {} sessions ({session} bytes each), {} of {} subflows ({subflow} bytes \
             each), {:.1} MiB in all; {} sessions and {} subflows were there before the probe\n",
            entry.label(),
            gauges.sessions,
            sizes.sessions,
            gauges.subflows,
            sizes.subflows,
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
    }
    text
}

/// The hooks of a namespace on kernel functions, as far as there are any.
fn hook_states(pins: &Pins, entry: &Entry) -> Option<Vec<(KernelHook, HookState)>> {
    let is_host = entry.probe.as_ref()?.role() == Role::Host;
    let hooks = KernelHooks::open(&pins.hooks(entry.pins.namespace)).ok()??;
    let states = KernelHook::ALL.map(|hook| Some((hook, hooks.state(hook).ok()?)));
    states.into_iter().filter(|_| is_host).collect()
}

/// Short names of the rows that a hook feeds.
fn rows_of(hook: KernelHook) -> impl Iterator<Item = &'static str> {
    ROWS.iter()
        .filter(move |row| row.hooks().is_some_and(|hooks| hooks.contains(&hook)))
        .map(|row| row.short)
}

/// The hooks of each network namespace.
fn hooks(pins: &Pins, entries: &[Entry]) -> String {
    let mut text = String::new();
    let mut namespaces = Vec::new();
    for entry in entries {
        let Some(states) = hook_states(pins, entry)
            .filter(|states| !states.is_empty() && !namespaces.contains(&entry.pins.namespace))
        else {
            continue;
        };
        namespaces.push(entry.pins.namespace);
        text.push_str(&format!("Hooks of {}:\n", entry.label()));
        for (hook, state) in states {
            text.push_str(&format!(
                "  {:27} {:17} {}\n",
                hook.function(),
                rows_of(hook).collect::<Vec<_>>().join(" "),
                match state.reason() {
                    Some(reason) => format!("refused: {reason}"),
                    None => "attached".to_owned(),
                }
            ));
        }
    }
    text
}

/// The same in JSON.
fn hooks_object(pins: &Pins, entry: &Entry) -> Vec<Value> {
    let states = hook_states(pins, entry).unwrap_or_default();
    let object = |(hook, state): (KernelHook, HookState)| {
        json!({
            "function": hook.function(),
            "rows": rows_of(hook).collect::<Vec<_>>(),
            "state": if state == HookState::Attached { "attached" } else { "refused" },
            "reason": state.reason(),
        })
    };
    states.into_iter().map(object).collect()
}

/// The tables in JSON.
fn tables_object(probe: &Probe) -> Option<Value> {
    let tables = probe.tables()?;
    let (agreement, gauges) = (tables.agreement(), tables.gauges().ok()?);
    let (sizes, limits) = (agreement.sizes(), agreement.limits);
    let [_, subflow, session] = Agreement::bytes_per_entry();
    Some(json!({
        "sessions": gauges.sessions,
        "max_sessions": sizes.sessions,
        "subflows": gauges.subflows,
        "max_subflows": sizes.subflows,
        "max_handshakes": sizes.handshakes,
        "bytes": agreement.memory(),
        "bytes_per_session": session,
        "bytes_per_subflow": subflow,
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
    }))
}

fn frames(entry: &Entry) -> Option<u64> {
    let cpus = entry.probe.as_ref()?.read().ok()?;
    Some(cpus.iter().map(|cpu| cpu.frames).sum())
}

fn json(pins: &Pins, entries: &[Entry]) -> Value {
    json!({
        "schema_version": 1,
        "pin_dir": pins.root(),
        "interfaces": entries
            .iter()
            .map(|entry| json!({
                "name": entry.name,
                "index": entry.pins.index,
                "namespace": entry.pins.namespace,
                "netns": entry.netns(),
                "pins": entry.pins.directory(),
                "state": entry.state.name(),
                "role": entry.probe.as_ref().map(|probe| role_name(probe.role())),
                "since": entry.probe.as_ref().map(|probe| probe.since().to_string()),
                "frames": frames(entry),
                "verifies_checksums": entry.probe.as_ref().map(Probe::verifies_checksums),
                "tables": entry.probe.as_ref().and_then(tables_object),
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
