//! `cargo xtask fuzz`: builds the fuzz targets with coverage, and runs libFuzzer over them.
//!
//! The stable compiler can do it: what gives coverage are passes of LLVM. They are for this
//! workspace's crates alone, so that its dependencies are those of every other build; cargo asks
//! this very program to compile them (`RUSTC_WORKSPACE_WRAPPER`).

use std::{
    env, fs,
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::{
    setup,
    shell::{self, cargo, step},
};

/// What is fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Gathering: a frame's headers
    Frame,
    /// Decoding: an option area
    Options,
    /// The engine: packets of any kind
    Packets,
    /// The engine: sessions with keys and HMACs that are right
    Sessions,
    /// Captures, of any format
    Capture,
    /// Logs
    Log,
    /// Contents of pinned maps
    Pinned,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Frame => "frame",
            Self::Options => "options",
            Self::Packets => "packets",
            Self::Sessions => "sessions",
            Self::Capture => "capture",
            Self::Log => "log",
            Self::Pinned => "pinned",
        }
    }
}

/// The crates that are compiled with coverage.
const COVERED: [&str; 5] = [
    "mptcp_common",
    "mptcp_user",
    "mptcp_tests",
    "mptcp_fuzz",
    // Of a target: fuzz_frame.
    "fuzz_",
];

/// libFuzzer wants edges, counted in place, where they are, and what is compared on them. To
/// cargo these flags are no reason to build anew: touch a source when they change.
const COVERAGE: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=3",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Copt-level=1",
    "-Ccodegen-units=1",
];

/// Set where cargo uses this program as a compiler.
const WRAPPER: &str = "MPTCP_XTASK_COMPILES";

/// An input that takes longer is a finding, in seconds.
const SLOW: u32 = 20;

/// Runs targets, each for this time.
pub(crate) fn run(target: Option<Target>, time: Duration) -> Result<()> {
    setup::run(true)?;
    let targets = match &target {
        Some(target) => std::slice::from_ref(target),
        None => Target::value_variants(),
    };
    let directory = shell::target().join("fuzz");
    let seeds = directory.join("seeds");
    let mut make = cargo("run --quiet --package mptcp-fuzz --bin seeds");
    step("make seeds of the captures", make.arg(&seeds))?;
    let mut build = cargo("build --package mptcp-fuzz");
    for target in targets {
        build.args(["--bin", &format!("fuzz-{}", target.name())]);
    }
    step(
        "build the fuzz targets",
        build
            .env("RUSTC_WORKSPACE_WRAPPER", env::current_exe()?)
            // The compiler does not expect to optimise what it keeps parts of.
            .env("CARGO_INCREMENTAL", "0")
            .env(WRAPPER, "1"),
    )?;
    for target in targets {
        fuzz(target.name(), &directory, &seeds, time)?;
    }
    Ok(())
}

/// What is found goes on to be the corpus of the next run; an input that fails stays beside it.
fn fuzz(name: &str, directory: &Path, seeds: &Path, time: Duration) -> Result<()> {
    let corpus = directory.join("corpus").join(name);
    fs::create_dir_all(&corpus)?;
    let artifact = directory.join(format!("failing-{name}-"));
    let mut command = Command::new(shell::build_directory().join(format!("debug/fuzz-{name}")));
    command
        .arg(format!("-max_total_time={}", time.as_secs()))
        .arg(format!("-timeout={SLOW}"))
        .arg(format!("-artifact_prefix={}", artifact.display()))
        .args(["-max_len=20000", "-print_final_stats=1"])
        .arg(corpus)
        .arg(seeds.join(name));
    step(&format!("fuzz {name}"), &mut command)
        .with_context(|| format!("the input is at {}*", artifact.display()))
}

/// Compiles, if cargo asks for it: `xtask RUSTC ARGUMENTS...`.
pub(crate) fn compile() -> Option<ExitCode> {
    env::var_os(WRAPPER)?;
    let mut arguments = env::args_os().skip(1);
    let mut rustc = Command::new(arguments.next()?);
    let arguments: Vec<_> = arguments.collect();
    let name = arguments
        .iter()
        .skip_while(|argument| *argument != "--crate-name")
        .nth(1);
    let is_covered = name
        .and_then(|name| name.to_str())
        .is_some_and(|name| COVERED.iter().any(|covered| name.starts_with(covered)));
    rustc.args(&arguments);
    if is_covered {
        rustc.args(COVERAGE);
    }
    Some(match rustc.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// A time as in `10m`.
pub(crate) fn duration(text: &str) -> Result<Duration> {
    let (number, seconds) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) if text.ends_with('m') => (number, 60),
        Some(number) if text.ends_with('h') => (number, 3600),
        Some(number) => (number, 1),
        None => (text, 1),
    };
    match number.parse::<u32>() {
        Ok(number) if number > 0 => Ok(Duration::from_secs(u64::from(number) * seconds)),
        _ => bail!("a time is a number and s, m or h: 10m"),
    }
}
