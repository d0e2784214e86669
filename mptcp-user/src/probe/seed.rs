//! Sessions that were there before a probe on a host: they are adopted into its tables.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use anyhow::Result;
use mptcp_common::{
    counter::Role,
    state::{SessionFacts, SubflowFacts},
    track::adopt::{self, Adoption, Present, PresentSubflow},
};

use super::{
    Probe,
    network::{Interface, Network, namespace},
    pins::Pins,
    sockets::{self, Sockets, State, flag},
    tables::{Tables, WholeTables, now},
};
use crate::{failure::is_forbidden, source};

/// How many were adopted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seeded {
    pub(crate) sessions: u32,
    pub(crate) subflows: u32,
}

/// Adopts sessions for the pinned probes of this network namespace that are on a host and follow flows.
/// With `anew`, all tables are emptied before.
pub(crate) async fn seed_pinned(network: &Network, pins: &Pins, anew: bool) -> Result<Seeded> {
    let namespace = namespace()?;
    let (mut probed, mut shared) = (Vec::new(), None);
    for here in pins
        .interfaces()?
        .into_iter()
        .filter(|here| here.namespace == namespace)
    {
        // One that was left half made counts nothing, and is in nobody's way.
        let probe = match Probe::open(&here) {
            Err(error) if !is_forbidden(&error) => continue,
            probe => probe?,
        };
        if probe.tables().is_none() {
            continue;
        }
        if probe.role() == Role::Host {
            probed.push(here.index);
        }
        shared = Some(here.shared());
    }
    let Some(shared) = shared else {
        return Ok(Seeded::default());
    };
    let Some(mut tables) = Tables::pinned(&shared)? else {
        return Ok(Seeded::default());
    };
    if anew {
        tables.clear()?;
    }
    let seeded = match probed.is_empty() {
        true => Seeded::default(),
        false => seed(network, &probed, &tables.whole()?).await?,
    };
    tables.note(seeded, &shared)?;
    Ok(seeded)
}

/// Frees handshakes that came to nothing, in all network namespaces with probes: what a flood has left, so that packets
/// of others do not meet it in the filter for good. It is nothing that a reader waits for, or fails for: another one
/// will.
pub(crate) fn sweep(pins: &Pins) {
    each(pins, Tables::sweep);
}

/// Wipes the keys of sessions whose time is over, in the same way.
pub(crate) fn wipe_keys(pins: &Pins) {
    each(pins, |tables| tables.wipe_keys(QUIET));
}

/// What is over for good has been without packets for so long, in nanoseconds: the same closing may be seen again
/// before.
const QUIET: u64 = 30_000_000_000;

/// Does something with the tables of all network namespaces with probes, if nobody else changes what is pinned.
fn each(pins: &Pins, work: impl Fn(&Tables) -> Result<u32>) {
    let Some(_lock) = pins.lock_at_once() else {
        return;
    };
    let mut namespaces = HashSet::new();
    for here in pins.interfaces().unwrap_or_default() {
        if namespaces.insert(here.namespace)
            && let Ok(Some(tables)) = Tables::pinned(&here.shared())
        {
            let _ = work(&tables);
        }
    }
}

/// Adopts the sessions whose packets pass the probes on interfaces of these indices, and that are not
/// known. The programs are attached already, so that none escapes in between.
pub(crate) async fn seed(
    network: &Network,
    probed: &[u32],
    tables: &WholeTables,
) -> Result<Seeded> {
    let sockets = Sockets::list().await?;
    let mut ways = Ways::new(network.interfaces().await?, probed);
    let mut subflows: HashMap<u32, Vec<&sockets::Subflow>> = HashMap::new();
    for subflow in &sockets.subflows {
        if is_open(subflow) && ways.pass(network, subflow.ends.map(|end| end.ip())).await? {
            subflows.entry(subflow.tokens[0]).or_default().push(subflow);
        }
    }
    let mut seeded = Seeded::default();
    let now = now()?;
    for (token, subflows) in &subflows {
        let known = match &sockets.sessions {
            Some(sessions) => match sessions.get(token) {
                Some(known) => Some(known),
                // It has just begun, before the programs' eyes.
                None => continue,
            },
            None => None,
        };
        let session = of_session(*token, known, subflows);
        let subflows: Vec<_> = subflows
            .iter()
            .map(|each| of_subflow(each, known))
            .collect();
        adopt(tables, &session, &subflows, now, &mut seeded);
    }
    // Those that wait for a subflow.
    let listed: HashSet<u32> = sockets.subflows.iter().map(|each| each.tokens[0]).collect();
    for known in sockets.sessions.iter().flat_map(HashMap::values) {
        let waits = matches!(known.state, State::Established | State::CloseWait);
        if waits
            && !known.is_fallback
            && !listed.contains(&known.token)
            && ways.pass(network, known.ends.map(|end| end.ip())).await?
        {
            let session = of_session(known.token, Some(known), &[]);
            adopt(tables, &session, &[], now, &mut seeded);
        }
    }
    Ok(seeded)
}

fn adopt(
    tables: &WholeTables,
    session: &Present,
    subflows: &[PresentSubflow],
    now: u64,
    seeded: &mut Seeded,
) {
    let (adoption, place) = adopt::session(tables, session, subflows, now);
    seeded.sessions += u32::from(adoption == Adoption::Adopted);
    let Some(place) = place else {
        return;
    };
    for subflow in subflows {
        let adoption = adopt::subflow(tables, place, subflow, now);
        seeded.subflows += u32::from(adoption == Adoption::Adopted);
    }
}

/// Is it not over but for an acknowledgment of a FIN, whose number nobody tells?
fn is_open(subflow: &sockets::Subflow) -> bool {
    matches!(
        subflow.state,
        State::Established | State::FinWait2 | State::CloseWait
    )
}

fn of_session(
    token: u32,
    known: Option<&sockets::Session>,
    subflows: &[&sockets::Subflow],
) -> Present {
    let has = |flags: u32| subflows.iter().any(|subflow| subflow.flags & flags != 0);
    let mut flags = 0;
    // Who joins is the initiator most of the time, where its first subflow is gone.
    let is_initiator =
        has(flag::CAPABLE_LOCAL) || !has(flag::CAPABLE_REMOTE) && has(flag::JOIN_LOCAL);
    if !has(flag::CAPABLE_REMOTE) {
        flags |= SessionFacts::ROLES_UNKNOWN;
    }
    let mut present = Present {
        side: u32::from(!is_initiator),
        tokens: [
            token,
            subflows
                .iter()
                .map(|subflow| subflow.tokens[1])
                .max()
                .unwrap_or(0),
        ],
        flags,
        facts: [0; 2],
        acknowledged: None,
        fins: [0; 2],
    };
    let Some(known) = known else {
        return present;
    };
    if known.is_fallback {
        present.flags |= SessionFacts::FALLBACK;
    }
    if known.has_checksum {
        present.flags |= SessionFacts::CHECKSUM;
    }
    present.acknowledged = Some([known.acknowledged, known.receive_next]);
    present.fins = [known.write_next, known.receive_next];
    const ACKED: u32 = SessionFacts::FIN | SessionFacts::FIN_ACKED;
    present.facts = match known.state {
        State::Established => [0, 0],
        State::FinWait1 => [SessionFacts::FIN, 0],
        State::FinWait2 => [ACKED, 0],
        State::CloseWait => [0, ACKED],
        State::Closing => [SessionFacts::FIN, ACKED],
    };
    present
}

fn of_subflow(socket: &sockets::Subflow, known: Option<&sockets::Session>) -> PresentSubflow {
    let has = |flag: u32, fact: u32| if socket.flags & flag != 0 { fact } else { 0 };
    const FIN: u32 = SubflowFacts::FIN | SubflowFacts::FIN_ACKED;
    // What this host sends and what it gets has been going on for some time.
    let mut facts = [
        SubflowFacts::CONFIRMED | SubflowFacts::SPOKEN,
        SubflowFacts::SPOKEN,
    ];
    facts[0] |= has(flag::BACKUP_LOCAL, SubflowFacts::BACKUP);
    facts[1] |= has(flag::BACKUP_REMOTE, SubflowFacts::BACKUP);
    facts[1] |= has(flag::FULLY_ESTABLISHED, SubflowFacts::CONFIRMED);
    match socket.state {
        State::FinWait2 => facts[0] |= FIN,
        State::CloseWait => facts[1] |= FIN,
        _ => {}
    }
    if known.is_none() {
        // Whether there are checksums is not known: none is odd.
        facts = facts.map(|facts| facts | SubflowFacts::CHECKSUM_ODD);
    }
    PresentSubflow {
        flow: source::flow(socket.ends[0], socket.ends[1]),
        ids: socket.ids,
        is_join: socket.flags & flag::CAPABLE_REMOTE == 0,
        facts,
        bases: [0, socket.peer_base],
    }
}

/// Which way packets leave, by the kernel's routes.
struct Ways {
    /// Interfaces whose frames are probed.
    probed: HashSet<u32>,
    asked: HashMap<[IpAddr; 2], bool>,
}

impl Ways {
    fn new(interfaces: Vec<Interface>, probed: &[u32]) -> Self {
        let mut all: HashSet<u32> = probed.iter().copied().collect();
        // What lies above a probed interface, and above that.
        loop {
            let before = all.len();
            for interface in &interfaces {
                let lies_above = interfaces
                    .iter()
                    .any(|lower| all.contains(&lower.index) && interface.lies_above(lower));
                if lies_above {
                    all.insert(interface.index);
                }
            }
            if all.len() == before {
                break;
            }
        }
        Self {
            probed: all,
            asked: HashMap::new(),
        }
    }

    /// Do packets from here to there pass a probe?
    async fn pass(&mut self, network: &Network, ends: [IpAddr; 2]) -> Result<bool> {
        if let Some(known) = self.asked.get(&ends) {
            return Ok(*known);
        }
        let way = network.way_out(ends[0], ends[1]).await?;
        let passes = way.is_some_and(|index| self.probed.contains(&index));
        self.asked.insert(ends, passes);
        Ok(passes)
    }
}
