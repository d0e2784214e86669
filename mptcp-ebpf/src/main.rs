//! The kernel side: gather the headers of a frame, let the engine count, pass the frame.
//!
//! Three programs, one body. What is decided about MPTCP is decided in `mptcp-common`; here are
//! only the access to frames ([`frame`]) and the tables ([`tables`], [`memory`], [`stages`]).
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
mod memory;
mod object;
mod stages;
mod tables;

use aya_ebpf::{
    bindings::{TC_ACT_UNSPEC, xdp_action::XDP_PASS},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use mptcp_common::{
    counter::{Counters, Direction, Leaf},
    engine::{self, Packet},
    gather::{self, Buffer},
    wire::{DssFields, Subtype, TcpFlags},
};

use crate::{
    frame::{Bytes, InPlace, Skb, Xdp},
    tables::{Kernel, Verifier},
};

/// Ingress of a device whose driver runs XDP, or of any device in generic mode.
#[xdp(frags)]
pub fn xdp_ingress(ctx: XdpContext) -> u32 {
    observe(&InPlace(Xdp(ctx)), true);
    XDP_PASS
}

/// Ingress where XDP cannot be had.
#[classifier]
pub fn tc_ingress(ctx: TcContext) -> i32 {
    observe(&InPlace(Skb(ctx)), true);
    TC_ACT_UNSPEC
}

/// Egress.
#[classifier]
pub fn tc_egress(ctx: TcContext) -> i32 {
    observe(&InPlace(Skb(ctx)), false);
    TC_ACT_UNSPEC
}

/// Counts one frame.
///
/// The order is a promise to readers (see `Counters`): `frames`, then events, then the leaf.
#[inline(always)]
fn observe<B: Bytes>(frame: &InPlace<B>, ingress: bool) {
    let Some(counters) = tables::counters() else {
        return;
    };
    let is_uncounted = || frame.0.buffer(ingress).is_uncounted();
    let shape = gather::judge(
        frame,
        tables::is_layer_3(),
        is_uncounted,
        tables::is_strange,
    );
    let mut buffer = frame.0.buffer(ingress);
    if let Some(leaf) = shape.leaf() {
        return pass(counters, leaf, &buffer);
    }
    if !tables::is_tracking()
        && let Some((packet, dss)) = gather::peek_dss(frame, shape, &buffer)
    {
        return count_dss(counters, frame, ingress, &packet, &dss);
    }
    let verifier = Verifier::of(counters.frames);
    let found = gather::find_tcp(frame, &verifier, shape, tables::work);
    let (header, work) = match found {
        Ok(found) => found,
        Err(leaf) => return pass(counters, leaf, &buffer),
    };
    buffer.queue = frame.0.queue();
    let kernel = Kernel::with(counters, work, verifier);
    let is_tracking = tables::is_tracking();
    let gathered = gather::gather(frame, &kernel, is_tracking, &mut buffer, &header, work);
    if let Err(leaf) = gathered {
        return pass(counters, leaf, &buffer);
    }
    counters.frames += u64::from(work.packet.packets);
    tables::barrier();
    if !engine::find_common(work, &kernel) {
        stages::walk();
    }
    let leaf = engine::packet(&kernel, tables::is_tracking(), || frame.0.sum_payload());
    if leaf == Leaf::Mptcp {
        if work.route.seen.get() != Subtype::Dss.bit() {
            tables::wipe(&mut work.area);
        }
        tell(frame, &work.packet);
    }
    tables::barrier();
    counters.leaves.add(leaf, work.packet.packets.into());
}

/// Counts a segment whose options are a lone DSS, by itself.
#[inline(always)]
fn count_dss<B: Bytes>(
    counters: &mut Counters,
    frame: &InPlace<B>,
    ingress: bool,
    packet: &Packet,
    dss: &DssFields,
) {
    let packets = u64::from(packet.packets);
    counters.frames += packets;
    tables::barrier();
    let events = match engine::direction(tables::role(), ingress, None) {
        Direction::Rx => &mut counters.rx,
        Direction::Tx => &mut counters.tx,
        Direction::Unknown => &mut counters.unknown,
    };
    engine::count_lone_dss(packet, dss, events);
    tell(frame, packet);
    tables::barrier();
    counters.leaves.add(Leaf::Mptcp, packets);
}

/// Logs a packet, where somebody wants that.
#[inline(always)]
fn tell<B: Bytes>(frame: &InPlace<B>, packet: &Packet) {
    // Copies, or the packet has to be in memory.
    let Packet {
        flags: TcpFlags(flags),
        options,
        payload,
        packets,
        ..
    } = *packet;
    aya_log_ebpf::debug!(
        frame.0.context(),
        "MPTCP: TCP flags {}, {} option bytes, {} bytes of payload in {} packets",
        flags,
        options,
        payload,
        packets
    );
}

/// Counts a frame that is done.
#[inline(always)]
fn pass(counters: &mut Counters, leaf: Leaf, buffer: &Buffer) {
    let packets = buffer.count();
    counters.frames += packets;
    tables::barrier();
    counters.leaves.add(leaf, packets);
}
