//! What the packets of a capture amount to: each record of the file becomes a packet of the engine.

use mptcp_common::counter::{Outcome, Role};
use pcap_parser::{
    Block, LegacyPcapBlock, PcapBlockOwned,
    pcapng::{
        EnhancedPacketBlock, InterfaceDescriptionBlock, OptionCode, SimplePacketBlock, UnknownBlock,
    },
    traits::PcapNGPacketBlock as _,
};

use anyhow::Result;

use super::{
    description::{InterfaceDescription, value},
    input::{CONTRADICTION, number},
    link::{self, Header},
    watch::Watch,
};
use crate::{
    failure::{Failure, FailureKind},
    offline::{Captured, Config, Offline},
    snapshot::statistics::Unread,
};

/// The payload of an Ethernet frame without its header, at most, where no jumbo frames are in use.
const MTU: u32 = 1500;

/// What the packets so far amount to.
pub(super) struct Tally {
    pub(super) engine: Offline,
    pub(super) config: Config,
    pub(super) interfaces: Vec<InterfaceDescription>,
    pub(super) names: Vec<String>,
    pub(super) times: Option<Times>,
    pub(super) unread: Unread,
    /// For a report.
    pub(super) watch: Option<Watch>,
    pub(super) is_watched: bool,
}

/// Nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) first: u64,
    /// The latest so far: the engine's clock.
    pub(super) last: u64,
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

impl Tally {
    pub(super) fn new(config: Config) -> Self {
        Self {
            engine: Offline::new(config),
            config,
            interfaces: Vec::new(),
            names: Vec::new(),
            times: None,
            unread: Unread::default(),
            watch: None,
            is_watched: false,
        }
    }

    /// Says why, if the block cannot be.
    pub(super) fn block(&mut self, block: &PcapBlockOwned<'_>) -> Result<Option<String>> {
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
                self.interfaces.push(InterfaceDescription::of_file(header));
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(block)) => self.describe(block),
            // Its interfaces are numbered anew.
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.interfaces.clear(),
            PcapBlockOwned::NG(_) => {}
        }
        Ok(None)
    }

    fn describe(&mut self, interface: &InterfaceDescriptionBlock<'_>) {
        self.interfaces
            .push(InterfaceDescription::of_block(interface));
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

    fn interface(&self, number: u32) -> Option<InterfaceDescription> {
        self.interfaces.get(number as usize).copied()
    }

    fn packet(
        &mut self,
        interface: InterfaceDescription,
        packet: Packet<'_>,
    ) -> Result<Option<String>> {
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
                return Err(Failure::new(
                    FailureKind::Usage,
                    "--role host: this capture does not say which packets came in \
                     and which went out (Linux cooked captures do, and pcapng with \
                     packet flags)",
                )
                .next("--role middlebox, or capture with tcpdump -i any")
                .into());
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

    /// Returns the engine's clock at a packet: it does not go back, and begins with the first packet that has a time.
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

fn undescribed(interface: u32) -> String {
    format!("a packet is of interface {interface}, which the capture does not describe")
}

/// Returns what the flags of a packet say.
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
