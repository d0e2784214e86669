//! What exists at a moment.

/// What exists at a moment, counted in the tables of sessions, subflows and handshakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Sessions that are not over.
    pub sessions: u64,
    /// The part of these of version 1.
    pub sessions_v1: u64,
    /// The part of these that fell back to TCP.
    pub fallback: u64,
    /// The part of these without an open subflow.
    pub alone: u64,
    /// Open subflows.
    pub subflows: u64,
    /// Joins whose handshake is under way.
    pub pending: u64,
}
