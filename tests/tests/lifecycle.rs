//! The life of a probe: loaders that are killed, programs that are replaced, layouts that do not
//! fit, baselines that move. Nothing is lost on the way.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    capture::Capture,
    net::{
        Attached as _, Family, Namespace, Pair, close, output, outputs, run, transfer, wait,
        wait_until,
    },
    probe::{Probe, total},
    witness::Seen,
};
use serde_json::Value;

/// Captures of both directions of the first link.
struct Captures([Capture; 2]);

impl Captures {
    fn start(pair: &Pair) -> Result<Self> {
        Ok(Self([
            Capture::start(&pair.client, "c0")?,
            Capture::start(&pair.server, "s0")?,
        ]))
    }

    /// DSS received and sent by the server.
    fn stop(mut self, pair: &Pair) -> Result<[u64; 2]> {
        pair.settle()?;
        let [up, down] = &mut self.0;
        Ok([
            Seen::of(&[up.stop()?])?.options[2],
            Seen::of(&[down.stop()?])?.options[2],
        ])
    }
}

fn dss(stat: &Value) -> Result<[u64; 2]> {
    Ok([total(stat, "DSSrcv")?, total(stat, "DSSsnd")?])
}

fn traffic(pair: &Pair) -> Result<()> {
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 100_000)?;
    close(client, server)
}

/// Waits until the server's probe on s0 has all its programs.
fn wait_until_counting(probe: &Probe) -> Result<()> {
    wait_until(|| {
        let status: Value = serde_json::from_str(&probe.run(&["status", "--output", "json"])?)?;
        Ok(status["interfaces"][0]["state"] == "counting")
    })
}

#[test]
fn a_killed_loader_loses_nothing() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    // With a log level that nothing is logged at, the loader stays, so it is there to be killed.
    let mut loader = probe
        .command(&["attach", "-i", "s0", "--kernel-log", "error"])
        .stdout(Stdio::null())
        .spawn()?;
    wait_until_counting(&probe)?;
    ensure!(
        loader.try_wait()?.is_none(),
        "the loader has ended by itself"
    );
    loader.kill()?;
    loader.wait()?;
    let captures = Captures::start(&pair)?;
    traffic(&pair)?;
    let wanted = captures.stop(&pair)?;
    let stat = probe.stat(&[])?;
    ensure!(
        dss(&stat)? == wanted,
        "{:?} counted, {wanted:?} on the wire",
        dss(&stat)?
    );
    ensure!(wanted[0] > 10 && total(&stat, "MPSYN")? == 1);
    probe.run(&["detach", "-i", "s0"])?;
    ensure!(
        !probe.pins().exists(),
        "detach leaves {}",
        probe.pins().display()
    );
    Ok(())
}

#[test]
fn a_loader_killed_at_any_moment_leaves_nothing_in_the_way() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    for milliseconds in (0..300).step_by(20) {
        let probe = Probe::new(&pair.server);
        let mut loader = probe
            .command(&["attach", "-i", "s0"])
            .stdout(Stdio::null())
            .spawn()?;
        thread::sleep(Duration::from_millis(milliseconds));
        let _ = loader.kill();
        loader.wait()?;
        probe.run(&["attach", "-i", "s0"])?;
        traffic(&pair)?;
        let stat = probe.stat(&[])?;
        ensure!(
            total(&stat, "MPSYN")? == 1,
            "after {milliseconds} ms: {}",
            stat["options"]
        );
        probe.run(&["detach", "-i", "s0"])?;
        ensure!(
            !probe.pins().exists(),
            "detach leaves {}",
            probe.pins().display()
        );
    }
    Ok(())
}

#[test]
fn programs_are_replaced_while_traffic_runs() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0"])?;
    let captures = Captures::start(&pair)?;
    let (client, server) = pair.connect()?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        let sender = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                transfer(&client, &server, 20_000)?;
            }
            Ok(())
        });
        let mut replaced = Ok(());
        for _ in 0..8 {
            replaced = replaced.and_then(|()| {
                let said = probe.run(&["attach", "-i", "s0"])?;
                ensure!(said.contains("replaced"), "{said}");
                Ok(())
            });
        }
        done.store(true, Ordering::Relaxed);
        sender.join().expect("the sender does not panic")?;
        replaced
    })?;
    close(client, server)?;
    let wanted = captures.stop(&pair)?;
    let stat = probe.stat(&[])?;
    ensure!(
        dss(&stat)? == wanted,
        "{:?} counted, {wanted:?} on the wire",
        dss(&stat)?
    );
    Ok(())
}

/// The pin directory of an interface.
fn directory(probe: &Probe, namespace: &Namespace, interface: &str) -> Result<std::path::PathBuf> {
    let inode = fs::metadata(format!("/run/netns/{}", namespace.name()))?.ino();
    let links: Value = serde_json::from_str(&namespace.ip(&format!("-j link show {interface}"))?)?;
    let index = links[0]["ifindex"].as_u64().context("no ifindex")?;
    Ok(probe.pins().join(format!("v1/{inode}/if/{index}")))
}

#[test]
fn a_map_of_another_layout_is_refused() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    let directory = directory(&probe, &pair.server, "s0")?;
    probe.run(&["attach", "-i", "s0"])?;
    ensure!(
        directory.join("counters").exists(),
        "the pins are not where they are documented"
    );
    probe.run(&["detach", "-i", "s0"])?;
    fs::create_dir_all(&directory)?;
    let path = directory.join("counters");
    output(
        Command::new("bpftool")
            .args(["map", "create"])
            .arg(&path)
            .args([
                "type",
                "percpu_array",
                "key",
                "4",
                "value",
                "64",
                "entries",
                "1",
                "name",
                "counters",
            ]),
    )?;
    let said = probe.fails(1, &["attach", "-i", "s0"])?;
    ensure!(
        said.contains("another layout") && said.contains("next: "),
        "{said}"
    );
    ensure!(path.exists(), "the map of others was removed");
    probe.run(&["detach", "-i", "s0"])?;
    probe.run(&["attach", "-i", "s0"])?;
    Ok(())
}

#[test]
fn interfaces_are_summed_or_shown_alone() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "s1"])?;
    let address = pair.server_address(1);
    pair.server
        .ip(&format!("mptcp endpoint add {address} signal"))?;
    let (client, server) = pair.connect()?;
    pair.wait_for(&pair.server, "MPJoinAckRx", 1)?;
    transfer(&client, &server, 200_000)?;
    close(client, server)?;
    pair.settle()?;
    let [all, first, second] =
        [&[][..], &["-i", "s0"], &["-i", "s1"]].map(|which| probe.stat(which));
    let (all, first, second) = (all?, first?, second?);
    ensure!(total(&first, "MPSYN")? == 1 && total(&second, "MPSYN")? == 0);
    ensure!(total(&first, "JoinSYN")? == 0 && total(&second, "JoinSYN")? == 1);
    let [sum, a, b] = [dss(&all)?, dss(&first)?, dss(&second)?];
    ensure!(
        sum == [a[0] + b[0], a[1] + b[1]] && b[0] > 0,
        "{sum:?} {a:?} {b:?}"
    );
    Ok(())
}

#[test]
fn a_baseline_moves_and_loses_nothing() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0"])?;
    let captures = Captures::start(&pair)?;
    let (client, server) = pair.connect()?;
    let done = AtomicBool::new(false);
    let mut sum = [0; 2];
    thread::scope(|scope| -> Result<()> {
        let sender = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                transfer(&client, &server, 20_000)?;
            }
            Ok(())
        });
        let mut readings = Vec::new();
        for what in ["basic", "full", "basic", "basic"] {
            thread::sleep(Duration::from_millis(100));
            readings.push(probe.stat(&["-clearstats", what]));
        }
        done.store(true, Ordering::Relaxed);
        sender.join().expect("the sender does not panic")?;
        for reading in readings {
            let counted = dss(&reading?)?;
            ensure!(counted[0] > 0, "nothing was counted between two readings");
            sum = [sum[0] + counted[0], sum[1] + counted[1]];
        }
        Ok(())
    })?;
    close(client, server)?;
    pair.settle()?;
    let last = dss(&probe.stat(&["-clearstats", "basic"])?)?;
    let wanted = captures.stop(&pair)?;
    sum = [sum[0] + last[0], sum[1] + last[1]];
    ensure!(
        sum == wanted,
        "{sum:?} in all readings, {wanted:?} on the wire"
    );
    let after = probe.stat(&[])?;
    ensure!(dss(&after)? == [0, 0], "{:?}", dss(&after)?);
    // The further numbers were cleared by `full` alone.
    ensure!(
        after["extra"]["TxFinPkts"].as_u64() == Some(1),
        "{}",
        after["extra"]
    );
    probe.stat(&["-clearstats", "full"])?;
    let after = probe.stat(&[])?;
    ensure!(
        after["extra"]["TxFinPkts"].as_u64() == Some(0),
        "{}",
        after["extra"]
    );
    Ok(())
}

#[test]
fn a_temporary_probe_leaves_nothing() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    let mut stat = probe
        .command(&["stat", "-i", "s0", "--interval", "3s", "--output", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    wait_until(|| Ok(pair.server.programs("s0")? == ["XDP", "tc_egress"]))?;
    traffic(&pair)?;
    ensure!(
        stat.try_wait()?.is_none(),
        "it has not waited for its interval"
    );
    let result = wait(stat)?;
    let said = String::from_utf8_lossy(&result.stderr);
    ensure!(
        result.status.success() && said.contains("has no probe"),
        "{said}"
    );
    let shown: Value = serde_json::from_slice(&result.stdout)?;
    ensure!(total(&shown, "MPSYN")? == 1, "{}", shown["options"]);
    ensure!(!probe.pins().exists());
    let left = pair.server.programs("s0")?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

#[test]
fn an_interface_that_is_gone_keeps_its_counts() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "s1"])?;
    traffic(&pair)?;
    pair.server.ip("link delete s0")?;
    let status = probe.run(&["status"])?;
    ensure!(status.contains("gone"), "{status}");
    let (stat, said) = outputs(&mut probe.command(&["stat", "-i", "s0", "--output", "json"]))?;
    ensure!(said.contains("is gone"), "{said}");
    ensure!(total(&serde_json::from_str(&stat)?, "MPSYN")? == 1);
    probe.run(&["detach", "-i", "s0", "s1"])?;
    ensure!(!probe.pins().exists());
    Ok(())
}

#[test]
fn pins_of_a_dead_namespace_are_no_probe() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0"])?;
    traffic(&pair)?;
    // The same index again, as a new namespace with the old one's inode number would have it.
    let links: Value = serde_json::from_str(&pair.server.ip("-j link show s0")?)?;
    let index = links[0]["ifindex"].as_u64().context("no ifindex")?;
    pair.server.ip("link delete s0")?;
    pair.server
        .ip(&format!("link add s9 index {index} type veth peer name s8"))?;
    pair.server.ip("link set s9 up")?;
    let said = probe.run(&["attach", "-i", "s9"])?;
    ensure!(!said.contains("replaced"), "{said}");
    ensure!(
        total(&probe.stat(&["-i", "s9"])?, "MPSYN")? == 0,
        "old counts are shown"
    );
    Ok(())
}

#[test]
fn all_probes_are_detached_from_elsewhere() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0"])?;
    let pins = probe.pins().to_str().context("a plain path")?;
    let binary = mptcp_tests::probe::binary();
    let binary = binary.to_str().context("a plain path")?;
    run(binary, &["--pin-dir", pins, "detach", "--all"])?;
    ensure!(!probe.pins().exists());
    let left = pair.server.programs("s0")?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

#[test]
fn commands_do_not_meet_a_probe_half_attached() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s1"])?;
    for _ in 0..3 {
        thread::scope(|scope| -> Result<()> {
            let mut commands = Vec::new();
            for _ in 0..3 {
                for arguments in [&["attach", "-i", "s0"][..], &["stat"], &["status"]] {
                    commands.push(scope.spawn(|| probe.run(arguments)));
                }
            }
            for command in commands {
                command.join().expect("no panic")?;
            }
            Ok(())
        })?;
        probe.run(&["detach", "-i", "s0"])?;
    }
    Ok(())
}
