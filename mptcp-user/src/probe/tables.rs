//! The tables of sessions, subflows and handshakes, which the probes of a network namespace share:
//! a session's subflows come in at different interfaces.

use std::{
    cell::{OnceCell, RefCell},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, Map, MapData},
};
use bytemuck::Zeroable;
use mptcp_common::{
    counter::Gauges,
    packet::hash::{Hashing, Secrets},
    state::{self, HalfOpen, Limits, RangeChunk, SLICES, Session, Subflow},
    table::{self, Atomics, BUCKET_SLOTS, Bucket, Table},
    track::{
        self, adopt,
        sweep::{self, Fill},
    },
};
use nix::{errno::Errno, libc};

use super::{
    filter::FILTER,
    mmap::{FullMap, MapWindow, Mapping, Slot, descriptor},
    pins::NamespacePins,
    shared_config::{Adopted, MAPS, SharedConfig, Which},
};
use crate::{
    clock::now,
    snapshot::{
        self,
        census::Census,
        select::{Entries, Selection, select},
    },
};

/// Tags and slots of each table.
const HANDSHAKES: [&str; 2] = ["HALF_OPEN_TAGS", "HALF_OPENS"];
const SUBFLOWS: [&str; 2] = ["SUBFLOW_TAGS", "SUBFLOWS"];
const SESSIONS: [&str; 2] = ["SESSION_TAGS", "SESSIONS"];
const RANGES: [&str; 2] = ["RANGE_TAGS", "RANGES"];

/// The tables of a namespace.
pub(crate) struct Tables {
    /// Those of [`MAPS`]. Each is opened when it is read: of many probes that share them, one reads them, and not
    /// all of them. Keys are secrets that who only counts never opens.
    maps: [OnceCell<Map>; MAPS.len()],
    /// `None` of programs that were just loaded.
    pins: Option<NamespacePins>,
    config: SharedConfig,
}

impl Tables {
    /// Returns those that are pinned.
    pub(crate) fn pinned(pins: &NamespacePins) -> Result<Option<Self>> {
        let config = SharedConfig::read(pins)?;
        Ok(config.map(|config| Self {
            maps: Default::default(),
            pins: Some(pins.clone()),
            config,
        }))
    }

    /// Returns those of programs that were just loaded.
    pub(crate) fn loaded(programs: &mut Ebpf, config: SharedConfig) -> Result<Self> {
        let maps: [OnceCell<Map>; MAPS.len()] = Default::default();
        for (place, (name, ..)) in maps.iter().zip(MAPS) {
            let map = programs.take_map(name);
            let map = map.with_context(|| format!("the eBPF object has no table {name}"))?;
            place.get_or_init(|| map);
        }
        Ok(Self {
            maps,
            pins: None,
            config,
        })
    }

    /// Returns a map by its name in the object, and how many elements it has.
    fn map(&self, name: &str) -> Result<(&Map, u32)> {
        let mut maps = self.maps.iter().zip(MAPS);
        let (place, (_, pin, ways, which)) = maps
            .find(|(_, (known, ..))| *known == name)
            .with_context(|| format!("there is no table {name}"))?;
        let map = match place.get() {
            Some(map) => map,
            None => {
                let pins = self.pins.as_ref().context("no tables")?.open()?;
                let shape = self.config.shape(name).context("no such table")?;
                let map = pins.context("the tables were removed")?.map(pin, &shape)?;
                place.get_or_init(|| Map::Array(map))
            }
        };
        Ok((map, self.config.buckets(which) * ways.max(1)))
    }

    fn windows<S: Slot>(&self, [tags, slots]: [&str; 2]) -> Result<MapWindow<'_, S>> {
        MapWindow::new(self.map(tags)?, self.map(slots)?)
    }

    fn table<S: Zeroable>(
        &self,
        [tags, slots]: [&str; 2],
        filter: Option<&str>,
    ) -> Result<FullMap<S>> {
        let filter = filter.map(|name| self.map(name)).transpose()?;
        FullMap::new(self.map(tags)?, self.map(slots)?, filter)
    }

    /// Returns what exists now.
    pub(crate) fn gauges(&self) -> Result<Gauges> {
        let mut sessions = self.windows::<Session<Atomics>>(SESSIONS)?;
        let slots = self.config.buckets(Which::Sessions) * BUCKET_SLOTS;
        let mut census = Census::new(self.limits()?, now()?, slots);
        sessions.each(|slot, entry| census.session(slot, entry))?;
        self.windows::<Subflow<Atomics>>(SUBFLOWS)?
            .each(|_, entry| census.subflow(entry))?;
        let mut joins = Vec::new();
        self.windows::<HalfOpen<Atomics>>(HANDSHAKES)?
            .each(|_, entry| joins.extend(census.joins(entry)))?;
        for [slot, generation] in joins {
            if let Some(session) = sessions.slot(slot)? {
                census.join(generation, session);
            }
        }
        Ok(census.gauges())
    }

    /// Returns chunks of ranges that are in use.
    pub(crate) fn range_chunks(&self) -> Result<u32> {
        let (limits, now) = (self.limits()?, now()?);
        let mut sessions = self.windows::<Session<Atomics>>(SESSIONS)?;
        let (mut used, mut failed) = (0, None);
        self.windows::<RangeChunk<Atomics>>(RANGES)?
            .each(|_, chunk| match sessions.slot(chunk.session_slot()) {
                Ok(session) => {
                    used += u32::from(!state::is_chunk_free(chunk, session, &limits, now));
                }
                Err(error) => failed = Some(error),
            })?;
        failed.map_or(Ok(used), Err)
    }

    /// Returns the limits that are judged by now: another `attach` may have changed them since these tables were
    /// opened.
    fn limits(&self) -> Result<Limits> {
        let present = self.pins.as_ref().map(SharedConfig::read).transpose()?;
        Ok(present.flatten().unwrap_or(self.config).limits)
    }

    /// Returns the sessions that are asked for.
    pub(crate) fn sessions(
        &self,
        selection: &Selection,
    ) -> Result<Vec<snapshot::session::Session>> {
        select(self, selection, &self.limits()?, now()?)
    }

    pub(crate) fn config(&self) -> &SharedConfig {
        &self.config
    }

    /// Returns all of them in memory, to make and remove entries beside the programs.
    pub(crate) fn full(&self) -> Result<FullTables> {
        let (tokens, length) = self.map("TOKENS")?;
        let (pending_joins, _) = self.map("PENDING_JOINS")?;
        let pending_joins = MapData::from_fd(descriptor(pending_joins)?.try_clone_to_owned()?)?;
        Ok(FullTables {
            handshakes: self.table(HANDSHAKES, Some(FILTER))?,
            subflows: self.table(SUBFLOWS, Some(FILTER))?,
            sessions: self.table(SESSIONS, None)?,
            range_chunks: self.table(RANGES, None)?,
            tokens: Mapping::whole(tokens, length)?,
            keys: RefCell::new(self.keys()?),
            pending_joins: RefCell::new(Array::try_from(Map::Array(pending_joins))?),
            hashing: self.config.hashing(),
            config: self.config,
        })
    }

    /// Returns how full the filter is.
    pub(crate) fn fill(&self) -> Result<Fill> {
        let (filter, words) = self.map(FILTER)?;
        let filter: Mapping<AtomicU64> = Mapping::read(filter, words)?;
        let words = (0..words).filter_map(|word| filter.get(word));
        let cells = words.flat_map(|word| word.load(Relaxed).to_ne_bytes());
        Ok(Fill::of(cells))
    }

    /// Frees handshakes that came to nothing, where there are many, beside the programs: says how many. Nobody else may
    /// change what is pinned meanwhile.
    pub(crate) fn sweep(&self) -> Result<u32> {
        let (tags, length) = self.map(HANDSHAKES[0])?;
        let tags: Mapping<Bucket<Atomics>> = Mapping::read(tags, length)?;
        if !sweep::is_worth_it(length, sweep::taken(&tags)) {
            return Ok(0);
        }
        let handshakes = self.table::<HalfOpen<Atomics>>(HANDSHAKES, Some(FILTER))?;
        sweep::sweep(&handshakes, &self.limits()?, now()?, synchronize)
    }

    /// Wipes the keys of sessions whose time is over and that nobody has closed, beside the programs: says of how many.
    /// Nobody else may change what is pinned meanwhile.
    ///
    /// Where a session ends before their eyes, programs do that themselves. The entry stays for who takes its place. A
    /// program that does so writes other keys, so that the entry is barred meanwhile: nobody takes it.
    pub(crate) fn wipe_keys(&self, quiet: u64) -> Result<u32> {
        let (limits, now) = (self.limits()?, now()?);
        let is_over = |session: &Session<Atomics>| {
            state::is_session_over(session, &limits, now)
                && now.saturating_sub(session.last_seen.load(Relaxed)) >= quiet.min(limits.idle)
        };
        let mut windows = self.windows::<Session<Atomics>>(SESSIONS)?;
        let mut over = Vec::new();
        windows.each(|slot, session| {
            if is_over(session) {
                over.push((slot, session.tag.load(Relaxed)));
            }
        })?;
        let mut keys = self.keys()?;
        over.retain(|(slot, _)| keys.get(slot, 0).is_ok_and(|keys| keys != [0; 2]));
        if over.is_empty() {
            return Ok(0);
        }
        let (tags, length) = self.map(SESSIONS[0])?;
        let tags: Mapping<Bucket<Atomics>> = Mapping::whole(tags, length)?;
        over.retain(|(slot, tag)| *tag != 0 && table::bar(&tags, *slot, *tag));
        let result = synchronize().and_then(|()| {
            let mut wiped = 0;
            for (slot, _) in &over {
                // A packet may have come meanwhile.
                if windows.slot(*slot)?.is_some_and(is_over) {
                    keys.set(*slot, [0; 2], 0)?;
                    wiped += 1;
                }
            }
            Ok(wiped)
        });
        for (slot, tag) in over {
            table::unbar(&tags, slot, tag);
        }
        result
    }

    /// Wipes all keys, where no program counts any more and the tables are given up: the kernel hands on memory as it
    /// is.
    pub(crate) fn wipe(&self) -> Result<()> {
        let (tags, length) = self.map(SESSIONS[0])?;
        let tags: Mapping<Bucket<Atomics>> = Mapping::read(tags, length)?;
        let mut keys = self.keys()?;
        let tags = (0..tags.buckets()).filter_map(|bucket| tags.bucket(bucket));
        for (slot, _) in (0..)
            .zip(tags.flat_map(Bucket::tags))
            .filter(|(_, tag)| *tag != 0)
        {
            keys.set(slot, [0; 2], 0)?;
        }
        // Those of handshakes.
        let (handshakes, length) = self.map(HANDSHAKES[1])?;
        let words = size_of::<HalfOpen<Atomics>>() / size_of::<u64>();
        let words = length * words as u32;
        let handshakes: Mapping<AtomicU64> = Mapping::whole(handshakes, words)?;
        for word in (0..words).filter_map(|word| handshakes.get(word)) {
            if word.load(Relaxed) != 0 {
                word.store(0, Relaxed);
            }
        }
        Ok(())
    }

    /// Returns the keys, which are not mapped.
    fn keys(&self) -> Result<Array<MapData, [u64; 2]>> {
        let (keys, _) = self.map("KEYS")?;
        let keys = MapData::from_fd(descriptor(keys)?.try_clone_to_owned()?)?;
        Ok(Array::try_from(Map::Array(keys))?)
    }

    /// Forgets all sessions and subflows, beside the programs.
    pub(crate) fn clear(&mut self) -> Result<()> {
        track::clear(&self.full()?, now()?, synchronize)?;
        // Those too that were over before, of which the entries are left.
        self.wipe_keys(0)?;
        self.config.adopted = [0; 2];
        Ok(())
    }

    /// Notes that so many sessions and subflows were adopted.
    pub(crate) fn note(&mut self, adopted: Adopted, pins: &NamespacePins) -> Result<()> {
        self.config.note(adopted, pins)
    }
}

impl Entries for Tables {
    type Memory = Atomics;

    fn each_session(&self, visit: impl FnMut(u32, &Session<Atomics>)) -> Result<()> {
        self.windows(SESSIONS)?.each(visit)
    }

    fn sessions_at(
        &self,
        slots: impl Iterator<Item = u32>,
        mut visit: impl FnMut(u32, &Session<Atomics>),
    ) -> Result<()> {
        let mut sessions = self.windows(SESSIONS)?;
        for slot in slots {
            if let Some(entry) = sessions.slot(slot)? {
                visit(slot, entry);
            }
        }
        Ok(())
    }

    fn each_subflow(&self, mut visit: impl FnMut(&Subflow<Atomics>)) -> Result<()> {
        self.windows(SUBFLOWS)?.each(|_, entry| visit(entry))
    }
}

/// The tables of a namespace, all of them in this process's memory.
pub(crate) struct FullTables {
    handshakes: FullMap<HalfOpen<Atomics>>,
    subflows: FullMap<Subflow<Atomics>>,
    sessions: FullMap<Session<Atomics>>,
    range_chunks: FullMap<RangeChunk<Atomics>>,
    tokens: Mapping<Bucket<Atomics>>,
    /// Secrets, which are not mapped.
    keys: RefCell<Array<MapData, [u64; 2]>>,
    pending_joins: RefCell<Array<MapData, [u64; SLICES]>>,
    hashing: Hashing,
    config: SharedConfig,
}

impl adopt::Shared for FullTables {
    type Memory = Atomics;

    fn half_opens(&self) -> &impl Table<Memory = Atomics, Slot = HalfOpen<Atomics>> {
        &self.handshakes
    }

    fn subflows(&self) -> &impl Table<Memory = Atomics, Slot = Subflow<Atomics>> {
        &self.subflows
    }

    fn sessions(&self) -> &impl Table<Memory = Atomics, Slot = Session<Atomics>> {
        &self.sessions
    }

    fn range_chunks(&self) -> &impl Table<Memory = Atomics, Slot = RangeChunk<Atomics>> {
        &self.range_chunks
    }

    fn tokens(&self, bucket: u32) -> Option<&Bucket<Atomics>> {
        self.tokens.get(bucket)
    }

    fn clear_pending_joins(&self) {
        // Where that fails, joins count until their time is over.
        let _ = self.pending_joins.borrow_mut().set(0, [0; SLICES], 0);
    }

    fn wipe_keys(&self, session: u32) -> bool {
        self.keys.borrow_mut().set(session, [0; 2], 0).is_ok()
    }

    fn seed(&self) -> u64 {
        self.config.hash_key
    }

    fn secrets(&self) -> &impl Secrets {
        &self.hashing
    }

    fn limits(&self) -> Limits {
        self.config.limits
    }
}

/// Waits until every program that runs now has ended: they run between what the kernel calls
/// rcu_read_lock and rcu_read_unlock, and this is its synchronize_rcu.
fn synchronize() -> Result<()> {
    // MEMBARRIER_CMD_GLOBAL
    let (command, flags, cpu) = (1, 0, 0);
    // SAFETY: a system call that touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, flags, cpu) };
    Errno::result(result)
        .map(drop)
        .context("cannot wait for the programs (membarrier)")
}
