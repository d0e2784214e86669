//! A machine that runs eBPF programs as the kernel's verifier left them, and says what a run touched.
//!
//! The instructions are those of Documentation/bpf/standardization/instruction-set.rst of the kernel, and
//! what the verifier makes of lookups in arrays: additions to the address of the map, and a register
//! that is per CPU.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};

/// Where things lie: contexts, the packet, stacks, the ring buffer's entries, maps. Far apart.
const CONTEXT: u64 = 1 << 40;
const PACKET: u64 = 2 << 40;
const STACK: u64 = 3 << 40;
const RING: u64 = 4 << 40;
const MAPS: u64 = 16 << 40;
/// Behind a map's per-CPU values.
const PER_CPU: u64 = 1 << 39;
/// Bytes of a function's stack.
const STACK_SIZE: u64 = 512;
/// No run is longer.
const MOST_INSTRUCTIONS: u64 = 1_000_000;

/// Bytes of a cache line, and of a page.
const LINE: u64 = 64;
const PAGE: u64 = 4096;

/// An array that a program uses.
pub trait Array {
    /// Bytes from one value to the next.
    fn size(&self) -> u64;
    /// Has each CPU values of its own?
    fn is_per_cpu(&self) -> bool;
    /// Is it written once, before a program runs?
    fn is_constant(&self) -> bool;
    /// The value of this index, of this CPU.
    fn read(&self, index: u32) -> Result<Vec<u8>>;
}

/// An instruction.
#[derive(Clone, Copy, Debug)]
struct Instruction {
    code: u8,
    destination: usize,
    source: usize,
    offset: i16,
    immediate: i32,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// What the program returned.
    pub returned: u64,
    /// Instructions.
    pub instructions: u64,
    /// Functions of the program that were called.
    pub functions: u64,
    /// The kernel's helpers that were called.
    pub helpers: Vec<String>,
    /// Lookups in arrays, which are instructions.
    pub lookups: u64,
    /// Cache lines of arrays that the CPUs share, and of those of one CPU: map and number.
    shared: BTreeSet<(u32, u64)>,
    own: BTreeSet<(u32, u64)>,
    /// The values of arrays that were touched, as they are now: by map and index.
    pub values: BTreeMap<(u32, u32), Vec<u8>>,
}

impl Run {
    /// Cache lines that were touched of arrays that the CPUs share.
    pub fn shared_lines(&self) -> usize {
        self.shared.len()
    }

    /// Pages that these lie on.
    pub fn shared_pages(&self) -> usize {
        let pages: BTreeSet<_> = self
            .shared
            .iter()
            .map(|(map, line)| (map, line * LINE / PAGE))
            .collect();
        pages.len()
    }

    /// Cache lines that were touched of arrays of one CPU.
    pub fn own_lines(&self) -> usize {
        self.own.len()
    }
}

/// A program with its arrays.
pub struct Machine<A> {
    code: Vec<Instruction>,
    arrays: BTreeMap<u32, A>,
    /// Names of helpers by their distance from the kernel's `__bpf_call_base`.
    helpers: BTreeMap<i32, String>,
    /// Where values lie behind the address of a map (struct bpf_array).
    values_at: u64,
}

impl<A: Array> Machine<A> {
    /// Of the translated instructions (8 bytes each).
    pub fn new(
        bytes: &[u8],
        arrays: BTreeMap<u32, A>,
        helpers: BTreeMap<i32, String>,
    ) -> Result<Self> {
        let code: Vec<_> = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|[code, registers, a, b, c, d, e, f]| Instruction {
                code: *code,
                destination: usize::from(registers & 15),
                source: usize::from(registers >> 4),
                offset: i16::from_le_bytes([*a, *b]),
                immediate: i32::from_le_bytes([*c, *d, *e, *f]),
            })
            .collect();
        let lookup = code.windows(2).find(|pair| is_lookup(&pair[0], &pair[1]));
        let lookup = lookup.context("the program looks nothing up in an array")?;
        Ok(Self {
            values_at: lookup[0].immediate as u64,
            code,
            arrays,
            helpers,
        })
    }

    /// One of its arrays, by the map's number.
    pub fn array(&self, map: u32) -> Option<&A> {
        self.arrays.get(&map)
    }

    /// Runs it as an XDP program, on a frame.
    pub fn run_xdp(&self, frame: &[u8]) -> Result<Run> {
        // struct xdp_buff begins with data and data_end; of the rest nothing is known here but zeros.
        let mut context = vec![0; 256];
        context[..8].copy_from_slice(&PACKET.to_ne_bytes());
        let end = PACKET + frame.len() as u64;
        context[8..16].copy_from_slice(&end.to_ne_bytes());
        // Behind the queue that it came from: its number, also 0.
        context[32..40].copy_from_slice(&(CONTEXT + 64).to_ne_bytes());
        let mut state = State {
            machine: self,
            registers: [0; 12],
            context,
            packet: frame.to_vec(),
            stacks: Vec::new(),
            ring: vec![0; 4096],
            address: [0; 8],
            run: Run::default(),
        };
        state.registers[1] = CONTEXT;
        state.execute()?;
        ensure!(state.packet == frame, "the program changed the frame");
        Ok(state.run)
    }
}

/// What the kernel makes of a lookup in an array begins so: r1 += where its values are; r0 = *(u32 *)(r2 + 0).
fn is_lookup(a: &Instruction, b: &Instruction) -> bool {
    (a.code, a.destination) == (0x07, 1)
        && (b.code, b.destination, b.source, b.offset) == (0x61, 0, 2, 0)
}

/// A run under way.
struct State<'a, A> {
    machine: &'a Machine<A>,
    /// r0 to r10, and the verifier's own for what it adds.
    registers: [u64; 12],
    context: Vec<u8>,
    packet: Vec<u8>,
    stacks: Vec<Frame>,
    ring: Vec<u8>,
    /// Of a per-CPU value, which the program has just asked for.
    address: [u8; 8],
    run: Run,
}

/// A function's stack, and what its caller gets back: r6 to r9, and where it goes on.
struct Frame {
    bytes: Vec<u8>,
    saved: [u64; 4],
    back: usize,
}

impl<A: Array> State<'_, A> {
    fn enter(&mut self, back: usize) {
        let saved = [6, 7, 8, 9].map(|register| self.registers[register]);
        self.stacks.push(Frame {
            bytes: vec![0; STACK_SIZE as usize],
            saved,
            back,
        });
        self.registers[10] = STACK + self.stacks.len() as u64 * STACK_SIZE;
    }

    fn execute(&mut self) -> Result<()> {
        self.enter(usize::MAX);
        let mut at = 0;
        loop {
            self.run.instructions += 1;
            ensure!(
                self.run.instructions < MOST_INSTRUCTIONS,
                "{MOST_INSTRUCTIONS} instructions were not enough"
            );
            let instruction = *self.machine.code.get(at).context("no instruction there")?;
            let Some(next) = self
                .step(at, instruction)
                .with_context(|| format!("instruction {at}: {instruction:?}"))?
            else {
                self.run.returned = self.registers[0];
                return Ok(());
            };
            at = next;
        }
    }

    /// Runs one instruction; where the next one is, `None` at the program's end.
    fn step(&mut self, at: usize, is: Instruction) -> Result<Option<usize>> {
        let Instruction {
            code,
            destination: to,
            source: from,
            offset,
            immediate,
        } = is;
        let jump = |distance: i64| at.checked_add_signed(1 + distance as isize);
        // Class, and whether the second operand is a register.
        let operand = if code & 8 != 0 {
            self.registers[from]
        } else {
            immediate as i64 as u64
        };
        match code & 7 {
            0 if code == 0x18 => {
                self.registers[to] = self.constant(at, is)?;
                return Ok(Some(at + 2));
            }
            1 => {
                let previous = at.checked_sub(1).and_then(|at| self.machine.code.get(at));
                self.run.lookups += u64::from(previous.is_some_and(|a| is_lookup(a, &is)));
                let size = size_of(code);
                let address = self.registers[from].wrapping_add_signed(offset.into());
                let value = self.load(address, size)?;
                let is_signed = code & 0xe0 == 0x80;
                self.registers[to] = if is_signed {
                    extend(value, size)
                } else {
                    value
                };
            }
            2 | 3 if code & 0xe0 == 0x60 => {
                let address = self.registers[to].wrapping_add_signed(offset.into());
                let value = if code & 7 == 2 {
                    immediate as i64 as u64
                } else {
                    self.registers[from]
                };
                self.store(address, size_of(code), value)?;
            }
            3 if code & 0xe0 == 0xc0 => self.atomic(is)?,
            4 | 7 => self.registers[to] = self.arithmetic(is, operand)?,
            5 | 6 => match code {
                0x05 => return Ok(jump(offset.into())),
                0x06 => return Ok(jump(immediate.into())),
                0x85 if from == 1 => {
                    self.run.functions += 1;
                    self.enter(at + 1);
                    return Ok(jump(offset.into()));
                }
                0x85 => self.help(immediate)?,
                0x95 => {
                    let frame = self.stacks.pop().context("no function to return from")?;
                    if self.stacks.is_empty() {
                        return Ok(None);
                    }
                    self.registers[6..10].copy_from_slice(&frame.saved);
                    self.registers[10] = STACK + self.stacks.len() as u64 * STACK_SIZE;
                    return Ok(Some(frame.back));
                }
                _ => {
                    if is_taken(code, self.registers[to], operand)? {
                        return Ok(jump(offset.into()));
                    }
                }
            },
            _ => bail!("unknown"),
        }
        Ok(Some(at + 1))
    }

    /// A constant of 64 bits: a number, a map, or a place in a map's first value.
    fn constant(&self, at: usize, is: Instruction) -> Result<u64> {
        let upper = self
            .machine
            .code
            .get(at + 1)
            .context("half of it")?
            .immediate as u32;
        let map = MAPS + (u64::from(is.immediate as u32) << 40);
        Ok(match is.source {
            0 => u64::from(upper) << 32 | u64::from(is.immediate as u32),
            1 => map,
            2 => map + self.machine.values_at + u64::from(upper),
            _ => bail!("a constant of an unknown kind"),
        })
    }

    fn arithmetic(&self, is: Instruction, operand: u64) -> Result<u64> {
        let is_wide = is.code & 7 == 7;
        let value = self.registers[is.destination];
        let (a, b) = if is_wide {
            (value, operand)
        } else {
            (value & 0xffff_ffff, operand & 0xffff_ffff)
        };
        let bits = if is_wide { 64 } else { 32 };
        let shift = (b % bits) as u32;
        let result = match is.code & 0xf0 {
            0x00 => a.wrapping_add(b),
            0x10 => a.wrapping_sub(b),
            0x20 => a.wrapping_mul(b),
            0x30 => a.checked_div(b).unwrap_or(0),
            0x40 => a | b,
            0x50 => a & b,
            0x60 => a << shift,
            0x70 => a >> shift,
            0x80 => a.wrapping_neg(),
            0x90 => a.checked_rem(b).unwrap_or(a),
            0xa0 => a ^ b,
            // With a width in bits: a sign to extend. With -1: this CPU's copy, which the address is of.
            0xb0 => match is.offset {
                8 | 16 | 32 => extend(b, is.offset as u64 / 8),
                _ => b,
            },
            0xc0 if is_wide => ((a as i64) >> shift) as u64,
            0xc0 => ((a as i32) >> shift) as u64,
            0xd0 => {
                let swapped = match is.immediate {
                    16 => u64::from((value as u16).swap_bytes()),
                    32 => u64::from((value as u32).swap_bytes()),
                    _ => value.swap_bytes(),
                };
                // To little-endian is what it is here, cut to its width.
                let is_kept = !is_wide && is.code & 8 == 0;
                return Ok(match (is_kept, is.immediate) {
                    (false, _) => swapped,
                    (true, 16) => value & 0xffff,
                    (true, 32) => value & 0xffff_ffff,
                    (true, _) => value,
                });
            }
            _ => bail!("unknown arithmetic"),
        };
        Ok(if is_wide {
            result
        } else {
            result & 0xffff_ffff
        })
    }

    fn atomic(&mut self, is: Instruction) -> Result<()> {
        let size = size_of(is.code);
        let address = self.registers[is.destination].wrapping_add_signed(is.offset.into());
        let (value, old) = (self.registers[is.source], self.load(address, size)?);
        let new = match is.immediate & !1 {
            0x00 => old.wrapping_add(value),
            0x40 => old | value,
            0x50 => old & value,
            0xa0 => old ^ value,
            0xe0 => value,
            0xf0 => {
                let mask = u64::MAX >> (64 - 8 * size);
                let is_same = old == self.registers[0] & mask;
                self.registers[0] = old;
                if is_same { value } else { old }
            }
            _ => bail!("unknown atomic"),
        };
        self.store(address, size, new)?;
        if is.immediate & 1 != 0 && is.immediate & !1 != 0xf0 {
            self.registers[is.source] = old;
        }
        Ok(())
    }

    /// Calls one of the kernel's functions.
    fn help(&mut self, distance: i32) -> Result<()> {
        let name = self.machine.helpers.get(&distance);
        let name = name.with_context(|| format!("no helper at {distance:#x} is known"))?;
        self.registers[0] = match name.as_str() {
            "bpf_ringbuf_reserve" => RING,
            "bpf_ringbuf_submit" => 0,
            _ => bail!("{name} is called, which this machine does not have"),
        };
        self.run.helpers.push(name.clone());
        Ok(())
    }

    fn load(&mut self, address: u64, size: u64) -> Result<u64> {
        let bytes = self.memory(address, size)?;
        let mut value = [0; 8];
        value[..bytes.len()].copy_from_slice(bytes);
        Ok(u64::from_le_bytes(value))
    }

    fn store(&mut self, address: u64, size: u64, value: u64) -> Result<()> {
        let bytes = self.memory(address, size)?;
        bytes.copy_from_slice(&value.to_le_bytes()[..size as usize]);
        Ok(())
    }

    /// The bytes at an address.
    fn memory(&mut self, address: u64, size: u64) -> Result<&mut [u8]> {
        let (bytes, at) = match address {
            MAPS.. => return self.map_memory(address - MAPS, size),
            RING.. => (&mut self.ring, address - RING),
            STACK.. => {
                let at = address - STACK;
                let depth = (at / STACK_SIZE) as usize;
                let frame = self.stacks.get_mut(depth).context("beyond the stacks")?;
                (&mut frame.bytes, at % STACK_SIZE)
            }
            PACKET.. => (&mut self.packet, address - PACKET),
            CONTEXT.. => (&mut self.context, address - CONTEXT),
            _ => bail!("nothing is at {address:#x}"),
        };
        let bytes = bytes.get_mut(at as usize..(at + size) as usize);
        bytes.with_context(|| format!("{size} bytes at {address:#x} are not all there"))
    }

    /// The bytes of an array, which are touched with that.
    fn map_memory(&mut self, address: u64, size: u64) -> Result<&mut [u8]> {
        let map = (address >> 40) as u32;
        let array = self.machine.arrays.get(&map).context("no such map")?;
        let at = address & ((1 << 40) - 1);
        let at = at.checked_sub(self.machine.values_at);
        let mut at = at.context("what a map has before its values is not known here")?;
        if array.is_per_cpu() && at < PER_CPU {
            // An array of addresses, of which each value is one CPU's.
            ensure!(size == 8 && at.is_multiple_of(8), "part of an address");
            let value = MAPS + (u64::from(map) << 40) + self.machine.values_at + PER_CPU;
            let value = value + at / 8 * array.size();
            self.address = value.to_le_bytes();
            return Ok(&mut self.address);
        }
        at %= PER_CPU;
        let lines = at / LINE..=(at + size - 1) / LINE;
        if !array.is_constant() {
            let touched = if array.is_per_cpu() {
                &mut self.run.own
            } else {
                &mut self.run.shared
            };
            touched.extend(lines.map(|line| (map, line)));
        }
        let (index, at) = ((at / array.size()) as u32, (at % array.size()) as usize);
        let value = match self.run.values.entry((map, index)) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(array.read(index)?),
        };
        let bytes = value.get_mut(at..at + size as usize);
        bytes.context("beyond the value")
    }
}

/// Bytes that an instruction loads or stores.
fn size_of(code: u8) -> u64 {
    match code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}

fn extend(value: u64, size: u64) -> u64 {
    let unused = 64 - 8 * size as u32;
    ((value << unused) as i64 >> unused) as u64
}

fn is_taken(code: u8, a: u64, b: u64) -> Result<bool> {
    let is_wide = code & 7 == 5;
    let (a, b) = if is_wide {
        (a, b)
    } else {
        (a & 0xffff_ffff, b & 0xffff_ffff)
    };
    let signed = |value: u64| {
        if is_wide {
            value as i64
        } else {
            i64::from(value as i32)
        }
    };
    Ok(match code & 0xf0 {
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
        _ => bail!("an unknown jump"),
    })
}
