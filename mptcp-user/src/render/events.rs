//! Events: a line of text, or a line of JSON (docs/json.md).

use jiff::{SignedDuration, Timestamp};
use mptcp_common::{
    counter::{Direction, Event, EventKind, Fallback, JoinFailure, ROWS},
    packet::FlowKey,
};
use serde_json::{Value, json};

use crate::source::ends;

/// A report, with what its numbers mean.
pub(crate) struct Event<'a> {
    pub(crate) time: Timestamp,
    pub(crate) report: &'a Event,
}

/// Name in documents, and in words.
fn names(kind: EventKind) -> (&'static str, &'static str) {
    match kind {
        EventKind::SessionCreated => ("session_created", "session created"),
        EventKind::SessionClosed => ("session_closed", "session closed"),
        EventKind::SubflowJoined => ("subflow_joined", "subflow joined"),
        EventKind::SubflowClosed => ("subflow_closed", "subflow closed"),
        EventKind::JoinRefused => ("join_refused", "join refused"),
        EventKind::AddressAdded => ("address_added", "address added"),
        EventKind::AddressRemoved => ("address_removed", "address removed"),
        EventKind::PriorityChanged => ("priority_changed", "priority changed"),
        EventKind::FellBack => ("fallback", "fallback"),
        EventKind::Reset => ("reset", "reset"),
        EventKind::FastClosed => ("fastclose", "fast close"),
        EventKind::Error => ("error", "error"),
        EventKind::JoinFailed => ("join_failed", "join failed"),
        EventKind::Failed => ("fail", "MP_FAIL"),
    }
}

/// Reasons of MP_TCPRST (RFC 8684 section 3.6).
const REASONS: [&str; 7] = [
    "unspecified",
    "MPTCP-specific error",
    "lack of resources",
    "administratively prohibited",
    "too much outstanding data",
    "unacceptable performance",
    "middlebox interference",
];

fn fallback(reason: u32) -> &'static str {
    match reason {
        r if r == Fallback::PlainSynAck as u32 => "SYN/ACK without MP_CAPABLE",
        r if r == Fallback::PlainThirdSegment as u32 => "third segment without MP_CAPABLE",
        r if r == Fallback::PlainSegment as u32 => "segment without option",
        r if r == Fallback::InfiniteMapping as u32 => "infinite mapping",
        r if r == Fallback::UnusableSynAck as u32 => {
            "SYN/ACK with an MP_CAPABLE that does not answer the SYN's"
        }
        r if r == Fallback::DroppedSyn as u32 => {
            "SYN with MP_CAPABLE unanswered, plain one answered"
        }
        _ => "data without mapping",
    }
}

fn join_failure(reason: u32) -> &'static str {
    match reason {
        r if r == JoinFailure::PlainSynAck as u32 => "SYN/ACK without MP_JOIN",
        r if r == JoinFailure::SynAckHmac as u32 => "SYN/ACK with a wrong HMAC",
        _ => "third segment without MP_JOIN",
    }
}

/// The short name of a row by its number, empty for 0.
fn row(number: u32) -> &'static str {
    ROWS.iter()
        .find(|row| u32::from(row.number) == number)
        .map_or("", |row| row.short)
}

impl<'a> Event<'a> {
    /// Of a report by the programs' clock, which showed `start` at `offset`; `None` of one that was told before.
    pub(crate) fn of(report: &'a Event, start: u64, offset: Timestamp) -> Option<Self> {
        let age = (report.time as i64).wrapping_sub(start as i64);
        // The programs' clock is a tick behind ours at times.
        if age < -10_000_000 {
            return None;
        }
        let time = offset.checked_add(SignedDuration::from_nanos(age)).ok()?;
        Some(Self { time, report })
    }
}

impl Event<'_> {
    fn kind(&self) -> Option<EventKind> {
        EventKind::ALL
            .into_iter()
            .find(|kind| *kind as u32 == self.report.kind)
    }

    /// What the detail says.
    fn detail(&self) -> String {
        let detail = self.report.detail;
        match self.kind() {
            Some(EventKind::SessionCreated) => format!("version {detail}"),
            Some(EventKind::AddressAdded | EventKind::AddressRemoved) => format!("id {detail}"),
            Some(EventKind::PriorityChanged) if detail == 1 => "backup".to_owned(),
            Some(EventKind::PriorityChanged) => "regular".to_owned(),
            Some(EventKind::FellBack) => fallback(detail).to_owned(),
            Some(EventKind::JoinFailed) => join_failure(detail).to_owned(),
            Some(EventKind::Failed) => "sent".to_owned(),
            Some(EventKind::Reset) if detail == 0 => "without MP_TCPRST".to_owned(),
            Some(EventKind::Reset) => REASONS.get(detail as usize - 1).map_or_else(
                || format!("reason {}", detail - 1),
                |reason| (*reason).to_owned(),
            ),
            Some(EventKind::JoinRefused | EventKind::Error) => row(detail).to_owned(),
            _ => String::new(),
        }
    }

    fn direction(&self) -> &'static str {
        match self.report.direction {
            d if d == Direction::Rx as u32 => "rx",
            d if d == Direction::Tx as u32 => "tx",
            _ => "unknown",
        }
    }

    fn token(&self) -> Option<String> {
        (self.report.token != 0).then(|| format!("{:08x}", self.report.token))
    }

    /// A line.
    pub(crate) fn text(&self) -> String {
        let [from, to] = ends(&FlowKey {
            words: self.report.flow,
        });
        let name = self.kind().map_or("unknown", |kind| names(kind).1);
        let token = self.token().unwrap_or_else(|| "-".to_owned());
        format!(
            "{:.3} {:8} {:7} {from} > {to}  {name} {}",
            self.time,
            token,
            self.direction(),
            self.detail()
        )
        .trim_end()
        .to_owned()
            + "\n"
    }

    /// An object.
    pub(crate) fn json(&self) -> Value {
        let [from, to] = ends(&FlowKey {
            words: self.report.flow,
        });
        let detail = self.detail();
        json!({
            "schema_version": 1,
            "time": self.time.to_string(),
            "event": self.kind().map(|kind| names(kind).0),
            "detail": (!detail.is_empty()).then_some(detail),
            "listener_token": self.token(),
            "direction": self.direction(),
            "from": { "address": from.ip().to_string(), "port": from.port() },
            "to": { "address": to.ip().to_string(), "port": to.port() },
        })
    }
}
