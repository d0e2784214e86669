//! docs/stripped.md: what the tool says, at a client, a router and a server, when a path takes MPTCP away.
//!
//! `sudo -E UPDATE_CAPTURES=1 cargo test -p mptcp-tests --test stripped` makes each situation between network
//! namespaces, and writes what passed at the three places to tests/data/stripped (`UPDATE_CAPTURES=NAME`: one of them). The page is made of these captures:
//! `UPDATE_DOCS=1` writes it.

use std::{env, fmt::Write as _, fs, net::SocketAddr, net::TcpListener, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    capture::Capture,
    document::check_parts,
    net::{Family, LIMIT, Namespace, Pair, close, mptcp_socket, transfer},
    probe::{Probe, recorded},
    transcript::{data, transcript},
};
use serde_json::Value;
use socket2::Socket;

const PLACES: [&str; 3] = ["client", "router", "server"];

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

/// Numbers that move in health, or follow from the shown ones: not shown.
const ORDINARY: [&str; 2] = ["LostReports", "CsumUnverified"];

/// A connection that something happens to.
struct Situation {
    name: &'static str,
    shown: &'static [&'static [&'static str]; 3],
    /// At which places events are quoted.
    told_at: &'static [usize],
    make: fn(&Scene) -> Result<()>,
}

const SITUATIONS: &[Situation] = &[
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

/// A client, a router and a server, each probed.
struct Scene {
    pair: Pair,
    router: Namespace,
    probes: [Probe; 3],
}

impl Scene {
    fn new() -> Result<Self> {
        let (pair, router) = Pair::routed()?;
        pair.client.ip("addr add 10.79.1.3/24 dev c0")?;
        for (host, interfaces) in [
            (&pair.client, &["c0"][..]),
            (&router, &["r0", "r1"]),
            (&pair.server, &["s0"]),
        ] {
            for interface in interfaces {
                host.ip(&format!("link set {interface} gso_max_segs 1"))?;
                let _ = host.run("ethtool", &["-K", interface, "gro", "off"]);
            }
        }
        let probes = [&pair.client, &router, &pair.server].map(Probe::new);
        for (probe, interfaces) in
            probes
                .iter()
                .zip([&["c0"][..], &["r0", "r1", "--role", "middlebox"], &["s0"]])
        {
            probe.run(&[&["attach", "--verify-checksums", "-i"], interfaces].concat())?;
        }
        Ok(Self {
            pair,
            router,
            probes,
        })
    }

    /// What the router does to packets that it forwards.
    fn filter(&self, rule: &str) -> Result<()> {
        let table = format!(
            "table inet x {{ chain p {{ type filter hook forward priority 300; {rule}\n}}\n}}"
        );
        self.router.run("nft", &[&table])?;
        Ok(())
    }

    fn one_subflow(&self) -> Result<()> {
        let (client, server) = self.pair.connect()?;
        transfer(&client, &server, 1000)?;
        transfer(&server, &client, 1000)?;
        close(client, server)
    }

    /// The client joins from its second address.
    fn endpoint(&self) -> Result<()> {
        self.pair
            .client
            .ip("mptcp endpoint add 10.79.1.3 id 5 subflow")?;
        Ok(())
    }

    /// With a join from the client's second address, until the server's kernel has counted so much.
    fn two_subflows(&self, mib: &str, wanted: u64) -> Result<()> {
        self.endpoint()?;
        let (client, server) = self.pair.connect()?;
        transfer(&client, &server, 1000)?;
        self.pair.wait_for(&self.pair.server, mib, wanted)?;
        // A join without an answer is tried again after a second.
        thread::sleep(Duration::from_millis(1500));
        transfer(&server, &client, 1000)?;
        close(client, server)
    }

    fn plain_server(&self) -> Result<()> {
        let address = SocketAddr::new(self.pair.server_address(0), 5000);
        let listener = self.pair.server.enter(|| Ok(TcpListener::bind(address)?))?;
        let client = self.pair.client.enter(|| {
            let client = mptcp_socket(address)?;
            client.connect_timeout(&address.into(), LIMIT)?;
            Ok(client)
        })?;
        let server = Socket::from(listener.accept()?.0);
        server.set_read_timeout(Some(LIMIT))?;
        transfer(&client, &server, 1000)?;
        transfer(&server, &client, 1000)?;
        close(client, server)
    }

    fn altered(&self) -> Result<()> {
        for host in [&self.pair.client, &self.pair.server] {
            host.sysctl("mptcp/checksum_enabled", "1")?;
        }
        let (client, server) = self.pair.connect()?;
        transfer(&client, &server, 1000)?;
        self.filter(
            "tcp dport 5000 meta length > 600 limit rate 1/hour burst 1 packets @ih,64,16 set 0x5a5b",
        )?;
        transfer(&client, &server, 1000)?;
        self.pair.wait_for(&self.pair.client, "MPFailRx", 1)?;
        self.pair.settle()?;
        transfer(&client, &server, 1000)?;
        close(client, server)
    }
}

/// A number of a reading, by its short name; `None` where it is `n/a`.
fn number(stat: &Value, name: &str) -> Option<u64> {
    match stat["extra"].get(name) {
        Some(value) => value.as_u64(),
        None => stat["counters"][name]["total"].as_u64(),
    }
}

/// All numbers by which a reading says that something happened.
fn numbers(stat: &Value) -> Result<Vec<(String, u64)>> {
    let mut all = Vec::new();
    for part in ["counters", "extra"] {
        let rows = stat[part].as_object().context("no rows")?;
        for name in rows
            .keys()
            .filter(|name| !ORDINARY.contains(&name.as_str()))
        {
            if let Some(value) = number(stat, name).filter(|value| *value > 0) {
                all.push((name.clone(), value));
            }
        }
    }
    Ok(all)
}

fn role(place: usize) -> &'static str {
    ["host", "middlebox", "host"][place]
}

fn file(situation: &Situation, place: usize) -> String {
    format!("stripped/{}-{}.pcap", situation.name, PLACES[place])
}

/// What the captures of a situation say; `healthy` are names that move in health.
fn block(situation: &Situation, healthy: &[String]) -> Result<String> {
    let mut text = String::from("\n```\n");
    for (place, name) in PLACES.into_iter().enumerate() {
        let stat = recorded(
            data().join(file(situation, place)),
            &["--role", role(place)],
        )?;
        let mut shown: Vec<String> = Vec::new();
        for row in situation.shown[place] {
            let value = number(&stat, row).with_context(|| format!("{row} is n/a"))?;
            shown.push(format!("{row} {value}"));
        }
        for (row, value) in numbers(&stat)? {
            if !healthy.contains(&row) && !situation.shown[place].contains(&row.as_str()) {
                shown.push(format!("{row} {value}"));
            }
        }
        let mut line = format!("{name:8}");
        for part in shown {
            if line.len() + part.len() > 96 {
                let _ = writeln!(text, "{}", line.trim_end());
                line = format!("{:8}", "");
            }
            let _ = write!(line, "{part}   ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    for &place in situation.told_at {
        let words = format!(
            "events --role {} --log-file {}",
            role(place),
            file(situation, place)
        );
        let out = transcript(&words)?;
        ensure!(out.status == "exit status: 0", "{words}: {out:?}");
        let _ = writeln!(text, "\nevents on the {}", PLACES[place]);
        text.push_str(&out.stdout);
        if out.stdout.is_empty() {
            text.push_str("(none)\n");
        }
    }
    text.push_str("```\n");
    Ok(text)
}

/// The outputs on the page are those of the captures.
#[test]
fn the_page_says_what_the_tool_says() -> Result<()> {
    let mut healthy = Vec::new();
    for place in 0..PLACES.len() {
        let stat = recorded(
            data().join(file(&SITUATIONS[0], place)),
            &["--role", role(place)],
        )?;
        healthy.extend(numbers(&stat)?.into_iter().map(|(name, _)| name));
    }
    let parts: Vec<_> = SITUATIONS
        .iter()
        .map(|situation| Ok((situation.name, block(situation, &healthy)?)))
        .collect::<Result<_>>()?;
    check_parts("stripped.md", &parts)
}

/// README.md quotes the event of a SYN that lost its option.
#[test]
fn the_readme_quotes_the_tool() -> Result<()> {
    let out = transcript("events --role host --log-file stripped/syn-stripped-client.pcap")?;
    let (_, event) = out.stdout.trim().split_once(" rx ").context("no event")?;
    let readme = fs::read_to_string(data().join("../../README.md"))?;
    ensure!(readme.contains(event.trim()), "README.md lacks {event}");
    Ok(())
}

/// Makes the captures anew, and checks that the probes of the same run said what the captures say.
#[test]
fn the_captures_of_the_page() -> Result<()> {
    let Ok(which) = env::var("UPDATE_CAPTURES") else {
        return Ok(());
    };
    ensure!(
        Family::V4 == Pair::routed()?.0.family,
        "the addresses are of IPv4"
    );
    fs::create_dir_all(data().join("stripped"))?;
    let wanted = |situation: &&Situation| which == "1" || which == situation.name;
    for situation in SITUATIONS.iter().filter(wanted) {
        make(situation).with_context(|| situation.name)?;
    }
    Ok(())
}

fn make(situation: &Situation) -> Result<()> {
    let scene = Scene::new()?;
    let hosts = [&scene.pair.client, &scene.router, &scene.pair.server];
    let directions = ["inout", "in", "inout"];
    let mut captures = Vec::new();
    for (host, direction) in hosts.into_iter().zip(directions) {
        captures.push(Capture::of(
            host,
            "any",
            &["-s", "2000", "-Q", direction, "tcp"],
        )?);
    }
    (situation.make)(&scene)?;
    scene.pair.settle()?;
    for (place, mut capture) in captures.into_iter().enumerate() {
        let live = numbers(&scene.probes[place].stat(&[])?)?;
        let path = data().join(file(situation, place));
        fs::copy(capture.stop()?, &path)?;
        let offline = numbers(&recorded(&path, &["--role", role(place)])?)?;
        ensure!(
            live == offline,
            "{}: the probe says {live:?}, the capture {offline:?}",
            PLACES[place]
        );
    }
    Ok(())
}
