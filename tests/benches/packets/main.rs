//! `cargo xtask bench`: what the programs cost per packet, in the kernel.
//!
//! A program is run over packets of many sessions, in turn with one that does nothing; the
//! difference is its cost. All lines of the table are measured a little at a time, over and over, so
//! that each gets its share of the machine's quiet moments. Times are judged in what this prints and
//! nowhere else.

mod feeder;
mod live;
mod opening;
mod report;
mod traffic;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mptcp_common::{
    counter::{Counters, DirectionCounters},
    wire::DssFlags,
};
use mptcp_tests::{
    frame::Frame,
    kernel::{Clock, Kernel, host},
};
use mptcp_user::offline::{Capacity, Config, Scope};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::{
    feeder::{Feeder, Hook},
    opening::Opening,
    report::{Machine, Row},
    traffic::{Packets, Sessions},
};

/// Packets of one sample: short enough to run without being interrupted most of the time.
const PACKETS: u32 = 2000;
/// How often all lines are measured, and for how long each time.
const PASSES: u32 = 12;
const TURN: Duration = Duration::from_millis(50);
/// Payload of a data packet in bytes: a full-size frame.
const PAYLOAD: u32 = 1400;
/// Packets of one mapping, where it is longer than a packet.
const PARTS: u32 = 40;
/// Sessions that the tables have room for if nothing else is said.
const DEFAULT: u32 = 8192;
/// The most sessions that are measured.
const MANY: u32 = 1_000_000;
/// Handshakes under way at once, and how often per pass.
const BATCH: u32 = 1024;
const BATCHES: u32 = 3;

/// Where records stand: of handshakes and joins, of flows that are no sessions', of sessions.
const HANDSHAKES: u32 = 0;
const FLOWS: u32 = 4 * BATCH;
const SESSIONS: u32 = 5 * BATCH;

/// How many packets were counted as what the line is about.
type Counted = fn(&Counters) -> u64;

/// What is measured.
#[derive(Clone, Copy)]
enum Program {
    /// The probe with this number.
    Probe(usize),
    /// One of the benchmark's own, for comparison.
    Own(&'static str),
}

/// A line of the table, and how it comes to be.
struct Line {
    row: Row,
    program: Program,
    /// The probe whose time is subtracted, and not that of a program that does nothing.
    less: Option<usize>,
    packets: Packets,
    /// What passes before a sample, packet by packet, and what behind it.
    before: Option<Packets>,
    after: Option<Packets>,
    counted: Counted,
}

impl Line {
    fn new(row: Row, program: Program, packets: Packets, counted: Counted) -> Self {
        Self {
            row,
            program,
            less: None,
            packets,
            before: None,
            after: None,
            counted,
        }
    }
}

/// A loaded probe.
struct Probe {
    kernel: Kernel,
    /// Number of the next data packet of its sessions.
    next: u64,
}

struct Bench {
    feeder: Feeder,
    probes: Vec<Probe>,
    lines: Vec<Line>,
}

fn main() -> Result<()> {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let is_json = has("json");
    if has("used") {
        return live::stat::tell_used();
    }
    if has("live") {
        return live::run(is_json);
    }
    pin()?;
    let machine = Machine::new();
    let mut bench = Bench::new()?;
    bench.nobodys()?;
    bench.untracked()?;
    for count in [1, 1000, MANY] {
        bench.established(count)?;
    }
    bench.checksums()?;
    let mut opening = Opening::new()?;
    for _ in 0..PASSES {
        bench.pass()?;
        opening.pass(&mut bench.feeder)?;
    }
    opening.check()?;
    let lines = bench.lines.into_iter().map(|line| line.row);
    let rows: Vec<_> = lines.chain(opening.rows).collect();
    if is_json {
        report::json(&machine, &rows)
    } else {
        report::table(&machine, &rows);
        Ok(())
    }
}

/// Stays on the first processor.
fn pin() -> Result<()> {
    let mut cpu = CpuSet::new();
    cpu.set(0)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cpu)?)
}

/// The programs as `attach` loads them.
fn load(sessions: u32, is_tracking: bool, is_verifying: bool) -> Result<Kernel> {
    Kernel::load(config(sessions, is_tracking, is_verifying), Clock::Real)
}

fn config(sessions: u32, is_tracking: bool, is_verifying: bool) -> Config {
    Config {
        scope: Scope {
            is_layer_3: false,
            is_tracking,
            is_verifying,
            is_checking: true,
        },
        sizes: Capacity {
            sessions,
            subflows: 2 * sessions,
            handshakes: 16384,
            ..Capacity::default()
        },
        ..host()
    }
}

/// The first so many sessions.
fn sessions(count: u32) -> Sessions {
    Sessions {
        first: 0,
        count,
        records: SESSIONS,
        payload: PAYLOAD,
        checksums: false,
    }
}

/// A feeder with the records of the first so many sessions, and of a thousand other flows.
fn feeder(sessions: u32) -> Result<Feeder> {
    let mut feeder = Feeder::new(SESSIONS + sessions)?;
    feeder.fill(SESSIONS, (0..sessions).map(traffic::numbers))?;
    feeder.fill(FLOWS, (0..1000).map(traffic::stranger))?;
    Ok(feeder)
}

/// Opens sessions in the tables of the program that is measured, by their handshakes. Then each has sent
/// a packet, which was acknowledged.
fn open(feeder: &mut Feeder, sessions: Sessions) -> Result<()> {
    for first in (0..sessions.count).step_by(BATCH as usize) {
        let batch = Sessions {
            first,
            count: BATCH.min(sessions.count - first),
            records: HANDSHAKES,
            ..sessions
        };
        feeder.fill(HANDSHAKES, batch.numbers().map(traffic::keys))?;
        for packets in batch.handshake() {
            feeder.pass(&packets, 0, batch.count)?;
        }
    }
    feeder.pass(&sessions.data(), 0, sessions.count)?;
    feeder.pass(&sessions.acknowledgments(), 0, sessions.count)
}

impl Bench {
    fn new() -> Result<Self> {
        Ok(Self {
            feeder: feeder(MANY)?,
            probes: Vec::new(),
            lines: Vec::new(),
        })
    }

    /// Adds a probe, and opens sessions in its tables.
    fn probe(&mut self, kernel: Kernel, sessions: Option<Sessions>) -> Result<usize> {
        let mut next = 0;
        if let Some(sessions) = sessions {
            self.open(&kernel, sessions)?;
            next = sessions.count.into();
        }
        self.probes.push(Probe { kernel, next });
        Ok(self.probes.len() - 1)
    }

    fn open(&mut self, kernel: &Kernel, sessions: Sessions) -> Result<()> {
        self.feeder.measure(kernel)?;
        open(&mut self.feeder, sessions)?;
        let opened = kernel.read()?.rx.session_created;
        // Of a million tokens some are the same, and some buckets are full.
        ensure!(
            report::is_nearly(opened, sessions.count.into()),
            "{opened} of {} sessions were opened",
            sessions.count
        );
        Ok(())
    }

    /// Packets of nobody's subflows, while there are sessions.
    fn nobodys(&mut self) -> Result<()> {
        let payload = PAYLOAD as usize;
        let frame = |frame: Frame| Packets::same(Frame { payload, ..frame }.bytes());
        let flows = |options: &[u8]| Packets::flows(options, payload, FLOWS, 1000);
        let arp = frame(Frame {
            ethertype: Some(0x0806),
            ..Frame::default()
        });
        let udp = frame(Frame {
            protocol: 17,
            ..Frame::default()
        });
        // An option of three bytes, which holds a 30, then options of two.
        let options: Vec<u8> = [253, 3, 30, 1]
            .into_iter()
            .chain([254, 2].repeat(18))
            .collect();
        let lines: [(_, _, _, Counted); 6] = [
            ("not IP (ARP)", 3.0, arp, |c| c.leaves.not_ip),
            ("not TCP (UDP)", 3.0, udp, |c| c.leaves.not_tcp),
            ("TCP without options", 6.0, flows(&[]), |c| c.leaves.tcp),
            (
                "TCP with a timestamp",
                8.0,
                flows(&traffic::TIMESTAMP),
                |c| c.leaves.tcp,
            ),
            ("TCP with 40 one-byte options", 60.0, flows(&[1; 40]), |c| {
                c.leaves.tcp
            }),
            (
                "TCP with 20 options to look at",
                60.0,
                flows(&options),
                |c| c.leaves.tcp,
            ),
        ];
        let mut reference = |name, program, packets| {
            let row = Row::new(Hook::Xdp, name, 1000, None);
            let line = Line::new(row, Program::Own(program), packets, |_| 0);
            self.lines.push(line);
        };
        reference(report::LOOKUP, "xdp_lookup", flows(&[]));
        let timestamps = flows(&traffic::TIMESTAMP);
        reference("a timestamp, read by the helper", "xdp_walk", timestamps);
        let data = sessions(1000).data();
        reference("DSS data, read by the helper", "xdp_walk", data);
        let kernel = load(DEFAULT, true, false)?;
        let probe = Program::Probe(self.probe(kernel, Some(sessions(1000)))?);
        for hook in Hook::ALL {
            for (name, budget, packets, counted) in &lines {
                let row = Row::new(hook, name, 1000, Some(*budget));
                self.lines
                    .push(Line::new(row, probe, packets.clone(), *counted));
            }
        }
        Ok(())
    }

    /// `--no-track`: what a packet says by itself.
    fn untracked(&mut self) -> Result<()> {
        let probe = Program::Probe(self.probe(load(1, false, false)?, None)?);
        for hook in Hook::ALL {
            let row = Row::new(hook, "DSS data, --no-track", 0, Some(12.0));
            self.lines
                .push(Line::new(row, probe, sessions(1000).data(), new_data));
        }
        Ok(())
    }

    /// Data at each hook, which is acknowledged.
    fn data(&mut self, name: &'static str, count: u32, budget: f64, of: (Program, Packets)) {
        let (program, packets) = of;
        for hook in Hook::ALL {
            let row = Row::new(hook, name, count, Some(budget));
            self.lines.push(Line {
                after: Some(sessions(count).acknowledgments()),
                ..Line::new(row, program, packets.clone(), new_data)
            });
        }
    }

    /// Data and acknowledgments of sessions that take turns.
    fn established(&mut self, count: u32) -> Result<()> {
        let sessions = sessions(count);
        let kernel = load(count.max(DEFAULT), true, false)?;
        let probe = Program::Probe(self.probe(kernel, Some(sessions))?);
        let budget = if count <= 1000 { 60.0 } else { 300.0 };
        self.data("DSS data", count, budget, (probe, sessions.data()));
        if count == 1000 {
            // In tables of its own, where nobody else's data comes between.
            let kernel = load(DEFAULT, true, false)?;
            let probe = Program::Probe(self.probe(kernel, Some(sessions))?);
            let packets = sessions.data_in_parts(PARTS);
            self.data(
                "DSS data, part of a mapping",
                count,
                budget,
                (probe, packets),
            );
        }
        if count == MANY {
            let row = Row::new(Hook::Xdp, "two dependent cold cache lines", count, None);
            let lines = Program::Own("xdp_lines");
            self.lines
                .push(Line::new(row, lines, sessions.data(), |_| 0));
            // No acknowledgments: the data before them would bring what they touch into the caches.
            return Ok(());
        }
        for (name, packets, counted) in [
            (
                "DSS acknowledgment",
                sessions.acknowledgments(),
                (|c| c.rx.fresh_data_ack) as Counted,
            ),
            (
                "acknowledgment without option",
                sessions.plain_acknowledgments(),
                |c| c.rx.fresh_ack,
            ),
        ] {
            let row = Row::new(Hook::Xdp, name, count, None);
            self.lines.push(Line {
                before: Some(sessions.data()),
                ..Line::new(row, probe, packets, counted)
            });
        }
        Ok(())
    }

    /// What it costs to verify the DSS checksum of 1 KiB of payload.
    fn checksums(&mut self) -> Result<()> {
        let sessions = Sessions {
            payload: 1024,
            checksums: true,
            ..sessions(1)
        };
        let without = self.probe(load(DEFAULT, true, false)?, Some(sessions))?;
        let with = self.probe(load(DEFAULT, true, true)?, Some(sessions))?;
        let row = Row::new(Hook::Xdp, "DSS checksum of 1 KiB", 1, Some(300.0));
        self.lines.push(Line {
            less: Some(without),
            after: Some(sessions.acknowledgments()),
            ..Line::new(row, Program::Probe(with), sessions.data(), |c| {
                c.rx.checksum_verified
            })
        });
        Ok(())
    }

    /// Measures each line for a while.
    fn pass(&mut self) -> Result<()> {
        for line in &mut self.lines {
            let feeder = &mut self.feeder;
            feeder.subtract(line.less.map(|probe| &self.probes[probe].kernel))?;
            match line.program {
                Program::Own(name) => {
                    feeder.measure_own(name)?;
                    line.turn(feeder, 0)?;
                }
                Program::Probe(probe) => {
                    let Probe { kernel, next } = &mut self.probes[probe];
                    feeder.measure(kernel)?;
                    let (before, from) = (kernel.read()?, *next);
                    *next = line.turn(feeder, from)?;
                    let counted = (line.counted)(&kernel.read()?.since(&before));
                    line.row.check(counted, *next - from)?;
                }
            }
        }
        self.feeder.subtract(None)
    }
}

impl Line {
    /// Measures for a while, from the packet with number `from` on; returns the number of the next.
    fn turn(&mut self, feeder: &mut Feeder, from: u64) -> Result<u64> {
        let start = Instant::now();
        let mut number = from;
        while start.elapsed() < TURN {
            if let Some(packets) = &self.before {
                feeder.pass(packets, number, PACKETS)?;
            }
            let sample = feeder.sample(self.row.hook, &self.packets, number, PACKETS)?;
            self.row.add(sample);
            if let Some(packets) = &self.after {
                feeder.pass(packets, number, PACKETS)?;
            }
            number += u64::from(PACKETS);
        }
        Ok(number)
    }
}

/// Packets with new data.
fn new_data(counted: &Counters) -> u64 {
    let new = |events: &DirectionCounters| {
        events.dss_with(DssFlags::MAPPING) - events.retransmitted - events.map_duplicate
    };
    new(&counted.rx) + new(&counted.tx)
}
