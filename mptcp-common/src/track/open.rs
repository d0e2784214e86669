//! Entries of sessions and subflows whose handshake is complete.

use super::{
    Happening, Kind, Memory, Stages,
    entry::{HalfOpen, Session, Side, Subflow, Way, half_open, session, subflow},
    handshake::strand,
    hash::Secrets,
    is_session_over, is_subflow_over, provisional, runs,
    table::{self, Bucket, Table as _},
    tokens::Tokens,
    word::Word,
};
use crate::{
    counter::Direction,
    crypto::{Derived, Hash, derive},
    engine::{Flow, Work},
    wire::Key,
};

/// What tokens lead to.
#[inline(always)]
#[expect(clippy::type_complexity, reason = "a closure has no name")]
pub(super) fn tokens<'a, T: Stages>(
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
pub fn open_session<T: Stages>(tables: &T) {
    let work = tables.work();
    let route = &work.route;
    let Some(entry) = tables.half_opens().slot(route.slot.get()) else {
        return;
    };
    match create_session(tables, work, entry) {
        Some(slot) => {
            route.session.set(slot + 1);
            let token = tables.sessions().slot(slot).map_or(0, token_of);
            tables.report(Happening::SessionCreated, entry.version(), token);
        }
        None => {
            route.next.set(0);
            route.flow.set(Flow::Unknown as u32);
            free(tables, entry, route.slot.get(), work.tag);
            strand(tables, work);
        }
    }
}

#[inline(always)]
fn create_session<T: Stages>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>) -> Option<u32> {
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
    if tables.forget(is_twin.into()) == 0 {
        slot = table::claim(tables.sessions(), work.tag, |session| {
            is_session_over(session, &limits, now)
        });
    }
    if slot.is_none() {
        tables.count(direction, |events| events.lost_sessions += 1);
        if tables.forget(is_twin.into()) != 0 {
            return None;
        }
        // The oldest gives way of which nothing but the handshake was seen.
        slot = table::evict_settled(tables.sessions(), work.tag, |session| {
            if session.flags.load() & session::PROVISIONAL != 0 {
                session.created.load()
            } else {
                table::STAYS
            }
        });
    }
    let slot = tables.forget(slot?);
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
    if session.flags.load() & session::KNOWN != 0 {
        lost += u64::from(!tokens.register(side(0), 0, slot));
    }
    if lost != 0 {
        tables.count(direction, |events| events.lost_tokens += lost);
    }
    Some(slot)
}

#[inline(always)]
fn fill_session<M: Memory>(session: &Session<M>, entry: &HalfOpen<M>, now: u64) {
    let mut flags = session::PROVISIONAL;
    if entry.flags.load() & half_open::CHECKSUM != 0 {
        flags |= session::CHECKSUM;
    }
    if entry.direction() == Direction::Rx as u32 {
        flags |= session::LISTENER_HERE;
    }
    reset_session(session, flags, now);
    session.version.store(entry.version());
    session.queue.store(entry.queue());
    session.created.store(now);
}

/// A new session in this entry.
#[inline(always)]
pub(super) fn reset_session<M: Memory>(session: &Session<M>, flags: u32, now: u64) {
    session
        .generation
        .store(session.generation.load().wrapping_add(1));
    session.flags.store(flags);
    session.open.store(0);
    session.newcomer.store(0);
    session.last_seen.store(now);
    session.alone.store(now);
    session.over_limit.store(0);
}

/// A side and its key, 0 where that is not known.
#[inline(always)]
fn fill_side<M: Memory>(session: &Session<M>, side: usize, key: u64, derived: Derived) {
    let first = if key == 0 {
        0
    } else {
        session.flags.or(session::KNOWN << side);
        derived.idsn.wrapping_add(1)
    };
    // What the other side acknowledges.
    session.sides[side ^ 1].data_ack.store(first);
    let this = &session.sides[side];
    this.idsn.store(derived.idsn);
    reset_side(this, derived.token, first);
}

/// A side of which nothing is known but its token, and the first number that it maps.
#[inline(always)]
pub(super) fn reset_side<M: Memory>(this: &Side<M>, token: u32, first: u64) {
    this.highest.store(first);
    this.fin.store(0);
    this.token.store(token);
    this.over_pending.store(0);
    for join in &this.joins {
        join.store(0);
    }
    for i in 0..4 {
        this.known[i].store(0);
        this.removed[i].store(0);
        this.used[i].store(0);
    }
    // Identifier 0 is the address of the first subflow (RFC 8684 section 3.4.1).
    this.known[0].store(1);
    this.used[0].store(1);
    this.mapped_set().reset(first);
    this.sent_set().reset(first);
}

/// Makes a subflow of the handshake in work, in the route's session, and routes the packet to it.
/// The handshake's entry is freed.
#[inline(always)]
pub fn open_subflow<T: Stages>(tables: &T) {
    let work = tables.work();
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
        free(tables, entry, half_open_slot, tag);
        strand(tables, work);
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
            if provisional(subflow) != 0 {
                subflow.created.load()
            } else {
                table::STAYS
            }
        })
    }) else {
        return lose();
    };
    let slot = tables.forget(slot);
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
    let is_join = entry.kind() == Kind::Join as u32;
    if is_join {
        if session.flags.or(session::JOINED) & session::JOINED == 0 {
            runs::end_alone(tables, session_slot, session);
        }
        tables.report(Happening::SubflowJoined, 0, token_of(session));
    }
    subflow.tag.store(tag);
    free(tables, entry, half_open_slot, tag);
    work.route.flow.set(Flow::Subflow as u32);
    work.route.slot.set(slot);
    tables.count(direction, |events| {
        events.subflow_created += 1;
        events.join_created += u64::from(is_join);
    });
}

/// Is this the subflow of the packet in work? Its tag says so, but for odds that nobody chooses (see
/// [`hash`](super::hash)); what changes a session asks the key as well. Two do not: the next data in order and its
/// acknowledgments, which are of another flow only if that has its tag and both its next numbers, and a handshake, which
/// has no key. A handshake's packets are known by numbers, keys and HMACs of their own, it is over after some seconds,
/// and what comes of it has the key of the packet that ended it.
#[inline(always)]
pub(super) fn is_of_flow<M: Memory>(subflow: &Subflow<M>, work: &Work) -> bool {
    let mut difference = 0;
    for (word, value) in subflow.key.iter().zip(key_of(work)) {
        difference |= word.load() ^ value;
    }
    difference == 0
}

/// The key of the flow of the packet in work: the lesser end first.
#[inline(always)]
fn key_of(work: &Work) -> [u64; 5] {
    if work.packet.sender_is_second {
        work.flow.reversed().words
    } else {
        work.flow.words
    }
}

#[inline(always)]
fn fill_subflow<M: Memory>(subflow: &Subflow<M>, work: &Work, entry: &HalfOpen<M>, now: u64) {
    let facts = entry.flags.load();
    let opener = u32::from(facts & half_open::OPENER_LISTENS != 0);
    let opener_is_first = facts & half_open::OPENER_IS_FIRST;
    let is_join = entry.kind() == Kind::Join as u32;
    let mut flags = (opener ^ opener_is_first ^ 1) & subflow::FIRST_IS_LISTENER;
    flags |= subflow::FOLLOWED | subflow::FOLLOWED << 1;
    if facts & half_open::KEYLESS != 0 {
        // What it has sent so far was not taken into account.
        flags &= !(subflow::FOLLOWED << opener);
    }
    if is_join {
        // The responder's fourth segment needs no option.
        flags |= subflow::JOINED | subflow::SPOKEN << (opener ^ 1);
        if facts & half_open::BACKUP != 0 {
            flags |= subflow::BACKUP << opener;
        }
        if facts & half_open::BACKUP << 1 != 0 {
            flags |= subflow::BACKUP << (opener ^ 1);
        }
    }
    let offers = [entry.offer(0), entry.offer(1)];
    let are_scaled = offers[0].is_scaled() && offers[1].is_scaled();
    let mut ids = subflow::NUMBERS | subflow::NUMBERS << 1;
    for (end, id) in entry.ids().into_iter().enumerate() {
        let side = end as u32 ^ opener;
        ids |= id << (8 * side);
        if offers[end].is_known() {
            ids |= subflow::WINDOW << side;
        }
        if are_scaled {
            ids |= offers[end].scale() << (subflow::SCALE + 4 * side);
        }
    }
    if facts & half_open::KEYLESS != 0 {
        // What it has sent so far was not taken into account.
        ids &= !(subflow::NUMBERS << opener);
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
        fill_way(&subflow.ways[side], base, acknowledged);
        // The windows of a handshake are not scaled.
        let window_end = acknowledged.wrapping_add(offers[end].window());
        subflow.ways[side].window_end.store(window_end);
    }
    for number in &subflow.alone {
        number.store(0);
    }
    reset_sums(subflow);
    subflow.flags.store(flags);
}

#[inline(always)]
pub(super) fn reset_sums<M: Memory>(subflow: &Subflow<M>) {
    for sum in &subflow.sums {
        sum.next.store(0);
        sum.sum.store(0);
        sum.facts.store(0);
    }
}

#[inline(always)]
pub(super) fn fill_way<M: Memory>(way: &Way<M>, base: u32, last_ack: u32) {
    let first = base.wrapping_add(1);
    way.base.store(base);
    way.next.store(first);
    way.acked.store(first);
    way.fin.store(0);
    way.unmapped.store(0);
    way.unmapped_start.store(0);
    way.unmapped_end.store(0);
    way.newest.store(0);
    way.mapped_end.store(1);
    way.bad_option.store(0);
    way.window_end.store(0);
    way.packets.store(0);
    way.bytes.store(0);
    way.last_ack.store(last_ack);
    for mapping in &way.mappings {
        mapping.dsn.store(0);
        mapping.ssn.store(0);
        mapping.length.store(0);
    }
    for run in &way.runs {
        run.store(0);
    }
}

/// Forgets a handshake, its keys and nonces too.
#[inline(always)]
pub(super) fn free<T: Stages>(tables: &T, entry: &HalfOpen<T::Memory>, slot: u32, tag: u64) {
    entry.forget();
    table::release(tables.half_opens(), slot, tag);
}

/// The token of a session's listener.
#[inline(always)]
pub(super) fn token_of<M: Memory>(session: &Session<M>) -> u32 {
    session.sides[1].token.load()
}

/// A subflow is over: its session has one less.
#[inline(always)]
pub(super) fn leave<T: Stages>(tables: &T, subflow: &Subflow<T::Memory>, now: u64) {
    if subflow.flags.or(subflow::CLOSED) & subflow::CLOSED != 0 {
        return;
    }
    subflow.closed.store(now.max(1));
    let Some(session) = tables.sessions().slot(subflow.session.load()) else {
        return;
    };
    if session.generation.load() != subflow.generation.load() {
        return;
    }
    session.alone.store(now);
    session.open.add(u32::MAX);
    let ids = subflow.ids.load();
    for side in 0..2 {
        clear_bit(&session.sides[side].used, ids >> (8 * side) & 0xff);
    }
    // Keys are wiped when their session is over.
    let is_over = session.open.load() == 0 && is_session_over(session, &tables.limits(), now);
    if is_over {
        tables.report(Happening::SessionClosed, 0, token_of(session));
    }
    if is_over && let Some(place) = tables.keys(subflow.session.load()) {
        place.keys[0].store(0);
        place.keys[1].store(0);
    }
}

/// The bit of an address identifier.
#[inline(always)]
pub(super) fn bit<W: Word<u64>>(words: &[W; 4], id: u32) -> u64 {
    words[(id as usize >> 6) & 3].load() >> (id & 63) & 1
}

/// Sets it; was it set before?
#[inline(always)]
pub(super) fn set_bit<W: Word<u64>>(words: &[W; 4], id: u32) -> bool {
    words[(id as usize >> 6) & 3].or(1 << (id & 63)) >> (id & 63) & 1 != 0
}

/// Clears it.
#[inline(always)]
pub(super) fn clear_bit<W: Word<u64>>(words: &[W; 4], id: u32) {
    words[(id as usize >> 6) & 3].and(!(1 << (id & 63)));
}
