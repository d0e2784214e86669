//! The loopback interface: each packet passes it twice, and counts once.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    capture::Capture,
    net::{LIMIT, Namespace, close, mptcp_socket, outputs, transfer, wait_until},
    probe::{Probe, options, total},
    tshark,
    witness::{NAMES, Seen},
};
use socket2::Socket;

/// A connection of the host with itself.
fn connect(host: &Namespace, address: IpAddr) -> Result<(Socket, Socket)> {
    let address = SocketAddr::new(address, 5000);
    host.enter(|| {
        let listener = mptcp_socket(address)?;
        listener.bind(&address.into())?;
        listener.listen(1)?;
        let client = mptcp_socket(address)?;
        client.connect_timeout(&address.into(), LIMIT)?;
        let (server, _) = listener.accept()?;
        server.set_read_timeout(Some(LIMIT))?;
        Ok((client, server))
    })
}

/// Waits until nothing more passes.
fn settle(host: &Namespace) -> Result<()> {
    let mut last = None;
    wait_until(|| {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let now = Some(host.sent()?);
        Ok(std::mem::replace(&mut last, now) == now)
    })
}

fn a_transfer_counts_once(address: IpAddr, attach: &[&str], hook: &str) -> Result<()> {
    let host = Namespace::new("lo")?;
    // A buffer of many packets is one in a capture.
    host.ip("link set lo gso_max_segs 1 mtu 1500")?;
    let probe = Probe::new(&host);
    let attach = [&["attach", "-i", "lo"], attach].concat();
    let (attached, said) = outputs(&mut probe.command(&attach))?;
    ensure!(
        attached.contains(&format!("lo: attached (ingress {hook}; middlebox)")),
        "{attached}"
    );
    let words = "counted once, where it comes in (role middlebox)";
    ensure!(said.contains(words) && !said.contains("driver"), "{said}");
    let mut capture = Capture::of(&host, "lo", &["-s", "256"])?;
    let (client, server) = connect(&host, address)?;
    transfer(&client, &server, 500_000)?;
    transfer(&server, &client, 100_000)?;
    settle(&host)?;
    ensure!(total(&probe.stat(&[])?, "CurSess")? == 1);
    let text = probe.run(&["status"])?;
    ensure!(text.contains(words), "{text}");
    let status = &probe.status()?["interfaces"][0];
    ensure!(
        status["state"] == "counting"
            && status["loopback"] == true
            && status["role"] == "middlebox",
        "{status}"
    );
    close(client, server)?;
    settle(&host)?;
    let stat = probe.stat(&[])?;
    let path = capture.stop()?;
    let seen = Seen::of(&[path])?;
    ensure!(seen.capable_syn == 1 && seen.options[2] > 50, "{seen:?}");
    for (name, wanted) in NAMES.into_iter().zip(seen.defined()) {
        let mut counted = 0;
        for direction in ["rx", "tx", "unknown"] {
            let all = options(&stat, direction)?;
            counted += all
                .iter()
                .find(|(known, _)| known == name)
                .context("no option")?
                .1;
        }
        ensure!(counted == wanted, "{name}: {counted}, captured {wanted}");
    }
    for (row, wanted) in [
        ("TotSess", 1),
        ("CurSess", 0),
        ("subCon", 1),
        ("MPSYN", 1),
        ("SYNACK", 1),
        ("FinalACK", 1),
        ("TotDSS", seen.options[2]),
        ("SeqMapM", seen.dss[2]),
        ("TxFin", 1),
        ("RxFin", 1),
        ("OptSesEr", 0),
        ("TotFB", 0),
    ] {
        let counted = total(&stat, row)?;
        ensure!(counted == wanted, "{row}: {counted}, wanted {wanted}");
    }
    for row in ["MPSYNretx", "SYNACKretx", "UnknownFlow", "BareData"] {
        ensure!(stat["extra"][row] == 0, "{row}: {}", stat["extra"][row]);
    }
    // What passes twice has not been sent again, unless the kernel did.
    let tcp = host.counters("snmp", "Tcp:")?;
    let again = tcp.get("RetransSegs").context("no RetransSegs")? + host.mib("MPTCPRetrans")?;
    for row in ["RetxEr", "DupmapEr"] {
        let counted = total(&stat, row)?;
        ensure!(
            counted <= again,
            "{row}: {counted}, the kernel sent {again} again"
        );
    }
    let [received, sent] = ["DSSrcv", "DSSsnd"].map(|row| total(&stat, row));
    let (received, sent) = (received?, sent?);
    ensure!(
        received > 0 && sent > 0 && received + sent == seen.options[2],
        "{received} {sent}"
    );
    let differences = tshark::differences(path, &stat)?;
    ensure!(differences.is_empty(), "tshark: {differences:?}");
    probe.run(&["detach", "-i", "lo"])?;
    ensure!(!probe.pins().exists(), "detach leaves pins");
    Ok(())
}

#[test]
fn over_ipv4_each_packet_counts_once() -> Result<()> {
    a_transfer_counts_once(IpAddr::from([127, 0, 0, 1]), &[], "TCX")
}

#[test]
fn over_ipv6_each_packet_counts_once() -> Result<()> {
    let address = IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]);
    a_transfer_counts_once(address, &["--role", "middlebox"], "TCX")
}

#[test]
fn in_generic_xdp_too() -> Result<()> {
    a_transfer_counts_once(
        IpAddr::from([127, 0, 0, 1]),
        &["--xdp", "generic"],
        "XDP generic",
    )
}

/// A probe for the time of a command, and one beside that of another interface.
#[test]
fn it_is_not_added_to_what_a_host_sends_and_receives() -> Result<()> {
    let host = Namespace::new("lo")?;
    host.ip("link add p0 type veth peer name p1")?;
    let probe = Probe::new(&host);
    probe.run(&["attach", "-i", "lo", "p0"])?;
    let (_, said) = outputs(&mut probe.command(&["stat"]))?;
    ensure!(said.contains("lo is left out"), "{said}");
    let (client, server) = connect(&host, IpAddr::from([127, 0, 0, 1]))?;
    transfer(&client, &server, 10_000)?;
    close(client, server)?;
    settle(&host)?;
    let stat = probe.stat(&[])?;
    ensure!(stat["source"]["role"] == "host" && total(&stat, "MPSYN")? == 0);
    let stat = probe.stat(&["-i", "lo"])?;
    ensure!(stat["source"]["role"] == "middlebox" && total(&stat, "MPSYN")? == 1);
    let status = probe.status()?;
    let all = status["interfaces"].as_array().context("no interfaces")?;
    // The kernel's functions are the host's, and no packet of lo's.
    for one in all {
        let has_hooks = one["hooks"]
            .as_array()
            .is_some_and(|hooks| !hooks.is_empty());
        ensure!(has_hooks == (one["name"] == "p0"), "{one}");
    }
    probe.run(&["detach", "-i", "p0"])?;
    probe.run(&["detach", "-i", "lo"])?;
    let (text, said) = outputs(&mut probe.command(&["stat", "-i", "lo", "--interval", "1s"]))?;
    ensure!(
        text.contains("middlebox") && said.contains("has no probe"),
        "{text}{said}"
    );
    Ok(())
}
