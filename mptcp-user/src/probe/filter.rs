//! The filter of subflows and handshakes: programs reach it by its address, where a lookup would cost every packet
//! some instructions.
//!
//! In the object it is a variable. Of those aya makes a map for each object that it loads, of the size that the
//! object says, and writes their first values to it: what is shared and sized when it is loaded cannot be one. So
//! the programs are given another map in its place, before they are loaded.

use std::{
    mem::ManuallyDrop,
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, MapType},
};
use aya_obj::generated::BPF_F_MMAPABLE;
use nix::{fcntl::OFlag, unistd::dup3};

use super::mmap::descriptor;

/// Name of the map in the object: that of the section with its variables, of which there are no others.
pub(super) const FILTER: &str = ".bss";

/// Makes a filter of so many bytes, less than 2^29: the verifier knows offsets up to there (BPF_MAX_VAR_OFF). It is
/// one value, since only of such an array the address is known.
///
/// # Errors
/// Those of BPF_MAP_CREATE (bpf(2)).
pub fn create(size: u32) -> Result<MapData> {
    let kind = MapType::Array as u32;
    let map = aya_obj::Map::new_from_params(kind, size_of::<u32>() as u32, size, 1, BPF_F_MMAPABLE);
    MapData::create(map, "FILTER", None).context("cannot create the filter")
}

/// Makes it the filter of programs that are not loaded yet.
///
/// # Errors
/// If the object is none of the probe's, or no descriptor can be had.
pub fn give(programs: &Ebpf, filter: &MapData) -> Result<()> {
    let place = programs
        .map(FILTER)
        .with_context(|| format!("the eBPF object has no section {FILTER}"))?;
    let number = descriptor(place)?.as_raw_fd();
    // SAFETY: open as long as `place` is, which stays the one that closes it.
    let mut place = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
    // The programs name their maps by descriptors' numbers. This one's map is closed by that.
    dup3(filter.fd().as_fd(), &mut place, OFlag::O_CLOEXEC).context("cannot give the filter away")
}
