//! Where the probe stands, and the directions that packets count in there.

/// Where the probe stands, seen from the sessions it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// On an end of the sessions: ingress is received, egress is sent.
    Host = 0,
    /// Between the ends: the table reads as the listener of each session would print it.
    Middlebox = 1,
}

/// The direction that a packet counts in, as [`Role`] defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// Received by the host, or sent by the session's initiator.
    Rx = 0,
    /// Sent by the host, or by the session's listener.
    Tx = 1,
    /// A middlebox does not know who initiated the session.
    Unknown = 2,
}
