//! `cargo xtask trace`: what one packet does in the programs as the kernel's verifier left them.

use std::iter;

use anyhow::{Context as _, Result};
use mptcp_testkit::figures::{Figures, Guard};
use serde_json::Value;

use crate::{
    bench::Output,
    setup,
    shell::{self, cargo, run as quietly, step},
};

const GUARD: Guard = Guard {
    file: "paths.tsv",
    columns: &[
        "packet",
        "instructions",
        "functions",
        "helper_calls",
        "map_lookups",
        "shared_lines",
        "shared_pages",
        "per_cpu_lines",
    ],
    update: "sudo -E cargo xtask trace --update",
};

/// Whose translated programs the table is of: others make other instructions of a lookup.
const KERNEL: &str = "6.18.";

pub(crate) fn run(output: Output, update: bool) -> Result<()> {
    if shell::became_root("the trace loads eBPF programs, which")? {
        return Ok(());
    }
    setup::run(true)?;
    let bench = "bench --package mptcp-tests --bench trace";
    step("build the trace", &mut cargo(&format!("{bench} --no-run")))?;
    let text = quietly(&mut cargo(&format!("{bench} --quiet")))?;
    let traced: Value = serde_json::from_str(&text).context("the trace is not JSON")?;
    let figures = figures(&traced)?;
    match output {
        Output::Table => print(&figures),
        Output::Json => print!("{text}"),
    }
    let kernel = traced["kernel"].as_str().unwrap_or_default();
    if !kernel.starts_with(KERNEL) {
        eprintln!(
            "    this is Linux {kernel}: not compared with {}, which is of {KERNEL}x",
            GUARD.file
        );
        return Ok(());
    }
    let figures = figures.into_iter().collect::<Figures>();
    if update {
        GUARD.write(&figures)
    } else {
        GUARD.compare(&GUARD.read()?, &figures)
    }
}

/// Of each packet and hook, in the order in which they were traced.
fn figures(traced: &Value) -> Result<Vec<(String, Vec<u64>)>> {
    let rows = traced["rows"].as_array().context("no rows")?;
    rows.iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().with_context(|| format!("no {name}"));
            let number = |name: &&str| row[name].as_u64().with_context(|| format!("no {name}"));
            let name = format!("{}: {}", text("hook")?, text("packet")?);
            let numbers = GUARD.columns[1..].iter().map(number);
            Ok((name, numbers.collect::<Result<_>>()?))
        })
        .collect()
}

fn print(figures: &[(String, Vec<u64>)]) {
    let [first, others @ ..] = GUARD.columns else {
        return;
    };
    let line = |name: &str, cells: Vec<String>| {
        let cells = cells.iter().map(|cell| format!(" {cell:>13}"));
        println!(
            "{}",
            iter::once(format!("{name:46}"))
                .chain(cells)
                .collect::<String>()
        );
    };
    line(first, others.iter().map(ToString::to_string).collect());
    for (name, numbers) in figures {
        line(name, numbers.iter().map(u64::to_string).collect());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_without_a_figure_is_refused() {
        let mut row = json!({ "hook": "XDP ingress", "packet": "ARP" });
        for (i, name) in GUARD.columns[1..].iter().enumerate() {
            row[name] = i.into();
        }
        let all = json!({ "rows": [row] });
        let wanted = ("XDP ingress: ARP".to_owned(), (0..7).collect());
        assert_eq!(figures(&all).expect("all are there"), [wanted]);
        row["functions"] = Value::Null;
        assert!(figures(&json!({ "rows": [row] })).is_err());
    }
}
