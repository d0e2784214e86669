//! What the fuzz targets share. Each takes bytes and asks a layer for a property; the first byte says
//! how the layer is configured. `cargo xtask fuzz` builds and runs them.

use std::io::{self, Read};

use mptcp_common::counter::Role;
use mptcp_tests::numbers::Numbers;
use mptcp_user::offline::{Capacity, Config, Offline, Scope};

/// Where the packets are seen.
pub fn role(how: u8) -> Role {
    if how & 1 != 0 {
        Role::Host
    } else {
        Role::Middlebox
    }
}

/// A configuration with small tables, in which entries are soon taken over.
pub fn config(how: u8) -> Config {
    let config = Config::default();
    Config {
        role: role(how),
        scope: Scope {
            is_verifying: how & 2 != 0,
            is_checking: how & 4 != 0,
            ..config.scope
        },
        sizes: Capacity {
            sessions: 16,
            subflows: 32,
            handshakes: 16,
            ranges: 100,
        },
        ..config
    }
}

/// An engine of it.
pub fn engine(how: u8) -> Offline {
    Offline::new(config(how))
}

/// A packet of a stream.
pub struct Packet<'a> {
    /// The frame.
    pub bytes: &'a [u8],
    /// Did it come in?
    pub ingress: bool,
    /// Nanoseconds since the one before.
    pub later: u64,
}

/// The packets of a stream: two bytes of length, of which the highest bits say direction and time.
pub fn packets(mut stream: &[u8]) -> impl Iterator<Item = Packet<'_>> {
    std::iter::from_fn(move || {
        let (head, rest) = stream.split_first_chunk::<2>()?;
        let head = u16::from_le_bytes(*head);
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(head & LENGTH)));
        stream = rest;
        let later = [1_000_000, 1_000_000_000, 20_000_000_000, 100_000_000_000];
        Some(Packet {
            bytes,
            ingress: head & OUTGOING == 0,
            later: later[usize::from(head >> 14)],
        })
    })
}

/// Of the two bytes in front of a packet: its length.
pub const LENGTH: u16 = 0x1fff;
/// Of the two bytes in front of a packet: it went out.
pub const OUTGOING: u16 = 0x2000;

/// Bytes that come a few at a time.
#[derive(Debug)]
pub struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    numbers: Numbers,
}

impl Pieces {
    /// In lengths that a seed decides.
    pub fn new(bytes: &[u8], seed: u8) -> Self {
        Self {
            bytes: bytes.to_vec(),
            at: 0,
            numbers: Numbers::new(seed.into()),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let longest = if self.numbers.one_in(4) { 20 } else { 2000 };
        let rest = &self.bytes[self.at..];
        let length = (1 + self.numbers.below(longest) as usize)
            .min(rest.len())
            .min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.at += length;
        Ok(length)
    }
}
