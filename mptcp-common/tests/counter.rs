//! The raw counters.

use mptcp_common::counter::{Counters, Outcome, Outcomes};

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
