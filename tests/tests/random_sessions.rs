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
    conversation::Conversation,
    differential::{A, B, Differential},
    exact::{self, Again, Packet},
    frame::ACK,
    kernel::host,
    numbers::Numbers,
    sessions::{act, begin, invariants},
};
use mptcp_user::offline::{Capacity, Config};

fn sequences(mut engines: Differential, role: Role, seed: u64) -> Result<()> {
    /// In each of two roles: about 1,110,000 frames.
    const COUNT: u64 = 50_000;
    let count = match env::var("MPTCP_SEQUENCES") {
        Ok(count) => count.parse().context("MPTCP_SEQUENCES is a number")?,
        // Several times as slow, and each compared with itself alone.
        Err(_) if engines.is_cutting() || engines.is_forged() => COUNT / 10,
        Err(_) => COUNT,
    };
    let mut sum = Counters::default();
    for i in 0..count {
        let mut numbers = Numbers::new(seed + i);
        let context = || format!("sequence {i} of seed {seed}");
        let mut talk = begin(&mut engines, &mut numbers).with_context(context)?;
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
        engines.check_forged().with_context(context)?;
        // The tables hold what became of many sequences.
        if !engines.is_cutting() && (i % 50 == 0 || i + 1 == count) {
            engines.compare_tables().with_context(context)?;
        }
    }
    let forged = engines.check_forged()?;
    eprintln!(
        "{} frames, {forged} forged ones beside them",
        engines.frames
    );
    ensure!(count < 1000 || forged != 0 || !engines.is_forged());
    // With buffers of several packets.
    ensure!(count < 1000 || engines.is_forged() || sum.frames > engines.frames);
    ensure!(
        count < 1000
            || engines.is_cutting()
            || engines.is_forged()
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
const SIZES: Capacity = Capacity {
    sessions: 256,
    subflows: 512,
    handshakes: 128,
    ranges: 100,
};

/// As on interfaces: TCP checksums are looked at.
fn checking(mut config: Config) -> Config {
    config.scope.is_checking = true;
    config
}

#[test]
fn on_a_host() -> Result<()> {
    let config = Config {
        sizes: SIZES,
        ..host()
    };
    sequences(Differential::new(checking(config))?, Role::Host, 1 << 32)
}

#[test]
fn on_a_middlebox() -> Result<()> {
    let config = Config {
        sizes: SIZES,
        ..Config::default()
    };
    sequences(
        Differential::new(checking(config))?,
        Role::Middlebox,
        2 << 32,
    )
}

#[test]
fn a_buffer_counts_as_its_packets_do() -> Result<()> {
    sequences(Differential::cutting(host()), Role::Host, 3 << 32)?;
    sequences(
        Differential::cutting(Config::default()),
        Role::Middlebox,
        4 << 32,
    )
}

#[test]
fn forged_packets_are_packets_and_nothing_else() -> Result<()> {
    sequences(Differential::forged(checking(host()))?, Role::Host, 5 << 32)?;
    sequences(
        Differential::forged(checking(Config::default()))?,
        Role::Middlebox,
        6 << 32,
    )
}

/// Data of sessions with up to four subflows, in mappings of one packet or of several, over and over with the same and
/// with other mappings, on the same and on other subflows: what of it was sent before is counted as by sets without
/// bound.
#[test]
fn data_sent_again_counts_exactly() -> Result<()> {
    const SEQUENCES: u64 = 20;
    let mut sum = Again::default();
    for role in [host(), Config::default()] {
        let mut engines = Differential::new(role)?;
        for i in 0..SEQUENCES {
            sent_again(&mut engines, &mut Numbers::new((5 << 32) + i), &mut sum)
                .with_context(|| format!("sequence {i}"))?;
            engines
                .compare_tables()
                .with_context(|| format!("sequence {i}"))?;
        }
    }
    eprintln!("{sum:?}");
    ensure!(
        sum.on_subflow > 100 && sum.remapped > 100 && sum.elsewhere > 100,
        "{sum:?}"
    );
    Ok(())
}

fn sent_again(engines: &mut Differential, numbers: &mut Numbers, sum: &mut Again) -> Result<()> {
    engines.record();
    let mut talk = if numbers.one_in(8) {
        Conversation::confirmed(engines)?
    } else {
        Conversation::joined(engines)?
    };
    let mut acknowledged = talk.dsn[A];
    let mut last = None;
    for step in 0..400 {
        let flow = numbers.below(talk.flows.len() as u64) as usize;
        let length = 1 + numbers.below(300) as u16;
        let right = talk.map(flow, A, length);
        let outstanding = talk.dsn[A] - acknowledged;
        match numbers.below(20) {
            0 if step > 20 && (1..4).contains(&talk.flows.len()) => {
                // It ends with a DATA_ACK.
                talk.join(A, 5 + talk.flows.len() as u8)?;
                acknowledged = talk.dsn[A];
            }
            1 if numbers.one_in(8) => {
                talk.ack(flow, B)?;
                acknowledged = talk.dsn[A];
            }
            2 => {
                if let Some(frame) = &last {
                    talk.raw(A, frame)?;
                }
            }
            3..=6 if outstanding > 0 => {
                // What was sent before, or part of it, and perhaps more than that.
                let dsn = acknowledged + numbers.below(outstanding);
                send_in_parts(&mut talk, numbers, flow, (dsn, right.1, length))?;
                talk.dsn[A] = talk.dsn[A].max(dsn + u64::from(length));
            }
            _ => {
                let options = talk.dss(A, Some(right), false);
                last = Some(talk.frame(flow, A, ACK, &options, length.into()));
                send_in_parts(&mut talk, numbers, flow, right)?;
                talk.dsn[A] += u64::from(length);
            }
        }
    }
    let counted = talk.counted;
    let packets: Vec<_> = engines
        .take_recorded()
        .into_iter()
        .map(|record| Packet {
            nanoseconds: record.nanoseconds,
            is_outgoing: false,
            ip: record.bytes[14..].to_vec(),
        })
        .collect();
    let [exact, _] = exact::count(&packets)?;
    let is = Again {
        sent: counted.rx.retransmitted,
        on_subflow: counted.rx.retransmitted_subflow,
        remapped: counted.rx.remapped,
        elsewhere: counted.rx.reinjected,
        mapped_partly: counted.rx.map_partial,
        mapped: counted.rx.map_reinjected,
        most_ranges: exact.most_ranges,
    };
    ensure!(
        is == exact && counted.rx.lost_ranges == 0,
        "{is:?} and not {exact:?}"
    );
    sum.on_subflow += is.on_subflow;
    sum.remapped += is.remapped;
    sum.elsewhere += is.elsewhere;
    Ok(())
}

/// The bytes of a mapping, in one packet or in two.
fn send_in_parts(
    talk: &mut Conversation<'_>,
    numbers: &mut Numbers,
    flow: usize,
    map: (u64, u32, u16),
) -> Result<()> {
    let options = talk.dss(A, Some(map), false);
    let length = usize::from(map.2);
    let first = 1 + numbers.below(length as u64) as usize;
    talk.send(flow, A, ACK, &options, first)?;
    if first < length {
        talk.send(flow, A, ACK, &options, length - first)?;
    }
    Ok(())
}
