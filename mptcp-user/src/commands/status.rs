//! `mptcp-user status`

use anyhow::Result;
use serde_json::{Value, json};

use super::print;
use crate::{
    cli::{Status, StatusOutput},
    probe::{self, Attachment, InterfacePins, Network, Pins, Probe},
    render::table::{lines, new_table, role_name},
};

/// What is known of one probe.
struct Entry {
    pins: InterfacePins,
    name: String,
    state: State,
    probe: Option<Probe>,
    attachments: Vec<Attachment>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Counting,
    /// Some program is missing: the loader was killed, or somebody took it off.
    Incomplete,
    /// The interface does not exist any more.
    Gone,
    /// In a network namespace that this command does not look into.
    Elsewhere,
    /// The pinned maps cannot be read.
    Unreadable,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Counting => "counting",
            Self::Incomplete => "incomplete: attach again",
            Self::Gone => "interface is gone: detach",
            Self::Elsewhere => "in another namespace",
            Self::Unreadable => "unreadable: detach",
        }
    }
}

pub(crate) async fn run(pins: &Pins, only_here: bool, options: &Status) -> Result<()> {
    let entries = entries(pins, only_here).await?;
    let text = match options.output {
        StatusOutput::Json => format!("{:#}\n", json(pins, &entries)),
        StatusOutput::Table if entries.is_empty() => {
            format!(
                "no probe under {}\n  next: mptcp-user attach -i IFACE\n",
                pins.root().display()
            )
        }
        StatusOutput::Table => table(&entries),
    };
    print(&text)
}

async fn entries(pins: &Pins, only_here: bool) -> Result<Vec<Entry>> {
    let namespace = probe::namespace()?;
    let _lock = pins.lock_to_read()?;
    let network = Network::connect()?;
    let interfaces = network.interfaces().await?;
    let mut entries = Vec::new();
    for here in pins.interfaces()? {
        if only_here && here.namespace != namespace {
            continue;
        }
        let probe = Probe::open(&here).ok();
        let interface = interfaces
            .iter()
            .find(|interface| interface.index == here.index);
        let mut attachments = Vec::new();
        let state = match (&probe, interface) {
            (None, _) => State::Unreadable,
            _ if here.namespace != namespace => State::Elsewhere,
            (_, None) => State::Gone,
            (Some(probe), Some(interface)) => {
                attachments = probe::attachments(&network, interface, probe.counters_id()).await;
                let wanted = match probe.role() {
                    mptcp_common::counter::Role::Host => 2,
                    mptcp_common::counter::Role::Middlebox => 1,
                };
                if attachments.len() == wanted {
                    State::Counting
                } else {
                    State::Incomplete
                }
            }
        };
        let name = match (&probe, interface) {
            (_, Some(interface)) if state != State::Elsewhere => interface.name.clone(),
            (Some(probe), _) => probe.name(),
            _ => format!("interface {}", here.index),
        };
        entries.push(Entry {
            pins: here,
            name,
            state,
            probe,
            attachments,
        });
    }
    Ok(entries)
}

fn table(entries: &[Entry]) -> String {
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
            entry.name.clone(),
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
    lines(&table)
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
                "pins": entry.pins.directory(),
                "state": entry.state.name(),
                "role": entry.probe.as_ref().map(|probe| role_name(probe.role())),
                "since": entry.probe.as_ref().map(|probe| probe.since().to_string()),
                "frames": frames(entry),
                "programs": entry
                    .attachments
                    .iter()
                    .map(|attachment| json!({
                        "name": attachment.program_name,
                        "id": attachment.program,
                        "direction": if attachment.ingress { "ingress" } else { "egress" },
                        "hook": attachment.hook.name(),
                        "verified_instructions": attachment.verified,
                    }))
                    .collect::<Vec<_>>(),
            }))
            .collect::<Vec<_>>(),
    })
}
