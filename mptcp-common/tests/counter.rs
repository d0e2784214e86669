//! The catalogue and the raw counters hold together.

use std::collections::BTreeSet;

use mptcp_common::counter::{
    Counters, DirectionCounters, EXTRAS, FexitHook, Gauges, Kind, Outcome, Outcomes, Quality, ROWS,
    Role, Row,
};

#[test]
fn rows_are_numbered_and_named_once() {
    for (i, row) in ROWS.iter().enumerate() {
        assert_eq!(usize::from(row.number), i + 1);
    }
    let names =
        |name: fn(&Row) -> &'static str| ROWS.iter().map(name).collect::<BTreeSet<_>>().len();
    assert_eq!((names(|row| row.short), names(|row| row.nitro)), (83, 83));
    let extras: BTreeSet<_> = EXTRAS.iter().map(|extra| extra.name).collect();
    assert_eq!(extras.len(), EXTRAS.len());
    assert!(ROWS.iter().all(|row| !extras.contains(row.short)));
    assert_eq!(ROWS.iter().filter(|row| row.kind == Kind::Gauge).count(), 5);
}

#[test]
fn a_row_has_a_number_or_is_unavailable() {
    for row in &ROWS {
        for role in [Role::Host, Role::Middlebox] {
            let is_known = row
                .total(&Counters::default(), Some(&Gauges::default()), role)
                .or(row.failures(&[Some(0); FexitHook::ALL.len()], role))
                .is_some();
            assert_eq!(
                is_known,
                row.quality(role) != Quality::Unavailable,
                "{}",
                row.short
            );
        }
    }
}

/// A row of hooks has no number unless each of them counts, and each of them feeds a row.
#[test]
fn a_missing_hook_is_no_zero() {
    for (i, hook) in FexitHook::ALL.into_iter().enumerate() {
        assert_eq!(hook as usize, i);
        let mut counts = [Some(1); FexitHook::ALL.len()];
        counts[i] = None;
        let is_fed = |row: &&Row| row.hooks().is_some_and(|hooks| hooks.contains(&hook));
        assert!(ROWS.iter().any(|row| is_fed(&row)), "{hook:?}");
        for row in &ROWS {
            let wanted = row
                .hooks()
                .filter(|_| !is_fed(&row))
                .map(|hooks| hooks.len() as u64);
            assert_eq!(row.failures(&counts, Role::Host), wanted, "{}", row.short);
        }
    }
}

/// Every raw counter is in some row or further number: none is kept for nothing.
#[test]
fn every_event_is_shown() {
    let words = size_of::<DirectionCounters>() / 8;
    let mut index = 0;
    for (name, length, _) in DirectionCounters::FIELDS {
        for i in 0..*length {
            let mut events = vec![0_u64; words];
            events[index + i] = 1;
            let events: DirectionCounters =
                bytemuck::pod_read_unaligned(bytemuck::cast_slice(&events));
            let counters = Counters {
                rx: events,
                tx: events,
                unknown: events,
                ..Counters::default()
            };
            let shown = ROWS
                .iter()
                .any(|row| row.total(&counters, Some(&Gauges::default()), Role::Host) > Some(0))
                || EXTRAS
                    .iter()
                    .any(|extra| extra.total(&counters, Role::Host) > Some(0));
            // The options by subtype are shown as such.
            assert!(
                shown || name.starts_with("option"),
                "{name}[{i}] is in no number"
            );
        }
        index += length;
    }
    assert_eq!(index, words);
}

#[test]
fn leaves_are_what_their_fields_say() {
    let all = Outcome::ALL;
    assert_eq!(all.len(), Outcomes::FIELDS.len());
    let mut leaves = Outcomes::default();
    for (i, leaf) in all.into_iter().enumerate() {
        leaves.add(leaf, i as u64 + 1);
    }
    let words: [u64; 10] = bytemuck::cast(leaves);
    assert_eq!(words, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(leaves.sum(), 55);
}

#[test]
fn a_copy_made_while_a_packet_was_under_way_is_not_settled() {
    let mut counters = Counters {
        frames: 3,
        ..Counters::default()
    };
    assert!(!counters.is_settled());
    counters.leaves.add(Outcome::Tcp, 3);
    assert!(counters.is_settled());
}

#[test]
fn differences_survive_a_restart() {
    let before = Counters {
        frames: 10,
        ..Counters::default()
    };
    let after = Counters {
        frames: 12,
        ..Counters::default()
    };
    assert_eq!(after.since(&before).frames, 2);
    // Another probe took the place of the first and has counted 12 of its own.
    let before = Counters {
        frames: 100,
        ..Counters::default()
    };
    assert_eq!(after.since(&before).frames, 12);
    let mut sum = after;
    sum.add(&after);
    assert_eq!(sum.frames, 24);
}

#[test]
fn a_middlebox_claims_no_direction_it_does_not_know() {
    let mut counters = Counters::default();
    counters.unknown.dss_flags[0] = 5;
    let row = |short| ROWS.iter().find(|row| row.short == short).expect("a row");
    let gauges = Gauges::default();
    let total = |short, gauges| row(short).total(&counters, gauges, Role::Middlebox);
    assert_eq!(total("TotDSS", Some(&gauges)), Some(5));
    assert_eq!(total("DSSrcv", Some(&gauges)), Some(0));
    // Without following flows no packet has a direction.
    assert_eq!(total("TotDSS", None), Some(5));
    assert_eq!(total("DSSrcv", None), None);
}
