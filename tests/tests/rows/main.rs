//! Each number was tried: packets that move it and a near miss that does not, and whoever else knows
//! it. Together they are a part of the documents.

mod fixtures;
mod rivals;
mod scenarios;

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use mptcp_common::counter::Role;
use mptcp_testkit::forced;
use mptcp_tests::{
    coverage::{BOUNDS, EVENTS},
    document::check,
    oracle::{EXCEPTIONS, GAUGES, LAWS, ON_THE_WIRE},
};
use mptcp_user::statistics::{EXTRAS, Quality, ROWS};

use self::{
    fixtures::fixtures,
    rivals::{AT_A_HOST, PAST_A_ROUTER, RIVALS},
    scenarios::SCENARIOS,
};

/// Crafted packets that were tried on a row: what differs in a near miss.
fn packets(row: &str) -> Vec<String> {
    let fixtures = fixtures().into_iter().map(|f| (f.row, 1, f.because));
    let scenarios = [SCENARIOS, RIVALS, AT_A_HOST, PAST_A_ROUTER]
        .into_iter()
        .flatten();
    let scenarios = scenarios.map(|s| (s.row, s.by, s.because));
    let mut tried: Vec<_> = fixtures
        .chain(scenarios)
        .filter(|(of, ..)| *of == row)
        .map(|(_, by, because)| match by {
            1 => because.to_owned(),
            _ => format!("{because} (moved by {by})"),
        })
        .collect();
    if tried.is_empty() && BOUNDS.iter().any(|(_, rows)| rows.contains(&row)) {
        tried.push("tests/tests/bounds".to_owned());
    }
    tried
}

/// Who else knows a row.
fn oracles(row: &str) -> Vec<String> {
    let mut known = Vec::new();
    for (rows, mibs) in LAWS {
        if rows.split(' ').any(|term| term == row) {
            let law = if *rows == row {
                String::new()
            } else {
                format!("{rows} = ")
            };
            known.push(format!("`{law}{mibs}`"));
        }
    }
    let gauges = GAUGES.iter().map(|(of, witness, _)| (of, witness));
    let wire = ON_THE_WIRE.iter().map(|(of, witness, _)| (of, witness));
    let witnesses = gauges.chain(wire).filter(|(of, _)| **of == row);
    known.extend(witnesses.map(|(_, witness)| (*witness).to_owned()));
    if known.is_empty() && EVENTS.iter().any(|(of, _)| *of == row) {
        known.push("events of real sessions".to_owned());
    }
    if forced::ROWS.contains(&row) {
        known.push("xtask/src/hooks.rs".to_owned());
    }
    known
}

/// Every row that has a number: sessions of packets or, where each packet decides by itself, one.
#[test]
fn every_row_was_tried() -> Result<()> {
    for row in ROWS {
        ensure!(
            row.quality(Role::Host) == Quality::Unavailable
                || !packets(row.short).is_empty()
                || (row.hooks().is_some() && !oracles(row.short).is_empty()),
            "{} has no scenario",
            row.short
        );
        ensure!(
            !row.is_stateless(Role::Host) || fixtures().iter().any(|f| f.row == row.short),
            "{} has no fixture",
            row.short
        );
    }
    Ok(())
}

#[test]
fn the_document_lists_what_was_tried() -> Result<()> {
    const ROLES: [Role; 2] = [Role::Host, Role::Middlebox];
    let rows = ROWS
        .iter()
        .map(|row| (row.short, ROLES.map(|role| row.quality(role))));
    let extras = EXTRAS
        .iter()
        .map(|extra| (extra.name, ROLES.map(|role| extra.quality(role))));
    let mut text = String::from(
        "\n| row | host | middlebox | crafted packets: a near miss differs in | oracle |\n\
         |---|---|---|---|---|\n",
    );
    for (i, (name, quality)) in rows.chain(extras).enumerate() {
        let (packets, mut oracles) = (packets(name), oracles(name));
        if oracles.is_empty() && packets.is_empty() && i >= ROWS.len() {
            continue;
        }
        if oracles.is_empty() && !packets.is_empty() {
            oracles.push("crafted packets only".to_owned());
        }
        let [host, middlebox] = quality.map(Quality::name);
        let (packets, oracles) = (packets.join("; "), oracles.join("; "));
        let _ = writeln!(
            text,
            "| {name} | {host} | {middlebox} | {packets} | {oracles} |"
        );
    }
    text.push_str(
        "\nLaws of the kernel's counters that do not hold everywhere (`EXCEPTIONS` in tests/src/oracle.rs):\n\n",
    );
    for exception in EXCEPTIONS {
        let laws: Vec<_> = LAWS
            .iter()
            .filter(|(rows, _)| exception.laws.contains(rows))
            .map(|(rows, mibs)| format!("`{rows} = {mibs}`"))
            .collect();
        let _ = writeln!(
            text,
            "- {} Not equal then: {}. (Scenarios: {}.)",
            exception.when,
            laws.join("; "),
            exception.scenarios.join(", ")
        );
    }
    text.push('\n');
    check("scenarios.md", &text)
}

/// An exception is of laws that there are. (Its scenarios are looked for in tests/tests/scenarios_real.)
#[test]
fn every_exception_is_of_laws() -> Result<()> {
    for exception in EXCEPTIONS {
        for law in exception.laws {
            ensure!(
                LAWS.iter().any(|(rows, _)| rows == law),
                "there is no law {law}"
            );
        }
        ensure!(!exception.laws.is_empty() && !exception.scenarios.is_empty());
    }
    Ok(())
}
