//! `mptcp-user events`: what happens to real sessions is told as it happens, in order.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::mpsc,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    net::{Family, LIMIT, Pair, close, transfer, wait_until},
    probe::Probe,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// A running `mptcp-user events`, and what it has printed.
struct Watch {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Watch {
    fn start(probe: &Probe, arguments: &[&str]) -> Result<Self> {
        let mut child = probe
            .command(&[&["events"], arguments].concat())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().context("no output")?;
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        // Until it has locked the ring.
        let pid = child.id().to_string();
        wait_until(|| {
            let locks = fs::read_to_string("/proc/locks")?;
            Ok(locks
                .lines()
                .any(|lock| lock.split_whitespace().nth(4) == Some(&pid)))
        })?;
        Ok(Self { child, lines })
    }

    /// The lines up to one that says this.
    fn until(&self, last: &str) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        while !lines
            .last()
            .is_some_and(|line: &String| line.contains(last))
        {
            let line = self.lines.recv_timeout(LIMIT);
            lines.push(line.with_context(|| format!("no {last} in {lines:?}"))?);
        }
        Ok(lines)
    }

    fn interrupt(mut self) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Events by name and detail.
fn told(lines: &[String]) -> Result<Vec<(String, Option<String>)>> {
    lines
        .iter()
        .map(|line| {
            let value: Value = serde_json::from_str(line).with_context(|| line.clone())?;
            ensure!(value["schema_version"] == 1, "{value}");
            let text = |name: &str| value[name].as_str().map(ToOwned::to_owned);
            Ok((text("event").context("no event")?, text("detail")))
        })
        .collect()
}

#[test]
fn the_life_of_a_session() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "s1"])?;
    // What happened before anybody watched is not told.
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 10_000)?;
    close(client, server)?;
    pair.settle()?;
    let watch = Watch::start(&probe, &["--output", "jsonl"])?;
    let said = probe.fails(4, &["events"])?;
    ensure!(said.contains("somebody else watches"), "{said}");

    let second = pair.client_address(1);
    pair.client
        .ip(&format!("mptcp endpoint add {second} id 5 subflow"))?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 50_000)?;
    pair.wait_for(&pair.server, "MPJoinAckRx", 1)?;
    transfer(&client, &server, 50_000)?;
    pair.client.ip("mptcp endpoint change id 5 backup")?;
    pair.wait_for(&pair.server, "MPPrioRx", 1)?;
    pair.client.ip("mptcp endpoint delete id 5")?;
    pair.wait_for(&pair.server, "RmAddr", 1)?;
    transfer(&client, &server, 10_000)?;
    close(client, server)?;

    let told = told(&watch.until("session_closed")?)?;
    let first = |event: &str, detail: Option<&str>| {
        told.iter()
            .position(|(e, d)| e == event && (detail.is_none() || d.as_deref() == detail))
            .with_context(|| format!("no {event} {detail:?} in {told:?}"))
    };
    let order = [
        first("session_created", Some("version 1"))?,
        first("subflow_joined", None)?,
        first("priority_changed", Some("backup"))?,
        first("address_removed", Some("id 5"))?,
        first("session_closed", None)?,
    ];
    ensure!(order.is_sorted(), "{told:?}");
    ensure!(order[0] == 0, "{told:?}");
    ensure!(!told.iter().any(|(event, _)| event == "error"), "{told:?}");
    watch.interrupt()
}

#[test]
fn so_many_and_no_more() -> Result<()> {
    let pair = Pair::new(Family::V6)?;
    let probe = Probe::new(&pair.server);
    let said = probe.fails(1, &["events"])?;
    ensure!(said.contains("mptcp-user attach"), "{said}");
    probe.run(&["attach", "-i", "s0"])?;
    let mut watch = Watch::start(&probe, &["--count", "1"])?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 1_000)?;
    let status = watch.child.wait()?;
    ensure!(status.success(), "{status}");
    let lines: Vec<_> = watch.lines.iter().collect();
    ensure!(lines.len() == 1, "{lines:?}");
    let client_end = format!("[{}]:", pair.client_address(0));
    ensure!(
        lines[0].contains("session created version 1") && lines[0].contains(&client_end),
        "{lines:?}"
    );
    close(client, server)
}
