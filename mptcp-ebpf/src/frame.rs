//! Access to the bytes of a frame, in an XDP buffer or a socket buffer.

use core::{intrinsics::is_val_statically_known, mem::offset_of};

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    helpers::generated::{
        bpf_csum_diff, bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes,
    },
    programs::{TcContext, XdpContext},
};
use bytemuck::AnyBitPattern;
use mptcp_common::{
    packet::{Buffer, Frame, UNREAD, View},
    verifier::Opaque,
    wire::{Area, MAX_OPTIONS},
};

use crate::{
    maps::{self, CHUNK},
    verifier::{self, Verifier},
};

/// A frame: some of its bytes can be read in place, all through a helper.
pub(crate) trait Bytes {
    /// The same, of which the compiler does not know that it is.
    fn hidden(&self) -> Self;
    /// Address of the first byte.
    fn start(&self) -> usize;
    /// Address behind the last byte that can be read in place.
    fn end(&self) -> usize;
    /// Copies `length` bytes (1 or more) from offset `at`; false if the frame ends before.
    ///
    /// # Safety
    /// `to` must be valid for `length` bytes.
    unsafe fn copy(&self, at: u32, to: *mut u8, length: u32) -> bool;
    /// As far as it is needed for every frame: without queue and segment size.
    fn buffer(&self, ingress: bool) -> Buffer;
    /// As [`Buffer::queue`].
    fn queue(&self) -> u32;
    /// As [`Buffer::segment_size`].
    fn segment_size(&self) -> u32;
    /// Index of the interface.
    fn interface(&self) -> u32;
    /// As [`Frame::merged_length`].
    fn merged_length(&self) -> u32;
    /// As [`Frame::stripped_tags`].
    fn stripped_tags(&self) -> u32;
    /// Sums the payload of the packet in work, or the whole segment.
    fn sum_payload(&self, is_segment: bool);

    /// Address of the byte at offset `at`, which may lie behind the frame's end.
    ///
    /// Taken as a whole, so that the compiler adds constants to this sum and not to one of its
    /// parts: the verifier only believes a comparison of the very pointer that is used.
    #[inline(always)]
    fn address(&self, at: u32) -> usize {
        let mut address = self.start();
        if is_val_statically_known(at) && at == 0 {
            return address;
        }
        address += at as usize;
        // SAFETY: x = x. An instruction, since the kernel refuses two lines of debug information
        // for one.
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) address, options(nomem, nostack));
        }
        address
    }
}

/// Enough for 64 KiB, the longest that a mapping can be.
const CHUNKS: u32 = 128;

/// Sums the payload of the packet in work, or the whole segment, wherever its bytes lie.
#[inline(always)]
fn sum_payload(frame: &impl Bytes, is_segment: u32) {
    let (Some(work), Some(chunk)) = (maps::work(), maps::chunk()) else {
        return;
    };
    let verifier = Verifier::new(work);
    let (mut at, mut left) = (work.packet.payload_at, work.packet.payload);
    if is_segment != 0 {
        let header = verifier.opaque(work.packet.header_at);
        left = verifier.opaque(left + (at - header));
        at = header;
    }
    let mut sum = 0;
    for _ in 0..CHUNKS {
        if left == 0 {
            break;
        }
        // The masks change nothing; the verifier sees the bounds by them.
        let last = (left - 1).min(CHUNK - 1) & (CHUNK - 1);
        let words = (last + 4) & !3 & (2 * CHUNK - 1);
        // SAFETY: a chunk has twice as many bytes as are copied, and belongs to this CPU and run.
        // The helper wants whole words: the last one is padded with zeros.
        unsafe {
            chunk.cast::<u32>().add(last as usize / 4).write(0);
            if !frame.copy(at, chunk, last + 1) {
                break;
            }
            sum = bpf_csum_diff(core::ptr::null_mut(), 0, chunk.cast(), words, sum as u32);
        }
        // So that it looks at each round once.
        at = verifier.opaque(at + last + 1);
        left = verifier.opaque(left - (last + 1));
    }
    // A negative number is an error of the helper.
    let is_read = left == 0 && sum >= 0;
    work.payload_sum
        .set(if is_read { sum as u64 } else { UNREAD });
}

/// The address of bytes that can be read in place.
#[derive(Clone, Copy)]
struct Here(usize);

impl View for Here {
    #[inline(always)]
    fn get<T: AnyBitPattern>(&self, at: u32) -> T {
        let from = (self.0 + at as usize) as *const T;
        // SAFETY: of bytes that are there, as the verifier makes sure, and any bytes are a T. The
        // address may be unaligned for T, which Rust does not allow and this relies on: on this target
        // the read becomes one load of T's words, which the kernel accepts on machines with unaligned
        // access and refuses on others. `read_unaligned` would load byte by byte, at several times the
        // cost.
        unsafe { *from }
    }

    #[inline(always)]
    fn opaque(self) -> Self {
        let mut address = self.0;
        // SAFETY: x = x.
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) address, options(nomem, nostack));
        }
        Self(address)
    }
}

/// Reads in place what can be.
pub(crate) struct InPlace<B>(pub(crate) B);

impl<B: Bytes> Frame for InPlace<B> {
    #[inline(always)]
    fn view(&self, at: u32, length: u32) -> Option<impl View> {
        // The start is one number already: there is nothing that has to be taken as a whole. (Of one byte the compiler
        // makes `start < end`, by which the verifier knows of none.)
        let is_start = is_val_statically_known(at) && at == 0 && length > 1;
        let from = if is_start {
            self.0.start()
        } else {
            self.0.address(at)
        };
        (from + length as usize <= self.0.end()).then_some(Here(from))
    }

    #[inline(always)]
    fn load<T: AnyBitPattern>(&self, at: u32) -> Option<T> {
        if let Some(value) = self.peek(at) {
            return Some(value);
        }
        // Not on the stack, of which there is little.
        let to = maps::spill()?;
        // SAFETY: valid for 64 bytes, T's and more; read only when all of T's were written.
        unsafe {
            if !self.0.copy(at, to, size_of::<T>() as u32) {
                return None;
            }
            Some(to.cast::<T>().read())
        }
    }

    #[inline(always)]
    fn copy_options(&self, at: u32, length: u32, area: &mut Area, verifier: &impl Opaque) -> bool {
        let from = self.0.address(at);
        let to = area.bytes_mut().as_mut_ptr();
        // Whatever stands behind the options is not looked at. Most frames have as many bytes.
        if from + MAX_OPTIONS <= self.0.end() {
            for i in (0..MAX_OPTIONS).step_by(8) {
                // SAFETY: inside the frame, as just compared, and inside the area's 40 bytes, which are
                // aligned as the map's value is; see `load` on the frame's alignment.
                unsafe { to.add(i).cast::<u64>().write(*((from + i) as *const u64)) };
            }
            return true;
        }
        for i in (0..MAX_OPTIONS).step_by(8) {
            let left = length as usize - i;
            let size = if left >= 8 { 8 } else { 4 };
            if from + i + size > self.0.end() {
                break;
            }
            // SAFETY: as above.
            unsafe {
                if left >= 8 {
                    to.add(i).cast::<u64>().write(*((from + i) as *const u64));
                } else {
                    to.add(i).cast::<u32>().write(*((from + i) as *const u32));
                }
            }
            if left <= 8 {
                return true;
            }
        }
        // The mask changes nothing. The verifier of Linux 6.1 sees by it that this is 1 to 64 bytes,
        // which the area holds; of the comparisons above it has kept too little.
        let length = (verifier.opaque(length - 1) & 63) + 1;
        // SAFETY: an area has room for 40 bytes, the longest that a TCP header can announce.
        unsafe { self.0.copy(at, to, length) }
    }

    #[inline(always)]
    fn merged_length(&self) -> u32 {
        self.0.merged_length()
    }

    #[inline(always)]
    fn stripped_tags(&self) -> u32 {
        self.0.stripped_tags()
    }
}

/// An XDP buffer: one frame as it came in.
pub(crate) struct Xdp(pub(crate) XdpContext);

impl Bytes for Xdp {
    #[inline(always)]
    fn hidden(&self) -> Self {
        Self(XdpContext::new(verifier::hidden_pointer(self.0.ctx)))
    }

    #[inline(always)]
    fn start(&self) -> usize {
        let start;
        // SAFETY: the context is valid for the program's run. Not pure, so that no packet pointer
        // outlives the check it was made for: the verifier tells apart every state in which one
        // is checked further than in another. The compiler does not know what it loads (see `address`).
        unsafe {
            core::arch::asm!(
                "{start} = *(u32 *)({context} + {at})",
                start = out(reg) start,
                context = in(reg) self.0.ctx,
                at = const offset_of!(xdp_md, data),
                options(nostack, readonly, preserves_flags),
            );
        }
        start
    }

    #[inline(always)]
    fn end(&self) -> usize {
        // SAFETY: as for the start.
        unsafe { core::ptr::read_volatile(&raw const (*self.0.ctx).data_end) as usize }
    }

    #[inline(always)]
    unsafe fn copy(&self, at: u32, to: *mut u8, length: u32) -> bool {
        // SAFETY: the caller's promise.
        unsafe { bpf_xdp_load_bytes(self.0.ctx, at, to.cast(), length) == 0 }
    }

    #[inline(always)]
    fn buffer(&self, ingress: bool) -> Buffer {
        Buffer {
            packets: 1,
            segment_size: 0,
            queue: 0,
            ingress,
        }
    }

    #[inline(always)]
    fn queue(&self) -> u32 {
        // SAFETY: the context is valid for the program's run.
        unsafe { (*self.0.ctx).rx_queue_index + 1 }
    }

    #[inline(always)]
    fn segment_size(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: the context is valid for the program's run.
        unsafe { (*self.0.ctx).ingress_ifindex }
    }

    #[inline(always)]
    fn merged_length(&self) -> u32 {
        // SAFETY: the context is the program's own.
        let length = unsafe { bpf_xdp_get_buff_len(self.0.ctx) as u32 };
        // In generic mode, behind GRO. No single packet is as long.
        if length > u16::MAX.into() { length } else { 0 }
    }

    #[inline(always)]
    fn stripped_tags(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn sum_payload(&self, is_segment: bool) {
        sum_xdp_payload(self.0.ctx, is_segment.into());
    }
}

/// A function of its own, for the verifier to look at once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sum_xdp_payload(context: *mut xdp_md, is_segment: u32) -> u32 {
    sum_payload(&Xdp(XdpContext::new(context)), is_segment);
    0
}

/// A socket buffer at TC: on egress often many packets still to be cut (GSO), on ingress many
/// that were merged (GRO).
pub(crate) struct Skb(pub(crate) TcContext);

impl Skb {
    #[inline(always)]
    fn skb(&self) -> *mut __sk_buff {
        self.0.skb.skb
    }
}

impl Bytes for Skb {
    #[inline(always)]
    fn hidden(&self) -> Self {
        Self(TcContext::new(verifier::hidden_pointer(self.skb())))
    }

    #[inline(always)]
    fn start(&self) -> usize {
        let start;
        // SAFETY: the context is valid for the program's run. Not pure, so that no packet pointer
        // outlives the check it was made for: the verifier tells apart every state in which one
        // is checked further than in another. The compiler does not know what it loads (see `address`).
        unsafe {
            core::arch::asm!(
                "{start} = *(u32 *)({context} + {at})",
                start = out(reg) start,
                context = in(reg) self.skb(),
                at = const offset_of!(__sk_buff, data),
                options(nostack, readonly, preserves_flags),
            );
        }
        start
    }

    #[inline(always)]
    fn end(&self) -> usize {
        // SAFETY: as for the start.
        unsafe { core::ptr::read_volatile(&raw const (*self.skb()).data_end) as usize }
    }

    #[inline(always)]
    unsafe fn copy(&self, at: u32, to: *mut u8, length: u32) -> bool {
        // SAFETY: the caller's promise.
        unsafe { bpf_skb_load_bytes(self.skb().cast(), at, to.cast(), length) == 0 }
    }

    #[inline(always)]
    fn buffer(&self, ingress: bool) -> Buffer {
        let skb = self.skb();
        // SAFETY: the context is valid for the program's run; the kernel turns this into loads.
        let packets = unsafe {
            if (*skb).gso_size == 0 {
                1
            } else {
                (*skb).gso_segs
            }
        };
        Buffer {
            packets,
            segment_size: 0,
            queue: 0,
            ingress,
        }
    }

    #[inline(always)]
    fn queue(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn segment_size(&self) -> u32 {
        // SAFETY: as for the buffer.
        unsafe { (*self.skb()).gso_size }
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: as for the buffer.
        unsafe { (*self.skb()).ifindex }
    }

    #[inline(always)]
    fn merged_length(&self) -> u32 {
        // SAFETY: as for the buffer.
        unsafe {
            let skb = self.skb();
            if (*skb).gso_size == 0 { 0 } else { (*skb).len }
        }
    }

    #[inline(always)]
    fn stripped_tags(&self) -> u32 {
        // SAFETY: as for the buffer.
        unsafe { (*self.skb()).vlan_present }
    }

    #[inline(always)]
    fn sum_payload(&self, is_segment: bool) {
        sum_skb_payload(self.skb(), is_segment.into());
    }
}

/// As [`sum_xdp_payload`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sum_skb_payload(context: *mut __sk_buff, is_segment: u32) -> u32 {
    sum_payload(&Skb(TcContext::new(context)), is_segment);
    0
}
