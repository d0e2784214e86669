//! Time on the axes of plots, and in words.

use jiff::Timestamp;

use super::plot::Axis;
use crate::snapshot::history::{History, Point};

/// Time on the axes.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    begin: Timestamp,
    /// Seconds of the unit.
    unit: f64,
    pub(super) name: &'static str,
    pub(super) axis: Axis,
}

impl Scale {
    pub(super) fn new(history: &History) -> Self {
        let end = history.points.iter().map(|point| point.time).max();
        let end = end.unwrap_or(history.begin);
        let seconds = end.duration_since(history.begin).as_secs_f64().max(1e-6);
        let (unit, name) = match seconds {
            s if s < 0.5 => (1e-3, "milliseconds"),
            s if s < 300.0 => (1.0, "seconds"),
            s if s < 4.0 * 3600.0 => (60.0, "minutes"),
            s if s < 4.0 * 86400.0 => (3600.0, "hours"),
            _ => (86400.0, "days"),
        };
        Self {
            begin: history.begin,
            unit,
            name,
            axis: Axis {
                length: seconds / unit,
            },
        }
    }

    /// Returns where a time is on the axis.
    pub(super) fn place(&self, time: Timestamp) -> f64 {
        time.duration_since(self.begin).as_secs_f64() / self.unit
    }

    /// Returns the corners of a line that is flat up to each point.
    pub(super) fn steps(
        &self,
        points: &[Point],
        value: impl Fn(usize) -> Option<f64>,
    ) -> Vec<(f64, f64)> {
        let mut from = 0.0;
        let mut corners = Vec::new();
        for (i, point) in points.iter().enumerate() {
            let to = self.place(point.time);
            let value = value(i).unwrap_or_default();
            corners.extend([(from, value), (to, value)]);
            from = to;
        }
        corners
    }
}

/// Returns a time in words.
pub(super) fn moment(time: Timestamp) -> String {
    time.strftime("%F %T%.3fZ").to_string()
}
