//! A reading as a line of a log (docs/log.md).

use anyhow::Result;
use bytemuck::{NoUninit, Pod, Zeroable as _};
use jiff::Timestamp;
use mptcp_common::counter::{Counters, Events, Gauges, KernelHook, Leaves, Role};
use serde_json::{Map, Value, json};

use crate::{
    failure::{Failure, Kind},
    render::{
        json::{Field, named},
        table::role_name,
    },
    source::{Hooks, Interface, Reading},
};

/// Readers know all versions up to this one.
const VERSION: u64 = 1;

/// A line, with its end.
pub fn line(reading: &Reading) -> String {
    let object = json!({
        "log_version": VERSION,
        "time": reading.time.to_string(),
        "role": role_name(reading.role),
        "interfaces": reading.interfaces.iter().map(interface).collect::<Vec<_>>(),
        "gauges": reading.gauges.as_ref().map(gauges),
        "hooks": reading.hooks.as_ref().map(hooks),
    });
    format!("{object}\n")
}

/// The reading of a line; `None` if it is none.
///
/// # Errors
/// If it is one of a newer version.
pub(super) fn parse(line: &[u8]) -> Result<Option<Reading>> {
    let Ok(object) = serde_json::from_slice::<Value>(line) else {
        return Ok(None);
    };
    match object["log_version"].as_u64() {
        Some(version) if version > VERSION => Err(Failure::error(
            Kind::Failed,
            format!(
                "a line is of log version {version}, and this program reads versions up to \
                 {VERSION}\n  next: read it with the mptcp-user that wrote it, or a later one"
            ),
        )),
        _ => Ok(reading(&object)),
    }
}

fn reading(object: &Value) -> Option<Reading> {
    object["log_version"].as_u64()?;
    let interfaces: Option<Vec<_>> = object["interfaces"]
        .as_array()?
        .iter()
        .map(parse_interface)
        .collect();
    Some(Reading {
        time: time(&object["time"])?,
        role: [Role::Host, Role::Middlebox]
            .into_iter()
            .find(|role| object["role"] == role_name(*role))?,
        interfaces: interfaces.filter(|interfaces| !interfaces.is_empty())?,
        gauges: object["gauges"].as_object().map(parse_gauges),
        hooks: object["hooks"].as_object().map(parse_hooks),
    })
}

fn interface(interface: &Interface) -> Value {
    let cleared = |cleared: &Option<(Timestamp, Counters)>| {
        cleared.as_ref().map(
            |(time, baseline)| json!({ "time": time.to_string(), "counters": counters(baseline) }),
        )
    };
    json!({
        "name": interface.name,
        "since": interface.since.to_string(),
        "attached_mid_traffic": interface.attached_mid_traffic,
        "in_flight": interface.in_flight,
        "has_queues": interface.has_queues,
        "verifies_checksums": interface.verifies_checksums,
        "counters": counters(&interface.counters),
        "cleared_rows": cleared(&interface.cleared_rows),
        "cleared_extras": cleared(&interface.cleared_extras),
    })
}

fn parse_interface(object: &Value) -> Option<Interface> {
    let cleared = |name: &str| {
        let cleared = object[name].as_object()?;
        Some((
            time(cleared.get("time")?)?,
            parse_counters(cleared.get("counters")?)?,
        ))
    };
    Some(Interface {
        name: object["name"].as_str()?.to_owned(),
        since: time(&object["since"])?,
        attached_mid_traffic: object["attached_mid_traffic"].as_bool()?,
        in_flight: object["in_flight"].as_bool()?,
        has_queues: object["has_queues"].as_bool()?,
        verifies_checksums: object["verifies_checksums"].as_bool()?,
        counters: parse_counters(&object["counters"])?,
        cleared_rows: cleared("cleared_rows"),
        cleared_extras: cleared("cleared_extras"),
    })
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// The raw counters by name, those that are not 0.
fn counters(counters: &Counters) -> Value {
    let Counters {
        leaves,
        rx,
        tx,
        unknown,
        frames,
    } = counters;
    let events = |events: &Events| named(Events::FIELDS, words(events));
    json!({
        "frames": frames,
        "leaves": named(Leaves::FIELDS, words(leaves)),
        "rx": events(rx),
        "tx": events(tx),
        "unknown": events(unknown),
    })
}

fn parse_counters(object: &Value) -> Option<Counters> {
    let events = |name: &str| {
        let mut events = Events::zeroed();
        fill(Events::FIELDS, &object[name], words_mut(&mut events))?;
        Some(events)
    };
    let mut leaves = Leaves::zeroed();
    fill(Leaves::FIELDS, &object["leaves"], words_mut(&mut leaves))?;
    Some(Counters {
        leaves,
        rx: events("rx")?,
        tx: events("tx")?,
        unknown: events("unknown")?,
        frames: number(&object["frames"])?,
    })
}

/// A count. None becomes so large, and all counters of a reading can be added.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().filter(|number| *number < 1 << 52)
}

fn words<T: NoUninit>(counters: &T) -> &[u64] {
    bytemuck::cast_slice(std::slice::from_ref(counters))
}

fn words_mut<T: Pod>(counters: &mut T) -> &mut [u64] {
    bytemuck::cast_slice_mut(std::slice::from_mut(counters))
}

/// The reverse of [`named`]. Names that are not known here are those of a later layout.
fn fill(fields: &[Field], object: &Value, mut words: &mut [u64]) -> Option<()> {
    let object = object.as_object()?;
    for (name, length, _) in fields {
        let (field, rest) = words.split_at_mut(*length);
        words = rest;
        match object.get(*name) {
            None => {}
            Some(Value::Array(counts)) => {
                for (word, count) in field.iter_mut().zip(counts) {
                    *word = number(count)?;
                }
            }
            Some(count) => *field.first_mut()? = number(count)?,
        }
    }
    Some(())
}

fn gauges(gauges: &Gauges) -> Value {
    let Gauges {
        sessions,
        sessions_v1,
        fallback,
        alone,
        subflows,
        pending,
    } = gauges;
    json!({
        "sessions": sessions,
        "sessions_v1": sessions_v1,
        "fallback": fallback,
        "alone": alone,
        "subflows": subflows,
        "pending": pending,
    })
}

fn parse_gauges(object: &Map<String, Value>) -> Gauges {
    let gauge = |name: &str| object.get(name).and_then(number).unwrap_or_default();
    Gauges {
        sessions: gauge("sessions"),
        sessions_v1: gauge("sessions_v1"),
        fallback: gauge("fallback"),
        alone: gauge("alone"),
        subflows: gauge("subflows"),
        pending: gauge("pending"),
    }
}

/// By the names of the functions.
fn hooks(hooks: &Hooks) -> Value {
    let counts = |counts: &[Option<u64>]| -> Map<String, Value> {
        KernelHook::ALL
            .iter()
            .zip(counts)
            .filter_map(|(hook, count)| Some((hook.function().to_owned(), (*count)?.into())))
            .collect()
    };
    json!({
        "counts": counts(&hooks.counts),
        "cleared": hooks.cleared.as_ref().map(|cleared| counts(cleared)),
    })
}

fn parse_hooks(object: &Map<String, Value>) -> Hooks {
    let counts = |name: &str| {
        let counts = object.get(name).and_then(Value::as_object)?;
        Some(KernelHook::ALL.map(|hook| counts.get(hook.function()).and_then(number)))
    };
    Hooks {
        counts: counts("counts").unwrap_or_default(),
        cleared: counts("cleared"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every word of the counters another number, so that none can be lost or change its place.
    fn reading() -> Reading {
        let mut counters = Counters::zeroed();
        for (i, word) in words_mut(&mut counters).iter_mut().enumerate() {
            *word = 1 + i as u64;
        }
        Reading {
            time: Timestamp::UNIX_EPOCH,
            role: Role::Middlebox,
            interfaces: vec![Interface {
                name: "a \"name\"\n".to_owned(),
                since: Timestamp::UNIX_EPOCH,
                attached_mid_traffic: true,
                in_flight: false,
                has_queues: true,
                verifies_checksums: false,
                counters,
                cleared_rows: Some((Timestamp::UNIX_EPOCH, counters)),
                cleared_extras: None,
            }],
            gauges: Some(Gauges {
                sessions: 1,
                sessions_v1: 2,
                fallback: 3,
                alone: 4,
                subflows: 5,
                pending: 6,
            }),
            hooks: Some(Hooks {
                counts: std::array::from_fn(|i| (i != 3).then_some(i as u64)),
                cleared: Some(Default::default()),
            }),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let reading = reading();
        let line = line(&reading);
        assert_eq!(line.matches('\n').count(), 1);
        let read = parse(line.as_bytes())
            .expect("of this version")
            .expect("a reading");
        assert_eq!(format!("{read:?}"), format!("{reading:?}"));
    }

    #[test]
    fn no_prefix_of_a_line_is_a_reading() {
        let mut reading = reading();
        // Not so many counters that it takes long.
        reading.interfaces[0].counters = Counters::zeroed();
        reading.interfaces[0].cleared_rows = None;
        let line = line(&reading);
        let line = line.trim_end().as_bytes();
        for length in 0..line.len() {
            assert!(parse(&line[..length]).expect("of this version").is_none());
        }
    }
}
