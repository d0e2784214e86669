//! Data that was mapped or sent before, counted by sets without bound: a witness of its own, which goes by RFC 8684
//! and by docs/counters.md, and shares nothing with the engine.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Range,
};

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

/// A packet of a pcap file.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Since 1970.
    pub nanoseconds: u64,
    /// Did it go out?
    pub is_outgoing: bool,
    /// From the IP header on.
    pub ip: Vec<u8>,
}

impl Packet {
    /// As a frame of Ethernet.
    pub fn frame(&self) -> Vec<u8> {
        let kind = if self.ip[0] >> 4 == 6 {
            0x86dd_u16
        } else {
            0x0800
        };
        [&[2; 12][..], &kind.to_be_bytes(), &self.ip].concat()
    }
}

/// The IP packets of a little-endian pcap file of Linux's cooked captures (`tcpdump -i any`, of either version), in
/// the order of the file.
pub fn read(file: &[u8]) -> Result<Vec<Packet>> {
    let word = |at: usize| -> Result<u32> {
        let bytes = file.get(at..at + 4).context("the file ends early")?;
        Ok(u32::from_le_bytes(bytes.try_into()?))
    };
    // Where packet type, protocol and the packet itself are.
    let (kind, protocol, ip) = match word(20)? {
        113 => (0..2, 14..16, 16),
        276 => (10..11, 0..2, 20),
        other => anyhow::bail!("link type {other} is no cooked capture"),
    };
    let mut packets = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let captured = word(at + 8)? as usize;
        let bytes = file.get(at + 16..at + 16 + captured);
        let bytes = bytes.context("a record ends early")?;
        if matches!(number(bytes, protocol.clone()), Some(0x0800 | 0x86dd)) {
            let microseconds = u64::from(word(at)?) * 1_000_000 + u64::from(word(at + 4)?);
            packets.push(Packet {
                nanoseconds: microseconds * 1000,
                is_outgoing: number(bytes, kind.clone()) == Some(4),
                ip: bytes[ip..].to_vec(),
            });
        }
        at += 16 + captured;
    }
    Ok(packets)
}

fn number(bytes: &[u8], place: Range<usize>) -> Option<u64> {
    let bytes = bytes.get(place)?;
    Some(
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    )
}

/// What is counted of the data of one side of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// RetxEr: packets of which all data was sent before.
    pub sent: u64,
    /// RetxSubflow: those of them whose bytes the subflow had sent before.
    pub on_subflow: u64,
    /// RemapSubflow: those of the others that the subflow had sent as other bytes of its own.
    pub remapped: u64,
    /// Reinject: the rest, of other subflows.
    pub elsewhere: u64,
    /// SfnEr: new mappings of data that was mapped in part.
    pub mapped_partly: u64,
    /// MapReinject: new mappings of data that was mapped.
    pub mapped: u64,
    /// The most ranges beyond gaps that there were at a time, in either set.
    pub most_ranges: usize,
}

/// The numbers of the session in a capture: of the initiator's data, and of the listener's.
///
/// # Errors
/// If there is no session, or more than one.
pub fn count(packets: &[Packet]) -> Result<[Again; 2]> {
    let mut session = Session::default();
    for (packet, i) in packets.iter().zip(1..) {
        session
            .packet(&packet.ip)
            .with_context(|| format!("packet {i}"))?;
    }
    ensure!(session.port.is_some(), "no session");
    Ok(session.sides.map(|side| side.again))
}

/// Numbers, as ranges that do not touch, by their starts.
#[derive(Debug, Default)]
struct Set(BTreeMap<u64, u64>);

#[derive(Debug, PartialEq, Eq)]
enum Were {
    None,
    Some,
    All,
}

impl Set {
    /// Adds a range; how much of it was there?
    fn insert(&mut self, start: u64, end: u64) -> Were {
        let (mut low, mut high, mut covered) = (start, end, 0);
        while let Some((from, to)) = self.0.range(..=high).next_back()
            && *to >= low
        {
            let (from, to) = (*from, *to);
            covered += to.min(end).saturating_sub(from.max(start));
            (low, high) = (low.min(from), high.max(to));
            self.0.remove(&from);
        }
        self.0.insert(low, high);
        match covered {
            0 => Were::None,
            _ if covered == end - start => Were::All,
            _ => Were::Some,
        }
    }
}

#[derive(Debug, Default)]
struct Side {
    /// Where its data begins; what is counted from there.
    first: Option<u64>,
    mapped: Set,
    sent: Set,
    /// The highest DATA_ACK that it sent, and the end of what it mapped.
    data_ack: u64,
    highest: u64,
    /// Had the session more than one subflow?
    is_joined: bool,
    again: Again,
}

/// What one end of a connection sends.
#[derive(Debug, Default)]
struct Flow {
    isn: u32,
    /// Behind all that it sent.
    next: u32,
    /// The last eight mappings: data, subflow and length.
    mappings: VecDeque<(u64, u32, u32)>,
    /// All that there were.
    all: Vec<(u64, u32, u32)>,
}

#[derive(Debug, Default)]
struct Session {
    /// The listener's.
    port: Option<u64>,
    sides: [Side; 2],
    flows: HashMap<Vec<u8>, Flow>,
}

impl Session {
    fn packet(&mut self, ip: &[u8]) -> Result<()> {
        let (tcp, length, addresses) = match ip.first().context("nothing")? >> 4 {
            4 if ip.get(9) == Some(&6) => {
                let header = usize::from(ip[0] & 15) * 4;
                let total = number(ip, 2..4).context("no length")? as usize;
                (&ip[header..], total - header, &ip[12..20])
            }
            6 if ip.get(6) == Some(&6) => {
                let length = number(ip, 4..6).context("no length")? as usize;
                (&ip[40..], length, &ip[8..40])
            }
            _ => return Ok(()),
        };
        let header = usize::from(*tcp.get(12).context("no TCP header")? >> 4) * 4;
        let (flags, payload) = (tcp[13], (length - header) as u32);
        let field = |place| number(tcp, place).unwrap_or_default();
        let [is_syn, is_rst] = [2, 4].map(|bit| flags & bit != 0);
        let sequence = field(4..8) as u32;
        let options = options(&tcp[20..header]);
        let capable = options.iter().find(|option| option[2] >> 4 == 0);
        if is_syn && flags & 0x10 == 0 && capable.is_some() {
            ensure!(
                self.port.is_none_or(|port| port == field(2..4)),
                "two sessions"
            );
            self.port = Some(field(2..4));
        }
        let side = usize::from(self.port == Some(field(0..2)));
        if !is_syn && options.iter().any(|option| option[2] >> 4 == 1) {
            self.sides.iter_mut().for_each(|side| side.is_joined = true);
        }
        let flow = self
            .flows
            .entry([addresses, &tcp[..4]].concat())
            .or_default();
        if is_syn {
            (flow.isn, flow.next) = (sequence, sequence.wrapping_add(1));
            return Ok(());
        }
        if is_rst {
            return Ok(());
        }
        if let Some(option) = capable
            && option.len() >= 20
        {
            for (side, key) in [&option[4..12], &option[12..20]].into_iter().enumerate() {
                let digest = Sha256::digest(key);
                let idsn = number(&digest, 24..32).context("32 bytes")?;
                let first = idsn.wrapping_add(1);
                if self.sides[side].first.replace(first).is_none() {
                    self.sides[side].highest = first;
                    self.sides[side ^ 1].data_ack = first;
                }
            }
            if option.len() >= 22 && payload > 0 {
                let first = self.sides[side].first.context("a key")?;
                let length = number(option, 20..22).context("a length")? as u32;
                self.sides[side].map(flow, (first, 1, length));
            }
        }
        for option in options.iter().filter(|option| option[2] >> 4 == 2) {
            if let Some((value, is_long)) = data_ack(option) {
                let value = near(value, is_long, self.sides[side].data_ack);
                self.acknowledge(side, value);
            }
            let highest = self.sides[side].highest;
            if let Some((map, is_long)) = mapping(option) {
                let dsn = near(map.0, is_long, highest);
                if map.2 > 0 {
                    let flow = self
                        .flows
                        .entry([addresses, &tcp[..4]].concat())
                        .or_default();
                    self.sides[side].map(flow, (dsn, map.1, map.2));
                }
            }
        }
        if payload > 0 {
            let own = options.iter().find_map(|option| mapping(option));
            let own = own.map(|((dsn, ssn, length), is_long)| {
                (near(dsn, is_long, self.sides[side].highest), ssn, length)
            });
            let flow = self
                .flows
                .entry([addresses, &tcp[..4]].concat())
                .or_default();
            self.sides[side].send(flow, sequence, payload, own);
        }
        Ok(())
    }

    /// A DATA_ACK of a side: what lies before it was sent, wherever.
    fn acknowledge(&mut self, side: usize, value: u64) {
        let (acked, highest) = (self.sides[side].data_ack, self.sides[side ^ 1].highest);
        let is_later = |a: u64, b: u64| (a.wrapping_sub(b) as i64) > 0;
        if !is_later(value, acked) || is_later(value, highest.wrapping_add(1)) {
            return;
        }
        self.sides[side].data_ack = value;
        let other = &mut self.sides[side ^ 1];
        if let Some(first) = other.first {
            let end = value.wrapping_sub(first);
            other.mapped.insert(0, end);
            other.sent.insert(0, end);
        }
    }
}

impl Side {
    fn map(&mut self, flow: &mut Flow, map: (u64, u32, u32)) {
        if flow.mappings.contains(&map) {
            return;
        }
        if flow.mappings.len() == 8 {
            flow.mappings.pop_front();
        }
        flow.mappings.push_back(map);
        flow.all.push(map);
        let Some(first) = self.first else { return };
        let end = map.0.wrapping_add(map.2.into());
        if (end.wrapping_sub(self.highest) as i64) > 0 {
            self.highest = end;
        }
        let start = map.0.wrapping_sub(first);
        match self.mapped.insert(start, start + u64::from(map.2)) {
            Were::None => {}
            Were::Some => self.again.mapped_partly += 1,
            Were::All => self.again.mapped += 1,
        }
        self.again.most_ranges = self.again.most_ranges.max(self.mapped.0.len() - 1);
    }

    fn send(&mut self, flow: &mut Flow, sequence: u32, payload: u32, own: Option<(u64, u32, u32)>) {
        let relative = sequence.wrapping_sub(flow.isn);
        let end = sequence.wrapping_add(payload);
        let is_old = (end.wrapping_sub(flow.next) as i32) <= 0;
        if !is_old {
            flow.next = end;
        }
        let holds = |map: &(u64, u32, u32)| relative.wrapping_sub(map.1) < map.2;
        let mut maps = own.iter().chain(flow.mappings.iter().rev());
        let (Some(map), Some(first)) = (maps.find(|map| holds(map)).copied(), self.first) else {
            return;
        };
        let offset = relative.wrapping_sub(map.1);
        let start = map.0.wrapping_sub(first) + u64::from(offset);
        let length = payload.min(map.2 - offset);
        if self.sent.insert(start, start + u64::from(length)) == Were::All {
            self.again.sent += 1;
            let shift = |map: &(u64, u32, u32)| map.0.wrapping_sub(map.1.into());
            let begins = first.wrapping_add(start);
            let is_here = flow.all.iter().any(|other| {
                shift(other) != shift(&map) && begins.wrapping_sub(other.0) < other.2.into()
            });
            if is_old {
                self.again.on_subflow += 1;
            } else if is_here || !self.is_joined {
                self.again.remapped += 1;
            } else {
                self.again.elsewhere += 1;
            }
        }
        self.again.most_ranges = self.again.most_ranges.max(self.sent.0.len() - 1);
    }
}

/// The options of kind 30.
fn options(mut area: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let [kind, behind @ ..] = area {
        area = match (kind, behind.first()) {
            (0, _) | (_, None) => break,
            (1, _) => behind,
            (_, Some(length)) => {
                let Some((option, rest)) = area.split_at_checked(usize::from(*length).max(2))
                else {
                    break;
                };
                if *kind == 30 && option.len() > 3 {
                    found.push(option);
                }
                rest
            }
        };
    }
    found
}

/// The DATA_ACK of a DSS, and whether it has eight bytes.
fn data_ack(dss: &[u8]) -> Option<(u64, bool)> {
    match dss[3] & 3 {
        1 => Some((number(dss, 4..8)?, false)),
        3 => Some((number(dss, 4..12)?, true)),
        _ => None,
    }
}

/// The mapping of a DSS, without its DATA_FIN, and whether its data sequence number has eight bytes.
fn mapping(dss: &[u8]) -> Option<((u64, u32, u32), bool)> {
    if dss[2] >> 4 != 2 || dss[3] & 4 == 0 {
        return None;
    }
    let mut at = match dss[3] & 3 {
        1 => 8,
        3 => 12,
        _ => 4,
    };
    let is_long = dss[3] & 8 != 0;
    let width = if is_long { 8 } else { 4 };
    let dsn = number(dss, at..at + width)?;
    at += width;
    let (ssn, length) = (
        number(dss, at..at + 4)? as u32,
        number(dss, at + 4..at + 6)? as u32,
    );
    let fin = u32::from(dss[3] & 16 != 0);
    Some(((dsn, ssn, length.checked_sub(fin)?), is_long))
}

/// A number of which only the lower half may be known, next to another.
fn near(value: u64, is_long: bool, other: u64) -> u64 {
    if is_long {
        return value;
    }
    let distance = (value as u32).wrapping_sub(other as u32) as i32;
    other.wrapping_add_signed(distance.into())
}
