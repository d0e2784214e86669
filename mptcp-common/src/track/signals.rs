//! Options that say something of addresses, priorities and failures.

use crate::{
    counter::Happening,
    crypto::{Compress, add_addr_hmac},
    packet::Work,
    state::{SessionFacts, SubflowFacts, Tables, bit, clear_bit, set_bit},
    table::Word,
    track::segment::Seen,
    wire::{AddAddr, Key, MpPrio, RemoveAddr, Subtype},
};

/// The options that are neither DSS nor part of the handshake.
#[inline(always)]
pub fn signals<T: Tables>(tables: &T, work: &Work) {
    let Some(seen) = &Seen::new(tables, work) else {
        return;
    };
    if seen.has(Subtype::AddAddr) {
        add_addr(seen);
    }
    if seen.has(Subtype::RemoveAddr) {
        remove_addr(seen);
    }
    if let Some(option) = seen.options().prio() {
        prio(seen, &option);
    }
    if seen.has(Subtype::MpFail) {
        if seen.session.flags.load() & SessionFacts::FAIL << (seen.side ^ 1) != 0 {
            seen.count(|events| events.fail_response += seen.n());
        }
        if seen.first_of_session(SessionFacts::FAIL) {
            seen.report(Happening::Failed, 0);
        }
    }
    if let Some(option) = seen.options().fastclose() {
        fastclose(seen, option.receiver_key().0);
    }
    // Repeated parts of the handshake.
    let n = seen.n();
    let joined = seen.subflow.flags.load() & SubflowFacts::JOINED != 0;
    if seen.has(Subtype::MpJoin) && joined {
        seen.count(|events| events.join_ack_repeated += n);
    }
}

/// An announced address (RFC 8684 section 3.4.1).
#[inline(always)]
fn add_addr<T: Tables>(seen: &Seen<'_, T>) {
    let Some(option) = seen.options().add_addr() else {
        return;
    };
    if option.is_echo() {
        return;
    }
    // With a wrong HMAC, who gets it ignores it.
    if is_announced(seen, &option) {
        let id = u32::from(option.address_id());
        let side = &seen.session.sides[seen.side & 1];
        if !set_bit(&side.known, id) {
            seen.report(Happening::AddressAdded, id);
        }
        clear_bit(&side.removed, id);
    }
}

/// Is the HMAC of this announcement right, or not known to be wrong?
#[inline(always)]
fn is_announced<T: Tables>(seen: &Seen<'_, T>, option: &AddAddr<'_>) -> bool {
    if !option.is_v1() {
        return true;
    }
    let keys = match seen.tables.keys(seen.subflow.session.load()) {
        Some(keys) => [keys.keys[0].load(), keys.keys[1].load()],
        None => [0, 0],
    };
    if keys[0] == 0 || keys[1] == 0 {
        seen.count(|events| events.add_addr_unverified += seen.n());
        return true;
    }
    let keys = if seen.side == 0 {
        keys
    } else {
        [keys[1], keys[0]]
    };
    let announcement = option.announcement(seen.tables);
    let sent = announcement.hmac;
    let verdict = seen.tables.with_digest(|digest| {
        let length = option.write_message(&announcement, &mut digest.digest().message);
        let length = seen.tables.forget(length);
        add_addr_hmac(digest, keys.map(Key), length)
    });
    let Some((right, left)) = verdict else {
        return true;
    };
    let is_right = sent == right || sent == left;
    if is_right {
        seen.first(SubflowFacts::CONFIRMED);
    }
    seen.count(|events| {
        if !is_right {
            events.add_addr_hmac += seen.n();
        } else if sent != right {
            events.add_addr_hmac_old += seen.n();
        }
    });
    is_right
}

/// Removed addresses (RFC 8684 section 3.4.2).
#[inline(always)]
fn remove_addr<T: Tables>(seen: &Seen<'_, T>) {
    let Some(option) = seen.options().remove_addr() else {
        return;
    };
    let side = &seen.session.sides[seen.side & 1];
    let own = seen.subflow.ids.load() >> (8 * seen.side) & 0xff;
    let n = seen.n();
    let was_here = u64::from((seen.session.flags.load() / SessionFacts::ADOPTED) & 1);
    for i in 0..RemoveAddr::MAX_IDS {
        let Some(id) = option.id(i, seen.tables) else {
            break;
        };
        let id = u32::from(id);
        // Numbers and no branches, of which the verifier would go both ways for each identifier.
        let known = bit(&side.known, id);
        let removed = bit(&side.removed, id) & !known;
        let neither = 1 & !(known | removed);
        let is_own = u64::from(seen.tables.forget((id == own).into()));
        seen.count(|events| {
            // The other packets of a buffer remove it once more.
            events.address_removed += known;
            events.address_repeated += known * (n - 1) + removed * n;
            events.address_own += known & is_own;
            events.address_unseen += neither * was_here * n;
            events.address_unknown += neither * (1 - was_here) * n;
        });
        if known != 0 {
            clear_bit(&side.known, id);
            set_bit(&side.removed, id);
            seen.report(Happening::AddressRemoved, id);
        }
    }
}

/// A change of priority (RFC 8684 section 3.3.8).
#[inline(always)]
fn prio<T: Tables>(seen: &Seen<'_, T>, option: &MpPrio<'_>) {
    let own = seen.subflow.ids.load() >> (8 * seen.side) & 0xff;
    if option.address_id().is_some_and(|id| u32::from(id) != own) {
        // Of another subflow: version 0 has such.
        seen.count(|events| events.prio_elsewhere += seen.n());
        return;
    }
    if option.backup() {
        if seen.first(SubflowFacts::BACKUP) {
            seen.report(Happening::PriorityChanged, 1);
        }
    } else if seen.is(SubflowFacts::BACKUP) {
        seen.subflow.flags.and(!(SubflowFacts::BACKUP << seen.side));
        seen.count(|events| events.prio_cleared += 1);
        seen.report(Happening::PriorityChanged, 0);
    }
}

/// A fast close (RFC 8684 section 3.5) with the key of who gets it.
#[inline(always)]
fn fastclose<T: Tables>(seen: &Seen<'_, T>, key: u64) {
    let expected = match seen.tables.keys(seen.subflow.session.load()) {
        Some(keys) => keys.keys[(seen.side ^ 1) & 1].load(),
        None => 0,
    };
    if expected != 0 && key != expected {
        seen.count(|events| events.fastclose_key += seen.n());
        seen.report(Happening::Error, 67);
        return;
    }
    if expected == 0 {
        seen.count(|events| events.fastclose_unverified += seen.n());
    }
    if !seen.first(SubflowFacts::FASTCLOSE) {
        seen.count(|events| events.fastclose_repeated += seen.n());
        return;
    }
    let is_backup = seen.is(SubflowFacts::BACKUP) || seen.is_other(SubflowFacts::BACKUP);
    let refused = seen.tables.limits().passive_close_refused != 0;
    seen.count(|events| {
        events.fastclose_first += 1;
        events.fastclose_repeated += seen.n() - 1;
        if is_backup {
            events.fastclose_on_backup += 1;
            if refused {
                events.fastclose_on_backup_refused += 1;
            }
        }
    });
    seen.report(Happening::FastClosed, 0);
    if expected != 0 || seen.session.flags.load() & SessionFacts::ADOPTED != 0 {
        // Its keys stay until the last subflow has gone: that may carry one too.
        seen.session.flags.or(SessionFacts::FASTCLOSED);
    }
}
