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
use mptcp_user::capture::{CaptureContents as Reading, read};

/// Tables and buffers, twice the longest block of a pcapng file, and the largest dictionary of xz.
#[global_allocator]
static LIMIT: Cap<System> = Cap::new(System, 240 << 20);

fuzz_target!(|data: &[u8]| {
    let [how, seed, file @ ..] = data else {
        return;
    };
    let whole = run(*how, io::Cursor::new(file.to_vec()));
    let pieces = Pieces::new(file, *seed);
    // A decoder that finds damage keeps the last bytes in front of it, and how many depends on pieces.
    let magics: [&[u8]; 6] = [
        &[0x1f, 0x8b],
        &[0x28, 0xb5],
        &[0x50, 0x2a],
        b"\xfd7zXZ",
        b"BZh",
        &[0x04, 0x22, 0x4d],
    ];
    let is_packed = magics.iter().any(|magic| file.starts_with(magic));
    if !is_packed || whole.broken.is_none() {
        assert_eq!(whole, run(*how, pieces));
    }
    let packets = whole.counters.frames + whole.skipped;
    let (wanted, is_whole) = record::count(file);
    let broken = &whole.broken;
    assert!(packets >= wanted, "{packets} of {wanted}: {broken:?}");
    // A capture of which no packet is read is refused.
    if is_whole && (packets == 0 || whole.counters.frames > 0) {
        assert!(packets == wanted, "{packets} of {wanted}");
        assert!(broken.is_none(), "{broken:?}");
    }
});

fn run(how: u8, bytes: impl Read + 'static) -> Reading {
    read(bytes, config(how & !1))
}
