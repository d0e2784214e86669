//! NetScaler's spelling of the options of `stat`.

use std::ffi::{OsStr, OsString};

/// NetScaler's spelling of the options of `stat`, and ours.
const SPELLINGS: [(&str, &str); 6] = [
    ("-detail", "--detail"),
    ("-fullvalues", "--full-values"),
    ("-ntimes", "--ntimes"),
    ("-interval", "--interval"),
    ("-logfile", "--log-file"),
    ("-clearstats", "--clear-stats"),
];

/// Commands that read a file, which they all take as `-logFile`.
const READERS: [&str; 4] = ["stat", "sessions", "events", "report"];

/// Replaces NetScaler's spelling of the options of `stat`, whatever its case, by the usual one, and
/// leaves out the words `protocol mptcp`. Of other commands that read a file, `-logFile` is replaced.
pub(crate) fn normalise(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = arguments.collect();
    let is_reader = |argument: &OsString| READERS.iter().any(|command| argument == command);
    let Some(at) = arguments.iter().position(is_reader) else {
        return arguments;
    };
    let is_stat = arguments[at] == "stat";
    let rest = arguments.split_off(at + 1);
    let words = rest
        .windows(2)
        .position(|pair| is_stat && pair[0] == "protocol" && pair[1] == "mptcp");
    for (i, argument) in rest.into_iter().enumerate() {
        if words.is_none_or(|at| i != at && i != at + 1) {
            let usual = spelling(&argument).filter(|usual| is_stat || is_file(usual));
            arguments.push(usual.unwrap_or(argument));
        }
    }
    arguments
}

fn is_file(argument: &OsStr) -> bool {
    argument
        .to_str()
        .is_some_and(|text| text.starts_with("--log-file"))
}

fn spelling(argument: &OsStr) -> Option<OsString> {
    let text = argument.to_str()?;
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let (_, ours) = SPELLINGS
        .iter()
        .find(|(theirs, _)| theirs.eq_ignore_ascii_case(name))?;
    Some(match value {
        Some(value) => format!("{ours}={value}").into(),
        None => (*ours).into(),
    })
}
