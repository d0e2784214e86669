//! A log that grows.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};

use super::{LONGEST_LINE, format};
use crate::failure::{Failure, Kind, of_file};
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

    /// Appends the line of a reading of this time. What of it was written when this fails is a torn line: the next one begins
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
        for number in (0..self.keep).rev() {
            match fs::rename(old(number), old(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("cannot rename {}", shown(&old(number))));
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
    let refuse = |why: &str| {
        Failure::error(
            Kind::Failed,
            format!("cannot record to {}: it {why}", shown(path)),
        )
    };
    loop {
        if fs::metadata(path).is_ok_and(|data| !data.is_file()) {
            return Err(refuse(
                "is no regular file\n  next: name a file, or - for standard output",
            ));
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(|error| of_file(&format!("cannot open {}", shown(path)), &error))?;
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            Failure::error(
                Kind::Busy,
                format!(
                    "somebody else records to {0}\n  next: end the other mptcp-user record, or name \
                     another file",
                    shown(path)
                ),
            )
        })?;
        // Else somebody else has just rotated it.
        if !is_at(&file, path)? {
            continue;
        }
        let mut first = [0];
        if file.read_at(&mut first, 0)? == 1 && first != *b"{" {
            return Err(refuse(
                "has something else in it\n  next: name another file",
            ));
        }
        let began = began(&file).with_context(|| format!("cannot append to {}", shown(path)))?;
        return Ok((file, began));
    }
}

/// Is the file still the one of that name?
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let here = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((here.dev(), here.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Does it end in the middle of a line?
fn is_torn(file: &File) -> io::Result<bool> {
    let mut last = *b"\n";
    if let Some(at) = file.metadata()?.len().checked_sub(1) {
        file.read_exact_at(&mut last, at)?;
    }
    Ok(last != *b"\n")
}

/// The time of the first reading.
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
