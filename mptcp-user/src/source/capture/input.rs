//! The records of a capture.

use std::{
    cell::RefCell,
    fmt::Display,
    io::{self, Cursor, Read},
    rc::Rc,
};

use anyhow::Result;
use indicatif::ProgressBar;
use pcap_parser::{
    Block, LegacyPcapReader, PcapBlockOwned, PcapError, PcapNGReader, traits::PcapReaderIterator,
};

use crate::{
    failure::{Failure, Kind},
    source::file::take,
};

/// Bytes that are read at once; more than any record of a pcap file has.
const BUFFER: usize = 1 << 19;
/// The largest snap length of libpcap.
const LONGEST_PACKET: u64 = 1 << 18;
/// No block of a pcapng file is longer.
const LONGEST_BLOCK: u64 = 1 << 24;
/// Bytes that tell the formats apart: the shortest Section Header Block.
const HEAD: u64 = 28;
/// A longer Section Header Block is none.
const LONGEST_HEAD: u64 = 1 << 16;

const PCAPNG: &[u8] = &[0x0a, 0x0d, 0x0d, 0x0a];
const LITTLE_ENDIAN: &[u8] = &[0x4d, 0x3c, 0x2b, 0x1a];

pub(super) const CONTRADICTION: &str = "the lengths of a record contradict each other";

/// How far a capture was read.
pub(super) enum Progress {
    /// A record further.
    On,
    /// To its end.
    Done,
    /// No further, since what follows cannot be read: why.
    Broken(String),
}

/// A capture that is being read.
pub(super) struct Input {
    blocks: Box<dyn PcapReaderIterator>,
    is_pcapng: bool,
    /// The byte order of lengths.
    is_big_endian: bool,
    /// What went wrong when bytes were read: `blocks` only says that something did.
    error: Rc<RefCell<Option<io::Error>>>,
    bar: ProgressBar,
}

impl Input {
    /// Reads the head of a capture.
    pub(super) fn new(mut bytes: Box<dyn Read>, bar: ProgressBar) -> Result<Self> {
        let mut head = take(&mut bytes, HEAD)?;
        let is_pcapng = head.starts_with(PCAPNG);
        let is_big_endian = match head.get(8..12) {
            Some(order) if is_pcapng => order != LITTLE_ENDIAN,
            // The magic number of either resolution.
            _ => head.starts_with(&[0xa1]),
        };
        if is_pcapng {
            let length = number(&head, 4, is_big_endian).unwrap_or_default();
            let rest = length.min(LONGEST_HEAD).saturating_sub(HEAD);
            head.append(&mut take(&mut bytes, rest)?);
        }
        let error = Rc::default();
        let reader = Attentive {
            reader: Cursor::new(head).chain(bytes),
            error: Rc::clone(&error),
        };
        let blocks: Result<Box<dyn PcapReaderIterator>, _> = if is_pcapng {
            PcapNGReader::new(BUFFER, reader).map(|reader| Box::new(reader) as _)
        } else {
            LegacyPcapReader::new(BUFFER, reader).map(|reader| Box::new(reader) as _)
        };
        let blocks = blocks.map_err(|_| {
            Failure::error(
                Kind::Failed,
                "it is no capture in pcap or pcapng format, and no log of mptcp-user record",
            )
        })?;
        Ok(Self {
            blocks,
            is_pcapng,
            is_big_endian,
            error,
            bar,
        })
    }

    /// Takes the bar off the terminal, for what comes after it.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Hands the next record to `each`, which may find that it cannot be: why.
    pub(super) fn next(
        &mut self,
        each: impl FnOnce(PcapBlockOwned<'_>) -> Result<Option<String>>,
    ) -> Result<Progress> {
        loop {
            match self.blocks.next() {
                Ok((length, block)) => {
                    if let PcapBlockOwned::NG(Block::SectionHeader(section)) = &block {
                        self.is_big_endian = section.big_endian();
                    }
                    if let Some(broken) = each(block)? {
                        return Ok(self.broken(broken));
                    }
                    self.blocks.consume_noshift(length);
                    return Ok(Progress::On);
                }
                Err(PcapError::Eof) => return Ok(Progress::Done),
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

    /// Reads more bytes, since the next record is not complete.
    fn fill(&mut self) -> Option<Progress> {
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
        if wanted > BUFFER as u64 / 2 {
            self.blocks.grow(2 * wanted as usize);
        }
        if self.blocks.refill().is_err() {
            let reason = match self.error.take() {
                Some(error) => error.to_string(),
                None => "it cannot be read".to_owned(),
            };
            return Some(self.broken(reason));
        }
        None
    }

    /// How long the next record says it is; 0 if that is not there yet.
    fn record_length(&self) -> u64 {
        let data = self.blocks.data();
        let length = if self.is_pcapng {
            number(data, 4, self.is_big_endian)
        } else {
            number(data, 8, self.is_big_endian).map(|captured| captured + 16)
        };
        length.unwrap_or_default()
    }

    fn broken(&self, how: impl Display) -> Progress {
        Progress::Broken(format!("byte {}: {how}", self.blocks.consumed()))
    }
}

/// A number of 32 bits.
pub(super) fn number(bytes: &[u8], at: usize, is_big_endian: bool) -> Option<u64> {
    let bytes = *bytes.get(at..)?.first_chunk()?;
    Some(u64::from(if is_big_endian {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    }))
}

/// Keeps the error that a reader returns.
struct Attentive<R> {
    reader: R,
    error: Rc<RefCell<Option<io::Error>>>,
}

impl<R: Read> Read for Attentive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.reader.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let kind = error.kind();
                    self.error.replace(Some(error));
                    return Err(kind.into());
                }
                read => return read,
            }
        }
    }
}
