//! Options with a token, an HMAC or a key that is not right.
//!
//! The kernel makes them right: a firewall in the sender's output changes them, visible on the
//! wire.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;
use mptcp_tests::{
    net::{close, transfer},
    raw::RawJoin,
};

use super::{
    answers::Says::{Joins, Sessions},
    scene::*,
};

/// Changes 32 bits of options that an end sends, at an offset in bytes.
fn forge(scene: &Scene, end: Place, options: &str, offset: usize) -> Result<()> {
    let bits = 8 * offset;
    scene.rule(
        end,
        &format!("tcp option mptcp subtype {options} tcp option @30,{bits},32 set 0xdeadbeef"),
    )
}

pub(crate) fn a_join_with_a_wrong_hmac(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    forge(&scene, Client, "1 tcp flags & (syn | ack) == ack", 8)?;
    scene.join("")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Server, "MPJoinAckHMacFailure", 1)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.answers(
        &[Joins("1 tried, 0 made, 1 refused (wrong HMAC)")],
        &[
            "JoinRefused",
            "InMACErTx",
            "TcpRstMptcpErrorRx",
            "TcpRstUnspecifiedTx?",
        ],
        &[
            "JoinRefused",
            "InMACEr",
            "TcpRstMptcpErrorTx",
            "TcpRstUnspecifiedRx?",
        ],
    );
    scene.check_but(
        // The kernel counts a join of its own at the SYN/ACK.
        &[(Client, "subCon")],
        &[
            (Client, "subCon", 1),
            (Client, "InMACErTx", 1),
            (Client, "JoinRefused", 1),
            (Client, "TcpRstMptcpErrorRx", 1),
            (Server, "subCon", 1),
            (Server, "SFFACK", 1),
            (Server, "FACKVald", 0),
            (Server, "InMACEr", 1),
            (Server, "JoinRefused", 1),
            (Server, "TcpRstMptcpErrorTx", 1),
        ],
    )
}

pub(crate) fn an_answer_to_a_join_with_a_wrong_hmac(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    forge(
        &scene,
        Server,
        "1 tcp flags & (syn | ack) == (syn | ack)",
        8,
    )?;
    scene.join("")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Client, "MPJoinSynAckHMacFailure", 1)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.answers(
        &[Joins("1 tried, 0 made, 1 answered with a wrong HMAC")],
        &["JoinSynackMacEr", "TcpRstMptcpErrorTx"],
        &["JoinSynackMacEr", "TcpRstMptcpErrorRx"],
    );
    scene.check_but(
        // The server's kernel did not see its SYN/ACK change.
        &[(Server, "JoinSynackMacEr")],
        &[
            (Client, "SFsynackRx - JoinSynackRetxRx", 1),
            (Client, "JoinSynackMacEr", 1),
            (Client, "SFFACKtx", 0),
            (Client, "TcpRstMptcpErrorTx", 1),
            (Server, "SFsynack - JoinSynackRetx", 1),
            (Server, "JoinSynackMacEr", 1),
            (Server, "SFFACK", 0),
            (Server, "TcpRstMptcpErrorRx", 1),
        ],
    )
}

pub(crate) fn an_address_with_a_wrong_hmac(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    let signalled = scene.address(Server, 1);
    // Behind the address.
    let offset = if signalled.is_ipv4() { 8 } else { 20 };
    forge(&scene, Server, "3", offset)?;
    scene.mptcp(Server, &format!("endpoint add {signalled} id 9 signal"))?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    scene.wait(Server, "AddAddrTx", 1)?;
    scene.open(1, 1)?;
    close(client, server)?;
    // Linux sends it again, since it is not answered.
    let sent = scene.host(Server).mib("AddAddrTx")?;
    scene.answers(&[Joins("none tried")], &["AddAddrMacEr"], &["AddAddrMacEr"]);
    scene.check_but(
        // The kernel passes over it, and counts nothing.
        &[(Client, "AddAddrRx")],
        &[
            (Client, "AddAddrRx", sent),
            (Client, "AddAddrMacEr", sent),
            (Client, "AddAddrEchoTx", 0),
            (Server, "AddAddrMacEr", sent),
        ],
    )
}

pub(crate) fn a_fast_close_with_a_wrong_key(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    forge(&scene, Client, "7", 8)?;
    client.set_linger(Some(Duration::ZERO))?;
    drop(client);
    scene.wait(Server, "MPRstRx", 1)?;
    // The subflow is reset, and the session goes on.
    scene.open_at(&[Server], 1, 0)?;
    drop(server);
    scene.answers(
        &[Sessions("1 asked for MPTCP, 1 got it")],
        &["FCkeyErTx", "TcpRstUnspecifiedTx", "SessNoSF"],
        &["FCkeyEr", "TcpRstUnspecifiedRx", "SessNoSF"],
    );
    let mut wanted = vec![
        (Client, "FCkeyErTx", 1),
        (Client, "FCsnt", 1),
        (Server, "FCkeyEr", 1),
        (Server, "FCRcvEr", 0),
    ];
    // Both ends give it up without a word.
    for row in ["CurSess", "CurV1Sess", "SessNoSF"] {
        wanted.extend([(Client, row, 1), (Server, row, 1)]);
    }
    scene.check(&wanted)
}

/// Sends an MP_JOIN SYN with a token that nobody has, from no socket.
fn forge_join(scene: &Scene) -> Result<()> {
    let join = RawJoin {
        from: SocketAddr::new(scene.address(Client, 0), 40001),
        to: SocketAddr::new(scene.address(Server, 0), 5000),
    };
    scene
        .host(Client)
        .enter(|| join.send(&join.socket()?, 0xdead_beef))
}

pub(crate) fn a_join_with_a_token_of_no_session(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    forge_join(&scene)?;
    scene.wait(Server, "MPJoinNoTokenFound", 1)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.answers(
        &[Joins("1 tried, 0 made, 1 refused (token of no session)")],
        &["JoinRefused", "TokenErTx", "TcpRstMptcpErrorRx"],
        &["JoinRefused", "TokenEr", "TcpRstMptcpErrorTx"],
    );
    // The router cannot know whose join it is: which way the reset goes is not known either.
    scene.answers_at(
        Middle,
        &[Joins("1 tried, 0 made, 1 refused (token of no session)")],
        &["JoinRefused", "TokenEr", "TcpRstMptcpErrorRx"],
    );
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
