//! A frame's headers, read byte by byte by their figures: what the engine's cursor is compared with.

use mptcp_common::counter::{Outcome, Passed, Protocol};

/// A TCP segment that was found in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Addresses of sender and receiver, as IPv6.
    pub addresses: [[u8; 16]; 2],
    /// Ports of both, as they stand there.
    pub ports: [u8; 4],
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// Flags.
    pub flags: u8,
    /// The option area; empty where it only holds a timestamp.
    pub options: Vec<u8>,
    /// Where the payload begins in the frame.
    pub payload_at: usize,
    /// Bytes of payload by the IP header.
    pub payload: usize,
    /// IPv6?
    pub ipv6: bool,
    /// Is it the first of several fragments?
    pub is_fragment: bool,
}

/// How a frame is to be read.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// It begins with the IP header.
    pub is_layer_3: bool,
    /// The device took a VLAN tag out.
    pub is_stripped: bool,
    /// Its length where the IP header says 0.
    pub merged: usize,
}

/// Behind this offset no header is looked for.
const LAST: usize = 0x7fff;

/// Reads the headers.
///
/// # Errors
/// What the frame is instead of a TCP segment with options.
pub fn read(frame: &[u8], kind: Kind) -> Result<Segment, Passed> {
    let (ethertype, at) = if kind.is_layer_3 {
        match byte(frame, 0)? >> 4 {
            4 => (0x0800, 0),
            6 => (0x86dd, 0),
            _ => return Err(Protocol::OTHER_ETHERTYPE.into()),
        }
    } else {
        link(frame, kind.is_stripped)?
    };
    match ethertype {
        0x0800 => ipv4(frame, at, kind.merged),
        0x86dd => ipv6(frame, at, kind.merged),
        0x8864 => pppoe(frame, at, kind.merged),
        _ => Err(other(frame, ethertype, at).into()),
    }
}

/// What a frame holds that is not IP.
fn other(frame: &[u8], ethertype: usize, at: usize) -> Protocol {
    let has_snap = frame.get(at..at + 6) == Some(&[0xaa, 0xaa, 3, 0, 0, 0]);
    match ethertype {
        0..0x600 if has_snap => Protocol::SNAP,
        0..0x600 => Protocol::LLC,
        0x0806 => Protocol::ARP,
        0x8847 | 0x8848 => Protocol::MPLS,
        0x8863 => Protocol::PPPOE_DISCOVERY,
        0x88e5 => Protocol::MACSEC,
        0x88cc | 0x8809 => Protocol::LINK_CONTROL,
        0x9100 | 0x9200 => Protocol::QINQ,
        _ => Protocol::OTHER_ETHERTYPE,
    }
}

/// RFC 2516: version and type, code, session, length; then the protocol of PPP.
fn pppoe(frame: &[u8], at: usize, merged: usize) -> Result<Segment, Passed> {
    let protocol = number(frame, at + 6, 2)?;
    let (version_and_type, code) = (byte(frame, at)?, byte(frame, at + 1)?);
    if version_and_type != 0x11 || code != 0 {
        return Err(Protocol::PPPOE_OTHER.into());
    }
    let ip = at + 8;
    let needed = match protocol {
        0x21 => {
            number(frame, ip, 8)?;
            number(frame, ip + 2, 2)?
        }
        0x57 => {
            number(frame, ip, 8)?;
            number(frame, ip + 4, 2)? + 40
        }
        0x8000.. => return Err(Protocol::PPPOE_CONTROL.into()),
        _ => return Err(Protocol::PPPOE_OTHER.into()),
    };
    if number(frame, at + 4, 2)? < needed + 2 && merged == 0 {
        return Err(Outcome::Truncated.into());
    }
    if protocol == 0x21 {
        ipv4(frame, ip, merged)
    } else {
        ipv6(frame, ip, merged)
    }
}

fn link(frame: &[u8], is_stripped: bool) -> Result<(usize, usize), Passed> {
    let mut at = 12;
    let mut tags = 0;
    loop {
        let ethertype = number(frame, at, 2)?;
        let is_tag = ethertype == 0x8100 || ethertype == 0x88a8;
        if tags == 2 && (is_tag || is_stripped) {
            return Err(Outcome::VlanDepth.into());
        }
        if !is_tag {
            return Ok((ethertype, at + 2));
        }
        tags += 1;
        at += 4;
    }
}

fn ipv4(frame: &[u8], at: usize, merged: usize) -> Result<Segment, Passed> {
    number(frame, at + 16, 4)?;
    let header = usize::from(byte(frame, at)? & 15) * 4;
    if byte(frame, at)? >> 4 != 4 || header < 20 {
        return Err(Outcome::MalformedIp.into());
    }
    let fragment = number(frame, at + 6, 2)?;
    if fragment % 0x2000 != 0 {
        return Err(Outcome::Fragment.into());
    }
    let protocol = usize::from(byte(frame, at + 9)?);
    if ![6, 17, 51].contains(&protocol) {
        return Err(Protocol(protocol as u32).into());
    }
    if protocol == 17 {
        return Err(match number(frame, at + header + 2, 2) {
            Ok(4789 | 8472) => Protocol::VXLAN,
            Ok(6081) => Protocol::GENEVE,
            Ok(2152) => Protocol::GTP_U,
            _ => Protocol::UDP,
        }
        .into());
    }
    let total = match number(frame, at + 2, 2)? {
        0 => merged.saturating_sub(at),
        total => total,
    };
    let Some(length) = total.checked_sub(header) else {
        return Err(Outcome::MalformedIp.into());
    };
    let address = |at: usize| {
        let mut address = [0; 16];
        address[10..12].fill(0xff);
        address[12..].copy_from_slice(&frame[at..at + 4]);
        address
    };
    let packet = Packet {
        frame,
        addresses: [address(at + 12), address(at + 16)],
        ipv6: false,
        is_fragment: fragment & 0x2000 != 0,
    };
    packet.extensions(at + header, protocol, length)
}

fn ipv6(frame: &[u8], at: usize, merged: usize) -> Result<Segment, Passed> {
    number(frame, at + 4, 4)?;
    if byte(frame, at)? >> 4 != 6 {
        return Err(Outcome::MalformedIp.into());
    }
    number(frame, at + 32, 8)?;
    let length = match number(frame, at + 4, 2)? {
        0 => merged.saturating_sub(at + 40),
        length => length,
    };
    let address = |at: usize| {
        let mut address = [0; 16];
        address.copy_from_slice(&frame[at..at + 16]);
        address
    };
    let packet = Packet {
        frame,
        addresses: [address(at + 8), address(at + 24)],
        ipv6: true,
        is_fragment: false,
    };
    packet.extensions(at + 40, usize::from(byte(frame, at + 6)?), length)
}

struct Packet<'a> {
    frame: &'a [u8],
    addresses: [[u8; 16]; 2],
    ipv6: bool,
    is_fragment: bool,
}

impl Packet<'_> {
    /// The segment behind the extension headers from `at` on, in `length` bytes.
    fn extensions(
        mut self,
        mut at: usize,
        mut protocol: usize,
        mut length: usize,
    ) -> Result<Segment, Passed> {
        let mut headers = 0;
        while protocol != 6 {
            let is_extension = protocol == 51 || (self.ipv6 && [0, 43, 44, 60].contains(&protocol));
            if !is_extension {
                return Err(match protocol {
                    17 => Protocol::UDP,
                    number => Protocol(number as u32),
                }
                .into());
            }
            if headers == 8 || at > LAST {
                return Err(Outcome::Ipv6Extensions.into());
            }
            number(self.frame, at, 8)?;
            let second = usize::from(byte(self.frame, at + 1)?);
            let size = match protocol {
                44 => {
                    let offset = number(self.frame, at + 2, 2)?;
                    if offset >= 8 {
                        return Err(Outcome::Fragment.into());
                    }
                    self.is_fragment |= offset & 1 != 0;
                    8
                }
                51 => (second + 2) * 4,
                _ => (second + 1) * 8,
            };
            length = length.checked_sub(size).ok_or(Outcome::Truncated)?;
            protocol = usize::from(byte(self.frame, at)?);
            at += size;
            headers += 1;
        }
        Ok(self.tcp(at, length)?)
    }

    fn tcp(self, at: usize, length: usize) -> Result<Segment, Outcome> {
        if at > LAST {
            return Err(Outcome::Ipv6Extensions);
        }
        let header = self.frame.get(at..at + 20).ok_or(Outcome::Truncated)?;
        if length < 20 {
            return Err(Outcome::Truncated);
        }
        let size = usize::from(header[12] >> 4) * 4;
        if size < 20 {
            return Err(Outcome::MalformedTcp);
        }
        let payload = length.checked_sub(size).ok_or(Outcome::Truncated)?;
        let area = self.frame.get(at + 20..at + size);
        let first = self.frame.get(at + 20..at + 24);
        let options = match (size, first) {
            (20, _) => &[],
            (_, None) => return Err(Outcome::Truncated),
            (32, Some([1, 1, 8, 10])) => &[],
            _ => area.ok_or(Outcome::Truncated)?,
        };
        if options.is_empty() {
            return Err(Outcome::Tcp);
        }
        Ok(Segment {
            addresses: self.addresses,
            ports: [header[0], header[1], header[2], header[3]],
            sequence: number(self.frame, at + 4, 4)? as u32,
            acknowledgment: number(self.frame, at + 8, 4)? as u32,
            flags: header[13],
            options: options.to_vec(),
            payload_at: at + size,
            payload,
            ipv6: self.ipv6,
            is_fragment: self.is_fragment,
        })
    }
}

fn byte(frame: &[u8], at: usize) -> Result<u8, Outcome> {
    frame.get(at).copied().ok_or(Outcome::Truncated)
}

fn number(frame: &[u8], at: usize, length: usize) -> Result<usize, Outcome> {
    let bytes = frame.get(at..at + length).ok_or(Outcome::Truncated)?;
    Ok(bytes
        .iter()
        .fold(0, |number, byte| number << 8 | usize::from(*byte)))
}
