//! What commands make of bytes from anywhere: for tests, which need no kernel and no files for it.

pub(crate) mod log;
pub mod pinned;
