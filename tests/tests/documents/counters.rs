//! docs/counters.md: facts of each row come from the code, and each row is explained.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result, ensure};
use mptcp_common::counter::{FexitHook, Role};
use mptcp_tests::document::check_parts;
use mptcp_user::statistics::{Advice, EXTRAS, Need, ROWS, Row, RowKind, Severity};

use super::links::anchor;

/// What each row's section says.
const SAYS: [&str; 4] = [
    "- **Moves it.** ",
    "- **Does not.** ",
    "- **Defined.** ",
    "- **Means.** ",
];

/// A formula, in words for readers: what the source says in short is written out.
fn formula(source: &str) -> String {
    let short = source.replace("c.", "").replace("g.", "");
    let short = short.split_whitespace().collect::<Vec<_>>().join(" ");
    let short = short.replace("DssFlags::", "");
    let short = match short.split_once(".saturating_sub(") {
        Some((from, what)) => format!("{from} - {}", what.trim_end_matches(')')),
        None => short,
    };
    match short
        .strip_prefix("all!(")
        .and_then(|rest| rest.strip_suffix(')'))
    {
        Some(field) => format!("`{field}` of all directions"),
        None => format!("`{short}`"),
    }
}

fn heading(row: &Row) -> String {
    format!("{}: {}", row.short, row.label)
}

/// What the row cannot do without, as readers know it.
fn need(need: Need) -> &'static str {
    match need {
        Need::Flows => "sessions that are followed",
        Need::FlowsOnMiddlebox => "on a middlebox, sessions that are followed",
        Need::Queues => "receive queues",
        Need::Checksums => "`--verify-checksums`",
        Need::KernelHooks => "hooks on the kernel's functions",
    }
}

fn facts(row: &Row) -> String {
    let [host, middlebox] = [Role::Host, Role::Middlebox].map(|role| row.quality(role).name());
    let kind = match row.kind {
        RowKind::Counter => "counter",
        RowKind::Gauge => "gauge",
    };
    let mut text = format!(
        "### {}\n\nRow {}, a {kind} of the group {}. NITRO: `{}`. Host: {host}. Middlebox: {middlebox}.\n",
        heading(row),
        row.number,
        row.group.name(),
        row.nitro
    );
    if let Some(value) = row.value {
        let _ = writeln!(text, "Made of {}.", formula(value.formula()));
    }
    let needs: Vec<_> = [
        Need::Flows,
        Need::FlowsOnMiddlebox,
        Need::Queues,
        Need::Checksums,
        Need::KernelHooks,
    ]
    .into_iter()
    .filter(|of| row.needs(*of))
    .map(need)
    .collect();
    if !needs.is_empty() {
        let _ = writeln!(text, "Needs {}.", needs.join(", "));
    }
    text
}

fn rows() -> String {
    let mut text =
        String::from("\n| # | row | label | host | middlebox |\n|---|---|---|---|---|\n");
    for row in &ROWS {
        let _ = writeln!(
            text,
            "| {} | [{}](#{}) | {} | {} | {} |",
            row.number,
            row.short,
            anchor(&heading(row)),
            row.label,
            row.quality(Role::Host).name(),
            row.quality(Role::Middlebox).name(),
        );
    }
    text.push('\n');
    text
}

fn hooks() -> String {
    let mut text = String::from("\n| name | function | counts when it |\n|---|---|---|\n");
    for hook in FexitHook::ALL {
        let (function, condition) = (hook.function(), hook.condition());
        let _ = writeln!(text, "| {hook:?} | `{function}` | {condition} |");
    }
    text.push('\n');
    text
}

fn extras() -> String {
    let mut text = String::from(
        "\n| name | what it counts | host | middlebox | made of |\n|---|---|---|---|---|\n",
    );
    for extra in EXTRAS {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            extra.name,
            extra.description,
            extra.quality(Role::Host).name(),
            extra.quality(Role::Middlebox).name(),
            formula(extra.value.formula()),
        );
    }
    text.push('\n');
    text
}

/// What the numbers that are not neutral mean, and what to do next.
fn advice() -> String {
    let mut text = String::from("\n| name | what it means | what to do next |\n|---|---|---|\n");
    let of = |severity| {
        Advice::names()
            .map(|name| (name, Advice::of(name)))
            .filter(move |(_, advice)| advice.severity == severity)
    };
    let code = |words: &str| words.replace('|', "\\|");
    for (name, Advice { meaning, next, .. }) in of(Severity::Failure) {
        let _ = writeln!(text, "| {name} | {meaning} | {} |", code(next));
    }
    text.push_str(
        "\nWhat healthy Linux hosts do; none of these is a failure:\n\n| name | why |\n|---|---|\n",
    );
    for (name, Advice { meaning, .. }) in of(Severity::NormalOnLinux) {
        let _ = writeln!(text, "| {name} | {meaning} |");
    }
    text.push_str("\nAll others are neutral.\n\n");
    text
}

#[test]
fn counters() -> Result<()> {
    let mut parts = vec![
        ("rows", rows()),
        ("hooks", hooks()),
        ("extras", extras()),
        ("advice", advice()),
    ];
    parts.extend(ROWS.iter().map(|row| (row.short, facts(row))));
    check_parts("counters.md", &parts)
}

/// Each row has a section that says what moves it, what does not, where it is defined, and what it means.
#[test]
fn each_row_is_explained() -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/counters.md");
    let text = fs::read_to_string(path)?;
    let mut wrong = Vec::new();
    for row in &ROWS {
        let begin = format!("<!-- generated: {} -->", row.short);
        let (_, rest) = text.split_once(&begin).with_context(|| begin.clone())?;
        let (_, rest) = rest.split_once("<!-- end -->").context("no end")?;
        let section = rest.split("\n#").next().unwrap_or(rest);
        let section = section.split("<!-- generated").next().unwrap_or(section);
        for says in SAYS {
            let words = section.split_once(says).map_or(0, |(_, said)| {
                said.split("\n- ").next().unwrap_or(said).split(' ').count()
            });
            if words < 2 {
                wrong.push(format!("{} lacks {says}", row.short));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
