//! Loading the eBPF object: the programs for one interface, or for several at once.

use anyhow::{Context as _, Result};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel, maps::MapInfo};
use bytemuck::Zeroable as _;
use jiff::Timestamp;
use mptcp_common::counter::{self, LAYOUT_VERSION, PLACES, Role};

use super::{
    filter,
    layout::{self, Meta},
    network::{Interface, LinkLayer, Network},
    pins::{Directory, InterfacePins},
    settings::Settings,
    shared_config::SharedConfig,
    sockets::Sockets,
};
use crate::{
    clock::nanoseconds,
    failure::{Failure, FailureKind, warn},
    progress::Progress,
};

/// The eBPF object that build.rs built, in ELF: the programs `xdp_ingress`, `tc_ingress` and
/// `tc_egress`, the same with `_set` for several interfaces, and the map `COUNTERS`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("MPTCP_EBPF_OBJECT"));

/// Returns what is known of pinned counters; `None` if there are none.
///
/// # Errors
/// If this program would misread them.
pub(super) fn counters_info(directory: &Directory) -> Result<Option<MapInfo>> {
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
pub(super) struct Load {
    pub(super) programs: Ebpf,
    /// Of the limits that they judge by.
    pub(super) generation: u8,
    /// Id of the map of counters.
    counters: u32,
    /// Places in it.
    places: u32,
    /// Places that are nobody's yet, a bit for each.
    free: u32,
}

impl Load {
    /// Returns true if they are the programs for several interfaces.
    pub(super) fn is_set(&self) -> bool {
        self.places > 1
    }

    /// Returns where the counters of an interface are.
    pub(super) fn place(&self, interface: &Interface) -> u32 {
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

    /// Drops all that was loaded.
    pub(super) fn clear(&mut self) {
        self.loaded.clear();
    }

    /// Returns the programs for an interface: of counters that are pinned for it already, or else in common with
    /// others.
    pub(super) fn of(
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
    let wanted = SharedConfig::new(settings.capacity(), settings.limits)?;
    let shared = here.shared();
    // A probe that follows nothing has no part in the tables.
    let (config, tables) = match settings.track {
        true => {
            let (config, tables) = SharedConfig::join(&shared, wanted)?;
            (config, Some(tables))
        }
        false => (wanted, None),
    };
    let tables = tables.as_ref();
    if !config.is_as_wanted(&wanted) {
        let capacity = config.capacity();
        warn(format!(
            "{}: the probes of this network namespace share tables that were made for {} \
             sessions and {} subflows, and their limits; other ones take effect when all \
             probes here were detached (`mptcp-user status` shows them)",
            interface.name, capacity.sessions, capacity.subflows
        ));
    }
    let programs = load(
        interface,
        settings,
        &config,
        Some(directory),
        tables,
        places,
    )?;
    if let Some(tables) = tables {
        config.pin(tables)?;
    }
    let counters = counters_info(directory)?.context("the counters were removed")?;
    let counters = counters.id();
    Ok(Load {
        programs,
        generation: config.origins.generation(),
        counters,
        places,
        free,
    })
}

/// Loads the eBPF object for an interface. Counters and tables are taken from their pins, or pinned
/// there.
pub(super) fn load(
    interface: &Interface,
    settings: &Settings,
    config: &SharedConfig,
    pins: Option<&Directory>,
    tables: Option<&Directory>,
    places: u32,
) -> Result<Ebpf> {
    let role = settings.role as u8;
    let layer_3 = match interface.link_layer {
        LinkLayer::Ethernet => 0,
        LinkLayer::None => 1_u8,
        LinkLayer::Other(kind) => {
            return Err(Failure::new(
                FailureKind::Failed,
                format!(
                    "the frames of {} start with a header that is not known here ({kind:?})",
                    interface.name
                ),
            )
            .next("attach to an interface of Ethernet frames or IP packets")
            .into());
        }
    };
    let version_0 = u8::from(!settings.v1_only);
    let track = u8::from(settings.track);
    let verify_checksums = u8::from(settings.verify_checksums);
    let constants = config.constants();
    let mut loader = EbpfLoader::new();
    // The loader takes pins as they are.
    if let Some(tables) = tables {
        config.check_maps(tables)?;
    }
    config.apply(&mut loader, &constants, tables);
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
    filter::give(&programs, &config.filter(tables)?)?;
    Ok(programs)
}

pub(super) async fn meta_for(interface: &Interface, settings: &Settings) -> Meta {
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
