//! Sessions that were there before a probe on a host: which are adopted, which are not, and how long that
//! takes. What they count from then on is in `scenarios_real`.

use std::{
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use mptcp_tests::{
    frame::{ACK, FIN, Frame, RST, option},
    net::{Family, Pair, close, finished, transfer},
    numbers::Numbers,
    packet::{packet_socket, send},
    probe::{Probe, total},
};
use nix::sys::resource::{Resource, setrlimit};
use serde_json::Value;
use socket2::Socket;

/// Sessions, and the number of all their subflows.
fn followed(probe: &Probe) -> Result<(usize, usize)> {
    let text = probe.run(&["sessions", "--output", "json"])?;
    let value: Value = serde_json::from_str(&text)?;
    let sessions = value["sessions"].as_array().context("no sessions")?;
    let subflows = sessions
        .iter()
        .filter_map(|session| session["subflows"].as_array());
    Ok((sessions.len(), subflows.map(Vec::len).sum()))
}

fn seeded(probe: &Probe) -> Result<(u64, u64)> {
    let text = probe.run(&["status", "--output", "json"])?;
    let status: Value = serde_json::from_str(&text)?;
    let number = |name: &str| {
        status["interfaces"][0]["tables"][name]
            .as_u64()
            .with_context(|| format!("no {name}"))
    };
    Ok((number("seeded_sessions")?, number("seeded_subflows")?))
}

/// A session over both links.
fn two_subflows(pair: &Pair) -> Result<(Socket, Socket)> {
    let second = pair.client_address(1);
    pair.client
        .ip(&format!("mptcp endpoint add {second} id 5 subflow"))?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 10_000)?;
    pair.wait_for(&pair.server, "MPJoinAckRx", 1)?;
    transfer(&server, &client, 10_000)?;
    Ok((client, server))
}

#[test]
fn who_follows_nothing_and_who_forwards_adopts_nothing() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let (client, server) = two_subflows(&pair)?;
    let probe = Probe::new(&pair.server);
    let said = probe.run(&["attach", "-i", "s0", "s1", "--no-track"])?;
    ensure!(!said.contains("were there"), "{said}");
    probe.fails(1, &["sessions"])?;
    ensure!(probe.stat(&[])?["source"]["attached_mid_traffic"] == true);
    probe.run(&["detach", "--all"])?;
    let said = probe.run(&["attach", "-i", "s0", "s1", "--role", "middlebox"])?;
    ensure!(!said.contains("were there"), "{said}");
    transfer(&client, &server, 10_000)?;
    ensure!(followed(&probe)? == (0, 0));
    ensure!(total(&probe.stat(&[])?, "CurSess")? == 0);
    close(client, server)
}

#[test]
fn without_sessions_there_is_nothing_to_adopt() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    // A listener is no session.
    let (client, server) = pair.connect()?;
    close(client, server)?;
    pair.settle()?;
    let said = probe.run(&["attach", "-i", "s0"])?;
    ensure!(!said.contains("were there"), "{said}");
    ensure!(probe.stat(&[])?["source"]["attached_mid_traffic"] == false);
    ensure!(seeded(&probe)? == (0, 0));
    Ok(())
}

/// Attaching again finds everything known: it goes on as it was.
#[test]
fn nothing_is_adopted_twice() -> Result<()> {
    let pair = Pair::new(Family::V6)?;
    let (client, server) = two_subflows(&pair)?;
    let probe = Probe::new(&pair.server);
    let said = probe.run(&["attach", "-i", "s0", "s1"])?;
    ensure!(
        said.contains("1 sessions and 2 subflows that were there are followed"),
        "{said}"
    );
    ensure!(probe.stat(&[])?["source"]["attached_mid_traffic"] == true);
    // And one that the programs saw begin.
    let (newer, newer_server) = pair.connect()?;
    transfer(&newer, &newer_server, 10_000)?;
    pair.wait_for(&pair.server, "MPJoinAckRx", 2)?;
    transfer(&client, &server, 10_000)?;
    let numbers = |probe: &Probe| -> Result<Vec<Value>> {
        let text = probe.run(&["sessions", "--output", "json"])?;
        let value: Value = serde_json::from_str(&text)?;
        let sessions = value["sessions"].as_array().context("no sessions")?;
        let of = |session: &Value| {
            let names = [
                "before_probe",
                "listener_token",
                "bytes_from_initiator",
                "subflows",
            ];
            let mut of = names.map(|name| session[name].clone());
            of[3] = of[3].as_array().map_or(0, Vec::len).into();
            Value::from(of.to_vec())
        };
        Ok(sessions.iter().map(of).collect())
    };
    pair.settle()?;
    let before = numbers(&probe)?;
    for _ in 0..2 {
        let said = probe.run(&["attach", "-i", "s0", "s1"])?;
        ensure!(!said.contains("were there"), "{said}");
    }
    let after = numbers(&probe)?;
    ensure!(after == before && after.len() == 2, "{before:?} {after:?}");
    ensure!(seeded(&probe)? == (1, 2));
    let stat = probe.stat(&[])?;
    for (row, wanted) in [("CurSess", 2), ("CurSF", 4), ("TotSess", 1), ("subCon", 2)] {
        ensure!(
            total(&stat, row)? == wanted,
            "{row}: {}",
            total(&stat, row)?
        );
    }
    close(client, server)?;
    close(newer, newer_server)?;
    pair.settle()?;
    ensure!(followed(&probe)? == (0, 0));
    Ok(())
}

/// Only those whose packets come by: the others would never end.
#[test]
fn sessions_on_other_interfaces_are_left_alone() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 10_000)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s1"])?;
    ensure!(followed(&probe)? == (0, 0));
    probe.run(&["attach", "-i", "s0"])?;
    ensure!(followed(&probe)? == (1, 1));
    transfer(&client, &server, 10_000)?;
    ensure!(total(&probe.stat(&[])?, "CurSess")? == 1);
    close(client, server)
}

/// Sessions that are silent since they were adopted: who knows addresses and ports ends none, and their own end is seen.
#[test]
fn nobody_ends_what_was_adopted() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 10_000)?;
    transfer(&server, &client, 10_000)?;
    pair.settle()?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0"])?;
    ensure!(followed(&probe)? == (1, 1));
    let ends = [client.local_addr()?, client.peer_addr()?];
    let ends = ends.map(|end| end.as_socket());
    let [Some(from), Some(to)] = ends else {
        bail!("no addresses");
    };
    let wire = pair.client.enter(|| packet_socket("c0"))?;
    let mac = pair.server.mac("s0")?;
    let infinite = option(2, 0, &[&[4][..], &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0]].concat());
    let fastclose = option(7, 0, &[0; 9]);
    let mut numbers = Numbers::new(1);
    let rows = |probe: &Probe| -> Result<Vec<u64>> {
        let stat = probe.stat(&[])?;
        let rows = ["TotFB", "InfSet", "FCRcvEr", "FCkeyEr", "RxFin", "CurSF"];
        rows.iter().map(|row| total(&stat, row)).collect()
    };
    let before = rows(&probe)?;
    for (flags, options) in [
        (RST, &[][..]),
        (RST | ACK, &[]),
        (FIN | ACK, &[]),
        (ACK, &infinite),
        (ACK, &fastclose),
    ] {
        for _ in 0..20 {
            let frame = Frame {
                ports: [from.port(), to.port()],
                sequence: numbers.next() as u32,
                acknowledgment: numbers.next() as u32,
                ..Frame::new(flags, options, usize::from(flags == ACK))
            };
            // The host drops it: what changes is the probe's error.
            let frame = Frame {
                checksum: (flags == ACK).then_some(0x1234),
                ..frame
            };
            send(&wire, &frame.addressed(mac, [from.ip(), to.ip()], 64))?;
        }
    }
    thread::sleep(Duration::from_millis(200));
    ensure!(followed(&probe)? == (1, 1), "{:?}", followed(&probe)?);
    let after = rows(&probe)?;
    ensure!(after == before, "{before:?} {after:?}");
    // The peer ends it first, with numbers that the probe has not seen.
    close(client, server)?;
    pair.settle()?;
    ensure!(followed(&probe)? == (0, 0), "{:?}", followed(&probe)?);
    Ok(())
}

/// A probe for the time of a command adopts too.
#[test]
fn a_look_adopts_for_its_time() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 10_000)?;
    let probe = Probe::new(&pair.server);
    let stat = probe.stat(&["-i", "s0", "--interval", "100ms"])?;
    ensure!(total(&stat, "CurSess")? == 1 && total(&stat, "CurSF")? == 1);
    close(client, server)
}

/// Sessions begin while probes come, again and again: each is in the tables once.
#[test]
fn sessions_that_begin_meanwhile_are_there_once() -> Result<()> {
    const SESSIONS: usize = 60;
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.client);
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(pair.connect()?);
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        let attaching = scope.spawn(|| -> Result<()> {
            while !is_over.load(Ordering::Relaxed) {
                probe.run(&["attach", "-i", "c0", "c1"])?;
            }
            Ok(())
        });
        while sockets.len() < SESSIONS {
            let (client, server) = pair.connect()?;
            transfer(&client, &server, 100)?;
            sockets.push((client, server));
            thread::sleep(Duration::from_millis(40));
        }
        is_over.store(true, Ordering::Relaxed);
        attaching.join().expect("attaching does not panic")
    })?;
    probe.run(&["attach", "-i", "c0", "c1"])?;
    ensure!(
        followed(&probe)? == (SESSIONS, SESSIONS),
        "{:?}",
        followed(&probe)?
    );
    let stat = probe.stat(&[])?;
    ensure!(total(&stat, "CurSess")? == SESSIONS as u64);
    ensure!(stat["source"]["state_loss"] == 0);
    for (client, server) in sockets {
        close(client, server)?;
    }
    pair.settle()?;
    ensure!(followed(&probe)? == (0, 0), "{:?}", followed(&probe)?);
    Ok(())
}

#[test]
fn a_thousand_sockets_take_a_moment() -> Result<()> {
    const SESSIONS: usize = 500;
    setrlimit(Resource::RLIMIT_NOFILE, 4096, 4096)?;
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    // Of the processor, since others use it too.
    let attach = || -> Result<f64> {
        let attach = probe.command(&["attach", "-i", "s0", "s1", "--xdp", "native"]);
        let mut timed = Command::new("bash");
        timed.args(["-c", "TIMEFORMAT='%U %S'; time \"$@\"", "bash"]);
        let output = finished(timed.arg(attach.get_program()).args(attach.get_args()))?;
        let times = String::from_utf8(output.stderr)?;
        ensure!(output.status.success(), "{times}");
        // Behind what attach says where it takes long.
        let last = times.lines().last().unwrap_or_default();
        last.split_whitespace()
            .map(|time| time.parse::<f64>().with_context(|| times.clone()))
            .sum()
    };
    let without = attach()?;
    probe.run(&["detach", "--all"])?;
    let second = pair.client_address(1);
    pair.client
        .ip(&format!("mptcp endpoint add {second} id 5 subflow"))?;
    let mut sockets = Vec::new();
    for _ in 0..SESSIONS {
        let (client, server) = pair.connect()?;
        transfer(&client, &server, 100)?;
        sockets.push((client, server));
    }
    pair.wait_for(&pair.server, "MPJoinAckRx", SESSIONS as u64)?;
    let with = attach()?;
    ensure!(seeded(&probe)? == (SESSIONS as u64, 2 * SESSIONS as u64));
    ensure!(followed(&probe)? == (SESSIONS, 2 * SESSIONS));
    ensure!(with - without < 0.5, "{without} s, {with} s with sockets");
    Ok(())
}
