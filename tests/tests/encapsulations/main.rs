//! PPPoE is read; what is passed by is counted by what it holds, and told in words.

mod passed;
mod pppoe_session;

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result, ensure};
use mptcp_common::{
    counter::{Counters, Outcome, Passed, Protocol},
    packet::{self, Buffer, FrameClass, Work},
};
use mptcp_tests::{
    captures::own,
    files::Directory,
    frame::{ACK, Frame, Pppoe, option},
    headers::{self, Kind},
    kernel::{Kernel, Merged, Program, host},
    net::output,
    numbers::Numbers,
    probe::{command, recorded},
    record::{self, PCAP, Record, pcap},
    tshark::{differences, event, options},
};
use mptcp_user::offline::{Capacity, Config, Offline, Slice};

const DSS: [u8; 8] = [30, 8, 0x20, 0x01, 0, 0, 0, 9];
/// EtherTypes of tags in front of a frame.
const TAGS: [&[u16]; 3] = [&[], &[0x8100], &[0x88a8, 0x8100]];

/// An engine for few packets, made quickly.
fn config() -> Config {
    Config {
        sizes: Capacity {
            sessions: 64,
            subflows: 64,
            handshakes: 64,
            ranges: Capacity::default().ranges,
        },
        ..host()
    }
}

fn dss() -> Frame {
    Frame::new(ACK, &DSS, 5)
}

fn pppoe(pppoe: Pppoe) -> Frame {
    Frame {
        pppoe: Some(pppoe),
        ..dss()
    }
}

/// Of one frame its leaf, what it holds instead of TCP, and DSS.
type Counted = (Option<Outcome>, Vec<(Protocol, u64)>, u64);

/// What was counted of one frame.
fn counted(counters: &Counters) -> Counted {
    let leaf = Outcome::ALL.into_iter().find(|leaf| {
        let mut leaves = mptcp_common::counter::Outcomes::default();
        leaves.add(*leaf, 1);
        leaves == counters.leaves
    });
    let all = counters.directions().map(|(_, events)| events.dss());
    (leaf, counters.protocols().collect(), all.iter().sum())
}

/// Counts a frame by all programs and by the engine, with and without its ways in place.
fn everywhere(kernel: &mut Kernel, frame: &[u8]) -> Result<Counted> {
    let mut all = Vec::new();
    for program in [Program::XdpIngress, Program::TcIngress, Program::TcEgress] {
        all.push(counted(&kernel.run(program, frame)?));
    }
    for fast_path_enabled in [true, false] {
        let mut engine = Offline::new(Config {
            fast_path_enabled,
            ..config()
        });
        engine.frame(frame, Buffer::ONE, 1);
        all.push(counted(&engine.counters()));
    }
    ensure!(all.iter().all(|one| *one == all[0]), "{all:?}");
    Ok(all.swap_remove(0))
}

/// The frame is passed by, as this.
fn passes(kernel: &mut Kernel, what: &str, frame: &[u8], wanted: impl Into<Passed>) -> Result<()> {
    let Passed { leaf, protocol } = wanted.into();
    let protocols = match protocol {
        Protocol::NONE => vec![],
        protocol => vec![(protocol, 1)],
    };
    let is = everywhere(kernel, frame).with_context(|| what.to_owned())?;
    ensure!(is == (Some(leaf), protocols, 0), "{what}: {is:?}");
    Ok(())
}

/// Its DSS is counted.
fn sees(kernel: &mut Kernel, what: &str, frame: &[u8]) -> Result<()> {
    let is = everywhere(kernel, frame).with_context(|| what.to_owned())?;
    ensure!(is == (Some(Outcome::Mptcp), vec![], 1), "{what}: {is:?}");
    Ok(())
}

/// A frame of a random kind, of which some fields are random.
fn random(numbers: &mut Numbers) -> Vec<u8> {
    const ETHERTYPES: [u16; 12] = [
        0x0806, 0x8847, 0x8848, 0x9100, 0x9200, 0x8863, 0x88e5, 0x88cc, 0x8809, 0x0050, 0x88b5,
        0x8864,
    ];
    const PROTOCOLS: [u8; 12] = [6, 6, 17, 1, 58, 4, 41, 47, 50, 132, 51, 60];
    const PORTS: [u16; 6] = [4789, 8472, 6081, 2152, 443, 5000];
    let mut pick = |length: usize| numbers.below(length as u64) as usize;
    let tags = TAGS[pick(3)].to_vec();
    let is_pppoe = pick(3) == 0;
    let frame = Frame {
        tags,
        pppoe: is_pppoe.then(|| Pppoe {
            length: (pick(8) == 0).then(|| pick(100) as u16),
            protocol: (pick(4) == 0).then(|| [0xc021, 0x8021, 0x3d, 0x57, 0x21][pick(5)]),
            kind: (pick(8) == 0).then(|| [[0x11, 1], [0x21, 0]][pick(2)]),
        }),
        ethertype: (!is_pppoe && pick(2) == 0).then(|| ETHERTYPES[pick(12)]),
        ipv6: pick(2) == 0,
        protocol: PROTOCOLS[pick(12)],
        ports: [40000, PORTS[pick(6)]],
        ip_options: vec![1; 4 * pick(3)],
        fragment: u16::from(pick(10) == 0),
        ..dss()
    };
    let mut bytes = frame.bytes();
    if pick(4) == 0 {
        bytes.truncate(14 + pick(bytes.len() - 13));
    }
    if pick(4) == 0 {
        let at = 12 + pick(bytes.len() - 12);
        bytes[at] = pick(256) as u8;
    }
    bytes
}

/// What the frames hold adds up to their leaves, and each count is what a slow reader of the same headers says.
#[test]
fn counts_are_those_of_a_slow_reader_and_add_up() -> Result<()> {
    let mut kernel = Kernel::new()?;
    let mut engines = [true, false].map(|fast_path_enabled| {
        Offline::new(Config {
            fast_path_enabled,
            ..config()
        })
    });
    let mut numbers = Numbers::new(19);
    let mut wanted = BTreeMap::new();
    for _ in 0..5_000 {
        let frame = random(&mut numbers);
        let kind = Kind {
            is_layer_3: false,
            is_stripped: false,
            merged: 0,
        };
        if let Err(Passed { protocol, .. }) = headers::read(&frame, kind)
            && protocol != Protocol::NONE
        {
            *wanted.entry(protocol).or_insert(0) += 1;
        }
        for engine in &mut engines {
            engine.frame(&frame, Buffer::ONE, 1);
        }
        kernel.run(Program::XdpIngress, &frame)?;
    }
    ensure!(wanted.len() > 20, "{wanted:?}");
    for counters in [kernel.read()?, engines[0].counters(), engines[1].counters()] {
        let is: BTreeMap<_, u64> = counters.protocols().collect();
        ensure!(is == wanted, "{is:?}, and not {wanted:?}");
        let leaves = counters.leaves;
        ensure!(is.values().sum::<u64>() == leaves.not_ip + leaves.not_tcp);
    }
    Ok(())
}
