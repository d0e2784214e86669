//! Limits and times that rows are judged by.

use bytemuck::{Pod, Zeroable};

/// Limits and times that rows are judged by and tables are cleaned by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Limits {
    /// A pending handshake is forgotten after this time. Nanoseconds, as all times here.
    pub handshake: u64,
    /// A session without subflows is over after this time.
    pub alone: u64,
    /// A session without packets is over after this time.
    pub idle: u64,
    /// A closed subflow is remembered for this time.
    pub linger: u64,
    /// Subflows of a session, the first included; a join beyond is refused (MaxsfEr).
    pub subflows: u32,
    /// Pending joins of a session and side (PendRep).
    pub pending: u32,
    /// Pending joins of all sessions, 0 is no limit (JoinThEr).
    pub threshold: u32,
    /// Is closing on a backup subflow refused (DFpasveEr, FCpasvEr)?
    pub passive_close_refused: u32,
}

pub(crate) const SECOND: u64 = 1_000_000_000;

impl Limits {
    /// NetScaler's defaults where it has the limit, Linux's where it has not.
    pub const DEFAULT: Self = Self {
        handshake: 75 * SECOND,
        alone: 60 * SECOND,
        idle: 3600 * SECOND,
        linger: 10 * SECOND,
        subflows: 4,
        pending: 4,
        threshold: 0,
        passive_close_refused: 0,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
