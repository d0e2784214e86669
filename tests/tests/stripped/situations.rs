//! What happens to connections, as a table.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use mptcp_tests::net::{close, transfer};

use super::scene::Scene;

/// What is shown at each place, also where it is 0: of the handshake, and of joins.
const HANDSHAKE: [&[&str]; 3] = [
    &["MPSYNtx", "SYNACKrx", "FinalACKtx", "TotSess"],
    &["MPSYN", "SYNACK", "FinalACK", "TotSess"],
    &["MPSYN", "SYNACK", "FinalACK", "TotSess"],
];
const JOIN: [&[&str]; 3] = [
    &[
        "TotSess",
        "JoinSYNtx",
        "SFsynackRx",
        "SFFACKtx",
        "subConJoin",
    ],
    &["TotSess", "JoinSYN", "SFsynack", "SFFACK", "subConJoin"],
    &["TotSess", "JoinSYN", "SFsynack", "SFFACK", "subConJoin"],
];

/// A connection that something happens to.
pub(super) struct Situation {
    pub(super) name: &'static str,
    pub(super) shown: &'static [&'static [&'static str]; 3],
    /// At which places events are quoted.
    pub(super) told_at: &'static [usize],
    pub(super) make: fn(&Scene) -> Result<()>,
}

/// The first one is in good health.
pub(super) const SITUATIONS: &[Situation] = &[
    Situation {
        name: "healthy",
        shown: &JOIN,
        told_at: &[0],
        make: |scene| scene.two_subflows("MPJoinAckRx", 1),
    },
    Situation {
        name: "syn-stripped",
        shown: &HANDSHAKE,
        told_at: &[0],
        make: |scene| {
            scene.filter("tcp flags & (syn | ack) == syn reset tcp option mptcp")?;
            scene.one_subflow()
        },
    },
    Situation {
        name: "syn-ack-stripped",
        shown: &HANDSHAKE,
        told_at: &[0, 2],
        make: |scene| {
            scene.filter("tcp flags & (syn | ack) == (syn | ack) reset tcp option mptcp")?;
            scene.one_subflow()
        },
    },
    Situation {
        name: "third-segment-stripped",
        shown: &HANDSHAKE,
        told_at: &[0, 2],
        make: |scene| {
            scene.filter(
                "ip saddr 10.79.1.0/24 tcp flags & (syn | ack) == ack reset tcp option mptcp",
            )?;
            scene.one_subflow()
        },
    },
    Situation {
        name: "server-without-mptcp",
        shown: &HANDSHAKE,
        told_at: &[0],
        make: Scene::plain_server,
    },
    Situation {
        name: "syn-dropped",
        shown: &HANDSHAKE,
        told_at: &[0],
        make: |scene| {
            scene.filter("tcp flags & (syn | ack) == syn tcp option mptcp exists drop")?;
            scene.one_subflow()
        },
    },
    Situation {
        name: "switched-off",
        shown: &HANDSHAKE,
        told_at: &[0],
        make: |scene| {
            scene.filter("tcp flags & (syn | ack) == syn tcp option mptcp exists drop")?;
            scene.one_subflow()?;
            // The kernel does not ask for MPTCP any more.
            scene.one_subflow()?;
            let disabled = scene.pair.client.mib("MPCapableSYNTXDisabled")?;
            ensure!(disabled == 1, "MPCapableSYNTXDisabled is {disabled}");
            Ok(())
        },
    },
    Situation {
        name: "stripped-in-mid-flow",
        shown: &HANDSHAKE,
        told_at: &[0, 2],
        make: |scene| {
            let (client, server) = scene.pair.connect()?;
            transfer(&client, &server, 1000)?;
            transfer(&server, &client, 1000)?;
            scene.filter("ip saddr 10.79.1.0/24 reset tcp option mptcp")?;
            transfer(&client, &server, 1000)?;
            scene.pair.wait_for(&scene.pair.server, "DssFallback", 1)?;
            transfer(&server, &client, 1000)?;
            close(client, server)
        },
    },
    Situation {
        name: "stripped-on-the-way-back",
        shown: &HANDSHAKE,
        told_at: &[0, 2],
        make: |scene| {
            let (client, server) = scene.pair.connect()?;
            transfer(&client, &server, 1000)?;
            transfer(&server, &client, 1000)?;
            scene.filter("ip saddr 10.78.1.0/24 reset tcp option mptcp")?;
            transfer(&server, &client, 1000)?;
            scene.pair.wait_for(&scene.pair.client, "DssFallback", 1)?;
            transfer(&client, &server, 1000)?;
            close(client, server)
        },
    },
    Situation {
        name: "payload-altered",
        shown: &HANDSHAKE,
        told_at: &[0, 2],
        make: Scene::altered,
    },
    Situation {
        name: "join-syn-dropped",
        shown: &JOIN,
        told_at: &[0],
        make: |scene| {
            scene.filter("tcp flags & (syn | ack) == syn tcp option mptcp subtype 1 drop")?;
            scene.two_subflows("MPCapableACKRX", 1)
        },
    },
    Situation {
        name: "join-syn-ack-stripped",
        shown: &JOIN,
        told_at: &[0],
        make: |scene| {
            scene.filter(
                "tcp flags & (syn | ack) == (syn | ack) tcp option mptcp subtype 1 reset tcp option \
                 mptcp",
            )?;
            scene.two_subflows("MPCapableACKRX", 1)
        },
    },
    Situation {
        name: "join-refused-by-a-limit",
        shown: &JOIN,
        told_at: &[0],
        make: |scene| {
            scene
                .pair
                .server
                .ip("mptcp limits set subflows 0 add_addr_accepted 0")?;
            scene.two_subflows("MPJoinRejected", 1)
        },
    },
    Situation {
        name: "join-refused-by-a-firewall",
        shown: &JOIN,
        told_at: &[0],
        make: |scene| {
            scene.filter(
                "tcp flags & (syn | ack) == syn tcp option mptcp subtype 1 reject with tcp reset",
            )?;
            scene.two_subflows("MPCapableACKRX", 1)
        },
    },
    Situation {
        name: "join-refused-by-icmp",
        shown: &JOIN,
        told_at: &[0],
        make: |scene| {
            scene.filter(
                "tcp flags & (syn | ack) == syn tcp option mptcp subtype 1 reject with icmpx type \
                 admin-prohibited",
            )?;
            scene.two_subflows("MPCapableACKRX", 1)
        },
    },
    Situation {
        name: "join-with-an-unknown-token",
        shown: &JOIN,
        told_at: &[0],
        make: |scene| {
            scene.filter(
                "tcp flags & (syn | ack) == syn tcp option mptcp subtype 1 tcp option @30,32,32 set \
                 0xdeadbeef",
            )?;
            scene.two_subflows("MPJoinNoTokenFound", 1)
        },
    },
    Situation {
        name: "join-with-a-wrong-hmac",
        shown: &JOIN,
        told_at: &[0],
        make: |scene| {
            scene.filter(
                "ip saddr 10.79.1.0/24 tcp flags & (syn | ack) == ack tcp option mptcp subtype 1 tcp \
                 option @30,64,32 set 0xdeadbeef",
            )?;
            scene.two_subflows("MPJoinAckHMacFailure", 1)
        },
    },
    Situation {
        name: "fast-close",
        shown: &HANDSHAKE,
        told_at: &[2],
        make: |scene| {
            let (client, server) = scene.pair.connect()?;
            transfer(&client, &server, 1000)?;
            client.set_linger(Some(Duration::ZERO))?;
            drop(client);
            scene
                .pair
                .wait_for(&scene.pair.server, "MPFastcloseRx", 1)?;
            drop(server);
            Ok(())
        },
    },
    Situation {
        name: "path-outage",
        shown: &JOIN,
        told_at: &[0],
        make: |scene| {
            scene.endpoint()?;
            let (client, server) = scene.pair.connect()?;
            transfer(&client, &server, 1000)?;
            scene.pair.wait_for(&scene.pair.server, "MPJoinAckRx", 1)?;
            transfer(&server, &client, 1000)?;
            scene.filter("ip saddr 10.79.1.1 drop; ip daddr 10.79.1.1 drop")?;
            transfer(&client, &server, 1000)?;
            transfer(&server, &client, 1000)?;
            scene.router.run("nft", &["flush ruleset"])?;
            transfer(&client, &server, 1000)?;
            close(client, server)?;
            // The first subflow's timer of retransmissions has backed off.
            thread::sleep(Duration::from_secs(4));
            Ok(())
        },
    },
];
