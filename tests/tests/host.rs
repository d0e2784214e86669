//! What a host's own kernel says of its MPTCP stands in the summary, with the command that mends it, and the command does.

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    net::{Family, Namespace, Pair, close, transfer, wait_until},
    probe::{Probe, total},
};

/// A pair of hosts with a probe on each: the client's and the server's.
fn probed() -> Result<(Pair, [Probe; 2])> {
    let pair = Pair::new(Family::V4)?;
    let probes = [&pair.client, &pair.server].map(Probe::new);
    probes[0].run(&["attach", "-i", "c0", "c1"])?;
    probes[1].run(&["attach", "-i", "s0", "s1"])?;
    Ok((pair, probes))
}

/// What the summary says of the host: what is so, and what to do. The text says the same as the JSON.
fn said(probe: &Probe) -> Result<Vec<(String, String)>> {
    let stat = probe.stat(&[])?;
    let host = stat["outcome"]["host"].as_array().context("no host")?;
    let text = probe.run(&["stat"])?;
    let words: Vec<_> = text.split_whitespace().collect();
    let words = words.join(" ");
    let remarks = host.iter().map(|remark| {
        let [what, next] = ["what", "next"].map(|key| remark[key].as_str().unwrap_or_default());
        ensure!(words.contains(what) && words.contains(next), "{text}");
        Ok((what.to_owned(), next.to_owned()))
    });
    remarks.collect()
}

/// The only remark there is.
fn only(probe: &Probe) -> Result<(String, String)> {
    let mut said = said(probe)?;
    ensure!(said.len() == 1, "{said:#?}");
    said.pop().context("nothing")
}

/// Does what is said to be next, as far as the words are a command.
fn mend(namespace: &Namespace, next: &str) -> Result<()> {
    let command = next.split(';').next_back().unwrap_or_default().trim();
    let words: Vec<_> = command.split(' ').collect();
    match words[..] {
        ["ip", ..] => namespace.ip(&words[1..].join(" ")).map(drop),
        ["sysctl", "-w", setting, ..] => {
            let (name, value) = setting.split_once('=').context("no value")?;
            let path = name.strip_prefix("net.").context("not of the network")?;
            namespace.sysctl(&path.replace('.', "/"), value)
        }
        _ => anyhow::bail!("{next:?} is no command"),
    }
}

#[test]
fn healthy_hosts_say_nothing() -> Result<()> {
    let (pair, probes) = probed()?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 10_000)?;
    for probe in &probes {
        ensure!(said(probe)?.is_empty(), "{:?}", said(probe)?);
    }
    close(client, server)
}

#[test]
fn mptcp_that_is_switched_off() -> Result<()> {
    let (pair, [client, server]) = probed()?;
    pair.client.sysctl("mptcp/enabled", "0")?;
    let (what, next) = only(&client)?;
    ensure!(what.contains("switched off"), "{what}");
    ensure!(said(&server)?.is_empty());
    mend(&pair.client, &next)?;
    ensure!(said(&client)?.is_empty());
    Ok(())
}

/// The server's firewall drops MPTCP SYNs, and the client's kernel leaves the option out from then on.
#[test]
fn mptcp_that_blackhole_detection_gave_up() -> Result<()> {
    let (pair, [client, _server]) = probed()?;
    let rule = "table inet x {\nchain c {\ntype filter hook prerouting priority 300;\ntcp option mptcp exists drop\n}\n}";
    pair.server.run("nft", &[rule])?;
    for _ in 0..2 {
        let (client, server) = pair.connect()?;
        transfer(&client, &server, 1_000)?;
        close(client, server)?;
    }
    ensure!(pair.client.mib("Blackhole")? == 1 && pair.client.mib("MPCapableSYNTXDisabled")? >= 1);
    let (what, next) = only(&client)?;
    ensure!(what.contains("MPCapableSYNTXDisabled"), "{what}");
    mend(&pair.client, next.trim_end_matches(" switches this off"))?;
    ensure!(said(&client)?.is_empty());
    Ok(())
}

#[test]
fn joins_that_the_limits_of_the_host_refuse() -> Result<()> {
    let (pair, [client, server]) = probed()?;
    pair.server
        .ip("mptcp limits set subflows 0 add_addr_accepted 0")?;
    let second = pair.client_address(1);
    pair.client
        .ip(&format!("mptcp endpoint add {second} id 5 subflow"))?;
    let (a, b) = pair.connect()?;
    transfer(&a, &b, 10_000)?;
    wait_until(|| Ok(total(&server.stat(&[])?, "MaxsfEr")? > 0))?;
    let (what, next) = only(&server)?;
    ensure!(what.contains("refused joins"), "{what}");
    mend(&pair.server, &next)?;
    let limits = pair.server.ip("mptcp limits show")?;
    ensure!(limits.contains("subflows 1"), "{limits}");
    ensure!(said(&client)?.is_empty());
    close(a, b)
}

#[test]
fn addresses_that_the_host_does_not_join() -> Result<()> {
    let (pair, [client, server]) = probed()?;
    pair.client
        .ip("mptcp limits set subflows 2 add_addr_accepted 0")?;
    let second = pair.server_address(1);
    pair.server
        .ip(&format!("mptcp endpoint add {second} id 9 signal"))?;
    let (a, b) = pair.connect()?;
    transfer(&a, &b, 10_000)?;
    wait_until(|| Ok(client.stat(&[])?["extra"]["AddAddrRx"].as_u64() > Some(0)))?;
    let (what, next) = only(&client)?;
    ensure!(what.contains("peers announced addresses"), "{what}");
    mend(&pair.client, &next)?;
    ensure!(said(&server)?.is_empty());
    // With that, the next session has both paths.
    let (c, d) = pair.connect()?;
    transfer(&c, &d, 10_000)?;
    wait_until(|| Ok(client.stat(&[])?["extra"]["JoinSYNtx"].as_u64() > Some(0)))?;
    ensure!(said(&client)?.is_empty());
    close(a, b)?;
    close(c, d)
}
