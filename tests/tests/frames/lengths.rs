//! Lengths that lie, and frames that are cut.

use super::*;

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
