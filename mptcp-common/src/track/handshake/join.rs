//! Joins: an MP_JOIN handshake adds a subflow to a session (RFC 8684 section 3.2).

use crate::{
    counter::{EventKind, JoinFailure},
    crypto::{self, Hash},
    packet::{Next, Work},
    state::{
        HalfOpen, HandshakeFacts, REPLACE_TIME, SessionFacts, Tables, WindowOffer, set_bit, since,
    },
    table::{Table, Word},
    track::{
        create::tokens,
        handshake::{
            entry::{answered, is_next},
            pending::{abandon, session_of_entry, undo},
        },
        release::token_of,
    },
    wire::{Key, MpJoin, Nonce, Segment, Stage, Subtype, TcpFlags, after},
};

/// Finds the session that an MP_JOIN SYN names, and the side that sent it.
#[inline(always)]
pub fn lookup_join<T: Tables>(tables: &T, work: &Work) {
    work.route.session.set(0);
    let set = work.route.seen.get() & Subtype::MpJoin.bit();
    let Some(option) = work.options(set, tables).get(Subtype::MpJoin) else {
        return;
    };
    let Ok(join) = MpJoin::parse(option, Segment::SYN) else {
        return;
    };
    if let Some((slot, owner)) = tokens(tables).find(join.token()) {
        work.route.session.set(slot + 1);
        // Who joins names the token of the other side.
        work.route.side.set(owner ^ 1);
    }
}

/// An MP_JOIN SYN, whose entry in the slot `place` has just been filled in.
#[inline(always)]
pub(crate) fn syn<T: Tables>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>, place: u32) {
    let options = work.allowed(tables);
    let Some(join) = options.join() else {
        return;
    };
    let id = join.address_id();
    let offer = WindowOffer::new(work.packet.window, options.window_scale());
    entry.secrets[0].store(offer.with_nonce(join.syn_nonce()));
    entry.set_id(0, id);
    let id = u32::from(id);
    let mut flags = entry.flags.load();
    if join.backup() {
        flags |= HandshakeFacts::BACKUP;
    }
    let Some(slot) = work.route.session.get().checked_sub(1) else {
        entry.flags.store(flags);
        return;
    };
    let Some(session) = tables.sessions().slot(slot) else {
        return;
    };
    let direction = work.route.direction.get();
    let limits = tables.limits();
    flags |= HandshakeFacts::RESOLVED | HandshakeFacts::SIDES_KNOWN;
    if work.route.side.get() == 1 {
        flags |= HandshakeFacts::OPENER_LISTENS;
    }
    entry.session.store(slot);
    entry.generation.store(session.generation.load());
    entry.set_version(session.version.load());
    let side = &session.sides[work.route.side.get() as usize & 1];
    set_bit(&side.known, id);
    if !set_bit(&side.used, id) {
        flags |= HandshakeFacts::NEW_ID;
    } else if id != 0 {
        tables.count(direction, |events| events.join_id_in_use += 1);
    }
    if session.flags.load() & SessionFacts::FALLBACK != 0 {
        flags |= HandshakeFacts::AFTER_FALLBACK;
        tables.count(direction, |events| events.join_after_fallback += 1);
    }
    if session.open.load() >= limits.subflows {
        flags |= HandshakeFacts::OVER_LIMIT;
    }
    let now = entry.created.load();
    let session_id = [slot, session.generation.load()];
    let others = side.add_join(place, session_id, tables.half_opens(), &limits, now);
    if others >= limits.pending {
        flags |= HandshakeFacts::OVER_PENDING;
        side.over_pending.store(now);
    }
    if limits.threshold != 0
        && let Some(all) = tables.pending_joins()
    {
        if all.count(&limits, now) >= limits.threshold {
            flags |= HandshakeFacts::OVER_THRESHOLD;
        }
        all.add(&limits, now);
    }
    let home = session.queue.load();
    let here = tables.queue();
    if work.packet.ingress && home != 0 && here != 0 && home != here {
        tables.count(direction, |events| events.join_steered += 1);
    }
    entry.flags.store(flags);
}

/// Checks the HMAC of the MP_JOIN in work: of the responder in a SYN/ACK, of the opener later.
#[inline(always)]
pub fn verify_join<T: Tables>(tables: &T, work: &Work) {
    let route = &work.route;
    let Some(entry) = tables.half_opens().slot(route.slot.get()) else {
        return;
    };
    let Some(join) = work.allowed(tables).join() else {
        return;
    };
    let by_responder = work.packet.flags.stage() == Stage::SynAck;
    let known = session_of_entry(tables, entry)
        .and_then(|_| tables.keys(entry.session.load()))
        .map(|keys| [keys.keys[0].load(), keys.keys[1].load()])
        .filter(|keys| keys[0] != 0 && keys[1] != 0);
    let verdict = known.and_then(|keys| {
        let hash = Hash::of_version(entry.version());
        let nonces = [0, 1].map(|end: usize| entry.secrets[end].load() as u32);
        // Keys and nonces, the sender's first.
        let opener_listens = entry.flags.load() & HandshakeFacts::OPENER_LISTENS != 0;
        let keys = if by_responder != opener_listens {
            [keys[1], keys[0]]
        } else {
            keys
        };
        let nonces = if by_responder {
            [nonces[1], nonces[0]]
        } else {
            nonces
        };
        tables.with_digest(|digest| {
            let hmac = crypto::join_hmac(digest, hash, keys.map(Key), nonces.map(Nonce));
            let differs = |word: usize| hmac[word] ^ join.hmac_word(word);
            let mut difference = differs(0) | differs(1);
            if !by_responder {
                // A SYN/ACK has room for the first 64 bits only.
                difference |= differs(2) | differs(3) | differs(4);
            }
            difference == 0
        })
    });
    let wrong = verdict == Some(false);
    if wrong {
        if by_responder {
            failed(tables, entry, JoinFailure::SynAckHmac);
        } else {
            tables.emit(EventKind::Error, 50, 0);
        }
    }
    if !by_responder {
        entry.flags.or(if wrong {
            HandshakeFacts::FAILED
        } else {
            HandshakeFacts::PROVEN
        });
    }
    tables.count(route.direction.get(), |events| {
        if by_responder {
            events.join_synack_hmac += u64::from(wrong);
        } else {
            events.join_hmac += u64::from(wrong);
            events.join_hmac_unverified += u64::from(verdict.is_none());
        }
    });
}

/// The answer to an MP_JOIN SYN.
#[inline(always)]
pub(crate) fn syn_ack<T: Tables>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>) {
    let n = u64::from(work.packet.packets);
    let direction = work.route.direction.get();
    let options = work.allowed(tables);
    let Some(join) = options.join() else {
        const KNOWN: u32 = HandshakeFacts::ANSWERED | HandshakeFacts::REFUSED;
        if entry.flags.or(HandshakeFacts::REFUSED) & KNOWN == 0 {
            tables.count(direction, |events| events.join_synack_plain += 1);
            failed(tables, entry, JoinFailure::PlainSynAck);
        }
        return;
    };
    if answered::<T>(entry, &work.packet) {
        tables.count(direction, |events| events.join_synack_repeated += n);
        return;
    }
    let offer = WindowOffer::new(work.packet.window, options.window_scale());
    entry.secrets[1].store(offer.with_nonce(join.syn_ack_nonce()));
    entry.set_id(1, join.address_id());
    let mut flags = HandshakeFacts::ANSWERED;
    if join.backup() {
        flags |= HandshakeFacts::BACKUP << 1;
    }
    let id = u32::from(join.address_id());
    if let Some(session) = session_of_entry(tables, entry) {
        let opener = usize::from(entry.flags.load() & HandshakeFacts::OPENER_LISTENS != 0);
        let side = &session.sides[opener ^ 1];
        set_bit(&side.known, id);
        if !set_bit(&side.used, id) {
            flags |= HandshakeFacts::NEW_ID << 1;
        }
    }
    entry.flags.or(flags);
    work.route.ask(Next::VERIFY_JOIN);
}

/// What comes after the SYN/ACK of an MP_JOIN handshake. Returns true if the handshake is over.
#[inline(always)]
pub(crate) fn later<T: Tables>(
    tables: &T,
    work: &Work,
    entry: &HalfOpen<T::Memory>,
    by_opener: bool,
) -> bool {
    let n = u64::from(work.packet.packets);
    let direction = work.route.direction.get();
    let flags = entry.flags.load();
    if flags & HandshakeFacts::ANSWERED == 0
        || !work.packet.flags.any(TcpFlags::ACK)
        || !is_next(work, entry, by_opener)
    {
        return false;
    }
    if !by_opener {
        // The fourth segment.
        let reached = !after(
            entry.isn[0].load().wrapping_add(1),
            work.packet.acknowledgment,
        );
        if flags & HandshakeFacts::PROVEN != 0 && reached {
            tables.count(direction, |events| events.join_validated += 1);
            return !complete(tables, work, entry);
        }
        return false;
    }
    if work.allowed(tables).join().is_none() {
        if work.route.seen.get() == 0
            && flags & HandshakeFacts::CONFIRMED == 0
            && entry.flags.or(HandshakeFacts::PLAIN) & HandshakeFacts::PLAIN == 0
        {
            failed(tables, entry, JoinFailure::PlainThirdSegment);
        }
        return false;
    }
    if flags & HandshakeFacts::CONFIRMED != 0 {
        tables.count(direction, |events| events.join_ack_repeated += n);
        return false;
    }
    entry.flags.or(HandshakeFacts::CONFIRMED);
    tables.count(direction, |events| events.join_final_ack += 1);
    work.route.ask(Next::VERIFY_JOIN);
    false
}

/// Tells that a join failed.
#[inline(always)]
fn failed<T: Tables>(tables: &T, entry: &HalfOpen<T::Memory>, why: JoinFailure) {
    let token = session_of_entry(tables, entry).map_or(0, token_of);
    tables.emit(EventKind::JoinFailed, why as u32, token);
}

/// The join is established; returns false if its session is gone.
#[inline(always)]
fn complete<T: Tables>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>) -> bool {
    undo(tables, entry);
    if session_of_entry(tables, entry).is_none() {
        return false;
    }
    work.route.session.set(entry.session.load() + 1);
    work.route.ask(Next::OPEN_SUBFLOW);
    true
}

/// MP_TCPRST reasons "lack of resources" and "administratively prohibited" (RFC 8684 section 3.6).
const REFUSALS: [u8; 2] = [2, 3];

/// Returns true if a join that is reset makes room for a newer one.
#[inline(always)]
fn is_replaced<T: Tables>(tables: &T, entry: &HalfOpen<T::Memory>) -> bool {
    let flags = entry.flags.load();
    let Some(session) = session_of_entry(tables, entry) else {
        return false;
    };
    let side = usize::from(flags & HandshakeFacts::OPENER_LISTENS != 0);
    let over = &session.sides[side].over_pending;
    let time = over.load();
    let replaced = flags & HandshakeFacts::OVER_PENDING == 0
        && time != 0
        && since(time, tables.now()) <= REPLACE_TIME;
    if replaced {
        over.store(0);
    }
    replaced
}

/// A pending join is reset.
#[inline(always)]
pub(crate) fn reset<T: Tables>(
    tables: &T,
    work: &Work,
    entry: &HalfOpen<T::Memory>,
    by_opener: bool,
) {
    abandon(tables, entry);
    if by_opener {
        return;
    }
    let flags = entry.flags.load();
    let opened = entry.direction();
    let reason = work.allowed(tables).tcprst().map_or(0, |rst| rst.reason());
    let mut row = 0;
    let replaced = is_replaced(tables, entry);
    tables.count(opened, |events| {
        events.join_refused += 1;
        if replaced {
            events.pending_replaced += 1;
        } else if flags & HandshakeFacts::RESOLVED == 0 {
            events.join_token_unknown += 1;
            row = 44;
        } else if flags & HandshakeFacts::FAILED != 0 {
            // Counted when it was seen, as the next.
            row = 50;
        } else if flags & HandshakeFacts::AFTER_FALLBACK != 0 {
            row = 49;
        } else if flags & HandshakeFacts::PLAIN != 0 {
            events.plain_ack_reset += 1;
            row = 63;
        } else if flags & HandshakeFacts::OVER_THRESHOLD != 0 {
            events.join_over_threshold += 1;
            row = 48;
        } else if flags & HandshakeFacts::OVER_LIMIT != 0 || REFUSALS.contains(&reason) {
            events.join_over_limit += 1;
            row = 47;
        }
    });
    let token = session_of_entry(tables, entry).map_or(0, token_of);
    tables.emit(EventKind::JoinRefused, tables.opaque(row), token);
}
