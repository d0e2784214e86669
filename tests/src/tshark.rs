//! What tshark decodes of a capture, and what `stat` says of the same.

use std::{collections::BTreeMap, path::Path, process::Command};

use anyhow::Result;
use mptcp_common::counter::DirectionCounters;
use serde_json::Value;

use crate::{net::output, witness::NAMES};

const DIRECTIONS: [&str; 3] = ["rx", "tx", "unknown"];

/// An event of all directions, by its name in docs/maps.md.
pub fn event(stat: &Value, name: &str) -> u64 {
    part(stat, name, 0)
}

/// One of several numbers of an event.
pub fn part(stat: &Value, name: &str, index: usize) -> u64 {
    let of = |direction| event_of(stat, direction, name, index);
    DIRECTIONS.into_iter().map(of).sum()
}

/// The same in one direction. `stat` leaves out what is 0: that the event exists is known from the counters.
pub fn event_of(stat: &Value, direction: &str, name: &str, index: usize) -> u64 {
    let field = DirectionCounters::FIELDS
        .iter()
        .find(|(known, ..)| *known == name);
    let (_, words, _) = field.unwrap_or_else(|| panic!("there is no event {name}"));
    assert!(index < *words, "{name} has {words} numbers");
    let events = stat["events"][direction].as_object();
    let events = events.unwrap_or_else(|| panic!("no events of {direction}"));
    // These are in objects of their own.
    assert!(!["option", "invalid", "option_invalid"].contains(&name));
    match events.get(name) {
        None => 0,
        Some(Value::Array(numbers)) => numbers[index].as_u64().expect("a count"),
        Some(number) => number.as_u64().expect("a count"),
    }
}

/// Options of a subtype, by its name in RFC 8684.
pub fn options(stat: &Value, name: &str) -> u64 {
    let of = |direction| {
        let count = stat["options"][direction][name].as_u64();
        count.unwrap_or_else(|| panic!("there is no option {name}"))
    };
    DIRECTIONS.into_iter().map(of).sum()
}

/// What tshark decodes.
#[derive(Default)]
struct Decoded {
    /// Options by subtype.
    subtypes: [u64; 9],
    /// By the names of our events.
    events: BTreeMap<&'static str, u64>,
    /// DSS by all their flags.
    dss_flags: [u64; 32],
    /// MP_TCPRST by reason, at 7 all others.
    reasons: [u64; 8],
}

fn decode(path: &Path) -> Result<Decoded> {
    const FIELDS: [&str; 11] = [
        "tcp.flags.syn",
        "tcp.flags.ack",
        "tcp.options.mptcp.subtype",
        "tcp.options.mptcp.version",
        "tcp.options.mptcp.dataackpresent.flag",
        "tcp.options.mptcp.dataack8.flag",
        "tcp.options.mptcp.dseqnpresent.flag",
        "tcp.options.mptcp.dseqn8.flag",
        "tcp.options.mptcp.datafin.flag",
        "tcp.options.mptcp.echo",
        "tcp.options.mptcp.rst_reason",
    ];
    let mut command = Command::new("tshark");
    command.arg("-r").arg(path);
    // Which quotes the packet that it answers.
    command.args(["-Y", "!icmp && !icmpv6"]);
    command.args(["-T", "fields", "-E", "occurrence=a", "-E", "separator=;"]);
    let text = output(command.args(FIELDS.iter().flat_map(|field| ["-e", *field])))?;
    let mut decoded = Decoded::default();
    let Decoded {
        subtypes,
        events,
        dss_flags,
        reasons,
    } = &mut decoded;
    for line in text.lines() {
        let fields: Vec<Vec<u64>> = line
            .split(';')
            .map(|field| field.split(',').filter_map(number).collect())
            .collect();
        let [syn, ack, subtype, version, flags @ ..] = fields.as_slice() else {
            continue;
        };
        let [a, a_8, m, m_8, fin, echo, reason] = flags else {
            continue;
        };
        let mut add = |name, count: u64| *events.entry(name).or_default() += count;
        for (index, subtype) in subtype.iter().enumerate() {
            subtypes[*subtype as usize] += 1;
            match (*subtype, syn == &[1], ack == &[1]) {
                (0, true, false) => {
                    add("capable_syn", 1);
                    add("capable_syn_v1", u64::from(version.get(index) == Some(&1)));
                }
                (0, true, true) => add("capable_synack", 1),
                (0, false, _) => add("capable_ack", 1),
                (1, true, false) => add("join_syn", 1),
                (1, true, true) => add("join_synack", 1),
                (1, false, _) => add("join_ack", 1),
                (3, ..) => add("add_addr", 1),
                (4, ..) => add("remove_addr", 1),
                (6, ..) => add("fail", 1),
                (7, ..) => add("fastclose", 1),
                (8, ..) => add("tcprst", 1),
                _ => {}
            }
        }
        let sum = |field: &[u64]| field.iter().sum::<u64>();
        add("add_addr_echo", sum(echo));
        // A flag each of the option.
        for ((((a, a_8), m), m_8), fin) in a.iter().zip(a_8).zip(m).zip(m_8).zip(fin) {
            dss_flags[(fin << 4 | m_8 << 3 | m << 2 | a_8 << 1 | a) as usize] += 1;
        }
        for reason in reason {
            reasons[(*reason).min(7) as usize] += 1;
        }
    }
    // An echo is no announcement.
    let echoes = events.get("add_addr_echo").copied().unwrap_or_default();
    if let Some(announced) = events.get_mut("add_addr") {
        *announced -= echoes;
    }
    Ok(decoded)
}

/// What tshark sees otherwise than `stat` of the same capture does: one sentence each.
///
/// # Errors
/// If tshark cannot read it.
pub fn differences(path: &Path, stat: &Value) -> Result<Vec<String>> {
    let Decoded {
        subtypes,
        events,
        dss_flags,
        reasons,
    } = decode(path)?;
    let mut differ = Vec::new();
    let mut compare = |what: &str, ours: u64, theirs: u64| {
        if ours != theirs {
            differ.push(format!("{what} {ours}, tshark {theirs}"));
        }
    };
    for (what, wanted) in NAMES.iter().zip(subtypes) {
        compare(what, options(stat, what), wanted);
    }
    for (reason, wanted) in reasons.into_iter().enumerate() {
        let ours = part(stat, "tcprst_reason", reason);
        compare(&format!("reason {reason}"), ours, wanted);
    }
    for (flags, wanted) in dss_flags.into_iter().enumerate() {
        let ours = part(stat, "dss_flags", flags);
        compare(&format!("DSS with flags {flags:#x}"), ours, wanted);
    }
    for (what, wanted) in events {
        compare(what, event(stat, what), wanted);
    }
    Ok(differ)
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}
