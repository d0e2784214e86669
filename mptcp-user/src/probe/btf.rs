//! The kernel's own types: where a field lies, and what a function takes
//! (BTF, Documentation/bpf/btf.rst of the kernel).

use std::fs;

use super::fexit_reason::FexitReason;

/// Kinds of types that are looked at.
const PTR: u32 = 2;
const STRUCT: u32 = 4;
const CONST: u32 = 10;
const FUNC: u32 = 12;

/// What types begin with.
const MAGIC: usize = 0xeb9f;

/// Bytes of a type, without what follows for its kind.
const TYPE: usize = 12;

/// The types of the kernel that runs.
pub(crate) struct KernelTypes {
    data: Vec<u8>,
    /// Where names are.
    strings: usize,
    /// Where each type is, by its number less one.
    types: Vec<usize>,
}

/// A parameter of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parameter<'a> {
    pub(crate) name: &'a str,
    /// The struct that it points to, if it does.
    pub(crate) points_to: Option<&'a str>,
}

impl KernelTypes {
    /// Returns those of the kernel that runs, or why there are none.
    pub(crate) fn read() -> Result<Self, FexitReason> {
        let data =
            fs::read("/sys/kernel/btf/vmlinux").map_err(|error| FexitReason::of_types(&error))?;
        Self::parse(data).ok_or(FexitReason::TypesDamaged)
    }

    fn parse(data: Vec<u8>) -> Option<Self> {
        // Magic, version and flags; length of the header; then offsets and lengths, from its end.
        let word = |at: usize| Some(word(&data, at)? as usize);
        if word(0)? & 0xffff != MAGIC {
            return None;
        }
        let header = word(4)?;
        let mut at = header + word(8)?;
        let end = at + word(12)?;
        let strings = header + word(16)?;
        let mut types = Vec::new();
        while at < end {
            types.push(at);
            let info = word(at + 4)?;
            let (kind, entries) = ((info >> 24) & 0x1f, info & 0xffff);
            at += TYPE
                + match kind {
                    // INT, VAR and DECL_TAG; ARRAY; STRUCT, UNION, DATASEC and ENUM64; ENUM and
                    // FUNC_PROTO.
                    1 | 14 | 17 => 4,
                    3 => 12,
                    4 | 5 | 15 | 19 => 12 * entries,
                    6 | 13 => 8 * entries,
                    _ => 0,
                };
        }
        Some(Self {
            data,
            strings,
            types,
        })
    }

    /// Offset of a struct's member, in bytes.
    pub(crate) fn offset(&self, name: &str, member: &str) -> Option<u32> {
        let at = self.find(STRUCT, name)?;
        self.entries(at, 12)
            .find(|entry| self.name(*entry) == Some(member))
            // The highest byte is the size of a bit field.
            .and_then(|entry| Some((self.word(entry + 8)? & 0xff_ffff) / 8))
    }

    /// Returns true if there is such a function.
    pub(crate) fn has_function(&self, name: &str) -> bool {
        self.find(FUNC, name).is_some()
    }

    /// Returns what a function takes.
    pub(crate) fn parameters(&self, function: &str) -> Option<Vec<Parameter<'_>>> {
        let at = self.find(FUNC, function)?;
        let prototype = self.type_at(self.word(at + 8)?)?;
        let parameters = self.entries(prototype, 8).map(|entry| {
            Some(Parameter {
                name: self.name(entry)?,
                points_to: self.pointee(self.word(entry + 4)?),
            })
        });
        parameters.collect()
    }

    /// Returns the struct that a type points to.
    fn pointee(&self, number: u32) -> Option<&str> {
        let mut at = self.type_at(number)?;
        let mut is_pointer = false;
        loop {
            match self.kind(at)? {
                PTR if !is_pointer => is_pointer = true,
                CONST => {}
                STRUCT if is_pointer => return self.name(at),
                _ => return None,
            }
            at = self.type_at(self.word(at + 8)?)?;
        }
    }

    fn find(&self, kind: u32, name: &str) -> Option<usize> {
        self.types
            .iter()
            .copied()
            .find(|at| self.kind(*at) == Some(kind) && self.name(*at) == Some(name))
    }

    /// Returns where a type's members or parameters are.
    fn entries(&self, at: usize, size: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.word(at + 4).unwrap_or_default() as usize & 0xffff;
        (0..count).map(move |i| at + TYPE + i * size)
    }

    /// Number 0 is void.
    fn type_at(&self, number: u32) -> Option<usize> {
        self.types.get((number as usize).checked_sub(1)?).copied()
    }

    fn kind(&self, at: usize) -> Option<u32> {
        Some((self.word(at + 4)? >> 24) & 0x1f)
    }

    /// Every entry begins with its name.
    fn name(&self, at: usize) -> Option<&str> {
        let bytes = self.data.get(self.strings + self.word(at)? as usize..)?;
        let length = bytes.iter().position(|byte| *byte == 0)?;
        str::from_utf8(&bytes[..length]).ok()
    }

    fn word(&self, at: usize) -> Option<u32> {
        word(&self.data, at)
    }
}

/// In the machine's byte order.
fn word(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}
