//! The packets of sessions, as frames and what is written to them.

use hmac::{Hmac, KeyInit as _, Mac as _};
use mptcp_common::table::mix;
use mptcp_tests::frame::{ACK, Frame, SYN, SYN_ACK, option};
use sha2::{Digest as _, Sha256};

use crate::feeder::{Numbers, Record, Step, writes};

/// Initial sequence numbers of initiator and listener.
const ISN: [u32; 2] = [1000, 2000];
const NONCES: [u32; 2] = [0x0102_0304, 0x0506_0708];
/// Last bytes of the addresses of initiator and listener; the initiator's is written over.
const HOSTS: [u8; 2] = [1, 2];
/// Ports of initiator and listener.
const PORTS: [u16; 2] = [40_000, 5000];
/// Option area of nearly every TCP packet: NOP, NOP, timestamp.
pub(crate) const TIMESTAMP: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];

/// Where the length of a mapping stands in a frame.
const LENGTH: usize = 14 + 20 + 20 + TIMESTAMP.len() + 24;

/// Packets of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Packets {
    pub(crate) frame: Vec<u8>,
    step: Step,
}

impl Packets {
    /// All the same.
    pub(crate) fn same(frame: Vec<u8>) -> Self {
        Self {
            frame,
            step: Step::default(),
        }
    }

    /// Each of another flow: those of [`stranger`]s.
    pub(crate) fn flows(options: &[u8], payload: usize, records: u32, count: u32) -> Self {
        let step = Step {
            writes: writes::SOURCE,
            sessions: count,
            records,
            ..Step::default()
        };
        Self {
            frame: segment(0, ACK, options, payload),
            step,
        }
    }

    /// What is written from the packet with this number on.
    pub(crate) fn step(&self, number: u64) -> Step {
        let sessions = u64::from(self.step.sessions.max(1));
        Step {
            next: (number % sessions) as u32,
            round: (number / sessions) as u32,
            ..self.step
        }
    }
}

/// A segment of one side, the initiator's at 0.
fn segment(side: usize, flags: u8, options: &[u8], payload: usize) -> Vec<u8> {
    Frame {
        hosts: [HOSTS[side], HOSTS[side ^ 1]],
        ports: [PORTS[side], PORTS[side ^ 1]],
        ..Frame::new(flags, options, payload)
    }
    .bytes()
}

/// The same with a timestamp, an MPTCP option of this length, and NOPs up to a whole word.
fn mptcp(side: usize, flags: u8, start: &[u8], length: usize, payload: usize) -> Vec<u8> {
    let mut options = [&TIMESTAMP[..], start].concat();
    options.resize(TIMESTAMP.len() + length, 0);
    options.resize(options.len().next_multiple_of(4), 1);
    segment(side, flags, &options, payload)
}

/// Sessions that take turns: their records stand at `records`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sessions {
    /// Number of the first one.
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) records: u32,
    /// Payload of their data packets, in bytes.
    pub(crate) payload: u32,
    /// Are DSS checksums used?
    pub(crate) checksums: bool,
}

impl Sessions {
    fn step_of(&self, writes: u32, sequence: u32, acknowledgment: u32) -> Step {
        Step {
            writes,
            sessions: self.count,
            records: self.records,
            start: Numbers {
                sequence,
                acknowledgment,
                ..Numbers::default()
            },
            ..Step::default()
        }
    }

    fn capable_flags(&self) -> u8 {
        if self.checksums { 0x81 } else { 0x01 }
    }

    /// Numbers of the sessions.
    pub(crate) fn numbers(&self) -> std::ops::Range<u32> {
        self.first..self.first + self.count
    }

    /// MP_CAPABLE SYN, SYN/ACK and ACK; the records are [`keys`].
    pub(crate) fn handshake(&self) -> [Packets; 3] {
        let flags = self.capable_flags();
        [
            Packets {
                frame: mptcp(0, SYN, &option(0, 1, &[flags]), 4, 0),
                step: self.step_of(writes::SOURCE, ISN[0], 0),
            },
            Packets {
                frame: mptcp(1, SYN_ACK, &sized(12, 0x01, flags), 12, 0),
                step: self.step_of(
                    writes::DESTINATION | writes::SECOND_FIRST,
                    ISN[1],
                    ISN[0] + 1,
                ),
            },
            Packets {
                frame: mptcp(0, ACK, &sized(20, 0x01, flags), 20, 0),
                step: self.step_of(
                    writes::SOURCE | writes::FIRST | writes::SECOND,
                    ISN[0] + 1,
                    ISN[1] + 1,
                ),
            },
        ]
    }

    /// The same with a mapping for so many packets of a session, which each of them has.
    pub(crate) fn data_in_parts(&self, parts: u32) -> Packets {
        let Packets {
            mut frame,
            mut step,
        } = self.data();
        frame[LENGTH..LENGTH + 2].copy_from_slice(&((parts * self.payload) as u16).to_be_bytes());
        step.parts = parts;
        Packets { frame, step }
    }

    /// Data of the initiator, in order, each packet with its mapping; the records are [`numbers`].
    pub(crate) fn data(&self) -> Packets {
        let payload = self.payload;
        let length = if self.checksums { 28 } else { 26 };
        // DATA_ACK and data sequence number of 8 bytes, and a mapping.
        let mut frame = mptcp(
            0,
            ACK,
            &sized(length, 0x20, 0x0f),
            length.into(),
            payload as usize,
        );
        frame[LENGTH..LENGTH + 2].copy_from_slice(&(payload as u16).to_be_bytes());
        let body = &frame[frame.len() - payload as usize..];
        let sum: u32 = body
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
            .sum();
        let mut all = writes::SOURCE | writes::FIRST | writes::SECOND | writes::THIRD;
        if self.checksums {
            all |= writes::CHECKSUM;
        }
        let mut step = self.step_of(all, ISN[0] + 1, ISN[1] + 1);
        step.stride = Numbers {
            sequence: payload,
            second: payload,
            third: payload,
            ..step.stride
        };
        step.sum = sum + payload;
        Packets { frame, step }
    }

    /// The listener's acknowledgments of that data, a packet's each, with a DATA_ACK.
    pub(crate) fn acknowledgments(&self) -> Packets {
        let frame = mptcp(1, ACK, &sized(12, 0x20, 0x03), 12, 0);
        let writes = writes::DESTINATION | writes::SECOND_FIRST;
        self.acknowledge(frame, writes)
    }

    /// The same without an option of kind 30.
    pub(crate) fn plain_acknowledgments(&self) -> Packets {
        self.acknowledge(segment(1, ACK, &TIMESTAMP, 0), writes::DESTINATION)
    }

    fn acknowledge(&self, frame: Vec<u8>, writes: u32) -> Packets {
        let payload = self.payload;
        let mut step = self.step_of(writes, ISN[1] + 1, ISN[0] + 1 + payload);
        step.start.second = payload;
        step.stride = Numbers {
            acknowledgment: payload,
            second: payload,
            ..step.stride
        };
        Packets { frame, step }
    }

    /// MP_JOIN SYN, SYN/ACK and ACK; the records are [`joins`], one set behind the other.
    pub(crate) fn join(&self) -> [Packets; 3] {
        let mut syn_ack = sized(16, 0x10, 0);
        syn_ack[12..].copy_from_slice(&NONCES[1].to_be_bytes());
        let at = |set: u32| Self {
            records: self.records + set * self.count,
            ..*self
        };
        [
            Packets {
                frame: mptcp(0, SYN, &sized(12, 0x10, 5), 12, 0),
                step: at(0).step_of(writes::SOURCE | writes::FIRST, ISN[0], 0),
            },
            Packets {
                frame: mptcp(1, SYN_ACK, &syn_ack, 16, 0),
                step: at(1).step_of(writes::DESTINATION | writes::FIRST, ISN[1], ISN[0] + 1),
            },
            Packets {
                frame: mptcp(0, ACK, &sized(24, 0x10, 0), 24, 0),
                step: at(2).step_of(
                    writes::SOURCE | writes::FIRST | writes::SECOND | writes::THIRD,
                    ISN[0] + 1,
                    ISN[1] + 1,
                ),
            },
        ]
    }
}

/// An option of kind 30: length, subtype and nibble, the byte behind, then zeros.
fn sized(length: u8, third: u8, fourth: u8) -> Vec<u8> {
    let mut bytes = vec![30, length, third, fourth];
    bytes.resize(length.into(), 0);
    bytes
}

/// Address of the first subflow of a session: 16.0.0.0 and up.
fn address(session: u32) -> u32 {
    0x1000_0000 + session
}

/// A flow that belongs to no session: 32.0.0.0 and up.
pub(crate) fn stranger(number: u32) -> Record {
    Record {
        address: 0x2000_0000 + number,
        ..Record::default()
    }
}

/// Keys of initiator and listener.
fn keys_of(session: u32) -> [u64; 2] {
    [0, 1].map(|side| mix(1, side << 32 | u64::from(session)))
}

/// What a handshake's packets differ in.
pub(crate) fn keys(session: u32) -> Record {
    let [first, second] = keys_of(session);
    Record {
        address: address(session),
        third: 0,
        first,
        second,
    }
}

/// What a session's data and acknowledgments differ in.
pub(crate) fn numbers(session: u32) -> Record {
    let [initiator, listener] = keys_of(session).map(|key| idsn(key).wrapping_add(1));
    Record {
        address: address(session),
        third: 1,
        first: listener,
        second: initiator,
    }
}

fn hash(key: u64) -> [u8; 32] {
    Sha256::digest(key.to_be_bytes()).into()
}

fn idsn(key: u64) -> u64 {
    word(&hash(key)[24..])
}

fn word(bytes: &[u8]) -> u64 {
    bytes[..8]
        .iter()
        .fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// What a join's SYN, SYN/ACK and ACK differ in.
pub(crate) fn joins(session: u32) -> [Record; 3] {
    let keys = keys_of(session);
    let hmac = |side: usize| -> Vec<u8> {
        let key = [keys[side], keys[side ^ 1]].map(u64::to_be_bytes).concat();
        let message = [NONCES[side], NONCES[side ^ 1]]
            .map(u32::to_be_bytes)
            .concat();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("any key");
        mac.update(&message);
        mac.finalize().into_bytes().to_vec()
    };
    let address = address(session) + (1 << 28);
    let token = word(&hash(keys[1])) >> 32;
    let (by_initiator, by_listener) = (hmac(0), hmac(1));
    [
        Record {
            address,
            first: token << 32 | u64::from(NONCES[0]),
            ..Record::default()
        },
        Record {
            address,
            first: word(&by_listener),
            ..Record::default()
        },
        Record {
            address,
            first: word(&by_initiator),
            second: word(&by_initiator[8..]),
            third: (word(&by_initiator[12..]) & 0xffff_ffff) as u32,
        },
    ]
}
