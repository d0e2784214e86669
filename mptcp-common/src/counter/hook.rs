//! Functions of the kernel that allocate for MPTCP: no packet shows that they failed.

/// A function whose failures are counted, where the kernel lets a program be called at its end
/// (fexit).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[expect(missing_docs, reason = "FexitHook::condition says it")]
pub enum FexitHook {
    SubflowContext,
    SubflowSocket,
    SubflowRequest,
    SubflowChild,
    SessionChild,
    SessionSocketV4,
    SessionSocketV6,
    OutputSegment,
}

impl FexitHook {
    /// All of them, in the order of the map `hooks/counters`.
    pub const ALL: [Self; 8] = [
        Self::SubflowContext,
        Self::SubflowSocket,
        Self::SubflowRequest,
        Self::SubflowChild,
        Self::SessionChild,
        Self::SessionSocketV4,
        Self::SessionSocketV6,
        Self::OutputSegment,
    ];

    /// The function's name in the kernel.
    pub fn function(self) -> &'static str {
        match self {
            Self::SubflowContext => "subflow_create_ctx",
            Self::SubflowSocket => "mptcp_subflow_create_socket",
            Self::SubflowRequest => "inet_reqsk_alloc",
            Self::SubflowChild => "inet_csk_clone_lock",
            Self::SessionChild => "mptcp_sk_clone_init",
            Self::SessionSocketV4 => "inet_create",
            Self::SessionSocketV6 => "inet6_create",
            Self::OutputSegment => "mptcp_sendmsg_frag",
        }
    }

    /// What is counted, for documents.
    pub fn condition(self) -> &'static str {
        match self {
            Self::SubflowContext => "returns NULL: no memory for a subflow's MPTCP state",
            Self::SubflowSocket => {
                "returns ENOMEM, ENOBUFS or ENFILE: no memory for the TCP socket of a subflow that \
                 this host opens or listens on"
            }
            Self::SubflowRequest => {
                "returns NULL for a listener of MPTCP: no memory for the handshake of a SYN"
            }
            Self::SubflowChild => {
                "returns NULL for a listener of MPTCP: no memory for the TCP socket of a completed \
                 handshake"
            }
            Self::SessionChild => {
                "returns NULL: no memory for the MPTCP socket of a session that was accepted"
            }
            Self::SessionSocketV4 | Self::SessionSocketV6 => {
                "returns ENOMEM, ENOBUFS or ENFILE for protocol 262: no memory for a new MPTCP \
                 socket"
            }
            Self::OutputSegment => {
                "returns ENOMEM: no memory, or none that the limits of the host's sockets allow, for \
                 a segment to send"
            }
        }
    }
}

/// The failures of each of [`FexitHook::ALL`]; `None` where the function is not hooked.
pub type FexitCounts = [Option<u64>; FexitHook::ALL.len()];
