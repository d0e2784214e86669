//! Readers notice what becomes of their probe: it is replaced, detached, attached anew, half made, counts one direction
//! only, or moves away with its interface. They say so, and go on with what there is.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    net::{Attached as _, Family, Namespace, Pair, close, output, outputs, transfer, wait_until},
    probe::{Probe, total},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use socket2::Socket;

/// A command that runs on, and what it has printed.
struct Running {
    child: Child,
    directory: tempfile::TempDir,
}

impl Running {
    fn start(probe: &Probe, arguments: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let file = |name| File::create(directory.path().join(name));
        let child = probe
            .command(arguments)
            .stdout(file("out")?)
            .stderr(file("err")?)
            .spawn()?;
        Ok(Self { child, directory })
    }

    fn out(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("out"))?)
    }

    fn said(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("err"))?)
    }

    /// Waits until it has said this.
    fn wait_for(&self, text: &str) -> Result<()> {
        wait_until(|| Ok(self.said()?.contains(text)))
            .with_context(|| format!("no {text:?} in {:?}", self.said()))
    }

    /// The displays until now, whole ones.
    fn displays(&self) -> Result<Vec<Value>> {
        let out = self.out()?;
        let whole = out.rfind('\n').map_or(0, |end| end + 1);
        let lines = out[..whole].lines();
        Ok(lines.map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    /// Waits until the last display has this total.
    fn wait_for_total(&self, row: &str, wanted: u64) -> Result<()> {
        wait_until(|| match self.displays()?.last() {
            Some(display) => Ok(total(display, row)? == wanted),
            None => Ok(false),
        })
        .with_context(|| format!("{row} is not {wanted}; said: {:?}", self.said()))
    }

    /// Interrupts it; it has to end well.
    fn interrupt(&mut self) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}: {}", self.said()?);
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The pin directory of an interface.
fn directory(probe: &Probe, namespace: &Namespace, interface: &str) -> Result<PathBuf> {
    let inode = fs::metadata(format!("/run/netns/{}", namespace.name()))?.ino();
    let links: Value = serde_json::from_str(&namespace.ip(&format!("-j link show {interface}"))?)?;
    let index = links[0]["ifindex"].as_u64().context("no ifindex")?;
    Ok(probe.pins().join(format!("v1/{inode}/if/{index}")))
}

/// A session of its own.
fn session(pair: &Pair) -> Result<()> {
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 10_000)?;
    close(client, server)
}

/// An interface's part of `status`.
fn state(probe: &Probe, name: &str) -> Result<Value> {
    let status = probe.status()?;
    let all = status["interfaces"].as_array().context("no interfaces")?;
    let one = all.iter().find(|one| one["name"] == name);
    Ok(one
        .with_context(|| format!("no {name} in {status}"))?
        .clone())
}

#[test]
fn a_half_made_probe_hides_no_other() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "s1"])?;
    session(&pair)?;
    // As `attach` leaves it that is killed after its first pin.
    let half = directory(&probe, &pair.server, "s1")?;
    for pin in fs::read_dir(&half)? {
        let pin = pin?;
        if pin.file_name() != "counters" {
            fs::remove_file(pin.path())?;
        }
    }
    let (out, said) = outputs(&mut probe.command(&["stat", "--output", "json"]))?;
    ensure!(total(&serde_json::from_str(&out)?, "MPSYN")? == 1, "{out}");
    ensure!(
        said.contains("the probe on s1 is not whole")
            && said.contains("next: mptcp-user attach -i s1 again, or detach -i s1"),
        "{said}"
    );
    for arguments in [
        &["sessions"][..],
        &["record", "-o", "-", "--ntimes", "1"],
        &["stat", "-i", "s0"],
        &["stat", "-i", "s0", "s1"],
        &["attach", "-i", "s0"],
    ] {
        let (_, said) = outputs(&mut probe.command(arguments))?;
        ensure!(!said.contains("not followed"), "{said}");
    }
    let said = probe.fails(1, &["stat", "-i", "s1"])?;
    ensure!(said.contains("not whole"), "{said}");
    ensure!(state(&probe, "s1")?["state"] == "unreadable");
    let status = probe.run(&["status"])?;
    ensure!(
        status.contains("mptcp-user attach -i s1 again, or mptcp-user detach -i s1"),
        "{status}"
    );
    probe.run(&["attach", "-i", "s1"])?;
    let (_, said) = outputs(&mut probe.command(&["stat"]))?;
    ensure!(!said.contains("not whole"), "{said}");
    Ok(())
}

#[test]
fn one_direction_alone_is_told() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "--xdp", "off"])?;
    let (_, said) = outputs(&mut probe.command(&["stat"]))?;
    ensure!(!said.contains("incomplete"), "{said}");
    let pins = directory(&probe, &pair.server, "s0")?;
    // What `attach` attaches last is what it leaves out when it is killed.
    for (pin, missing, counted) in [
        ("tcx", "goes out", "comes in"),
        ("tcx-ingress", "comes in", "goes out"),
    ] {
        fs::remove_file(pins.join(pin))?;
        wait_until(|| Ok(pair.server.programs("s0")?.len() == 1))?;
        let sentence = format!("what {missing} is not counted");
        let (_, said) = outputs(&mut probe.command(&["stat"]))?;
        ensure!(
            said.contains("the probe on s0 is incomplete")
                && said.contains(&sentence)
                && said.contains(&format!("what {counted} is"))
                && said.contains("next: mptcp-user attach -i s0 again"),
            "{said}"
        );
        let now = state(&probe, "s0")?;
        ensure!(
            now["state"] == "incomplete" && now["reason"] == sentence.as_str(),
            "{now}"
        );
        ensure!(probe.run(&["status"])?.contains(&sentence));
        probe.run(&["attach", "-i", "s0", "--xdp", "off"])?;
        let (_, said) = outputs(&mut probe.command(&["stat"]))?;
        ensure!(!said.contains("incomplete"), "{said}");
    }
    Ok(())
}

/// Rates are those of seconds with a few packets.
fn are_rates_sound(displays: &[Value]) -> Result<()> {
    for display in displays {
        for row in ["MPSYN", "DSSrcv", "DSSsnd"] {
            let Some(rate) = display["counters"][row]["rate"].as_f64() else {
                continue;
            };
            ensure!(
                (0.0..100_000.0).contains(&rate),
                "{row}: {rate} in {display}"
            );
        }
    }
    Ok(())
}

#[test]
fn displays_go_on_with_the_probe_that_is_there() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0"])?;
    let arguments = [
        "stat",
        "--ntimes",
        "0",
        "--interval",
        "1s",
        "--output",
        "jsonl",
    ];
    let mut stat = Running::start(&probe, &arguments)?;
    let arguments = ["record", "-o", "-", "--interval", "1s"];
    let mut record = Running::start(&probe, &arguments)?;
    for _ in 0..3 {
        session(&pair)?;
    }
    stat.wait_for_total("MPSYN", 3)?;
    ensure!(stat.said()?.is_empty(), "{}", stat.said()?);
    probe.run(&["attach", "-i", "s0"])?;
    for reader in [&stat, &record] {
        reader.wait_for("the programs on s0 were replaced by another attach; counts go on")?;
    }
    stat.wait_for_total("MPSYN", 3)?;
    probe.run(&["attach", "-i", "s1"])?;
    stat.wait_for("s1 has a probe now")?;
    probe.run(&["detach", "-i", "s1"])?;
    stat.wait_for("the probe on s1 was detached")?;
    probe.run(&["detach", "-i", "s0"])?;
    for reader in [&stat, &record] {
        reader.wait_for("no probe is attached")?;
    }
    probe.run(&["attach", "-i", "s0"])?;
    for reader in [&stat, &record] {
        reader.wait_for("the probe on s0 was detached and attached anew")?;
    }
    session(&pair)?;
    stat.wait_for_total("MPSYN", 1)?;
    // At once, so that no reading falls in between.
    probe.run(&["detach", "-i", "s0"])?;
    probe.run(&["attach", "-i", "s0"])?;
    stat.wait_for_total("MPSYN", 0)?;
    are_rates_sound(&stat.displays()?)?;
    stat.interrupt()?;
    record.interrupt()
}

#[test]
fn a_display_of_a_probe_that_is_gone_fails_in_the_end() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "s1"])?;
    for arguments in [&[][..], &["-i", "s0"]] {
        let all = [
            &[
                "stat",
                "--ntimes",
                "2",
                "--interval",
                "2s",
                "--output",
                "jsonl",
            ],
            arguments,
        ]
        .concat();
        let mut stat = Running::start(&probe, &all)?;
        wait_until(|| Ok(stat.displays()?.len() == 1))?;
        probe.run(&["detach", "--all"])?;
        let status = stat.child.wait()?;
        ensure!(status.code() == Some(1), "{status}");
        let said = stat.said()?;
        ensure!(
            said.contains("no probe") && said.contains("next: "),
            "{said}"
        );
        probe.run(&["attach", "-i", "s0", "s1"])?;
    }
    Ok(())
}

#[test]
fn events_go_over_to_the_tables_that_are_there() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0"])?;
    let mut events = Running::start(&probe, &["events"])?;
    // Until it has locked the ring.
    wait_until(|| {
        let locks = fs::read_to_string("/proc/locks")?;
        let pid = events.child.id().to_string();
        let mut locks = locks.lines();
        Ok(locks.any(|lock| lock.split_whitespace().nth(4) == Some(&pid)))
    })?;
    let created = |wanted| {
        wait_until(|| Ok(events.out()?.matches("session created").count() == wanted)).with_context(
            || {
                format!(
                    "not {wanted} sessions: {:?} {:?}",
                    events.out(),
                    events.said()
                )
            },
        )
    };
    session(&pair)?;
    created(1)?;
    probe.run(&["detach", "-i", "s0"])?;
    events.wait_for("the probes were detached")?;
    probe.run(&["attach", "-i", "s0"])?;
    // At once: the ring keeps it.
    session(&pair)?;
    created(2)?;
    events.wait_for("attached anew")?;
    // The programs are replaced, and the ring stays.
    probe.run(&["attach", "-i", "s0"])?;
    session(&pair)?;
    created(3)?;
    // So soon that nobody has looked in between.
    probe.run(&["detach", "-i", "s0"])?;
    probe.run(&["attach", "-i", "s0"])?;
    session(&pair)?;
    created(4)?;
    // Whoever takes the new ring has it.
    events.interrupt()
}

#[test]
fn an_interface_that_moved_keeps_its_name() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    let elsewhere = Namespace::new("moved")?;
    probe.run(&["attach", "-i", "s0", "s1"])?;
    session(&pair)?;
    pair.server
        .ip(&format!("link set s0 netns {}", elsewhere.name()))?;
    let moved = state(&probe, "s0")?;
    ensure!(
        moved["state"] == "moved"
            && moved["programs"]
                .as_array()
                .is_some_and(|all| !all.is_empty())
            && moved["reason"]
                .as_str()
                .is_some_and(|reason| reason.contains("another network namespace")),
        "{moved}"
    );
    let text = probe.run(&["status"])?;
    ensure!(
        text.contains("s0 is moved: the interface is in another network namespace now")
            && text.contains("next: mptcp-user detach -i s0"),
        "{text}"
    );
    let (_, said) = outputs(&mut probe.command(&["stat"]))?;
    ensure!(
        said.contains("s0 is in another network namespace now"),
        "{said}"
    );
    ensure!(!elsewhere.programs("s0")?.is_empty());
    probe.run(&["detach", "-i", "s0"])?;
    wait_until(|| Ok(elsewhere.programs("s0")?.is_empty()))?;
    Ok(())
}

/// Opens more sessions at once than a table has room for.
fn crowd(pair: &Pair) -> Result<Vec<(Socket, Socket)>> {
    (0..100).map(|_| pair.connect()).collect()
}

#[test]
fn what_is_lost_is_said_in_words() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "--max-sessions", "16"])?;
    session(&pair)?;
    let lost = |stat: &Value| stat["probe"]["lost"].as_array().cloned().context("no lost");
    ensure!(lost(&probe.stat(&[])?)?.is_empty());
    ensure!(!probe.run(&["stat"])?.contains("Lost:"));
    ensure!(!probe.run(&["status"])?.contains("Lost on"));
    let sockets = crowd(&pair)?;
    let stat = probe.stat(&[])?;
    let count = stat["extra"]["LostSessions"]
        .as_u64()
        .context("no number")?;
    ensure!(count > 0, "nothing was lost");
    let lost = lost(&stat)?;
    let sessions = lost.iter().find(|one| one["what"] == "LostSessions");
    let sessions = sessions.with_context(|| format!("{lost:?}"))?;
    ensure!(
        sessions["count"] == count && sessions["since"] == stat["source"]["since"],
        "{sessions}"
    );
    let said = format!("{count} sessions found no room since ");
    let text = probe.run(&["stat"])?;
    let (heading, _) = text.split_once("Rate (/s)").context("no table")?;
    let line = heading.lines().find(|line| line.starts_with("Lost: "));
    let line = line.with_context(|| heading.to_owned())?;
    ensure!(
        line.contains(&said) && line.contains("next: mptcp-user attach ... --max-sessions N"),
        "{line}"
    );
    let status = probe.run(&["status"])?;
    ensure!(status.contains(&format!("Lost on s0: {said}")), "{status}");
    ensure!(state(&probe, "s0")?["lost"][0]["count"] == count);
    drop(sockets);
    Ok(())
}

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
