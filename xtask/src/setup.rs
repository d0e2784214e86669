//! `cargo xtask setup`: installs what is missing, and is quick when nothing is.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Result, bail};

use crate::{
    shell::{cargo, command, has, is_root, step},
    toolchain::{self, Missing},
};

/// A program, and the Debian package that has it.
type Needs = [(&'static str, &'static str)];

/// To build and for the demo.
const BASE: &Needs = &[
    ("cc", "gcc"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("tcpdump", "tcpdump"),
];

/// For the tests.
const TESTS: &Needs = &[
    ("bpftool", "bpftool"),
    ("bzip2", "bzip2"),
    ("c++", "g++"),
    ("ethtool", "ethtool"),
    ("lz4", "lz4"),
    ("nft", "nftables"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("setpriv", "util-linux"),
    ("strace", "strace"),
    ("tshark", "tshark"),
    ("valgrind", "valgrind"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
];

/// LLVM versions that bpf-linker 0.13 can be built with.
const LLVM_OF_LINKER: [u32; 3] = [21, 22, 23];
const LINKER_VERSION: &str = "0.13.0";

/// What the tests ask of cargo, and the components of a toolchain that have it.
const COMPONENTS: [(&str, &str); 2] = [("fmt", "rustfmt"), ("clippy", "clippy")];

pub(crate) fn run(all: bool) -> Result<()> {
    if all {
        check_components()?;
    }
    let mut missing = missing_of(BASE);
    if all {
        missing.extend(missing_of(TESTS));
    }
    missing.dedup();
    install(&missing)?;
    while let Err(what) = toolchain::find() {
        match what {
            Missing::Compiler => install_compiler()?,
            Missing::Linker => install_linker()?,
        }
        if toolchain::find().err() == Some(what) {
            bail!("{what}: installing it changed nothing");
        }
    }
    Ok(())
}

fn check_components() -> Result<()> {
    let missing = COMPONENTS.iter().filter(|(command, _)| {
        let version = cargo(command).arg("--version").output();
        !version.is_ok_and(|output| output.status.success())
    });
    let missing: Vec<_> = missing.map(|(_, component)| *component).collect();
    if !missing.is_empty() {
        let names = missing.join(" ");
        let next = if has("rustup") {
            format!("rustup component add {names}")
        } else {
            "install them from where Rust came from".to_owned()
        };
        bail!("the Rust toolchain lacks {names}\n  next: {next}");
    }
    Ok(())
}

fn missing_of(needs: &Needs) -> Vec<&'static str> {
    needs
        .iter()
        .filter(|(program, _)| !has(program))
        .map(|(_, package)| *package)
        .collect()
}

fn is_debian() -> bool {
    has("apt-get")
}

/// A command as root.
fn privileged(line: &str) -> Command {
    if is_root() {
        command(line)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(line.split_whitespace());
        sudo
    }
}

fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    if !is_debian() {
        bail!(
            "these are missing, and only Debian and Ubuntu are set up by this command; install \
             them by the names your system has for them: {names}"
        );
    }
    if !is_root() && !has("sudo") {
        bail!("these packages are missing, and installing them needs root: {names}");
    }
    step(
        "refresh the package lists",
        &mut privileged("apt-get update"),
    )?;
    step(
        "install packages",
        privileged(&format!(
            "env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {names}"
        ))
        .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// The distribution's compiler, whose LLVM the distribution has too; else a nightly by rustup.
fn install_compiler() -> Result<()> {
    let mut reasons = Vec::new();
    if is_debian() {
        match install(&["rustc-web", "cargo-web", "rust-web-src"]) {
            // An older release has an older compiler by this name.
            Ok(()) if toolchain::compiler().is_some() => return Ok(()),
            Ok(()) => reasons.push("the packaged compiler is too old".to_owned()),
            Err(error) => reasons.push(format!("{error:#}")),
        }
        eprintln!("    the distribution has none; trying rustup");
    }
    if has("rustup") {
        let nightly =
            "timeout 600 rustup toolchain install nightly --profile minimal --component rust-src";
        match step(
            "install a nightly Rust with library source",
            &mut command(nightly),
        ) {
            Ok(()) => return Ok(()),
            Err(error) => reasons.push(format!("{error:#}")),
        }
    }
    bail!(
        "no Rust compiler for eBPF could be installed\n  next: rustup toolchain install nightly \
         --component rust-src\n{}",
        reasons.join("\n")
    )
}

/// bpf-linker, built with the compiler's LLVM version or a later one.
fn install_linker() -> Result<()> {
    let Some(llvm) = llvm_for_linker().or_else(|| {
        // A nightly may be ahead of every LLVM that there is; the distribution's compiler is not.
        install_compiler().ok()?;
        llvm_for_linker()
    }) else {
        let wanted = compiler_llvm().unwrap_or(LLVM_OF_LINKER[0]);
        bail!(
            "bpf-linker needs the development files of LLVM {wanted} or later, which this system \
             does not offer\n  next: install them (package llvm-{wanted}-dev, or from \
             apt.llvm.org) and run this again"
        );
    };
    if is_debian() {
        let dev = format!("llvm-{llvm}-dev");
        install(&[&dev, "g++", "zlib1g-dev", "libzstd-dev", "libxml2-dev"])?;
    }
    step(
        "build bpf-linker",
        cargo(&format!(
            "install bpf-linker --version {LINKER_VERSION} --no-default-features --features \
             llvm-{llvm}"
        ))
        // Outside of the workspace, whose settings are not meant for it.
        .current_dir(env::temp_dir())
        .env("LLVM_PREFIX", llvm_prefix(llvm)),
    )
}

/// The oldest LLVM that can read what the compiler writes, and that is here or can be installed.
fn llvm_for_linker() -> Option<u32> {
    let wanted = compiler_llvm()?;
    LLVM_OF_LINKER
        .into_iter()
        .filter(|version| *version >= wanted)
        .find(|version| has_llvm(*version) || has_llvm_package(*version))
}

fn llvm_prefix(version: u32) -> String {
    format!("/usr/lib/llvm-{version}")
}

fn has_llvm(version: u32) -> bool {
    fs::exists(Path::new(&llvm_prefix(version)).join("include/llvm-c/Core.h")).unwrap_or(false)
}

fn has_llvm_package(version: u32) -> bool {
    is_debian()
        && command(&format!("apt-cache show llvm-{version}-dev"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}

/// The LLVM version of the compiler that was found.
fn compiler_llvm() -> Option<u32> {
    let output = toolchain::compiler()?.rustc().arg("-vV").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}
