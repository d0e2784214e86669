//! Real kernel MPTCP, scenario by scenario: rows that the kernel counts too agree with its MIBs
//! (`MPTcpExt` of /proc/net/netstat) on both ends, gauges agree with its sockets, and rows that
//! nothing healthy moves stay 0.
//!
//! [`LAWS`] hold at both ends in every scenario, [`QUIET`] rows are 0 unless a scenario says
//! otherwise. A scenario adds the numbers that its events must have, and names the rules that it
//! breaks, with the reason. The scenarios run on a direct path and through a router, which is probed
//! too and must print the server's table. All that disagrees is reported at once.

use std::{
    collections::BTreeMap,
    fmt::Display,
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    net::{CLIENT_INTERFACES, Family, Namespace, Pair, SERVER_INTERFACES, close, transfer},
    probe::{Probe, total},
};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

/// Last acknowledgments, and MPTCP's workers.
const SETTLE: Duration = Duration::from_millis(300);

/// Who is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Client,
    Server,
    /// The router between them.
    Middle,
}
use Place::{Client, Middle, Server};

/// What lies between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// Two links.
    Direct(Family),
    /// A router, one link to each end, IPv4.
    Routed,
}

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
    ("MpcBlackhole", "MPCapableSYNTXDrop"),
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
    "CurSess", "CurV1Sess", "CurSF",
    "SessNoSF", "PendSF", "TotSFRep", "PendRep", "TotFB", "InfSet", "InfMapFg",
    "CookieEr", "ExtnFlEr", "ResFlgEr", "TokenEr", "AddrIdEr", "addridEr", "MaxsfEr", "JoinThEr",
    "FBJoinEr", "InMACEr", "OPTEr", "SubtypEr", "OptSesEr", "REMEr", "OptRstEr", "RssfEr", "LenEr",
    "MSSErr", "CryptoEr", "VerEr", "TotPArst", "DFpasveEr", "FCpasvEr", "FCRcvEr", "FCkeyEr",
    "MPFAILst", "MPFAILrv", "NomapEr", "MrDataEr", "InMapEr", "SfnEr", "BadMapEr",
    "PktSfEr", "V1DataPriorToKey",
    "RstOddOpt", "ExpOpt", "ReservedBits", "OPTErTx", "OPTErUnknown", "SubtypErTx", "MPSYNretx",
    "MPSYNretxTx", "SYNACKretx", "MpcBlackhole", "NoMpcSynack", "CookieErTx", "V1DataPriorToKeyTx",
    "JoinSYNretx", "JoinSynackRetx", "NoMpjSynack", "JoinSynackMacEr", "InMACErTx",
    "JoinHmacUnverified", "JoinRefused", "TokenErTx", "MaxsfErTx", "JoinThErTx", "FBJoinErTx",
    "AddrIdErTx", "PendRepTx", "TotSFRepTx", "DataAckBad", "TotFBtx", "TotPArstTx", "InfSetTx",
    "InfTooEarly", "OptAfterFallback", "BareData", "REMErTx", "RmAddrRepeat", "AddAddrMacEr",
    "AddAddrMacOld", "AddAddrUnverified", "PrioElsewhere", "DFpasveErTx", "FCpasvErTx", "FCsnt",
    "FCRetx", "FCkeyErTx", "FCunverified", "MPFAILresp", "OptRstErRx", "NomapErTx", "MrDataErTx",
    "InMapErTx", "SfnErTx", "BadMapErTx", "CsumPresenceEr", "UnknownFlow",
    "OptSesErTx", "PktSfErRx", "LostSubflows", "LostHandshakes", "LostTokens", "LostRanges",
];

/// Rows at both ends.
fn both<'a>(rows: &[&'a str]) -> Vec<(Place, &'a str)> {
    let ends = rows.iter().map(|row| [(Client, *row), (Server, *row)]);
    ends.flatten().collect()
}

/// Rows of which the router does not say what the server says: they tell of receive queues.
const ITS_OWN: [&str; 2] = ["ConSter", "SFsteer"];

/// What an end says of itself: the probe's table, and the kernel's counters.
struct Account {
    stat: Value,
    mibs: BTreeMap<String, u64>,
    /// Segments that TCP sent again.
    retransmitted: u64,
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
        let value = self.mibs.get(bare).copied();
        let value = value.with_context(|| format!("no MIB {bare}"))?;
        Ok(if bare == name { value } else { value.min(1) })
    }
}

/// The value of `A + B - C`.
fn sum(terms: &str, of: impl Fn(&str) -> Result<u64>) -> Result<u64> {
    let (mut result, mut is_minus) = (0_u64, false);
    for term in terms.split_whitespace() {
        match term {
            "+" => is_minus = false,
            "-" => is_minus = true,
            name if is_minus => result = result.wrapping_sub(of(name)?),
            name => result = result.wrapping_add(of(name)?),
        }
    }
    Ok(result)
}

/// Collects what disagrees.
#[derive(Default)]
struct Verdict(Vec<String>);

impl Verdict {
    fn compare(&mut self, what: impl Display, is: u64, source: impl Display, wanted: u64) {
        if is != wanted {
            self.0.push(format!("{what} is {is}, {source} {wanted}"));
        }
    }

    fn end(self) -> Result<()> {
        ensure!(self.0.is_empty(), "\n  {}", self.0.join("\n  "));
        Ok(())
    }
}

/// A client and a server, perhaps a router, and a probe on each.
struct Scene {
    // Dropped first, while the namespaces exist.
    ends: [Probe; 2],
    middle: Option<Probe>,
    pair: Pair,
    _router: Option<Namespace>,
    path: Path,
}

impl Scene {
    fn new(path: Path) -> Result<Self> {
        Self::with(path, &[])
    }

    /// With these further arguments of `attach`.
    fn with(path: Path, arguments: &[&str]) -> Result<Self> {
        let (pair, router) = match path {
            Path::Direct(family) => (Pair::new(family)?, None),
            Path::Routed => {
                let (pair, router) = Pair::routed()?;
                for (host, interface) in [(&pair.client, "c0"), (&pair.server, "s0")] {
                    host.ip(&format!("link set {interface} gso_max_segs 1"))?;
                }
                (pair, Some(router))
            }
        };
        let scene = Self {
            ends: [&pair.client, &pair.server].map(Probe::new),
            middle: router.as_ref().map(Probe::new),
            pair,
            _router: router,
            path,
        };
        scene.second_addresses()?;
        let links = if path == Path::Routed { 1 } else { 2 };
        let interfaces = [&CLIENT_INTERFACES[..links], &SERVER_INTERFACES[..links]];
        for (probe, interfaces) in scene.ends.iter().zip(interfaces) {
            probe.run(&[&["attach", "-i"], interfaces, arguments].concat())?;
        }
        if let Some(probe) = &scene.middle {
            let attach = ["attach", "-i", "r0", "r1", "--role", "middlebox"];
            probe.run(&[&attach, arguments].concat())?;
        }
        Ok(scene)
    }

    /// Behind a router, both have two addresses on one link.
    fn second_addresses(&self) -> Result<()> {
        if self.path == Path::Routed {
            for (end, interface) in [(Client, "c0"), (Server, "s0")] {
                let address = self.address(end, 1);
                self.host(end)
                    .ip(&format!("addr add {address}/24 dev {interface}"))?;
            }
        }
        Ok(())
    }

    /// The first or second address of an end.
    fn address(&self, end: Place, index: usize) -> IpAddr {
        match (self.path, end) {
            (Path::Routed, Client) => IpAddr::from([10, 79, 1, [1, 3][index]]),
            (Path::Routed, _) => IpAddr::from([10, 78, 1, [2, 3][index]]),
            (_, Client) => self.pair.client_address(index),
            _ => self.pair.server_address(index),
        }
    }

    fn host(&self, end: Place) -> &Namespace {
        match end {
            Client => &self.pair.client,
            _ => &self.pair.server,
        }
    }

    fn account(&self, end: Place) -> Result<Account> {
        let host = self.host(end);
        let tcp = host.counters("snmp", "Tcp:")?;
        Ok(Account {
            stat: self.ends[end as usize].stat(&[])?,
            mibs: host.mibs()?,
            retransmitted: *tcp.get("RetransSegs").context("no RetransSegs")?,
        })
    }

    /// Waits until a MIB has moved that far.
    fn wait(&self, end: Place, mib: &str, wanted: u64) -> Result<()> {
        self.pair.wait_for(self.host(end), mib, wanted)
    }

    /// Runs `ip mptcp` at an end.
    fn mptcp(&self, end: Place, command: &str) -> Result<()> {
        self.host(end).ip(&format!("mptcp {command}"))?;
        Ok(())
    }

    /// One more subflow, from the client's second address.
    fn join(&self, options: &str) -> Result<()> {
        let second = self.address(Client, 1);
        self.mptcp(
            Client,
            &format!("endpoint add {second} id 5 subflow {options}"),
        )
    }

    /// Takes the option out of segments that an end sends, from here on, visible on the wire.
    fn strip(&self, end: Place, segments: &str) -> Result<()> {
        self.rule(end, &format!("{segments} reset tcp option mptcp"))
    }

    fn rule(&self, end: Place, rule: &str) -> Result<()> {
        self.chain(end, "output", rule)
    }

    fn chain(&self, end: Place, hook: &str, rule: &str) -> Result<()> {
        let table = format!(
            "table inet x {{ chain p {{ type filter hook {hook} priority 300; {rule}\n}}\n}}"
        );
        self.host(end).run("nft", &[&table])?;
        Ok(())
    }

    /// While connections are open and nothing moves: sessions and subflows that exist, in the
    /// table and in the kernel.
    fn open(&self, sessions: u64, subflows: u64) -> Result<()> {
        thread::sleep(SETTLE);
        let mut verdict = Verdict::default();
        let alone = if subflows == 0 { sessions } else { 0 };
        for end in [Client, Server] {
            let account = self.account(end)?;
            let sockets = self
                .host(end)
                .run("ss", &["-Htni", "state", "established"])?;
            let sockets = sockets.matches("tcp-ulp-mptcp").count() as u64;
            for (what, is, wanted) in [
                ("MPCurrEstab", account.mib("MPCurrEstab")?, sessions),
                ("sockets of subflows", sockets, subflows),
                ("CurSess", account.row("CurSess")?, sessions),
                ("CurV1Sess", account.row("CurV1Sess")?, sessions),
                ("CurSF", account.row("CurSF")?, subflows),
                ("PendSF", account.row("PendSF")?, 0),
                ("SessNoSF", account.row("SessNoSF")?, alone),
            ] {
                verdict.compare(format!("{end:?} {what}, open,"), is, "wanted", wanted);
            }
        }
        verdict.end()
    }

    /// When all is closed: laws, quiet rows, and these numbers.
    fn check(&self, wanted: &[(Place, &str, u64)]) -> Result<()> {
        self.check_but(&[], wanted)
    }

    /// The same, without these rules: laws by their left side, and rows.
    fn check_but(&self, broken: &[(Place, &str)], wanted: &[(Place, &str, u64)]) -> Result<()> {
        thread::sleep(SETTLE);
        let accounts = [self.account(Client)?, self.account(Server)?];
        let mut verdict = Verdict::default();
        for (end, peer) in [(Client, Server), (Server, Client)] {
            let [account, other] = [end, peer].map(|end| &accounts[end as usize]);
            let row = |name: &str| account.row(name);
            let holds = |rule: &str| !broken.contains(&(end, rule));
            for (rows, mibs) in LAWS.iter().filter(|law| holds(law.0)) {
                let kernel = sum(mibs, |name| account.mib(name))?;
                verdict.compare(format!("{end:?} {rows}"), sum(rows, row)?, mibs, kernel);
            }
            let named = |name: &str| wanted.iter().any(|(e, row, _)| (*e, *row) == (end, name));
            for name in QUIET.iter().filter(|name| holds(name) && !named(name)) {
                verdict.compare(format!("{end:?} {name}"), row(name)?, "quiet is", 0);
            }
            for (_, rows, value) in wanted.iter().filter(|(e, ..)| *e == end) {
                verdict.compare(format!("{end:?} {rows}"), sum(rows, row)?, "wanted", *value);
            }
            // A tail loss probe on a busy machine is a retransmission, as good as any.
            for (name, most) in [("DupmapErTx", account), ("DupmapEr", other)] {
                let (is, most) = (row(name)?, most.retransmitted);
                verdict.compare(
                    format!("{end:?} {name}"),
                    is.max(most),
                    "TCP sent again",
                    most,
                );
            }
            let lost = account.stat["source"]["state_loss"].as_u64();
            verdict.compare(
                format!("{end:?} state_loss"),
                lost.unwrap_or(1),
                "wanted",
                0,
            );
        }
        self.compare_middle(&accounts[1].stat, broken, &mut verdict)?;
        verdict.end()
    }

    /// The router's table against the server's.
    fn compare_middle(
        &self,
        server: &Value,
        broken: &[(Place, &str)],
        verdict: &mut Verdict,
    ) -> Result<()> {
        let Some(middle) = &self.middle else {
            return Ok(());
        };
        let middle = middle.stat(&[])?;
        let rows = middle["counters"].as_object().context("no rows")?;
        for (row, value) in rows {
            let Some(is) = value["total"].as_u64() else {
                continue;
            };
            if !ITS_OWN.contains(&&**row) && !broken.contains(&(Middle, row)) {
                let wanted = total(server, row)?;
                verdict.compare(format!("Middle {row}"), is, "the server's", wanted);
            }
        }
        let lost = middle["source"]["state_loss"].as_u64();
        verdict.compare("Middle state_loss", lost.unwrap_or(1), "wanted", 0);
        Ok(())
    }
}

fn a_transfer_and_its_end(path: Path) -> Result<()> {
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

fn two_subflows(path: Path) -> Result<()> {
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
        (Server, "JoinSYN", 1),
        (Server, "SFsynack", 1),
        (Server, "SFFACK", 1),
        (Server, "FACKVald", 1),
        (Server, "TxFin", 1),
        (Server, "RxFin", 1),
        (Server, "SfFin", 2),
    ])
}

/// The client joins from its second address, the server announces its own, the client joins there
/// too; then both take back what they offered.
fn addresses_come_and_go(path: Path) -> Result<()> {
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

fn a_backup_that_is_none_for_a_while(path: Path) -> Result<()> {
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
fn a_join_from_the_server(path: Path) -> Result<()> {
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
        ],
    )
}

fn a_fast_close(path: Path) -> Result<()> {
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

fn a_fast_close_of_two_subflows(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    scene.join("")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    scene.wait(Server, "MPJoinAckRx", 1)?;
    server.set_linger(Some(Duration::ZERO))?;
    drop(server);
    scene.wait(Client, "MPFastcloseRx", 1)?;
    drop(client);
    scene.check_but(
        // Not yet: the first one ends the session, and the second cannot be checked.
        &both(&["FCunverified"]),
        &[(Client, "FCRcvEr", 2), (Server, "FCsnt", 2)],
    )
}

fn a_join_that_is_refused(path: Path) -> Result<()> {
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
            (Server, "JoinSYN", 1),
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

fn a_join_with_a_token_of_no_session(path: Path) -> Result<()> {
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
            (Client, "JoinSYNtx"),
            (Client, "JoinSYN + JoinSYNtx - JoinSYNretx"),
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

fn a_syn_ack_that_loses_its_option(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    scene.strip(Server, "tcp flags & (syn | ack) == (syn | ack)")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    close(client, server)?;
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

fn a_third_segment_that_loses_its_option(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    scene.strip(Client, "tcp flags & (syn | ack) == ack")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    close(client, server)?;
    scene.check_but(
        // The client's kernel did not see its own segments change, and blames the server's data.
        &[
            (Client, "TotSess"),
            (Client, "TotV1Sess"),
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

fn a_syn_that_loses_its_option(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
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

fn with_checksums(path: Path) -> Result<Scene> {
    let scene = Scene::new(path)?;
    for end in [Client, Server] {
        scene.host(end).sysctl("mptcp/checksum_enabled", "1")?;
    }
    Ok(scene)
}

fn a_corrupted_payload_on_the_only_subflow(path: Path) -> Result<()> {
    let scene = with_checksums(path)?;
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
    scene.check_but(
        // Not yet: the segment of the infinite mapping is taken for one without a mapping.
        &[(Client, "NomapErTx"), (Server, "NomapEr")],
        &[
            (Client, "MPFAILst", 1),
            (Client, "MPFAILrv", 1),
            (Client, "MPFAILresp", 1),
            (Client, "InfSetTx", 1),
            (Server, "MPFAILst", 1),
            (Server, "MPFAILrv", 1),
            (Server, "MPFAILresp", 1),
            (Server, "InfSet", 1),
            (Server, "InfMapFg", 1),
        ],
    )
}

fn a_corrupted_payload_on_one_of_two_subflows(path: Path) -> Result<()> {
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
    scene.check(&[
        (Client, "MPFAILrv", 1),
        (Client, "TotSess", 1),
        (Server, "MPFAILst", 1),
        (Server, "InfSet", 0),
    ])
}

fn the_server_speaks_first(path: Path) -> Result<()> {
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

fn handshakes_with_cookies(path: Path) -> Result<()> {
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

fn several_sessions_at_once(path: Path) -> Result<()> {
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
fn options_that_get_lost_in_mid_flow(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    scene.strip(Client, "tcp flags & (syn | ack) == ack")?;
    // One segment each way: the client gives a subflow up that acknowledges no data.
    transfer(&client, &server, 1_000)?;
    scene.wait(Server, "DssFallback", 1)?;
    transfer(&server, &client, 1_000)?;
    scene.wait(Client, "DssFallback", 1)?;
    transfer(&client, &server, 50_000)?;
    transfer(&server, &client, 50_000)?;
    scene.open(1, 1)?;
    close(client, server)?;
    scene.check_but(
        // Not yet: the fallback is not noticed. Each later segment counts as one without a mapping,
        // and without DATA_FIN the session waits for another subflow.
        &both(&[
            "NomapEr",
            "NomapErTx",
            "SessNoSF",
            "CurSess",
            "CurV1Sess",
            "BareData",
        ]),
        &[(Client, "TotSess", 1), (Server, "TotSess", 1)],
    )
}

/// A path on which MP_CAPABLE SYNs are lost until the client leaves the option out. The server's
/// firewall drops them, behind its probe.
fn syns_that_are_dropped_for_their_option(path: Path) -> Result<()> {
    let scene = Scene::new(path)?;
    scene.chain(Server, "prerouting", "tcp option mptcp exists drop")?;
    let (client, server) = scene.pair.connect()?;
    transfer(&client, &server, 50_000)?;
    close(client, server)?;
    let sent = scene.account(Client)?.row("MPSYNtx")?;
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
fn the_first_address_goes(path: Path) -> Result<()> {
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
fn a_session_without_subflows(path: Path) -> Result<()> {
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
fn packets_that_get_lost(path: Path) -> Result<()> {
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
    scene.check_but(
        // A reinjection may cut data at other places.
        &both(&["SfnEr", "SfnErTx"]),
        &[(Server, "RxFin", 1), (Server, "TxFin", 1)],
    )
}

/// A module of tests: these scenarios on one path.
macro_rules! on_path {
    ($module:ident, $path:expr, $($scenario:ident)*) => {
        mod $module {
            use super::*;

            $(#[test]
            fn $scenario() -> Result<()> {
                super::$scenario($path)
            })*
        }
    };
    ($module:ident, $path:expr) => {
        on_path!(
            $module, $path,
            a_transfer_and_its_end
            two_subflows
            addresses_come_and_go
            a_backup_that_is_none_for_a_while
            a_join_from_the_server
            a_fast_close
            a_fast_close_of_two_subflows
            a_join_that_is_refused
            a_join_with_a_token_of_no_session
            a_syn_ack_that_loses_its_option
            a_third_segment_that_loses_its_option
            a_syn_that_loses_its_option
            options_that_get_lost_in_mid_flow
            syns_that_are_dropped_for_their_option
            a_corrupted_payload_on_the_only_subflow
            a_corrupted_payload_on_one_of_two_subflows
            the_server_speaks_first
            handshakes_with_cookies
            several_sessions_at_once
            the_first_address_goes
            a_session_without_subflows
            packets_that_get_lost
        );
    };
}

on_path!(over_ipv4, Path::Direct(Family::V4));
on_path!(through_a_router, Path::Routed);
on_path!(
    over_ipv6,
    Path::Direct(Family::V6),
    a_transfer_and_its_end
    two_subflows
    addresses_come_and_go
    a_join_from_the_server
    a_fast_close
    a_join_with_a_token_of_no_session
    a_third_segment_that_loses_its_option
);
