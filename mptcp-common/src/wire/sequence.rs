//! Arithmetic of sequence numbers.

/// Does `a` come after `b`, modulo 2^32?
#[inline(always)]
pub(crate) fn after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

/// Does `a` come after `b`, modulo 2^64?
#[inline(always)]
pub(crate) fn after_64(a: u64, b: u64) -> bool {
    (a.wrapping_sub(b) as i64) > 0
}

/// The number with these lower 32 bits that is nearest to `near` (RFC 8684 section 3.3.1).
#[inline(always)]
pub(crate) fn expand(near: u64, low: u32) -> u64 {
    let distance = low.wrapping_sub(near as u32) as i32;
    near.wrapping_add(i64::from(distance) as u64)
}
