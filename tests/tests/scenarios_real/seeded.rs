//! Sessions that are there when the probes come: what they do from then on counts, and nothing that
//! happened before is held against them.

use std::{
    io::Read as _,
    net::Shutdown,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::net::{close, transfer};
use serde_json::Value;
use socket2::Socket;

use super::scene::*;

/// Two hosts without probes, and a session between them over two subflows, one of them a backup.
fn two_subflows_without_probes(path: Path) -> Result<(Scene, Socket, Socket)> {
    let scene = Scene::unprobed(path)?;
    scene.join("backup")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Server, "MPJoinAckRx", 1)?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    scene.pair.settle()?;
    Ok((scene, client, server))
}

/// What `sessions` says at an end.
fn sessions(scene: &Scene, end: Place) -> Result<Vec<Value>> {
    let text = scene.probe(end).run(&["sessions", "--output", "json"])?;
    let value: Value = serde_json::from_str(&text)?;
    Ok(value["sessions"].as_array().context("no sessions")?.clone())
}

/// No data came again but what the kernels sent again, by TCP or on another subflow.
fn nothing_is_again(scene: &Scene) -> Result<()> {
    let mut again = 0;
    for end in [Client, Server] {
        again += scene.host(end).mib("MPTCPRetrans")? + scene.account(end)?.retransmitted;
    }
    for end in [Client, Server] {
        let account = scene.account(end)?;
        for row in ["RetxEr", "RetxErTx", "DupmapEr", "SfnEr", "BadMapEr"] {
            let is = account.row(row)?;
            ensure!(
                is <= again,
                "{end:?} {row} is {is}, the kernels sent {again} again"
            );
        }
    }
    Ok(())
}

pub(crate) fn an_old_session(path: Path) -> Result<()> {
    let (mut scene, client, server) = two_subflows_without_probes(path)?;
    scene.attach(&[])?;
    scene.open(1, 2)?;
    for (end, place) in [(Client, "initiator"), (Server, "listener")] {
        compare_with_ss(&scene, end, place)?;
        ensure!(scene.account(end)?.row("TotSess")? == 0);
        let status = scene.probe(end).run(&["status", "--output", "json"])?;
        let status: Value = serde_json::from_str(&status)?;
        let tables = &status["interfaces"][0]["tables"];
        ensure!(
            tables["seeded_sessions"] == 1 && tables["seeded_subflows"] == 2,
            "{tables}"
        );
    }
    transfer(&client, &server, 100_000)?;
    transfer(&server, &client, 100_000)?;
    scene.mptcp(Client, "endpoint change id 5 nobackup")?;
    scene.wait(Server, "MPPrioRx", 1)?;
    transfer(&client, &server, 300_000)?;
    transfer(&server, &client, 300_000)?;
    scene.mptcp(Client, "endpoint change id 5 backup")?;
    scene.wait(Server, "MPPrioRx", 2)?;
    let signalled = scene.address(Server, 1);
    scene.mptcp(Server, &format!("endpoint add {signalled} id 9 signal"))?;
    scene.wait(Server, "EchoAdd", 1)?;
    scene.wait(Server, "MPJoinAckRx", 2)?;
    transfer(&client, &server, 100_000)?;
    scene.open(1, 3)?;
    scene.mptcp(Server, "endpoint delete id 9")?;
    scene.wait(Client, "RmAddr", 1)?;
    scene.mptcp(Client, "endpoint delete id 5")?;
    scene.wait(Server, "RmAddr", 1)?;
    scene.open(1, 1)?;
    transfer(&server, &client, 50_000)?;
    close(client, server)?;
    scene.pair.settle()?;
    nothing_is_again(&scene)?;
    let once = |rows: &[&'static str]| -> Vec<_> {
        both(rows)
            .into_iter()
            .map(|(end, row)| (end, row, 1))
            .collect()
    };
    let mut wanted = once(&[
        "TxFin",
        "RxFin",
        "subCon",
        "subConJoin",
        "REMAddr",
        "REMAddrTx",
    ]);
    wanted.extend([
        (Server, "ClrBkup", 1),
        (Server, "PrioBkup", 1),
        (Client, "ClrBkupTx", 1),
        (Client, "PrioBkupTx", 1),
        // The key is not known.
        (Client, "AddAddrUnverified", 1),
        (Server, "AddAddrUnverified", 1),
        (Server, "JoinHmacUnverified", 1),
        (Client, "JoinHmacUnverified", 1),
        (Server, "FACKVald", 1),
        (Server, "SfFin + SfFinRx", 6),
    ]);
    scene.check_but(
        // The joins share an identifier, or one comes from the first address.
        &[
            (Client, "AddrIdErTx"),
            (Server, "AddrIdEr"),
            (Server, "addridEr"),
        ],
        &wanted,
    )
}

/// Each subflow stands with the addresses, tokens and identifiers that the kernel prints.
fn compare_with_ss(scene: &Scene, end: Place, place: &str) -> Result<()> {
    let found = sessions(scene, end)?;
    ensure!(found.len() == 1, "{found:?}");
    let session = &found[0];
    ensure!(
        session["before_probe"] == true && session["age_s"].is_null() && session["local"] == place,
        "{session}"
    );
    let token = session[format!("{place}_token")]
        .as_str()
        .context("no token")?;
    let kernel = scene.host(end).run("ss", &["-Hnti"])?;
    // iproute2 prints an address and port, and the token without leading zeros.
    let printed = format!("/{}(id:", token.trim_start_matches('0'));
    ensure!(kernel.contains(&printed), "no {printed} in {kernel}");
    let subflows = session["subflows"].as_array().context("no subflows")?;
    ensure!(subflows.len() == 2, "{session}");
    for subflow in subflows {
        for side in ["initiator", "listener"] {
            let end = &subflow[side];
            let address = end["address"].as_str().context("no address")?;
            let printed = match address.contains(':') {
                true => format!("[{address}]:{}", end["port"]),
                false => format!("{address}:{}", end["port"]),
            };
            ensure!(kernel.contains(&printed), "no {printed} in {kernel}");
        }
    }
    let joined = &subflows[1];
    ensure!(
        joined["opened_by"] == "MP_JOIN"
            && joined["initiator"]["address_id"] == 5
            && joined["initiator"]["backup"] == true
            && joined["listener"]["backup"] == false,
        "{joined}"
    );
    let table = scene.probe(end).run(&["sessions"])?;
    ensure!(table.contains(" before "), "{table}");
    Ok(())
}

pub(crate) fn an_old_session_with_checksums(path: Path) -> Result<()> {
    let mut scene = Scene::unprobed(path)?;
    scene.host(Client).sysctl("mptcp/checksum_enabled", "1")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.attach(&[])?;
    transfer(&client, &server, 100_000)?;
    transfer(&server, &client, 100_000)?;
    scene.open(1, 1)?;
    for end in [Client, Server] {
        ensure!(sessions(&scene, end)?[0]["checksum"] == true);
    }
    close(client, server)?;
    scene.pair.settle()?;
    nothing_is_again(&scene)?;
    scene.check(&[(Client, "SfFin", 1), (Server, "SfFin", 1)])
}

/// Traffic on both subflows, both ways, while the probes come.
pub(crate) fn an_old_session_in_full_flow(path: Path) -> Result<()> {
    let mut scene = Scene::unprobed(path)?;
    scene.join("")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Server, "MPJoinAckRx", 1)?;
    let is_over = AtomicBool::new(false);
    let flow = |from: &Socket, to: &Socket| -> Result<()> {
        while !is_over.load(Ordering::Relaxed) {
            transfer(from, to, 200_000)?;
        }
        Ok(())
    };
    thread::scope(|scope| -> Result<()> {
        let ways = [
            scope.spawn(|| flow(&client, &server)),
            scope.spawn(|| flow(&server, &client)),
        ];
        let attached = scene.attach(&[]);
        thread::sleep(Duration::from_millis(500));
        is_over.store(true, Ordering::Relaxed);
        for way in ways {
            way.join().expect("the traffic does not panic")?;
        }
        attached
    })?;
    scene.open(1, 2)?;
    close(client, server)?;
    scene.pair.settle()?;
    nothing_is_again(&scene)?;
    let some = |end| -> Result<()> {
        let account = scene.account(end)?;
        for row in ["FreshAck", "SFfrhACK", "DSSrcv", "DSSsnd"] {
            ensure!(account.row(row)? > 10, "{end:?} {row}");
        }
        Ok(())
    };
    some(Client)?;
    some(Server)?;
    scene.check_but(
        // What came between the programs and the sockets.
        &both(&["UnknownFlow"]),
        &[
            (Client, "TxFin", 1),
            (Client, "RxFin", 1),
            (Server, "TxFin", 1),
            (Server, "RxFin", 1),
            (Client, "SfFin", 2),
            (Server, "SfFin", 2),
        ],
    )
}

pub(crate) fn an_old_session_that_lost_its_first_subflow(path: Path) -> Result<()> {
    let (mut scene, client, server) = two_subflows_without_probes(path)?;
    let first = scene.address(Client, 0);
    scene.mptcp(Client, &format!("endpoint delete id 0 {first}"))?;
    scene.wait(Server, "RmAddr", 1)?;
    scene.pair.settle()?;
    scene.attach(&[])?;
    scene.open(1, 1)?;
    for end in [Client, Server] {
        let session = &sessions(&scene, end)?[0];
        ensure!(session["local"].is_null(), "{session}");
    }
    transfer(&client, &server, 100_000)?;
    transfer(&server, &client, 100_000)?;
    // It comes back: who joins knows the other's token.
    scene.mptcp(Client, &format!("endpoint add {first} id 7 subflow"))?;
    scene.wait(Server, "MPJoinAckRx", 2)?;
    scene.open(1, 2)?;
    transfer(&client, &server, 100_000)?;
    close(client, server)?;
    scene.pair.settle()?;
    nothing_is_again(&scene)?;
    scene.check_but(
        // The key is not known; the join comes from the first address.
        &[
            (Client, "JoinHmacUnverified"),
            (Server, "JoinHmacUnverified"),
            (Server, "addridEr"),
        ],
        &[(Client, "subCon", 1), (Server, "subCon", 1)],
    )
}

pub(crate) fn an_old_session_without_subflows(path: Path) -> Result<()> {
    let mut scene = Scene::unprobed(path)?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    let first = scene.address(Client, 0);
    scene.mptcp(Client, &format!("endpoint delete id 0 {first}"))?;
    scene.wait(Server, "RmAddr", 1)?;
    scene.pair.settle()?;
    scene.attach(&[])?;
    scene.open(1, 0)?;
    scene.join("")?;
    scene.wait(Server, "MPJoinAckRx", 1)?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    let account = scene.account(Server)?;
    ensure!(account.row("CurSF")? == 1 && account.row("SessNoSF")? == 0);
    ensure!(account.row("subConJoin")? == 1);
    drop(client);
    drop(server);
    scene.pair.settle()?;
    for row in [
        "TokenEr", "OptSesEr", "PktSfEr", "NomapEr", "InMACEr", "MaxsfEr",
    ] {
        for end in [Client, Server] {
            let is = scene.account(end)?.row(row)?;
            ensure!(is == 0, "{end:?} {row} is {is}");
        }
    }
    Ok(())
}

/// Nothing is mapped any more, and the gauges know.
pub(crate) fn an_old_session_that_fell_back(path: Path) -> Result<()> {
    let mut scene = Scene::unprobed(path)?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    scene.lose_options(&client, &server)?;
    scene.pair.settle()?;
    scene.attach(&[])?;
    scene.open(1, 1)?;
    for end in [Client, Server] {
        let session = &sessions(&scene, end)?[0];
        ensure!(session["state"] == "fallback", "{session}");
    }
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    close(client, server)?;
    scene.check(&[(Client, "SfFin", 0), (Server, "SfFin", 0)])
}

/// The client has said its last, and reads on.
pub(crate) fn an_old_session_that_is_half_closed(path: Path) -> Result<()> {
    let (mut scene, mut client, mut server) = two_subflows_without_probes(path)?;
    client.shutdown(Shutdown::Write)?;
    ensure!(server.read(&mut [0; 16])? == 0);
    scene.pair.settle()?;
    scene.attach(&[])?;
    for end in [Client, Server] {
        let session = &sessions(&scene, end)?[0];
        ensure!(session["state"] == "closing", "{session}");
        ensure!(scene.account(end)?.row("CurSF")? == 2);
    }
    transfer(&server, &client, 100_000)?;
    server.shutdown(Shutdown::Write)?;
    ensure!(client.read(&mut [0; 16])? == 0);
    drop((client, server));
    scene.pair.settle()?;
    nothing_is_again(&scene)?;
    scene.check(&[
        (Client, "TxFin", 0),
        (Client, "RxFin", 1),
        (Server, "TxFin", 1),
        (Server, "RxFin", 0),
        (Server, "SfFin", 2),
    ])
}

pub(crate) fn a_fast_close_of_an_old_session(path: Path) -> Result<()> {
    let (mut scene, client, server) = two_subflows_without_probes(path)?;
    scene.attach(&[])?;
    transfer(&client, &server, 50_000)?;
    scene.fast_close(client, server)?;
    scene.check(&[
        (Client, "FCsnt", 2),
        (Client, "FCfirstTx", 2),
        (Client, "TcpRstUnspecifiedTx", 2),
        (Client, "FCunverified", 2),
        (Server, "TcpRstUnspecifiedRx", 2),
        (Server, "FCRcvEr", 2),
        (Server, "FCunverified", 2),
    ])
}

/// The client's kernel tells no token of a peer that it has not joined: the probe cannot know whose
/// subflow this becomes before it asks for sockets again.
pub(crate) fn a_join_whose_token_nobody_knows(path: Path) -> Result<()> {
    let mut scene = Scene::unprobed(path)?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.attach(&[])?;
    scene.join("")?;
    scene.wait(Server, "MPJoinAckRx", 1)?;
    transfer(&client, &server, 100_000)?;
    transfer(&server, &client, 100_000)?;
    ensure!(scene.account(Client)?.row("CurSF")? == 1);
    scene
        .probe(Client)
        .run(&["attach", "--verify-checksums", "-i", "c0", "c1"])?;
    scene.open(1, 2)?;
    transfer(&client, &server, 100_000)?;
    close(client, server)?;
    scene.check_but(
        // Until then they were nobody's.
        &both(&["UnknownFlow", "JoinHmacUnverified", "subConJoin", "subCon"]),
        &[
            (Client, "TxFin", 1),
            (Client, "SfFin", 2),
            (Server, "SfFin", 2),
        ],
    )
}
