//! The records of a capture.

use std::{
    cell::RefCell,
    fmt::Display,
    io::{self, Read},
    rc::Rc,
};

use anyhow::Result;
use indicatif::ProgressBar;
use pcap_parser::{
    Block, LegacyPcapReader, PcapBlockOwned, PcapError, PcapNGReader, traits::PcapReaderIterator,
};

use crate::{
    failure::{FailureKind, Notice},
    snapshot::statistics::Others,
    source::{file::take, packed::Format},
};

/// Bytes that are read at once; more than any record of a pcap file has.
const BUFFER: usize = 1 << 19;
/// Bytes that are read at once of a capture behind the first. There may be many, and short ones; a longer record makes
/// it grow.
const BUFFER_BEHIND: usize = 1 << 15;
/// The largest snap length of libpcap.
const LONGEST_PACKET: u64 = 1 << 18;
/// No block of a pcapng file is longer.
const LONGEST_BLOCK: u64 = 1 << 24;
/// Bytes that tell the formats apart: the shortest Section Header Block.
const HEAD: usize = 28;
/// Bytes of the header of a pcap file.
const PCAP_HEAD: usize = 24;
/// A longer Section Header Block is none.
const LONGEST_HEAD: usize = 1 << 16;

/// Bytes that are read at once of those that were put back.
const FEW: usize = 1 << 12;

const PCAPNG: &[u8] = &[0x0a, 0x0d, 0x0d, 0x0a];
const LITTLE_ENDIAN: &[u8] = &[0x4d, 0x3c, 0x2b, 0x1a];
const BIG_ENDIAN: &[u8] = &[0x1a, 0x2b, 0x3c, 0x4d];

/// How pcap files begin: in either byte order, with microseconds or nanoseconds.
const PCAP: [[u8; 4]; 4] = [
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0xa1, 0xb2, 0x3c, 0x4d],
];
/// How pcap files with longer records begin, of an old patch.
const MODIFIED_PCAP: &[u8] = &[0x34, 0xcd, 0xb2, 0xa1];

/// Captures that are not read: how they begin, and what they are.
const OTHERS: [(&[u8], &str); 4] = [
    (b"snoop\0", "snoop"),
    (b"GMBU", "Network Monitor 2"),
    (b"RTSS", "Network Monitor 1"),
    (&[0xa1, 0xb2, 0xcd, 0x34], "modified pcap"),
];

pub(super) const CONTRADICTION: &str = "the lengths of a record contradict each other";

/// How far a capture was read.
pub(super) enum ReadStatus {
    /// A record further.
    On,
    /// To its end.
    Done,
    /// No further, since what follows cannot be read: why.
    Broken(String),
}

/// Captures that are being read: one, or several that stand one behind the other in a file.
pub(super) struct Input {
    source: Rc<RefCell<Source>>,
    /// Of the capture that is being read.
    blocks: Box<dyn PcapReaderIterator>,
    /// Bytes that they read at once.
    buffer: usize,
    /// Where in the file that begins.
    begin: u64,
    is_pcapng: bool,
    /// The byte order of lengths.
    is_big_endian: bool,
    others: Others,
    bar: ProgressBar,
}

/// A capture of which the head was read.
struct Head {
    blocks: Box<dyn PcapReaderIterator>,
    is_pcapng: bool,
    is_big_endian: bool,
}

impl Head {
    /// Reads it, or says why it cannot be read.
    fn read(source: &Rc<RefCell<Source>>, buffer: usize) -> Result<Self, Notice> {
        const NO_CAPTURE: &str =
            "it is no capture in pcap or pcapng format, and no log of mptcp-user record";
        const CUT: &str = "it ends in the middle of its header";
        let mut bytes = SharedSource(Rc::clone(source));
        let mut head = bytes.head(HEAD).map_err(Notice::new)?;
        let is_pcapng = head.starts_with(PCAPNG);
        let mut length = PCAP_HEAD;
        let mut is_big_endian = head.starts_with(&[0xa1]);
        if is_pcapng {
            let order = head.get(8..12).unwrap_or(BIG_ENDIAN);
            if order != BIG_ENDIAN && order != LITTLE_ENDIAN {
                return Err(Notice::new(NO_CAPTURE));
            }
            is_big_endian = order == BIG_ENDIAN;
            length = number(&head, 4, is_big_endian).unwrap_or_default() as usize;
            let rest = length.min(LONGEST_HEAD).saturating_sub(HEAD);
            head.append(&mut bytes.head(rest).map_err(Notice::new)?);
            length = length.max(HEAD);
        } else if let Some((_, name)) = OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Err(Notice::new(format!(
                "it is a capture in {name} format, which is not read"
            ))
            .next("editcap -F pcapng FILE NEW, of Wireshark, makes one that is"));
        } else if !PCAP.iter().any(|magic| head.starts_with(magic))
            && !head.starts_with(MODIFIED_PCAP)
        {
            return Err(Notice::new(NO_CAPTURE));
        }
        if head.len() < length.min(LONGEST_HEAD) {
            return Err(Notice::new(CUT));
        }
        source.borrow_mut().put_back(&head);
        // Both read the head, which is there, and are content with it.
        let blocks: Result<Box<dyn PcapReaderIterator>, _> = if is_pcapng {
            PcapNGReader::new(buffer.max(2 * length.min(LONGEST_HEAD)), bytes)
                .map(|reader| Box::new(reader) as _)
        } else {
            LegacyPcapReader::new(buffer, bytes).map(|reader| Box::new(reader) as _)
        };
        let blocks = blocks.map_err(|_| Notice::new(NO_CAPTURE))?;
        Ok(Self {
            blocks,
            is_pcapng,
            is_big_endian,
        })
    }
}

/// Returns true if another capture begins with these bytes, in the place of a record. As one, they would be a packet
/// of no bytes,
/// in a certain microsecond of 2055 (pcap in pcap), or of 439,041,101 bytes and more (pcapng in pcap); or a block of a
/// type that nobody has (pcap in pcapng).
fn begins_another(bytes: &[u8], is_pcapng: bool) -> bool {
    let Some(magic) = bytes.first_chunk::<4>() else {
        return false;
    };
    if PCAP.contains(magic) {
        // Version 2.4, the only one since 1998, and what nobody has used: a time zone, a number of digits.
        const LITTLE: [u8; 12] = [2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        const BIG: [u8; 12] = [0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0];
        let wanted = if magic[0] == 0xa1 { BIG } else { LITTLE };
        return bytes[4..].starts_with(&wanted);
    }
    let order = bytes.get(8..12).unwrap_or_default();
    !is_pcapng && magic == PCAPNG && (order == LITTLE_ENDIAN || order == BIG_ENDIAN)
}

/// So many bytes does [`begins_another`] look at.
const LOOK: usize = 16;

impl Input {
    /// Reads the head of a capture.
    pub(super) fn new(bytes: Box<dyn Read>, bar: ProgressBar) -> Result<Self> {
        let source = Rc::new(RefCell::new(Source::new(bytes)));
        let head = Head::read(&source, BUFFER)
            .map_err(|reason| reason.into_failure(FailureKind::Failed))?;
        Ok(Self {
            source,
            blocks: head.blocks,
            buffer: BUFFER,
            begin: 0,
            is_pcapng: head.is_pcapng,
            is_big_endian: head.is_big_endian,
            others: Others::default(),
            bar,
        })
    }

    /// Takes the bar off the terminal, for what comes after it.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Returns which captures stand behind the first one, as far as it was read.
    pub(super) fn others(&self) -> Others {
        self.others
    }

    /// Hands the next record to `each`, which may find that it cannot be: why.
    pub(super) fn next(
        &mut self,
        each: impl FnOnce(PcapBlockOwned<'_>) -> Result<Option<String>>,
    ) -> Result<ReadStatus> {
        loop {
            let at = self.at();
            // Every capture begins like one.
            let is_first = self.blocks.consumed() == 0;
            if !is_first && self.blocks.data().len() < LOOK && !self.blocks.reader_exhausted() {
                if let Some(broken) = self.refill() {
                    return Ok(broken);
                }
                continue;
            }
            if !is_first && begins_another(self.blocks.data(), self.is_pcapng) {
                if let Err(reason) = self.begin_another() {
                    return Ok(self.broken(format!(
                        "another capture begins there, which cannot be read: {reason}"
                    )));
                }
                continue;
            }
            match self.blocks.next() {
                Ok((length, block)) => {
                    if let PcapBlockOwned::NG(Block::SectionHeader(section)) = &block {
                        self.is_big_endian = section.big_endian();
                        if !is_first {
                            self.others.add(at);
                        }
                    }
                    if let Some(broken) = each(block)? {
                        return Ok(self.broken(broken));
                    }
                    self.blocks.consume_noshift(length);
                    return Ok(ReadStatus::On);
                }
                Err(PcapError::Eof) => return Ok(ReadStatus::Done),
                Err(
                    PcapError::Incomplete(_) | PcapError::BufferTooSmall | PcapError::UnexpectedEof,
                ) => {}
                Err(_) => return Ok(self.broken(CONTRADICTION)),
            }
            if let Some(broken) = self.fill() {
                return Ok(broken);
            }
        }
    }

    /// Goes on with the capture that begins here.
    fn begin_another(&mut self) -> Result<(), Notice> {
        let at = self.at();
        self.source.borrow_mut().put_back(self.blocks.data());
        let head = Head::read(&self.source, BUFFER_BEHIND)?;
        self.blocks = head.blocks;
        self.buffer = BUFFER_BEHIND;
        self.is_pcapng = head.is_pcapng;
        self.is_big_endian = head.is_big_endian;
        self.begin = at;
        self.others.add(at);
        Ok(())
    }

    /// Returns where in the file the next record begins.
    fn at(&self) -> u64 {
        self.begin + self.blocks.consumed() as u64
    }

    /// Reads more bytes, since the next record is not complete.
    fn fill(&mut self) -> Option<ReadStatus> {
        let wanted = self.record_length();
        let (is_there, longest) = if self.is_pcapng {
            // A length in the block goes beyond the block.
            let is_there = wanted != 0 && wanted <= self.blocks.data().len() as u64;
            (is_there, LONGEST_BLOCK)
        } else {
            (false, LONGEST_PACKET)
        };
        if wanted > longest {
            return Some(self.broken(format!("a record says that it has {wanted} bytes")));
        }
        if is_there {
            return Some(self.broken(CONTRADICTION));
        }
        if self.blocks.reader_exhausted() {
            return Some(self.broken("it ends in the middle of a record"));
        }
        if wanted > self.buffer as u64 / 2 {
            self.blocks.grow(2 * wanted as usize);
        }
        self.refill()
    }

    /// Reads more bytes.
    fn refill(&mut self) -> Option<ReadStatus> {
        if self.blocks.refill().is_err() {
            let reason = match self.source.borrow_mut().error.take() {
                Some(error) => error.to_string(),
                None => "it cannot be read".to_owned(),
            };
            return Some(self.broken(reason));
        }
        None
    }

    /// Returns how long the next record says it is; 0 if that is not there yet.
    fn record_length(&self) -> u64 {
        let data = self.blocks.data();
        let length = if self.is_pcapng && data.starts_with(PCAPNG) {
            // A section says its byte order behind its length.
            let order = data.get(8..12);
            order.and_then(|order| number(data, 4, order != LITTLE_ENDIAN))
        } else if self.is_pcapng {
            number(data, 4, self.is_big_endian)
        } else {
            number(data, 8, self.is_big_endian).map(|captured| captured + 16)
        };
        length.unwrap_or_default()
    }

    fn broken(&self, how: impl Display) -> ReadStatus {
        let packed = match Format::of(self.blocks.data()) {
            Some(format) => format!(" ({} data seems to begin there)", format.name),
            None => String::new(),
        };
        ReadStatus::Broken(format!("byte {}: {how}{packed}", self.at()))
    }
}

/// Returns a number of 32 bits.
pub(super) fn number(bytes: &[u8], at: usize, is_big_endian: bool) -> Option<u64> {
    let bytes = *bytes.get(at..)?.first_chunk()?;
    Some(u64::from(if is_big_endian {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    }))
}

/// The bytes of a file, of which those that were read last can be put back.
struct Source {
    reader: Box<dyn Read>,
    /// Those that were put back; none, once more was read than those.
    back: Vec<u8>,
    /// How many of them were read again.
    at: usize,
    /// How many of them are read at once.
    most: usize,
    /// What went wrong when bytes were read: readers of blocks only say that something did.
    error: Option<io::Error>,
}

impl Source {
    fn new(reader: Box<dyn Read>) -> Self {
        Self {
            reader,
            back: Vec::new(),
            at: 0,
            most: 0,
            error: None,
        }
    }

    /// Puts back bytes that were read last. Those that had been put back before are still there, so that a file of
    /// many captures is not copied over and over.
    fn put_back(&mut self, bytes: &[u8]) {
        // A head as a whole, and else few, of which another capture puts back what is left.
        self.most = bytes.len().clamp(FEW, LONGEST_HEAD);
        match self.at.checked_sub(bytes.len()) {
            Some(at) => self.at = at,
            None => {
                self.back = bytes.to_vec();
                self.at = 0;
            }
        }
    }
}

struct SharedSource(Rc<RefCell<Source>>);

impl SharedSource {
    /// At most so many bytes, fewer only at the end; or why they cannot be read.
    fn head(&mut self, length: usize) -> Result<Vec<u8>, String> {
        take(self, length as u64).map_err(|error| {
            let kept = self.0.borrow_mut().error.take();
            kept.unwrap_or(error).to_string()
        })
    }
}

impl Read for SharedSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let source = &mut *self.0.borrow_mut();
        let back = &source.back[source.at..];
        if !back.is_empty() {
            let length = buffer.len().min(back.len()).min(source.most);
            buffer[..length].copy_from_slice(&back[..length]);
            source.at += length;
            return Ok(length);
        }
        source.back.clear();
        source.at = 0;
        loop {
            match source.reader.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let kind = error.kind();
                    source.error = Some(error);
                    return Err(kind.into());
                }
                read => return read,
            }
        }
    }
}
