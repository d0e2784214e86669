//! Which sessions are shown, and in which order.
//!
//! The tables are read twice: first to find out which, of which a few words are kept for each session, and then
//! what is shown of them. So a million sessions take little memory where ten are wanted. Of what ends in between,
//! or is in another state then, nothing is shown, and no other session takes its place.

use std::{
    cmp::Reverse,
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;
use mptcp_common::state;
use mptcp_common::{
    state::{Limits, Session as SessionEntry, Subflow as SubflowEntry},
    table::{self, Memory, Table, Word as _},
};

use super::sessions::{
    Session, State, bytes, oldest, session_of, state_of, subflow_ends, subflow_of,
};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selection {
    /// Only sessions with a subflow from or to this address.
    pub(crate) address: Option<IpAddr>,
    /// Only sessions with a subflow from or to this port.
    pub(crate) port: Option<u16>,
    /// Only sessions in this state.
    pub(crate) state: Option<State>,
    /// What comes first.
    pub(crate) order: Order,
    /// At most so many.
    pub(crate) limit: Option<usize>,
}

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The oldest; first of all those that were there before the probe.
    Oldest,
    /// Who had a packet last.
    LeastIdle,
    /// Who has most payload bytes, of both sides together.
    MostBytes,
    /// Who has most subflows.
    MostSubflows,
}

/// Tables that are read entry by entry.
pub(crate) trait Entries {
    /// What their words are made of.
    type Memory: Memory;

    /// Hands out all sessions, by their slots in ascending order.
    fn each_session(&self, visit: impl FnMut(u32, &SessionEntry<Self::Memory>)) -> Result<()>;
    /// Hands out the sessions of these slots, best in ascending order.
    fn sessions_at(
        &self,
        slots: impl Iterator<Item = u32>,
        visit: impl FnMut(u32, &SessionEntry<Self::Memory>),
    ) -> Result<()>;
    /// Hands out all subflows.
    fn each_subflow(&self, visit: impl FnMut(&SubflowEntry<Self::Memory>)) -> Result<()>;
}

/// Tables in this process's memory.
impl<M, S, F> Entries for (&S, &F)
where
    M: Memory,
    S: Table<Memory = M, Slot = SessionEntry<M>>,
    F: Table<Memory = M, Slot = SubflowEntry<M>>,
{
    type Memory = M;

    fn each_session(&self, mut visit: impl FnMut(u32, &SessionEntry<M>)) -> Result<()> {
        table::entries(self.0).for_each(|(slot, entry)| visit(slot, entry));
        Ok(())
    }

    fn sessions_at(
        &self,
        slots: impl Iterator<Item = u32>,
        mut visit: impl FnMut(u32, &SessionEntry<M>),
    ) -> Result<()> {
        slots
            .filter_map(|slot| Some((slot, self.0.slot(slot)?)))
            .for_each(|(slot, entry)| visit(slot, entry));
        Ok(())
    }

    fn each_subflow(&self, mut visit: impl FnMut(&SubflowEntry<M>)) -> Result<()> {
        table::entries(self.1).for_each(|(_, entry)| visit(entry));
        Ok(())
    }
}

/// The sessions that are asked for and that are not over at `now`, in nanoseconds of the tables' clock.
pub(crate) fn select(
    entries: &impl Entries,
    selection: &Selection,
    limits: &Limits,
    now: u64,
) -> Result<Vec<Session>> {
    let chosen = choose(entries, selection, limits, now)?;
    let mut sessions = show(entries, &chosen, limits, now)?;
    // By what is shown: packets that came in between have changed it. Of equals, the lesser slot stays first.
    sessions.retain(|session| selection.state.is_none_or(|state| state == session.state));
    match selection.order {
        Order::Oldest => sessions.sort_by_key(|session| Reverse(oldest(session.age))),
        Order::LeastIdle => sessions.sort_by_key(|session| session.idle),
        Order::MostBytes => {
            sessions
                .sort_by_key(|session| Reverse(session.bytes(0).saturating_add(session.bytes(1))));
        }
        Order::MostSubflows => sessions.sort_by_key(|session| Reverse(session.subflows.len())),
    }
    Ok(sessions)
}

/// A session, as far as it decides on whether it is shown.
struct Rank {
    /// Where a limit leaves one of two out, the lesser is shown; of equals, the lesser slot.
    key: u64,
    slot: u32,
    generation: u32,
    has_address: bool,
    has_port: bool,
}

/// Where something stands that belongs to the session in a slot.
#[derive(Default)]
struct Places(Vec<u32>);

impl Places {
    fn set(&mut self, slot: u32, place: usize) {
        let slot = slot as usize;
        if self.0.len() <= slot {
            self.0.resize(slot + 1, 0);
        }
        self.0[slot] = place as u32 + 1;
    }

    fn get(&self, slot: u32) -> Option<usize> {
        let place = *self.0.get(slot as usize)?;
        place.checked_sub(1).map(|place| place as usize)
    }
}

/// The sessions that are asked for, by their slots in ascending order.
fn choose(
    entries: &impl Entries,
    selection: &Selection,
    limits: &Limits,
    now: u64,
) -> Result<Vec<Rank>> {
    let mut ranks = Vec::new();
    let mut places = Places::default();
    entries.each_session(|slot, entry| {
        let is_wanted = selection.state.is_none_or(|state| state == state_of(entry));
        if !is_wanted || state::is_session_over(entry, limits, now) {
            return;
        }
        places.set(slot, ranks.len());
        ranks.push(Rank {
            key: match selection.order {
                Order::Oldest => entry.created.load(),
                Order::LeastIdle => !entry.last_seen.load(),
                Order::MostBytes | Order::MostSubflows => u64::MAX,
            },
            slot,
            generation: entry.generation.load(),
            has_address: selection.address.is_none(),
            has_port: selection.port.is_none(),
        });
    })?;
    entries.each_subflow(|entry| {
        let rank = places
            .get(entry.session.load())
            .and_then(|place| ranks.get_mut(place));
        let Some(rank) = rank.filter(|rank| belongs(entry, rank.generation)) else {
            return;
        };
        match selection.order {
            Order::Oldest | Order::LeastIdle => {}
            Order::MostBytes => {
                let bytes = bytes(entry).into_iter().fold(0, u64::saturating_add);
                rank.key = rank.key.saturating_sub(bytes);
            }
            Order::MostSubflows => rank.key -= 1,
        }
        if !rank.has_address || !rank.has_port {
            let ends = subflow_ends(entry);
            let has = |wanted: &dyn Fn(&SocketAddr) -> bool| ends.iter().any(wanted);
            rank.has_address |= has(&|end| Some(end.ip()) == selection.address);
            rank.has_port |= has(&|end| Some(end.port()) == selection.port);
        }
    })?;
    ranks.retain(|rank| rank.has_address && rank.has_port);
    if let Some(limit) = selection.limit
        && limit < ranks.len()
    {
        ranks.select_nth_unstable_by_key(limit, |rank| (rank.key, rank.slot));
        ranks.truncate(limit);
        ranks.sort_unstable_by_key(|rank| rank.slot);
    }
    Ok(ranks)
}

/// Does this subflow belong to the session of this generation in the slot that it names?
fn belongs<M: Memory>(entry: &SubflowEntry<M>, generation: u32) -> bool {
    entry.tag.load() != 0 && entry.generation.load() == generation
}

/// What is shown of these sessions, without those that have ended since.
fn show(
    entries: &impl Entries,
    chosen: &[Rank],
    limits: &Limits,
    now: u64,
) -> Result<Vec<Session>> {
    let mut places = Places::default();
    for (place, rank) in chosen.iter().enumerate() {
        places.set(rank.slot, place);
    }
    let mut sessions: Vec<Option<Session>> = chosen.iter().map(|_| None).collect();
    entries.sessions_at(chosen.iter().map(|rank| rank.slot), |slot, entry| {
        let place = places.get(slot);
        if let Some((rank, session)) = place.map(|place| (&chosen[place], &mut sessions[place]))
            && entry.generation.load() == rank.generation
            && !state::is_session_over(entry, limits, now)
        {
            *session = Some(session_of(entry, now));
        }
    })?;
    entries.each_subflow(|entry| {
        if let Some(place) = places.get(entry.session.load())
            && let Some(session) = &mut sessions[place]
            && belongs(entry, chosen[place].generation)
        {
            session.add(subflow_of(entry, limits, now));
        }
    })?;
    let mut sessions: Vec<_> = sessions.into_iter().flatten().collect();
    sessions.iter_mut().for_each(Session::order);
    Ok(sessions)
}
