//! What is passed by, by what it holds.

use super::*;

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
