//! Commands that run on, and where what they read is pinned.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    process::Child,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    net::{Namespace, wait_until},
    probe::{Probe, total},
};

/// A command that runs on, and what it has printed.
pub struct Running {
    /// The process.
    pub child: Child,
    directory: tempfile::TempDir,
}

impl Running {
    /// Starts it.
    pub fn start(probe: &Probe, arguments: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let file = |name| File::create(directory.path().join(name));
        let child = probe
            .command(arguments)
            .stdout(file("out")?)
            .stderr(file("err")?)
            .spawn()?;
        Ok(Self { child, directory })
    }

    /// What it has printed to standard output.
    pub fn out(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("out"))?)
    }

    /// What it has printed to standard error.
    pub fn said(&self) -> Result<String> {
        Ok(fs::read_to_string(self.directory.path().join("err"))?)
    }

    /// Waits until it has printed a line that holds this; returns the lines up to it.
    pub fn lines_until(&self, last: &str) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        wait_until(|| {
            let out = self.out()?;
            let whole = out.rfind('\n').map_or(0, |end| end + 1);
            lines = out[..whole].lines().map(ToOwned::to_owned).collect();
            let end = lines.iter().position(|line| line.contains(last));
            if let Some(end) = end {
                lines.truncate(end + 1);
            }
            Ok(end.is_some())
        })
        .with_context(|| format!("no {last:?} in {lines:?}; said: {:?}", self.said()))?;
        Ok(lines)
    }

    /// Waits until it has said this.
    pub fn wait_for(&self, text: &str) -> Result<()> {
        wait_until(|| Ok(self.said()?.contains(text)))
            .with_context(|| format!("no {text:?} in {:?}", self.said()))
    }

    /// The displays until now, whole ones.
    pub fn displays(&self) -> Result<Vec<Value>> {
        let out = self.out()?;
        let whole = out.rfind('\n').map_or(0, |end| end + 1);
        let lines = out[..whole].lines();
        Ok(lines.map(serde_json::from_str).collect::<Result<_, _>>()?)
    }

    /// Waits until the last display has this total.
    pub fn wait_for_total(&self, row: &str, wanted: u64) -> Result<()> {
        wait_until(|| match self.displays()?.last() {
            Some(display) => Ok(total(display, row)? == wanted),
            None => Ok(false),
        })
        .with_context(|| format!("{row} is not {wanted}; said: {:?}", self.said()))
    }

    /// Interrupts it; it has to end well.
    pub fn interrupt(&mut self) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}: {}", self.said()?);
        Ok(())
    }
}

/// Starts `mptcp-user events`, and waits until it holds the lock of its ring.
pub fn watch(probe: &Probe, arguments: &[&str]) -> Result<Running> {
    let watch = Running::start(probe, &[&["events"], arguments].concat())?;
    let pid = watch.child.id().to_string();
    wait_until(|| {
        let locks = fs::read_to_string("/proc/locks")?;
        Ok(locks
            .lines()
            .any(|lock| lock.split_whitespace().nth(4) == Some(&pid)))
    })?;
    Ok(watch)
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The pin directory of an interface.
pub fn directory(probe: &Probe, namespace: &Namespace, interface: &str) -> Result<PathBuf> {
    let inode = fs::metadata(format!("/run/netns/{}", namespace.name()))?.ino();
    let links: Value = serde_json::from_str(&namespace.ip(&format!("-j link show {interface}"))?)?;
    let index = links[0]["ifindex"].as_u64().context("no ifindex")?;
    Ok(probe.pins().join(format!("v1/{inode}/if/{index}")))
}

/// An interface's part of `status`.
pub fn state(probe: &Probe, name: &str) -> Result<Value> {
    let status = probe.status()?;
    let all = status["interfaces"].as_array().context("no interfaces")?;
    let one = all.iter().find(|one| one["name"] == name);
    Ok(one
        .with_context(|| format!("no {name} in {status}"))?
        .clone())
}
