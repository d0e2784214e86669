//! Handshakes: from the SYN to the segment that proves that both ends speak MPTCP.

use super::{
    Fallback, Happening, Kind, Memory, Stages,
    entry::{HalfOpen, Offer, Subflow, half_open},
    is_half_open_over, is_subflow_over, join,
    open::{free, is_of_flow, leave},
    sequence::{SLACK, after},
    table::{self, Table as _},
    word::Word,
};
use crate::{
    counter::{Direction, Events, Role},
    engine::{Flow, Options, Packet, Work, next},
    wire::{CapableFlags, DssFlags, MpCapable, Stage, Subtype, TcpFlags},
};

/// A packet of a flow that has no established subflow, a SYN or a SYN/ACK.
#[inline(always)]
pub fn handshake<S: Stages>(stages: &S) {
    let work = stages.work();
    let is_syn = work.packet.flags.stage() == Stage::Syn;
    if work.route.flow.get() == Flow::Subflow as u32 && !begins(stages, work, is_syn) {
        return;
    }
    let opens = if is_syn {
        syn(stages, work)
    } else {
        known(stages, work)
    };
    if let Some((kind, present)) = opens {
        open(stages, work, kind, present);
    }
}

/// What is no SYN: a packet of a handshake that is known, or complete, or a stray segment. Says what it opens.
#[inline(always)]
fn known<S: Stages>(stages: &S, work: &Work) -> Opens {
    let stage = work.packet.flags.stage();
    if work.route.flow.get() != Flow::HalfOpen as u32 {
        return stray(stages, work);
    }
    let entry = stages.half_opens().slot(work.route.slot.get())?;
    if entry.tag.load() != work.tag || is_half_open_over(entry, &stages.limits(), stages.now()) {
        if entry.tag.load() == work.tag && entry.kind() == JOIN {
            join::abandon(stages, entry);
        }
        drop(stages, work, entry);
        return stray(stages, work);
    }
    let first = entry.flags.load() & half_open::OPENER_IS_FIRST != 0;
    let by_opener = first != work.packet.sender_is_second;
    let kind = stages.forget(entry.kind());
    let mut is_over = false;
    match stage {
        Stage::SynAck if by_opener || !answers(stages, work, entry) => {}
        Stage::SynAck if kind == CAPABLE => is_over = syn_ack(stages, work, entry),
        Stage::SynAck if kind == JOIN => join::syn_ack(stages, work, entry),
        Stage::Later if work.packet.flags.any(TcpFlags::RST) => {
            is_over = reset(stages, work, entry, by_opener);
        }
        Stage::Later if kind == CAPABLE => is_over = later(stages, work, entry, by_opener),
        Stage::Later if kind == JOIN => is_over = join::later(stages, work, entry, by_opener),
        // Known to be stray.
        Stage::Later => {
            let acknowledged = work.packet.acknowledgment;
            if by_opener
                && work.packet.flags.any(TcpFlags::ACK)
                && after(acknowledged, entry.next.load())
            {
                entry.next.store(acknowledged);
            }
            stray(stages, work);
        }
        _ => {}
    }
    // At one place: it is the longest part.
    if stages.forget(is_over.into()) != 0 {
        drop(stages, work, entry);
        strand(stages, work);
    }
    None
}

/// A kind of entry to open, and the slot if it takes one that the flow has.
type Opens = Option<(Kind, Option<u32>)>;

/// Forgets the handshake of the packet in work.
#[inline(always)]
pub(super) fn drop<S: Stages>(stages: &S, work: &Work, entry: &HalfOpen<S::Memory>) {
    free(stages, entry, work.route.slot.get(), work.tag);
    work.route.flow.set(Flow::Unknown as u32);
}

const CAPABLE: u32 = Kind::Capable as u32;
const JOIN: u32 = Kind::Join as u32;

/// A SYN: says what it opens.
#[inline(always)]
fn syn<S: Stages>(stages: &S, work: &Work) -> Opens {
    let route = &work.route;
    let now = stages.now();
    let kind = if route.valid.get() & Subtype::MpCapable.bit() != 0 {
        Kind::Capable
    } else if route.valid.get() & Subtype::MpJoin.bit() != 0 {
        Kind::Join
    } else {
        Kind::Stray
    };
    let opens = (kind != Kind::Stray).then_some(kind);
    if route.flow.get() != Flow::HalfOpen as u32 {
        return opens.map(|kind| (kind, None));
    }
    route.flow.set(Flow::Unknown as u32);
    let slot = route.slot.get();
    let entry = stages.half_opens().slot(slot)?;
    let is_of_flow = entry.tag.load() == work.tag;
    let over = !is_of_flow || is_half_open_over(entry, &stages.limits(), now);
    let same = !over && entry.isn[0].load() == work.packet.sequence;
    let present = entry.kind();
    if same && present == kind as u32 {
        syn_again(stages, work);
        return None;
    }
    if !over && !same && entry.flags.load() & half_open::ANSWERED != 0 {
        // Who has answered the one SYN does not take the other (RFC 9293 section 3.10.7.4).
        return None;
    }
    if same && present == CAPABLE && opens.is_none() {
        // Who sent it took the option for the reason of a loss. What answers it says whether that is so.
        if entry.flags.or(half_open::DROPPED) & half_open::DROPPED == 0 {
            stages.count(route.direction.get(), |events| {
                events.capable_syn_dropped += 1;
            });
        }
        return None;
    }
    if is_of_flow && present == JOIN {
        join::abandon(stages, entry);
        entry.tag.store(0);
        if !over && kind == Kind::Join {
            stages.count(route.direction.get(), |events| events.pending_replaced += 1);
        }
    }
    if opens.is_none() {
        drop(stages, work, entry);
    }
    opens.map(|kind| (kind, Some(slot)))
}

/// A SYN once more.
#[inline(always)]
fn syn_again<S: Stages>(stages: &S, work: &Work) {
    again(stages, work, |events, is_join| match is_join {
        false => &mut events.capable_syn_repeated,
        true => &mut events.join_syn_repeated,
    });
}

/// A packet with an option of a handshake once more: `of` says where it counts, by whether that is MP_JOIN.
#[inline(always)]
fn again<S: Stages>(stages: &S, work: &Work, of: impl FnOnce(&mut Events, bool) -> &mut u64) {
    let is_join = match work.route.valid.get() {
        valid if valid & Subtype::MpCapable.bit() != 0 => false,
        valid if valid & Subtype::MpJoin.bit() != 0 => true,
        _ => return,
    };
    let n = u64::from(work.packet.packets);
    stages.count(work.route.direction.get(), |events| {
        *of(events, is_join) += n;
    });
}

/// Opens an entry.
#[inline(always)]
fn open<S: Stages>(stages: &S, work: &Work, kind: Kind, present: Option<u32>) {
    let now = stages.now();
    let Some(slot) = present.or_else(|| claim(stages, work, now)) else {
        return;
    };
    let Some(entry) = stages.half_opens().slot(slot) else {
        return;
    };
    fill(stages, work, entry, kind, now);
    if kind == Kind::Join {
        join::syn(stages, work, entry, slot);
    }
    entry.tag.store(work.tag);
}

/// Does a SYN or a SYN/ACK on the addresses of a subflow belong to a new connection? The flow is routed to
/// its handshake then, or to none.
///
/// An open subflow stays until the other end answers the SYN: anybody can send one in the name of an end, and who
/// has the connection answers with an acknowledgment (RFC 9293 section 3.10.7.4).
#[inline(always)]
fn begins<S: Stages>(stages: &S, work: &Work, is_syn: bool) -> bool {
    let route = &work.route;
    let Some(subflow) = stages.subflows().slot(route.slot.get()) else {
        return false;
    };
    if !is_of_flow(subflow, work) {
        return false;
    }
    let now = stages.now();
    let is_over = is_subflow_over(subflow, &stages.limits(), now);
    if !is_over && is_repeated(work, subflow, is_syn) {
        again(stages, work, |events, is_join| match (is_syn, is_join) {
            (true, false) => &mut events.capable_syn_repeated,
            (true, true) => &mut events.join_syn_repeated,
            // The third segment was lost behind the probe.
            (false, false) => &mut events.capable_synack_repeated,
            (false, true) => &mut events.join_synack_repeated,
        });
        return false;
    }
    // A handshake of the same ends may be under way.
    let half_open = table::find(stages.half_opens(), work.tag);
    let entry = half_open.and_then(|slot| stages.half_opens().slot(slot));
    if !is_syn {
        match entry {
            Some(entry) if is_answered(stages, work, entry) => {}
            _ => return false,
        }
    }
    if !is_syn || is_over || subflow.closed.load() != 0 {
        if let Some(entry) = entry {
            count_replaced(stages, subflow, entry);
        }
        leave(stages, subflow, now);
        subflow.tag.store(0);
        table::release(stages.subflows(), route.slot.get(), work.tag);
    }
    route.flow.set(Flow::Unknown as u32);
    if let Some(slot) = half_open {
        route.flow.set(Flow::HalfOpen as u32);
        route.slot.set(slot);
    }
    true
}

/// More data than this no SYN has: a segment's.
const MAX_SYN_DATA: u32 = 1 << 14;

/// Is this the SYN or the SYN/ACK of the subflow once more?
#[inline(always)]
fn is_repeated<M: Memory>(work: &Work, subflow: &Subflow<M>, is_syn: bool) -> bool {
    let sequence = work.packet.sequence;
    let [first, second] = [&subflow.ways[0], &subflow.ways[1]].map(|way| way.base.load());
    if is_syn {
        // Behind the data that came with the SYN (TCP Fast Open), if any.
        first.wrapping_sub(sequence) <= MAX_SYN_DATA
            || second.wrapping_sub(sequence) <= MAX_SYN_DATA
    } else {
        let side = work.route.side.get() & 1;
        sequence == if side == 0 { first } else { second }
    }
}

/// Does this SYN/ACK answer the SYN of a handshake on the addresses of a subflow?
#[inline(always)]
fn is_answered<S: Stages>(stages: &S, work: &Work, entry: &HalfOpen<S::Memory>) -> bool {
    let first = entry.flags.load() & half_open::OPENER_IS_FIRST != 0;
    entry.tag.load() == work.tag
        && entry.kind() != Kind::Stray as u32
        && first == work.packet.sender_is_second
        && answers(stages, work, entry)
}

/// A join replaces an open subflow of its session with the same addresses (TotSFRep).
#[inline(always)]
fn count_replaced<T: Stages>(
    tables: &T,
    subflow: &Subflow<T::Memory>,
    entry: &HalfOpen<T::Memory>,
) {
    if subflow.closed.load() == 0
        && entry.kind() == JOIN
        && entry.flags.load() & half_open::RESOLVED != 0
        && entry.session.load() == subflow.session.load()
        && entry.generation.load() == subflow.generation.load()
    {
        tables.count(entry.direction(), |events| events.subflow_replaced += 1);
    }
}

/// Does this SYN/ACK acknowledge the SYN of a handshake (RFC 9293 section 3.10.7.3)? On a host, what answers a
/// SYN that came in goes out, and the other way round.
#[inline(always)]
fn answers<T: Stages>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>) -> bool {
    let first = entry.isn[0].load().wrapping_add(1);
    let last = entry.syn_acked.load();
    let acknowledged = work.packet.acknowledgment;
    let came_in = entry.direction() == Direction::Rx as u32;
    let is_back = tables.role() == Role::Middlebox || came_in != work.packet.ingress;
    is_back && acknowledged.wrapping_sub(first) <= last.wrapping_sub(first)
}

/// A place for a new handshake: a free one, one that is over, or the oldest.
#[inline(always)]
fn claim<S: Stages>(stages: &S, work: &Work, now: u64) -> Option<u32> {
    let limits = stages.limits();
    let free = table::claim_home(stages.half_opens(), work.tag, |entry| {
        is_half_open_over(entry, &limits, now)
    });
    let slot = match free {
        Some(slot) => slot,
        None => {
            // The oldest, or this one.
            stages.count(work.route.direction.get(), |events| {
                events.lost_handshakes += 1;
            });
            table::evict(stages.half_opens(), work.tag, |entry| entry.created.load())?
        }
    };
    let entry = stages.half_opens().slot(slot)?;
    if entry.tag.load() != 0 && entry.kind() == JOIN {
        join::abandon(stages, entry);
    }
    Some(slot)
}

#[inline(always)]
fn fill<T: Stages>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>, kind: Kind, now: u64) {
    entry.tag.store(0);
    entry.created.store(now);
    let mut flags = u32::from(!work.packet.sender_is_second);
    let mut key = 0;
    let mut version = 1;
    let options = Options::new(work, work.route.valid.get(), tables);
    let mut offer = Offer::NONE;
    if kind == Kind::Capable {
        offer = Offer::new(work.packet.window, options.window_scale());
        flags |= half_open::SIDES_KNOWN;
        if let Some(option) = options.get(Subtype::MpCapable) {
            version = u32::from(MpCapable::version_of(&option));
            if version == 0 && option.length() == 12 {
                key = option.u64(4);
            }
            let capable = MpCapable::flags_of(&option);
            if capable.any(CapableFlags::CHECKSUM_REQUIRED) {
                flags |= half_open::CHECKSUM;
            }
            if version <= 1 && !capable.can_be_answered() {
                flags |= half_open::IGNORED;
            }
        }
    }
    // Of a stray segment: what it acknowledges, which a reset in answer would name.
    let mut acknowledged = 0;
    if kind == Kind::Stray {
        acknowledged = work.packet.acknowledgment;
        let valid = work.route.valid.get();
        if valid & Subtype::Dss.bit() != 0 {
            flags |= half_open::DSS;
        }
        if valid & Subtype::MpCapable.bit() != 0 {
            flags |= half_open::CAPABLE;
        }
    }
    entry.secrets[0].store(key);
    entry.secrets[1].store(0);
    entry.flags.store(HalfOpen::<T::Memory>::flags_of(
        kind,
        work.route.direction.get(),
        flags,
    ));
    entry.set_syn(
        version,
        if work.packet.ingress {
            tables.queue()
        } else {
            0
        },
    );
    entry.isn[0].store(work.packet.sequence);
    entry.isn[1].store(acknowledged);
    // What a reset in answer can acknowledge: the SYN, and the data that came with it.
    entry.syn_acked.store(
        work.packet
            .sequence
            .wrapping_add(work.packet.payload)
            .wrapping_add(1),
    );
    entry.next.store(acknowledged);
    entry.set_offer(offer);
}

/// What a SYN/ACK says of sequence numbers, to any kind of handshake. Is it the same once more?
#[inline(always)]
pub(super) fn answered<T: Stages>(entry: &HalfOpen<T::Memory>, packet: &Packet) -> bool {
    let repeated =
        entry.flags.load() & half_open::ANSWERED != 0 && entry.isn[1].load() == packet.sequence;
    entry.isn[1].store(packet.sequence);
    entry.syn_acked.store(packet.acknowledgment);
    entry.next.store(packet.sequence.wrapping_add(1));
    repeated
}

/// The answer to an MP_CAPABLE SYN. Returns true if the handshake is over.
#[inline(always)]
fn syn_ack<T: Stages>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>) -> bool {
    let n = u64::from(work.packet.packets);
    let direction = work.route.direction.get();
    let facts = entry.flags.load();
    if facts & half_open::DROPPED != 0 {
        tables.report(Happening::FellBack, Fallback::DroppedSyn as u32, 0);
        return true;
    }
    let options = Options::new(work, work.route.valid.get(), tables);
    let option = options.get_or_empty(Subtype::MpCapable);
    // The initiator ignores what does not answer its SYN (RFC 8684 section 3.1).
    let (asked, version) = (entry.version(), u32::from(MpCapable::version_of(&option)));
    let is_answer = (version == asked || (asked > 1 && version == 1))
        && facts & half_open::IGNORED == 0
        && MpCapable::flags_of(&option).agrees();
    if option.length() == 0 || !is_answer {
        if facts & half_open::ANSWERED != 0 {
            return false;
        }
        // The listener does not speak MPTCP, or somebody on the path took the option out.
        let why = if option.length() == 0 {
            Fallback::PlainSynAck
        } else {
            Fallback::UnusableSynAck
        };
        tables.count(direction, |events| events.capable_synack_plain += 1);
        tables.report(Happening::FellBack, tables.forget(why as u32), 0);
        return true;
    }
    if answered::<T>(entry, &work.packet) {
        tables.count(direction, |events| events.capable_synack_repeated += n);
        return false;
    }
    let mut flags = facts | half_open::ANSWERED;
    if MpCapable::flags_of(&option).any(CapableFlags::CHECKSUM_REQUIRED) {
        flags |= half_open::CHECKSUM;
    }
    entry.secrets[1].store(option.u64(4));
    entry.set_version(version);
    entry.set_answer(Offer::new(work.packet.window, options.window_scale()));
    entry.flags.store(flags);
    false
}

/// What comes after the SYN/ACK of an MP_CAPABLE handshake. Returns true if the handshake is over.
#[inline(always)]
fn later<T: Stages>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>, by_opener: bool) -> bool {
    let flags = entry.flags.load();
    if flags & half_open::ANSWERED == 0 || !is_next(work, entry, by_opener) {
        return false;
    }
    let (completes, falls_back) = if by_opener {
        third(tables, work, entry)
    } else {
        decision(work, entry)
    };
    // At one place each.
    if tables.forget(completes.into()) != 0 {
        complete(tables, work, entry);
        return false;
    }
    let falls_back = tables.forget(falls_back.into()) != 0;
    if falls_back {
        // The initiator's segment made no session.
        tables.count(entry.direction(), |events| events.fallback_plain_ack += 1);
        tables.report(Happening::FellBack, Fallback::PlainThirdSegment as u32, 0);
    }
    falls_back
}

/// Does a segment behind the SYN/ACK belong to this handshake by its sequence number? No window is scaled yet.
#[inline(always)]
pub(super) fn is_next<M: Memory>(work: &Work, entry: &HalfOpen<M>, by_opener: bool) -> bool {
    let first = if by_opener {
        entry.isn[0].load()
    } else {
        entry.isn[1].load()
    };
    work.packet.sequence.wrapping_sub(first).wrapping_sub(1) <= SLACK
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
    let is_asked = entry.flags.load() & half_open::KEYLESS != 0;
    let speaks = work.route.valid.get() & SPEAKS != 0;
    let is_plain = work.route.seen.get() == 0;
    (is_asked && speaks, is_asked && is_plain)
}

/// A segment of the initiator behind the SYN/ACK: whether it makes a session, and whether it falls back.
#[inline(always)]
fn third<T: Stages>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>) -> (bool, bool) {
    const NEITHER: (bool, bool) = (false, false);
    let packet = &work.packet;
    let flags = entry.flags.load();
    let n = u64::from(packet.packets);
    let direction = work.route.direction.get();
    if !packet.flags.any(TcpFlags::ACK) {
        return NEITHER;
    }
    let version = entry.version();
    let options = Options::new(work, work.route.valid.get(), tables);
    let option = options.get_or_empty(Subtype::MpCapable);
    let is_capable = option.length() != 0;
    // The listener ignores one that does not go with its SYN/ACK.
    let is_usable = is_capable
        && u32::from(MpCapable::version_of(&option)) == version
        && MpCapable::flags_of(&option).agrees();
    if is_usable {
        let (sender, receiver) = (option.u64(4), option.u64(12));
        let acknowledged = packet.acknowledgment;
        let first = entry.isn[1].load().wrapping_add(1);
        let wrong = acknowledged.wrapping_sub(first)
            > entry.next.load().wrapping_sub(first).wrapping_add(SLACK)
            || receiver != entry.secrets[1].load()
            || (version == 0 && sender != entry.secrets[0].load());
        if flags & half_open::CONFIRMED == 0 {
            entry.flags.or(half_open::CONFIRMED);
            tables.count(direction, |events| {
                events.final_ack += 1;
                if wrong {
                    events.cookie += 1;
                }
            });
        }
        if wrong {
            tables.report(Happening::Error, 41, 0);
            return NEITHER;
        }
        if version == 1 && option.length() == 20 && packet.payload > 0 {
            tables.count(direction, |events| events.capable_no_length += 1);
        }
        entry.secrets[0].store(sender);
        return (true, false);
    }
    let is_plain = is_capable || work.route.seen.get() == 0;
    // Data before the listener can know the initiator's key.
    if version == 1 && packet.payload > 0 && flags & half_open::CONFIRMED == 0 {
        // One that falls back is the last.
        let packets = if is_plain { 1 } else { n };
        tables.count(direction, |events| events.data_before_key += packets);
    }
    let has_dss = work.route.valid.get() & Subtype::Dss.bit() != 0;
    if has_dss && version == 1 && work.dss.flags().all(DssFlags::ACK) {
        // The third segment was lost, or is late: the listener says whether it knows the key.
        entry.flags.or(half_open::KEYLESS);
        return NEITHER;
    }
    (false, is_plain)
}

/// The packet in work ended its handshake without a subflow: the other packets of its buffer find none, and are
/// stray.
#[inline(always)]
pub(super) fn strand<T: Stages>(tables: &T, work: &Work) {
    let others = u64::from(work.packet.packets) - 1;
    if others != 0 && work.route.seen.get() != 0 {
        tables.count(work.route.direction.get(), |events| {
            events.unknown_flow += others;
        });
    }
}

/// The handshake is complete: the session and its first subflow begin.
#[inline(always)]
fn complete<T: Stages>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>) {
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
    work.route.ask(next::OPEN_SESSION | next::OPEN_SUBFLOW);
}

/// A handshake is reset. Returns true if it is over.
#[inline(always)]
fn reset<T: Stages>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>, by_opener: bool) -> bool {
    let kind = entry.kind();
    if kind == Kind::Stray as u32 {
        return reset_stray(tables, work, entry, by_opener);
    }
    let is_taken = is_taken::<T>(work, entry, by_opener);
    if is_taken && kind == JOIN {
        join::reset(tables, work, entry, by_opener);
    }
    is_taken
}

/// Does the other end take the reset in work for one of this handshake (RFC 9293 sections 3.10.7.3 and 4)?
#[inline(always)]
fn is_taken<T: Stages>(work: &Work, entry: &HalfOpen<T::Memory>, by_opener: bool) -> bool {
    let packet = &work.packet;
    let flags = entry.flags.load();
    let opened = entry.isn[0].load();
    let [first, last, number] = if by_opener {
        // It has sent its SYN, and data with it.
        let next = entry.syn_acked.load();
        return packet.sequence == next || packet.sequence == opened.wrapping_add(1);
    } else if flags & half_open::ANSWERED != 0 {
        [
            entry.isn[1].load().wrapping_add(1),
            entry.next.load(),
            packet.sequence,
        ]
    } else if flags & half_open::REFUSED != 0 {
        // By a SYN/ACK whose number is not kept.
        return true;
    } else if packet.flags.any(TcpFlags::ACK) {
        [
            opened.wrapping_add(1),
            entry.syn_acked.load(),
            packet.acknowledgment,
        ]
    } else {
        return false;
    };
    number.wrapping_sub(first) <= last.wrapping_sub(first)
}

/// A flow of stray segments is reset. An answer counts, once: the entry of the flow stays for a while. Returns
/// true if it is over.
#[inline(always)]
fn reset_stray<T: Stages>(
    tables: &T,
    work: &Work,
    entry: &HalfOpen<T::Memory>,
    by_opener: bool,
) -> bool {
    let flags = entry.flags.load();
    if flags & half_open::REFUSED != 0 {
        return false;
    }
    // Who acknowledges, or has the session's key, knows the connection: it ends here.
    if by_opener
        || work.packet.flags.any(TcpFlags::ACK)
        || work.route.valid.get() & Subtype::MpFastclose.bit() != 0
    {
        return true;
    }
    // Who does not names what the segments acknowledged (RFC 9293 section 3.10.7.1).
    let first = entry.isn[1].load();
    let last = entry.next.load();
    if work.packet.sequence.wrapping_sub(first) > last.wrapping_sub(first) {
        return false;
    }
    entry.flags.or(half_open::REFUSED);
    tables.count(entry.direction(), |events| {
        if flags & half_open::CAPABLE != 0 {
            events.cookie += 1;
        } else {
            events.option_no_session += 1;
        }
        if flags & half_open::DSS != 0 {
            events.dss_no_subflow += 1;
        }
    });
    false
}

/// A segment with an option, of a flow that nobody knows. Says what it opens.
#[inline(always)]
fn stray<S: Stages>(stages: &S, work: &Work) -> Opens {
    work.route.flow.set(Flow::Unknown as u32);
    if work.route.seen.get() == 0
        || work.packet.flags.stage() != Stage::Later
        || work.packet.flags.any(TcpFlags::RST)
    {
        return None;
    }
    let n = u64::from(work.packet.packets);
    stages.count(work.route.direction.get(), |events| {
        events.unknown_flow += n;
    });
    Some((Kind::Stray, None))
}
