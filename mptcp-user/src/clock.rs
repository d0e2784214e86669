//! Clocks: the wall's, as pinned maps hold it, and the one of the programs in the kernel.

use anyhow::Result;
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// Returns the nanoseconds since 1970 of a time, which fit 64 bits until the year 2262.
pub(crate) fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// Returns the time that is so many nanoseconds after the beginning of 1970.
pub(crate) fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or_default()
}

/// Returns what the programs' clock shows, in nanoseconds.
pub(crate) fn now() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}
