//! The statistics table.

use std::fmt::Write as _;

use crate::statistics::{EXTRAS, Extra, Quality, ROWS, Row, Severity};
use comfy_table::{CellAlignment, Table, presets};

use super::{
    lost::losses,
    number::{label, number},
    outcome, passed,
};
use crate::{
    schema::role_name,
    snapshot::{
        outcome::Outcome,
        statistics::{Origin, Statistics},
    },
    text::shown,
};

/// Characters of a line where there is no terminal, and the fewest that are used.
const WIDTH: usize = 80;

/// Characters of a line beside the first column.
const NUMBERS: usize = 32;

/// What to show, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) detail: bool,
    /// Further numbers that are 0, too.
    pub(crate) zeros: bool,
    pub(crate) full_values: bool,
    /// Characters of a line; `None` where there is no terminal.
    pub(crate) width: Option<usize>,
}

impl Style {
    /// Returns a row's label, shortened to the room that there is.
    fn label(&self, text: &str, short: Option<&str>) -> String {
        let width = self.width.unwrap_or(WIDTH).max(WIDTH);
        label(text, short, width - NUMBERS, self.full_values)
    }
}

/// Returns the table in text, with its heading.
pub(crate) fn statistics(statistics: &Statistics, style: Style) -> String {
    let mut text = heading(statistics);
    text.push('\n');
    text.push_str(&outcome::text(&Outcome::of(statistics), style.full_values));
    text.push('\n');
    let mut table = new_table(["", "Rate (/s)", "Total"]);
    for rows in ROWS.chunk_by(|row, next| row.group == next.group) {
        if style.detail {
            add_heading(&mut table, &group_heading(rows));
        }
        for row in rows {
            if style.detail || in_summary(row, statistics) {
                let short = row.shows_short.then_some(row.short);
                table.add_row(cells(
                    style.label(row.label, short),
                    statistics.row_rate(row),
                    statistics.row_total(row),
                    style,
                ));
            }
        }
    }
    if style.detail {
        add_further(&mut table, statistics, style);
    }
    text.push_str(&lines(&table));
    if style.detail {
        text.push_str(&qualities(statistics));
    }
    text
}

/// Returns what stands above rows that belong together. Some groups of the table come more than once.
fn group_heading(rows: &[Row]) -> String {
    let name = rows.first().map_or("", |row| row.group.name());
    match rows {
        [first, .., last] => format!("{name} (rows {} to {})", first.number, last.number),
        [row] => format!("{name} (row {})", row.number),
        [] => String::new(),
    }
}

fn add_heading(table: &mut Table, heading: &str) {
    table.add_row([""]);
    table.add_row([format!("== {heading}")]);
}

/// Adds the further numbers, and says how many were left out.
fn add_further(table: &mut Table, statistics: &Statistics, style: Style) {
    let is_shown = |extra: &&Extra| style.zeros || statistics.extra_total(extra) != Some(0);
    let left_out = EXTRAS.iter().filter(|extra| !is_shown(extra)).count();
    add_heading(table, "Further numbers");
    for extra in EXTRAS.iter().filter(is_shown) {
        table.add_row(cells(
            style.label(extra.description, Some(extra.name)),
            statistics.extra_rate(extra),
            statistics.extra_total(extra),
            style,
        ));
    }
    if left_out > 0 {
        table.add_row([format!("{left_out} others are 0 (--zeros shows them)")]);
    }
}

/// Returns rows of the summary: the main ones, and every failure that has happened. What healthy hosts do is no failure.
fn in_summary(row: &Row, statistics: &Statistics) -> bool {
    row.in_summary
        || (row.advice().severity == Severity::Failure
            && statistics.row_total(row).is_some_and(|total| total > 0))
}

fn heading(statistics: &Statistics) -> String {
    let (of, what) = match &statistics.origin {
        Origin::Live => (names(statistics), "probe"),
        Origin::Capture { file, .. } => (file.clone(), "capture"),
        Origin::Log { file, .. } => (format!("{file}: {}", names(statistics)), "probe"),
    };
    let since = match statistics.since {
        Some(since) => format!("since {since:.0}"),
        None if statistics.rows.frames == 0 => "which holds no packets".to_owned(),
        None => "whose packets have no times".to_owned(),
    };
    let role = role_name(statistics.role);
    let mut text = format!("MPTCP statistics of {of} ({role}), {since}\n");
    let read = match (&statistics.origin, statistics.time) {
        // Its last packet's time is no time of reading.
        (Origin::Capture { .. }, _) | (_, None) => None,
        (_, Some(time)) => Some(format!("read at {time:.0}")),
    };
    let over = statistics
        .rate_over()
        .map(|over| format!("rates over {}", seconds(over)));
    let times: Vec<_> = read.into_iter().chain(over).collect();
    if !times.is_empty() {
        let times = times.join(", ");
        let _ = writeln!(text, "{}{}", times[..1].to_uppercase(), &times[1..]);
    }
    if statistics.attached_mid_traffic {
        let _ = writeln!(text, "Sessions may have been there before the {what}");
    }
    if statistics.in_flight {
        text.push_str("In flight: packets were being counted while this was read\n");
    }
    let is_capture = matches!(statistics.origin, Origin::Capture { .. });
    for loss in losses(&statistics.rows, statistics.since, is_capture) {
        if loss.is_of_state() {
            let _ = writeln!(text, "Lost: {}", loss.sentence());
        }
    }
    if let Some(note) = passed::note(&statistics.rows) {
        let _ = writeln!(text, "{note}");
    }
    text
}

/// Returns a time in seconds, with what can be read of it.
fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 0.1 => format!("{:.3} ms", s * 1000.0),
        s if s < 1000.0 => format!("{s:.1} s"),
        s => format!("{s:.0} s"),
    }
}

/// Returns the names of the interfaces.
pub(super) fn names(statistics: &Statistics) -> String {
    let names = statistics
        .interfaces
        .iter()
        .map(|name| shown(name).to_string());
    names.collect::<Vec<_>>().join(", ")
}

fn cells(label: String, rate: Option<f64>, total: Option<u64>, style: Style) -> [String; 3] {
    let show = |value: u64| number(value, style.full_values);
    [
        label,
        match rate {
            Some(rate) => show(rate.round() as u64),
            None => no_rate(total).to_owned(),
        },
        total.map_or(NOT_KNOWN.to_owned(), show),
    ]
}

/// What nothing can feed.
const NOT_KNOWN: &str = "n/a";

/// Returns what stands in the place of a rate that there is not: of a gauge, or where no time has passed, there is none
/// to be known.
pub(super) fn no_rate(total: Option<u64>) -> &'static str {
    match total {
        Some(_) => "--",
        None => NOT_KNOWN,
    }
}

/// Returns which rows are not simply what the packets say.
fn qualities(statistics: &Statistics) -> String {
    let mut text = String::new();
    for (quality, meaning) in [
        (Quality::Derived, "follow from state"),
        (Quality::Heuristic, "by a rule that is right in most cases"),
        (Quality::Policy, "by a limit or rule of policy"),
        (Quality::Analog, "stand-ins"),
        (Quality::Unavailable, "n/a here"),
    ] {
        let rows: Vec<_> = ROWS
            .iter()
            .filter(|row| statistics.quality(row) == quality)
            .map(|row| row.short)
            .collect();
        if !rows.is_empty() {
            let _ = writeln!(text, "{} ({meaning}): {}", quality.name(), rows.join(" "));
        }
    }
    text
}

/// Returns a table's text, without the blanks that fill its last column.
pub(crate) fn lines(table: &Table) -> String {
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Returns a table without lines, numbers to the right.
pub(crate) fn new_table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
