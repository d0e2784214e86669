//! The times of a capture, in nanoseconds since 1970.

use jiff::Timestamp;

/// Nanoseconds of a second.
pub(super) const SECOND: u64 = 1_000_000_000;

/// From nanoseconds since 1970, which all lie before jiff's last year.
pub(super) fn timestamp(nanoseconds: u64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or(Timestamp::MAX)
}
