//! Files that tests make.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::net::{finished, run};

/// A directory, which goes with all that is in it when this is dropped.
#[derive(Debug)]
pub struct Directory(TempDir);

impl Directory {
    /// A new one.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("mptcp-test-").tempdir()?;
        Ok(Self(directory))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file in it, as arguments have it.
    pub fn file(&self, name: &str) -> String {
        self.path().join(name).display().to_string()
    }

    /// Writes a file; its path.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<String> {
        fs::write(self.path().join(name), bytes)?;
        Ok(self.file(name))
    }

    /// Makes a FIFO; its path.
    pub fn fifo(&self, name: &str) -> Result<String> {
        run("mkfifo", &[&self.file(name)])?;
        Ok(self.file(name))
    }
}

/// Returns what a program makes of bytes, which packs a file to standard output.
///
/// # Errors
/// If it does not run.
pub fn packed(program: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let directory = Directory::new()?;
    let file = directory.write("plain", bytes)?;
    let mut words = program.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).args(["-c", &file]);
    let out = finished(&mut command)?;
    ensure!(out.status.success(), "{program}: {}", out.status);
    Ok(out.stdout)
}
