//! The values of the pinned maps, besides the counters themselves (docs/maps.md).

use anyhow::Result;
use aya::maps::MapType;
use bytemuck::{Pod, Zeroable};
use mptcp_common::counter::{Counters, LAYOUT_VERSION, PLACES, Role};

use super::pins::Shape;
use crate::failure::{Failure, FailureKind};

/// Lets aya copy what bytemuck knows to be plain old data.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct Raw<T>(pub(crate) T);

// SAFETY: aya asks for values that any bytes make valid and that have no padding; that is what
// `bytemuck::Pod` means.
unsafe impl<T: Pod> aya::Pod for Raw<T> {}

/// What is known of a probe on an interface: the one value of the map `meta`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Meta {
    /// Version of the layout of all pinned maps: `counter::LAYOUT_VERSION`.
    pub(crate) version: u32,
    /// A `Role`, by its discriminant.
    pub(crate) role: u8,
    /// 1 if there were MPTCP connections when the probe came, or that could not be known.
    pub(crate) attached_mid_traffic: u8,
    /// 1 if MP_CAPABLE of version 0 counts as unsupported.
    pub(crate) v1_only: u8,
    /// 1 if flows are not followed.
    pub(crate) no_track: u8,
    /// When counting began: nanoseconds since the epoch.
    pub(crate) since: i64,
    /// Name that the interface had, padded with zeros.
    pub(crate) name: [u8; 16],
    /// Smallest MSS over IPv4 and IPv6.
    pub(crate) min_mss: [u16; 2],
    /// 1 if what comes in is seen with its receive queue.
    pub(crate) has_queues: u8,
    /// 1 if DSS checksums are verified.
    pub(crate) verifies_checksums: u8,
    /// Which limits the programs were loaded with: their generation in `tables/meta`.
    pub(crate) limits: u8,
    /// Where the interface's counters are in the map `counters`: its key.
    pub(crate) place: u8,
}

impl Meta {
    /// Fails if it is none that this program wrote beside counters of so many places: a reader would be misled.
    pub(crate) fn check(&self, places: u32) -> Result<()> {
        let refuse = |why: String| {
            Err(Failure::new(FailureKind::Failed, why)
                .next("mptcp-user detach (-i IFACE, or --all), then attach again")
                .into())
        };
        if self.version != LAYOUT_VERSION {
            return refuse(format!(
                "the pinned maps are of layout {}, and this program reads layout {LAYOUT_VERSION}",
                self.version
            ));
        }
        let is_flag = |byte: &u8| *byte <= 1;
        let flags = [
            self.role,
            self.attached_mid_traffic,
            self.v1_only,
            self.no_track,
            self.has_queues,
            self.verifies_checksums,
        ];
        let end = self.name.iter().position(|byte| *byte == 0);
        let is_named = end.is_some_and(|end| {
            end > 0
                && self.name[end..].iter().all(|byte| *byte == 0)
                && !self.name[..end]
                    .iter()
                    .any(|byte| b"/ \t\n\x0b\x0c\r".contains(byte))
        });
        let is_good = flags.iter().all(is_flag)
            && is_named
            && self.since > 0
            && u32::from(self.place) < places;
        match is_good {
            true => Ok(()),
            false => {
                refuse("the pinned map meta holds what this program does not write".to_owned())
            }
        }
    }

    pub(crate) fn role(&self) -> Role {
        if self.role == Role::Host as u8 {
            Role::Host
        } else {
            Role::Middlebox
        }
    }

    pub(crate) fn name(&self) -> String {
        let name = self
            .name
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        String::from_utf8_lossy(name).into_owned()
    }

    pub(crate) fn set_name(&mut self, name: &str) {
        self.name = [0; 16];
        for (to, from) in self.name.iter_mut().zip(name.bytes().take(15)) {
            *to = from;
        }
    }
}

/// Counters at a moment: the values of the map `readings`.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct StoredReading {
    /// Nanoseconds since the epoch; 0 if there is no such reading.
    pub(crate) time: i64,
    /// The sum over all CPUs.
    pub(crate) counters: Counters,
}

/// Which baseline is remembered where in the map `readings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Remembered {
    /// What `-clearstats` moved the table's rows to.
    Rows = 0,
    /// What `-clearstats full` moved the further numbers to.
    Extras = 1,
}

/// The first entry of the map `readings` of what was displayed; all behind it are such, too.
pub(crate) const DISPLAYED: u32 = 2;

/// Entries of the map `readings`. One that was pinned before may have one of what was displayed.
pub(crate) const READINGS: u32 = 6;

/// How many entries a map `readings` may have.
pub(super) const READINGS_RANGE: (u32, u32) = (DISPLAYED + 1, READINGS);

/// The pinned maps of an interface.
pub(super) const META: Shape = Shape::array::<Meta>(1);
pub(super) const READINGS_MAP: Shape = Shape {
    entries: READINGS_RANGE,
    ..Shape::array::<StoredReading>(READINGS)
};
pub(super) const COUNTERS: Shape = Shape {
    kind: MapType::PerCpuArray,
    entries: (1, PLACES),
    ..Shape::array::<Counters>(1)
};
