//! Files that are no damage: captures without packets, captures behind captures, packets behind any link-layer header
//! and packets that were captured before segmentation. Each is read, or refused by its name.

mod behind;
mod lengths;
mod link_types;

use std::{
    fs,
    io::{self, Read, Write as _},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    captures::own,
    files::{Directory, packed},
    frame::Frame,
    net::{output, outputs},
    probe::{broken, command, failure, recorded as stat, same, total},
    record::{self, Interface, PCAP, Record, pcap, pcapng, with_header},
    tshark::event_of,
};
use mptcp_user::{capture, offline::Config};
use serde_json::Value;

/// A DSS with a DATA_ACK of 4 bytes.
const DSS: [u8; 8] = [30, 8, 0x20, 0x01, 0, 0, 0, 0];

const NANOSECONDS: [u8; 4] = [0x4d, 0x3c, 0xb2, 0xa1];
const SWAPPED: [u8; 4] = [0xa1, 0xb2, 0xc3, 0xd4];
const SWAPPED_NANOSECONDS: [u8; 4] = [0xa1, 0xb2, 0x3c, 0x4d];

fn interface(link_type: u16) -> Interface {
    Interface {
        link_type,
        ..Interface::ETHERNET
    }
}

fn basic() -> Result<Vec<Record>> {
    record::read(&fs::read(own().join("basic.pcap"))?)
}

/// A capture that holds nothing says so in zeros: nothing was lost, and nothing failed.
#[test]
fn a_capture_without_packets_is_a_table_of_zeros() -> Result<()> {
    let directory = Directory::new()?;
    let section = pcapng(false, &[], &[]);
    let header = pcap(PCAP, 1, &[]);
    for (name, bytes) in [
        ("pcap", header.clone()),
        ("swapped", pcap(SWAPPED_NANOSECONDS, 1, &[])),
        ("wireless", pcap(PCAP, 105, &[])),
        ("section", section.clone()),
        ("interface", pcapng(true, &[interface(1)], &[])),
        (
            "interfaces",
            pcapng(false, &[interface(1), interface(105)], &[]),
        ),
        ("two", [header.clone(), header.clone()].concat()),
        ("sections", [section.clone(), section].concat()),
        ("xz", packed("xz", &header)?),
        ("gzip", packed("gzip", &header)?),
    ] {
        let file = directory.write(name, bytes)?;
        let (text, said) = outputs(&mut command(&[
            "stat", "--output", "json", "-logFile", &file,
        ]))?;
        let stat: Value = serde_json::from_str(&text)?;
        ensure!(
            stat["time"].is_null() && stat["source"]["since"].is_null(),
            "{name}: {text}"
        );
        ensure!(stat["source"]["frames"] == 0 && stat["source"]["broken"].is_null());
        let counters = stat["counters"].as_object().context("no counters")?;
        for (row, counter) in counters {
            let is_zero = counter["total"] == 0 || counter["quality"] == "unavailable";
            ensure!(
                is_zero && counter["rate"].is_null(),
                "{name}: {row} is {counter}"
            );
        }
        let others = u64::from(name == "two" || name == "sections");
        ensure!(
            stat["source"]["further_captures"] == others,
            "{name}: {text}"
        );
        ensure!(said.is_empty() == (others == 0), "{name}: {said}");

        let table = output(&mut command(&["stat", "-logFile", &file]))?;
        ensure!(table.contains(", which holds no packets\n"), "{table}");
        ensure!(!table.contains("1970"), "{table}");
        let sessions = output(&mut command(&["sessions", "--log-file", &file]))?;
        ensure!(sessions.starts_with("no sessions"), "{sessions}");
        let json = output(&mut command(&[
            "sessions",
            "--output",
            "json",
            "--log-file",
            &file,
        ]))?;
        let json: Value = serde_json::from_str(&json)?;
        ensure!(
            json["time"].is_null() && json["sessions"] == serde_json::json!([]),
            "{json}"
        );
        let events = output(&mut command(&["events", "--log-file", &file]))?;
        ensure!(events.is_empty(), "{events}");
        let page = output(&mut command(&["report", &file, "-o", "-"]))?;
        ensure!(
            page.contains("It holds no packets.") && page.ends_with("</html>"),
            "{page}"
        );
        ensure!(!page.contains("1970") && !page.contains("NaN") && !page.contains("<svg"));
        ensure!(page.contains("id=\"TotSess\"") && !page.contains("Totals since"));
    }
    Ok(())
}

/// The packets of Simple Packet Blocks have none, and none is made up.
#[test]
fn packets_without_times_have_no_times() -> Result<()> {
    let directory = Directory::new()?;
    let file = directory.write("simple.pcapng", record::simple_packets(&basic()?))?;
    let read = stat(&file, &[])?;
    ensure!(
        read["time"].is_null() && read["source"]["since"].is_null(),
        "{}",
        read["source"]
    );
    ensure!(total(&read, "TotSess")? == 1);
    let table = output(&mut command(&["stat", "-logFile", &file]))?;
    ensure!(table.contains(", whose packets have no times\n"), "{table}");
    let page = output(&mut command(&["report", &file, "-o", "-"]))?;
    ensure!(page.contains("no times") && !page.contains("1970") && page.contains("id=\"TotSess\""));
    Ok(())
}

#[test]
fn a_file_that_ends_in_its_header_is_an_error() -> Result<()> {
    let directory = Directory::new()?;
    let section = pcapng(false, &[interface(1)], &[]);
    let cases = [
        (pcap(PCAP, 1, &[]), 24),
        (pcap(SWAPPED, 1, &[]), 24),
        (section, 28),
    ];
    for (bytes, length) in cases {
        for cut in [0, 1, 3, 4, 5, 8, 11, 12, 23, 24, 27] {
            if cut >= length {
                continue;
            }
            let wanted = match cut {
                0 => "it is empty",
                1..4 => "it is no capture",
                _ => "it ends in the middle of its header",
            };
            let file = directory.write("cut", &bytes[..cut])?;
            for command in [
                &["stat", "-logFile", &file][..],
                &["sessions", "--log-file", &file],
                &["events", "--log-file", &file],
                &["report", &file, "-o", "-"],
            ] {
                let text = failure(1, &mut self::command(command))?;
                ensure!(text.contains(wanted), "{command:?} of {cut} bytes: {text}");
            }
        }
    }
    // In the interface that follows.
    let section = pcapng(false, &[interface(1)], &[]);
    let file = directory.write("interface", &section[..40])?;
    let text = failure(1, &mut command(&["stat", "-logFile", &file]))?;
    ensure!(
        text.contains("byte 28: it ends in the middle of a record"),
        "{text}"
    );
    // A header as long as it says that it is not.
    let mut long = section;
    long[4..8].copy_from_slice(&60_000_u32.to_le_bytes());
    let text = failure(
        1,
        &mut command(&["stat", "-logFile", &directory.write("long", long)?]),
    )?;
    ensure!(
        text.contains("it ends in the middle of its header"),
        "{text}"
    );
    Ok(())
}

#[test]
fn other_formats_are_named() -> Result<()> {
    let directory = Directory::new()?;
    for (bytes, name) in [
        (&b"snoop\0\0\0\0\0\0\x02\0\0\0\x04"[..], "snoop"),
        (b"GMBU\0\x02\x01\0", "Network Monitor 2"),
        (b"\xa1\xb2\xcd\x34\0\x02\0\x04", "modified pcap"),
    ] {
        let file = directory.write("other", bytes)?;
        let text = failure(1, &mut command(&["stat", "-logFile", &file]))?;
        let wanted = format!("it is a capture in {name} format");
        ensure!(
            text.contains(&wanted) && text.contains("next: editcap -F pcapng"),
            "{text}"
        );
    }
    Ok(())
}
