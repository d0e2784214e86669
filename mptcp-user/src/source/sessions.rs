//! The sessions that a probe follows, as they are shown, and how they are read out of entries of its tables.

use std::{
    cmp::Reverse,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use mptcp_common::state;
use mptcp_common::{
    packet::FlowKey,
    state::{
        Limits, Session as SessionEntry, SessionFacts, Subflow as SubflowEntry, SubflowFacts,
        SubflowSide,
    },
    table::{Memory, Word as _},
};

/// A session at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// Tokens of initiator and listener, where their keys are known.
    pub(crate) tokens: [Option<u32>; 2],
    /// Protocol version.
    pub(crate) version: u32,
    /// What it does.
    pub(crate) state: State,
    /// On a host: is this the listener's? `None` if nobody says.
    pub(crate) is_listener: Option<bool>,
    /// Are DSS checksums in use?
    pub(crate) checksum: bool,
    /// Were ranges of its data forgotten, for lack of room?
    pub(crate) is_lossy: bool,
    /// Since when; `None` if it was there before the probe.
    pub(crate) age: Option<Duration>,
    /// Since its last packet.
    pub(crate) idle: Duration,
    /// Its subflows, those that were closed a moment ago included, in the order in which they came.
    pub(crate) subflows: Vec<Subflow>,
}

/// What a session or subflow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Data can flow.
    Established,
    /// One end has sent FIN (of data, in a session).
    Closing,
    /// Fell back to TCP.
    Fallback,
    /// Has no subflow, and waits for one.
    Alone,
    /// A subflow that is over.
    Closed,
}

impl State {
    /// Its name in documents.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Fallback => "fallback",
            Self::Alone => "alone",
            Self::Closed => "closed",
        }
    }
}

/// A subflow of a session. What exists per side has the initiator's at 0 and the listener's at 1.
#[derive(Clone, Debug)]
pub(crate) struct Subflow {
    /// Addresses of the sides.
    pub(crate) ends: [SocketAddr; 2],
    /// Address identifiers of the sides.
    pub(crate) ids: [u8; 2],
    /// Does the side ask to use it as a backup only?
    pub(crate) backup: [bool; 2],
    /// Opened by an MP_JOIN?
    pub(crate) is_join: bool,
    /// What it does.
    pub(crate) state: State,
    /// Packets that a side sent.
    pub(crate) packets: [u64; 2],
    /// Payload bytes that a side sent, retransmissions included.
    pub(crate) bytes: [u64; 2],
    /// Since when; `None` if it was there before the probe.
    pub(crate) age: Option<Duration>,
    /// Since its last packet.
    pub(crate) idle: Duration,
}

impl Session {
    /// Payload bytes that a side sent on all its subflows.
    pub(crate) fn bytes(&self, side: usize) -> u64 {
        self.subflows
            .iter()
            .map(|subflow| subflow.bytes[side])
            .fold(0, u64::saturating_add)
    }

    /// Packets that a side sent on all its subflows.
    pub(crate) fn packets(&self, side: usize) -> u64 {
        self.subflows
            .iter()
            .map(|subflow| subflow.packets[side])
            .fold(0, u64::saturating_add)
    }

    /// Adds a subflow, in any order.
    pub(super) fn add(&mut self, subflow: Subflow) {
        let subflows = &mut self.subflows;
        if subflows.len() == subflows.capacity() {
            // Most sessions have one or two, and there may be a million of them.
            subflows.reserve_exact(subflows.len().max(1));
        }
        subflows.push(subflow);
    }

    /// Puts its subflows in the order in which they came.
    pub(super) fn order(&mut self) {
        self.subflows
            .sort_by_key(|subflow| (subflow.is_join, Reverse(oldest(subflow.age))));
    }
}

/// A key by which what was there before the probe is the oldest.
pub(super) fn oldest(age: Option<Duration>) -> Duration {
    age.unwrap_or(Duration::MAX)
}

/// The age of what was created then, 0 for before the probe.
fn age(created: u64, now: u64) -> Option<Duration> {
    (created != 0).then(|| since(created, now))
}

fn since(then: u64, now: u64) -> Duration {
    // The programs' clock is coarser than ours, never ahead by more than a tick.
    Duration::from_nanos(now.saturating_sub(then))
}

/// What a session that is not over does.
pub(super) fn state_of<M: Memory>(entry: &SessionEntry<M>) -> State {
    let flags = entry.flags.load();
    if flags & SessionFacts::FALLBACK != 0 {
        State::Fallback
    } else if entry.open.load() == 0 {
        State::Alone
    } else if flags & (SessionFacts::FIN | SessionFacts::FIN << 1) != 0 {
        State::Closing
    } else {
        State::Established
    }
}

/// A session without its subflows.
pub(super) fn session_of<M: Memory>(entry: &SessionEntry<M>, now: u64) -> Session {
    let flags = entry.flags.load();
    Session {
        tokens: [0, 1].map(|side| {
            let is_known = flags & (SessionFacts::KNOWN << side | SessionFacts::ADOPTED) != 0;
            // No key gives 0 but one in 2^32: of an adopted session it says that nobody knew.
            let token = entry.sides[side].token.load();
            (is_known && token != 0).then_some(token)
        }),
        version: entry.version.load(),
        state: state_of(entry),
        is_listener: (flags & SessionFacts::ROLES_UNKNOWN == 0)
            .then_some(flags & SessionFacts::LISTENER_HERE != 0),
        checksum: flags & SessionFacts::CHECKSUM != 0,
        is_lossy: flags & (SessionFacts::LOSSY | SessionFacts::LOSSY << 1) != 0,
        age: age(entry.created.load(), now),
        idle: since(entry.last_seen.load(), now),
        subflows: Vec::new(),
    }
}

/// A subflow.
pub(super) fn subflow_of<M: Memory>(entry: &SubflowEntry<M>, limits: &Limits, now: u64) -> Subflow {
    let flags = entry.flags.load();
    let state = if !state::is_subflow_open(entry, limits, now) {
        State::Closed
    } else if flags & (SubflowFacts::FIN | SubflowFacts::FIN << 1) != 0 {
        State::Closing
    } else {
        State::Established
    };
    Subflow {
        ends: subflow_ends(entry),
        ids: [0, 1].map(|side| (entry.ids.load() >> (8 * side)) as u8),
        backup: [0, 1].map(|side| flags & SubflowFacts::BACKUP << side != 0),
        is_join: flags & SubflowFacts::JOINED != 0,
        state,
        packets: each_side(entry, |way| way.packets.load()),
        bytes: bytes(entry),
        age: age(entry.created.load(), now),
        idle: since(entry.last_seen.load(), now),
    }
}

/// Payload bytes that each side sent.
pub(super) fn bytes<M: Memory>(entry: &SubflowEntry<M>) -> [u64; 2] {
    each_side(entry, |way| way.bytes.load())
}

fn each_side<M: Memory>(entry: &SubflowEntry<M>, of: fn(&SubflowSide<M>) -> u64) -> [u64; 2] {
    [of(&entry.sides[0]), of(&entry.sides[1])]
}

/// Addresses and ports of the sides of a subflow.
pub(crate) fn subflow_ends<M: Memory>(entry: &SubflowEntry<M>) -> [SocketAddr; 2] {
    let mut ends = ends(&FlowKey {
        words: std::array::from_fn(|i| entry.key[i].load()),
    });
    if entry.flags.load() & SubflowFacts::FIRST_IS_LISTENER != 0 {
        ends.reverse();
    }
    ends
}

/// Addresses and ports of the two ends of a key, the first one first.
pub(crate) fn ends(key: &FlowKey) -> [SocketAddr; 2] {
    // As in memory: the words are the bytes of the header.
    let address = |high: u64, low: u64| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&high.to_ne_bytes());
        bytes[8..].copy_from_slice(&low.to_ne_bytes());
        let address = Ipv6Addr::from(bytes);
        address
            .to_ipv4_mapped()
            .map_or(IpAddr::V6(address), IpAddr::V4)
    };
    let [a, b, c, d, ports] = key.words;
    let port = |word: u64| u16::from_be(word as u16);
    [
        SocketAddr::new(address(a, b), port(ports)),
        SocketAddr::new(address(c, d), port(ports >> 16)),
    ]
}

/// The flow from one end to another.
pub(crate) fn flow(from: SocketAddr, to: SocketAddr) -> FlowKey {
    let address = |address: IpAddr| {
        let bytes = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        }
        .octets();
        [0, 8].map(|at| u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i])))
    };
    let ([a, b], [c, d]) = (address(from.ip()), address(to.ip()));
    let ports = [from, to].map(|end| u64::from(end.port().to_be()));
    FlowKey {
        words: [a, b, c, d, ports[0] | ports[1] << 16],
    }
}
