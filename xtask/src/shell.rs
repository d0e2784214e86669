//! Running other programs, and saying so.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// A command of one line, split at blanks.
pub(crate) fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// Runs a command quietly; its output is only shown when it fails.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", said(command)))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "{} failed ({})\n{text}{}",
            said(command),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(text)
}

/// Runs a command whose output belongs to the user.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", said(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", said(command));
    }
    Ok(())
}

/// Runs a long step: says what it is for and how long it has taken; its output goes to a file
/// under target/xtask, whose end is shown when the step fails.
pub(crate) fn step(what: &str, command: &mut Command) -> Result<()> {
    let name: String = what
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let path = target().join(format!("{name}.log"));
    let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let start = Instant::now();
    eprintln!("==> {what}: {}", said(command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot run {}", said(command)))?;
    let mut next = Duration::from_secs(15);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() >= next {
            eprintln!("    still at it after {} s", next.as_secs());
            next += Duration::from_secs(15);
        }
        thread::sleep(Duration::from_millis(20));
    };
    if !status.success() {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(25)..].join("\n");
        bail!(
            "{what} failed ({status}); the end of {}:\n{tail}",
            path.display()
        );
    }
    eprintln!("    done in {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// A command as one would type it.
fn said(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}

/// Is there a program of this name on the path, or where administrators' programs are?
pub(crate) fn has(program: &str) -> bool {
    find(program).is_some()
}

/// Where a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|path| path.exists())
}

/// The workspace's directory.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default()
}

/// Where these commands keep their files: target/xtask.
pub(crate) fn target() -> PathBuf {
    let directory = build_directory().join("xtask");
    let _ = fs::create_dir_all(&directory);
    directory
}

/// Where cargo builds.
pub(crate) fn build_directory() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A cargo command in the workspace.
pub(crate) fn cargo(line: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(line.split_whitespace()).current_dir(root());
    command
}

/// The release binary, built. Where the C library is there to link with, the binary holds it: it starts in half the
/// time, and runs where the C library is another one.
pub(crate) fn release_binary() -> Result<PathBuf> {
    let mut build = cargo("rustc --release --package mptcp-user --bin mptcp-user");
    if has_static_libc() {
        // Of this binary only: procedural macros, which RUSTFLAGS are for too, cannot be linked so.
        build.args(["--", "-C", "target-feature=+crt-static"]);
    }
    step("build mptcp-user", &mut build)?;
    Ok(build_directory().join("release/mptcp-user"))
}

/// Has the C compiler a C library to link with? Some distributions have it in a package of its own.
fn has_static_libc() -> bool {
    // Of a file that it does not find, the compiler prints the bare name.
    run(&mut command("cc -print-file-name=libc.a"))
        .is_ok_and(|path| Path::new(path.trim()).is_absolute())
}

/// Is this process root?
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Runs this very command again as root, if it is not; true if that was done.
pub(crate) fn became_root(why: &str) -> Result<bool> {
    if is_root() {
        return Ok(false);
    }
    if !has("sudo") {
        bail!("{why} needs root, and there is no sudo: run it as root");
    }
    eprintln!("==> {why} needs root: sudo");
    let mut command = Command::new("sudo");
    command.arg("--preserve-env=PATH,CARGO_HOME,RUSTUP_HOME,CARGO_TARGET_DIR,CARGO,HOME");
    command
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1));
    show(&mut command)?;
    Ok(true)
}
