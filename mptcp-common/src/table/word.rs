//! Words of memory that several CPUs read and write at once.
//!
//! The kernel side has no `core::sync::atomic` (the target is not known to have it), so tables are
//! generic over their words. Loads and stores are whole and in no particular order; `add`, `or`, `and`
//! and `replace` are atomic.

/// A shared word.
pub trait Word<T> {
    /// The value.
    fn load(&self) -> T;
    /// Sets the value.
    fn store(&self, value: T);
    /// Adds, wrapping; the value before.
    fn add(&self, value: T) -> T;
    /// Sets bits; the value before.
    fn or(&self, bits: T) -> T;
    /// Keeps bits, and clears the others; the value before.
    fn and(&self, bits: T) -> T;
    /// Sets `new` if the value is `old`; says whether it was.
    fn replace(&self, old: T, new: T) -> bool;
}

/// Adds by a load and a store, for words that one CPU at a time changes: a network card hands the
/// packets of one direction of a connection to one queue. Two CPUs at once would lose one addition.
#[inline(always)]
pub(crate) fn bump<W: Word<u64>>(word: &W, value: u64) {
    word.store(word.load().wrapping_add(value));
}

/// A kind of memory: its words of 4 and of 8 bytes, laid out as plain integers are.
pub trait Memory {
    /// 4 bytes, aligned to 4.
    type W32: Word<u32>;
    /// 8 bytes, aligned to 8.
    type W64: Word<u64>;
}

/// The memory of user space, also where it maps the kernel's tables.
#[cfg(not(target_arch = "bpf"))]
#[derive(Clone, Copy, Debug)]
pub struct Atomics;

#[cfg(not(target_arch = "bpf"))]
mod atomics {
    use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

    use super::{Atomics, Memory, Word};

    impl Memory for Atomics {
        type W32 = AtomicU32;
        type W64 = AtomicU64;
    }

    macro_rules! word {
        ($atomic:ty, $value:ty) => {
            impl Word<$value> for $atomic {
                fn load(&self) -> $value {
                    self.load(Relaxed)
                }

                fn store(&self, value: $value) {
                    self.store(value, Relaxed);
                }

                fn add(&self, value: $value) -> $value {
                    self.fetch_add(value, Relaxed)
                }

                fn or(&self, bits: $value) -> $value {
                    self.fetch_or(bits, Relaxed)
                }

                fn and(&self, bits: $value) -> $value {
                    self.fetch_and(bits, Relaxed)
                }

                fn replace(&self, old: $value, new: $value) -> bool {
                    self.compare_exchange(old, new, Relaxed, Relaxed).is_ok()
                }
            }
        };
    }
    word!(AtomicU32, u32);
    word!(AtomicU64, u64);
}
