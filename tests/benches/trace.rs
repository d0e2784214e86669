//! `cargo xtask trace` runs this: what one packet does in the XDP program as the kernel's verifier left it.
//!
//! Everything up to a packet is run by the kernel. The packet itself is run by a machine in user space,
//! over what is in the kernel's maps, and then by the kernel, too: both have to leave the same in them.

use std::{
    collections::BTreeMap,
    env, fs,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{MapInfo, MapType};
use mptcp_tests::{
    frame::{ACK, Frame, SYN, SYN_ACK},
    kernel::{Kernel, PASS, Program, host},
    machine::{Array, Machine, Run},
    record::Record,
    talk::{A, B, Talk, Twins},
};
use mptcp_user::offline::{Config, Scope};
use nix::{
    libc,
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// The CPU that everything runs on, whose counters are looked at.
const CPU: usize = 0;
/// Payload of a data packet in bytes.
const PAYLOAD: u16 = 1400;
/// NOP, NOP, timestamp.
const TIMESTAMP: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let usage = "where may the translated program be written? (next: cargo xtask trace)";
    let file = arguments.next().context(usage)?;
    let mut cpu = CpuSet::new();
    cpu.set(CPU)?;
    sched_setaffinity(Pid::from_raw(0), &cpu)?;
    let helpers = helpers()?;
    for (name, is_tracking, records) in packets()? {
        let run = trace(&records, is_tracking, &helpers, Path::new(&file))
            .with_context(|| format!("of {name}"))?;
        println!(
            "{name}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
            run.instructions,
            run.functions,
            run.helpers.len(),
            run.lookups,
            run.shared_lines(),
            run.shared_pages(),
            run.own_lines()
        );
    }
    Ok(())
}

/// A name, whether flows are followed, and packets, of which the last one is looked at.
type Packets = (&'static str, bool, Vec<Record>);

fn packets() -> Result<Vec<Packets>> {
    let frame = |frame: Frame| {
        let bytes = Frame {
            payload: PAYLOAD.into(),
            ..frame
        }
        .bytes();
        vec![Record {
            nanoseconds: 0,
            length: bytes.len() as u32,
            bytes,
            ingress: Some(true),
        }]
    };
    let tcp = |options: &[u8]| frame(Frame::new(ACK, options, 0));
    // An option of three bytes, which holds a 30, then options of two.
    let many = [&[253, 3, 30, 1][..], &[254, 2].repeat(18)].concat();
    let data = talk(|talk| {
        confirmed(talk)?;
        talk.data(0, A, PAYLOAD).map(drop)
    })?;
    Ok(vec![
        (
            "not IP (ARP)",
            true,
            frame(Frame {
                ethertype: Some(0x0806),
                ..Frame::default()
            }),
        ),
        (
            "not TCP (UDP)",
            true,
            frame(Frame {
                protocol: 17,
                ..Frame::default()
            }),
        ),
        ("TCP without options", true, tcp(&[])),
        ("TCP with a timestamp", true, tcp(&TIMESTAMP)),
        ("TCP with 40 one-byte options", true, tcp(&[1; 40])),
        ("TCP with 20 options to look at", true, tcp(&many)),
        ("DSS data, --no-track", false, data.clone()),
        ("DSS data", true, data),
        (
            "DSS acknowledgment",
            true,
            talk(|talk| {
                confirmed(talk)?;
                talk.data(0, B, PAYLOAD)?;
                talk.ack(0, A).map(drop)
            })?,
        ),
        (
            "acknowledgment without option",
            true,
            talk(|talk| {
                confirmed(talk)?;
                talk.data(0, B, PAYLOAD)?;
                talk.send(0, A, ACK, &[], 0).map(drop)
            })?,
        ),
        (
            "MP_CAPABLE SYN",
            true,
            talk(|talk| {
                let syn = talk.capable_syn();
                talk.send(0, A, SYN, &syn, 0).map(drop)
            })?,
        ),
        (
            "MP_CAPABLE ACK",
            true,
            talk(|talk| {
                talk.handshake()?;
                Ok(())
            })?,
        ),
        (
            "MP_JOIN SYN",
            true,
            talk(|talk| {
                confirmed(talk)?;
                let flow = talk.flow();
                let syn = talk.join_syn_option(flow, A);
                talk.send(flow, A, SYN, &syn, 0).map(drop)
            })?,
        ),
        (
            "MP_JOIN SYN/ACK",
            true,
            talk(|talk| {
                confirmed(talk)?;
                let flow = talk.flow();
                let syn = talk.join_syn_option(flow, B);
                talk.send(flow, B, SYN, &syn, 0)?;
                let syn_ack = talk.join_syn_ack_option(flow, A);
                talk.send(flow, A, SYN_ACK, &syn_ack, 0).map(drop)
            })?,
        ),
        (
            "MP_JOIN ACK",
            true,
            talk(|talk| {
                confirmed(talk)?;
                talk.join_until_ack(A, 1).map(drop)
            })?,
        ),
        (
            "MP_TCPRST",
            true,
            talk(|talk| {
                confirmed(talk)?;
                talk.reset(0, A, 1).map(drop)
            })?,
        ),
    ])
}

/// Both ends have sent data twice, and acknowledged it.
fn confirmed(talk: &mut Talk<'_>) -> Result<()> {
    talk.handshake()?;
    for _ in 0..2 {
        for from in [A, B] {
            talk.data(0, from, PAYLOAD)?;
            talk.ack(0, from ^ 1)?;
        }
    }
    Ok(())
}

/// The packets of a session with timestamps.
fn talk(what: impl FnOnce(&mut Talk<'_>) -> Result<()>) -> Result<Vec<Record>> {
    let mut twins = Twins::alone(host());
    twins.record();
    let mut talk = Talk::new(&mut twins);
    talk.timestamps = true;
    what(&mut talk)?;
    Ok(twins.take_recorded())
}

/// What the last packet does, after all others.
fn trace(
    packets: &[Record],
    is_tracking: bool,
    helpers: &BTreeMap<i32, String>,
    file: &Path,
) -> Result<Run> {
    let mut kernel = Kernel::with(Config {
        scope: Scope {
            is_tracking,
            ..host().scope
        },
        ..host()
    })?;
    let (last, others) = packets.split_last().context("no packet")?;
    for packet in others {
        let program = match packet.ingress {
            Some(false) => Program::TcEgress,
            _ => Program::XdpIngress,
        };
        kernel.run(program, &packet.bytes)?;
    }
    let info = kernel.xdp()?.info()?;
    let mut arrays = BTreeMap::new();
    for map in info
        .map_ids()?
        .context("the kernel does not tell the program's maps")?
    {
        arrays.insert(map, KernelArray::new(map)?);
    }
    let machine = Machine::new(&translated(info.id(), file)?, arrays, helpers.clone())?;
    let run = machine.run_xdp(&last.bytes)?;
    ensure!(
        PASS.contains(&(run.returned as u32)),
        "verdict {}",
        run.returned
    );
    kernel.run(Program::XdpIngress, &last.bytes)?;
    for ((map, index), value) in &run.values {
        let array = machine.array(*map).context("no such map")?;
        ensure!(
            array.read(*index)? == *value,
            "the machine and the kernel leave different values in map {} at {index}",
            array.name
        );
    }
    Ok(run)
}

/// The program's instructions.
fn translated(program: u32, file: &Path) -> Result<Vec<u8>> {
    let id = program.to_string();
    let output = std::process::Command::new("bpftool")
        .args(["prog", "dump", "xlated", "id", &id, "file"])
        .arg(file)
        .output()
        .context("cannot run bpftool (next: cargo xtask setup)")?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(fs::read(file)?)
}

/// The kernel's helpers, as calls name them.
fn helpers() -> Result<BTreeMap<i32, String>> {
    let symbols = fs::read_to_string("/proc/kallsyms")?;
    let symbols: Vec<_> = symbols
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            Some((address, words.nth(1)?))
        })
        .collect();
    let base = symbols.iter().find(|(_, name)| *name == "__bpf_call_base");
    let (base, _) = base.context("the kernel does not say where its helpers are")?;
    ensure!(
        *base != 0,
        "the kernel hides addresses (next: sysctl kernel.kptr_restrict=0)"
    );
    Ok(symbols
        .iter()
        .filter(|(_, name)| name.starts_with("bpf_"))
        .filter_map(|(address, name)| {
            let distance = address.wrapping_sub(*base) as i64;
            Some((i32::try_from(distance).ok()?, (*name).to_owned()))
        })
        .collect())
}

/// An array in the kernel.
struct KernelArray {
    map: aya::maps::MapFd,
    name: String,
    value_size: usize,
    is_per_cpu: bool,
    is_constant: bool,
}

impl KernelArray {
    fn new(id: u32) -> Result<Self> {
        let info = MapInfo::from_id(id)?;
        let name = info.name_as_str().unwrap_or_default().to_owned();
        Ok(Self {
            map: info.fd()?,
            value_size: info.value_size() as usize,
            is_per_cpu: info.map_type()? == MapType::PerCpuArray,
            is_constant: name.contains("rodata"),
            name,
        })
    }
}

impl Array for KernelArray {
    fn size(&self) -> u64 {
        self.value_size.next_multiple_of(8) as u64
    }

    fn is_per_cpu(&self) -> bool {
        self.is_per_cpu
    }

    fn is_constant(&self) -> bool {
        self.is_constant
    }

    fn read(&self, index: u32) -> Result<Vec<u8>> {
        /// The part of union bpf_attr that is for a map's elements.
        #[repr(C)]
        struct Element {
            map: u32,
            reserved: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
        let size = self.size() as usize;
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        let copies = if self.is_per_cpu { cpus } else { 1 };
        let mut value = vec![0_u8; size * copies];
        let element = Element {
            map: self.map.as_fd().as_raw_fd() as u32,
            reserved: 0,
            key: (&raw const index) as u64,
            value: value.as_mut_ptr() as u64,
            flags: 0,
        };
        // SAFETY: the key has 4 bytes, and the value as many as the kernel writes: each CPU's, rounded up
        // to 8.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_MAP_LOOKUP_ELEM,
                &raw const element,
                size_of::<Element>(),
            )
        };
        if result != 0 {
            let error = std::io::Error::last_os_error();
            return Err(error).with_context(|| format!("cannot read {}[{index}]", self.name));
        }
        let first = if self.is_per_cpu { CPU * size } else { 0 };
        Ok(value[first..first + self.value_size].to_vec())
    }
}
