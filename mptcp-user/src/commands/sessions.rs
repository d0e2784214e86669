//! `mptcp-user sessions`

use std::ops::ControlFlow;

use anyhow::Result;
use jiff::Timestamp;
use mptcp_common::counter::Role;

use super::{conclude_capture, print};
use crate::{
    cli::{Sessions, SessionsOutput},
    failure::{Failure, Kind},
    probe::{self, Pins, Probe},
    render::sessions::{json, table},
    source::{Capture, Selection, Session},
};

pub(crate) fn run(pins: &Pins, options: &Sessions) -> Result<()> {
    let capture = match &options.capture.log_file {
        None => None,
        Some(file) => {
            let mut capture = Capture::open(file, options.capture.analysis.config(), true)?;
            capture.read(|_, _| Ok(ControlFlow::Continue(())))?;
            Some(capture)
        }
    };
    let selection = options.selection();
    let (role, time, sessions) = match &capture {
        Some(capture) => capture.sessions(&selection)?,
        None => read(pins, &selection)?,
    };
    let text = match options.output {
        SessionsOutput::Table if sessions.is_empty() && capture.is_some() => {
            "no sessions at the end of the capture; `events` tells of those that are over\n"
                .to_owned()
        }
        SessionsOutput::Table if sessions.is_empty() => "no sessions\n".to_owned(),
        SessionsOutput::Table => table(&sessions, role, options.full_values),
        SessionsOutput::Json => format!("{:#}\n", json(&sessions, role, time)),
    };
    print(&text)?;
    capture.as_ref().map_or(Ok(()), conclude_capture)
}

/// The sessions of this network namespace's probes, which share their tables.
fn read(pins: &Pins, selection: &Selection) -> Result<(Role, Timestamp, Vec<Session>)> {
    let _lock = pins.lock_to_read()?;
    let namespace = probe::namespace()?;
    for here in pins.interfaces()? {
        if here.namespace != namespace {
            continue;
        }
        let probe = Probe::open(&here)?;
        if let Some(tables) = probe.tables() {
            return Ok((probe.role(), Timestamp::now(), tables.sessions(selection)?));
        }
    }
    Err(Failure::error(
        Kind::Failed,
        format!(
            "no probe in this network namespace follows sessions (pin directory {})\n  next: \
             mptcp-user attach -i IFACE, without --no-track",
            pins.root().display()
        ),
    ))
}
