//! Logs that no probe wrote.

use super::*;

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
