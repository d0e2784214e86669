//! One packet in the kernel, and the same in the machine.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::ProgramInfo;
use mptcp_common::counter::{Counters, Event};
use mptcp_testkit::instruction::dump;
use mptcp_tests::{
    kernel::{Kernel, Program},
    machine::{self, Code, Executed, Memory},
    net,
};
use nix::time::{ClockId, clock_gettime};

use crate::maps::{Maps, Snapshot};

/// The CPU that everything runs on.
pub(crate) const CPU: usize = 0;
/// Where the machine has what belongs to a packet.
const CONTEXT: u64 = 1 << 50;
const QUEUE: u64 = 1 << 51;
const PACKET: u64 = 1 << 52;
const DEVICE: u64 = 1 << 54;
/// And entries of the ring, this far from each other.
const ENTRIES: u64 = 1 << 53;
const ENTRY: u64 = 1 << 16;
/// Room in front of a packet and behind it, as in the kernel's buffers.
const ROOM: usize = 512;
/// -EFAULT.
const FAULT: u64 = -14_i64 as u64;

/// A packet and the program that gets it.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) program: Program,
    pub(crate) frame: Vec<u8>,
}

/// What a packet did.
pub(crate) struct Trace {
    pub(crate) executed: Executed,
    /// What it was counted as.
    pub(crate) counted: Counters,
    /// With what it touched.
    pub(crate) memory: Memory,
}

/// A program as the verifier left it.
struct Translated {
    code: Code,
    /// Address of jiffies, if it asks for them.
    jiffies: Option<u64>,
}

impl Translated {
    fn new(info: &ProgramInfo) -> Result<Self> {
        let code = Code::new(&dump(info.id().into())?);
        Ok(Self {
            jiffies: code.variable()?,
            code,
        })
    }
}

/// The kernel's clock: it stands still between two ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clock {
    jiffies: u64,
    /// Nanoseconds.
    time: u64,
}

impl Clock {
    /// As it is when it has just moved.
    fn next() -> Result<Self> {
        let before = coarse()?;
        while coarse()? == before {
            std::hint::spin_loop();
        }
        let time = coarse()?;
        let text = fs::read_to_string("/proc/timer_list").context("cannot ask for jiffies")?;
        let jiffies = text.lines().find_map(|line| line.strip_prefix("jiffies: "));
        Ok(Self {
            time,
            jiffies: jiffies
                .context("no jiffies in /proc/timer_list; use a kernel with CONFIG_TICK_ONESHOT")?
                .parse()?,
        })
    }
}

fn coarse() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)?;
    Ok(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

/// What this kernel has where.
pub(crate) struct Layout {
    /// Offsets in `struct xdp_buff`: data, its end, the queue.
    xdp: [usize; 3],
    /// And in `struct sk_buff`: data, its end, length, buffer, the buffer's end, the device.
    skb: [usize; 6],
    /// And of the device in a queue, and of its index in a device.
    device: [usize; 2],
    /// Names of helpers, by their numbers in calls.
    helpers: HashMap<i32, String>,
}

impl Layout {
    pub(crate) fn new() -> Result<Self> {
        let types = [
            "btf",
            "dump",
            "file",
            "/sys/kernel/btf/vmlinux",
            "format",
            "raw",
        ];
        let types = net::run("bpftool", &types)?;
        let at = |name, member| offset(&types, name, member);
        let xdp = |member| at("xdp_buff", member);
        let skb = |member| at("sk_buff", member);
        let end = skb("cb")? + at("bpf_skb_data_end", "data_end")?;
        Ok(Self {
            xdp: [xdp("data")?, xdp("data_end")?, xdp("rxq")?],
            skb: [
                skb("data")?,
                end,
                skb("len")?,
                skb("head")?,
                skb("end")?,
                // Behind two pointers, in structures without names.
                16,
            ],
            device: [at("xdp_rxq_info", "dev")?, at("net_device", "ifindex")?],
            helpers: helpers()?,
        })
    }

    /// How often each helper was called, by name.
    pub(crate) fn by_name(&self, calls: &[i32]) -> BTreeMap<&str, u64> {
        let mut by_name = BTreeMap::new();
        for number in calls {
            *by_name.entry(self.helper(*number)).or_default() += 1;
        }
        by_name
    }

    fn helper(&self, number: i32) -> &str {
        self.helpers.get(&number).map_or("unknown", String::as_str)
    }

    /// Puts a packet into memory; the address of the program's context.
    fn put(&self, packet: &Packet, memory: &mut Memory) -> u64 {
        let Packet { program, frame } = packet;
        let start = PACKET + ROOM as u64;
        let end = start + frame.len() as u64;
        let mut buffer = vec![0; ROOM];
        buffer.extend(frame);
        buffer.resize((buffer.len() + ROOM).next_multiple_of(8), 0);
        // Of the data behind the buffer's end all is 0: it is one packet, and all of it in there.
        let buffer_end = buffer.len() as u64;
        buffer.resize(buffer.len() + ROOM, 0);
        memory.add(PACKET, buffer);
        // The loopback device, as of all frames that a test makes.
        let [in_queue, index] = self.device;
        let mut queue = vec![0; ROOM];
        queue[in_queue..in_queue + 8].copy_from_slice(&DEVICE.to_le_bytes());
        memory.add(QUEUE, queue);
        let mut device = vec![0; index + 8];
        device[index..index + 4].copy_from_slice(&1_u32.to_le_bytes());
        memory.add(DEVICE, device);
        let mut context = vec![0; ROOM];
        let mut put =
            |at: usize, bytes: &[u8]| context[at..at + bytes.len()].copy_from_slice(bytes);
        if *program == Program::XdpIngress {
            for (at, address) in self.xdp.into_iter().zip([start, end, QUEUE]) {
                put(at, &address.to_le_bytes());
            }
        } else {
            let [data, data_end, length, head, tail, device] = self.skb;
            put(device, &DEVICE.to_le_bytes());
            put(data, &start.to_le_bytes());
            put(data_end, &end.to_le_bytes());
            put(length, &(frame.len() as u32).to_le_bytes());
            put(head, &PACKET.to_le_bytes());
            put(tail, &(buffer_end as u32).to_le_bytes());
        }
        memory.add(CONTEXT, context);
        CONTEXT
    }
}

/// Offset in bytes of a structure's member, by what bpftool writes about types.
fn offset(types: &str, name: &str, member: &str) -> Result<usize> {
    let structure = format!(" STRUCT '{name}' ");
    let member = format!("\t'{member}' ");
    types
        .lines()
        .skip_while(|line| !line.contains(&structure))
        .skip(1)
        .take_while(|line| line.starts_with('\t'))
        .find(|line| line.starts_with(&member))
        .and_then(|line| line.split_once("bits_offset="))
        .and_then(|(_, bits)| bits.split(' ').next()?.parse::<usize>().ok())
        .map(|bits| bits / 8)
        .with_context(|| format!("the kernel's BTF has no {name}.{}", member.trim()))
}

/// Numbers in calls are distances of addresses from `__bpf_call_base`.
fn helpers() -> Result<HashMap<i32, String>> {
    let symbols = fs::read_to_string("/proc/kallsyms")?;
    let symbol = |line: &str| -> Option<(u64, String)> {
        let mut words = line.split_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        let name = words.nth(1)?;
        name.contains("bpf_").then(|| (address, name.to_owned()))
    };
    let symbols: Vec<_> = symbols.lines().filter_map(symbol).collect();
    let base = symbols.iter().find(|(_, name)| name == "__bpf_call_base");
    let (base, _) = *base.context("no __bpf_call_base in /proc/kallsyms")?;
    ensure!(
        base != 0,
        "no addresses in /proc/kallsyms: set kernel.kptr_restrict to 0"
    );
    let number = |address: u64| i32::try_from(address.wrapping_sub(base) as i64).ok();
    let helpers = symbols.into_iter();
    Ok(helpers
        .filter_map(|(address, name)| Some((number(address)?, name)))
        .collect())
}

/// The kernel's helpers, as far as packets call them.
struct Helpers<'a> {
    layout: &'a Layout,
    clock: Clock,
    length: u64,
    /// Entries of the ring that were asked for, and what was submitted.
    entries: u64,
    submitted: Vec<Event>,
}

impl Helpers<'_> {
    fn call(&mut self, number: i32, arguments: [u64; 5], memory: &mut Memory) -> Result<u64> {
        let [first, second, third, fourth, _] = arguments;
        Ok(match self.layout.helper(number) {
            "bpf_ktime_get_coarse_ns" => self.clock.time,
            "bpf_xdp_get_buff_len" => self.length,
            "bpf_xdp_load_bytes" | "bpf_skb_load_bytes" => {
                let (at, to, length) = (second, third, fourth);
                if at + length > self.length {
                    return Ok(FAULT);
                }
                let bytes = memory.touch(PACKET + ROOM as u64 + at, length)?.to_vec();
                memory.touch(to, length)?.copy_from_slice(&bytes);
                0
            }
            "bpf_ringbuf_reserve" => {
                self.entries += 1;
                let entry = ENTRIES + self.entries * ENTRY;
                memory.add(entry, vec![0; second as usize]);
                entry
            }
            "bpf_ringbuf_submit" => {
                let bytes = memory.all(first)?;
                let report = bytemuck::try_pod_read_unaligned(bytes);
                self.submitted
                    .push(report.map_err(|_| anyhow::anyhow!("not a report"))?);
                0
            }
            name => bail!("helper {name} is not made here; next: add it to Helpers::call"),
        })
    }
}

/// A loaded probe, its programs in both forms.
pub(crate) struct Probe {
    pub(crate) kernel: Kernel,
    pub(crate) maps: Maps,
    xdp: Translated,
    tc: Translated,
}

impl Probe {
    pub(crate) fn new(kernel: Kernel) -> Result<Self> {
        let infos = [kernel.xdp()?.info()?, kernel.tc(false)?.info()?];
        let [xdp, tc] = &infos;
        let (xdp, tc) = (Translated::new(xdp)?, Translated::new(tc)?);
        let mut ids = BTreeSet::new();
        for info in &infos {
            ids.extend(info.map_ids()?.context("the kernel tells no maps")?);
        }
        Ok(Self {
            maps: Maps::new(ids, xdp.code.values_offset()?)?,
            kernel,
            xdp,
            tc,
        })
    }

    /// Runs a packet in the kernel.
    pub(crate) fn pass(&mut self, packet: &Packet) -> Result<Counters> {
        self.kernel.run(packet.program, &packet.frame)
    }

    /// Runs two packets, the first of them so that the second is not the first one of a tick, in the
    /// kernel and in the machine, and says what the second did. None if the clock moved meanwhile.
    ///
    /// # Errors
    /// If kernel and machine are not left with the same bytes in all maps, and the same reports.
    pub(crate) fn trace(
        &mut self,
        layout: &Layout,
        [first, second]: [&Packet; 2],
    ) -> Result<Option<Trace>> {
        self.kernel.take_reports();
        let before = self.maps.snapshot(CPU)?;
        let clock = Clock::next()?;
        self.pass(first)?;
        let counted = self.pass(second)?;
        if coarse()? != clock.time {
            return Ok(None);
        }
        let reports = self.kernel.take_reports();
        let after = self.maps.snapshot(CPU)?;
        let mut memory = Memory::default();
        self.maps.put(&before, &mut memory);
        let mut helpers = Helpers {
            layout,
            clock,
            length: 0,
            entries: 0,
            submitted: Vec::new(),
        };
        self.execute(first, &mut helpers, &mut memory)?;
        memory.forget();
        let executed = self.execute(second, &mut helpers, &mut memory)?;
        self.check(&memory, &after)?;
        ensure!(
            helpers.submitted == reports,
            "the machine tells {:?}, and the kernel {reports:?}",
            helpers.submitted
        );
        Ok(Some(Trace {
            executed,
            counted,
            memory,
        }))
    }

    fn check(&self, memory: &Memory, after: &Snapshot) -> Result<()> {
        let compared = self.maps.compare(memory, after);
        compared.context("the machine leaves other maps than the kernel")
    }

    fn execute(
        &self,
        packet: &Packet,
        helpers: &mut Helpers<'_>,
        memory: &mut Memory,
    ) -> Result<Executed> {
        let program = match packet.program {
            Program::XdpIngress => &self.xdp,
            Program::TcEgress => &self.tc,
            Program::TcIngress => bail!("tc_ingress is not traced"),
        };
        let context = helpers.layout.put(packet, memory);
        if let Some(jiffies) = program.jiffies {
            memory.add(jiffies, helpers.clock.jiffies.to_le_bytes().to_vec());
        }
        helpers.length = packet.frame.len() as u64;
        let places = self.maps.places();
        machine::run(
            &program.code,
            context,
            &places,
            memory,
            &mut |number, arguments, memory| helpers.call(number, arguments, memory),
        )
    }
}
