//! Frames that do not say how long they are.

use super::*;

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
