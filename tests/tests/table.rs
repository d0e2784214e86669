//! The table and its JSON: every row of the reference, in its order and spelling.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, MapData};
use mptcp_common::counter::Counters;
use mptcp_tests::{
    net::{Family, Namespace, Pair, close, output, transfer},
    probe::{Probe, binary, total},
};
use serde_json::Value;

/// The reference: number, label, short name, whether the table shows it, NITRO name, kind, group.
const ROWS: &str = include_str!("../data/rows.tsv");

/// The row that is fed only where it is asked for: it prints n/a.
const UNVERIFIED: &str = "CksumEr";

/// Rows that need neither state of sessions nor of subflows.
const STATELESS: [&str; 25] = [
    "MPSYN", "MPV1SYN", "SYNACK", "JoinSYN", "SFsynack", "TotDSS", "DSSrcv", "DSSsnd", "DSSA",
    "DSSa", "SeqMapM", "SeqMapm", "InfMapFg", "LDataLen", "PrioBkup", "ExtnFlEr", "ResFlgEr",
    "CryptoEr", "VerEr", "addridEr", "OPTEr", "SubtypEr", "MSSErr", "MPFAILst", "MPFAILrv",
];

struct Row {
    label: &'static str,
    short: &'static str,
    is_short_shown: bool,
    nitro: &'static str,
    kind: &'static str,
}

fn rows() -> Result<Vec<Row>> {
    ROWS.lines()
        .skip(1)
        .map(|line| {
            let mut fields = line.split('\t').skip(1);
            let mut next = || fields.next().context("a field is missing");
            Ok(Row {
                label: next()?,
                short: next()?,
                is_short_shown: next()? == "yes",
                nitro: next()?,
                kind: next()?,
            })
        })
        .collect()
}

/// Rows that print n/a: those of hooks that this kernel refuses are among them.
fn unavailable(probe: &Probe) -> Result<BTreeSet<String>> {
    let mut rows = probe.refused_rows()?;
    rows.insert(UNVERIFIED.to_owned());
    Ok(rows)
}

fn probed() -> Result<(Namespace, Probe)> {
    let namespace = Namespace::new("table")?;
    namespace.ip("link add p0 up type veth peer name p1")?;
    let probe = Probe::new(&namespace);
    probe.run(&["attach", "-i", "p0"])?;
    Ok((namespace, probe))
}

#[test]
fn detail_shows_every_label_in_the_order_of_the_reference() -> Result<()> {
    let (_namespace, probe) = probed()?;
    let table = probe.run(&["stat", "-detail", "-fullValues"])?;
    let unavailable = unavailable(&probe)?;
    let mut lines = table.lines();
    for row in rows()? {
        let start = match row.is_short_shown {
            true => format!("{} ({}) ", row.label, row.short),
            false => format!("{} ", row.label),
        };
        let line = lines
            .find(|line| line.trim_start().starts_with(&start))
            .with_context(|| format!("{start:?} is missing or not in its place in\n{table}"))?;
        let cells: Vec<_> = line.trim_start()[start.len()..]
            .split_whitespace()
            .collect();
        let wanted = match (unavailable.contains(row.short), row.kind) {
            (true, _) => ["n/a", "n/a"],
            (false, "gauge") => ["--", "0"],
            (false, _) => ["0", "0"],
        };
        ensure!(cells == wanted, "{line:?} and not {wanted:?}");
    }
    Ok(())
}

/// Each heading of the details stands there once, and further numbers that are 0 only where they are asked for.
#[test]
fn details_have_unique_headings_and_no_zeros_unless_asked() -> Result<()> {
    let (namespace, probe) = probed()?;
    let table = probe.run(&["stat", "-detail"])?;
    let headings: Vec<_> = table
        .lines()
        .filter(|line| line.starts_with(" == "))
        .collect();
    let unique: BTreeSet<_> = headings.iter().collect();
    ensure!(
        headings.len() > 20 && unique.len() == headings.len(),
        "{headings:?}"
    );
    let further = |text: &str| text.split("== Further numbers").nth(1).map(str::to_owned);
    let short = further(&table).context("no further numbers")?;
    ensure!(
        !short.contains("(MPSYNtx)") && short.contains("--zeros"),
        "{short}"
    );
    ensure!(
        table
            .lines()
            .all(|line| line.chars().count() <= 80 || line.contains(": "))
    );
    let long = probe.run(&["stat", "-detail", "--zeros"])?;
    let long = further(&long).context("no further numbers")?;
    ensure!(
        long.contains("(MPSYNtx)") && !long.contains("--zeros"),
        "{long}"
    );
    probe.fails(2, &["stat", "--zeros"])?;
    // A terminal of 120 columns has room for labels that one of 80 has not.
    let command = format!(
        "stty rows 50 cols 120; exec {} stat -detail --zeros --pin-dir {}",
        binary().display(),
        probe.pins().display()
    );
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]);
    let wide = output(
        Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", namespace.name()))
            .arg(script.get_program())
            .args(script.get_args()),
    )?;
    let whole = "Mappings with a checksum that could not be verified, since not";
    ensure!(wide.contains(whole) && !long.contains(whole), "{wide}");
    Ok(())
}

#[test]
fn both_spellings_print_the_same() -> Result<()> {
    let (_namespace, probe) = probed()?;
    let plain = |arguments: &[&str]| -> Result<Vec<String>> {
        // Without the heading and the times in it.
        let text = probe.run(arguments)?;
        let times = text.lines().nth(1).unwrap_or_default();
        ensure!(
            times.starts_with("Read at 20") && times.contains(", rates over "),
            "{text}"
        );
        Ok(text.lines().skip(2).map(ToOwned::to_owned).collect())
    };
    let wanted = plain(&["stat", "--detail", "--full-values", "--ntimes", "1"])?;
    ensure!(wanted.len() > 83);
    for line in [
        "stat protocol mptcp -detail -fullValues -ntimes 1",
        "stat -detail -fullValues -ntimes 1",
        "stat -detail protocol mptcp -fullValues",
        "stat protocol mptcp --detail -fullValues -i p0",
        "stat protocol mptcp -i p0 -detail --full-values",
    ] {
        let words: Vec<_> = line.split_whitespace().collect();
        ensure!(plain(&words)? == wanted, "{line} prints something else");
    }
    let summary = plain(&["stat"])?;
    ensure!(
        summary.len() < 60 && summary.iter().any(|line| line.contains("(MPSYN)")),
        "{summary:?}"
    );
    Ok(())
}

/// Whoever looks a moment after somebody else sees the same rates.
#[test]
fn one_reader_does_not_change_the_rates_of_another() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "s1"])?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 100_000)?;
    thread::sleep(Duration::from_millis(1_200));
    let mut seen = Vec::new();
    for _ in 0..3 {
        let stat = probe.stat(&[])?;
        let over = stat["rate_over_s"].as_f64().context("no rate_over_s")?;
        let rate = stat["counters"]["DSSrcv"]["rate"]
            .as_f64()
            .context("no rate")?;
        let count = total(&stat, "DSSrcv")? as f64;
        ensure!(
            over > 1.0 && stat["read_at"].is_string(),
            "rates over {over} s"
        );
        // All was received since the probe came.
        ensure!(
            (rate * over - count).abs() < 0.01 * count,
            "{rate} over {over} s of {count}"
        );
        seen.push(rate);
    }
    ensure!(seen[2] > 0.0, "{seen:?}");
    close(client, server)
}

/// As the appliance's REST interface has it: strings and numbers, and nothing that is not known.
#[test]
fn nitro_has_the_types_of_the_appliance() -> Result<()> {
    let (_namespace, probe) = probed()?;
    let text = probe.run(&["stat", "--output", "nitro"])?;
    let nitro: Value = serde_json::from_str(&text)?;
    let keys: Vec<_> = nitro.as_object().context("no object")?.keys().collect();
    ensure!(
        keys == ["errorcode", "message", "severity", "protocolmptcp"],
        "{keys:?}"
    );
    ensure!(nitro["errorcode"] == 0 && nitro["message"] == "Done" && nitro["severity"] == "NONE");
    let mut object = nitro["protocolmptcp"]
        .as_object()
        .context("no rows")?
        .clone();
    let unavailable = unavailable(&probe)?;
    for row in rows()? {
        let total = object.remove(row.nitro);
        let rate = object.remove(&format!("{}rate", row.nitro.replacen("tot", "", 1)));
        let is_known = !unavailable.contains(row.short);
        let total = total.as_ref().and_then(Value::as_str);
        ensure!(total == is_known.then_some("0"), "{}: {total:?}", row.short);
        let has_rate = is_known && row.kind != "gauge";
        ensure!(
            rate.is_some_and(|rate| rate == 0) == has_rate,
            "{}",
            row.short
        );
    }
    ensure!(object.is_empty(), "what nobody knows: {object:?}");
    let said = probe.fails(2, &["stat", "--output", "nitro", "-ntimes", "2"])?;
    ensure!(said.contains("jsonl"), "{said}");
    Ok(())
}

/// A probe that an earlier version pinned remembers one display, and is read all the same.
#[test]
fn a_map_of_three_readings_is_still_read() -> Result<()> {
    /// A time, and counters.
    type Reading = [u8; 8 + size_of::<Counters>()];
    let (_namespace, probe) = probed()?;
    let status = probe.status()?;
    let pins = status["interfaces"][0]["pins"]
        .as_str()
        .context("no pins")?;
    let path = Path::new(pins).join("readings");
    fs::remove_file(&path)?;
    Array::<MapData, Reading>::create(3, 0)?.pin(&path)?;
    for _ in 0..3 {
        let stat = probe.stat(&[])?;
        ensure!(
            stat["rate_over_s"].as_f64() > Some(0.0),
            "{}",
            stat["rate_over_s"]
        );
    }
    probe.run(&["stat", "-clearstats", "full"])?;
    probe.run(&["attach", "-i", "p0"])?;
    probe.run(&["stat"])?;
    Ok(())
}

#[test]
fn json_has_every_row_and_every_nitro_field() -> Result<()> {
    let (_namespace, probe) = probed()?;
    let stat = probe.stat(&[])?;
    ensure!(stat["schema_version"] == 1);
    for (pointer, check) in [
        ("/time", Value::is_string as fn(&Value) -> bool),
        ("/source/kind", Value::is_string),
        ("/source/interfaces", Value::is_array),
        ("/source/role", Value::is_string),
        ("/source/since", Value::is_string),
        ("/source/frames", Value::is_u64),
        ("/source/attached_mid_traffic", Value::is_boolean),
        ("/invalid_options/rx", Value::is_object),
        ("/extra", Value::is_object),
        ("/probe", Value::is_object),
    ] {
        let value = stat
            .pointer(pointer)
            .with_context(|| format!("no {pointer}"))?;
        ensure!(check(value), "{pointer} is {value}");
    }
    let counters = stat["counters"].as_object().context("no counters")?;
    let nitro = stat["protocolmptcp"]
        .as_object()
        .context("no protocolmptcp")?;
    let rows = rows()?;
    ensure!(
        counters.keys().eq(rows.iter().map(|row| row.short)),
        "the rows are not the reference's: {:?}",
        counters.keys()
    );
    let unavailable = unavailable(&probe)?;
    let mut fields = BTreeSet::new();
    for row in &rows {
        let counter = &counters[row.short];
        ensure!(
            counter["label"] == row.label
                && counter["nitro"] == row.nitro
                && counter["kind"] == row.kind,
            "{}: {counter}",
            row.short
        );
        let quality = counter["quality"].as_str().context("no quality")?;
        let is_known = !unavailable.contains(row.short);
        ensure!(
            counter["total"].is_u64() == is_known
                && counter["total"].is_null() != is_known
                && (quality == "unavailable") != is_known,
            "{}: {counter}",
            row.short
        );
        ensure!(
            nitro.get(row.nitro) == Some(&counter["total"]),
            "{}",
            row.nitro
        );
        fields.insert(row.nitro.to_owned());
        if row.kind == "counter" {
            let field = format!("{}rate", row.nitro.replacen("tot", "", 1));
            ensure!(nitro.get(&field) == Some(&counter["rate"]), "{field}");
            fields.insert(field);
        }
    }
    ensure!(fields.iter().eq(nitro.keys().collect::<BTreeSet<_>>()));
    for direction in ["rx", "tx", "unknown"] {
        let options = stat["options"][direction]
            .as_object()
            .context("no options")?;
        let names: BTreeSet<_> = options.keys().map(String::as_str).collect();
        let wanted = "MP_CAPABLE MP_JOIN DSS ADD_ADDR REMOVE_ADDR MP_PRIO MP_FAIL MP_FASTCLOSE \
                      MP_TCPRST EXPERIMENTAL UNKNOWN";
        ensure!(
            names == wanted.split_whitespace().collect(),
            "{direction}: {names:?}"
        );
    }
    Ok(())
}

/// Without following flows, and without a receive queue, some rows have nothing that feeds them.
#[test]
fn rows_that_nothing_feeds_are_not_0() -> Result<()> {
    let known = |mode: &[&str]| -> Result<BTreeSet<String>> {
        let namespace = Namespace::new("table")?;
        namespace.ip("link add p0 up type veth peer name p1")?;
        let probe = Probe::new(&namespace);
        probe.run(&[&["attach", "-i", "p0", "--no-hooks"], mode].concat())?;
        let stat = probe.stat(&[])?;
        let counters = stat["counters"].as_object().context("no counters")?;
        for (short, counter) in counters {
            ensure!(
                counter["total"].is_null() == (counter["quality"] == "unavailable"),
                "{short}: {counter}"
            );
        }
        Ok(counters
            .iter()
            .filter(|(_, counter)| counter["total"].is_u64())
            .map(|(short, _)| short.clone())
            .collect())
    };
    let stateless: BTreeSet<_> = STATELESS.into_iter().map(ToOwned::to_owned).collect();
    ensure!(known(&["--no-track"])? == stateless);
    let (xdp, tc) = (known(&[])?, known(&["--xdp", "off"])?);
    let missing: Vec<_> = xdp.difference(&tc).collect();
    ensure!(missing == ["ConSter", "SFsteer"], "{missing:?}");
    let verifying = known(&["--verify-checksums"])?;
    let more: Vec<_> = verifying.difference(&xdp).collect();
    ensure!(more == ["CksumEr"], "{more:?}");
    Ok(())
}

#[test]
fn displays_come_at_their_interval() -> Result<()> {
    let (_namespace, probe) = probed()?;
    let start = Instant::now();
    let text = probe.run(&["stat", "-ntimes", "2", "--interval", "1s"])?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(
        (1.0..4.0).contains(&seconds),
        "two displays took {seconds} s"
    );
    ensure!(
        text.matches("(MPSYN)").count() == 2,
        "not two displays:\n{text}"
    );
    let text = probe.run(&[
        "stat",
        "-ntimes",
        "3",
        "--interval",
        "200ms",
        "--output",
        "jsonl",
    ])?;
    let displays = text
        .lines()
        .map(serde_json::from_str::<Value>)
        .collect::<Result<Vec<_>, _>>()?;
    ensure!(displays.len() == 3, "{} lines", displays.len());
    ensure!(
        displays
            .iter()
            .all(|display| display["schema_version"] == 1)
    );
    Ok(())
}
