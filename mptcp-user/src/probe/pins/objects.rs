//! Pinned maps and links in a directory of pins.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use aya::{
    maps::{MapData, MapInfo, MapType},
    pin::PinError,
    programs::links::{FdLink, LinkType, PinnedLink},
};

use super::directory::Directory;
use crate::failure::{Failure, FailureKind};

/// What a pinned map has to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) kind: MapType,
    pub(crate) key: u32,
    pub(crate) value: u32,
    /// Entries: from, and to.
    pub(crate) entries: (u32, u32),
    pub(crate) flags: u32,
}

impl Shape {
    /// Returns an array of so many values of this type.
    pub(crate) const fn array<T>(entries: u32) -> Self {
        Self {
            kind: MapType::Array,
            key: 4,
            value: size_of::<T>() as u32,
            entries: (entries, entries),
            flags: 0,
        }
    }

    /// Returns true if a map is so.
    fn fits(&self, map: &MapInfo) -> bool {
        let (fewest, most) = self.entries;
        map.map_type().is_ok_and(|kind| kind == self.kind)
            && (map.key_size(), map.value_size()) == (self.key, self.value)
            && (fewest..=most).contains(&map.max_entries())
            && map.map_flags() == self.flags
    }
}

impl Directory {
    /// Returns what is known of a pinned map; `None` if there is none.
    ///
    /// # Errors
    /// If it is no map of this shape.
    pub(crate) fn map_info(&self, name: &str, shape: &Shape) -> Result<Option<MapInfo>> {
        match self.has(name)? {
            true => {
                let info = MapInfo::from_pin(self.reach(name))
                    .with_context(|| format!("cannot open {}", self.of(name)))?;
                self.check_shape(name, &info, shape)?;
                Ok(Some(info))
            }
            false => Ok(None),
        }
    }

    /// Returns what is known of a pinned map, whatever its shape: to remove what uses it. `None` if there is none.
    pub(crate) fn any_map_info(&self, name: &str) -> Result<Option<MapInfo>> {
        match self.has(name)? {
            true => MapInfo::from_pin(self.reach(name))
                .map(Some)
                .with_context(|| format!("cannot open {}", self.of(name))),
            false => Ok(None),
        }
    }

    /// Returns a pinned map; `None` if there is none.
    ///
    /// # Errors
    /// If it is no map of this shape.
    pub(crate) fn find_map(&self, name: &str, shape: &Shape) -> Result<Option<MapData>> {
        match self.has(name)? {
            true => self.map(name, shape).map(Some),
            false => Ok(None),
        }
    }

    /// Returns a pinned map.
    ///
    /// # Errors
    /// If there is none, or it is none of this shape.
    pub(crate) fn map(&self, name: &str, shape: &Shape) -> Result<MapData> {
        self.has(name)?;
        let map = MapData::from_pin(self.reach(name))
            .with_context(|| format!("cannot open {}", self.of(name)))?;
        self.check_shape(name, &map.info()?, shape)?;
        Ok(map)
    }

    fn check_shape(&self, name: &str, map: &MapInfo, shape: &Shape) -> Result<()> {
        if shape.fits(map) {
            return Ok(());
        }
        Err(Failure::new(
            FailureKind::Failed,
            format!(
                "{} holds a map of another layout: values of {} bytes where \
                     this version has {}, {} entries, flags {:#x}",
                self.of(name),
                map.value_size(),
                shape.value,
                map.max_entries(),
                map.map_flags()
            ),
        )
        .next(
            "mptcp-user detach (-i IFACE, or --all), then attach again; \
                     the old counts end there",
        )
        .into())
    }

    /// Returns a pinned link of this type; `None` if there is none, or it cannot be opened.
    pub(crate) fn link(&self, name: &str, kind: LinkType) -> Option<FdLink> {
        if !self.has(name).ok()? {
            return None;
        }
        let link = FdLink::from(PinnedLink::from_pin(self.reach(name)).ok()?);
        let found = link.info().ok()?.link_type().ok()?;
        (found == kind).then_some(link)
    }

    /// Pins something by this name.
    pub(crate) fn pin<T>(
        &self,
        name: &str,
        pin: impl FnOnce(PathBuf) -> Result<T, PinError>,
    ) -> Result<T> {
        pin(self.reach(name)).with_context(|| format!("cannot pin {}", self.of(name)))
    }
}
