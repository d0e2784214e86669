//! Sessions that were there before a probe on a host: they are adopted into its tables.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use anyhow::Result;
use mptcp_common::{
    state::{SessionFacts, SubflowFacts},
    track::adopt::{self, Adoption, Present, PresentSubflow},
};

use super::{
    network::{Interface, Network},
    shared_config::Adopted,
    sockets::{self, Sockets, TcpState, flag},
    tables::FullTables,
};
use crate::{clock::now, snapshot::session::flow};

/// Adopts the sessions whose packets pass the probes on interfaces of these indices, and that are not
/// known. The programs are attached already, so that none escapes in between.
pub(crate) async fn adopt(
    network: &Network,
    probed: &[u32],
    tables: &FullTables,
) -> Result<Adopted> {
    let sockets = Sockets::list().await?;
    let mut routes = Routes::new(network.interfaces().await?, probed);
    let mut subflows: HashMap<u32, Vec<&sockets::SubflowSocket>> = HashMap::new();
    for subflow in &sockets.subflows {
        if is_open(subflow)
            && routes
                .pass(network, subflow.ends.map(|end| end.ip()))
                .await?
        {
            subflows.entry(subflow.tokens[0]).or_default().push(subflow);
        }
    }
    let mut adopted = Adopted::default();
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
        adopt_session(tables, &session, &subflows, now, &mut adopted);
    }
    // Those that wait for a subflow.
    let listed: HashSet<u32> = sockets.subflows.iter().map(|each| each.tokens[0]).collect();
    for known in sockets.sessions.iter().flat_map(HashMap::values) {
        let waits = matches!(known.state, TcpState::Established | TcpState::CloseWait);
        if waits
            && !known.is_fallback
            && !listed.contains(&known.token)
            && routes.pass(network, known.ends.map(|end| end.ip())).await?
        {
            let session = of_session(known.token, Some(known), &[]);
            adopt_session(tables, &session, &[], now, &mut adopted);
        }
    }
    if adopted.subflows != 0 {
        tell_next_numbers(tables).await?;
    }
    Ok(adopted)
}

/// Tells which numbers come next from the peers of subflows that were adopted. The kernel is asked once more: what came
/// before they were adopted went past the programs.
async fn tell_next_numbers(tables: &FullTables) -> Result<()> {
    for subflow in &Sockets::list().await?.subflows {
        if let Some(next) = subflow.next() {
            adopt::tell(tables, &flow(subflow.ends[0], subflow.ends[1]), next);
        }
    }
    Ok(())
}

fn adopt_session(
    tables: &FullTables,
    session: &Present,
    subflows: &[PresentSubflow],
    now: u64,
    adopted: &mut Adopted,
) {
    let (adoption, place) = adopt::session(tables, session, subflows, now);
    adopted.sessions += u32::from(adoption == Adoption::Adopted);
    let Some(place) = place else {
        return;
    };
    for subflow in subflows {
        let adoption = adopt::subflow(tables, place, subflow, now);
        adopted.subflows += u32::from(adoption == Adoption::Adopted);
    }
}

/// Returns true if a subflow is not over but for an acknowledgment of a FIN, whose number nobody tells.
fn is_open(subflow: &sockets::SubflowSocket) -> bool {
    matches!(
        subflow.state,
        TcpState::Established | TcpState::FinWait2 | TcpState::CloseWait
    )
}

fn of_session(
    token: u32,
    known: Option<&sockets::SessionSocket>,
    subflows: &[&sockets::SubflowSocket],
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
        TcpState::Established => [0, 0],
        TcpState::FinWait1 => [SessionFacts::FIN, 0],
        TcpState::FinWait2 => [ACKED, 0],
        TcpState::CloseWait => [0, ACKED],
        TcpState::Closing => [SessionFacts::FIN, ACKED],
    };
    present
}

fn of_subflow(
    socket: &sockets::SubflowSocket,
    known: Option<&sockets::SessionSocket>,
) -> PresentSubflow {
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
        TcpState::FinWait2 => facts[0] |= FIN,
        TcpState::CloseWait => facts[1] |= FIN,
        _ => {}
    }
    if known.is_none() {
        // Whether there are checksums is not known: none is odd.
        facts = facts.map(|facts| facts | SubflowFacts::CHECKSUM_ODD);
    }
    PresentSubflow {
        flow: flow(socket.ends[0], socket.ends[1]),
        ids: socket.ids,
        is_join: socket.flags & flag::CAPABLE_REMOTE == 0,
        facts,
        bases: [0, socket.peer_base],
        scales: socket.connection.map(|connection| connection.scales),
    }
}

/// Which way packets leave, by the kernel's routes.
struct Routes {
    /// Interfaces whose frames are probed.
    probed: HashSet<u32>,
    asked: HashMap<[IpAddr; 2], bool>,
}

impl Routes {
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

    /// Returns true if packets from here to there pass a probe.
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
