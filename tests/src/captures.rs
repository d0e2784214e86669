//! The captures that tests read.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};

/// Where the project's captures are.
pub fn own() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/captures")
}

/// The project's captures, and those in ../shared/captures beside it, where that is.
pub fn all() -> Result<Vec<PathBuf>> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    if !shared.exists() {
        eprintln!("no {}: only the project's own captures", shared.display());
    }
    let mut files = Vec::new();
    for directory in [own(), shared] {
        let entries = fs::read_dir(directory).into_iter().flatten();
        files.extend(entries.map_while(Result::ok).map(|entry| entry.path()));
    }
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "pcap")
    });
    files.sort();
    ensure!(!files.is_empty(), "no captures");
    Ok(files)
}
