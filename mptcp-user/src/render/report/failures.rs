//! What became of what was asked for, and what failed, when, and what to do next.

use anyhow::Result;
use maud::{Markup, PreEscaped, html};

use super::{
    plot,
    scale::{Scale, moment},
};
use crate::{
    render::outcome::{lines, view},
    snapshot::{
        history::{History, Point},
        outcome::{FindingKind, Outcome},
        statistics::Statistics,
    },
    statistics::{Advice, EXTRAS, ROWS, RowKind, Severity},
};

/// A failure that was counted.
struct Failure {
    name: &'static str,
    label: &'static str,
    advice: Advice,
    /// How many up to which of the points, and after the one before.
    times: Vec<(usize, u64)>,
    /// How many, where that has no times.
    total: u64,
}

impl Failure {
    fn count(&self) -> u64 {
        match self.times.is_empty() {
            true => self.total,
            false => self
                .times
                .iter()
                .map(|(_, count)| *count)
                .fold(0, u64::saturating_add),
        }
    }
}

/// Returns what this place saw, in some lines.
pub(super) fn seen(outcome: &Outcome) -> Markup {
    html! {
        h2 { "Sessions and joins" }
        table {
            tbody {
                @for (title, line) in lines(outcome) {
                    tr { th scope="row" { (title) } td { (line) } }
                }
            }
        }
    }
}

/// Returns what failed, and below it what healthy hosts do.
pub(super) fn section(
    statistics: &Statistics,
    outcome: &Outcome,
    over_time: Option<(&History, Scale)>,
) -> Result<Markup> {
    let found = find(statistics, outcome, over_time.map(|(history, _)| history));
    let marks = over_time.map(|(history, scale)| plotted(&found, history, scale));
    Ok(html! {
        h2 { "Failures" }
        @if found.is_empty() {
            p { "None." }
        } @else if !view(outcome).is_empty() {
            p.quiet { "In what follows" (view(outcome)) "." }
        }
        @if let Some(Some(svg)) = marks.transpose()? {
            figure {
                div.wide role="img" aria-label="Failures, over time" { (PreEscaped(svg)) }
            }
        }
        @if !found.is_empty() {
            div.wide { (table(&found, over_time.map(|(history, _)| history))) }
        }
        @if !outcome.normal.is_empty() {
            p.quiet {
                "Not among them, since it is " (Severity::NormalOnLinux.name()) ": "
                @for (i, finding) in outcome.normal.iter().enumerate() {
                    @if i > 0 { "; " }
                    (finding.name) " " (finding.total) " (" (finding.advice.meaning) ")"
                }
                "."
            }
        }
    })
}

/// Returns the failures that were counted in the time of the page or before it.
fn find(statistics: &Statistics, outcome: &Outcome, history: Option<&History>) -> Vec<Failure> {
    let points = history.map_or(&[][..], |history| &history.points);
    let times = |count: &dyn Fn(&Point) -> Option<u64>| -> Vec<_> {
        let counts = points.iter().map(|point| count(point).unwrap_or(0));
        counts.enumerate().filter(|(_, count)| *count > 0).collect()
    };
    let rows = ROWS.iter().map(|row| Failure {
        name: row.short,
        label: row.label,
        advice: row.advice(),
        times: match row.kind {
            RowKind::Counter => {
                times(&|point| statistics.row_of(row, &point.counters, &point.hooks))
            }
            RowKind::Gauge => Vec::new(),
        },
        total: statistics.row_total(row).unwrap_or(0),
    });
    let extras = EXTRAS.iter().map(|extra| Failure {
        name: extra.name,
        label: extra.description,
        advice: extra.advice(),
        times: times(&|point| statistics.extra_of(extra, &point.counters)),
        total: statistics.extra_total(extra).unwrap_or(0),
    });
    let left = outcome.failures.iter();
    let left = left.filter(|finding| finding.kind == FindingKind::Outcome);
    let left = left.map(|finding| Failure {
        name: finding.name,
        label: finding.label,
        advice: finding.advice,
        times: Vec::new(),
        total: finding.total,
    });
    let mut found: Vec<_> = rows
        .chain(extras)
        .chain(left)
        .filter(|failure| failure.advice.severity == Severity::Failure && failure.count() > 0)
        .collect();
    let names: Vec<_> = found.iter().map(|failure| failure.name).collect();
    found.retain(|failure| !failure.advice.is_told_by(&names));
    found
}

/// Returns when they were counted; `None` where nothing has a time.
fn plotted(found: &[Failure], history: &History, scale: Scale) -> Result<Option<String>> {
    let start = |point: usize| match point.checked_sub(1) {
        Some(before) => scale.place(history.points[before].time),
        None => 0.0,
    };
    let timed: Vec<_> = found
        .iter()
        .filter(|failure| !failure.times.is_empty())
        .collect();
    if timed.is_empty() {
        return Ok(None);
    }
    let names: Vec<_> = timed.iter().map(|failure| failure.name).collect();
    let mut marks = Vec::new();
    for (row, failure) in timed.iter().enumerate() {
        for (point, _) in &failure.times {
            let end = scale.place(history.points[*point].time);
            marks.push((row, start(*point), end));
        }
    }
    plot::marks(scale.axis, &names, &marks).map(Some)
}

fn table(found: &[Failure], history: Option<&History>) -> Markup {
    let time = |point: Option<&(usize, u64)>| match (point, history) {
        (Some((point, _)), Some(history)) => moment(history.points[*point].time),
        _ => String::new(),
    };
    html! {
        table {
            thead { tr {
                th scope="col" { "What" }
                th.number scope="col" { "Count" }
                th.number scope="col" { "First by" }
                th.number scope="col" { "Last by" }
            } }
            tbody {
                @for failure in found {
                    tr {
                        th scope="row" {
                            (failure.label) " (" (failure.name) ")"
                            p.quiet { (failure.advice.meaning) " Next: " (failure.advice.next) "." }
                        }
                        td.number { (failure.count()) }
                        td.number { (time(failure.times.first())) }
                        td.number { (time(failure.times.last())) }
                    }
                }
            }
        }
    }
}
