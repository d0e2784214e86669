//! Captures behind captures.

use super::*;

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
