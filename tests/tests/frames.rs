//! Frames of every shape: where the TCP header is found, where there is none, and what other
//! programs of this field get wrong.

use anyhow::{Result, ensure};
use mptcp_common::counter::{Counters, Outcome, Outcomes};
use mptcp_tests::{
    frame::{ACK, Frame, SYN, SYN_ACK, option, sized},
    kernel::{self, Kernel, Merged, Program},
};
use mptcp_user::offline::{self, Scope};

const DSS: [u8; 8] = [30, 8, 0x20, 0x01, 0, 0, 0, 9];

/// Runs a frame through all programs, and says the leaf it ended in and the DSS that were seen.
fn leaf(kernel: &mut Kernel, frame: &[u8]) -> Result<(Outcome, u64)> {
    let counted = kernel.run(Program::XdpIngress, frame)?;
    let again = kernel.run(Program::TcEgress, frame)?;
    ensure!(
        counted.leaves == again.leaves,
        "XDP and TC end in different leaves"
    );
    let leaf = Outcome::ALL.into_iter().find(|leaf| {
        let mut leaves = Outcomes::default();
        leaves.add(*leaf, 1);
        leaves == counted.leaves
    });
    Ok((leaf.expect("one leaf"), counted.rx.dss()))
}

fn dss() -> Frame {
    Frame::new(ACK, &DSS, 5)
}

/// The option is found.
fn sees(kernel: &mut Kernel, what: &str, frame: &Frame) -> Result<()> {
    let result = leaf(kernel, &frame.bytes())?;
    ensure!(result == (Outcome::Mptcp, 1), "{what}: {result:?}");
    Ok(())
}

/// The frame ends in another leaf, and nothing is counted of it.
fn ends(kernel: &mut Kernel, what: &str, frame: &[u8], wanted: Outcome) -> Result<()> {
    let result = leaf(kernel, frame)?;
    ensure!(
        result == (wanted, 0),
        "{what}: {result:?} and not {wanted:?}"
    );
    Ok(())
}

/// An extension header of `units` times 8 bytes.
fn extension(units: usize) -> Vec<u8> {
    let mut body = vec![(units - 1) as u8];
    body.resize(units * 8 - 1, 0);
    body
}

/// An AH of `words` times 4 bytes.
fn authentication(words: usize) -> Vec<u8> {
    let mut body = vec![(words - 2) as u8];
    body.resize(words * 4 - 1, 0x77);
    body
}

fn fragment_header(offset: u16) -> Vec<u8> {
    // The reserved byte is not a length.
    let mut body = vec![0xff];
    body.extend((offset << 3 | 1).to_be_bytes());
    body.extend([0, 0, 0, 1]);
    body
}

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
fn a_frame_cut_anywhere_is_passed() -> Result<()> {
    let kernel = &mut Kernel::new()?;
    for frame in [
        Frame {
            tags: vec![0x8100],
            ..dss()
        },
        Frame {
            ipv6: true,
            extensions: vec![(0, extension(1)), (51, authentication(6))],
            ..dss()
        },
        Frame {
            ip_options: vec![1; 8],
            options: sized(40, &[0x20]),
            ..dss()
        },
    ] {
        let bytes = frame.bytes();
        let headers = bytes.len() - frame.payload;
        // The kernel runs no program over less than an Ethernet header.
        for end in 14..headers {
            let counted = kernel.run(Program::XdpIngress, &bytes[..end])?;
            ensure!(
                counted.leaves.truncated == 1,
                "cut to {end} bytes: {:?}",
                counted.leaves
            );
        }
        for end in headers..=bytes.len() {
            let counted = kernel.run(Program::XdpIngress, &bytes[..end])?;
            ensure!(
                counted.leaves.mptcp == 1,
                "cut to {end} bytes: {:?}",
                counted.leaves
            );
        }
    }
    Ok(())
}

#[test]
fn lengths_that_lie_are_found_out() -> Result<()> {
    let kernel = &mut Kernel::new()?;
    // IP ends inside the TCP header: what follows is padding, not options.
    for short in 1..=8 + 20 {
        let frame = Frame {
            payload: 0,
            padding: 40,
            ..dss()
        };
        let length = 20 + 20 + 8 - short;
        let bytes = Frame {
            ip_length: Some(length),
            ..frame.clone()
        }
        .bytes();
        ends(kernel, "IPv4 ends early", &bytes, Outcome::Truncated)?;
        if length >= 20 {
            let bytes = Frame {
                ip_length: Some(length - 20),
                ipv6: true,
                ..frame
            }
            .bytes();
            ends(kernel, "IPv6 ends early", &bytes, Outcome::Truncated)?;
        }
    }
    // An extension header longer than the packet.
    let extensions = vec![(60, vec![200, 0, 0, 0, 0, 0, 0])];
    let bytes = Frame {
        ipv6: true,
        extensions,
        ..dss()
    }
    .bytes();
    ends(
        kernel,
        "extension header too long",
        &bytes,
        Outcome::Truncated,
    )?;
    // A data offset of 15 words, with payload where options should be: the option area ends at
    // the data offset, and the payload is no option.
    let frame = Frame {
        data_offset: Some(5),
        options: DSS.to_vec(),
        ..dss()
    }
    .bytes();
    ends(kernel, "payload is no option", &frame, Outcome::Tcp)
}

#[test]
fn ethernet_padding_is_no_payload() -> Result<()> {
    let mut kernel = Kernel::new()?;
    // A mapping of one byte on a segment without any: LDataLen moves only if padding is not
    // taken for payload.
    let map = option(2, 0, &[0x04, 0, 0, 0, 5, 0, 0, 0, 1, 0, 1]);
    for ipv6 in [false, true] {
        let frame = Frame {
            padding: 20,
            ipv6,
            ..Frame::new(ACK, &map, 0)
        }
        .bytes();
        let counted = kernel.run(Program::XdpIngress, &frame)?;
        ensure!(counted.rx.dss_partial == 1, "padding counted as payload");
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

#[test]
fn a_middlebox_knows_the_direction_of_syns_only() -> Result<()> {
    let mut kernel = Kernel::with(offline::Config::default())?;
    let mut run = |frame: Frame| kernel.run(Program::XdpIngress, &frame.bytes());
    let syn = run(Frame::new(SYN, &[30, 4, 1, 1], 0))?;
    ensure!((syn.rx.capable_syn, syn.tx, syn.unknown) == (1, zero().tx, zero().unknown));
    // Each of a connection of its own, of which nothing else was seen.
    let other = |port, frame| Frame {
        ports: [port, 5000],
        ..frame
    };
    let syn_ack = run(other(1, Frame::new(SYN_ACK, &sized(12, &[1, 1]), 0)))?;
    ensure!((syn_ack.tx.capable_synack, syn_ack.rx) == (1, zero().rx));
    let later = run(other(2, dss()))?;
    ensure!((later.unknown.dss(), later.rx, later.tx) == (1, zero().rx, zero().tx));
    Ok(())
}

fn zero() -> Counters {
    Counters::default()
}

/// Three packets of 100, 100 and 50 bytes: which are shorter than what the mapping says?
#[test]
fn each_packet_of_a_buffer_is_compared_with_its_mapping() -> Result<()> {
    let mut kernel = Kernel::new()?;
    for (length, shorter) in [(50, 0), (51, 1), (100, 1), (101, 3)] {
        let map = option(2, 0, &[0x04, 0, 0, 0, 5, 0, 0, 0, 1, 0, length]);
        let merged = Merged {
            packets: 3,
            size: 100,
        };
        let frame = Frame::new(ACK, &map, 250).bytes();
        let counted = kernel.run_merged(Program::TcEgress, &frame, merged, 3)?;
        ensure!(
            counted.tx.dss_partial == shorter,
            "{length}: {}",
            counted.tx.dss_partial
        );
    }
    Ok(())
}

/// BIG TCP: the IP header of a buffer above 64 KiB says 0.
#[test]
fn a_merged_buffer_needs_no_length_in_its_ip_header() -> Result<()> {
    let mut kernel = Kernel::new()?;
    for ipv6 in [false, true] {
        let frame = Frame {
            ip_length: Some(0),
            ipv6,
            ..Frame::new(ACK, &DSS, 250)
        };
        let merged = Merged {
            packets: 3,
            size: 100,
        };
        let counted = kernel.run_merged(Program::TcEgress, &frame.bytes(), merged, 3)?;
        ensure!(counted.tx.dss() == 3, "IPv6 {ipv6}: {counted:?}");
        // A frame from the wire needs it, and a buffer of one packet does too.
        for program in [Program::XdpIngress, Program::TcIngress, Program::TcEgress] {
            let counted = kernel.run(program, &frame.bytes())?;
            let leaves = counted.leaves;
            let is_dropped = if ipv6 {
                leaves.truncated
            } else {
                leaves.malformed_ip
            } == 1;
            ensure!(is_dropped && leaves.mptcp == 0, "IPv6 {ipv6}: {counted:?}");
        }
    }
    Ok(())
}

#[test]
fn a_buffer_counts_the_packets_it_becomes() -> Result<()> {
    let mut kernel = Kernel::new()?;
    let map = option(2, 0, &[0x04, 0, 0, 0, 5, 0, 0, 0, 1, 0, 250]);
    let frame = Frame::new(ACK, &map, 250).bytes();
    for (segments, size, packets, partial) in [(3, 100, 3, 3), (0, 100, 3, 3), (0, 0, 1, 0)] {
        let merged = Merged {
            packets: segments,
            size,
        };
        let counted = kernel.run_merged(Program::TcEgress, &frame, merged, packets)?;
        ensure!(
            counted.tx.dss() == packets,
            "{segments} segments of {size}: {counted:?}"
        );
        ensure!(
            counted.tx.dss_partial == partial,
            "{segments} of {size}: {counted:?}"
        );
    }
    Ok(())
}
