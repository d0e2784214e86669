//! What this place saw of MPTCP, and what failed, in words and as JSON (docs/json.md).

use serde_json::{Map, Value, json};

use super::number::number;
use crate::{
    snapshot::{
        host::Remark,
        outcome::{Account, Finding, FindingKind, Joins, Opener, Outcome, Sessions},
    },
    statistics::Severity,
    text::wrapped,
};

/// Characters of a line, so that it fits a terminal of 80.
const WIDTH: usize = 79;

/// Characters in front of what a line says.
const INDENT: usize = 15;

/// Returns what this place saw: some lines, each for somebody who opened sessions, or for something else.
pub(crate) fn lines(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    match &outcome.accounts {
        None => lines.push((
            "sessions",
            format!(
                "flows are not followed (--no-track): what became of {} is not known",
                counted(outcome.syns, "MPTCP SYN")
            ),
        )),
        Some(accounts) => {
            let mut used: Vec<_> = accounts.iter().filter(|side| side.is_used()).collect();
            if used.is_empty() {
                used.extend(accounts.first());
            }
            for account in &used {
                let mut line = sessions(&account.sessions);
                if !account.sessions.is_used() && outcome.other_tcp > 0 {
                    line.push_str(", or the option was taken out of SYNs before this place");
                }
                lines.push((session_title(account.opener), line));
            }
            if outcome.fallbacks.sum() > 0 {
                lines.push(("fell back", fell_back(outcome)));
            }
            let tried = used.iter().filter(|account| account.joins.tried > 0);
            let tried: Vec<_> = tried
                .map(|account| (join_title(account.opener), joins(&account.joins)))
                .collect();
            if tried.is_empty() {
                lines.push(("joins", "none tried".to_owned()));
            }
            lines.extend(tried);
        }
    }
    lines.push(("other TCP", other_tcp(outcome)));
    lines
}

/// Returns these lines and the failures as text of a terminal.
pub(crate) fn text(outcome: &Outcome, full_values: bool) -> String {
    let mut text = String::new();
    for (title, line) in lines(outcome) {
        text.push_str(&wrapped(
            &format!("{title:INDENT$}"),
            &line,
            &" ".repeat(INDENT),
            WIDTH,
        ));
    }
    for Remark { what, next } in &outcome.host {
        let indent = " ".repeat(INDENT);
        text.push_str(&wrapped(
            &format!("{:INDENT$}", "this host"),
            what,
            &indent,
            WIDTH,
        ));
        text.push_str(&wrapped(&format!("{indent}next: "), next, &indent, WIDTH));
    }
    // Losses of the probe stand in the heading.
    let failures = outcome.failures.iter();
    let failures: Vec<_> = failures
        .filter(|finding| !finding.name.starts_with("Lost"))
        .collect();
    if !failures.is_empty() {
        text.push('\n');
        let view = view(outcome);
        text.push_str(&wrapped("", &format!("Failed{view}:"), "", WIDTH));
        for (i, finding) in failures.iter().enumerate() {
            let head = format!("{:>8}  ", number(finding.total, full_values));
            text.push_str(&wrapped(&head, &what(finding), &" ".repeat(10), WIDTH));
            let meaning = finding.advice.meaning;
            text.push_str(&wrapped("          ", meaning, "          ", WIDTH));
            let next = finding.advice.next;
            // Once for all in a row that have it.
            if failures
                .get(i + 1)
                .is_none_or(|other| other.advice.next != next)
            {
                text.push_str(&wrapped("          next: ", next, "          ", WIDTH));
            }
        }
    }
    if let Some(line) = normal(outcome, full_values) {
        text.push('\n');
        text.push_str(&wrapped(
            &format!("{}: ", Severity::NormalOnLinux.name()),
            &line,
            "  ",
            WIDTH,
        ));
    }
    text
}

/// Returns whose view the words of failures are: a middlebox has neither peers nor an end of its own.
pub(crate) fn view(outcome: &Outcome) -> &'static str {
    let accounts = outcome.accounts.iter().flatten();
    match accounts.last().map(|account| account.opener) {
        Some(Opener::Anybody) => {
            " (this end is the listener of each session, the peer its initiator)"
        }
        _ => "",
    }
}

/// Returns a finding's label and short name.
pub(crate) fn what(finding: &Finding) -> String {
    format!("{} ({})", finding.label, finding.name)
}

/// Returns what healthy Linux hosts did, in one line; `None` if it is nothing. What nobody was told of is nothing of
/// theirs.
fn normal(outcome: &Outcome, full_values: bool) -> Option<String> {
    let numbers: Vec<_> = outcome
        .normal
        .iter()
        .filter(|finding| finding.name != "LostReports")
        .map(|finding| format!("{} {}", finding.name, number(finding.total, full_values)))
        .collect();
    (!numbers.is_empty()).then(|| numbers.join(", "))
}

fn session_title(opener: Opener) -> &'static str {
    match opener {
        Opener::Here => "opened here",
        Opener::Peers => "accepted here",
        Opener::Anybody => "through here",
    }
}

fn join_title(opener: Opener) -> &'static str {
    match opener {
        Opener::Here => "joins sent",
        Opener::Peers => "joins received",
        Opener::Anybody => "joins",
    }
}

fn counted(count: u64, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}

/// Returns those parts that there are, behind what they are parts of.
fn parts(sum: u64, what: &str, parts: &[(u64, &str)]) -> Option<String> {
    let named: Vec<_> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| match *count == sum {
            true => (*name).to_owned(),
            false => format!("{count} {name}"),
        })
        .collect();
    (sum > 0).then(|| match named.is_empty() {
        true => format!("{sum} {what}"),
        false => format!("{sum} {what} ({})", named.join(", ")),
    })
}

fn sessions(sessions: &Sessions) -> String {
    if !sessions.is_used() {
        return "nobody asked for MPTCP".to_owned();
    }
    let mut line = vec![
        format!("{} asked for MPTCP", sessions.asked),
        format!("{} got it", sessions.established),
    ];
    line.extend(parts(
        sessions.plain(),
        "plain TCP",
        &[
            (sessions.plain_syn_ack, "SYN/ACK without MP_CAPABLE"),
            (sessions.dropped_syn, "SYN unanswered until it was plain"),
            (
                sessions.plain_third_segment,
                "third segment without MP_CAPABLE",
            ),
        ],
    ));
    line.extend(parts(
        sessions.unanswered,
        "without a SYN/ACK (reset, lost, or under way)",
        &[],
    ));
    line.extend(parts(
        sessions.unfinished,
        "not complete (reset, lost, or under way)",
        &[],
    ));
    line.join(", ")
}

fn fell_back(outcome: &Outcome) -> String {
    let fallbacks = &outcome.fallbacks;
    let line = parts(
        fallbacks.sum(),
        "to plain TCP after the handshake",
        &[
            (
                fallbacks.plain_segment,
                "first segment without an MPTCP option",
            ),
            (fallbacks.infinite_mapping, "infinite mapping"),
            (fallbacks.no_mapping, "data without a mapping"),
        ],
    );
    line.unwrap_or_default()
}

fn joins(joins: &Joins) -> String {
    let mut line = vec![
        format!("{} tried", joins.tried),
        format!("{} made", joins.established),
    ];
    let reasons = joins.reasons.named().map(|(name, count)| {
        let words = match name {
            "token" => "token of no session",
            "hmac" => "wrong HMAC",
            "after_fallback" => "after a fallback",
            "plain_third_segment" => "third segment without MP_JOIN",
            "other" => "no reason seen",
            name => name,
        };
        (count, words)
    });
    line.extend(parts(joins.refused, "refused", &reasons));
    for (count, what) in [
        (joins.plain_syn_ack, "answered without MP_JOIN"),
        (joins.wrong_syn_ack, "answered with a wrong HMAC"),
        (joins.unanswered, "unanswered"),
        (joins.unfinished, "not complete"),
    ] {
        line.extend(parts(count, what, &[]));
    }
    line.join(", ")
}

fn other_tcp(outcome: &Outcome) -> String {
    let Outcome {
        other_tcp, mptcp, ..
    } = *outcome;
    match share(outcome) {
        None => "no TCP was seen".to_owned(),
        Some(_) if other_tcp == 0 => {
            format!("none; {} with an MPTCP option", counted(mptcp, "packet"))
        }
        Some(share) => format!(
            "{} without an MPTCP option ({share:.0} % of TCP)",
            counted(other_tcp, "packet")
        ),
    }
}

/// Returns how much of the TCP packets have no MPTCP option, in percent; `None` if there were none.
fn share(outcome: &Outcome) -> Option<f64> {
    let all = outcome.other_tcp.saturating_add(outcome.mptcp);
    (all > 0).then(|| outcome.other_tcp as f64 * 100.0 / all as f64)
}

/// Returns the object `outcome` of `stat`.
pub(crate) fn json(outcome: &Outcome) -> Map<String, Value> {
    let accounts = outcome.accounts.as_ref().map(|accounts| {
        let objects = accounts.iter().map(account);
        objects.collect::<Vec<_>>()
    });
    let findings = |findings: &[Finding]| findings.iter().map(finding).collect::<Vec<_>>();
    let fallbacks = &outcome.fallbacks;
    let share = share(outcome).map(|share| (share * 10.0).round() / 1000.0);
    let object = json!({
        "accounts": accounts,
        "fallbacks": {
            "plain_segment": fallbacks.plain_segment,
            "infinite_mapping": fallbacks.infinite_mapping,
            "no_mapping": fallbacks.no_mapping,
        },
        "other_tcp": { "packets": outcome.other_tcp, "share": share },
        "host": outcome.host.iter().map(|Remark { what, next }| json!({ "what": what, "next": next }))
            .collect::<Vec<_>>(),
        "failures": findings(&outcome.failures),
        "normal": findings(&outcome.normal),
    });
    match object {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn account(account: &Account) -> Value {
    let Account {
        opener,
        sessions,
        joins,
    } = account;
    json!({
        "opened": match opener {
            Opener::Here => "here",
            Opener::Peers => "elsewhere",
            Opener::Anybody => "unknown",
        },
        "sessions": {
            "asked": sessions.asked,
            "established": sessions.established,
            "plain_syn_ack": sessions.plain_syn_ack,
            "dropped_syn": sessions.dropped_syn,
            "plain_third_segment": sessions.plain_third_segment,
            "unanswered": sessions.unanswered,
            "unfinished": sessions.unfinished,
        },
        "joins": {
            "tried": joins.tried,
            "established": joins.established,
            "refused": joins.refused,
            "reasons": joins.reasons.named().into_iter().map(|(name, count)| (name.to_owned(), count.into()))
                .collect::<Map<_, _>>(),
            "plain_syn_ack": joins.plain_syn_ack,
            "wrong_syn_ack": joins.wrong_syn_ack,
            "unanswered": joins.unanswered,
            "unfinished": joins.unfinished,
        },
    })
}

fn finding(finding: &Finding) -> Value {
    json!({
        "name": finding.name,
        "what": finding.label,
        "kind": match finding.kind {
            FindingKind::Row => "row",
            FindingKind::Extra => "extra",
            FindingKind::Outcome => "outcome",
        },
        "total": finding.total,
        "rate": finding.rate.map(|rate| (rate * 1000.0).round() / 1000.0),
        "meaning": finding.advice.meaning,
        "next": (!finding.advice.next.is_empty()).then_some(finding.advice.next),
    })
}
