//! The status as JSON (docs/json.md).

use mptcp_common::counter::FexitHook;
use serde_json::{Value, json};

use super::entry::{Entry, counters, hook_states, rows_of};
use crate::{
    probe::{FexitState, Pins, Probe, SharedConfig},
    render::{json::lost, passed},
    schema::role_name,
};

/// Returns the hooks of a network namespace in JSON.
pub(super) fn hooks_object(pins: &Pins, entry: &Entry) -> Vec<Value> {
    let states = hook_states(pins, entry);
    let object = |(hook, state): (FexitHook, FexitState)| {
        json!({
            "function": hook.function(),
            "rows": rows_of(hook).collect::<Vec<_>>(),
            "state": state.name(),
            "reason": state.reason(),
        })
    };
    states.into_iter().map(object).collect()
}

/// Returns the tables in JSON. How many sessions and subflows there are is null where it cannot be read.
pub(super) fn tables_object(entry: &Entry) -> Option<Value> {
    let probe = entry.probe.as_ref()?;
    let tables = probe.tables()?;
    let (config, gauges) = (tables.config(), tables.gauges().ok());
    let host = entry.host.as_ref();
    let alone = host.and_then(|host| host.alone);
    let outdated = entry.outdated();
    let (capacity, limits) = (config.capacity(), config.limits);
    let [_, subflow, session, chunk] = SharedConfig::bytes_per_entry();
    Some(json!({
        "sessions": gauges.map(|gauges| gauges.sessions),
        "max_sessions": capacity.sessions,
        "subflows": gauges.map(|gauges| gauges.subflows),
        "max_subflows": capacity.subflows,
        "max_handshakes": capacity.handshakes,
        "range_chunks": tables.range_chunks().ok(),
        "max_range_chunks": config.chunks(),
        "max_ranges": capacity.ranges,
        "filter": tables.fill().ok().map(|fill| json!({
            "cells": fill.cells,
            "used": fill.used,
            "fullest": fill.fullest,
        })),
        "bytes": config.memory(),
        "bytes_per_session": session,
        "bytes_per_subflow": subflow,
        "bytes_per_range_chunk": chunk,
        "seeded_sessions": config.adopted().sessions,
        "seeded_subflows": config.adopted().subflows,
        "limits": {
            "subflows": limits.subflows,
            "pending_joins": limits.pending,
            "join_threshold": limits.threshold,
            "passive_close_refused": limits.passive_close_refused != 0,
            "handshake_ns": limits.handshake,
            "alone_ns": limits.alone,
            "idle_ns": limits.idle,
        },
        "limit_origins": config
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

pub(super) fn json(pins: &Pins, entries: &[Entry]) -> Value {
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
                        "hook": attachment.point.name(),
                        "verified_instructions": attachment.verified,
                        "translated_bytes": attachment.translated,
                        "jited_bytes": attachment.jited,
                    }))
                    .collect::<Vec<_>>(),
            }))
            .collect::<Vec<_>>(),
    })
}
