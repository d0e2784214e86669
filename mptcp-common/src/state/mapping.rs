//! Mappings that a subflow remembers.

use crate::{
    state::subflow::{MAPPINGS, MappingSlot, SubflowSide},
    table::{Memory, Word},
    verifier::Opaque,
    wire::after,
};

/// A mapping, read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) dsn: u64,
    pub(crate) ssn: u32,
    /// Bytes, without DATA_FIN; 0 if there is none.
    pub(crate) length: u32,
}

impl Mapping {
    /// Of no bytes.
    pub(crate) const NONE: Self = Self {
        dsn: 0,
        ssn: 0,
        length: 0,
    };

    #[inline(always)]
    pub(crate) fn read<M: Memory>(mapping: &MappingSlot<M>) -> Self {
        Self {
            dsn: mapping.dsn.load(),
            ssn: mapping.ssn.load(),
            length: mapping.length.load(),
        }
    }

    /// Hides the mapping from the verifier.
    #[inline(always)]
    pub(crate) fn forgotten(self, verifier: &impl Opaque) -> Self {
        let high = verifier.opaque((self.dsn >> 32) as u32);
        Self {
            dsn: u64::from(high) << 32 | u64::from(verifier.opaque(self.dsn as u32)),
            ssn: verifier.opaque(self.ssn),
            length: verifier.opaque(self.length),
        }
    }

    /// How far its data sequence numbers lie from the subflow's.
    #[inline(always)]
    pub(crate) fn shift(&self) -> u64 {
        self.dsn.wrapping_sub(u64::from(self.ssn))
    }

    /// Returns true if the byte with this relative number lies in it.
    #[inline(always)]
    pub(crate) fn holds(&self, relative: u32) -> bool {
        relative.wrapping_sub(self.ssn) < self.length
    }
}

/// What a new mapping is to those that are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum MappingMatch {
    /// Nothing like it.
    New = 0,
    /// It was there.
    Same = 1,
    /// Bytes of the subflow that it maps were mapped to other data.
    Altered = 2,
}

impl<M: Memory> SubflowSide<M> {
    /// Compares a mapping with those of this ring.
    #[inline(always)]
    pub(crate) fn compare(&self, map: Mapping, verifier: &impl Opaque) -> MappingMatch {
        if self.is_newest(map) {
            return MappingMatch::Same;
        }
        if !after(self.mapped_end.load(), map.ssn) {
            // Behind everything that was mapped, as most are.
            return MappingMatch::New;
        }
        let mut known = MappingMatch::New as u32;
        for mapping in &self.mappings {
            let other = Mapping::read(mapping);
            if other.length == 0 {
                continue;
            }
            if other == map {
                return MappingMatch::Same;
            }
            let overlaps = other.holds(map.ssn) || map.holds(other.ssn);
            if overlaps && map.shift() != other.shift() {
                known = verifier.opaque(MappingMatch::Altered as u32);
            }
        }
        if known == MappingMatch::Altered as u32 {
            MappingMatch::Altered
        } else {
            MappingMatch::New
        }
    }

    /// Returns true if it is the mapping that came last.
    #[inline(always)]
    pub(crate) fn is_newest(&self, map: Mapping) -> bool {
        let newest = &self.mappings[self.newest.load() as usize & (MAPPINGS - 1)];
        newest.dsn.load() == map.dsn
            && newest.ssn.load() == map.ssn
            && newest.length.load() == map.length
    }

    /// Remembers a mapping in the place of the oldest.
    #[inline(always)]
    pub(crate) fn remember(&self, map: Mapping) {
        let place = self.newest.load().wrapping_add(1);
        let mapping = &self.mappings[place as usize & (MAPPINGS - 1)];
        mapping.dsn.store(map.dsn);
        mapping.ssn.store(map.ssn);
        mapping.length.store(map.length);
        self.newest.store(place);
        let end = map.ssn.wrapping_add(map.length);
        if after(end, self.mapped_end.load()) {
            self.mapped_end.store(end);
        }
    }

    /// The number of a mapping that is remembered, in the order of their coming.
    #[inline(always)]
    pub(crate) fn number_of(&self, map: Mapping) -> u32 {
        let newest = self.newest.load();
        for age in 0..MAPPINGS as u32 {
            let number = newest.wrapping_sub(age);
            if Mapping::read(&self.mappings[number as usize & (MAPPINGS - 1)]) == map {
                return number;
            }
        }
        newest
    }

    /// The mapping of a number, of which the lower 13 bits are known; of length 0 if it is forgotten.
    #[inline(always)]
    pub(crate) fn numbered(&self, number: u32) -> Mapping {
        let age = self.newest.load().wrapping_sub(number) & 0x1fff;
        if age < MAPPINGS as u32 {
            Mapping::read(&self.mappings[number as usize & (MAPPINGS - 1)])
        } else {
            Mapping::NONE
        }
    }

    /// The remembered mapping that holds a byte, of length 0 if none does.
    #[inline(always)]
    pub(crate) fn mapping_of(&self, relative: u32) -> Mapping {
        let newest = self.newest.load() as usize & (MAPPINGS - 1);
        let map = Mapping::read(&self.mappings[newest]);
        if map.holds(relative) {
            return map;
        }
        for mapping in &self.mappings {
            let map = Mapping::read(mapping);
            if map.holds(relative) {
                return map;
            }
        }
        Mapping::default()
    }
}
