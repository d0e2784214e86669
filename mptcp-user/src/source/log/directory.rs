//! The directory of a log, held open: what is in it is reached by its descriptor, and not by a path that somebody who
//! may write above it could lead elsewhere meanwhile.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use anyhow::Result;
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, open, openat, readlinkat, renameat},
    sys::stat::{FileStat, Mode, SFlag, fstat, fstatat},
    unistd::geteuid,
};

use crate::{
    failure::{Failure, FailureKind, of_file},
    text::shown,
};

/// Links that may be on the way, as many as the kernel follows.
const MOST_LINKS: u32 = 40;

pub(super) struct Directory {
    descriptor: OwnedFd,
    /// The path of the log in it, for sentences.
    file: PathBuf,
}

impl Directory {
    /// Finds the directory `path`, where the log `file` is to be. Links are followed if they are root's or this user's.
    ///
    /// # Errors
    /// If it is not there, or somebody else's link is on the way.
    pub(super) fn find(path: &Path, file: &Path) -> Result<Self> {
        let failed = |error: Errno| of_file(&format!("cannot open {}", shown(file)), &error.into());
        let mut left: VecDeque<OsString> = VecDeque::new();
        let push = |left: &mut VecDeque<OsString>, path: &Path| {
            for component in path.components().rev() {
                left.push_front(component.as_os_str().to_owned());
            }
        };
        push(&mut left, path);
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let mut here = open(".", flags | OFlag::O_DIRECTORY, Mode::empty()).map_err(failed)?;
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            let root = Component::RootDir.as_os_str();
            if name == root {
                here = open(root, flags | OFlag::O_DIRECTORY, Mode::empty()).map_err(failed)?;
                continue;
            }
            let next = openat(
                &here,
                name.as_os_str(),
                flags | OFlag::O_NOFOLLOW,
                Mode::empty(),
            );
            let next = next.map_err(failed)?;
            let data = fstat(&next).map_err(failed)?;
            if !is(&data, SFlag::S_IFLNK) {
                here = next;
                continue;
            }
            links += 1;
            if links > MOST_LINKS {
                return Err(failed(Errno::ELOOP));
            }
            let owner = data.st_uid;
            if owner != 0 && owner != geteuid().as_raw() {
                return Err(Failure::new(
                    FailureKind::Failed,
                    format!("cannot record to {}", shown(file)),
                )
                .why(format_args!(
                    "{} on its way is a symbolic link of user {owner}, which may lead anywhere",
                    shown(&name)
                ))
                .next("name the directory that it leads to")
                .into());
            }
            let target = readlinkat(&next, "").map_err(failed)?;
            push(&mut left, Path::new(&target));
        }
        Ok(Self {
            descriptor: here,
            file: file.to_owned(),
        })
    }

    /// The path of the log.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// What stands under a name, a link itself; `None` if there is nothing.
    pub(super) fn stat(&self, name: &OsStr) -> nix::Result<Option<FileStat>> {
        match fstatat(&self.descriptor, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(data) => Ok(Some(data)),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns true if what stands under a name is no regular file.
    pub(super) fn is_irregular(&self, name: &OsStr) -> bool {
        let data = self.stat(name).ok().flatten();
        data.is_some_and(|data| !is(&data, SFlag::S_IFREG))
    }

    /// Opens a file, and no link. Waits for nobody.
    pub(super) fn open(&self, name: &OsStr, flags: OFlag) -> nix::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        // As files are made; the umask takes from it.
        let mode = Mode::from_bits_truncate(0o666);
        openat(&self.descriptor, name, flags, mode).map(File::from)
    }

    pub(super) fn rename(&self, from: &OsStr, to: &OsStr) -> nix::Result<()> {
        renameat(&self.descriptor, from, &self.descriptor, to)
    }
}

fn is(data: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(data.st_mode) & SFlag::S_IFMT == kind
}
