//! A log's history.

use std::cmp::Reverse;

use anyhow::Result;
use jiff::Timestamp;
use mptcp_common::counter::{Counters, Gauges};

use super::{Log, counted::Taken};
use crate::{
    failure::{Failure, Kind},
    source::{
        Reading, Statistics,
        history::{History, POINTS, Point, Series, Traffic},
    },
};

impl Log {
    /// The last reading, and what happened up to it since the first one.
    pub(crate) fn history(&mut self) -> Result<(Statistics, History)> {
        let Some(mut last) = self.next()? else {
            return Err(self.nothing());
        };
        let before = self.take();
        let mut begin = last.time;
        let mut whole = Taken::default();
        let mut spans: Vec<Span> = Vec::new();
        // How many readings become one span, and how many of the next one were read.
        let (mut stride, mut partial) = (1, 0);
        while let Some(reading) = self.next()? {
            if reading.role != last.role {
                return Err(Failure::error(
                    Kind::Failed,
                    format!(
                        "cannot report on {}: from {} on it is of another role, and the two cannot be \
                         added\n  next: one of them, with --since or --until",
                        self.name, reading.time
                    ),
                ));
            }
            last = reading;
            partial += 1;
            if partial == stride {
                partial = 0;
                spans.push(Span::new(&last, self.take()));
            }
            if spans.len() == POINTS {
                stride *= 2;
                spans = spans.chunks_exact(2).map(Span::of_two).collect();
            }
        }
        if partial > 0 {
            spans.push(Span::new(&last, self.take()));
        }
        if spans.is_empty() {
            // One reading: what was counted before it.
            begin = last
                .interfaces
                .iter()
                .map(|interface| interface.since)
                .min()
                .unwrap_or(begin);
            spans.push(Span::new(&last, before));
        }
        for span in &spans {
            whole.merge(&span.taken);
        }
        let history = history(begin, &spans, &whole);
        Ok((self.statistics(&last, whole), history))
    }
}

/// Some readings in a row.
struct Span {
    /// Of the last one.
    time: Timestamp,
    gauges: Option<Gauges>,
    taken: Taken,
}

impl Span {
    fn new(reading: &Reading, taken: Taken) -> Self {
        Self {
            time: reading.time,
            gauges: reading.gauges,
            taken,
        }
    }

    fn of_two(two: &[Self]) -> Self {
        let mut taken = Taken::default();
        two.iter().for_each(|one| taken.merge(&one.taken));
        let last = &two[two.len() - 1];
        Self {
            time: last.time,
            gauges: last.gauges,
            taken,
        }
    }
}

fn history(begin: Timestamp, spans: &[Span], whole: &Taken) -> History {
    let points = spans.iter().map(|span| {
        let mut counters = Counters::default();
        for recent in span.taken.interfaces.values() {
            counters.add(&recent.counters);
        }
        Point {
            time: span.time,
            gauges: span.gauges,
            counters,
            hooks: span.taken.hooks.1,
        }
    });
    let mut series: Vec<_> = whole
        .interfaces
        .iter()
        .map(|(name, recent)| {
            let rates = spans.iter().map(|span| {
                let recent = span.taken.interfaces.get(name)?;
                let packets = recent.counters.leaves.mptcp as f64;
                (recent.seconds > 0.0).then(|| packets / recent.seconds)
            });
            Series {
                name: name.clone(),
                sum: recent.counters.leaves.mptcp,
                rates: rates.collect(),
            }
        })
        .collect();
    series.sort_by_key(|series| Reverse(series.sum));
    History {
        begin,
        points: points.collect(),
        traffic: vec![Traffic {
            title: "Packets with MPTCP options",
            unit: "packets",
            rate: "packets/s, by interface",
            series,
        }],
    }
}
