//! `mptcp-user sessions`

use std::ops::ControlFlow;

use anyhow::Result;
use jiff::Timestamp;
use mptcp_common::counter::Role;

use super::{
    lookup::recording,
    output::{conclude_capture, print, print_json},
};
use crate::{
    args::{SessionsArgs, SessionsOutput},
    failure::{Failure, FailureKind, is_forbidden},
    probe::{self, Pins, Probe},
    render::sessions::{Document, table},
    snapshot::{select::Selection, session::Session},
    source::Capture,
    text::shown,
};

/// Sessions in a table. More come in further ones, each with its heading: a table is laid out as a whole, and takes
/// some kilobytes for each.
const BLOCK: usize = 10_000;

pub(crate) async fn run(pins: &Pins, options: &SessionsArgs) -> Result<()> {
    let capture = match recording(&options.capture)? {
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
        None => read(pins, &selection).await?,
    };
    match options.output {
        SessionsOutput::Table if sessions.is_empty() => print(match capture {
            Some(_) => {
                "no sessions at the end of the capture; `events` tells of those that are over\n"
            }
            None => "no sessions\n",
        })?,
        SessionsOutput::Table => {
            for block in sessions.chunks(BLOCK) {
                print(&table(block, role, options.full_values))?;
            }
        }
        SessionsOutput::Json => print_json(&Document {
            sessions: &sessions,
            role,
            time,
        })?,
    }
    capture.as_ref().map_or(Ok(()), conclude_capture)
}

/// Returns the sessions of this network namespace's probes, which share their tables.
async fn read(
    pins: &Pins,
    selection: &Selection,
) -> Result<(Role, Option<Timestamp>, Vec<Session>)> {
    let _lock = pins.lock_to_read(None).await?;
    let namespace = probe::namespace()?;
    let mut broken = None;
    for here in pins.interfaces()? {
        if here.namespace != namespace {
            continue;
        }
        // One that is not whole hides no other.
        let probe = match Probe::open(&here) {
            Err(error) if !is_forbidden(&error) => {
                broken = Some(error);
                continue;
            }
            probe => probe?,
        };
        if let Some(tables) = probe.tables() {
            let now = Timestamp::now();
            return Ok((probe.role(), Some(now), tables.sessions(selection)?));
        }
    }
    if let Some(error) = broken {
        return Err(error);
    }
    Err(Failure::new(
        FailureKind::Failed,
        format!(
            "no probe in this network namespace follows sessions (pin directory {})",
            shown(pins.root())
        ),
    )
    .next("mptcp-user attach -i IFACE, without --no-track")
    .into())
}
