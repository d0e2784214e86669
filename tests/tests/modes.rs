//! The ways to see what comes in - XDP in the driver, XDP in the stack, TC - count the same, and
//! the middlebox role counts what two probed legs forward once.

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    capture::Capture,
    net::{Family, Pair, close, outputs, transfer},
    probe::{Probe, options, total},
    witness::{NAMES, Seen},
};
use serde_json::Value;

fn session(pair: &Pair) -> Result<()> {
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 100_000)?;
    transfer(&server, &client, 100_000)?;
    close(client, server)?;
    pair.settle()?;
    Ok(())
}

/// Options of a subtype in `stat`, in these directions.
fn counted(stat: &Value, name: &str, directions: &[&str]) -> Result<u64> {
    let mut sum = 0;
    for direction in directions {
        let all = options(stat, direction)?;
        let found = all.iter().find(|(known, _)| known == name);
        sum += found.with_context(|| format!("no {name}"))?.1;
    }
    Ok(sum)
}

fn counts_in_mode(family: Family, mode: &str, said_of_it: &str) -> Result<()> {
    let pair = Pair::new(family)?;
    let probe = Probe::new(&pair.server);
    let said = probe.run(&["attach", "-i", "s0", "--xdp", mode])?;
    ensure!(
        said.contains(said_of_it),
        "{said_of_it:?} is not in: {said}"
    );
    // In the stack, XDP and TC see packets that GRO has merged.
    pair.server.run("ethtool", &["-K", "s0", "gro", "off"])?;
    let mut received = Capture::start(&pair.client, "c0")?;
    let mut sent = Capture::start(&pair.server, "s0")?;
    session(&pair)?;
    let (received, sent) = (Seen::of(&[received.stop()?])?, Seen::of(&[sent.stop()?])?);
    let stat = probe.stat(&[])?;
    for (direction, seen) in [("rx", &received), ("tx", &sent)] {
        for (name, wanted) in NAMES.into_iter().zip(seen.defined()) {
            let counted = counted(&stat, name, &[direction])?;
            ensure!(
                counted == wanted,
                "{name} {direction}: {counted}, on the wire {wanted}"
            );
        }
    }
    ensure!(total(&stat, "MPSYN")? == 1 && total(&stat, "DSSrcv")? > 20);
    Ok(())
}

#[test]
fn xdp_in_the_driver_counts_what_comes_in() -> Result<()> {
    counts_in_mode(Family::V4, "native", "ingress XDP native")
}

/// Who asked for it knows; who did not is told what it costs.
#[test]
fn xdp_on_a_veth_is_remarked_on() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    for (mode, is_told) in [("auto", true), ("native", false), ("off", false)] {
        let (attached, said) = outputs(&mut probe.command(&["attach", "-i", "s0", "--xdp", mode]))?;
        ensure!(
            attached.contains("XDP native") == (mode != "off"),
            "{mode}: {attached}"
        );
        let has_said = said.contains("veth") && said.contains("--xdp off");
        ensure!(has_said == is_told, "{mode}: {said:?}");
    }
    Ok(())
}

#[test]
fn xdp_in_the_stack_counts_what_comes_in() -> Result<()> {
    counts_in_mode(Family::V4, "generic", "ingress XDP generic")?;
    counts_in_mode(Family::V6, "generic", "ingress XDP generic")
}

#[test]
fn tc_counts_what_comes_in() -> Result<()> {
    counts_in_mode(Family::V4, "off", "ingress TC")?;
    counts_in_mode(Family::V6, "off", "ingress TC")
}

/// client c0 --- r0 router r1 --- s0 server, both legs of the router probed.
#[test]
fn a_middlebox_counts_once_what_it_forwards() -> Result<()> {
    let (pair, router) = Pair::routed()?;
    for (host, interface) in [(&pair.client, "c0"), (&pair.server, "s0")] {
        host.ip(&format!("link set {interface} gso_max_segs 1"))?;
    }
    let probe = Probe::new(&router);
    let said = probe.run(&["attach", "-i", "r0", "r1", "--role", "middlebox"])?;
    ensure!(
        said.matches("middlebox").count() == 2 && !said.contains("egress"),
        "{said}"
    );
    let mut up = Capture::start(&pair.client, "c0")?;
    let mut down = Capture::start(&pair.server, "s0")?;
    session(&pair)?;
    let (up, down) = (Seen::of(&[up.stop()?])?, Seen::of(&[down.stop()?])?);
    let stat = probe.stat(&[])?;
    for ((name, up), down) in NAMES.into_iter().zip(up.defined()).zip(down.defined()) {
        let counted = counted(&stat, name, &["rx", "tx", "unknown"])?;
        let wanted = up + down;
        ensure!(
            counted == wanted,
            "{name}: {counted}, on the wires {wanted}"
        );
    }
    for (row, wanted) in [
        ("MPSYN", up.capable_syn),
        ("MPV1SYN", up.capable_syn_v1),
        ("SYNACK", down.capable_synack),
        ("TotDSS", up.options[2] + down.options[2]),
        ("DSSrcv", up.options[2]),
        ("DSSsnd", down.options[2]),
    ] {
        let counted = total(&stat, row)?;
        ensure!(counted == wanted, "{row}: {counted}, on the wires {wanted}");
    }
    ensure!(up.capable_syn == 1 && up.options[2] > 20 && down.options[2] > 20);
    ensure!(stat["source"]["role"] == "middlebox");
    // What the initiator sends was received, of a session whose handshake was seen.
    ensure!(counted(&stat, "DSS", &["rx"])? == up.options[2]);
    ensure!(counted(&stat, "DSS", &["tx"])? == down.options[2]);
    ensure!(counted(&stat, "MP_CAPABLE", &["rx"])? == up.options[0]);
    ensure!(counted(&stat, "MP_CAPABLE", &["tx"])? == down.options[0]);
    probe.run(&["detach", "-i", "r0", "r1"])?;
    ensure!(!probe.pins().exists(), "detach left pins");
    Ok(())
}
