//! The engine's tables as bytes.

use std::{mem::size_of_val, slice};

use anyhow::{Result, ensure};
use mptcp_common::{
    state::Tables as _,
    table::{Bucket, Table, cell_shift, place},
};
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
    add(engine.range_chunks(), &mut bytes);
    for bucket in (0..).map_while(|i| engine.tokens(i)) {
        bytes.extend(entry(bucket));
    }
    for keys in (0..).map_while(|i| engine.keys(i)) {
        bytes.extend(entry(keys));
    }
    bytes.extend(filter(engine));
    bytes
}

/// The cells of an engine's filter.
pub fn filter(engine: &Offline) -> Vec<u8> {
    engine.filter().iter().flat_map(entry).copied().collect()
}

/// Fails unless the filter says how many tags there are, cell by cell.
pub fn check_filter(engine: &Offline) -> Result<()> {
    check_cells(
        &filter(engine),
        tags(engine.half_opens()).chain(tags(engine.subflows())),
    )
}

/// The same of cells and of words in the places of tags.
pub fn check_cells(cells: &[u8], words: impl Iterator<Item = u64>) -> Result<()> {
    let shift = cell_shift(cells.len() as u32);
    let mut wanted = vec![0; cells.len()];
    // A tag is odd.
    for tag in words.filter(|word| word & 1 != 0) {
        wanted[(place(tag) >> shift) as usize] += 1;
    }
    for (is, wanted) in cells.iter().zip(wanted) {
        ensure!(
            *is == wanted,
            "a cell of the filter says {is} for {wanted} tags"
        );
    }
    Ok(())
}

fn tags(table: &impl Table) -> impl Iterator<Item = u64> {
    (0..).map_while(|i| table.bucket(i)).flat_map(Bucket::tags)
}

fn add(table: &impl Table, bytes: &mut Vec<u8>) {
    for bucket in (0..).map_while(|i| table.bucket(i)) {
        bytes.extend(entry(bucket));
    }
    for slot in (0..).map_while(|i| table.slot(i)) {
        bytes.extend(entry(slot));
    }
}
