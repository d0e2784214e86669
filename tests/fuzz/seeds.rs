//! Makes what fuzzing starts from, of the captures: `seeds DIRECTORY`, with a directory in it for each
//! target.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use mptcp_common::counter::{Counters, FexitHook, Role};
use mptcp_fuzz::{LENGTH, OUTGOING, engine};
use mptcp_tests::{
    captures,
    files::packed,
    numbers::Numbers,
    record::{self, Interface, Record},
};
use mptcp_user::{
    log::{self, Hooks, Reading},
    offline::Captured,
};

/// Packets of a capture that go into one seed.
const PACKETS: usize = 60;
/// Readings of a log, about as many.
const READINGS: usize = 5;
/// Bytes of a frame: all headers, and some payload.
const SNAP: usize = 200;

fn main() -> Result<()> {
    let directory = PathBuf::from(env::args_os().nth(1).context("seeds DIRECTORY")?);
    let mut seeds = Seeds { directory, made: 0 };
    for path in captures::all()? {
        let file = fs::read(&path)?;
        let head = &file[..file.len().min(8_000)];
        seeds.add("capture", &[&[0, 1][..], head].concat())?;
        let Ok(mut records) = record::read(&file) else {
            continue;
        };
        for record in &mut records {
            record.bytes.truncate(SNAP);
        }
        seeds.of_records(&records)?;
        seeds.log(&records)?;
    }
    // What becomes of a session is made of numbers, not of packets.
    let mut numbers = Numbers::new(1);
    for _ in 0..200 {
        let course: Vec<u8> = (0..numbers.below(60)).map(|_| numbers.byte()).collect();
        seeds.add("sessions", &course)?;
    }
    Ok(())
}

struct Seeds {
    directory: PathBuf,
    made: u32,
}

impl Seeds {
    fn of_records(&mut self, records: &[Record]) -> Result<()> {
        let few = &records[..records.len().min(PACKETS)];
        let interface = Interface {
            link_type: 1,
            resolution: 9,
            offset: 0,
        };
        for file in [
            record::pcapng(false, &[interface], few),
            record::pcapng(true, &[interface], few),
            record::simple_packets(few),
            record::packet_blocks(few),
        ] {
            self.add("capture", &[&[0, 1][..], &file].concat())?;
        }
        let file = record::pcap(record::PCAP, 1, few);
        let mut gzip = GzEncoder::new(vec![0, 1], Compression::default());
        gzip.write_all(&file)?;
        self.add("capture", &gzip.finish()?)?;
        let zstd = zstd::encode_all(&file[..], 0)?;
        self.add("capture", &[&[0, 1][..], &zstd].concat())?;
        for program in ["xz", "bzip2", "lz4"] {
            self.add("capture", &[&[0, 1][..], &packed(program, &file)?].concat())?;
        }
        // One behind the other, of another byte order and link type.
        let frames: Vec<_> = few
            .iter()
            .filter(|record| record.bytes.len() >= 14)
            .cloned()
            .collect();
        let ppp = record::with_header(&frames, |_| vec![0xff, 3, 0, 0x21]);
        let ppp = record::pcap([0xa1, 0xb2, 0xc3, 0xd4], 9, &ppp);
        let section = record::pcapng(true, &[interface], few);
        self.add(
            "capture",
            &[&[0, 1][..], &file, &ppp, &section, &file].concat(),
        )?;
        for record in few {
            self.add("frame", &[&[0][..], &record.bytes].concat())?;
            if let Some(options) = options(&record.bytes) {
                let flags = record.bytes[14 + 20 + 13];
                self.add("options", &[&[flags, 1][..], options].concat())?;
            }
        }
        for (part, role) in records
            .chunks(PACKETS)
            .take(4)
            .zip([2, 3].into_iter().cycle())
        {
            let mut stream = vec![role];
            for record in part {
                let listens = record.bytes.get(35) < record.bytes.get(37);
                let head = record.bytes.len() as u16 & LENGTH;
                stream.extend((head | if listens { OUTGOING } else { 0 }).to_le_bytes());
                stream.extend(&record.bytes);
            }
            self.add("packets", &stream)?;
        }
        Ok(())
    }

    /// Of what is counted of them: readings of a probe that is cleared, and then another takes its
    /// place.
    fn log(&mut self, records: &[Record]) -> Result<()> {
        let mut engine = engine(0);
        let mut log = vec![0, self.made as u8];
        let mut last = (Timestamp::UNIX_EPOCH, Counters::default());
        for (number, part) in records.chunks(records.len().div_ceil(READINGS)).enumerate() {
            let mut now = 0;
            for record in part {
                now = record.nanoseconds;
                let captured = Captured {
                    bytes: &record.bytes,
                    length: record.length,
                    is_layer_3: false,
                    ingress: true,
                };
                engine.captured(captured, now);
            }
            let time = Timestamp::from_nanosecond(now.into())?;
            let counters = engine.counters();
            let reading = Reading {
                time,
                role: Role::Middlebox,
                interfaces: vec![log::Interface {
                    name: "eth0".to_owned(),
                    since: if number < 3 {
                        Timestamp::UNIX_EPOCH
                    } else {
                        time
                    },
                    attached_mid_traffic: false,
                    in_flight: false,
                    has_queues: true,
                    verifies_checksums: true,
                    counters,
                    cleared_rows: (number > 0).then_some(last),
                    cleared_extras: (number == 2).then_some(last),
                }],
                gauges: (number != 1).then(|| engine.gauges(now)),
                hooks: (number != 3).then(|| Hooks {
                    counts: FexitHook::ALL.map(|_| Some(number as u64)),
                    cleared: (number == 2).then(Default::default),
                }),
            };
            log.extend(log::line(&reading)?.into_bytes());
            last = (time, counters);
        }
        // Contents as they are, and counters of any kind behind them.
        self.add("pinned", &[0; 9])?;
        self.add("pinned", &[&[0; 9][..], &log].concat())?;
        self.add("log", &log)
    }

    fn add(&mut self, target: &str, bytes: &[u8]) -> Result<()> {
        let directory: &Path = &self.directory.join(target);
        fs::create_dir_all(directory)?;
        self.made += 1;
        fs::write(directory.join(self.made.to_string()), bytes)?;
        Ok(())
    }
}

/// The option area of a TCP segment over IPv4 and Ethernet.
fn options(frame: &[u8]) -> Option<&[u8]> {
    let is_tcp = frame.get(12..14)? == [8, 0] && *frame.get(14)? == 0x45 && *frame.get(23)? == 6;
    let size = usize::from(*frame.get(14 + 20 + 12)? >> 4) * 4;
    is_tcp.then(|| frame.get(14 + 20 + 20..14 + 20 + size))?
}
