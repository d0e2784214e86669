//! Sessions that are closed in haste, and joins that are refused.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use mptcp_tests::net::{close, transfer};
use socket2::{Domain, Protocol, Socket, Type};

use super::scene::*;

pub(crate) fn a_fast_close(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    client.set_linger(Some(Duration::ZERO))?;
    drop(client);
    scene.wait(Server, "MPFastcloseRx", 1)?;
    drop(server);
    scene.check(&[
        (Client, "FCsnt", 1),
        (Client, "FCRcvEr", 0),
        (Server, "FCRcvEr", 1),
        (Server, "TcpRstRx", 1),
        (Server, "RxFin", 0),
        (Server, "SfFinRx", 0),
    ])
}

pub(crate) fn a_fast_close_of_two_subflows(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    scene.join("")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Server, "MPJoinAckRx", 1)?;
    server.set_linger(Some(Duration::ZERO))?;
    drop(server);
    scene.wait(Client, "MPFastcloseRx", 1)?;
    drop(client);
    scene.check(&[(Client, "FCRcvEr", 2), (Server, "FCsnt", 2)])
}

pub(crate) fn a_join_that_is_refused(path: Path) -> Result<()> {
    let scene = Scene::with(path, &["--limit-subflows", "1"])?;
    scene.mptcp(Server, "limits set subflows 0 add_addr_accepted 0")?;
    scene.join("")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Server, "MPJoinRejected", 1)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.check_but(
        // The kernel counts a join of its own at the SYN/ACK.
        &[(Client, "subConJoin")],
        &[
            (Client, "subCon", 1),
            (Client, "JoinRefused", 1),
            (Client, "MaxsfErTx", 1),
            (Client, "TcpRstProhibitedRx", 1),
            (Server, "subCon", 1),
            (Server, "JoinSYN - JoinSYNretx", 1),
            (Server, "SFFACK", 1),
            (Server, "FACKVald", 0),
            (Server, "JoinRefused", 1),
            (Server, "MaxsfEr", 1),
            (Server, "TcpRstProhibitedTx", 1),
        ],
    )
}

/// Sends an MP_JOIN SYN with a token that nobody has, from no socket.
fn forge_join(scene: &Scene) -> Result<()> {
    let (from, to) = (scene.address(Client, 0), scene.address(Server, 0));
    // Ports, sequence number, no acknowledgment, 8 words, SYN, window, checksum, urgent pointer.
    let mut tcp = vec![
        0x9c, 0x41, 0x13, 0x88, 0, 0, 0x10, 0, 0, 0, 0, 0, 0x80, 0x02, 0xff, 0xff,
    ];
    tcp.extend([0; 4]);
    tcp.extend([30, 12, 0x10, 7, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4]);
    let sum = checksum(&[octets(from), octets(to), tcp.clone()], tcp.len());
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    scene.host(Client).enter(|| {
        let domain = Domain::for_address(SocketAddr::new(to, 0));
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::TCP))?;
        socket.send_to(&tcp, &SocketAddr::new(to, 0).into())?;
        Ok(())
    })
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Of TCP: of addresses and segment, and of its length and protocol.
fn checksum(parts: &[Vec<u8>], length: usize) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = words.map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    let sum = sum + length as u32 + 6;
    !((sum & 0xffff) + (sum >> 16)) as u16
}

pub(crate) fn a_join_with_a_token_of_no_session(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    forge_join(&scene)?;
    scene.wait(Server, "MPJoinNoTokenFound", 1)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.check_but(
        // The client's kernel did not send it, and the router does not know whose it is.
        &[
            (Client, "JoinSYNtx - JoinSYNretxTx"),
            (Client, "JoinSYN - JoinSYNretx + JoinSYNtx - JoinSYNretxTx"),
            (Middle, "JoinSYN"),
        ],
        &[
            (Client, "JoinSYNtx", 1),
            (Client, "TokenErTx", 1),
            (Client, "JoinRefused", 1),
            (Server, "JoinSYN", 1),
            (Server, "TokenEr", 1),
            (Server, "JoinRefused", 1),
            (Server, "TcpRstMptcpErrorTx", 1),
        ],
    )
}
