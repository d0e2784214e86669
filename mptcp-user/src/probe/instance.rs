//! A probe: the programs on an interface and their maps, pinned or held for the time of a command.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, Map, MapData, PerCpuArray},
};
use jiff::Timestamp;
use mptcp_common::counter::{Counters, Role};

use super::{
    adopt::adopt,
    attach::{self, Attacher},
    attachment::{self, AttachPoint, Attachment, attachments},
    layout::{self, DISPLAYED, Meta, READINGS, Raw, Remembered, StoredReading},
    limits::{HostLimits, Outdated},
    load::{Loads, counters_info, load, meta_for},
    network::{Interface, Network, namespace},
    pins::{Directory, InterfacePins, Pins},
    settings::Settings,
    shared_config::{Adopted, SharedConfig},
    tables::Tables,
};
use crate::{
    clock::{nanoseconds, timestamp},
    failure::{Failure, FailureKind, is_forbidden},
    interrupt::Interrupt,
    text::shown,
};

/// How a probe was attached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attached {
    pub(crate) ingress: AttachPoint,
    pub(crate) role: Role,
    /// A middlebox counts every packet where it comes in, and has none.
    pub(crate) egress: Option<AttachPoint>,
    /// True if it replaced the programs of a probe that was there.
    pub(crate) replaced: bool,
}

/// A probe whose maps are pinned or, for a temporary one, held.
pub(crate) struct Probe {
    meta: Meta,
    counters: PerCpuArray<MapData, Raw<Counters>>,
    counters_id: u32,
    readings: Array<MapData, Raw<StoredReading>>,
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
        let settings = &settings.on(interface.is_loopback);
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
                    return Err(Failure::new(
                        FailureKind::Failed,
                        format!(
                            "the probe on {0} counts in another role, and the two cannot be mixed",
                            interface.name
                        ),
                    )
                    .next(format!(
                        "mptcp-user detach -i {0}, then attach again",
                        interface.name
                    ))
                    .into());
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
            loads.clear();
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
    ) -> Result<(AttachPoint, Option<AttachPoint>)> {
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
            let map = Array::<MapData, Raw<StoredReading>>::create(READINGS, 0)?;
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
        meta.has_queues = u8::from(ingress == AttachPoint::XdpNative);
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
        let settings = &settings.on(interface.is_loopback);
        let config = SharedConfig::new(settings.capacity(), settings.limits)?;
        let mut programs = load(interface, settings, &config, None, None, 1)?;
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
        meta.has_queues = u8::from(ingress == AttachPoint::XdpNative);
        let map = programs
            .take_map("COUNTERS")
            .context("the eBPF object has no map COUNTERS")?;
        let counters = PerCpuArray::try_from(map)?;
        let readings = Array::create(READINGS, 0)?;
        let tables = Tables::loaded(&mut programs, config)?;
        if settings.role == Role::Host && settings.track {
            adopt(network, &[interface.index], &tables.full()?).await?;
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

    /// Returns true if it sees at which receive queue a packet comes in.
    pub(crate) fn has_queues(&self) -> bool {
        self.meta.has_queues != 0
    }

    /// Returns true if it verifies DSS checksums.
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
    ) -> Result<Adopted> {
        if self.is_pinned() {
            let _lock = pins.lock(interrupt).await?;
            return adopt_pinned(network, pins, true).await;
        }
        let Some(tables) = &mut self.tables else {
            return Ok(Adopted::default());
        };
        tables.clear()?;
        let interface = network.interface(&self.meta.name()).await?;
        adopt(network, &[interface.index], &tables.full()?).await
    }

    /// Returns true if it stays when this ends.
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

    /// Returns what it knows of sessions; `None` where it does not follow flows.
    pub(crate) fn tables(&self) -> Option<&Tables> {
        self.tables.as_ref()
    }

    /// Returns true if its programs were loaded with limits of the host that are not those of the tables any more.
    pub(crate) fn has_earlier_limits(&self) -> bool {
        let tables = self.tables.as_ref().filter(|_| self.is_pinned());
        tables.is_some_and(|tables| tables.config().origins.generation() != self.meta.limits)
    }

    /// Returns limits that it judges by and that are not the host's any more.
    pub(crate) fn outdated_limits(&self, host: &HostLimits) -> Vec<Outdated> {
        self.tables.as_ref().map_or(Vec::new(), |tables| {
            let SharedConfig {
                limits, origins, ..
            } = tables.config();
            host.outdated(limits, origins, self.role() == Role::Host)
        })
    }

    /// Returns true if it is in this network namespace, and not in one that is gone.
    pub(crate) fn is_in(&self, namespace: u64) -> bool {
        let pins = self.pins.as_ref();
        pins.is_none_or(|pins| pins.namespace == namespace)
    }

    /// Returns true if it judges by limits that are the host's.
    pub(crate) fn follows_host(&self) -> bool {
        let is_host = self.role() == Role::Host;
        self.tables
            .as_ref()
            .is_some_and(|tables| HostLimits::matter(&tables.config().origins, is_host))
    }

    pub(crate) fn role(&self) -> Role {
        self.meta.role()
    }

    pub(crate) fn counters_id(&self) -> u32 {
        self.counters_id
    }

    /// Returns the programs that its pinned links hold; another `attach` puts others in their place.
    pub(crate) fn linked_programs(&self) -> Vec<u32> {
        let pins = self.pins.as_ref();
        pins.map_or(Vec::new(), attachment::linked_programs)
    }

    pub(crate) fn attached_mid_traffic(&self) -> bool {
        self.meta.attached_mid_traffic != 0
    }

    /// Returns when counting began.
    pub(crate) fn since(&self) -> Timestamp {
        timestamp(self.meta.since)
    }

    /// Returns the counters of each CPU, as they are now.
    pub(crate) fn read(&self) -> Result<Vec<Counters>> {
        let values = self
            .counters
            .get(&self.meta.place.into(), 0)
            .context("cannot read the counters")?;
        Ok(values.iter().map(|value| value.0).collect())
    }

    /// Returns a baseline, if there is one.
    pub(crate) fn remembered(&self, which: Remembered) -> Result<Option<(Timestamp, Counters)>> {
        self.reading(which as u32)
    }

    /// Returns readings that were displayed, each at its place.
    pub(crate) fn displayed(&self) -> Result<Vec<Option<(Timestamp, Counters)>>> {
        let places = DISPLAYED..self.readings.len();
        places.map(|place| self.reading(place)).collect()
    }

    fn reading(&self, place: u32) -> Result<Option<(Timestamp, Counters)>> {
        let reading = self
            .readings
            .get(&place, 0)
            .context("cannot read readings")?
            .0;
        Ok((reading.time != 0).then(|| (timestamp(reading.time), reading.counters)))
    }

    /// Remembers a baseline.
    pub(crate) fn remember(
        &mut self,
        which: Remembered,
        time: Timestamp,
        counters: &Counters,
    ) -> Result<()> {
        self.store(which as u32, time, counters)
    }

    /// Remembers a reading that was displayed at one of the places of [`Probe::displayed`].
    pub(crate) fn remember_displayed(
        &mut self,
        place: usize,
        time: Timestamp,
        counters: &Counters,
    ) -> Result<()> {
        self.store(DISPLAYED + place as u32, time, counters)
    }

    fn store(&mut self, place: u32, time: Timestamp, counters: &Counters) -> Result<()> {
        let reading = StoredReading {
            time: nanoseconds(time),
            counters: *counters,
        };
        self.readings
            .set(place, Raw(reading), 0)
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
            attach::detach(interface, &attachments, &directory)?;
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

/// Adopts sessions for the pinned probes of this network namespace that are on a host and follow flows.
/// With `anew`, all tables are emptied before.
pub(crate) async fn adopt_pinned(network: &Network, pins: &Pins, anew: bool) -> Result<Adopted> {
    let namespace = namespace()?;
    let (mut probed, mut shared) = (Vec::new(), None);
    for here in pins
        .interfaces()?
        .into_iter()
        .filter(|here| here.namespace == namespace)
    {
        // One that was left half made counts nothing, and is in nobody's way.
        let probe = match Probe::open(&here) {
            Err(error) if !is_forbidden(&error) => continue,
            probe => probe?,
        };
        if probe.tables().is_none() {
            continue;
        }
        if probe.role() == Role::Host {
            probed.push(here.index);
        }
        shared = Some(here.shared());
    }
    let Some(shared) = shared else {
        return Ok(Adopted::default());
    };
    let Some(mut tables) = Tables::pinned(&shared)? else {
        return Ok(Adopted::default());
    };
    if anew {
        tables.clear()?;
    }
    let adopted = match probed.is_empty() {
        true => Adopted::default(),
        false => adopt(network, &probed, &tables.full()?).await?,
    };
    tables.note(adopted, &shared)?;
    Ok(adopted)
}
