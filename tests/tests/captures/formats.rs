//! Formats, link types and clocks.

use super::*;

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
