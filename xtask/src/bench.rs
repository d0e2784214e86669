//! `cargo xtask bench`: what the programs cost per packet, beside their budgets.

use anyhow::Result;
use clap::ValueEnum;

use crate::{
    setup,
    shell::{self, cargo, show, step},
    toolchain,
};

/// How the figures are printed.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Output {
    /// A table
    #[default]
    Table,
    /// One JSON object
    Json,
}

/// How fast captures are read.
pub(crate) fn captures(output: Output) -> Result<()> {
    setup::run(true)?;
    shell::release_binary()?;
    let mut bench = cargo("bench --package mptcp-tests --bench captures --quiet");
    if matches!(output, Output::Json) {
        bench.args(["--", "json"]);
    }
    show(&mut bench)
}

/// What a packet costs, or the probe on interfaces.
pub(crate) fn packets(output: Output, live: bool) -> Result<()> {
    if shell::became_root("the benchmark loads eBPF programs, which")? {
        return Ok(());
    }
    setup::run(live)?;
    let binary = shell::release_binary()?;
    let (mut build, built) = toolchain::find()
        .map_err(anyhow::Error::msg)?
        .build(&["mptcp-bench"], &shell::target().join("ebpf"));
    step(
        "build the programs that feed packets",
        build.current_dir(shell::root()),
    )?;
    let bench = "bench --package mptcp-tests --bench packets";
    step(
        "build the benchmark",
        &mut cargo(&format!("{bench} --no-run")),
    )?;
    let mut bench = cargo(&format!("{bench} --quiet --"));
    if matches!(output, Output::Json) {
        bench.arg("json");
    }
    if live {
        bench.arg("live");
    }
    bench
        .env("MPTCP_BENCH_OBJECT", built.join("mptcp-bench"))
        .env("MPTCP_USER", binary);
    show(&mut bench)
}
