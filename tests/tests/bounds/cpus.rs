//! Several CPUs and receive queues.

use super::*;

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
