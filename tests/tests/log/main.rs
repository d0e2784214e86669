//! Logs: what `mptcp-user record` writes is what the probe said then, whatever comes in between.

mod crafted;
mod recorder;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    files::Directory,
    net::{Family, Namespace, Pair, close, output, outputs, session, wait, wait_until},
    probe::{Probe, binary, command, failure, total, unread},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// A namespace with a probed veth pair, p0-p1.
fn one_link() -> Result<(Namespace, Probe)> {
    let namespace = Namespace::new("log")?;
    namespace.ip("link add p0 up type veth peer name p1")?;
    namespace.ip("link set p1 up")?;
    let probe = Probe::new(&namespace);
    probe.run(&["attach", "-i", "p0"])?;
    Ok((namespace, probe))
}

/// Two hosts, and the probe of the server.
fn hosts() -> Result<(Pair, Probe)> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "s1"])?;
    Ok((pair, probe))
}

/// One reading.
fn record(probe: &Probe, log: &str) -> Result<()> {
    probe.run(&["record", "-o", log, "--ntimes", "1"]).map(drop)
}

/// `mptcp-user stat -logFile`, and what it says besides.
fn read(log: &str, arguments: &[&str]) -> Result<(String, String)> {
    outputs(command(&["stat", "-logFile", log]).args(arguments))
}

/// One display.
fn display(log: &str, arguments: &[&str]) -> Result<Value> {
    let (text, said) = read(log, &[&["--output", "json"], arguments].concat())?;
    ensure!(said.is_empty(), "{said}");
    Ok(serde_json::from_str(&text)?)
}

/// All displays.
fn displays(log: &str, arguments: &[&str]) -> Result<Vec<Value>> {
    displayed(log, arguments).map(|(displays, _)| displays)
}

/// All displays, and what is said besides.
fn displayed(log: &str, arguments: &[&str]) -> Result<(Vec<Value>, String)> {
    let all = [&["-ntimes", "0", "--output", "jsonl"], arguments].concat();
    let (text, said) = read(log, &all)?;
    let displays: Result<_, _> = text.lines().map(serde_json::from_str).collect();
    Ok((displays?, said))
}

fn rate(stat: &Value, row: &str) -> Result<f64> {
    let rate = &stat["counters"][row]["rate"];
    rate.as_f64()
        .with_context(|| format!("the rate of {row} is {rate}"))
}

/// Seconds of a day.
fn seconds(time: &Value) -> Result<f64> {
    let text = time.as_str().context("no time")?;
    let (_, clock) = text.trim_end_matches('Z').split_once('T').context("no T")?;
    clock
        .split(':')
        .try_fold(0.0, |sum, part| Ok(sum * 60.0 + part.parse::<f64>()?))
}

/// Is the rate of a row this many in these seconds, as far as three decimals tell?
fn is_rate(stat: &Value, row: &str, count: f64, seconds: f64) -> Result<()> {
    let rate = rate(stat, row)?;
    // Midnight.
    let seconds = seconds.rem_euclid(86400.0);
    ensure!(
        (rate - count / seconds).abs() < 0.002,
        "{row}: {rate} and not {count} in {seconds} s"
    );
    Ok(())
}

#[test]
fn a_log_says_what_the_probe_said() -> Result<()> {
    let (pair, probe) = hosts()?;
    let directory = Directory::new()?;
    let log = directory.file("log");
    session(&pair)?;
    record(&probe, &log)?;
    let before = total(&probe.stat(&[])?, "DSSrcv")?;
    pair.every_option(30_000)?;
    pair.settle()?;
    record(&probe, &log)?;
    let live = probe.stat(&[])?;
    let read = display(&log, &[])?;
    for part in ["options", "invalid_options", "events", "extra", "probe"] {
        ensure!(live[part] == read[part], "{part}:\n{live:#}\n{read:#}");
    }
    for part in [
        "interfaces",
        "role",
        "since",
        "frames",
        "attached_mid_traffic",
        "state_loss",
    ] {
        ensure!(live["source"][part] == read["source"][part], "{part}");
    }
    ensure!(read["source"]["kind"] == "log");
    for (short, counter) in live["counters"].as_object().context("no counters")? {
        for part in ["total", "quality"] {
            ensure!(counter[part] == read["counters"][short][part], "{short}");
        }
    }
    // Rates are by the recorded times: over the log, and step by step since counting began.
    let steps = displays(&log, &[])?;
    ensure!(steps.len() == 2);
    let (began, first, second) = (
        seconds(&steps[0]["source"]["since"])?,
        seconds(&steps[0]["time"])?,
        seconds(&steps[1]["time"])?,
    );
    let gain = (total(&read, "DSSrcv")? - before) as f64;
    is_rate(&read, "DSSrcv", gain, second - first)?;
    is_rate(&steps[1], "DSSrcv", gain, second - first)?;
    // Two probes, which began one after the other, so that this is a little more.
    let first_rate = rate(&steps[0], "DSSrcv")?;
    ensure!(first_rate >= before as f64 / (first - began).rem_euclid(86400.0) - 0.002);
    // One interface alone is as it was alone.
    let (live, read) = (probe.stat(&["-i", "s1"])?, display(&log, &["-i", "s1"])?);
    ensure!(live["events"] == read["events"] && total(&read, "DSSrcv")? > 0);
    ensure!(live["source"]["interfaces"] == read["source"]["interfaces"]);

    // Compressed, and from standard input.
    for (program, name) in [
        ("gzip", "log.gz"),
        ("zstd", "log.zst"),
        ("xz", "log.xz"),
        ("bzip2", "log.bz2"),
        ("lz4", "log.lz4"),
    ] {
        let copy = directory.file(name);
        output(Command::new("sh").args(["-c", &format!("{program} -c {log} > {copy}")]))?;
        ensure!(display(&copy, &[])?["events"] == display(&log, &[])?["events"]);
    }
    let piped = output(Command::new("sh").args([
        "-c",
        &format!(
            "cat {log} | {} stat -logFile - --output json",
            binary().display()
        ),
    ]))?;
    ensure!(serde_json::from_str::<Value>(&piped)?["events"] == display(&log, &[])?["events"]);

    // Tokens of the sessions stand for their keys' hashes; nothing of either is in the file.
    let (client, server) = pair.connect()?;
    record(&probe, &log)?;
    let sessions: Value = serde_json::from_str(&probe.run(&["sessions", "--output", "json"])?)?;
    let token = sessions["sessions"][0]["listener_token"]
        .as_str()
        .context("no token")?
        .to_owned();
    let text = fs::read_to_string(&log)?;
    ensure!(
        !text.contains(&token) && !text.contains("10.78."),
        "{token}"
    );
    close(client, server)
}

#[test]
fn readings_are_chosen_by_time_and_step() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    let directory = Directory::new()?;
    let log = directory.file("log");
    probe.run(&["record", "-o", &log, "--ntimes", "12", "--interval", "50ms"])?;
    let all = displays(&log, &[])?;
    ensure!(all.len() == 12);
    let times: Vec<_> = all
        .iter()
        .map(|stat| stat["time"].as_str().unwrap_or_default())
        .collect();
    let chosen = displays(&log, &["--since", times[3], "--until", times[8]])?;
    ensure!(chosen == all[3..=8], "{chosen:?}");
    let last = display(&log, &["--until", times[8]])?;
    ensure!(last["time"] == times[8]);
    let (text, _) = read(&log, &["-ntimes", "3", "--output", "jsonl"])?;
    ensure!(text.lines().count() == 3);
    // Every third reading, give or take one.
    let coarse = displays(&log, &["--interval", "150ms"])?;
    ensure!((3..=5).contains(&coarse.len()), "{}", coarse.len());
    for pair in coarse.windows(2) {
        let apart = seconds(&pair[1]["time"])? - seconds(&pair[0]["time"])?;
        ensure!(apart.rem_euclid(86400.0) >= 0.15, "{apart}");
    }
    for (arguments, code) in [
        (&["--since", "2999-01-01"][..], 1),
        (&["-i", "nope0"], 1),
        (&["--since", "yesterday"], 2),
        (&["--role", "host"], 2),
        (&["-clearstats", "basic"], 2),
        (&["-ntimes", "2", "--output", "json"], 2),
    ] {
        failure(code, command(&["stat", "-logFile", &log]).args(arguments))?;
    }
    // What a log says is counted already.
    for option in [
        &["--role", "host"][..],
        &["--v1-only"],
        &["--max-sessions", "100"],
        &["--limit-subflows", "2"],
    ] {
        for which in [
            &["stat", "-logFile", &log][..],
            &["report", "-o", "-", &log],
        ] {
            let said = failure(2, command(which).args(option))?;
            ensure!(
                said.contains("this is a log") && said.contains("next: leave out"),
                "{option:?}: {said}"
            );
            ensure!(said.contains(option[0]), "{option:?}: {said}");
        }
    }
    Ok(())
}

#[test]
fn a_restart_of_counters_is_no_jump() -> Result<()> {
    let (pair, probe) = hosts()?;
    let directory = Directory::new()?;
    let log = directory.file("log");
    let sessions = |count: usize| (0..count).try_for_each(|_| session(&pair));
    sessions(3)?;
    record(&probe, &log)?;
    // Cleared: what came before and after it counts.
    sessions(1)?;
    probe.run(&["stat", "-clearstats", "full"])?;
    sessions(1)?;
    record(&probe, &log)?;
    // Another probe, which counts more than was counted before.
    probe.run(&["detach", "-i", "s0", "s1"])?;
    probe.run(&["attach", "-i", "s0"])?;
    sessions(6)?;
    record(&probe, &log)?;
    sessions(1)?;
    record(&probe, &log)?;
    // A middlebox's counts are not added to a host's.
    probe.run(&["detach", "-i", "s0"])?;
    probe.run(&["attach", "-i", "s0", "--role", "middlebox"])?;
    sessions(1)?;
    record(&probe, &log)?;

    let steps = displays(&log, &[])?;
    let totals: Vec<_> = steps
        .iter()
        .map(|stat| total(stat, "MPSYN"))
        .collect::<Result<_>>()?;
    ensure!(totals == [3, 1, 6, 7, 1], "{totals:?}");
    let at = |step: usize| seconds(&steps[step]["time"]);
    let since = |step: usize| seconds(&steps[step]["source"]["since"]);
    is_rate(&steps[1], "MPSYN", 2.0, at(1)? - at(0)?)?;
    is_rate(&steps[2], "MPSYN", 6.0, at(2)? - since(2)?)?;
    is_rate(&steps[3], "MPSYN", 1.0, at(3)? - at(2)?)?;
    is_rate(&steps[4], "MPSYN", 1.0, at(4)? - since(4)?)?;
    for stat in &steps {
        for (short, counter) in stat["counters"].as_object().context("no counters")? {
            ensure!(
                counter["rate"].as_f64().is_none_or(|rate| rate >= 0.0),
                "{short}: {counter}"
            );
        }
    }
    // All of a role at once: what was counted, in the time in which something counted.
    let until = steps[3]["time"].as_str().unwrap_or_default();
    let whole = display(&log, &["--until", until])?;
    let counted = at(1)? - at(0)? + (at(3)? - since(3)?);
    // s0 has all of the SYNs; s1 counted none in its own time.
    is_rate(&whole, "MPSYN", 9.0, counted)
}

#[test]
fn a_probe_that_comes_later_counts_from_its_beginning() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    let directory = Directory::new()?;
    let log = directory.file("log");
    probe.run(&["attach", "-i", "s1"])?;
    record(&probe, &log)?;
    probe.run(&["attach", "-i", "s0"])?;
    session(&pair)?;
    record(&probe, &log)?;
    let read = display(&log, &[])?;
    let since = seconds(&display(&log, &["-i", "s0"])?["source"]["since"])?;
    is_rate(&read, "MPSYN", 1.0, seconds(&read["time"])? - since)?;
    // One that was there, and only not recorded, is not known to have counted since.
    fs::remove_file(&log)?;
    probe.run(&["record", "-o", &log, "--ntimes", "1", "-i", "s1"])?;
    record(&probe, &log)?;
    ensure!(rate(&display(&log, &[])?, "MPSYN")? == 0.0);
    Ok(())
}
