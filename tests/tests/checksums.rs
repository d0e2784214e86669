//! `--verify-checksums` on bulk data: mappings in one buffer (GSO, not linear), and over many packets.
//! What a wrong checksum does is in `rows` and `scenarios_real`.

use std::{collections::BTreeSet, path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use mptcp_tests::{
    capture::Capture,
    net::{Pair, close, output, transfer},
    probe::{Probe, total},
};
use serde_json::Value;

/// The mappings that one end of a subflow sent, by their subflow sequence number, as tshark reads
/// them. It does not tell that of the client's MP_CAPABLE, which has number 1.
fn mappings(capture: &Path) -> Result<u64> {
    let text = output(Command::new("tshark").arg("-r").arg(capture).args([
        "-Y",
        "tcp.options.mptcp.subflowseqno",
        "-T",
        "fields",
        "-e",
        "tcp.srcport",
        "-e",
        "tcp.options.mptcp.subflowseqno",
    ]))?;
    let mut seen: BTreeSet<_> = text.lines().map(ToOwned::to_owned).collect();
    let port = text.split('\t').next().unwrap_or_default();
    if port != "5000" {
        seen.insert(format!("{port}\t1"));
    }
    Ok(seen.len() as u64)
}

/// A mapping of which segments overtake each other is not verified, and counted as that: rare between hosts of one machine.
#[test]
fn every_mapping_of_a_transfer_is_verified() -> Result<()> {
    const TRIES: u32 = 3;
    let mut unverified = Vec::new();
    for _ in 0..TRIES {
        match transfer_with_checksums()? {
            0 => return Ok(()),
            count => unverified.push(count),
        }
    }
    bail!("in each of {TRIES} transfers mappings were not verified: {unverified:?}")
}

/// Returns how many mappings were not verified. None is counted twice, none is wrong.
fn transfer_with_checksums() -> Result<u64> {
    let (pair, router) = Pair::routed()?;
    for host in [&pair.client, &pair.server] {
        host.sysctl("mptcp/checksum_enabled", "1")?;
    }
    router.run("ethtool", &["-K", "r1", "tso", "off", "gso", "off"])?;
    let (sender, receiver) = (Probe::new(&pair.client), Probe::new(&pair.server));
    sender.run(&["attach", "-i", "c0", "--xdp", "off", "--verify-checksums"])?;
    receiver.run(&["attach", "-i", "s0", "--verify-checksums"])?;
    let mut captures = [("r1", &router), ("s0", &pair.server)]
        .map(|(interface, host)| Capture::start(host, interface));
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 1_000_000)?;
    transfer(&server, &client, 300_000)?;
    close(client, server)?;
    pair.settle()?;
    let mut wanted = 0;
    for capture in &mut captures {
        let capture = capture
            .as_mut()
            .map_err(|error| anyhow::anyhow!("{error:#}"))?;
        wanted += mappings(capture.stop()?)?;
    }
    ensure!(wanted > 20, "{wanted} mappings");
    let mut unverified = 0;
    for (name, stat) in [
        ("sender", sender.stat(&[])?),
        ("receiver", receiver.stat(&[])?),
    ] {
        let extra = |row: &str| stat["extra"][row].as_u64().context(row.to_owned());
        let [verified, not] = [extra("CsumVerified")?, extra("CsumUnverified")?];
        ensure!(
            verified + not == wanted,
            "{name}: {verified} of {wanted} mappings verified, {not} not"
        );
        ensure!(extra("CksumErTx")? == 0, "{name}");
        ensure!(total(&stat, "CksumEr")? == 0, "{name}");
        unverified += not;
    }
    Ok(unverified)
}

#[test]
fn without_the_option_the_row_is_not_known() -> Result<()> {
    let (pair, _router) = Pair::routed()?;
    let probe = Probe::new(&pair.server);
    let known = || -> Result<bool> {
        let stat = probe.stat(&[])?;
        let row: &Value = &stat["counters"]["CksumEr"]["total"];
        ensure!(row.is_null() == stat["extra"]["CsumVerified"].is_null());
        Ok(!row.is_null())
    };
    probe.run(&["attach", "-i", "s0"])?;
    ensure!(!known()?);
    probe.run(&["attach", "-i", "s0", "--verify-checksums"])?;
    ensure!(known()?);
    Ok(())
}
