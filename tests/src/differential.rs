//! The programs in the kernel and the engine over ordinary memory, side by side: both have to count alike, packet by
//! packet. Without root, the engine alone.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mptcp_common::{counter::Counters, counter::Gauges, counter::Role, packet::Buffer};
use mptcp_user::offline::{Config, Offline};
use mptcp_user::statistics::{EXTRAS, ROWS};

use crate::{
    forger::Forger,
    frame::{FIN, Frame},
    kernel::{Kernel, Merged, Program, START},
    record::Record,
    root::is_root,
    tables,
};

/// Who sends: the initiator of the session.
pub const A: usize = 0;
/// Who sends: the listener of the session, on whose host the probe is.
pub const B: usize = 1;

/// The engines of kernel and user space, side by side.
pub struct Differential {
    /// `None` where user space is alone.
    kernel: Option<Kernel>,
    offline: Offline,
    /// The engine without fast paths.
    long: Offline,
    /// The same where each buffer is cut into its packets, as on the wire, in [`Differential::cutting`].
    wire: Option<Offline>,
    /// Who sends forged packets between the others, in [`Differential::forged`].
    forger: Option<Forger>,
    /// What was sent, where it is recorded.
    recorded: Option<Vec<Record>>,
    /// How many frames were run.
    pub frames: u64,
    pub(crate) role: Role,
    before: Counters,
    /// The time of both, in nanoseconds.
    now: u64,
    /// Index of an interface with receive queues.
    interface: Option<u32>,
    queue: u32,
    /// Sessions made so far: each has addresses, ports and keys of its own.
    pub(crate) made: u32,
}

impl Differential {
    /// Both with the same configuration.
    pub fn new(config: Config) -> Result<Self> {
        Ok(Self {
            kernel: Some(Kernel::with(config)?),
            ..Self::alone(config)
        })
    }

    /// Both for root, and user space alone for others.
    ///
    /// # Errors
    /// If the programs cannot be loaded.
    ///
    /// # Panics
    /// Under CI, without root.
    pub fn as_permitted(config: Config) -> Result<Self> {
        if is_root("the programs in the kernel: the engine in user space is alone") {
            Self::new(config)
        } else {
            Ok(Self::alone(config))
        }
    }

    /// User space without the kernel.
    pub fn alone(config: Config) -> Self {
        Self {
            kernel: None,
            offline: Offline::new(config),
            long: Offline::new(Config {
                fast_path_enabled: false,
                ..config
            }),
            wire: None,
            forger: None,
            recorded: None,
            frames: 0,
            role: config.role,
            before: Counters::default(),
            now: START,
            interface: None,
            queue: 0,
            made: 0,
        }
    }

    /// User space without the kernel, and beside it an engine that gets the packets of each buffer one by one: both
    /// have to count the same.
    pub fn cutting(config: Config) -> Self {
        Self {
            wire: Some(Offline::new(config)),
            ..Self::alone(config)
        }
    }

    /// Both, with forged packets between the others: what these are to sessions has to be nothing.
    pub fn forged(config: Config) -> Result<Self> {
        Ok(Self {
            forger: Some(Forger::new(config)),
            ..Self::new(config)?
        })
    }

    /// How many packets were forged, after a comparison of all sessions.
    ///
    /// # Errors
    /// If they changed a session.
    pub fn check_forged(&self) -> Result<u64> {
        let Some(forger) = &self.forger else {
            return Ok(0);
        };
        forger.compare_sessions(&self.offline)?;
        Ok(forger.forged)
    }

    /// Are buffers compared with their packets?
    pub fn is_cutting(&self) -> bool {
        self.wire.is_some()
    }

    /// Are there forged packets?
    pub fn is_forged(&self) -> bool {
        self.forger.is_some()
    }

    /// Keeps what is sent from now on.
    pub fn record(&mut self) {
        self.recorded = Some(Vec::new());
    }

    /// What was kept.
    pub fn take_recorded(&mut self) -> Vec<Record> {
        self.recorded.take().unwrap_or_default()
    }

    /// Runs a frame as it was captured, and returns what it counted.
    ///
    /// # Errors
    /// If kernel and user space differ.
    pub fn frame(&mut self, frame: &[u8], ingress: bool) -> Result<Counters> {
        let from = if ingress { A } else { B };
        self.run(frame, from, Merged::default(), true)
    }

    /// Runs a frame that was sent by a side, perhaps of several packets, and returns what it counted.
    ///
    /// # Errors
    /// If the two differ.
    pub(crate) fn run(
        &mut self,
        frame: &[u8],
        from: usize,
        merged: Merged,
        is_real: bool,
    ) -> Result<Counters> {
        let ingress = self.role == Role::Middlebox || from == A;
        let is_merged = merged.size != 0;
        let buffer = Buffer {
            packets: if is_merged { merged.packets } else { 1 },
            segment_size: merged.size,
            // Drivers merge behind XDP, where nobody tells of queues.
            queue: if ingress && !is_merged {
                self.queue + 1
            } else {
                0
            },
            ingress,
        };
        self.frames += 1;
        if let Some(recorded) = &mut self.recorded {
            recorded.push(Record {
                nanoseconds: self.now,
                length: frame.len() as u32,
                bytes: frame.to_vec(),
                ingress: Some(ingress),
            });
        }
        self.offline.frame(frame, buffer, self.now);
        let sum = self.offline.counters();
        let wanted = sum.since(&self.before);
        self.before = sum;
        let reports = self.offline.take_reports();
        ensure!(
            is_real || reports.is_empty(),
            "a forged packet is told of: {reports:?}"
        );
        self.long.frame(frame, buffer, self.now);
        let long = self.long.counters();
        ensure!(
            sum == long && reports == self.long.take_reports(),
            "the fast path and the slow one differ: {:?}",
            differences(&sum, &long)
        );
        if is_real && let Some(forger) = &mut self.forger {
            forger.real(frame, buffer, self.now);
        }
        if let Some(wire) = &mut self.wire {
            let packets = if is_merged {
                cut(frame, merged.size as usize)
            } else {
                vec![frame.to_vec()]
            };
            let one = Buffer {
                packets: 1,
                segment_size: 0,
                ..buffer
            };
            for packet in &packets {
                wire.frame(packet, one, self.now);
            }
            wire.take_reports();
            let (buffers, cut) = (without_bounds(sum), without_bounds(wire.counters()));
            ensure!(
                buffers == cut,
                "a buffer and its {} packets differ: {:?}",
                packets.len(),
                differences(&buffers, &cut)
            );
        }
        let Some(kernel) = &mut self.kernel else {
            return Ok(wanted);
        };
        let tc = if ingress {
            Program::TcIngress
        } else {
            Program::TcEgress
        };
        let counted = match self.interface {
            _ if is_merged => kernel.run_merged(tc, frame, merged, wanted.frames)?,
            Some(index) if ingress => kernel.run_on_queue(frame, index, self.queue)?,
            None if ingress => kernel.run(Program::XdpIngress, frame)?,
            _ => kernel.run(tc, frame)?,
        };
        let told = kernel.take_reports();
        ensure!(
            told == reports,
            "kernel and user space tell different events: {told:?} and {reports:?}"
        );
        ensure!(
            counted == wanted,
            "kernel and user space differ: {:?}",
            differences(&counted, &wanted)
        );
        Ok(counted)
    }

    /// Sends some forged packets on the flow of a frame.
    pub(crate) fn forge(&mut self, frame: &Frame, from: usize) -> Result<()> {
        let ingress = self.role == Role::Middlebox || from == A;
        for _ in 0..self.forger.as_mut().map_or(0, Forger::burst) {
            let now = self.now;
            let forger = self.forger.as_mut();
            let Some((forged, ingress)) =
                forger.and_then(|forger| forger.forge(frame, ingress, now))
            else {
                continue;
            };
            let from = if ingress { A } else { B };
            self.run(&forged.bytes(), from, Merged::default(), false)
                .with_context(|| format!("{forged:?}"))?;
            if let Some(forger) = &self.forger {
                forger
                    .check(&self.before)
                    .with_context(|| format!("{forged:?}"))?;
            }
        }
        Ok(())
    }

    /// Compares all tables, byte by byte.
    ///
    /// # Errors
    /// If the two differ.
    pub fn compare_tables(&self) -> Result<()> {
        tables::check_filter(&self.offline)?;
        ensure!(
            tables::bytes(&self.offline) == tables::bytes(&self.long),
            "the fast path and the slow one leave different tables"
        );
        let kernel = self.kernel.as_ref().context("no kernel")?;
        kernel.compare_tables(&self.offline)
    }

    /// All tables, byte by byte.
    pub fn tables(&self) -> Vec<u8> {
        tables::bytes(&self.offline)
    }

    /// Gives the program in the kernel an interface with several receive queues, by its name and
    /// index.
    pub fn attach(&mut self, interface: &str, index: u32) -> Result<()> {
        self.interface = Some(index);
        self.kernel
            .as_mut()
            .context("no kernel")?
            .attach(interface)?;
        Ok(())
    }

    /// Lets what comes in from now on come in at this receive queue.
    pub fn use_queue(&mut self, queue: u32) {
        self.queue = queue;
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) -> Result<()> {
        self.now += time.as_nanos() as u64;
        self.set_clock()
    }

    fn set_clock(&mut self) -> Result<()> {
        match &mut self.kernel {
            Some(kernel) => kernel.set_clock(self.now),
            None => Ok(()),
        }
    }

    /// Goes on with a CPU whose clock is behind by this time.
    pub fn set_back(&mut self, time: Duration) -> Result<()> {
        self.now -= time.as_nanos() as u64;
        self.set_clock()
    }

    /// What exists now, by the user-space engine's tables.
    pub fn gauges(&self) -> Gauges {
        self.offline.gauges(self.now)
    }
}

/// Without what a buffer cannot tell: it is added up as a whole, so that one of which some was sent before is not
/// verified; and where some of its data was mapped before on the same subflow, and some on another, not which of its
/// packets that is; nor what packets of it say that have nothing but acknowledged bytes, which is not heard of these alone.
fn without_bounds(mut counters: Counters) -> Counters {
    for events in [&mut counters.rx, &mut counters.tx, &mut counters.unknown] {
        events.checksum_verified = 0;
        events.checksum_unverified = 0;
        events.checksum_failed = 0;
        events.data_ack_beyond = 0;
        events.reinjected += std::mem::take(&mut events.remapped);
    }
    counters
}

/// The packets that a buffer of `size` bytes of payload each is cut into: Ethernet, IPv4 or IPv6 without more,
/// and TCP.
fn cut(frame: &[u8], size: usize) -> Vec<Vec<u8>> {
    const ETHERNET: usize = 14;
    let is_v6 = frame[ETHERNET] >> 4 == 6;
    let ip = if is_v6 { 40 } else { 20 };
    let tcp = ETHERNET + ip;
    let header = tcp + usize::from(frame[tcp + 12] >> 4) * 4;
    let sequence = u32::from_be_bytes(frame[tcp + 4..tcp + 8].try_into().expect("4 bytes"));
    let parts: Vec<_> = frame[header..].chunks(size).collect();
    let count = parts.len();
    let cut = |(i, part): (usize, &[u8])| {
        let mut packet = [&frame[..header], part].concat();
        let length = (packet.len() - ETHERNET) as u16;
        if is_v6 {
            packet[ETHERNET + 4..][..2].copy_from_slice(&(length - 40).to_be_bytes());
        } else {
            packet[ETHERNET + 2..][..2].copy_from_slice(&length.to_be_bytes());
        }
        let number = sequence.wrapping_add((i * size) as u32);
        packet[tcp + 4..][..4].copy_from_slice(&number.to_be_bytes());
        if i + 1 < count {
            packet[tcp + 13] &= !FIN;
        }
        packet
    };
    parts.into_iter().enumerate().map(cut).collect()
}

/// The words in which two counts differ, by name.
fn differences(one: &Counters, other: &Counters) -> Vec<String> {
    let mut found = Vec::new();
    for ((direction, a), (_, b)) in one.directions().into_iter().zip(other.directions()) {
        let words = |events| -> Vec<u64> {
            bytemuck::cast_slice::<_, u64>(std::slice::from_ref(events)).to_vec()
        };
        let (a, b) = (words(a), words(b));
        let mut index = 0;
        for (name, length, _) in mptcp_common::counter::DirectionCounters::FIELDS {
            for i in index..index + length {
                if a[i] != b[i] {
                    found.push(format!("{direction}.{name}: {} and {}", a[i], b[i]));
                }
            }
            index += length;
        }
    }
    if one.leaves != other.leaves {
        found.push(format!("{:?} and {:?}", one.leaves, other.leaves));
    }
    found
}

/// A row or further number by its name.
pub fn value(name: &str, counters: &Counters, gauges: &Gauges, role: Role) -> Result<Option<u64>> {
    if let Some(row) = ROWS.iter().find(|row| row.short == name) {
        return Ok(row.total(counters, Some(gauges), role));
    }
    let extra = EXTRAS
        .iter()
        .find(|extra| extra.name == name)
        .with_context(|| format!("no number {name}"))?;
    Ok(extra.total(counters, role))
}
