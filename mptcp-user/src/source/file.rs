//! A file that was written before: opened, decompressed, and told apart by what is in it.

use std::{
    fs,
    io::{self, Cursor, Read},
    path::Path,
};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};

use super::packed::{Format, MAGIC};
use crate::failure::{Failure, FailureKind, of_file};
use crate::text::shown;

/// A file from this size on takes long enough for a progress bar.
const LARGE: u64 = 64 << 20;

/// The name of standard input.
const STANDARD_INPUT: &str = "standard input";

/// An open file.
pub(super) struct File {
    pub(super) name: String,
    pub(super) bytes: Box<dyn Read>,
    /// True if it is a log, or else it is a capture.
    pub(super) is_log: bool,
    pub(super) bar: ProgressBar,
}

impl File {
    /// Opens a file; `-` is standard input. A large one shows how far it was read, which is no good
    /// where something else is shown meanwhile.
    pub(super) fn open(path: &Path, shows_progress: bool) -> Result<Self> {
        let name = match path.to_str() {
            Some("-") => STANDARD_INPUT.to_owned(),
            _ => shown(path).to_string(),
        };
        let (file, bar) = source(path, shows_progress)
            .map_err(|error| of_file(&format!("cannot read {name}"), &error))?;
        Self::of(&name, file, bar)
    }

    /// Reads from anywhere.
    pub(super) fn of(name: &str, file: impl Read + 'static, bar: ProgressBar) -> Result<Self> {
        let (start, bytes) = unpack(name, file).with_context(|| format!("cannot read {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            // No capture begins like an object of JSON.
            is_log: start.starts_with(b"{"),
            bytes: Box::new(Cursor::new(start).chain(bytes)),
            bar,
        })
    }
}

/// Returns an error if a file could not be read to its end, with the reason why.
pub(super) fn conclude(name: &str, broken: Option<&str>) -> Result<()> {
    let Some(reason) = broken else {
        return Ok(());
    };
    Err(Failure::new(
        FailureKind::Failed,
        format!("{name} was not read to its end, and what came before is shown"),
    )
    .why(reason)
    .into())
}

/// Returns the first bytes, and those behind them, decompressed.
fn unpack(name: &str, mut file: impl Read + 'static) -> Result<(Vec<u8>, Box<dyn Read>)> {
    let start = start(&mut file)?;
    let Some(format) = Format::of(&start) else {
        return Ok((start, Box::new(file)));
    };
    let refuse = |what: &str, format: &Format| {
        let next = format.next(if name == STANDARD_INPUT { "" } else { name });
        Failure::new(
            FailureKind::Failed,
            format!("it is {what}, which is not read"),
        )
        .next(next)
    };
    let Some(bytes) = format.unpack(Box::new(Cursor::new(start).chain(file))) else {
        return Err(refuse(&format!("packed with {}", format.name), format).into());
    };
    let mut bytes = bytes?;
    let start = self::start(&mut bytes)?;
    if let Some(inner) = Format::of(&start) {
        let twice = format!("packed with {}, and again with {}", inner.name, format.name);
        return Err(refuse(&twice, format).into());
    }
    Ok((start, bytes))
}

/// Returns the bytes that tell what it is.
fn start(file: &mut impl Read) -> Result<Vec<u8>> {
    let start = take(file, MAGIC as u64)?;
    if start.is_empty() {
        return Err(Failure::new(FailureKind::Failed, "it is empty").into());
    }
    Ok(start)
}

/// Returns the bytes of a file, and how far they were read.
fn source(path: &Path, shows_progress: bool) -> io::Result<(Box<dyn Read>, ProgressBar)> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), ProgressBar::hidden()));
    }
    let file = fs::File::open(path)?;
    let data = file.metadata()?;
    if !shows_progress || !data.is_file() || data.len() < LARGE {
        return Ok((Box::new(file), ProgressBar::hidden()));
    }
    // On standard error, if that is a terminal.
    let bar = ProgressBar::new(data.len()).with_style(
        ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    Ok((Box::new(bar.wrap_read(file)), bar))
}

/// At most `length` bytes, fewer only at the end.
pub(super) fn take(reader: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}
