//! Witnesses of what was on the wire: tshark, and a decoder written for this purpose alone. It
//! goes by the RFC's figures, byte after byte, and shares nothing with what it judges.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{net::output, record};

/// Names of the subtypes, as `options` in JSON has them.
pub const NAMES: [&str; 9] = [
    "MP_CAPABLE",
    "MP_JOIN",
    "DSS",
    "ADD_ADDR",
    "REMOVE_ADDR",
    "MP_PRIO",
    "MP_FAIL",
    "MP_FASTCLOSE",
    "MP_TCPRST",
];

/// What a capture holds, by the second decoder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Frames.
    pub frames: u64,
    /// VLAN tags.
    pub tagged: u64,
    /// PPPoE headers of session data.
    pub pppoe: u64,
    /// Options by subtype.
    pub options: [u64; 16],
    /// MP_CAPABLE SYNs.
    pub capable_syn: u64,
    /// MP_CAPABLE SYNs of version 1.
    pub capable_syn_v1: u64,
    /// MP_CAPABLE SYN/ACKs.
    pub capable_synack: u64,
    /// MP_JOIN SYNs.
    pub join_syn: u64,
    /// MP_JOIN SYN/ACKs.
    pub join_synack: u64,
    /// DSS with A; with A and a; with M; with M and m.
    pub dss: [u64; 4],
    /// Infinite mappings.
    pub infinite: u64,
    /// DSS whose mapping is longer than the segment.
    pub partial: u64,
    /// MP_PRIO with B.
    pub backup: u64,
}

impl Seen {
    /// Decodes the pcap files that tcpdump wrote on Ethernet.
    pub fn of(captures: &[&Path]) -> Result<Self> {
        let mut seen = Self::default();
        for path in captures {
            for record in record::read(&fs::read(path)?)? {
                seen.frames += 1;
                seen.ethernet(&record.bytes).context("a frame ends early")?;
            }
        }
        Ok(seen)
    }

    /// The options of the nine defined subtypes.
    pub fn defined(&self) -> [u64; 9] {
        std::array::from_fn(|i| self.options[i])
    }

    fn ethernet(&mut self, frame: &[u8]) -> Option<()> {
        let mut rest = frame.get(12..)?;
        loop {
            let (kind, behind) = (number(rest.get(..2)?), rest.get(2..)?);
            match kind {
                0x8100 | 0x88a8 => {
                    self.tagged += 1;
                    rest = behind.get(2..)?;
                }
                0x8864 => {
                    // Version and type, code, session, length; then the protocol of PPP.
                    self.pppoe += 1;
                    let packet = behind.get(8..)?;
                    return match number(behind.get(6..8)?) {
                        0x21 => self.ipv4(packet),
                        0x57 => self.ipv6(packet),
                        _ => Some(()),
                    };
                }
                0x0800 => return self.ipv4(behind),
                0x86dd => return self.ipv6(behind),
                _ => return Some(()),
            }
        }
    }

    fn ipv4(&mut self, packet: &[u8]) -> Option<()> {
        let header = usize::from(packet.first()? & 15) * 4;
        let total = number(packet.get(2..4)?) as usize;
        let is_fragment = number(packet.get(6..8)?) & 0x1fff != 0;
        if *packet.get(9)? == 6 && !is_fragment {
            self.tcp(packet.get(header..)?, total - header)?;
        }
        Some(())
    }

    fn ipv6(&mut self, packet: &[u8]) -> Option<()> {
        // No extension headers in these captures.
        if *packet.get(6)? == 6 {
            self.tcp(packet.get(40..)?, number(packet.get(4..6)?) as usize)?;
        }
        Some(())
    }

    fn tcp(&mut self, segment: &[u8], length: usize) -> Option<()> {
        let header = usize::from(segment.get(12)? >> 4) * 4;
        let flags = *segment.get(13)?;
        let payload = (length - header) as u64;
        let mut options = segment.get(20..header)?;
        while let Some(kind) = options.first() {
            match kind {
                0 => break,
                1 => options = options.get(1..)?,
                _ => {
                    let length = usize::from(*options.get(1)?);
                    let (option, behind) = options.split_at_checked(length)?;
                    if *kind == 30 {
                        self.option(option, flags, payload)?;
                    }
                    options = behind;
                }
            }
        }
        Some(())
    }

    fn option(&mut self, option: &[u8], flags: u8, payload: u64) -> Option<()> {
        let third = *option.get(2)?;
        let subtype = third >> 4;
        self.options[usize::from(subtype)] += 1;
        let (is_syn, is_ack) = (flags & 0x02 != 0, flags & 0x10 != 0);
        match (subtype, is_syn, is_ack) {
            (0, true, false) => {
                self.capable_syn += 1;
                self.capable_syn_v1 += u64::from(third & 15 == 1);
            }
            (0, true, true) => self.capable_synack += 1,
            (1, true, false) => self.join_syn += 1,
            (1, true, true) => self.join_synack += 1,
            (2, ..) => self.signal(option, payload)?,
            (5, ..) => self.backup += u64::from(third & 1),
            _ => {}
        }
        Some(())
    }

    fn signal(&mut self, option: &[u8], payload: u64) -> Option<()> {
        let flags = *option.get(3)?;
        let has = |bit: u8| flags & bit != 0;
        let mut at = 4;
        if has(1) {
            self.dss[0] += 1;
            self.dss[1] += u64::from(has(2));
            at += if has(2) { 8 } else { 4 };
        }
        if has(4) {
            self.dss[2] += 1;
            self.dss[3] += u64::from(has(8));
            at += if has(8) { 12 } else { 8 };
            let length = number(option.get(at..at + 2)?);
            let checksum = option.get(at + 2..at + 4).map(number).unwrap_or_default();
            let data = length.saturating_sub(u64::from(has(16)));
            self.infinite += u64::from(length == 0 && checksum == 0 && !has(16));
            self.partial += u64::from(length > 0 && payload < data);
        }
        Some(())
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Options by subtype, as tshark counts them.
pub fn tshark(captures: &[&Path]) -> Result<[u64; 9]> {
    let mut counts = [0; 9];
    for path in captures {
        let text = output(Command::new("tshark").arg("-r").arg(path).args([
            "-T",
            "fields",
            "-E",
            "occurrence=a",
            "-e",
            "tcp.options.mptcp.subtype",
        ]))?;
        for subtype in text
            .lines()
            .flat_map(|line| line.split(','))
            .filter(|s| !s.is_empty())
        {
            match counts.get_mut(subtype.trim().parse::<usize>()?) {
                Some(count) => *count += 1,
                None => bail!("tshark sees subtype {subtype}"),
            }
        }
    }
    Ok(counts)
}
