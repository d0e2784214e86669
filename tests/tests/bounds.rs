//! What must hold under pressure: a flood of forged handshakes moves nothing that is established,
//! full tables say so, time-outs come when they should, and two CPUs count what one would.

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

/// Ten million SYNs with MP_CAPABLE and MP_JOIN, from anywhere.
#[test]
fn a_flood_of_forged_handshakes_moves_no_session() -> Result<()> {
    const FLOOD: u32 = 10_000_000;
    const ROUNDS: usize = 10;
    const SESSIONS: usize = 100;
    let mut kernel = Kernel::with(Config::default())?;
    let sessions = establish(&mut kernel, SESSIONS, ROUNDS)?;
    let before = kernel.read()?;
    let flood = [
        mptcp_tests::frame::Frame::new(SYN, &[30, 4, 1, 1], 0).bytes(),
        mptcp_tests::frame::Frame::new(SYN, &option(1, 0, &[7, 1, 2, 3, 4, 5, 6, 7, 8]), 0).bytes(),
    ];
    // Two CPUs, each with half of it.
    let [each_half] = [FLOOD / 2 / ROUNDS as u32];
    for (i, round) in sessions.rounds.iter().enumerate() {
        let program = kernel.xdp()?;
        thread::scope(|scope| -> Result<()> {
            let halves: Vec<_> = flood
                .iter()
                .enumerate()
                .map(|(half, template)| {
                    scope.spawn(move || -> Result<()> {
                        let mut frame = template.clone();
                        let mut x = ((i as u64) << 32) | (half as u64 + 1);
                        for _ in 0..each_half {
                            x = x
                                .wrapping_mul(0x5851_f42d_4c95_7f2d)
                                .wrapping_add(0x1405_7b7e_f767_814f);
                            let random = (x ^ (x >> 29)).to_ne_bytes();
                            // Source address, port and sequence number; and the token of a join.
                            frame[26..30].copy_from_slice(&random[..4]);
                            frame[34..36].copy_from_slice(&random[4..6]);
                            frame[38..42].copy_from_slice(&random[2..6]);
                            if half == 1 {
                                frame[58..62].copy_from_slice(&random[3..7]);
                            }
                            run(program, &frame)?;
                        }
                        Ok(())
                    })
                })
                .collect();
            for half in halves {
                half.join().expect("no panic")?;
            }
            Ok(())
        })?;
        for frames in round {
            for frame in frames {
                run(kernel.xdp()?, frame)?;
            }
        }
    }
    let counted = kernel.read()?.since(&before);
    ensure!(all(&counted, |e| e.capable_syn) == u64::from(FLOOD / 2));
    ensure!(all(&counted, |e| e.join_syn) == u64::from(FLOOD / 2));
    // What the sessions did is counted as if there had been no flood.
    let data = (SESSIONS * ROUNDS) as u64;
    ensure!(
        counted.rx.dss() == data && counted.tx.dss() == data,
        "{counted:?}"
    );
    ensure!(all(&counted, |e| e.fresh_data_ack) == 2 * (data - SESSIONS as u64));
    ensure!(all(&counted, |e| e.retransmitted) == 0);
    ensure!(
        all(&counted, |e| e.lost_sessions
            + e.lost_subflows
            + e.lost_ranges)
            == 0
    );
    ensure!(all(&counted, |e| e.unknown_flow + e.session_created) == 0);
    // Handshakes were forgotten for newer ones, and that is said.
    ensure!(all(&counted, |e| e.lost_handshakes) > u64::from(FLOOD / 2));
    kernel.check_filter()
}

/// A subflow that finds no room is none, whether it was joined or the first.
#[test]
fn a_full_table_of_subflows_says_so() -> Result<()> {
    let sizes = Capacity {
        sessions: 256,
        subflows: 1,
        handshakes: 256,
        ..Capacity::default()
    };
    let mut engines = Differential::new(Config { sizes, ..host() })?;
    let mut counted = Counters::default();
    for _ in 0..20 {
        let talk = Conversation::joined(&mut engines)?;
        counted.add(&talk.counted);
        invariants(&counted, &talk.gauges(), host().role)?;
    }
    let of = |field| all(&counted, field);
    ensure!(of(|e| e.session_created) == 20);
    // Two buckets of seven.
    ensure!(of(|e| e.subflow_created) == 14 && of(|e| e.lost_subflows) == 26);
    ensure!(of(|e| e.join_created) == 7);
    Ok(())
}

/// Two hosts may have the same token: it leads to the session whose listener has it. Of two listeners the second is
/// lost.
#[test]
fn a_token_of_two_hosts_leads_to_the_listener() -> Result<()> {
    let mut engines = Differential::new(host())?;
    let key = Conversation::established(&mut engines)?.keys[A];
    let listens = |engines: &mut Differential| -> Result<Counters> {
        let mut talk = Conversation::new(engines);
        talk.keys[B] = key;
        talk.dsn = [A, B].map(|side| talk.idsn(side).wrapping_add(1));
        talk.handshake()?;
        talk.data(0, A, 100)?;
        talk.ack(0, B)?;
        talk.join(A, 5)?;
        Ok(talk.counted)
    };
    let second = listens(&mut engines)?;
    ensure!(all(&second, |e| e.join_created) == 1);
    ensure!(all(&second, |e| e.lost_sessions + e.join_token_unknown) == 0);
    ensure!(all(&second, |e| e.join_hmac + e.join_synack_hmac) == 0);
    let third = listens(&mut engines)?;
    ensure!(all(&third, |e| e.lost_sessions) == 1);
    ensure!(all(&third, |e| e.join_created) == 0);
    // Over, it is nobody's.
    engines.wait(Duration::from_secs(3601))?;
    let fourth = listens(&mut engines)?;
    ensure!(all(&fourth, |e| e.join_created) == 1);
    engines.compare_tables()
}

/// Both directions of the same sessions at once, from two CPUs, and from one.
#[test]
fn two_cpus_count_what_one_counts() -> Result<()> {
    const ROUNDS: usize = 400;
    const SESSIONS: usize = 25;
    let mut serial = Kernel::with(Config::default())?;
    let sessions = establish(&mut serial, SESSIONS, ROUNDS)?;
    for round in &sessions.rounds {
        for frame in round.iter().flatten() {
            run(serial.xdp()?, frame)?;
        }
    }
    let mut parallel = Kernel::with(Config::default())?;
    let sessions = establish(&mut parallel, SESSIONS, ROUNDS)?;
    let program = parallel.xdp()?;
    let barrier = Barrier::new(2);
    thread::scope(|scope| -> Result<()> {
        let sides: Vec<_> = [A, B]
            .into_iter()
            .map(|side| {
                let (sessions, barrier) = (&sessions, &barrier);
                scope.spawn(move || -> Result<()> {
                    let mut cpus = CpuSet::new();
                    cpus.set(side)?;
                    sched_setaffinity(Pid::from_raw(0), &cpus).context("two CPUs are needed")?;
                    for round in &sessions.rounds {
                        barrier.wait();
                        for frame in &round[side] {
                            run(program, frame)?;
                        }
                        // What is acknowledged in the next round has been sent by then.
                        barrier.wait();
                    }
                    Ok(())
                })
            })
            .collect();
        for side in sides {
            side.join().expect("no panic")?;
        }
        Ok(())
    })?;
    let (one, two) = (serial.read()?, parallel.read()?);
    ensure!(one == two, "one CPU {one:?}\ntwo {two:?}");
    ensure!(one.rx.dss() == (SESSIONS * ROUNDS) as u64 && one.rx.fresh_data_ack > 0);
    parallel.check_filter()
}

/// Sessions that two CPUs open at once in a table that is full of what is over: none takes the other's place.
#[test]
fn two_cpus_fill_different_places() -> Result<()> {
    const ROUNDS: usize = 400;
    // Of the 14 places in the smallest table.
    const SESSIONS: usize = 5;
    let sizes = Capacity {
        sessions: 1,
        subflows: 1,
        handshakes: 256,
        ..Capacity::default()
    };
    // On a host the answers would go out.
    let config = Config {
        sizes,
        ..Config::default()
    };
    let mut kernel = Kernel::with(config)?;
    let mut engines = Differential::alone(Config::default());
    for round in 1..=ROUNDS {
        let mut sides = [Vec::new(), Vec::new()];
        for frames in &mut sides {
            for _ in 0..SESSIONS {
                frames.extend(life(&mut Conversation::new(&mut engines))?);
            }
        }
        kernel.set_clock(round as u64 * 4000 * 1_000_000_000)?;
        let (program, barrier) = (kernel.xdp()?, Barrier::new(2));
        thread::scope(|scope| -> Result<()> {
            let runs: Vec<_> = sides
                .iter()
                .enumerate()
                .map(|(cpu, frames)| {
                    let barrier = &barrier;
                    scope.spawn(move || -> Result<()> {
                        let mut cpus = CpuSet::new();
                        cpus.set(cpu)?;
                        sched_setaffinity(Pid::from_raw(0), &cpus)?;
                        barrier.wait();
                        frames.iter().try_for_each(|frame| run(program, frame))
                    })
                })
                .collect();
            for run in runs {
                run.join().expect("no panic")?;
            }
            Ok(())
        })?;
    }
    let counted = kernel.read()?;
    let wanted = (2 * SESSIONS * ROUNDS) as u64;
    ensure!(all(&counted, |e| e.session_created) == wanted);
    ensure!(all(&counted, |e| e.lost_sessions + e.lost_subflows) == 0);
    ensure!(
        all(&counted, |e| e.fresh_data_ack) == wanted,
        "{} of {wanted} sessions",
        all(&counted, |e| e.fresh_data_ack)
    );
    Ok(())
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

/// More sessions than there is room for: those that are there stay, the rest is counted as lost.
#[test]
fn a_full_table_evicts_nothing() -> Result<()> {
    let sizes = Capacity {
        sessions: 64,
        subflows: 128,
        handshakes: 64,
        ..Capacity::default()
    };
    let mut engines = Differential::new(Config { sizes, ..host() })?;
    let mut created = Counters::default();
    for _ in 0..500 {
        created.add(&Conversation::established(&mut engines)?.counted);
    }
    let lost = all(&created, |e| e.lost_sessions);
    let gauges = engines.gauges();
    ensure!(lost > 0 && created.state_loss() >= lost, "{created:?}");
    ensure!(gauges.sessions == 500 - lost, "{gauges:?}, {lost} lost");
    ensure!(gauges.sessions >= u64::from(sizes.sessions));
    ensure!(all(&created, |e| e.session_created) == 500);
    // It is the stand-in for an entry that could not be made.
    let [not_made] = of_bounds("a_full_table_evicts_nothing")?;
    ensure!(value(not_made, &created, &gauges, host().role)? == Some(lost));
    // All of them idle for longer than the limit: there is room again.
    engines.wait(Duration::from_secs(3601))?;
    ensure!(engines.gauges().sessions == 0);
    let again = Conversation::established(&mut engines)?.counted;
    ensure!(all(&again, |e| e.lost_sessions) == 0 && engines.gauges().sessions == 1);
    Ok(())
}

/// Limits that nobody has by default.
#[test]
fn rows_of_limits_that_were_set() -> Result<()> {
    let [threshold, data_fin, fastclose] = of_bounds("rows_of_limits_that_were_set")?;
    let limits = Limits {
        threshold: 2,
        passive_close_refused: 1,
        ..Limits::DEFAULT
    };
    let mut engines = Differential::new(Config { limits, ..host() })?;
    for (pending, wanted) in [(2, Some(0)), (3, Some(1))] {
        let mut talk = Conversation::confirmed(&mut engines)?;
        for id in 1..=pending {
            let flow = talk.join_until_ack(A, id)?;
            if id == pending {
                talk.send(flow, B, RST, &[], 0)?;
            }
        }
        ensure!(
            talk.value(threshold)? == wanted,
            "{pending}: {:?}",
            talk.value(threshold)?
        );
        for flow in 1..pending {
            talk.send(flow.into(), B, RST, &[], 0)?;
        }
    }
    for (on, wanted) in [(1, Some(1)), (0, Some(0))] {
        let mut talk = Conversation::joined(&mut engines)?;
        talk.prio(1, A, true)?;
        talk.data_fin(on, A)?;
        let key = talk.keys[B];
        talk.fastclose(on, A, key)?;
        ensure!(talk.value(data_fin)? == wanted && talk.value(fastclose)? == wanted);
    }
    Ok(())
}

/// What depends on time, on both sides of the limit.
#[test]
fn times_are_kept() -> Result<()> {
    let mut engines = Differential::new(host())?;
    // An option so long after the close belongs to nothing.
    for (seconds, wanted) in [(1, Some(0)), (3, Some(1))] {
        let mut talk = Conversation::confirmed(&mut engines)?;
        talk.close(0)?;
        talk.clear();
        talk.wait(Duration::from_secs(seconds))?;
        talk.ack(0, A)?;
        talk.ack(0, A)?;
        ensure!(talk.value("OptSesEr")? == wanted, "after {seconds} s");
    }
    // A reset answers an option that was not allowed a moment ago.
    for (milliseconds, wanted) in [(100, Some(1)), (300, Some(0))] {
        let mut talk = Conversation::confirmed(&mut engines)?;
        talk.send(0, A, ACK, &[30, 3, 0x90, 0], 0)?;
        talk.wait(Duration::from_millis(milliseconds))?;
        talk.send(0, B, RST, &[], 0)?;
        ensure!(talk.value("OptRstEr")? == wanted, "after {milliseconds} ms");
    }
    // A join that nobody answers is pending for 75 s, a session without subflows waits for 60 s.
    let before = engines.gauges();
    let mut talk = Conversation::confirmed(&mut engines)?;
    talk.join_until_ack(A, 5)?;
    talk.reset(0, A, 0)?;
    let now = talk.gauges();
    ensure!((now.pending, now.alone) == (before.pending + 1, before.alone + 1));
    talk.wait(Duration::from_secs(59))?;
    ensure!(talk.gauges().pending == before.pending + 1);
    talk.wait(Duration::from_secs(2))?;
    ensure!(talk.gauges().alone == 0, "{:?}", talk.gauges());
    talk.wait(Duration::from_secs(15))?;
    ensure!(talk.gauges().pending == 0);
    Ok(())
}

/// The stand-ins for steering: a handshake, or a join, that came in at another queue.
#[test]
fn other_receive_queues_are_told_apart() -> Result<()> {
    let [sessions, subflows] = of_bounds("other_receive_queues_are_told_apart")?;
    let namespace = Namespace::new("queues")?;
    // IPv6 sends packets of its own, which the program would count along.
    namespace.sysctl("ipv6/conf/all/disable_ipv6", "1")?;
    namespace.ip("link add q0 numrxqueues 4 type veth peer name q1")?;
    for interface in ["q0", "q1"] {
        namespace.ip(&format!("link set {interface} up"))?;
    }
    namespace.enter(|| {
        let mut engines = Differential::new(host())?;
        engines.attach("q0", if_nametoindex("q0")?)?;
        for (queue, steered) in [(2, Some(1)), (1, Some(0))] {
            let mut talk = Conversation::new(&mut engines);
            talk.use_queue(1);
            let (syn, syn_ack, ack) = (
                talk.capable_syn(),
                talk.capable_syn_ack(),
                talk.capable_ack(),
            );
            talk.send(0, A, SYN, &syn, 0)?;
            talk.send(0, B, SYN | ACK, &syn_ack, 0)?;
            talk.use_queue(queue);
            talk.send(0, A, ACK, &ack, 0)?;
            ensure!(talk.value(sessions)? == steered, "queue {queue}");
            talk.join_until_ack(A, 5)?;
            ensure!(talk.value(subflows)? == steered, "a join at queue {queue}");
        }
        Ok(())
    })
}

/// The clock of a CPU can be a tick behind that of another, which has just seen the same session.
#[test]
fn a_clock_that_is_behind_ends_nothing() -> Result<()> {
    const TICK: Duration = Duration::from_millis(10);
    let mut engines = Differential::new(host())?;
    let mut talk = Conversation::new(&mut engines);
    let (syn, syn_ack, ack) = (
        talk.capable_syn(),
        talk.capable_syn_ack(),
        talk.capable_ack(),
    );
    talk.send(0, A, SYN, &syn, 0)?;
    talk.set_back(TICK)?;
    talk.send(0, B, SYN | ACK, &syn_ack, 0)?;
    talk.send(0, A, ACK, &ack, 0)?;
    talk.data(0, A, 100)?;
    talk.ack(0, B)?;
    talk.set_back(TICK)?;
    talk.join(A, 5)?;
    talk.set_back(TICK)?;
    talk.data(1, A, 100)?;
    ensure!(talk.value("TotSess")? == Some(1) && talk.value("subCon")? == Some(2));
    ensure!(talk.value("UnknownFlow")? == Some(0));
    let gauges = talk.gauges();
    ensure!((gauges.sessions, gauges.subflows) == (1, 2), "{gauges:?}");
    Ok(())
}

/// Without tracking, packets count by what they say and nothing is remembered of them.
#[test]
fn without_tracking_no_table_is_touched() -> Result<()> {
    let mut config = host();
    config.scope.is_tracking = false;
    let mut engines = Differential::new(config)?;
    let talk = Conversation::confirmed(&mut engines)?;
    let counted = &talk.counted;
    ensure!(counted.rx.capable_syn == 1 && counted.rx.dss() == 1 && counted.tx.dss() == 1);
    for events in [&counted.rx, &counted.tx, &counted.unknown] {
        ensure!(events.session_created + events.unknown_flow + events.final_ack == 0);
        ensure!(events.lost_handshakes + events.fresh_ack == 0);
    }
    Ok(())
}
