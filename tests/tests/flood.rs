//! Floods of forged packets: sessions that nobody has beside real ones, and blind resets.

use std::time::Duration;

use anyhow::{Result, ensure};
use mptcp_common::counter::{Counters, DirectionCounters};
use mptcp_tests::{
    conversation::Conversation,
    differential::{A, B, Differential},
    frame::{ACK, RST, SYN, SYN_ACK},
    kernel::host,
    numbers::Numbers,
};
use mptcp_user::offline::{Capacity, Config};

/// Frames, and who sends them.
type Frames = Vec<(usize, Vec<u8>)>;

/// The three segments of a handshake.
fn handshake(talk: &mut Conversation<'_>) -> Result<Frames> {
    let mut frames = Vec::new();
    for (from, flags, options) in [
        (A, SYN, talk.capable_syn()),
        (B, SYN_ACK, talk.capable_syn_ack()),
        (A, ACK, talk.capable_ack()),
    ] {
        frames.push((from, talk.frame(0, from, flags, &options, 0).bytes()));
        talk.send(0, from, flags, &options, 0)?;
    }
    Ok(frames)
}

/// Data of the initiator, and its acknowledgment.
fn exchange(talk: &mut Conversation<'_>) -> Result<Frames> {
    let map = talk.map(0, A, 100);
    let options = talk.dss(A, Some(map), false);
    let data = talk.frame(0, A, ACK, &options, 100).bytes();
    talk.data(0, A, 100)?;
    let options = talk.dss(B, None, false);
    let ack = talk.frame(0, B, ACK, &options, 0).bytes();
    talk.ack(0, B)?;
    Ok(vec![(A, data), (B, ack)])
}

fn run(engines: &mut Differential, frames: &Frames) -> Result<Counters> {
    let mut sum = Counters::default();
    for (from, frame) in frames {
        sum.add(&engines.frame(frame, *from == A)?);
    }
    Ok(sum)
}

fn all(counters: &Counters, field: fn(&DirectionCounters) -> u64) -> u64 {
    counters
        .directions()
        .map(|(_, events)| field(events))
        .iter()
        .sum()
}

/// 1,000 sessions that carry data open while 20,000 are forged, 20 at a time before the data of each; the
/// table has room for a tenth of them.
#[test]
fn forged_sessions_displace_no_real_one() -> Result<()> {
    displace(false)
}

/// The same of sessions in which one end has sent data.
#[test]
fn forged_sessions_with_data_displace_no_real_one() -> Result<()> {
    displace(true)
}

fn displace(has_data: bool) -> Result<()> {
    const REAL: usize = 1000;
    let sizes = Capacity {
        sessions: 2000,
        subflows: 4000,
        ..Capacity::default()
    };
    let config = Config {
        sizes,
        ..Config::default()
    };
    let mut engines = Differential::new(config)?;
    // What makes the frames.
    let mut maker = Differential::alone(Config::default());
    let mut real = Vec::new();
    for _ in 0..REAL {
        let mut talk = Conversation::new(&mut maker);
        let opening = handshake(&mut talk)?;
        real.push((opening, exchange(&mut talk)?, exchange(&mut talk)?));
    }
    let (mut sum, mut unknown) = (Counters::default(), 0);
    for (opening, first, _) in &real {
        sum.add(&run(&mut engines, opening)?);
        for _ in 0..20 {
            let mut talk = Conversation::new(&mut maker);
            let mut forged = handshake(&mut talk)?;
            if has_data {
                forged.extend(exchange(&mut talk)?.into_iter().take(1));
            }
            sum.add(&run(&mut engines, &forged)?);
            engines.wait(Duration::from_micros(100))?;
        }
        unknown += all(&run(&mut engines, first)?, |e| e.unknown_flow);
    }
    ensure!(all(&sum, |e| e.session_created) == 21 * REAL as u64);
    ensure!(all(&sum, |e| e.lost_sessions) > 10_000);
    ensure!(unknown == 0);
    // Each is followed: what it sends is new, and what it sends again is known.
    let (mut new, mut again) = (Counters::default(), Counters::default());
    for (_, _, second) in &real {
        new.add(&run(&mut engines, second)?);
        again.add(&run(&mut engines, second)?);
    }
    ensure!(all(&new, |e| e.fresh_data_ack) == REAL as u64);
    ensure!(all(&new, |e| e.retransmitted) == 0);
    ensure!(all(&again, |e| e.retransmitted) == REAL as u64);
    // Half a minute later, the forged ones are gone.
    engines.wait(Duration::from_secs(31))?;
    ensure!(
        engines.gauges().sessions == REAL as u64,
        "{} sessions",
        engines.gauges().sessions
    );
    Ok(())
}

/// On a host, what answers a SYN that came in goes out: nobody elsewhere makes a session alone.
#[test]
fn nobody_makes_a_session_of_a_host_from_outside() -> Result<()> {
    let mut engines = Differential::new(host())?;
    let mut maker = Differential::alone(Config::default());
    for _ in 0..100 {
        for (_, frame) in handshake(&mut Conversation::new(&mut maker))? {
            let counted = engines.frame(&frame, true)?;
            ensure!(all(&counted, |e| e.session_created) == 0);
        }
    }
    ensure!(engines.gauges().sessions == 0);
    Ok(())
}

/// 100,000 resets, with and without an acknowledgment, in the name of either end, against 100 sessions.
#[test]
fn blind_resets_take_no_session() -> Result<()> {
    for config in [host(), Config::default()] {
        let mut engines = Differential::new(config)?;
        let mut numbers = Numbers::new(7 << 32);
        let mut frames = Vec::new();
        for _ in 0..100 {
            let talk = Conversation::joined(&mut engines)?;
            for flow in 0..2 {
                for from in [A, B] {
                    let next = talk.flows[flow].next[from];
                    frames.push((talk.frame(flow, from, RST, &[], 0), next));
                }
            }
        }
        let before = engines.gauges();
        let mut sum = Counters::default();
        for _ in 0..50_000 {
            let (frame, next) = &frames[numbers.below(frames.len() as u64) as usize];
            let mut forged = frame.clone();
            forged.sequence = numbers.next() as u32;
            if forged.sequence == *next {
                continue;
            }
            forged.acknowledgment = numbers.next() as u32;
            if numbers.one_in(2) {
                forged.flags |= ACK;
            }
            // Whoever is elsewhere: it comes in.
            sum.add(&engines.frame(&forged.bytes(), true)?);
        }
        ensure!(
            engines.gauges() == before,
            "{before:?} {:?}",
            engines.gauges()
        );
        let taken = all(&sum, |e| e.option_reset + e.map_reset + e.plain_ack_reset);
        ensure!(taken == 0 && all(&sum, |e| e.not_taken) > 49_000);
    }
    Ok(())
}
