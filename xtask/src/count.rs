//! `cargo xtask count`: instructions per packet in user space, which are the same on every machine.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};
use mptcp_testkit::figures::{Figures, Guard};
use serde_json::Value;

use crate::{
    setup,
    shell::{self, cargo, run as quietly, step},
};

const GUARD: Guard = Guard {
    file: "instructions.tsv",
    columns: &["work", "instructions_per_packet"],
    update: "cargo xtask count --update",
};

/// What is counted (tests/benches/instructions.rs).
const WORK: [&str; 4] = [
    "capture-bulk",
    "capture-sessions",
    "engine-bulk",
    "engine-timestamp",
];
/// Two runs are made, and what both have in common is left out.
const PACKETS: [u64; 2] = [2_000, 12_000];

pub(crate) fn run(update: bool) -> Result<()> {
    setup::run(true)?;
    let bench = "bench --package mptcp-tests --bench instructions --no-run";
    step("build what is counted", &mut cargo(bench))?;
    let built = quietly(cargo(bench).arg("--message-format=json"))?;
    let program = built
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(str::to_owned))
        .context("cargo does not say what it built")?;
    println!("{:20} {:>24}", "work", "instructions per packet");
    let mut counted = Figures::new();
    for work in WORK {
        let mut totals = [0; 2];
        for (total, packets) in totals.iter_mut().zip(PACKETS) {
            *total = instructions(program.as_ref(), work, packets)?;
        }
        let per_packet = (totals[1] - totals[0]) / (PACKETS[1] - PACKETS[0]);
        println!("{work:20} {per_packet:>24}");
        counted.insert(work.to_owned(), vec![per_packet]);
    }
    if update {
        GUARD.write(&counted)
    } else {
        GUARD.compare(&GUARD.read()?, &counted)
    }
}

/// All instructions of one run.
fn instructions(program: &Path, work: &str, packets: u64) -> Result<u64> {
    let out = shell::target().join("callgrind.out");
    quietly(
        Command::new("valgrind")
            .arg("--tool=callgrind")
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(program)
            .args([work, &packets.to_string()])
            // The C library copies by other instructions where there are others.
            .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-ERMS"),
    )?;
    let text = fs::read_to_string(&out)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(total
        .context("callgrind wrote no total")?
        .trim()
        .parse::<u64>()?)
}
