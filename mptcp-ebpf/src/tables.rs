//! The maps and constants of the programs, and what the verifier has to be told.

use aya_ebpf::{Global, btf_maps::PerCpuArray, macros::btf_map};
use mptcp_common::{
    counter::{Counters, Direction, Events, Role},
    engine::{Found, Packet, Policy},
    wire::{Area, Forget, MAX_OPTIONS},
};

/// The counters of one interface: pinned, documented, read by user space.
#[btf_map]
static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

/// What is known of the packet in work. A map value, since the verifier forgets what it knew of a
/// number that went through one, and 512 bytes of stack are little.
#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// See [`SCRATCH`].
#[repr(C)]
pub(crate) struct Scratch {
    pub(crate) area: Area,
    pub(crate) found: Found,
    pub(crate) packet: Packet,
}

/// A [`Role`], by its discriminant.
#[unsafe(no_mangle)]
static ROLE: Global<u8> = Global::new(Role::Host as u8);
/// 1 on a device without link-layer header (tun).
#[unsafe(no_mangle)]
static LAYER_3: Global<u8> = Global::new(0);
/// The three fields of [`Policy`].
#[unsafe(no_mangle)]
static MIN_MSS_V4: Global<u16> = Global::new(536);
#[unsafe(no_mangle)]
static MIN_MSS_V6: Global<u16> = Global::new(1220);
#[unsafe(no_mangle)]
static VERSION_0: Global<u8> = Global::new(1);

/// This CPU's counters.
#[inline(always)]
pub(crate) fn counters() -> Option<&'static mut Counters> {
    // SAFETY: the value belongs to this CPU, and a run asks once. Runs do not nest: ingress is in
    // softirq, egress has softirqs off (a kernel without that lock, PREEMPT_RT, is not supported).
    COUNTERS
        .get_ptr_mut(0)
        .map(|counters| unsafe { &mut *counters })
}

/// This CPU's scratch.
#[inline(always)]
pub(crate) fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: as for the counters. Integers throughout but for `bool`s: the map starts as zeros, and
    // only `true` and `false` are written.
    SCRATCH
        .get_ptr_mut(0)
        .map(|scratch| unsafe { &mut *scratch })
}

/// One direction's events. By an index that the verifier does not know: it looks at the code
/// behind once, and not once per direction. Never `None`.
#[inline(always)]
pub(crate) fn events<'a>(
    counters: &'a mut Counters,
    direction: Direction,
    verifier: &Verifier,
) -> Option<&'a mut Events> {
    const _: () = {
        use core::mem::offset_of;
        let size = size_of::<Events>();
        assert!(offset_of!(Counters, tx) == offset_of!(Counters, rx) + size);
        assert!(offset_of!(Counters, unknown) == offset_of!(Counters, tx) + size);
    };
    let index = verifier
        .forget(direction as u32)
        .min(Direction::Unknown as u32) as usize;
    let first =
        core::ptr::from_mut(counters).wrapping_byte_add(core::mem::offset_of!(Counters, rx));
    // SAFETY: `rx`, `tx` and `unknown` are neighbours of one type, in the order of the indices.
    Some(unsafe { &mut *first.cast::<Events>().add(index) })
}

#[inline(always)]
pub(crate) fn role() -> Role {
    if ROLE.load() == Role::Host as u8 {
        Role::Host
    } else {
        Role::Middlebox
    }
}

#[inline(always)]
pub(crate) fn is_layer_3() -> bool {
    LAYER_3.load() != 0
}

#[inline(always)]
pub(crate) fn policy() -> Policy {
    Policy {
        min_mss_v4: MIN_MSS_V4.load(),
        min_mss_v6: MIN_MSS_V6.load(),
        version_0: VERSION_0.load() != 0,
    }
}

/// The compiler moves no access to memory across this.
#[inline(always)]
pub(crate) fn barrier() {
    // SAFETY: no instructions; without `nomem` it counts as touching all memory.
    unsafe { core::arch::asm!("") };
}

/// Overwrites an option area: it can hold a key or a nonce.
#[inline(always)]
pub(crate) fn wipe(area: &mut Area) {
    let words = area.bytes_mut().as_mut_ptr().cast::<u64>();
    for i in 0..MAX_OPTIONS / 8 {
        // SAFETY: inside of the 40 bytes, which are aligned as the map's value is. Volatile, since
        // nobody reads them: and no call of memset, which the verifier would walk byte by byte.
        unsafe { words.add(i).write_volatile(0) };
    }
}

/// Makes the verifier forget, by two instructions that it does not see through. Holds a number of
/// which it knows nothing.
pub(crate) struct Verifier(pub(crate) u64);

impl Verifier {
    /// With a number from the scratch: what went through a map is unknown.
    #[inline(always)]
    pub(crate) fn new(scratch: &Scratch) -> Self {
        // SAFETY: eight bytes of an aligned array.
        Self(unsafe { core::ptr::read_volatile(core::ptr::from_ref(&scratch.area).cast()) })
    }
}

impl Forget for Verifier {
    #[inline(always)]
    fn forget(&self, value: u32) -> u32 {
        let mut wide = u64::from(value);
        // SAFETY: x ^ y ^ y is x; registers only. The verifier knows no more of a number than its
        // known bits and its bounds: after the first instruction both are gone.
        unsafe {
            core::arch::asm!(
                "{value} ^= {unknown}",
                "{value} ^= {unknown}",
                value = inout(reg) wide,
                unknown = in(reg) self.0,
                options(nomem, nostack, preserves_flags),
            );
        }
        wide as u32
    }
}
