//! Finds a Rust toolchain that can build for eBPF, and bpf-linker.
//!
//! Also compiled into mptcp-user/build.rs, so it needs nothing but `std`.

#![allow(dead_code, unreachable_pub, reason = "two binaries compile this file")]

use std::{
    env, fmt,
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

impl Compiler {
    /// Its `rustc`.
    pub fn rustc(&self) -> Command {
        let mut command = match self {
            Self::Nightly => {
                let mut command = Command::new("rustup");
                command
                    .args(["run", "nightly", "rustc"])
                    .env("RUSTUP_AUTO_INSTALL", "0");
                command
            }
            Self::System { bin } => Command::new(bin.join("rustc")),
        };
        command.env_remove("RUSTUP_TOOLCHAIN");
        command
    }
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
    fn cargo(&self) -> Command {
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
        // Settings of the outer build's profiles and targets.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PROFILE_") || text.starts_with("CARGO_TARGET_") {
                command.env_remove(&name);
            }
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

    /// The command that builds these binaries of mptcp-ebpf, and where it puts them.
    pub fn build(&self, binaries: &[&str], target: &Path) -> (Command, PathBuf) {
        let mut command = self.cargo();
        command.args(["build", "--package", "mptcp-ebpf", "--profile", "ebpf"]);
        for binary in binaries {
            command.args(["--bin", binary]);
        }
        command
            .args(["-Z", "build-std=core", "--target", "bpfel-unknown-none"])
            .arg("--target-dir")
            .arg(target);
        (command, target.join("bpfel-unknown-none/ebpf"))
    }
}

/// The oldest compiler that builds the workspace: 1.95, its `rust-version`.
const OLDEST: (u32, u32) = (1, 95);

/// The compiler alone. The system's comes first: where it is, it was installed together with an
/// LLVM that bpf-linker can be built with, which the newest nightly may be ahead of.
pub fn compiler() -> Option<Compiler> {
    system()
        .or_else(|| has_library_source(&mut Compiler::Nightly.rustc()).then_some(Compiler::Nightly))
}

fn system() -> Option<Compiler> {
    let bin = PathBuf::from("/usr/bin");
    let compiler = Compiler::System { bin: bin.clone() };
    // "rustc 1.96.0 (...)"
    let said = output(compiler.rustc().arg("--version"))?;
    let mut version = said
        .split_whitespace()
        .nth(1)?
        .split('.')
        .map_while(|n| n.parse().ok());
    let version: (u32, u32) = (version.next()?, version.next()?);
    (version >= OLDEST && bin.join("cargo").exists() && has_library_source(&mut compiler.rustc()))
        .then_some(compiler)
}

/// What a command prints, if it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn has_library_source(rustc: &mut Command) -> bool {
    output(rustc.args(["--print", "sysroot"])).is_some_and(|sysroot| {
        let core = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/Cargo.toml");
        core.exists()
    })
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
