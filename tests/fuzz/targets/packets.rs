//! Any packets one after another: what has to hold of the numbers of any traffic holds, and the same
//! packets make the same tables.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mptcp_common::{
    counter::Event,
    packet::{self, Buffer, FrameClass, Work},
};
use mptcp_fuzz::{engine, packets, role};
use mptcp_tests::{sessions::invariants, tables};
use mptcp_user::offline::{Captured, Offline, Slice};

fuzz_target!(|data: &[u8]| {
    let [how, stream @ ..] = data else {
        return;
    };
    let (mut first, reports, now) = run(*how, stream);
    let counters = first.counters();
    assert!(counters.is_settled(), "{counters:?}");
    if let Err(error) = invariants(&counters, &first.gauges(now), role(*how)) {
        panic!("{error:#}");
    }
    let (second, again, _) = run(*how, stream);
    assert_eq!(counters, second.counters());
    assert_eq!(reports, again);
    assert!(tables::bytes(&first) == tables::bytes(&second));
    assert!(first.take_reports().is_empty());
});

/// The engine after these packets, what it told, and the time.
fn run(how: u8, stream: &[u8]) -> (Offline, Vec<Event>, u64) {
    let mut engine = engine(how);
    let mut now = 1_000_000_000_000;
    for packet in packets(stream) {
        now += packet.later;
        let captured = Captured {
            bytes: packet.bytes,
            length: packet.bytes.len() as u32,
            is_layer_3: false,
            ingress: comes_in(&engine, packet.bytes).unwrap_or(packet.ingress),
        };
        engine.captured(captured, now);
    }
    let reports = engine.take_reports();
    (engine, reports, now)
}

/// Does this segment come in? To a host, all that an end sends comes in, or all goes out: what the
/// lesser end sends comes in. `None` if there are no ends.
fn comes_in(engine: &Offline, bytes: &[u8]) -> Option<bool> {
    let frame = Slice {
        bytes,
        length: bytes.len(),
        stripped_tags: 0,
        is_merged: false,
        is_whole: false,
    };
    let (mut work, mut buffer) = (Work::default(), Buffer::ONE);
    let found = packet::find_tcp(&frame, engine, FrameClass::Other, || Some(&mut work));
    let (header, work) = found.ok()?;
    // One without options has ends as well.
    let _ = mptcp_common::engine::parse(&frame, engine, false, &mut buffer, &header, work);
    Some(!work.flow.is_reversed())
}
