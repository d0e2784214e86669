//! Text from outside commands no terminal: names of interfaces, files and namespaces, and what logs and captures hold.
//! Of every command, for all of them, no control character comes out but the ends of lines, and JSON says the same.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::ffi::OsStrExt as _,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    captures,
    files::Directory,
    net::{Namespace, finished, wait},
    probe::{Probe, binary},
    record,
};
use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;

/// What terminals obey: 7-bit and 8-bit controls, alone and in sequences; what turns text around or hides it; what a
/// shell or a page would take for its own. The kernel lets them all be names.
const NAMES: [&[u8]; 8] = [
    b"a\x1b[31mX\x1b]0;p\x07",
    b"\x08\x08\x7f\x01\x02b",
    "c\u{9b}2J\u{85}\u{90}".as_bytes(),
    "d\u{202e}gpj\u{2066}".as_bytes(),
    "e\u{feff}\u{200b}\u{ad}".as_bytes(),
    "\u{1d173}\u{2063}f".as_bytes(),
    b"<b>g&\"'`$(h)",
    // No text at all.
    b"i\xff\xfe\xc0\x80",
];

/// Nothing to be seen that is no end of a line.
fn is_hidden(character: char) -> bool {
    let is_format = matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e007f}');
    (character.is_control() && character != '\n') || is_format
}

/// Runs a command, however it ends, and looks at what it prints.
fn clean(command: &mut Command) -> Result<String> {
    let out = finished(command)?;
    looked_at(&format!("{command:?}"), &out.stdout, &out.stderr)
}

fn looked_at(what: &str, stdout: &[u8], stderr: &[u8]) -> Result<String> {
    for bytes in [stdout, stderr] {
        let text = std::str::from_utf8(bytes).with_context(|| format!("{what}: {bytes:?}"))?;
        if let Some(at) = text.find(is_hidden) {
            let start = text[..at]
                .char_indices()
                .nth_back(60)
                .map_or(0, |(at, _)| at);
            let near: String = text[start..].chars().take(120).collect();
            anyhow::bail!("{what}: {near:?}");
        }
        ensure!(!text.contains("panicked"), "{what}: {text}");
    }
    Ok(String::from_utf8_lossy(stdout).into_owned())
}

/// A command with a name that need not be text.
fn with_name(mut command: Command, option: &str, name: &[u8]) -> Command {
    command.arg(option).arg(OsStr::from_bytes(name));
    command
}

#[test]
fn names_of_interfaces_command_no_terminal() -> Result<()> {
    let namespace = Namespace::new("names")?;
    for (number, name) in NAMES.iter().enumerate() {
        // Those that are no text no argument of ours can name.
        let Ok(text) = std::str::from_utf8(name) else {
            continue;
        };
        let mut ip = Command::new("ip");
        ip.args(["-n", namespace.name(), "link", "add", "name"]);
        ip.arg(text)
            .args(["type", "veth", "peer", "name", &format!("q{number}")]);
        clean(&mut ip)?;
        let mut up = Command::new("ip");
        up.args(["-n", namespace.name(), "link", "set", text, "up"]);
        clean(&mut up)?;
        let probe = Probe::new(&namespace);
        let directory = Directory::new()?;
        let log = directory.file("log");
        clean(&mut with_name(
            probe.command(&["attach", "--xdp", "off"]),
            "-i",
            name,
        ))?;
        let status: Value =
            serde_json::from_str(&clean(&mut probe.command(&["status", "--output", "json"]))?)?;
        ensure!(status["interfaces"][0]["name"] == text, "{status}");
        for arguments in [
            &["status"][..],
            &["stat"],
            &["stat", "-detail", "-fullValues"],
            &[
                "stat",
                "--output",
                "jsonl",
                "-ntimes",
                "2",
                "--interval",
                "0.05",
            ],
            &["sessions"],
            &["sessions", "--output", "json"],
            &["record", "-o", "-", "--ntimes", "1"],
            &["record", "-o", &log, "--ntimes", "2", "--interval", "0.05"],
        ] {
            clean(&mut probe.command(arguments))?;
        }
        let stat: Value =
            serde_json::from_str(&clean(&mut probe.command(&["stat", "--output", "json"]))?)?;
        ensure!(
            stat["source"]["interfaces"] == serde_json::json!([text]),
            "{stat}"
        );
        for arguments in [
            &["stat", "-logFile", &log][..],
            &["stat", "-logFile", &log, "-ntimes", "0"],
            &["report", &log, "-o", "-"],
        ] {
            let shown = clean(Command::new(binary()).args(arguments))?;
            ensure!(
                arguments[0] != "report" || !shown.contains("<b>g"),
                "{shown}"
            );
        }
        looked_at("the log", &fs::read(&log)?, b"")?;
        let mut from_elsewhere = Command::new(binary());
        clean(
            from_elsewhere
                .arg("status")
                .arg("--pin-dir")
                .arg(probe.pins()),
        )?;
        let second = ["attach", "-i", &format!("q{number}"), "--role", "middlebox"];
        clean(&mut probe.command(&second))?;
        // Different roles, and an interface that is gone.
        clean(&mut probe.command(&["stat"]))?;
        clean(&mut with_name(probe.command(&["stat"]), "-i", name))?;
        let mut gone = Command::new("ip");
        gone.args(["-n", namespace.name(), "link", "del", text]);
        clean(&mut gone)?;
        clean(&mut probe.command(&["status"]))?;
        clean(&mut with_name(probe.command(&["stat"]), "-i", name))?;
        clean(&mut with_name(probe.command(&["detach"]), "-i", name))?;
        clean(&mut probe.command(&["detach", "--all"]))?;
        ensure!(!probe.pins().exists());
    }
    Ok(())
}

/// What was typed, or handed on by a script.
#[test]
fn names_that_do_not_exist_command_no_terminal() -> Result<()> {
    let namespace = Namespace::new("names")?;
    let probe = Probe::new(&namespace);
    let long = vec![b'x'; 5000];
    let lines = b"nope\nmptcp-user: all is well".as_slice();
    for name in NAMES.into_iter().chain([&*long, lines]) {
        for command in ["attach", "stat", "detach", "record"] {
            let mut command = probe.command(&[command]);
            if command.get_args().any(|argument| argument == "record") {
                command.args(["-o", "-"]);
            }
            clean(&mut with_name(command, "-i", name))?;
        }
        for option in [
            "--netns",
            "--pin-dir",
            "--nope",
            "-logFile",
            "--interval",
            "--output",
        ] {
            clean(&mut with_name(
                mptcp_tests::probe::command(&["stat"]),
                option,
                name,
            ))?;
        }
        for command in ["status", "detach", "sessions", "events"] {
            let mut command = mptcp_tests::probe::command(&[command]);
            command
                .arg("--pin-dir")
                .arg(OsStr::from_bytes(&[b"/sys/fs/bpf/", name].concat()));
            clean(&mut command)?;
            clean(command.args(["--output", "json"]))?;
        }
        let mut report = mptcp_tests::probe::command(&["report", "-o", "-"]);
        clean(report.arg(OsStr::from_bytes(name)))?;
        let mut verb = mptcp_tests::probe::command(&[]);
        clean(verb.arg(OsStr::from_bytes(name)))?;
    }
    // A name is on one line, and not as long as it likes.
    for name in [lines, &long] {
        let out = finished(&mut with_name(probe.command(&["stat"]), "-i", name))?;
        let text = String::from_utf8_lossy(&out.stderr);
        ensure!(text.lines().count() == 2 && text.len() < 1000, "{text}");
    }
    Ok(())
}

/// A log from elsewhere, and files whose names are hostile.
#[test]
fn logs_and_captures_command_no_terminal() -> Result<()> {
    let namespace = Namespace::new("names")?;
    namespace.ip("link add p0 up type veth peer name p1")?;
    let probe = Probe::new(&namespace);
    probe.run(&["attach", "-i", "p0"])?;
    let line = probe.run(&["record", "-o", "-", "--ntimes", "1"])?;
    let directory = Directory::new()?;
    let captures = captures::all()?;
    let capture = fs::read(captures.first().context("no captures")?)?;
    let records = record::read(&capture)?;
    for name in NAMES
        .into_iter()
        .chain([b"two\nlines\tand \x00\x1b[2J".as_slice(), &[b'y'; 700_000]])
    {
        let text = String::from_utf8_lossy(name);
        let mut reading: Value = serde_json::from_str(&line)?;
        reading["interfaces"][0]["name"] = Value::from(&*text);
        reading[&*text] = Value::from(&*text);
        reading["hooks"]["counts"][&*text] = Value::from(1);
        let mut other = reading.clone();
        other["role"] = Value::from(&*text);
        // Readings, what is none, and such of a version to come: of what is said, the contents are a part.
        let log = format!(
            "{reading}\n{other}\n{{\"{}\n{reading}\n",
            text.replace('\n', " ")
        );
        let file = match name.len() {
            ..200 if !name.contains(&0) => directory.path().join(OsStr::from_bytes(name)),
            _ => directory.path().join("log"),
        };
        fs::write(&file, &log)?;
        for arguments in [
            &["stat", "-logFile"][..],
            &["stat", "-ntimes", "0", "-logFile"],
            &["stat", "--output", "json", "-logFile"],
            &["report", "-o", "-"],
            &["sessions", "--log-file"],
            &["events", "--log-file"],
        ] {
            let shown = clean(mptcp_tests::probe::command(arguments).arg(&file))?;
            ensure!(
                shown.len() < 200_000 || arguments.contains(&"json"),
                "{arguments:?}: {} bytes",
                shown.len()
            );
        }
        let mut json = mptcp_tests::probe::command(&["stat", "--output", "json", "-logFile"]);
        let stat: Value = serde_json::from_str(&clean(json.arg(&file))?)
            .with_context(|| format!("{text:.100}"))?;
        ensure!(
            stat["source"]["interfaces"] == serde_json::json!([&*text]),
            "{}",
            stat["source"]
        );
        // As a capture, and one whose interface has that name.
        for bytes in [
            capture.clone(),
            record::with_texts(name, &records),
            name.to_vec(),
        ] {
            fs::write(&file, bytes)?;
            for arguments in [
                &["stat", "-logFile"][..],
                &["stat", "--output", "json", "-logFile"],
                &["sessions", "--log-file"],
                &["events", "--count", "3", "--log-file"],
                &["report", "-o", "-"],
            ] {
                clean(mptcp_tests::probe::command(arguments).arg(&file))?;
            }
            let mut record = probe.command(&["record", "--ntimes", "1", "-o"]);
            clean(record.arg(&file))?;
            let mut report = mptcp_tests::probe::command(&["report", "-o"]);
            clean(report.arg(&file).arg(&file))?;
        }
        fs::remove_file(&file)?;
    }
    Ok(())
}

/// A network namespace's name, and that of the process that holds the lock.
#[test]
fn names_of_others_command_no_terminal() -> Result<()> {
    let namespace = Namespace::new("names")?;
    namespace.ip("link add p0 up type veth peer name p1")?;
    let probe = Probe::new(&namespace);
    probe.run(&["attach", "-i", "p0"])?;
    let old = format!("/run/netns/{}", namespace.name());
    for name in NAMES {
        let other = std::path::Path::new("/run/netns").join(OsStr::from_bytes(name));
        File::create(&other)?;
        let mut bind = Command::new("mount");
        clean(bind.arg("--bind").arg(&old).arg(&other))?;
        let mut clean_up = Command::new("umount");
        clean_up.arg(&other);
        let result = (|| -> Result<()> {
            for arguments in [&["status"][..], &["status", "--output", "json"]] {
                let mut status = Command::new(binary());
                clean(status.args(arguments).arg("--pin-dir").arg(probe.pins()))?;
            }
            Ok(())
        })();
        clean(&mut clean_up)?;
        fs::remove_file(&other)?;
        result?;
    }
    let path = probe.pins().join("v1");
    for name in &NAMES[..3] {
        let holder = thread::spawn({
            let (name, path) = (std::str::from_utf8(name)?.to_owned(), path.clone());
            move || -> Result<()> {
                fs::write("/proc/self/comm", &name[..name.len().min(15)])?;
                let lock = Flock::lock(File::open(path)?, FlockArg::LockExclusive);
                thread::sleep(Duration::from_millis(700));
                drop(lock);
                Ok(())
            }
        });
        thread::sleep(Duration::from_millis(100));
        let stat = probe
            .command(&["stat"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let out = wait(stat)?;
        looked_at("stat behind a lock", &out.stdout, &out.stderr)?;
        ensure!(String::from_utf8_lossy(&out.stderr).contains("waiting for process"));
        holder.join().expect("no panic")?;
    }
    Ok(())
}
