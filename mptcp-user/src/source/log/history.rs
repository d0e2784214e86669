//! A log's history.

use std::{cmp::Reverse, collections::BTreeMap, iter};

use anyhow::Result;
use jiff::Timestamp;
use mptcp_common::counter::{Counters, bounded_sum};

use super::{
    Log,
    counted::{Taken, add_hooks},
};
use crate::{
    failure::{Failure, FailureKind},
    snapshot::{
        history::{History, POINTS, Point, Series, Traffic},
        reading::Reading,
        statistics::{Recent, Statistics},
    },
};

impl Log {
    /// Returns the last reading, and what happened up to it since the first one.
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
                return Err(Failure::new(
                    FailureKind::Failed,
                    format!(
                        "cannot report on {}: from {} on it is of another role, and \
                     the two cannot be added",
                        self.name, reading.time
                    ),
                )
                .next("one of them, with --since or --until")
                .into());
            }
            last = reading;
            partial += 1;
            if partial == stride {
                partial = 0;
                spans.push(Span::new(&last, self.take(), &mut whole));
            }
            if spans.len() == POINTS {
                stride *= 2;
                spans = in_pairs(spans);
            }
        }
        if partial > 0 {
            spans.push(Span::new(&last, self.take(), &mut whole));
        }
        if spans.is_empty() {
            // One reading: what was counted before it.
            begin = last
                .interfaces
                .iter()
                .map(|interface| interface.since)
                .min()
                .unwrap_or(begin);
            spans.push(Span::new(&last, before, &mut whole));
        }
        let history = history(begin, spans, &whole);
        Ok((self.statistics(&last, whole), history))
    }
}

/// Some readings in a row.
struct Span {
    /// What is shown of them.
    point: Point,
    /// Seconds, and packets in them, by interface.
    packets: BTreeMap<String, (f64, u64)>,
}

impl Span {
    /// Returns what was taken up to a reading, which is added to the whole.
    fn new(reading: &Reading, taken: Taken, whole: &mut Taken) -> Self {
        whole.merge(&taken);
        let mut counters = Counters::default();
        for recent in taken.interfaces.values() {
            counters.add(&recent.counters);
        }
        let packets = |recent: Recent| (recent.seconds, recent.counters.leaves.mptcp);
        Self {
            point: Point {
                time: reading.time,
                gauges: reading.gauges,
                counters,
                hooks: taken.hooks.1,
            },
            packets: taken
                .interfaces
                .into_iter()
                .map(|(name, recent)| (name, packets(recent)))
                .collect(),
        }
    }

    /// Returns this one and the next.
    fn extended(mut self, next: Self) -> Self {
        let before = self.point;
        self.point = next.point;
        self.point.counters.add(&before.counters);
        add_hooks(&mut self.point.hooks, &before.hooks);
        for (name, (seconds, packets)) in next.packets {
            let sum = self.packets.entry(name).or_default();
            *sum = (sum.0 + seconds, bounded_sum(sum.1, packets));
        }
        self
    }
}

/// Neighbours become one.
fn in_pairs(spans: Vec<Span>) -> Vec<Span> {
    let mut spans = spans.into_iter();
    let pairs = iter::from_fn(|| Some(spans.next()?.extended(spans.next()?)));
    pairs.collect()
}

fn history(begin: Timestamp, spans: Vec<Span>, whole: &Taken) -> History {
    let mut series: Vec<_> = whole
        .interfaces
        .iter()
        .map(|(name, recent)| {
            let rates = spans.iter().map(|span| {
                let (seconds, packets) = *span.packets.get(name)?;
                (seconds > 0.0).then(|| packets as f64 / seconds)
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
        points: spans.into_iter().map(|span| span.point).collect(),
        traffic: vec![Traffic {
            title: "Packets with MPTCP options",
            unit: "packets",
            rate: "packets/s, by interface",
            series,
        }],
    }
}
