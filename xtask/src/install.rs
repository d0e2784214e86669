//! `cargo xtask install`: the release binary, which needs neither Rust nor LLVM.

use std::{fs, io, path::Path};

use anyhow::{Context as _, Result};

use crate::{setup, shell};

pub(crate) fn run(prefix: &Path) -> Result<()> {
    let directory = prefix.join("bin");
    let to = directory.join("mptcp-user");
    // A running binary cannot be written to, but its name can be given to another file.
    let new = directory.join(".mptcp-user.new");
    // Before a build of minutes.
    let result = fs::create_dir_all(&directory).and_then(|()| fs::write(&new, ""));
    writable(result, &directory)?;
    setup::run(false)?;
    let binary = shell::release_binary()?;
    let result = fs::copy(&binary, &new).and_then(|_| fs::rename(&new, &to));
    writable(result, &directory)?;
    let sudo = if shell::is_root() { "" } else { "sudo " };
    eprintln!(
        "installed {}; next: {sudo}mptcp-user attach -i IFACE",
        to.display()
    );
    Ok(())
}

fn writable(result: io::Result<()>, directory: &Path) -> Result<()> {
    result.with_context(|| {
        format!(
            "cannot write to {}\n  next: run it with sudo, or choose another --prefix",
            directory.display()
        )
    })
}
