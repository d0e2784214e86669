//! A reading as a line of a log (docs/log.md).

use std::collections::BTreeMap;

use anyhow::Result;
use bytemuck::{NoUninit, Pod, Zeroable as _};
use jiff::Timestamp;
use mptcp_common::counter::{
    Counters, DirectionCounters, FexitHook, Gauges, Outcomes, Protocols, Role,
};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{LONGEST_LINE, MOST_INTERFACES};
use crate::{
    failure::{Failure, Kind},
    render::{
        json::{Field, named},
        table::role_name,
    },
    source::{Hooks, Interface, Reading},
    text::visible,
};

/// Readers know all versions up to this one.
const VERSION: u64 = 1;

/// No count of a line is larger.
const LARGEST: u64 = (1 << 52) - 1;

/// An object, of which only what is asked for is looked into: what else a line holds takes little memory.
type Object<'a> = BTreeMap<String, &'a RawValue>;

/// A line, with its end.
///
/// # Errors
/// If a reader would refuse it: it is too long, or has too many interfaces or too large counts.
pub fn line(reading: &Reading) -> Result<String> {
    let refuse = |why: String| Err(Failure::error(Kind::Failed, why));
    let interfaces = reading.interfaces.len();
    if interfaces > MOST_INTERFACES {
        return refuse(format!(
            "a reading of {interfaces} interfaces is none of a log, which has at most {MOST_INTERFACES} in \
             one\n  next: a log for some of them, with -i"
        ));
    }
    let mut counters = reading.interfaces.iter().map(|one| &one.counters);
    if counters.any(|counters| words(counters).iter().any(|count| *count > LARGEST)) {
        return refuse(format!(
            "a count is larger than a log holds, {LARGEST}\n  next: detach and attach, to count from zero"
        ));
    }
    let line = written(reading);
    let length = line.len() as u64;
    if length >= LONGEST_LINE {
        return refuse(format!(
            "a reading takes {length} bytes, and a line of a log has less than {LONGEST_LINE}\n  next: a log \
             for some of the interfaces, with -i"
        ));
    }
    Ok(line)
}

fn written(reading: &Reading) -> String {
    let object = json!({
        "log_version": VERSION,
        "time": reading.time.to_string(),
        "role": role_name(reading.role),
        "interfaces": reading.interfaces.iter().map(interface).collect::<Vec<_>>(),
        "gauges": reading.gauges.as_ref().map(gauges),
        "hooks": reading.hooks.as_ref().map(hooks),
    });
    format!("{}\n", visible(&object.to_string()))
}

/// The reading of a line; `None` if it is none.
///
/// # Errors
/// If it is one of a newer version, or has too many interfaces.
pub(super) fn parse(line: &[u8]) -> Result<Option<Reading>> {
    let refuse = |why: String| Err(Failure::error(Kind::Failed, why));
    let Ok(object) = serde_json::from_slice::<Object<'_>>(line) else {
        return Ok(None);
    };
    let Some(version) = get::<u64>(&object, "log_version") else {
        return Ok(None);
    };
    if version > VERSION {
        return refuse(format!(
            "a line is of log version {version}, and this program reads versions up to {VERSION}\n  \
             next: read it with the mptcp-user that wrote it, or a later one"
        ));
    }
    let reading = parse_reading(&object);
    if reading
        .as_ref()
        .is_some_and(|reading| reading.interfaces.len() > MOST_INTERFACES)
    {
        return refuse(format!(
            "a reading has more than {MOST_INTERFACES} interfaces, which mptcp-user record does not write"
        ));
    }
    Ok(reading)
}

/// A value of an object, if it is there and of this kind.
fn get<'a, T: Deserialize<'a>>(object: &Object<'a>, name: &str) -> Option<T> {
    serde_json::from_str(object.get(name)?.get()).ok()
}

/// With no more interfaces than it takes to see that there are too many.
fn parse_reading(object: &Object<'_>) -> Option<Reading> {
    let interfaces: Vec<&RawValue> = get(object, "interfaces")?;
    let interfaces: Option<Vec<_>> = interfaces
        .into_iter()
        .take(MOST_INTERFACES + 1)
        .map(|interface| parse_interface(&serde_json::from_str(interface.get()).ok()?))
        .collect();
    let role: String = get(object, "role")?;
    Some(Reading {
        time: get(object, "time")?,
        role: [Role::Host, Role::Middlebox]
            .into_iter()
            .find(|known| role == role_name(*known))?,
        interfaces: interfaces.filter(|interfaces| !interfaces.is_empty())?,
        gauges: get(object, "gauges").as_ref().map(parse_gauges),
        hooks: get(object, "hooks").as_ref().map(parse_hooks),
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

fn parse_interface(object: &Object<'_>) -> Option<Interface> {
    let cleared = |name: &str| {
        let cleared = get(object, name)?;
        Some((
            get(&cleared, "time")?,
            parse_counters(&get(&cleared, "counters")?)?,
        ))
    };
    Some(Interface {
        name: get(object, "name")?,
        since: get(object, "since")?,
        attached_mid_traffic: get(object, "attached_mid_traffic")?,
        in_flight: get(object, "in_flight")?,
        has_queues: get(object, "has_queues")?,
        verifies_checksums: get(object, "verifies_checksums")?,
        counters: parse_counters(&get(object, "counters")?)?,
        cleared_rows: cleared("cleared_rows"),
        cleared_extras: cleared("cleared_extras"),
    })
}

/// The raw counters by name, those that are not 0.
fn counters(counters: &Counters) -> Value {
    let Counters {
        leaves,
        rx,
        tx,
        unknown,
        protocols,
        frames,
    } = counters;
    let events = |events: &DirectionCounters| named(DirectionCounters::FIELDS, words(events));
    json!({
        "frames": frames,
        "leaves": named(Outcomes::FIELDS, words(leaves)),
        "protocols": protocols_object(protocols),
        "rx": events(rx),
        "tx": events(tx),
        "unknown": events(unknown),
    })
}

/// Of the numbers of IP protocols the last ones that are 0 are left out, nearly all.
fn protocols_object(protocols: &Protocols) -> Map<String, Value> {
    let mut object = named(Protocols::FIELDS, words(protocols));
    if let Some(Value::Array(counts)) = object.get_mut("ip") {
        let end = protocols.ip.iter().rposition(|count| *count > 0);
        counts.truncate(end.map_or(0, |last| last + 1));
    }
    object
}

fn parse_counters(object: &Object<'_>) -> Option<Counters> {
    let events = |name: &str| {
        let mut events = DirectionCounters::zeroed();
        fill(
            DirectionCounters::FIELDS,
            &get(object, name)?,
            words_mut(&mut events),
        )?;
        Some(events)
    };
    let mut leaves = Outcomes::zeroed();
    fill(
        Outcomes::FIELDS,
        &get(object, "leaves")?,
        words_mut(&mut leaves),
    )?;
    // A log that was begun before there were these.
    let mut protocols = Protocols::zeroed();
    if let Some(object) = get(object, "protocols") {
        fill(Protocols::FIELDS, &object, words_mut(&mut protocols))?;
    }
    Some(Counters {
        leaves,
        rx: events("rx")?,
        tx: events("tx")?,
        unknown: events("unknown")?,
        protocols,
        frames: number(object.get("frames")?)?,
    })
}

/// A count.
fn number(value: &RawValue) -> Option<u64> {
    let number = value.get().parse().ok();
    number.filter(|number| *number <= LARGEST)
}

fn words<T: NoUninit>(counters: &T) -> &[u64] {
    bytemuck::cast_slice(std::slice::from_ref(counters))
}

fn words_mut<T: Pod>(counters: &mut T) -> &mut [u64] {
    bytemuck::cast_slice_mut(std::slice::from_mut(counters))
}

/// The reverse of [`named`]. Names that are not known here are those of a later layout.
fn fill(fields: &[Field], object: &Object<'_>, mut words: &mut [u64]) -> Option<()> {
    for (name, length, _) in fields {
        let (field, rest) = words.split_at_mut(*length);
        words = rest;
        let Some(value) = object.get(*name) else {
            continue;
        };
        match get::<Vec<&RawValue>>(object, name) {
            Some(counts) => {
                for (word, count) in field.iter_mut().zip(counts) {
                    *word = number(count)?;
                }
            }
            None => *field.first_mut()? = number(value)?,
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

fn parse_gauges(object: &Object<'_>) -> Gauges {
    let gauge = |name: &str| {
        let value = object.get(name).copied();
        value.and_then(number).unwrap_or_default()
    };
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
        FexitHook::ALL
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

fn parse_hooks(object: &Object<'_>) -> Hooks {
    let counts = |name: &str| {
        let counts: Object<'_> = get(object, name)?;
        Some(FexitHook::ALL.map(|hook| number(counts.get(hook.function())?)))
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
        let line = line(&reading).expect("a line");
        assert_eq!(line.matches('\n').count(), 1);
        let read = parse(line.as_bytes())
            .expect("of this version")
            .expect("a reading");
        assert_eq!(format!("{read:?}"), format!("{reading:?}"));
    }

    /// A reading of so many interfaces whose counters are 0.
    fn of_many(interfaces: usize) -> Reading {
        let mut reading = reading();
        reading.interfaces[0].counters = Counters::zeroed();
        reading.interfaces[0].cleared_rows = None;
        reading.interfaces = vec![reading.interfaces[0].clone(); interfaces];
        reading
    }

    #[test]
    fn what_a_reader_refuses_is_not_written() {
        let read = |line: &str| parse(line.as_bytes()).map(|reading| reading.is_some());
        let most = of_many(MOST_INTERFACES);
        assert!(read(&line(&most).expect("a line")).expect("not too many"));
        let many = of_many(MOST_INTERFACES + 1);
        let error = line(&many).expect_err("too many").to_string();
        assert!(error.contains("next: "), "{error}");
        let error = read(&written(&many)).expect_err("too many").to_string();
        assert!(error.contains("more than 1024 interfaces"), "{error}");

        let mut one = of_many(1);
        for (count, is_good) in [(LARGEST, true), (LARGEST + 1, false)] {
            one.interfaces[0].counters.tx.fail = count;
            assert_eq!(line(&one).is_ok(), is_good);
            assert_eq!(read(&written(&one)).expect("one"), is_good);
        }

        // As long as a line may be, and a byte longer.
        let mut long = of_many(1);
        let room = LONGEST_LINE as usize - 1 - line(&long).expect("a line").len();
        long.interfaces[0].name.push_str(&"x".repeat(room));
        assert_eq!(line(&long).expect("a line").len() as u64, LONGEST_LINE - 1);
        long.interfaces[0].name.push('x');
        let error = line(&long).expect_err("too long").to_string();
        assert!(error.contains("next: "), "{error}");
    }

    #[test]
    fn no_prefix_of_a_line_is_a_reading() {
        let mut reading = reading();
        // Not so many counters that it takes long.
        reading.interfaces[0].counters = Counters::zeroed();
        reading.interfaces[0].cleared_rows = None;
        let line = line(&reading).expect("a line");
        let line = line.trim_end().as_bytes();
        for length in 0..line.len() {
            assert!(parse(&line[..length]).expect("of this version").is_none());
        }
    }
}
