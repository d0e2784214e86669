//! What a command of the binary prints, on its own and in tests/data.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{net::finished, probe::command};

/// The directory of captures, logs and tables.
pub fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}

/// How a command ended and what it printed, with the version of the program masked.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// How it ended.
    pub status: String,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Transcript {
    /// All of it as one text.
    pub fn text(&self) -> String {
        let Self {
            status,
            stdout,
            stderr,
        } = self;
        format!("{status}\n{stdout}\n--- standard error\n{stderr}")
    }
}

/// Runs the binary with these words, between which there is one space each. It runs in tests/data, so that no output
/// has a path of this machine.
///
/// # Errors
/// If it cannot be run, or does not end.
pub fn transcript(words: &str) -> Result<Transcript> {
    let words: Vec<_> = words.split(' ').collect();
    let mut command = command(&words);
    command.current_dir(data()).env("TZ", "UTC");
    command.env_remove("RUST_BACKTRACE").env("COLUMNS", "100");
    let out = finished(&mut command)?;
    let masked =
        |bytes| String::from_utf8_lossy(bytes).replace(env!("CARGO_PKG_VERSION"), "VERSION");
    Ok(Transcript {
        status: out.status.to_string(),
        stdout: masked(&out.stdout),
        stderr: masked(&out.stderr),
    })
}
