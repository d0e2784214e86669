//! Sessions that are closed in haste, and joins that are refused.

use std::time::Duration;

use anyhow::Result;
use mptcp_tests::net::{close, transfer};

use super::{
    answers::Says::{Joins, Sessions},
    scene::*,
};

pub(crate) fn a_fast_close(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.fast_close(client, server)?;
    scene.answers(
        &[Sessions("1 asked for MPTCP, 1 got it")],
        &["FCfirstTx", "TcpRstUnspecifiedTx"],
        &["FCRcvEr", "TcpRstUnspecifiedRx"],
    );
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
    scene.answers(
        &[Joins("1 tried, 1 made")],
        &["FCRcvEr", "TcpRstUnspecifiedRx"],
        &["FCfirstTx", "TcpRstUnspecifiedTx"],
    );
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
    scene.answers(
        &[Joins("1 tried, 0 made, 1 refused (limit)")],
        &[
            "JoinRefused",
            "MaxsfErTx",
            "TcpRstProhibitedRx",
            "TcpRstUnspecifiedTx?",
        ],
        &[
            "JoinRefused",
            "MaxsfEr",
            "TcpRstProhibitedTx",
            "TcpRstUnspecifiedRx?",
        ],
    );
    scene.check_but(
        // The kernel counts a join of its own at the SYN/ACK.
        &[(Client, "subCon")],
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
