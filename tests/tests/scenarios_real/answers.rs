//! What the summary says of a scenario at each place: its lines, and what failed.
//!
//! A scenario that says nothing of a place asks that it names no failure but those of the rows that it wants there.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::scene::*;

/// What the summary has to say at a place.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    place: Place,
    /// Whole lines, `title: what it says`.
    lines: Vec<String>,
    /// The names of all failures; those with a `?` may be there or not.
    failures: Vec<&'static str>,
}

/// What the summary says of sessions and joins, at whatever place.
pub(crate) enum Says<'a> {
    Sessions(&'a str),
    Joins(&'a str),
    FellBack(&'a str),
    /// On a host that saw neither.
    Nobody(&'a str),
}
use Says::{FellBack, Joins, Nobody, Sessions};

impl Scene {
    /// The summaries of all places say this of what the client opened, and name these failures: the client, and the
    /// server and the router.
    pub(crate) fn answers(
        &self,
        says: &[Says<'_>],
        client: &[&'static str],
        server: &[&'static str],
    ) {
        for (place, failures) in [(Client, client), (Server, server), (Middle, server)] {
            self.answers_at(place, says, failures);
        }
    }

    /// The same of one place.
    pub(crate) fn answers_at(&self, place: Place, says: &[Says<'_>], failures: &[&'static str]) {
        let lines = says.iter().map(|says| {
            let (titles, line) = match says {
                Sessions(line) => (["opened here", "accepted here", "through here"], line),
                Joins("none tried") => (["joins"; 3], &"none tried"),
                Joins(line) => (["joins sent", "joins received", "joins"], line),
                Nobody(line) => (["opened here"; 3], line),
                FellBack(line) => (["fell back"; 3], line),
            };
            let title = match place {
                Client => titles[0],
                Server => titles[1],
                Middle => titles[2],
            };
            format!("{title}: {line}")
        });
        self.answers.borrow_mut().push(Answer {
            place,
            lines: lines.collect(),
            failures: failures.to_vec(),
        });
    }

    /// What the summaries say, against what was asked of them.
    pub(crate) fn compare_answers(
        &self,
        live: &[(Place, &Value)],
        named: &[(Place, &str)],
        verdict: &mut Verdict,
    ) -> Result<()> {
        let answers = self.answers.take();
        for (place, stat) in live {
            let Some(answer) = answers.iter().rev().find(|answer| answer.place == *place) else {
                unexpected_failures(*place, stat, named, verdict)?;
                continue;
            };
            let is: BTreeSet<_> = failures(stat)?.into_iter().map(|(name, _)| name).collect();
            let wanted: BTreeSet<_> = answer.failures.iter().copied().collect();
            let optional = |name: &&str| wanted.contains(format!("{name}?").as_str());
            let unwanted = is.difference(&wanted).any(|name| !optional(name));
            let missing = wanted.difference(&is).any(|name| !name.ends_with('?'));
            if unwanted || missing {
                verdict
                    .0
                    .push(format!("{place:?} failures are {is:?}, wanted {wanted:?}"));
            }
            let probe = self.probe_at(*place).context("no probe")?;
            let text = probe.run(&["stat"])?;
            let lines = summary(&text);
            for wanted in answer.lines.iter().filter(|line| !lines.contains(line)) {
                verdict
                    .0
                    .push(format!("{place:?} does not say {wanted:?}, but {lines:#?}"));
            }
            for name in is.iter().filter(|name| !name.starts_with("Lost")) {
                if !text.contains(&format!("({name})")) {
                    let what = format!("{place:?}: the summary does not name {name}");
                    verdict.0.push(what);
                }
            }
            if let Some(line) = text.lines().find(|line| line.chars().count() > 80) {
                verdict
                    .0
                    .push(format!("{place:?}: more than 80 columns: {line:?}"));
            }
        }
        Ok(())
    }
}

/// Name and number of each failure.
fn failures(stat: &Value) -> Result<Vec<(&str, u64)>> {
    let failures = stat["outcome"]["failures"].as_array();
    let failures = failures.context("no failures")?.iter();
    failures
        .map(|failure| {
            let name = failure["name"].as_str().context("no name")?;
            Ok((name, failure["total"].as_u64().context("no total")?))
        })
        .collect()
}

/// No failure is told that the scenario does not name: what healthy hosts do is none.
fn unexpected_failures(
    place: Place,
    stat: &Value,
    named: &[(Place, &str)],
    verdict: &mut Verdict,
) -> Result<()> {
    for (name, total) in failures(stat)? {
        // The router tells what either end tells.
        let mut of_place = named
            .iter()
            .filter(|(end, _)| *end == place || place == Middle);
        if !of_place.any(|(_, rows)| rows.split(' ').any(|row| row == name)) {
            verdict.compare(
                format!("{place:?} failure {name}"),
                total,
                "not named is",
                0,
            );
        }
    }
    Ok(())
}

/// The lines of a summary, each in one piece: `title: what it says`.
fn summary(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().skip_while(|line| !line.is_empty()).skip(1) {
        if line.is_empty() {
            break;
        }
        match (line.split_at_checked(15), lines.last_mut()) {
            (Some((title, rest)), Some(before)) if title.trim().is_empty() => {
                before.push(' ');
                before.push_str(rest);
            }
            (Some((title, rest)), _) => lines.push(format!("{}: {rest}", title.trim())),
            (None, _) => {}
        }
    }
    lines
}
