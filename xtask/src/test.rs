//! `cargo xtask test`: every check and test, as CI runs them.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    bench::Output,
    count, demo, fuzz, lint, setup,
    shell::{self, cargo, show},
    trace, vm,
};

/// How long each fuzz target is run.
const FUZZED: Duration = Duration::from_secs(3);

pub(crate) fn run() -> Result<()> {
    if shell::became_root("the tests make network namespaces and load eBPF programs, which")? {
        return Ok(());
    }
    let start = Instant::now();
    setup::run(true)?;
    let binary = shell::release_binary()?;
    lint::run()?;
    demo::run()?;
    eprintln!("==> tests");
    show(cargo("test --no-fail-fast").env("MPTCP_USER", &binary))?;
    count::run(false)?;
    trace::run(Output::Table, false)?;
    fuzz::run(None, FUZZED)?;
    vm::run(false)?;
    eprintln!("all tests passed in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
