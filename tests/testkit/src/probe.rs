//! The binary under test.

use std::{
    collections::BTreeSet,
    env,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    net::Namespace,
    process::{finished, output, wait},
};

/// `mptcp-user` with a pin directory of its own; what it attached goes when this is dropped.
#[derive(Debug)]
pub struct Probe {
    binary: PathBuf,
    pins: PathBuf,
    namespace: String,
}

/// Path of the binary: from the environment, or what cargo built.
pub fn binary() -> PathBuf {
    if let Some(path) = env::var_os("MPTCP_USER") {
        return path.into();
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    ["release", "debug"]
        .map(|profile| target.join(profile).join("mptcp-user"))
        .into_iter()
        .find(|path| path.exists())
        .expect("no mptcp-user: cargo build -p mptcp-user")
}

/// A command of the binary, here and with the usual pin directory: for what needs no probe.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments);
    command
}

/// `stat --output json` of a capture or a log.
pub fn recorded(file: impl AsRef<Path>, arguments: &[&str]) -> Result<Value> {
    let mut command = command(&["stat", "--output", "json"]);
    command.args(arguments).arg("-logFile").arg(file.as_ref());
    serde_json::from_str(&output(&mut command)?).context("stat prints no JSON")
}

impl Probe {
    /// For a namespace, of the binary under test.
    pub fn new(namespace: &Namespace) -> Self {
        Self::of(binary(), namespace)
    }

    /// For a namespace, of this binary.
    pub fn of(binary: impl Into<PathBuf>, namespace: &Namespace) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let pins = format!("/sys/fs/bpf/mptcp-test-{}-{number}", std::process::id());
        Self {
            binary: binary.into(),
            pins: pins.into(),
            namespace: namespace.name().to_owned(),
        }
    }

    /// The pin directory.
    pub fn pins(&self) -> &Path {
        &self.pins
    }

    /// The command, with pin directory and namespace set.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).arg("--pin-dir").arg(&self.pins);
        command.arg("--netns").arg(&self.namespace);
        command
    }

    /// Runs a command that must succeed.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        output(&mut self.command(arguments))
    }

    /// Runs a command that must fail with this exit code; what it says on standard error.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> Result<String> {
        failure(code, &mut self.command(arguments))
    }

    /// `status --output json`.
    pub fn status(&self) -> Result<Value> {
        let text = self.run(&["status", "--output", "json"])?;
        serde_json::from_str(&text).context("status prints no JSON")
    }

    /// Rows of which a hook is missing, on the first interface.
    pub fn refused_rows(&self) -> Result<BTreeSet<String>> {
        let status = self.status()?;
        let hooks = status["interfaces"][0]["hooks"]
            .as_array()
            .context("no hooks")?;
        let refused = hooks.iter().filter(|hook| hook["state"] != "attached");
        let rows = refused.filter_map(|hook| hook["rows"].as_array()).flatten();
        Ok(rows
            .filter_map(|row| row.as_str().map(ToOwned::to_owned))
            .collect())
    }

    /// `stat --output json`.
    pub fn stat(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.run(&[&["stat", "--output", "json"], arguments].concat())?;
        serde_json::from_str(&text).context("stat prints no JSON")
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if self.pins.exists() {
            let mut command = Command::new(&self.binary);
            command.args(["detach", "--all", "--pin-dir"]);
            let _ = finished(command.arg(&self.pins));
        }
    }
}

/// Runs a command that must fail with this exit code, without panicking; its standard error.
pub fn failure(code: i32, command: &mut Command) -> Result<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = finished(command)?;
    let text = String::from_utf8_lossy(&stderr).into_owned();
    ensure!(
        status.code() == Some(code),
        "{command:?}: {status} and not exit code {code}\n{}{text}",
        String::from_utf8_lossy(&stdout)
    );
    ensure!(!text.contains("panicked"), "{command:?} panicked: {text}");
    Ok(text)
}

/// Runs a command whose output nobody reads: it has to end well all the same, without a word.
pub fn unread(command: Command) -> Result<()> {
    read_in_part(command, 0)
}

/// The same of a command of whose output so many bytes are read, of more that there are.
pub fn read_in_part(mut command: Command, bytes: usize) -> Result<()> {
    let (mut reader, writer) = io::pipe()?;
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn()?;
    let what = format!("{command:?}");
    // Which holds an end of the pipe too.
    drop(command);
    let read = reader.read_exact(&mut vec![0; bytes]);
    drop(reader);
    let output = wait(child)?;
    read.with_context(|| format!("{what}: less than {bytes} bytes"))?;
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "{what}: {output:?}"
    );
    Ok(())
}

/// The total of a row in `stat`'s JSON.
pub fn total(stat: &Value, row: &str) -> Result<u64> {
    stat["counters"][row]["total"]
        .as_u64()
        .with_context(|| format!("{row} has no number"))
}

/// The counted options of a direction by name.
pub fn options(stat: &Value, direction: &str) -> Result<Vec<(String, u64)>> {
    let object = stat["options"][direction]
        .as_object()
        .context("no options")?;
    object
        .iter()
        .map(|(name, value)| Ok((name.clone(), value.as_u64().context("not a number")?)))
        .collect()
}

/// Compares two readings, which have to have the same numbers and times.
///
/// # Errors
/// If they differ, with the first difference.
pub fn same(name: &str, wanted: &Value, is: &Value) -> Result<()> {
    for part in ["options", "invalid_options", "events", "extra", "probe"] {
        ensure!(
            wanted[part] == is[part],
            "{name}: {part} is {}, wanted {}",
            is[part],
            wanted[part]
        );
    }
    let rows = wanted["counters"].as_object().context("no rows")?;
    for (row, value) in rows {
        let total = &is["counters"][row]["total"];
        ensure!(*total == value["total"], "{name}: {row} is {total}");
    }
    for (time, is, wanted) in [
        ("since", &is["source"]["since"], &wanted["source"]["since"]),
        ("time", &is["time"], &wanted["time"]),
    ] {
        ensure!(is == wanted, "{name}: {time} is {is}, wanted {wanted}");
    }
    Ok(())
}

/// Returns what `stat` counts of a capture that is broken, and why it is.
///
/// # Errors
/// If it is not.
pub fn broken(path: &str) -> Result<(Value, String)> {
    let out = finished(&mut command(&[
        "stat", "--output", "json", "-logFile", path,
    ]))?;
    ensure!(out.status.code() == Some(1), "{}", out.status);
    let stat: Value = serde_json::from_slice(&out.stdout)?;
    let reason = stat["source"]["broken"].as_str().context("not broken")?;
    let reason = reason.to_owned();
    Ok((stat, reason))
}
