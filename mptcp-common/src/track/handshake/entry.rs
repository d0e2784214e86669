//! An entry of the table of handshakes: claimed, filled, answered, dropped.

use crate::{
    counter::{Direction, Role},
    packet::{Flow, Packet, Work},
    state::{HalfOpen, HandshakeFacts, HandshakeKind, Tables, WindowOffer, is_half_open_over},
    table::{self, Memory, Table, Word},
    track::{handshake::pending, release::free, segment::SLACK},
    wire::{CapableFlags, Subtype},
};

pub(crate) const CAPABLE: u32 = HandshakeKind::Capable as u32;

pub(crate) const JOIN: u32 = HandshakeKind::Join as u32;

/// Forgets the handshake of the packet in work.
#[inline(always)]
pub(crate) fn drop<S: Tables>(stages: &S, work: &Work, entry: &HalfOpen<S::Memory>) {
    free(stages, work, entry, work.route.slot.get());
    work.route.flow.set(Flow::Unknown as u32);
}

/// A place for a new handshake: a free one, one that is over, or the oldest.
#[inline(always)]
pub(crate) fn claim<S: Tables>(stages: &S, work: &Work, now: u64) -> Option<u32> {
    let limits = stages.limits();
    let free = table::claim_home(stages.half_opens(), work.route.tag.get(), |entry| {
        is_half_open_over(entry, &limits, now)
    });
    let slot = match free {
        Some(slot) => slot,
        None => {
            // The oldest, or this one.
            stages.count(work.route.direction.get(), |events| {
                events.lost_handshakes += 1;
            });
            table::evict(stages.half_opens(), work.route.tag.get(), |entry| {
                entry.created.load()
            })?
        }
    };
    let entry = stages.half_opens().slot(slot)?;
    if entry.tag.load() != 0 && entry.kind() == JOIN {
        pending::abandon(stages, entry);
    }
    Some(slot)
}

#[inline(always)]
pub(crate) fn fill<T: Tables>(
    tables: &T,
    work: &Work,
    entry: &HalfOpen<T::Memory>,
    kind: u32,
    now: u64,
) {
    entry.tag.store(0);
    entry.created.store(now);
    let mut flags = u32::from(!work.packet.sender_is_second);
    let mut key = 0;
    let mut version = 1;
    let options = work.allowed(tables);
    let mut offer = WindowOffer::NONE;
    if kind == CAPABLE {
        offer = WindowOffer::new(work.packet.window, options.window_scale());
        flags |= HandshakeFacts::SIDES_KNOWN;
        if let Some(capable) = options.capable() {
            version = u32::from(capable.version());
            if version == 0 {
                key = capable.keys()[0];
            }
            if capable.flags().any(CapableFlags::CHECKSUM_REQUIRED) {
                flags |= HandshakeFacts::CHECKSUM;
            }
            if version <= 1 && !capable.flags().can_be_answered() {
                flags |= HandshakeFacts::IGNORED;
            }
        }
    }
    // Of a stray segment: what it acknowledges, which a reset in answer would name.
    let mut acknowledged = 0;
    if kind == HandshakeKind::Stray as u32 {
        acknowledged = work.packet.acknowledgment;
        let valid = work.route.valid.get();
        if valid & Subtype::Dss.bit() != 0 {
            flags |= HandshakeFacts::DSS;
        }
        if valid & Subtype::MpCapable.bit() != 0 {
            flags |= HandshakeFacts::CAPABLE;
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

/// Remembers what a SYN/ACK says of sequence numbers, to any kind of handshake. Returns true if it came before.
#[inline(always)]
pub(crate) fn answered<T: Tables>(entry: &HalfOpen<T::Memory>, packet: &Packet) -> bool {
    let repeated = entry.flags.load() & HandshakeFacts::ANSWERED != 0
        && entry.isn[1].load() == packet.sequence;
    entry.isn[1].store(packet.sequence);
    entry.syn_acked.store(packet.acknowledgment);
    entry.next.store(packet.sequence.wrapping_add(1));
    repeated
}

/// Does this SYN/ACK acknowledge the SYN of a handshake (RFC 9293 section 3.10.7.3)? On a host, what answers a
/// SYN that came in goes out, and the other way round.
#[inline(always)]
pub(crate) fn answers<T: Tables>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>) -> bool {
    let first = entry.isn[0].load().wrapping_add(1);
    let last = entry.syn_acked.load();
    let acknowledged = work.packet.acknowledgment;
    let came_in = entry.direction() == Direction::Rx as u32;
    let is_back = tables.role() == Role::Middlebox || came_in != work.packet.ingress;
    is_back && acknowledged.wrapping_sub(first) <= last.wrapping_sub(first)
}

/// Does a segment behind the SYN/ACK belong to this handshake by its sequence number? No window is scaled yet.
#[inline(always)]
pub(crate) fn is_next<M: Memory>(work: &Work, entry: &HalfOpen<M>, by_opener: bool) -> bool {
    let first = if by_opener {
        entry.isn[0].load()
    } else {
        entry.isn[1].load()
    };
    work.packet.sequence.wrapping_sub(first).wrapping_sub(1) <= SLACK
}
