//! MP_JOIN SYNs that no socket sends.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

/// An MP_JOIN SYN in the name of an address, which is one of the sender's namespace.
#[derive(Clone, Copy, Debug)]
pub struct RawJoin {
    /// Who seems to join.
    pub from: SocketAddr,
    /// Whom.
    pub to: SocketAddr,
}

impl RawJoin {
    /// A socket that sends segments with TCP headers of its user's.
    ///
    /// # Errors
    /// If the user may have none.
    pub fn socket(&self) -> Result<Socket> {
        let domain = Domain::for_address(self.to);
        Ok(Socket::new(domain, Type::RAW, Some(Protocol::TCP))?)
    }

    /// Sends one with this token.
    ///
    /// # Errors
    /// If the kernel does not.
    pub fn send(&self, socket: &Socket, token: u32) -> Result<()> {
        let mut tcp = Vec::new();
        tcp.extend(self.from.port().to_be_bytes());
        tcp.extend(self.to.port().to_be_bytes());
        // Sequence number, no acknowledgment, 8 words, SYN, window, checksum, urgent pointer.
        tcp.extend([
            0, 0, 0x10, 0, 0, 0, 0, 0, 0x80, 0x02, 0xff, 0xff, 0, 0, 0, 0,
        ]);
        tcp.extend([30, 12, 0x10, 7]);
        tcp.extend(token.to_be_bytes());
        tcp.extend([1, 2, 3, 4]);
        let ends = [self.from.ip(), self.to.ip()].map(octets);
        let sum = checksum(&[&ends[0], &ends[1], &tcp], tcp.len());
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        // A raw socket of IPv6 has no port.
        let to = SocketAddr::new(self.to.ip(), 0);
        let sent = socket.send_to(&tcp, &to.into())?;
        ensure!(sent == tcp.len(), "a segment was cut");
        Ok(())
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Of TCP: of addresses and segment, and of its length and protocol.
fn checksum(parts: &[&[u8]], length: usize) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = words.map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    let sum = sum + length as u32 + 6;
    !((sum & 0xffff) + (sum >> 16)) as u16
}
