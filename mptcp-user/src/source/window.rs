//! Over which time rates are: since a reading that was displayed before, by whomever.
//!
//! A probe remembers a few of those, some time apart. Who displays takes the one that is nearest to [`WINDOW`] old, so
//! that nobody's rates depend on how often others look.

use jiff::Timestamp;

/// Over which time rates should be, in seconds: NetScaler's.
const WINDOW: f64 = 7.0;

/// The shortest time for rates, where there is another one.
const SHORTEST: f64 = 1.0;

/// How far apart readings are that are remembered: two of them in the time of rates.
const SPACING: f64 = WINDOW / 2.0;

/// Returns the number of the reading, among those of these times, since which rates are; `None` if it is the
/// beginning of the counting.
///
/// What lies before the beginning is of another probe, and what lies after `now` of a clock that was set back.
pub(super) fn base(times: &[Option<Timestamp>], began: Timestamp, now: Timestamp) -> Option<usize> {
    let age = |time: Timestamp| now.duration_since(time).as_secs_f64();
    let readings = (0..).zip(times).filter_map(|(i, time)| {
        let time = time.filter(|time| *time >= began)?;
        (age(time) >= SHORTEST).then(|| (Some(i), age(time)))
    });
    let nearest = readings
        .chain([(None, age(began))])
        .min_by(|(_, a), (_, b)| (a - WINDOW).abs().total_cmp(&(b - WINDOW).abs()));
    nearest.and_then(|(i, _)| i)
}

/// Returns where a reading of now is to be remembered, among those of these times; `None` if there is one that is young
/// enough.
pub(super) fn place(times: &[Option<Timestamp>], now: Timestamp) -> Option<usize> {
    let age = |time: &Option<Timestamp>| {
        let age = time.map(|time| now.duration_since(time).as_secs_f64());
        // One of a clock that was set back goes first, as one that is not there.
        age.filter(|age| *age >= 0.0).unwrap_or(f64::INFINITY)
    };
    let is_young = times.iter().any(|time| age(time) < SPACING);
    let ages = times.iter().map(age).enumerate();
    let oldest = ages.max_by(|(_, a), (_, b)| a.total_cmp(b));
    oldest.filter(|_| !is_young).map(|(i, _)| i)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + milliseconds).expect("a time")
    }

    /// Over how many milliseconds the rates of each display are, where somebody displays at these times, beside a probe
    /// that has so many places and began at 0.
    fn windows(displays: &[i64], places: usize) -> BTreeMap<i64, i64> {
        let mut times = vec![None; places];
        let mut windows = BTreeMap::new();
        for display in displays {
            let now = at(*display);
            let since = base(&times, at(0), now).map_or(at(0), |i| times[i].expect("a reading"));
            windows.insert(*display, now.duration_since(since).as_millis() as i64);
            if let Some(i) = place(&times, now) {
                times[i] = Some(now);
            }
        }
        windows
    }

    #[test]
    fn one_reader_does_not_change_what_another_one_sees() {
        // Somebody each second, or 20 times a second, and somebody each 7 seconds.
        for period in [50, 1_000] {
            let mut displays: Vec<_> = (1..120_000 / period).map(|i| i * period).collect();
            displays.extend((1..17).map(|i| i * 7_000 + 3));
            displays.sort_unstable();
            let windows = windows(&displays, 4);
            for (display, window) in windows.range(20_000..) {
                assert!((5_000..=9_000).contains(window), "{display}: {window} ms");
            }
        }
    }

    #[test]
    fn nobody_sees_rates_of_a_moment() {
        // Nobody for an hour, then two within 50 ms.
        let hour = 3_600_000;
        let windows = windows(&[hour, hour + 50, hour + 1_200, 2 * hour], 4);
        let wanted = [hour, hour + 50, 1_200, hour - 1_200];
        let is: Vec<_> = windows.values().copied().collect();
        assert_eq!(is[..3], wanted[..3]);
        // Since the first one, which was the last that was remembered.
        assert_eq!(is[3], hour);
    }

    #[test]
    fn what_is_young_is_as_good_as_nothing_else_is() {
        assert_eq!(base(&[None; 4], at(0), at(300)), None);
        assert_eq!(base(&[Some(at(100)), None], at(0), at(300)), None);
        assert_eq!(place(&[Some(at(100)), None], at(300)), None);
        assert_eq!(place(&[Some(at(100)), None], at(4_000)), Some(1));
    }

    #[test]
    fn what_another_probe_or_clock_left_is_not_used() {
        let now = at(10_000);
        assert_eq!(base(&[Some(at(-5)), Some(at(20_000))], at(0), now), None);
        assert_eq!(place(&[Some(at(1_000)), Some(at(20_000))], now), Some(1));
    }
}
