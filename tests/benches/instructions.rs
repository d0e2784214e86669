//! `cargo xtask count` runs this under callgrind: one kind of work, on so many packets.

use std::{
    env,
    io::{Cursor, Read as _},
};

use anyhow::{Context as _, Result, bail, ensure};
use mptcp_common::{counter::Counters, packet::Buffer};
use mptcp_tests::{
    frame::{ACK, Frame},
    record::{self, PCAP, Record},
};
use mptcp_user::{
    capture,
    offline::{Config, Offline},
};

/// Packets that are made, of which some are worked on: making them is in no difference.
const MOST: usize = 20_000;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let work = arguments.next().context("which work?")?;
    let packets = arguments.next().context("on how many packets?")?.parse()?;
    ensure!(packets <= MOST, "{MOST} packets are made");
    let counters = match work.as_str() {
        "capture-bulk" => read(record::pcap(PCAP, 1, &bulk()?), packets)?,
        "capture-sessions" => read(sessions()?, packets)?,
        "engine-bulk" => count(&bulk()?[..packets]),
        "engine-timestamp" => count(&timestamps()[..packets]),
        _ => bail!("there is no {work}"),
    };
    ensure!(counters.frames == packets as u64, "{counters:?}");
    Ok(())
}

/// The engine alone.
fn count(records: &[Record]) -> Counters {
    let mut engine = Offline::new(Config::default());
    for record in records {
        engine.frame(&record.bytes, Buffer::ONE, record.nanoseconds);
    }
    engine.counters()
}

/// The engine behind the reader of captures, which gets the first packets of a file.
fn read(file: Vec<u8>, packets: usize) -> Result<Counters> {
    let mut end = 24;
    for _ in 0..packets {
        let length = file.get(end + 8..end + 12).context("too few packets")?;
        end += 16 + u32::from_le_bytes(length.try_into()?) as usize;
    }
    let reading = capture::read(Cursor::new(file).take(end as u64), Config::default());
    ensure!(reading.broken.is_none(), "{:?}", reading.broken);
    Ok(reading.counters)
}

fn captured(name: &str) -> Result<Vec<u8>> {
    let path = format!("{}/data/captures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).context(path)
}

fn bulk() -> Result<Vec<Record>> {
    Ok(record::bulk()?.take(MOST).collect())
}

/// A file of a short session with a join, over and over.
fn sessions() -> Result<Vec<u8>> {
    const RECORDS: usize = 11;
    let ends = captured("ends.pcap")?;
    let (header, records) = ends.split_at_checked(24).context("no capture")?;
    Ok([header, &records.repeat(MOST.div_ceil(RECORDS))].concat())
}

/// TCP without MPTCP.
fn timestamps() -> Vec<Record> {
    let bytes = Frame::new(ACK, &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], 1400).bytes();
    let record = Record {
        nanoseconds: 1,
        length: bytes.len() as u32,
        bytes,
        ingress: None,
    };
    vec![record; MOST]
}
