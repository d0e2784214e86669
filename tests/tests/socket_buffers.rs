//! Socket buffers at TC: many packets in one, and headers outside of the linear part.

use anyhow::{Result, ensure};
use mptcp_tests::{
    capture::Capture,
    frame::{ACK, Frame},
    net::{Family, Pair, close, transfer, veth},
    packet::send_non_linear,
    probe::{Probe, total},
    witness::Seen,
};

/// client c0 --- r0 router r1 --- s0 server: the client sends buffers, the router cuts them.
#[test]
fn a_sender_counts_packets_and_not_buffers() -> Result<()> {
    let (pair, router) = Pair::routed()?;
    router.run("ethtool", &["-K", "r1", "tso", "off", "gso", "off"])?;

    let probe = Probe::new(&pair.client);
    probe.run(&["attach", "-i", "c0", "--xdp", "off"])?;
    let mut buffers = Capture::start(&pair.client, "c0")?;
    let mut packets = Capture::start(&router, "r1")?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 1_000_000)?;
    close(client, server)?;
    pair.settle()?;
    let buffers = Seen::of(&[buffers.stop()?])?;
    let packets = Seen::of(&[packets.stop()?])?;
    let stat = probe.stat(&[])?;
    ensure!(
        buffers.options[2] * 2 < packets.options[2],
        "{} buffers and {} packets with DSS: the sender does not merge",
        buffers.options[2],
        packets.options[2]
    );
    let sent = total(&stat, "DSSsnd")?;
    ensure!(
        sent == packets.options[2],
        "{sent} DSS counted, {} sent",
        packets.options[2]
    );
    let capable = stat["options"]["tx"]["MP_CAPABLE"].as_u64();
    ensure!(
        capable == Some(packets.options[0]),
        "{capable:?} MP_CAPABLE counted"
    );
    let partial = stat["extra"]["LDataLenTx"].as_u64();
    ensure!(
        partial == Some(packets.partial),
        "{partial:?} counted, {} sent",
        packets.partial
    );
    Ok(())
}

#[test]
fn headers_outside_of_the_linear_part_are_read() -> Result<()> {
    let pair = Pair::apart(Family::V4)?;
    veth((&pair.client, "c0"), (&pair.server, "s0"))?;
    pair.client.ip("link set c0 mtu 9000")?;
    pair.server.ip("link set s0 mtu 9000")?;
    let probes = [(&pair.client, "c0"), (&pair.server, "s0")].map(|(host, interface)| {
        let probe = Probe::new(host);
        probe
            .run(&["attach", "-i", interface, "--xdp", "off"])
            .map(|_| probe)
    });
    let [sender, receiver] = probes;
    let (sender, receiver) = (sender?, receiver?);
    let options = [vec![1; 32], vec![30, 8, 0x20, 0x01, 0, 0, 0, 9]].concat();
    let mut sent = 0;
    for ipv6 in [false, true] {
        for linear in [14, 20, 34, 54, 74, 90] {
            let frame = Frame {
                ipv6,
                ..Frame::new(ACK, &options, 6000)
            }
            .bytes();
            pair.client
                .enter(|| send_non_linear("c0", &frame, linear))?;
            sent += 1;
        }
    }
    pair.settle()?;
    let [out, came_in] = [sender.stat(&[])?, receiver.stat(&[])?];
    ensure!(total(&out, "DSSsnd")? == sent, "{}", out["probe"]);
    ensure!(total(&came_in, "DSSrcv")? == sent, "{}", came_in["probe"]);
    Ok(())
}
