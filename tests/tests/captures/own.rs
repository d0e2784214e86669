//! The captures of the project, and how they are made.

use super::*;

/// Version 0 is crafted: what makes it is what is there.
#[test]
fn the_capture_of_version_0() -> Result<()> {
    let made = pcap(PCAP, 1, &version_0::packets()?);
    let path = own().join("version0.pcap");
    if std::env::var_os("UPDATE_CAPTURES").is_some() {
        fs::write(&path, &made)?;
    }
    ensure!(fs::read(&path)? == made, "UPDATE_CAPTURES=1 writes it anew");
    let stat = stat(&path, &[])?;
    // Every option by itself is right, and so is all that the sessions say but for one checksum.
    ensure!(stat["counters"]["OPTEr"]["total"] == 0, "{stat:#}");
    for (row, wanted) in [
        ("TotSess", 2),
        ("TotV1Sess", 0),
        ("subCon", 4),
        ("FACKVald", 2),
        ("InMACEr", 0),
        ("CksumEr", 1),
        ("FCkeyEr", 0),
        ("MPFAILst", 1),
        ("REMAddrTx", 8),
    ] {
        let is = &stat["counters"][row]["total"];
        let is = if is.is_null() {
            &stat["extra"][row]
        } else {
            is
        };
        ensure!(*is == wanted, "{row} is {is}");
    }
    Ok(())
}

/// Makes the captures of tests/data/captures anew, if it is asked to: real traffic of this kernel.
#[test]
fn the_captures_of_the_project() -> Result<()> {
    if std::env::var_os("UPDATE_CAPTURES").is_none() {
        return Ok(());
    }
    fs::create_dir_all(own())?;
    // One subflow, on one interface.
    let pair = Pair::new(Family::V4)?;
    let mut capture = Capture::of(&pair.server, "s0", &["tcp"])?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 3000)?;
    transfer(&server, &client, 2000)?;
    close(client, server)?;
    pair.settle()?;
    fs::copy(capture.stop()?, own().join("basic.pcap"))?;
    for (family, name) in [(Family::V4, "session.pcap"), (Family::V6, "session6.pcap")] {
        record_on_any(family, name, |pair| pair.every_option(1000))?;
    }
    record_on_any(Family::V4, "ends.pcap", violent_ends)?;
    record_on_any(Family::V4, "fail.pcap", a_wrong_checksum)?;
    record_on_any(Family::V6, "checksums.pcap", |pair| {
        for host in [&pair.client, &pair.server] {
            host.sysctl("mptcp/checksum_enabled", "1")?;
        }
        let (client, server) = pair.connect()?;
        transfer(&client, &server, 2000)?;
        close(client, server)
    })
}

fn record_on_any(family: Family, name: &str, talk: impl FnOnce(&Pair) -> Result<()>) -> Result<()> {
    let pair = Pair::new(family)?;
    let mut capture = Capture::of(&pair.server, "any", &["tcp"])?;
    talk(&pair)?;
    pair.settle()?;
    fs::copy(capture.stop()?, own().join(name))?;
    Ok(())
}

/// A payload that changes on its way, so that both ends say MP_FAIL, behind an address with a port.
fn a_wrong_checksum(pair: &Pair) -> Result<()> {
    for host in [&pair.client, &pair.server] {
        host.sysctl("mptcp/checksum_enabled", "1")?;
    }
    pair.client
        .ip("mptcp limits set subflows 0 add_addr_accepted 0")?;
    let signalled = pair.server_address(1);
    pair.server.ip(&format!(
        "mptcp endpoint add {signalled} id 9 signal port 5001"
    ))?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 1000)?;
    pair.wait_for(&pair.server, "EchoAdd", 1)?;
    let changed = "tcp dport 5000 meta length > 600 limit rate 1/hour burst 1 packets";
    let chain = format!(
        "table inet x {{ chain p {{ type filter hook output priority 300; {changed} @ih,64,16 set \
         0x5a5b\n}}\n}}"
    );
    pair.client.run("nft", &[&chain])?;
    transfer(&client, &server, 1000)?;
    pair.wait_for(&pair.client, "MPFailRx", 1)?;
    pair.settle()?;
    transfer(&client, &server, 1000)?;
    close(client, server)
}

/// A join that is refused, and a fast close.
fn violent_ends(pair: &Pair) -> Result<()> {
    pair.server
        .ip("mptcp limits set subflows 0 add_addr_accepted 0")?;
    let second = pair.client_address(1);
    pair.client
        .ip(&format!("mptcp endpoint add {second} id 5 subflow"))?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 1000)?;
    pair.wait_for(&pair.server, "MPJoinRejected", 1)?;
    client.set_linger(Some(std::time::Duration::ZERO))?;
    drop(client);
    pair.wait_for(&pair.server, "MPFastcloseRx", 1)?;
    drop(server);
    Ok(())
}
