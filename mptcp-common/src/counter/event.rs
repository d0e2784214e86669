//! Rare things, told one by one to who watches (`mptcp-user events`).

use bytemuck::{Pod, Zeroable};

/// What happened. The number behind is [`Event::detail`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EventKind {
    /// A session's MP_CAPABLE handshake is complete; its version.
    SessionCreated = 1,
    /// A session is over.
    SessionClosed = 2,
    /// A join was accepted.
    SubflowJoined = 3,
    /// A subflow is closed.
    SubflowClosed = 4,
    /// A pending join was reset; the row that it counts in, 0 if none.
    JoinRefused = 5,
    /// An address was announced; its identifier.
    AddressAdded = 6,
    /// An address was removed; its identifier.
    AddressRemoved = 7,
    /// The priority of a subflow changed; 1 if it is a backup now.
    PriorityChanged = 8,
    /// A session fell back to TCP; a [`Fallback`].
    FellBack = 9,
    /// A subflow was reset; the reason of its MP_TCPRST plus 1, 0 if it had none.
    Reset = 10,
    /// MP_FASTCLOSE was sent on a subflow.
    FastClosed = 11,
    /// An error row was counted; its number.
    Error = 12,
    /// A join failed, and no reset said why; a [`JoinFailure`].
    JoinFailed = 13,
    /// MP_FAIL was sent, the first of its sender in the session.
    Failed = 14,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::SessionCreated,
        Self::SessionClosed,
        Self::SubflowJoined,
        Self::SubflowClosed,
        Self::JoinRefused,
        Self::AddressAdded,
        Self::AddressRemoved,
        Self::PriorityChanged,
        Self::FellBack,
        Self::Reset,
        Self::FastClosed,
        Self::Error,
        Self::JoinFailed,
        Self::Failed,
    ];
}

/// Why a join failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum JoinFailure {
    /// The SYN/ACK had no MP_JOIN.
    PlainSynAck = 1,
    /// The SYN/ACK had a wrong HMAC.
    SynAckHmac = 2,
    /// The third segment had no MP_JOIN.
    PlainThirdSegment = 3,
}

/// Why a session fell back to TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Fallback {
    /// The SYN/ACK had no MP_CAPABLE.
    PlainSynAck = 1,
    /// The third segment had no MP_CAPABLE.
    PlainThirdSegment = 2,
    /// A segment without option came before the session was confirmed.
    PlainSegment = 3,
    /// An infinite mapping.
    InfiniteMapping = 4,
    /// The receiver took bytes that no mapping covers.
    NoMapping = 5,
    /// The SYN/ACK had an MP_CAPABLE that does not answer the SYN's.
    UnusableSynAck = 6,
    /// SYNs with MP_CAPABLE were not answered, one without was.
    DroppedSyn = 7,
}

impl Event {
    /// Reads one from the bytes of a record; `None` if they are not as long.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        bytemuck::try_pod_read_unaligned(bytes).ok()
    }
}

/// Something that happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Event {
    /// When, by the programs' clock, in nanoseconds.
    pub time: u64,
    /// The packet's flow, its sender first; as [`super::FlowKey`].
    pub flow: [u64; 5],
    /// A [`EventKind`], by its discriminant.
    pub kind: u32,
    /// See [`EventKind`].
    pub detail: u32,
    /// The packet's direction, a `counter::Direction` by its number.
    pub direction: u32,
    /// Token of the session's listener, 0 if it is not known.
    pub token: u32,
}
