//! How much the tables of a probe, or of the engine over memory, have room for.

/// How many sessions, subflows, handshakes and ranges there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Sessions.
    pub sessions: u32,
    /// Subflows.
    pub subflows: u32,
    /// Handshakes under way.
    pub handshakes: u32,
    /// Ranges of data beyond gaps, besides those that each session has room for.
    pub ranges: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            sessions: 8192,
            subflows: 16384,
            handshakes: 16384,
            ranges: 131_072,
        }
    }
}
