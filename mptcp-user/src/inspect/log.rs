//! What commands make of a log from anywhere: for tests.

use std::io::Read;

use anyhow::Result;
use serde_json::Value;

use crate::{
    render::{json, report},
    snapshot::reading::Range,
    source::Log,
};

/// Returns what is displayed of each reading of a log from anywhere, in JSON: for tests.
///
/// # Errors
/// If it is no log.
pub fn displays(bytes: impl Read + 'static) -> Result<Vec<Value>> {
    let mut log = Log::of(bytes, Range::default())?;
    let mut displays = Vec::new();
    while let Ok(Some(reading)) = log.next() {
        let taken = log.take();
        displays.push(json::statistics(&log.statistics(&reading, taken)));
    }
    Ok(displays)
}

/// Returns the page of a log from anywhere: for tests.
///
/// # Errors
/// If there is none.
pub fn page(bytes: impl Read + 'static) -> Result<String> {
    let mut log = Log::of(bytes, Range::default())?;
    let (statistics, history) = log.history()?;
    report::page(&report::Page {
        statistics: &statistics,
        history: Some(&history),
        remarks: &log.remarks(),
    })
}
