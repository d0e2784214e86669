//! The guest's root file system: a cpio archive in the "newc" format
//! (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel).

use std::{
    collections::BTreeSet,
    fs,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::{Context as _, Result};

use super::{
    guest::{BINARY, MODULES, PROGRAM},
    kernel::{Module, libraries},
};
use crate::shell;

/// Programs of the host that the smoke test runs.
const TOOLS: [&str; 4] = ["ip", "tc", "nsenter", "bpftool"];

const DIRECTORY: u32 = 0o040_755;
const PROGRAM_FILE: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Writes the archive to `to`.
pub(super) fn write(to: &Path, binary: &Path, program: &Path, modules: &[Module]) -> Result<()> {
    let file = fs::File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    let mut archive = Archive {
        out: BufWriter::new(file),
        next: 1,
        known: BTreeSet::from([String::new()]),
    };
    archive.entry("/dev/console", CHARACTER_DEVICE, (5, 1), &[])?;
    archive.program(BINARY, binary)?;
    archive.program(PROGRAM, program)?;
    for tool in TOOLS {
        let path = shell::find(tool).with_context(|| format!("there is no {tool}"))?;
        archive.program(&format!("/bin/{tool}"), &path)?;
    }
    for (i, module) in modules.iter().enumerate() {
        let name = format!("{MODULES}/{i:02}-{}.ko", module.name);
        archive.entry(&name, PROGRAM_FILE, (0, 0), &module.bytes)?;
    }
    archive.entry("/TRAILER!!!", 0, (0, 0), &[])?;
    archive.out.flush()?;
    Ok(())
}

struct Archive<W> {
    out: W,
    next: u32,
    /// Paths that are in already.
    known: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    /// A program with the libraries it needs.
    fn program(&mut self, to: &str, from: &Path) -> Result<()> {
        for library in libraries(from)? {
            let path = library.to_string_lossy().into_owned();
            if !self.known.contains(&path) {
                self.entry(&path, PROGRAM_FILE, (0, 0), &fs::read(&library)?)?;
            }
        }
        self.entry(to, PROGRAM_FILE, (0, 0), &fs::read(from)?)
    }

    /// An entry, after the directories above it.
    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), bytes: &[u8]) -> Result<()> {
        let path = path.trim_start_matches('/');
        if let Some((parent, _)) = path.rsplit_once('/')
            && !self.known.contains(parent)
        {
            self.entry(parent, DIRECTORY, (0, 0), &[])?;
        }
        self.known.insert(path.to_owned());
        self.known.insert(format!("/{path}"));
        // Magic; inode, mode, owner, group, links, time, size, device, device node, length of the
        // name with its NUL, checksum: 8 hexadecimal digits each.
        let header = [
            self.next,
            mode,
            0,
            0,
            1,
            0,
            u32::try_from(bytes.len())?,
            0,
            0,
            device.0,
            device.1,
            u32::try_from(path.len() + 1)?,
            0,
        ];
        self.next += 1;
        let mut text = b"070701".to_vec();
        for number in header {
            text.extend(format!("{number:08x}").into_bytes());
        }
        text.extend(path.as_bytes());
        text.push(0);
        self.padded(&text)?;
        self.padded(bytes)
    }

    /// Header and contents are filled up to four bytes.
    fn padded(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes)?;
        self.out
            .write_all(&[0; 3][..bytes.len().next_multiple_of(4) - bytes.len()])?;
        Ok(())
    }
}
