//! `cargo xtask demo`: a real MPTCP session of two subflows, counted and captured.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use mptcp_testkit::{
    net::{Namespace, SERVER_INTERFACES},
    probe::Probe,
    process::Running,
};
use serde_json::Value;

use crate::{
    network::Network,
    setup,
    shell::{self, show},
};

const BYTES: usize = 1_000_000;

pub(crate) fn run() -> Result<()> {
    if shell::became_root("the demo makes network namespaces and loads eBPF programs, which")? {
        return Ok(());
    }
    setup::run(false)?;
    let binary = shell::release_binary()?;
    demonstrate(&shell::target(), &binary)
}

fn demonstrate(directory: &Path, binary: &Path) -> Result<()> {
    let network = Network::new()?;
    let probe = Probe::of(binary, network.server());
    eprintln!(
        "==> two hosts on this machine, {} and {}",
        network.client().name(),
        network.server().name()
    );
    let [first, second] = SERVER_INTERFACES;
    show(&mut probe.command(&["attach", "--xdp", "native", "-i", first, second]))?;

    // At the client's ends of the wires: behind the probe, the server's stack merges packets.
    let mut captures = Vec::new();
    for i in 0..2 {
        let path = directory.join(format!("demo-c{i}.pcap"));
        // An earlier demo's would look as if the capture had begun.
        let _ = fs::remove_file(&path);
        let mut command = network.client().command("tcpdump");
        command.args([
            "-i",
            &format!("c{i}"),
            "-s",
            "128",
            "-U",
            "--immediate-mode",
            "-B",
            "16384",
            "-w",
        ]);
        command.arg(&path).arg("tcp").stderr(Stdio::null());
        captures.push((Running::start(&mut command)?, path));
    }
    for (_, path) in &captures {
        wait_for(path)?;
    }
    eprintln!("==> {BYTES} bytes over MPTCP, the second subflow joins on the way");
    network.transfer(BYTES)?;
    // The last segments of the subflows' ends.
    thread::sleep(Duration::from_millis(500));
    let mut seen = Seen::default();
    for (capture, path) in &mut captures {
        capture.interrupt()?;
        seen.add(path)?;
    }

    let mibs = run_in(network.server(), "cat", "/proc/net/netstat")?;
    show(&mut probe.command(&["stat", "--full-values"]))?;
    let stat: Value = serde_json::from_str(&shell::run(
        &mut probe.command(&["stat", "--output", "json"]),
    )?)?;
    show(&mut probe.command(&["detach", "-i", first, second]))?;
    compare(&stat, &seen)?;
    // What the server's kernel says of its sessions.
    ensure!(
        mib(&mibs, "MPCapableSYNRX") == Some(1) && mib(&mibs, "MPJoinAckRx") == Some(1),
        "the kernel counts another number of sessions or subflows"
    );
    println!("\none session, two subflows; probe, capture and kernel agree");
    Ok(())
}

/// Runs a program in a namespace.
fn run_in(namespace: &Namespace, program: &str, argument: &str) -> Result<String> {
    shell::run(namespace.command(program).arg(argument))
}

/// A counter of the kernel's MPTCP, from /proc/net/netstat.
fn mib(netstat: &str, name: &str) -> Option<u64> {
    let mut lines = netstat.lines().filter(|line| line.starts_with("MPTcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let (_, value) = names
        .split_whitespace()
        .zip(values.split_whitespace())
        .find(|(known, _)| *known == name)?;
    value.parse().ok()
}

/// A capture has begun when its file has a header.
fn wait_for(path: &Path) -> Result<()> {
    for _ in 0..250 {
        if path.metadata().is_ok_and(|data| data.len() >= 24) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    bail!("tcpdump does not start to write {}", path.display())
}

/// What tcpdump says of its captures: options by subtype, received and sent by the server.
#[derive(Debug, Default)]
struct Seen {
    rx: Options,
    tx: Options,
}

#[derive(Debug, Default)]
struct Options {
    capable: u64,
    join: u64,
    dss: u64,
}

impl Seen {
    fn add(&mut self, capture: &Path) -> Result<()> {
        let text = shell::run(Command::new("tcpdump").args(["-nn", "-r"]).arg(capture))?;
        for line in text.lines() {
            let to_server = line
                .split(" > ")
                .nth(1)
                .is_some_and(|to| to.contains(".2.5000:"));
            let options = if to_server {
                &mut self.rx
            } else {
                &mut self.tx
            };
            // "mptcp 12 dss ack 5": a length and a name.
            for option in line.split("mptcp ").skip(1) {
                match option.split_whitespace().nth(1) {
                    Some("capable") => options.capable += 1,
                    Some("join") => options.join += 1,
                    Some("dss") => options.dss += 1,
                    // "capable[bad opt]": tcpdump 4.99 does not know every form.
                    Some(name) if name.starts_with("capable") => options.capable += 1,
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

fn compare(stat: &Value, seen: &Seen) -> Result<()> {
    let total = |row: &str| stat["counters"][row]["total"].as_u64();
    ensure!(
        total("MPSYN") == Some(1) && total("JoinSYN") == Some(1),
        "one session of two subflows was expected"
    );
    println!("\n{:24} {:>8} {:>8}", "", "probe", "tcpdump");
    let mut differ = false;
    for (direction, options) in [("rx", &seen.rx), ("tx", &seen.tx)] {
        for (name, seen) in [
            ("MP_CAPABLE", options.capable),
            ("MP_JOIN", options.join),
            ("DSS", options.dss),
        ] {
            let counted = stat["options"][direction][name]
                .as_u64()
                .context("no such option")?;
            println!(
                "{:24} {counted:>8} {seen:>8}",
                format!("{name} {direction}")
            );
            differ |= counted != seen;
        }
    }
    ensure!(!differ, "the probe and tcpdump do not agree");
    Ok(())
}
