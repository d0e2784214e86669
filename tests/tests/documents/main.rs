//! The generated parts of the documents say what the code says. `UPDATE_DOCS=1 cargo test -p
//! mptcp-tests --test documents` writes them anew. What documents and comments point to exists.

mod counters;
mod links;

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context as _, Result, ensure};
use mptcp_common::counter::{Counters, DirectionCounters, LAYOUT_VERSION, Outcomes, Protocols};
use mptcp_tests::document::check;

/// What `cargo xtask trace` counts, as `--update` writes it.
const PATHS: &str = include_str!("../../data/paths.tsv");

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

/// What packets do in the programs, of tests/data/paths.tsv: the cheapest first.
#[test]
fn paths() -> Result<()> {
    let (_, rows) = PATHS.split_once('\n').context("no heading")?;
    let mut of_xdp = Vec::new();
    let mut of_tc = BTreeMap::new();
    for row in rows.lines() {
        let (name, figures) = row.split_once('\t').context("no figures")?;
        let figures: Vec<u64> = figures
            .split('\t')
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        ensure!(figures.len() == 7, "{name} has {} figures", figures.len());
        match name.split_once(": ").context("no hook")? {
            ("XDP ingress", packet) => of_xdp.push((packet, figures)),
            ("TC egress", packet) => {
                of_tc.insert(packet, figures[0]);
            }
            _ => {}
        }
    }
    of_xdp.sort_by_key(|(packet, figures)| (figures[0], *packet));
    let mut text = String::from(
        "\n| packet | instructions: XDP | TC | functions | helpers | lookups | shared lines | pages | \
         per-CPU lines |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for (packet, figures) in of_xdp {
        let at_tc = of_tc.get(packet).context("not at TC")?;
        let _ = write!(text, "| {packet} | {} | {at_tc} |", figures[0]);
        for figure in &figures[1..] {
            let _ = write!(text, " {figure} |");
        }
        text.push('\n');
    }
    text.push('\n');
    check("performance.md", &text)
}
