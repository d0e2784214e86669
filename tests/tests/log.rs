//! Logs: what `mptcp-user record` writes is what the probe said then, whatever comes in between.

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

/// A recorder that runs.
struct Recorder(Child);

impl Recorder {
    fn start(probe: &Probe, arguments: &[&str]) -> Result<Self> {
        let mut command = probe.command(&[&["record", "--interval", "10ms"], arguments].concat());
        Ok(Self(command.stderr(Stdio::piped()).spawn()?))
    }

    fn end(mut self, signal: Signal) -> Result<std::process::ExitStatus> {
        kill(Pid::from_raw(self.0.id() as i32), signal)?;
        Ok(self.0.wait()?)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a log has so many lines.
fn grown(log: &str, lines: usize) -> Result<()> {
    wait_until(|| Ok(fs::read_to_string(log).is_ok_and(|text| text.lines().count() >= lines)))
}

#[test]
fn it_ends_with_whole_lines_and_survives_being_killed() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    let directory = Directory::new()?;
    let log = directory.file("log");
    let mut lines = 0;
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGKILL,
        Signal::SIGKILL,
    ] {
        let recorder = Recorder::start(&probe, &["-o", &log])?;
        grown(&log, lines + 5)?;
        let status = recorder.end(signal)?;
        ensure!(
            status.success() == (signal != Signal::SIGKILL),
            "{signal}: {status}"
        );
        let text = fs::read_to_string(&log)?;
        ensure!(signal == Signal::SIGKILL || text.ends_with('\n'));
        lines = text.lines().count();
        ensure!(displays(&log, &[])?.len() == lines, "readings were lost");
    }
    // Torn, as when the machine stopped.
    let length = fs::metadata(&log)?.len();
    OpenOptions::new()
        .write(true)
        .open(&log)?
        .set_len(length - 100)?;
    let (steps, said) = displayed(&log, &[])?;
    ensure!(said.contains("torn") && steps.len() == lines - 1, "{said}");
    // What comes behind it is not lost with it.
    record(&probe, &log)?;
    record(&probe, &log)?;
    let (steps, said) = displayed(&log, &[])?;
    ensure!(steps.len() == lines + 1, "{}", steps.len());
    ensure!(
        said.contains("1 lines are no readings") && said.contains(&format!("line {lines}")),
        "{said}"
    );
    ensure!(steps[lines]["source"]["skipped"] == 1);
    Ok(())
}

#[test]
fn a_full_disk_costs_what_did_not_fit_and_nothing_else() -> Result<()> {
    let (namespace, probe) = one_link()?;
    let directory = Directory::new()?;
    let script = "
        mount -t tmpfs -o size=64k tmpfs \"$1\"
        head -c 49152 /dev/zero > \"$1/filler\"
        \"$0\" record -o \"$1/log\" --interval 10ms --netns \"$2\" --pin-dir \"$3\" 2> \"$4/said\" &
        i=0; until grep -q 'No space left' \"$4/said\"; do i=$((i + 1)); test $i -lt 500; sleep 0.02; done
        sleep 0.2
        cp \"$1/log\" \"$4/full\"
        rm \"$1/filler\"
        until grep -q 'recording again' \"$4/said\"; do i=$((i + 1)); test $i -lt 500; sleep 0.02; done
        sleep 0.1
        kill -INT $!; wait $!
        cp \"$1/log\" \"$4/log\"";
    let mount = directory.path().join("mount");
    fs::create_dir(&mount)?;
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-ec", script])
        .arg(binary())
        .arg(&mount);
    output(
        command
            .arg(namespace.name())
            .arg(probe.pins())
            .arg(directory.path()),
    )?;
    let said = fs::read_to_string(directory.path().join("said"))?;
    ensure!(
        said.matches("No space left").count() == 1,
        "told again and again: {said}"
    );
    let readings = |name: &str| -> Result<(usize, String)> {
        let (steps, said) = displayed(&directory.file(name), &[])?;
        Ok((steps.len(), said))
    };
    let full = fs::read_to_string(directory.path().join("full"))?;
    ensure!(!full.ends_with('\n'), "the disk was not full within a line");
    let (before, torn) = readings("full")?;
    ensure!(
        torn.contains("torn") && before == full.lines().count() - 1,
        "{torn}"
    );
    let (after, skipped) = readings("log")?;
    let text = fs::read_to_string(directory.path().join("log"))?;
    ensure!(skipped.contains("1 lines are no readings"), "{skipped}");
    ensure!(
        after == text.lines().count() - 1 && after > before + 2,
        "{before}, then {after}"
    );
    Ok(())
}

#[test]
fn it_rotates_by_size_and_by_age() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    let directory = Directory::new()?;
    let log = directory.file("log");
    let old = |number: u32| directory.file(&format!("log.{number}"));
    let record = |log: &str, rotation: &[&str]| {
        let often = ["record", "-o", log, "--interval", "10ms", "--ntimes", "60"];
        probe.run(&[&often, rotation].concat())
    };
    record(&log, &["--rotate-size", "8K"])?;
    let files: Vec<_> = (1..=9)
        .rev()
        .map(old)
        .filter(|file| Path::new(file).exists())
        .collect();
    ensure!(files.len() >= 2, "{files:?}");
    let mut all = Vec::new();
    for file in files.iter().chain([&log]) {
        ensure!(fs::metadata(file)?.len() <= 8192, "{file}");
        ensure!(fs::metadata(file)?.len() > 4096 || *file == log, "{file}");
        all.extend(fs::read(file)?);
    }
    // One behind the other they are the whole log.
    let whole = directory.write("whole", &all)?;
    let steps = displays(&whole, &[])?;
    ensure!(steps.len() == 60);
    let times: Vec<_> = steps.iter().map(|stat| stat["time"].to_string()).collect();
    ensure!(times.is_sorted());

    // As many as are to be kept.
    record(&log, &["--rotate-age", "100ms", "--keep", "2"])?;
    for file in [&old(1), &old(2)] {
        let steps = displays(file, &[])?;
        let span = seconds(&steps[steps.len() - 1]["time"])? - seconds(&steps[0]["time"])?;
        ensure!(span.rem_euclid(86400.0) < 0.1, "{file} spans {span} s");
    }
    let kept = |number| directory.file(&format!("aged.{number}"));
    let aged = directory.file("aged");
    record(&aged, &["--rotate-age", "100ms", "--keep", "2"])?;
    ensure!(Path::new(&kept(2)).exists() && !Path::new(&kept(3)).exists());

    // Somebody else may rotate.
    let recorder = Recorder::start(&probe, &["-o", &aged])?;
    grown(&aged, 3)?;
    fs::rename(&aged, kept(7))?;
    grown(&aged, 3)?;
    ensure!(recorder.end(Signal::SIGINT)?.success());
    ensure!(displays(&kept(7), &[])?.len() >= 3 && displays(&aged, &[])?.len() >= 3);
    Ok(())
}

#[test]
fn a_probe_that_goes_and_comes_is_waited_for() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    let directory = Directory::new()?;
    let log = directory.file("log");
    let mut recorder = Recorder::start(&probe, &["-o", &log])?;
    grown(&log, 2)?;
    probe.run(&["detach", "-i", "p0"])?;
    let gone = fs::read_to_string(&log)?.lines().count();
    probe.run(&["attach", "-i", "p0", "p1"])?;
    grown(&log, gone + 3)?;
    let stderr = recorder.0.stderr.take();
    ensure!(recorder.end(Signal::SIGINT)?.success());
    let said = io::read_to_string(stderr.context("no standard error")?)?;
    ensure!(said.contains("readings are missing"), "{said}");
    ensure!(said.matches("no probe is attached").count() <= 1, "{said}");
    let last = display(&log, &[])?;
    ensure!(last["source"]["interfaces"].as_array().map(Vec::len) == Some(2));
    Ok(())
}

/// Who sits at a terminal is told what goes on, in a line; a unit's journal or a script is not.
#[test]
fn a_terminal_is_told_what_is_recorded() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    let directory = Directory::new()?;
    let log = directory.file("log");
    let mut record = probe.command(&["record", "-o", &log, "--ntimes", "2", "--interval", "20ms"]);
    let (_, said) = outputs(&mut record)?;
    ensure!(said.is_empty(), "{said}");
    let words = [record.get_program()].into_iter().chain(record.get_args());
    let words: Vec<_> = words.map(|word| format!("'{}'", word.display())).collect();
    let line = words.join(" ");
    let said = output(Command::new("script").args(["-qec", &line, "/dev/null"]))?;
    ensure!(
        said.trim_end() == format!("mptcp-user: recording p0 to {log} every 20ms; Ctrl-C ends it"),
        "{said:?}"
    );
    Ok(())
}

#[test]
fn what_cannot_be_recorded_to_is_told() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    let directory = Directory::new()?;
    let log = directory.file("log");
    let recorder = Recorder::start(&probe, &["-o", &log])?;
    grown(&log, 1)?;
    let said = probe.fails(4, &["record", "-o", &log, "--ntimes", "1"])?;
    ensure!(
        said.contains("somebody else records") && said.contains("next:"),
        "{said}"
    );
    ensure!(recorder.end(Signal::SIGINT)?.success());

    let line = fs::read_to_string(&log)?;
    let newer = line.replace("\"log_version\":1", "\"log_version\":2");
    let newer = directory.write("newer", newer)?;
    let other = directory.write("other", "something else\n")?;
    let fifo = directory.fifo("fifo")?;
    for (path, word) in [
        (&newer, "version 2"),
        (&other, "something else"),
        (&fifo, "no regular file"),
        (&directory.file(""), "no regular file"),
        (&directory.file("nowhere/log"), "No such file"),
        (&"/sys/log".to_owned(), "Permission denied"),
    ] {
        let said = probe.fails(1, &["record", "-o", path, "--ntimes", "1"])?;
        // No capability helps.
        ensure!(
            said.contains(word) && !said.contains("CAP_"),
            "{path}: {said}"
        );
    }
    ensure!(fs::read_to_string(&other)? == "something else\n");

    let said = probe.fails(1, &["record", "-o", &log, "-i", "nope0"])?;
    ensure!(said == probe.fails(1, &["stat", "-i", "nope0"])?, "{said}");
    ensure!(
        said.contains("no interface nope0") && said.contains("next:"),
        "{said}"
    );

    // Without a probe there is no file either.
    let bare = Namespace::new("bare")?;
    let nothing = directory.file("nothing");
    for arguments in [
        &["record", "-o", &nothing][..],
        &["record", "-o", &nothing, "-i", "lo"],
    ] {
        let said = Probe::new(&bare).fails(1, arguments)?;
        ensure!(
            said.contains("next:") && !Path::new(&nothing).exists(),
            "{said}"
        );
    }

    // To standard output, until nobody reads it.
    unread(probe.command(&["record", "-o", "-", "--interval", "10ms"]))
}

/// An interface of a line, as short as it can be.
fn interface(name: &str, since: u32, counters: &str) -> String {
    format!(
        "{{\"name\":\"{name}\",\"since\":\"2026-01-01T00:00:0{since}Z\",\"attached_mid_traffic\":false,\
         \"in_flight\":false,\"has_queues\":true,\"verifies_checksums\":true,\"counters\":{counters}}}"
    )
}

const NOTHING: &str = r#"{"frames":0,"leaves":{},"rx":{},"tx":{},"unknown":{}}"#;

/// A line of interfaces with something behind them.
fn crafted(interfaces: impl Iterator<Item = String>, more: &str) -> String {
    let interfaces: Vec<_> = interfaces.collect();
    format!(
        "{{\"log_version\":1,\"time\":\"2026-01-01T00:00:10Z\",\"role\":\"host\",\"interfaces\":[{}]{more}}}\n",
        interfaces.join(",")
    )
}

/// Whatever is in a log, it takes no more memory than a reading of so many interfaces; a log that names
/// more of them is refused.
#[test]
fn memory_is_bounded() -> Result<()> {
    const LINE: usize = 4 << 20;
    let many = |from: usize, to: usize| {
        (from..to).map(|number| interface(&format!("a{number}"), 0, NOTHING))
    };
    let one = crafted(many(0, 1), "");
    let room = LINE - one.len() - 20;
    let filled = |piece: &str| format!(",\"x\":[{}0]", piece.repeat(room / piece.len()));
    let come_and_go: Vec<_> = (0..5)
        .map(|line| crafted(many(1000 * line, 1000 * (line + 1)), ""))
        .collect();
    let directory = Directory::new()?;
    for (name, text, refused) in [
        ("most", crafted(many(0, 1024), ""), None),
        (
            "more",
            crafted(many(0, 1025), ""),
            Some("more than 1024 interfaces"),
        ),
        (
            "wide",
            crafted(many(0, 20_000), ""),
            Some("more than 1024 interfaces"),
        ),
        ("objects", crafted(many(0, 1), &filled("{\"\":0},")), None),
        ("arrays", crafted(many(0, 1), &filled("[0],")), None),
        ("names", come_and_go[..4].concat(), None),
        (
            "more-names",
            come_and_go.concat(),
            Some("more than 4096 interfaces"),
        ),
    ] {
        let file = directory.write(name, &text)?;
        for what in ["stat -logFile \"$1\" --output json", "report \"$1\" -o -"] {
            let mut command = Command::new("sh");
            // In KiB, the program itself included.
            let script = format!("ulimit -v 400000; exec \"$0\" {what}");
            command.args(["-c", &script]).arg(binary()).arg(&file);
            match refused {
                None => drop(output(&mut command).context(name)?),
                Some(word) => {
                    let said = failure(1, &mut command).context(name)?;
                    ensure!(said.contains(word), "{name}: {said}");
                }
            }
        }
    }
    Ok(())
}

/// Counts that nothing counts to are added up to a bound, from which no row overflows.
#[test]
fn absurd_counts_are_no_overflow() -> Result<()> {
    let largest = (1_u64 << 52) - 1;
    let flags = vec![largest.to_string(); 32].join(",");
    let events = format!("{{\"dss_flags\":[{flags}]}}");
    let counters = format!(
        "{{\"frames\":{largest},\"leaves\":{{\"mptcp\":{largest}}},\"rx\":{events},\"tx\":{events},\
         \"unknown\":{events}}}"
    );
    let directory = Directory::new()?;
    // Each line is of other probes, whose counts are all new.
    let lines = (0..3).map(|since| {
        let interfaces = (0..1024).map(|i| interface(&format!("a{i}"), since, &counters));
        crafted(interfaces, "")
    });
    let log = directory.write("log", lines.collect::<String>())?;
    let stat = display(&log, &[])?;
    let bound = 1_u64 << 56;
    ensure!(stat["source"]["frames"] == bound, "{}", stat["source"]);
    ensure!(total(&stat, "DSSrcv")? == 32 * bound && total(&stat, "TotDSS")? == 96 * bound);
    let page = output(&mut command(&["report", &log, "-o", "-"]))?;
    ensure!(page.contains(&(96 * bound).to_string()));
    Ok(())
}

#[test]
fn bad_logs_are_told_in_a_sentence() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    let directory = Directory::new()?;
    let log = directory.file("log");
    probe.run(&["record", "-o", &log, "--ntimes", "3", "--interval", "10ms"])?;
    let text = fs::read_to_string(&log)?;
    let make = |name: &str, text: &str| directory.write(name, text);
    let newer = format!(
        "{text}{}",
        text.replace("\"log_version\":1", "\"log_version\":7")
    );
    for (path, word) in [
        (make("newer", &newer)?, "line 4: a line is of log version 7"),
        (make("empty", "")?, "it is empty"),
        (make("other", "{\"a\":1}\n")?, "holds no readings"),
        (make("torn", &text[..200])?, "holds no readings"),
        (
            make(
                "absurd",
                &text.replace("\"frames\":", "\"frames\":9999999999999999"),
            )?,
            "holds no readings",
        ),
        (make("binary", "{\u{0}\u{1}\n\n")?, "holds no readings"),
        (
            make("endless", &format!("{{{}", "x".repeat(5 << 20)))?,
            "does not end",
        ),
        (directory.file(""), "directory"),
    ] {
        let said = failure(1, &mut command(&["stat", "-logFile", &path]))?;
        ensure!(
            said.contains(word) && said.lines().count() <= 2,
            "{path}: {said}"
        );
    }
    for name in ["sessions", "events"] {
        let said = failure(1, &mut command(&[name, "--log-file", &log]))?;
        ensure!(
            said.contains("is a log") && said.contains("next:"),
            "{said}"
        );
    }
    // A FIFO that is closed within a line.
    let fifo = directory.fifo("fifo")?;
    let child = command(&["stat", "-logFile", &fifo, "--output", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut writer = OpenOptions::new().write(true).open(&fifo)?;
    writer.write_all(&text.as_bytes()[..text.len() - 50])?;
    drop(writer);
    let result = wait(child)?;
    ensure!(result.status.success(), "{result:?}");
    ensure!(
        String::from_utf8_lossy(&result.stderr).contains("torn"),
        "{result:?}"
    );
    // Compressed, and cut off: what was there is shown, and the exit code says that it is not all.
    let cut = directory.file("cut.gz");
    output(Command::new("sh").args(["-c", &format!("gzip -c {log} | head -c 200 > {cut}")]))?;
    failure(1, &mut command(&["stat", "-logFile", &cut]))?;
    // Nobody reads.
    unread(command(&["stat", "-logFile", &log, "-ntimes", "0"]))
}
