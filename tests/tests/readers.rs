//! Readers notice what becomes of their probe: it is replaced, detached, attached anew, half made, counts one direction
//! only, or moves away with its interface. They say so, and go on with what there is.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    net::{Attached as _, Family, Namespace, Pair, outputs, session, wait_until},
    probe::{Probe, total},
    running::{Running, directory, state},
};
use serde_json::Value;

#[test]
fn a_half_made_probe_hides_no_other() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "s1"])?;
    session(&pair)?;
    // As `attach` leaves it that is killed after its first pin.
    let half = directory(&probe, &pair.server, "s1")?;
    for pin in fs::read_dir(&half)? {
        let pin = pin?;
        if pin.file_name() != "counters" {
            fs::remove_file(pin.path())?;
        }
    }
    let (out, said) = outputs(&mut probe.command(&["stat", "--output", "json"]))?;
    ensure!(total(&serde_json::from_str(&out)?, "MPSYN")? == 1, "{out}");
    ensure!(
        said.contains("the probe on s1 is not whole")
            && said.contains("next: mptcp-user attach -i s1 again, or detach -i s1"),
        "{said}"
    );
    for arguments in [
        &["sessions"][..],
        &["record", "-o", "-", "--ntimes", "1"],
        &["stat", "-i", "s0"],
        &["stat", "-i", "s0", "s1"],
        &["attach", "-i", "s0"],
    ] {
        let (_, said) = outputs(&mut probe.command(arguments))?;
        ensure!(!said.contains("not followed"), "{said}");
    }
    let said = probe.fails(1, &["stat", "-i", "s1"])?;
    ensure!(said.contains("not whole"), "{said}");
    ensure!(state(&probe, "s1")?["state"] == "unreadable");
    let status = probe.run(&["status"])?;
    ensure!(
        status.contains("mptcp-user attach -i s1 again, or mptcp-user detach -i s1"),
        "{status}"
    );
    probe.run(&["attach", "-i", "s1"])?;
    let (_, said) = outputs(&mut probe.command(&["stat"]))?;
    ensure!(!said.contains("not whole"), "{said}");
    Ok(())
}

#[test]
fn one_direction_alone_is_told() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "--xdp", "off"])?;
    let (_, said) = outputs(&mut probe.command(&["stat"]))?;
    ensure!(!said.contains("incomplete"), "{said}");
    let pins = directory(&probe, &pair.server, "s0")?;
    // What `attach` attaches last is what it leaves out when it is killed.
    for (pin, missing, counted) in [
        ("tcx", "goes out", "comes in"),
        ("tcx-ingress", "comes in", "goes out"),
    ] {
        fs::remove_file(pins.join(pin))?;
        wait_until(|| Ok(pair.server.programs("s0")?.len() == 1))?;
        let sentence = format!("what {missing} is not counted");
        let (_, said) = outputs(&mut probe.command(&["stat"]))?;
        ensure!(
            said.contains("the probe on s0 is incomplete")
                && said.contains(&sentence)
                && said.contains(&format!("what {counted} is"))
                && said.contains("next: mptcp-user attach -i s0 again"),
            "{said}"
        );
        let now = state(&probe, "s0")?;
        ensure!(
            now["state"] == "incomplete" && now["reason"] == sentence.as_str(),
            "{now}"
        );
        ensure!(probe.run(&["status"])?.contains(&sentence));
        probe.run(&["attach", "-i", "s0", "--xdp", "off"])?;
        let (_, said) = outputs(&mut probe.command(&["stat"]))?;
        ensure!(!said.contains("incomplete"), "{said}");
    }
    Ok(())
}

/// Rates are those of seconds with a few packets.
fn are_rates_sound(displays: &[Value]) -> Result<()> {
    for display in displays {
        for row in ["MPSYN", "DSSrcv", "DSSsnd"] {
            let Some(rate) = display["counters"][row]["rate"].as_f64() else {
                continue;
            };
            ensure!(
                (0.0..100_000.0).contains(&rate),
                "{row}: {rate} in {display}"
            );
        }
    }
    Ok(())
}

#[test]
fn displays_go_on_with_the_probe_that_is_there() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0"])?;
    let arguments = [
        "stat",
        "--ntimes",
        "0",
        "--interval",
        "1s",
        "--output",
        "jsonl",
    ];
    let mut stat = Running::start(&probe, &arguments)?;
    let arguments = ["record", "-o", "-", "--interval", "1s"];
    let mut record = Running::start(&probe, &arguments)?;
    for _ in 0..3 {
        session(&pair)?;
    }
    stat.wait_for_total("MPSYN", 3)?;
    ensure!(stat.said()?.is_empty(), "{}", stat.said()?);
    probe.run(&["attach", "-i", "s0"])?;
    for reader in [&stat, &record] {
        reader.wait_for("the programs on s0 were replaced by another attach; counts go on")?;
    }
    stat.wait_for_total("MPSYN", 3)?;
    probe.run(&["attach", "-i", "s1"])?;
    stat.wait_for("s1 has a probe now")?;
    probe.run(&["detach", "-i", "s1"])?;
    stat.wait_for("the probe on s1 was detached")?;
    probe.run(&["detach", "-i", "s0"])?;
    for reader in [&stat, &record] {
        reader.wait_for("no probe is attached")?;
    }
    probe.run(&["attach", "-i", "s0"])?;
    for reader in [&stat, &record] {
        reader.wait_for("the probe on s0 was detached and attached anew")?;
    }
    session(&pair)?;
    stat.wait_for_total("MPSYN", 1)?;
    // At once, so that no reading falls in between.
    probe.run(&["detach", "-i", "s0"])?;
    probe.run(&["attach", "-i", "s0"])?;
    stat.wait_for_total("MPSYN", 0)?;
    are_rates_sound(&stat.displays()?)?;
    stat.interrupt()?;
    record.interrupt()
}

#[test]
fn a_display_of_a_probe_that_is_gone_fails_in_the_end() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "s1"])?;
    for arguments in [&[][..], &["-i", "s0"]] {
        let all = [
            &[
                "stat",
                "--ntimes",
                "2",
                "--interval",
                "2s",
                "--output",
                "jsonl",
            ],
            arguments,
        ]
        .concat();
        let mut stat = Running::start(&probe, &all)?;
        wait_until(|| Ok(stat.displays()?.len() == 1))?;
        probe.run(&["detach", "--all"])?;
        let status = stat.child.wait()?;
        ensure!(status.code() == Some(1), "{status}");
        let said = stat.said()?;
        ensure!(
            said.contains("no probe") && said.contains("next: "),
            "{said}"
        );
        probe.run(&["attach", "-i", "s0", "s1"])?;
    }
    Ok(())
}

#[test]
fn events_go_over_to_the_tables_that_are_there() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0"])?;
    let mut events = Running::start(&probe, &["events"])?;
    // Until it has locked the ring.
    wait_until(|| {
        let locks = fs::read_to_string("/proc/locks")?;
        let pid = events.child.id().to_string();
        let mut locks = locks.lines();
        Ok(locks.any(|lock| lock.split_whitespace().nth(4) == Some(&pid)))
    })?;
    let created = |wanted| {
        wait_until(|| Ok(events.out()?.matches("session created").count() == wanted)).with_context(
            || {
                format!(
                    "not {wanted} sessions: {:?} {:?}",
                    events.out(),
                    events.said()
                )
            },
        )
    };
    session(&pair)?;
    created(1)?;
    probe.run(&["detach", "-i", "s0"])?;
    events.wait_for("the probes were detached")?;
    probe.run(&["attach", "-i", "s0"])?;
    // At once: the ring keeps it.
    session(&pair)?;
    created(2)?;
    events.wait_for("attached anew")?;
    // The programs are replaced, and the ring stays.
    probe.run(&["attach", "-i", "s0"])?;
    session(&pair)?;
    created(3)?;
    // So soon that nobody has looked in between.
    probe.run(&["detach", "-i", "s0"])?;
    probe.run(&["attach", "-i", "s0"])?;
    session(&pair)?;
    created(4)?;
    // Whoever takes the new ring has it.
    events.interrupt()
}

#[test]
fn an_interface_that_moved_keeps_its_name() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    let elsewhere = Namespace::new("moved")?;
    probe.run(&["attach", "-i", "s0", "s1"])?;
    session(&pair)?;
    pair.server
        .ip(&format!("link set s0 netns {}", elsewhere.name()))?;
    let moved = state(&probe, "s0")?;
    ensure!(
        moved["state"] == "moved"
            && moved["programs"]
                .as_array()
                .is_some_and(|all| !all.is_empty())
            && moved["reason"]
                .as_str()
                .is_some_and(|reason| reason.contains("another network namespace")),
        "{moved}"
    );
    let text = probe.run(&["status"])?;
    ensure!(
        text.contains("s0 is moved: the interface is in another network namespace now")
            && text.contains("next: mptcp-user detach -i s0"),
        "{text}"
    );
    let (_, said) = outputs(&mut probe.command(&["stat"]))?;
    ensure!(
        said.contains("s0 is in another network namespace now"),
        "{said}"
    );
    ensure!(!elsewhere.programs("s0")?.is_empty());
    probe.run(&["detach", "-i", "s0"])?;
    wait_until(|| Ok(elsewhere.programs("s0")?.is_empty()))?;
    Ok(())
}
