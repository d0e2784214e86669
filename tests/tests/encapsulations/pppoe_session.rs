//! PPPoE session frames.

use super::*;

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
