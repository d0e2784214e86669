//! What the verifier and the compiler may not know.

use mptcp_common::{counter::Counters, packet::Work, verifier::Opaque};

/// Makes the verifier forget, by two instructions that it does not see through. Holds a number of
/// which it knows nothing.
pub(crate) struct Verifier(u64);

impl Verifier {
    /// With a number from the packet in work: what went through a map is unknown.
    #[inline(always)]
    pub(crate) fn new(work: &Work) -> Self {
        // SAFETY: eight bytes of an aligned array.
        Self(unsafe { core::ptr::read_volatile(core::ptr::from_ref(&work.area).cast()) })
    }

    /// With another number out of a map.
    #[inline(always)]
    pub(crate) fn of(unknown: u64) -> Self {
        Self(unknown)
    }
}

impl Opaque for Verifier {
    #[inline(always)]
    fn opaque(&self, value: u32) -> u32 {
        self.opaque_by(value, self.0)
    }

    #[inline(always)]
    fn opaque_by(&self, value: u32, unknown: u64) -> u32 {
        let mut wide = u64::from(value);
        // SAFETY: x ^ y ^ y is x; registers only. The verifier knows no more of a number than its
        // known bits and its bounds: after the first instruction both are gone.
        unsafe {
            core::arch::asm!(
                "{value} ^= {unknown}",
                "{value} ^= {unknown}",
                value = inout(reg) wide,
                unknown = in(reg) unknown,
                options(nomem, nostack, preserves_flags),
            );
        }
        wide as u32
    }
}

/// The compiler moves no access to memory across this.
#[inline(always)]
pub(crate) fn barrier() {
    // SAFETY: no instructions; without `nomem` it counts as touching all memory.
    unsafe { core::arch::asm!("") };
}

/// The same pointer, of which the compiler does not know that it is.
#[inline(always)]
pub(crate) fn hidden_pointer<T>(mut pointer: *mut T) -> *mut T {
    // SAFETY: x = x.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    pointer
}

/// The same counters, of which the compiler does not know that they are.
#[inline(always)]
pub(crate) fn hidden(counters: &mut Counters) -> &mut Counters {
    // SAFETY: those that were handed in, which nobody else uses as long as these.
    unsafe { &mut *hidden_pointer(core::ptr::from_mut(counters)) }
}
