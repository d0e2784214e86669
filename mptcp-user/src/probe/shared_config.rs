//! What the probes of a network namespace agree on: the sizes and limits of the tables that they share, and what
//! each of its maps has to be.

use std::{fs::File, io::Read as _};

use anyhow::{Context as _, Result};
use aya::{
    EbpfLoader,
    maps::{Array, Map, MapData, MapType},
};
use aya_obj::generated::BPF_F_MMAPABLE;
use bytemuck::{Pod, Zeroable};
use mptcp_common::{
    counter::LAYOUT_VERSION,
    packet::hash::{Hashing, SECRETS},
    state::{
        HalfOpen, Keys, Limits, MAX_PENDING, RangeChunk, SLICES, Session, Subflow, chunks_for,
        tokens,
    },
    table::{Atomics, BUCKET_SLOTS, Bucket, CELLS, buckets_for, cell_shift, cells_for},
};

use super::{
    filter::{self, FILTER},
    layout::Raw,
    pins::{Directory, NamespacePins, Shape},
    settings::{ChosenLimits, LimitOrigins, follow},
};
use crate::{
    capacity::Capacity,
    failure::{Failure, FailureKind},
    text::shown,
};

/// The one value of the map `tables/meta`: what all programs of a namespace have to agree on.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct SharedConfig {
    /// Version of the layout: `counter::LAYOUT_VERSION`.
    version: u32,
    /// Entries that there is room for.
    sessions: u32,
    subflows: u32,
    handshakes: u32,
    ranges: u32,
    /// How tags are made of the hash key: [`TAGS`].
    tags: u32,
    /// What tags are made with. Secret.
    pub(crate) hash_key: u64,
    /// Sessions and subflows that were there before the probes, and were adopted.
    pub(crate) adopted: [u32; 2],
    pub(crate) limits: Limits,
    /// Where these come from.
    pub(crate) origins: LimitOrigins,
}

/// What this program makes tags by. Entries whose tags were made otherwise would never be found, and their places and
/// cells be taken for good. It was 0.
const TAGS: u32 = 1;

/// Returns true if tables can have been made of this capacity and these limits. What options allow, and what a probe
/// has that follows nothing.
fn are_possible(capacity: &Capacity, limits: &Limits) -> bool {
    let Capacity {
        sessions,
        subflows,
        handshakes,
        ranges,
    } = *capacity;
    let is_entries = |entries: u32| (1..=1 << 24).contains(&entries);
    [sessions, subflows, handshakes].into_iter().all(is_entries)
        && (1..=1 << 27).contains(&ranges)
        && limits.pending as usize <= MAX_PENDING
        && limits.passive_close_refused <= 1
}

/// The maps: name in the object, name of the pin, entries per bucket (0 is one bucket), of which
/// table.
pub(crate) const MAPS: [(&str, &str, u32, Which); 12] = [
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

pub(crate) const EVENTS_SHAPE: Shape = Shape {
    kind: MapType::RingBuf,
    key: 0,
    value: 0,
    entries: (1 << 18, 1 << 18),
    flags: 0,
};

/// What handshakes and subflows share.
const FILTER_PIN: &str = "filter";

#[derive(Clone, Copy)]
pub(crate) enum Which {
    Handshakes,
    Subflows,
    Sessions,
    Ranges,
    /// Words of cells.
    Filter,
    /// A single value.
    One,
}

impl SharedConfig {
    /// Returns a new one.
    pub(crate) fn new(capacity: Capacity, chosen: ChosenLimits) -> Result<Self> {
        let mut key = [0; 8];
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut key))
            .context("cannot read /dev/urandom")?;
        Ok(Self {
            version: LAYOUT_VERSION,
            sessions: capacity.sessions,
            subflows: capacity.subflows,
            handshakes: capacity.handshakes,
            ranges: capacity.ranges,
            tags: TAGS,
            hash_key: u64::from_ne_bytes(key),
            adopted: [0; 2],
            limits: chosen.limits,
            origins: chosen.origins,
        })
    }

    /// Returns true if it has the capacity and limits of `wanted`.
    pub(crate) fn is_as_wanted(&self, wanted: &Self) -> bool {
        self.capacity() == wanted.capacity() && self.limits == wanted.limits
    }

    pub(crate) fn capacity(&self) -> Capacity {
        Capacity {
            sessions: self.sessions,
            subflows: self.subflows,
            handshakes: self.handshakes,
            ranges: self.ranges,
        }
    }

    pub(crate) fn buckets(&self, which: Which) -> u32 {
        match which {
            Which::Handshakes => buckets_for(self.handshakes),
            Which::Subflows => buckets_for(self.subflows),
            Which::Sessions => buckets_for(self.sessions),
            Which::Ranges => buckets_for(self.chunks()),
            Which::Filter => self.cells() / CELLS,
            Which::One => 1,
        }
    }

    /// Returns chunks of ranges.
    pub(crate) fn chunks(&self) -> u32 {
        chunks_for(self.ranges)
    }

    /// Of the filter.
    fn cells(&self) -> u32 {
        let [handshakes, subflows] =
            [Which::Handshakes, Which::Subflows].map(|which| self.buckets(which));
        cells_for(subflows.max(handshakes))
    }

    /// Returns memory of all tables, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let [handshake, subflow, session, chunk] = Self::bytes_per_entry();
        let table = |which, entry| u64::from(self.buckets(which) * BUCKET_SLOTS) * entry;
        table(Which::Handshakes, handshake)
            + table(Which::Subflows, subflow)
            + table(Which::Sessions, session)
            + table(Which::Ranges, chunk)
            + u64::from(self.cells())
    }

    /// Returns memory of a handshake, a subflow, a session and a chunk of ranges, in bytes, with their tags.
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

    /// Returns the config of the probes that are there, or a new one. Limits that follow the host's are made what the
    /// host has now. Maps that nobody agreed on were left by a loader that was killed, and are removed.
    pub(crate) fn join(pins: &NamespacePins, wanted: Self) -> Result<(Self, Directory)> {
        let tables = pins.create()?;
        if let Some(mut present) = Self::read_in(&tables)? {
            let limits = ChosenLimits {
                limits: wanted.limits,
                origins: wanted.origins,
            };
            if follow(&mut present.limits, &mut present.origins, &limits) {
                present.write(&tables)?;
            }
            return Ok((present, tables));
        }
        pins.remove()?;
        Ok((wanted, tables))
    }

    /// Returns what the probes of a namespace agreed on, if there are any.
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
        let config = Array::<_, Raw<Self>>::try_from(Map::Array(map))
            .and_then(|map| map.get(&0, 0))
            .with_context(|| format!("cannot read meta in {}", shown(tables.path())))?
            .0;
        config.check()?;
        Ok(Some(config))
    }

    /// Fails if it is none that this program wrote: tables would be read that are not there.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |why: String| {
            Err(Failure::new(FailureKind::Failed, why)
                .next("mptcp-user detach --all, then attach again")
                .into())
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
        match are_possible(&self.capacity(), &self.limits) {
            true => Ok(()),
            false => refuse(
                "the pinned map meta of the tables holds what this program does not write"
                    .to_owned(),
            ),
        }
    }

    const SHAPE: Shape = Shape::array::<Self>(1);

    /// Returns what a map of these tables has to be.
    pub(crate) fn shape(&self, name: &str) -> Option<Shape> {
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

    /// Returns how many sessions and subflows were there before the probes.
    pub(crate) fn adopted(&self) -> Adopted {
        let [sessions, subflows] = self.adopted;
        Adopted { sessions, subflows }
    }

    /// Counts so many more as adopted.
    pub(crate) fn add(&mut self, more: Adopted) {
        let [sessions, subflows] = &mut self.adopted;
        *sessions = sessions.saturating_add(more.sessions);
        *subflows = subflows.saturating_add(more.subflows);
    }

    /// Notes that so many more were adopted.
    pub(crate) fn note(&mut self, more: Adopted, pins: &NamespacePins) -> Result<()> {
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

    /// Makes a loader's maps those of the config: of its sizes, and pinned where there are pins.
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
            .override_global("SEED", &self.hash_key, true)
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

    /// Returns the filter for programs of the config: the pinned one, or a new one, pinned where there are pins.
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

    /// Returns what tags are made with.
    pub(crate) fn hashing(&self) -> Hashing {
        Hashing::new(self.hash_key, cell_shift(self.cells()))
    }

    /// Returns what the programs have to know of the sizes and of the hash key.
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

/// Constants of the programs that are computed from a [`SharedConfig`].
pub(crate) struct Constants {
    /// Buckets of handshakes, subflows, sessions and chunks.
    pub(crate) buckets: [u32; 4],
    /// A [`Hashing`]. Secret.
    hashing: [u64; SECRETS + 1],
}

/// How many were adopted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Adopted {
    pub(crate) sessions: u32,
    pub(crate) subflows: u32,
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
        let object = aya_obj::Object::parse(crate::probe::OBJECT).expect("an object");
        let config =
            SharedConfig::new(Capacity::default(), ChosenLimits::default()).expect("random bytes");
        for (name, ..) in MAPS {
            let shape = config.shape(name).expect("a shape");
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
