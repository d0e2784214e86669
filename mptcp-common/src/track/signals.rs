//! Options that say something of addresses, priorities and failures.

use crate::{
    counter::EventKind,
    crypto::{Compress, add_addr_hmac},
    packet::Work,
    state::{SessionFacts, SubflowFacts, Tables, bit, clear_bit, set_bit},
    table::Word,
    track::segment::SubflowSegment,
    wire::{AddAddr, Key, MpPrio, RemoveAddr, Subtype},
};

/// The options that are neither DSS nor part of the handshake.
#[inline(always)]
pub fn signals<T: Tables>(tables: &T, work: &Work) {
    let Some(segment) = &SubflowSegment::new(tables, work) else {
        return;
    };
    if segment.has(Subtype::AddAddr) {
        add_addr(segment);
    }
    if segment.has(Subtype::RemoveAddr) {
        remove_addr(segment);
    }
    if let Some(option) = segment.options().prio() {
        prio(segment, &option);
    }
    if segment.has(Subtype::MpFail) {
        if segment.session.flags.load() & SessionFacts::FAIL << (segment.side ^ 1) != 0 {
            segment.count(|events| events.fail_response += segment.n());
        }
        if segment.first_of_session(SessionFacts::FAIL) {
            segment.emit(EventKind::Failed, 0);
        }
    }
    if let Some(option) = segment.options().fastclose() {
        fastclose(segment, option.receiver_key().0);
    }
    // Repeated parts of the handshake.
    let n = segment.n();
    let joined = segment.subflow.flags.load() & SubflowFacts::JOINED != 0;
    if segment.has(Subtype::MpJoin) && joined {
        segment.count(|events| events.join_ack_repeated += n);
    }
}

/// An announced address (RFC 8684 section 3.4.1).
#[inline(always)]
fn add_addr<T: Tables>(segment: &SubflowSegment<'_, T>) {
    let Some(option) = segment.options().add_addr() else {
        return;
    };
    if option.is_echo() {
        return;
    }
    // With a wrong HMAC, who gets it ignores it.
    if is_announced(segment, &option) {
        let id = u32::from(option.address_id());
        let side = &segment.session.sides[segment.side & 1];
        if !set_bit(&side.known, id) {
            segment.emit(EventKind::AddressAdded, id);
        }
        clear_bit(&side.removed, id);
    }
}

/// Returns true if the HMAC of this announcement is right, or not known to be wrong.
#[inline(always)]
fn is_announced<T: Tables>(segment: &SubflowSegment<'_, T>, option: &AddAddr<'_>) -> bool {
    if !option.is_v1() {
        return true;
    }
    let keys = match segment.tables.keys(segment.subflow.session.load()) {
        Some(keys) => [keys.keys[0].load(), keys.keys[1].load()],
        None => [0, 0],
    };
    if keys[0] == 0 || keys[1] == 0 {
        segment.count(|events| events.add_addr_unverified += segment.n());
        return true;
    }
    let keys = if segment.side == 0 {
        keys
    } else {
        [keys[1], keys[0]]
    };
    let announcement = option.announcement(segment.tables);
    let sent = announcement.hmac;
    let verdict = segment.tables.with_digest(|digest| {
        let length = option.write_message(&announcement, &mut digest.digest().message);
        let length = segment.tables.opaque(length);
        add_addr_hmac(digest, keys.map(Key), length)
    });
    let Some((right, left)) = verdict else {
        return true;
    };
    let is_right = sent == right || sent == left;
    if is_right {
        segment.first(SubflowFacts::CONFIRMED);
    }
    segment.count(|events| {
        if !is_right {
            events.add_addr_hmac += segment.n();
        } else if sent != right {
            events.add_addr_hmac_old += segment.n();
        }
    });
    is_right
}

/// Removed addresses (RFC 8684 section 3.4.2).
#[inline(always)]
fn remove_addr<T: Tables>(segment: &SubflowSegment<'_, T>) {
    let Some(option) = segment.options().remove_addr() else {
        return;
    };
    let side = &segment.session.sides[segment.side & 1];
    let own = segment.subflow.ids.load() >> (8 * segment.side) & 0xff;
    let n = segment.n();
    let was_here = u64::from((segment.session.flags.load() / SessionFacts::ADOPTED) & 1);
    for i in 0..RemoveAddr::MAX_IDS {
        let Some(id) = option.id(i, segment.tables) else {
            break;
        };
        let id = u32::from(id);
        // Numbers and no branches, of which the verifier would go both ways for each identifier.
        let known = bit(&side.known, id);
        let removed = bit(&side.removed, id) & !known;
        let neither = 1 & !(known | removed);
        let is_own = u64::from(segment.tables.opaque((id == own).into()));
        segment.count(|events| {
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
            segment.emit(EventKind::AddressRemoved, id);
        }
    }
}

/// A change of priority (RFC 8684 section 3.3.8).
#[inline(always)]
fn prio<T: Tables>(segment: &SubflowSegment<'_, T>, option: &MpPrio<'_>) {
    let own = segment.subflow.ids.load() >> (8 * segment.side) & 0xff;
    if option.address_id().is_some_and(|id| u32::from(id) != own) {
        // Of another subflow: version 0 has such.
        segment.count(|events| events.prio_elsewhere += segment.n());
        return;
    }
    if option.backup() {
        if segment.first(SubflowFacts::BACKUP) {
            segment.emit(EventKind::PriorityChanged, 1);
        }
    } else if segment.is(SubflowFacts::BACKUP) {
        segment
            .subflow
            .flags
            .and(!(SubflowFacts::BACKUP << segment.side));
        segment.count(|events| events.prio_cleared += 1);
        segment.emit(EventKind::PriorityChanged, 0);
    }
}

/// A fast close (RFC 8684 section 3.5) with the key of who gets it.
#[inline(always)]
fn fastclose<T: Tables>(segment: &SubflowSegment<'_, T>, key: u64) {
    let expected = match segment.tables.keys(segment.subflow.session.load()) {
        Some(keys) => keys.keys[(segment.side ^ 1) & 1].load(),
        None => 0,
    };
    if expected != 0 && key != expected {
        segment.count(|events| events.fastclose_key += segment.n());
        segment.emit(EventKind::Error, 67);
        return;
    }
    if expected == 0 {
        segment.count(|events| events.fastclose_unverified += segment.n());
    }
    if !segment.first(SubflowFacts::FASTCLOSE) {
        segment.count(|events| events.fastclose_repeated += segment.n());
        return;
    }
    let is_backup = segment.is(SubflowFacts::BACKUP) || segment.is_other(SubflowFacts::BACKUP);
    let refused = segment.tables.limits().passive_close_refused != 0;
    segment.count(|events| {
        events.fastclose_first += 1;
        events.fastclose_repeated += segment.n() - 1;
        if is_backup {
            events.fastclose_on_backup += 1;
            if refused {
                events.fastclose_on_backup_refused += 1;
            }
        }
    });
    segment.emit(EventKind::FastClosed, 0);
    if expected != 0 || segment.session.flags.load() & SessionFacts::ADOPTED != 0 {
        // Its keys stay until the last subflow has gone: that may carry one too.
        segment.session.flags.or(SessionFacts::FASTCLOSED);
    }
}
