//! Buffers of several packets.

use super::*;

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
