//! A capture's history, while it is read.

use std::{cmp::Reverse, collections::HashMap};

use mptcp_common::{
    counter::{Counters, FexitCounts, Gauges},
    state::Tables as _,
    table::{Table as _, Word},
};

use super::{SECOND, timestamp};
use crate::{
    offline::Offline,
    source::{
        history::{History, POINTS, Point, Series, Traffic},
        sessions::subflow_ends,
    },
};

/// Subflows that are watched one by one; what more there are is added up.
const SUBFLOWS: usize = 1024;

/// Divides the time so far into equal spans. How long the capture is shows at its end, so that they are
/// short at first, and two become one when there are too many.
pub(super) struct Watch {
    first: u64,
    /// Nanoseconds of a span.
    width: u64,
    /// What was counted and what existed at the end of each span that is over.
    ends: Vec<(Counters, Gauges)>,
    /// By slot and time of creation.
    subflows: HashMap<(u32, u64), usize>,
    series: Vec<Payload>,
    others: Payload,
}

/// Bytes of a subflow by side and span.
#[derive(Clone, Debug, Default)]
struct Payload {
    name: String,
    sides: [Vec<u64>; 2],
}

impl Payload {
    fn add(&mut self, side: usize, span: usize, bytes: u32) {
        let spans = &mut self.sides[side];
        if spans.len() <= span {
            spans.resize(span + 1, 0);
        }
        spans[span] += u64::from(bytes);
    }

    fn coarsen(&mut self) {
        for spans in &mut self.sides {
            *spans = spans.chunks(2).map(|pair| pair.iter().sum()).collect();
        }
    }

    fn sum(&self) -> u64 {
        self.sides.iter().flatten().sum()
    }
}

impl Watch {
    pub(super) fn new(first: u64) -> Self {
        Self {
            first,
            width: 100_000,
            ends: Vec::new(),
            subflows: HashMap::new(),
            series: Vec::new(),
            others: Payload::default(),
        }
    }

    /// Before a packet is counted: ends the spans that are over by then.
    pub(super) fn before(&mut self, engine: &Offline, now: u64) {
        while (now - self.first) / self.width >= POINTS as u64 {
            self.width *= 2;
            self.ends = self.ends.chunks_exact(2).map(|pair| pair[1]).collect();
            self.others.coarsen();
            self.series.iter_mut().for_each(Payload::coarsen);
        }
        while self.end() <= now {
            self.ends
                .push((engine.counters(), engine.gauges(self.end())));
        }
    }

    /// Behind a packet.
    pub(super) fn after(&mut self, engine: &Offline) {
        let Some((slot, side, bytes)) = engine.payload() else {
            return;
        };
        let Some(entry) = engine.subflows().slot(slot) else {
            return;
        };
        let span = self.ends.len();
        let key = (slot, Word::load(&entry.created));
        let index = match self.subflows.get(&key) {
            Some(index) => *index,
            None if self.series.len() < SUBFLOWS => {
                let [initiator, listener] = subflow_ends(entry);
                self.series.push(Payload {
                    name: format!("{initiator} > {listener}"),
                    ..Payload::default()
                });
                self.subflows.insert(key, self.series.len() - 1);
                self.series.len() - 1
            }
            None => return self.others.add(side, span, bytes),
        };
        self.series[index].add(side, span, bytes);
    }

    /// The end of the span that is under way.
    fn end(&self) -> u64 {
        self.first + (self.ends.len() as u64 + 1) * self.width
    }

    /// All of it, when the capture is at its end.
    pub(super) fn history(mut self, engine: &Offline, last: u64) -> History {
        let begin = timestamp(self.first);
        self.ends.push((engine.counters(), engine.gauges(last)));
        let mut before = Counters::default();
        let points = self
            .ends
            .iter()
            .zip(1..)
            .map(|((counters, gauges), number)| {
                let point = Point {
                    time: timestamp(self.first + number * self.width),
                    gauges: Some(*gauges),
                    counters: counters.since(&before),
                    hooks: FexitCounts::default(),
                };
                before = *counters;
                point
            });
        let points: Vec<_> = points.collect();
        self.series.sort_by_key(|payload| Reverse(payload.sum()));
        if self.others.sum() > 0 {
            self.others.name = "further subflows".to_owned();
            self.series.push(self.others);
        }
        let seconds = self.width as f64 / SECOND as f64;
        let traffic = |side: usize, title| Traffic {
            title,
            unit: "bytes",
            rate: "bit/s, by subflow",
            series: self
                .series
                .iter()
                .map(|payload| Series {
                    name: payload.name.clone(),
                    sum: payload.sides[side].iter().sum(),
                    rates: (0..points.len())
                        .map(|span| payload.sides[side].get(span).copied().unwrap_or_default())
                        .map(|bytes| Some((8 * bytes) as f64 / seconds))
                        .collect(),
                })
                .collect(),
        };
        let traffic = vec![
            traffic(0, "Payload from the initiators"),
            traffic(1, "Payload from the listeners"),
        ];
        History {
            begin,
            points,
            traffic,
        }
    }
}
