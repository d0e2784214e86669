//! Instructions of eBPF programs as the kernel's verifier left them.
//!
//! They are no longer quite what the standard describes (Documentation/bpf/standardization/instruction-set.rst of the
//! kernel). Lookups in arrays are instructions that compute an address, and calls of the program's own functions have
//! their distance in the offset.

use std::{env, fs, process::Command};

use anyhow::Result;

use crate::process::output;

/// The register with the end of the function's stack.
pub const FRAME: usize = 10;

/// An instruction, or the second word of one that has two.
#[derive(Clone, Copy, Debug)]
pub struct Instruction {
    /// Its operation.
    pub code: u8,
    /// The register that is written.
    pub destination: usize,
    /// The register that is read.
    pub source: usize,
    /// Distance of a jump or of an address.
    pub offset: i16,
    /// A constant.
    pub immediate: i32,
}

impl Instruction {
    /// Decodes one word.
    pub fn new([code, registers, a, b, c, d, e, f]: [u8; 8]) -> Self {
        Self {
            code,
            destination: usize::from(registers & 0xf),
            source: usize::from(registers >> 4),
            offset: i16::from_le_bytes([a, b]),
            immediate: i32::from_le_bytes([c, d, e, f]),
        }
    }

    /// Decodes all words of a program.
    pub fn all(bytes: &[u8]) -> Vec<Self> {
        let words = bytes.as_chunks().0.iter();
        words.map(|word| Self::new(*word)).collect()
    }

    /// Returns true for a call of a helper or a function.
    pub fn is_call(self) -> bool {
        self.code == 0x85
    }

    /// Returns how far behind the next instruction the called function of the program is.
    pub fn function(self) -> Option<i16> {
        (self.is_call() && self.source == 1).then_some(self.offset)
    }

    /// Returns true for a load of 64 bits, which has two words.
    pub fn is_wide(self) -> bool {
        self.code == 0x18
    }

    /// Returns where the values of an array lie in the kernel's struct, if a lookup in an array begins with these two:
    /// r1 += offset of the values; r0 = *(u32 *)(r2 + 0).
    pub fn lookup(self, next: Self) -> Option<i32> {
        let is_lookup = (self.code, self.destination) == (0x07, 1)
            && (next.code, next.destination, next.source, next.offset) == (0x61, 0, 2, 0);
        is_lookup.then_some(self.immediate)
    }
}

/// Returns a loaded program as the verifier left it: words of 8 bytes.
///
/// # Errors
/// If bpftool does not give it out.
pub fn dump(program: u64) -> Result<Vec<u8>> {
    let name = format!("mptcp-program-{}-{program}", std::process::id());
    let file = env::temp_dir().join(name);
    output(
        Command::new("bpftool")
            .args(["prog", "dump", "xlated", "id", &program.to_string(), "file"])
            .arg(&file),
    )?;
    let bytes = fs::read(&file)?;
    fs::remove_file(&file)?;
    Ok(bytes)
}
