//! A machine for eBPF programs as the kernel's verifier left them: it runs one instruction by
//! instruction, and keeps what that touched.
//!
//! Besides what the testkit says of such instructions, there is a twelfth register.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use mptcp_testkit::instruction::{FRAME, Instruction};

/// More instructions than any packet takes: the program does not end.
const LIMIT: u64 = 10_000_000;
/// The kernel's limits: bytes of a function's stack, and functions that are under way.
const STACK: u64 = 512;
const CALLS: usize = 8;
/// Where the stack lies. A pointer to a function's stack comes from its end.
const STACK_START: u64 = 1 << 60;
/// Bytes of a cache line.
pub const LINE: u64 = 64;
/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// A program.
#[derive(Clone, Debug)]
pub struct Code(Vec<Instruction>);

impl Code {
    /// Of the kernel's dump: words of 8 bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Instruction::all(bytes))
    }

    fn get(&self, at: usize) -> Result<Instruction> {
        let instruction = self.0.get(at).copied();
        instruction.with_context(|| format!("there is no instruction {at}"))
    }

    /// What a lookup in an array begins with.
    fn lookup(&self, at: usize) -> Option<i32> {
        self.0.get(at)?.lookup(*self.0.get(at + 1)?)
    }

    /// Where the values of an array lie in the kernel's struct, in bytes.
    ///
    /// # Errors
    /// If the program looks nothing up, or at different places.
    pub fn values_offset(&self) -> Result<u64> {
        let offsets: BTreeSet<_> = (0..self.0.len()).filter_map(|at| self.lookup(at)).collect();
        ensure!(offsets.len() == 1, "values of arrays at {offsets:?}");
        Ok(offsets.into_iter().sum::<i32>().try_into()?)
    }

    /// Address of the kernel's variable that the program reads: what asking for jiffies has become.
    ///
    /// # Errors
    /// If it reads several.
    pub fn variable(&self) -> Result<Option<u64>> {
        let mut found = BTreeSet::new();
        for [low, high, load] in self.0.array_windows() {
            let is_address = (low.code, low.source) == (0x18, 0);
            if is_address && (load.code, load.source) == (0x79, low.destination) {
                found.insert(wide(low.immediate, high.immediate));
            }
        }
        ensure!(found.len() < 2, "several variables of the kernel are read");
        Ok(found.pop_first())
    }
}

fn wide(low: i32, high: i32) -> u64 {
    u64::from(low as u32) | u64::from(high as u32) << 32
}

/// Bytes at neighbouring addresses.
#[derive(Clone, Debug, Default)]
struct Region {
    bytes: Vec<u8>,
    /// The first bytes of which cache lines were touched.
    lines: BTreeSet<u64>,
}

/// What programs read and write.
#[derive(Clone, Debug, Default)]
pub struct Memory(BTreeMap<u64, Region>);

impl Memory {
    /// Puts bytes at an address.
    pub fn add(&mut self, start: u64, bytes: Vec<u8>) {
        let lines = BTreeSet::new();
        self.0.insert(start, Region { bytes, lines });
    }

    /// All bytes that were put at an address, as they are now.
    ///
    /// # Errors
    /// If none were.
    pub fn all(&self, start: u64) -> Result<&[u8]> {
        let region = self.0.get(&start).context("nothing was put there")?;
        Ok(&region.bytes)
    }

    /// The cache lines that were touched of what was put at an address, by their addresses.
    pub fn lines(&self, start: u64) -> BTreeSet<u64> {
        let region = self.0.get(&start);
        region.map_or_else(BTreeSet::new, |region| region.lines.clone())
    }

    /// Forgets what was touched.
    pub fn forget(&mut self) {
        for region in self.0.values_mut() {
            region.lines.clear();
        }
    }

    /// So many bytes at an address, which counts as touching them.
    ///
    /// # Errors
    /// If they are not all in one piece.
    pub fn touch(&mut self, address: u64, length: u64) -> Result<&mut [u8]> {
        let (start, region) = self
            .0
            .range_mut(..=address)
            .next_back()
            .with_context(|| format!("nothing lies at {address:#x}"))?;
        let at = (address - start) as usize;
        let bytes = region.bytes.get_mut(at..at + length as usize);
        let bytes =
            bytes.with_context(|| format!("{length} bytes at {address:#x} are too many"))?;
        let last = address + length.max(1) - 1;
        for line in address / LINE..=last / LINE {
            region.lines.insert(line * LINE);
        }
        Ok(bytes)
    }

    fn load(&mut self, address: u64, size: u64) -> Result<u64> {
        let mut bytes = [0; 8];
        bytes[..size as usize].copy_from_slice(self.touch(address, size)?);
        Ok(u64::from_le_bytes(bytes))
    }

    fn store(&mut self, address: u64, size: u64, value: u64) -> Result<()> {
        let bytes = value.to_le_bytes();
        self.touch(address, size)?
            .copy_from_slice(&bytes[..size as usize]);
        Ok(())
    }
}

/// Where a map is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Address of the kernel's struct, which is only computed with.
    pub map: u64,
    /// Address of the values.
    pub values: u64,
}

/// What the program calls of the kernel: told by the call's number and arguments, it does its work on
/// the memory, and returns what r0 is then.
pub type Helper<'a> = dyn FnMut(i32, [u64; 5], &mut Memory) -> Result<u64> + 'a;

/// What a run executed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    /// Instructions; one that takes two words is one.
    pub instructions: u64,
    /// Calls of the program's own functions.
    pub functions: u64,
    /// Calls of helpers, by their numbers.
    pub helpers: Vec<i32>,
    /// Lookups in arrays.
    pub lookups: u64,
    /// What the program returned.
    pub result: u64,
}

/// Runs a program over memory that holds what it asks for; `maps` are by their ids.
///
/// # Errors
/// If the program does what this machine cannot do or what a program must not.
pub fn run(
    code: &Code,
    context: u64,
    maps: &BTreeMap<u32, Place>,
    memory: &mut Memory,
    helper: &mut Helper<'_>,
) -> Result<Executed> {
    memory.add(STACK_START, vec![0; STACK as usize * CALLS]);
    let mut run = Run {
        registers: [0; 12],
        callers: Vec::new(),
        next: 0,
        executed: Executed::default(),
        code,
        maps,
        memory,
        helper,
    };
    run.registers[1] = context;
    run.registers[FRAME] = STACK_START + STACK;
    while run.executed.instructions < LIMIT {
        let at = run.next;
        let is_over = run.step().with_context(|| format!("instruction {at}"))?;
        if is_over {
            run.executed.result = run.registers[0];
            return Ok(run.executed);
        }
    }
    bail!("{LIMIT} instructions, and no end")
}

struct Run<'a, 'b> {
    registers: [u64; 12],
    /// Of each function under way: where it goes on, and what registers 6 to 10 were.
    callers: Vec<(usize, [u64; 5])>,
    next: usize,
    executed: Executed,
    code: &'a Code,
    maps: &'a BTreeMap<u32, Place>,
    memory: &'a mut Memory,
    helper: &'a mut Helper<'b>,
}

impl Run<'_, '_> {
    /// Executes an instruction; true if it was the last one.
    fn step(&mut self) -> Result<bool> {
        let at = self.next;
        let instruction = self.code.get(at)?;
        let Instruction {
            code,
            destination,
            source,
            offset,
            immediate,
        } = instruction;
        ensure!(destination.max(source) < 12, "there is no such register");
        self.next += 1;
        self.executed.instructions += 1;
        self.executed.lookups += u64::from(self.code.lookup(at).is_some());
        let (to, from) = (self.registers[destination], self.registers[source]);
        let size = [4, 2, 1, 8][usize::from(code >> 3 & 3)];
        let place = |base: u64| base.wrapping_add_signed(offset.into());
        let operand = if code & 8 == 0 {
            i64::from(immediate) as u64
        } else {
            from
        };
        match code {
            0x18 => self.registers[destination] = self.load_wide(instruction)?,
            0x61 | 0x69 | 0x71 | 0x79 => {
                self.registers[destination] = self.memory.load(place(from), size)?;
            }
            0x81 | 0x89 | 0x91 => {
                let value = self.memory.load(place(from), size)?;
                self.registers[destination] = extend(value, size as u32 * 8);
            }
            0x62 | 0x6a | 0x72 | 0x7a => {
                let value = i64::from(immediate) as u64;
                self.memory.store(place(to), size, value)?;
            }
            0x63 | 0x6b | 0x73 | 0x7b => self.memory.store(place(to), size, from)?,
            0xc3 | 0xdb => self.atomic(instruction, place(to), size)?,
            0x85 => self.call(instruction)?,
            0x95 => return Ok(self.exit()),
            0x06 => self.jump(immediate as isize)?,
            _ => match code & 7 {
                4 => self.registers[destination] = self.short(instruction, operand)?,
                7 => self.registers[destination] = self.long(instruction, operand)?,
                5 if is_taken(code, to, operand)? => self.jump(offset.into())?,
                6 if is_taken(code, widen(to), widen(operand))? => self.jump(offset.into())?,
                5 | 6 => {}
                _ => bail!("this machine does not know code {code:#x}"),
            },
        }
        Ok(false)
    }

    fn jump(&mut self, distance: isize) -> Result<()> {
        let next = self.next.checked_add_signed(distance);
        self.next = next.context("a jump out of the program")?;
        Ok(())
    }

    /// A constant, or an address of a map or of one of its values.
    fn load_wide(&mut self, instruction: Instruction) -> Result<u64> {
        let low = instruction.immediate;
        let high = self.code.get(self.next)?.immediate;
        self.next += 1;
        let map = || {
            let place = self.maps.get(&(low as u32));
            place.with_context(|| format!("no map has id {low}"))
        };
        Ok(match instruction.source {
            0 => wide(low, high),
            1 => map()?.map,
            2 => map()?.values + u64::from(high as u32),
            kind => bail!("this machine does not know addresses of kind {kind}"),
        })
    }

    fn call(&mut self, instruction: Instruction) -> Result<()> {
        match instruction.source {
            0 => {
                let [_, arguments @ .., _, _, _, _, _, _] = self.registers;
                let number = instruction.immediate;
                self.executed.helpers.push(number);
                self.registers[0] = (self.helper)(number, arguments, self.memory)?;
            }
            1 => {
                ensure!(self.callers.len() + 1 < CALLS, "too many calls");
                self.executed.functions += 1;
                let [_, _, _, _, _, _, saved @ .., _] = self.registers;
                self.callers.push((self.next, saved));
                self.registers[FRAME] += STACK;
                self.jump(instruction.offset.into())?;
            }
            kind => bail!("this machine does not know calls of kind {kind}"),
        }
        Ok(())
    }

    fn exit(&mut self) -> bool {
        let Some((next, saved)) = self.callers.pop() else {
            return true;
        };
        self.next = next;
        self.registers[6..=FRAME].copy_from_slice(&saved);
        false
    }

    fn atomic(&mut self, instruction: Instruction, address: u64, size: u64) -> Result<()> {
        let Instruction {
            source, immediate, ..
        } = instruction;
        let was = self.memory.load(address, size)?;
        let by = self.registers[source];
        let bits = |value: u64| if size == 4 { widen(value) } else { value };
        let is = match immediate & !1 {
            0x00 => was.wrapping_add(by),
            0x40 => was | by,
            0x50 => was & by,
            0xa0 => was ^ by,
            0xe0 => by,
            0xf0 if was == bits(self.registers[0]) => by,
            0xf0 => was,
            kind => bail!("this machine does not know atomic operation {kind:#x}"),
        };
        self.memory.store(address, size, is)?;
        if immediate & 0xf0 == 0xf0 {
            self.registers[0] = was;
        } else if immediate & 1 != 0 {
            self.registers[source] = was;
        }
        Ok(())
    }

    /// Arithmetic of 32 bits.
    fn short(&self, instruction: Instruction, operand: u64) -> Result<u64> {
        let Instruction {
            code,
            destination,
            offset,
            immediate,
            ..
        } = instruction;
        let (to, by) = (self.registers[destination] as u32, operand as u32);
        // Of network byte order, and of this machine's.
        match (code, immediate) {
            (0xdc, 16) => return Ok((to as u16).swap_bytes().into()),
            (0xdc, 32) => return Ok(to.swap_bytes().into()),
            (0xdc, 64) => return Ok(self.registers[destination].swap_bytes()),
            (0xd4, 16) => return Ok((to as u16).into()),
            (0xd4, 32) => return Ok(to.into()),
            (0xd4, 64) => return Ok(self.registers[destination]),
            _ => {}
        }
        Ok(u64::from(match (code & 0xf0, offset) {
            (0x00, 0) => to.wrapping_add(by),
            (0x10, 0) => to.wrapping_sub(by),
            (0x20, 0) => to.wrapping_mul(by),
            (0x30, 0) => to.checked_div(by).unwrap_or(0),
            (0x40, 0) => to | by,
            (0x50, 0) => to & by,
            (0x60, 0) => to.wrapping_shl(by),
            (0x70, 0) => to.wrapping_shr(by),
            (0x80, 0) => to.wrapping_neg(),
            (0x90, 0) => to.checked_rem(by).unwrap_or(to),
            (0xa0, 0) => to ^ by,
            (0xb0, 0) => by,
            (0xb0, 8 | 16) => extend(operand, offset as u32) as u32,
            (0xc0, 0) => (to as i32).wrapping_shr(by) as u32,
            _ => bail!("this machine does not know code {code:#x} with offset {offset}"),
        }))
    }

    /// Arithmetic of 64 bits.
    fn long(&self, instruction: Instruction, by: u64) -> Result<u64> {
        let Instruction {
            code,
            destination,
            offset,
            ..
        } = instruction;
        let to = self.registers[destination];
        Ok(match (code & 0xf0, offset) {
            (0x00, 0) => to.wrapping_add(by),
            (0x10, 0) => to.wrapping_sub(by),
            (0x20, 0) => to.wrapping_mul(by),
            (0x30, 0) => to.checked_div(by).unwrap_or(0),
            (0x40, 0) => to | by,
            (0x50, 0) => to & by,
            (0x60, 0) => to.wrapping_shl(by as u32),
            (0x70, 0) => to.wrapping_shr(by as u32),
            (0x80, 0) => to.wrapping_neg(),
            (0x90, 0) => to.checked_rem(by).unwrap_or(to),
            (0xa0, 0) => to ^ by,
            // -1: the address of this CPU's value, of that of any. There is only one here.
            (0xb0, 0 | -1) => by,
            (0xb0, 8 | 16 | 32) => extend(by, offset as u32),
            (0xc0, 0) => (to as i64).wrapping_shr(by as u32) as u64,
            _ => bail!("this machine does not know code {code:#x} with offset {offset}"),
        })
    }
}

/// The lower half; its sign is kept for signed comparisons by [`is_taken`].
fn widen(value: u64) -> u64 {
    u64::from(value as u32)
}

/// A number of so many bits, with its sign.
fn extend(value: u64, bits: u32) -> u64 {
    ((value << (64 - bits)) as i64 >> (64 - bits)) as u64
}

/// Is a jump taken that compares these? Those of 32 bits come widened.
fn is_taken(code: u8, a: u64, b: u64) -> Result<bool> {
    let signed = |value: u64| {
        if code & 7 == 6 {
            i64::from(value as i32)
        } else {
            value as i64
        }
    };
    Ok(match code & 0xf0 {
        0x00 => true,
        0x10 => a == b,
        0x20 => a > b,
        0x30 => a >= b,
        0x40 => a & b != 0,
        0x50 => a != b,
        0x60 => signed(a) > signed(b),
        0x70 => signed(a) >= signed(b),
        0xa0 => a < b,
        0xb0 => a <= b,
        0xc0 => signed(a) < signed(b),
        0xd0 => signed(a) <= signed(b),
        _ => bail!("this machine does not know code {code:#x}"),
    })
}

#[cfg(test)]
mod tests;
