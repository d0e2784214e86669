//! A directory of pins, held open: what is in it is reached by its descriptor, never by a path that somebody could
//! lead elsewhere meanwhile.

use std::{
    ffi::{OsStr, OsString},
    fmt::Display,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, openat},
    sys::{
        stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat},
        statfs::{BPF_FS_MAGIC, fstatfs},
    },
    unistd::{UnlinkatFlags, geteuid, unlinkat},
};

use crate::{
    failure::{Failure, FailureKind, Notice},
    text::shown,
};

/// Mode of every directory that is made here.
const PRIVATE: Mode = Mode::S_IRWXU;

/// What others may not have of a directory or a pin.
const WRITABLE: u32 = 0o022;

/// A directory of a bpffs that is root's or this user's, and that nobody else may write.
#[derive(Debug)]
pub(crate) struct Directory {
    descriptor: OwnedFd,
    /// Where it was found: for sentences.
    path: PathBuf,
}

/// How a directory is looked at, by where it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    /// Above the bpffs: nobody else may take what is in it away.
    Above,
    /// Where the bpffs is mounted: the same, and it is root's or this user's.
    MountPoint,
    /// In the bpffs, or the pin directory itself: nobody else may put anything into it either.
    Inside,
}

impl Directory {
    /// Opens a pin directory; `None` if there is none.
    ///
    /// # Errors
    /// If a directory on its way is a link, or one that others could have put something into.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        Self::walk(path, false)
    }

    /// Opens a pin directory by its path; makes it, and the directories above it in the bpffs, where they are missing.
    pub(super) fn make_root(path: &Path) -> Result<Self> {
        let made = Self::walk(path, true)?;
        made.with_context(|| format!("cannot create {}", shown(path)))
    }

    /// Opens the directory that a pin directory is in, which may be the mount point; `None` if there is none.
    pub(super) fn open_above(path: &Path) -> Result<Option<Self>> {
        Self::walk_to(path, false, Position::MountPoint)
    }

    fn walk(path: &Path, makes: bool) -> Result<Option<Self>> {
        Self::walk_to(path, makes, Position::Inside)
    }

    /// Goes down from the root; the last directory is looked at as one of this place.
    fn walk_to(path: &Path, makes: bool, last: Position) -> Result<Option<Self>> {
        let path = std::path::absolute(path)
            .with_context(|| format!("cannot find the pin directory {}", shown(path)))?;
        let mut here = Self {
            descriptor: step(AT_FDCWD, OsStr::new("/")).context("cannot open /")?,
            path: PathBuf::from("/"),
        };
        let mut is_bpffs = here.is_bpffs()?;
        let mut components = path.components().skip(1).peekable();
        while let Some(component) = components.next() {
            let Component::Normal(name) = component else {
                return Err(Failure::new(
                    FailureKind::Usage,
                    format!("{} goes up again", shown(&path)),
                )
                .next("name the pin directory without ..")
                .into());
            };
            let is_last = components.peek().is_none();
            let below = match here.step(name)? {
                Some(below) => below,
                None if makes && is_bpffs => here.make_child(name)?,
                None if makes => return Err(not_on_bpffs(&path)),
                None => return Ok(None),
            };
            let was_bpffs = std::mem::replace(&mut is_bpffs, below.is_bpffs()?);
            below.check(match (is_bpffs, was_bpffs) {
                (false, _) => Position::Above,
                (true, true) => Position::Inside,
                (true, false) if is_last => last,
                (true, false) => Position::MountPoint,
            })?;
            here = below;
        }
        if !is_bpffs {
            return Err(not_on_bpffs(&path));
        }
        here.reopen().map(Some)
    }

    /// Returns a directory in it, of which so much is known that it is one.
    fn step(&self, name: &OsStr) -> Result<Option<Self>> {
        let path = self.path.join(name);
        match step(&self.descriptor, name) {
            Ok(descriptor) => Ok(Some(Self { descriptor, path })),
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::ENOTDIR | Errno::ELOOP) => Err(self.not_a_directory(name)),
            Err(error) => Err(error).with_context(|| format!("cannot open {}", shown(&path))),
        }
    }

    /// Opened to be listed and locked as well.
    fn reopen(self) -> Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let descriptor = openat(&self.descriptor, ".", flags, Mode::empty())
            .with_context(|| format!("cannot open {}", shown(&self.path)))?;
        Ok(Self {
            descriptor,
            path: self.path,
        })
    }

    fn not_a_directory(&self, name: &OsStr) -> anyhow::Error {
        let path = shown(self.path.join(name)).to_string();
        let what = match self.status(name) {
            Ok(Some(status)) if is(&status, SFlag::S_IFLNK) => {
                "is a symbolic link, which may lead anywhere"
            }
            _ => "is no directory",
        };
        Failure::new(FailureKind::Failed, format!("{path} {what}"))
            .next(format!("rm {path}, or --pin-dir with another directory"))
            .into()
    }

    /// Returns a directory in it; `None` if there is none.
    pub(crate) fn child(&self, name: &str) -> Result<Option<Self>> {
        let Some(below) = self.step(OsStr::new(name))? else {
            return Ok(None);
        };
        below.check(Position::Inside)?;
        below.reopen().map(Some)
    }

    /// Opens a directory in it; makes it where it is missing.
    pub(crate) fn make(&self, name: &str) -> Result<Self> {
        match self.child(name)? {
            Some(below) => Ok(below),
            None => self.make_child(OsStr::new(name))?.reopen(),
        }
    }

    fn make_child(&self, name: &OsStr) -> Result<Self> {
        let what = || format!("cannot create {}", shown(self.path.join(name)));
        match mkdirat(&self.descriptor, name, PRIVATE) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error).with_context(what),
        }
        let below = self.step(name)?.with_context(what)?;
        below.check(Position::Inside)?;
        // A umask may have taken some of it away.
        let below = match below.reopen() {
            Ok(below) => below,
            Err(_) => {
                nix::sys::stat::fchmodat(
                    &self.descriptor,
                    name,
                    PRIVATE,
                    nix::sys::stat::FchmodatFlags::FollowSymlink,
                )
                .with_context(what)?;
                self.step(name)?.with_context(what)?.reopen()?
            }
        };
        below.make_private()?;
        Ok(below)
    }

    /// Leaves it to its owner alone.
    pub(super) fn make_private(&self) -> Result<()> {
        let status = self.own_status()?;
        if status.st_mode & 0o7777 == PRIVATE.bits() || status.st_uid != geteuid().as_raw() {
            return Ok(());
        }
        fchmod(&self.descriptor, PRIVATE)
            .with_context(|| format!("cannot change the mode of {}", shown(&self.path)))
    }

    fn is_bpffs(&self) -> Result<bool> {
        let status = fstatfs(&self.descriptor)
            .with_context(|| format!("cannot look at {}", shown(&self.path)))?;
        Ok(status.filesystem_type() == BPF_FS_MAGIC)
    }

    /// Fails if somebody else may put something into it, or take something away.
    fn check(&self, place: Position) -> Result<()> {
        let status = self.own_status()?;
        let path = shown(&self.path);
        let refuse = |why: Notice| Err(why.into_failure(FailureKind::Failed).into());
        let is_ours = is_trusted(status.st_uid);
        let is_writable = status.st_mode & WRITABLE != 0;
        let is_sticky = status.st_mode & Mode::S_ISVTX.bits() != 0;
        match place {
            Position::Inside | Position::MountPoint if !is_ours => refuse(
                Notice::new(format!(
                    "{path} belongs to user {}, who could put anything there in \
                     the place of a probe",
                    status.st_uid
                ))
                .next(format!(
                    "rm -r {path}, then attach again; or --pin-dir with another \
                     directory"
                )),
            ),
            Position::Inside if is_writable => refuse(
                Notice::new(format!(
                    "{path} can be written by others, who could put anything there \
                     in the place of a probe (mode {:04o})",
                    status.st_mode & 0o7777
                ))
                .next(format!("chmod 0700 {path}, after a look at what is in it")),
            ),
            Position::Above | Position::MountPoint if is_writable && !(is_sticky && is_ours) => {
                refuse(
                    Notice::new(format!(
                        "{path} can be written by others, who could put another \
                     directory in the place of pins (mode {:04o})",
                        status.st_mode & 0o7777
                    ))
                    .next(format!(
                        "chmod go-w {path}, or --pin-dir with another directory"
                    )),
                )
            }
            _ => Ok(()),
        }
    }

    fn own_status(&self) -> Result<FileStat> {
        fstat(&self.descriptor).with_context(|| format!("cannot look at {}", shown(&self.path)))
    }

    /// Returns what is known of an entry, itself and not what it may lead to; `None` if there is none.
    fn status(&self, name: &OsStr) -> Result<Option<FileStat>> {
        match fstatat(&self.descriptor, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(status) => Ok(Some(status)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => {
                let path = self.path.join(name);
                Err(error).with_context(|| format!("cannot look for {}", shown(&path)))
            }
        }
    }

    /// Returns where it was found: for sentences.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a name in it, for sentences.
    pub(super) fn of(&self, name: &str) -> impl Display {
        shown(self.path.join(name)).to_string()
    }

    /// Returns the names of its entries.
    pub(crate) fn names(&self) -> Result<Vec<OsString>> {
        let what = || format!("cannot read {}", shown(&self.path));
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        // Opened anew: where a listing stands is shared by copies of a descriptor.
        let mut listing =
            Dir::openat(&self.descriptor, ".", flags, Mode::empty()).with_context(what)?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            let name = entry.with_context(what)?.file_name().to_owned();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(OsStr::from_bytes(name.to_bytes()).to_owned());
            }
        }
        Ok(names)
    }

    /// Returns the numbers among the names of its entries, in ascending order.
    pub(crate) fn numbers(&self) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for name in self.names()? {
            let number = name.to_str().and_then(|name| name.parse::<u64>().ok());
            // Only as they are written here.
            numbers.extend(number.filter(|number| *name == *number.to_string()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Returns true if there is a pin of this name. It is this user's or root's, and nobody else may write it.
    ///
    /// # Errors
    /// If that cannot be seen, or there is something else.
    pub(crate) fn has(&self, name: &str) -> Result<bool> {
        let Some(status) = self.status(OsStr::new(name))? else {
            return Ok(false);
        };
        let path = self.of(name);
        if !is(&status, SFlag::S_IFREG) {
            return Err(no_pin(&path));
        }
        if !is_trusted(status.st_uid) || status.st_mode & WRITABLE != 0 {
            return Err(Failure::new(
                FailureKind::Failed,
                format!(
                    "{path} was not pinned by this program: it belongs to user {}, mode {:04o}",
                    status.st_uid,
                    status.st_mode & 0o7777
                ),
            )
            .next(format!("rm {path}, then attach again"))
            .into());
        }
        Ok(true)
    }

    /// Returns the path by which the kernel finds a name in this very directory, wherever its own path leads now.
    ///
    /// It is good as long as this value lives.
    pub(crate) fn reach(&self, name: &str) -> PathBuf {
        let opened = PathBuf::from(format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()));
        match opened.exists() {
            true => opened.join(name),
            // Without /proc its own path has to do, of which nobody else may change a part.
            false => self.path.join(name),
        }
    }

    /// Removes a pin, if there is one.
    ///
    /// # Errors
    /// If it is something else than a pin, or cannot be removed.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        match self.status(OsStr::new(name))? {
            None => return Ok(()),
            Some(status) if !is(&status, SFlag::S_IFREG) => {
                return Err(no_pin(&self.of(name)));
            }
            Some(_) => {}
        }
        match unlinkat(&self.descriptor, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot remove {}", self.of(name))),
        }
    }

    /// Removes pins of these names, and no others.
    ///
    /// # Errors
    /// If there are others, which stay.
    pub(super) fn remove_pins<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<()> {
        for name in names {
            self.remove(name)?;
        }
        let Some(other) = self.names()?.into_iter().next() else {
            return Ok(());
        };
        let other = shown(self.path.join(other)).to_string();
        Err(Failure::new(
            FailureKind::Failed,
            format!("{other} is nothing that this program pins"),
        )
        .next(format!("rm {other}, if nobody needs it"))
        .into())
    }

    /// Removes a directory in it, if it is empty.
    pub(super) fn remove_child(&self, name: &str) -> Result<(), Errno> {
        unlinkat(&self.descriptor, name, UnlinkatFlags::RemoveDir)
    }

    /// Returns true if it is still the directory of its path.
    pub(super) fn is_at(&self, now: &Self) -> Result<bool> {
        let [one, other] = [self.own_status()?, now.own_status()?];
        Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
    }

    /// Returns its device and inode, as /proc/locks has them.
    pub(super) fn identity(&self) -> Result<(u64, u64)> {
        let status = self.own_status()?;
        Ok((status.st_dev, status.st_ino))
    }

    /// Returns a copy of its descriptor, to lock: locks belong to what was opened.
    pub(super) fn opened(&self) -> Result<std::fs::File> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let file = openat(&self.descriptor, ".", flags, Mode::empty());
        let file = file.with_context(|| format!("cannot open {}", shown(&self.path)))?;
        Ok(file.into())
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Opens a directory by its name in another one, to go on from: that takes no right to list it.
fn step(from: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(from, name, flags, Mode::empty())
}

fn is(status: &FileStat, kind: SFlag) -> bool {
    status.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

/// Root, or who runs this.
fn is_trusted(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}

fn no_pin(path: &impl Display) -> anyhow::Error {
    Failure::new(
        FailureKind::Failed,
        format!("{path} is no pin, and is left alone"),
    )
    .next(format!("rm {path}, after a look at it"))
    .into()
}

fn not_on_bpffs(path: &Path) -> anyhow::Error {
    Failure::new(
        FailureKind::Failed,
        format!(
            "{} is not on a bpffs, and programs can be pinned nowhere else",
            shown(path)
        ),
    )
    .next("give --pin-dir a directory below /sys/fs/bpf")
    .into()
}
