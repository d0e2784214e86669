//! Work in another network namespace, found by its inode number.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result, anyhow};

use super::network::{Network, enter};

/// Runs `work` in a thread that is in the network namespace; `None` if the namespace is gone, or
/// nothing names it any more.
pub(crate) fn in_namespace<T: Send>(
    inode: u64,
    work: impl AsyncFnOnce(&Network) -> Result<T> + Send,
) -> Result<Option<T>> {
    let Some(path) = path_of(inode) else {
        return Ok(None);
    };
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            enter(&path.to_string_lossy())?;
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("cannot start the runtime")?
                .block_on(async { work(&Network::connect()?).await })
        });
        thread
            .join()
            .unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
            .map(Some)
    })
}

/// Is there still a name for this network namespace?
pub(crate) fn is_namespace(inode: u64) -> bool {
    path_of(inode).is_some()
}

/// Its name of `ip netns`, if it has one.
pub(crate) fn name_of(inode: u64) -> Option<String> {
    let path = path_of(inode)?;
    let name = path.strip_prefix(NAMED).ok()?;
    Some(name.display().to_string())
}

/// Where `ip netns` keeps its names.
const NAMED: &str = "/run/netns";

/// A name of the namespace: one of `ip netns`, or a process in it.
fn path_of(inode: u64) -> Option<PathBuf> {
    let named = fs::read_dir(NAMED)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path());
    let of_processes = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("ns/net"));
    named
        .chain(of_processes)
        .find(|path| inode_of(path) == Some(inode))
}

fn inode_of(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|data| data.ino())
}
