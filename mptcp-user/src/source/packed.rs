//! Compressed files, known by their first bytes.

use std::{
    io::{self, BufRead, BufReader, Read},
    mem,
};

use bzip2::bufread::BzDecoder;
use flate2::read::MultiGzDecoder;
use lz4_flex::frame::{self, FrameDecoder};
use lzma_rust2::XzReader;

/// Bytes that tell all formats apart.
pub(super) const MAGIC: usize = 10;

/// Bytes that are unpacked at once.
const UNPACKED: usize = 1 << 12;

/// Memory that a decoder takes for what it has unpacked last, in KiB: the window of zstd and the dictionary of xz,
/// whose files say how large those are. It is the bound that zstd has by itself, and twice what `xz -9` takes.
const MOST_MEMORY: u32 = 128 << 10;
/// What the decoder of xz adds to its dictionary, in KiB, is less.
const BESIDE_DICTIONARY: u32 = 1 << 10;

/// A way in which a file is packed.
#[derive(Debug)]
pub(super) struct Format {
    magic: &'static [u8],
    /// The name of it.
    pub(super) name: &'static str,
    /// Unpacks it to standard output.
    command: &'static str,
    decoder: Option<Decoder>,
}

type Decoder = fn(Box<dyn Read>) -> io::Result<Box<dyn Read>>;

/// Those that are read, and those that are only known.
const FORMATS: [Format; 13] = [
    Format::read(&[0x1f, 0x8b, 0x08], "gzip", "gzip -dc", |file| {
        Ok(Box::new(MultiGzDecoder::new(file)))
    }),
    Format::read(
        &[0x28, 0xb5, 0x2f, 0xfd],
        "zstd",
        "zstd -dc --long=31",
        zstd,
    ),
    // A frame that says how long the next one is, by which pzstd begins.
    Format::read(
        &[0x50, 0x2a, 0x4d, 0x18],
        "zstd",
        "zstd -dc --long=31",
        zstd,
    ),
    Format::read(b"\xfd7zXZ\0", "xz", "xz -dc", |file| {
        Ok(Box::new(XzReader::new_mem_limit(
            BufReader::new(file),
            true,
            MOST_MEMORY + BESIDE_DICTIONARY,
        )))
    }),
    Format::read(b"BZh", "bzip2", "bzip2 -dc", |file| {
        Ok(Box::new(Parts::<BzDecoder<_>>::new(file)))
    }),
    Format::read(&[0x04, 0x22, 0x4d, 0x18], "lz4", "lz4 -dc", |file| {
        Ok(Box::new(Parts::<FrameDecoder<_>>::new(file)))
    }),
    Format::known(&[0x02, 0x21, 0x4c, 0x18], "lz4 (legacy)", "lz4 -dc"),
    Format::known(&[0x5d, 0x00, 0x00], "lzma", "xz -dc"),
    Format::known(b"LZIP", "lzip", "lzip -dc"),
    Format::known(b"\x89LZO\0", "lzop", "lzop -dc"),
    Format::known(&[0x1f, 0x9d], "compress", "gzip -dc"),
    Format::known(b"PK\x03\x04", "zip", "unzip -p"),
    Format::known(b"7z\xbc\xaf\x27\x1c", "7z", "7z x -so"),
];

fn zstd(file: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
    Ok(Box::new(zstd::Decoder::new(file)?))
}

impl Format {
    const fn read(
        magic: &'static [u8],
        name: &'static str,
        command: &'static str,
        decoder: Decoder,
    ) -> Self {
        Self {
            magic,
            name,
            command,
            decoder: Some(decoder),
        }
    }

    const fn known(magic: &'static [u8], name: &'static str, command: &'static str) -> Self {
        Self {
            magic,
            name,
            command,
            decoder: None,
        }
    }

    /// Returns the format that begins with these bytes.
    pub(super) fn of(bytes: &[u8]) -> Option<&'static Self> {
        FORMATS
            .iter()
            .find(|format| bytes.starts_with(format.magic))
    }

    /// Returns what the file unpacks to, or `None` if this format is only known by its name.
    pub(super) fn unpack(&'static self, file: Box<dyn Read>) -> Option<io::Result<Box<dyn Read>>> {
        let reader = (self.decoder?)(file);
        Some(reader.map(|reader| {
            Box::new(Pieces {
                reader,
                format: self,
            }) as _
        }))
    }

    /// Says what to do with a file that this program does not unpack.
    pub(super) fn next(&self, name: &str) -> String {
        format!("unpack it first: {} {name} > FILE", self.command)
    }
}

/// Unpacks little at once: a decoder that finds damage keeps what it unpacked in that call.
struct Pieces {
    reader: Box<dyn Read>,
    format: &'static Format,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(UNPACKED);
        let read = self.reader.read(&mut buffer[..length]);
        read.map_err(|error| self.format.explain(error))
    }
}

impl Format {
    /// Says what an error of the decoder means; one of the file itself stays as it is.
    fn explain(&self, error: io::Error) -> io::Error {
        let kind = error.kind();
        if error.raw_os_error().is_some() || kind == io::ErrorKind::Interrupted {
            return error;
        }
        let name = self.name;
        // zstd has no number for it.
        let is_too_large =
            kind == io::ErrorKind::OutOfMemory || error.to_string().contains("too much memory");
        let text = match kind {
            _ if is_too_large => format!(
                "its {name} data takes more than {} MiB of memory to unpack; `{}` does it",
                MOST_MEMORY >> 10,
                self.command
            ),
            io::ErrorKind::UnexpectedEof => format!("its {name} data is cut off"),
            io::ErrorKind::QuotaExceeded => format!(
                "its {name} data is in {error}, which takes too long to unpack; `{}` does it",
                self.command
            ),
            _ => format!("its {name} data is damaged: {error}"),
        };
        io::Error::new(kind, text)
    }
}

/// A part of a file that is unpacked by itself: a frame of lz4, a stream of bzip2.
trait Part: Read + Sized {
    type Source: Read;

    fn begin(rest: Rest<Self::Source>) -> Self;

    fn end(self) -> Rest<Self::Source>;

    /// Returns how long a part is that holds nothing to unpack, if that is why it could not be read.
    fn skipped(_error: &io::Error) -> Option<u64> {
        None
    }
}

impl<R: Read> Part for FrameDecoder<Rest<R>> {
    type Source = R;

    fn begin(rest: Rest<R>) -> Self {
        Self::new(rest)
    }

    fn end(self) -> Rest<R> {
        self.into_inner()
    }

    fn skipped(error: &io::Error) -> Option<u64> {
        match error.get_ref()?.downcast_ref()? {
            frame::Error::SkippableFrame(length) => Some(u64::from(*length)),
            _ => None,
        }
    }
}

impl<R: Read> Part for BzDecoder<Rest<R>> {
    type Source = R;

    fn begin(rest: Rest<R>) -> Self {
        Self::new(rest)
    }

    fn end(self) -> Rest<R> {
        self.into_inner()
    }
}

/// Parts one behind the other. The decoder of lz4 says nothing of a frame that ends between two of its blocks, and
/// takes what it made for one frame for the next; that of bzip2 takes megabytes anew for each stream, however short.
struct Parts<P: Part> {
    place: Place<P>,
    count: u64,
    unpacked: u64,
}

enum Place<P: Part> {
    Within(Box<P>),
    /// In front of a part, or behind all.
    Between(Rest<P::Source>),
    /// For a moment, or behind an error.
    Nowhere,
}

/// So many parts may be short.
const SHORT_PARTS: u64 = 1000;
/// Beyond those, a part for so many bytes.
const BYTES_OF_PART: u64 = 1 << 12;

impl<P: Part> Parts<P> {
    fn new(file: P::Source) -> Self {
        Self {
            place: Place::Between(Rest::new(file)),
            count: 0,
            unpacked: 0,
        }
    }

    /// Counts a part, and refuses a file that has no purpose but to keep its reader busy.
    fn count(&mut self) -> io::Result<()> {
        self.count += 1;
        if self.count > SHORT_PARTS + self.unpacked / BYTES_OF_PART {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                format!("{} parts of {} bytes in all", self.count, self.unpacked),
            ));
        }
        Ok(())
    }
}

impl<P: Part> Read for Parts<P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match mem::replace(&mut self.place, Place::Nowhere) {
                Place::Nowhere => return Ok(0),
                Place::Between(mut rest) => {
                    if rest.reader.fill_buf()?.is_empty() {
                        return Ok(0);
                    }
                    self.count()?;
                    self.place = Place::Within(Box::new(P::begin(rest)));
                }
                Place::Within(mut part) => {
                    let length = match part.read(buffer) {
                        Ok(length) => length,
                        Err(error) => {
                            let skipped = P::skipped(&error).ok_or(error)?;
                            let mut rest = part.end();
                            if io::copy(&mut (&mut rest).take(skipped), &mut io::sink())? < skipped
                            {
                                return Err(io::ErrorKind::UnexpectedEof.into());
                            }
                            self.place = Place::Between(rest);
                            continue;
                        }
                    };
                    if length > 0 || buffer.is_empty() {
                        self.unpacked += length as u64;
                        self.place = Place::Within(part);
                        return Ok(length);
                    }
                    let rest = part.end();
                    if rest.is_over {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.place = Place::Between(rest);
                }
            }
        }
    }
}

/// The rest of a file, and whether more was asked for than there is.
struct Rest<R> {
    reader: BufReader<R>,
    is_over: bool,
}

impl<R: Read> Rest<R> {
    fn new(file: R) -> Self {
        Self {
            reader: BufReader::new(file),
            is_over: false,
        }
    }
}

impl<R: Read> BufRead for Rest<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.reader.consume(length);
    }
}

impl<R: Read> Read for Rest<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(buffer)?;
        self.is_over |= length == 0 && !buffer.is_empty();
        Ok(length)
    }
}
