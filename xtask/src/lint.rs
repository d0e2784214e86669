//! `cargo xtask lint`: formatting, lints, links of the documentation, spelling, and what crates the project takes.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use crate::shell::{cargo, command, find, has, step, target};

/// The version of `typos` whose dictionary the project is held against.
const TYPOS: &str = "1.52.0";

pub(crate) fn run() -> Result<()> {
    step("check formatting", &mut cargo("fmt --all --check"))?;
    // Among its lints is `incompatible_msrv`: nothing of the standard library is younger than `rust-version`.
    step(
        "check lints",
        &mut cargo("clippy --workspace --exclude mptcp-ebpf --all-targets -- -D warnings"),
    )?;
    step(
        "check the documentation of items",
        cargo("doc --no-deps --document-private-items -p mptcp-common -p mptcp-user")
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    step("check spelling", &mut Command::new(typos()?))?;
    if has("cargo-deny") {
        step(
            "check licences, versions and sources of crates",
            // Advisories come from outside: `cargo deny check advisories` asks for them.
            &mut cargo("deny --all-features check licenses bans sources"),
        )
    } else {
        eprintln!("crates are not checked: cargo install --locked cargo-deny");
        Ok(())
    }
}

/// Returns the path of `typos`, installed for this project alone if there is none.
fn typos() -> Result<PathBuf> {
    if let Some(program) = find("typos") {
        return Ok(program);
    }
    let place = target().join("tools");
    let program = place.join("bin/typos");
    if program.exists() {
        return Ok(program);
    }
    let place = place.display();
    // PyPI has it built. Where Python cannot install anything, it takes some minutes to build.
    let wheel = || -> Result<()> {
        step(
            "make room for a Python program",
            &mut command(&format!("python3 -m venv {place}")),
        )?;
        let install = format!("{place}/bin/pip install --quiet typos=={TYPOS}");
        step("install typos", &mut command(&install))
    };
    if !has("python3") || wheel().is_err() {
        let install = format!("install typos-cli --locked --version {TYPOS} --root {place}");
        step("build typos", &mut cargo(&install))?;
    }
    ensure!(program.exists(), "{} is not there", program.display());
    Ok(program)
}
