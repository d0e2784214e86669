//! The DSS checksum (RFC 8684 section 3.3.1).
//!
//! It is the Internet checksum (RFC 1071) of a mapping's bytes, padded to an even number of them, and
//! of a pseudo-header: the data sequence number in 64 bits, also where 32 are sent, the subflow
//! sequence number, the data-level length, and 16 zero bits.

/// Folds the carries of a sum of 16-bit words back into it.
#[inline(always)]
pub const fn fold(sum: u64) -> u32 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u32
}

/// Adds the 16-bit words of `bytes`, big-endian, the last one padded with a zero.
pub fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|word| match *word {
        [high, low] => u64::from(u16::from_be_bytes([high, low])),
        [high] => u64::from(high) << 8,
        _ => 0,
    });
    fold(words.sum())
}

/// Returns true if `checksum` is right for a mapping of `length` bytes (DATA_FIN included) whose payload adds up to
/// `payload`.
#[inline(always)]
pub const fn is_right(payload: u32, dsn: u64, ssn: u32, length: u32, checksum: u32) -> bool {
    let header = (dsn >> 32) + (dsn & 0xffff_ffff) + ssn as u64 + length as u64;
    fold(header + payload as u64 + checksum as u64) == 0xffff
}
