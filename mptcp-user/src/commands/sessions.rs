//! `mptcp-user sessions`

use std::{cmp::Reverse, ops::ControlFlow};

use anyhow::Result;
use jiff::Timestamp;
use mptcp_common::counter::Role;

use super::{conclude_capture, print};
use crate::{
    cli::{Sessions, SessionsOutput, SortBy},
    failure::{Failure, Kind},
    probe::{self, Pins, Probe},
    render::sessions::{json, table},
    source::{Capture, Session, oldest},
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
    let (role, time, mut sessions) = match &capture {
        Some(capture) => capture.sessions(),
        None => read(pins)?,
    };
    sessions.retain(|session| matches(session, options));
    sort(&mut sessions, options.sort);
    if let Some(limit) = options.limit {
        sessions.truncate(limit);
    }
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
fn read(pins: &Pins) -> Result<(Role, Timestamp, Vec<Session>)> {
    let _lock = pins.lock_to_read()?;
    let namespace = probe::namespace()?;
    for here in pins.interfaces()? {
        if here.namespace != namespace {
            continue;
        }
        let probe = Probe::open(&here)?;
        if let Some(tables) = probe.tables() {
            return Ok((probe.role(), Timestamp::now(), tables.sessions()?));
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

fn matches(session: &Session, options: &Sessions) -> bool {
    let has_end = |wanted: &dyn Fn(&std::net::SocketAddr) -> bool| {
        session
            .subflows
            .iter()
            .flat_map(|subflow| &subflow.ends)
            .any(wanted)
    };
    options
        .address
        .is_none_or(|address| has_end(&|end| end.ip() == address))
        && options
            .port
            .is_none_or(|port| has_end(&|end| end.port() == port))
        && options
            .state
            .is_none_or(|state| session.state == state.into())
}

fn sort(sessions: &mut [Session], by: SortBy) {
    match by {
        SortBy::Age => sessions.sort_by_key(|session| Reverse(oldest(session.age))),
        SortBy::Idle => sessions.sort_by_key(|session| session.idle),
        SortBy::Bytes => {
            sessions.sort_by_key(|session| Reverse(session.bytes(0) + session.bytes(1)));
        }
        SortBy::Subflows => sessions.sort_by_key(|session| Reverse(session.subflows.len())),
    }
}
