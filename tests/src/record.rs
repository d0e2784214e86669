//! Capture files of every kind, made of the records of one.

use std::{fs, ops::Range};

use anyhow::{Context as _, Result, ensure};

use crate::captures::own;

/// Of little-endian pcap files with microseconds.
pub const PCAP: [u8; 4] = [0xd4, 0xc3, 0xb2, 0xa1];

/// A packet of a capture.
#[derive(Clone, Debug)]
pub struct Record {
    /// Since 1970.
    pub nanoseconds: u64,
    /// On the wire.
    pub length: u32,
    /// What of it was captured.
    pub bytes: Vec<u8>,
    /// Did it come in, and not go out? Only pcapng files say so.
    pub ingress: Option<bool>,
}

/// The records of a little-endian pcap file of Ethernet.
pub fn read(file: &[u8]) -> Result<Vec<Record>> {
    let word = |at: usize| -> Result<u32> {
        let bytes = file.get(at..at + 4).context("the file ends early")?;
        Ok(u32::from_le_bytes(bytes.try_into()?))
    };
    ensure!(
        file.starts_with(&PCAP) && word(20)? == 1,
        "not a pcap file of Ethernet"
    );
    let mut records = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let captured = word(at + 8)? as usize;
        let bytes = file.get(at + 16..at + 16 + captured);
        let microseconds = u64::from(word(at)?) * 1_000_000 + u64::from(word(at + 4)?);
        records.push(Record {
            nanoseconds: microseconds * 1000,
            length: word(at + 12)?,
            bytes: bytes.context("a record ends early")?.to_vec(),
            ingress: None,
        });
        at += 16 + captured;
    }
    Ok(records)
}

/// A bulk transfer without end: its beginning is real, and its data goes on as it began. All of its packets
/// have the times of those.
pub fn bulk() -> Result<impl Iterator<Item = Record>> {
    /// Payload of a data packet.
    const PAYLOAD: u64 = 1424;
    let mut records = read(&fs::read(own().join("basic.pcap"))?)?;
    records.truncate(7);
    let [data, acknowledgment] = [5, 6].map(|at| records[at].clone());
    let more = (1..).flat_map(move |n| {
        let later = |record: &Record, fields: &[Range<usize>]| {
            let mut record = record.clone();
            for field in fields {
                add(&mut record.bytes[field.clone()], n * PAYLOAD);
            }
            record
        };
        [
            // Sequence number, data sequence number, subflow sequence number.
            later(&data, &[38..42, 74..82, 82..86]),
            // Acknowledgment, DATA_ACK.
            later(&acknowledgment, &[42..46, 70..78]),
        ]
    });
    Ok(records.into_iter().chain(more))
}

/// Adds to a big-endian number.
fn add(number: &mut [u8], addend: u64) {
    let value = number
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte));
    let sum = (value + addend).to_be_bytes();
    number.copy_from_slice(&sum[8 - number.len()..]);
}

/// Returns the records of a capture with another link-layer header in the place of Ethernet's.
pub fn with_header(records: &[Record], header: impl Fn(&Record) -> Vec<u8>) -> Vec<Record> {
    let replace = |record: &Record| {
        let mut bytes = header(record);
        let longer = bytes.len() as u32;
        bytes.extend(&record.bytes[14..]);
        Record {
            bytes,
            length: record.length - 14 + longer,
            ..record.clone()
        }
    };
    records.iter().map(replace).collect()
}

/// A pcap file with this magic number, in the byte order that it has in the file.
pub fn pcap(magic: [u8; 4], link_type: u32, records: &[Record]) -> Vec<u8> {
    let is_big_endian = magic[0] == 0xa1;
    let is_nanosecond = magic.contains(&0x3c);
    let mut file = Words::new(is_big_endian);
    file.bytes.extend(magic);
    file.add16(&[2, 4]);
    file.add(&[0, 0, 1 << 18, link_type]);
    for record in records {
        let fraction = record.nanoseconds % 1_000_000_000;
        file.add(&[
            (record.nanoseconds / 1_000_000_000) as u32,
            (if is_nanosecond {
                fraction
            } else {
                fraction / 1000
            }) as u32,
            record.bytes.len() as u32,
            record.length,
        ]);
        file.bytes.extend(&record.bytes);
    }
    file.bytes
}

/// An interface of a pcapng file.
#[derive(Clone, Copy, Debug)]
pub struct Interface {
    /// Link type.
    pub link_type: u16,
    /// Ticks per second as a power of ten, or with the highest bit of two.
    pub resolution: u8,
    /// Seconds to be added to each time.
    pub offset: i64,
}

impl Interface {
    /// Of Ethernet, with microseconds.
    pub const ETHERNET: Self = Self {
        link_type: 1,
        resolution: 6,
        offset: 0,
    };
}

/// A pcapng file of one section, in which records belong to the interfaces in turn.
pub fn pcapng(is_big_endian: bool, interfaces: &[Interface], records: &[Record]) -> Vec<u8> {
    let mut file = Words::new(is_big_endian);
    file.block(0x0a0d_0d0a, |body| {
        body.add(&[0x1a2b_3c4d]);
        body.add16(&[1, 0]);
        body.add(&[u32::MAX, u32::MAX]);
    });
    for (number, interface) in interfaces.iter().enumerate() {
        file.block(1, |body| {
            body.add16(&[interface.link_type, 0]);
            body.add(&[0]);
            body.option(2, format!("if{number}").as_bytes());
            body.option(9, &[interface.resolution]);
            let offset = body.number64(interface.offset as u64);
            body.option(14, &offset);
            body.option(0, &[]);
        });
    }
    for (number, record) in records.iter().enumerate() {
        let interface = interfaces[number % interfaces.len()];
        let time = i128::from(record.nanoseconds) - i128::from(interface.offset) * 1_000_000_000;
        let exponent = u32::from(interface.resolution & 0x7f);
        let base = if interface.resolution & 0x80 == 0 {
            10
        } else {
            2_i128
        };
        // Rounded up, so that nanoseconds come out of ticks that are shorter.
        let ticks = (time * base.pow(exponent) + 999_999_999) / 1_000_000_000;
        file.block(6, |body| {
            body.add(&[
                (number % interfaces.len()) as u32,
                (ticks >> 32) as u32,
                ticks as u32,
                record.bytes.len() as u32,
                record.length,
            ]);
            body.padded(&record.bytes);
            if let Some(ingress) = record.ingress {
                let flags = body.number32(if ingress { 1 } else { 2 });
                body.option(2, &flags);
                body.option(0, &[]);
            }
        });
    }
    file.bytes
}

/// A pcapng file of one Ethernet interface in which every text is this one: comments, hardware, system, program,
/// names, filter.
pub fn with_texts(text: &[u8], records: &[Record]) -> Vec<u8> {
    let text = &text[..text.len().min(60_000)];
    let mut file = Words::new(false);
    file.block(0x0a0d_0d0a, |body| {
        body.add(&[0x1a2b_3c4d]);
        body.add16(&[1, 0]);
        body.add(&[u32::MAX, u32::MAX]);
        for code in [1, 2, 3, 4] {
            body.option(code, text);
        }
        body.option(0, &[]);
    });
    file.block(1, |body| {
        body.add16(&[1, 0]);
        body.add(&[0]);
        let filter = [&[0], text].concat();
        body.option(11, &filter);
        for code in [1, 2, 3, 12] {
            body.option(code, text);
        }
        body.option(0, &[]);
    });
    for record in records {
        let time = record.nanoseconds / 1000;
        file.block(6, |body| {
            body.add(&[
                0,
                (time >> 32) as u32,
                time as u32,
                record.bytes.len() as u32,
                record.length,
            ]);
            body.padded(&record.bytes);
            body.option(1, text);
            body.option(0, &[]);
        });
    }
    file.bytes
}

/// A pcapng file of one Ethernet interface and packets without time.
pub fn simple_packets(records: &[Record]) -> Vec<u8> {
    in_blocks(false, Interface::ETHERNET, 3, records, |body, record| {
        body.add(&[record.length]);
    })
}

/// A pcapng file of one Ethernet interface and obsolete Packet Blocks.
pub fn packet_blocks(records: &[Record]) -> Vec<u8> {
    let interface = Interface {
        resolution: 9,
        ..Interface::ETHERNET
    };
    in_blocks(true, interface, 2, records, |body, record| {
        // The interface, and how many packets it dropped.
        body.add16(&[0, 3]);
        body.add(&[
            (record.nanoseconds >> 32) as u32,
            record.nanoseconds as u32,
            record.bytes.len() as u32,
            record.length,
        ]);
    })
}

/// A pcapng file of one interface and a block of this type for each record, which begins with a header.
fn in_blocks(
    is_big_endian: bool,
    interface: Interface,
    kind: u32,
    records: &[Record],
    header: impl Fn(&mut Words, &Record),
) -> Vec<u8> {
    let mut file = Words {
        is_big_endian,
        bytes: pcapng(is_big_endian, &[interface], &[]),
    };
    for record in records {
        file.block(kind, |body| {
            header(body, record);
            body.padded(&record.bytes);
        });
    }
    file.bytes
}

/// How many packets a file has in front of the first place that is in doubt, by a reader that goes
/// from length to length; and whether there is no such place.
pub fn count(file: &[u8]) -> (u64, bool) {
    let mut packets = 0;
    let mut rest = file;
    loop {
        let (more, length) = match rest {
            [0x0a, 0x0d, 0x0d, 0x0a, ..] => count_pcapng(rest),
            [0xd4, 0xc3, 0xb2, 0xa1, ..] | [0x4d, 0x3c, 0xb2, 0xa1, ..] => count_pcap(rest, false),
            [0xa1, 0xb2, 0xc3, 0xd4, ..] | [0xa1, 0xb2, 0x3c, 0x4d, ..] => count_pcap(rest, true),
            _ => return (packets, false),
        };
        packets += more;
        rest = match length.and_then(|length| rest.get(length..)) {
            None => return (packets, false),
            Some([]) => return (packets, true),
            // Another capture.
            Some(rest) => rest,
        };
    }
}

/// The longest packet that libpcap writes.
const LONGEST: usize = 1 << 18;

/// The packets of a capture, and its length, if it is whole.
fn count_pcap(file: &[u8], is_big_endian: bool) -> (u64, Option<usize>) {
    let mut packets = 0;
    let mut at = 24;
    if file.len() < 24 {
        return (0, None);
    }
    while at < file.len() && !is_head(&file[at..]) {
        match number(file, at + 8, is_big_endian) {
            Some(captured) if captured <= LONGEST && at + 16 + captured <= file.len() => {
                at += 16 + captured;
            }
            _ => return (packets, None),
        }
        packets += 1;
    }
    (packets, Some(at))
}

/// Is it the head of another capture, in a pcap file?
fn is_head(bytes: &[u8]) -> bool {
    (bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) && is_ordered(bytes)) || is_pcap_head(bytes)
}

/// Does a section say which byte order it has?
fn is_ordered(bytes: &[u8]) -> bool {
    let order = bytes.get(8..12);
    order == Some(&[0x1a, 0x2b, 0x3c, 0x4d]) || order == Some(&[0x4d, 0x3c, 0x2b, 0x1a])
}

fn is_pcap_head(bytes: &[u8]) -> bool {
    let is_of = |magics: [[u8; 4]; 2], version: [u8; 4]| {
        magics.iter().any(|magic| bytes.starts_with(magic))
            && bytes[4..].starts_with(&version)
            && bytes.get(8..16) == Some(&[0; 8])
    };
    is_of(
        [[0xd4, 0xc3, 0xb2, 0xa1], [0x4d, 0x3c, 0xb2, 0xa1]],
        [2, 0, 4, 0],
    ) || is_of(
        [[0xa1, 0xb2, 0xc3, 0xd4], [0xa1, 0xb2, 0x3c, 0x4d]],
        [0, 2, 0, 4],
    )
}

fn count_pcapng(file: &[u8]) -> (u64, Option<usize>) {
    let (mut packets, mut interfaces, mut at) = (0, 0, 0);
    let mut is_big_endian = false;
    while at < file.len() && !is_pcap_head(&file[at..]) {
        if file[at..].starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
            is_big_endian = file.get(at + 8..at + 12) == Some(&[0x1a, 0x2b, 0x3c, 0x4d]);
            interfaces = 0;
        }
        let word = |offset| number(file, at + offset, is_big_endian);
        let (Some(kind), Some(length)) = (word(0), word(4)) else {
            return (packets, None);
        };
        let is_whole = length % 4 == 0 && length >= 12 && word(length - 4) == Some(length);
        let fits = |header: usize, captured: Option<usize>| {
            captured.is_some_and(|captured| header + captured <= length - 4)
        };
        let is_good = is_whole
            && match kind {
                0x0a0d_0d0a => {
                    is_ordered(&file[at..])
                        && length == 28
                        && word(12).is_some_and(|v| v == 1 || v == 1 << 16)
                }
                1 => {
                    interfaces += 1;
                    length == 20
                }
                2 | 6 => {
                    let first = word(8).unwrap_or_default();
                    let interface = match (kind, is_big_endian) {
                        (6, _) => first,
                        (_, true) => first >> 16,
                        (_, false) => first & 0xffff,
                    };
                    let captured = word(20).map(|n| n.saturating_add(3) & !3);
                    length >= 32 && interface < interfaces && fits(28, captured)
                }
                3 => length >= 16 && interfaces > 0,
                _ => false,
            };
        if !is_good {
            return (packets, None);
        }
        packets += u64::from(kind != 1 && kind != 0x0a0d_0d0a);
        at += length;
    }
    (packets, Some(at))
}

fn number(bytes: &[u8], at: usize, is_big_endian: bool) -> Option<usize> {
    let bytes = *bytes.get(at..)?.first_chunk()?;
    Some(if is_big_endian {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    } as usize)
}

/// Numbers in a byte order.
struct Words {
    is_big_endian: bool,
    bytes: Vec<u8>,
}

impl Words {
    fn new(is_big_endian: bool) -> Self {
        Self {
            is_big_endian,
            bytes: Vec::new(),
        }
    }

    fn number32(&self, number: u32) -> [u8; 4] {
        if self.is_big_endian {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        }
    }

    fn number64(&self, number: u64) -> [u8; 8] {
        if self.is_big_endian {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        }
    }

    fn add(&mut self, numbers: &[u32]) {
        for number in numbers {
            let bytes = self.number32(*number);
            self.bytes.extend(bytes);
        }
    }

    fn add16(&mut self, numbers: &[u16]) {
        for number in numbers {
            self.bytes.extend(if self.is_big_endian {
                number.to_be_bytes()
            } else {
                number.to_le_bytes()
            });
        }
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.add16(&[code, value.len() as u16]);
        self.padded(value);
    }

    /// A block of this type, with its length in front and behind.
    fn block(&mut self, kind: u32, fill: impl FnOnce(&mut Self)) {
        let mut body = Self::new(self.is_big_endian);
        fill(&mut body);
        let length = body.bytes.len() as u32 + 12;
        self.add(&[kind, length]);
        self.bytes.append(&mut body.bytes);
        self.add(&[length]);
    }
}
