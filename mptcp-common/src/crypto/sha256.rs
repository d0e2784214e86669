//! SHA-256 (FIPS 180-4).

use super::Digest;

/// Section 5.3.3.
pub(super) const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// Section 4.2.2.
static K: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];

/// A word twice, so that one shift rotates it to the right: eBPF has no rotation. Only the lower half of what
/// comes of it counts.
#[inline(always)]
fn twice(word: u32) -> u64 {
    let word = u64::from(word);
    word << 32 | word
}

/// Section 6.2.2 step 3: what becomes of d and h is in their places, and the names move on by one.
macro_rules! round {
    ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident, $word:expr) => {
        let rotated = twice($e);
        let sum = (rotated >> 6 ^ rotated >> 11 ^ rotated >> 25) as u32;
        let choice = $g ^ ($e & ($f ^ $g));
        let t1 = $h
            .wrapping_add($word)
            .wrapping_add(choice)
            .wrapping_add(sum);
        let rotated = twice($a);
        let sum = (rotated >> 2 ^ rotated >> 13 ^ rotated >> 22) as u32;
        let majority = ($a & $b) | ($c & ($a | $b));
        $d = $d.wrapping_add(t1);
        $h = t1.wrapping_add(sum).wrapping_add(majority);
    };
}

/// Section 6.2.2. The schedule takes the constants in before the rounds, which are short of
/// registers; eight of those move no word.
#[inline(always)]
pub(super) fn compress(digest: &mut Digest) {
    let w = &mut digest.block;
    for t in 16..64 {
        let (w15, w2) = (twice(w[t - 15]), twice(w[t - 2]));
        let s0 = (w15 >> 7 ^ w15 >> 18) as u32 ^ (w[t - 15] >> 3);
        let s1 = (w2 >> 17 ^ w2 >> 19) as u32 ^ (w[t - 2] >> 10);
        let w16 = w[t - 16];
        w[t] = w16.wrapping_add(s0).wrapping_add(w[t - 7]).wrapping_add(s1);
        // The schedule does not need it any more.
        w[t - 16] = w16.wrapping_add(K[t - 16]);
    }
    for (word, constant) in w[48..].iter_mut().zip(&K[48..]) {
        *word = word.wrapping_add(*constant);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = digest.state;
    for words in w.as_chunks::<8>().0 {
        round!(a b c d e f g h, words[0]);
        round!(h a b c d e f g, words[1]);
        round!(g h a b c d e f, words[2]);
        round!(f g h a b c d e, words[3]);
        round!(e f g h a b c d, words[4]);
        round!(d e f g h a b c, words[5]);
        round!(c d e f g h a b, words[6]);
        round!(b c d e f g h a, words[7]);
    }
    // Read once more: kept since the start, it would take room on a stack that is short.
    let state = core::hint::black_box(&mut digest.state);
    for (word, new) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(new);
    }
}
