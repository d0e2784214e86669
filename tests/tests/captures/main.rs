//! Captures: the numbers are tshark's, whatever the file's format and link type; what cannot be
//! read is told in a sentence.
//!
//! The captures are those of tests/data/captures, which `the_captures_of_the_project` makes anew, and
//! those of ../shared/captures beside the project, where they exist.

mod broken;
mod formats;
mod own;

use std::{
    fs::{self, File},
    io::Write as _,
    panic,
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    capture::Capture,
    captures::{self, own},
    files::Directory,
    net::{Family, Pair, close, output, transfer},
    probe::{broken, command, failure, recorded as stat, same},
    record::{self, Interface, PCAP, Record, pcap, pcapng, simple_packets, with_header},
    tshark::{self, event, event_of, options, part},
    version_0,
};
use serde_json::Value;

fn cooked(record: &Record) -> Vec<u8> {
    [
        &[0, 4, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0][..],
        &ether_type(record),
    ]
    .concat()
}

fn ether_type(record: &Record) -> [u8; 2] {
    [record.bytes[12], record.bytes[13]]
}

/// Else a test of it would be a test of nothing.
#[test]
fn a_misspelled_event_is_no_zero() -> Result<()> {
    let stat = stat(own().join("basic.pcap"), &[])?;
    ensure!(event(&stat, "capable_syn") == 1);
    // Those that did not happen are left out.
    ensure!(event(&stat, "fastclose") == 0 && part(&stat, "tcprst_reason", 7) == 0);
    for (name, index) in [
        ("capable_sin", 0),
        ("option", 0),
        ("tcprst_reason", 8),
        ("fail", 1),
    ] {
        let look = panic::catch_unwind(|| part(&stat, name, index));
        ensure!(look.is_err(), "{name} [{index}] is a number");
    }
    ensure!(panic::catch_unwind(|| options(&stat, "MP_CAPABEL")).is_err());
    Ok(())
}

/// Who has sent what is known of cooked captures and of packets with flags; of others it is not, and
/// on a host that matters.
#[test]
fn a_host_needs_to_know_what_came_in() -> Result<()> {
    let path = own().join("basic.pcap");
    let text = failure(
        2,
        command(&["stat", "--role", "host", "-logFile"]).arg(&path),
    )?;
    ensure!(text.contains("which packets came in"), "{text}");
    // Without a capture the role is that of the probe.
    for line in [
        "stat --role host",
        "stat --limit-subflows 2",
        "stat -ntimes 2 --v1-only",
        "sessions --max-sessions 32",
        "events --role host",
    ] {
        let text = failure(2, command(&[]).args(line.split(' ')))?;
        ensure!(text.contains("--log-file"), "{line}: {text}");
    }
    for option in ["-i lo", "-ntimes 2", "-clearstats basic"] {
        let mut command = command(&["stat", "-logFile"]);
        let text = failure(2, command.arg(&path).args(option.split(' ')))?;
        ensure!(text.contains("displayed once"), "{option}: {text}");
    }
    let mut records = record::read(&fs::read(&path)?)?;
    let directory = Directory::new()?;
    let client: [u8; 4] = records[0].bytes[26..30].try_into()?;
    for (listens, opposite) in [(true, false), (false, true)] {
        for record in &mut records {
            let from_client = record.bytes[26..30] == client;
            record.ingress = Some(from_client == listens);
        }
        let flagged = directory.write(
            "flags.pcapng",
            pcapng(true, &[Interface::ETHERNET], &records),
        )?;
        let cooked = with_header(&records, |record| {
            let mut header = cooked(record);
            header[1] = if record.ingress == Some(true) { 0 } else { 4 };
            header
        });
        let cooked = directory.write("cooked.pcap", pcap(PCAP, 113, &cooked))?;
        for file in [flagged, cooked] {
            let stat = stat(&file, &["--role", "host"])?;
            let received = event_of(&stat, "rx", "capable_syn", 0);
            ensure!(received == u64::from(listens), "{}", stat["events"]);
            let sent = event_of(&stat, "tx", "capable_syn", 0);
            ensure!(sent == u64::from(opposite), "{}", stat["events"]);
        }
    }
    Ok(())
}

#[test]
fn limits_are_options_of_a_capture_too() -> Result<()> {
    let path = own().join("session.pcap");
    let row = |arguments: &[&str], row: &str| -> Result<Value> {
        Ok(stat(&path, arguments)?["counters"][row]["total"].clone())
    };
    ensure!(row(&[], "MSSErr")? == 0);
    ensure!(row(&["--min-mss-v4", "9000"], "MSSErr")? != 0);
    Ok(())
}

#[test]
fn sessions_and_events_of_a_capture() -> Result<()> {
    let path = own().join("session.pcap");
    let run = |arguments: &[&str]| output(command(arguments).arg("--log-file").arg(&path));
    let told = run(&["events", "--output", "jsonl"])?;
    let events: Vec<Value> = told
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    for (name, count) in [
        ("session_created", 1),
        ("subflow_joined", 2),
        ("address_added", 1),
        ("address_removed", 2),
        ("priority_changed", 2),
        ("session_closed", 1),
    ] {
        ensure!(named(name) == count, "{count} times {name}:\n{told}");
    }
    let first = run(&["events", "--output", "jsonl", "--count", "1"])?;
    ensure!(Some(first.trim_end()) == told.lines().next(), "{first}");
    // Times are the capture's.
    let since = stat(&path, &[])?["source"]["since"].clone();
    let created = events[0]["time"].as_str().context("no time")?;
    ensure!(
        created >= since.as_str().context("no time")?,
        "{created}, since {since}"
    );
    Ok(())
}
