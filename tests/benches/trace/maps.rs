//! The maps of loaded programs: what is in them, and where a machine has it.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    maps::{MapFd, MapInfo, MapType},
    util::nr_cpus,
};
use mptcp_tests::machine::{Memory, PAGE, Place};
use nix::libc;

/// Flags of maps: constants, and what user space can map into its memory.
const BPF_F_RDONLY_PROG: u32 = 1 << 7;
const BPF_F_MMAPABLE: u32 = 1 << 10;
/// A command of bpf(2).
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;

/// Who touches a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All CPUs.
    Shared,
    /// One CPU each of its values.
    PerCpu,
    /// Nobody writes to it.
    Constants,
    /// Helpers alone.
    Ring,
}

/// A map.
pub(crate) struct Map {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    place: Place,
    /// Where this CPU's values lie, or all.
    at: u64,
    fd: MapFd,
    entries: u32,
    /// Bytes of a value, and from one to the next.
    size: usize,
    stride: usize,
}

impl Map {
    /// The map with an id, to lie behind an address.
    fn new(id: u32, base: u64, values_offset: u64) -> Result<Self> {
        let info = MapInfo::from_id(id)?;
        let flags = info.map_flags();
        let kind = match info.map_type()? {
            MapType::Array if flags & BPF_F_RDONLY_PROG != 0 => Kind::Constants,
            MapType::Array => Kind::Shared,
            MapType::PerCpuArray => Kind::PerCpu,
            MapType::RingBuf => Kind::Ring,
            other => anyhow::bail!("what {other:?} maps do to programs is not known here"),
        };
        // As in the kernel: what can be mapped begins on a page, and other values behind the map's
        // struct, which is aligned.
        let values = if flags & BPF_F_MMAPABLE != 0 {
            base + PAGE
        } else {
            base + values_offset
        };
        let place = Place {
            map: values - values_offset,
            values,
        };
        let size = info.value_size() as usize;
        Ok(Self {
            name: info.name_as_str().unwrap_or_default().to_owned(),
            kind,
            place,
            at: values + if kind == Kind::PerCpu { 1 << 32 } else { 0 },
            fd: info.fd()?,
            entries: info.max_entries(),
            size,
            stride: size.next_multiple_of(8),
        })
    }

    /// All values, of this CPU where each has its own, as they lie in memory.
    fn read(&self, cpu: usize) -> Result<Vec<u8>> {
        let (size, cpus) = match self.kind {
            Kind::Ring => return Ok(Vec::new()),
            Kind::PerCpu => (
                self.stride,
                nr_cpus().map_err(|(file, error)| io::Error::other(format!("{file}: {error}")))?,
            ),
            Kind::Shared | Kind::Constants => (self.size, 1),
        };
        let all = lookup_batch(&self.fd, self.entries, size * cpus)
            .with_context(|| format!("cannot read map {}", self.name))?;
        let mut bytes = Vec::with_capacity(self.stride * self.entries as usize);
        for values in all.chunks_exact(size * cpus) {
            bytes.extend(&values[cpu * size..][..size]);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        Ok(bytes)
    }

    /// Puts values into a machine's memory.
    fn put(&self, values: &[u8], memory: &mut Memory) {
        if self.kind == Kind::Ring {
            return;
        }
        memory.add(self.at, values.to_vec());
        if self.kind == Kind::PerCpu {
            // The map has a pointer for each value.
            let pointers = (0..self.entries as usize).map(|i| self.at + (i * self.stride) as u64);
            let pointers = pointers.flat_map(u64::to_le_bytes).collect();
            memory.add(self.place.values, pointers);
        }
    }

    /// How many cache lines of it were touched, and pages.
    pub(crate) fn touched(&self, memory: &Memory) -> Touched {
        let mut lines = memory.lines(self.at);
        if self.kind == Kind::PerCpu {
            lines.extend(memory.lines(self.place.values));
        }
        let mut pages: Vec<_> = lines.iter().map(|line| line / PAGE).collect();
        pages.dedup();
        Touched {
            lines: lines.len(),
            pages: pages.len(),
        }
    }
}

/// What of a map was touched.
pub(crate) struct Touched {
    pub(crate) lines: usize,
    pub(crate) pages: usize,
}

/// The values of maps at a moment.
pub(crate) type Snapshot = Vec<Vec<u8>>;

/// All maps of some programs, by their ids.
pub(crate) struct Maps(BTreeMap<u32, Map>);

impl Maps {
    pub(crate) fn new(ids: impl IntoIterator<Item = u32>, values_offset: u64) -> Result<Self> {
        let map = |(id, i): (u32, u64)| Ok((id, Map::new(id, i << 36, values_offset)?));
        ids.into_iter()
            .zip(1..)
            .map(map)
            .collect::<Result<_>>()
            .map(Self)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Map> {
        self.0.values()
    }

    /// Where a machine has them.
    pub(crate) fn places(&self) -> BTreeMap<u32, Place> {
        self.0.iter().map(|(id, map)| (*id, map.place)).collect()
    }

    /// What is in them now, as a CPU sees it.
    pub(crate) fn snapshot(&self, cpu: usize) -> Result<Snapshot> {
        self.iter().map(|map| map.read(cpu)).collect()
    }

    /// Puts what was in them into a machine's memory.
    pub(crate) fn put(&self, snapshot: &Snapshot, memory: &mut Memory) {
        for (map, values) in self.iter().zip(snapshot) {
            map.put(values, memory);
        }
    }

    /// Fails unless a machine's memory is what is in them, byte by byte.
    pub(crate) fn compare(&self, memory: &Memory, snapshot: &Snapshot) -> Result<()> {
        for (map, wanted) in self.iter().zip(snapshot) {
            if map.kind == Kind::Ring {
                continue;
            }
            let is = memory.all(map.at)?;
            let difference = is.iter().zip(wanted).position(|(is, wanted)| is != wanted);
            if let Some(at) = difference {
                let (value, byte) = (at / map.stride, at % map.stride);
                let word = at / 8 * 8..at / 8 * 8 + 8;
                anyhow::bail!(
                    "byte {byte} of {}[{value}]: the kernel's word is {:02x?}, the machine's {:02x?}",
                    map.name,
                    &wanted[word.clone()],
                    &is[word]
                );
            }
            ensure!(is.len() == wanted.len(), "{} has another length", map.name);
        }
        Ok(())
    }
}

/// The kernel's `union bpf_attr` for commands on many values.
#[repr(C)]
struct Batch {
    from: u64,
    to: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: libc::c_int,
    element_flags: u64,
    flags: u64,
}

/// All values of an array, each of so many bytes.
fn lookup_batch(map: &MapFd, entries: u32, size: usize) -> Result<Vec<u8>> {
    let mut keys = vec![0_u32; entries as usize];
    let mut values = vec![0_u8; entries as usize * size];
    let mut next = 0_u32;
    let mut batch = Batch {
        from: 0,
        to: (&raw mut next).addr() as u64,
        keys: keys.as_mut_ptr().addr() as u64,
        values: values.as_mut_ptr().addr() as u64,
        count: entries,
        map: map.as_fd().as_raw_fd(),
        element_flags: 0,
        flags: 0,
    };
    // SAFETY: the kernel writes up to `entries` keys and values, for which there is room, one key to
    // `next`, and how many there were to the structure.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_LOOKUP_BATCH,
            &raw mut batch,
            size_of::<Batch>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    ensure!(batch.count == entries, "only {} values", batch.count);
    Ok(values)
}
