//! Link types.

use super::*;

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
