//! PPPoE is read; what is passed by is counted by what it holds, and told in words.

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

#[test]
fn ethertypes_are_told_apart() -> Result<()> {
    let kernel = &mut Kernel::new()?;
    for (ethertype, wanted) in [
        (0x0806, Protocol::ARP),
        (0x8847, Protocol::MPLS),
        (0x8848, Protocol::MPLS),
        (0x9100, Protocol::QINQ),
        (0x9200, Protocol::QINQ),
        (0x88e5, Protocol::MACSEC),
        (0x8863, Protocol::PPPOE_DISCOVERY),
        (0x88cc, Protocol::LINK_CONTROL),
        (0x8809, Protocol::LINK_CONTROL),
        // What is near, or the same in the other byte order.
        (0x0807, Protocol::OTHER_ETHERTYPE),
        (0x8846, Protocol::OTHER_ETHERTYPE),
        (0x8849, Protocol::OTHER_ETHERTYPE),
        (0x9101, Protocol::OTHER_ETHERTYPE),
        (0x9300, Protocol::OTHER_ETHERTYPE),
        (0x8865, Protocol::OTHER_ETHERTYPE),
        (0x4788, Protocol::OTHER_ETHERTYPE),
        (0x0608, Protocol::OTHER_ETHERTYPE),
        (0xffff, Protocol::OTHER_ETHERTYPE),
        // A length ends in front of 0x600.
        (0x0600, Protocol::OTHER_ETHERTYPE),
        (0x05ff, Protocol::LLC),
        (0x05dc, Protocol::LLC),
        (0x0000, Protocol::LLC),
    ] {
        for tags in TAGS {
            let frame = Frame {
                ethertype: Some(ethertype),
                tags: tags.to_vec(),
                ..dss()
            };
            passes(
                kernel,
                &format!("{ethertype:#x} behind {tags:x?}"),
                &frame.bytes(),
                wanted,
            )?;
        }
    }
    Ok(())
}

#[test]
fn snap_is_llc_with_an_ethertype() -> Result<()> {
    let kernel = &mut Kernel::new()?;
    for (llc, wanted) in [
        ([0xaa, 0xaa, 3, 0, 0, 0], Protocol::SNAP),
        // Cisco's (CDP, per-VLAN spanning tree), spanning tree, IS-IS, another control field.
        ([0xaa, 0xaa, 3, 0, 0, 0x0c], Protocol::LLC),
        ([0xaa, 0xaa, 3, 0, 1, 0], Protocol::LLC),
        ([0x42, 0x42, 3, 0, 0, 0], Protocol::LLC),
        ([0xfe, 0xfe, 3, 0x83, 0, 0], Protocol::LLC),
        ([0xaa, 0xaa, 4, 0, 0, 0], Protocol::LLC),
    ] {
        for tags in TAGS {
            let mut frame = Frame {
                ethertype: Some(80),
                tags: tags.to_vec(),
                ..dss()
            }
            .bytes();
            let at = 14 + 4 * tags.len();
            frame[at..at + 6].copy_from_slice(&llc);
            passes(
                kernel,
                &format!("{llc:x?} behind {tags:x?}"),
                &frame,
                wanted,
            )?;
        }
    }
    Ok(())
}

#[test]
fn ip_protocols_are_told_apart() -> Result<()> {
    let kernel = &mut Kernel::new()?;
    for number in 0..=255 {
        for ipv6 in [false, true] {
            // TCP, and what may stand in front of it.
            if [6, 51].contains(&number) || (ipv6 && [0, 43, 44, 60].contains(&number)) {
                continue;
            }
            let wanted = match number {
                17 => Protocol::UDP,
                number => Protocol(number.into()),
            };
            for tags in &TAGS[..2] {
                let frame = Frame {
                    protocol: number,
                    ipv6,
                    tags: tags.to_vec(),
                    ..dss()
                };
                let what = format!("protocol {number}, IPv6 {ipv6}, behind {tags:x?}");
                passes(kernel, &what, &frame.bytes(), wanted)?;
            }
        }
    }
    // Behind an extension header, and behind IPv4 options.
    let frame = Frame {
        ipv6: true,
        protocol: 47,
        extensions: vec![(60, vec![0; 7])],
        ..dss()
    };
    passes(
        kernel,
        "GRE behind an extension header",
        &frame.bytes(),
        Protocol(47),
    )?;
    let frame = Frame {
        protocol: 50,
        ip_options: vec![1; 8],
        ..dss()
    };
    passes(
        kernel,
        "ESP behind IPv4 options",
        &frame.bytes(),
        Protocol(50),
    )
}

#[test]
fn tunnels_in_udp_are_known_by_the_port_they_go_to() -> Result<()> {
    let kernel = &mut Kernel::new()?;
    for (port, wanted) in [
        (4789, Protocol::VXLAN),
        (8472, Protocol::VXLAN),
        (6081, Protocol::GENEVE),
        (2152, Protocol::GTP_U),
        (4788, Protocol::UDP),
        (4790, Protocol::UDP),
        (8473, Protocol::UDP),
        (6080, Protocol::UDP),
        (2151, Protocol::UDP),
        (443, Protocol::UDP),
        (4789_u16.swap_bytes(), Protocol::UDP),
    ] {
        let udp = Frame {
            protocol: 17,
            ports: [40000, port],
            ..dss()
        };
        for tags in TAGS {
            for ip_options in [vec![], vec![1; 4]] {
                let frame = Frame {
                    tags: tags.to_vec(),
                    ip_options,
                    ..udp.clone()
                };
                passes(kernel, &format!("port {port}"), &frame.bytes(), wanted)?;
            }
        }
        // Not by the port it comes from, not over IPv6, and not of TCP.
        let from = Frame {
            ports: [port, 40000],
            ..udp.clone()
        };
        passes(kernel, "from there", &from.bytes(), Protocol::UDP)?;
        let ipv6 = Frame {
            ipv6: true,
            ..udp.clone()
        };
        passes(kernel, "over IPv6", &ipv6.bytes(), Protocol::UDP)?;
        let tcp = Frame {
            protocol: 6,
            ..udp.clone()
        };
        sees(kernel, "TCP", &tcp.bytes())?;
        // A later fragment has no ports.
        let fragment = Frame { fragment: 7, ..udp };
        passes(kernel, "a fragment", &fragment.bytes(), Outcome::Fragment)?;
    }
    Ok(())
}

/// Frames that are shorter than what is looked at in place.
#[test]
fn short_frames_are_told_apart_too() -> Result<()> {
    let kernel = &mut Kernel::new()?;
    let short = |frame: Frame, length: usize| frame.bytes()[..length].to_vec();
    let of = |ethertype| Frame {
        ethertype: Some(ethertype),
        ..dss()
    };
    passes(kernel, "ARP", &short(of(0x0806), 42), Protocol::ARP)?;
    passes(kernel, "MPLS", &short(of(0x8847), 38), Protocol::MPLS)?;
    passes(kernel, "LLC", &short(of(3), 17), Protocol::LLC)?;
    passes(
        kernel,
        "an Ethernet header",
        &short(of(0x88b5), 15),
        Protocol::OTHER_ETHERTYPE,
    )?;
    let ip = |protocol, port| Frame {
        protocol,
        ports: [1, port],
        ..dss()
    };
    passes(kernel, "ICMP", &short(ip(1, 0), 14 + 28), Protocol(1))?;
    passes(
        kernel,
        "VXLAN",
        &short(ip(17, 4789), 14 + 28),
        Protocol::VXLAN,
    )?;
    passes(
        kernel,
        "UDP without its ports",
        &short(ip(17, 4789), 14 + 20),
        Protocol::UDP,
    )
}

#[test]
fn tcp_is_found_in_pppoe() -> Result<()> {
    let kernel = &mut Kernel::new()?;
    for tags in TAGS {
        for ipv6 in [false, true] {
            let frame = Frame {
                ipv6,
                tags: tags.to_vec(),
                ..pppoe(Pppoe::default())
            };
            let what = format!("IPv6 {ipv6} behind {tags:x?}");
            sees(kernel, &what, &frame.bytes())?;
            // Padding of Ethernet, and padding that PPPoE takes for PPP's.
            let padded = Frame {
                padding: 9,
                ..frame.clone()
            };
            sees(kernel, &what, &padded.bytes())?;
            let length = frame.ip().len() as u16;
            let with_length = |length| Frame {
                pppoe: Some(Pppoe {
                    length: Some(length),
                    ..Pppoe::default()
                }),
                ..frame.clone()
            };
            sees(kernel, &what, &with_length(length + 2 + 9).bytes())?;
            // IP is longer than PPP.
            for short in [length + 1, 22, 3, 2, 1, 0] {
                passes(
                    kernel,
                    &what,
                    &with_length(short).bytes(),
                    Outcome::Truncated,
                )?;
            }
            // What IP says holds within.
            let extensions = if ipv6 {
                vec![(0, vec![0; 7]), (60, vec![0; 7])]
            } else {
                vec![]
            };
            let ip_options = if ipv6 { vec![] } else { vec![1; 8] };
            let more = Frame {
                extensions,
                ip_options,
                ..frame.clone()
            };
            sees(kernel, &what, &more.bytes())?;
            let udp = Frame {
                protocol: 17,
                ..frame.clone()
            };
            passes(kernel, &what, &udp.bytes(), Protocol::UDP)?;
            let cut = Frame {
                ip_length: Some(if ipv6 { 27 } else { 47 }),
                ..frame.clone()
            };
            passes(kernel, &what, &cut.bytes(), Outcome::Truncated)?;
            if !ipv6 {
                let fragment = Frame {
                    fragment: 100,
                    ..frame.clone()
                };
                passes(kernel, &what, &fragment.bytes(), Outcome::Fragment)?;
            }
            // Cut off anywhere.
            let bytes = frame.bytes();
            let headers = bytes.len() - frame.payload;
            for end in 15..headers {
                passes(kernel, &what, &bytes[..end], Outcome::Truncated)?;
            }
        }
    }
    Ok(())
}

#[test]
fn pppoe_that_is_not_ip() -> Result<()> {
    let kernel = &mut Kernel::new()?;
    for (kind, protocol, wanted) in [
        // LCP, IPCP, IPV6CP, PAP, CHAP.
        (None, Some(0xc021), Protocol::PPPOE_CONTROL),
        (None, Some(0x8021), Protocol::PPPOE_CONTROL),
        (None, Some(0x8057), Protocol::PPPOE_CONTROL),
        (None, Some(0xc023), Protocol::PPPOE_CONTROL),
        (None, Some(0xc223), Protocol::PPPOE_CONTROL),
        (None, Some(0x8000), Protocol::PPPOE_CONTROL),
        // Multilink, compressed, MPLS, Van Jacobson, a protocol of one byte, IPv4 in the other byte order.
        (None, Some(0x7fff), Protocol::PPPOE_OTHER),
        (None, Some(0x003d), Protocol::PPPOE_OTHER),
        (None, Some(0x00fd), Protocol::PPPOE_OTHER),
        (None, Some(0x0281), Protocol::PPPOE_OTHER),
        (None, Some(0x002d), Protocol::PPPOE_OTHER),
        (None, Some(0x2145), Protocol::PPPOE_OTHER),
        (None, Some(0x0020), Protocol::PPPOE_OTHER),
        (None, Some(0x2100), Protocol::PPPOE_OTHER),
        // Another version, type or code.
        (Some([0x21, 0]), None, Protocol::PPPOE_OTHER),
        (Some([0x12, 0]), None, Protocol::PPPOE_OTHER),
        (Some([0x10, 0]), None, Protocol::PPPOE_OTHER),
        (Some([0x11, 0xa7]), None, Protocol::PPPOE_OTHER),
        (Some([0x11, 1]), None, Protocol::PPPOE_OTHER),
        (Some([0, 0x11]), None, Protocol::PPPOE_OTHER),
        (Some([0x11, 9]), Some(0xc021), Protocol::PPPOE_OTHER),
    ] {
        for tags in TAGS {
            let frame = Frame {
                tags: tags.to_vec(),
                ..pppoe(Pppoe {
                    kind,
                    protocol,
                    length: None,
                })
            };
            let what = format!("{kind:x?} {protocol:x?} behind {tags:x?}");
            passes(kernel, &what, &frame.bytes(), wanted)?;
        }
    }
    // LCP without padding: 4 bytes behind the protocol.
    let lcp = pppoe(Pppoe {
        protocol: Some(0xc021),
        ..Pppoe::default()
    });
    passes(
        kernel,
        "LCP",
        &lcp.bytes()[..14 + 8 + 4],
        Protocol::PPPOE_CONTROL,
    )?;
    // In a third tag, and in PPPoE once more.
    let three = Frame {
        tags: vec![0x88a8, 0x8100, 0x8100],
        ..pppoe(Pppoe::default())
    };
    passes(kernel, "three tags", &three.bytes(), Outcome::VlanDepth)?;
    let discovery = Frame {
        ethertype: Some(0x8863),
        ..pppoe(Pppoe::default())
    };
    passes(
        kernel,
        "discovery",
        &discovery.bytes(),
        Protocol::PPPOE_DISCOVERY,
    )
}

/// The length of a buffer of several packets is the first one's.
#[test]
fn merged_pppoe_is_as_long_as_ip_says() -> Result<()> {
    let mut kernel = Kernel::new()?;
    let map = option(2, 0, &[0x04, 0, 0, 0, 5, 0, 0, 0, 1, 0, 250]);
    let frame = Frame {
        pppoe: Some(Pppoe {
            length: Some(2 + 20 + 20 + 16 + 100),
            ..Pppoe::default()
        }),
        ..Frame::new(ACK, &map, 250)
    }
    .bytes();
    let merged = Merged {
        packets: 3,
        size: 100,
    };
    let counted = kernel.run_merged(Program::TcEgress, &frame, merged, 3)?;
    ensure!(counted.tx.dss() == 3, "{counted:?}");
    let counted = kernel.run(Program::TcEgress, &frame)?;
    ensure!(counted.leaves.truncated == 1, "{counted:?}");
    Ok(())
}

/// A tag that the device took out counts as one that stands there.
#[test]
fn a_stripped_tag_in_front_of_pppoe() {
    let engine = Offline::new(host());
    for (tags, stripped_tags, wanted) in [
        (0, 1, Ok(())),
        (1, 1, Ok(())),
        (2, 0, Ok(())),
        (2, 1, Err(Outcome::VlanDepth.into())),
    ] {
        let frame = Frame {
            tags: vec![0x8100; tags],
            ..pppoe(Pppoe::default())
        }
        .bytes();
        let slice = Slice {
            is_merged: false,
            bytes: &frame,
            length: frame.len(),
            stripped_tags,
            is_whole: true,
        };
        let shape = packet::classify(&slice, || false, |_| false);
        assert_eq!(shape, FrameClass::Other);
        let mut work = Work::default();
        let found = packet::find_tcp(&slice, &engine, shape, || Some(&mut work));
        assert_eq!(
            found.map(drop),
            wanted,
            "{tags} tags, {stripped_tags} taken out"
        );
    }
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

/// The WAN side of a home gateway, behind several link-layer headers.
#[test]
fn a_capture_of_pppoe() -> Result<()> {
    let path = own().join("pppoe.pcap");
    let plain = recorded(&path, &[])?;
    ensure!(
        options(&plain, "MP_CAPABLE") == 3 && options(&plain, "DSS") == 11,
        "{plain:#}"
    );
    ensure!(event(&plain, "session_created") == 1);
    let differ = differences(&path, &plain)?;
    ensure!(differ.is_empty(), "{differ:?}");
    ensure!(plain["probe"]["note"].is_null(), "{}", plain["probe"]);
    // Linux cooked, both versions: the EtherType, and what stands behind it.
    let records = record::read(&fs::read(&path)?)?;
    let cooked = [0, 4, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 0x88, 0x64];
    let cooked_2 = [
        0x88, 0x64, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0,
    ];
    let directory = Directory::new()?;
    for (name, link_type, header) in [("sll", 113, &cooked[..]), ("sll2", 276, &cooked_2)] {
        let records: Vec<_> = records
            .iter()
            .map(|record| Record {
                bytes: [header, &record.bytes[14..]].concat(),
                length: record.length - 14 + header.len() as u32,
                ..record.clone()
            })
            .collect();
        let file = directory.write(name, pcap(PCAP, link_type, &records))?;
        let stat = recorded(&file, &[])?;
        for part in ["counters", "options", "extra", "probe"] {
            ensure!(stat[part] == plain[part], "{name}: {:#}", stat[part]);
        }
    }
    Ok(())
}

/// The same capture in other wrappings that are not read: none of them is silent.
#[test]
fn what_is_not_read_is_told_everywhere() -> Result<()> {
    let pppoe = record::read(&fs::read(own().join("pppoe.pcap"))?)?;
    let directory = Directory::new()?;
    let gre = |packet: &[u8]| -> Vec<u8> {
        let mut outer = Frame {
            protocol: 47,
            ..Frame::default()
        }
        .ip()[..20]
            .to_vec();
        outer[2..4].copy_from_slice(&(24 + packet.len() as u16).to_be_bytes());
        [&[0x08, 0x00][..], &outer, &[0, 0, 8, 0], packet].concat()
    };
    let snap = |packet: &[u8]| -> Vec<u8> {
        let length = (8 + packet.len() as u16).to_be_bytes();
        [&length[..], &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], packet].concat()
    };
    let mpls = |packet: &[u8]| [&[0x88, 0x47, 0, 0x10, 1, 64][..], packet].concat();
    let qinq = |packet: &[u8]| [&[0x91, 0, 0, 7, 8, 0][..], packet].concat();
    let three = |packet: &[u8]| {
        let tags = [0x81, 0, 0, 7, 0x81, 0, 0, 7, 0x81, 0, 0, 7, 8, 0];
        [&tags[..], packet].concat()
    };
    type Wrap<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let wrappings: [(&str, Wrap<'_>, &str); 5] = [
        ("gre", &gre, "GRE (IP protocol 47)"),
        ("snap", &snap, "LLC/SNAP"),
        ("mpls", &mpls, "MPLS (EtherType 0x8847)"),
        ("qinq", &qinq, "EtherType 0x9100"),
        ("tags", &three, "more than two VLAN tags"),
    ];
    for (name, wrap, called) in wrappings {
        let records: Vec<_> = pppoe
            .iter()
            .map(|record| {
                let bytes = [&record.bytes[..12], &wrap(&record.bytes[22..])].concat();
                Record {
                    length: bytes.len() as u32,
                    bytes,
                    ..record.clone()
                }
            })
            .collect();
        let file = directory.write(&format!("{name}.pcap"), pcap(PCAP, 1, &records))?;
        let stat = recorded(&file, &[])?;
        let note = stat["probe"]["note"].as_str().context("no note")?;
        ensure!(
            note.starts_with("100 % of the frames hold no TCP that is read: 14 ")
                && note.contains(called),
            "{name}: {note}"
        );
        let count = match name {
            "tags" => &stat["probe"]["vlan_depth"],
            name => &stat["probe"]["protocols"][name],
        };
        ensure!(*count == 14, "{name}: {}", stat["probe"]);
        let table = output(&mut command(&["stat", "-logFile", &file]))?;
        ensure!(table.contains(note), "{name}: {table}");
        let page = output(&mut command(&["report", &file, "-o", "-"]))?;
        ensure!(page.contains(note), "{name}: no note on the page");
        // Beside a hundred times as much TCP it is not worth a word.
        let mut more = record::read(&fs::read(own().join("basic.pcap"))?)?;
        let last = more.last().context("no packets")?.clone();
        while more.len() < 1400 {
            more.push(last.clone());
        }
        more.extend(records.iter().take(14).cloned());
        let both = directory.write("both.pcap", pcap(PCAP, 1, &more))?;
        let quiet = recorded(&both, &[])?;
        ensure!(
            quiet["probe"]["note"].is_null(),
            "{name}: {}",
            quiet["probe"]
        );
    }
    Ok(())
}

/// All names that JSON may have are in the documents.
#[test]
fn names_in_json_are_those_of_the_documents() -> Result<()> {
    let document = fs::read_to_string(own().join("../../../docs/counters.md"))?;
    let mut missing = Vec::new();
    for number in 0..Protocol::NONE.0 {
        if let Some((name, _)) = Protocol(number).name()
            && !document.contains(&format!("`{name}`"))
        {
            missing.push(name);
        }
    }
    ensure!(missing.is_empty(), "docs/counters.md lacks {missing:?}");
    Ok(())
}
