//! Pins where others may write: what somebody without rights puts there is neither believed nor removed, and what
//! pinned maps hold makes no command panic.

mod contents;
mod links;
mod lock;

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData};
use mptcp_tests::{
    files::Directory,
    net::{Attached as _, Family, Namespace, Pair, finished, output, run, transfer, wait},
    numbers::Numbers,
    probe::{Probe, binary},
};
use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Somebody without any right.
const NOBODY: u32 = 65534;

/// A namespace with one veth pair, p0-p1.
fn one_link() -> Result<Namespace> {
    let namespace = Namespace::new("pins")?;
    namespace.ip("link add p0 up type veth peer name p1")?;
    namespace.ip("link set p1 up")?;
    Ok(namespace)
}

/// A bpffs of its own, as `mount -t bpf` makes it: anybody may write there.
struct Bpffs(Directory);

impl Bpffs {
    fn new(mode: u32) -> Result<Self> {
        let directory = Directory::new()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let options = format!("mode={mode:o}");
        let kind = Some("bpf");
        mount(
            kind,
            directory.path(),
            kind,
            MsFlags::empty(),
            Some(&*options),
        )?;
        Ok(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}

/// A command with pins there.
fn command(namespace: &Namespace, pins: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .arg("--pin-dir")
        .arg(pins)
        .args(["--netns", namespace.name()]);
    command.args(arguments);
    command
}

/// Runs a shell script as somebody without rights.
fn as_nobody(script: &str) -> Result<String> {
    let ids = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    output(
        Command::new("setpriv")
            .args(ids)
            .args(["sh", "-ec", script]),
    )
}

/// What a command says that has to fail in words.
fn refusal(command: &mut Command) -> Result<String> {
    let out = finished(command)?;
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    ensure!(
        out.status.code() == Some(1) && text.contains("next: ") && !text.contains("panicked"),
        "{command:?}: {}, {text}{}",
        out.status,
        String::from_utf8_lossy(&out.stdout)
    );
    Ok(text)
}

/// The first command that a sentence tells to run next.
fn next(text: &str) -> Result<&str> {
    let (_, next) = text.split_once("next: ").context("no next step")?;
    next.split([',', ';', '\n']).next().context("no next step")
}

/// The commands that look at pins, and those that change them.
const COMMANDS: [&[&str]; 9] = [
    &["attach", "-i", "p0", "--no-hooks", "--xdp", "off"],
    &["attach", "-i", "p0"],
    &["detach", "--all"],
    &["detach", "-i", "p0"],
    &["status"],
    &["stat"],
    &["sessions"],
    &["record", "-o", "-", "--ntimes", "1"],
    &["events", "--count", "1"],
];

/// Inode of a namespace, and index of an interface in it.
fn numbers(namespace: &Namespace, interface: &str) -> Result<(u64, u64)> {
    let inode = fs::metadata(format!("/run/netns/{}", namespace.name()))?.ino();
    let links: serde_json::Value =
        serde_json::from_str(&namespace.ip(&format!("-j link show {interface}"))?)?;
    let index = links[0]["ifindex"].as_u64().context("no ifindex")?;
    Ok((inode, index))
}
