//! A page of what a capture or a log holds, which needs nothing else: no script, no network.

mod failures;
mod plot;
mod scale;

use crate::statistics::{Group, ROWS, Row, Severity};
use anyhow::Result;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use self::{
    plot::{COLOURS, Line},
    scale::{Scale, moment},
};
use super::{
    lost::losses,
    number::number,
    passed,
    table::{names, no_rate},
};
use crate::{
    schema::role_name,
    snapshot::{
        history::{History, Traffic},
        outcome::Outcome,
        statistics::{Origin, Statistics},
    },
    text::visible,
};

/// What a page is made of.
pub(crate) struct Page<'a> {
    pub(crate) statistics: &'a Statistics,
    /// `None` of a capture in which no packet has a time.
    pub(crate) history: Option<&'a History>,
    /// What its reader should know, in sentences.
    pub(crate) remarks: &'a [String],
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
    let outcome = Outcome::of(statistics);
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
            (failures::seen(&outcome))
            (failures::section(statistics, &outcome, over_time)?)
            @if let Some((history, scale)) = over_time {
                (existing(history, scale)?)
                @for traffic in &history.traffic { (throughput(traffic, history, scale)?) }
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
        Some(_) => match row.advice().severity {
            Severity::Failure => "alarm",
            Severity::NormalOnLinux | Severity::Neutral => "",
        },
    };
    let is_normal = class.is_empty() && row.advice().severity == Severity::NormalOnLinux;
    let rate = statistics.row_rate(row).map(|rate| format!("{rate:.3}"));
    html! {
        tr class=(class) id=(row.short) {
            th scope="row" { (row.label) }
            td { (row.short) }
            td.number { (rate.unwrap_or_else(|| no_rate(total).to_owned())) }
            td.number.total { (shown(total)) }
            td {
                (statistics.quality(row).name())
                @if is_normal { ", " (Severity::NormalOnLinux.name()) }
            }
        }
    }
}

fn shown(total: Option<u64>) -> String {
    total.map_or("n/a".to_owned(), |total| total.to_string())
}
