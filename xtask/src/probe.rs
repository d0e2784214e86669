//! `mptcp-user` with pins of its own, in one network namespace.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// What it attached goes when this is dropped.
pub(crate) struct Probe<'a> {
    binary: &'a Path,
    namespace: &'a str,
    pub(crate) pins: PathBuf,
}

impl<'a> Probe<'a> {
    pub(crate) fn new(binary: &'a Path, namespace: &'a str) -> Self {
        let pins = format!("/sys/fs/bpf/mptcp-xtask-{}", std::process::id());
        Self {
            binary,
            namespace,
            pins: pins.into(),
        }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.binary);
        command.arg("--pin-dir").arg(&self.pins);
        command.args(["--netns", self.namespace]).args(arguments);
        command
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if self.pins.exists() {
            let mut detach = Command::new(self.binary);
            // Said already, if it was a failure that brought us here.
            let _ = detach
                .arg("--pin-dir")
                .arg(&self.pins)
                .args(["detach", "--all"])
                .output();
        }
    }
}
