//! The generated parts of the documents say what the code says. `UPDATE_DOCS=1 cargo test -p
//! mptcp-tests --test documents` writes them anew.

use std::fmt::Write as _;

use anyhow::Result;
use mptcp_common::{
    counter::Counters, counter::DirectionCounters, counter::FexitHook, counter::LAYOUT_VERSION,
    counter::Outcomes, counter::Protocols, counter::Role,
};
use mptcp_tests::document::check;
use mptcp_user::statistics::{Advice, EXTRAS, ROWS, Severity};

/// A table of fields with their offsets.
fn fields(text: &mut String, fields: &[(&str, usize, &str)], base: &str) {
    let mut offset = 0;
    text.push_str("\n| offset | field | what it counts |\n|---|---|---|\n");
    for (name, words, description) in fields {
        let size = if *words > 1 {
            format!("[{words}]")
        } else {
            String::new()
        };
        let _ = writeln!(text, "| {base}{offset} | `{name}{size}` |{description} |");
        offset += words * 8;
    }
}

#[test]
fn maps() -> Result<()> {
    let mut text = format!(
        "\nLayout version {LAYOUT_VERSION}. A value of `counters` has {} bytes per CPU; offsets are \
         in bytes.\n\n### The value\n",
        size_of::<Counters>()
    );
    fields(&mut text, Counters::FIELDS, "");
    text.push_str("\n### leaves\n");
    fields(&mut text, Outcomes::FIELDS, "");
    text.push_str("\n### rx, tx and unknown, each\n");
    fields(&mut text, DirectionCounters::FIELDS, "");
    text.push_str("\n### protocols\n");
    fields(&mut text, Protocols::FIELDS, "");
    text.push('\n');
    check("maps.md", &text)
}

/// A formula, in words for readers: what the source says in short is written out.
fn formula(source: &str) -> String {
    let short = source.replace("c.", "").replace("g.", "");
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

#[test]
fn counters() -> Result<()> {
    let mut text = String::from(
        "\n| # | label | short | NITRO | host | middlebox | made of |\n|---|---|---|---|---|---|---|\n",
    );
    for row in &ROWS {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.number,
            row.label,
            row.short,
            row.nitro,
            row.quality(Role::Host).name(),
            row.quality(Role::Middlebox).name(),
            row.value
                .map_or(String::new(), |value| formula(value.formula())),
        );
    }
    text.push_str(
        "\nThe functions of the kernel that feed rows 77 to 81, in the order of the map \
         `hooks/counters`:\n\n| name | function | counts when it |\n|---|---|---|\n",
    );
    for hook in FexitHook::ALL {
        let _ = writeln!(
            text,
            "| {hook:?} | `{}` | {} |",
            hook.function(),
            hook.condition()
        );
    }
    text.push_str(
        "\nFurther numbers (`extra` in JSON, the end of `-detail`):\n\n\
         | name | what it counts | host | middlebox | made of |\n|---|---|---|---|---|\n",
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
    text.push_str(&advice());
    text.push('\n');
    check("counters.md", &text)
}

/// What the numbers that are not neutral mean, and what to do next.
fn advice() -> String {
    let mut text = String::from(
        "\nWhat failed, if these are not 0 (`outcome` in JSON, the top of the table):\n\n\
         | name | what it means | what to do next |\n|---|---|---|\n",
    );
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
    text.push_str("\nAll others are neutral.\n");
    text
}
