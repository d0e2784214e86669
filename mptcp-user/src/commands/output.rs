//! What commands print, and how they end.

use std::io::{self, BufWriter, Write as _};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    failure::{self, Failure, FailureKind},
    source::{Capture, Log},
    text::{Visible, visible},
};

/// All interfaces went wrong, or some.
pub(super) fn conclude(mut failures: Vec<anyhow::Error>, asked: usize) -> Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    if asked == 1 {
        return failures.pop().map_or(Ok(()), Err);
    }
    let kind = if failures.len() < asked {
        FailureKind::Partly
    } else {
        failure::kind(&failures[0])
    };
    let reasons: Vec<_> = failures.iter().map(failure::sentence).collect();
    Err(Failure::new(
        kind,
        format!(
            "{} of {asked} interfaces failed\n{}",
            failures.len(),
            reasons.join("\n")
        ),
    )
    .into())
}

/// Tells what of a capture was not as it should be; an error if it could not be read to its end.
pub(super) fn conclude_capture(capture: &Capture) -> Result<()> {
    for remark in capture.remarks() {
        failure::warn(remark);
    }
    capture.conclude()
}

/// Tells what of a log was not as it should be; an error if it could not be read to its end.
pub(super) fn conclude_log(log: &Log) -> Result<()> {
    for remark in log.remarks() {
        failure::warn(remark);
    }
    log.conclude()
}

/// Prints to standard output; that nobody reads it any more is an error like others, so that
/// endless commands end.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(visible(text).as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// Prints an object as JSON to standard output, written as it is made.
pub(super) fn print_json(object: &impl Serialize) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    serde_json::to_writer_pretty(Visible(&mut out), object)
        .map_err(io::Error::from)
        .and_then(|()| writeln!(out))
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}
