//! Where probes are pinned: `PIN/v1/<network namespace>/if/<interface index>/`.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use mptcp_common::counter::LAYOUT_VERSION;
use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::{kernel_hooks, tables};
use crate::failure::{Failure, Kind};

/// A pin directory: `--pin-dir`.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    root: PathBuf,
}

/// The pins of one network namespace: the tables that its probes share.
#[derive(Clone, Debug)]
pub(crate) struct NamespacePins {
    directory: PathBuf,
}

impl NamespacePins {
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Path of one of the shared maps.
    pub(crate) fn table(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn create_tables(&self) -> Result<()> {
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot create {}", self.directory.display()))
    }

    pub(crate) fn remove_tables(&self) -> Result<()> {
        tables::remove(&self.directory)
            .with_context(|| format!("cannot remove {}", self.directory.display()))
    }
}

/// The pins of one interface.
#[derive(Clone, Debug)]
pub(crate) struct InterfacePins {
    /// Inode number of the network namespace.
    pub(crate) namespace: u64,
    /// Interface index in it.
    pub(crate) index: u32,
    directory: PathBuf,
}

impl InterfacePins {
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What the probes of its namespace share.
    pub(crate) fn shared(&self) -> NamespacePins {
        let namespace = self.directory.ancestors().nth(2).unwrap_or(&self.directory);
        NamespacePins {
            directory: namespace.join("tables"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Has the interface pins?
    ///
    /// # Errors
    /// If that cannot be seen, which must not look like "none".
    pub(crate) fn exists(&self) -> Result<bool> {
        exists(&self.directory)
    }

    pub(crate) fn create(&self) -> Result<()> {
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot create {}", self.directory.display()))
    }
}

impl Pins {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn version(&self) -> PathBuf {
        self.root.join(format!("v{LAYOUT_VERSION}"))
    }

    pub(crate) fn interface(&self, namespace: u64, index: u32) -> InterfacePins {
        let directory = self.version().join(format!("{namespace}/if/{index}"));
        InterfacePins {
            namespace,
            index,
            directory,
        }
    }

    /// Directory of a network namespace's hooks on kernel functions.
    pub(crate) fn hooks(&self, namespace: u64) -> PathBuf {
        self.version().join(format!("{namespace}/hooks"))
    }

    /// All interfaces that have pins, of all network namespaces.
    pub(crate) fn interfaces(&self) -> Result<Vec<InterfacePins>> {
        let mut interfaces = Vec::new();
        for namespace in numbers_in(&self.version())? {
            for index in numbers_in(&self.version().join(format!("{namespace}/if")))? {
                interfaces.push(self.interface(namespace, index as u32));
            }
        }
        Ok(interfaces)
    }

    /// Makes sure that the pin directory exists and lies on a bpffs; mounts the usual one.
    fn prepare(&self) -> Result<()> {
        let mount_point = Path::new("/sys/fs/bpf");
        if self.root.starts_with(mount_point) && !is_bpffs(mount_point) {
            if !is_lasting() {
                return Err(Failure::error(
                    Kind::Failed,
                    "no bpffs is mounted at /sys/fs/bpf, and one that is mounted here may go with this \
                     command (`ip netns exec` gives it a /sys of its own)\n  next: mptcp-user --netns \
                     NAME ... from outside of the namespace; in a container, mount -t bpf bpf /sys/fs/bpf",
                ));
            }
            mount(
                Some("bpf"),
                mount_point,
                Some("bpf"),
                MsFlags::empty(),
                Some("mode=0700"),
            )
            .with_context(|| {
                format!(
                    "no bpffs is mounted at {0}, and mounting it failed (next: mount -t bpf bpf {0})",
                    mount_point.display()
                )
            })?;
        }
        self.check_bpffs()?;
        fs::create_dir_all(&self.root)
            .with_context(|| format!("cannot create the pin directory {}", self.root.display()))
    }

    /// May there be pins that this process does not see, having a /sys of its own?
    pub(crate) fn are_out_of_sight(&self) -> bool {
        let mount_point = Path::new("/sys/fs/bpf");
        self.root.starts_with(mount_point) && !is_bpffs(mount_point) && !is_lasting()
    }

    /// Nothing is pinned, and nothing removed, anywhere else.
    fn check_bpffs(&self) -> Result<()> {
        let existing = self
            .root
            .ancestors()
            .find(|path| path.exists())
            .unwrap_or(&self.root);
        if is_bpffs(existing) {
            return Ok(());
        }
        Err(Failure::error(
            Kind::Failed,
            format!(
                "{} is not on a bpffs, and programs can be pinned nowhere else\n  next: give \
                 --pin-dir a directory below /sys/fs/bpf",
                self.root.display()
            ),
        ))
    }

    /// Makes sure that there is a pin directory, and waits until no other process reads or changes
    /// what is in it; until the lock is dropped.
    pub(crate) fn lock(&self) -> Result<Flock<File>> {
        loop {
            self.prepare()?;
            if let Some(lock) = self.lock_as(FlockArg::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    /// The same without making a pin directory; `None` if there is none.
    pub(crate) fn lock_to_remove(&self) -> Result<Option<Flock<File>>> {
        let lock = self.lock_as(FlockArg::LockExclusive)?;
        if lock.is_some() {
            self.check_bpffs()?;
        }
        Ok(lock)
    }

    /// The same without waiting; `None` also if another process reads or changes what is in it, or this one may not.
    pub(crate) fn lock_at_once(&self) -> Option<Flock<File>> {
        self.lock_as(FlockArg::LockExclusiveNonblock).ok().flatten()
    }

    /// Waits until no other process changes what is pinned here, so that no probe is seen half
    /// attached; `None` if there is no pin directory.
    pub(crate) fn lock_to_read(&self) -> Result<Option<Flock<File>>> {
        self.lock_as(FlockArg::LockShared)
    }

    fn lock_as(&self, how: FlockArg) -> Result<Option<Flock<File>>> {
        let what = || format!("the pin directory {}", self.root.display());
        loop {
            let file = match File::open(&self.root) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error).with_context(|| format!("cannot open {}", what())),
            };
            let held = file.metadata()?;
            let lock = Flock::lock(file, how)
                .map_err(|(_, error)| error)
                .with_context(|| format!("cannot lock {}", what()))?;
            // Who held it before may have removed the directory, and another may have come.
            let is_same = |now: fs::Metadata| (now.dev(), now.ino()) == (held.dev(), held.ino());
            if fs::metadata(&self.root).is_ok_and(is_same) {
                return Ok(Some(lock));
            }
        }
    }

    /// Removes the pin directory if nothing is in it.
    pub(crate) fn remove_if_empty(&self) {
        // Where something is in it, or it is gone, that is as well.
        let _ = fs::remove_dir(&self.root);
    }

    /// Removes an interface's pins, and the directories that this leaves empty.
    pub(crate) fn remove(&self, pins: &InterfacePins) -> Result<()> {
        for entry in entries(&pins.directory)? {
            let path = entry?.path();
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        let is_last = numbers_in(&self.version().join(format!("{}/if", pins.namespace)))?
            .iter()
            .all(|index| *index == u64::from(pins.index));
        if is_last {
            pins.shared().remove_tables()?;
            let hooks = self.hooks(pins.namespace);
            kernel_hooks::remove(&hooks)
                .with_context(|| format!("cannot remove {}", hooks.display()))?;
        }
        for directory in pins
            .directory
            .ancestors()
            .take_while(|path| path.starts_with(&self.root))
        {
            match fs::remove_dir(directory) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Another interface still lives in it.
                Err(_) => break,
            }
        }
        Ok(())
    }
}

/// Does this process share its mounts with the first one, so that a mount outlives it? A copy of them has
/// other identifiers (proc_pid_mountinfo(5)). The link /proc/1/ns/mnt would say so too, but only to who has all
/// of the first process's capabilities.
fn is_lasting() -> bool {
    let mounts = |process: &str| fs::read_to_string(format!("/proc/{process}/mountinfo"));
    let (Ok(own), Ok(first)) = (mounts("self"), mounts("1")) else {
        return true;
    };
    let identifier = |line: &str| line.split(' ').next().and_then(|id| id.parse::<u32>().ok());
    let own: Vec<_> = own.lines().filter_map(identifier).collect();
    first
        .lines()
        .filter_map(identifier)
        .any(|id| own.contains(&id))
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}

/// The entries of a directory; none if it does not exist.
fn entries(directory: &Path) -> Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(directory) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", directory.display())),
    }
}

/// Is there such a file or directory?
///
/// # Errors
/// If that cannot be seen, which must not look like "no".
pub(crate) fn exists(path: &Path) -> Result<bool> {
    let found = path.try_exists();
    found.with_context(|| format!("cannot look for {}", path.display()))
}

fn numbers_in(directory: &Path) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in entries(directory)? {
        let entry = entry.with_context(|| format!("cannot read {}", directory.display()))?;
        numbers.extend(
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u64>().ok()),
        );
    }
    numbers.sort_unstable();
    Ok(numbers)
}
