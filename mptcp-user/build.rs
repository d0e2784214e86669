//! Builds the eBPF object with the toolchain that can, and hands its path to the source.

#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=../mptcp-ebpf");
    println!("cargo::rerun-if-changed=../mptcp-common");
    println!("cargo::rerun-if-changed=../xtask/src/toolchain.rs");
    println!("cargo::rerun-if-changed=../Cargo.toml");
    if let Err(message) = build() {
        // One sentence, not a backtrace: this is what a newcomer sees first.
        println!("cargo::error={message}");
    }
}

fn build() -> Result<(), String> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set; run cargo build")?);
    let toolchain = toolchain::find().map_err(|missing| missing.to_string())?;
    let target = out.join("ebpf");
    let status = toolchain
        .cargo()
        .args([
            "build",
            "--package",
            "mptcp-ebpf",
            "--bin",
            "mptcp-ebpf",
            "--profile",
            "ebpf",
        ])
        .args([
            "-Z",
            "build-std=core",
            "--target",
            "bpfel-unknown-none",
            "--target-dir",
        ])
        .arg(&target)
        .status()
        .map_err(|error| format!("cannot run the eBPF toolchain's cargo: {error}"))?;
    if !status.success() {
        return Err(format!(
            "the eBPF programs did not build ({status}); the reason stands above"
        ));
    }
    let object = target.join("bpfel-unknown-none/ebpf/mptcp-ebpf");
    println!("cargo::rustc-env=MPTCP_EBPF_OBJECT={}", object.display());
    Ok(())
}
