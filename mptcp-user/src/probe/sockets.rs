//! The MPTCP sessions and subflows of this network namespace, as the kernel tells of their sockets
//! (sock_diag, what `ss` asks too).

use std::{collections::HashMap, io, net::SocketAddr};

use anyhow::{Context as _, Result, anyhow};
use futures_util::StreamExt as _;
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, SOCK_DIAG_BY_FAMILY, TCP_CLOSE_WAIT, TCP_CLOSING, TCP_ESTABLISHED,
    TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_LAST_ACK,
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla},
};
use rtnetlink::{
    packet_core::{
        DecodeError, DefaultNla, Emitable, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable,
        NetlinkHeader, NetlinkMessage, NetlinkPayload, NetlinkSerializable, Nla as _, NlasIterator,
        Parseable as _,
    },
    proto::{self, sys::SocketAddr as NetlinkAddress},
    sys::protocols::NETLINK_SOCK_DIAG,
};

use super::limits;

const IPPROTO_TCP: u32 = 6;
const IPPROTO_MPTCP: u32 = 262;
// linux/inet_diag.h
const INET_DIAG_REQ_PROTOCOL: u16 = 3;
const INET_DIAG_ULP_INFO: u16 = 19;
const INET_ULP_INFO_MPTCP: u16 = 3;
// linux/mptcp.h, of subflows.
const TOKEN_REM: u16 = 1;
const TOKEN_LOC: u16 = 2;
const SSN_OFFSET: u16 = 6;
const FLAGS: u16 = 8;
const ID_REM: u16 = 9;
const ID_LOC: u16 = 10;
// The same, of sessions: MPTCP_INFO_FLAG_FALLBACK.
const FALLBACK: u32 = 1;

/// Flags of a subflow: MPTCP_SUBFLOW_FLAG_...
pub(crate) mod flag {
    /// The peer agreed to MP_CAPABLE.
    pub(crate) const CAPABLE_REMOTE: u32 = 1;
    /// This host sent the MP_CAPABLE SYN.
    pub(crate) const CAPABLE_LOCAL: u32 = 1 << 1;
    /// Opened by an MP_JOIN that the peer sent, or agreed to.
    pub(crate) const JOIN_REMOTE: u32 = 1 << 2;
    /// This host sent the MP_JOIN SYN.
    pub(crate) const JOIN_LOCAL: u32 = 1 << 3;
    /// The peer asks to use it as a backup.
    pub(crate) const BACKUP_REMOTE: u32 = 1 << 4;
    /// This host does.
    pub(crate) const BACKUP_LOCAL: u32 = 1 << 5;
    /// The peer has shown that it knows the session.
    pub(crate) const FULLY_ESTABLISHED: u32 = 1 << 6;
}

/// What a socket's connection has left to do, by the states of TCP; MPTCP's sessions have them too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TcpState {
    Established,
    /// This host has sent its FIN.
    FinWait1,
    /// And the peer has acknowledged it.
    FinWait2,
    /// The peer has sent its FIN.
    CloseWait,
    /// Both have, and one of them is not acknowledged.
    Closing,
}

impl TcpState {
    fn of(number: u8) -> Option<Self> {
        match number {
            TCP_ESTABLISHED => Some(Self::Established),
            TCP_FIN_WAIT1 => Some(Self::FinWait1),
            TCP_FIN_WAIT2 => Some(Self::FinWait2),
            TCP_CLOSE_WAIT => Some(Self::CloseWait),
            TCP_CLOSING | TCP_LAST_ACK => Some(Self::Closing),
            _ => None,
        }
    }

    /// Returns all of them, to ask for.
    fn all() -> StateFlags {
        StateFlags::ESTABLISHED
            | StateFlags::FIN_WAIT1
            | StateFlags::FIN_WAIT2
            | StateFlags::CLOSE_WAIT
            | StateFlags::CLOSING
            | StateFlags::LAST_ACK
    }
}

/// A session's socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionSocket {
    /// This host's end and the peer's, of the first subflow.
    pub(crate) ends: [SocketAddr; 2],
    pub(crate) state: TcpState,
    /// This host's token.
    pub(crate) token: u32,
    pub(crate) is_fallback: bool,
    pub(crate) has_checksum: bool,
    /// Data sequence numbers: behind what this host has to send, behind what the peer acknowledged of
    /// it, and behind what came from the peer.
    pub(crate) write_next: u64,
    pub(crate) acknowledged: u64,
    pub(crate) receive_next: u64,
}

/// A subflow's socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubflowSocket {
    /// This host's end and the peer's.
    pub(crate) ends: [SocketAddr; 2],
    pub(crate) state: TcpState,
    /// This host's token and the peer's, 0 where the kernel does not know it any more.
    pub(crate) tokens: [u32; 2],
    /// Address identifiers of this host and of the peer.
    pub(crate) ids: [u8; 2],
    /// Of [`flag`].
    pub(crate) flags: u32,
    /// The peer's TCP sequence number that has relative number 0.
    pub(crate) peer_base: u32,
    /// What the kernel says of the connection, where it does.
    pub(crate) connection: Option<Connection>,
}

/// Numbers of a TCP connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    /// Scales of the windows that this host offers, and its peer.
    pub(crate) scales: [u8; 2],
    /// How many sequence numbers came in order behind the SYN, a FIN's own included.
    pub(crate) received: u32,
}

impl Connection {
    /// Of a `struct tcp_info`.
    fn of(info: &[u8]) -> Option<Self> {
        let scales = *info.get(6)?;
        Some(Self {
            scales: [scales >> 4, scales & 15],
            received: u64_at(info, 128)? as u32,
        })
    }
}

/// The sockets that there are.
#[derive(Clone, Debug)]
pub(crate) struct Sockets {
    /// By this host's token; `None` where the kernel does not list sessions.
    pub(crate) sessions: Option<HashMap<u32, SessionSocket>>,
    pub(crate) subflows: Vec<SubflowSocket>,
    /// True if this network namespace has MPTCP. Where it does and does not list sessions, those that wait for a
    /// subflow are not seen.
    has_mptcp: bool,
}

impl Sockets {
    /// Asks the kernel.
    pub(crate) async fn list() -> Result<Self> {
        let (connection, handle, _) = proto::new_connection::<Message>(NETLINK_SOCK_DIAG)
            .context("cannot open a netlink socket for sock_diag")?;
        tokio::spawn(connection);
        // Sessions first: one that begins meanwhile is not taken for one that lost its subflows.
        let sessions = list(&handle, IPPROTO_MPTCP, SessionSocket::of).await?;
        let subflows = list(&handle, IPPROTO_TCP, SubflowSocket::of).await?;
        let subflows = subflows.context(
            "the kernel does not list TCP sockets (no tcp_diag), so that its MPTCP sessions are not known",
        )?;
        let by_token = |sessions: Vec<SessionSocket>| {
            let pairs = sessions.into_iter().map(|session| (session.token, session));
            pairs.collect()
        };
        Ok(Self {
            sessions: sessions.map(by_token),
            subflows,
            has_mptcp: limits::has_mptcp().unwrap_or(true),
        })
    }

    /// Returns true if there are certainly none.
    pub(crate) fn is_empty(&self) -> bool {
        self.subflows.is_empty()
            && match &self.sessions {
                Some(sessions) => sessions.is_empty(),
                None => !self.has_mptcp,
            }
    }
}

/// Returns the sockets of a protocol that `of` understands; `None` if the kernel has no such protocol.
async fn list<T>(
    handle: &proto::ConnectionHandle<Message>,
    protocol: u32,
    of: impl Fn(&InetResponse) -> Option<T>,
) -> Result<Option<Vec<T>>> {
    let mut all = Vec::new();
    for family in [AF_INET, AF_INET6] {
        match dump(handle, family, protocol).await? {
            Some(sockets) => all.extend(sockets.iter().filter_map(&of)),
            None => return Ok(None),
        }
    }
    Ok(Some(all))
}

async fn dump(
    handle: &proto::ConnectionHandle<Message>,
    family: u8,
    protocol: u32,
) -> Result<Option<Vec<InetResponse>>> {
    let socket_id = match family {
        AF_INET => SocketId::new_v4(),
        _ => SocketId::new_v6(),
    };
    let request = InetRequest {
        family,
        // What does not fit stands in an attribute.
        protocol: protocol as u8,
        extensions: ExtensionFlags::INFO,
        states: TcpState::all(),
        socket_id,
    };
    let mut message = NetlinkMessage::from(Message::Question(request, protocol));
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut answers = handle.request(message, NetlinkAddress::new(0, 0))?;
    let mut sockets = Vec::new();
    while let Some(answer) = answers.next().await {
        match answer.payload {
            NetlinkPayload::InnerMessage(Message::Socket(socket)) => sockets.push(*socket),
            NetlinkPayload::Error(error) => {
                let error = error.to_io();
                if error.kind() == io::ErrorKind::NotFound {
                    return Ok(None);
                }
                return Err(anyhow!(error).context("the kernel does not list its sockets"));
            }
            _ => {}
        }
    }
    Ok(Some(sockets))
}

fn ends(socket: &InetResponse) -> [SocketAddr; 2] {
    let id = &socket.header.socket_id;
    [
        SocketAddr::new(id.source_address.to_canonical(), id.source_port),
        SocketAddr::new(id.destination_address.to_canonical(), id.destination_port),
    ]
}

impl SessionSocket {
    fn of(socket: &InetResponse) -> Option<Self> {
        // struct mptcp_info
        let info = socket.nlas.iter().find_map(|attribute| match attribute {
            Nla::TcpInfo(info) => Some(info.as_slice()),
            _ => None,
        })?;
        Some(Self {
            ends: ends(socket),
            state: TcpState::of(socket.header.state)?,
            is_fallback: u32_at(info, 8)? & FALLBACK != 0,
            token: u32_at(info, 12)?,
            write_next: u64_at(info, 16)?,
            acknowledged: u64_at(info, 24)?,
            receive_next: u64_at(info, 32)?,
            has_checksum: *info.get(42)? != 0,
        })
    }
}

impl SubflowSocket {
    /// `None` if the socket is not one of an MPTCP session.
    fn of(socket: &InetResponse) -> Option<Self> {
        let ulp = socket.nlas.iter().find_map(|attribute| match attribute {
            Nla::Other(attribute) if attribute.kind() == INET_DIAG_ULP_INFO => {
                let mut value = vec![0; attribute.value_len()];
                attribute.emit_value(&mut value);
                Some(value)
            }
            _ => None,
        })?;
        let attribute = |of: &[u8], wanted: u16| {
            NlasIterator::new(of)
                .flatten()
                .find(|attribute| attribute.kind() == wanted)
                .map(|attribute| attribute.value().to_vec())
        };
        let info = attribute(&ulp, INET_ULP_INFO_MPTCP)?;
        let number = |kind| u32_at(&attribute(&info, kind)?, 0);
        let byte = |kind| attribute(&info, kind)?.first().copied();
        let flags = number(FLAGS)?;
        let connection = socket.nlas.iter().find_map(|attribute| match attribute {
            Nla::TcpInfo(info) => Connection::of(info.as_slice()),
            _ => None,
        });
        // Else it fell back in its handshake, and was none.
        (flags & (flag::CAPABLE_REMOTE | flag::JOIN_REMOTE) != 0).then_some(Self {
            ends: ends(socket),
            state: TcpState::of(socket.header.state)?,
            tokens: [number(TOKEN_LOC)?, number(TOKEN_REM)?],
            ids: [byte(ID_LOC)?, byte(ID_REM)?],
            flags,
            peer_base: number(SSN_OFFSET)?,
            connection,
        })
    }
}

impl SubflowSocket {
    /// The number that its peer sends next, a FIN's own not included; `None` where the kernel does not say.
    pub(crate) fn next(&self) -> Option<u32> {
        let has_fin = matches!(self.state, TcpState::CloseWait | TcpState::Closing);
        let received = self.connection?.received.wrapping_sub(has_fin.into());
        let first = self.peer_base.wrapping_add(1);
        (self.peer_base != 0).then_some(first.wrapping_add(received))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

/// What is said over the netlink socket. The crate's message has no room for the attribute that names
/// a protocol above 255.
#[derive(Debug)]
enum Message {
    Question(InetRequest, u32),
    Socket(Box<InetResponse>),
}

impl Message {
    fn parts(&self) -> Option<(&InetRequest, DefaultNla)> {
        match self {
            Self::Question(request, protocol) => {
                let value = protocol.to_ne_bytes().to_vec();
                Some((request, DefaultNla::new(INET_DIAG_REQ_PROTOCOL, value)))
            }
            Self::Socket(_) => None,
        }
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        SOCK_DIAG_BY_FAMILY
    }

    fn buffer_len(&self) -> usize {
        self.parts().map_or(0, |(request, attribute)| {
            request.buffer_len() + attribute.buffer_len()
        })
    }

    fn serialize(&self, buffer: &mut [u8]) {
        if let Some((request, attribute)) = self.parts() {
            let (head, tail) = buffer.split_at_mut(request.buffer_len());
            request.emit(head);
            attribute.emit(tail);
        }
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(_: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self::Socket(Box::new(InetResponse::parse(payload)?)))
    }
}

impl From<Message> for NetlinkPayload<Message> {
    fn from(message: Message) -> Self {
        Self::InnerMessage(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions that nobody lists are not said not to be there.
    #[test]
    fn none_are_none_only_where_all_are_listed() {
        let sockets = |sessions, has_mptcp| Sockets {
            sessions,
            subflows: Vec::new(),
            has_mptcp,
        };
        assert!(sockets(Some(HashMap::new()), true).is_empty());
        assert!(sockets(None, false).is_empty());
        assert!(!sockets(None, true).is_empty());
    }
}
