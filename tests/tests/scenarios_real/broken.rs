//! Paths that lose options, packets or bytes, and hosts that cope.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Result, ensure};
use mptcp_tests::{
    net::{LIMIT, close, mptcp_socket, transfer, wait_until},
    oracle::{NO_MPTCP_LISTENER, OUTPUT_FILTER, SILENT_COOKIES},
};
use socket2::Socket;

use super::{
    answers::Says::{FellBack, Joins, Nobody, Sessions},
    scene::*,
};

pub(crate) fn a_syn_ack_that_loses_its_option(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    scene.strip(Server, "tcp flags & (syn | ack) == (syn | ack)")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    close(client, server)?;
    scene.answers(
        &[Sessions(
            "1 asked for MPTCP, 0 got it, 1 plain TCP (SYN/ACK without MP_CAPABLE)",
        )],
        &["NoMpcSynack"],
        &["NoMpcSynack"],
    );
    scene.check_but(
        // The server's kernel did not see its SYN/ACK change, and blames the third segment.
        &[(Server, "TotFB"), (Server, "NoMpcSynack")],
        &[
            (Client, "TotSess", 0),
            (Client, "NoMpcSynack", 1),
            (Server, "TotSess", 0),
            (Server, "SYNACK", 0),
            (Server, "NoMpcSynack", 1),
        ],
    )
}

pub(crate) fn a_third_segment_that_loses_its_option(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    scene.strip(Client, "tcp flags & (syn | ack) == ack")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    close(client, server)?;
    scene.answers(
        &[Sessions(
            "1 asked for MPTCP, 0 got it, 1 plain TCP (third segment without MP_CAPABLE)",
        )],
        &["TotFBtx"],
        &["TotFB"],
    );
    scene.check_but(
        // The client's kernel did not see its own segments change, and blames the server's data.
        &[
            (Client, "TotSess"),
            (Client, "TotV1Sess"),
            (Client, "subCon"),
            (Client, "ConReq"),
            (Client, "FinalACKtx"),
            (Client, "TotFB"),
        ],
        &[
            (Client, "SYNACKrx", 1),
            (Client, "TotSess", 0),
            (Client, "TotFBtx", 1),
            (Server, "SYNACK", 1),
            (Server, "FinalACK", 0),
            (Server, "TotFB", 1),
        ],
    )
}

pub(crate) fn a_syn_that_loses_its_option(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    scene.strip(Client, "tcp flags & (syn | ack) == syn")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    close(client, server)?;
    // Nobody who looks behind the place where it was taken out can know: the packets are those of plain TCP.
    scene.answers(&[], &[], &[]);
    scene.answers_at(Client, &[], &[]);
    scene.check_but(
        // The option was gone before the probe could see it.
        &[(Client, "MPSYNtx - MPSYNretxTx"), (Client, "NoMpcSynack")],
        &[
            (Client, "MPSYNtx", 0),
            (Client, "NoMpcSynack", 0),
            (Server, "MPSYN", 0),
            (Server, "TotSess", 0),
        ],
    )
}

/// Payload that changes on its way, which only the DSS checksum notices.
fn corrupt(scene: &Scene) -> Result<()> {
    scene.rule(
        Client,
        "tcp dport 5000 meta length > 600 limit rate 1/hour burst 1 packets @ih,64,16 set 0x5a5b",
    )
}

fn with_checksums(path: Path) -> Result<Scene> {
    let scene = Scene::new(path)?;
    for end in [Client, Server] {
        scene.host(end).sysctl("mptcp/checksum_enabled", "1")?;
    }
    Ok(scene)
}

pub(crate) fn a_corrupted_payload_on_the_only_subflow(path: Path) -> Result<()> {
    let scene = with_checksums(path)?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 20_000)?;
    corrupt(&scene)?;
    transfer(&client, &server, 1_000)?;
    scene.wait(Client, "MPFailRx", 1)?;
    scene.pair.settle()?;
    transfer(&client, &server, 5_000)?;
    transfer(&server, &client, 5_000)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.answers(
        &[
            Sessions("1 asked for MPTCP, 1 got it"),
            FellBack("1 to plain TCP after the handshake (infinite mapping)"),
        ],
        &["MPFAILst", "MPFAILrv", "InfSetTx", "CksumErTx"],
        &["MPFAILst", "MPFAILrv", "InfSet", "CksumEr"],
    );
    scene.check_but(
        &[],
        &[
            (Client, "MPFAILst", 1),
            (Client, "MPFAILrv", 1),
            (Client, "MPFAILresp", 1),
            (Client, "InfSetTx", 1),
            (Client, "CksumErTx", 1),
            (Server, "CksumEr", 1),
            (Server, "MPFAILst", 1),
            (Server, "MPFAILrv", 1),
            (Server, "MPFAILresp", 1),
            (Server, "InfSet", 1),
            (Server, "InfMapFg", 1),
        ],
    )
}

pub(crate) fn a_corrupted_payload_on_one_of_two_subflows(path: Path) -> Result<()> {
    let scene = with_checksums(path)?;
    scene.join("")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 20_000)?;
    scene.wait(Server, "MPJoinAckRx", 1)?;
    corrupt(&scene)?;
    transfer(&client, &server, 100_000)?;
    scene.wait(Client, "MPFailRx", 1)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.answers(
        &[
            Sessions("1 asked for MPTCP, 1 got it"),
            Joins("1 tried, 1 made"),
        ],
        &["MPFAILrv", "CksumErTx", "TcpRstMiddleboxRx"],
        &["MPFAILst", "CksumEr", "TcpRstMiddleboxTx"],
    );
    scene.check(&[
        (Client, "MPFAILrv", 1),
        (Client, "TotSess", 1),
        (Client, "CksumErTx", 1),
        (Server, "CksumEr", 1),
        (Server, "MPFAILst", 1),
        (Server, "InfSet", 0),
    ])
}

pub(crate) fn the_server_speaks_first(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    let (client, server) = scene.pair.connect()?;
    transfer(&server, &client, 50_000)?;
    transfer(&client, &server, 50_000)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.check(&[
        (Client, "TotSess", 1),
        (Server, "TotSess", 1),
        (Server, "FinalACK", 1),
    ])
}

pub(crate) fn handshakes_with_cookies(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    scene.host(Server).sysctl("ipv4/tcp_syncookies", "2")?;
    scene.join("")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Server, "MPJoinAckRx", 1)?;
    scene.open(1, 2)?;
    close(client, server)?;
    scene.check(&[
        (Server, "TotSess", 1),
        (Server, "subCon", 2),
        (Server, "FACKVald", 1),
    ])
}

pub(crate) fn several_sessions_at_once(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    scene.join("")?;
    let mut connections = Vec::new();
    for n in 1..=3 {
        let (client, server) = scene.pair.connect()?;
        transfer(&client, &server, 50_000)?;
        scene.wait(Server, "MPJoinAckRx", n)?;
        connections.push((client, server));
    }
    scene.open(3, 6)?;
    let mut open = 3;
    for (client, server) in connections {
        transfer(&server, &client, 50_000)?;
        close(client, server)?;
        open -= 1;
        scene.open(open, 2 * open)?;
    }
    scene.check(&[
        (Client, "TotSess", 3),
        (Server, "TotSess", 3),
        (Server, "subCon", 6),
    ])
}

/// The option disappears from what the client sends in mid-flow, and both go on as TCP.
pub(crate) fn options_that_get_lost_in_mid_flow(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    scene.lose_options(&client, &server)?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.answers(
        &[
            Sessions("1 asked for MPTCP, 1 got it"),
            FellBack("1 to plain TCP after the handshake (data without a mapping)"),
        ],
        &["FBnoMap", "BareData", "NomapErTx", "NomapEr?"],
        &["FBnoMap", "BareData", "NomapEr", "NomapErTx?"],
    );
    scene.check_but(
        // How many segments were sent before the first one was acknowledged is up to the hosts.
        &both(&["NomapEr", "NomapErTx", "BareData"]),
        &[
            (Client, "TotSess", 1),
            (Server, "TotSess", 1),
            (Client, "FBnoMap", 1),
            (Server, "FBnoMap", 1),
        ],
    )
}

/// The same the other way: the option disappears from what the server sends.
pub(crate) fn answers_that_lose_their_options_in_mid_flow(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    scene.strip(Server, "tcp flags & (syn | ack) == ack")?;
    transfer(&server, &client, 1_000)?;
    scene.wait(Client, "DssFallback", 1)?;
    transfer(&client, &server, 1_000)?;
    scene.wait(Server, "DssFallback", 1)?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    close(client, server)?;
    scene.answers(
        &[
            Sessions("1 asked for MPTCP, 1 got it"),
            FellBack("1 to plain TCP after the handshake (data without a mapping)"),
        ],
        &["FBnoMap", "BareData", "NomapEr", "NomapErTx?"],
        &["FBnoMap", "BareData", "NomapErTx", "NomapEr?"],
    );
    scene.check_but(
        &both(&["NomapEr", "NomapErTx", "BareData"]),
        &[
            (Client, "TotSess", 1),
            (Server, "TotSess", 1),
            (Client, "FBnoMap", 1),
            (Server, "FBnoMap", 1),
        ],
    )
}

/// The router takes the option out of SYNs, behind its probe: the server cannot know that anybody asked.
pub(crate) fn a_syn_that_loses_its_option_on_its_way(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    scene.chain(
        Middle,
        "forward",
        "tcp flags & (syn | ack) == syn reset tcp option mptcp",
    )?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    close(client, server)?;
    let says = [Sessions(
        "1 asked for MPTCP, 0 got it, 1 plain TCP (SYN/ACK without MP_CAPABLE)",
    )];
    scene.answers_at(Client, &says, &["NoMpcSynack"]);
    scene.answers_at(Middle, &says, &["NoMpcSynack"]);
    let nobody = "nobody asked for MPTCP, or the option was taken out of SYNs before this place";
    scene.answers_at(Server, &[Nobody(nobody)], &[]);
    scene.check_but(
        &[(Middle, "MPSYN"), (Middle, "MPV1SYN")],
        &[
            (Client, "MPSYNtx", 1),
            (Client, "NoMpcSynack", 1),
            (Server, "MPSYN", 0),
            (Server, "NoMpcSynack", 0),
        ],
    )
}

/// A session, and a join of which the server's firewall does this with the SYN, behind its probe.
fn a_join_that_meets_a_firewall(path: Path, verdict: &str) -> Result<Scene> {
    let scene = Scene::new(path)?;
    scene.chain(
        Server,
        "input",
        &format!("tcp flags & (syn | ack) == syn tcp option mptcp subtype 1 {verdict}"),
    )?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.join("")?;
    let enough = if verdict == "drop" { 2 } else { 1 };
    wait_until(|| Ok(scene.account(Server)?.row("JoinSYN")? >= enough))?;
    scene.pair.settle()?;
    scene.mptcp(Client, "endpoint delete id 5")?;
    close(client, server)?;
    Ok(scene)
}

/// The server's kernel did not get to see the join.
const UNSEEN_JOIN: [(Place, &str); 1] =
    [(Server, "JoinSYN - JoinSYNretx + JoinSYNtx - JoinSYNretxTx")];

pub(crate) fn a_join_that_a_firewall_drops(path: Path) -> Result<()> {
    let scene = a_join_that_meets_a_firewall(path, "drop")?;
    scene.answers(
        &[Joins("1 tried, 0 made, 1 unanswered")],
        &["MpjUnanswered"],
        &["MpjUnanswered"],
    );
    scene.check_but(
        &UNSEEN_JOIN,
        &[
            (Client, "JoinSYNtx - JoinSYNretxTx", 1),
            (Server, "JoinSYN - JoinSYNretx", 1),
            (Server, "SFsynack", 0),
        ],
    )
}

pub(crate) fn a_join_that_a_firewall_resets(path: Path) -> Result<()> {
    let scene = a_join_that_meets_a_firewall(path, "reject with tcp reset")?;
    scene.answers(
        &[Joins("1 tried, 0 made, 1 refused (no reason seen)")],
        &["JoinRefused"],
        &["JoinRefused"],
    );
    scene.check_but(
        &UNSEEN_JOIN,
        &[
            (Client, "JoinSYNtx", 1),
            (Client, "JoinRefused", 1),
            (Server, "JoinSYN", 1),
            (Server, "JoinRefused", 1),
            (Server, "SFsynack", 0),
        ],
    )
}

/// ICMP says that it is prohibited, and the client gives the join up soon.
pub(crate) fn a_join_that_a_firewall_prohibits(path: Path) -> Result<()> {
    let scene = a_join_that_meets_a_firewall(path, "reject with icmpx admin-prohibited")?;
    // ICMP is not read: that nobody answered is all that can be known.
    scene.answers(
        &[Joins("1 tried, 0 made, 1 unanswered")],
        &["MpjUnanswered"],
        &["MpjUnanswered"],
    );
    scene.check_but(
        &UNSEEN_JOIN,
        &[
            (Client, "JoinSYNtx - JoinSYNretxTx", 1),
            (Server, "JoinSYN - JoinSYNretx", 1),
            (Server, "SFsynack", 0),
        ],
    )
}

pub(crate) fn a_join_whose_syn_ack_loses_its_option(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.strip(Server, "tcp flags & (syn | ack) == (syn | ack)")?;
    scene.join("")?;
    wait_until(|| Ok(scene.account(Client)?.row("NoMpjSynack")? == 1))?;
    scene.pair.settle()?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.answers(
        &[Joins("1 tried, 0 made, 1 answered without MP_JOIN")],
        &["NoMpjSynack", "TcpRstMptcpErrorTx?"],
        &["NoMpjSynack", "TcpRstMptcpErrorRx?"],
    );
    scene.check(&[
        (Client, "JoinSYNtx - JoinSYNretxTx", 1),
        (Client, "NoMpjSynack", 1),
        (Client, "subCon", 1),
        (Server, "NoMpjSynack", 1),
        (Server, "SFsynack", 0),
        (Server, "subCon", 1),
    ])
}

/// A path on which MP_CAPABLE SYNs are lost until the client leaves the option out. The server's
/// firewall drops them, behind its probe.
pub(crate) fn syns_that_are_dropped_for_their_option(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    scene.chain(Server, "prerouting", "tcp option mptcp exists drop")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    close(client, server)?;
    let sent = scene.account(Client)?.row("MPSYNtx")?;
    scene.answers(
        &[Sessions(
            "1 asked for MPTCP, 0 got it, 1 plain TCP (SYN unanswered until it was plain)",
        )],
        &["MpcBlackhole"],
        &["MpcBlackhole"],
    );
    scene.check_but(
        // The server's kernel saw nothing of it.
        &[
            (Server, "MpcBlackhole"),
            (Server, "MPSYN - MPSYNretx"),
            (Server, "MPV1SYN - MPSYNretx"),
        ],
        &[
            (Client, "MPSYNretxTx", sent - 1),
            (Client, "MpcBlackhole", 1),
            (Server, "MPSYN", sent),
            (Server, "MPSYNretx", sent - 1),
            (Server, "MpcBlackhole", 1),
            (Server, "TotSess", 0),
        ],
    )
}

/// The first subflow's address goes, and the session lives on the second.
pub(crate) fn the_first_address_goes(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    scene.join("")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Server, "MPJoinAckRx", 1)?;
    let first = scene.address(Client, 0);
    scene.mptcp(Client, &format!("endpoint delete id 0 {first}"))?;
    scene.wait(Server, "RmAddr", 1)?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.check(&[(Server, "REMAddr", 1), (Client, "REMAddrTx", 1)])
}

/// The only subflow's address goes, and the session waits until it gets another subflow.
pub(crate) fn a_session_without_subflows(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    let first = scene.address(Client, 0);
    scene.mptcp(Client, &format!("endpoint delete id 0 {first}"))?;
    scene.wait(Server, "RmAddr", 1)?;
    scene.open(1, 0)?;
    scene.join("")?;
    scene.wait(Server, "MPJoinAckRx", 1)?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.check(&[
        (Server, "subCon", 2),
        (Client, "subCon", 2),
        (Server, "REMAddr", 1),
    ])
}

/// One packet in 50 gets lost at each end, behind its probe, on two subflows: what is sent again is
/// no error.
pub(crate) fn packets_that_get_lost(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    scene.join("")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Server, "MPJoinAckRx", 1)?;
    for end in [Client, Server] {
        scene.chain(
            end,
            "prerouting",
            "meta l4proto tcp numgen inc mod 50 == 0 drop",
        )?;
    }
    transfer(&client, &server, 1_000_000)?;
    transfer(&server, &client, 1_000_000)?;
    for end in [Client, Server] {
        scene.host(end).run("nft", &["flush ruleset"])?;
    }
    scene.open(1, 2)?;
    close(client, server)?;
    let lost = scene.account(Server)?.retransmitted;
    ensure!(lost > 0, "nothing was sent again");
    scene.answers(&[Joins("1 tried, 1 made")], &[], &[]);
    scene.check_but(
        // A reinjection may cut data at other places. How many holes there are at once, of which 16
        // are remembered, is up to the hosts.
        &both(&["SfnEr", "SfnErTx", "LostRanges"]),
        &[(Server, "RxFin", 1), (Server, "TxFin", 1)],
    )
}

/// A listener of plain TCP, which answers an MP_CAPABLE SYN without the option. The kernel counts such SYNs where
/// there is an MPTCP listener.
pub(crate) fn a_syn_to_a_listener_without_mptcp(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    let address = SocketAddr::new(scene.address(Server, 0), 5001);
    let listener = scene
        .host(Server)
        .enter(|| Ok(TcpListener::bind(address)?))?;
    let client = scene.host(Client).enter(|| {
        let client = mptcp_socket(address)?;
        client.connect_timeout(&address.into(), LIMIT)?;
        Ok(client)
    })?;
    let server = Socket::from(listener.accept()?.0);
    server.set_read_timeout(Some(LIMIT))?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    close(client, server)?;
    let account = scene.account(Server)?;
    ensure!(account.mib("MPCapableSYNRX")? == 0);
    scene.answers(
        &[Sessions(
            "1 asked for MPTCP, 0 got it, 1 plain TCP (SYN/ACK without MP_CAPABLE)",
        )],
        &["NoMpcSynack"],
        &["NoMpcSynack"],
    );
    scene.check_but(
        &excepted(Server, &NO_MPTCP_LISTENER),
        &[
            (Client, "MPSYNtx", 1),
            (Client, "NoMpcSynack", 1),
            (Client, "TotSess", 0),
            (Server, "MPSYN", 1),
            (Server, "NoMpcSynack", 1),
            (Server, "TotSess", 0),
        ],
    )
}

/// Nobody listens at all.
pub(crate) fn a_syn_to_a_closed_port(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    let address = SocketAddr::new(scene.address(Server, 0), 5002);
    let refused = scene.host(Client).enter(|| {
        let client = mptcp_socket(address)?;
        Ok(client.connect_timeout(&address.into(), LIMIT).is_err())
    })?;
    ensure!(refused, "somebody listens");
    ensure!(scene.account(Server)?.mib("MPCapableSYNRX")? == 0);
    // Plain TCP would be refused as well.
    scene.answers(
        &[Sessions(
            "1 asked for MPTCP, 0 got it, 1 without a SYN/ACK (reset, lost, or under way)",
        )],
        &[],
        &[],
    );
    scene.check_but(
        &excepted(Server, &NO_MPTCP_LISTENER),
        &[
            (Client, "MPSYNtx", 1),
            (Server, "MPSYN", 1),
            (Server, "TotSess", 0),
        ],
    )
}

/// With SYN cookies, a join beyond the limit gets no answer, not even a reset.
pub(crate) fn joins_that_cookies_refuse_without_an_answer(path: Path) -> Result<()> {
    let scene = Scene::with(path, &["--limit-subflows", "1"])?;
    scene.host(Server).sysctl("ipv4/tcp_syncookies", "2")?;
    scene.mptcp(Server, "limits set subflows 0 add_addr_accepted 0")?;
    scene.join("")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Server, "MPJoinRejected", 2)?;
    scene.mptcp(Client, "endpoint delete id 5")?;
    close(client, server)?;
    let account = scene.account(Server)?;
    let syns = account.row("JoinSYN")?;
    ensure!(syns >= 2);
    for mib in ["MPJoinSynRx", "MPJoinRejected"] {
        let counted = account.mib(mib)?;
        ensure!(counted == syns, "{mib} is {counted}, JoinSYN {syns}");
    }
    scene.answers(
        &[Joins("1 tried, 0 made, 1 unanswered")],
        &["MpjUnanswered"],
        &["MpjUnanswered"],
    );
    scene.check_but(
        &excepted(Server, &SILENT_COOKIES),
        &[
            (Client, "subCon", 1),
            (Server, "subCon", 1),
            (Server, "JoinSYN - JoinSYNretx", 1),
            (Server, "SFsynack", 0),
            (Server, "SFFACK", 0),
            (Server, "MaxsfEr", 0),
            (Server, "JoinRefused", 0),
        ],
    )
}

/// What the host's own filter drops has been counted by its kernel, and never comes to the probe.
pub(crate) fn a_join_that_the_hosts_own_filter_drops(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    scene.rule(
        Client,
        "tcp flags & (syn | ack) == syn tcp option mptcp subtype 1 drop",
    )?;
    scene.join("")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Client, "MPJoinSynTx", 1)?;
    scene.mptcp(Client, "endpoint delete id 5")?;
    close(client, server)?;
    scene.check_but(
        &excepted(Client, &OUTPUT_FILTER),
        &[
            (Client, "MPSYNtx - MPSYNretxTx", 1),
            (Client, "JoinSYNtx", 0),
            (Client, "subCon", 1),
            (Client, "REMErTx", 1),
            (Server, "JoinSYN", 0),
            (Server, "subCon", 1),
            // It takes back an address that nobody has heard of.
            (Server, "REMEr", 1),
        ],
    )
}
