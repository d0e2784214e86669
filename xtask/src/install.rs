//! `cargo xtask install`: the release binary, which needs neither Rust nor LLVM.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{setup, shell};

pub(crate) fn run(prefix: &Path) -> Result<()> {
    setup::run(false)?;
    let binary = shell::release_binary()?;
    let directory = prefix.join("bin");
    let to = directory.join("mptcp-user");
    // A running binary cannot be written to, but its name can be given to another file.
    let new = directory.join(".mptcp-user.new");
    fs::create_dir_all(&directory)
        .and_then(|()| fs::copy(&binary, &new))
        .and_then(|_| fs::rename(&new, &to))
        .with_context(|| {
            format!(
                "cannot write to {}\n  next: run it with sudo, or choose another --prefix",
                directory.display()
            )
        })?;
    eprintln!(
        "installed {}; next: sudo mptcp-user attach -i IFACE",
        to.display()
    );
    Ok(())
}
