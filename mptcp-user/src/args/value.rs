//! Values with units: times, moments, sizes.

use std::time::Duration;

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// Parses `7s`, `500ms` or a bare number of seconds; at least 10 ms.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let span: Duration = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds)
            .map_err(|_| "expected a time such as 7s, 500ms or 1m".to_owned())?,
        Err(_) => text
            .parse::<jiff::SignedDuration>()
            .map_err(|_| "expected a time such as 7s, 500ms or 1m".to_owned())?
            .try_into()
            .map_err(|_| "a time cannot be negative".to_owned())?,
    };
    if span < Duration::from_millis(10) {
        return Err("10ms is the shortest interval".to_owned());
    }
    Ok(span)
}

/// Parses a time with its offset, or one of this machine's time zone.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    text.parse::<DateTime>()
        .and_then(|time| TimeZone::system().to_timestamp(time))
        .map_err(|_| {
            "expected a time such as 2026-11-24T18:00:00Z or \"2026-11-24 18:00\"".to_owned()
        })
}

/// Parses a number of bytes such as 4096, 512K, 100M or 2G, at least 4096.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let units = [('K', 10), ('M', 20), ('G', 30)];
    let (number, shift) = units
        .into_iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))
        .unwrap_or((text, 0));
    let size = number
        .parse()
        .ok()
        .and_then(|n: u64| n.checked_mul(1 << shift));
    match size {
        Some(size) if size >= 4096 => Ok(size),
        _ => Err("expected a number of bytes such as 512K, 100M or 2G, at least 4096".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_a_unit() {
        assert_eq!(duration("7s"), Ok(Duration::from_secs(7)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "-1s", "0", "soon", "1ms"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("512K"), Ok(512 << 10));
        assert_eq!(size("2G"), Ok(2 << 30));
        for bad in [
            "",
            "M",
            "4095",
            "1.5M",
            "-1M",
            "100MB",
            "99999999999999999G",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn moments_are_absolute() {
        let utc = moment("2026-11-24T18:00:00Z").expect("a time");
        assert_eq!(moment("2026-11-24T19:00:00+01:00"), Ok(utc));
        let day = moment("2026-11-24").expect("midnight here");
        assert_eq!(moment("2026-11-24 00:00"), Ok(day));
        for bad in ["", "now", "18:00", "7s"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
