//! Hashes and what MPTCP derives from keys: against the sha1, sha2 and hmac crates, and against
//! keys, nonces and options that a Linux kernel sent.

mod random;

use hmac::{Hmac, KeyInit as _, Mac as _};
use mptcp_common::{
    crypto::{Compress as _, Derived, Digest, Hash, add_addr_hmac, derive, join_hmac},
    wire::{Key, Nonce},
};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use random::Random;

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes
        .chunks_exact(4)
        .map(|word| u32::from_be_bytes(word.try_into().expect("4 bytes")))
        .collect()
}

const KA: Key = Key(0xc77b_d693_5429_4e24);
const KB: Key = Key(0x081f_f63b_38e8_0105);

#[test]
fn derive_equals_the_crates() {
    let mut random = Random(1);
    let mut work = Digest::default();
    for _ in 0..2_000 {
        let key = random.next();
        let sha256 = words(&Sha256::digest(key.to_be_bytes()));
        let sha1 = words(&Sha1::digest(key.to_be_bytes()));
        let wide = |words: &[u32]| (u64::from(words[0]) << 32) | u64::from(words[1]);
        assert_eq!(
            derive(&mut work, Hash::Sha256, Key(key)),
            Derived {
                token: sha256[0],
                idsn: wide(&sha256[6..])
            }
        );
        assert_eq!(
            derive(&mut work, Hash::Sha1, Key(key)),
            Derived {
                token: sha1[0],
                idsn: wide(&sha1[3..])
            }
        );
    }
}

#[test]
fn join_hmac_equals_the_crates() {
    let mut random = Random(2);
    let mut work = Digest::default();
    for _ in 0..2_000 {
        let keys = [random.next(), random.next()];
        let nonces = [random.next() as u32, random.next() as u32];
        let secret = [keys[0].to_be_bytes(), keys[1].to_be_bytes()].concat();
        let message = [nonces[0].to_be_bytes(), nonces[1].to_be_bytes()].concat();
        let ours = |work: &mut Digest, hash| {
            join_hmac(work, hash, keys.map(Key), nonces.map(Nonce)).to_vec()
        };
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("any length");
        mac.update(&message);
        let theirs = words(&mac.finalize().into_bytes());
        assert_eq!(ours(&mut work, Hash::Sha256), theirs[..5]);
        let mut mac = Hmac::<Sha1>::new_from_slice(&secret).expect("any length");
        mac.update(&message);
        assert_eq!(
            ours(&mut work, Hash::Sha1),
            words(&mac.finalize().into_bytes())
        );
    }
}

#[test]
fn add_addr_hmac_equals_the_crates() {
    let mut random = Random(3);
    let mut work = Digest::default();
    for length in [7_usize, 19].repeat(500) {
        let keys = [random.next(), random.next()];
        let secret = [keys[0].to_be_bytes(), keys[1].to_be_bytes()].concat();
        let mut message: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("any length");
        mac.update(&message);
        let theirs = mac.finalize().into_bytes();
        message.resize(32, 0);
        work.message = words(&message).try_into().expect("8 words");
        let ours = add_addr_hmac(&mut work, keys.map(Key), length as u32);
        assert_eq!(ours.0.to_be_bytes(), theirs[24..]);
        assert_eq!(ours.1.to_be_bytes(), theirs[..8]);
    }
}

#[test]
fn what_a_kernel_sent() {
    let mut work = Digest::default();
    let derived = [KA, KB].map(|key| derive(&mut work, Hash::Sha256, key));
    assert_eq!(
        derived.map(|derived| (derived.token, derived.idsn)),
        [
            (0x96b0_c477, 0x6f1a_8541_9889_20c1),
            (0x3286_abc1, 0x9b28_220c_4b04_5af9)
        ]
    );
    let (ra, rb) = (Nonce(0xc500_3625), Nonce(0x163c_1537));
    let synack = join_hmac(&mut work, Hash::Sha256, [KB, KA], [rb, ra]);
    assert_eq!(synack[..2], [0xf214_aae1, 0x0c35_b196]);
    assert_eq!(
        join_hmac(&mut work, Hash::Sha256, [KA, KB], [ra, rb]),
        [
            0x61f5_250b,
            0xf81a_71dc,
            0x7dfd_1fef,
            0x8b57_eadd,
            0x3650_2a70
        ]
    );
    // Identifier 9, 10.77.2.2, no port.
    work.message = [0x090a_4d02, 0x0200_0000, 0, 0, 0, 0, 0, 0];
    let (right, _) = add_addr_hmac(&mut work, [KB, KA], 7);
    assert_eq!(right, 0x360f_1fd4_dee8_e776);
}

#[test]
fn a_digest_prints_no_key() {
    let mut work = Digest::default();
    derive(&mut work, Hash::Sha256, KA);
    assert_eq!(format!("{:?}", work.digest()), "Digest(..)");
}
