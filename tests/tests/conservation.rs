//! Conservation: every frame and every option on the wires of a busy host is counted once, and ends
//! in one leaf class, whatever is done to the probe meanwhile. When it goes, nothing is left.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use mptcp_common::table::BUCKET_SLOTS;
use mptcp_tests::{
    capture::Capture,
    net::{Attached as _, Family, Namespace, Pair, close, output, transfer, wait_until},
    oracle::ON_THE_WIRE,
    probe::{Probe, binary, failure, options, total},
    tables,
    witness::{NAMES, Seen},
};
use serde_json::Value;

/// A pair that is silent but for what a test sends, and a probe for the server.
fn quiet_pair() -> Result<(Pair, Probe)> {
    let pair = Pair::new(Family::V4)?;
    for (host, side) in [(&pair.client, 'c'), (&pair.server, 's')] {
        // No router solicitations and multicast reports among the frames.
        host.sysctl("ipv6/conf/all/disable_ipv6", "1")?;
        // Nor ARP requests of an end that sends acknowledgments only, 5 seconds after its first.
        for link in 0..2 {
            host.ip(&format!(
                "ntable change name arp_cache dev {side}{link} delay_probe 100000"
            ))?;
        }
    }
    let second = pair.server_address(1);
    pair.server
        .ip(&format!("mptcp endpoint add {second} id 9 signal"))?;
    // What was on its way still goes out: the kernel tells multicast groups of it some time later.
    pair.settle()?;
    let probe = Probe::new(&pair.server);
    Ok((pair, probe))
}

/// A session over both links.
fn session(pair: &Pair) -> Result<()> {
    let joins = pair.server.mib("MPJoinAckRx")?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 50_000)?;
    pair.wait_for(&pair.server, "MPJoinAckRx", joins + 1)?;
    transfer(&client, &server, 100_000)?;
    transfer(&server, &client, 50_000)?;
    close(client, server)
}

/// Captures of both directions on one link, or on both.
struct Captures(Vec<[Capture; 2]>);

impl Captures {
    fn start(pair: &Pair, links: &[usize]) -> Result<Self> {
        links
            .iter()
            .map(|link| {
                Ok([
                    Capture::start(&pair.client, &format!("c{link}"))?,
                    Capture::start(&pair.server, &format!("s{link}"))?,
                ])
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// What the server received and what it sent.
    fn stop(mut self, pair: &Pair) -> Result<[Seen; 2]> {
        pair.settle()?;
        let (mut received, mut sent) = (Vec::new(), Vec::new());
        for [client, server] in &mut self.0 {
            received.push(client.stop()?.to_owned());
            sent.push(server.stop()?.to_owned());
        }
        let seen = |files: &[PathBuf]| -> Result<Seen> {
            Seen::of(&files.iter().map(PathBuf::as_path).collect::<Vec<_>>())
        };
        Ok([seen(&received)?, seen(&sent)?])
    }
}

/// The numbers of several readings, added: they must be all that was on the wire.
fn conserved(readings: &[Value], [rx, tx]: &[Seen; 2]) -> Result<()> {
    let sum = |of: &dyn Fn(&Value) -> Result<u64>| -> Result<u64> {
        readings.iter().map(of).sum::<Result<u64>>()
    };
    for (direction, seen) in [("rx", rx), ("tx", tx)] {
        for (i, name) in NAMES.iter().enumerate() {
            let counted = sum(&|stat| {
                let counted = options(stat, direction)?;
                let found = counted.iter().find(|(known, _)| known == name);
                Ok(found.with_context(|| format!("no {name}"))?.1)
            })?;
            let wanted = seen.options[i];
            ensure!(
                counted == wanted,
                "{name} {direction}: {counted}, on the wire {wanted}"
            );
        }
    }
    for (row, witness, of) in ON_THE_WIRE {
        let (counted, wanted) = (sum(&|stat| total(stat, row))?, of(rx, tx));
        ensure!(counted == wanted, "{row}: {counted}, {witness} {wanted}");
    }
    let frames = |stat: &Value| stat["source"]["frames"].as_u64().context("no frames");
    let (counted, wanted) = (sum(&frames)?, rx.frames + tx.frames);
    ensure!(counted == wanted, "{counted} frames, on the wire {wanted}");
    ensure!(rx.options[2] > 10 && tx.options[2] > 10, "no traffic");
    // Every frame ended in one leaf class.
    let leaves = sum(&|stat| {
        let classes = stat["probe"].as_object().context("no leaf classes")?;
        Ok(classes.values().filter_map(Value::as_u64).sum())
    })?;
    ensure!(
        leaves == wanted,
        "{leaves} in the leaves of {wanted} frames"
    );
    Ok(())
}

/// Directory of the pins of an interface, as the documentation says.
fn pins_of(pair: &Pair, probe: &Probe, interface: &str) -> Result<PathBuf> {
    let namespace = fs::metadata(format!("/run/netns/{}", pair.server.name()))?.ino();
    let link = pair.server.ip(&format!("-o link show {interface}"))?;
    let index = link.split(':').next().context("no index")?;
    Ok(probe.pins().join(format!("v1/{namespace}/if/{index}")))
}

/// Nothing of the probe is on the interface any more.
fn is_bare(pair: &Pair, interface: &str) -> Result<()> {
    let left = pair.server.programs(interface)?;
    ensure!(left.is_empty(), "{left:?} left on {interface}");
    Ok(())
}

#[test]
fn the_loader_dies_and_nothing_is_lost() -> Result<()> {
    let (pair, probe) = quiet_pair()?;
    let captures = Captures::start(&pair, &[0])?;
    let mut loader = probe
        .command(&["attach", "-i", "s0"])
        .stdout(Stdio::null())
        .spawn()?;
    let pins = pins_of(&pair, &probe, "s0")?;
    let names = ["counters", "xdp", "tcx"];
    wait_until(|| Ok(names.iter().all(|pin| pins.join(pin).exists())))?;
    loader.kill()?;
    loader.wait()?;
    session(&pair)?;
    let seen = captures.stop(&pair)?;
    conserved(&[probe.stat(&[])?], &seen)
}

#[test]
fn attaching_again_while_traffic_runs_loses_nothing() -> Result<()> {
    let (pair, probe) = quiet_pair()?;
    probe.run(&["attach", "-i", "s0", "s1"])?;
    let captures = Captures::start(&pair, &[0, 1])?;
    busy(&pair, 4, || {
        let said = probe.run(&["attach", "-i", "s0", "s1"])?;
        ensure!(said.matches("counts go on").count() == 2, "{said}");
        Ok(())
    })?;
    let seen = captures.stop(&pair)?;
    conserved(&[probe.stat(&[])?], &seen)?;
    let status = probe.run(&["status"])?;
    ensure!(status.matches("counting").count() == 2, "{status}");
    Ok(())
}

#[test]
fn clearing_statistics_while_traffic_runs_loses_nothing() -> Result<()> {
    for what in ["basic", "full"] {
        let (pair, probe) = quiet_pair()?;
        probe.run(&["attach", "-i", "s0", "s1"])?;
        let captures = Captures::start(&pair, &[0, 1])?;
        let mut readings = Vec::new();
        busy(&pair, 10, || {
            readings.push(probe.stat(&["-clearstats", what])?);
            Ok(())
        })?;
        let seen = captures.stop(&pair)?;
        readings.push(probe.stat(&["-clearstats", what])?);
        conserved(&readings, &seen)?;
        let last = probe.stat(&[])?;
        ensure!(total(&last, "TotDSS")? == 0 && last["source"]["frames"] == 0);
        let extras = last["extra"].as_object().context("no extras")?;
        ensure!(
            extras.values().filter_map(Value::as_u64).all(|n| n == 0) == (what == "full"),
            "after {what}: {extras:?}"
        );
    }
    Ok(())
}

/// Repeats an action while a session runs, for a second at least.
fn busy(pair: &Pair, times: u32, mut action: impl FnMut() -> Result<()>) -> Result<()> {
    let is_over = AtomicBool::new(false);
    let (client, server) = pair.connect()?;
    thread::scope(|scope| {
        let traffic = scope.spawn(|| -> Result<()> {
            while !is_over.load(Ordering::Relaxed) {
                transfer(&client, &server, 20_000)?;
                transfer(&server, &client, 20_000)?;
                thread::sleep(Duration::from_millis(2));
            }
            Ok(())
        });
        let start = Instant::now();
        let mut done = 0;
        let mut result = Ok(());
        while result.is_ok() && (done < times || start.elapsed() < Duration::from_secs(1)) {
            result = action();
            done += 1;
        }
        is_over.store(true, Ordering::Relaxed);
        traffic.join().expect("the traffic does not panic")?;
        result
    })?;
    close(client, server)
}

#[test]
fn several_interfaces_add_up_and_detach_leaves_nothing() -> Result<()> {
    let (pair, probe) = quiet_pair()?;
    probe.run(&["attach", "-i", "s0", "-i", "s1"])?;
    session(&pair)?;
    pair.settle()?;
    let (all, both) = (probe.stat(&[])?, probe.stat(&["-i", "s0", "s1"])?);
    let one = [probe.stat(&["-i", "s0"])?, probe.stat(&["-i", "s1"])?];
    for row in ["MPSYN", "JoinSYN", "SFsynack", "DSSrcv", "DSSsnd", "TotDSS"] {
        let parts = [total(&one[0], row)?, total(&one[1], row)?];
        let sum = parts[0] + parts[1];
        ensure!(
            total(&all, row)? == sum && total(&both, row)? == sum && sum > 0,
            "{row}: {parts:?}"
        );
    }
    // The session began on one and was joined on the other.
    ensure!(total(&one[0], "MPSYN")? == 1 && total(&one[0], "JoinSYN")? == 0);
    ensure!(total(&one[1], "MPSYN")? == 0 && total(&one[1], "JoinSYN")? == 1);
    ensure!(one[1]["source"]["interfaces"] == serde_json::json!(["s1"]));
    ensure!(pair.server.programs("s0")? == ["XDP", "tc_egress_set"]);
    probe.run(&["detach", "-i", "s0"])?;
    is_bare(&pair, "s0")?;
    ensure!(probe.stat(&[])?["source"]["interfaces"] == serde_json::json!(["s1"]));
    probe.run(&["detach", "-i", "s1"])?;
    is_bare(&pair, "s1")?;
    ensure!(
        !probe.pins().exists(),
        "detach left {}",
        probe.pins().display()
    );
    probe.fails(1, &["stat"])?;
    Ok(())
}

#[test]
fn the_namespace_can_be_named_or_entered() -> Result<()> {
    let (pair, probe) = quiet_pair()?;
    probe.run(&["attach", "-i", "s0"])?;
    session(&pair)?;
    let path = format!("/run/netns/{}", pair.server.name());
    let pins = ["--pin-dir", &probe.pins().to_string_lossy()].map(ToOwned::to_owned);
    let stat = ["stat", "--output", "json"];
    let mut by_path = Command::new(binary());
    by_path.args(&pins).args(["--netns", &path]).args(stat);
    let mut entered = pair.server.command(binary());
    entered.args(&pins).args(stat);
    for command in [&mut by_path, &mut entered] {
        let text = output(command)?;
        ensure!(total(&serde_json::from_str(&text)?, "MPSYN")? == 1);
    }
    // From elsewhere there is nothing.
    failure(1, pair.client.command(binary()).args(&pins).args(stat))?;
    Ok(())
}

/// What `sessions` says.
fn sessions(probe: &Probe) -> Result<Vec<Value>> {
    let text = probe.run(&["sessions", "--output", "json"])?;
    let value: Value = serde_json::from_str(&text)?;
    Ok(value["sessions"].as_array().context("no sessions")?.clone())
}

/// The tables are emptied under running traffic, again and again. The host's session is followed anew
/// each time, as one that was there before, and nothing is held against it.
#[test]
fn clearing_all_on_a_host_follows_what_is_there() -> Result<()> {
    let (pair, probe) = quiet_pair()?;
    probe.run(&["attach", "-i", "s0", "s1"])?;
    ensure!(probe.stat(&[])?["source"]["attached_mid_traffic"] == false);
    let mut times = 0;
    busy(&pair, 20, || {
        if times > 0 {
            // The second subflow has come by now.
            pair.wait_for(&pair.server, "MPJoinAckRx", 1)?;
        }
        times += 1;
        probe.stat(&["-clearstats", "full"])?;
        let found = sessions(&probe)?;
        ensure!(
            found.len() == 1 && found[0]["before_probe"] == true,
            "{found:?}"
        );
        let stat = probe.stat(&[])?;
        ensure!(stat["source"]["attached_mid_traffic"] == true);
        for (row, wanted) in [
            ("CurSess", 1),
            ("TotSess", 0),
            ("SessNoSF", 0),
            ("PendSF", 0),
        ] {
            ensure!(
                total(&stat, row)? == wanted,
                "{row}: {}",
                total(&stat, row)?
            );
        }
        ensure!(
            times < 3 || total(&stat, "CurSF")? == 2,
            "{}",
            total(&stat, "CurSF")?
        );
        for row in [
            "OptSesEr", "PktSfEr", "TokenEr", "NomapEr", "BadMapEr", "SfnEr", "InMapEr", "InMACEr",
            "CookieEr", "TotFB", "TotPArst", "OptRstEr", "MrDataEr", "FCRcvEr", "REMEr",
        ] {
            ensure!(total(&stat, row)? == 0, "{row}: {}", total(&stat, row)?);
        }
        ensure!(stat["source"]["state_loss"] == 0, "{stat}");
        Ok(())
    })?;
    pair.settle()?;
    ensure!(sessions(&probe)?.is_empty());
    let stat = probe.stat(&[])?;
    for (row, wanted) in [
        ("CurSess", 0),
        ("CurSF", 0),
        ("TxFin", 1),
        ("RxFin", 1),
        ("SfFin", 2),
    ] {
        ensure!(
            total(&stat, row)? == wanted,
            "{row}: {}",
            total(&stat, row)?
        );
    }
    // And one that begins now is like any other.
    session(&pair)?;
    ensure!(total(&probe.stat(&[])?, "TotSess")? == 1);
    check_filter(&probe, &pair.server)
}

/// A middlebox has nobody to ask: its tables are empty, keys and all, and it follows what begins then.
#[test]
fn clearing_all_on_a_middlebox_leaves_nothing() -> Result<()> {
    let (pair, router) = Pair::routed()?;
    let probe = Probe::new(&router);
    probe.run(&["attach", "-i", "r0", "r1", "--role", "middlebox"])?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 50_000)?;
    ensure!(sessions(&probe)?.len() == 1);
    let keys = || -> Result<bool> {
        let keys = dump(&probe, &router, "keys")?;
        Ok(keys.iter().flatten().any(|byte| *byte != 0))
    };
    ensure!(keys()?, "no keys before");
    probe.stat(&["-clearstats", "full"])?;
    ensure!(!keys()?, "keys are left");
    ensure!(sessions(&probe)?.is_empty());
    transfer(&client, &server, 50_000)?;
    let stat = probe.stat(&[])?;
    for row in [
        "CurSess", "CurSF", "SessNoSF", "PendSF", "NomapEr", "OptSesEr",
    ] {
        ensure!(total(&stat, row)? == 0, "{row}: {}", total(&stat, row)?);
    }
    let (next, next_server) = pair.connect()?;
    transfer(&next, &next_server, 50_000)?;
    let stat = probe.stat(&[])?;
    ensure!(total(&stat, "CurSess")? == 1 && total(&stat, "TotSess")? == 1);
    close(client, server)?;
    close(next, next_server)?;
    pair.settle()?;
    ensure!(sessions(&probe)?.is_empty());
    check_filter(&probe, &router)
}

/// The values of a pinned table, as bytes.
fn dump(probe: &Probe, namespace: &Namespace, table: &str) -> Result<Vec<Vec<u8>>> {
    let number = fs::metadata(format!("/run/netns/{}", namespace.name()))?.ino();
    let pin = probe.pins().join(format!("v1/{number}/tables/{table}"));
    let text = output(
        Command::new("bpftool")
            .args(["-j", "map", "dump", "pinned"])
            .arg(&pin),
    )?;
    let entries: Value = serde_json::from_str(&text)?;
    let entries = entries.as_array().context("no entries")?;
    let byte = |byte: &Value| -> Result<u8> {
        let digits = byte.as_str().and_then(|text| text.strip_prefix("0x"));
        Ok(u8::from_str_radix(digits.context("no byte")?, 16)?)
    };
    entries
        .iter()
        .map(|entry| {
            let bytes = entry["value"].as_array().context("no value")?;
            bytes.iter().map(byte).collect()
        })
        .collect()
}

/// Fails unless the filter says how many tags there are, cell by cell.
fn check_filter(probe: &Probe, namespace: &Namespace) -> Result<()> {
    let mut words = Vec::new();
    for table in ["handshake-tags", "subflow-tags"] {
        for bucket in dump(probe, namespace, table)? {
            let places = bucket
                .as_chunks()
                .0
                .iter()
                .map(|word| u64::from_ne_bytes(*word));
            words.extend(places.take(BUCKET_SLOTS as usize));
        }
    }
    let cells = dump(probe, namespace, "filter")?.concat();
    tables::check_cells(&cells, words.into_iter())
}
