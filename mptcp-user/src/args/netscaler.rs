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

/// Replaces NetScaler's spelling of the options of `stat`, whatever its case, by the usual one, and
/// leaves out the words `protocol mptcp`.
pub(crate) fn normalise(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = arguments.collect();
    let Some(stat) = arguments.iter().position(|argument| argument == "stat") else {
        return arguments;
    };
    let rest = arguments.split_off(stat + 1);
    let words = rest
        .windows(2)
        .position(|pair| pair[0] == "protocol" && pair[1] == "mptcp");
    for (i, argument) in rest.into_iter().enumerate() {
        if words.is_none_or(|at| i != at && i != at + 1) {
            arguments.push(spelling(&argument).unwrap_or(argument));
        }
    }
    arguments
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
