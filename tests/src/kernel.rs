//! The eBPF programs, run by the kernel on frames that a test made (BPF_PROG_TEST_RUN).

use std::num::NonZeroUsize;

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapData, PerCpuArray, RingBuf},
    programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp, XdpMode, xdp::XdpLinkId},
};
use mptcp_common::{
    counter::{Counters, Event},
    packet::hash::Hashing,
    state::{
        HalfOpen, Keys, RangeChunk, SLICES, Session, Subflow, Tables as _, chunks_for, tokens,
    },
    table::{Atomics, BUCKET_SLOTS, Bucket, Table as _, buckets_for, cell_shift, cells_for},
};
use mptcp_user::{
    filter,
    offline::{self, Offline, Scope},
};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::tables;

/// `XDP_PASS` and `TC_ACT_UNSPEC`: the frame goes on.
pub const PASS: [u32; 2] = [2, u32::MAX];

#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
struct Raw(Counters);

// SAFETY: integers without padding (`Counters` is `bytemuck::Pod`).
unsafe impl aya::Pod for Raw {}

/// Which program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `xdp_ingress`
    XdpIngress,
    /// `tc_ingress`
    TcIngress,
    /// `tc_egress`
    TcEgress,
}

/// What programs and engine are made with: a host that follows flows, in small tables.
pub fn host() -> offline::Config {
    offline::Config {
        role: mptcp_common::counter::Role::Host,
        ..offline::Config::default()
    }
}

/// A buffer of several packets, as `struct __sk_buff` says it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Merged {
    /// Packets (`gso_segs`); 0 where the kernel has not counted them.
    pub packets: u32,
    /// Payload bytes of each packet but the last (`gso_size`); 0: it is one packet.
    pub size: u32,
}

/// When the programs' clock of a test begins, in nanoseconds.
pub const START: u64 = 1_000_000_000_000;

/// Whose time the programs go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The kernel's.
    Real = 0,
    /// What a test sets.
    Set = 1,
}

/// For how many interfaces programs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// One, of any kind.
    One,
    /// Several, whose counters are in one map.
    Several,
}

impl Of {
    /// The name of a program, by that of the one for one interface.
    fn name(self, name: &str) -> String {
        match self {
            Self::One => name.to_owned(),
            Self::Several => format!("{name}_set"),
        }
    }

    /// Where the counters of the loopback device are, which is the first of every namespace and the one of
    /// frames that a test makes.
    fn place(self) -> u32 {
        match self {
            Self::One => 0,
            Self::Several => 1,
        }
    }
}

/// The programs, loaded, with counters of their own.
pub struct Kernel {
    programs: Ebpf,
    of: Of,
    counters: PerCpuArray<MapData, Raw>,
    clock: Array<MapData, u64>,
    reports: RingBuf<MapData>,
    filter: MapData,
    before: Counters,
}

impl Kernel {
    /// Loads all programs in the host role.
    pub fn new() -> Result<Self> {
        Self::with(host())
    }

    /// Loads all programs, to go by a clock that is set.
    pub fn with(config: offline::Config) -> Result<Self> {
        Self::load(config, Clock::Set)
    }

    /// Loads all programs.
    pub fn load(config: offline::Config, clock: Clock) -> Result<Self> {
        Self::load_from(mptcp_user::OBJECT, config, clock)
    }

    /// Loads all programs for several interfaces.
    pub fn load_set(config: offline::Config, clock: Clock) -> Result<Self> {
        Self::load_as(mptcp_user::OBJECT, config, clock, Of::Several)
    }

    /// Loads the programs of an object.
    pub fn load_from(object: &[u8], config: offline::Config, clock: Clock) -> Result<Self> {
        Self::load_as(object, config, clock, Of::One)
    }

    fn load_as(object: &[u8], config: offline::Config, clock: Clock, of: Of) -> Result<Self> {
        let offline::Config {
            role,
            scope,
            policy,
            limits,
            sizes,
            fast_path_enabled: _,
            seed,
        } = config;
        let Scope {
            is_layer_3,
            is_tracking,
            is_verifying,
            is_checking,
        } = scope;
        let (role, is_test, log) = (role as u8, clock as u8, 0_u8);
        let flags = [
            is_layer_3,
            is_tracking,
            policy.version_0,
            is_verifying,
            is_checking,
        ]
        .map(u8::from);
        let chunks = chunks_for(sizes.ranges);
        let buckets = [sizes.handshakes, sizes.subflows, sizes.sessions, chunks].map(buckets_for);
        let cells = cells_for(buckets[1].max(buckets[0]));
        let hashing = Hashing::new(seed, cell_shift(cells)).words();
        let mut loader = EbpfLoader::new();
        for (names, buckets) in [
            (&["HALF_OPEN_TAGS", "HALF_OPENS"][..], buckets[0]),
            (&["SUBFLOW_TAGS", "SUBFLOWS"], buckets[1]),
            (&["SESSION_TAGS", "SESSIONS", "KEYS"], buckets[2]),
            (&["RANGE_TAGS", "RANGES"], buckets[3]),
        ] {
            for name in names {
                let ways = if name.ends_with("TAGS") {
                    1
                } else {
                    BUCKET_SLOTS
                };
                loader.map_max_entries(name, buckets * ways);
            }
        }
        loader.map_max_entries("TOKENS", buckets[2] * tokens::BUCKETS);
        loader.map_max_entries("COUNTERS", of.place() + 1);
        let mut programs = loader
            .override_global("TEST_CLOCK", &is_test, true)
            .override_global("ROLE", &role, true)
            .override_global("LAYER_3", &flags[0], true)
            .override_global("TRACK", &flags[1], true)
            .override_global("VERSION_0", &flags[2], true)
            .override_global("VERIFY_CHECKSUMS", &flags[3], true)
            .override_global("CHECK_SEGMENTS", &flags[4], true)
            .override_global("MIN_MSS_V4", &policy.min_mss_v4, true)
            .override_global("MIN_MSS_V6", &policy.min_mss_v6, true)
            .override_global("HALF_OPEN_BUCKETS", &buckets[0], true)
            .override_global("SUBFLOW_BUCKETS", &buckets[1], true)
            .override_global("SESSION_BUCKETS", &buckets[2], true)
            .override_global("RANGE_BUCKETS", &buckets[3], true)
            .override_global("HASHING", &hashing, true)
            .override_global("SEED", &seed, true)
            .override_global("HANDSHAKE_TIME", &limits.handshake, true)
            .override_global("ALONE_TIME", &limits.alone, true)
            .override_global("IDLE_TIME", &limits.idle, true)
            .override_global("LINGER_TIME", &limits.linger, true)
            .override_global("MAX_SUBFLOWS", &limits.subflows, true)
            .override_global("MAX_PENDING", &limits.pending, true)
            .override_global("JOIN_THRESHOLD", &limits.threshold, true)
            .override_global("PASSIVE_CLOSE_REFUSED", &limits.passive_close_refused, true)
            .override_global("AYA_LOG_LEVEL", &log, true)
            .load(object)
            .context("cannot load the eBPF object; the tests need root")?;
        let filter = filter::create(cells)?;
        filter::give(&programs, &filter)?;
        for name in ["tc_ingress", "tc_egress"] {
            classifier(&mut programs, &of.name(name))?.load()?;
        }
        xdp(&mut programs, of)?.load()?;
        let counters = programs.take_map("COUNTERS").context("no map COUNTERS")?;
        let clock = programs.take_map("CLOCK").context("no map CLOCK")?;
        let mut clock = Array::try_from(clock)?;
        clock.set(0, START, 0)?;
        let reports = programs.take_map("REPORTS").context("no map REPORTS")?;
        Ok(Self {
            programs,
            of,
            clock,
            reports: RingBuf::try_from(reports)?,
            filter,
            counters: PerCpuArray::try_from(counters)?,
            before: Counters::default(),
        })
    }

    /// Runs a program on a frame, and returns what it counted. Fails if the frame is not passed,
    /// not unchanged, or not counted as one packet in one leaf.
    pub fn run(&mut self, program: Program, frame: &[u8]) -> Result<Counters> {
        self.run_with(program, frame, None, 1)
    }

    /// The same with a context (`struct xdp_md` or `struct __sk_buff`), for `packets` packets.
    pub fn run_with(
        &mut self,
        program: Program,
        frame: &[u8],
        context: Option<&[u8]>,
        packets: u64,
    ) -> Result<Counters> {
        let mut out = vec![0xa5; frame.len() + 64];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        options.ctx_in = context;
        let result = match program {
            Program::XdpIngress => xdp(&mut self.programs, self.of)?.test_run(options)?,
            Program::TcIngress => {
                classifier(&mut self.programs, &self.of.name("tc_ingress"))?.test_run(options)?
            }
            Program::TcEgress => {
                classifier(&mut self.programs, &self.of.name("tc_egress"))?.test_run(options)?
            }
        };
        ensure!(
            PASS.contains(&result.return_value),
            "verdict {}",
            result.return_value
        );
        ensure!(
            out[..frame.len()] == *frame,
            "the program changed the frame"
        );
        ensure!(
            out[frame.len()..].iter().all(|byte| *byte == 0xa5),
            "the program made the frame longer"
        );
        let now = self.read()?;
        let counted = now.since(&self.before);
        self.before = now;
        ensure!(now.is_settled(), "frames and leaves differ: {now:?}");
        ensure!(
            counted.frames == packets,
            "{} packets were counted",
            counted.frames
        );
        Ok(counted)
    }

    /// Runs a TC program on a buffer, for so many packets.
    pub fn run_merged(
        &mut self,
        program: Program,
        frame: &[u8],
        merged: Merged,
        packets: u64,
    ) -> Result<Counters> {
        let mut context = [0; 192];
        // struct __sk_buff: gso_segs at offset 164, gso_size at 176.
        context[164..168].copy_from_slice(&merged.packets.to_ne_bytes());
        context[176..180].copy_from_slice(&merged.size.to_ne_bytes());
        self.run_with(program, frame, Some(&context), packets)
    }

    /// The XDP program, to run from several threads at once.
    pub fn xdp(&self) -> Result<&Xdp> {
        let name = self.of.name("xdp_ingress");
        let program = self.programs.program(&name);
        Ok(program
            .with_context(|| format!("no program {name}"))?
            .try_into()?)
    }

    /// The TC program on egress, or the one on ingress.
    pub fn tc(&self, is_ingress: bool) -> Result<&SchedClassifier> {
        let name = self.of.name(if is_ingress {
            "tc_ingress"
        } else {
            "tc_egress"
        });
        let program = self.programs.program(&name);
        Ok(program
            .with_context(|| format!("no program {name}"))?
            .try_into()?)
    }

    /// What has happened since the last call.
    pub fn take_reports(&mut self) -> Vec<Event> {
        let mut reports = Vec::new();
        while let Some(item) = self.reports.next() {
            reports.push(bytemuck::pod_read_unaligned(&item));
        }
        reports
    }

    /// Puts the XDP program on an interface, which then has receive queues to run on.
    pub fn attach(&mut self, interface: &str) -> Result<XdpLinkId> {
        Ok(xdp(&mut self.programs, self.of)?.attach(interface, XdpMode::Driver)?)
    }

    /// Takes it off again.
    pub fn detach(&mut self, link: XdpLinkId) -> Result<()> {
        Ok(xdp(&mut self.programs, self.of)?.detach(link)?)
    }

    /// Runs the XDP program on a frame as if it came in at a receive queue of an interface (by its
    /// index).
    pub fn run_on_queue(&mut self, frame: &[u8], interface: u32, queue: u32) -> Result<Counters> {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
        let context: Vec<u8> = [0, frame.len() as u32, 0, interface, queue, 0]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        self.run_with(Program::XdpIngress, frame, Some(&context), 1)
    }

    /// Sets the programs' clock, in nanoseconds.
    pub fn set_clock(&mut self, time: u64) -> Result<()> {
        Ok(self.clock.set(0, time, 0)?)
    }

    /// Compares all tables with the engine's in user space, byte by byte.
    pub fn compare_tables(&self, engine: &Offline) -> Result<()> {
        type Tags = [u8; size_of::<Bucket<Atomics>>()];
        type HalfOpens = [u8; size_of::<HalfOpen<Atomics>>()];
        type Subflows = [u8; size_of::<Subflow<Atomics>>()];
        type Sessions = [u8; size_of::<Session<Atomics>>()];
        type Pair = [u8; size_of::<Keys<Atomics>>()];
        type Chunks = [u8; size_of::<RangeChunk<Atomics>>()];
        let (half_opens, subflows, sessions) =
            (engine.half_opens(), engine.subflows(), engine.sessions());
        let chunks = engine.range_chunks();
        self.compare::<Tags, _>("RANGE_TAGS", |i| chunks.bucket(i))?;
        self.compare::<Chunks, _>("RANGES", |i| chunks.slot(i))?;
        self.compare::<Tags, _>("HALF_OPEN_TAGS", |i| half_opens.bucket(i))?;
        self.compare::<HalfOpens, _>("HALF_OPENS", |i| half_opens.slot(i))?;
        self.compare::<Tags, _>("SUBFLOW_TAGS", |i| subflows.bucket(i))?;
        self.compare::<Subflows, _>("SUBFLOWS", |i| subflows.slot(i))?;
        self.compare::<Tags, _>("SESSION_TAGS", |i| sessions.bucket(i))?;
        self.compare::<Sessions, _>("SESSIONS", |i| sessions.slot(i))?;
        self.compare::<Tags, _>("TOKENS", |i| engine.tokens(i))?;
        self.compare::<Pair, _>("KEYS", |i| engine.keys(i))?;
        self.compare::<[u8; 8 * SLICES], _>("PENDING_JOINS", |_| engine.pending_joins())?;
        let (cells, wanted) = (self.cells()?, tables::filter(engine));
        ensure!(cells.len() == wanted.len(), "the filters differ in length");
        for (i, (is, wanted)) in cells.iter().zip(&wanted).enumerate() {
            ensure!(
                is == wanted,
                "cell {i} in the kernel is {is}, in user space {wanted}"
            );
        }
        Ok(())
    }

    /// Fails unless the filter says how many tags there are, cell by cell.
    pub fn check_filter(&self) -> Result<()> {
        let cells = self.cells()?;
        let mut words = Vec::new();
        for name in ["HALF_OPEN_TAGS", "SUBFLOW_TAGS"] {
            for [tags @ .., _] in self.values::<[u64; 8]>(name)? {
                words.extend(tags);
            }
        }
        tables::check_cells(&cells, words.into_iter())
    }

    /// The cells of the filter: one value, as long as the tables want it.
    fn cells(&self) -> Result<Vec<u8>> {
        let length = self.filter.info()?.value_size() as usize;
        let mapped = NonZeroUsize::new(length).context("an empty filter")?;
        let (protection, flags) = (ProtFlags::PROT_READ, MapFlags::MAP_SHARED);
        // SAFETY: a new mapping, which is read as long as the value is, and removed.
        unsafe {
            let memory = mmap(None, mapped, protection, flags, self.filter.fd(), 0)?;
            let cells = memory.cast::<u8>();
            let cells = (0..length).map(|i| cells.add(i).read_volatile());
            let cells = cells.collect();
            munmap(memory, length)?;
            Ok(cells)
        }
    }

    /// All values of an array.
    fn values<T: aya::Pod>(&self, name: &str) -> Result<Vec<T>> {
        let map = self.programs.map(name);
        let map = Array::<_, T>::try_from(map.with_context(|| format!("no map {name}"))?)?;
        Ok(map.iter().collect::<Result<_, _>>()?)
    }

    fn compare<'a, E, T: 'a>(&self, name: &str, wanted: impl Fn(u32) -> Option<&'a T>) -> Result<()>
    where
        E: aya::Pod + AsRef<[u8]>,
    {
        for (is, i) in self.values::<E>(name)?.iter().zip(0..) {
            let wanted = wanted(i).context("a table is too short")?;
            ensure!(
                is.as_ref() == tables::entry(wanted),
                "{name}[{i}] in the kernel {:02x?}\nin user space {:02x?}",
                is.as_ref(),
                tables::entry(wanted)
            );
        }
        Ok(())
    }

    /// All counts so far.
    pub fn read(&self) -> Result<Counters> {
        let mut sum = Counters::default();
        for cpu in self.counters.get(&self.of.place(), 0)?.iter() {
            sum.add(&cpu.0);
        }
        Ok(sum)
    }
}

fn xdp(programs: &mut Ebpf, of: Of) -> Result<&mut Xdp> {
    Ok(programs
        .program_mut(&of.name("xdp_ingress"))
        .context("no program xdp_ingress")?
        .try_into()?)
}

fn classifier<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier> {
    Ok(programs
        .program_mut(name)
        .with_context(|| format!("no program {name}"))?
        .try_into()?)
}
