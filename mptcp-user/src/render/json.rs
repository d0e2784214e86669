//! The statistics as JSON, schema version 1 (docs/json.md).

use crate::statistics::{EXTRAS, ROWS, RowKind};
use jiff::Timestamp;
use mptcp_common::counter::{Counters, DirectionCounters, Outcomes};
use serde_json::{Map, Value, json};

use super::{lost, nitro, nitro::rate, outcome, passed};
use crate::{
    schema::{named, role_name},
    snapshot::{
        outcome::Outcome,
        statistics::{Origin, Statistics},
    },
};

/// Names of the subtype nibbles in `options`; the rest is UNKNOWN.
const SUBTYPES: [(usize, &str); 10] = [
    (0, "MP_CAPABLE"),
    (1, "MP_JOIN"),
    (2, "DSS"),
    (3, "ADD_ADDR"),
    (4, "REMOVE_ADDR"),
    (5, "MP_PRIO"),
    (6, "MP_FAIL"),
    (7, "MP_FASTCLOSE"),
    (8, "MP_TCPRST"),
    (15, "EXPERIMENTAL"),
];

/// Returns one object.
pub(crate) fn statistics(statistics: &Statistics) -> Value {
    json!({
        "schema_version": 1,
        "time": statistics.time.map(|time| time.to_string()),
        "read_at": statistics.time.map(|time| time.to_string()),
        "rate_over_s": statistics.rate_over().map(|over| (over * 1e6).round() / 1e6),
        "source": source(statistics),
        "outcome": outcome::json(&Outcome::of(statistics)),
        "protocolmptcp": nitro::object(statistics),
        "counters": counters(statistics),
        "options": options(&statistics.rows),
        "invalid_options": invalid_options(&statistics.rows),
        "events": events(&statistics.rows),
        "extra": EXTRAS
            .iter()
            .map(|extra| (extra.name.to_owned(), statistics.extra_total(extra).into()))
            .collect::<Map<_, _>>(),
        "probe": probe(statistics),
    })
}

fn source(statistics: &Statistics) -> Map<String, Value> {
    let mut object = Map::new();
    let mut add = |name: &str, value: Value| object.insert(name.to_owned(), value);
    match &statistics.origin {
        Origin::Live => add("kind", "live".into()),
        Origin::Capture { file, .. } => {
            add("kind", "capture".into());
            add("file", file.as_str().into())
        }
        Origin::Log { file, .. } => {
            add("kind", "log".into());
            add("file", file.as_str().into())
        }
    };
    add("interfaces", statistics.interfaces.clone().into());
    add("role", role_name(statistics.role).into());
    let since = statistics.since.map(|since| since.to_string());
    add("since", since.into());
    add("frames", statistics.rows.frames.into());
    add(
        "attached_mid_traffic",
        statistics.attached_mid_traffic.into(),
    );
    // Without tables there is no state to lose.
    let loss = statistics.gauges.map(|_| statistics.rows.state_loss());
    add("state_loss", loss.into());
    match &statistics.origin {
        Origin::Live => {}
        Origin::Capture { broken, unread, .. } => {
            add("broken", broken.clone().into());
            add("skipped", unread.skipped().into());
            add("cut", unread.cut.into());
            add("backward", unread.backward.into());
            add("oversized", unread.oversized.into());
            add("further_captures", unread.others.count.into());
        }
        Origin::Log {
            broken, skipped, ..
        } => {
            add("broken", broken.clone().into());
            add("skipped", (*skipped).into());
        }
    }
    object
}

fn counters(statistics: &Statistics) -> Map<String, Value> {
    ROWS.iter()
        .map(|row| {
            let object = json!({
                "label": row.label,
                "nitro": row.nitro,
                "group": row.group.name(),
                "kind": match row.kind {
                    RowKind::Counter => "counter",
                    RowKind::Gauge => "gauge",
                },
                "total": statistics.row_total(row),
                "rate": rate(statistics, row),
                "quality": statistics.quality(row).name(),
                "severity": row.advice().severity.name(),
            });
            (row.short.to_owned(), object)
        })
        .collect()
}

fn options(counters: &Counters) -> Map<String, Value> {
    counters
        .directions()
        .into_iter()
        .map(|(direction, events)| (direction.to_owned(), subtypes(events).into()))
        .collect()
}

/// Options that are not allowed, by subtype and reason; those that there were.
fn invalid_options(counters: &Counters) -> Map<String, Value> {
    const REASONS: [&str; 8] = [
        "short",
        "overrun",
        "length",
        "flags",
        "segment",
        "version",
        "repeated",
        "combination",
    ];
    let by_reason = |counts: &[u64]| -> Map<String, Value> {
        REASONS
            .iter()
            .zip(counts)
            .filter(|(_, count)| **count > 0)
            .map(|(reason, count)| ((*reason).to_owned(), (*count).into()))
            .collect()
    };
    let by_subtype = |events: &DirectionCounters| -> Map<String, Value> {
        SUBTYPES
            .iter()
            .map(|(nibble, name)| {
                let first = nibble * REASONS.len();
                let counts = &events.option_invalid[first..first + REASONS.len()];
                ((*name).to_owned(), by_reason(counts))
            })
            .filter(|(_, reasons)| !reasons.is_empty())
            .map(|(name, reasons)| (name, reasons.into()))
            .collect()
    };
    counters
        .directions()
        .into_iter()
        .map(|(direction, events)| (direction.to_owned(), by_subtype(events).into()))
        .collect()
}

/// Returns what the packets of each direction did, by the names of docs/maps.md; what they did at all.
fn events(counters: &Counters) -> Map<String, Value> {
    let named = |events: &DirectionCounters| -> Map<String, Value> {
        let mut object = named(
            DirectionCounters::FIELDS,
            bytemuck::cast_slice(std::slice::from_ref(events)),
        );
        // Those of options are in objects of their own.
        object.retain(|name, _| !matches!(name.as_str(), "option" | "invalid" | "option_invalid"));
        object
    };
    counters
        .directions()
        .into_iter()
        .map(|(direction, events)| (direction.to_owned(), named(events).into()))
        .collect()
}

fn subtypes(events: &DirectionCounters) -> Map<String, Value> {
    let mut object: Map<_, _> = SUBTYPES
        .iter()
        .map(|(nibble, name)| ((*name).to_owned(), events.option[*nibble].into()))
        .collect();
    let unassigned: u64 = events.option[9..15].iter().sum();
    object.insert(
        "UNKNOWN".to_owned(),
        (unassigned + events.option_short).into(),
    );
    object
}

/// Returns what found no room.
pub(crate) fn lost(counters: &Counters, since: Option<Timestamp>, is_capture: bool) -> Vec<Value> {
    let losses = lost::losses(counters, since, is_capture);
    let object = |loss: lost::Loss| {
        json!({
            "what": loss.name,
            "count": loss.count,
            "since": loss.since.map(|since| since.to_string()),
            "next": loss.next,
        })
    };
    losses.into_iter().map(object).collect()
}

/// Returns what became of the frames.
fn probe(statistics: &Statistics) -> Map<String, Value> {
    let leaves =
        bytemuck::cast_slice::<Outcomes, u64>(std::slice::from_ref(&statistics.rows.leaves));
    let mut object: Map<_, _> = Outcomes::FIELDS
        .iter()
        .zip(leaves)
        .map(|((name, ..), value)| ((*name).to_owned(), Value::from(*value)))
        .collect();
    object.insert("in_flight".to_owned(), statistics.in_flight.into());
    object.insert(
        "protocols".to_owned(),
        passed::protocols(&statistics.rows).into(),
    );
    let is_capture = matches!(statistics.origin, Origin::Capture { .. });
    let lost = lost(&statistics.rows, statistics.since, is_capture);
    object.insert("lost".to_owned(), lost.into());
    object.insert("note".to_owned(), passed::note(&statistics.rows).into());
    object
}
