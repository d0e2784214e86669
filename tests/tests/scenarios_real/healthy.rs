//! Sessions as they should be: subflows, addresses, priorities.

use anyhow::Result;
use mptcp_tests::net::{close, transfer};

use super::scene::*;

pub(crate) fn a_transfer_and_its_end(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 100_000)?;
    transfer(&server, &client, 100_000)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.check(&[
        (Client, "TotSess", 1),
        (Client, "subCon", 1),
        (Client, "TxFin", 1),
        (Client, "RxFin", 1),
        (Client, "SfFin", 1),
        (Server, "TotSess", 1),
        (Server, "subCon", 1),
        (Server, "SYNACK", 1),
        (Server, "FinalACK", 1),
        (Server, "TxFin", 1),
        (Server, "RxFin", 1),
        (Server, "SfFin", 1),
        (Server, "SfFinRx", 1),
    ])
}

pub(crate) fn two_subflows(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    scene.join("")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Server, "MPJoinAckRx", 1)?;
    transfer(&client, &server, 300_000)?;
    transfer(&server, &client, 300_000)?;
    scene.open(1, 2)?;
    close(client, server)?;
    scene.check(&[
        (Client, "subCon", 2),
        (Client, "SFFACKtx", 1),
        (Client, "SfFin", 2),
        (Server, "TotSess", 1),
        (Server, "subCon", 2),
        (Server, "JoinSYN - JoinSYNretx", 1),
        (Server, "SFsynack - JoinSynackRetx", 1),
        (Server, "SFFACK", 1),
        (Server, "FACKVald", 1),
        (Server, "TxFin", 1),
        (Server, "RxFin", 1),
        (Server, "SfFin", 2),
    ])
}

/// The client joins from its second address, the server announces its own, the client joins there
/// too; then both take back what they offered.
pub(crate) fn addresses_come_and_go(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    let signalled = scene.address(Server, 1);
    scene.join("")?;
    scene.mptcp(Server, &format!("endpoint add {signalled} id 9 signal"))?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Server, "EchoAdd", 1)?;
    scene.wait(Server, "MPJoinAckRx", 2)?;
    scene.open(1, 3)?;
    scene.mptcp(Server, "endpoint delete id 9")?;
    scene.wait(Client, "RmAddr", 1)?;
    transfer(&server, &client, 50_000)?;
    scene.open(1, 2)?;
    scene.mptcp(Client, "endpoint delete id 5")?;
    scene.wait(Server, "RmAddr", 1)?;
    transfer(&client, &server, 50_000)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.check_but(
        // The joins share an identifier, or one comes from the first address.
        &[
            (Client, "AddrIdErTx"),
            (Server, "AddrIdEr"),
            (Server, "addridEr"),
        ],
        &[
            (Client, "AddAddrRx", 1),
            (Client, "AddAddrEchoTx", 1),
            (Client, "REMAddr", 1),
            (Client, "REMAddrTx", 1),
            (Client, "subCon", 3),
            (Server, "AddAddrTx", 1),
            (Server, "AddAddrEchoRx", 1),
            (Server, "REMAddr", 1),
            (Server, "REMAddrTx", 1),
            (Server, "FACKVald", 2),
            (Server, "subCon", 3),
            (Server, "AddrIdEr + addridEr", 1),
        ],
    )
}

pub(crate) fn a_backup_that_is_none_for_a_while(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    scene.join("backup")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Server, "MPJoinAckRx", 1)?;
    scene.mptcp(Client, "endpoint change id 5 nobackup")?;
    scene.wait(Server, "MPPrioRx", 1)?;
    transfer(&client, &server, 50_000)?;
    scene.mptcp(Client, "endpoint change id 5 backup")?;
    scene.wait(Server, "MPPrioRx", 2)?;
    scene.open(1, 2)?;
    close(client, server)?;
    scene.check(&[
        (Client, "JoinBkupTx", 1),
        (Client, "ClrBkupTx", 1),
        (Client, "PrioBkupTx", 1),
        (Server, "JoinBkup", 1),
        (Server, "ClrBkup", 1),
        (Server, "PrioBkup", 1),
        // Linux sends DATA_FIN on every subflow; the policy accepts that.
        (Server, "DFpasveEr", 0),
    ])
}

/// The client listens on a port that it announces, so the server can join there: each end has the
/// other's part.
pub(crate) fn a_join_from_the_server(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    // They leave no room for an IPv6 address with port and HMAC.
    scene.host(Client).sysctl("ipv4/tcp_timestamps", "0")?;
    let second = scene.address(Client, 1);
    scene.mptcp(
        Client,
        &format!("endpoint add {second} id 6 signal port 5001"),
    )?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Client, "MPJoinAckRx", 1)?;
    transfer(&server, &client, 100_000)?;
    scene.open(1, 2)?;
    close(client, server)?;
    scene.check_but(
        // Behind the router it comes from the server's first address.
        &[(Client, "addridEr")],
        &[
            (Client, "JoinSYN - JoinSYNretx", 1),
            (Client, "SFFACK", 1),
            (Client, "FACKVald", 1),
            (Client, "subCon", 2),
            (Client, "AddAddrPortTx", 1),
            (Server, "JoinSYNtx - JoinSYNretxTx", 1),
            (Server, "SFsynackRx - JoinSynackRetxRx", 1),
            (Server, "FACKVald", 0),
            (Server, "subCon", 2),
            (Server, "AddAddrPortRx", 1),
        ],
    )
}
