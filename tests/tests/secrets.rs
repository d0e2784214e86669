//! Keys of sessions are wiped when nobody needs them any more.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    net::{Family, Pair, close, output, transfer},
    probe::{Probe, total},
    running::directory,
};
use serde_json::Value;

/// How many entries of a pinned map of keys are not 0.
fn keys(path: &Path) -> Result<usize> {
    let mut dump = Command::new("bpftool");
    dump.args(["--json", "map", "dump", "pinned"]).arg(path);
    let entries: Value = serde_json::from_str(&output(&mut dump)?)?;
    let entries = entries.as_array().context("no entries")?;
    let is_zero = |entry: &Value| {
        let value = entry["value"].as_array();
        value.is_some_and(|bytes| bytes.iter().all(|byte| byte == "0x00"))
    };
    Ok(entries.iter().filter(|entry| !is_zero(entry)).count())
}

/// The pin of the keys of an interface's namespace.
fn pin_of_keys(probe: &Probe, pair: &Pair) -> Result<PathBuf> {
    let interface = directory(probe, &pair.server, "s0")?;
    Ok(interface.join("../../tables/keys"))
}

#[test]
fn keys_of_sessions_whose_time_is_over_are_wiped() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "--idle-timeout", "3s"])?;
    let pin = pin_of_keys(&probe, &pair)?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 10_000)?;
    probe.run(&["stat"])?;
    ensure!(keys(&pin)? == 1, "the keys of a session that lives");
    thread::sleep(Duration::from_secs(4));
    ensure!(keys(&pin)? == 1, "nobody has looked");
    let before = probe.stat(&[])?;
    ensure!(keys(&pin)? == 0, "the keys are there");
    // Its entry is still that of the session, which goes on.
    transfer(&client, &server, 10_000)?;
    pair.settle()?;
    let after = probe.stat(&[])?;
    ensure!(
        total(&after, "DSSrcv")? > total(&before, "DSSrcv")?
            && after["extra"]["UnknownFlow"] == before["extra"]["UnknownFlow"]
            && total(&after, "CurSess")? == 1,
        "{after}"
    );
    close(client, server)
}

#[test]
fn clearing_wipes_keys() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "--idle-timeout", "3s"])?;
    let pin = pin_of_keys(&probe, &pair)?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 10_000)?;
    thread::sleep(Duration::from_secs(4));
    // One that is over, and one that lives.
    let (second, other) = pair.connect()?;
    transfer(&second, &other, 10_000)?;
    ensure!(keys(&pin)? == 2, "nobody has looked");
    probe.run(&["stat", "-clearstats", "full"])?;
    ensure!(keys(&pin)? == 0, "the keys are there");
    close(client, server)?;
    close(second, other)
}

#[test]
fn detach_wipes_keys() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "s1"])?;
    let pin = pin_of_keys(&probe, &pair)?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 10_000)?;
    ensure!(keys(&pin)? == 1, "the keys of a session that lives");
    // The map is still there when it is not the probe's any more, as memory is that the kernel hands on.
    let mut held = Vec::new();
    for name in ["keys", "handshakes"] {
        let other = format!("/sys/fs/bpf/mptcp-held-{}-{name}", std::process::id());
        let mut pinned = Command::new("bpftool");
        pinned.args(["map", "pin", "pinned"]);
        output(pinned.arg(pin.with_file_name(name)).arg(&other))?;
        held.push(Held(other.into()));
    }
    probe.run(&["detach", "-i", "s1"])?;
    ensure!(keys(&held[0].0)? == 1, "the other probe's keys are gone");
    probe.run(&["detach", "-i", "s0"])?;
    for map in &held {
        ensure!(keys(&map.0)? == 0, "{} holds something", map.0.display());
    }
    close(client, server)
}

/// A pin, removed when dropped.
struct Held(PathBuf);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
