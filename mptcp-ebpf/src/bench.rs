//! For `cargo xtask bench`: makes one frame the packets of many sessions.
//!
//! The kernel runs such a program many times over one frame (BPF_PROG_TEST_RUN). Each run writes
//! what makes the frame the next packet of the next session, and ends in a tail call of the program
//! that is measured, or of one that does nothing. The difference is what the program costs.

#![no_std]
#![no_main]

mod object;
mod step;

use aya_ebpf::{
    bindings::{
        TC_ACT_SHOT, TC_ACT_UNSPEC,
        xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX},
    },
    helpers::generated::{bpf_ktime_get_ns, bpf_xdp_load_bytes},
    macros::{classifier, map, xdp},
    maps::{Array, LruHashMap, ProgramArray},
    programs::{TcContext, XdpContext},
};

use crate::step::{Record, Step, writes};

#[map]
static STEP: Array<Step> = Array::with_max_entries(1, 0);
/// Read in turn, so that the processor fetches ahead; whose places in the probe's tables these
/// sessions have is up to a keyed hash.
#[map]
static RECORDS: Array<Record> = Array::with_max_entries(1, 0);
/// At [`NOTHING`] a program that does nothing, at [`MEASURED`] the one that is measured.
#[map]
static XDP_PROGRAMS: ProgramArray = ProgramArray::with_max_entries(2, 0);
#[map]
static TC_PROGRAMS: ProgramArray = ProgramArray::with_max_entries(2, 0);
/// Those for ingress.
#[map]
static TC_INGRESS_PROGRAMS: ProgramArray = ProgramArray::with_max_entries(2, 0);
/// Whether what is measured runs behind the switches: 1 or 0.
#[map]
static SWITCH: Array<u32> = Array::with_max_entries(1, 0);
/// Cache lines, more than the caches hold.
#[map]
static LINES: Array<[u64; 8]> = Array::with_max_entries(1 << LINES_BITS, 0);
/// Packets by flow.
#[map]
static FLOWS: LruHashMap<[u32; 3], u64> = LruHashMap::with_max_entries(8192, 0);
const LINES_BITS: u32 = 21;
/// Packets with an MPTCP option.
#[map]
static OPTIONS: Array<u64> = Array::with_max_entries(1, 0);

const NOTHING: u32 = 0;
const MEASURED: u32 = 1;

#[xdp(frags)]
fn xdp_feed(ctx: XdpContext) -> u32 {
    // SAFETY: nothing here has to be dropped. An index that is known makes the call a jump.
    unsafe {
        if make(&Frame::of_xdp(&ctx)) {
            XDP_PROGRAMS.tail_call(&ctx, MEASURED);
        } else {
            XDP_PROGRAMS.tail_call(&ctx, NOTHING);
        }
    }
    XDP_ABORTED
}

#[classifier]
fn tc_feed(ctx: TcContext) -> i32 {
    // SAFETY: as above.
    unsafe {
        if make(&Frame::of_skb(&ctx)) {
            TC_PROGRAMS.tail_call(&ctx, MEASURED);
        } else {
            TC_PROGRAMS.tail_call(&ctx, NOTHING);
        }
    }
    TC_ACT_SHOT
}

/// On an interface: what is measured or what does nothing, as is said while it runs.
#[xdp(frags)]
fn xdp_switch(ctx: XdpContext) -> u32 {
    // SAFETY: as above.
    unsafe {
        if is_switched() {
            XDP_PROGRAMS.tail_call(&ctx, MEASURED);
        } else {
            XDP_PROGRAMS.tail_call(&ctx, NOTHING);
        }
    }
    XDP_PASS
}

#[classifier]
fn tc_switch(ctx: TcContext) -> i32 {
    switch(&ctx, &TC_PROGRAMS)
}

#[classifier]
fn tc_ingress_switch(ctx: TcContext) -> i32 {
    switch(&ctx, &TC_INGRESS_PROGRAMS)
}

#[inline(always)]
fn switch(ctx: &TcContext, programs: &'static ProgramArray) -> i32 {
    // SAFETY: as above.
    unsafe {
        if is_switched() {
            programs.tail_call(ctx, MEASURED);
        } else {
            programs.tail_call(ctx, NOTHING);
        }
    }
    TC_ACT_UNSPEC
}

#[inline(always)]
fn is_switched() -> bool {
    SWITCH.get(0).is_some_and(|switch| *switch != 0)
}

/// Makes the frame the next packet, and sends it from the interface that it is said to be of.
#[xdp(frags)]
fn xdp_send(ctx: XdpContext) -> u32 {
    make(&Frame::of_xdp(&ctx));
    XDP_TX
}

#[xdp(frags)]
fn xdp_drop(_: XdpContext) -> u32 {
    XDP_DROP
}

#[xdp(frags)]
fn xdp_nothing(_: XdpContext) -> u32 {
    XDP_PASS
}

#[classifier]
fn tc_nothing(_: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// What no table can beat that finds an entry by another: two cache lines out of memory, the second
/// known by the first alone.
#[xdp(frags)]
fn xdp_lines(ctx: XdpContext) -> u32 {
    if let Some(address) = Frame::of_xdp(&ctx).get::<u32>(SOURCE) {
        let hash = u64::from(address.swap_bytes()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = |bits: u64| (bits >> (64 - LINES_BITS)) as u32;
        // All lines are zero, which only who has read them knows.
        if let Some(first) = LINES.get(place(hash))
            && let Some(second) = LINES.get_ptr_mut(place(hash << 20).wrapping_add(first[0] as u32))
        {
            // SAFETY: a place of the map; nobody else runs this.
            unsafe { (*second)[1] = (*second)[1].wrapping_add(1) };
        }
    }
    XDP_PASS
}

/// What tracking costs at least with the kernel's own table: one lookup by addresses and ports.
#[xdp(frags)]
fn xdp_lookup(ctx: XdpContext) -> u32 {
    if let Some(key) = Frame::of_xdp(&ctx).get::<[u32; 3]>(SOURCE) {
        match FLOWS.get_ptr_mut(&key) {
            // SAFETY: a place of the map; nobody else runs this.
            Some(packets) => unsafe { *packets = (*packets).wrapping_add(1) },
            None => {
                // Were it full, others would give way.
                let _ = FLOWS.insert(&key, &1, 0);
            }
        }
    }
    XDP_PASS
}

/// What a program does that copies headers and each option out of the frame by the helper, wherever they lie: it
/// looks for an MPTCP option, and counts the packet if it finds one.
#[xdp(frags)]
fn xdp_walk(ctx: XdpContext) -> u32 {
    if has_option(&ctx).unwrap_or(false)
        && let Some(packets) = OPTIONS.get_ptr_mut(0)
    {
        // SAFETY: a place of the map; nobody else runs this.
        unsafe { *packets = (*packets).wrapping_add(1) };
    }
    XDP_PASS
}

#[inline(always)]
fn has_option(ctx: &XdpContext) -> Option<bool> {
    const MPTCP: u8 = 30;
    let ethernet: [u16; 7] = copy(ctx, 0)?;
    let ip: [u8; 20] = copy(ctx, 14)?;
    if ethernet[6] != 0x0800_u16.to_be() || ip[9] != 6 {
        return None;
    }
    let mut at = 14 + u32::from(ip[0] & 15) * 4;
    let tcp: [u8; 20] = copy(ctx, at)?;
    let end = at + u32::from(tcp[12] >> 4) * 4;
    at += 20;
    for _ in 0..40 {
        if at >= end {
            break;
        }
        let [kind, length]: [u8; 2] = copy(ctx, at)?;
        match kind {
            0 => break,
            1 => at += 1,
            MPTCP => return Some(true),
            _ if length < 2 => break,
            _ => at += u32::from(length),
        }
    }
    Some(false)
}

#[inline(always)]
fn copy<T: Copy + Default>(ctx: &XdpContext, at: u32) -> Option<T> {
    let mut value = T::default();
    let to = (&raw mut value).cast();
    // SAFETY: as many bytes as there are in T, of which any are valid.
    (unsafe { bpf_xdp_load_bytes(ctx.ctx, at, to, size_of::<T>() as u32) } == 0).then_some(value)
}

const SOURCE: usize = 26;
const DESTINATION: usize = 30;
const SEQUENCE: usize = 38;
const ACKNOWLEDGMENT: usize = 42;
/// Behind Ethernet, IPv4, TCP, a timestamp with its NOPs, and the first four bytes of an option.
const FIRST: usize = 70;
const SECOND: usize = 78;
const THIRD: usize = 86;
const CHECKSUM: usize = 92;

struct Frame {
    start: usize,
    end: usize,
}

impl Frame {
    #[inline(always)]
    fn of_xdp(ctx: &XdpContext) -> Self {
        Self {
            start: ctx.data(),
            end: ctx.data_end(),
        }
    }

    #[inline(always)]
    fn of_skb(ctx: &TcContext) -> Self {
        Self {
            start: ctx.data(),
            end: ctx.data_end(),
        }
    }

    #[inline(always)]
    fn get<T: Copy>(&self, at: usize) -> Option<T> {
        // SAFETY: inside of the frame, as is compared before.
        (self.start + at + size_of::<T>() <= self.end)
            .then(|| unsafe { *((self.start + at) as *const T) })
    }

    #[inline(always)]
    fn put<T>(&self, at: usize, value: T) {
        if self.start + at + size_of::<T>() <= self.end {
            // SAFETY: inside of the frame, as just compared. One store of as many bytes as the
            // program behind loads, so that it need not wait for it.
            unsafe { *((self.start + at) as *mut T) = value };
        }
    }
}

/// Makes the frame the next packet, and says whether the program that is measured gets it.
#[inline(always)]
fn make(frame: &Frame) -> bool {
    let Some(step) = STEP.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: a value of the map; nobody else runs this.
    let step = unsafe { &mut *step };
    step.made += 1;
    if step.made == 1 {
        step.first_at = now();
    } else if step.made == step.packets {
        step.last_at = now();
    }
    if step.writes != 0 {
        write(frame, step);
    }
    step.is_measured != 0
}

fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn write(frame: &Frame, step: &mut Step) {
    let round = step.round;
    let Some(record) = RECORDS.get(step.records + step.next) else {
        return;
    };
    step.next += 1;
    if step.next >= step.sessions {
        step.next = 0;
        step.round += 1;
    }
    if step.writes & writes::SOURCE != 0 {
        frame.put(SOURCE, record.address.to_be());
    } else {
        frame.put(DESTINATION, record.address.to_be());
    }
    let (start, stride) = (&step.start, &step.stride);
    let moved = |start: u32, stride: u32| start.wrapping_add(round.wrapping_mul(stride));
    let sequence = moved(start.sequence, stride.sequence);
    let acknowledgment = moved(start.acknowledgment, stride.acknowledgment);
    frame.put(SEQUENCE, sequence.to_be());
    frame.put(ACKNOWLEDGMENT, acknowledgment.to_be());
    let far = |round: u32, start: u32, stride: u32| {
        u64::from(start) + u64::from(round) * u64::from(stride)
    };
    let mapped = match step.parts {
        0 => round,
        parts => round - round % parts,
    };
    let first = record
        .first
        .wrapping_add(far(round, start.first, stride.first));
    let second = record
        .second
        .wrapping_add(far(mapped, start.second, stride.second));
    let third = mapped.wrapping_mul(stride.third).wrapping_add(start.third);
    let third = record.third.wrapping_add(third);
    if step.writes & writes::FIRST != 0 {
        frame.put(FIRST, first.to_be());
    }
    if step.writes & writes::SECOND_FIRST != 0 {
        frame.put(FIRST, second.to_be());
    }
    if step.writes & writes::SECOND != 0 {
        frame.put(SECOND, second.to_be());
    }
    if step.writes & writes::THIRD != 0 {
        frame.put(THIRD, third.to_be());
    }
    if step.writes & writes::CHECKSUM != 0 {
        let mut sum = u64::from(step.sum) + words(second) + words(third.into());
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        frame.put(CHECKSUM, (!sum as u16).to_be());
    }
}

/// Sum of the four 16-bit words of a number.
#[inline(always)]
fn words(number: u64) -> u64 {
    (number & 0xffff) + (number >> 16 & 0xffff) + (number >> 32 & 0xffff) + (number >> 48)
}
