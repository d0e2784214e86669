//! Entries of sessions and subflows whose handshake is complete.

use crate::{
    counter::{Direction, EventKind},
    crypto::{Derived, Hash, derive},
    packet::{Flow, Next, Work, hash::Secrets},
    state::{
        HalfOpen, HandshakeFacts, HandshakeKind, Session, SessionFacts, Subflow, SubflowFacts,
        Tables, Tokens, is_session_over, is_subflow_over, key_of, provisional, rank, reset_session,
        reset_side, reset_subflow_side, reset_sums,
    },
    table::{self, Bucket, Memory, Table, Word},
    track::release::{count_rest, free, leave, token_of},
    wire::Key,
};

/// What tokens lead to.
#[inline(always)]
#[expect(clippy::type_complexity, reason = "a closure has no name")]
pub(crate) fn tokens<'a, T: Tables>(
    tables: &'a T,
) -> Tokens<'a, T::Sessions, impl Fn(u32) -> Option<&'a Bucket<T::Memory>>, impl Secrets>
where
    T::Memory: 'a,
{
    Tokens {
        sessions: tables.sessions(),
        buckets: |bucket| tables.tokens(bucket),
        secrets: tables.secrets(),
        limits: tables.limits(),
        now: tables.now(),
    }
}

/// Makes a session of the MP_CAPABLE handshake in work. Its slot plus 1 is in the route; if there is
/// no room, the handshake is forgotten.
#[inline(always)]
pub fn open_session<T: Tables>(tables: &T, work: &Work) {
    let route = &work.route;
    let Some(entry) = tables.half_opens().slot(route.slot.get()) else {
        return;
    };
    match create_session(tables, work, entry) {
        Some(slot) => {
            route.session.set(slot + 1);
            let token = tables.sessions().slot(slot).map_or(0, token_of);
            tables.emit(EventKind::SessionCreated, entry.version(), token);
        }
        None => {
            route.next.set(0);
            route.flow.set(Flow::Unknown as u32);
            free(tables, work, entry, route.slot.get());
            count_rest(tables, work);
        }
    }
}

#[inline(always)]
fn create_session<T: Tables>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>) -> Option<u32> {
    // While the hash is computed.
    table::prefetch(tables.sessions(), work.tag);
    table::prefetch(tables.subflows(), work.tag);
    let hash = Hash::of_version(entry.version());
    let listener = entry.secrets[1].load();
    let derived = tables.with_digest(|digest| derive(digest, hash, Key(listener)))?;
    let direction = work.route.direction.get();
    let tokens = tokens(tables);
    let (limits, now) = (tokens.limits, tokens.now);
    // Joins to the one would be taken for joins to the other.
    let is_twin = matches!(tokens.find(derived.token), Some((_, 1)));
    let mut slot = None;
    if tables.opaque(is_twin.into()) == 0 {
        slot = table::claim(tables.sessions(), work.tag, |session| {
            is_session_over(session, &limits, now)
        });
    }
    if slot.is_none() {
        tables.count(direction, |events| events.lost_sessions += 1);
        if tables.opaque(is_twin.into()) != 0 {
            return None;
        }
        // The oldest gives way of which nothing but the handshake was seen.
        slot = table::evict_settled(tables.sessions(), work.tag, |session| {
            let provisional = (session.flags.load() / SessionFacts::PROVISIONAL) & 1;
            rank(provisional.into(), session.created.load())
        });
    }
    let slot = tables.opaque(slot?);
    let session = tables.sessions().slot(slot)?;
    session.tag.store(0);
    fill_session(session, entry, now);
    fill_side(session, 1, listener, derived);
    // Once more: less that has to stay on the stack.
    let hash = Hash::of_version(entry.version());
    let initiator = entry.secrets[0].load();
    let derived = tables.with_digest(|digest| derive(digest, hash, Key(initiator)))?;
    fill_side(session, 0, initiator, derived);
    if let Some(place) = tables.keys(slot) {
        for (key, secret) in place.keys.iter().zip(&entry.secrets) {
            key.store(secret.load());
        }
    }
    session.tag.store(work.tag);
    let side = |side: usize| session.sides[side].token.load();
    let mut lost = u64::from(!tokens.register(side(1), 1, slot));
    if session.flags.load() & SessionFacts::KNOWN != 0 {
        lost += u64::from(!tokens.register(side(0), 0, slot));
    }
    if lost != 0 {
        tables.count(direction, |events| events.lost_tokens += lost);
    }
    Some(slot)
}

#[inline(always)]
fn fill_session<M: Memory>(session: &Session<M>, entry: &HalfOpen<M>, now: u64) {
    let mut flags = SessionFacts::PROVISIONAL;
    if entry.flags.load() & HandshakeFacts::CHECKSUM != 0 {
        flags |= SessionFacts::CHECKSUM;
    }
    if entry.direction() == Direction::Rx as u32 {
        flags |= SessionFacts::LISTENER_HERE;
    }
    reset_session(session, flags, now);
    session.version.store(entry.version());
    session.queue.store(entry.queue());
    session.created.store(now);
}

/// A side and its key, 0 where that is not known.
#[inline(always)]
fn fill_side<M: Memory>(session: &Session<M>, side: usize, key: u64, derived: Derived) {
    let first = if key == 0 {
        0
    } else {
        session.flags.or(SessionFacts::KNOWN << side);
        derived.idsn.wrapping_add(1)
    };
    // What the other side acknowledges.
    session.sides[side ^ 1].data_ack.store(first);
    let this = &session.sides[side];
    this.idsn.store(derived.idsn);
    reset_side(this, derived.token, first);
}

/// Makes a subflow of the handshake in work, in the route's session, and routes the packet to it.
/// The handshake's entry is freed.
#[inline(always)]
pub fn open_subflow<T: Tables>(tables: &T, work: &Work) {
    let route = &work.route;
    let Some(entry) = tables.half_opens().slot(route.slot.get()) else {
        return;
    };
    let tag = work.tag;
    let direction = route.direction.get();
    let (limits, now) = (tables.limits(), tables.now());
    let half_open_slot = route.slot.get();
    let session_slot = route.session.get().wrapping_sub(1);
    route.flow.set(Flow::Unknown as u32);
    let lose = || {
        tables.count(direction, |events| events.lost_subflows += 1);
        free(tables, work, entry, half_open_slot);
        count_rest(tables, work);
    };
    let Some(session) = tables.sessions().slot(session_slot) else {
        return lose();
    };
    let Some(slot) = table::claim(tables.subflows(), tag, |subflow| {
        is_subflow_over(subflow, &limits, now)
    })
    .or_else(|| {
        // As for sessions.
        table::evict_settled(tables.subflows(), tag, |subflow| {
            rank(provisional(subflow), subflow.created.load())
        })
    }) else {
        return lose();
    };
    let slot = tables.opaque(slot);
    let Some(subflow) = tables.subflows().slot(slot) else {
        return;
    };
    if subflow.tag.load() != 0 && subflow.closed.load() == 0 {
        // It was idle for so long that its place was taken.
        leave(tables, subflow, now);
    }
    subflow.tag.store(0);
    fill_subflow(subflow, work, entry, now);
    subflow.session.store(session_slot);
    subflow.generation.store(session.generation.load());
    if session.open.add(1) >= limits.subflows {
        session.newcomer.store(slot);
        session.over_limit.store(now);
    }
    let is_join = entry.kind() == HandshakeKind::Join as u32;
    if is_join {
        if session.flags.or(SessionFacts::JOINED) & SessionFacts::JOINED == 0 {
            end_alone(tables, session_slot, session);
        }
        tables.emit(EventKind::SubflowJoined, 0, token_of(session));
    }
    subflow.tag.store(tag);
    free(tables, work, entry, half_open_slot);
    work.route.flow.set(Flow::Subflow as u32);
    work.route.slot.set(slot);
    tables.count(direction, |events| {
        events.subflow_created += 1;
        events.join_created += u64::from(is_join);
    });
}

#[inline(always)]
fn fill_subflow<M: Memory>(subflow: &Subflow<M>, work: &Work, entry: &HalfOpen<M>, now: u64) {
    let facts = entry.flags.load();
    let opener = u32::from(facts & HandshakeFacts::OPENER_LISTENS != 0);
    let opener_is_first = facts & HandshakeFacts::OPENER_IS_FIRST;
    let is_join = entry.kind() == HandshakeKind::Join as u32;
    let mut flags = (opener ^ opener_is_first ^ 1) & SubflowFacts::FIRST_IS_LISTENER;
    flags |= SubflowFacts::FOLLOWED | SubflowFacts::FOLLOWED << 1;
    if !is_join {
        flags |= SubflowFacts::PROVISIONAL;
    }
    if facts & HandshakeFacts::KEYLESS != 0 {
        // What it has sent so far was not taken into account.
        flags &= !(SubflowFacts::FOLLOWED << opener);
    }
    if is_join {
        // The responder's fourth segment needs no option.
        flags |= SubflowFacts::JOINED | SubflowFacts::SPOKEN << (opener ^ 1);
        if facts & HandshakeFacts::BACKUP != 0 {
            flags |= SubflowFacts::BACKUP << opener;
        }
        if facts & HandshakeFacts::BACKUP << 1 != 0 {
            flags |= SubflowFacts::BACKUP << (opener ^ 1);
        }
    }
    let offers = [entry.offer(0), entry.offer(1)];
    let are_scaled = offers[0].is_scaled() && offers[1].is_scaled();
    let mut ids = SubflowFacts::NUMBERS | SubflowFacts::NUMBERS << 1;
    for (end, id) in entry.ids().into_iter().enumerate() {
        let side = end as u32 ^ opener;
        ids |= id << (8 * side);
        if offers[end].is_known() {
            ids |= SubflowFacts::WINDOW << side;
        }
        if are_scaled {
            ids |= offers[end].scale() << (SubflowFacts::SCALE + 4 * side);
        }
    }
    if facts & HandshakeFacts::KEYLESS != 0 {
        // What it has sent so far was not taken into account.
        ids &= !(SubflowFacts::NUMBERS << opener);
    }
    if work.route.next.get() & Next::TWIN != 0 {
        ids |= SubflowFacts::TWIN;
    }
    subflow.ids.store(ids);
    subflow.resumed.store(0);
    subflow.created.store(now);
    subflow.last_seen.store(now);
    subflow.closed.store(0);
    for (word, value) in subflow.key.iter().zip(key_of(work)) {
        word.store(value);
    }
    // The opener's data starts where its SYN was acknowledged: data in a SYN has no mapping.
    let bases = [entry.syn_acked.load().wrapping_sub(1), entry.isn[1].load()];
    for (end, base) in bases.into_iter().enumerate() {
        let side = (end as u32 ^ opener) as usize & 1;
        // Nothing is acknowledged anew by what the handshake has acknowledged.
        let acknowledged = bases[end ^ 1].wrapping_add(1);
        reset_subflow_side(&subflow.sides[side], base, acknowledged);
        // The windows of a handshake are not scaled.
        let window_end = acknowledged.wrapping_add(offers[end].window());
        subflow.sides[side].window_end.store(window_end);
    }
    for number in &subflow.alone {
        number.store(0);
    }
    reset_sums(subflow);
    subflow.flags.store(flags);
}

/// A session gets its second subflow: what was sent so far was sent on the first.
#[inline(always)]
fn end_alone<T: Tables>(tables: &T, slot: u32, session: &Session<T::Memory>) {
    let Some(first) = table::find_entry(tables.subflows(), session.tag.load()) else {
        return;
    };
    let is_its = first.generation.load() == session.generation.load();
    if is_its && first.session.load() == slot {
        // Who joins knows the keys.
        session.flags.and(!SessionFacts::PROVISIONAL);
        first.flags.and(!SubflowFacts::PROVISIONAL);
        for (number, side) in first.alone.iter().zip(&session.sides) {
            // 0 says that there is none.
            number.store((side.highest.load() as u32).max(1));
        }
    }
}
