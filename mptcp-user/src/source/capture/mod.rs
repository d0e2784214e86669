//! A capture file, run through the engine.

mod input;
mod link;
mod watch;

use std::{collections::BTreeMap, io::Read, ops::ControlFlow};

use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use jiff::Timestamp;
use mptcp_common::{
    counter::{Counters, Event, FexitCounts, Outcome, Role},
    state::Tables as _,
};
use pcap_parser::{
    Block, LegacyPcapBlock, Linktype, PcapBlockOwned, PcapHeader,
    pcapng::{
        EnhancedPacketBlock, IDB_MAGIC, InterfaceDescriptionBlock, OptionCode, PcapNGOption,
        SimplePacketBlock, UnknownBlock,
    },
    traits::PcapNGPacketBlock as _,
};

use self::{
    input::{CONTRADICTION, Input, Others, Progress, number},
    link::{Header, Link},
    watch::Watch,
};
use super::{
    Origin, Recent, Selection, Session, Statistics,
    file::{File, conclude},
    history::History,
    select,
};
use crate::{
    failure::{Failure, Kind},
    offline::{Captured, Config, Offline},
};

const SECOND: u64 = 1_000_000_000;

/// The payload of an Ethernet frame without its header, at most, where no jumbo frames are in use.
const MTU: u32 = 1500;

/// A capture and what was counted in it.
pub(crate) struct Capture {
    name: String,
    input: Input,
    tally: Tally,
    /// Why it could not be read to its end.
    broken: Option<String>,
}

/// What a test wants to know of a capture that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Reading {
    /// What was counted.
    pub counters: Counters,
    /// Packets behind link-layer headers that are not read.
    pub skipped: u64,
    /// Why it could not be read, or not to its end.
    pub broken: Option<String>,
}

/// Reads a capture from anywhere, as the commands do from files: for tests.
pub fn read(bytes: impl Read + 'static, config: Config) -> Reading {
    let file = File::of("capture", bytes, ProgressBar::hidden());
    let mut capture = match file.and_then(|file| Capture::new(file, config)) {
        Ok(capture) => capture,
        Err(error) => {
            return Reading {
                counters: Counters::default(),
                skipped: 0,
                broken: Some(format!("{error:#}")),
            };
        }
    };
    let failed = capture.read(|_, _| Ok(ControlFlow::Continue(()))).err();
    Reading {
        counters: capture.tally.engine.counters(),
        skipped: capture.tally.unread.skipped(),
        broken: failed.map(|error| format!("{error:#}")).or(capture.broken),
    }
}

/// What the packets so far amount to.
struct Tally {
    engine: Offline,
    config: Config,
    interfaces: Vec<Interface>,
    names: Vec<String>,
    times: Option<Times>,
    unread: Unread,
    /// For a report.
    watch: Option<Watch>,
    is_watched: bool,
}

/// Nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
struct Times {
    first: u64,
    /// The latest so far: the engine's clock.
    last: u64,
}

/// Where packets were captured, as the file describes it.
#[derive(Clone, Copy, Debug)]
struct Interface {
    linktype: Linktype,
    link: Option<Link>,
    /// 0 is no limit.
    snap_length: u32,
    ticks_per_second: u64,
    /// Seconds that are to be added to each time.
    offset: i64,
}

/// What of a capture could not be taken as it stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unread {
    /// Packets behind link-layer headers that are not read, by the number of the link type.
    pub(crate) link_types: BTreeMap<i32, u64>,
    /// Packets cut short in front of the end of their TCP options.
    pub(crate) cut: u64,
    /// Packets with a time before that of an earlier one.
    pub(crate) backward: u64,
    /// TCP packets of more than Ethernet's usual MTU, or without a length in the IP header.
    pub(crate) oversized: u64,
    /// What stood behind the first capture in the file, and was read as if it were the same.
    pub(crate) others: Others,
}

impl Unread {
    /// Packets behind link-layer headers that are not read.
    pub(crate) fn skipped(&self) -> u64 {
        self.link_types.values().sum()
    }
}

/// A Packet Block of pcapng: obsolete since there are enhanced ones, and unknown to the reader of blocks.
struct PacketBlock<'a> {
    interface: u32,
    ticks: u64,
    /// On the wire.
    length: u32,
    /// `None` where the block is shorter than it says.
    data: Option<&'a [u8]>,
}

/// A packet as the file has it.
struct Packet<'a> {
    data: &'a [u8],
    /// On the wire.
    length: u32,
    /// `None` where it has no time.
    time: Option<u64>,
    ingress: Option<bool>,
}

impl Capture {
    pub(super) fn new(file: File, config: Config) -> Result<Self> {
        let File {
            name, bytes, bar, ..
        } = file;
        let input = Input::new(bytes, bar).with_context(|| format!("cannot read {name}"))?;
        Ok(Self {
            name,
            input,
            tally: Tally {
                engine: Offline::new(config),
                config,
                interfaces: Vec::new(),
                names: Vec::new(),
                times: None,
                unread: Unread::default(),
                watch: None,
                is_watched: false,
            },
            broken: None,
        })
    }

    /// Keeps its history while it is read.
    pub(crate) fn watch(&mut self) {
        self.tally.is_watched = true;
    }

    /// What happened when, if it was watched.
    pub(crate) fn history(&mut self) -> Option<History> {
        let last = self.tally.times?.last;
        let watch = self.tally.watch.take()?;
        Some(watch.history(&self.tally.engine, last))
    }

    /// Reads as far as it can be read or is wanted, and tells what happens when.
    pub(crate) fn read(
        &mut self,
        mut tell: impl FnMut(Timestamp, &Event) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        loop {
            match self.input.next(|block| self.tally.block(&block))? {
                Progress::On => {
                    for report in self.tally.engine.take_reports() {
                        if tell(timestamp(report.time), &report)?.is_break() {
                            return Ok(());
                        }
                    }
                }
                Progress::Done => break,
                Progress::Broken(reason) => {
                    self.broken = Some(reason);
                    break;
                }
            }
        }
        self.input.finish();
        self.tally.unread.others = self.input.others();
        if self.tally.engine.counters().frames > 0 {
            return Ok(());
        }
        let link_types: Vec<_> = self.tally.unread.link_types.keys().collect();
        let reason = match (&self.broken, link_types.as_slice()) {
            (Some(broken), _) => broken.clone(),
            // There was nothing to read, and all of it was.
            (None, []) => return Ok(()),
            (None, numbers) => {
                let names: Vec<_> = numbers.iter().map(|number| link::name(**number)).collect();
                format!(
                    "its packets are of {}, which is not read\n  {}",
                    names.join(" and "),
                    link::NEXT
                )
            }
        };
        Err(Failure::error(
            Kind::Failed,
            format!("cannot read {}: {reason}", self.name),
        ))
    }

    /// The whole capture as one reading.
    pub(crate) fn statistics(&self) -> Statistics {
        let tally = &self.tally;
        let counters = tally.engine.counters();
        let times = tally.times;
        let seconds = times.map_or(0.0, |times| {
            (times.last - times.first) as f64 / SECOND as f64
        });
        let strays: u64 = counters
            .directions()
            .iter()
            .map(|(_, events)| events.unknown_flow)
            .sum();
        // On a middlebox it takes a SYN to tell directions.
        let undirected: u64 = counters.unknown.option.iter().sum();
        Statistics {
            time: times.map(|times| timestamp(times.last)),
            origin: Origin::Capture {
                file: self.name.clone(),
                broken: self.broken.clone(),
                unread: tally.unread.clone(),
            },
            interfaces: tally.names.clone(),
            role: tally.config.role,
            since: times.map(|times| timestamp(times.first)),
            attached_mid_traffic: strays + undirected > 0,
            in_flight: false,
            rows: counters,
            extras: counters,
            has_queues: false,
            verifies_checksums: tally.config.scope.is_verifying,
            hooks: FexitCounts::default(),
            recent_hooks: (0.0, FexitCounts::default()),
            gauges: Some(tally.engine.gauges(times.map_or(0, |times| times.last))),
            recent: vec![Recent { seconds, counters }],
        }
    }

    /// The role, the time of the last packet, and the sessions that existed then.
    pub(crate) fn sessions(
        &self,
        selection: &Selection,
    ) -> Result<(Role, Option<Timestamp>, Vec<Session>)> {
        let Tally { engine, config, .. } = &self.tally;
        let last = self.tally.times.map(|times| times.last);
        let tables = (engine.sessions(), engine.subflows());
        let sessions = select(&tables, selection, &config.limits, last.unwrap_or_default())?;
        Ok((config.role, last.map(timestamp), sessions))
    }

    /// An error if it could not be read to its end.
    pub(crate) fn conclude(&self) -> Result<()> {
        conclude(&self.name, self.broken.as_deref())
    }

    /// What its reader should know, in sentences.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let Unread {
            link_types,
            cut,
            backward,
            oversized,
            others,
        } = &self.tally.unread;
        let mut remarks = Vec::new();
        let mut remark = |count: u64, what: &str| {
            if count > 0 {
                remarks.push(format!("{}: {count} {what}", self.name));
            }
        };
        for (number, count) in link_types {
            let what = format!("packets of {}, which is not read", link::name(*number));
            remark(*count, &what);
        }
        remark(
            *cut,
            "packets cut off by the snap length before the end of their TCP options",
        );
        remark(
            *backward,
            "packets with a time before that of an earlier one, which holds",
        );
        remark(
            *oversized,
            "TCP packets of more than 1500 bytes, or without a length in the IP header (captured before \
             segmentation, if the MTU is not larger); each counts as one",
        );
        let what = format!(
            "further captures behind the first one, from byte {} on, read as if all were one; if they were not \
             taken one after the other, read each by itself, or merge them by time (mergecap)",
            others.first
        );
        remark(others.count, &what);
        remarks
    }
}

impl Tally {
    /// Says why, if the block cannot be.
    fn block(&mut self, block: &PcapBlockOwned<'_>) -> Result<Option<String>> {
        match block {
            PcapBlockOwned::Legacy(packet) => return self.legacy_packet(packet),
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                return self.enhanced_packet(packet);
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => return self.simple_packet(packet),
            PcapBlockOwned::NG(Block::Unknown(block)) => {
                if let Some(packet) = PacketBlock::new(block) {
                    return self.packet_block(packet);
                }
            }
            PcapBlockOwned::LegacyHeader(header) => {
                // Another capture may stand in front of it.
                self.interfaces.clear();
                self.interfaces.push(Interface::of_file(header));
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(block)) => self.describe(block),
            // Its interfaces are numbered anew.
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.interfaces.clear(),
            PcapBlockOwned::NG(_) => {}
        }
        Ok(None)
    }

    fn describe(&mut self, interface: &InterfaceDescriptionBlock<'_>) {
        self.interfaces.push(Interface::of_block(interface));
        if let Some(Ok(name)) = interface.if_name()
            && !self.names.iter().any(|known| known == name)
        {
            self.names.push(name.to_owned());
        }
    }

    fn legacy_packet(&mut self, packet: &LegacyPcapBlock<'_>) -> Result<Option<String>> {
        let Some(interface) = self.interface(0) else {
            return Ok(Some(undescribed(0)));
        };
        let ticks = u64::from(packet.ts_sec) * interface.ticks_per_second;
        let ticks = ticks + u64::from(packet.ts_usec);
        self.packet(
            interface,
            Packet {
                data: packet.data,
                length: packet.origlen,
                time: Some(interface.nanoseconds(ticks)),
                ingress: None,
            },
        )
    }

    fn enhanced_packet(&mut self, packet: &EnhancedPacketBlock<'_>) -> Result<Option<String>> {
        let Some(interface) = self.interface(packet.if_id) else {
            return Ok(Some(undescribed(packet.if_id)));
        };
        let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
        self.packet(
            interface,
            Packet {
                data: packet.packet_data(),
                length: packet.origlen,
                time: Some(interface.nanoseconds(ticks)),
                ingress: direction(packet),
            },
        )
    }

    /// Of an obsolete Packet Block.
    fn packet_block(&mut self, packet: PacketBlock<'_>) -> Result<Option<String>> {
        let Some(interface) = self.interface(packet.interface) else {
            return Ok(Some(undescribed(packet.interface)));
        };
        let Some(data) = packet.data else {
            return Ok(Some(CONTRADICTION.to_owned()));
        };
        self.packet(
            interface,
            Packet {
                data,
                length: packet.length,
                time: Some(interface.nanoseconds(packet.ticks)),
                ingress: None,
            },
        )
    }

    fn simple_packet(&mut self, packet: &SimplePacketBlock<'_>) -> Result<Option<String>> {
        let Some(interface) = self.interface(0) else {
            return Ok(Some(undescribed(0)));
        };
        let data = packet.packet_data();
        let captured = match interface.snap_length {
            0 => data.len(),
            length => data.len().min(length as usize),
        };
        self.packet(
            interface,
            Packet {
                data: &data[..captured],
                length: packet.origlen,
                time: None,
                ingress: None,
            },
        )
    }

    fn interface(&self, number: u32) -> Option<Interface> {
        self.interfaces.get(number as usize).copied()
    }

    fn packet(&mut self, interface: Interface, packet: Packet<'_>) -> Result<Option<String>> {
        let Some(link) = interface.link else {
            let number = link::number(interface.linktype);
            *self.unread.link_types.entry(number).or_default() += 1;
            return Ok(None);
        };
        let mut header = Header::default();
        let inner = link.open(packet.data, &mut header);
        let ingress = match (self.config.role, inner.ingress.or(packet.ingress)) {
            (_, Some(ingress)) => ingress,
            (Role::Middlebox, None) => true,
            (Role::Host, None) => {
                return Err(Failure::error(
                    Kind::Usage,
                    "--role host: this capture does not say which packets came in and which went \
                     out (Linux cooked captures do, and pcapng with packet flags)\n  next: \
                     --role middlebox, or capture with tcpdump -i any",
                ));
            }
        };
        let now = self.clock(packet.time);
        if self.is_watched && self.times.is_some() {
            let watch = self.watch.get_or_insert_with(|| Watch::new(now));
            watch.before(&self.engine, now);
        }
        let header = (packet.data.len() - inner.bytes.len().min(packet.data.len())) as u32;
        let length = packet.length.saturating_sub(header);
        let leaf = self.engine.captured(
            Captured {
                bytes: inner.bytes,
                length,
                is_layer_3: inner.is_layer_3,
                ingress,
            },
            now,
        );
        if let Some(watch) = &mut self.watch {
            watch.after(&self.engine);
        }
        if leaf == Outcome::Truncated && packet.data.len() < packet.length as usize {
            self.unread.cut += 1;
        }
        let is_tcp = matches!(leaf, Outcome::Tcp | Outcome::Mptcp);
        // VLAN tags make a frame longer than its MTU says.
        let longest = MTU + if inner.is_layer_3 { 0 } else { 22 };
        let is_oversized = length > longest && link.has_mtu();
        if is_tcp && (is_oversized || self.engine.lacked_length()) {
            self.unread.oversized += 1;
        }
        Ok(None)
    }

    /// The engine's clock at a packet: it does not go back, and begins with the first packet that has a time.
    fn clock(&mut self, time: Option<u64>) -> u64 {
        let Some(times) = &mut self.times else {
            self.times = time.map(|first| Times { first, last: first });
            return time.unwrap_or_default();
        };
        match time {
            Some(time) if time < times.last => self.unread.backward += 1,
            Some(time) => times.last = time,
            None => {}
        }
        times.last
    }
}

impl<'a> PacketBlock<'a> {
    const TYPE: u32 = 2;

    /// `None` of another block.
    fn new(block: &UnknownBlock<'a>) -> Option<Self> {
        // The type is read as a little-endian number, whatever the file is.
        let is_big_endian = block.block_type == Self::TYPE.swap_bytes();
        if block.block_type != Self::TYPE && !is_big_endian {
            return None;
        }
        let word = |at| number(block.data, at, is_big_endian).unwrap_or_default();
        // Behind the interface stands how many packets were dropped.
        let first = word(0);
        let captured = word(12) as usize;
        Some(Self {
            interface: if is_big_endian {
                first >> 16
            } else {
                first & 0xffff
            } as u32,
            ticks: word(4) << 32 | word(8),
            length: word(16) as u32,
            data: block.data.get(20..).and_then(|data| data.get(..captured)),
        })
    }
}

impl Interface {
    /// Of a pcap file, which has one.
    fn of_file(header: &PcapHeader) -> Self {
        Self {
            linktype: header.network,
            link: Link::new(header.network),
            snap_length: header.snaplen,
            ticks_per_second: if header.is_nanosecond_precision() {
                SECOND
            } else {
                1_000_000
            },
            offset: 0,
        }
    }

    fn of_block(block: &InterfaceDescriptionBlock<'_>) -> Self {
        // The exponent of 10, or of 2.
        let exponent = u32::from(block.if_tsresol & 0x7f);
        let ticks = match block.if_tsresol & 0x80 {
            0 => 10_u64.checked_pow(exponent),
            _ => 2_u64.checked_pow(exponent),
        };
        // The block's own field takes every file for a little-endian one.
        let offset = value(&block.options, OptionCode::IfTsoffset).map(|bytes| {
            if block.block_type == IDB_MAGIC {
                i64::from_le_bytes(bytes)
            } else {
                i64::from_be_bytes(bytes)
            }
        });
        Self {
            linktype: block.linktype,
            link: Link::new(block.linktype),
            snap_length: block.snaplen,
            ticks_per_second: ticks.unwrap_or(u64::MAX),
            offset: offset.unwrap_or_default(),
        }
    }

    fn nanoseconds(&self, ticks: u64) -> u64 {
        let per_tick = SECOND / self.ticks_per_second;
        let time = if per_tick * self.ticks_per_second == SECOND {
            ticks.saturating_mul(per_tick)
        } else {
            let exact = u128::from(ticks) * u128::from(SECOND) / u128::from(self.ticks_per_second);
            u64::try_from(exact).unwrap_or(u64::MAX)
        };
        let offset = self.offset.saturating_mul(SECOND as i64);
        time.saturating_add_signed(offset)
    }
}

fn undescribed(interface: u32) -> String {
    format!("a packet is of interface {interface}, which the capture does not describe")
}

/// The value of an option, as it stands in the file.
fn value<const N: usize>(options: &[PcapNGOption<'_>], code: OptionCode) -> Option<[u8; N]> {
    let option = options.iter().find(|option| option.code == code)?;
    option.value().first_chunk().copied()
}

/// What the flags of a packet say.
fn direction(packet: &EnhancedPacketBlock<'_>) -> Option<bool> {
    /// `epb_flags`.
    const FLAGS: OptionCode = OptionCode(2);
    let flags = value(&packet.options, FLAGS)?;
    let word = if packet.big_endian() {
        u32::from_be_bytes(flags)
    } else {
        u32::from_le_bytes(flags)
    };
    match word & 3 {
        1 => Some(true),
        2 => Some(false),
        _ => None,
    }
}

/// From nanoseconds since 1970, which all lie before jiff's last year.
fn timestamp(nanoseconds: u64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or(Timestamp::MAX)
}
