//! Captures that cannot be read, or not to their end.

use super::*;

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
