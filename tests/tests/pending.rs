//! Joins that nobody answers: pending while their session lives, and forgotten with all that is cleared.

use anyhow::{Result, ensure};
use mptcp_tests::{
    net::{Family, Pair, close, transfer, wait_until},
    probe::{Probe, total},
};

/// A session, and a join whose SYN the server's firewall drops behind the probe; no other SYN follows.
fn unanswered() -> Result<(Pair, Probe, impl FnOnce() -> Result<()>)> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "s1"])?;
    let ruleset = |hook: &str, interface: &str| {
        format!(
            "table inet silent {{\nchain c {{\ntype filter hook {hook} priority -300;\n{interface} tcp flags & (syn | ack) == syn drop\n}}\n}}"
        )
    };
    pair.server
        .run("nft", &[&ruleset("prerouting", "iifname \"s1\"")])?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 1_000)?;
    let second = pair.client_address(1);
    pair.client
        .ip(&format!("mptcp endpoint add {second} dev c1 id 5 subflow"))?;
    wait_until(|| Ok(total(&probe.stat(&[])?, "JoinSYN")? > 0))?;
    pair.client
        .run("nft", &[&ruleset("output", "oifname \"c1\"")])?;
    pair.settle()?;
    ensure!(total(&probe.stat(&[])?, "PendSF")? == 1);
    Ok((pair, probe, move || close(client, server)))
}

#[test]
fn a_join_is_pending_while_its_session_lives() -> Result<()> {
    let (pair, probe, end) = unanswered()?;
    end()?;
    pair.settle()?;
    let stat = probe.stat(&[])?;
    let [sessions, pending] = [total(&stat, "CurSess")?, total(&stat, "PendSF")?];
    ensure!([sessions, pending] == [0, 0], "{sessions} and {pending}");
    Ok(())
}

#[test]
fn clearing_in_full_forgets_joins_too() -> Result<()> {
    let (_pair, probe, end) = unanswered()?;
    probe.run(&["stat", "-clearstats", "full"])?;
    let stat = probe.stat(&[])?;
    let [sessions, pending] = [total(&stat, "CurSess")?, total(&stat, "PendSF")?];
    // The session is followed anew, and the join is not.
    ensure!([sessions, pending] == [1, 0], "{sessions} and {pending}");
    end()
}
