//! Captures: the numbers are tshark's, whatever the file's format and link type; what cannot be
//! read is told in a sentence.
//!
//! The captures are those of tests/data/captures, which `the_captures_of_the_project` makes anew, and
//! those of ../shared/captures beside the project, where they exist.

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

#[test]
fn every_capture_holds_what_tshark_sees_in_it() -> Result<()> {
    let mut differ = Vec::new();
    for path in captures::all()? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("handmade") {
            // tshark accepts wrong lengths: `malformed` has the verdicts on these.
            continue;
        }
        let stat = stat(&path, &[])?;
        let found = tshark::differences(&path, &stat)?;
        if name == "tcpdump__mptcp-dss-oobr.pcap" {
            // A DSS of 3 bytes, where RFC 8684 section 3.3 has a byte of flags behind those.
            ensure!(
                (0..32).all(|flags| part(&stat, "dss_flags", flags) == 0),
                "a DSS without flags is counted"
            );
        }
        differ.extend(found.iter().map(|what| format!("{name}: {what}")));
    }
    ensure!(differ.is_empty(), "\n  {}", differ.join("\n  "));
    Ok(())
}

fn ether_type(record: &Record) -> [u8; 2] {
    [record.bytes[12], record.bytes[13]]
}

fn cooked(record: &Record) -> Vec<u8> {
    [
        &[0, 4, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0][..],
        &ether_type(record),
    ]
    .concat()
}

fn cooked_2(record: &Record) -> Vec<u8> {
    let behind = [0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0];
    [&ether_type(record)[..], &behind].concat()
}

/// The same packets in every format and behind every header; what `stat` says of each.
#[test]
fn formats_and_link_types_change_nothing() -> Result<()> {
    const NANOSECONDS: [u8; 4] = [0x4d, 0x3c, 0xb2, 0xa1];
    const SWAPPED: [u8; 4] = [0xa1, 0xb2, 0xc3, 0xd4];
    const SWAPPED_NANOSECONDS: [u8; 4] = [0xa1, 0xb2, 0x3c, 0x4d];
    let records = record::read(&fs::read(own().join("basic.pcap"))?)?;
    let raw = with_header(&records, |_| Vec::new());
    let cooked = with_header(&records, cooked);
    let cooked_2 = with_header(&records, cooked_2);
    let null = |family: u32| with_header(&records, move |_| family.to_le_bytes().to_vec());
    let tagged = |records: &[Record], at: usize| -> Vec<Record> {
        let tag = |record: &Record| {
            let mut bytes = record.bytes.clone();
            bytes.splice(at..at, [0x81, 0, 0, 7]);
            let length = record.length + 4;
            Record {
                bytes,
                length,
                ..record.clone()
            }
        };
        records.iter().map(tag).collect()
    };
    let mut cooked_2_tagged = tagged(&cooked_2, 20);
    for record in &mut cooked_2_tagged {
        // The protocol moves behind the tag's number.
        record.bytes[..2].copy_from_slice(&[0x81, 0]);
        record.bytes[20..24].copy_from_slice(&[0, 7, 0x08, 0x00]);
    }
    let interface = |link_type, resolution, offset| Interface {
        link_type,
        resolution,
        offset,
    };
    let two_sections = [
        pcapng(false, &[interface(1, 6, 0)], &records[..10]),
        pcapng(true, &[interface(101, 9, 0)], &raw[10..]),
    ];
    // Records alternate between interfaces, of which one has each kind of header.
    let mixed: Vec<_> = records
        .iter()
        .zip(&cooked)
        .enumerate()
        .map(|(i, (plain, cooked))| if i % 2 == 0 { plain } else { cooked })
        .cloned()
        .collect();
    let variants = [
        ("plain.pcap", pcap(PCAP, 1, &records)),
        ("nanoseconds.pcap", pcap(NANOSECONDS, 1, &records)),
        ("swapped.pcap", pcap(SWAPPED, 1, &records)),
        ("both.pcap", pcap(SWAPPED_NANOSECONDS, 1, &records)),
        ("vlan.pcap", pcap(PCAP, 1, &tagged(&records, 12))),
        ("raw.pcap", pcap(PCAP, 101, &raw)),
        ("ipv4.pcap", pcap(PCAP, 228, &raw)),
        ("openbsd.pcap", pcap(PCAP, 14, &raw)),
        ("null.pcap", pcap(PCAP, 0, &null(2))),
        ("loop.pcap", pcap(PCAP, 108, &null(2_u32.swap_bytes()))),
        ("cooked.pcap", pcap(PCAP, 113, &cooked)),
        ("cooked2.pcap", pcap(PCAP, 276, &cooked_2)),
        ("cooked-vlan.pcap", pcap(PCAP, 113, &tagged(&cooked, 14))),
        ("cooked2-vlan.pcap", pcap(PCAP, 276, &cooked_2_tagged)),
        // The length of a frame check sequence stands beside the link type.
        ("fcs.pcap", pcap(PCAP, 1 | 0x2400_0000, &records)),
        (
            "plain.pcapng",
            pcapng(false, &[interface(1, 6, 0)], &records),
        ),
        (
            "swapped.pcapng",
            pcapng(true, &[interface(1, 9, 0)], &records),
        ),
        (
            "offset.pcapng",
            pcapng(false, &[interface(1, 6, 3600)], &records),
        ),
        (
            "binary.pcapng",
            pcapng(false, &[interface(1, 0x80 | 30, 0)], &records),
        ),
        (
            "mixed.pcapng",
            pcapng(true, &[interface(1, 9, 0), interface(113, 6, -5)], &mixed),
        ),
        ("sections.pcapng", two_sections.concat()),
        ("obsolete.pcapng", record::packet_blocks(&records)),
    ];
    let plain = stat(own().join("basic.pcap"), &[])?;
    ensure!(plain["source"]["kind"] == "capture", "{}", plain["source"]);
    let directory = Directory::new()?;
    for (name, bytes) in variants {
        let stat = stat(directory.write(name, bytes)?, &[])?;
        same(name, &plain, &stat)?;
    }
    // Without a time nothing can be said per second, or of how long it took.
    let file = directory.write("simple.pcapng", simple_packets(&records))?;
    let stat = stat(file, &[])?;
    ensure!(stat["options"] == plain["options"], "{}", stat["options"]);
    ensure!(stat["counters"]["TotSess"]["total"] == 1, "no session");
    ensure!(stat["counters"]["TotSess"]["rate"].is_null(), "a rate");
    Ok(())
}

/// A command on a capture that ends with 1; what it says on standard error.
fn fails(path: &str, arguments: &[&str]) -> Result<String> {
    failure(1, command(arguments).args(["--log-file", path]))
}

#[test]
fn bad_input_is_told_in_a_sentence() -> Result<()> {
    let good = fs::read(own().join("basic.pcap"))?;
    let records = record::read(&good)?;
    let ng = pcapng(false, &[Interface::ETHERNET], &records);
    let first_packet = ng.len() - pcapng(false, &[Interface::ETHERNET], &records).len() + 28 + 52;
    let lying = |at: usize, length: u32| {
        let mut bytes = ng.clone();
        bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        bytes
    };
    let mut lying_pcap = good.clone();
    lying_pcap[24 + 8..24 + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    let directory = Directory::new()?;
    for (name, bytes, wanted) in [
        ("empty", &[][..], "it is empty"),
        (
            "other",
            b"MZ\x90\x00 is no capture, but a program of old".as_slice(),
            "it is no capture",
        ),
        ("short", &good[..10], "it ends in the middle of its header"),
        (
            "long",
            &lying(first_packet + 4, u32::MAX),
            "says that it has 4294967295 bytes",
        ),
        ("small", &lying(first_packet + 4, 3), "contradict"),
        ("inner", &lying(first_packet + 20, 1 << 20), "contradict"),
        ("pcap", &lying_pcap, "says that it has"),
        ("interface", &lying(first_packet + 8, 7), "of interface 7"),
    ] {
        let file = directory.write(name, bytes)?;
        for command in ["stat", "sessions", "events"] {
            let text = fails(&file, &[command])?;
            ensure!(text.contains(wanted), "{command}, {name}: {text}");
            ensure!(text.lines().count() == 1, "{command}, {name}: {text}");
        }
    }
    let text = fails("/", &["stat"])?;
    ensure!(
        text.contains("cannot read /: ") && text.contains("directory"),
        "{text}"
    );
    let text = fails("/nonexistent", &["stat"])?;
    ensure!(text.contains("cannot read /nonexistent"), "{text}");
    let fifo = directory.fifo("fifo")?;
    for (bytes, wanted) in [(&[][..], "empty"), (&good[..1000], "middle of a record")] {
        let child = command(&["stat", "-logFile", &fifo])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        File::options().write(true).open(&fifo)?.write_all(bytes)?;
        let out = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&out.stderr);
        ensure!(
            out.status.code() == Some(1) && text.contains(wanted),
            "{text}"
        );
    }
    Ok(())
}

/// The same where a packet belongs to no interface, and where a Packet Block is shorter than it says.
#[test]
fn a_packet_that_cannot_be_placed_ends_the_capture() -> Result<()> {
    let records = record::read(&fs::read(own().join("basic.pcap"))?)?;
    let last = |file: &[u8], records: &[Record]| -> usize {
        let length = records[records.len() - 1].bytes.len().next_multiple_of(4);
        file.len() - 32 - length
    };
    let mut enhanced = pcapng(false, &[Interface::ETHERNET], &records);
    let at = last(&enhanced, &records);
    enhanced[at + 8] = 7;
    let mut obsolete = record::packet_blocks(&records);
    let short = last(&obsolete, &records);
    obsolete[short + 20..short + 24].copy_from_slice(&5000_u32.to_be_bytes());
    let directory = Directory::new()?;
    for (bytes, at, wanted) in [
        (enhanced, at, "a packet is of interface 7"),
        (obsolete, short, "contradict each other"),
    ] {
        let (stat, reason) = broken(&directory.write("placed.pcapng", bytes)?)?;
        ensure!(
            reason.starts_with(&format!("byte {at}:")) && reason.contains(wanted),
            "{reason}"
        );
        ensure!(
            stat["source"]["frames"] == records.len() - 1,
            "{}",
            stat["source"]
        );
    }
    Ok(())
}

/// What was there before the place that is broken is counted, and shown.
#[test]
fn a_capture_that_is_cut_off_counts_up_to_there() -> Result<()> {
    let good = fs::read(own().join("basic.pcap"))?;
    let records = record::read(&good)?;
    let directory = Directory::new()?;
    let mut at = 24;
    for (whole, record) in records.iter().enumerate().take(8).skip(1) {
        at += 16 + records[whole - 1].bytes.len();
        let (stat, reason) = broken(&directory.write("cut.pcap", &good[..at + 5])?)?;
        ensure!(
            stat["source"]["frames"] == whole,
            "{} of {whole}",
            stat["source"]["frames"]
        );
        ensure!(
            reason.starts_with(&format!("byte {at}:")),
            "{reason}, at {at}"
        );
        ensure!(!record.bytes.is_empty());
    }
    Ok(())
}

#[test]
fn a_snap_length_inside_of_the_options_is_told() -> Result<()> {
    let mut records = record::read(&fs::read(own().join("basic.pcap"))?)?;
    let whole = stat(own().join("basic.pcap"), &[])?;
    // Ethernet, IPv4 and TCP headers: all options, and no payload.
    for record in &mut records {
        let header = 34 + usize::from(record.bytes[46] >> 4) * 4;
        record.bytes.truncate(header);
    }
    let directory = Directory::new()?;
    let file = directory.write("headers.pcap", pcap(PCAP, 1, &records))?;
    same("headers", &whole, &stat(&file, &[])?)?;
    for record in &mut records {
        record.bytes.truncate(60);
    }
    let file = directory.write("cut.pcap", pcap(PCAP, 1, &records))?;
    let cut = stat(&file, &[])?;
    let with_options = records
        .iter()
        .filter(|record| record.bytes[46] >> 4 > 6)
        .count();
    ensure!(
        with_options > 0 && cut["source"]["cut"] == with_options,
        "{}",
        cut["source"]
    );
    ensure!(
        cut["probe"]["truncated"] == with_options,
        "{}",
        cut["probe"]
    );
    ensure!(cut["source"]["frames"] == whole["source"]["frames"]);
    Ok(())
}

#[test]
fn the_clock_does_not_go_back() -> Result<()> {
    let mut records = record::read(&fs::read(own().join("basic.pcap"))?)?;
    let whole = stat(own().join("basic.pcap"), &[])?;
    let back = 3;
    records[back].nanoseconds -= 3_600_000_000_000;
    let directory = Directory::new()?;
    let file = directory.write("back.pcap", pcap(PCAP, 1, &records))?;
    let stat = stat(&file, &[])?;
    ensure!(stat["source"]["backward"] == 1, "{}", stat["source"]);
    same("back", &whole, &stat)
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

/// Version 0 is crafted: what makes it is what is there.
#[test]
fn the_capture_of_version_0() -> Result<()> {
    let made = pcap(PCAP, 1, &version_0::packets()?);
    let path = own().join("version0.pcap");
    if std::env::var_os("UPDATE_CAPTURES").is_some() {
        fs::write(&path, &made)?;
    }
    ensure!(fs::read(&path)? == made, "UPDATE_CAPTURES=1 writes it anew");
    let stat = stat(&path, &[])?;
    // Every option by itself is right, and so is all that the sessions say but for one checksum.
    ensure!(stat["counters"]["OPTEr"]["total"] == 0, "{stat:#}");
    for (row, wanted) in [
        ("TotSess", 2),
        ("TotV1Sess", 0),
        ("subCon", 4),
        ("FACKVald", 2),
        ("InMACEr", 0),
        ("CksumEr", 1),
        ("FCkeyEr", 0),
        ("MPFAILst", 1),
        ("REMAddrTx", 8),
    ] {
        let is = &stat["counters"][row]["total"];
        let is = if is.is_null() {
            &stat["extra"][row]
        } else {
            is
        };
        ensure!(*is == wanted, "{row} is {is}");
    }
    Ok(())
}

/// Makes the captures of tests/data/captures anew, if it is asked to: real traffic of this kernel.
#[test]
fn the_captures_of_the_project() -> Result<()> {
    if std::env::var_os("UPDATE_CAPTURES").is_none() {
        return Ok(());
    }
    fs::create_dir_all(own())?;
    // One subflow, on one interface.
    let pair = Pair::new(Family::V4)?;
    let mut capture = Capture::of(&pair.server, "s0", &["tcp"])?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 3000)?;
    transfer(&server, &client, 2000)?;
    close(client, server)?;
    pair.settle()?;
    fs::copy(capture.stop()?, own().join("basic.pcap"))?;
    for (family, name) in [(Family::V4, "session.pcap"), (Family::V6, "session6.pcap")] {
        record_on_any(family, name, |pair| pair.every_option(1000))?;
    }
    record_on_any(Family::V4, "ends.pcap", violent_ends)?;
    record_on_any(Family::V4, "fail.pcap", a_wrong_checksum)?;
    record_on_any(Family::V6, "checksums.pcap", |pair| {
        for host in [&pair.client, &pair.server] {
            host.sysctl("mptcp/checksum_enabled", "1")?;
        }
        let (client, server) = pair.connect()?;
        transfer(&client, &server, 2000)?;
        close(client, server)
    })
}

fn record_on_any(family: Family, name: &str, talk: impl FnOnce(&Pair) -> Result<()>) -> Result<()> {
    let pair = Pair::new(family)?;
    let mut capture = Capture::of(&pair.server, "any", &["tcp"])?;
    talk(&pair)?;
    pair.settle()?;
    fs::copy(capture.stop()?, own().join(name))?;
    Ok(())
}

/// A payload that changes on its way, so that both ends say MP_FAIL, behind an address with a port.
fn a_wrong_checksum(pair: &Pair) -> Result<()> {
    for host in [&pair.client, &pair.server] {
        host.sysctl("mptcp/checksum_enabled", "1")?;
    }
    pair.client
        .ip("mptcp limits set subflows 0 add_addr_accepted 0")?;
    let signalled = pair.server_address(1);
    pair.server.ip(&format!(
        "mptcp endpoint add {signalled} id 9 signal port 5001"
    ))?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 1000)?;
    pair.wait_for(&pair.server, "EchoAdd", 1)?;
    let changed = "tcp dport 5000 meta length > 600 limit rate 1/hour burst 1 packets";
    let chain = format!(
        "table inet x {{ chain p {{ type filter hook output priority 300; {changed} @ih,64,16 set \
         0x5a5b\n}}\n}}"
    );
    pair.client.run("nft", &[&chain])?;
    transfer(&client, &server, 1000)?;
    pair.wait_for(&pair.client, "MPFailRx", 1)?;
    pair.settle()?;
    transfer(&client, &server, 1000)?;
    close(client, server)
}

/// A join that is refused, and a fast close.
fn violent_ends(pair: &Pair) -> Result<()> {
    pair.server
        .ip("mptcp limits set subflows 0 add_addr_accepted 0")?;
    let second = pair.client_address(1);
    pair.client
        .ip(&format!("mptcp endpoint add {second} id 5 subflow"))?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 1000)?;
    pair.wait_for(&pair.server, "MPJoinRejected", 1)?;
    client.set_linger(Some(std::time::Duration::ZERO))?;
    drop(client);
    pair.wait_for(&pair.server, "MPFastcloseRx", 1)?;
    drop(server);
    Ok(())
}
