//! Tables that are full, or flooded.

use super::*;

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
