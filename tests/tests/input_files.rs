//! Files that are no damage: captures without packets, captures behind captures, packets behind any link-layer header
//! and packets that were captured before segmentation. Each is read, or refused by its name.

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

/// What `cat` makes of captures is read on, and said: nothing is lost at the seam, whatever formats meet there.
#[test]
fn captures_behind_captures_are_read_on() -> Result<()> {
    let records = basic()?;
    let raw = with_header(&records, |_| Vec::new());
    let plain = stat(own().join("basic.pcap"), &[])?;
    let (a, b) = (10, 14);
    let ng = |is_big_endian, records: &[Record]| pcapng(is_big_endian, &[interface(1)], records);
    let directory = Directory::new()?;
    for (name, parts) in [
        (
            "the same",
            [
                pcap(PCAP, 1, &records[..a]),
                pcap(PCAP, 1, &records[a..b]),
                pcap(PCAP, 1, &records[b..]),
            ],
        ),
        (
            "other byte orders and resolutions",
            [
                pcap(PCAP, 1, &records[..a]),
                pcap(SWAPPED, 1, &records[a..b]),
                pcap(SWAPPED_NANOSECONDS, 1, &records[b..]),
            ],
        ),
        (
            "other link types",
            [
                pcap(NANOSECONDS, 1, &records[..a]),
                pcap(PCAP, 101, &raw[a..b]),
                pcap(SWAPPED, 1 | 0x2400_0000, &records[b..]),
            ],
        ),
        (
            "pcapng between",
            [
                pcap(SWAPPED, 1, &records[..a]),
                ng(true, &records[a..b]),
                pcap(PCAP, 1, &records[b..]),
            ],
        ),
        (
            "pcap between",
            [
                ng(false, &records[..a]),
                pcap(PCAP, 1, &records[a..b]),
                ng(true, &records[b..]),
            ],
        ),
        (
            "sections",
            [
                ng(false, &records[..a]),
                ng(true, &records[a..b]),
                ng(false, &records[b..]),
            ],
        ),
        (
            "nothing between",
            [
                pcap(PCAP, 1, &records[..a]),
                pcap(SWAPPED, 105, &[]),
                ng(false, &records[a..]),
            ],
        ),
        (
            "nothing in front",
            [
                pcap(PCAP, 1, &[]),
                pcapng(true, &[], &[]),
                pcap(PCAP, 1, &records),
            ],
        ),
    ] {
        let second = parts[0].len();
        let whole = parts.concat();
        let file = directory.write("whole", &whole)?;
        let (text, said) = outputs(&mut command(&[
            "stat", "--output", "json", "-logFile", &file,
        ]))?;
        let read: Value = serde_json::from_str(&text)?;
        same(name, &plain, &read)?;
        ensure!(
            read["source"]["further_captures"] == 2,
            "{name}: {}",
            read["source"]
        );
        let told = format!("2 further captures behind the first one, from byte {second} on");
        ensure!(
            said.contains(&told) && said.contains("mergecap"),
            "{name}: {said}"
        );
        let page = output(&mut command(&["report", &file, "-o", "-"]))?;
        ensure!(page.contains(&told), "{name}");
        for program in ["gzip", "zstd", "xz", "bzip2", "lz4"] {
            let packed: Result<Vec<_>> = parts.iter().map(|part| packed(program, part)).collect();
            let file = directory.write("packed", packed?.concat())?;
            same(name, &plain, &stat(&file, &[])?).context(program)?;
        }
        // As a pipe brings it.
        for piece in [1, 17] {
            let mut child = command(&["stat", "-logFile", "-", "--output", "json"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()?;
            let mut input = child.stdin.take().context("no input")?;
            for piece in whole.chunks(piece) {
                input.write_all(piece)?;
            }
            drop(input);
            let read = serde_json::from_slice(&child.wait_with_output()?.stdout)?;
            same(name, &plain, &read)?;
        }
        // Cut off in the third header.
        let at = whole.len() - parts[2].len();
        let cut = directory.write("cut", &whole[..at + 18])?;
        let why = match name {
            "sections" => "middle of a record",
            _ => "middle of its header",
        };
        let first = match name {
            "nothing between" => a,
            "nothing in front" => {
                let text = failure(1, &mut command(&["stat", "-logFile", &cut]))?;
                ensure!(text.contains(why), "{name}: {text}");
                continue;
            }
            _ => b,
        };
        let (read, reason) = broken(&cut)?;
        let is_told = reason.starts_with(&format!("byte {at}: ")) && reason.contains(why);
        ensure!(is_told, "{name}: {reason}");
        ensure!(
            read["source"]["frames"] == first,
            "{name}: {}",
            read["source"]
        );
    }
    Ok(())
}

/// A reader that brings one byte at a time, so that every header is incomplete for a while.
struct Bytes(std::vec::IntoIter<u8>);

impl Read for Bytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match (buffer.first_mut(), self.0.next()) {
            (Some(place), Some(byte)) => {
                *place = byte;
                Ok(1)
            }
            _ => Ok(0),
        }
    }
}

#[test]
fn headers_may_come_in_pieces() -> Result<()> {
    let records = basic()?;
    let parts = [
        pcapng(false, &[interface(1)], &records[..5]),
        pcapng(true, &[interface(1)], &records[5..10]),
        pcapng(false, &[], &[]),
        pcap(SWAPPED, 1, &records[10..15]),
        pcap(NANOSECONDS, 1, &records[15..20]),
        pcapng(true, &[interface(1)], &records[20..]),
    ];
    let whole = capture::read(io::Cursor::new(parts.concat()), Config::default());
    ensure!(whole.broken.is_none() && whole.counters.frames == records.len() as u64);
    let pieces = capture::read(Bytes(parts.concat().into_iter()), Config::default());
    ensure!(pieces == whole, "{pieces:?}");
    Ok(())
}

/// Where buffers end, records of every length in front.
#[test]
fn the_seam_may_be_anywhere() -> Result<()> {
    let directory = Directory::new()?;
    let records: Vec<_> = record::bulk()?.take(1500).collect();
    let plain = stat(directory.write("plain", pcap(PCAP, 1, &records))?, &[])?;
    for first in [690, 691, 694, 697, 1200] {
        let (a, b) = records.split_at(first);
        let parts = [pcap(PCAP, 1, a), pcapng(true, &[interface(1)], b)].concat();
        same("seam", &plain, &stat(directory.write("seam", parts)?, &[])?)?;
    }
    // As many captures as packets, and far more than those.
    let mut many: Vec<u8> = records[..50]
        .iter()
        .flat_map(|record| pcap(SWAPPED, 1, std::slice::from_ref(record)))
        .collect();
    many.extend(pcap(PCAP, 1, &[]).repeat(20_000));
    many.extend(pcap(PCAP, 1, &records[50..]));
    let read = stat(directory.write("many", many)?, &[])?;
    same("many", &plain, &read)?;
    ensure!(
        read["source"]["further_captures"] == 20_050,
        "{}",
        read["source"]
    );
    Ok(())
}

/// What only looks like another capture is none.
#[test]
fn a_packet_is_no_capture() -> Result<()> {
    let directory = Directory::new()?;
    let mut records = basic()?;
    let plain = stat(own().join("basic.pcap"), &[])?;
    // Within a packet.
    let at = records
        .iter()
        .position(|record| record.bytes.len() > 400)
        .context("no data")?;
    records[at].bytes[300..324].copy_from_slice(&pcap(PCAP, 1, &[]));
    same(
        "within",
        &plain,
        &stat(directory.write("within", pcap(PCAP, 1, &records))?, &[])?,
    )?;
    // In a second of 2055, and the microsecond that is version 2.4.
    records.truncate(1);
    records[0].nanoseconds = (0xa1b2_c3d4 * 1_000_000 + 0x0004_0002) * 1000;
    let read = stat(directory.write("2055", pcap(PCAP, 1, &records))?, &[])?;
    ensure!(read["source"]["frames"] == 1 && read["source"]["further_captures"] == 0);
    ensure!(
        total(&read, "MPSYN")? == 1 && read["time"] == "2055-12-19T16:41:56.262146Z",
        "{}",
        read["time"]
    );
    Ok(())
}

/// What `cat` makes of a capture and a compressed one cannot be read as one.
#[test]
fn a_compressed_file_behind_a_capture_is_named() -> Result<()> {
    let records = basic()?;
    let file = pcap(PCAP, 1, &records);
    let directory = Directory::new()?;
    for program in ["gzip", "zstd", "xz", "lz4", "bzip2"] {
        let both = [file.clone(), packed(program, &file)?].concat();
        let (read, reason) = broken(&directory.write("both", both)?)?;
        ensure!(
            read["source"]["frames"] == records.len(),
            "{}",
            read["source"]
        );
        let told = format!("({program} data seems to begin there)");
        ensure!(reason.contains(&told), "{program}: {reason}");
        // The other way round, the decoder says so.
        let both = [packed(program, &file)?, file.clone()].concat();
        let (read, reason) = broken(&directory.write("both", both)?)?;
        ensure!(
            read["source"]["frames"] == records.len(),
            "{}",
            read["source"]
        );
        ensure!(
            reason.contains(&format!("its {program} data is")),
            "{program}: {reason}"
        );
    }
    Ok(())
}

/// PPP in all its framings, and with protocol fields of either length: the packets are the same.
#[test]
fn ppp_changes_nothing() -> Result<()> {
    let records = basic()?;
    let plain = stat(own().join("basic.pcap"), &[])?;
    let directory = Directory::new()?;
    let pppoe =
        |length: u16, ppp: &[u8]| [&[0x11, 0, 0, 7][..], &length.to_be_bytes(), ppp].concat();
    for (name, link_type, header) in [
        ("bare", 9, vec![0, 0x21]),
        ("short", 9, vec![0x21]),
        ("framed", 9, vec![0xff, 3, 0, 0x21]),
        ("framed-short", 9, vec![0xff, 3, 0x21]),
        ("hdlc", 50, vec![0xff, 3, 0, 0x21]),
        ("hdlc-short", 50, vec![0xff, 3, 0x21]),
        ("cisco", 50, vec![0x0f, 0, 8, 0]),
        ("cisco-all", 50, vec![0x8f, 0, 8, 0]),
        ("c-hdlc", 104, vec![0x0f, 0, 8, 0]),
        ("pppoe", 51, pppoe(100, &[0, 0x21])),
        ("pppoe-short", 51, pppoe(100, &[0x21])),
        ("direction", 204, vec![1, 0xff, 3, 0, 0x21]),
        ("direction-bare", 204, vec![0, 0, 0x21]),
        ("pppd", 166, vec![0, 3, 0, 0x21]),
        // What tcpdump -i any sees on a gateway.
        (
            "cooked2",
            276,
            [
                &[
                    0x88, 0x64, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0,
                ][..],
                &pppoe(100, &[0, 0x21]),
            ]
            .concat(),
        ),
    ] {
        let records = with_header(&records, |_| header.clone());
        let file = directory.write("ppp.pcap", pcap(PCAP, link_type, &records))?;
        same(name, &plain, &stat(&file, &[])?)?;
        let file = pcapng(true, &[interface(link_type as u16)], &records);
        same(
            name,
            &plain,
            &stat(directory.write("ppp.pcapng", file)?, &[])?,
        )?;
    }
    // IPv6, and what is neither.
    let frame = Frame {
        ipv6: true,
        ..Frame::new(0x10, &DSS, 100)
    };
    let record = |header: &[u8]| {
        let bytes = [header, &frame.ip()].concat();
        let length = bytes.len() as u32;
        Record {
            bytes,
            length,
            nanoseconds: 1_000_000_000,
            ingress: None,
        }
    };
    for (link_type, header, leaf) in [
        (9, &[0xff, 3, 0, 0x57][..], "mptcp"),
        (9, &[0x57], "mptcp"),
        (50, &[0x0f, 0, 0x86, 0xdd], "mptcp"),
        (51, &[0x11, 0, 0, 7, 0, 100, 0, 0x57], "mptcp"),
        // LCP; compressed; ARP by Cisco; PADI, of which nothing is PPP; another version.
        (9, &[0xff, 3, 0xc0, 0x21], "not_ip"),
        (9, &[0, 0xfd], "not_ip"),
        (50, &[0x0f, 0, 8, 6], "not_ip"),
        (51, &[0x11, 9, 0, 0, 0, 100, 0, 0x57], "not_ip"),
        (51, &[0x21, 0, 0, 7, 0, 100, 0, 0x57], "not_ip"),
    ] {
        let file = directory.write("one.pcap", pcap(PCAP, link_type, &[record(header)]))?;
        let read = stat(&file, &[])?;
        ensure!(
            read["probe"][leaf] == 1,
            "{link_type}, {header:x?}: {}",
            read["probe"]
        );
        // Cut off within the header, or behind it.
        for length in 0..=header.len() {
            let mut record = record(header);
            record.bytes.truncate(length);
            let file = directory.write("cut.pcap", pcap(PCAP, link_type, &[record]))?;
            let read = stat(&file, &[])?;
            ensure!(read["source"]["frames"] == 1 && read["probe"]["mptcp"] == 0);
        }
    }
    // Who sent it, where the header says so.
    let client: [u8; 4] = records[0].bytes[26..30].try_into()?;
    for (link_type, behind) in [(204, &[0xff, 3, 0, 0x21][..]), (166, &[3, 0, 0x21])] {
        let sent = with_header(&records, |record| {
            let is_sent = record.bytes[26..30] != client;
            [&[u8::from(is_sent)][..], behind].concat()
        });
        let file = directory.write("host.pcap", pcap(PCAP, link_type, &sent))?;
        let read = stat(&file, &["--role", "host"])?;
        ensure!(
            event_of(&read, "rx", "capable_syn", 0) == 1,
            "{}",
            read["events"]
        );
        ensure!(
            event_of(&read, "tx", "capable_synack", 0) == 1,
            "{}",
            read["events"]
        );
    }
    Ok(())
}

/// Link types that are not read are refused by number and name, with what to do.
#[test]
fn other_link_types_are_named() -> Result<()> {
    let records = basic()?;
    let directory = Directory::new()?;
    for (number, name) in [
        (105, " (IEEE802_11)"),
        (119, " (IEEE802_11_PRISM)"),
        (127, " (IEEE802_11_RADIOTAP)"),
        (239, " (NFLOG)"),
        (258, " (PKTAP)"),
        (149, " (USER2 (PKTAP of older macOS))"),
        (189, " (USB_LINUX)"),
        (4000, ""),
    ] {
        let files = [
            pcap(PCAP, number, &records),
            pcap(SWAPPED, number | 0x1000_0000, &records),
            pcapng(true, &[interface(number as u16)], &records),
        ];
        for bytes in files {
            let file = directory.write("other", bytes)?;
            for command in [
                &["stat", "-logFile", &file][..],
                &["sessions", "--log-file", &file],
                &["events", "--log-file", &file],
                &["report", &file, "-o", "-"],
            ] {
                let text = failure(1, &mut self::command(command))?;
                let told =
                    format!("its packets are of link type {number}{name}, which is not read");
                ensure!(text.contains(&told), "{text}");
                ensure!(
                    text.contains("next: ") && text.contains("tcpdump -i any"),
                    "{text}"
                );
            }
        }
        // Beside an interface that is read, it is passed by.
        let mixed = pcapng(
            false,
            &[interface(1), interface(number as u16), interface(105)],
            &records,
        );
        let file = directory.write("mixed", mixed)?;
        let (text, said) = outputs(&mut command(&[
            "stat", "--output", "json", "-logFile", &file,
        ]))?;
        let read: Value = serde_json::from_str(&text)?;
        let of = |rest: usize| (0..records.len()).filter(|n| n % 3 == rest).count();
        ensure!(read["source"]["frames"] == of(0), "{}", read["source"]);
        ensure!(
            read["source"]["skipped"] == of(1) + of(2),
            "{}",
            read["source"]
        );
        if number == 105 {
            let told = format!("{} packets of link type 105 (IEEE802_11)", of(1) + of(2));
            ensure!(said.contains(&told), "{said}");
        } else {
            for (number, name, count) in [(number, name, of(1)), (105, " (IEEE802_11)", of(2))] {
                let told =
                    format!("{count} packets of link type {number}{name}, which is not read");
                ensure!(said.contains(&told), "{said}");
            }
        }
    }
    Ok(())
}

/// Captured before segmentation, below 64 KiB: two buffers of several packets, whose IP headers have no length. tshark
/// finds 11 DSS in each.
#[test]
fn what_was_captured_before_segmentation_has_its_length() -> Result<()> {
    for name in [
        "tso_total_length_0.pcap",
        "tso_tagged_snap.pcap",
        "tso_raw_snap.pcap",
    ] {
        let path = own().join(name);
        let (text, said) = outputs(command(&["stat", "--output", "json", "-logFile"]).arg(&path))?;
        let read: Value = serde_json::from_str(&text)?;
        ensure!(
            total(&read, "TotDSS")? == 11 && total(&read, "SeqMapM")? == 4,
            "{name}"
        );
        ensure!(
            read["extra"]["DataAckBad"] == 0,
            "{name}: {}",
            read["extra"]
        );
        ensure!(
            read["probe"]["malformed_ip"] == 0 && read["probe"]["mptcp"] == 14,
            "{name}"
        );
        ensure!(
            read["source"]["oversized"] == 2,
            "{name}: {}",
            read["source"]
        );
        ensure!(
            said.contains("2 TCP packets of more than 1500 bytes, or without"),
            "{said}"
        );
        let sessions = output(command(&["sessions", "--output", "json", "--log-file"]).arg(&path))?;
        let sessions: Value = serde_json::from_str(&sessions)?;
        let bytes = &sessions["sessions"][0]["bytes_from_initiator"];
        ensure!(
            *bytes == 5000 || sessions["sessions"] == serde_json::json!([]),
            "{name}: {bytes}"
        );
    }
    Ok(())
}

/// One packet without a length in its IP header, as it is captured.
#[test]
fn a_frame_without_length_is_as_long_as_what_was_captured() -> Result<()> {
    let directory = Directory::new()?;
    let read = |link_type: u32, bytes: Vec<u8>, longer: u32| -> Result<Value> {
        let length = bytes.len() as u32 + longer;
        let record = Record {
            bytes,
            length,
            nanoseconds: 1_000_000_000,
            ingress: None,
        };
        stat(
            directory.write("one.pcap", pcap(PCAP, link_type, &[record]))?,
            &[],
        )
    };
    for ipv6 in [false, true] {
        for payload in [10, 500, 1400, 3000] {
            let frame = Frame {
                ip_length: Some(0),
                ipv6,
                ..Frame::new(0x10, &DSS, payload)
            };
            let mut tagged = frame.bytes();
            tagged.splice(12..12, [0x81, 0, 0, 7]);
            for (link_type, bytes) in [(1, frame.bytes()), (1, tagged), (101, frame.ip())] {
                let whole = read(link_type, bytes.clone(), 0)?;
                ensure!(
                    whole["probe"]["mptcp"] == 1,
                    "IPv6 {ipv6}, {payload}: {}",
                    whole["probe"]
                );
                ensure!(whole["source"]["oversized"] == 1, "{}", whole["source"]);
                // Of which only the headers were captured.
                let headers = bytes.len() - payload;
                let cut = read(link_type, bytes[..headers].to_vec(), payload as u32)?;
                ensure!(cut["probe"] == whole["probe"] && cut["events"] == whole["events"]);
            }
        }
        // With a length it is what that says.
        let frame = Frame {
            ipv6,
            ..Frame::new(0x10, &DSS, 10)
        };
        let plain = read(1, frame.bytes(), 0)?;
        ensure!(plain["source"]["oversized"] == 0 && plain["probe"]["mptcp"] == 1);
    }
    // IPv6 with a jumbo payload option: the length stands there, and is that of the buffer.
    let jumbo = Frame {
        ip_length: Some(0),
        ipv6: true,
        extensions: vec![(0, vec![0, 0xc2, 4, 0, 1, 0x20, 0])],
        ..Frame::new(0x10, &DSS, 3000)
    };
    ensure!(read(1, jumbo.bytes(), 0)?["probe"]["mptcp"] == 1);
    // A packet that ends with its IPv6 header is no packet without length.
    let empty = Frame {
        ip_length: Some(0),
        ipv6: true,
        protocol: 59,
        ..Frame::new(0x10, &[], 0)
    };
    let empty = read(1, [&empty.bytes()[..54], &[0; 6]].concat(), 0)?;
    ensure!(
        empty["probe"]["not_tcp"] == 1 && empty["source"]["oversized"] == 0,
        "{empty:#}"
    );
    Ok(())
}

/// A frame that is no longer than Ethernet fills them up to may be a packet and what fills it: where the one ends and
/// the other begins only the IP header could say. No buffer of several packets is as short, and receivers drop a
/// packet without length, so that it is malformed, as it is live.
#[test]
fn a_short_frame_without_length_is_malformed() -> Result<()> {
    let directory = Directory::new()?;
    let leaf = |link_type: u32, bytes: Vec<u8>| -> Result<String> {
        let length = bytes.len() as u32;
        let record = Record {
            bytes,
            length,
            nanoseconds: 1_000_000_000,
            ingress: None,
        };
        let read = stat(
            directory.write("one.pcap", pcap(PCAP, link_type, &[record]))?,
            &[],
        )?;
        let leaves = read["probe"].as_object().context("no leaves")?;
        let leaf = leaves
            .iter()
            .find(|(_, count)| **count == 1)
            .context("no leaf")?;
        Ok(leaf.0.clone())
    };
    // DATA_ACKs of 4 bytes: IPv4 and TCP headers take 48 bytes with them, and 40 without.
    let short = Frame {
        ip_length: Some(0),
        ..Frame::new(0x10, &[], 6)
    };
    let long = Frame {
        ip_length: Some(0),
        ..Frame::new(0x10, &[], 7)
    };
    let with_tags = |frame: &Frame, tags: usize| {
        let mut bytes = frame.bytes();
        for _ in 0..tags {
            bytes.splice(12..12, [0x81, 0, 0, 7]);
        }
        bytes
    };
    for tags in 0..3 {
        ensure!(
            leaf(1, with_tags(&short, tags))? == "malformed_ip",
            "{tags} tags"
        );
        ensure!(leaf(1, with_tags(&long, tags))? == "tcp", "{tags} tags");
    }
    ensure!(leaf(101, short.ip())? == "malformed_ip" && leaf(101, long.ip())? == "tcp");
    // Filled up, to 60 bytes.
    let filled = Frame {
        ip_length: Some(0),
        padding: 6,
        ..Frame::new(0x10, &[], 0)
    };
    ensure!(filled.bytes().len() == 60 && leaf(1, filled.bytes())? == "malformed_ip");
    // Nothing but what fills it.
    let mut nothing = short.bytes();
    nothing[34..].fill(0);
    ensure!(leaf(1, nothing.clone())? == "malformed_ip");
    nothing.resize(100, 0);
    ensure!(leaf(1, nothing)? == "malformed_tcp");
    Ok(())
}
