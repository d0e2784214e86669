//! Work in another network namespace, found by its inode number.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result, anyhow};

use super::network::{Network, enter};
use crate::text::shown;

/// Runs `work` in a thread that is in the network namespace at a path.
pub(crate) fn in_namespace<T: Send>(
    path: &Path,
    work: impl AsyncFnOnce(&Network) -> Result<T> + Send,
) -> Result<T> {
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
    })
}

/// Returns the name of `ip netns` that a path is, if it is one.
pub(crate) fn netns_name(path: &Path) -> Option<String> {
    let name = path.strip_prefix(NAMED).ok()?;
    Some(name.to_string_lossy().into_owned())
}

/// Where `ip netns` keeps its names.
const NAMED: &str = "/run/netns";

/// Returns a name of the namespace with this inode number: one of `ip netns`, or a process in it. `None` if nothing
/// that can be seen from here names it, which does not mean that it is gone: a process in a PID namespace that is not
/// seen may be in it, or an open file.
///
/// # Errors
/// If not all names can be looked at, and none of the others is the one.
pub(crate) fn find_namespace(inode: u64) -> Result<Option<PathBuf>> {
    let process = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let is_number = name
            .to_str()
            .is_some_and(|name| name.parse::<u32>().is_ok());
        is_number.then(|| entry.path().join("ns/net"))
    };
    let named = search(Path::new(NAMED), inode, |entry| Some(entry.path()));
    // Without names there may still be processes.
    if let Ok(Some(path)) = named {
        return Ok(Some(path));
    }
    let proc = Path::new("/proc");
    // An empty directory is not the processes' one.
    if !proc.join("self/ns/net").exists() {
        return Err(anyhow!("/proc shows no processes; mount /proc"));
    }
    match search(proc, inode, process)? {
        Some(path) => Ok(Some(path)),
        None => named,
    }
}

/// Returns the path of an entry that is the namespace.
fn search(
    directory: &Path,
    inode: u64,
    path_of: impl Fn(&fs::DirEntry) -> Option<PathBuf>,
) -> Result<Option<PathBuf>> {
    let what = || {
        format!(
            "cannot look for a network namespace in {}",
            shown(directory)
        )
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // Nobody has named one yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(what),
    };
    let mut hidden = None;
    for entry in entries {
        let entry = entry.with_context(what)?;
        let Some(path) = path_of(&entry) else {
            continue;
        };
        match fs::metadata(&path) {
            Ok(data) if data.ino() == inode => return Ok(Some(path)),
            Ok(_) => {}
            // The process has ended meanwhile, or is no more than its exit code.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    || error.raw_os_error() == Some(nix::libc::ESRCH) => {}
            Err(error) => hidden = Some((path, error)),
        }
    }
    match hidden {
        None => Ok(None),
        Some((path, error)) => {
            Err(error).with_context(|| format!("cannot look at {}", shown(path)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_listed_is_no_absence() -> Result<()> {
        let all = |entry: &fs::DirEntry| Some(entry.path());
        assert!(search(Path::new("/no/such/directory"), 1, all)?.is_none());
        // No directory at all, and one with an entry that cannot be looked at: a link that leads to itself.
        assert!(search(Path::new("/proc/self/status"), 1, all).is_err());
        let directory = std::env::temp_dir().join(format!("mptcp-search-{}", std::process::id()));
        fs::create_dir(&directory)?;
        let circle = directory.join("circle");
        std::os::unix::fs::symlink("circle", &circle)?;
        let found = search(&directory, 1, all);
        let own = fs::symlink_metadata(&circle)?.ino();
        fs::remove_dir_all(&directory)?;
        assert!(found.is_err(), "{found:?} (inode {own})");
        Ok(())
    }

    #[test]
    fn this_process_names_its_namespace() -> Result<()> {
        let own = fs::metadata("/proc/self/ns/net")?.ino();
        assert!(find_namespace(own)?.is_some());
        Ok(())
    }
}
