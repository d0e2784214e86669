//! What is in a program as the kernel's verifier left it: what it calls, and how deep its stack gets.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use crate::instruction::{FRAME, Instruction, dump};

/// What is counted, by its names.
pub const COUNTS: [&str; 3] = ["stack_bytes", "helper_calls", "map_lookups"];

/// The kernel rounds each function's stack up to so many bytes, where it has a JIT. Older ones take 32,
/// and so does this, which is never less.
const STACK_UNIT: u32 = 32;

/// Returns counts of a loaded program: bytes on the stack of the deepest chain of calls, calls of the kernel's
/// helpers, and lookups in arrays, which are no calls any more.
///
/// # Errors
/// If it cannot be had, or calls itself.
pub fn counts(program: u64) -> Result<[u64; COUNTS.len()]> {
    let code = Code::new(&dump(program)?);
    let [helper_calls, map_lookups] = code.calls();
    Ok([code.stack()?.into(), helper_calls, map_lookups])
}

struct Code {
    /// By their places; an instruction of two words has one.
    instructions: BTreeMap<usize, Instruction>,
}

impl Code {
    fn new(bytes: &[u8]) -> Self {
        let mut instructions = BTreeMap::new();
        let mut words = Instruction::all(bytes).into_iter().enumerate();
        while let Some((at, instruction)) = words.next() {
            if instruction.is_wide() {
                words.next();
            }
            instructions.insert(at, instruction);
        }
        Self { instructions }
    }

    /// Calls of helpers, and lookups in arrays.
    fn calls(&self) -> [u64; 2] {
        let all = || self.instructions.values();
        let helpers = all().filter(|each| each.is_call() && each.function().is_none());
        let pairs = all().zip(all().skip(1));
        let lookups = pairs.filter(|(a, b)| a.lookup(**b).is_some());
        [helpers.count() as u64, lookups.count() as u64]
    }

    /// Bytes of the deepest chain of calls.
    fn stack(&self) -> Result<u32> {
        let mut functions = BTreeMap::from([(0, Function::default())]);
        let calls = self.instructions.iter().filter_map(|(at, instruction)| {
            let target = at.checked_add_signed(1 + isize::from(instruction.function()?))?;
            Some((*at, target))
        });
        let calls: Vec<_> = calls.collect();
        functions.extend(
            calls
                .iter()
                .map(|(_, target)| (*target, Function::default())),
        );
        let starts: Vec<_> = functions.keys().copied().collect();
        for (start, end) in starts
            .iter()
            .zip(starts.iter().skip(1).chain([&usize::MAX]))
        {
            let own = Function {
                stack: self.own_stack(*start, *end),
                calls: calls
                    .iter()
                    .filter(|(at, _)| (start..end).contains(&at))
                    .map(|(_, target)| *target)
                    .collect(),
            };
            functions.insert(*start, own);
        }
        deepest(&functions, 0, 0)
    }

    /// How far below its end a function uses its stack. Addresses on it are the frame's less a constant.
    fn own_stack(&self, start: usize, end: usize) -> u32 {
        let mut deepest = 0;
        // Registers that are the frame's end.
        let mut is_frame = [false; 16];
        is_frame[FRAME] = true;
        for (_, instruction) in self.instructions.range(start..end) {
            let Instruction {
                code,
                destination,
                source,
                offset,
                immediate,
            } = *instruction;
            let (to, from) = (destination, source);
            // By the class of the instruction: load; store of a constant and of a register; a copy;
            // an addition; other arithmetic.
            let lowest = match (code & 7, code) {
                (1, _) if is_frame[from] => i32::from(offset),
                (2 | 3, _) if is_frame[to] => i32::from(offset),
                (_, 0x07) if is_frame[to] => immediate,
                _ => 0,
            };
            deepest = deepest.max(lowest.min(0).unsigned_abs());
            match (code & 7, code) {
                (_, 0xbf) => is_frame[to] = is_frame[from],
                (0 | 1 | 4 | 7, _) => is_frame[to] = false,
                _ => {}
            }
        }
        deepest
    }
}

#[derive(Default)]
struct Function {
    /// Bytes of its own stack.
    stack: u32,
    /// Where the functions that it calls begin.
    calls: Vec<usize>,
}

/// Bytes of the deepest chain of calls from the function at `start`, which is so many calls deep.
fn deepest(functions: &BTreeMap<usize, Function>, start: usize, calls: u32) -> Result<u32> {
    // The kernel's limit.
    ensure!(calls < 8, "functions call each other without end");
    let function = functions.get(&start).context("a call into nowhere")?;
    let mut below = 0;
    for called in &function.calls {
        below = below.max(deepest(functions, *called, calls + 1)?);
    }
    Ok(function.stack.max(1).next_multiple_of(STACK_UNIT) + below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(instructions: &[[u8; 8]]) -> Code {
        Code::new(instructions.as_flattened())
    }

    #[test]
    fn the_deepest_chain_counts() {
        // *(u64 *)(r10 - 8) = r1; call +3; r2 = r10; r2 += -40; exit; exit; and a function that uses
        // 33 bytes, rounded up to 64.
        let code = code(&[
            [0x7b, 0x1a, 0xf8, 0xff, 0, 0, 0, 0],
            [0x85, 0x10, 3, 0, 0, 0, 0, 0],
            [0xbf, 0xa2, 0, 0, 0, 0, 0, 0],
            [0x07, 0x02, 0, 0, 0xd8, 0xff, 0xff, 0xff],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
            [0x73, 0x1a, 0xdf, 0xff, 0, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ]);
        assert_eq!(code.own_stack(0, 5), 40);
        assert_eq!(code.own_stack(5, 7), 33);
        assert_eq!(code.stack().expect("two functions"), 128);
    }

    #[test]
    fn helpers_and_lookups_are_counted_and_functions_are_not() {
        // A map's address; a lookup in it; call +0 of a function; call of a helper; exit.
        let code = code(&[
            [0x18, 0x11, 0, 0, 1, 0, 0, 0],
            [0x85, 0, 0, 0, 0, 0, 0, 0],
            [0x07, 0x01, 0, 0, 0x40, 1, 0, 0],
            [0x61, 0x20, 0, 0, 0, 0, 0, 0],
            [0x85, 0x10, 0, 0, 0, 0, 0, 0],
            [0x85, 0, 0, 0, 5, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ]);
        // The second word of the address looks like a call.
        assert_eq!(code.calls(), [1, 1]);
    }
}
