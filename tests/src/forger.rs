//! Packets that somebody who knows addresses and ports, and no numbers, sends in the name of either end.

use std::{iter, net::Ipv4Addr, slice, sync::atomic::Ordering::Relaxed};

use anyhow::{Result, ensure};
use bytemuck::cast_slice;
use mptcp_common::{
    counter::{Counters, DirectionCounters, Role},
    packet::{
        Buffer, Flow, FlowKey,
        hash::{Ends, flow_tag},
    },
    state::{HandshakeFacts, HandshakeKind, SubflowFacts, Tables as _, is_half_open_over, locate},
    table::Table as _,
};
use mptcp_user::offline::{Config, Offline};

use crate::{
    frame::{ACK, FIN, Frame, RST, SYN_ACK, option},
    numbers::Numbers,
    tables,
};

/// An engine that gets real packets alone, and one that gets the forged ones alone and follows nothing.
pub struct Forger {
    real: Offline,
    alone: Offline,
    numbers: Numbers,
    /// Forged packets.
    pub forged: u64,
}

impl Forger {
    /// With this configuration.
    pub fn new(config: Config) -> Self {
        let mut untracked = config;
        untracked.scope.is_tracking = false;
        Self {
            real: Offline::new(config),
            alone: Offline::new(untracked),
            numbers: Numbers::new(5 << 32),
            forged: 0,
        }
    }

    /// Takes a real frame.
    pub fn real(&mut self, frame: &[u8], buffer: Buffer, now: u64) {
        self.real.frame(frame, buffer, now);
        self.real.take_reports();
    }

    /// Forges a packet on the flow of a frame, if what is sent there is held against numbers that are known. It says
    /// whether the packet comes in.
    pub fn forge(&mut self, frame: &Frame, ingress: bool, now: u64) -> Option<(Frame, bool)> {
        let mut forged = Frame {
            payload: 0,
            ..frame.clone()
        };
        if self.numbers.one_in(2) {
            forged.hosts.reverse();
            forged.ports.reverse();
        }
        let is_host = self.real.role() == Role::Host;
        let is_ingress = !is_host || ingress == (forged.ports == frame.ports);
        if !is_ingress {
            return None;
        }
        forged.sequence = next_number(&self.real, &frame_flow(&forged), now)?;
        self.disguise(&mut forged);
        self.alone.frame(&forged.bytes(), Buffer::ONE, now);
        self.forged += 1;
        Some((forged, is_ingress))
    }

    /// How many forged packets there may be at once.
    pub fn burst(&mut self) -> u64 {
        self.numbers.below(3)
    }

    /// Compares what was counted of all packets with what each kind counts alone.
    ///
    /// # Errors
    /// If forged packets moved anything else.
    pub fn check(&self, mixed: &Counters) -> Result<()> {
        let mut counted = *mixed;
        for events in [&mut counted.rx, &mut counted.tx, &mut counted.unknown] {
            events.not_taken = 0;
        }
        let mut real = self.real.counters();
        for events in [&mut real.rx, &mut real.tx, &mut real.unknown] {
            events.not_taken = 0;
        }
        let names = DirectionCounters::FIELDS
            .iter()
            .flat_map(|(name, length, _)| iter::repeat_n(*name, *length))
            .chain(iter::repeat("frames"));
        let wanted = sum(&real).into_iter().zip(sum(&self.alone.counters()));
        let moved: Vec<_> = names
            .zip(sum(&counted).into_iter().zip(wanted))
            .filter(|(_, (counted, (real, alone)))| *counted != real + alone)
            .collect();
        ensure!(moved.is_empty(), "forged packets move more: {moved:?}");
        Ok(())
    }

    /// Flags and options of any kind, and numbers that no window reaches.
    fn disguise(&mut self, frame: &mut Frame) {
        let numbers = &mut self.numbers;
        frame.flags = match numbers.below(8) {
            0 => RST,
            1 => RST | ACK,
            2 => FIN | ACK,
            3 => SYN_ACK,
            _ => ACK,
        };
        // Whether it is known or not.
        let near = (1 << 30) + (1 << 24);
        let offset = near + numbers.below((1 << 32) - 2 * near);
        frame.sequence = frame.sequence.wrapping_add(offset as u32);
        frame.acknowledgment = numbers.next() as u32;
        if frame.flags == ACK && numbers.one_in(2) {
            frame.payload = 1 + numbers.below(50) as usize;
        }
        let key = numbers.next().to_be_bytes();
        let dss = |flags: u8, numbers: &[u8]| option(2, 0, &[&[flags][..], numbers].concat());
        let map = [&key[..], &[0, 0, 0, 1, 0, 9]].concat();
        frame.options = match numbers.below(14) {
            0 => dss(0x03, &key),
            1 => dss(0x01, &key[..4]),
            2 => dss(0x0c, &map),
            3 => dss(0x0c, &[&key[..], &[0; 6]].concat()),
            4 => dss(0x1c, &map),
            5 => option(6, 0, &[&[0][..], &key].concat()),
            6 => option(5, 1, &[]),
            7 => option(4, 0, &[0]),
            8 => option(3, 0, &[&[7, 10, 0, 9, 7][..], &key].concat()),
            9 => option(7, 0, &[&[0][..], &key].concat()),
            10 => option(8, 0, &[1]),
            11 => option(0, 1, &[&[1][..], &key, &key].concat()),
            12 => option(1, 0, &[&[0][..], &key, &key, &key[..4]].concat()),
            _ => Vec::new(),
        };
    }

    /// Compares the sessions, byte by byte.
    ///
    /// # Errors
    /// If forged packets changed one.
    pub fn compare_sessions(&self, mixed: &Offline) -> Result<()> {
        for i in 0.. {
            let (Some(one), Some(other)) = (mixed.sessions().slot(i), self.real.sessions().slot(i))
            else {
                return Ok(());
            };
            ensure!(
                tables::entry(one) == tables::entry(other),
                "forged packets changed a session"
            );
        }
        Ok(())
    }
}

/// What all directions counted together, and what became of frames.
fn sum(counters: &Counters) -> Vec<u64> {
    let mut sum = vec![0; size_of::<DirectionCounters>() / 8];
    for (_, events) in counters.directions() {
        let words: &[u64] = cast_slice(slice::from_ref(events));
        for (sum, word) in sum.iter_mut().zip(words) {
            *sum += word;
        }
    }
    sum.push(counters.frames);
    sum.extend_from_slice(cast_slice(slice::from_ref(&counters.leaves)));
    sum
}

/// The flow of an IPv4 frame, the sender first.
fn frame_flow(frame: &Frame) -> FlowKey {
    let mut flow = FlowKey::default();
    let word = |host: u8| {
        let address = Ipv4Addr::new(10, 0, 0, host).octets();
        u64::from(u32::from_ne_bytes(address)) << 32 | 0xffff_0000
    };
    flow.set_addresses([0, word(frame.hosts[0]), 0, word(frame.hosts[1])]);
    let [source, destination] = frame.ports.map(u16::to_be_bytes);
    let ports = [source[0], source[1], destination[0], destination[1]];
    flow.words[4] = u32::from_ne_bytes(ports).into();
    flow
}

/// The number that the sender sends next on this flow, if its segments are held against numbers that are known: those
/// of an open subflow, or of a handshake that was answered.
fn next_number(engine: &Offline, flow: &FlowKey, now: u64) -> Option<u32> {
    let second = u32::from(flow.is_reversed());
    let (place, slot) = locate(engine, flow_tag(engine.secrets(), &Ends::of(flow, false)));
    match place {
        Flow::Unknown => None,
        Flow::Subflow => {
            const NUMBERS: u32 = SubflowFacts::NUMBERS | SubflowFacts::NUMBERS << 1;
            let entry = engine.subflows().slot(slot)?;
            let session = engine.sessions().slot(entry.session.load(Relaxed))?;
            let facts = entry.flags.load(Relaxed);
            let side = (facts & SubflowFacts::FIRST_IS_LISTENER) ^ second;
            let is_judged = facts & SubflowFacts::CLOSED == 0
                && entry.ids.load(Relaxed) & NUMBERS == NUMBERS
                && session.generation.load(Relaxed) == entry.generation.load(Relaxed);
            is_judged.then(|| entry.sides[side as usize].next.load(Relaxed))
        }
        Flow::HalfOpen => {
            let entry = engine.half_opens().slot(slot)?;
            let facts = entry.flags.load(Relaxed);
            let is_judged = entry.kind() != HandshakeKind::Stray as u32
                && facts & HandshakeFacts::ANSWERED != 0
                && !is_half_open_over(entry, &engine.limits(), now);
            let is_opener = facts & HandshakeFacts::OPENER_IS_FIRST != second;
            is_judged.then(|| entry.isn[usize::from(!is_opener)].load(Relaxed))
        }
    }
}
