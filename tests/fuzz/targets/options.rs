//! Any bytes as an option area: engine, decoder and the tables of the RFCs agree.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mptcp_common::packet::Buffer;
use mptcp_fuzz::engine;
use mptcp_tests::{frame::Frame, options::agree};

fuzz_target!(|data: &[u8]| {
    let [flags, payload, options @ ..] = data else {
        return;
    };
    let options = &options[..options.len().min(40) / 4 * 4];
    let frame = Frame::new(*flags, options, usize::from(payload % 4)).bytes();
    let mut engine = engine(1);
    engine.frame(&frame, Buffer::ONE, 1);
    let events = engine.counters().rx;
    // What only holds a timestamp is not looked at.
    if let Err(error) = agree(&events, *flags, payload % 4 > 0, options) {
        panic!("{error:#}");
    }
});
