//! `mptcp-user events`: what happens to real sessions is told as it happens, in order.

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    net::{Family, Pair, close, transfer},
    probe::Probe,
    running::watch,
};
use serde_json::Value;

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
    let mut watch = watch(&probe, &["--output", "jsonl"])?;
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

    let told = told(&watch.lines_until("session_closed")?)?;
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
    let mut watch = watch(&probe, &["--count", "1"])?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 1_000)?;
    let status = watch.child.wait()?;
    ensure!(status.success(), "{status}");
    let out = watch.out()?;
    let lines: Vec<_> = out.lines().collect();
    ensure!(lines.len() == 1, "{lines:?}");
    let client_end = format!("[{}]:", pair.client_address(0));
    ensure!(
        lines[0].contains("session created version 1") && lines[0].contains(&client_end),
        "{lines:?}"
    );
    close(client, server)
}
