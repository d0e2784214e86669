//! Sessions and subflows that were there before the probe, as their host tells of them: entries that
//! user space makes while the programs run.
//!
//! Programs make entries of handshakes that they saw from the SYN on. So whoever finds no handshake of
//! a flow, and then neither subflow nor session, is the only one to make them.
//!
//! What exists per end has this host's at 0 and the peer's at 1.

use core::sync::atomic::{Ordering::Release, fence};

use crate::{
    packet::{
        FlowKey,
        hash::{Ends, Secrets, flow_tag},
    },
    state::{
        HalfOpen, HandshakeKind, Limits, MAX_SCALE, RangeChunk, Session, SessionFacts, Subflow,
        SubflowFacts, Tokens, is_session_over, is_subflow_over, reset_session, reset_side,
        reset_subflow_side, reset_sums, set_bit,
    },
    table::{self, Bucket, Memory, Table, Word},
};

/// A session that was there.
#[derive(Clone, Copy, Debug)]
pub struct Present {
    /// The side that this host has, or is given.
    pub side: u32,
    /// Tokens; the peer's is 0 where it is not known.
    pub tokens: [u32; 2],
    /// Facts of [`SessionFacts`] without a side.
    pub flags: u32,
    /// Facts of each end.
    pub facts: [u32; 2],
    /// The data sequence number behind what was acknowledged of each end's data, where it is known.
    pub acknowledged: Option<[u64; 2]>,
    /// The number behind the DATA_FIN, of an end that has sent one.
    pub fins: [u64; 2],
}

/// A subflow that was there.
#[derive(Clone, Copy, Debug)]
pub struct PresentSubflow {
    /// The flow, this host's end first.
    pub flow: FlowKey,
    /// Address identifiers.
    pub ids: [u8; 2],
    /// True if it was opened by an MP_JOIN.
    pub is_join: bool,
    /// Facts of [`SubflowFacts`], of each end.
    pub facts: [u32; 2],
    /// TCP sequence numbers of relative number 0; 0 where not known.
    pub bases: [u32; 2],
    /// Scales of the windows that each end offers, where they are known.
    pub scales: Option<[u8; 2]>,
}

/// What became of something that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// It is followed from now on.
    Adopted,
    /// The programs know it.
    MappingMatch,
    /// There is no room.
    Lost,
}

/// The tables as user space has them.
pub trait Shared {
    /// What the tables' words are made of.
    type Memory: Memory;

    /// Handshakes.
    fn half_opens(&self) -> &impl Table<Memory = Self::Memory, Slot = HalfOpen<Self::Memory>>;
    /// Subflows.
    fn subflows(&self) -> &impl Table<Memory = Self::Memory, Slot = Subflow<Self::Memory>>;
    /// Sessions.
    fn sessions(&self) -> &impl Table<Memory = Self::Memory, Slot = Session<Self::Memory>>;
    /// The pool of chunks that sessions with many ranges of data share.
    fn range_chunks(&self) -> &impl Table<Memory = Self::Memory, Slot = RangeChunk<Self::Memory>>;
    /// As in [`Tables`](crate::state::Tables).
    fn tokens(&self, bucket: u32) -> Option<&Bucket<Self::Memory>>;
    /// Forgets how many joins are pending in all sessions.
    fn clear_pending_joins(&self);
    /// Overwrites the keys of a slot that is claimed; says whether they are.
    fn wipe_keys(&self, session: u32) -> bool;
    /// The secret that places without a flow are found with.
    fn seed(&self) -> u64;
    /// As in [`Tables`](crate::state::Tables).
    fn secrets(&self) -> &impl Secrets;
    /// Limits and times.
    fn limits(&self) -> Limits;
}

/// Where a session is: its slot, and the side that this host has in it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    slot: u32,
    side: u32,
}

/// Adopts a session with these subflows, if it is not known. `None` for a place where it has none: its
/// handshake is in the programs' hands, or there is no room.
pub fn session<T: Shared>(
    tables: &T,
    present: &Present,
    subflows: &[PresentSubflow],
    now: u64,
) -> (Adoption, Option<Place>) {
    // In this order: programs free a handshake when they have made what comes of it.
    let has_begun = subflows.iter().any(|subflow| has_begun(tables, subflow));
    match tokens(tables, now).find(present.tokens[0]) {
        Some((slot, side)) => (Adoption::MappingMatch, Some(Place { slot, side })),
        None if has_begun => (Adoption::MappingMatch, None),
        None => match open_session(tables, present, subflows.first(), now) {
            Some(slot) => {
                let side = present.side;
                (Adoption::Adopted, Some(Place { slot, side }))
            }
            None => (Adoption::Lost, None),
        },
    }
}

/// Adopts a subflow of a session, if it is not known.
pub fn subflow<T: Shared>(
    tables: &T,
    place: Place,
    present: &PresentSubflow,
    now: u64,
) -> Adoption {
    let tag = tag(tables, &present.flow);
    if has_begun(tables, present) || table::find(tables.subflows(), tag).is_some() {
        return Adoption::MappingMatch;
    }
    match open_subflow(tables, place, present, tag, now) {
        Some(()) => Adoption::Adopted,
        None => Adoption::Lost,
    }
}

/// Tells which number the peer sends next on a subflow that was adopted, this host's end of the flow first. The programs
/// may know it better by now.
pub fn tell<T: Shared>(tables: &T, flow: &FlowKey, next: u32) {
    let found = table::find(tables.subflows(), tag(tables, flow));
    let Some(entry) = found.and_then(|slot| tables.subflows().slot(slot)) else {
        return;
    };
    let listens = entry.flags.load() & SubflowFacts::FIRST_IS_LISTENER != 0;
    // As in `fill_subflow`.
    let peer = usize::from(flow.is_reversed() == listens);
    let known = (SubflowFacts::NUMBERS | SubflowFacts::TOLD) << peer;
    if entry.created.load() != 0 || entry.ids.load() & known != 0 {
        return;
    }
    entry.sides[peer].next.store(next);
    entry.sides[peer].acked.store(next);
    fence(Release);
    entry.ids.or(SubflowFacts::TOLD << peer);
}

/// The tag of a flow.
fn tag<T: Shared>(tables: &T, flow: &FlowKey) -> u64 {
    flow_tag(tables.secrets(), &Ends::of(flow, !flow.is_ipv4()))
}

/// Returns true if the programs have seen the handshake of this subflow begin.
fn has_begun<T: Shared>(tables: &T, subflow: &PresentSubflow) -> bool {
    let tag = tag(tables, &subflow.flow);
    table::find(tables.half_opens(), tag)
        .and_then(|slot| tables.half_opens().slot(slot))
        .is_some_and(|entry| entry.kind() != HandshakeKind::Stray as u32)
}

/// What tokens lead to.
#[expect(clippy::type_complexity, reason = "a closure has no name")]
fn tokens<'a, T: Shared>(
    tables: &'a T,
    now: u64,
) -> Tokens<
    'a,
    impl Table<Memory = T::Memory, Slot = Session<T::Memory>>,
    impl Fn(u32) -> Option<&'a Bucket<T::Memory>>,
    impl Secrets,
>
where
    T::Memory: 'a,
{
    Tokens {
        sessions: tables.sessions(),
        buckets: |bucket| tables.tokens(bucket),
        secrets: tables.secrets(),
        limits: tables.limits(),
        now,
    }
}

fn open_session<T: Shared>(
    tables: &T,
    present: &Present,
    subflow: Option<&PresentSubflow>,
    now: u64,
) -> Option<u32> {
    let limits = tables.limits();
    let here = present.side as usize & 1;
    let sessions = tables.sessions();
    let tag = match subflow {
        Some(subflow) => tag(tables, &subflow.flow),
        // Any place will do.
        None => table::tag(table::mix(tables.seed(), present.tokens[0].into())),
    };
    let slot = table::claim(sessions, tag, |session| {
        is_session_over(session, &limits, now)
    })?;
    let session = sessions.slot(slot)?;
    session.tag.store(0);
    if !tables.wipe_keys(slot) {
        table::release(sessions, slot, tag);
        return None;
    }
    let mut flags = present.flags | SessionFacts::ADOPTED;
    flags |= present.facts[0] << here | present.facts[1] << (here ^ 1);
    if here == 1 {
        flags |= SessionFacts::LISTENER_HERE;
    }
    if present.acknowledged.is_some() {
        const STARTED: u32 = SessionFacts::ACK_STARTED | SessionFacts::MAP_STARTED;
        flags |= STARTED | STARTED << 1;
    }
    reset_session(session, flags, now);
    session.version.store(1);
    session.queue.store(0);
    session.created.store(0);
    let acknowledged = present.acknowledged.unwrap_or_default();
    for end in 0..2 {
        let side = &session.sides[end ^ here];
        reset_side(side, present.tokens[end], acknowledged[end]);
        side.data_ack.store(acknowledged[end ^ 1]);
        side.idsn.store(acknowledged[end]);
        side.fin.store(present.fins[end]);
    }
    fence(Release);
    session.tag.store(tag);
    let tokens = tokens(tables, now);
    for (end, token) in present.tokens.into_iter().enumerate() {
        if token != 0 {
            tokens.register(token, (end ^ here) as u32, slot);
        }
    }
    Some(slot)
}

fn open_subflow<T: Shared>(
    tables: &T,
    place: Place,
    present: &PresentSubflow,
    tag: u64,
    now: u64,
) -> Option<()> {
    let limits = tables.limits();
    let session = tables.sessions().slot(place.slot)?;
    let slot = table::claim(tables.subflows(), tag, |entry| {
        is_subflow_over(entry, &limits, now)
    })?;
    let entry = tables.subflows().slot(slot)?;
    entry.tag.store(0);
    fill_subflow(entry, present, place.side as usize & 1, now);
    entry.session.store(place.slot);
    entry.generation.store(session.generation.load());
    session.open.add(1);
    for (end, id) in present.ids.into_iter().enumerate() {
        let side = &session.sides[end ^ place.side as usize & 1];
        set_bit(&side.known, id.into());
        set_bit(&side.used, id.into());
    }
    if present.is_join {
        session.flags.or(SessionFacts::JOINED);
    }
    fence(Release);
    entry.tag.store(tag);
    Some(())
}

/// Of windows whose scales are not known, the largest that they can be is believed.
const UNKNOWN_SCALES: u32 = (MAX_SCALE | MAX_SCALE << 4) << SubflowFacts::SCALE;

fn fill_subflow<M: Memory>(entry: &Subflow<M>, present: &PresentSubflow, here: usize, now: u64) {
    let [facts, peers] = present.facts;
    let mut flags = facts << here | peers << (here ^ 1);
    if present.is_join {
        flags |= SubflowFacts::JOINED;
    }
    // The lesser end stands first.
    let is_reversed = present.flow.is_reversed();
    if is_reversed != (here == 1) {
        flags |= SubflowFacts::FIRST_IS_LISTENER;
    }
    let key = if is_reversed {
        present.flow.reversed()
    } else {
        present.flow
    };
    for (word, value) in entry.key.iter().zip(key.words) {
        word.store(value);
    }
    for number in &entry.alone {
        number.store(0);
    }
    reset_sums(entry);
    let [id, peers] = present.ids.map(u32::from);
    let scales = match present.scales {
        Some([own, peers]) => {
            (u32::from(own) << (4 * here) | u32::from(peers) << (4 * (here ^ 1)))
                << SubflowFacts::SCALE
        }
        None => UNKNOWN_SCALES,
    };
    entry
        .ids
        .store(id << (8 * here) | peers << (8 * (here ^ 1)) | scales);
    entry.resumed.store(0);
    entry.created.store(0);
    entry.last_seen.store(now);
    entry.closed.store(0);
    for (end, base) in present.bases.into_iter().enumerate() {
        let subflow_side = &entry.sides[end ^ here];
        reset_subflow_side(subflow_side, base, 0);
        subflow_side.mapped_end.store(0);
    }
    entry.flags.store(flags);
}
