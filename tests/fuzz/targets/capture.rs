//! Any bytes as a capture: all packets in front of what is broken are counted, memory is bounded, and
//! it does not matter in which pieces the bytes come.

#![no_main]

use std::{
    alloc::System,
    io::{self, Read},
};

use cap::Cap;
use libfuzzer_sys::fuzz_target;
use mptcp_fuzz::{Pieces, config};
use mptcp_tests::record;
use mptcp_user::capture::{Reading, read};

/// Tables and buffers, and twice the longest block of a pcapng file.
#[global_allocator]
static LIMIT: Cap<System> = Cap::new(System, 96 << 20);

fuzz_target!(|data: &[u8]| {
    let [how, seed, file @ ..] = data else {
        return;
    };
    let whole = run(*how, io::Cursor::new(file.to_vec()));
    let pieces = Pieces::new(file, *seed);
    // A decoder that finds damage keeps the last bytes in front of it, and how many depends on pieces.
    let is_packed = file.starts_with(&[0x1f, 0x8b]) || file.starts_with(&[0x28, 0xb5]);
    if !is_packed || whole.broken.is_none() {
        assert_eq!(whole, run(*how, pieces));
    }
    let packets = whole.counters.frames + whole.skipped;
    let (wanted, is_whole) = record::count(file);
    let broken = &whole.broken;
    assert!(packets >= wanted, "{packets} of {wanted}: {broken:?}");
    if is_whole && whole.counters.frames > 0 {
        assert!(packets == wanted, "{packets} of {wanted}");
        assert!(broken.is_none(), "{broken:?}");
    }
});

fn run(how: u8, bytes: impl Read + 'static) -> Reading {
    read(bytes, config(how & !1))
}
