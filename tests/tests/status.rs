//! `status` says what is, and what it cannot know: limits that have changed on the host since, and what it cannot
//! see.

use std::{fs, os::unix::fs::MetadataExt as _, process::Command};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    net::{Family, Namespace, Pair, output, outputs},
    probe::{Probe, binary},
};
use serde_json::{Value, json};

/// A host with two interfaces.
fn host() -> Result<(Namespace, Probe)> {
    let host = Namespace::new("status")?;
    host.ip("link add p0 type veth peer name p1")?;
    for interface in ["p0", "p1"] {
        host.ip(&format!("link set {interface} up"))?;
    }
    host.ip("mptcp limits set subflows 2 add_addr_accepted 2")?;
    let probe = Probe::new(&host);
    Ok((host, probe))
}

/// The tables of an interface.
fn tables(probe: &Probe, interface: &str) -> Result<Value> {
    let status = probe.status()?;
    let all = status["interfaces"].as_array().context("no interfaces")?;
    let one = all.iter().find(|one| one["name"] == interface);
    Ok(one.context("no such interface")?["tables"].clone())
}

/// What `stat` says on standard error.
fn said(probe: &Probe) -> Result<String> {
    Ok(outputs(&mut probe.command(&["stat"]))?.1)
}

const SUBFLOWS: &str = "MaxsfEr and TotSFRep are judged by 3 subflows, and the host's limit is now 8 (ip mptcp limits)";
const ALONE: &str =
    "SessNoSF is judged by 60 s, and the host's limit is now 5 s (net.mptcp.close_timeout)";

#[test]
fn limits_that_changed_are_told_until_they_are_judged_by() -> Result<()> {
    let (host, probe) = host()?;
    probe.run(&["attach", "-i", "p0", "p1"])?;
    let before = tables(&probe, "p0")?;
    ensure!(
        before["limits"]["subflows"] == 3
            && before["host_limits"] == json!({"subflows": 3, "alone_ns": 60_000_000_000_u64})
            && before["outdated_limits"] == json!([]),
        "{before}"
    );
    ensure!(!probe.run(&["status"])?.contains("is now") && !said(&probe)?.contains("is now"));
    host.ip("mptcp limits set subflows 7 add_addr_accepted 2")?;
    let after = tables(&probe, "p0")?;
    ensure!(
        after["limits"]["subflows"] == 3
            && after["host_limits"]["subflows"] == 8
            && after["outdated_limits"] == json!(["subflows"]),
        "{after}"
    );
    host.sysctl("mptcp/close_timeout", "5")?;
    ensure!(tables(&probe, "p1")?["outdated_limits"] == json!(["subflows", "alone_ns"]));
    // From another network namespace as well.
    let mut elsewhere = Command::new(binary());
    elsewhere.arg("status").arg("--pin-dir").arg(probe.pins());
    for text in [probe.run(&["status"])?, output(&mut elsewhere)?] {
        ensure!(
            text.matches(SUBFLOWS).count() == 1 && text.matches(ALONE).count() == 1,
            "{text}"
        );
        let next = format!("next: mptcp-user --netns {} attach -i p0", host.name());
        ensure!(
            text.contains("next: mptcp-user attach -i p0") || text.contains(&next),
            "{text}"
        );
    }
    let told = said(&probe)?;
    ensure!(told.contains(SUBFLOWS) && told.contains(ALONE), "{told}");
    // One is judged anew: the other one is told of.
    let (_, told) = outputs(&mut probe.command(&["attach", "-i", "p0", "--xdp", "off"]))?;
    ensure!(
        told.contains("p1: still judged by the host's limits of before"),
        "{told}"
    );
    let [p0, p1] = [tables(&probe, "p0")?, tables(&probe, "p1")?];
    ensure!(
        p0["limits"]["subflows"] == 8
            && p0["limits"]["alone_ns"] == 5_000_000_000_u64
            && p0["outdated_limits"] == json!([])
            && p0["has_earlier_limits"] == false
            && p1["has_earlier_limits"] == true,
        "{p0} {p1}"
    );
    let text = probe.run(&["status"])?;
    ensure!(
        text.contains("p1 still judges by limits of before these"),
        "{text}"
    );
    probe.run(&["attach", "-i", "p1", "--xdp", "off"])?;
    let text = probe.run(&["status"])?;
    ensure!(
        !text.contains("still") && !text.contains("is now"),
        "{text}"
    );
    ensure!(tables(&probe, "p1")?["has_earlier_limits"] == false);
    ensure!(!said(&probe)?.contains("is now"));
    Ok(())
}

/// What was asked for by an option is no matter of the host's, nor is anything on a middlebox.
#[test]
fn limits_that_do_not_follow_the_host_are_left_alone() -> Result<()> {
    for options in [
        &["--limit-subflows", "4", "--close-timeout", "9s"][..],
        &["--role", "middlebox"],
    ] {
        let (host, probe) = host()?;
        probe.run(&[&["attach", "-i", "p0"], options].concat())?;
        let before = tables(&probe, "p0")?;
        host.ip("mptcp limits set subflows 7 add_addr_accepted 2")?;
        host.sysctl("mptcp/close_timeout", "5")?;
        let after = tables(&probe, "p0")?;
        ensure!(
            after["limits"] == before["limits"] && after["outdated_limits"] == json!([]),
            "{after}"
        );
        ensure!(!probe.run(&["status"])?.contains("is now") && !said(&probe)?.contains("is now"));
        probe.run(&[
            "attach",
            "-i",
            "p0",
            "--role",
            options
                .get(1)
                .filter(|_| options.len() == 2)
                .unwrap_or(&"host"),
        ])?;
        ensure!(tables(&probe, "p0")?["limits"] == before["limits"]);
    }
    Ok(())
}

/// Runs a command in mounts of its own, where something is done before.
fn hidden(options: &[&str], before: &str, command: &Command) -> Result<(String, String)> {
    let script = format!("{before}\nexec \"$@\"");
    let mut shell = Command::new("unshare");
    shell.arg("-m").args(options);
    shell.args(["sh", "-e", "-c", &script, "sh"]);
    outputs(shell.arg(command.get_program()).args(command.get_args()))
}

/// Defaults that are taken for want of the host's own limits are told as such.
#[test]
fn limits_that_cannot_be_read_are_not_taken_for_none() -> Result<()> {
    let (_host, probe) = host()?;
    let (_, said) = hidden(
        &[],
        "mount -t tmpfs x /proc/sys/net",
        &probe.command(&["attach", "-i", "p0", "--xdp", "off"]),
    )?;
    ensure!(
        said.contains("whether this host has MPTCP cannot be read") && said.contains("next: "),
        "{said}"
    );
    let status = hidden(
        &[],
        "mount -t tmpfs x /proc/sys/net",
        &probe.command(&["status"]),
    )?
    .0;
    ensure!(status.contains("is not known"), "{status}");
    Ok(())
}

/// A network namespace that nothing names here is not said to be gone.
#[test]
fn a_namespace_out_of_sight_is_not_gone() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0"])?;
    let mut status = Command::new(binary());
    status
        .args(["status", "--output", "json", "--pin-dir"])
        .arg(probe.pins());
    let state = |text: &str| -> Result<Value> {
        let status: Value = serde_json::from_str(text)?;
        Ok(status["interfaces"][0].clone())
    };
    for (options, before) in [
        // From a container: other names, and other processes.
        (
            &["--pid", "--fork", "--mount-proc"][..],
            "mount -t tmpfs x /run/netns",
        ),
        // Nothing can be looked at.
        (
            &[],
            "mount -t tmpfs x /proc\nmkdir -p /proc/thread-self/ns\ntouch /proc/thread-self/ns/net\n\
             mount -t tmpfs x /run/netns",
        ),
    ] {
        let found = state(&hidden(options, before, &status)?.0)?;
        ensure!(
            found["state"] == "out of sight"
                && found["reason"].is_string()
                && found["name"] == "s0",
            "{found}"
        );
    }
    let found = state(&output(&mut status)?)?;
    ensure!(
        found["state"] == "counting" && found["reason"].is_null(),
        "{found}"
    );
    pair.server.ip("link delete s0")?;
    let found = state(&output(&mut status)?)?;
    ensure!(found["state"] == "gone", "{found}");
    Ok(())
}

/// Tables that cannot be read do not hold no sessions.
#[test]
fn tables_that_cannot_be_read_are_not_empty() -> Result<()> {
    let (host, probe) = host()?;
    probe.run(&["attach", "-i", "p0", "--xdp", "off"])?;
    ensure!(tables(&probe, "p0")?["sessions"] == 0);
    let inode = fs::metadata(format!("/run/netns/{}", host.name()))?.ino();
    fs::remove_file(probe.pins().join(format!("v1/{inode}/tables/session-tags")))?;
    let found = tables(&probe, "p0")?;
    ensure!(
        found["sessions"].is_null() && found["subflows"].is_null() && found["max_sessions"] == 8192,
        "{found}"
    );
    let text = probe.run(&["status"])?;
    ensure!(
        text.contains("? of 8192 sessions") && text.contains("how many there are is not known"),
        "{text}"
    );
    Ok(())
}
