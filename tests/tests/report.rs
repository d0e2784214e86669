//! `mptcp-user report`: a page that says what `stat -logFile` says, and asks nothing of the world.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    capture::Capture,
    files::Directory,
    net::{Family, Namespace, Pair, close, finished, output, transfer},
    probe::{Probe, binary, command, failure, unread},
    transcript::data,
};
use serde_json::Value;

/// A capture of the project.
fn own(name: &str) -> String {
    format!("{}/data/captures/{name}.pcap", env!("CARGO_MANIFEST_DIR"))
}

fn report(file: &str, arguments: &[&str]) -> Command {
    command(&[&["report", file], arguments].concat())
}

fn page(file: &str) -> Result<String> {
    output(&mut report(file, &["-o", "-"]))
}

/// The cells of the rows of the table, by short name.
fn table(page: &str) -> Result<BTreeMap<&str, Vec<&str>>> {
    let (_, table) = page.split_once("id=\"statistics\"").context("no table")?;
    let rows = table.split("<tr class=").skip(1).map(|row| {
        let cells: Vec<_> = row
            .split("</t")
            .filter_map(|cell| Some(cell.rsplit_once('>')?.1))
            .collect();
        let [label, short, rate, total, quality, ..] = cells[..] else {
            anyhow::bail!("a row of {cells:?}");
        };
        Ok((short, vec![label, rate, total, quality]))
    });
    rows.collect()
}

/// Is the table of the page that of `stat -logFile`?
fn is_the_table_of_stat(file: &str, page: &str) -> Result<()> {
    let stat = finished(&mut command(&[
        "stat", "-logFile", file, "--output", "json",
    ]))?;
    let stat: Value = serde_json::from_slice(&stat.stdout)?;
    let counters = stat["counters"].as_object().context("no counters")?;
    let table = table(page)?;
    ensure!(table.len() == 83 && counters.len() == 83);
    for (short, counter) in counters {
        let cells = &table[short.as_str()];
        let total = match counter["total"].as_u64() {
            Some(total) => total.to_string(),
            None => "n/a".to_owned(),
        };
        let rate = match counter["rate"].as_f64() {
            Some(rate) => format!("{rate:.3}"),
            None if counter["total"].is_null() => "n/a".to_owned(),
            None => "--".to_owned(),
        };
        let mut quality = counter["quality"].as_str().unwrap_or_default().to_owned();
        let is_normal = counter["severity"] == "normal on Linux";
        if is_normal && counter["total"].as_u64() > Some(0) {
            quality.push_str(", normal on Linux");
        }
        ensure!(
            cells[1..] == [rate.as_str(), &total, &quality],
            "{short}: {cells:?}, and stat says {counter}"
        );
    }
    Ok(())
}

/// Does it need anything from elsewhere?
fn stands_alone(page: &str) -> Result<()> {
    let page = page.replace("http://www.w3.org/2000/svg", "");
    for word in [
        "http:", "https:", "//", "<script", "<link", "<img", "src=", "url(", "@import", " on",
    ] {
        // Text may have " on".
        let found = page.match_indices(word).find(|(at, _)| {
            word != " on"
                || page[at + 3..].split_once('=').is_some_and(|(name, _)| {
                    name.len() < 12 && name.chars().all(char::is_alphabetic)
                })
        });
        ensure!(found.is_none(), "{word:?} is in the page: {found:?}");
    }
    ensure!(page.contains("default-src 'none'"));
    Ok(())
}

#[test]
fn a_capture_becomes_a_page() -> Result<()> {
    for name in ["basic", "checksums", "ends", "session", "session6"] {
        let page = page(&own(name))?;
        is_the_table_of_stat(&own(name), &page).context(name)?;
        stands_alone(&page).context(name)?;
        ensure!(page.matches("<svg").count() == page.matches("viewBox").count());
    }
    let ends = page(&own("ends"))?;
    let (_, alarms) = ends.split_once("Failures</h2>").context("no alarms")?;
    ensure!(alarms.contains("FAST_CLOSE received (FCRcvEr)"), "{alarms}");
    ensure!(page(&own("checksums"))?.contains("Failures</h2><p>None.</p>"));
    Ok(())
}

/// What `stat` names as a failure, the page names, and it says none only where there is none.
#[test]
fn a_page_says_none_only_where_nothing_failed() -> Result<()> {
    let mut failed = 0;
    for directory in ["captures", "cases"] {
        for entry in fs::read_dir(data().join(directory))? {
            let file = entry?.path().display().to_string();
            let stat = finished(&mut command(&[
                "stat", "-logFile", &file, "--output", "json",
            ]))?;
            let stat: Value = serde_json::from_slice(&stat.stdout)?;
            let failures = stat["outcome"]["failures"].as_array();
            let failures = failures.context("no failures")?;
            let page = finished(&mut report(&file, &["-o", "-"]))?;
            let page = String::from_utf8(page.stdout)?;
            let (_, rest) = page.split_once("<h2>Failures</h2>").context("no section")?;
            let section = rest.split("<h2>").next().unwrap_or_default();
            ensure!(
                section.starts_with("<p>None.</p>") == failures.is_empty(),
                "{file}: {failures:?}, and the page says {section}"
            );
            for failure in failures {
                let name = failure["name"].as_str().context("no name")?;
                ensure!(section.contains(&format!("({name})")), "{file}: {name}");
                failed += 1;
            }
        }
    }
    ensure!(failed > 20, "only {failed} failures");
    Ok(())
}

/// tshark adds up the payload of each connection and direction.
fn payloads(file: &str) -> Result<BTreeMap<String, u64>> {
    let fields = ["ip.src", "tcp.srcport", "ip.dst", "tcp.dstport", "tcp.len"];
    let mut command = Command::new("tshark");
    command.args(["-r", file, "-Y", "tcp.flags.syn==0", "-T", "fields"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let mut sums = BTreeMap::new();
    for line in output(&mut command)?.lines() {
        let [source, port, destination, other, length] = line.split('\t').collect::<Vec<_>>()[..]
        else {
            anyhow::bail!("tshark prints {line:?}");
        };
        *sums
            .entry(format!("{source}:{port} {destination}:{other}"))
            .or_default() += length.parse::<u64>()?;
    }
    Ok(sums)
}

#[test]
fn the_payload_of_each_subflow_is_what_tshark_sees() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    // On one of the two wires, and so small that the page does not round.
    let mut capture = Capture::of(&pair.server, "any", &["-s", "256"])?;
    let second = pair.client_address(1);
    pair.client
        .ip(&format!("mptcp endpoint add {second} subflow"))?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 3000)?;
    pair.wait_for(&pair.server, "MPJoinAckRx", 1)?;
    for _ in 0..8 {
        transfer(&server, &client, 500)?;
        transfer(&client, &server, 100)?;
    }
    close(client, server)?;
    pair.settle()?;
    let file = capture.stop()?.display().to_string();
    let page = page(&file)?;
    let sums = payloads(&file)?;
    for (title, from_initiator) in [
        ("Payload from the initiators", true),
        ("Payload from the listeners", false),
    ] {
        let (_, part) = page
            .split_once(&format!("{title}</h2>"))
            .context("no plot")?;
        let (part, _) = part.split_once("</figure>").context("no figure")?;
        let mut found = 0;
        for (flow, sum) in &sums {
            let (from, to) = flow.split_once(' ').context("no flow")?;
            let (initiator, listener) = match to.ends_with(":5000") {
                true => (from, to),
                false => (to, from),
            };
            if to.ends_with(":5000") == from_initiator {
                found += 1;
                let key = format!("{initiator} &gt; {listener} ({sum} bytes)");
                // A subflow that carried nothing either way has no line.
                ensure!(part.contains(&key) || *sum == 0, "no {key} in {part}");
            }
        }
        ensure!(found == 2, "{sums:?}");
    }
    Ok(())
}

#[test]
fn a_log_becomes_a_page() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "s1"])?;
    let directory = Directory::new()?;
    let log = directory.file("log");
    let record = || probe.run(&["record", "-o", &log, "--ntimes", "1"]);
    record()?;
    // One reading is a page too, of all that was counted before.
    is_the_table_of_stat(&log, &page(&log)?)?;
    pair.every_option(30_000)?;
    record()?;
    // Another probe.
    probe.run(&["detach", "-i", "s0"])?;
    probe.run(&["attach", "-i", "s0"])?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 10_000)?;
    record()?;
    close(client, server)?;
    record()?;
    let text = page(&log)?;
    is_the_table_of_stat(&log, &text)?;
    stands_alone(&text)?;
    ensure!(
        text.contains("Packets with MPTCP options</h2>")
            && text.contains("packets/s, by interface")
    );

    // What was counted over the log, over both of the probes that s0 had.
    let steps = output(&mut command(&[
        "stat", "-logFile", &log, "-i", "s0", "-ntimes", "0", "--output", "jsonl",
    ]))?;
    let counts: Vec<_> = steps
        .lines()
        .map(|line| {
            let stat: Value = serde_json::from_str(line)?;
            stat["probe"]["mptcp"].as_u64().context("no leaf")
        })
        .collect::<Result<_>>()?;
    let [first, second, _, last] = counts[..] else {
        anyhow::bail!("{counts:?}");
    };
    let sum = second - first + last;
    ensure!(
        sum < 10_000 && text.contains(&format!("s0 ({sum} packets)")),
        "{sum} packets"
    );

    // More readings than points: the sums stay.
    for _ in 0..9 {
        let copy = fs::read(&log)?;
        fs::write(&log, [&copy[..], &copy[..]].concat())?;
    }
    is_the_table_of_stat(&log, &page(&log)?)?;

    // A torn line is told on the page, too.
    let whole = fs::read(&log)?;
    let torn = directory.write("torn", &whole[..whole.len() - 9])?;
    ensure!(page(&torn)?.contains("its last line is torn"));
    let middlebox =
        fs::read_to_string(&log)?.replace("\"role\":\"host\"", "\"role\":\"middlebox\"");
    let mixed = directory.write("mixed", [&whole[..], middlebox.as_bytes()].concat())?;
    let said = failure(1, &mut report(&mixed, &["-o", "-"]))?;
    ensure!(
        said.contains("another role") && said.contains("next:"),
        "{said}"
    );
    Ok(())
}

#[test]
fn what_comes_from_a_file_stays_text() -> Result<()> {
    let namespace = Namespace::new("text")?;
    namespace.ip("link add <b>&'\" up type veth peer name p1")?;
    namespace.ip("link set p1 up")?;
    let probe = Probe::new(&namespace);
    probe.run(&["attach", "-i", "<b>&'\""])?;
    let directory = Directory::new()?;
    let log = directory.file("<i>.log");
    probe.run(&["record", "-o", &log, "--ntimes", "2", "--interval", "10ms"])?;
    let page = page(&log)?;
    ensure!(page.contains("&lt;b&gt;&amp;") && page.contains("&lt;i&gt;.log"));
    ensure!(!page.contains("<b>") && !page.contains("<i>"));
    Ok(())
}

#[test]
fn a_page_is_written_as_a_whole_and_over_nothing() -> Result<()> {
    let directory = Directory::new()?;
    let out = directory.file("page.html");
    let session = own("session");
    output(&mut report(&session, &["-o", &out]))?;
    let first = fs::read_to_string(&out)?;
    ensure!(first.ends_with("</html>"));
    let said = failure(1, &mut report(&own("ends"), &["-o", &out]))?;
    ensure!(
        said.contains("exists") && said.contains("--force"),
        "{said}"
    );
    ensure!(fs::read_to_string(&out)? == first);
    output(&mut report(&own("ends"), &["-o", &out, "--force"]))?;
    ensure!(fs::read_to_string(&out)? != first);

    // Not over what it is made of, nor over what is no page.
    let fifo = directory.fifo("fifo")?;
    for (file, path, word) in [
        (&out, &out, "made of"),
        (&session, &fifo, "no regular file"),
        (&session, &directory.file(""), "no regular file"),
    ] {
        let said = failure(1, &mut report(file, &["-o", path, "--force"]))?;
        ensure!(said.contains(word), "{path}: {said}");
    }
    let said = failure(1, &mut report(&session, &["-o", "/sys/page.html"]))?;
    ensure!(
        said.contains("Permission denied") && !said.contains("CAP_"),
        "{said}"
    );

    let write = |name: &str, bytes: &[u8]| directory.write(name, bytes);
    let never = directory.file("never.html");
    for (file, word) in [
        (write("empty", b"")?, "it is empty"),
        (write("other", b"#!/bin/sh\n")?, "no capture"),
        (write("json", b"{}\n")?, "holds no readings"),
        (write("newer", b"{\"log_version\":2}\n")?, "log version 2"),
        (directory.file(""), "directory"),
        (directory.file("nowhere"), "No such file"),
    ] {
        let said = failure(1, &mut report(&file, &["-o", &never]))?;
        ensure!(said.contains(word), "{file}: {said}");
        ensure!(!Path::new(&never).exists(), "{file}: a page all the same");
    }
    // What is told is the page's name, and not that of a draft.
    let nowhere = directory.file("nowhere/page.html");
    let said = failure(1, &mut report(&session, &["-o", &nowhere]))?;
    let wanted = format!("cannot write {nowhere}: No such file or directory (os error 2)");
    ensure!(said.trim_end().ends_with(&wanted), "{said}");
    let mount = directory.file("mount");
    fs::create_dir(&mount)?;
    let script =
        "mount -t tmpfs -o size=8k tmpfs \"$1\"; exec \"$0\" report \"$2\" -o \"$1/page.html\"";
    let mut full = Command::new("unshare");
    full.args(["-m", "sh", "-ec", script]);
    let said = failure(1, full.arg(binary()).arg(&mount).arg(&session))?;
    ensure!(
        said.contains(&format!("cannot write {mount}/page.html: No space left"))
            && !said.contains(".tmp"),
        "{said}"
    );
    failure(
        2,
        &mut report(&session, &["-o", &never, "--since", "2026-01-01"]),
    )?;
    failure(2, &mut report(&session, &[]))?;
    // Of a capture that is cut off there is a page, which says so, and the exit code does too.
    let whole = fs::read(&session)?;
    let cut = write("cut.pcap", &whole[..whole.len() - 7])?;
    failure(1, &mut report(&cut, &["-o", &never]))?;
    let page = fs::read_to_string(&never)?;
    ensure!(page.contains("middle of a record"));
    is_the_table_of_stat(&cut, &page)?;
    // No draft is left.
    let left = fs::read_dir(directory.path())?.filter_map(Result::ok);
    let hidden = left.filter(|entry| entry.file_name().to_string_lossy().starts_with('.'));
    ensure!(hidden.count() == 0);

    unread(report(&session, &["-o", "-"]))
}
