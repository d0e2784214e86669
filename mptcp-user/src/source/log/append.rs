//! A log that grows.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg, OFlag},
    unistd::geteuid,
};
use serde::de::IgnoredAny;

use super::{
    directory::Directory,
    format::{self, LONGEST_LINE},
};
use crate::failure::{Failure, FailureKind, of_file};
use crate::text::shown;

/// A file that readings are appended to, by nobody else meanwhile.
pub(crate) struct Appender {
    place: Place,
    file: Flock<File>,
    /// The time of its first reading.
    began: Option<Timestamp>,
    /// Bytes that it may have.
    size: Option<u64>,
    /// Time that its readings may span.
    age: Option<Duration>,
    /// Old files to keep.
    keep: u32,
}

impl Appender {
    /// Opens a log, or makes one.
    pub(crate) fn open(
        path: &Path,
        size: Option<u64>,
        age: Option<Duration>,
        keep: u32,
    ) -> Result<Self> {
        let (place, file, began) = open(path)?;
        Ok(Self {
            place,
            file,
            began,
            size,
            age,
            keep,
        })
    }

    /// Appends the line of a reading of this time. What of it was written when this fails is a torn line: the next
    /// one begins
    /// behind its end.
    pub(crate) fn append(&mut self, line: &str, time: Timestamp) -> Result<()> {
        // Somebody may have moved the file (logrotate).
        if !self.place.is_at(&self.file)? {
            self.reopen()?;
        }
        if self.is_full(line.len() as u64, time)? {
            self.rotate()?;
        }
        let end = if is_torn(&self.file)? { "\n" } else { "" };
        (&*self.file)
            .write_all(format!("{end}{line}").as_bytes())
            .with_context(|| format!("cannot write to {}", shown(self.place.path())))?;
        self.began.get_or_insert(time);
        Ok(())
    }

    fn is_full(&self, more: u64, now: Timestamp) -> io::Result<bool> {
        let length = self.file.metadata()?.len();
        let is_old = self
            .began
            .zip(self.age)
            .is_some_and(|(began, age)| now.duration_since(began).unsigned_abs() >= age);
        let is_large = self.size.is_some_and(|size| length + more > size);
        Ok(length > 0 && (is_large || is_old))
    }

    /// Finds the file, and its directory, anew.
    fn reopen(&mut self) -> Result<()> {
        let path = self.place.path().to_owned();
        (self.place, self.file, self.began) = open(&path)?;
        Ok(())
    }

    /// The file becomes FILE.1, FILE.1 becomes FILE.2 ..., and a new one begins. All of them are reached by the
    /// descriptor of one directory: nobody can lead a check and what follows it to different ones.
    fn rotate(&mut self) -> Result<()> {
        let old = |number: u32| self.place.old(number);
        // Up to the first that is missing: what is behind that is none of them. The last one is overwritten.
        let mut last = 0;
        while last < self.keep && self.place.directory.stat(&old(last + 1))?.is_some() {
            last += 1;
            self.place.check_old(&old(last))?;
        }
        for number in (0..self.keep.min(last + 1)).rev() {
            match self.place.directory.rename(&old(number), &old(number + 1)) {
                Err(error) if error != Errno::ENOENT => {
                    return Err(error).with_context(|| {
                        format!("cannot rename {}", shown(self.place.path_of(&old(number))))
                    });
                }
                _ => {}
            }
        }
        self.reopen()
    }
}

/// A directory, held open, and the name of a log in it.
struct Place {
    directory: Directory,
    name: OsString,
}

impl Place {
    /// # Errors
    /// If the path names no file, or a directory on its way is not there, or is a link of somebody else.
    fn find(path: &Path) -> Result<Self> {
        let Some(name) = path.file_name() else {
            return Err(irregular(path));
        };
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        Ok(Self {
            directory: Directory::find(above.unwrap_or(Path::new(".")), path)?,
            name: name.to_owned(),
        })
    }

    /// The path of the log, for sentences.
    fn path(&self) -> &Path {
        self.directory.file()
    }

    fn path_of(&self, name: &OsStr) -> std::path::PathBuf {
        self.path().with_file_name(name)
    }

    /// The name of an old file, or of the log.
    fn old(&self, number: u32) -> OsString {
        let mut name = self.name.clone();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        name
    }

    /// Returns true if the file is still the one of that name.
    fn is_at(&self, file: &File) -> Result<bool> {
        let here = file.metadata()?;
        let there = self.directory.stat(&self.name)?;
        Ok(there.is_some_and(|there| (here.dev(), here.ino()) == (there.st_dev, there.st_ino)))
    }

    /// Opens a regular file of this user by its very name: who may write in its directory could put a link or a pipe
    /// there.
    fn open_itself(&self, name: &OsStr, flags: OFlag) -> Result<File> {
        let path = &self.path_of(name);
        let file = self
            .directory
            .open(name, flags)
            .map_err(|error| match error {
                Errno::ELOOP => refuse(
                    path,
                    "is a symbolic link, which may lead anywhere",
                    "name the file that it leads to",
                ),
                _ if self.directory.is_irregular(name) => irregular(path),
                error => of_file(&format!("cannot open {}", shown(path)), &error.into()),
            })?;
        let data = file
            .metadata()
            .with_context(|| format!("cannot look at {}", shown(path)))?;
        if !data.is_file() {
            return Err(irregular(path));
        }
        if data.uid() != geteuid().as_raw() {
            return Err(refuse(
                path,
                &format!("belongs to user {}", data.uid()),
                "name another file, or run it as that user",
            ));
        }
        Ok(file)
    }

    /// Fails if a file is none that was recorded to: it would be renamed, or overwritten.
    fn check_old(&self, name: &OsStr) -> Result<()> {
        let file = self.open_itself(name, OFlag::O_RDONLY)?;
        recognise(&self.path_of(name), &file).map(drop)
    }
}

/// Opens a file and locks it; its place, and the time of its first reading.
fn open(path: &Path) -> Result<(Place, Flock<File>, Option<Timestamp>)> {
    loop {
        let place = Place::find(path)?;
        let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT;
        let file = place.open_itself(&place.name, flags)?;
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            Failure::new(
                FailureKind::Busy,
                format!("somebody else records to {0}", shown(path)),
            )
            .next("end the other mptcp-user record, or name another file")
        })?;
        // Else somebody else has just rotated it.
        if !place.is_at(&file)? {
            continue;
        }
        let began = recognise(path, &file)?;
        return Ok((place, file, began));
    }
}

fn refuse(path: &Path, why: &str, next: &str) -> anyhow::Error {
    Failure::new(
        FailureKind::Failed,
        format!("cannot record to {}", shown(path)),
    )
    .why(format_args!("it {why}"))
    .next(next)
    .into()
}

fn irregular(path: &Path) -> anyhow::Error {
    refuse(
        path,
        "is no regular file",
        "name a file, or - for standard output",
    )
}

/// What every line begins with.
const START: &[u8] = b"{\"log_version\":";

/// Returns the time of the first reading of a log, if it has one.
///
/// # Errors
/// If the file is no log: nothing is appended to anything else.
fn recognise(path: &Path, file: &File) -> Result<Option<Timestamp>> {
    let what = || format!("cannot append to {}", shown(path));
    let data = file.metadata().with_context(what)?;
    let other = || refuse(path, "has something else in it", "name another file");
    if data.len() == 0 {
        // An empty file of another name is somebody else's as well.
        return match data.nlink() {
            ..=1 => Ok(None),
            _ => Err(refuse(
                path,
                "has other names, and is empty",
                "name another file",
            )),
        };
    }
    let mut start = [0; START.len()];
    let length = data.len().min(start.len() as u64) as usize;
    let start = &mut start[..length];
    file.read_exact_at(start, 0).with_context(what)?;
    // A line that is shorter was torn when it was the only one.
    if !START.starts_with(start) {
        return Err(other());
    }
    let mut first = Vec::new();
    let mut lines = BufReader::new(file).take(LONGEST_LINE);
    lines.read_until(b'\n', &mut first).with_context(what)?;
    let is_whole = serde_json::from_slice::<IgnoredAny>(&first).is_ok();
    if is_whole && format::parse(&first).with_context(what)?.is_none() {
        return Err(other());
    }
    (&*file).rewind().with_context(what)?;
    began(file).with_context(what)
}

/// Returns true if a file ends in the middle of a line.
fn is_torn(file: &File) -> io::Result<bool> {
    let mut last = *b"\n";
    if let Some(at) = file.metadata()?.len().checked_sub(1) {
        file.read_exact_at(&mut last, at)?;
    }
    Ok(last != *b"\n")
}

/// Returns the time of the first reading.
fn began(file: &File) -> Result<Option<Timestamp>> {
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut lines).take(LONGEST_LINE);
        if limited.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if let Some(reading) = format::parse(&line)? {
            return Ok(Some(reading.time));
        }
    }
}
