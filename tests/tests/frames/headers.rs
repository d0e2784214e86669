//! Where the TCP header is found.

use super::*;

#[test]
fn tcp_is_found_behind_every_header() -> Result<()> {
    let kernel = &mut Kernel::new()?;
    sees(kernel, "IPv4", &dss())?;
    sees(
        kernel,
        "IPv6",
        &Frame {
            ipv6: true,
            ..dss()
        },
    )?;
    sees(
        kernel,
        "a tag",
        &Frame {
            tags: vec![0x8100],
            ..dss()
        },
    )?;
    sees(
        kernel,
        "two tags",
        &Frame {
            tags: vec![0x88a8, 0x8100],
            ipv6: true,
            ..dss()
        },
    )?;
    for words in 1..=10 {
        let ip_options = vec![1; words * 4];
        sees(
            kernel,
            "IPv4 options",
            &Frame {
                ip_options,
                ..dss()
            },
        )?;
    }
    for kind in [0, 43, 60] {
        for units in [1, 2, 3, 17, 256] {
            let extensions = vec![(kind, extension(units))];
            let frame = Frame {
                ipv6: true,
                extensions,
                ..dss()
            };
            sees(
                kernel,
                &format!("extension header {kind} of {units} units"),
                &frame,
            )?;
        }
    }
    for words in [3, 4, 6, 7] {
        for ipv6 in [true, false] {
            let extensions = vec![(51, authentication(words))];
            let frame = Frame {
                ipv6,
                extensions,
                ..dss()
            };
            sees(kernel, &format!("AH of {words} words, IPv6 {ipv6}"), &frame)?;
        }
    }
    let extensions = vec![
        (0, extension(1)),
        (60, extension(2)),
        (43, extension(3)),
        (44, fragment_header(0)),
        (51, authentication(6)),
        (60, extension(1)),
        (60, extension(1)),
        (60, extension(1)),
    ];
    sees(
        kernel,
        "eight extension headers",
        &Frame {
            ipv6: true,
            extensions,
            ..dss()
        },
    )
}

#[test]
fn other_frames_end_in_their_leaf() -> Result<()> {
    let kernel = &mut Kernel::new()?;
    for ethertype in [0x0806, 0x8847, 0x8863, 0x8864, 0x0100, 0x88cc] {
        let frame = Frame {
            ethertype: Some(ethertype),
            ..dss()
        }
        .bytes();
        ends(kernel, "not IP", &frame, Outcome::NotIp)?;
    }
    let tags = vec![0x88a8, 0x8100, 0x8100];
    ends(
        kernel,
        "three tags",
        &Frame { tags, ..dss() }.bytes(),
        Outcome::VlanDepth,
    )?;
    for protocol in [1, 17, 41, 47, 50, 132] {
        for ipv6 in [false, true] {
            let frame = Frame {
                protocol,
                ipv6,
                ..dss()
            }
            .bytes();
            ends(kernel, "not TCP", &frame, Outcome::NotTcp)?;
        }
    }
    // What is an extension header to IPv6 is a protocol to IPv4.
    for protocol in [0, 43, 44, 60] {
        let frame = Frame { protocol, ..dss() }.bytes();
        ends(
            kernel,
            "no extension headers in IPv4",
            &frame,
            Outcome::NotTcp,
        )?;
    }
    let nine = vec![(60, extension(1)); 9];
    let frame = Frame {
        ipv6: true,
        extensions: nine,
        ..dss()
    }
    .bytes();
    ends(
        kernel,
        "nine extension headers",
        &frame,
        Outcome::Ipv6Extensions,
    )?;
    let nine = vec![(51, authentication(3)); 9];
    let frame = Frame {
        extensions: nine,
        ..dss()
    }
    .bytes();
    ends(kernel, "nine AHs", &frame, Outcome::Ipv6Extensions)?;
    for ihl in [0x40, 0x44, 0x55, 0x65] {
        let frame = Frame {
            version_and_ihl: Some(ihl),
            ..dss()
        }
        .bytes();
        ends(
            kernel,
            "header length or version",
            &frame,
            Outcome::MalformedIp,
        )?;
    }
    let frame = Frame {
        ip_length: Some(19),
        ..dss()
    }
    .bytes();
    ends(
        kernel,
        "total length below the header",
        &frame,
        Outcome::MalformedIp,
    )?;
    for offset in 0..5 {
        let frame = Frame {
            data_offset: Some(offset),
            ..dss()
        }
        .bytes();
        ends(kernel, "data offset", &frame, Outcome::MalformedTcp)?;
    }
    ends(
        kernel,
        "no options",
        &Frame::new(ACK, &[], 5).bytes(),
        Outcome::Tcp,
    )?;
    let timestamps = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
    ends(
        kernel,
        "timestamps",
        &Frame::new(ACK, &timestamps, 5).bytes(),
        Outcome::Tcp,
    )
}

#[test]
fn a_later_fragment_has_no_tcp_header() -> Result<()> {
    let kernel = &mut Kernel::new()?;
    // Its payload looks like one.
    for offset in [1, 185, 0x1fff, 0x2001] {
        let frame = Frame {
            fragment: offset,
            ..dss()
        }
        .bytes();
        ends(kernel, "IPv4", &frame, Outcome::Fragment)?;
        let extensions = vec![(44, fragment_header(offset & 0x1fff))];
        let frame = Frame {
            ipv6: true,
            extensions,
            ..dss()
        }
        .bytes();
        ends(kernel, "IPv6", &frame, Outcome::Fragment)?;
    }
    sees(
        kernel,
        "the first one",
        &Frame {
            fragment: 0x2000,
            ..dss()
        },
    )?;
    sees(
        kernel,
        "not to be fragmented",
        &Frame {
            fragment: 0x4000,
            ..dss()
        },
    )
}

/// The payload of a first fragment is not the segment's: nothing is concluded from it.
#[test]
fn a_first_fragment_says_nothing_of_the_payload() -> Result<()> {
    let mut kernel = Kernel::new()?;
    let map = option(2, 0, &[0x04, 0, 0, 0, 5, 0, 0, 0, 1, 0, 100]);
    let capable = sized(22, &[1, 1]);
    for (options, payload) in [(&map, 56), (&capable, 0)] {
        let whole = Frame::new(ACK, options, payload);
        let first = Frame {
            fragment: 0x2000,
            ..whole.clone()
        };
        let extension = fragment_header(0);
        let first_of_ipv6 = Frame {
            ipv6: true,
            extensions: vec![(44, extension)],
            ..whole.clone()
        };
        for (frame, is_whole) in [(whole, true), (first, false), (first_of_ipv6, false)] {
            let counted = kernel.run(Program::XdpIngress, &frame.bytes())?;
            let concluded = counted.rx.dss_partial + counted.rx.invalid.iter().sum::<u64>();
            ensure!(concluded == u64::from(is_whole), "{frame:?}: {counted:?}");
        }
    }
    Ok(())
}

#[test]
fn options_behind_many_others_are_found() -> Result<()> {
    let kernel = &mut Kernel::new()?;
    for nops in 0..=32 {
        // Up to 33 options, and the last byte of the area belongs to one.
        let options = [vec![1; nops], DSS.to_vec()].concat();
        sees(
            kernel,
            &format!("behind {nops} NOPs"),
            &Frame { options, ..dss() },
        )?;
    }
    for unknown in 0..=16 {
        let options = [[254, 2].repeat(unknown), DSS.to_vec()].concat();
        sees(
            kernel,
            &format!("behind {unknown} unknown options"),
            &Frame { options, ..dss() },
        )?;
    }
    // A length of 0 or 1 ends the walk, and does not hang it.
    for length in [0, 1] {
        let options = [&[254, length][..], &DSS].concat();
        let frame = Frame { options, ..dss() }.bytes();
        ends(kernel, "length 0 or 1", &frame, Outcome::Tcp)?;
    }
    // The last byte of the frame is the last byte of an option.
    sees(
        kernel,
        "the frame ends with the option",
        &Frame {
            payload: 0,
            ..dss()
        },
    )
}

#[test]
fn headers_outside_of_the_linear_part_are_read() -> Result<()> {
    let mut kernel = Kernel::new()?;
    let frame = Frame {
        ipv6: true,
        tags: vec![0x8100],
        extensions: vec![(0, extension(2))],
        options: sized(40, &[0x20]),
        ..dss()
    };
    let frame = Frame {
        options: [vec![1; 32], DSS.to_vec()].concat(),
        payload: 6000,
        ..frame
    };
    let bytes = frame.bytes();
    let whole = kernel.run(Program::XdpIngress, &bytes)?;
    ensure!(whole.rx.dss() == 1);
    let headers = bytes.len() - frame.payload;
    for linear in 14..=headers + 1 {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index and
        // egress_ifindex; data_end tells the length of the linear part.
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&(linear as u32).to_ne_bytes());
        let counted = kernel.run_with(Program::XdpIngress, &bytes, Some(&context), 1)?;
        ensure!(counted == whole, "with {linear} linear bytes: {counted:?}");
    }
    Ok(())
}

#[test]
fn devices_without_link_layer_header() -> Result<()> {
    let mut kernel = Kernel::with(offline::Config {
        scope: Scope {
            is_layer_3: true,
            is_tracking: true,
            is_verifying: false,
            is_checking: false,
        },
        ..kernel::host()
    })?;
    for ipv6 in [false, true] {
        let packet = Frame { ipv6, ..dss() }.ip();
        let counted = kernel.run(Program::XdpIngress, &packet)?;
        ensure!(
            counted.rx.dss() == 1 && counted.leaves.mptcp == 1,
            "{counted:?}"
        );
    }
    let counted = kernel.run(Program::XdpIngress, &[0x50; 64])?;
    ensure!(counted.leaves.not_ip == 1);
    Ok(())
}
