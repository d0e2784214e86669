//! Files that tests make.

use std::{fs, path::Path};

use anyhow::Result;
use tempfile::TempDir;

use crate::net::run;

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
