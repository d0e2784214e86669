//! Sequences of packets at random: of handshakes that are broken off, joins, data in every order,
//! signals, resets, buffers of several packets, and frames with a byte changed. The program in the
//! kernel and the engine in user space have to agree on every frame: what it counts, what is told of
//! it, and what is in every table afterwards. What has to hold of the numbers holds after every
//! sequence.
//!
//! In tests of their own, forged packets stand between the others, which have to count what they count without
//! them; and a buffer has to count what its packets count one by one.
//!
//! `MPTCP_SEQUENCES` says how many in each role; `--nocapture` shows how many frames that were.

use std::env;

use anyhow::{Context as _, Result, ensure};
use mptcp_common::counter::{Counters, Gauges, Role};
use mptcp_tests::{
    kernel::host,
    numbers::Numbers,
    sessions::{act, begin, invariants},
    talk::Twins,
};
use mptcp_user::offline::{Config, Sizes};

fn sequences(mut twins: Twins, role: Role, seed: u64) -> Result<()> {
    /// In each of two roles: about 1,110,000 frames.
    const COUNT: u64 = 50_000;
    let count = match env::var("MPTCP_SEQUENCES") {
        Ok(count) => count.parse().context("MPTCP_SEQUENCES is a number")?,
        // Several times as slow, and each compared with itself alone.
        Err(_) if twins.is_cutting() || twins.is_forged() => COUNT / 10,
        Err(_) => COUNT,
    };
    let mut sum = Counters::default();
    for i in 0..count {
        let mut numbers = Numbers::new(seed + i);
        let context = || format!("sequence {i} of seed {seed}");
        let mut talk = begin(&mut twins, &mut numbers).with_context(context)?;
        let mut last = None;
        for _ in 0..2 + numbers.below(12) {
            act(&mut talk, &mut numbers, &mut last).with_context(context)?;
        }
        sum.add(&talk.counted);
        let gauges = if i % 1000 == 0 {
            talk.gauges()
        } else {
            Gauges::default()
        };
        invariants(&sum, &gauges, role).with_context(context)?;
        twins.check_forged().with_context(context)?;
        // The tables hold what became of many sequences.
        if !twins.is_cutting() && (i % 50 == 0 || i + 1 == count) {
            twins.compare_tables().with_context(context)?;
        }
    }
    let forged = twins.check_forged()?;
    eprintln!("{} frames, {forged} forged ones beside them", twins.frames);
    ensure!(count < 1000 || forged != 0 || !twins.is_forged());
    // With buffers of several packets.
    ensure!(count < 1000 || twins.is_forged() || sum.frames > twins.frames);
    ensure!(
        count < 1000
            || twins.is_cutting()
            || twins.is_forged()
            || [
                sum.rx.retransmitted,
                sum.rx.join_validated + sum.tx.join_validated,
                sum.rx.checksum_verified,
                sum.rx.checksum_failed,
                sum.rx.checksum_unverified,
                // Numbers of four bytes, in both places.
                sum.rx.dss_flags[0b0101] + sum.tx.dss_flags[0b0101],
            ]
            .iter()
            .all(|n| *n > 0)
    );
    Ok(())
}

/// Few enough that entries are taken over while the test runs.
const SIZES: Sizes = Sizes {
    sessions: 256,
    subflows: 512,
    handshakes: 128,
    ranges: 100,
};

#[test]
fn on_a_host() -> Result<()> {
    let config = Config {
        sizes: SIZES,
        ..host()
    };
    sequences(Twins::new(config)?, Role::Host, 1 << 32)
}

#[test]
fn on_a_middlebox() -> Result<()> {
    let config = Config {
        sizes: SIZES,
        ..Config::default()
    };
    sequences(Twins::new(config)?, Role::Middlebox, 2 << 32)
}

#[test]
fn a_buffer_counts_as_its_packets_do() -> Result<()> {
    sequences(Twins::cutting(host()), Role::Host, 3 << 32)?;
    sequences(Twins::cutting(Config::default()), Role::Middlebox, 4 << 32)
}

#[test]
fn forged_packets_are_packets_and_nothing_else() -> Result<()> {
    sequences(Twins::forged(host())?, Role::Host, 5 << 32)?;
    sequences(Twins::forged(Config::default())?, Role::Middlebox, 6 << 32)
}
