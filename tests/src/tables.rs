//! The engine's tables as bytes.

use std::{mem::size_of_val, slice};

use mptcp_common::track::{Tables as _, table::Table};
use mptcp_user::offline::Offline;

/// The bytes of an entry.
pub fn entry<T>(entry: &T) -> &[u8] {
    // SAFETY: an entry is made of atomic words without padding, and nobody writes to it while the
    // caller, who holds the engine, looks at it.
    unsafe { slice::from_raw_parts(std::ptr::from_ref(entry).cast(), size_of_val(entry)) }
}

/// Those of all tables.
pub fn bytes(engine: &Offline) -> Vec<u8> {
    let mut bytes = Vec::new();
    add(engine.half_opens(), &mut bytes);
    add(engine.subflows(), &mut bytes);
    add(engine.sessions(), &mut bytes);
    for bucket in (0..).map_while(|i| engine.initiators(i)) {
        bytes.extend(entry(bucket));
    }
    for keys in (0..).map_while(|i| engine.keys(i)) {
        bytes.extend(entry(keys));
    }
    bytes
}

fn add(table: &impl Table, bytes: &mut Vec<u8>) {
    for bucket in (0..).map_while(|i| table.bucket(i)) {
        bytes.extend(entry(bucket));
    }
    for slot in (0..).map_while(|i| table.slot(i)) {
        bytes.extend(entry(slot));
    }
}
