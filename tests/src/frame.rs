//! Builds frames, correct or wrong on purpose.

use std::net::IpAddr;

/// TCP flags.
pub const FIN: u8 = 0x01;
/// TCP flags.
pub const SYN: u8 = 0x02;
/// TCP flags.
pub const RST: u8 = 0x04;
/// TCP flags.
pub const ACK: u8 = 0x10;
/// TCP flags.
pub const SYN_ACK: u8 = 0x12;

/// A TCP frame to be. What is not set is a plain IPv4 ACK without options and payload.
#[derive(Clone, Debug)]
pub struct Frame {
    /// TCP flags.
    pub flags: u8,
    /// Option area; filled up to a multiple of 4 with EOL.
    pub options: Vec<u8>,
    /// Bytes of payload.
    pub payload: usize,
    /// IPv6 instead of IPv4.
    pub ipv6: bool,
    /// VLAN tags, each by its EtherType.
    pub tags: Vec<u16>,
    /// A PPPoE header behind the tags.
    pub pppoe: Option<Pppoe>,
    /// IPv4 options, a multiple of 4 bytes.
    pub ip_options: Vec<u8>,
    /// Fragment offset field with its flags: IPv4.
    pub fragment: u16,
    /// IPv6 extension headers (or AH over IPv4): type and bytes, next-header field left out.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// Bytes behind the IP packet.
    pub padding: usize,
    /// Protocol instead of TCP.
    pub protocol: u8,
    /// EtherType instead of IP's.
    pub ethertype: Option<u16>,
    /// TCP data offset in words, if it is to lie.
    pub data_offset: Option<u8>,
    /// IP total or payload length, if it is to lie.
    pub ip_length: Option<u16>,
    /// Version and header length byte of IPv4, if they are to lie.
    pub version_and_ihl: Option<u8>,
    /// Last bytes of the addresses of sender and receiver (10.0.0.x, fd00::x).
    pub hosts: [u8; 2],
    /// Ports of sender and receiver.
    pub ports: [u16; 2],
    /// TCP sequence number.
    pub sequence: u32,
    /// TCP acknowledgment number.
    pub acknowledgment: u32,
    /// TCP checksum, if it is to lie.
    pub checksum: Option<u16>,
}

/// A PPPoE header (RFC 2516), and the protocol of PPP. What is not set is as it has to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pppoe {
    /// Version and type, then the code.
    pub kind: Option<[u8; 2]>,
    /// Length, if it is to lie.
    pub length: Option<u16>,
    /// Protocol of PPP instead of IP's.
    pub protocol: Option<u16>,
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            flags: ACK,
            options: Vec::new(),
            payload: 0,
            ipv6: false,
            tags: Vec::new(),
            pppoe: None,
            ip_options: Vec::new(),
            fragment: 0,
            extensions: Vec::new(),
            padding: 0,
            protocol: 6,
            ethertype: None,
            data_offset: None,
            ip_length: None,
            version_and_ihl: None,
            hosts: [1, 2],
            ports: [40000, 5000],
            sequence: 1,
            acknowledgment: 2,
            checksum: None,
        }
    }
}

impl Frame {
    /// A segment with these flags, options and bytes of payload.
    pub fn new(flags: u8, options: &[u8], payload: usize) -> Self {
        Self {
            flags,
            options: options.to_vec(),
            payload,
            ..Self::default()
        }
    }

    /// The bytes from the Ethernet header on.
    pub fn bytes(&self) -> Vec<u8> {
        let ip = self.ip();
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        for tag in &self.tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0x00, 0x64]);
        }
        let (ip_ethertype, ppp) = if self.ipv6 {
            (0x86dd, 0x0057)
        } else {
            (0x0800, 0x0021_u16)
        };
        let default = if self.pppoe.is_some() {
            0x8864
        } else {
            ip_ethertype
        };
        frame.extend(self.ethertype.unwrap_or(default).to_be_bytes());
        if let Some(pppoe) = &self.pppoe {
            frame.extend(pppoe.kind.unwrap_or([0x11, 0]));
            frame.extend([0x12, 0x34]);
            frame.extend(pppoe.length.unwrap_or(ip.len() as u16 + 2).to_be_bytes());
            frame.extend(pppoe.protocol.unwrap_or(ppp).to_be_bytes());
        }
        frame.extend(ip);
        frame.extend(vec![0xee; self.padding]);
        frame
    }

    /// The bytes from the IP header on.
    pub fn ip(&self) -> Vec<u8> {
        let mut tcp = self.tcp();
        let checksum = self.checksum.unwrap_or_else(|| !self.sum(&tcp));
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        let mut extensions = Vec::new();
        let mut next = self.protocol;
        for (kind, body) in self.extensions.iter().rev() {
            let mut header = vec![next];
            header.extend(body);
            header.extend(extensions);
            extensions = header;
            next = *kind;
        }
        let rest: Vec<u8> = extensions.into_iter().chain(tcp).collect();
        if self.ipv6 {
            let length = self.ip_length.unwrap_or(rest.len() as u16);
            let mut ip = vec![0x60, 0, 0, 0];
            ip.extend(length.to_be_bytes());
            ip.extend([next, 64]);
            for host in self.hosts {
                ip.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
            }
            ip.extend(rest);
            return ip;
        }
        let header = 20 + self.ip_options.len();
        let length = self.ip_length.unwrap_or((header + rest.len()) as u16);
        let mut ip = vec![self.version_and_ihl.unwrap_or(0x40 | (header / 4) as u8), 0];
        ip.extend(length.to_be_bytes());
        ip.extend([0, 1]);
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([64, next, 0, 0]);
        for host in self.hosts {
            ip.extend([10, 0, 0, host]);
        }
        ip.extend(&self.ip_options);
        ip.extend(rest);
        ip
    }

    /// The sum of the pseudo-header and of these bytes behind it (RFC 9293 section 3.1).
    pub fn sum(&self, segment: &[u8]) -> u16 {
        let mut bytes = Vec::new();
        for host in self.hosts {
            if self.ipv6 {
                bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
            } else {
                bytes.extend([10, 0, 0, host]);
            }
        }
        bytes.extend([0, 6]);
        bytes.extend((self.tcp().len() as u16).to_be_bytes());
        bytes.extend(segment);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        let sum: u64 = bytes
            .chunks(2)
            .map(|word| u64::from(word[0]) << 8 | u64::from(word[1]))
            .sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        ((sum & 0xffff) + (sum >> 16)) as u16
    }

    /// The bytes from the Ethernet header on as a real host takes them: to an Ethernet address, between IP addresses
    /// (sender first, of the same family), with this TTL or hop limit and right checksums, unless TCP's is to lie. It
    /// has no tags and no further headers.
    pub fn addressed(&self, to: [u8; 6], addresses: [IpAddr; 2], ttl: u8) -> Vec<u8> {
        let frame = Self {
            ipv6: addresses[0].is_ipv6(),
            ..self.clone()
        };
        let mut ip = frame.ip();
        let [from, receiver] = addresses.map(|address| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        });
        let (at, header) = if frame.ipv6 {
            ip[7] = ttl;
            (8, 40)
        } else {
            ip[8] = ttl;
            (12, 20)
        };
        let pair = [from, receiver].concat();
        ip[at..header].copy_from_slice(&pair);
        if !frame.ipv6 {
            let sum = checksum(&ip[..header]);
            ip[10..12].copy_from_slice(&sum);
        }
        ip[header + 16..header + 18].fill(0);
        let tcp = &ip[header..];
        let pseudo = [&pair, &[0, 6][..], &(tcp.len() as u16).to_be_bytes(), tcp];
        let sum = checksum(&pseudo.concat());
        let sum = self.checksum.map_or(sum, u16::to_be_bytes);
        ip[header + 16..header + 18].copy_from_slice(&sum);
        let mut bytes = frame.bytes()[..14].to_vec();
        bytes[..6].copy_from_slice(&to);
        bytes.extend(ip);
        bytes
    }

    fn tcp(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let offset = self.data_offset.unwrap_or(5 + (options.len() / 4) as u8);
        let mut tcp = Vec::new();
        tcp.extend(self.ports.into_iter().flat_map(u16::to_be_bytes));
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledgment.to_be_bytes());
        tcp.extend([offset << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(options);
        tcp.extend(payload(self.sequence, self.payload));
        tcp
    }
}

/// The checksum of IP and TCP (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2);
    let mut sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!sum as u16).to_be_bytes()
}

/// Payload from a sequence number on: what is sent again is the same.
pub fn payload(sequence: u32, length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|i| (sequence.wrapping_add(i).wrapping_mul(0x9e37_79b1) >> 24) as u8)
        .collect()
}

/// The DSS checksum of a mapping of these bytes, as RFC 8684 section 3.3.1 describes it.
pub fn dss_checksum(payload: &[u8], dsn: u64, ssn: u32, length: u16) -> [u8; 2] {
    let mut message = payload.to_vec();
    message.resize(payload.len().next_multiple_of(2), 0);
    message.extend(dsn.to_be_bytes());
    message.extend(ssn.to_be_bytes());
    message.extend(length.to_be_bytes());
    let mut sum = 0;
    for word in message.chunks(2) {
        sum += u32::from(word[0]) * 256 + u32::from(word[1]);
        // One's complement: a carry comes back at the other end.
        sum = sum % 0x1_0000 + sum / 0x1_0000;
    }
    (!sum as u16).to_be_bytes()
}

/// An option of kind 30: subtype and low nibble, then the rest; the length is right.
pub fn option(subtype: u8, nibble: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![30, (3 + rest.len()) as u8, subtype << 4 | nibble];
    bytes.extend(rest);
    bytes
}

/// An option of kind 30 of a length, with these first bytes behind the length and zeros to fill.
pub fn sized(length: u8, start: &[u8]) -> Vec<u8> {
    let mut bytes = vec![30, length];
    bytes.extend(start);
    bytes.resize(usize::from(length), 0);
    bytes
}
