//! A file that was written before: opened, decompressed, and told apart by what is in it.

use std::{
    fs,
    io::{self, Cursor, Read},
    path::Path,
};

use anyhow::{Context as _, Result};
use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};

use crate::failure::{Failure, Kind, of_file};

/// A file from this size on takes long enough for a progress bar.
const LARGE: u64 = 64 << 20;

/// Bytes that are unpacked at once.
const UNPACKED: usize = 1 << 12;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// An open file.
pub(super) struct File {
    pub(super) name: String,
    pub(super) bytes: Box<dyn Read>,
    /// Is it a log, or else a capture?
    pub(super) is_log: bool,
    pub(super) bar: ProgressBar,
}

impl File {
    /// Opens a file; `-` is standard input. A large one shows how far it was read, which is no good
    /// where something else is shown meanwhile.
    pub(super) fn open(path: &Path, shows_progress: bool) -> Result<Self> {
        let name = match path.to_str() {
            Some("-") => "standard input".to_owned(),
            _ => path.display().to_string(),
        };
        let (file, bar) = source(path, shows_progress)
            .map_err(|error| of_file(&format!("cannot read {name}"), &error))?;
        Self::of(&name, file, bar)
    }

    /// Reads from anywhere.
    pub(super) fn of(name: &str, file: impl Read + 'static, bar: ProgressBar) -> Result<Self> {
        let (first, bytes) = unpack(file).with_context(|| format!("cannot read {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            // No capture begins like an object of JSON.
            is_log: first == b"{",
            bytes: Box::new(Cursor::new(first).chain(bytes)),
            bar,
        })
    }
}

/// An error if a file could not be read to its end, with the reason why.
pub(super) fn conclude(name: &str, broken: Option<&str>) -> Result<()> {
    let Some(reason) = broken else {
        return Ok(());
    };
    Err(Failure::error(
        Kind::Failed,
        format!("{name} was not read to its end, and what came before is shown: {reason}"),
    ))
}

/// The first byte, and those behind it, decompressed.
fn unpack(mut file: impl Read + 'static) -> Result<(Vec<u8>, Box<dyn Read>)> {
    let start = take(&mut file, 4)?;
    let is_gzip = start.starts_with(GZIP);
    let is_zstd = start.starts_with(ZSTD);
    let file = Cursor::new(start).chain(file);
    let mut bytes: Box<dyn Read> = if is_gzip {
        Box::new(Pieces(MultiGzDecoder::new(file)))
    } else if is_zstd {
        Box::new(Pieces(zstd::Decoder::new(file)?))
    } else {
        Box::new(file)
    };
    let first = take(&mut bytes, 1)?;
    if first.is_empty() {
        return Err(Failure::error(Kind::Failed, "it is empty"));
    }
    Ok((first, bytes))
}

/// Unpacks little at once: a decoder that finds damage keeps what it unpacked in that call.
struct Pieces<R>(R);

impl<R: Read> Read for Pieces<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(UNPACKED);
        self.0.read(&mut buffer[..length])
    }
}

/// The bytes of a file, and how far they were read.
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
