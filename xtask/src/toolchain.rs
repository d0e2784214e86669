//! Finds a compiler and a linker that can build the eBPF object, and runs them.
//!
//! The eBPF crate needs `-Z build-std=core`, hence an unstable compiler with the library's source,
//! and bpf-linker. Two compilers will do: rustup's nightly with `rust-src`, or Debian's own
//! (`rustc-web`, `cargo-web`, `rust-web-src`) with `RUSTC_BOOTSTRAP=1`.
//!
//! This file is compiled twice: into xtask, which installs what is missing, and into
//! `mptcp-user/build.rs`, which builds the object. So it uses nothing but `std`.

#![allow(
    dead_code,
    reason = "each of the two crates that include this file uses a part of it"
)]

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The oldest distribution compiler known to build the eBPF crate: 1.`OLDEST_MINOR`.
const OLDEST_MINOR: u32 = 96;

/// Variables with these prefixes say how to reach registries and how to print: an inner cargo keeps
/// them. Every other `CARGO_*` variable was meant for the outer build.
const KEPT: [&str; 7] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "CARGO_MAKEFLAGS",
];

/// Variables that would make an inner cargo use the outer build's compiler or flags.
const DROPPED: [&str; 11] = [
    "CARGO",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_LINKER",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "__CARGO_DEFAULT_LIB_METADATA",
];

/// A Rust compiler that can build `core` for the eBPF target.
#[derive(Debug, Clone)]
pub(crate) struct Compiler {
    /// What to call it in messages.
    pub(crate) name: &'static str,
    pub(crate) cargo: PathBuf,
    pub(crate) rustc: PathBuf,
    /// A stable compiler, which must be told to accept `-Z` options.
    pub(crate) bootstrap: bool,
}

/// Everything that building the eBPF object takes.
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    pub(crate) linker: PathBuf,
}

/// What a build of the eBPF object lacks. Displays as one sentence that says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Compiler,
    Linker,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Compiler => {
                "no Rust compiler for eBPF was found (rustup's nightly with rust-src, or Debian's rustc-web)"
            }
            Self::Linker => "bpf-linker was not found",
        };
        write!(f, "{what}: run `cargo xtask setup`, which installs it")
    }
}

impl std::error::Error for Missing {}

/// The toolchain to build the eBPF object with, or the first thing that is missing.
///
/// # Errors
///
/// [`Missing`] names what is not there.
pub(crate) fn find() -> Result<Toolchain, Missing> {
    let compiler = find_compiler().ok_or(Missing::Compiler)?;
    let linker = find_linker().ok_or(Missing::Linker)?;
    Ok(Toolchain { compiler, linker })
}

/// rustup's nightly if it has the library's source, else the distribution's compiler.
pub(crate) fn find_compiler() -> Option<Compiler> {
    nightly().or_else(|| distribution(Path::new("/usr")))
}

/// bpf-linker from `PATH`, else from where `cargo install` puts programs.
pub(crate) fn find_linker() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(cargo_bin())
        .map(|dir| dir.join("bpf-linker"))
        .find(|file| file.is_file())
}

/// Where `cargo install` puts programs.
pub(crate) fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| env::home_dir().map(|dir| dir.join(".cargo")))
        .map(|dir| dir.join("bin"))
}

impl Toolchain {
    /// A cargo command that builds for `bpfel-unknown-none`: the caller adds `build`, the package,
    /// the profile, `-Z build-std=core`, the target and a target directory of its own.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = self.compiler.cargo();
        let flags = [
            format!("--cfg=bpf_target_arch=\"{}\"", bpf_target_arch()),
            "-Cdebuginfo=2".into(),
            "-Ctarget-cpu=v3".into(),
            "-Clink-arg=--btf".into(),
        ];
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        command.env("PATH", path_with(self.linker.parent()));
        command
    }
}

impl Compiler {
    /// This compiler's cargo, with nothing inherited from an outer build.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = clean(&self.cargo);
        command.env("RUSTC", &self.rustc);
        if self.bootstrap {
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }

    /// The major version of the LLVM inside, which bpf-linker's must match.
    pub(crate) fn llvm_major(&self) -> Option<u32> {
        version_field(&self.rustc, "LLVM version: ")?
            .split('.')
            .next()?
            .parse()
            .ok()
    }
}

/// A command without the variables by which an outer cargo would steer an inner one.
pub(crate) fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let steering =
            text.starts_with("CARGO_") && !KEPT.iter().any(|kept| text.starts_with(kept));
        if steering || DROPPED.contains(&text) {
            command.env_remove(&name);
        }
    }
    command
}

fn nightly() -> Option<Compiler> {
    let mut ask = clean(Path::new("rustup"));
    // Looking must not install anything.
    ask.env("RUSTUP_AUTO_INSTALL", "0");
    ask.args(["run", "nightly", "rustc", "--print", "sysroot"]);
    let sysroot = PathBuf::from(output(&mut ask)?.trim());
    let compiler = Compiler {
        name: "rustup's nightly",
        cargo: sysroot.join("bin/cargo"),
        rustc: sysroot.join("bin/rustc"),
        bootstrap: false,
    };
    (has_library_source(&sysroot) && compiler.cargo.is_file()).then_some(compiler)
}

fn distribution(sysroot: &Path) -> Option<Compiler> {
    let compiler = Compiler {
        name: "the distribution's compiler",
        cargo: sysroot.join("bin/cargo"),
        rustc: sysroot.join("bin/rustc"),
        bootstrap: true,
    };
    let present =
        has_library_source(sysroot) && compiler.cargo.is_file() && compiler.rustc.is_file();
    (present && minor(&compiler.rustc)? >= OLDEST_MINOR).then_some(compiler)
}

fn has_library_source(sysroot: &Path) -> bool {
    sysroot
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .is_file()
}

/// 96 for `release: 1.96.0`.
fn minor(rustc: &Path) -> Option<u32> {
    version_field(rustc, "release: 1.")?
        .split('.')
        .next()?
        .parse()
        .ok()
}

fn version_field(rustc: &Path, prefix: &str) -> Option<String> {
    let text = output(clean(rustc).arg("-vV"))?;
    text.lines()
        .find_map(|line| line.strip_prefix(prefix))
        .map(str::to_owned)
}

/// Standard output of a command that succeeds; `None` where it fails or does not exist.
fn output(command: &mut Command) -> Option<String> {
    let out = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    if !out.status.success() {
        return None;
    }
    String::from_utf8(out.stdout).ok()
}

/// `PATH` with `dir` in front.
fn path_with(dir: Option<&Path>) -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = dir
        .map(Path::to_path_buf)
        .into_iter()
        .chain(env::split_paths(&path));
    env::join_paths(dirs).unwrap_or(path)
}

/// The machine whose registers `bpf_target_arch` describes: what a build script is building for,
/// else this one.
fn bpf_target_arch() -> String {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_else(|_| env::consts::ARCH.to_owned());
    if arch.starts_with("riscv64") {
        "riscv64".into()
    } else {
        arch
    }
}
