//! SHA-256, SHA-1 and HMAC, as far as MPTCP needs them: messages of 8 to 30 bytes under keys of 16.
//!
//! Everything MPTCP hashes fits one block of 64 bytes (RFC 8684 sections 3.1, 3.2 and 3.4.1), so
//! there is no streaming: a [`Digest`] holds one block and the chaining state, and a compression is
//! one call of [`Compress`]. In the kernel that call is a function that the verifier looks at once.
//!
//! Version 1 of the protocol hashes with SHA-256, version 0 with SHA-1 (RFC 6824 section 3.1).

mod sha1;
mod sha256;

use crate::wire::{Key, Nonce};

/// Which hash function: the protocol version decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Hash {
    /// Version 0.
    Sha1 = 0,
    /// Version 1.
    Sha256 = 1,
}

impl Hash {
    /// The hash function of a protocol version.
    #[inline(always)]
    pub fn of_version(version: u32) -> Self {
        if version == 0 {
            Self::Sha1
        } else {
            Self::Sha256
        }
    }
}

/// One block and the chaining state, in words of 32 bits, big-endian words in host byte order.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Digest {
    /// Chaining state: 8 words for SHA-256, 5 for SHA-1.
    pub state: [u32; 8],
    /// The block to compress next in its first 16 words, and room for what becomes of it.
    pub block: [u32; 64],
    /// What HMAC is computed of, padded with zeros.
    pub message: [u32; 8],
}

impl Default for Digest {
    fn default() -> Self {
        Self {
            state: [0; 8],
            block: [0; 64],
            message: [0; 8],
        }
    }
}

impl core::fmt::Debug for Digest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        // Holds keys.
        f.write_str("Digest(..)")
    }
}

/// Compresses the block of a digest into its state.
pub trait Compress {
    /// One compression.
    fn compress(&mut self, hash: Hash);
    /// The digest that it works on.
    fn digest(&mut self) -> &mut Digest;
}

impl Compress for Digest {
    fn compress(&mut self, hash: Hash) {
        match hash {
            Hash::Sha1 => sha1::compress(self),
            Hash::Sha256 => sha256::compress(self),
        }
    }

    fn digest(&mut self) -> &mut Digest {
        self
    }
}

/// The compression function of SHA-256 (FIPS 180-4 section 6.2.2).
#[inline(always)]
pub fn compress_sha256(digest: &mut Digest) {
    sha256::compress(digest);
}

/// The compression function of SHA-1 (FIPS 180-4 section 6.1.2).
#[inline(always)]
pub fn compress_sha1(digest: &mut Digest) {
    sha1::compress(digest);
}

impl Digest {
    #[inline(always)]
    fn start(&mut self, hash: Hash) {
        self.state = match hash {
            Hash::Sha1 => sha1::INITIAL,
            Hash::Sha256 => sha256::INITIAL,
        };
    }
}

/// What a key stands for on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Derived {
    /// Token: the first 32 bits of the key's hash.
    pub token: u32,
    /// Initial data sequence number: its last 64 bits (v1), or bits 96 to 159, the last 64 of
    /// SHA-1 (v0). The first byte of data has this number plus 1.
    pub idsn: u64,
}

/// Token and initial data sequence number of a key (RFC 8684 sections 3.1 and 3.2).
///
/// ```
/// use mptcp_common::{crypto::{Digest, Hash, derive}, wire::Key};
///
/// let derived = derive(&mut Digest::default(), Hash::Sha256, Key(0x0102_0304_0506_0708));
/// assert_eq!(derived.token, 0x66840dda);
/// assert_eq!(derived.idsn, 0xf5a101d3d29d6f72);
/// ```
#[inline(always)]
pub fn derive(work: &mut impl Compress, hash: Hash, key: Key) -> Derived {
    let digest = work.digest();
    digest.start(hash);
    digest.block[..16].fill(0);
    digest.block[0] = (key.0 >> 32) as u32;
    digest.block[1] = key.0 as u32;
    digest.block[2] = 0x8000_0000;
    digest.block[15] = 64;
    work.compress(hash);
    let state = &work.digest().state;
    let last = match hash {
        Hash::Sha1 => [state[3], state[4]],
        Hash::Sha256 => [state[6], state[7]],
    };
    Derived {
        token: state[0],
        idsn: (u64::from(last[0]) << 32) | u64::from(last[1]),
    }
}

/// HMAC (RFC 2104) under the 16 bytes of two keys, of the first `length` bytes of the digest's
/// message. The result is the digest's state.
#[inline(always)]
fn hmac(work: &mut impl Compress, hash: Hash, keys: [Key; 2], length: u32) {
    const INNER: u32 = 0x3636_3636;
    const OUTER: u32 = 0x5c5c_5c5c;
    pad(work.digest(), hash, keys, INNER);
    work.compress(hash);
    let digest = work.digest();
    digest.block[..16].fill(0);
    digest.block[..8].copy_from_slice(&digest.message);
    digest.block[(length as usize / 4) & 15] |= 0x8000_0000 >> (length % 4 * 8);
    digest.block[15] = (64 + length) * 8;
    work.compress(hash);
    let digest = work.digest();
    digest.message = digest.state;
    pad(digest, hash, keys, OUTER);
    work.compress(hash);
    let digest = work.digest();
    digest.block[..16].fill(0);
    // Constant positions: the verifier would not follow a computed one.
    match hash {
        Hash::Sha1 => {
            digest.block[..5].copy_from_slice(&digest.message[..5]);
            digest.block[5] = 0x8000_0000;
            digest.block[15] = (64 + 20) * 8;
        }
        Hash::Sha256 => {
            digest.block[..8].copy_from_slice(&digest.message);
            digest.block[8] = 0x8000_0000;
            digest.block[15] = (64 + 32) * 8;
        }
    }
    work.compress(hash);
}

/// The first block of one of the two passes: the keys, padded to a block, xor a constant.
#[inline(always)]
fn pad(digest: &mut Digest, hash: Hash, keys: [Key; 2], with: u32) {
    digest.start(hash);
    digest.block[..16].fill(with);
    digest.block[0] ^= (keys[0].0 >> 32) as u32;
    digest.block[1] ^= keys[0].0 as u32;
    digest.block[2] ^= (keys[1].0 >> 32) as u32;
    digest.block[3] ^= keys[1].0 as u32;
}

/// HMAC of an MP_JOIN (RFC 8684 section 3.2): keys and nonces of its sender and receiver.
/// The leftmost 160 bits; a SYN/ACK carries the first 64 of them.
#[inline(always)]
pub fn join_hmac(
    work: &mut impl Compress,
    hash: Hash,
    keys: [Key; 2],
    nonces: [Nonce; 2],
) -> [u32; 5] {
    work.digest().message = [nonces[0].0, nonces[1].0, 0, 0, 0, 0, 0, 0];
    hmac(work, hash, keys, 8);
    let state = &work.digest().state;
    [state[0], state[1], state[2], state[3], state[4]]
}

/// Truncated HMAC of an ADD_ADDR (RFC 8684 section 3.4.1) over identifier, address and port (0
/// where it has none), which are the first `length` bytes of the digest's message: 7 for IPv4, 19
/// for IPv6. Rightmost 64 bits, and the leftmost, which older Linux sent.
#[inline(always)]
pub fn add_addr_hmac(work: &mut impl Compress, keys: [Key; 2], length: u32) -> (u64, u64) {
    hmac(work, Hash::Sha256, keys, length);
    let state = &work.digest().state;
    let wide = |i: usize| (u64::from(state[i]) << 32) | u64::from(state[i + 1]);
    (wide(6), wide(0))
}
