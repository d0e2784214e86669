//! MP_CAPABLE handshakes, behind the SYN (RFC 8684 section 3.1).

use crate::{
    counter::{EventKind, Fallback},
    packet::{Next, Work},
    state::{HalfOpen, HandshakeFacts, Tables, WindowOffer},
    table::{Memory, Word},
    track::{
        handshake::entry::{answered, is_next},
        segment::SLACK,
    },
    wire::{CapableFlags, DssFlags, Subtype, TcpFlags, after},
};

/// The answer to an MP_CAPABLE SYN. Returns true if the handshake is over.
#[inline(always)]
pub(crate) fn syn_ack<T: Tables>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>) -> bool {
    let n = u64::from(work.packet.packets);
    let direction = work.route.direction.get();
    let facts = entry.flags.load();
    if facts & HandshakeFacts::DROPPED != 0 {
        tables.emit(EventKind::FellBack, Fallback::DroppedSyn as u32, 0);
        return true;
    }
    let options = work.allowed(tables);
    let capable = options.capable_or_absent();
    // The initiator ignores what does not answer its SYN (RFC 8684 section 3.1).
    let (asked, version) = (entry.version(), u32::from(capable.version()));
    let is_answer = (version == asked || (asked > 1 && version == 1))
        && facts & HandshakeFacts::IGNORED == 0
        && capable.flags().agrees();
    if capable.is_absent() || !is_answer {
        if facts & HandshakeFacts::ANSWERED != 0 {
            return false;
        }
        // The listener does not speak MPTCP, or somebody on the path took the option out.
        let why = if capable.is_absent() {
            Fallback::PlainSynAck
        } else {
            Fallback::UnusableSynAck
        };
        tables.count(direction, |events| events.capable_synack_plain += 1);
        tables.emit(EventKind::FellBack, tables.opaque(why as u32), 0);
        return true;
    }
    if answered::<T>(entry, &work.packet) {
        tables.count(direction, |events| events.capable_synack_repeated += n);
        return false;
    }
    let mut flags = facts | HandshakeFacts::ANSWERED;
    if capable.flags().any(CapableFlags::CHECKSUM_REQUIRED) {
        flags |= HandshakeFacts::CHECKSUM;
    }
    entry.secrets[1].store(capable.keys()[0]);
    entry.set_version(version);
    entry.set_answer(WindowOffer::new(work.packet.window, options.window_scale()));
    entry.flags.store(flags);
    false
}

/// What comes after the SYN/ACK of an MP_CAPABLE handshake. Returns true if the handshake is over.
#[inline(always)]
pub(crate) fn later<T: Tables>(
    tables: &T,
    work: &Work,
    entry: &HalfOpen<T::Memory>,
    by_opener: bool,
) -> bool {
    let flags = entry.flags.load();
    if flags & HandshakeFacts::ANSWERED == 0 || !is_next(work, entry, by_opener) {
        return false;
    }
    let (completes, falls_back) = if by_opener {
        third(tables, work, entry)
    } else {
        decision(work, entry)
    };
    // At one place each.
    if tables.opaque(completes.into()) != 0 {
        complete(tables, work, entry);
        return false;
    }
    let falls_back = tables.opaque(falls_back.into()) != 0;
    if falls_back {
        // The initiator's segment made no session.
        tables.count(entry.direction(), |events| events.fallback_plain_ack += 1);
        tables.emit(EventKind::FellBack, Fallback::PlainThirdSegment as u32, 0);
    }
    falls_back
}

/// A segment of the listener behind its SYN/ACK: whether it makes a session, and whether it falls back.
///
/// If the initiator has sent a DSS without its key, the listener's next segment says what it made of that: with an
/// option of MPTCP there is a session, without any there is none. (A reset, as of SYN cookies, says nothing.)
#[inline(always)]
fn decision<M: Memory>(work: &Work, entry: &HalfOpen<M>) -> (bool, bool) {
    const SPEAKS: u32 = Subtype::Dss.bit() | Subtype::AddAddr.bit();
    let packet = &work.packet;
    let end = packet.sequence.wrapping_add(packet.payload);
    if after(end, entry.next.load()) {
        entry.next.store(end);
    }
    let is_asked = entry.flags.load() & HandshakeFacts::KEYLESS != 0;
    let speaks = work.route.valid.get() & SPEAKS != 0;
    let is_plain = work.route.seen.get() == 0;
    (is_asked && speaks, is_asked && is_plain)
}

/// A segment of the initiator behind the SYN/ACK: whether it makes a session, and whether it falls back.
#[inline(always)]
fn third<T: Tables>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>) -> (bool, bool) {
    const NEITHER: (bool, bool) = (false, false);
    let packet = &work.packet;
    let flags = entry.flags.load();
    let n = u64::from(packet.packets);
    let direction = work.route.direction.get();
    if !packet.flags.any(TcpFlags::ACK) {
        return NEITHER;
    }
    let version = entry.version();
    let capable = work.allowed(tables).capable_or_absent();
    let is_capable = !capable.is_absent();
    // The listener ignores one that does not go with its SYN/ACK.
    let is_usable =
        is_capable && u32::from(capable.version()) == version && capable.flags().agrees();
    if is_usable {
        let [sender, receiver] = capable.keys();
        let acknowledged = packet.acknowledgment;
        let first = entry.isn[1].load().wrapping_add(1);
        let wrong = acknowledged.wrapping_sub(first)
            > entry.next.load().wrapping_sub(first).wrapping_add(SLACK)
            || receiver != entry.secrets[1].load()
            || (version == 0 && sender != entry.secrets[0].load());
        if flags & HandshakeFacts::CONFIRMED == 0 {
            entry.flags.or(HandshakeFacts::CONFIRMED);
            tables.count(direction, |events| {
                events.final_ack += 1;
                if wrong {
                    events.cookie += 1;
                }
            });
        }
        if wrong {
            tables.emit(EventKind::Error, 41, 0);
            return NEITHER;
        }
        if version == 1 && capable.mapping().is_none() && packet.payload > 0 {
            tables.count(direction, |events| events.capable_no_length += 1);
        }
        entry.secrets[0].store(sender);
        return (true, false);
    }
    let is_plain = is_capable || work.route.seen.get() == 0;
    // Data before the listener can know the initiator's key.
    if version == 1 && packet.payload > 0 && flags & HandshakeFacts::CONFIRMED == 0 {
        // One that falls back is the last.
        let packets = if is_plain { 1 } else { n };
        tables.count(direction, |events| events.data_before_key += packets);
    }
    let has_dss = work.route.valid.get() & Subtype::Dss.bit() != 0;
    if has_dss && version == 1 && work.dss.flags().all(DssFlags::ACK) {
        // The third segment was lost, or is late: the listener says whether it knows the key.
        entry.flags.or(HandshakeFacts::KEYLESS);
        return NEITHER;
    }
    (false, is_plain)
}

/// The handshake is complete: the session and its first subflow begin.
#[inline(always)]
fn complete<T: Tables>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>) {
    let direction = work.route.direction.get();
    let is_v1 = entry.version() == 1;
    let home = entry.queue();
    let here = tables.queue();
    let steered = work.packet.ingress && home != 0 && here != 0 && home != here;
    tables.count(direction, |events| {
        events.session_created += 1;
        if is_v1 {
            events.session_created_v1 += 1;
        }
        if steered {
            events.capable_steered += 1;
        }
    });
    work.route.ask(Next::OPEN_SESSION | Next::OPEN_SUBFLOW);
}
