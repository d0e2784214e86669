//! Sessions whose course the bytes decide, so that keys, HMACs and checksums are right until somebody
//! wants them wrong. The rest as in `packets`.

#![no_main]

use anyhow::Result;
use libfuzzer_sys::fuzz_target;
use mptcp_common::counter::Counters;
use mptcp_fuzz::{config, role};
use mptcp_tests::{
    differential::Differential,
    numbers::Numbers,
    sessions::{act, begin, invariants},
};

/// Sessions that one input makes at most.
const SESSIONS: usize = 8;
/// Acts of a session at most.
const ACTS: usize = 64;

fuzz_target!(|data: &[u8]| {
    let [how, course @ ..] = data else {
        return;
    };
    let first = run(*how, course);
    let second = run(*how, course);
    match (first, second) {
        (Ok(first), Ok(second)) => assert!(first == second, "the same made something else"),
        (Err(error), _) | (_, Err(error)) => panic!("{error:#}"),
    }
});

fn run(how: u8, course: &[u8]) -> Result<(Counters, Vec<u8>)> {
    let mut engines = Differential::alone(config(how));
    let mut numbers = Numbers::given(course);
    let mut sum = Counters::default();
    for _ in 0..SESSIONS {
        let mut talk = begin(&mut engines, &mut numbers)?;
        let mut last = None;
        for _ in 0..ACTS {
            if !numbers.has_given() || numbers.one_in(16) {
                break;
            }
            act(&mut talk, &mut numbers, &mut last)?;
        }
        sum.add(&talk.counted);
        invariants(&sum, &talk.gauges(), role(how))?;
        if !numbers.has_given() {
            break;
        }
    }
    Ok((sum, engines.tables()))
}
