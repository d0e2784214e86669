//! `cargo xtask trace`: what one packet does in the program as the kernel's verifier left it.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{
    guard::{Figures, Guard},
    setup,
    shell::{self, cargo, run as quietly, step},
};

const GUARD: Guard = Guard {
    file: "paths.tsv",
    columns: &[
        "packet",
        "instructions",
        "functions",
        "helper_calls",
        "map_lookups",
        "shared_lines",
        "shared_pages",
        "own_lines",
    ],
    update: "cargo xtask trace --update",
};

/// The kernel that the table is of: what a verifier leaves is its own.
const KERNEL: &str = "6.18.";

pub(crate) fn run(update: bool) -> Result<()> {
    if shell::became_root("eBPF programs are loaded, which")? {
        return Ok(());
    }
    setup::run(true)?;
    let bench = "bench --package mptcp-tests --bench trace";
    step(
        "build what traces",
        &mut cargo(&format!("{bench} --no-run")),
    )?;
    let file = shell::target().join("translated");
    let traced = quietly(cargo(&format!("{bench} --quiet --")).arg(&file))?;
    let mut measured = Figures::new();
    let [first, names @ ..] = GUARD.columns else {
        bail!("a table without columns");
    };
    print!("{first:32}");
    for name in names {
        print!("  {name}");
    }
    println!();
    for line in traced.lines() {
        let mut cells = line.split('\t');
        let name = cells.next().unwrap_or_default();
        let figures = cells.map(str::parse).collect::<Result<Vec<u64>, _>>();
        let figures = figures.with_context(|| format!("cannot make sense of {line}"))?;
        print!("{name:32}");
        for (name, figure) in names.iter().zip(&figures) {
            print!("  {figure:>0$}", name.len());
        }
        println!();
        measured.insert(name.to_owned(), figures);
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    if !release.starts_with(KERNEL) {
        println!(
            "not compared: this is Linux {}, and the table is of {KERNEL}x",
            release.trim()
        );
        return Ok(());
    }
    if update {
        GUARD.write(&measured)
    } else {
        GUARD.compare(&GUARD.read()?, &measured)
    }
}
