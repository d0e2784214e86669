//! Finds a Rust toolchain that can build for eBPF, and bpf-linker.
//!
//! Also compiled into mptcp-user/build.rs, so it needs nothing but `std`.

#![allow(dead_code, unreachable_pub, reason = "two binaries compile this file")]

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What `cargo xtask setup` has to install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No compiler with the library source for eBPF.
    Compiler,
    /// No bpf-linker.
    Linker,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Compiler => "a Rust compiler for eBPF (nightly with rust-src)",
            Self::Linker => "bpf-linker",
        };
        write!(f, "{what} is missing, which `cargo xtask setup` installs")
    }
}

/// A compiler and a linker for eBPF.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// Where the compiler is.
    pub compiler: Compiler,
    /// The linker's directory.
    pub linker: PathBuf,
}

/// A compiler that can build `core` for eBPF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// `rustup run nightly`.
    Nightly,
    /// A stable compiler with the library source beside it, as Debian packages it.
    System {
        /// Directory of `cargo` and `rustc`.
        bin: PathBuf,
    },
}

/// Finds what is installed.
///
/// # Errors
/// Says what is missing.
pub fn find() -> Result<Toolchain, Missing> {
    Ok(Toolchain {
        compiler: compiler().ok_or(Missing::Compiler)?,
        linker: linker().ok_or(Missing::Linker)?,
    })
}

impl Toolchain {
    /// A cargo command that builds for eBPF, whatever cargo it is called from.
    pub fn cargo(&self) -> Command {
        let mut command = match &self.compiler {
            Compiler::Nightly => {
                let mut command = Command::new("rustup");
                command.args(["run", "nightly", "cargo"]);
                command
            }
            Compiler::System { bin } => Command::new(bin.join("cargo")),
        };
        for name in [
            "CARGO",
            "RUSTC",
            "RUSTDOC",
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTUP_TOOLCHAIN",
            "CARGO_BUILD_TARGET",
            "CARGO_MAKEFLAGS",
            "MAKEFLAGS",
        ] {
            command.env_remove(name);
        }
        if let Compiler::System { bin } = &self.compiler {
            command
                .env("RUSTC", bin.join("rustc"))
                .env("RUSTC_BOOTSTRAP", "1");
        }
        let mut path = vec![self.linker.clone()];
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        if let Ok(path) = env::join_paths(path) {
            command.env("PATH", path);
        }
        let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_else(|_| env::consts::ARCH.into());
        let flags = [
            format!("--cfg=bpf_target_arch=\"{arch}\""),
            "-Cdebuginfo=2".into(),
            // The first with 32-bit and atomic instructions; v4 needs Linux 6.6.
            "-Ctarget-cpu=v3".into(),
            "-Clink-arg=--btf".into(),
        ];
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        command
    }
}

/// The compiler alone.
pub fn compiler() -> Option<Compiler> {
    let mut nightly = Command::new("rustup");
    nightly
        .args(["run", "nightly", "rustc"])
        .env("RUSTUP_AUTO_INSTALL", "0");
    if sysroot(&mut nightly).is_some_and(|sysroot| has_library_source(&sysroot)) {
        return Some(Compiler::Nightly);
    }
    let bin = PathBuf::from("/usr/bin");
    let sysroot = sysroot(&mut Command::new(bin.join("rustc")))?;
    (has_library_source(&sysroot) && bin.join("cargo").exists()).then_some(Compiler::System { bin })
}

fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    let output = rustc
        .env_remove("RUSTUP_TOOLCHAIN")
        .args(["--print", "sysroot"])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn has_library_source(sysroot: &Path) -> bool {
    fs::exists(sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml")).unwrap_or(false)
}

/// The directory of bpf-linker.
fn linker() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .chain(home.map(|home| home.join("bin")))
        .find(|directory| directory.join("bpf-linker").exists())
}
