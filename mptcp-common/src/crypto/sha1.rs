//! SHA-1 (FIPS 180-4), for version 0 of the protocol.

use super::Digest;

/// Section 5.3.1; three words are unused.
pub(super) const INITIAL: [u32; 8] = [
    0x6745_2301,
    0xefcd_ab89,
    0x98ba_dcfe,
    0x1032_5476,
    0xc3d2_e1f0,
    0,
    0,
    0,
];

/// Section 6.1.3: the message schedule in 16 words.
#[inline(always)]
pub(super) fn compress(digest: &mut Digest) {
    let [mut a, mut b, mut c, mut d, mut e, ..] = digest.state;
    let w = &mut digest.block;
    for t in 0..80 {
        if t >= 16 {
            let word = w[(t + 13) & 15] ^ w[(t + 8) & 15] ^ w[(t + 2) & 15] ^ w[t & 15];
            w[t & 15] = word.rotate_left(1);
        }
        let (mixed, constant) = match t / 20 {
            0 => ((b & c) ^ (!b & d), 0x5a82_7999),
            1 => (b ^ c ^ d, 0x6ed9_eba1),
            2 => ((b & c) ^ (b & d) ^ (c & d), 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6_u32),
        };
        let next = a
            .rotate_left(5)
            .wrapping_add(mixed)
            .wrapping_add(e)
            .wrapping_add(constant)
            .wrapping_add(w[t & 15]);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
    }
    for (word, new) in digest.state.iter_mut().zip([a, b, c, d, e]) {
        *word = word.wrapping_add(new);
    }
}
