//! Words of memory that several CPUs share: what `mptcp-common` asks of them, in the
//! instructions that this target has.

use core::{
    cell::UnsafeCell,
    intrinsics::{self, AtomicOrdering::Relaxed, AtomicOrdering::SeqCst},
};

use mptcp_common::table::{Memory, Word};

/// A word in a map.
#[repr(transparent)]
pub(crate) struct Shared<T>(UnsafeCell<T>);

impl<T> Shared<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }
}

// SAFETY: all access is volatile or atomic, and no reference to the inside is handed out.
unsafe impl<T> Sync for Shared<T> {}

/// The memory of maps.
pub(crate) enum Maps {}

impl Memory for Maps {
    type W32 = Shared<u32>;
    type W64 = Shared<u64>;
}

macro_rules! word {
    ($value:ty) => {
        impl Word<$value> for Shared<$value> {
            #[inline(always)]
            fn load(&self) -> $value {
                // SAFETY: inside of `self`, aligned; one instruction.
                unsafe { self.0.get().read_volatile() }
            }

            #[inline(always)]
            fn store(&self, value: $value) {
                // SAFETY: as for load.
                unsafe { self.0.get().write_volatile(value) }
            }

            #[inline(always)]
            fn add(&self, value: $value) -> $value {
                // SAFETY: as for load.
                unsafe {
                    intrinsics::atomic_xadd::<$value, $value, { SeqCst }>(self.0.get(), value)
                }
            }

            #[inline(always)]
            fn or(&self, bits: $value) -> $value {
                // SAFETY: as for load.
                unsafe { intrinsics::atomic_or::<$value, $value, { SeqCst }>(self.0.get(), bits) }
            }

            #[inline(always)]
            fn and(&self, bits: $value) -> $value {
                // SAFETY: as for load.
                unsafe { intrinsics::atomic_and::<$value, $value, { SeqCst }>(self.0.get(), bits) }
            }

            #[inline(always)]
            fn replace(&self, old: $value, new: $value) -> bool {
                // SAFETY: as for load.
                unsafe {
                    intrinsics::atomic_cxchg::<$value, { SeqCst }, { Relaxed }>(
                        self.0.get(),
                        old,
                        new,
                    )
                    .1
                }
            }
        }
    };
}
word!(u32);
word!(u64);
