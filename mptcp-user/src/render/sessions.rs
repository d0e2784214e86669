//! Sessions and their subflows, as a table and as JSON (docs/json.md).

use std::time::Duration;

use comfy_table::CellAlignment;
use jiff::Timestamp;
use mptcp_common::counter::Role;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Value, json};

use super::{
    number::number,
    table::{lines, new_table},
};
use crate::{
    schema::role_name,
    snapshot::session::{Session, Subflow},
};

/// Returns a table: a session a line, and its subflows below it.
pub(crate) fn table(sessions: &[Session], role: Role, full_values: bool) -> String {
    let mut table = new_table([
        "Initiator",
        "Listener",
        "Id",
        "State",
        "Age",
        "Idle",
        "Bytes >",
        "Bytes <",
    ]);
    for column in table.column_iter_mut().take(4) {
        column.set_cell_alignment(CellAlignment::Left);
    }
    let bytes = |bytes: u64| number(bytes, full_values);
    for session in sessions {
        let token = session.tokens[1].map_or("unknown".to_owned(), |token| format!("{token:08x}"));
        table.add_row([
            format!("session {token}"),
            format!("v{}{}", session.version, place(session, role)),
            session.subflows.len().to_string(),
            session.state.name().to_owned(),
            age(session.age),
            time(session.idle),
            bytes(session.bytes(0)),
            bytes(session.bytes(1)),
        ]);
        for subflow in &session.subflows {
            table.add_row([
                format!("  {}", subflow.ends[0]),
                subflow.ends[1].to_string(),
                format!("{}/{}", subflow.ids[0], subflow.ids[1]),
                format!("{}{}", subflow.state.name(), backup(subflow)),
                age(subflow.age),
                time(subflow.idle),
                bytes(subflow.bytes[0]),
                bytes(subflow.bytes[1]),
            ]);
        }
    }
    lines(&table)
}

/// Returns which end this host is.
fn place(session: &Session, role: Role) -> &'static str {
    match role {
        Role::Middlebox => "",
        Role::Host => match session.is_listener {
            Some(true) => ", listener here",
            Some(false) => ", initiator here",
            None => ", roles unknown",
        },
    }
}

fn backup(subflow: &Subflow) -> &'static str {
    if subflow.backup.contains(&true) {
        ", backup"
    } else {
        ""
    }
}

/// Returns an age in words; what was there before the probe says so.
fn age(age: Option<Duration>) -> String {
    age.map_or("before".to_owned(), time)
}

/// In the largest unit that leaves two digits.
fn time(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{}ms", time.as_millis()),
        seconds @ 1..=99 => format!("{seconds}s"),
        seconds @ 100..=5_999 => format!("{}m", seconds / 60),
        seconds => format!("{}h", seconds / 3600),
    }
}

/// One object (docs/json.md). What it says of a session is made when that is written: there may be a million.
pub(crate) struct Document<'a> {
    pub(crate) sessions: &'a [Session],
    pub(crate) role: Role,
    pub(crate) time: Option<Timestamp>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("schema_version", &1)?;
        map.serialize_entry("time", &self.time)?;
        map.serialize_entry("role", role_name(self.role))?;
        map.serialize_entry("sessions", &Objects(self))?;
        map.end()
    }
}

/// The sessions of a document.
struct Objects<'a>(&'a Document<'a>);

impl Serialize for Objects<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Document { sessions, role, .. } = self.0;
        serializer.collect_seq(sessions.iter().map(|session| object(session, *role)))
    }
}

fn object(session: &Session, role: Role) -> Value {
    json!({
        "initiator_token": session.tokens[0].map(|token| format!("{token:08x}")),
        "listener_token": session.tokens[1].map(|token| format!("{token:08x}")),
        "version": session.version,
        "state": session.state.name(),
        "local": match role {
            Role::Middlebox => None,
            Role::Host => session
                .is_listener
                .map(|listens| if listens { "listener" } else { "initiator" }),
        },
        "checksum": session.checksum,
        "lossy": session.is_lossy,
        "before_probe": session.age.is_none(),
        "age_s": session.age.map(|age| age.as_secs_f64()),
        "idle_s": session.idle.as_secs_f64(),
        "packets_from_initiator": session.packets(0),
        "packets_from_listener": session.packets(1),
        "bytes_from_initiator": session.bytes(0),
        "bytes_from_listener": session.bytes(1),
        "subflows": session.subflows.iter().map(subflow_object).collect::<Vec<_>>(),
    })
}

fn subflow_object(subflow: &Subflow) -> Value {
    let end = |side: usize| {
        json!({
            "address": subflow.ends[side].ip().to_string(),
            "port": subflow.ends[side].port(),
            "address_id": subflow.ids[side],
            "backup": subflow.backup[side],
            "packets": subflow.packets[side],
            "bytes": subflow.bytes[side],
        })
    };
    json!({
        "initiator": end(0),
        "listener": end(1),
        "opened_by": if subflow.is_join { "MP_JOIN" } else { "MP_CAPABLE" },
        "state": subflow.state.name(),
        "age_s": subflow.age.map(|age| age.as_secs_f64()),
        "idle_s": subflow.idle.as_secs_f64(),
    })
}
