//! Hides values from the eBPF verifier.

/// Makes whoever compiles or verifies the code forget what it knows of a value.
///
/// The eBPF verifier follows every value that a position can have. Told to forget, it sees one
/// "unknown" and is done with the loop after one pass per step.
pub trait Opaque {
    /// The same value.
    fn opaque(&self, value: u32) -> u32;
    /// The same value, by means of a number that nothing is known of.
    fn opaque_by(&self, value: u32, unknown: u64) -> u32;
}

/// Forgets nothing: for user space.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Opaque for Plain {
    #[inline(always)]
    fn opaque(&self, value: u32) -> u32 {
        value
    }

    #[inline(always)]
    fn opaque_by(&self, value: u32, _: u64) -> u32 {
        value
    }
}
