//! A log that grows.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use nix::{
    fcntl::{Flock, FlockArg},
    libc::{ELOOP, O_NOFOLLOW, O_NONBLOCK},
    unistd::geteuid,
};
use serde::de::IgnoredAny;

use super::format::{self, LONGEST_LINE};
use crate::failure::{Failure, FailureKind, of_file};
use crate::text::shown;

/// A file that readings are appended to, by nobody else meanwhile.
pub(crate) struct Appender {
    path: PathBuf,
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
        let (file, began) = open(path)?;
        Ok(Self {
            path: path.to_owned(),
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
        if !is_at(&self.file, &self.path)? {
            (self.file, self.began) = open(&self.path)?;
        }
        if self.is_full(line.len() as u64, time)? {
            self.rotate()?;
        }
        let end = if is_torn(&self.file)? { "\n" } else { "" };
        (&*self.file)
            .write_all(format!("{end}{line}").as_bytes())
            .with_context(|| format!("cannot write to {}", shown(&self.path)))?;
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

    /// The file becomes FILE.1, FILE.1 becomes FILE.2 ..., and a new one begins.
    fn rotate(&mut self) -> Result<()> {
        let old = |number: u32| match number {
            0 => self.path.clone(),
            _ => {
                let mut name = self.path.clone().into_os_string();
                name.push(format!(".{number}"));
                PathBuf::from(name)
            }
        };
        // Up to the first that is missing: what is behind that is none of them. The last one is overwritten.
        let mut last = 0;
        while last < self.keep && fs::symlink_metadata(old(last + 1)).is_ok() {
            last += 1;
            check_old(&old(last))?;
        }
        for number in (0..self.keep.min(last + 1)).rev() {
            match fs::rename(old(number), old(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("cannot rename {}", shown(old(number))));
                }
                _ => {}
            }
        }
        (self.file, self.began) = open(&self.path)?;
        Ok(())
    }
}

/// Opens a file and locks it; the time of its first reading.
fn open(path: &Path) -> Result<(Flock<File>, Option<Timestamp>)> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let file = open_itself(path, &options)?;
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            Failure::new(
                FailureKind::Busy,
                format!("somebody else records to {0}", shown(path)),
            )
            .next("end the other mptcp-user record, or name another file")
        })?;
        // Else somebody else has just rotated it.
        if !is_at(&file, path)? {
            continue;
        }
        let began = recognise(path, &file)?;
        return Ok((file, began));
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

/// Opens a regular file of this user by its very name: who may write in its directory could put a link or a pipe
/// there.
fn open_itself(path: &Path, options: &OpenOptions) -> Result<File> {
    let file = options
        .clone()
        .custom_flags(O_NOFOLLOW | O_NONBLOCK)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(ELOOP) => refuse(
                path,
                "is a symbolic link, which may lead anywhere",
                "name the file that it leads to",
            ),
            _ if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) => irregular(path),
            _ => of_file(&format!("cannot open {}", shown(path)), &error),
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

fn irregular(path: &Path) -> anyhow::Error {
    refuse(
        path,
        "is no regular file",
        "name a file, or - for standard output",
    )
}

/// Fails if a file is none that was recorded to: it would be renamed, or overwritten.
fn check_old(path: &Path) -> Result<()> {
    let file = open_itself(path, OpenOptions::new().read(true))?;
    recognise(path, &file).map(drop)
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

/// Returns true if the file is still the one of that name.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let here = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((here.dev(), here.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
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
