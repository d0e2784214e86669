//! Any bytes as a frame: what is gathered is what a slow reader of the same headers finds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mptcp_common::{
    packet::{
        self, Buffer, DssSegment, FrameClass, Packet, Work,
        hash::{Ends, Hashing, flow_tag},
    },
    wire::{Area, Dss},
};
use mptcp_fuzz::engine;
use mptcp_tests::headers::{self, Kind, Segment};
use mptcp_user::offline::Slice;

fuzz_target!(|data: &[u8]| {
    let [how, frame @ ..] = data else {
        return;
    };
    let is_layer_3 = how & 1 != 0;
    let is_stripped = how & 2 != 0;
    // A buffer of several packets may have no length in its IP header, and above 64 KiB it has none.
    let length = if how & 4 != 0 { 70_000 } else { frame.len() };
    let is_merged = how & 32 != 0;
    let merged = if is_merged || length > 65_535 {
        length
    } else {
        0
    };
    let mut buffer = Buffer::ONE;
    let slice = Slice {
        bytes: frame,
        length,
        stripped_tags: is_stripped.into(),
        is_merged,
        is_whole: how & 8 == 0,
    };
    let mut work = Work::default();
    let tables = engine(*how);
    let shape = if is_layer_3 {
        FrameClass::Layer3
    } else {
        packet::classify(&slice, || false, |_| false)
    };
    let secrets = Hashing::new(1, 32);
    let lone = packet::read_dss_in_place(&slice, shape, &buffer, *how & 16 != 0, Some(&secrets))
        .or_else(|| packet::read_ack_in_place(&slice, shape, &buffer, Some(&secrets)));
    let gathered = shape
        .passed()
        .map_or(Ok(()), Err)
        .and_then(|()| packet::find_tcp(&slice, &tables, shape, || Some(&mut work)))
        .and_then(|(header, work)| {
            let gathered =
                mptcp_common::engine::parse(&slice, &tables, false, &mut buffer, &header, work);
            Ok(gathered?)
        });
    // What is read in place is what is read of the copy.
    if let Some(DssSegment { packet, dss, tag }) = lone {
        let is = &work.packet;
        assert_eq!(gathered, Ok(()));
        let numbers = |packet: &Packet| {
            [
                packet.payload,
                packet.packets,
                packet.flags.0.into(),
                packet.sequence,
                packet.acknowledgment,
                packet.sender_is_second.into(),
            ]
        };
        assert_eq!(numbers(&packet), numbers(is));
        assert_eq!(tag, flow_tag(&secrets, &Ends::of(&work.flow, is.ipv6)));
        assert_eq!(
            Some(dss),
            Dss::read_in_place(|index| work.area.word(index), is.options)
        );
    }
    let wanted = headers::read(
        frame,
        Kind {
            is_layer_3,
            is_stripped,
            merged,
        },
    );
    match (gathered, wanted) {
        (Ok(()), Ok(wanted)) => assert_eq!(segment(&work), wanted),
        (is, wanted) => assert_eq!(is, wanted.map(drop)),
    }
});

/// What was gathered.
fn segment(work: &Work) -> Segment {
    let [source_high, source, destination_high, destination, ports] = work.flow.words;
    let address = |words: [u64; 2]| {
        let mut address = [0; 16];
        address[..8].copy_from_slice(&words[0].to_ne_bytes());
        address[8..].copy_from_slice(&words[1].to_ne_bytes());
        address
    };
    let packet = &work.packet;
    let mut area: Area = work.area;
    Segment {
        addresses: [
            address([source_high, source]),
            address([destination_high, destination]),
        ],
        ports: (ports as u32).to_ne_bytes(),
        sequence: packet.sequence,
        acknowledgment: packet.acknowledgment,
        flags: packet.flags.0,
        options: area.bytes_mut()[..packet.options as usize].to_vec(),
        payload_at: packet.payload_at as usize,
        payload: packet.payload as usize,
        ipv6: packet.ipv6,
        is_fragment: packet.is_fragment,
    }
}
