//! A device whose packets have no link-layer header: a real tun, with the kernel's own MP_CAPABLE
//! going out and a crafted answer coming in.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use mptcp_tests::{
    frame::{Frame, SYN_ACK, sized},
    net::{Namespace, mptcp_socket, wait_until},
    probe::{Probe, total},
    tun::Tun,
};
use serde_json::Value;

#[test]
fn packets_of_a_tun_device_are_counted() -> Result<()> {
    let namespace = Namespace::new("tun")?;
    let mut tun = Tun::new(&namespace, "t0")?;
    namespace.ip("addr add 10.0.0.2/24 dev t0")?;
    let probe = Probe::new(&namespace);
    let said = probe.run(&["attach", "-i", "t0"])?;
    ensure!(
        said.contains("ingress TCX") && said.contains("egress TCX"),
        "{said}"
    );

    // The kernel's SYN goes out ...
    let address = SocketAddr::from(([10, 0, 0, 1], 5000));
    let socket = namespace.enter(|| {
        let socket = mptcp_socket(address)?;
        socket.set_nonblocking(true)?;
        // In progress: nobody answers in time.
        let _ = socket.connect(&address.into());
        Ok(socket)
    })?;
    let syn = tun.receive(|packet| packet.get(9) == Some(&6))?;
    ensure!(
        syn[0] == 0x45 && syn[33] == 0x02,
        "not a SYN over IPv4: {syn:02x?}"
    );
    // ... and an answer comes in, which nobody waits for.
    tun.send(&Frame::new(SYN_ACK, &sized(12, &[1, 1]), 0).ip())?;
    let mut stat = Value::Null;
    wait_until(|| {
        stat = probe.stat(&[])?;
        Ok(stat["extra"]["SYNACKrx"].as_u64() >= Some(1))
    })?;
    drop(socket);

    ensure!(
        stat["extra"]["MPSYNtx"].as_u64() >= Some(1),
        "{}",
        stat["extra"]
    );
    ensure!(
        stat["extra"]["SYNACKrx"].as_u64() == Some(1),
        "{}",
        stat["extra"]
    );
    ensure!(total(&stat, "OPTEr")? == 0 && total(&stat, "MPSYN")? == 0);
    // A frame with an Ethernet header would be none of these.
    ensure!(
        stat["probe"]["not_ip"].as_u64() == Some(0),
        "{}",
        stat["probe"]
    );
    Ok(())
}
