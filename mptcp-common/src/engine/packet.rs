//! The order of the stages that a packet goes through.

use crate::{
    counter::{Direction, Outcome, Role},
    engine::{count::count_dss_segment, stages::Stages},
    packet::{Flow, Next, Work},
    state::{CHUNKS, HandshakeFacts, SubflowFacts, Tables},
    table::{Table, Word},
    track,
    wire::{Stage, Subtype},
};

/// Counts the packet in work, which was located and whose options were found, and says which leaf
/// it belongs to: [`Outcome::Tcp`] or [`Outcome::Mptcp`]. Without tracking no table is touched.
///
/// `sum` sets [`Work::payload_sum`], to that of the whole segment if it gets true; it is called if a checksum needs
/// it.
#[inline(always)]
pub fn packet<S: Stages>(stages: &S, is_tracking: bool, sum: impl Fn(bool)) -> Outcome {
    let work = stages.work();
    let route = &work.route;
    let seen = route.seen.get();
    let flow = stages.opaque(route.flow.get());
    if seen == 0 && flow == Flow::UNKNOWN {
        return Outcome::Tcp;
    }
    let is_syn = work.packet.flags.stage() == Stage::Syn;
    let is_beginning = work.packet.flags.stage() != Stage::Later;
    if is_tracking && is_syn && seen & Subtype::MpJoin.bit() != 0 {
        stages.lookup_join();
    }
    if is_tracking && (flow == Flow::HALF_OPEN || (flow == Flow::SUBFLOW && is_beginning)) {
        stages.find_handshake();
    } else {
        route.tag.set(work.tag);
    }
    if is_tracking && flow == Flow::SUBFLOW && track::needs_choice(stages, work) {
        stages.choose();
    }
    direct(stages, work, flow);
    if seen == 0 {
        route.valid.set(0);
    } else if route.is_dss_alone.get() != 0 {
        let mut events = stages.events(route.direction.get());
        count_dss_segment(&work.packet, &work.dss, &mut events);
        route.valid.set(seen);
    } else {
        stages.examine();
    }
    if !is_tracking {
        return Outcome::Mptcp;
    }
    route.next.set(0);
    if flow != Flow::UNKNOWN && track::ends(stages, work) {
        sum(true);
        if !work.is_intact() {
            stages.count(route.direction.get(), |events| events.not_taken += 1);
            return if seen == 0 {
                Outcome::Tcp
            } else {
                Outcome::Mptcp
            };
        }
    }
    if stages.opaque(flow) != Flow::SUBFLOW || is_beginning {
        shake_hands(stages, work);
    }
    // Also one that the handshake has just made.
    if route.flow.get() == Flow::SUBFLOW && !track::take_fast_path(stages, work) {
        follow(stages, work, sum);
    }
    if seen == 0 {
        Outcome::Tcp
    } else {
        Outcome::Mptcp
    }
}

/// A packet of a handshake, and what it makes.
#[inline(always)]
fn shake_hands<S: Stages>(stages: &S, work: &Work) {
    let route = &work.route;
    stages.handshake();
    if route.next.get() & Next::OPEN_HANDSHAKE != 0 {
        stages.open_handshake();
    }
    if route.next.get() & Next::VERIFY_JOIN != 0 {
        stages.verify_join();
    }
    if route.next.get() & Next::OPEN_SESSION != 0 {
        stages.open_session();
    }
    if route.next.get() & Next::OPEN_SUBFLOW != 0 {
        stages.open_subflow();
    }
}

/// A packet of a subflow that takes the slow path.
#[inline(always)]
fn follow<S: Stages>(stages: &S, work: &Work, sum: impl Fn(bool)) {
    let route = &work.route;
    stages.established();
    if route.next.get() & Next::ACCEPT != 0 && !take(stages, work) {
        return;
    }
    let mut asked = route.next.get();
    if asked & (Next::MAPPED_RANGES | Next::SENT_RANGES | Next::RUNS) != 0 {
        stages.insert_ranges();
    }
    if asked & Next::CHECKSUM != 0 {
        sum(false);
        stages.checksum();
        asked = route.next.get();
    }
    if asked & Next::SIGNALS != 0 {
        stages.signals();
        asked = route.next.get();
    }
    if asked & Next::CLOSE != 0 {
        stages.close();
    }
}

/// A segment that is not the next of its subflow. Returns false if that is all.
#[inline(always)]
fn take<S: Stages>(stages: &S, work: &Work) -> bool {
    const OPENS: u32 = Subtype::MpCapable.bit() | Subtype::MpJoin.bit();
    let route = &work.route;
    // Past a router, what completes a handshake is of that, whatever the windows of another subflow take.
    let completes = stages.role() == Role::Middlebox && route.seen.get() & OPENS != 0;
    if !completes && accepts(stages, work) {
        return true;
    }
    if stages.role() == Role::Middlebox {
        stages.find_handshake();
        if route.flow.get() == Flow::HALF_OPEN {
            route.next.set(Next::TWIN);
            shake_hands(stages, work);
            if route.flow.get() != Flow::SUBFLOW {
                return false;
            }
            stages.established();
            return true;
        }
    }
    if completes && accepts(stages, work) {
        return true;
    }
    stages.refuse();
    true
}

/// Follows a segment, if its receiver takes it; returns false if not.
#[inline(always)]
fn accepts<S: Stages>(stages: &S, work: &Work) -> bool {
    stages.accept();
    let is_accepted = work.route.next.get() & Next::ACCEPTED != 0;
    if is_accepted {
        stages.established();
    }
    is_accepted
}

/// Inserts what was mapped and what was sent into sets that have more ranges than their session has room for. Then looks
/// for what was sent again in the runs of its subflow, and puts one in the pool that finds no place there any more.
#[inline(always)]
pub fn insert_ranges(stages: &impl Stages) {
    let work = stages.work();
    for _ in 0..2 * track::ATTEMPTS {
        if work.route.next.get() & (Next::MAPPED_RANGES | Next::SENT_RANGES) == 0 {
            break;
        }
        stages.find_ranges();
        for _ in 0..CHUNKS {
            if !work.range_search.has_chunks() {
                break;
            }
            stages.walk_chunk();
        }
        stages.insert_range();
    }
    if work.route.next.get() & Next::RUNS == 0 {
        return;
    }
    stages.find_runs();
    for _ in 0..CHUNKS {
        if !work.search.has_chunks() {
            break;
        }
        stages.walk_runs();
    }
    stages.count_runs();
}

/// The direction of a packet that this side of its session sent, if that is known.
///
/// On a host, what comes in was received. On a middlebox, what the session's initiator sends was
/// received.
#[inline(always)]
pub fn direction(role: Role, ingress: bool, side: Option<u32>) -> Direction {
    match (role, side) {
        (Role::Host, _) if ingress => Direction::Rx,
        (Role::Host, _) => Direction::Tx,
        (Role::Middlebox, Some(0)) => Direction::Rx,
        (Role::Middlebox, Some(_)) => Direction::Tx,
        (Role::Middlebox, None) => Direction::Unknown,
    }
}

/// Finds the packet's side and direction. Of a packet without a session nothing is known but what its SYN
/// says.
#[inline(always)]
fn direct(tables: &impl Tables, work: &Work, flow: u32) {
    let second = u32::from(work.packet.sender_is_second);
    let stage = work.packet.flags.stage();
    let capable = work.route.seen.get() & Subtype::MpCapable.bit() != 0;
    let side = match flow {
        Flow::SUBFLOW => tables
            .subflows()
            .slot(work.route.slot.get())
            .map(|entry| (entry.flags.load() & SubflowFacts::FIRST_IS_LISTENER) ^ second),
        Flow::HALF_OPEN => tables
            .half_opens()
            .slot(work.route.slot.get())
            .and_then(|entry| {
                let flags = entry.flags.load();
                let responds = (flags & HandshakeFacts::OPENER_IS_FIRST) ^ 1 ^ second;
                let opener_listens = u32::from(flags & HandshakeFacts::OPENER_LISTENS != 0);
                (flags & HandshakeFacts::SIDES_KNOWN != 0).then_some(responds ^ opener_listens)
            }),
        _ => None,
    };
    let side = match (stage, side) {
        // A new connection on the addresses of an old one.
        (Stage::Syn, _) if capable => Some(0),
        (Stage::Syn, _) if work.route.session.get() != 0 => Some(work.route.side.get()),
        (Stage::Syn, _) => None,
        (Stage::SynAck, None) if capable => Some(1),
        (_, side) => side,
    };
    let direction = direction(tables.role(), work.packet.ingress, side);
    work.route.side.set(side.unwrap_or(0));
    work.route.direction.set(direction as u32);
}
