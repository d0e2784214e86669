//! Probes: the programs on an interface, their pinned maps, and how both get there.

mod btf;
mod elsewhere;
pub mod filter;
mod hook_reason;
mod hooks;
mod kernel_hooks;
mod layout;
mod limits;
mod memory;
mod network;
pub mod pinned;
mod pins;
mod seed;
mod sockets;
mod tables;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader, VerifierLogLevel,
    maps::{Array, Map, MapData, MapInfo, PerCpuArray},
};
use bytemuck::Zeroable as _;
use jiff::Timestamp;
use mptcp_common::counter::{self, Counters, LAYOUT_VERSION, PLACES, Role};

pub(crate) use self::{
    elsewhere::{find_namespace, in_namespace, name_of},
    hook_reason::Reason as HookReason,
    hooks::{Attachment, Hook, attached_directions, attachments, is_on_interface, linked},
    kernel_hooks::{KernelHooks, State as HookState, Substitute},
    layout::Remembered,
    limits::{HostLimits, Outdated, Policy},
    network::{Interface, LinkLayer, Network, enter, namespace},
    pins::{InterfacePins, Lock, NamespacePins, Pins},
    seed::{Seeded, seed_pinned, sweep, wipe_keys},
    tables::{Agreement, Tables, events, now},
};
use self::{
    hooks::Attacher,
    layout::{Meta, READINGS, Raw, Reading},
    pins::Directory,
    sockets::Sockets,
};
use crate::{
    cli::XdpChoice,
    failure::{Failure, Kind, say},
    interrupt::Interrupt,
    offline::Sizes,
    progress::Progress,
    text::shown,
};

/// The eBPF object that build.rs built, in ELF: the programs `xdp_ingress`, `tc_ingress` and
/// `tc_egress`, the same with `_set` for several interfaces, and the map `COUNTERS`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("MPTCP_EBPF_OBJECT"));

/// How a probe is to be attached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) role: Role,
    pub(crate) xdp: XdpChoice,
    /// Smallest MSS over IPv4 and IPv6, in bytes.
    pub(crate) min_mss: [u16; 2],
    pub(crate) v1_only: bool,
    /// Level of the programs' log; 0 is off, and then they hold no code for it.
    pub(crate) log_level: u8,
    /// Are flows followed?
    pub(crate) track: bool,
    /// Are DSS checksums verified?
    pub(crate) verify_checksums: bool,
    pub(crate) sizes: Sizes,
    pub(crate) policy: Policy,
}

impl Settings {
    /// What becomes of them on an interface. On the loopback interface each packet passes twice; counted where it
    /// comes in, as on a middlebox, it counts once, and each end of a session has its direction.
    fn on(self, interface: &Interface) -> Self {
        let role = match interface.is_loopback {
            true => Role::Middlebox,
            false => self.role,
        };
        Self { role, ..self }
    }

    /// Room in the tables: hardly any where nothing is followed.
    fn sizes(&self) -> Sizes {
        if self.track {
            self.sizes
        } else {
            Sizes {
                sessions: 1,
                subflows: 1,
                handshakes: 1,
                ranges: 1,
            }
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            role: Role::Host,
            xdp: XdpChoice::Auto,
            min_mss: [536, 1220],
            v1_only: false,
            log_level: 0,
            track: true,
            verify_checksums: false,
            sizes: Sizes::default(),
            policy: Policy::default(),
        }
    }
}

/// How a probe was attached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attached {
    pub(crate) ingress: Hook,
    pub(crate) role: Role,
    /// A middlebox counts every packet where it comes in, and has none.
    pub(crate) egress: Option<Hook>,
    /// Did it replace the programs of a probe that was there?
    pub(crate) replaced: bool,
}

/// A probe whose maps are pinned or, for a temporary one, held.
pub(crate) struct Probe {
    meta: Meta,
    counters: PerCpuArray<MapData, Raw<Counters>>,
    counters_id: u32,
    readings: Array<MapData, Raw<Reading>>,
    /// `None` where flows are not followed.
    tables: Option<Tables>,
    /// `None` of a temporary one.
    pins: Option<InterfacePins>,
    /// A temporary probe ends with this.
    _programs: Option<Ebpf>,
}

impl Probe {
    /// Puts the probe on an interface and pins it. One that is there is replaced without a gap,
    /// and its counts go on.
    pub(crate) async fn attach(
        network: &Network,
        pins: &Pins,
        interface: &Interface,
        settings: &Settings,
        loads: &mut Loads,
    ) -> Result<Attached> {
        let settings = &settings.on(interface);
        let here = pins.interface(namespace()?, interface.index);
        let mut present = Vec::new();
        let mut replaced = false;
        if let Some(directory) = here.open()? {
            if let Some(map) = counters_info(&directory)? {
                present = attachments(network, interface, map.id()).await?;
            }
            if !present.is_empty() {
                let probe = Self::open(&here).with_context(|| {
                    format!(
                        "the probe on {0} cannot be continued (next: mptcp-user detach -i {0}, then \
                         attach again)",
                        interface.name
                    )
                })?;
                if probe.meta.role() != settings.role {
                    return Err(Failure::error(
                        Kind::Failed,
                        format!(
                            "the probe on {0} counts in another role, and the two cannot be \
                             mixed\n  next: mptcp-user detach -i {0}, then attach again",
                            interface.name
                        ),
                    ));
                }
            }
            replaced = !present.is_empty();
            if !replaced {
                // Left by a loader that was killed, or by an interface that is gone.
                pins.remove(&here)?;
            }
        }
        let directory = here.create()?;
        let meta = meta_for(interface, settings).await;
        let result = Self::attach_at(interface, settings, meta, &here, &directory, present, loads);
        if result.is_err() {
            // What is detached is waited for, and the tables may go with it.
            loads.loaded.clear();
        }
        if result.is_err() && !replaced {
            // Says nothing of its own: the reason is on its way.
            let _ = detach(network, pins, &here, Some(interface)).await;
        }
        let (ingress, egress) = result?;
        Ok(Attached {
            ingress,
            role: settings.role,
            egress,
            replaced,
        })
    }

    fn attach_at(
        interface: &Interface,
        settings: &Settings,
        mut meta: Meta,
        here: &InterfacePins,
        directory: &Directory,
        present: Vec<Attachment>,
        loads: &mut Loads,
    ) -> Result<(Hook, Option<Hook>)> {
        let load = loads.of(interface, settings, here, directory)?;
        meta.limits = load.generation;
        meta.place = load.place(interface) as u8;
        if let Ok(earlier) = Self::open(here) {
            // Counting goes on: what is known of its beginning stays.
            meta.since = earlier.meta.since;
            meta.attached_mid_traffic = earlier.meta.attached_mid_traffic;
        }
        if let Some(map) = directory.find_map("meta", &layout::META)? {
            Array::try_from(Map::Array(map))?.set(0, Raw(meta), 0)?;
        } else {
            // Pinned with its value, so that nobody reads it without.
            let mut map = Array::<MapData, Raw<Meta>>::create(1, 0)?;
            map.set(0, Raw(meta), 0)?;
            directory.pin("meta", |path| map.pin(path))?;
        }
        if directory
            .find_map("readings", &layout::READINGS_MAP)?
            .is_none()
        {
            let map = Array::<MapData, Raw<Reading>>::create(READINGS, 0)?;
            directory.pin("readings", |path| map.pin(path))?;
        }
        let mut attacher = Attacher {
            is_set: load.is_set(),
            programs: &mut load.programs,
            interface,
            present,
            pins: Some(directory),
        };
        let ingress = attacher.ingress(settings.xdp)?;
        let egress = match settings.role {
            Role::Host => Some(attacher.egress()?),
            Role::Middlebox => None,
        };
        meta.has_queues = u8::from(ingress == Hook::XdpNative);
        let map = directory.map("meta", &layout::META)?;
        Array::try_from(Map::Array(map))?.set(0, Raw(meta), 0)?;
        Ok((ingress, egress))
    }

    /// Puts a probe on an interface for as long as the value lives.
    pub(crate) async fn temporary(
        network: &Network,
        interface: &Interface,
        settings: &Settings,
    ) -> Result<Self> {
        let settings = &settings.on(interface);
        let agreement = Agreement::new(settings.sizes(), settings.policy)?;
        let mut programs = load(interface, settings, &agreement, None, None, 1)?;
        let mut meta = meta_for(interface, settings).await;
        let mut attacher = Attacher {
            programs: &mut programs,
            is_set: false,
            interface,
            present: Vec::new(),
            pins: None,
        };
        let ingress = attacher.ingress(settings.xdp)?;
        if settings.role == Role::Host {
            attacher.egress()?;
        }
        meta.has_queues = u8::from(ingress == Hook::XdpNative);
        let map = programs
            .take_map("COUNTERS")
            .context("the eBPF object has no map COUNTERS")?;
        let counters = PerCpuArray::try_from(map)?;
        let readings = Array::create(READINGS, 0)?;
        let tables = Tables::loaded(&mut programs, agreement)?;
        if settings.role == Role::Host && settings.track {
            seed::seed(network, &[interface.index], &tables.whole()?).await?;
        }
        Ok(Self {
            meta,
            counters,
            counters_id: 0,
            readings,
            tables: settings.track.then_some(tables),
            pins: None,
            _programs: Some(programs),
        })
    }

    /// Opens the pinned maps of a probe.
    ///
    /// # Errors
    /// If they are missing, or of another layout.
    pub(crate) fn open(pins: &InterfacePins) -> Result<Self> {
        let directory = pins
            .open()?
            .with_context(|| format!("there is no {}", shown(pins.path())))?;
        let meta = directory.map("meta", &layout::META)?;
        let meta = Array::<_, Raw<Meta>>::try_from(Map::Array(meta))
            .and_then(|map| map.get(&0, 0))
            .context("the pinned map meta is of another layout")?
            .0;
        let counters = directory.map("counters", &layout::COUNTERS)?;
        let info = counters.info()?;
        meta.check(info.max_entries())?;
        let counters_id = info.id();
        Ok(Self {
            meta,
            counters: PerCpuArray::try_from(Map::PerCpuArray(counters))
                .context("the pinned map counters is of another layout")?,
            counters_id,
            readings: Array::try_from(Map::Array(
                directory.map("readings", &layout::READINGS_MAP)?,
            ))
            .context("the pinned map readings is of another layout")?,
            tables: if meta.no_track == 0 {
                Tables::pinned(&pins.shared())?
            } else {
                None
            },
            pins: Some(pins.clone()),
            _programs: None,
        })
    }

    pub(crate) fn name(&self) -> String {
        self.meta.name()
    }

    /// Does it see at which receive queue a packet comes in?
    pub(crate) fn has_queues(&self) -> bool {
        self.meta.has_queues != 0
    }

    /// Does it verify DSS checksums?
    pub(crate) fn verifies_checksums(&self) -> bool {
        self.meta.verifies_checksums != 0
    }

    /// Forgets all sessions, and adopts those that the host has then. The probes of a namespace share
    /// their tables: to be asked of one.
    pub(crate) async fn clear_tables(
        &mut self,
        network: &Network,
        pins: &Pins,
        interrupt: &mut Interrupt,
    ) -> Result<Seeded> {
        if self.is_pinned() {
            let _lock = pins.lock(interrupt).await?;
            return seed_pinned(network, pins, true).await;
        }
        let Some(tables) = &mut self.tables else {
            return Ok(Seeded::default());
        };
        tables.clear()?;
        let interface = network.interface(&self.meta.name()).await?;
        seed::seed(network, &[interface.index], &tables.whole()?).await
    }

    /// Does it stay when this ends?
    pub(crate) fn is_pinned(&self) -> bool {
        self.pins.is_some()
    }

    /// Notes that there were sessions before what is counted now.
    pub(crate) fn note_mid_traffic(&mut self) -> Result<()> {
        self.meta.attached_mid_traffic = 1;
        if let Some(pins) = &self.pins {
            let directory = pins.open()?.context("the probe was removed")?;
            let map = directory.map("meta", &layout::META)?;
            Array::try_from(Map::Array(map))?.set(0, Raw(self.meta), 0)?;
        }
        Ok(())
    }

    /// What it knows of sessions; `None` where it does not follow flows.
    pub(crate) fn tables(&self) -> Option<&Tables> {
        self.tables.as_ref()
    }

    /// Were its programs loaded with limits of the host that are not those of the tables any more?
    pub(crate) fn has_earlier_limits(&self) -> bool {
        let tables = self.tables.as_ref().filter(|_| self.is_pinned());
        tables.is_some_and(|tables| tables.agreement().origins.generation() != self.meta.limits)
    }

    /// Limits that it judges by and that are not the host's any more.
    pub(crate) fn outdated_limits(&self, host: &HostLimits) -> Vec<Outdated> {
        self.tables.as_ref().map_or(Vec::new(), |tables| {
            let Agreement {
                limits, origins, ..
            } = tables.agreement();
            host.outdated(limits, origins, self.role() == Role::Host)
        })
    }

    /// Is it in this network namespace, and not in one that is gone?
    pub(crate) fn is_in(&self, namespace: u64) -> bool {
        let pins = self.pins.as_ref();
        pins.is_none_or(|pins| pins.namespace == namespace)
    }

    /// Does it judge by limits that are the host's?
    pub(crate) fn follows_host(&self) -> bool {
        let is_host = self.role() == Role::Host;
        self.tables
            .as_ref()
            .is_some_and(|tables| HostLimits::matter(&tables.agreement().origins, is_host))
    }

    pub(crate) fn role(&self) -> Role {
        self.meta.role()
    }

    pub(crate) fn counters_id(&self) -> u32 {
        self.counters_id
    }

    /// The programs that its pinned links hold; another `attach` puts others in their place.
    pub(crate) fn linked_programs(&self) -> Vec<u32> {
        let pins = self.pins.as_ref();
        pins.map_or(Vec::new(), hooks::linked_programs)
    }

    pub(crate) fn attached_mid_traffic(&self) -> bool {
        self.meta.attached_mid_traffic != 0
    }

    /// When counting began.
    pub(crate) fn since(&self) -> Timestamp {
        timestamp(self.meta.since)
    }

    /// The counters of each CPU, as they are now.
    pub(crate) fn read(&self) -> Result<Vec<Counters>> {
        let values = self
            .counters
            .get(&self.meta.place.into(), 0)
            .context("cannot read the counters")?;
        Ok(values.iter().map(|value| value.0).collect())
    }

    /// A reading of before, if there was one.
    pub(crate) fn remembered(&self, which: Remembered) -> Result<Option<(Timestamp, Counters)>> {
        let reading = self
            .readings
            .get(&(which as u32), 0)
            .context("cannot read readings")?
            .0;
        Ok((reading.time != 0).then(|| (timestamp(reading.time), reading.counters)))
    }

    /// Remembers a reading.
    pub(crate) fn remember(
        &mut self,
        which: Remembered,
        time: Timestamp,
        counters: &Counters,
    ) -> Result<()> {
        let reading = Reading {
            time: nanoseconds(time),
            counters: *counters,
        };
        self.readings
            .set(which as u32, Raw(reading), 0)
            .context("cannot write readings")
    }
}

/// Takes the probe off an interface and removes its pins. The interface may be gone.
pub(crate) async fn detach(
    network: &Network,
    pins: &Pins,
    here: &InterfacePins,
    interface: Option<&Interface>,
) -> Result<()> {
    if let Some(interface) = interface {
        // Without it no program can be found; one that cannot be opened hides programs that would stay.
        if let Some(directory) = here.open()?
            && let Some(map) = directory.any_map_info("counters")?
        {
            let attachments = attachments(network, interface, map.id()).await?;
            hooks::detach(interface, &attachments, &directory)?;
        }
    }
    remove(pins, here)
}

/// Removes the pins of a probe. With the last one of a network namespace go the tables, and all keys before.
pub(crate) fn remove(pins: &Pins, here: &InterfacePins) -> Result<()> {
    let is_other =
        |other: &InterfacePins| other.namespace == here.namespace && other.index != here.index;
    if !pins.interfaces()?.iter().any(is_other)
        && let Ok(Some(tables)) = Tables::pinned(&here.shared())
    {
        // What cannot be wiped is removed all the same.
        let _ = tables.wipe();
    }
    pins.remove(here)
}

/// What is known of pinned counters; `None` if there are none.
///
/// # Errors
/// If this program would misread them.
fn counters_info(directory: &Directory) -> Result<Option<MapInfo>> {
    directory.map_info("counters", &layout::COUNTERS)
}

/// What one command loads, with the same settings for all its interfaces: the kernel looks at programs for most of
/// the time that it takes to attach them, so that those for several interfaces are loaded once.
pub(crate) struct Loads {
    /// Indices of interfaces that can have programs in common.
    common: Vec<u32>,
    loaded: Vec<Load>,
    progress: Progress,
}

/// Programs, with counters for one interface or for several.
struct Load {
    programs: Ebpf,
    /// Of the limits that they judge by.
    generation: u8,
    /// Id of the map of counters.
    counters: u32,
    /// Places in it.
    places: u32,
    /// Places that are nobody's yet, a bit for each.
    free: u32,
}

impl Load {
    /// Are they the programs for several interfaces?
    fn is_set(&self) -> bool {
        self.places > 1
    }

    /// Where the counters of an interface are.
    fn place(&self, interface: &Interface) -> u32 {
        if self.is_set() {
            counter::place(interface.index)
        } else {
            0
        }
    }
}

impl Loads {
    /// For the interfaces that a command names, which says what takes long.
    pub(crate) async fn new(network: &Network, names: &[&str], progress: Progress) -> Result<Self> {
        let all = network.interfaces().await?;
        let common = all
            .iter()
            .filter(|interface| {
                names.contains(&interface.name.as_str())
                    && interface.link_layer == LinkLayer::Ethernet
                    // Which counts in a role of its own.
                    && !interface.is_loopback
                    && interface.has_programs_of_its_own(&all)
            })
            .map(|interface| interface.index)
            .collect();
        Ok(Self {
            common,
            loaded: Vec::new(),
            progress,
        })
    }

    /// The programs for an interface: of counters that are pinned for it already, or else in common with others.
    fn of(
        &mut self,
        interface: &Interface,
        settings: &Settings,
        here: &InterfacePins,
        directory: &Directory,
    ) -> Result<&mut Load> {
        let place = counter::place(interface.index);
        let pinned = counters_info(directory)?;
        let is_common = self.common.len() > 1 && self.common.contains(&interface.index);
        let found = self.loaded.iter().position(|load| match &pinned {
            Some(pinned) => load.counters == pinned.id(),
            None => is_common && load.free & (1 << place) != 0,
        });
        let index = match found {
            Some(index) => {
                let text = format!("attaching the programs to {}", interface.name);
                self.progress.step(&text);
                index
            }
            None => {
                let text = format!("loading the programs for {}", interface.name);
                self.progress.step(&text);
                // All that others in common may want, and no more.
                let last = self.common.iter().copied().map(counter::place).max();
                let (places, free) = match (&pinned, last) {
                    (Some(pinned), _) => (pinned.max_entries(), 0),
                    (None, Some(last)) if is_common && last > 0 => {
                        (last + 1, u32::MAX >> (PLACES - 1 - last))
                    }
                    _ => (1, 0),
                };
                self.loaded.push(load_pinned(
                    interface, settings, here, directory, places, free,
                )?);
                self.loaded.len() - 1
            }
        };
        let load = &mut self.loaded[index];
        load.free &= !(1 << place);
        if !directory.has("counters")? {
            let counters = load.programs.map("COUNTERS");
            let counters = counters.context("the eBPF object has no map COUNTERS")?;
            directory.pin("counters", |path| counters.pin(path))?;
        }
        Ok(load)
    }
}

/// Loads programs with the tables that are pinned, and with the counters of an interface or new ones.
fn load_pinned(
    interface: &Interface,
    settings: &Settings,
    here: &InterfacePins,
    directory: &Directory,
    places: u32,
    free: u32,
) -> Result<Load> {
    let wanted = Agreement::new(settings.sizes(), settings.policy)?;
    let shared = here.shared();
    // A probe that follows nothing has no part in the tables.
    let (agreement, tables) = match settings.track {
        true => {
            let (agreement, tables) = Agreement::join(&shared, wanted)?;
            (agreement, Some(tables))
        }
        false => (wanted, None),
    };
    let tables = tables.as_ref();
    if !agreement.is_as_wanted(&wanted) {
        let sizes = agreement.sizes();
        say(format!(
            "{}: the probes of this network namespace share tables that were made for {} \
             sessions and {} subflows, and their limits; other ones take effect when all \
             probes here were detached (`mptcp-user status` shows them)",
            interface.name, sizes.sessions, sizes.subflows
        ));
    }
    let programs = load(
        interface,
        settings,
        &agreement,
        Some(directory),
        tables,
        places,
    )?;
    if let Some(tables) = tables {
        agreement.pin(tables)?;
    }
    let counters = counters_info(directory)?.context("the counters were removed")?;
    let counters = counters.id();
    Ok(Load {
        programs,
        generation: agreement.origins.generation(),
        counters,
        places,
        free,
    })
}

/// Loads the eBPF object for an interface. Counters and tables are taken from their pins, or pinned
/// there.
fn load(
    interface: &Interface,
    settings: &Settings,
    agreement: &Agreement,
    pins: Option<&Directory>,
    tables: Option<&Directory>,
    places: u32,
) -> Result<Ebpf> {
    let role = settings.role as u8;
    let layer_3 = match interface.link_layer {
        LinkLayer::Ethernet => 0,
        LinkLayer::None => 1_u8,
        LinkLayer::Other(kind) => {
            return Err(Failure::error(
                Kind::Failed,
                format!(
                    "the frames of {} start with a header that is not known here ({kind:?})\n  \
                     next: attach to an interface of Ethernet frames or IP packets",
                    interface.name
                ),
            ));
        }
    };
    let version_0 = u8::from(!settings.v1_only);
    let track = u8::from(settings.track);
    let verify_checksums = u8::from(settings.verify_checksums);
    let constants = agreement.constants();
    let mut loader = EbpfLoader::new();
    // The loader takes pins as they are.
    if let Some(tables) = tables {
        agreement.check_maps(tables)?;
    }
    agreement.apply(&mut loader, &constants, tables);
    loader
        .map_max_entries("COUNTERS", places)
        .override_global("TRACK", &track, true)
        .override_global("VERIFY_CHECKSUMS", &verify_checksums, true)
        .verifier_log_level(VerifierLogLevel::STATS)
        .override_global("ROLE", &role, true)
        .override_global("LAYER_3", &layer_3, true)
        .override_global("MIN_MSS_V4", &settings.min_mss[0], true)
        .override_global("MIN_MSS_V6", &settings.min_mss[1], true)
        .override_global("VERSION_0", &version_0, true)
        .override_global(aya_log::LEVEL, &settings.log_level, true);
    if let Some(pins) = pins {
        counters_info(pins)?;
        loader.map_pin_path("COUNTERS", pins.reach("counters"));
    }
    let programs = loader
        .load(OBJECT)
        .with_context(|| format!("cannot load the eBPF programs for {}", interface.name))?;
    filter::give(&programs, &agreement.filter(tables)?)?;
    Ok(programs)
}

async fn meta_for(interface: &Interface, settings: &Settings) -> Meta {
    // A middlebox, and a kernel that does not list its sockets, cannot tell: then sessions may be
    // there.
    let mid_traffic = match settings.role {
        Role::Host => !Sockets::list()
            .await
            .is_ok_and(|sockets| sockets.is_empty()),
        Role::Middlebox => true,
    };
    let mut meta = Meta {
        version: LAYOUT_VERSION,
        role: settings.role as u8,
        attached_mid_traffic: u8::from(mid_traffic),
        v1_only: u8::from(settings.v1_only),
        no_track: u8::from(!settings.track),
        verifies_checksums: u8::from(settings.verify_checksums),
        since: nanoseconds(Timestamp::now()),
        min_mss: settings.min_mss,
        ..Meta::zeroed()
    };
    meta.set_name(&interface.name);
    meta
}

/// Fits 64 bits until the year 2262.
fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or_default()
}
