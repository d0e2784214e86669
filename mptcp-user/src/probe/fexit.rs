//! Hooks at the end of kernel functions (fexit), which see what no packet shows: allocations that
//! failed. They belong to a network namespace, and are optional: a kernel may refuse them.

use std::{borrow::Cow, cell::OnceCell, fs};

use anyhow::{Context as _, Result};
use aya::{
    Btf, EbpfLoader,
    maps::{Array, Map, MapData},
    programs::{
        FExit,
        links::{FdLink, LinkType},
    },
};
use bytemuck::{Pod, Zeroable};
use jiff::Timestamp;
use mptcp_common::counter::{FexitCounts, FexitHook, bounded_sum};
use nix::errno::Errno;

use super::{
    btf::{KernelTypes, Parameter},
    fexit_reason::{FexitReason, Rights, errno_of},
    layout::{DISPLAYED, READINGS, READINGS_RANGE, Raw, Remembered},
    pins::{Directory, HookPins, Shape},
    settings::Substitute,
};
use crate::{
    clock::{nanoseconds, timestamp},
    failure::Notice,
    text::shown,
};

/// The eBPF object that build.rs built, in ELF: the program `kernel_hook` and the map `FAILURES`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("MPTCP_HOOKS_OBJECT"));

/// The constants of a program that mean "none".
const NONE: u32 = u32::MAX;

const HOOKS: usize = FexitHook::ALL.len();

/// Counts of failures at a moment: the values of the map `hooks/readings`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct StoredFailures {
    /// Nanoseconds since the epoch; 0 if there is no such reading.
    time: i64,
    counts: [u64; HOOKS],
}

/// What became of a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FexitState {
    Attached,
    /// And why.
    Missing(FexitReason),
    /// It cannot be read, and why.
    Unknown(String),
}

impl FexitState {
    /// Returns its name in documents.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Missing(FexitReason::NotAsked) => "off",
            Self::Missing(_) => "refused",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Why it is not attached.
    pub(crate) fn reason(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Attached => None,
            Self::Missing(reason) => Some(reason.text()),
            Self::Unknown(why) => Some(why.into()),
        }
    }
}

/// The hooks of a network namespace.
pub(crate) struct FexitHooks {
    directory: Directory,
    failures: Array<MapData, u64>,
    readings: Array<MapData, Raw<StoredFailures>>,
    /// Why those that are missing are: codes of [`FexitReason`].
    refused: Array<MapData, i32>,
}

impl FexitHooks {
    /// Tries each hook that is not there yet. One that is refused is noted, and no failure.
    pub(crate) fn attach(
        pins: &HookPins,
        namespace: u64,
        substitutes: &[Substitute],
    ) -> Result<()> {
        let mut hooks = Self::create(pins)?;
        let mut wanted = Vec::new();
        for hook in hooks.missing()? {
            let substitute = substitutes.iter().find(|other| other.hook == hook);
            wanted.push((
                hook,
                substitute.map_or(hook.function(), |other| &other.function),
            ));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let results = hooks.attach_all(namespace, &wanted);
        for (i, (hook, _)) in wanted.iter().enumerate() {
            let missing = match &results {
                Ok(results) => results[i].err(),
                Err(reason) => Some(*reason),
            };
            hooks.note(*hook, missing)?;
        }
        Ok(())
    }

    /// Notes that nobody asks for those that are not there.
    pub(crate) fn leave(pins: &HookPins) -> Result<()> {
        let mut hooks = Self::create(pins)?;
        for hook in hooks.missing()? {
            hooks.note(hook, Some(FexitReason::NotAsked))?;
        }
        Ok(())
    }

    /// Returns those that are not attached.
    fn missing(&self) -> Result<Vec<FexitHook>> {
        let mut missing = Vec::new();
        for hook in FexitHook::ALL {
            if self.state(hook)? != FexitState::Attached {
                missing.push(hook);
            }
        }
        Ok(missing)
    }

    fn note(&mut self, hook: FexitHook, missing: Option<FexitReason>) -> Result<()> {
        self.refused
            .set(hook as u32, missing.map_or(0, FexitReason::code), 0)
            .context("cannot note why a hook is missing")
    }

    /// Returns what became of each; without the kernel's types, why there are none.
    fn attach_all(
        &self,
        namespace: u64,
        wanted: &[(FexitHook, &str)],
    ) -> Result<Vec<Result<(), FexitReason>>, FexitReason> {
        let types = KernelTypes::read()?;
        let btf = Btf::from_sys_fs().map_err(|_| FexitReason::TypesDamaged)?;
        let constants: Vec<_> = wanted
            .iter()
            .map(|(hook, function)| HookConstants::new(&types, *hook, function, namespace))
            .collect();
        // Megabytes, which are read where a function is missed.
        let symbols = OnceCell::new();
        let symbols = || symbols.get_or_init(|| fs::read_to_string("/proc/kallsyms").ok());
        let mut loader = EbpfLoader::new();
        loader.map_pin_path("FAILURES", self.directory.reach("counters"));
        let mut results = Vec::new();
        for ((hook, function), constants) in wanted.iter().zip(&constants) {
            results.push(match constants {
                Some(constants) => {
                    constants.apply(&mut loader);
                    self.attach_one(&mut loader, &btf, *hook, function)
                }
                // One that takes something else than what is known is not the one that is meant.
                None if types.has_function(function) => Err(FexitReason::OtherSignature),
                None => Err(FexitReason::of_missing(function, symbols().as_deref())),
            });
        }
        Ok(results)
    }

    fn attach_one(
        &self,
        loader: &mut EbpfLoader<'_>,
        btf: &Btf,
        hook: FexitHook,
        function: &str,
    ) -> Result<(), FexitReason> {
        let attach = |error: anyhow::Error| FexitReason::of_attach(errno_of(&error));
        let mut programs = loader.load(OBJECT).map_err(|error| attach(error.into()))?;
        let program: Option<&mut FExit> = programs
            .program_mut("kernel_hook")
            .and_then(|program| program.try_into().ok());
        let program = program.ok_or(FexitReason::Other(Errno::EINVAL))?;
        program
            .load(function, btf)
            .map_err(|error| FexitReason::of_load(errno_of(&error.into()), &Rights::read()))?;
        let link = program.attach().and_then(|id| program.take_link(id));
        let link: FdLink = link.map_err(|error| attach(error.into()))?.into();
        let pinned = link.pin(self.directory.reach(hook.function()));
        pinned.map_err(|error| attach(error.into()))?;
        Ok(())
    }

    /// Opens the pinned maps, or makes them.
    fn create(pins: &HookPins) -> Result<Self> {
        fn pin<V: aya::Pod>(directory: &Directory, name: &str, shape: &Shape) -> Result<()> {
            if directory.find_map(name, shape)?.is_none() {
                let map = Array::<MapData, V>::create(shape.entries.1, 0)?;
                directory.pin(name, |path| map.pin(path))?;
            }
            Ok(())
        }
        let directory = pins.create()?;
        pin::<u64>(&directory, "counters", &COUNTERS)?;
        pin::<i32>(&directory, "refused", &REFUSED)?;
        pin::<Raw<StoredFailures>>(&directory, "readings", &READINGS_MAP)?;
        Self::open(pins)?.context("the hooks were removed at once")
    }

    /// Opens the pinned maps, if there are any.
    pub(crate) fn open(pins: &HookPins) -> Result<Option<Self>> {
        let Some(directory) = pins.open()? else {
            return Ok(None);
        };
        if !directory.has("readings")? {
            return Ok(None);
        }
        let open = |name: &str, shape: &Shape| directory.map(name, shape).map(Map::Array);
        Ok(Some(Self {
            failures: open("counters", &COUNTERS)?.try_into()?,
            readings: open("readings", &READINGS_MAP)?.try_into()?,
            refused: open("refused", &REFUSED)?.try_into()?,
            directory,
        }))
    }

    /// Returns true if a hook's link is pinned.
    fn is_pinned(&self, hook: FexitHook) -> Result<bool> {
        let name = hook.function();
        if !self.directory.has(name)? {
            return Ok(false);
        }
        let link = self.directory.link(name, LinkType::Tracing);
        let path = self.directory.path().join(name);
        link.map(|_| true).with_context(|| {
            Notice::new(format!("{} is no link of a hook", shown(path)))
                .next("mptcp-user detach --all, then attach again")
        })
    }

    /// Returns what became of a hook, which is attached as long as its link is pinned.
    pub(crate) fn state(&self, hook: FexitHook) -> Result<FexitState> {
        if self.is_pinned(hook)? {
            return Ok(FexitState::Attached);
        }
        let code = self.refused.get(&(hook as u32), 0);
        let code = code.context("cannot read why a hook is missing")?;
        Ok(FexitState::Missing(FexitReason::of_code(code)))
    }

    /// Returns the failures until now.
    pub(crate) fn read(&self) -> Result<FexitCounts> {
        let pins = self.directory.names()?;
        let mut counts = FexitCounts::default();
        for hook in FexitHook::ALL {
            if pins.iter().any(|pin| pin == hook.function()) {
                let count = self.failures.get(&(hook as u32), 0);
                let count = count.context("cannot read the hooks' counters")?;
                counts[hook as usize] = Some(bounded_sum(count, 0));
            }
        }
        Ok(counts)
    }

    /// Returns a baseline, if there is one.
    pub(crate) fn remembered(&self, which: Remembered) -> Result<Option<(Timestamp, FexitCounts)>> {
        self.reading(which as u32)
    }

    /// Returns readings that were displayed, each at its place.
    pub(crate) fn displayed(&self) -> Result<Vec<Option<(Timestamp, FexitCounts)>>> {
        let places = DISPLAYED..self.readings.len();
        places.map(|place| self.reading(place)).collect()
    }

    fn reading(&self, place: u32) -> Result<Option<(Timestamp, FexitCounts)>> {
        let reading = self
            .readings
            .get(&place, 0)
            .context("cannot read the hooks' readings")?
            .0;
        Ok((reading.time != 0).then(|| (timestamp(reading.time), reading.counts.map(Some))))
    }

    /// Remembers a baseline.
    pub(crate) fn remember(
        &mut self,
        which: Remembered,
        time: Timestamp,
        counts: &FexitCounts,
    ) -> Result<()> {
        self.store(which as u32, time, counts)
    }

    /// Remembers a reading that was displayed at one of the places of [`FexitHooks::displayed`].
    pub(crate) fn remember_displayed(
        &mut self,
        place: usize,
        time: Timestamp,
        counts: &FexitCounts,
    ) -> Result<()> {
        self.store(DISPLAYED + place as u32, time, counts)
    }

    fn store(&mut self, place: u32, time: Timestamp, counts: &FexitCounts) -> Result<()> {
        let reading = StoredFailures {
            time: nanoseconds(time),
            counts: counts.map(Option::unwrap_or_default),
        };
        self.readings
            .set(place, Raw(reading), 0)
            .context("cannot write the hooks' readings")
    }
}

/// The pinned maps.
const COUNTERS: Shape = Shape::array::<u64>(HOOKS as u32);
const REFUSED: Shape = Shape::array::<i32>(HOOKS as u32);
const READINGS_MAP: Shape = Shape {
    entries: READINGS_RANGE,
    ..Shape::array::<StoredFailures>(READINGS)
};

/// The constants of the program (mptcp-ebpf/src/fexit.rs).
struct HookConstants {
    hook: u32,
    namespace: u32,
    returns_pointer: u8,
    owner: u32,
    protocol: u32,
    sock_net: u32,
    net_inode: u32,
    sock_ulp: u32,
    ulp_name: u32,
}

impl HookConstants {
    /// For a hook at `function`; `None` if that is not as it is known.
    fn new(types: &KernelTypes, hook: FexitHook, function: &str, namespace: u64) -> Option<Self> {
        let parameters = types.parameters(function)?;
        let position = |is_it: &dyn Fn(&Parameter<'_>) -> bool| {
            let position = parameters.iter().position(is_it);
            position.map(|position| position as u32)
        };
        // A `struct sock` begins with its `struct sock_common`.
        let (owner, sock_net) = match position(&|found| found.points_to == Some("sock")) {
            Some(sock) => (sock, types.offset("sock_common", "skc_net")?),
            None => (position(&|found| found.points_to == Some("net"))?, NONE),
        };
        let mut constants = Self {
            hook: hook as u32,
            // Inode numbers of namespaces have 32 bits.
            namespace: namespace as u32,
            returns_pointer: 0,
            owner,
            protocol: NONE,
            sock_net,
            net_inode: types.offset("net", "ns")? + types.offset("ns_common", "inum")?,
            sock_ulp: NONE,
            ulp_name: NONE,
        };
        match hook {
            FexitHook::SubflowContext | FexitHook::SessionChild => constants.returns_pointer = 1,
            FexitHook::SubflowRequest | FexitHook::SubflowChild => {
                constants.returns_pointer = 1;
                constants.sock_ulp = types.offset("inet_connection_sock", "icsk_ulp_ops")?;
                constants.ulp_name = types.offset("tcp_ulp_ops", "name")?;
            }
            FexitHook::SessionSocketV4 | FexitHook::SessionSocketV6 => {
                constants.protocol = position(&|found| found.name == "protocol")?;
            }
            FexitHook::SubflowSocket | FexitHook::OutputSegment => {}
        }
        Some(constants)
    }

    fn apply<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        loader
            .override_global("HOOK", &self.hook, true)
            .override_global("NAMESPACE", &self.namespace, true)
            .override_global("RETURNS_POINTER", &self.returns_pointer, true)
            .override_global("OWNER", &self.owner, true)
            .override_global("PROTOCOL", &self.protocol, true)
            .override_global("SOCK_NET", &self.sock_net, true)
            .override_global("NET_INODE", &self.net_inode, true)
            .override_global("SOCK_ULP", &self.sock_ulp, true)
            .override_global("ULP_NAME", &self.ulp_name, true);
    }
}
