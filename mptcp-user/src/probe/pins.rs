//! Where probes are pinned: `PIN/v1/<network namespace>/if/<interface index>/`.
//!
//! Everything that makes or removes a pin is here. A directory is opened from the one above it, and looked at, before
//! anything in it is believed or removed: others may be able to write where this runs as root.

mod directory;
mod lock;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use mptcp_common::counter::{FexitHook, LAYOUT_VERSION};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

pub(crate) use self::{
    directory::{Directory, Shape},
    lock::Lock,
};
use crate::{
    failure::{Failure, Kind},
    interrupt::Interrupt,
    text::shown,
};

/// What is pinned of an interface.
pub(super) const OF_INTERFACE: [&str; 6] =
    ["counters", "meta", "readings", "xdp", "tcx", "tcx-ingress"];

/// What the probes of a network namespace share.
pub(super) const OF_TABLES: [&str; 14] = [
    "meta",
    "events",
    "handshake-tags",
    "handshakes",
    "subflow-tags",
    "subflows",
    "session-tags",
    "sessions",
    "range-tags",
    "ranges",
    "tokens",
    "keys",
    "pending-joins",
    "filter",
];

/// What is pinned of the hooks of a network namespace, beside their links.
pub(super) const OF_HOOKS: [&str; 3] = ["counters", "refused", "readings"];

/// A pin directory: `--pin-dir`.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    root: PathBuf,
}

/// A directory below a pin directory, which need not be there.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pins: Pins,
    /// Names of the directories below that of the version.
    below: Vec<String>,
}

impl Place {
    fn new(pins: &Pins, below: impl Into<Vec<String>>) -> Self {
        Self {
            pins: pins.clone(),
            below: below.into(),
        }
    }

    /// Where it is: for sentences.
    pub(crate) fn path(&self) -> PathBuf {
        let version = self.pins.root.join(version());
        self.below
            .iter()
            .fold(version, |path, name| path.join(name))
    }

    /// Opens it; `None` if it is not there.
    ///
    /// # Errors
    /// If that cannot be seen, which must not look like "none", or others may write there.
    pub(crate) fn open(&self) -> Result<Option<Directory>> {
        let mut here = self.pins.version()?;
        for name in &self.below {
            let Some(above) = here else { break };
            here = above.child(name)?;
        }
        Ok(here)
    }

    /// Opens it, and makes it where it is missing.
    pub(crate) fn create(&self) -> Result<Directory> {
        let mut here = Directory::make_root(&self.pins.root)?.make(&version())?;
        for name in &self.below {
            here = here.make(name)?;
        }
        Ok(here)
    }
}

/// The pins of one network namespace: the tables that its probes share.
#[derive(Clone, Debug)]
pub(crate) struct NamespacePins(Place);

impl NamespacePins {
    pub(crate) fn open(&self) -> Result<Option<Directory>> {
        self.0.open()
    }

    pub(crate) fn create(&self) -> Result<Directory> {
        self.0.create()
    }

    /// Removes them; others that read them meanwhile keep what they have opened.
    pub(crate) fn remove(&self) -> Result<()> {
        let Some(tables) = self.open()? else {
            return Ok(());
        };
        tables.remove_pins(OF_TABLES)
    }

    /// Makes this process the one that watches the events; `None` if there is another. A ring has one reader: what it
    /// took, nobody else sees.
    pub(crate) fn watch(&self) -> Result<Option<Lock>> {
        let tables = self.open()?.context("the tables were removed at once")?;
        let what = || format!("cannot lock {}", shown(tables.path()));
        match Flock::lock(tables.opened()?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Lock::of(lock))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error).with_context(what),
        }
    }
}

/// The hooks of one network namespace.
#[derive(Clone, Debug)]
pub(crate) struct HookPins(Place);

impl HookPins {
    pub(crate) fn open(&self) -> Result<Option<Directory>> {
        self.0.open()
    }

    pub(crate) fn create(&self) -> Result<Directory> {
        self.0.create()
    }

    /// Takes all hooks off, which goes with their pins.
    fn remove(&self) -> Result<()> {
        let Some(hooks) = self.open()? else {
            return Ok(());
        };
        let links = FexitHook::ALL.iter().map(|hook| hook.function());
        hooks.remove_pins(links.chain(OF_HOOKS))
    }
}

/// The pins of one interface.
#[derive(Clone, Debug)]
pub(crate) struct InterfacePins {
    /// Inode number of the network namespace.
    pub(crate) namespace: u64,
    /// Interface index in it.
    pub(crate) index: u32,
    place: Place,
}

impl InterfacePins {
    /// Where they are: for sentences.
    pub(crate) fn path(&self) -> PathBuf {
        self.place.path()
    }

    pub(crate) fn open(&self) -> Result<Option<Directory>> {
        self.place.open()
    }

    pub(crate) fn create(&self) -> Result<Directory> {
        self.place.create()
    }

    /// What the probes of its namespace share.
    pub(crate) fn shared(&self) -> NamespacePins {
        let below = [self.namespace.to_string(), "tables".to_owned()];
        NamespacePins(Place::new(&self.place.pins, below))
    }

    /// Has the interface pins?
    ///
    /// # Errors
    /// If that cannot be seen, which must not look like "none".
    pub(crate) fn exists(&self) -> Result<bool> {
        Ok(self.open()?.is_some())
    }
}

impl Pins {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of the version, in which everything is pinned; `None` if there is none.
    fn version(&self) -> Result<Option<Directory>> {
        match Directory::open(&self.root)? {
            Some(root) => root.child(&version()),
            None => Ok(None),
        }
    }

    pub(crate) fn interface(&self, namespace: u64, index: u32) -> InterfacePins {
        InterfacePins {
            namespace,
            index,
            place: Place::new(
                self,
                [namespace.to_string(), "if".to_owned(), index.to_string()],
            ),
        }
    }

    /// A network namespace's hooks on kernel functions.
    pub(crate) fn hooks(&self, namespace: u64) -> HookPins {
        HookPins(Place::new(
            self,
            [namespace.to_string(), "hooks".to_owned()],
        ))
    }

    /// All interfaces that have pins, of all network namespaces.
    pub(crate) fn interfaces(&self) -> Result<Vec<InterfacePins>> {
        let mut interfaces = Vec::new();
        let Some(version) = self.version()? else {
            return Ok(interfaces);
        };
        for namespace in version.numbers()? {
            let below = version.child(&namespace.to_string())?;
            let below = below.map(|below| below.child("if")).transpose()?.flatten();
            let numbers = below.map_or(Ok(Vec::new()), |below| below.numbers())?;
            let indices = numbers
                .into_iter()
                .filter_map(|index| index.try_into().ok());
            interfaces.extend(indices.map(|index| self.interface(namespace, index)));
        }
        Ok(interfaces)
    }

    /// Makes sure that the pin directory exists and lies on a bpffs; mounts the usual one.
    fn prepare(&self) -> Result<Directory> {
        let mount_point = Path::new("/sys/fs/bpf");
        if self.root.starts_with(mount_point) && !is_bpffs(mount_point) {
            if !is_lasting() {
                return Err(Failure::error(
                    Kind::Failed,
                    "no bpffs is mounted at /sys/fs/bpf, and one that is mounted here may go with this \
                     command (`ip netns exec` gives it a /sys of its own)\n  next: mptcp-user --netns \
                     NAME ... from outside of the namespace; in a container, mount -t bpf -o mode=0700 bpf \
                     /sys/fs/bpf",
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
                    "no bpffs is mounted at {0}, and mounting it failed (next: mount -t bpf -o mode=0700 bpf \
                     {0})",
                    mount_point.display()
                )
            })?;
        }
        Directory::make_root(&self.root)
    }

    /// May there be pins that this process does not see, having a /sys of its own?
    pub(crate) fn are_out_of_sight(&self) -> bool {
        let mount_point = Path::new("/sys/fs/bpf");
        self.root.starts_with(mount_point) && !is_bpffs(mount_point) && !is_lasting()
    }

    /// Makes sure that there is a pin directory, and waits until no other process reads or changes
    /// what is in it; until the lock is dropped.
    pub(crate) async fn lock(&self, interrupt: &mut Interrupt) -> Result<Lock> {
        loop {
            let version = self.prepare()?.make(&version())?;
            // Whoever can open it can hold its lock.
            version.make_private()?;
            let how = FlockArg::LockExclusiveNonblock;
            if let Some(lock) = self.lock_as(version, how, Some(&mut *interrupt)).await? {
                return Ok(lock);
            }
        }
    }

    /// The same without making a pin directory; `None` if there is none.
    pub(crate) async fn lock_to_remove(
        &self,
        interrupt: Option<&mut Interrupt>,
    ) -> Result<Option<Lock>> {
        self.lock_existing(FlockArg::LockExclusiveNonblock, interrupt)
            .await
    }

    /// The same without waiting; `None` also if another process reads or changes what is in it, or this one may not.
    pub(crate) fn lock_at_once(&self) -> Option<Lock> {
        let version = self.version().ok()??;
        let lock = Flock::lock(version.opened().ok()?, FlockArg::LockExclusiveNonblock).ok()?;
        let now = self.version().ok()??;
        version.is_at(&now).ok()?.then(|| Lock::of(lock))
    }

    /// Waits until no other process changes what is pinned here, so that no probe is seen half
    /// attached; `None` if there is no pin directory.
    pub(crate) async fn lock_to_read(
        &self,
        interrupt: Option<&mut Interrupt>,
    ) -> Result<Option<Lock>> {
        self.lock_existing(FlockArg::LockSharedNonblock, interrupt)
            .await
    }

    async fn lock_existing(
        &self,
        how: FlockArg,
        mut interrupt: Option<&mut Interrupt>,
    ) -> Result<Option<Lock>> {
        while let Some(version) = self.version()? {
            let lock = self.lock_as(version, how, interrupt.as_deref_mut()).await?;
            if lock.is_some() {
                return Ok(lock);
            }
        }
        Ok(None)
    }

    /// Locks the directory; `None` if it is not the one of its name any more.
    async fn lock_as(
        &self,
        version: Directory,
        how: FlockArg,
        interrupt: Option<&mut Interrupt>,
    ) -> Result<Option<Lock>> {
        let lock = lock::wait(&version, how, interrupt).await?;
        // Who held it before may have removed the directory, and another may have come.
        let is_same = match self.version()? {
            Some(now) => version.is_at(&now)?,
            None => false,
        };
        Ok(is_same.then_some(lock))
    }

    /// Removes the pin directory if nothing is in it: the last thing that is done under the lock.
    pub(crate) fn remove_if_empty(&self) {
        // Where something is in it, or it is gone, that is as well.
        let Ok(Some(root)) = Directory::open(&self.root) else {
            return;
        };
        let _ = root.remove_child(&version());
        let Some((above, name)) = self.root.parent().zip(self.root.file_name()) else {
            return;
        };
        if let (Ok(Some(above)), Some(name)) = (Directory::open_above(above), name.to_str()) {
            let _ = above.remove_child(name);
        }
    }

    /// Removes an interface's pins, and the directories that this leaves empty, but for the one that is locked.
    pub(crate) fn remove(&self, pins: &InterfacePins) -> Result<()> {
        let namespace = pins.namespace.to_string();
        let Some(version) = self.version()? else {
            return Ok(());
        };
        let Some(below) = version.child(&namespace)? else {
            return Ok(());
        };
        if let Some(interfaces) = below.child("if")? {
            let index = pins.index.to_string();
            if let Some(interface) = interfaces.child(&index)? {
                interface.remove_pins(OF_INTERFACE)?;
            }
            let mut others = interfaces.numbers()?.into_iter();
            if others.all(|other| other == u64::from(pins.index)) {
                pins.shared().remove()?;
                remove_empty(&below, "tables")?;
                self.hooks(pins.namespace).remove()?;
                remove_empty(&below, "hooks")?;
            }
            remove_empty(&interfaces, &index)?;
        }
        remove_empty(&below, "if")?;
        remove_empty(&version, &namespace)
    }
}

/// Removes a directory in another one, if it is there and nothing is in it.
fn remove_empty(above: &Directory, name: &str) -> Result<()> {
    match above.remove_child(name) {
        Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST) => Ok(()),
        Err(error) => {
            Err(error).with_context(|| format!("cannot remove {}", shown(above.path().join(name))))
        }
    }
}

/// The name of the directory of this layout's version.
fn version() -> String {
    format!("v{LAYOUT_VERSION}")
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
