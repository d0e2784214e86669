//! The values of the pinned maps, besides the counters themselves (docs/maps.md).

use bytemuck::{Pod, Zeroable};
use mptcp_common::counter::{Counters, Role};

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
pub(crate) struct Reading {
    /// Nanoseconds since the epoch; 0 if there is no such reading.
    pub(crate) time: i64,
    /// The sum over all CPUs.
    pub(crate) counters: Counters,
}

/// Which reading is remembered where in the map `readings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Remembered {
    /// What `-clearstats` moved the table's rows to.
    Rows = 0,
    /// What `-clearstats full` moved the further numbers to.
    Extras = 1,
    /// What was last displayed.
    Last = 2,
}

/// Entries of the map `readings`.
pub(crate) const READINGS: u32 = 3;
