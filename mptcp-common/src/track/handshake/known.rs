//! Packets of a handshake that is known, and what decides which handshake a packet is of.

use crate::{
    packet::{Flow, Next, Work},
    state::{HalfOpen, HandshakeFacts, HandshakeKind, Tables, is_half_open_over},
    table::{Table, Word},
    track::{
        handshake::{
            begin::{begins, syn},
            capable::{later, syn_ack},
            entry::{CAPABLE, JOIN, answers, drop},
            join, pending,
            stray::{Opens, reset_stray, stray},
        },
        release::count_rest,
    },
    wire::{Stage, TcpFlags, after},
};

/// A packet of a flow that has no established subflow, a SYN or a SYN/ACK.
#[inline(always)]
pub fn handshake<S: Tables>(stages: &S, work: &Work) {
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
        work.route.opens.set(kind as u32);
        work.route.handshake.set(present.map_or(0, |slot| slot + 1));
        work.route.ask(Next::OPEN_HANDSHAKE);
    }
}

/// What is no SYN: a packet of a handshake that is known, or complete, or a stray segment. Says what it opens.
#[inline(always)]
fn known<S: Tables>(stages: &S, work: &Work) -> Opens {
    let stage = work.packet.flags.stage();
    if work.route.flow.get() != Flow::HalfOpen as u32 {
        return stray(stages, work);
    }
    let entry = stages.half_opens().slot(work.route.slot.get())?;
    let tag = work.route.tag.get();
    if entry.tag.load() != tag || is_half_open_over(entry, &stages.limits(), stages.now()) {
        if entry.tag.load() == tag && entry.kind() == JOIN {
            pending::abandon(stages, entry);
        }
        entry.flags.and(!HandshakeFacts::RIVALED);
        drop(stages, work, entry);
        return stray(stages, work);
    }
    let first = entry.flags.load() & HandshakeFacts::OPENER_IS_FIRST != 0;
    let by_opener = first != work.packet.sender_is_second;
    let kind = stages.opaque(entry.kind());
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
    if stages.opaque(is_over.into()) != 0 {
        drop(stages, work, entry);
        count_rest(stages, work);
    }
    None
}

/// A handshake is reset. Returns true if it is over.
#[inline(always)]
fn reset<T: Tables>(tables: &T, work: &Work, entry: &HalfOpen<T::Memory>, by_opener: bool) -> bool {
    let kind = entry.kind();
    if kind == HandshakeKind::Stray as u32 {
        return reset_stray(tables, work, entry, by_opener);
    }
    let is_taken = is_taken::<T>(work, entry, by_opener);
    if is_taken && kind == JOIN {
        join::reset(tables, work, entry, by_opener);
    }
    is_taken
}

/// Returns true if the other end takes the reset in work for one of this handshake (RFC 9293 sections 3.10.7.3 and 4).
#[inline(always)]
fn is_taken<T: Tables>(work: &Work, entry: &HalfOpen<T::Memory>, by_opener: bool) -> bool {
    let packet = &work.packet;
    let flags = entry.flags.load();
    let opened = entry.isn[0].load();
    let [first, last, number] = if by_opener {
        // It has sent its SYN, and data with it.
        let next = entry.syn_acked.load();
        return packet.sequence == next || packet.sequence == opened.wrapping_add(1);
    } else if flags & HandshakeFacts::ANSWERED != 0 {
        [
            entry.isn[1].load().wrapping_add(1),
            entry.next.load(),
            packet.sequence,
        ]
    } else if flags & HandshakeFacts::REFUSED != 0 {
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
