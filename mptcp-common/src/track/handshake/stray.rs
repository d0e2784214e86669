//! Options on flows that nobody knows.

use crate::{
    packet::{Flow, Work},
    state::{HalfOpen, HandshakeFacts, HandshakeKind, Tables},
    table::Word,
    wire::{Stage, Subtype, TcpFlags},
};

/// A kind of entry to open, and the slot if it takes one that the flow has.
pub(crate) type Opens = Option<(HandshakeKind, Option<u32>)>;

/// A segment with an option, of a flow that nobody knows. Says what it opens.
#[inline(always)]
pub(crate) fn stray<S: Tables>(stages: &S, work: &Work) -> Opens {
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
    Some((HandshakeKind::Stray, None))
}

/// A flow of stray segments is reset. An answer counts, once: the entry of the flow stays for a while. Returns
/// true if it is over.
#[inline(always)]
pub(crate) fn reset_stray<T: Tables>(
    tables: &T,
    work: &Work,
    entry: &HalfOpen<T::Memory>,
    by_opener: bool,
) -> bool {
    let flags = entry.flags.load();
    if flags & HandshakeFacts::REFUSED != 0 {
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
    entry.flags.or(HandshakeFacts::REFUSED);
    tables.count(entry.direction(), |events| {
        if flags & HandshakeFacts::CAPABLE != 0 {
            events.cookie += 1;
        } else {
            events.option_no_session += 1;
        }
        if flags & HandshakeFacts::DSS != 0 {
            events.dss_no_subflow += 1;
        }
    });
    false
}
