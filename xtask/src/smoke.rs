//! What must work on every kernel: load, attach, survive the loader, count, detach.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use mptcp_testkit::{net::SERVER_INTERFACES, probe::Probe, process::Running, translated};
use serde_json::Value;

use crate::{network::Network, shell::run};

/// The most instructions that the verifier may look at, per program.
const BUDGET: u64 = 400_000;

/// What a program costs the kernel that loads it, as `status` calls it.
const COSTS: [&str; 3] = ["verified_instructions", "translated_bytes", "jited_bytes"];

/// Figures of a program: what it costs, and what is in it.
pub(crate) const FIGURES: usize = COSTS.len() + translated::COUNTS.len();

/// A program that was loaded, and its figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Loaded {
    pub(crate) program: String,
    pub(crate) hook: String,
    pub(crate) role: String,
    pub(crate) figures: [u64; FIGURES],
}

/// Runs everything with `binary`.
pub(crate) fn check(binary: &Path) -> Result<Vec<Loaded>> {
    let mut loaded = Vec::new();
    for mode in [
        ["--xdp", "auto"],
        ["--xdp", "generic"],
        ["--xdp", "off"],
        ["--role", "middlebox"],
    ] {
        for found in check_mode(binary, mode).with_context(|| mode.join(" "))? {
            if !loaded.contains(&found) {
                loaded.push(found);
            }
        }
    }
    for found in &loaded {
        let [verified, ..] = found.figures;
        ensure!(
            verified <= BUDGET,
            "{} takes {verified} verified instructions, more than {BUDGET}",
            found.program,
        );
    }
    Ok(loaded)
}

fn check_mode(binary: &Path, mode: [&str; 2]) -> Result<Vec<Loaded>> {
    let network = Network::new()?;
    let probe = Probe::of(binary, network.server());
    // With a log level that nothing is logged at, the loader stays until it is killed. With so many subflows the
    // filter, which is one value, is longer than what kmalloc gives (4 MiB).
    let [first, second] = SERVER_INTERFACES;
    let options = [
        "--verify-checksums",
        mode[0],
        mode[1],
        "--max-subflows",
        "300000",
    ];
    let mut status = || json(&mut probe.command(&["status", "--output", "json"]));
    // One interface has programs of its own, several share theirs.
    run(probe.command(&["attach", "-i", first]).args(options))?;
    let mut programs = wait_until_counting(1, &mut status)?;
    run(&mut probe.command(&["detach", "-i", first]))?;
    let mut attach = probe.command(&["attach", "-i", first, second, "--kernel-log", "error"]);
    let mut loader = Running::start(attach.args(options))?;
    programs.extend(wait_until_counting(2, &mut status)?);
    loader.kill()?;
    network.transfer(200_000)?;
    let stat = json(&mut probe.command(&["stat", "--output", "json"]))?;
    check_counts(&stat)?;
    run(&mut probe.command(&["detach", "-i", first, second]))?;
    ensure!(
        !probe.pins().exists(),
        "detach leaves {}",
        probe.pins().display()
    );
    for direction in ["ingress", "egress"] {
        let filters = run(network
            .server()
            .command("tc")
            .args(["filter", "show", "dev", first, direction]))?;
        ensure!(
            filters.trim().is_empty(),
            "detach leaves a filter on {direction}: {filters}"
        );
    }
    Ok(programs)
}

/// So many interfaces, with all their programs.
fn wait_until_counting(
    wanted: usize,
    status: &mut impl FnMut() -> Result<Value>,
) -> Result<Vec<Loaded>> {
    let start = Instant::now();
    loop {
        let interfaces = match status() {
            Ok(status) => status["interfaces"].as_array().cloned().unwrap_or_default(),
            Err(_) => Vec::new(),
        };
        if interfaces.len() == wanted && interfaces.iter().all(|i| i["state"] == "counting") {
            return interfaces
                .iter()
                .flat_map(|interface| {
                    let programs = interface["programs"].as_array().into_iter().flatten();
                    programs.map(|program| (&interface["role"], program))
                })
                .map(|(role, program)| {
                    let number = |name: &str| {
                        let number = program[name].as_u64();
                        number.with_context(|| format!("status tells no {name}"))
                    };
                    let mut figures = [0; FIGURES];
                    let (costs, counts) = figures.split_at_mut(COSTS.len());
                    for (cost, name) in costs.iter_mut().zip(COSTS) {
                        *cost = number(name)?;
                    }
                    counts.copy_from_slice(&translated::counts(number("id")?)?);
                    Ok(Loaded {
                        role: text(role)?,
                        program: text(&program["name"])?,
                        hook: text(&program["hook"])?,
                        figures,
                    })
                })
                .collect();
        }
        if start.elapsed() > Duration::from_mins(1) {
            bail!("the probe does not get to count: {interfaces:?}");
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("not a string")?.to_owned())
}

pub(crate) fn json(command: &mut Command) -> Result<Value> {
    serde_json::from_str(&run(command)?).context("the output is not JSON")
}

fn check_counts(stat: &Value) -> Result<()> {
    let total = |row: &str| stat["counters"][row]["total"].as_u64().unwrap_or_default();
    // In the middlebox role only what comes in is seen: here, the client's half.
    let rows: &[_] = match stat["source"]["role"].as_str() {
        Some("middlebox") => &["MPSYN", "MPV1SYN"],
        _ => &["MPSYN", "MPV1SYN", "SYNACK", "JoinSYN", "SFsynack"],
    };
    for row in rows {
        ensure!(total(row) == 1, "{row} is {} and not 1", total(row));
    }
    ensure!(total("TotDSS") > 20, "too few DSS: {}", stat["options"]);
    let frames = stat["source"]["frames"].as_u64().unwrap_or_default();
    let leaves: u64 = stat["probe"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(_, v)| v.as_u64())
        .sum();
    ensure!(
        frames == leaves,
        "{frames} frames, and {leaves} in the leaf classes"
    );
    Ok(())
}

/// The kernel that runs.
pub(crate) fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Prints what the columns of [`print`] are.
pub(crate) fn print_heading() {
    println!(
        "{:28} {:12} {:12} {:10} {:>8} {:>10} {:>8} {:>6} {:>8} {:>8}",
        "kernel",
        "program",
        "hook",
        "role",
        "verified",
        "translated",
        "jited",
        "stack",
        "helpers",
        "lookups"
    );
}

/// Prints the lines of one kernel.
pub(crate) fn print(kernel: &str, loaded: &[Loaded]) {
    for Loaded {
        program,
        hook,
        role,
        figures: [verified, translated, jited, stack, helpers, lookups],
    } in loaded
    {
        println!(
            "{kernel:28} {program:12} {hook:12} {role:10} {verified:>8} {translated:>10} {jited:>8} \
             {stack:>6} {helpers:>8} {lookups:>8}"
        );
    }
}
