//! Compressed captures and logs: what is in them is what was packed; what is cut off, damaged or too large is told,
//! in bounded memory.

use std::{
    fs::{self, File},
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    captures::own,
    files::{Directory, packed},
    net::finished,
    probe::{binary, broken, command, failure, recorded as stat, same},
    record::{self, PCAP, pcap, pcapng},
};
use serde_json::Value;

/// Those whose files are read.
const PROGRAMS: [&str; 5] = ["gzip", "zstd", "xz", "bzip2", "lz4"];

/// `stat` of what a pipe brings.
fn piped(bytes: &[u8], pieces: usize) -> Result<Value> {
    let mut child = command(&["stat", "-logFile", "-", "--output", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("no input")?;
    for piece in bytes.chunks(pieces) {
        input.write_all(piece)?;
    }
    drop(input);
    Ok(serde_json::from_slice(&child.wait_with_output()?.stdout)?)
}

#[test]
fn compressed_captures_and_standard_input() -> Result<()> {
    let path = own().join("session.pcap");
    let plain = stat(&path, &[])?;
    let file = fs::read(&path)?;
    let directory = Directory::new()?;
    for program in PROGRAMS {
        // Two members, frames or streams are one file.
        let (head, tail) = file.split_at(1000);
        let members = [packed(program, head)?, packed(program, tail)?].concat();
        for bytes in [packed(program, &file)?, members] {
            let whole = directory.write(program, &bytes)?;
            same(program, &plain, &stat(&whole, &[])?)?;
            same(program, &plain, &piped(&bytes, 17)?)?;
            let cut = directory.write("cut", &bytes[..bytes.len() / 2])?;
            let text = failure(1, &mut command(&["stat", "-logFile", &cut]))?;
            let told = format!("its {program} data is cut off");
            ensure!(text.contains(&told), "{program}: {text}");
        }
    }
    same("standard input", &plain, &piped(&file, 17)?)?;
    // A frame that zstd skips, of 4 bytes, stands in front of what pzstd writes.
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    let pzstd = [&skipped[..], &packed("zstd", &file)?].concat();
    same(
        "pzstd",
        &plain,
        &stat(directory.write("pzstd", pzstd)?, &[])?,
    )?;
    // Streams of xz may have zeros behind them, four at a time.
    let padded = [
        packed("xz", &file[..1000])?,
        vec![0; 8],
        packed("xz", &file[1000..])?,
    ]
    .concat();
    same(
        "padded",
        &plain,
        &stat(directory.write("padded", padded)?, &[])?,
    )
}

/// A log says the same of itself, however it is packed.
#[test]
fn compressed_logs() -> Result<()> {
    let line = |seconds: u32, frames: u32| {
        format!(
            "{{\"log_version\":1,\"time\":\"2026-01-01T00:00:0{seconds}Z\",\"role\":\"host\",\"interfaces\":[{{\
             \"name\":\"a\",\"since\":\"2026-01-01T00:00:00Z\",\"attached_mid_traffic\":false,\"in_flight\":false,\
             \"has_queues\":true,\"verifies_checksums\":true,\"counters\":{{\"frames\":{frames},\"leaves\":{{\
             \"tcp\":{frames}}},\"rx\":{{}},\"tx\":{{}},\"unknown\":{{}}}}}}]}}\n"
        )
    };
    let log = [line(1, 5), line(2, 7)];
    let directory = Directory::new()?;
    let plain = stat(directory.write("log", log.concat())?, &[])?;
    let source = &plain["source"];
    ensure!(source["kind"] == "log" && source["frames"] == 7, "{source}");
    for program in PROGRAMS {
        let members = [
            packed(program, log[0].as_bytes())?,
            packed(program, log[1].as_bytes())?,
        ];
        for bytes in [packed(program, log.concat().as_bytes())?, members.concat()] {
            let read = stat(directory.write("packed", &bytes)?, &[])?;
            ensure!(read["source"]["frames"] == plain["source"]["frames"]);
            same(program, &plain, &read)?;
            same(program, &plain, &piped(&bytes, 5)?)?;
        }
        // The second member is cut off: the first is shown, and the exit code says that it is not all.
        let members = members.concat();
        let cut = directory.write("cut", &members[..members.len() - 1])?;
        let text = failure(1, &mut command(&["stat", "-logFile", &cut]))?;
        ensure!(text.contains("cut off"), "{program}: {text}");
    }
    Ok(())
}

/// Packets that neither vanish when they are compressed nor cannot be.
fn packets(count: usize) -> Result<Vec<record::Record>> {
    let mut x = 1_u32;
    let mut records: Vec<_> = record::bulk()?.take(count).collect();
    for byte in records
        .iter_mut()
        .flat_map(|record| record.bytes.iter_mut().skip(100).step_by(3))
    {
        x = x.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
        *byte = (x >> 24) as u8;
    }
    Ok(records)
}

/// What of a compressed capture can be unpacked is counted, by the witness of the program that compressed
/// it; that the rest cannot is told.
#[test]
fn compressed_captures_that_are_damaged() -> Result<()> {
    let records = packets(1000)?;
    let directory = Directory::new()?;
    // How much may be lost in front of the end, and in front of damage: a chunk of xz is read as a whole, and a block
    // of lz4 or bzip2 is right or wrong as a whole.
    for (program, at_end, at_damage) in [
        ("gzip", 0, 4 << 10),
        ("zstd", 0, 4 << 10),
        ("xz", 256 << 10, 256 << 10),
        ("bzip2 -1", 0, 4 << 10),
        ("lz4 -B4", 0, 64 << 10),
    ] {
        let unpacker = program.split(' ').next().unwrap_or_default();
        let whole = packed(program, &pcap(PCAP, 1, &records))?;
        for at in [whole.len() / 2, whole.len() * 3 / 4, whole.len() - 3] {
            let cut = directory.write("cut", &whole[..at])?;
            let unpacked = finished(Command::new(unpacker).arg("-dc").stdin(File::open(&cut)?))?;
            let counted = |lost: usize| {
                let safe = unpacked.stdout.len().saturating_sub(lost);
                record::count(&unpacked.stdout[..safe]).0
            };
            let least = counted(at_end);
            let (stat, reason) = broken(&cut)?;
            let frames = stat["source"]["frames"].as_u64().context("no frames")?;
            ensure!(
                least > 100 && (least..=1000).contains(&frames),
                "{program}, cut at {at}: {frames}, and {least} are whole; {reason}"
            );
            let told = format!("its {unpacker} data is cut off");
            ensure!(reason.contains(&told), "{program}, cut at {at}: {reason}");
            // They are those that come first.
            let first = pcap(PCAP, 1, &records[..frames as usize]);
            let first = self::stat(directory.write("first", first)?, &[])?;
            same(program, &first, &stat)?;

            let least = counted(at_damage);
            for bits in [1, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= bits;
                let (stat, reason) = broken(&directory.write("damaged", bytes)?)?;
                let frames = stat["source"]["frames"].as_u64().context("no frames")?;
                ensure!(
                    frames >= least,
                    "{program}, damaged at {at}: {frames}, and {least} are in front of it; {reason}"
                );
            }
        }
    }
    Ok(())
}

/// The decoder of lz4 takes the end of a file between two blocks for the end of the frame.
#[test]
fn a_frame_of_lz4_that_ends_between_two_blocks_is_cut_off() -> Result<()> {
    let whole = packed("lz4 -B4", &pcap(PCAP, 1, &packets(1000)?))?;
    let directory = Directory::new()?;
    // The header has a length of the content, if its flags say so.
    let mut at = if whole[4] & 8 == 0 { 7 } else { 15 };
    let mut blocks = 0;
    while let Some(length) = whole.get(at..at + 4) {
        let length = u32::from_le_bytes(length.try_into()?) as usize & 0x7fff_ffff;
        if length == 0 {
            break;
        }
        at += 4 + length;
        blocks += 1;
        if blocks % 3 == 0 {
            let (_, reason) = broken(&directory.write("cut", &whole[..at])?)?;
            ensure!(reason.contains("its lz4 data is cut off"), "{at}: {reason}");
        }
    }
    ensure!(blocks > 5, "{blocks} blocks");
    // Frames of blocks of different sizes, and one without content.
    let file = fs::read(own().join("session.pcap"))?;
    let frames = [
        packed("lz4 -B7", &file[..1000])?,
        packed("lz4", &[])?,
        packed("lz4 -B4 -BD", &file[1000..3000])?,
        packed("lz4 -B5 --no-frame-crc", &file[3000..])?,
    ];
    let plain = stat(own().join("session.pcap"), &[])?;
    same(
        "lz4",
        &plain,
        &stat(directory.write("lz4", frames.concat())?, &[])?,
    )
}

/// A decoder is made anew for each part, which takes a thousand times as long as the bytes of an empty one.
#[test]
fn a_file_of_nothing_but_parts_is_refused() -> Result<()> {
    let file = fs::read(own().join("session.pcap"))?;
    let plain = stat(own().join("session.pcap"), &[])?;
    let directory = Directory::new()?;
    // A frame that lz4 skips.
    let skipped = [&[0x53, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"abcd"].concat();
    let empty = [
        ("bzip2", packed("bzip2", &[])?),
        ("lz4", packed("lz4", &[])?),
        ("lz4", skipped),
    ];
    for (program, part) in empty {
        let whole = packed(program, &file)?;
        let few = [&whole[..], &part.repeat(900)].concat();
        let read = stat(directory.write("few", few)?, &[])?;
        same(program, &plain, &read)?;
        let many = [&whole[..], &part.repeat(300_000)].concat();
        let (_, reason) = broken(&directory.write("many", many)?)?;
        ensure!(reason.contains("takes too long to unpack"), "{reason}");
        let cut = [&whole[..], &part[..part.len() - 1]].concat();
        let (_, reason) = broken(&directory.write("cut", cut)?)?;
        ensure!(reason.contains("data is cut off"), "{program}: {reason}");
    }
    // Small parts that hold data are no more than their bytes.
    let small: Result<Vec<_>> = file.chunks(97).map(|part| packed("bzip2", part)).collect();
    let read = stat(directory.write("small", small?.concat())?, &[])?;
    same("small", &plain, &read)
}

#[test]
fn what_is_not_unpacked_is_named() -> Result<()> {
    let file = fs::read(own().join("basic.pcap"))?;
    let directory = Directory::new()?;
    let twice = packed("gzip", &packed("xz", &file)?)?;
    for (name, bytes, what, how) in [
        (
            "lzip",
            b"LZIP\x01\x0c.......".to_vec(),
            "packed with lzip",
            "lzip -dc",
        ),
        (
            "lzma",
            packed("xz --format=lzma", &file)?,
            "packed with lzma",
            "xz -dc",
        ),
        (
            "lz4",
            packed("lz4 -l", &file)?,
            "packed with lz4 (legacy)",
            "lz4 -dc",
        ),
        (
            "zip",
            b"PK\x03\x04\x14\0\0\0\x08\0".to_vec(),
            "packed with zip",
            "unzip -p",
        ),
        (
            "7z",
            b"7z\xbc\xaf\x27\x1c\0\x04".to_vec(),
            "packed with 7z",
            "7z x -so",
        ),
        (
            "compress",
            vec![0x1f, 0x9d, 0x90, 1],
            "packed with compress",
            "gzip -dc",
        ),
        (
            "twice",
            twice,
            "packed with xz, and again with gzip",
            "gzip -dc",
        ),
    ] {
        let path = directory.write(name, bytes)?;
        for command in [
            &["stat", "-logFile", &path][..],
            &["sessions", "--log-file", &path],
            &["events", "--log-file", &path],
            &["report", &path, "-o", "-"],
        ] {
            let text = failure(1, &mut probe(command))?;
            let next = format!("next: unpack it first: {how} {path}");
            ensure!(
                text.contains(what) && text.contains(&next),
                "{name}: {text}"
            );
        }
    }
    for program in PROGRAMS {
        let empty = directory.write("empty", packed(program, &[])?)?;
        let text = failure(1, &mut probe(&["stat", "-logFile", &empty]))?;
        ensure!(text.contains("it is empty"), "{program}: {text}");
    }
    Ok(())
}

fn probe(arguments: &[&str]) -> Command {
    command(arguments)
}

/// The CRC of gzip and xz.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

/// `stat` of a file with an address space of 400 MB, the program itself included.
fn bounded(path: &str) -> Command {
    let mut command = Command::new("sh");
    let script = "ulimit -v 400000; exec \"$0\" stat -logFile \"$1\" --output json";
    command.args(["-c", script]).arg(binary()).arg(path);
    command
}

/// However much a file unpacks to, and whatever it says that it takes.
#[test]
fn memory_is_bounded() -> Result<()> {
    let directory = Directory::new()?;
    let records = record::read(&fs::read(own().join("basic.pcap"))?)?;
    // 512 MiB of blocks that hold nothing.
    let mut nothing = [&0xbad_u32.to_le_bytes()[..], &(8_u32 << 20).to_le_bytes()].concat();
    nothing.resize((8 << 20) - 4, 0);
    nothing.extend((8_u32 << 20).to_le_bytes());
    let capture = pcapng(false, &[record::Interface::ETHERNET], &records);
    for program in PROGRAMS {
        let block = packed(program, &nothing)?;
        let bomb = [packed(program, &capture)?, block.repeat(64)].concat();
        ensure!(bomb.len() < 16 << 20, "{program}: {}", bomb.len());
        let out = finished(&mut bounded(&directory.write("bomb", bomb)?))?;
        let stat: Value = serde_json::from_slice(&out.stdout)
            .with_context(|| format!("{program}: {}", String::from_utf8_lossy(&out.stderr)))?;
        ensure!(
            out.status.success() && stat["source"]["frames"] == records.len(),
            "{program}: {}",
            stat["source"]
        );
        // Of a log, one line that does not end.
        let line = packed(program, &[b'{'; 8 << 20])?;
        let text = failure(1, &mut bounded(&directory.write("line", line)?))?;
        ensure!(text.contains("does not end"), "{program}: {text}");
    }
    // A dictionary of 4 GiB, said in the head of the only block: its sum is right.
    let mut xz = packed("xz", &capture)?;
    let head = 12..12 + (usize::from(xz[12]) + 1) * 4;
    let properties = head.start + 2;
    ensure!(
        xz[properties..properties + 2] == [0x21, 1],
        "another filter"
    );
    let mut with = |dictionary: u8| -> Result<String> {
        xz[properties + 2] = dictionary;
        let sum = crc32(&xz[head.start..head.end - 4]);
        xz[head.end - 4..head.end].copy_from_slice(&sum.to_le_bytes());
        directory.write("dictionary", &xz)
    };
    // 128 MiB are read, and as much is only taken as is unpacked.
    let largest = with(30)?;
    ensure!(finished(&mut bounded(&largest))?.status.success());
    for dictionary in [31, 40] {
        let text = failure(1, &mut bounded(&with(dictionary)?))?;
        ensure!(
            text.contains("its xz data takes more than 128 MiB") && text.contains("xz -dc"),
            "{text}"
        );
    }
    // A window of 2 GiB, in front of a block as it is.
    let mut zstd = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0xa8];
    zstd.extend(&((capture.len() as u32) << 3 | 1).to_le_bytes()[..3]);
    zstd.extend(&capture);
    let text = failure(1, &mut bounded(&directory.write("window", &zstd)?))?;
    ensure!(
        text.contains("its zstd data takes more than 128 MiB") && text.contains("zstd -dc"),
        "{text}"
    );
    // 128 MiB.
    zstd[5] = 0x88;
    ensure!(
        finished(&mut bounded(&directory.write("window", &zstd)?))?
            .status
            .success()
    );
    Ok(())
}
