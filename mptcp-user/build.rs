//! Builds the eBPF objects with the toolchain that can, and hands their paths to the source.

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
    let objects = [
        ("MPTCP_EBPF_OBJECT", "mptcp-ebpf"),
        ("MPTCP_HOOKS_OBJECT", "mptcp-fexit"),
    ];
    // Of the profile, which this is built for more than once (`cargo xtask fuzz`).
    let shared = out.ancestors().nth(3).unwrap_or(&out).join("ebpf");
    let (mut command, built) = toolchain.build(&objects.map(|(_, binary)| binary), &shared);
    let status = command
        .status()
        .map_err(|error| format!("cannot run the eBPF toolchain's cargo: {error}"))?;
    if !status.success() {
        return Err(format!(
            "the eBPF programs did not build ({status}); the reason stands above"
        ));
    }
    for (variable, object) in objects {
        println!(
            "cargo::rustc-env={variable}={}",
            built.join(object).display()
        );
    }
    Ok(())
}
