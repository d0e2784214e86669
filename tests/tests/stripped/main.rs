//! docs/stripped.md: what the tool says, at a client, a router and a server, when a path takes MPTCP away.
//!
//! `sudo -E UPDATE_CAPTURES=1 cargo test -p mptcp-tests --test stripped` makes each situation between network
//! namespaces, and writes what passed at the three places to tests/data/stripped (`UPDATE_CAPTURES=NAME`: one of them). The page is made of these captures:
//! `UPDATE_DOCS=1` writes it.

mod scene;
mod situations;

use std::{env, fmt::Write as _, fs};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    capture::Capture,
    document::check_parts,
    net::{Family, Pair},
    probe::recorded,
    transcript::{data, transcript},
};
use serde_json::Value;

use self::{
    scene::Scene,
    situations::{SITUATIONS, Situation},
};

const PLACES: [&str; 3] = ["client", "router", "server"];

/// Numbers that move in health, or follow from the shown ones: not shown.
const ORDINARY: [&str; 2] = ["LostReports", "CsumUnverified"];

/// A number of a reading, by its short name; `None` where it is `n/a`.
fn number(stat: &Value, name: &str) -> Option<u64> {
    match stat["extra"].get(name) {
        Some(value) => value.as_u64(),
        None => stat["counters"][name]["total"].as_u64(),
    }
}

/// All numbers by which a reading says that something happened.
fn numbers(stat: &Value) -> Result<Vec<(String, u64)>> {
    let mut all = Vec::new();
    for part in ["counters", "extra"] {
        let rows = stat[part].as_object().context("no rows")?;
        for name in rows
            .keys()
            .filter(|name| !ORDINARY.contains(&name.as_str()))
        {
            if let Some(value) = number(stat, name).filter(|value| *value > 0) {
                all.push((name.clone(), value));
            }
        }
    }
    Ok(all)
}

fn role(place: usize) -> &'static str {
    ["host", "middlebox", "host"][place]
}

fn file(situation: &Situation, place: usize) -> String {
    format!("stripped/{}-{}.pcap", situation.name, PLACES[place])
}

/// What the captures of a situation say; `healthy` are names that move in health.
fn block(situation: &Situation, healthy: &[String]) -> Result<String> {
    let mut text = String::from("\n```\n");
    for (place, name) in PLACES.into_iter().enumerate() {
        let stat = recorded(
            data().join(file(situation, place)),
            &["--role", role(place)],
        )?;
        let mut shown: Vec<String> = Vec::new();
        for row in situation.shown[place] {
            let value = number(&stat, row).with_context(|| format!("{row} is n/a"))?;
            shown.push(format!("{row} {value}"));
        }
        for (row, value) in numbers(&stat)? {
            if !healthy.contains(&row) && !situation.shown[place].contains(&row.as_str()) {
                shown.push(format!("{row} {value}"));
            }
        }
        let mut line = format!("{name:8}");
        for part in shown {
            if line.len() + part.len() > 96 {
                let _ = writeln!(text, "{}", line.trim_end());
                line = format!("{:8}", "");
            }
            let _ = write!(line, "{part}   ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for &place in situation.told_at {
        let words = format!(
            "events --role {} --log-file {}",
            role(place),
            file(situation, place)
        );
        let out = transcript(&words)?;
        ensure!(out.status == "exit status: 0", "{words}: {out:?}");
        let _ = writeln!(text, "\nevents on the {}", PLACES[place]);
        text.push_str(&out.stdout);
        if out.stdout.is_empty() {
            text.push_str("(none)\n");
        }
    }
    text.push_str("```\n");
    Ok(text)
}

/// The outputs on the page are those of the captures.
#[test]
fn the_page_says_what_the_tool_says() -> Result<()> {
    let mut healthy = Vec::new();
    for place in 0..PLACES.len() {
        let stat = recorded(
            data().join(file(&SITUATIONS[0], place)),
            &["--role", role(place)],
        )?;
        healthy.extend(numbers(&stat)?.into_iter().map(|(name, _)| name));
    }
    let parts: Vec<_> = SITUATIONS
        .iter()
        .map(|situation| Ok((situation.name, block(situation, &healthy)?)))
        .collect::<Result<_>>()?;
    check_parts("stripped.md", &parts)
}

/// README.md quotes the event of a SYN that lost its option.
#[test]
fn the_readme_quotes_the_tool() -> Result<()> {
    let out = transcript("events --role host --log-file stripped/syn-stripped-client.pcap")?;
    let (_, event) = out.stdout.trim().split_once(" rx ").context("no event")?;
    let readme = fs::read_to_string(data().join("../../README.md"))?;
    ensure!(readme.contains(event.trim()), "README.md lacks {event}");
    Ok(())
}

/// Makes the captures anew, and checks that the probes of the same run said what the captures say.
#[test]
fn the_captures_of_the_page() -> Result<()> {
    let Ok(which) = env::var("UPDATE_CAPTURES") else {
        return Ok(());
    };
    ensure!(
        Family::V4 == Pair::routed()?.0.family,
        "the addresses are of IPv4"
    );
    fs::create_dir_all(data().join("stripped"))?;
    let wanted = |situation: &&Situation| which == "1" || which == situation.name;
    for situation in SITUATIONS.iter().filter(wanted) {
        make(situation).with_context(|| situation.name)?;
    }
    Ok(())
}

fn make(situation: &Situation) -> Result<()> {
    let scene = Scene::new()?;
    let hosts = [&scene.pair.client, &scene.router, &scene.pair.server];
    let directions = ["inout", "in", "inout"];
    let mut captures = Vec::new();
    for (host, direction) in hosts.into_iter().zip(directions) {
        captures.push(Capture::of(
            host,
            "any",
            &["-s", "2000", "-Q", direction, "tcp"],
        )?);
    }
    (situation.make)(&scene)?;
    scene.pair.settle()?;
    for (place, mut capture) in captures.into_iter().enumerate() {
        let live = numbers(&scene.probes[place].stat(&[])?)?;
        let path = data().join(file(situation, place));
        fs::copy(capture.stop()?, &path)?;
        let offline = numbers(&recorded(&path, &["--role", role(place)])?)?;
        ensure!(
            live == offline,
            "{}: the probe says {live:?}, the capture {offline:?}",
            PLACES[place]
        );
    }
    Ok(())
}
