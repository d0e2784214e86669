//! The kernel side: parse the headers of a frame, let the engine count, pass the frame.
//!
//! Three programs, and three for interfaces that are attached together; one body. What is decided about MPTCP is
//! decided in `mptcp-common`; here are only the access to frames ([`frame`]) and the tables ([`kernel`], over [`maps`]).
//!
//! No path changes or drops a packet: XDP programs return `XDP_PASS`, TC programs
//! `TC_ACT_UNSPEC`, which lets the programs behind them in a TCX chain run (`TC_ACT_OK` would not).

#![no_std]
#![no_main]
#![expect(
    unstable_features,
    reason = "inline assembly and atomics for the eBPF target are unstable"
)]
#![expect(
    internal_features,
    reason = "the target has the instructions, and core::sync::atomic does not know it"
)]
#![feature(asm_experimental_arch, core_intrinsics)]

mod frame;
mod kernel;
mod maps;
mod memory;
mod object;
mod verifier;

use aya_ebpf::{
    bindings::{TC_ACT_UNSPEC, xdp_action::XDP_PASS},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use aya_log_ebpf::macro_support::{Level, level_enabled};
use mptcp_common::{
    counter::{Counters, Direction, DirectionCounters, Outcome, Passed, Protocol},
    engine,
    packet::{self, Buffer, DssSegment, FrameClass},
    state,
    track::{self, FastPath},
    wire::Subtype,
};

use crate::{
    frame::{Bytes, InPlace, Skb, Xdp},
    kernel::Kernel,
    verifier::Verifier,
};

/// Ingress of a device whose driver runs XDP, or of any device in generic mode.
#[xdp(frags)]
#[inline(always)]
fn xdp_ingress(ctx: XdpContext) -> u32 {
    observe::<_, false>(&InPlace(Xdp(ctx)), true);
    XDP_PASS
}

/// Ingress as [`xdp_ingress`], for several interfaces, all with an Ethernet header.
#[xdp(frags)]
#[inline(always)]
fn xdp_ingress_set(ctx: XdpContext) -> u32 {
    observe::<_, true>(&InPlace(Xdp(ctx)), true);
    XDP_PASS
}

/// Ingress where XDP cannot be had.
#[classifier]
#[inline(always)]
fn tc_ingress(ctx: TcContext) -> i32 {
    observe::<_, false>(&InPlace(Skb(ctx)), true);
    TC_ACT_UNSPEC
}

/// Ingress as [`tc_ingress`], for several interfaces.
#[classifier]
#[inline(always)]
fn tc_ingress_set(ctx: TcContext) -> i32 {
    observe::<_, true>(&InPlace(Skb(ctx)), true);
    TC_ACT_UNSPEC
}

/// Egress.
#[classifier]
#[inline(always)]
fn tc_egress(ctx: TcContext) -> i32 {
    observe::<_, false>(&InPlace(Skb(ctx)), false);
    TC_ACT_UNSPEC
}

/// Egress for several interfaces.
#[classifier]
#[inline(always)]
fn tc_egress_set(ctx: TcContext) -> i32 {
    observe::<_, true>(&InPlace(Skb(ctx)), false);
    TC_ACT_UNSPEC
}

/// Counts one frame.
///
/// The order is a promise to readers (see `Counters`): `frames`, then events, then the leaf. Programs of a `SET` run
/// on several interfaces with a link-layer header.
#[inline(always)]
fn observe<B: Bytes, const SET: bool>(frame: &InPlace<B>, ingress: bool) {
    let Some(counters) = counters::<B, SET>(frame) else {
        return;
    };
    let mut buffer = frame.0.buffer(ingress);
    let shape = if !SET && maps::is_layer_3() {
        // Instructions that nothing else leads to: the verifier removes them, and the comparison with them.
        verifier::barrier();
        FrameClass::Layer3
    } else {
        packet::classify(frame, || buffer.is_uncounted(), maps::is_untracked)
    };
    if let FrameClass::Done(passed) = shape {
        return pass_at_once(counters, passed, &buffer);
    }
    if let FrameClass::NotTcp(protocol) = shape {
        return pass(counters, protocol.into(), &buffer);
    }
    // Others, to the compiler: what they are kept in from here on is no matter of the packets that are done.
    let frame = &InPlace(frame.0.hidden());
    let counters = verifier::hidden(counters);
    let is_tracking = maps::is_tracking();
    // Twice, since each needs but a part of what is read. Neither logs.
    let is_logging = level_enabled(Level::Debug);
    let secrets = Some(&maps::Loaded);
    if !is_logging && is_tracking {
        if let Some(data) = packet::read_dss_in_place(frame, shape, &buffer, true, secrets) {
            if count_fast_path(counters, ingress, &data) {
                return;
            }
        } else if let Some(ack) = packet::read_ack_in_place(frame, shape, &buffer, secrets)
            && count_fast_path(counters, ingress, &ack)
        {
            return;
        }
    } else if !is_logging
        && let Some(alone) =
            packet::read_dss_in_place(frame, shape, &buffer, false, None::<&maps::Loaded>)
    {
        let events = begin(counters, ingress, None);
        engine::count_dss_segment(&alone.packet, &alone.dss, events);
        return end(counters);
    }
    let verifier = Verifier::of(counters.frames);
    let found = packet::find_tcp(frame, &verifier, shape, maps::work);
    let (header, work) = match found {
        Ok(found) => found,
        Err(passed) => return pass(counters, passed, &buffer),
    };
    buffer.queue = frame.0.queue();
    buffer.segment_size = frame.0.segment_size();
    let kernel = Kernel::with(counters, work, verifier);
    let parsed = engine::parse(frame, &kernel, is_tracking, &mut buffer, &header, work);
    if let Err(leaf) = parsed {
        return pass(counters, leaf.into(), &buffer);
    }
    counters.frames += u64::from(work.packet.packets);
    verifier::barrier();
    if !engine::find_common(work, &kernel) {
        if is_tracking {
            state::prefetch(work, &kernel);
        }
        kernel::walk();
    }
    let leaf = engine::packet(&kernel, maps::is_tracking(), |is_segment| {
        frame.0.sum_payload(is_segment);
    });
    if leaf == Outcome::Mptcp {
        if work.route.seen.get() != Subtype::Dss.bit() {
            maps::wipe(&mut work.area);
        }
        if is_logging {
            kernel::log();
        }
    }
    verifier::barrier();
    counters.leaves.add(leaf, work.packet.packets.into());
}

/// The counters of a frame's interface.
#[inline(always)]
fn counters<B: Bytes, const SET: bool>(frame: &InPlace<B>) -> Option<&'static mut Counters> {
    if SET {
        maps::counters_of(frame.0.interface())
    } else {
        maps::counters()
    }
}

/// Counts a segment that [`track::fast_path`] knows; false if it does not.
#[inline(always)]
fn count_fast_path(counters: &mut Counters, ingress: bool, lone: &DssSegment) -> bool {
    let verifier = Verifier::of(counters.frames);
    let Some(work) = maps::work() else {
        return false;
    };
    let kernel = Kernel::with(counters, work, verifier);
    let taken = track::fast_path(&kernel, &lone.packet, &lone.dss, lone.tag);
    if taken == FastPath::NOT {
        return false;
    }
    let events = begin(counters, ingress, Some(taken.side()));
    track::count_fast_path(&lone.packet, &lone.dss, taken, events);
    end(counters);
    true
}

/// Begins to count a [`DssSegment`] segment that this side of its session sent, if that is known: where its events
/// belong.
#[inline(always)]
fn begin(counters: &mut Counters, ingress: bool, side: Option<u32>) -> &mut DirectionCounters {
    counters.frames += 1;
    verifier::barrier();
    match engine::direction(maps::role(), ingress, side) {
        Direction::Rx => &mut counters.rx,
        Direction::Tx => &mut counters.tx,
        Direction::Unknown => &mut counters.unknown,
    }
}

/// Ends it.
#[inline(always)]
fn end(counters: &mut Counters) {
    verifier::barrier();
    counters.leaves.add(Outcome::Mptcp, 1);
}

/// Counts a frame that [`packet::judge`] says is done. Each by itself: a place that is known takes less than one that
/// is computed.
#[inline(always)]
fn pass_at_once(counters: &mut Counters, passed: Passed, buffer: &Buffer) {
    macro_rules! each {
        ($($protocol:ident)+) => {
            match passed {
                Passed { leaf: Outcome::Tcp, .. } => pass(counters, Outcome::Tcp.into(), buffer),
                $(
                    Passed { protocol: Protocol::$protocol, .. } => {
                        pass(counters, Protocol::$protocol.into(), buffer);
                    }
                )+
                passed => pass(counters, passed, buffer),
            }
        };
    }
    each!(
        UDP ICMPV6 IPIP IPV6_IN_IP GRE ESP VXLAN GENEVE GTP_U ARP MPLS QINQ MACSEC PPPOE_DISCOVERY SNAP LLC LINK_CONTROL
        OTHER_ETHERTYPE
    );
}

/// Counts a frame that is done.
#[inline(always)]
fn pass(counters: &mut Counters, passed: Passed, buffer: &Buffer) {
    let packets = if buffer.is_uncounted() {
        // So that this is no value that is chosen, which takes an instruction more.
        core::intrinsics::cold_path();
        verifier::barrier();
        1
    } else {
        buffer.packets.into()
    };
    counters.frames += packets;
    verifier::barrier();
    counters.protocols.add(passed.protocol, packets);
    verifier::barrier();
    counters.leaves.add(passed.leaf, packets);
}
