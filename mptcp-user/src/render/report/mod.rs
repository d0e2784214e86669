//! A page of what a capture or a log holds, which needs nothing else: no script, no network.

mod plot;

use crate::statistics::{EXTRAS, Group, Quality, ROWS, Row};
use anyhow::Result;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::plot::{Axis, COLOURS, Line};
use super::{lost::losses, number::number, passed, table::names};
use crate::{
    schema::role_name,
    snapshot::{
        history::{History, Point, Traffic},
        statistics::{Origin, Statistics},
    },
    text::visible,
};

/// What tells that a session fell back to TCP, beyond the rows of errors.
const FALLBACK_ROWS: [&str; 2] = ["TotFB", "InfSet"];
const FALLBACK_EXTRAS: [&str; 4] = ["NoMpcSynack", "TotFBtx", "FBnoMap", "InfSetTx"];

/// What a page is made of.
pub(crate) struct Page<'a> {
    pub(crate) statistics: &'a Statistics,
    /// `None` of a capture in which no packet has a time.
    pub(crate) history: Option<&'a History>,
    /// What its reader should know, in sentences.
    pub(crate) remarks: &'a [String],
}

/// Time on the axes.
#[derive(Clone, Copy)]
struct Scale {
    begin: Timestamp,
    /// Seconds of the unit.
    unit: f64,
    name: &'static str,
    axis: Axis,
}

impl Scale {
    fn new(history: &History) -> Self {
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

    fn place(&self, time: Timestamp) -> f64 {
        time.duration_since(self.begin).as_secs_f64() / self.unit
    }

    /// Returns the corners of a line that is flat up to each point.
    fn steps(&self, points: &[Point], value: impl Fn(usize) -> Option<f64>) -> Vec<(f64, f64)> {
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

/// Returns the page.
pub(crate) fn page(report: &Page<'_>) -> Result<String> {
    let Page {
        statistics,
        history,
        remarks,
    } = report;
    let over_time = history.map(|history| (history, Scale::new(history)));
    let (what, file) = match &statistics.origin {
        Origin::Live => ("probe", ""),
        Origin::Capture { file, .. } => ("capture", file.as_str()),
        Origin::Log { file, .. } => ("log", file.as_str()),
    };
    let is_capture = matches!(statistics.origin, Origin::Capture { .. });
    let body = html! {
        header {
            h1 { "MPTCP in " (file) }
            p.quiet {
                "A " (what) ", as a " (role_name(statistics.role)) " counts it. "
                @match over_time {
                    Some((history, scale)) => {
                        "Times are in " (scale.name) " since " (moment(history.begin)) "."
                    }
                    None if statistics.rows.frames == 0 => { "It holds no packets." }
                    None => { "Its packets have no times, so that nothing can be shown over time." }
                }
            }
            @for remark in *remarks { p.remark { (remark) } }
            @for loss in losses(&statistics.rows, statistics.since, is_capture) {
                @if loss.is_of_state() { p.remark { "Lost: " (loss.sentence()) } }
            }
            @if let Some(note) = passed::note(&statistics.rows) { p.remark { (note) } }
            (facts(statistics, *history))
        }
        main {
            @if let Some((history, scale)) = over_time {
                (existing(history, scale)?)
                @for traffic in &history.traffic { (throughput(traffic, history, scale)?) }
                (alarms(statistics, history, scale)?)
            }
            (table(statistics))
        }
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'";
                title { "MPTCP in " (file) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body { (body) }
        }
    };
    Ok(visible(&page.into_string()).into_owned())
}

fn moment(time: Timestamp) -> String {
    time.strftime("%F %T%.3fZ").to_string()
}

fn facts(statistics: &Statistics, history: Option<&History>) -> Markup {
    let at = |time: Option<Timestamp>| time.map(moment).unwrap_or_default();
    let total = |short: &str| {
        let row = ROWS.iter().find(|row| row.short == short);
        shown(row.and_then(|row| statistics.row_total(row)))
    };
    let facts = [
        ("From", at(history.map(|history| history.begin))),
        ("To", at(statistics.time)),
        ("Counted since", at(statistics.since)),
        ("Interfaces", names(statistics)),
        ("Packets", shown(Some(statistics.rows.frames))),
        (
            "With MPTCP options",
            shown(Some(statistics.rows.leaves.mptcp)),
        ),
        ("Sessions created", total("TotSess")),
        ("Subflows created", total("subCon")),
    ];
    html! {
        dl {
            @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
                div { dt { (name) } dd { (value) } }
            }
        }
    }
}

/// Sessions and subflows over time.
fn existing(history: &History, scale: Scale) -> Result<Markup> {
    let gauges = |i: usize| history.points[i].gauges;
    if history.points.iter().all(|point| point.gauges.is_none()) {
        return Ok(html! {
            h2 { "Sessions and subflows" }
            p { "Flows were not followed (--no-track)." }
        });
    }
    let lines = [
        Line {
            colour: 0,
            points: scale.steps(&history.points, |i| Some(gauges(i)?.sessions as f64)),
        },
        Line {
            colour: 1,
            points: scale.steps(&history.points, |i| Some(gauges(i)?.subflows as f64)),
        },
    ];
    let svg = plot::lines(scale.axis, &lines, &|value| {
        // There are no halves.
        if value.fract() == 0.0 {
            number(*value as u64, false)
        } else {
            String::new()
        }
    })?;
    Ok(html! {
        h2 { "Sessions and subflows" }
        (figure("Sessions and subflows that existed, over time", &svg, &[
            (0, "sessions".to_owned()),
            (1, "subflows".to_owned()),
        ]))
    })
}

/// Returns a line for each of those with most traffic, and one for the rest.
fn throughput(traffic: &Traffic, history: &History, scale: Scale) -> Result<Markup> {
    let rest = COLOURS.len() - 1;
    let own = traffic.series.len().min(rest);
    let mut lines = Vec::new();
    let mut keys = Vec::new();
    let unit = traffic.unit;
    for (colour, series) in traffic.series[..own].iter().enumerate() {
        lines.push(Line {
            colour,
            points: scale.steps(&history.points, |i| series.rates[i]),
        });
        let sum = number(series.sum, false);
        keys.push((colour, format!("{} ({sum} {unit})", series.name)));
    }
    let others = &traffic.series[own..];
    if !others.is_empty() {
        lines.push(Line {
            colour: rest,
            points: scale.steps(&history.points, |i| {
                Some(others.iter().filter_map(|series| series.rates[i]).sum())
            }),
        });
        let sum = number(
            others
                .iter()
                .map(|series| series.sum)
                .fold(0, u64::saturating_add),
            false,
        );
        keys.push((rest, format!("{} others ({sum} {unit})", others.len())));
    }
    let heading = html! { h2 { (traffic.title) } };
    if traffic.series.iter().all(|series| series.sum == 0) {
        return Ok(html! { (heading) p { "None." } });
    }
    let svg = plot::lines(scale.axis, &lines, &|rate| match rate {
        rate if *rate > 0.0 && *rate < 10.0 => format!("{rate:.1}"),
        rate => number(*rate as u64, false),
    })?;
    Ok(html! {
        (heading)
        p.quiet { (traffic.rate) }
        (figure(traffic.title, &svg, &keys))
    })
}

fn figure(title: &str, svg: &str, keys: &[(usize, String)]) -> Markup {
    html! {
        figure {
            div.wide role="img" aria-label=(title) { (PreEscaped(svg)) }
            figcaption {
                ul.keys {
                    @for (colour, name) in keys {
                        @let (red, green, blue) = COLOURS[*colour];
                        li {
                            span.key style=(format!("background: rgb({red} {green} {blue})")) {}
                            (name)
                        }
                    }
                }
            }
        }
    }
}

/// An error or fallback that was counted.
struct Alarm {
    name: &'static str,
    label: &'static str,
    /// How many up to which of the points, and after the one before.
    times: Vec<(usize, u64)>,
}

/// Errors and fallbacks that were counted, and when.
fn alarms(statistics: &Statistics, history: &History, scale: Scale) -> Result<Markup> {
    let mut found = Vec::new();
    let mut look = |name, label, count: &dyn Fn(&Point) -> Option<u64>| {
        let counts = history.points.iter().map(|point| count(point).unwrap_or(0));
        let times: Vec<_> = counts.enumerate().filter(|(_, count)| *count > 0).collect();
        if !times.is_empty() {
            found.push(Alarm { name, label, times });
        }
    };
    for row in ROWS.iter().filter(|row| is_alarm(row, statistics)) {
        look(row.short, row.label, &|point| {
            statistics.row_of(row, &point.counters, &point.hooks)
        });
    }
    let extras = EXTRAS.iter();
    for extra in extras.filter(|extra| FALLBACK_EXTRAS.contains(&extra.name)) {
        look(extra.name, extra.description, &|point| {
            statistics.extra_of(extra, &point.counters)
        });
    }
    let heading = html! { h2 { "Errors and fallbacks" } };
    if found.is_empty() {
        return Ok(html! { (heading) p { "None." } });
    }
    let start = |point: usize| match point.checked_sub(1) {
        Some(before) => scale.place(history.points[before].time),
        None => 0.0,
    };
    let names: Vec<_> = found.iter().map(|alarm| alarm.name).collect();
    let mut marks = Vec::new();
    for (row, alarm) in found.iter().enumerate() {
        for (point, _) in &alarm.times {
            let end = scale.place(history.points[*point].time);
            marks.push((row, start(*point), end));
        }
    }
    let svg = plot::marks(scale.axis, &names, &marks)?;
    Ok(html! {
        (heading)
        figure {
            div.wide role="img" aria-label="Errors and fallbacks, over time" { (PreEscaped(svg)) }
        }
        table {
            thead { tr {
                th scope="col" { "What" }
                th.number scope="col" { "Count" }
                th.number scope="col" { "First by" }
                th.number scope="col" { "Last by" }
            } }
            tbody {
                @for Alarm { name, label, times } in &found {
                    @let time = |point: Option<&(usize, u64)>| {
                        point.map(|(point, _)| moment(history.points[*point].time))
                    };
                    tr {
                        th scope="row" { (label) " (" (name) ")" }
                        td.number { (times.iter().map(|(_, count)| *count).fold(0, u64::saturating_add)) }
                        td.number { (time(times.first()).unwrap_or_default()) }
                        td.number { (time(times.last()).unwrap_or_default()) }
                    }
                }
            }
        }
    })
}

/// Returns true if the row says that something went wrong, and not only by a product's policy.
fn is_alarm(row: &Row, statistics: &Statistics) -> bool {
    let is_error = row.group.is_error() && statistics.quality(row) != Quality::Policy;
    is_error || FALLBACK_ROWS.contains(&row.short)
}

/// Returns the 83 rows.
fn table(statistics: &Statistics) -> Markup {
    let mut groups: Vec<(Group, Vec<&Row>)> = Vec::new();
    for row in &ROWS {
        match groups.last_mut() {
            Some((group, rows)) if *group == row.group => rows.push(row),
            _ => groups.push((row.group, vec![row])),
        }
    }
    html! {
        h2 { "Statistics" }
        p.quiet {
            @if let Some(since) = statistics.since {
                "Totals since " (moment(since)) "; rates per second over the time of this page."
            }
        }
        div.wide {
            table id="statistics" {
                thead { tr {
                    th scope="col" { "Row" }
                    th scope="col" { "Short" }
                    th.number scope="col" { "Rate (/s)" }
                    th.number scope="col" { "Total" }
                    th scope="col" { "Quality" }
                } }
                @for (group, rows) in &groups {
                    tbody {
                        tr { th colspan="5" scope="rowgroup" { (group.name()) } }
                        @for row in rows { (line(row, statistics)) }
                    }
                }
            }
        }
    }
}

fn line(row: &Row, statistics: &Statistics) -> Markup {
    let total = statistics.row_total(row);
    let class = match total {
        None | Some(0) => "zero",
        Some(_) if is_alarm(row, statistics) => "alarm",
        Some(_) => "",
    };
    let rate = statistics.row_rate(row).map(|rate| format!("{rate:.3}"));
    html! {
        tr class=(class) id=(row.short) {
            th scope="row" { (row.label) }
            td { (row.short) }
            td.number { (rate.unwrap_or_else(|| "n/a".to_owned())) }
            td.number.total { (shown(total)) }
            td { (statistics.quality(row).name()) }
        }
    }
}

fn shown(total: Option<u64>) -> String {
    total.map_or("n/a".to_owned(), |total| total.to_string())
}
