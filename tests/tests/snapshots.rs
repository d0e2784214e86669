//! What a person reads, as text files that a reviewer can read too: tests/tests/snapshots.
//!
//! They say how it looks. Whether the numbers are right is judged elsewhere. `INSTA_UPDATE=always cargo test -p
//! mptcp-tests --test snapshots` writes them anew; git shows what differs.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use insta::{assert_snapshot, with_settings};
use mptcp_tests::{
    net::{Family, Namespace, Pair, close, transfer},
    probe::Probe,
    root::is_root,
    transcript::transcript,
};

/// Holds texts of this name, each with what it is of.
fn holds(name: &str, of: &str, text: &str) {
    with_settings!({ description => of, omit_expression => true, prepend_module_to_snapshot => false }, {
        assert_snapshot!(name, text);
    });
}

/// Holds what a command prints that ends well and says nothing besides.
fn prints(name: &str, words: &str) -> Result<()> {
    let out = transcript(words)?;
    ensure!(
        out.status == "exit status: 0" && out.stderr.is_empty(),
        "{out:?}"
    );
    holds(name, &format!("mptcp-user {words}"), &out.stdout);
    Ok(())
}

#[test]
fn help() -> Result<()> {
    prints("help", "--help")?;
    for command in [
        "attach", "detach", "status", "stat", "sessions", "events", "record", "report",
    ] {
        prints(&format!("help-{command}"), &format!("{command} --help"))?;
    }
    Ok(())
}

#[test]
fn tables() -> Result<()> {
    prints("table", "stat -logFile captures/session.pcap")?;
    prints(
        "table-detail",
        "stat -detail -logFile captures/session.pcap",
    )?;
    prints(
        "table-full-values",
        "stat -fullValues -logFile captures/basic.pcap",
    )?;
    prints("table-of-errors", "stat -logFile captures/fail.pcap")?;
    prints("table-of-log", "stat -logFile logs/session.jsonl")
}

#[test]
fn json() -> Result<()> {
    prints("json", "stat --output json -logFile captures/basic.pcap")?;
    prints(
        "json-sessions",
        "sessions --output json --log-file cases/rst_challenged.pcap",
    )
}

#[test]
fn sessions() -> Result<()> {
    prints("sessions", "sessions --log-file cases/mp_fail.pcap")?;
    prints("sessions-none", "sessions --log-file captures/basic.pcap")
}

#[test]
fn events() -> Result<()> {
    prints("events", "events --log-file captures/session.pcap")?;
    prints("events-ipv6", "events --log-file captures/session6.pcap")?;
    prints("events-of-errors", "events --log-file captures/fail.pcap")?;
    prints(
        "events-version-0",
        "events --log-file captures/version0.pcap",
    )?;
    prints(
        "events-jsonl",
        "events --output jsonl --log-file captures/ends.pcap",
    )
}

/// The text of a page, a line for each piece of it: without styles and plots, and with what stands in a row of a table
/// in one line.
fn page_text(page: &str) -> String {
    let mut rest = page.to_owned();
    for element in ["style", "svg"] {
        let end = format!("</{element}>");
        while let Some((head, tail)) = rest.split_once(&format!("<{element}")) {
            let tail = tail.split_once(&end).map_or("", |(_, tail)| tail);
            rest = format!("{head}{tail}");
        }
    }
    for end in ["</td>", "</th>", "</dt>", "</span>"] {
        rest = rest.replace(end, " ");
    }
    let mut text = String::new();
    for (i, piece) in rest.split('<').enumerate() {
        let (tag, words) = piece.split_once('>').unwrap_or(("", piece));
        let is_in_line = [
            "td", "th", "dd", "/td", "/th", "/dd", "span", "/span", "a", "/a",
        ]
        .contains(&tag.split(' ').next().unwrap_or_default());
        if i > 0 && !is_in_line {
            text.push('\n');
        }
        text.push_str(words);
    }
    let lines = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty());
    lines.fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{line}");
        all
    })
}

#[test]
fn pages() -> Result<()> {
    for (name, file) in [
        ("page", "captures/session.pcap"),
        ("page-of-errors", "captures/fail.pcap"),
        ("page-of-log", "logs/session.jsonl"),
    ] {
        let words = format!("report {file} -o -");
        let out = transcript(&words)?;
        ensure!(out.status == "exit status: 0", "{out:?}");
        let of = format!("The text of the page of mptcp-user {words}");
        holds(name, &of, &page_text(&out.stdout));
    }
    Ok(())
}

/// Each wrong use, its exit code and what is said.
fn refusals(name: &str, of: &str, uses: &[&str]) -> Result<()> {
    let mut text = String::new();
    for words in uses {
        let out = transcript(words)?;
        ensure!(
            out.status != "exit status: 0",
            "mptcp-user {words} is taken"
        );
        ensure!(out.stdout.is_empty(), "mptcp-user {words}: {out:?}");
        let _ = writeln!(
            text,
            "$ mptcp-user {words}\n{}({})\n",
            out.stderr, out.status
        );
    }
    holds(name, of, &text);
    Ok(())
}

#[test]
fn wrong_arguments() -> Result<()> {
    refusals(
        "errors-arguments",
        "What is not on the command line as it has to be",
        &[
            "frobnicate",
            "stat --nonsense",
            "stat protocol tcp",
            "attach",
            "record",
            "report captures/basic.pcap",
            "detach -i lo --all",
        ],
    )
}

#[test]
fn wrong_values() -> Result<()> {
    refusals(
        "errors-values",
        "Values of options that are none",
        &[
            "stat -ntimes many",
            "stat -clearstats half",
            "stat --interval 0s",
            "stat -logFile logs/session.jsonl --since yesterday",
            "record -o - --keep 0",
            "events --count 0",
            "attach -i lo --xdp maybe",
            "attach -i lo --limit-pending 9",
            "attach -i lo --max-sessions 0",
            "attach -i lo --idle-timeout 5x",
        ],
    )
}

#[test]
fn wrong_files() -> Result<()> {
    refusals(
        "errors-files",
        "Files that are not what a command reads, and options that do not go with them",
        &[
            "stat -logFile missing.pcap",
            "stat -logFile captures",
            "stat -logFile rows.tsv",
            "stat -logFile captures/basic.pcap --role host",
            "stat -logFile captures/basic.pcap -i eth0",
            "stat -logFile captures/basic.pcap --since 2026-01-01T00:00:00Z",
            "sessions --log-file logs/session.jsonl",
            "events --log-file logs/session.jsonl",
            "report missing.pcap -o -",
            "report captures/basic.pcap -o captures/basic.pcap",
        ],
    )
}

const LIVE: &str = "what live probes print";

#[test]
fn wrong_places() -> Result<()> {
    if !is_root(LIVE) {
        return Ok(());
    }
    refusals(
        "errors-places",
        "Interfaces, pins and namespaces that are not there",
        &[
            "attach -i nosuchinterface0 --pin-dir /sys/fs/bpf/mptcp-none",
            "stat --pin-dir /sys/fs/bpf/mptcp-none",
            "stat --pin-dir /tmp",
            "status --netns nosuchnamespace",
            "sessions --pin-dir /sys/fs/bpf/mptcp-none",
            "record -o - --pin-dir /sys/fs/bpf/mptcp-none",
        ],
    )
}

/// Numbers, and words with digits in them, as `#`: what differs from run to run.
fn masked(text: &str, names: &[&str]) -> String {
    let mut text = text.to_owned();
    for name in names {
        text = text.replace(name, "NAME");
    }
    let mut masked = String::new();
    let mut was_digit = false;
    for c in text.chars() {
        if !c.is_ascii_digit() {
            masked.push(c);
        } else if !was_digit {
            masked.push('#');
        }
        was_digit = c.is_ascii_digit();
    }
    masked
}

/// Without what kernel hooks say of themselves, which is another thing on other kernels.
fn without_hooks(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let end = ["refused", "attached"]
            .iter()
            .filter_map(|state| line.find(state))
            .min();
        match (end, line.find("\"reason\": ")) {
            (Some(end), None) => format!("{}STATE", &line[..end]),
            (_, Some(at)) => format!("{}\"reason\": REASON", &line[..at]),
            (None, None) => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn status() -> Result<()> {
    if !is_root(LIVE) {
        return Ok(());
    }
    let namespace = Namespace::new("snap")?;
    // No packet comes by itself.
    namespace.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
    namespace.ip("link add pa index 71 up type veth peer name pb index 72")?;
    namespace.ip("link set pb up")?;
    let probe = Probe::new(&namespace);
    let pins = probe.pins().display().to_string();
    let names = [pins.as_str(), namespace.name()];
    let attached = probe.run(&["attach", "-i", "pa", "pb"])?;
    holds(
        "attach",
        "mptcp-user attach -i pa pb",
        &masked(&attached, &names),
    );
    for (name, words) in [
        ("status", "status"),
        ("status-json", "status --output json"),
    ] {
        let words: Vec<_> = words.split(' ').collect();
        let text = without_hooks(&masked(&probe.run(&words)?, &names));
        holds(
            name,
            &format!("mptcp-user {}, with numbers as #", words.join(" ")),
            &text,
        );
    }
    let detached = probe.run(&["detach", "-i", "pa"])?;
    holds(
        "detach",
        "mptcp-user detach -i pa",
        &masked(&detached, &names),
    );
    Ok(())
}

#[test]
fn live_session() -> Result<()> {
    if !is_root(LIVE) {
        return Ok(());
    }
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "s1"])?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 20_000)?;
    pair.settle()?;
    let text = masked(&probe.run(&["sessions", "--output", "json"])?, &[]);
    // A token has letters too.
    let text = text
        .lines()
        .map(|line| match line.split_once("token\": \"") {
            Some((head, _)) => format!("{head}token\": \"TOKEN\","),
            None => line.to_owned(),
        })
        .collect::<Vec<_>>();
    holds(
        "live-sessions-json",
        "mptcp-user sessions --output json, of a live session, with numbers as #",
        &text.join("\n"),
    );
    close(client, server)
}
