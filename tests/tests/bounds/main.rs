//! What must hold under pressure: a flood of forged handshakes moves nothing that is established,
//! full tables say so, time-outs come when they should, and two CPUs count what one would.

mod cpus;
mod limits;
mod tables;

use std::{sync::Barrier, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use mptcp_common::{
    counter::{Counters, DirectionCounters},
    state::Limits,
};
use mptcp_tests::{
    conversation::Conversation,
    coverage::of_bounds,
    differential::{A, B, Differential, value},
    frame::{ACK, RST, SYN, option},
    kernel::{Kernel, host},
    net::Namespace,
    sessions::invariants,
};
use mptcp_user::offline::{Capacity, Config};
use nix::{
    net::if_::if_nametoindex,
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

fn all(counters: &Counters, field: fn(&DirectionCounters) -> u64) -> u64 {
    counters
        .directions()
        .into_iter()
        .map(|(_, events)| field(events))
        .sum()
}

fn run(program: &Xdp, frame: &[u8]) -> Result<()> {
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    program.test_run(options)?;
    Ok(())
}

/// Sessions that were established, as the frames that they go on with.
struct Established {
    /// Data that each side sends, a round after the other: `[round][side]`, all sessions.
    rounds: Vec<[Vec<Vec<u8>>; 2]>,
}

/// Establishes sessions in a kernel, and prepares rounds of data of 100 bytes each way, each
/// acknowledging what came in the round before.
fn establish(kernel: &mut Kernel, sessions: usize, rounds: usize) -> Result<Established> {
    let mut engines = Differential::new(Config::default())?;
    let mut all = Established {
        rounds: (0..rounds).map(|_| [Vec::new(), Vec::new()]).collect(),
    };
    for _ in 0..sessions {
        let mut talk = Conversation::new(&mut engines);
        let opening = [
            (A, SYN, talk.capable_syn()),
            (B, SYN | ACK, talk.capable_syn_ack()),
            (A, ACK, talk.capable_ack()),
        ];
        for (from, flags, options) in opening {
            let frame = talk.frame(0, from, flags, &options, 0).bytes();
            talk.send(0, from, flags, &options, 0)?;
            run(kernel.xdp()?, &frame)?;
        }
        for round in &mut all.rounds {
            let frames = [A, B].map(|from| {
                let options = talk.dss(from, Some(talk.map(0, from, 100)), false);
                talk.frame(0, from, ACK, &options, 100).bytes()
            });
            for (from, frame) in frames.into_iter().enumerate() {
                round[from].push(frame);
            }
            for from in [A, B] {
                talk.flows[0].next[from] += 100;
                talk.dsn[from] += 100;
            }
        }
    }
    Ok(all)
}

/// A session's handshake, a packet of data, and its acknowledgment.
fn life(talk: &mut Conversation<'_>) -> Result<Vec<Vec<u8>>> {
    let mut frames = Vec::new();
    for (from, flags, options) in [
        (A, SYN, talk.capable_syn()),
        (B, SYN | ACK, talk.capable_syn_ack()),
        (A, ACK, talk.capable_ack()),
    ] {
        frames.push(talk.frame(0, from, flags, &options, 0).bytes());
        talk.send(0, from, flags, &options, 0)?;
    }
    let data = talk.dss(A, Some(talk.map(0, A, 100)), false);
    frames.push(talk.frame(0, A, ACK, &data, 100).bytes());
    talk.flows[0].next[A] += 100;
    talk.dsn[A] += 100;
    let ack = talk.dss(B, None, false);
    frames.push(talk.frame(0, B, ACK, &ack, 0).bytes());
    Ok(frames)
}
