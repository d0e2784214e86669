//! Real kernel MPTCP, scenario by scenario: rows that the kernel counts too agree with its MIBs
//! (`MPTcpExt` of /proc/net/netstat) on both ends, gauges agree with its sockets, and rows that
//! nothing healthy moves stay 0.
//!
//! [`LAWS`] hold at every end of every scenario, [`QUIET`] rows are 0 unless a scenario says
//! otherwise. A scenario adds the numbers that its events must have, and names the laws that it
//! breaks on purpose, with the reason. All that disagrees is reported at once.

use std::{
    collections::BTreeMap,
    fmt::Display,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use mptcp_tests::{
    net::{CLIENT_INTERFACES, Family, Namespace, Pair, SERVER_INTERFACES, close, transfer},
    probe::{Probe, total},
};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

/// Last acknowledgments, and MPTCP's workers.
const SETTLE: Duration = Duration::from_millis(300);

/// Which end of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Server,
}
use End::{Client, Server};

/// Sums of the table (rows and extra numbers), and sums of MIBs that they equal. `?` behind a MIB:
/// 1 if it is not 0, where the kernel counts packets and the table sessions.
const LAWS: &[(&str, &str)] = &[
    ("TotSess", "MPCapableACKRX + MPCapableSYNACKRX"),
    ("TotV1Sess", "MPCapableACKRX + MPCapableSYNACKRX"),
    ("ConReq", "MPCapableACKRX + MPCapableSYNACKRX"),
    ("MPSYN - MPSYNretx", "MPCapableSYNRX"),
    ("MPV1SYN - MPSYNretx", "MPCapableSYNRX"),
    ("MPSYNtx - MPSYNretxTx", "MPCapableSYNTX"),
    ("SYNACKrx", "MPCapableSYNACKRX"),
    ("FinalACK", "MPCapableACKRX"),
    ("FinalACKtx", "MPCapableSYNACKRX"),
    ("subConJoin", "MPJoinAckRx + MPJoinSynAckRx"),
    (
        "JoinSYN + JoinSYNtx - JoinSYNretx",
        "MPJoinSynRx + MPJoinSynTx",
    ),
    ("JoinSYNtx", "MPJoinSynTx"),
    ("JoinBkup", "MPJoinSynBackupRx"),
    ("SFsynackRx", "MPJoinSynAckRx"),
    (
        "SFFACK",
        "MPJoinAckRx + MPJoinAckHMacFailure + MPJoinRejected",
    ),
    ("FACKVald", "MPJoinAckRx"),
    ("InMACEr", "MPJoinAckHMacFailure"),
    ("TokenEr", "MPJoinNoTokenFound"),
    ("MaxsfEr", "MPJoinRejected"),
    ("TotFB", "MPCapableFallbackACK + MPCapableDataFallback"),
    ("NoMpcSynack", "MPCapableFallbackSYNACK"),
    ("InfSet", "InfiniteMapRx?"),
    ("InfSetTx", "InfiniteMapTx?"),
    ("AddAddrRx", "AddAddr"),
    ("AddAddrTx", "AddAddrTx"),
    ("AddAddrEchoRx", "EchoAdd"),
    ("AddAddrEchoTx", "EchoAddTx"),
    ("REMAddr + REMEr", "RmAddr"),
    ("REMAddrTx + REMErTx", "RmAddrTx"),
    ("PrioBkup + PrioClearRx", "MPPrioRx"),
    ("PrioBkupTx + PrioClearTx", "MPPrioTx"),
    ("MPFAILst", "MPFailTx"),
    ("MPFAILrv", "MPFailRx"),
    ("FCRcvEr", "MPFastcloseRx"),
    ("FCsnt", "MPFastcloseTx"),
];

/// What two healthy kernels move on no clean path.
#[rustfmt::skip]
const QUIET: &[&str] = &[
    "SessNoSF", "PendSF", "TotSFRep", "PendRep", "TotFB", "InfSet", "InfMapFg",
    "CookieEr", "ExtnFlEr", "ResFlgEr", "TokenEr", "AddrIdEr", "addridEr", "MaxsfEr", "JoinThEr",
    "FBJoinEr", "InMACEr", "OPTEr", "SubtypEr", "OptSesEr", "REMEr", "OptRstEr", "RssfEr", "LenEr",
    "MSSErr", "CryptoEr", "VerEr", "TotPArst", "DFpasveEr", "FCpasvEr", "FCRcvEr", "FCkeyEr",
    "MPFAILst", "MPFAILrv", "NomapEr", "MrDataEr", "InMapEr", "DupmapEr", "SfnEr", "BadMapEr",
    "PktSfEr", "V1DataPriorToKey",
    "RstOddOpt", "ExpOpt", "ReservedBits", "OPTErTx", "OPTErUnknown", "SubtypErTx", "MPSYNretx",
    "MPSYNretxTx", "SYNACKretx", "MpcBlackhole", "NoMpcSynack", "CookieErTx", "V1DataPriorToKeyTx",
    "JoinSYNretx", "JoinSynackRetx", "NoMpjSynack", "JoinSynackMacEr", "InMACErTx",
    "JoinHmacUnverified", "JoinRefused", "TokenErTx", "MaxsfErTx", "JoinThErTx", "FBJoinErTx",
    "AddrIdErTx", "PendRepTx", "TotSFRepTx", "DataAckBad", "TotFBtx", "TotPArstTx", "InfSetTx",
    "InfTooEarly", "OptAfterFallback", "BareData", "REMErTx", "RmAddrRepeat", "AddAddrMacEr",
    "AddAddrMacOld", "AddAddrUnverified", "PrioElsewhere", "DFpasveErTx", "FCpasvErTx", "FCsnt",
    "FCRetx", "FCkeyErTx", "FCunverified", "MPFAILresp", "OptRstErRx", "NomapErTx", "MrDataErTx",
    "InMapErTx", "DupmapErTx", "SfnErTx", "BadMapErTx", "CsumPresenceEr", "UnknownFlow",
    "OptSesErTx", "PktSfErRx", "LostSubflows", "LostHandshakes", "LostTokens", "LostRanges",
];

/// What an end says of itself: the probe's table, and the kernel's counters.
struct Account {
    stat: Value,
    mibs: BTreeMap<String, u64>,
}

impl Account {
    /// A row or an extra number.
    fn row(&self, name: &str) -> Result<u64> {
        match self.stat["extra"].get(name) {
            Some(value) => value.as_u64().with_context(|| format!("{name} is n/a")),
            None => total(&self.stat, name),
        }
    }

    fn mib(&self, name: &str) -> Result<u64> {
        let bare = name.trim_end_matches('?');
        let value = *self
            .mibs
            .get(bare)
            .with_context(|| format!("no MIB {bare}"))?;
        Ok(if name.ends_with('?') {
            value.min(1)
        } else {
            value
        })
    }
}

/// The value of `A + B - C`.
fn sum(terms: &str, of: impl Fn(&str) -> Result<u64>) -> Result<i64> {
    let (mut result, mut sign) = (0, 1);
    for term in terms.split_whitespace() {
        match term {
            "+" => sign = 1,
            "-" => sign = -1,
            name => result += sign * i64::try_from(of(name)?)?,
        }
    }
    Ok(result)
}

/// Collects what disagrees.
#[derive(Default)]
struct Verdict(Vec<String>);

impl Verdict {
    fn compare(&mut self, what: impl Display, is: i64, source: impl Display, wanted: i64) {
        if is != wanted {
            self.0.push(format!("{what} is {is}, {source} {wanted}"));
        }
    }

    fn end(self) -> Result<()> {
        ensure!(self.0.is_empty(), "\n  {}", self.0.join("\n  "));
        Ok(())
    }
}

/// A client and a server with a probe on each.
struct Scene {
    // Dropped first, while its namespaces exist.
    probes: [Probe; 2],
    pair: Pair,
}

impl Scene {
    /// With these further arguments of the server's `attach`.
    fn new(family: Family, server_arguments: &[&str]) -> Result<Self> {
        let interfaces = [&CLIENT_INTERFACES[..], &SERVER_INTERFACES[..]];
        Self::on(Pair::new(family)?, interfaces, server_arguments)
    }

    fn on(pair: Pair, interfaces: [&[&str]; 2], server_arguments: &[&str]) -> Result<Self> {
        let probes = [&pair.client, &pair.server].map(Probe::new);
        for ((probe, interfaces), more) in
            probes.iter().zip(interfaces).zip([&[], server_arguments])
        {
            probe.run(&[&["attach", "-i"], interfaces, more].concat())?;
        }
        Ok(Self { probes, pair })
    }

    fn host(&self, end: End) -> &Namespace {
        match end {
            Client => &self.pair.client,
            Server => &self.pair.server,
        }
    }

    fn account(&self, end: End) -> Result<Account> {
        Ok(Account {
            stat: self.probes[end as usize].stat(&[])?,
            mibs: self.host(end).mibs()?,
        })
    }

    /// Waits until a MIB has moved that far.
    fn wait(&self, end: End, mib: &str, wanted: u64) -> Result<()> {
        self.pair.wait_for(self.host(end), mib, wanted)
    }

    /// Runs `ip mptcp` at an end.
    fn mptcp(&self, end: End, command: &str) -> Result<()> {
        self.host(end).ip(&format!("mptcp {command}"))?;
        Ok(())
    }

    /// One more subflow, from the client's second address.
    fn join(&self, options: &str) -> Result<()> {
        let second = self.pair.client_address(1);
        self.mptcp(
            Client,
            &format!("endpoint add {second} id 5 subflow {options}"),
        )
    }

    /// What a middlebox next to an end does to segments that it sends: from here on, visible on
    /// the wire.
    fn strip(&self, end: End, segments: &str) -> Result<()> {
        self.rule(end, &format!("{segments} reset tcp option mptcp"))
    }

    fn rule(&self, end: End, rule: &str) -> Result<()> {
        let table = format!(
            "table inet x {{ chain p {{ type filter hook output priority 300; {rule}\n}}\n}}"
        );
        self.host(end).run("nft", &[&table])?;
        Ok(())
    }

    /// While connections are open and nothing moves: sessions and subflows that exist, in the
    /// table and in the kernel.
    fn open(&self, sessions: u64, subflows: u64) -> Result<()> {
        thread::sleep(SETTLE);
        let mut verdict = Verdict::default();
        for end in [Client, Server] {
            let account = self.account(end)?;
            let sockets = self
                .host(end)
                .run("ss", &["-Htni", "state", "established"])?;
            let kernel = sockets.matches("tcp-ulp-mptcp").count() as i64;
            let wanted = sessions as i64;
            let estab = account.mib("MPCurrEstab")? as i64;
            verdict.compare(format!("{end:?} MPCurrEstab"), estab, "wanted", wanted);
            verdict.compare(
                format!("{end:?} sockets"),
                kernel,
                "wanted",
                subflows as i64,
            );
            for (row, wanted) in [
                ("CurSess", sessions),
                ("CurV1Sess", sessions),
                ("CurSF", subflows),
                ("PendSF", 0),
                ("SessNoSF", 0),
            ] {
                let is = account.row(row)? as i64;
                verdict.compare(format!("{end:?} {row}, open:"), is, "wanted", wanted as i64);
            }
        }
        verdict.end()
    }

    /// When all is closed: laws, quiet rows, and these numbers.
    fn check(&self, wanted: &[(End, &str, u64)]) -> Result<()> {
        self.check_but(&[], wanted)
    }

    /// The same, without these laws, by their left side.
    fn check_but(&self, broken: &[(End, &str)], wanted: &[(End, &str, u64)]) -> Result<()> {
        thread::sleep(SETTLE);
        let mut verdict = Verdict::default();
        for end in [Client, Server] {
            let account = self.account(end)?;
            let row = |name: &str| account.row(name);
            for (rows, mibs) in LAWS.iter().filter(|law| !broken.contains(&(end, law.0))) {
                let kernel = sum(mibs, |name| account.mib(name))?;
                verdict.compare(format!("{end:?} {rows}"), sum(rows, row)?, mibs, kernel);
            }
            let named = |name: &str| wanted.iter().any(|(e, row, _)| *e == end && *row == name);
            for name in QUIET.iter().chain(&["CurSess", "CurV1Sess", "CurSF"]) {
                if !named(name) {
                    verdict.compare(format!("{end:?} {name}"), sum(name, row)?, "quiet is", 0);
                }
            }
            for (_, rows, value) in wanted.iter().filter(|(e, ..)| *e == end) {
                let value = i64::try_from(*value)?;
                verdict.compare(format!("{end:?} {rows}"), sum(rows, row)?, "wanted", value);
            }
            let lost = account.stat["source"]["state_loss"].as_i64();
            verdict.compare(
                format!("{end:?} state_loss"),
                lost.unwrap_or(-1),
                "wanted",
                0,
            );
        }
        verdict.end()
    }
}

fn plain(family: Family) -> Result<()> {
    let scene = Scene::new(family, &[])?;
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
        (Server, "RetxEr", 0),
        (Client, "RetxEr", 0),
    ])
}

#[test]
fn a_transfer_and_its_end_over_ipv4() -> Result<()> {
    plain(Family::V4)
}

#[test]
fn a_transfer_and_its_end_over_ipv6() -> Result<()> {
    plain(Family::V6)
}

fn two_subflows(family: Family) -> Result<()> {
    let scene = Scene::new(family, &[])?;
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
        (Server, "JoinSYN", 1),
        (Server, "SFsynack", 1),
        (Server, "SFFACK", 1),
        (Server, "FACKVald", 1),
        (Server, "TxFin", 1),
        (Server, "RxFin", 1),
        (Server, "SfFin", 2),
    ])
}

#[test]
fn two_subflows_over_ipv4() -> Result<()> {
    two_subflows(Family::V4)
}

#[test]
fn two_subflows_over_ipv6() -> Result<()> {
    two_subflows(Family::V6)
}

/// The client joins from its second address, the server announces its own, the client joins there
/// too; then both take back what they offered.
fn addresses(family: Family) -> Result<()> {
    let scene = Scene::new(family, &[])?;
    let signalled = scene.pair.server_address(1);
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
    scene.check(&[
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
    ])
}

#[test]
fn addresses_come_and_go_over_ipv4() -> Result<()> {
    addresses(Family::V4)
}

#[test]
fn addresses_come_and_go_over_ipv6() -> Result<()> {
    addresses(Family::V6)
}

#[test]
fn a_backup_that_is_none_for_a_while() -> Result<()> {
    let scene = Scene::new(Family::V4, &[])?;
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
#[test]
fn a_join_from_the_server() -> Result<()> {
    let scene = Scene::new(Family::V4, &[])?;
    let second = scene.pair.client_address(1);
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
    scene.check(&[
        (Client, "JoinSYN", 1),
        (Client, "SFFACK", 1),
        (Client, "FACKVald", 1),
        (Client, "subCon", 2),
        (Client, "AddAddrPortTx", 1),
        (Server, "JoinSYNtx", 1),
        (Server, "SFsynackRx", 1),
        (Server, "FACKVald", 0),
        (Server, "subCon", 2),
        (Server, "AddAddrPortRx", 1),
    ])
}

#[test]
fn a_fast_close() -> Result<()> {
    let scene = Scene::new(Family::V4, &[])?;
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

#[test]
fn a_fast_close_of_two_subflows() -> Result<()> {
    let scene = Scene::new(Family::V4, &[])?;
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

#[test]
fn a_join_that_is_refused() -> Result<()> {
    let scene = Scene::new(Family::V4, &["--limit-subflows", "1"])?;
    scene.mptcp(Server, "limits set subflows 0 add_addr_accepted 0")?;
    scene.join("")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Server, "MPJoinRejected", 1)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.check(&[
        (Client, "subCon", 1),
        (Client, "JoinRefused", 1),
        (Client, "MaxsfErTx", 1),
        (Client, "TcpRstProhibitedRx", 1),
        (Server, "subCon", 1),
        (Server, "JoinSYN", 1),
        (Server, "SFFACK", 1),
        (Server, "FACKVald", 0),
        (Server, "JoinRefused", 1),
        (Server, "MaxsfEr", 1),
        (Server, "TcpRstProhibitedTx", 1),
    ])
}

/// Sends an MP_JOIN SYN with a token that nobody has, from no socket.
fn forge_join(pair: &Pair) -> Result<()> {
    let (IpAddr::V4(from), IpAddr::V4(to)) = (pair.client_address(0), pair.server_address(0))
    else {
        bail!("IPv4 only");
    };
    // Ports, sequence number, no acknowledgment, 8 words, SYN, window, checksum, urgent pointer.
    let mut tcp = vec![
        0x9c, 0x41, 0x13, 0x88, 0, 0, 0x10, 0, 0, 0, 0, 0, 0x80, 0x02, 0xff, 0xff,
    ];
    tcp.extend([0; 4]);
    tcp.extend([30, 12, 0x10, 7, 0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4]);
    let sum = checksum(from, to, &tcp);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    pair.client.enter(|| {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
        socket.send_to(&tcp, &SocketAddr::new(to.into(), 0).into())?;
        Ok(())
    })
}

/// Of TCP over IPv4.
fn checksum(from: Ipv4Addr, to: Ipv4Addr, tcp: &[u8]) -> u16 {
    let pseudo = [
        &from.octets()[..],
        &to.octets(),
        &[0, 6, 0, tcp.len() as u8],
    ]
    .concat();
    let words = pseudo.chunks(2).chain(tcp.chunks(2));
    let sum: u32 = words.map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}

#[test]
fn a_join_with_a_token_of_no_session() -> Result<()> {
    let scene = Scene::new(Family::V4, &[])?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    forge_join(&scene.pair)?;
    scene.wait(Server, "MPJoinNoTokenFound", 1)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.check_but(
        // The client's kernel did not send it.
        &[
            (Client, "JoinSYNtx"),
            (Client, "JoinSYN + JoinSYNtx - JoinSYNretx"),
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

#[test]
fn a_syn_ack_that_loses_its_option() -> Result<()> {
    let scene = Scene::new(Family::V4, &[])?;
    scene.strip(Server, "tcp flags & (syn | ack) == (syn | ack)")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    close(client, server)?;
    scene.check(&[
        (Client, "TotSess", 0),
        (Client, "NoMpcSynack", 1),
        (Server, "TotSess", 0),
        (Server, "SYNACK", 0),
    ])
}

#[test]
fn a_third_segment_that_loses_its_option() -> Result<()> {
    let scene = Scene::new(Family::V4, &[])?;
    scene.strip(Client, "tcp flags & (syn | ack) == ack")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    close(client, server)?;
    scene.check(&[
        (Client, "SYNACKrx", 1),
        (Server, "SYNACK", 1),
        (Server, "FinalACK", 0),
        (Server, "TotFB", 1),
    ])
}

#[test]
fn a_syn_that_loses_its_option() -> Result<()> {
    let scene = Scene::new(Family::V4, &[])?;
    scene.strip(Client, "tcp flags & (syn | ack) == syn")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    close(client, server)?;
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

fn with_checksums() -> Result<Scene> {
    let scene = Scene::new(Family::V4, &[])?;
    for end in [Client, Server] {
        scene.host(end).sysctl("mptcp/checksum_enabled", "1")?;
    }
    Ok(scene)
}

#[test]
fn a_corrupted_payload_on_the_only_subflow() -> Result<()> {
    let scene = with_checksums()?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 20_000)?;
    corrupt(&scene)?;
    transfer(&client, &server, 1_000)?;
    scene.wait(Client, "MPFailRx", 1)?;
    thread::sleep(SETTLE);
    transfer(&client, &server, 5_000)?;
    transfer(&server, &client, 5_000)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.check(&[
        (Client, "MPFAILrv", 1),
        (Client, "InfSetTx", 1),
        (Server, "MPFAILst", 1),
        (Server, "InfSet", 1),
    ])
}

#[test]
fn a_corrupted_payload_on_one_of_two_subflows() -> Result<()> {
    let scene = with_checksums()?;
    scene.join("")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 20_000)?;
    scene.wait(Server, "MPJoinAckRx", 1)?;
    corrupt(&scene)?;
    transfer(&client, &server, 100_000)?;
    scene.wait(Client, "MPFailRx", 1)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.check(&[
        (Client, "MPFAILrv", 1),
        (Client, "TotSess", 1),
        (Server, "MPFAILst", 1),
        (Server, "InfSet", 0),
    ])
}

#[test]
fn the_server_speaks_first() -> Result<()> {
    let scene = Scene::new(Family::V4, &[])?;
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

#[test]
fn handshakes_with_cookies() -> Result<()> {
    let scene = Scene::new(Family::V4, &[])?;
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

#[test]
fn several_sessions_at_once() -> Result<()> {
    let scene = Scene::new(Family::V4, &[])?;
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

/// Rows of which a middlebox on the only path says what the server says.
#[rustfmt::skip]
const SAME: &[&str] = &[
    "TotSess", "TotV1Sess", "subCon", "ConReq", "MPSYN", "SYNACK", "FinalACK", "JoinSYN",
    "SFsynack", "SFFACK", "FACKVald", "SFfrhACK", "TotFB", "REMAddr", "TotDSS", "DSSrcv", "DSSsnd",
    "DSSA", "DSSa", "FreshAck", "SeqMapM", "SeqMapm", "LDataLen", "PrioBkup", "ClrBkup", "TxFin",
    "RxFin", "SfFin", "FCRcvEr", "NomapEr", "DupmapEr", "RetxEr", "CurSess", "CurSF", "PendSF",
];

/// client c0 --- r0 router r1 --- s0 server: all three are probed.
#[test]
fn a_middlebox_tells_the_same_story() -> Result<()> {
    let (pair, router) = Pair::routed()?;
    for (host, interface) in [(&pair.client, "c0"), (&pair.server, "s0")] {
        host.ip(&format!("link set {interface} gso_max_segs 1"))?;
    }
    pair.client.ip("addr add 10.79.1.3/24 dev c0")?;
    let middle = Probe::new(&router);
    middle.run(&["attach", "-i", "r0", "r1", "--role", "middlebox"])?;
    let scene = Scene::on(pair, [&["c0"], &["s0"]], &[])?;
    scene.mptcp(Client, "endpoint add 10.79.1.3 id 5 subflow")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Server, "MPJoinAckRx", 1)?;
    scene.mptcp(Client, "endpoint change id 5 backup")?;
    scene.wait(Server, "MPPrioRx", 1)?;
    transfer(&client, &server, 100_000)?;
    transfer(&server, &client, 100_000)?;
    same(&scene, &middle)?;
    scene.mptcp(Client, "endpoint delete id 5")?;
    scene.wait(Server, "RmAddr", 1)?;
    transfer(&server, &client, 50_000)?;
    close(client, server)?;
    scene.check(&[(Server, "PrioBkup", 1), (Server, "REMAddr", 1)])?;
    same(&scene, &middle)
}

fn same(scene: &Scene, middle: &Probe) -> Result<()> {
    thread::sleep(SETTLE);
    let server = scene.account(Server)?.stat;
    let middle = middle.stat(&[])?;
    let mut verdict = Verdict::default();
    for row in SAME {
        let (is, wanted) = (total(&middle, row)?, total(&server, row)?);
        verdict.compare(
            format!("{row} of the middlebox"),
            is as i64,
            "of the server",
            wanted as i64,
        );
    }
    verdict.end()
}
