//! The tables of sessions, subflows and handshakes, which the probes of a network namespace share:
//! a session's subflows come in at different interfaces.

use std::{
    cell::{OnceCell, RefCell},
    fs::File,
    io::Read as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, Map, MapData, MapType},
};
use aya_obj::generated::BPF_F_MMAPABLE;
use bytemuck::{Pod, Zeroable};
use mptcp_common::state;
use mptcp_common::{
    counter::{Gauges, LAYOUT_VERSION},
    packet::hash::{Hashing, SECRETS, Secrets},
    state::{
        HalfOpen, Keys, Limits, MAX_PENDING, RangeChunk, SLICES, Session, Subflow, chunks_for,
        tokens,
    },
    table::{
        self, Atomics, BUCKET_SLOTS, Bucket, CELLS, Table, buckets_for, cell_shift, cells_for,
    },
    track::{
        self, adopt,
        sweep::{self, Fill},
    },
};
use nix::{
    errno::Errno,
    libc,
    time::{ClockId, clock_gettime},
};

use super::{
    filter::{self, FILTER},
    layout::Raw,
    limits::{Origins, Policy, follow},
    memory::{Mapping, Slot, Whole, Windows, descriptor},
    pins::{Directory, NamespacePins, Shape},
    seed::Seeded,
};
use crate::{
    failure::{Failure, Kind},
    offline::Sizes,
    source::{self, Census, Entries, Selection, select},
    text::shown,
};

/// The one value of the map `tables/meta`: what all programs of a namespace have to agree on.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Agreement {
    /// Version of the layout: `counter::LAYOUT_VERSION`.
    version: u32,
    /// Entries that there is room for.
    sessions: u32,
    subflows: u32,
    handshakes: u32,
    ranges: u32,
    /// How tags are made of the seed: [`TAGS`].
    tags: u32,
    /// What tags are made with. Secret.
    seed: u64,
    /// Sessions and subflows that were there before the probes, and were adopted.
    seeded: [u32; 2],
    pub(crate) limits: Limits,
    /// Where these come from.
    pub(crate) origins: Origins,
}

/// What this program makes tags by. Entries whose tags were made otherwise would never be found, and their places and
/// cells be taken for good. It was 0.
const TAGS: u32 = 1;

/// Can tables have been made of these sizes and limits? What options allow, and what a probe has that follows nothing.
fn are_possible(sizes: &Sizes, limits: &Limits) -> bool {
    let Sizes {
        sessions,
        subflows,
        handshakes,
        ranges,
    } = *sizes;
    let is_entries = |entries: u32| (1..=1 << 24).contains(&entries);
    [sessions, subflows, handshakes].into_iter().all(is_entries)
        && (1..=1 << 27).contains(&ranges)
        && limits.pending as usize <= MAX_PENDING
        && limits.passive_close_refused <= 1
}

/// The maps: name in the object, name of the pin, entries per bucket (0 is one bucket), of which
/// table.
pub(super) const MAPS: [(&str, &str, u32, Which); 12] = [
    ("HALF_OPEN_TAGS", "handshake-tags", 0, Which::Handshakes),
    ("HALF_OPENS", "handshakes", BUCKET_SLOTS, Which::Handshakes),
    ("SUBFLOW_TAGS", "subflow-tags", 0, Which::Subflows),
    ("SUBFLOWS", "subflows", BUCKET_SLOTS, Which::Subflows),
    ("SESSION_TAGS", "session-tags", 0, Which::Sessions),
    ("SESSIONS", "sessions", BUCKET_SLOTS, Which::Sessions),
    ("RANGE_TAGS", "range-tags", 0, Which::Ranges),
    ("RANGES", "ranges", BUCKET_SLOTS, Which::Ranges),
    ("TOKENS", "tokens", tokens::BUCKETS, Which::Sessions),
    ("KEYS", "keys", BUCKET_SLOTS, Which::Sessions),
    ("PENDING_JOINS", "pending-joins", 0, Which::One),
    (FILTER, FILTER_PIN, 0, Which::Filter),
];

/// The ring of events: its pin, and bytes.
pub(crate) const EVENTS: &str = "events";
const EVENTS_SHAPE: Shape = Shape {
    kind: MapType::RingBuf,
    key: 0,
    value: 0,
    entries: (1 << 18, 1 << 18),
    flags: 0,
};

/// Tags and slots of each table.
const HANDSHAKES: [&str; 2] = ["HALF_OPEN_TAGS", "HALF_OPENS"];
const SUBFLOWS: [&str; 2] = ["SUBFLOW_TAGS", "SUBFLOWS"];
const SESSIONS: [&str; 2] = ["SESSION_TAGS", "SESSIONS"];
const RANGES: [&str; 2] = ["RANGE_TAGS", "RANGES"];

/// What handshakes and subflows share.
const FILTER_PIN: &str = "filter";

#[derive(Clone, Copy)]
pub(super) enum Which {
    Handshakes,
    Subflows,
    Sessions,
    Ranges,
    /// Words of cells.
    Filter,
    /// A single value.
    One,
}

impl Agreement {
    /// A new one.
    pub(crate) fn new(sizes: Sizes, policy: Policy) -> Result<Self> {
        let mut seed = [0; 8];
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut seed))
            .context("cannot read /dev/urandom")?;
        Ok(Self {
            version: LAYOUT_VERSION,
            sessions: sizes.sessions,
            subflows: sizes.subflows,
            handshakes: sizes.handshakes,
            ranges: sizes.ranges,
            tags: TAGS,
            seed: u64::from_ne_bytes(seed),
            seeded: [0; 2],
            limits: policy.limits,
            origins: policy.origins,
        })
    }

    /// Has it the sizes and limits of `wanted`?
    pub(crate) fn is_as_wanted(&self, wanted: &Self) -> bool {
        self.sizes() == wanted.sizes() && self.limits == wanted.limits
    }

    pub(crate) fn sizes(&self) -> Sizes {
        Sizes {
            sessions: self.sessions,
            subflows: self.subflows,
            handshakes: self.handshakes,
            ranges: self.ranges,
        }
    }

    fn buckets(&self, which: Which) -> u32 {
        match which {
            Which::Handshakes => buckets_for(self.handshakes),
            Which::Subflows => buckets_for(self.subflows),
            Which::Sessions => buckets_for(self.sessions),
            Which::Ranges => buckets_for(self.chunks()),
            Which::Filter => self.cells() / CELLS,
            Which::One => 1,
        }
    }

    /// Chunks of ranges.
    pub(crate) fn chunks(&self) -> u32 {
        chunks_for(self.ranges)
    }

    /// Of the filter.
    fn cells(&self) -> u32 {
        let [handshakes, subflows] =
            [Which::Handshakes, Which::Subflows].map(|which| self.buckets(which));
        cells_for(subflows.max(handshakes))
    }

    /// Memory of all tables, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let [handshake, subflow, session, chunk] = Self::bytes_per_entry();
        let table = |which, entry| u64::from(self.buckets(which) * BUCKET_SLOTS) * entry;
        table(Which::Handshakes, handshake)
            + table(Which::Subflows, subflow)
            + table(Which::Sessions, session)
            + table(Which::Ranges, chunk)
            + u64::from(self.cells())
    }

    /// Memory of a handshake, a subflow, a session and a chunk of ranges, in bytes, with their tags.
    pub(crate) fn bytes_per_entry() -> [u64; 4] {
        let tag = size_of::<Bucket<Atomics>>() / BUCKET_SLOTS as usize;
        [
            tag + size_of::<HalfOpen<Atomics>>(),
            tag + size_of::<Subflow<Atomics>>(),
            // With its tokens.
            tag * (1 + tokens::BUCKETS as usize)
                + size_of::<Session<Atomics>>()
                + size_of::<Keys<Atomics>>(),
            tag + size_of::<RangeChunk<Atomics>>(),
        ]
        .map(|bytes| bytes as u64)
    }

    /// The agreement of the probes that are there, or a new one. Limits that follow the host's are made what the
    /// host has now. Maps that nobody agreed on were left by a loader that was killed, and are removed.
    pub(crate) fn join(pins: &NamespacePins, wanted: Self) -> Result<(Self, Directory)> {
        let tables = pins.create()?;
        if let Some(mut present) = Self::read_in(&tables)? {
            let policy = Policy {
                limits: wanted.limits,
                origins: wanted.origins,
            };
            if follow(&mut present.limits, &mut present.origins, &policy) {
                present.write(&tables)?;
            }
            return Ok((present, tables));
        }
        pins.remove()?;
        Ok((wanted, tables))
    }

    /// What the probes of a namespace agreed on, if there are any.
    pub(crate) fn read(pins: &NamespacePins) -> Result<Option<Self>> {
        match pins.open()? {
            Some(tables) => Self::read_in(&tables),
            None => Ok(None),
        }
    }

    fn read_in(tables: &Directory) -> Result<Option<Self>> {
        let Some(map) = tables.find_map("meta", &Self::SHAPE)? else {
            return Ok(None);
        };
        let agreement = Array::<_, Raw<Self>>::try_from(Map::Array(map))
            .and_then(|map| map.get(&0, 0))
            .with_context(|| format!("cannot read meta in {}", shown(tables.path())))?
            .0;
        agreement.check()?;
        Ok(Some(agreement))
    }

    /// Fails if it is none that this program wrote: tables would be read that are not there.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |why: String| {
            Err(Failure::error(
                Kind::Failed,
                format!("{why}\n  next: mptcp-user detach --all, then attach again"),
            ))
        };
        if self.version != LAYOUT_VERSION {
            return refuse(format!(
                "the pinned tables are of layout {}, and this program reads layout {LAYOUT_VERSION}",
                self.version
            ));
        }
        if self.tags != TAGS {
            return refuse("the pinned tables are of another build of this program".to_owned());
        }
        match are_possible(&self.sizes(), &self.limits) {
            true => Ok(()),
            false => refuse(
                "the pinned map meta of the tables holds what this program does not write"
                    .to_owned(),
            ),
        }
    }

    const SHAPE: Shape = Shape::array::<Self>(1);

    /// What a map of these tables has to be.
    pub(super) fn shape(&self, name: &str) -> Option<Shape> {
        let (.., ways, which) = MAPS.iter().find(|(known, ..)| *known == name)?;
        let entries = self.buckets(*which) * (*ways).max(1);
        let tags = Shape::array::<Bucket<Atomics>>(entries);
        let shape = match name {
            "HALF_OPENS" => Shape::array::<HalfOpen<Atomics>>(entries),
            "SUBFLOWS" => Shape::array::<Subflow<Atomics>>(entries),
            "SESSIONS" => Shape::array::<Session<Atomics>>(entries),
            "RANGES" => Shape::array::<RangeChunk<Atomics>>(entries),
            "KEYS" => return Some(Shape::array::<Keys<Atomics>>(entries)),
            "PENDING_JOINS" => return Some(Shape::array::<[u64; SLICES]>(1)),
            FILTER => Shape {
                value: self.cells(),
                ..Shape::array::<u8>(1)
            },
            _ => tags,
        };
        Some(Shape {
            flags: BPF_F_MMAPABLE,
            ..shape
        })
    }

    /// Fails if a map that is pinned is none of these tables': the programs would be loaded with it.
    pub(crate) fn check_maps(&self, tables: &Directory) -> Result<()> {
        for (name, pin, ..) in MAPS {
            if let Some(shape) = self.shape(name) {
                tables.map_info(pin, &shape)?;
            }
        }
        tables.map_info(EVENTS, &EVENTS_SHAPE)?;
        Ok(())
    }

    /// How many sessions and subflows were there before the probes.
    pub(crate) fn seeded(&self) -> Seeded {
        let [sessions, subflows] = self.seeded;
        Seeded { sessions, subflows }
    }

    /// Counts so many more as adopted.
    pub(crate) fn add(&mut self, more: Seeded) {
        let [sessions, subflows] = &mut self.seeded;
        *sessions = sessions.saturating_add(more.sessions);
        *subflows = subflows.saturating_add(more.subflows);
    }

    /// Notes that so many more were adopted.
    pub(crate) fn note(&mut self, more: Seeded, pins: &NamespacePins) -> Result<()> {
        self.add(more);
        let tables = pins.open()?.context("the tables were removed")?;
        self.write(&tables)
    }

    fn write(&self, tables: &Directory) -> Result<()> {
        let map = tables.map("meta", &Self::SHAPE)?;
        let mut map = Array::<_, Raw<Self>>::try_from(Map::Array(map))?;
        Ok(map.set(0, Raw(*self), 0)?)
    }

    /// Pins it, so that the next probe takes part.
    pub(crate) fn pin(&self, tables: &Directory) -> Result<()> {
        if tables.find_map("meta", &Self::SHAPE)?.is_some() {
            return Ok(());
        }
        let mut map = Array::<MapData, Raw<Self>>::create(1, 0)?;
        map.set(0, Raw(*self), 0)?;
        tables.pin("meta", |path| map.pin(path))
    }

    /// Makes a loader's maps those of the agreement: of its sizes, and pinned where there are pins.
    pub(crate) fn apply<'a>(
        &'a self,
        loader: &mut EbpfLoader<'a>,
        constants: &'a Constants,
        pins: Option<&Directory>,
    ) {
        for (name, pin, ways, which) in MAPS {
            // aya takes it for a variable; see `filter`.
            if name == FILTER {
                continue;
            }
            loader.map_max_entries(name, self.buckets(which) * ways.max(1));
            if let Some(pins) = pins {
                loader.map_pin_path(name, pins.reach(pin));
            }
        }
        if let Some(pins) = pins {
            loader.map_pin_path("REPORTS", pins.reach(EVENTS));
        }
        loader
            .override_global("HALF_OPEN_BUCKETS", &constants.buckets[0], true)
            .override_global("SUBFLOW_BUCKETS", &constants.buckets[1], true)
            .override_global("SESSION_BUCKETS", &constants.buckets[2], true)
            .override_global("RANGE_BUCKETS", &constants.buckets[3], true)
            .override_global("HASHING", &constants.hashing, true)
            .override_global("SEED", &self.seed, true)
            .override_global("HANDSHAKE_TIME", &self.limits.handshake, true)
            .override_global("ALONE_TIME", &self.limits.alone, true)
            .override_global("IDLE_TIME", &self.limits.idle, true)
            .override_global("LINGER_TIME", &self.limits.linger, true)
            .override_global("MAX_SUBFLOWS", &self.limits.subflows, true)
            .override_global("MAX_PENDING", &self.limits.pending, true)
            .override_global("JOIN_THRESHOLD", &self.limits.threshold, true)
            .override_global(
                "PASSIVE_CLOSE_REFUSED",
                &self.limits.passive_close_refused,
                true,
            );
    }

    /// The filter for programs of the agreement: the pinned one, or a new one, pinned where there are pins.
    pub(crate) fn filter(&self, pins: Option<&Directory>) -> Result<MapData> {
        let shape = self.shape(FILTER).context("there is no filter")?;
        if let Some(pins) = pins
            && let Some(filter) = pins.find_map(FILTER_PIN, &shape)?
        {
            return Ok(filter);
        }
        let filter = filter::create(self.cells())?;
        if let Some(pins) = pins {
            pins.pin(FILTER_PIN, |path| filter.pin(path))?;
        }
        Ok(filter)
    }

    /// What tags are made with.
    fn hashing(&self) -> Hashing {
        Hashing::new(self.seed, cell_shift(self.cells()))
    }

    /// What the programs have to know of the sizes and of the seed.
    pub(crate) fn constants(&self) -> Constants {
        Constants {
            buckets: [
                Which::Handshakes,
                Which::Subflows,
                Which::Sessions,
                Which::Ranges,
            ]
            .map(|which| self.buckets(which)),
            hashing: self.hashing().words(),
        }
    }
}

/// Constants of the programs that are computed from an [`Agreement`].
pub(crate) struct Constants {
    /// Buckets of handshakes, subflows, sessions and chunks.
    pub(super) buckets: [u32; 4],
    /// A [`Hashing`]. Secret.
    hashing: [u64; SECRETS + 1],
}

/// The tables of a namespace.
pub(crate) struct Tables {
    /// Those of [`MAPS`]. Each is opened when it is read: of many probes that share them, one reads them, and not
    /// all of them. Keys are secrets that who only counts never opens.
    maps: [OnceCell<Map>; MAPS.len()],
    /// `None` of programs that were just loaded.
    pins: Option<NamespacePins>,
    agreement: Agreement,
}

impl Tables {
    /// Those that are pinned.
    pub(crate) fn pinned(pins: &NamespacePins) -> Result<Option<Self>> {
        let agreement = Agreement::read(pins)?;
        Ok(agreement.map(|agreement| Self {
            maps: Default::default(),
            pins: Some(pins.clone()),
            agreement,
        }))
    }

    /// Those of programs that were just loaded.
    pub(crate) fn loaded(programs: &mut Ebpf, agreement: Agreement) -> Result<Self> {
        let maps: [OnceCell<Map>; MAPS.len()] = Default::default();
        for (place, (name, ..)) in maps.iter().zip(MAPS) {
            let map = programs.take_map(name);
            let map = map.with_context(|| format!("the eBPF object has no table {name}"))?;
            place.get_or_init(|| map);
        }
        Ok(Self {
            maps,
            pins: None,
            agreement,
        })
    }

    /// A map by its name in the object, and how many elements it has.
    fn map(&self, name: &str) -> Result<(&Map, u32)> {
        let mut maps = self.maps.iter().zip(MAPS);
        let (place, (_, pin, ways, which)) = maps
            .find(|(_, (known, ..))| *known == name)
            .with_context(|| format!("there is no table {name}"))?;
        let map = match place.get() {
            Some(map) => map,
            None => {
                let pins = self.pins.as_ref().context("no tables")?.open()?;
                let shape = self.agreement.shape(name).context("no such table")?;
                let map = pins.context("the tables were removed")?.map(pin, &shape)?;
                place.get_or_init(|| Map::Array(map))
            }
        };
        Ok((map, self.agreement.buckets(which) * ways.max(1)))
    }

    fn windows<S: Slot>(&self, [tags, slots]: [&str; 2]) -> Result<Windows<'_, S>> {
        Windows::new(self.map(tags)?, self.map(slots)?)
    }

    fn table<S: Zeroable>(
        &self,
        [tags, slots]: [&str; 2],
        filter: Option<&str>,
    ) -> Result<Whole<S>> {
        let filter = filter.map(|name| self.map(name)).transpose()?;
        Whole::new(self.map(tags)?, self.map(slots)?, filter)
    }

    /// What exists now.
    pub(crate) fn gauges(&self) -> Result<Gauges> {
        let mut sessions = self.windows::<Session<Atomics>>(SESSIONS)?;
        let slots = self.agreement.buckets(Which::Sessions) * BUCKET_SLOTS;
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

    /// Chunks of ranges that are in use.
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

    /// The limits that are judged by now: another `attach` may have changed them since these tables were opened.
    fn limits(&self) -> Result<Limits> {
        let present = self.pins.as_ref().map(Agreement::read).transpose()?;
        Ok(present.flatten().unwrap_or(self.agreement).limits)
    }

    /// The sessions that are asked for.
    pub(crate) fn sessions(&self, selection: &Selection) -> Result<Vec<source::Session>> {
        select(self, selection, &self.limits()?, now()?)
    }

    pub(crate) fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    /// All of them in memory, to make and remove entries beside the programs.
    pub(crate) fn whole(&self) -> Result<WholeTables> {
        let (tokens, length) = self.map("TOKENS")?;
        let (pending_joins, _) = self.map("PENDING_JOINS")?;
        let pending_joins = MapData::from_fd(descriptor(pending_joins)?.try_clone_to_owned()?)?;
        Ok(WholeTables {
            handshakes: self.table(HANDSHAKES, Some(FILTER))?,
            subflows: self.table(SUBFLOWS, Some(FILTER))?,
            sessions: self.table(SESSIONS, None)?,
            range_chunks: self.table(RANGES, None)?,
            tokens: Mapping::whole(tokens, length)?,
            keys: RefCell::new(self.keys()?),
            pending_joins: RefCell::new(Array::try_from(Map::Array(pending_joins))?),
            hashing: self.agreement.hashing(),
            agreement: self.agreement,
        })
    }

    /// How full the filter is.
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

    /// The keys, which are not mapped.
    fn keys(&self) -> Result<Array<MapData, [u64; 2]>> {
        let (keys, _) = self.map("KEYS")?;
        let keys = MapData::from_fd(descriptor(keys)?.try_clone_to_owned()?)?;
        Ok(Array::try_from(Map::Array(keys))?)
    }

    /// Forgets all sessions and subflows, beside the programs.
    pub(crate) fn clear(&mut self) -> Result<()> {
        track::clear(&self.whole()?, now()?, synchronize)?;
        // Those too that were over before, of which the entries are left.
        self.wipe_keys(0)?;
        self.agreement.seeded = [0; 2];
        Ok(())
    }

    /// Notes that so many sessions and subflows were adopted.
    pub(crate) fn note(&mut self, seeded: Seeded, pins: &NamespacePins) -> Result<()> {
        self.agreement.note(seeded, pins)
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
pub(crate) struct WholeTables {
    handshakes: Whole<HalfOpen<Atomics>>,
    subflows: Whole<Subflow<Atomics>>,
    sessions: Whole<Session<Atomics>>,
    range_chunks: Whole<RangeChunk<Atomics>>,
    tokens: Mapping<Bucket<Atomics>>,
    /// Secrets, which are not mapped.
    keys: RefCell<Array<MapData, [u64; 2]>>,
    pending_joins: RefCell<Array<MapData, [u64; SLICES]>>,
    hashing: Hashing,
    agreement: Agreement,
}

impl adopt::Shared for WholeTables {
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
        self.agreement.seed
    }

    fn secrets(&self) -> &impl Secrets {
        &self.hashing
    }

    fn limits(&self) -> Limits {
        self.agreement.limits
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

/// The programs' clock, in nanoseconds.
pub(crate) fn now() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// The ring of events of a namespace's probes; `None` if there is none.
pub(crate) fn events(pins: &NamespacePins) -> Result<Option<MapData>> {
    match pins.open()? {
        Some(tables) => tables.find_map(EVENTS, &EVENTS_SHAPE),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::pins::OF_TABLES;

    #[test]
    fn every_table_is_removed() {
        for (_, pin, ..) in MAPS {
            assert!(OF_TABLES.contains(&pin), "{pin}");
        }
        assert!(OF_TABLES.contains(&EVENTS) && OF_TABLES.len() == MAPS.len() + 2);
    }

    #[test]
    fn tables_have_the_shapes_that_the_object_has() {
        let object = aya_obj::Object::parse(crate::OBJECT).expect("an object");
        let agreement = Agreement::new(Sizes::default(), Policy::default()).expect("random bytes");
        for (name, ..) in MAPS {
            let shape = agreement.shape(name).expect("a shape");
            // Of the filter the object says no size.
            if name == FILTER {
                continue;
            }
            let map = &object.maps[name];
            assert_eq!(map.map_type(), shape.kind as u32, "{name}");
            assert_eq!(map.key_size(), shape.key, "{name}");
            assert_eq!(map.value_size(), shape.value, "{name}");
            assert_eq!(map.map_flags(), shape.flags, "{name}");
        }
        let events = &object.maps["REPORTS"];
        assert_eq!(events.map_type(), EVENTS_SHAPE.kind as u32);
        assert_eq!(events.max_entries(), EVENTS_SHAPE.entries.0);
    }
}
