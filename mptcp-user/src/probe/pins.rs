//! Where probes are pinned: `PIN/v1/<network namespace>/if/<interface index>/`.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use mptcp_common::counter::LAYOUT_VERSION;
use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use crate::failure::{Failure, Kind};

/// A pin directory: `--pin-dir`.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    root: PathBuf,
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

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(crate) fn exists(&self) -> bool {
        self.directory.exists()
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
    pub(crate) fn prepare(&self) -> Result<()> {
        let mount_point = Path::new("/sys/fs/bpf");
        if self.root.starts_with(mount_point) && !is_bpffs(mount_point) {
            mount(
                Some("bpf"),
                mount_point,
                Some("bpf"),
                MsFlags::empty(),
                Some("mode=0700"),
            )
            .with_context(|| {
                format!(
                    "no bpffs is mounted at {0}, and mounting it failed\n  next: mount -t bpf \
                         bpf {0}",
                    mount_point.display()
                )
            })?;
        }
        let existing = self
            .root
            .ancestors()
            .find(|path| path.exists())
            .unwrap_or(&self.root);
        if !is_bpffs(existing) {
            return Err(Failure::error(
                Kind::Failed,
                format!(
                    "{} is not on a bpffs, and programs can be pinned nowhere else\n  next: give \
                     --pin-dir a directory below /sys/fs/bpf",
                    self.root.display()
                ),
            ));
        }
        fs::create_dir_all(&self.root)
            .with_context(|| format!("cannot create the pin directory {}", self.root.display()))
    }

    /// Waits until no other process reads or changes what is pinned here; until the lock is dropped.
    pub(crate) fn lock(&self) -> Result<Flock<File>> {
        self.lock_as(FlockArg::LockExclusive)
    }

    /// Waits until no other process changes what is pinned here, so that no probe is seen half
    /// attached; `None` if there is no pin directory.
    pub(crate) fn lock_to_read(&self) -> Result<Option<Flock<File>>> {
        self.root
            .exists()
            .then(|| self.lock_as(FlockArg::LockShared))
            .transpose()
    }

    fn lock_as(&self, how: FlockArg) -> Result<Flock<File>> {
        let file = File::open(&self.root)
            .with_context(|| format!("cannot open the pin directory {}", self.root.display()))?;
        Flock::lock(file, how)
            .map_err(|(_, error)| error)
            .with_context(|| format!("cannot lock {}", self.root.display()))
    }

    /// Removes an interface's pins, and the directories that this leaves empty.
    pub(crate) fn remove(&self, pins: &InterfacePins) -> Result<()> {
        for entry in entries(&pins.directory)? {
            let path = entry?.path();
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
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

fn numbers_in(directory: &Path) -> Result<Vec<u64>> {
    let mut numbers = entries(directory)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect::<Vec<u64>>();
    numbers.sort_unstable();
    Ok(numbers)
}
