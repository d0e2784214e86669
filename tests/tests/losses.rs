//! What finds no room is told wherever somebody looks.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use mptcp_tests::{
    files::Directory,
    net::{Family, Pair, close, output, session, transfer, wait_until},
    probe::{Probe, command, total},
    raw::RawJoin,
    running::{Running, state, watch},
};
use serde_json::Value;
use socket2::Socket;

/// Opens more sessions at once than a table has room for.
fn crowd(pair: &Pair) -> Result<Vec<(Socket, Socket)>> {
    (0..100).map(|_| pair.connect()).collect()
}

#[test]
fn what_is_lost_is_said_in_words() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "--max-sessions", "16"])?;
    session(&pair)?;
    let lost = |stat: &Value| stat["probe"]["lost"].as_array().cloned().context("no lost");
    ensure!(lost(&probe.stat(&[])?)?.is_empty());
    ensure!(!probe.run(&["stat"])?.contains("Lost:"));
    ensure!(!probe.run(&["status"])?.contains("Lost on"));
    let mut watch = watch(&probe, &[])?;
    let sockets = crowd(&pair)?;
    let stat = probe.stat(&[])?;
    let count = stat["extra"]["LostSessions"]
        .as_u64()
        .context("no number")?;
    ensure!(count > 0, "nothing was lost");
    let lost = lost(&stat)?;
    let sessions = lost.iter().find(|one| one["what"] == "LostSessions");
    let sessions = sessions.with_context(|| format!("{lost:?}"))?;
    ensure!(
        sessions["count"] == count && sessions["since"] == stat["source"]["since"],
        "{sessions}"
    );
    let said = format!("{count} sessions found no room since ");
    let text = probe.run(&["stat"])?;
    let (heading, _) = text.split_once("Rate (/s)").context("no table")?;
    let line = heading.lines().find(|line| line.starts_with("Lost: "));
    let line = line.with_context(|| heading.to_owned())?;
    ensure!(
        line.contains(&said) && line.contains("next: mptcp-user attach ... --max-sessions N"),
        "{line}"
    );
    let status = probe.run(&["status"])?;
    ensure!(status.contains(&format!("Lost on s0: {said}")), "{status}");
    ensure!(state(&probe, "s0")?["lost"][0]["count"] == count);
    // Whoever watches is told as it happens, and the page of a log of it says so.
    watch.wait_for(" sessions found no room since ")?;
    watch.wait_for("next: mptcp-user attach ... --max-sessions N")?;
    watch.interrupt()?;
    let directory = Directory::new()?;
    let log = directory.file("log");
    probe.run(&["record", "-o", &log, "--ntimes", "1"])?;
    let page = output(&mut command(&["report", &log, "-o", "-"]))?;
    ensure!(page.contains(&said), "{page}");
    drop(sockets);
    Ok(())
}

/// Joins of no session, 5,000 a second for some seconds, each refused: the sessions that open meanwhile are told, each
/// of them, and that events of others are missing.
#[test]
fn a_flood_of_refused_joins_drowns_no_session() -> Result<()> {
    const SESSIONS: usize = 100;
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0"])?;
    let mut watch = watch(&probe, &["--output", "jsonl"])?;
    let stop = AtomicBool::new(false);
    let flood = || flood(&pair, &stop);
    let sent = thread::scope(|scope| -> Result<u64> {
        let flood = scope.spawn(flood);
        let opened = (0..SESSIONS).try_for_each(|_| {
            thread::sleep(Duration::from_millis(20));
            let (client, server) = pair.connect()?;
            transfer(&client, &server, 1000)?;
            close(client, server)
        });
        stop.store(true, Ordering::Relaxed);
        let sent = flood.join().unwrap_or_else(|_| bail!("a panic"))?;
        opened?;
        Ok(sent)
    })?;
    pair.settle()?;
    let created = |watch: &Running| -> Result<usize> {
        let out = watch.out()?;
        Ok(out.matches("\"session_created\"").count())
    };
    wait_until(|| Ok(created(&watch)? >= SESSIONS)).with_context(|| {
        let told = created(&watch).unwrap_or_default();
        format!("{told} of {SESSIONS} sessions are told beside {sent} joins")
    })?;
    watch.wait_for(" events are missing here")?;
    watch.interrupt()?;
    ensure!(created(&watch)? == SESSIONS);
    // Each refusal is counted, told or not.
    let stat = probe.stat(&[])?;
    ensure!(total(&stat, "TokenEr")? == sent, "{sent}: {stat}");
    Ok(())
}

/// Sends joins of no session until told to stop; returns how many.
fn flood(pair: &Pair, stop: &AtomicBool) -> Result<u64> {
    pair.client.enter(|| {
        let to = SocketAddr::new(pair.server_address(0), 5000);
        let mut join = RawJoin {
            from: SocketAddr::new(pair.client_address(0), 10_000),
            to,
        };
        let socket = join.socket()?;
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..50 {
                // Not where real connections begin, by default.
                join.from.set_port(10_000 + (sent % 20_000) as u16);
                join.send(&socket, 0x1234_0000 + sent as u32)?;
                sent += 1;
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(sent)
    })
}
