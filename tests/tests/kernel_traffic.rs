//! Real kernel MPTCP between two hosts: what the probes count on both equals, to the packet, what
//! two independent witnesses see on the wires between them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    capture::Capture,
    net::{CLIENT_INTERFACES, Family, Pair, SERVER_INTERFACES, close, transfer},
    oracle::ON_THE_WIRE,
    probe::{Probe, options, total},
    relay::{Wrapped, Wrapping},
    witness::{NAMES, Seen, tshark},
};
use serde_json::Value;

/// Runs `traffic` between two probed hosts and compares.
fn observe(family: Family, traffic: impl FnOnce(&Pair) -> Result<()>) -> Result<[Value; 2]> {
    let pair = Pair::new(family)?;
    let hosts = [
        (&pair.client, CLIENT_INTERFACES),
        (&pair.server, SERVER_INTERFACES),
    ];
    let probes = hosts.map(|(host, _)| Probe::new(host));
    let mut captures = Vec::new();
    for ((host, interfaces), probe) in hosts.iter().zip(&probes) {
        let said = probe.run(&["attach", "-i", interfaces[0], interfaces[1]])?;
        ensure!(
            said.matches("XDP native").count() == 2,
            "no native XDP: {said}"
        );
        for interface in interfaces {
            captures.push(Capture::start(host, interface)?);
        }
    }
    traffic(&pair)?;
    pair.settle()?;
    let mut files = Vec::new();
    for capture in &mut captures {
        files.push(capture.stop()?);
    }
    let (from_client, from_server) = files.split_at(2);
    let stats = [probes[0].stat(&[])?, probes[1].stat(&[])?];
    let [up, down] = [Seen::of(from_client)?, Seen::of(from_server)?];
    for (files, seen) in [(from_client, &up), (from_server, &down)] {
        let counts = tshark(files)?;
        ensure!(
            counts == seen.defined(),
            "the witnesses differ: {counts:?} {:?}",
            seen.options
        );
    }
    compare(&stats[0], &down, &up)?;
    compare(&stats[1], &up, &down)?;
    Ok(stats)
}

/// A host's table against what it received and sent.
fn compare(stat: &Value, rx: &Seen, tx: &Seen) -> Result<()> {
    for (direction, seen) in [("rx", rx), ("tx", tx)] {
        for (name, counted) in options(stat, direction)? {
            let wanted = NAMES
                .iter()
                .position(|n| *n == name)
                .map_or(0, |i| seen.options[i]);
            ensure!(
                counted == wanted,
                "{name} {direction}: {counted}, on the wire {wanted}"
            );
        }
    }
    for (row, witness, of) in ON_THE_WIRE {
        let (counted, wanted) = (total(stat, row)?, of(rx, tx));
        ensure!(counted == wanted, "{row}: {counted}, {witness} {wanted}");
    }
    // A kernel sends nothing that is wrong.
    for row in ["OPTEr", "SubtypEr", "VerEr", "LenEr"] {
        let counted = total(stat, row)?;
        ensure!(counted == 0, "{row}: {counted}");
    }
    Ok(())
}

/// MIBs of the server, and what of the table they must equal: rows, or options received.
const MIBS: [(&str, &str); 6] = [
    ("MPCapableSYNRX", "MPSYN"),
    ("MPJoinSynRx", "JoinSYN"),
    ("MPPrioRx", "MP_PRIO"),
    ("RmAddr", "REMOVE_ADDR"),
    ("EchoAdd", "ADD_ADDR"),
    ("MPFailRx", "MPFAILrv"),
];

fn whole_session(family: Family) -> Result<()> {
    let mut mibs = Vec::new();
    let [_, server] = observe(family, |pair| {
        pair.every_option(100_000)?;
        for (mib, _) in MIBS {
            mibs.push(pair.server.mib(mib)?);
        }
        Ok(())
    })?;
    for ((mib, name), wanted) in MIBS.into_iter().zip(mibs) {
        let counted = match server["options"]["rx"][name].as_u64() {
            Some(counted) => counted,
            None => total(&server, name)?,
        };
        ensure!(
            counted == wanted,
            "{name}: {counted}, the kernel's {mib} {wanted}"
        );
    }
    ensure!(total(&server, "PrioBkup")? >= 1 && total(&server, "DSSsnd")? > 100);
    Ok(())
}

#[test]
fn a_whole_session_over_ipv4() -> Result<()> {
    whole_session(Family::V4)
}

#[test]
fn a_whole_session_over_ipv6() -> Result<()> {
    whole_session(Family::V6)
}

/// The probe on a link whose frames have a tag or are PPPoE, in the host role: what comes in at f1 is the
/// client's.
fn wrapped_session(family: Family, wrapping: Wrapping, xdp: &str) -> Result<()> {
    let path = Wrapped::new(family, wrapping)?;
    let probe = Probe::new(&path.far);
    let said = probe.run(&["attach", "-i", "f1", "--xdp", xdp])?;
    ensure!(said.contains("XDP native") == (xdp == "auto"), "{said}");
    let mut up = Capture::start(&path.near, "n1")?;
    let mut down = Capture::start(&path.far, "f1")?;
    let (client, server) = path.pair.connect()?;
    transfer(&client, &server, 100_000)?;
    transfer(&server, &client, 100_000)?;
    close(client, server)?;
    path.pair.settle()?;
    let (up, down) = (up.stop()?, down.stop()?);
    let [sent, received] = [Seen::of(&[up])?, Seen::of(&[down])?];
    ensure!(tshark(&[up])? == sent.defined() && tshark(&[down])? == received.defined());
    for seen in [&sent, &received] {
        ensure!((seen.tagged > 50) == wrapping.vlan, "{}", seen.tagged);
        ensure!((seen.pppoe > 50) == wrapping.pppoe, "{}", seen.pppoe);
    }
    let stat = probe.stat(&[])?;
    // Else a table of zeros would be right.
    let (sessions, received_dss) = (total(&stat, "TotSess")?, total(&stat, "DSSrcv")?);
    ensure!(
        sessions == 1 && received_dss > 20,
        "{sessions} sessions, {received_dss} DSS"
    );
    compare(&stat, &sent, &received)?;
    // Nothing but what is beside TCP is passed by.
    let passed = &stat["probe"]["protocols"];
    let passed = passed.as_object().context("no protocols")?;
    ensure!(
        passed
            .keys()
            .all(|name| ["arp", "icmpv6"].contains(&name.as_str())),
        "{passed:?}"
    );
    ensure!(stat["probe"]["note"].is_null(), "{}", stat["probe"]);
    Ok(())
}

const TAGGED: Wrapping = Wrapping {
    vlan: true,
    pppoe: false,
};
const PPPOE: Wrapping = Wrapping {
    vlan: false,
    pppoe: true,
};
const TAGGED_PPPOE: Wrapping = Wrapping {
    vlan: true,
    pppoe: true,
};

#[test]
fn a_session_in_a_vlan_over_ipv4() -> Result<()> {
    wrapped_session(Family::V4, TAGGED, "auto")
}

#[test]
fn a_session_in_a_vlan_over_ipv6() -> Result<()> {
    wrapped_session(Family::V6, TAGGED, "auto")
}

#[test]
fn a_session_in_pppoe_at_xdp() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        wrapped_session(family, PPPOE, "auto")?;
        wrapped_session(family, TAGGED_PPPOE, "auto")?;
    }
    Ok(())
}

/// There the device has taken the tag out of the frame.
#[test]
fn a_session_in_pppoe_at_tc() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        wrapped_session(family, PPPOE, "off")?;
        wrapped_session(family, TAGGED_PPPOE, "off")?;
    }
    Ok(())
}

#[test]
fn fast_close() -> Result<()> {
    let [_, server] = observe(Family::V4, |pair| {
        let (client, server) = pair.connect()?;
        transfer(&client, &server, 50_000)?;
        client.set_linger(Some(Duration::ZERO))?;
        drop(client);
        pair.wait_for(&pair.server, "MPFastcloseRx", 1)?;
        drop(server);
        Ok(())
    })?;
    ensure!(total(&server, "FCRcvEr")? == 1);
    ensure!(server["options"]["rx"]["MP_TCPRST"].as_u64() == Some(1));
    Ok(())
}

#[test]
fn checksums_and_a_corrupted_payload() -> Result<()> {
    let [client, server] = observe(Family::V4, |pair| {
        for host in [&pair.client, &pair.server] {
            host.sysctl("mptcp/checksum_enabled", "1")?;
        }
        let (client, server) = pair.connect()?;
        transfer(&client, &server, 20_000)?;
        // One segment is changed on its way; nothing but the DSS checksum notices.
        pair.client.run(
            "nft",
            &[
                "table inet x { chain p { type filter hook output priority 300; \
               tcp dport 5000 meta length > 600 limit rate 1/hour burst 1 packets \
               @ih,64,16 set 0x5a5b\n}\n}",
            ],
        )?;
        transfer(&client, &server, 1_000)?;
        pair.wait_for(&pair.client, "MPFailRx", 1)?;
        pair.settle()?;
        transfer(&client, &server, 5_000)?;
        transfer(&server, &client, 5_000)?;
        Ok(())
    })?;
    ensure!(total(&server, "MPFAILst")? >= 1 && total(&client, "MPFAILrv")? >= 1);
    ensure!(total(&server, "InfMapFg")? >= 1, "no infinite mapping");
    ensure!(server["extra"]["DssChecksum"].as_u64() > Some(10));
    Ok(())
}
