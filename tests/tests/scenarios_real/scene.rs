//! Two probed hosts, and the verdict on their tables.

use std::{cell::RefCell, collections::BTreeMap, fmt::Display, net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    capture::Capture,
    coverage::check_scenario,
    net::{CLIENT_INTERFACES, Family, Namespace, Pair, SERVER_INTERFACES, transfer},
    oracle::{Exception, GAUGES, LAWS},
    probe::{Probe, recorded, total},
    tshark,
};
use serde_json::Value;
use socket2::Socket;

use super::answers::Answer;

/// Who is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Client,
    Server,
    /// The router between them.
    Middle,
}
pub(crate) use Place::{Client, Middle, Server};

/// What lies between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// Two links.
    Direct(Family),
    /// A router, one link to each end, IPv4.
    Routed,
}

/// What two healthy kernels move on no clean path.
#[rustfmt::skip]
pub(crate) const QUIET: &[&str] = &[
    "CurSess", "CurV1Sess", "CurSF",
    "SessNoSF", "PendSF", "TotSFRep", "PendRep", "TotFB", "InfSet", "InfMapFg",
    "CookieEr", "ExtnFlEr", "ResFlgEr", "TokenEr", "AddrIdEr", "addridEr", "MaxsfEr", "JoinThEr",
    "FBJoinEr", "InMACEr", "OPTEr", "SubtypEr", "OptSesEr", "REMEr", "OptRstEr", "RssfEr", "LenEr",
    "MSSErr", "CryptoEr", "VerEr", "TotPArst", "DFpasveEr", "FCpasvEr", "FCRcvEr", "FCkeyEr",
    "MPFAILst", "MPFAILrv", "NomapEr", "MrDataEr", "InMapEr", "BadMapEr",
    "PktSfEr", "V1DataPriorToKey", "CksumEr", "CksumErTx",
    "RstOddOpt", "ExpOpt", "ReservedBits", "OPTErTx", "OPTErUnknown", "SubtypErTx", "MPSYNretx",
    "MPSYNretxTx", "SYNACKretx", "MpcBlackhole", "NoMpcSynack", "CookieErTx", "V1DataPriorToKeyTx",
    "NoMpjSynack", "JoinSynackMacEr", "InMACErTx",
    "JoinHmacUnverified", "JoinRefused", "TokenErTx", "MaxsfErTx", "JoinThErTx", "FBJoinErTx",
    "AddrIdErTx", "PendRepTx", "TotSFRepTx", "DataAckBad", "TotFBtx", "TotPArstTx", "InfSetTx",
    "InfTooEarly", "OptAfterFallback", "BareData", "REMErTx", "RmAddrRepeat", "AddAddrMacEr",
    "AddAddrMacOld", "AddAddrUnverified", "PrioElsewhere", "DFpasveErTx", "FCpasvErTx", "FCsnt",
    "FCRetx", "FCkeyErTx", "FCunverified", "MPFAILresp", "OptRstErRx", "NomapErTx", "MrDataErTx",
    "InMapErTx", "BadMapErTx", "CsumPresenceEr", "UnknownFlow",
    "OptSesErTx", "PktSfErRx", "LostSubflows", "LostHandshakes", "LostTokens", "LostRanges",
];

/// Rows at both ends.
pub(crate) fn both<'a>(rows: &[&'a str]) -> Vec<(Place, &'a str)> {
    let ends = rows.iter().map(|row| [(Client, *row), (Server, *row)]);
    ends.flatten().collect()
}

/// The laws of an exception, at an end.
pub(crate) fn excepted(end: Place, exception: &Exception) -> Vec<(Place, &'static str)> {
    exception.laws.iter().map(|law| (end, *law)).collect()
}

/// Rows of which the router does not say what the server says: they tell of receive queues.
pub(crate) const ITS_OWN: [&str; 2] = ["ConSter", "SFsteer"];

/// What an end says of itself: the probe's table, and the kernel's counters.
pub(crate) struct Account {
    stat: Value,
    mibs: BTreeMap<String, u64>,
    /// Segments that TCP sent again.
    pub(crate) retransmitted: u64,
}

impl Account {
    /// A row or an extra number.
    pub(crate) fn row(&self, name: &str) -> Result<u64> {
        match self.stat["extra"].get(name) {
            Some(value) => value.as_u64().with_context(|| format!("{name} is n/a")),
            None => total(&self.stat, name),
        }
    }

    pub(crate) fn mib(&self, name: &str) -> Result<u64> {
        let bare = name.trim_end_matches('?');
        let value = self.mibs.get(bare).copied();
        let value = value.with_context(|| format!("no MIB {bare}"))?;
        Ok(if bare == name { value } else { value.min(1) })
    }
}

/// The value of `A + B - C`.
pub(crate) fn sum(terms: &str, of: impl Fn(&str) -> Result<u64>) -> Result<u64> {
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
pub(crate) struct Verdict(pub(crate) Vec<String>);

impl Verdict {
    pub(crate) fn compare(
        &mut self,
        what: impl Display,
        is: u64,
        source: impl Display,
        wanted: u64,
    ) {
        if is != wanted {
            self.0.push(format!("{what} is {is}, {source} {wanted}"));
        }
    }

    /// No state was lost but ranges, which are a quiet row.
    fn only_ranges_lost(&mut self, place: Place, stat: &Value) -> Result<()> {
        let number = |value: &Value| value.as_u64().context("no number");
        let ranges = number(&stat["extra"]["LostRanges"])?;
        let lost = number(&stat["source"]["state_loss"])?;
        self.compare(format!("{place:?} state_loss"), lost, "LostRanges", ranges);
        Ok(())
    }

    pub(crate) fn end(self) -> Result<()> {
        ensure!(self.0.is_empty(), "\n  {}", self.0.join("\n  "));
        Ok(())
    }
}

/// A client and a server, perhaps a router, and a probe on each.
pub(crate) struct Scene {
    // Dropped first, while the namespaces exist.
    ends: [Probe; 2],
    middle: Option<Probe>,
    /// What was on the wires of each, to be counted offline.
    captures: RefCell<Vec<(Place, Capture)>>,
    pub(crate) pair: Pair,
    router: Option<Namespace>,
    path: Path,
    /// What the ends' kernels had counted when the probes came.
    before: [BTreeMap<String, u64>; 2],
    /// What the summaries have to say.
    pub(crate) answers: RefCell<Vec<Answer>>,
}

impl Scene {
    pub(crate) fn new(path: Path) -> Result<Self> {
        Self::with(path, &[])
    }

    /// With these further arguments of `attach`.
    pub(crate) fn with(path: Path, arguments: &[&str]) -> Result<Self> {
        let mut scene = Self::unprobed(path)?;
        scene.attach(arguments)?;
        scene.start_captures()?;
        Ok(scene)
    }

    /// With probes that are yet to come.
    pub(crate) fn unprobed(path: Path) -> Result<Self> {
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
            captures: RefCell::default(),
            pair,
            router,
            path,
            before: Default::default(),
            answers: RefCell::default(),
        };
        scene.second_addresses()?;
        Ok(scene)
    }

    /// Lets the probes come. From here on tables and kernels count the same.
    pub(crate) fn attach(&mut self, arguments: &[&str]) -> Result<()> {
        let links = if self.path == Path::Routed { 1 } else { 2 };
        let interfaces = [&CLIENT_INTERFACES[..links], &SERVER_INTERFACES[..links]];
        for (probe, interfaces) in self.ends.iter().zip(interfaces) {
            let attach = ["attach", "--verify-checksums", "-i"];
            probe.run(&[&attach, interfaces, arguments].concat())?;
        }
        if let Some(probe) = &self.middle {
            let attach = [
                "attach",
                "--verify-checksums",
                "-i",
                "r0",
                "r1",
                "--role",
                "middlebox",
            ];
            probe.run(&[&attach, arguments].concat())?;
        }
        self.before = [self.pair.client.mibs()?, self.pair.server.mibs()?];
        Ok(())
    }

    /// The probe of an end.
    pub(crate) fn probe(&self, end: Place) -> &Probe {
        &self.ends[end as usize]
    }

    /// The probe of a place; of the router, if there is one.
    pub(crate) fn probe_at(&self, place: Place) -> Option<&Probe> {
        match place {
            Middle => self.middle.as_ref(),
            end => Some(self.probe(end)),
        }
    }

    /// On every interface, which says who has sent what. A router's forwarded packets are taken where
    /// they come in.
    fn start_captures(&self) -> Result<()> {
        let places = [
            (Client, Some(&self.pair.client), &CLIENT_INTERFACES[..]),
            (Server, Some(&self.pair.server), &SERVER_INTERFACES[..]),
            (Middle, self.router.as_ref(), &["r0", "r1"]),
        ];
        for (place, host, interfaces) in places {
            let Some(host) = host else { continue };
            for interface in interfaces {
                // Merged packets are one in a capture. On a router there is no second link.
                let _ = host.run("ethtool", &["-K", interface, "gro", "off"]);
            }
            let direction = if place == Middle { "in" } else { "inout" };
            // Whole packets, in a ring that has room for many.
            let capture = Capture::of(host, "any", &["-s", "2000", "-Q", direction])?;
            self.captures.borrow_mut().push((place, capture));
        }
        Ok(())
    }

    /// The captures' numbers against tshark's, and the probes' against those of the captures in all that
    /// both can know.
    fn compare_captures(&self, live: &[(Place, &Value)], verdict: &mut Verdict) -> Result<()> {
        for (place, mut capture) in self.captures.take() {
            let role = if place == Middle { "middlebox" } else { "host" };
            let probe = match (place, &self.middle) {
                (Middle, Some(middle)) => middle,
                _ => self.probe(place),
            };
            let status = probe.run(&["status", "--output", "json"])?;
            let status: Value = serde_json::from_str(&status)?;
            let limit = status["interfaces"][0]["tables"]["limits"]["subflows"].to_string();
            let arguments = ["--role", role, "--limit-subflows", &limit];
            let path = capture.stop()?;
            let offline = recorded(path, &arguments)?;
            for what in tshark::differences(path, &offline)? {
                verdict.0.push(format!("{place:?} captured: {what}"));
            }
            let Some((_, live)) = live.iter().find(|(at, _)| *at == place) else {
                continue;
            };
            for part in ["counters", "extra"] {
                let rows = live[part].as_object().context("no rows")?;
                for (row, value) in rows {
                    let number = |value: &Value| value.as_u64().or(value["total"].as_u64());
                    let pair = (number(&offline[part][row]), number(value));
                    // A capture has room for every report.
                    if let (Some(is), Some(wanted)) = pair
                        && row != "LostReports"
                    {
                        verdict.compare(format!("{place:?} {row}, captured,"), is, "live", wanted);
                    }
                }
            }
            ensure!(
                offline["options"] == live["options"],
                "{place:?}: other options"
            );
        }
        Ok(())
    }

    /// Behind a router, both have two addresses on one link.
    pub(crate) fn second_addresses(&self) -> Result<()> {
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
    pub(crate) fn address(&self, end: Place, index: usize) -> IpAddr {
        match (self.path, end) {
            (Path::Routed, Client) => IpAddr::from([10, 79, 1, [1, 3][index]]),
            (Path::Routed, _) => IpAddr::from([10, 78, 1, [2, 3][index]]),
            (_, Client) => self.pair.client_address(index),
            _ => self.pair.server_address(index),
        }
    }

    pub(crate) fn host(&self, end: Place) -> &Namespace {
        match end {
            Client => &self.pair.client,
            Middle => self.router.as_ref().unwrap_or(&self.pair.server),
            Server => &self.pair.server,
        }
    }

    pub(crate) fn account(&self, end: Place) -> Result<Account> {
        let host = self.host(end);
        let tcp = host.counters("snmp", "Tcp:")?;
        Ok(Account {
            stat: self.ends[end as usize].stat(&[])?,
            mibs: self.since_attached(end, host.mibs()?),
            retransmitted: *tcp.get("RetransSegs").context("no RetransSegs")?,
        })
    }

    fn since_attached(&self, end: Place, mut mibs: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
        for (name, value) in &mut mibs {
            // A gauge among them.
            if name != "MPCurrEstab" {
                *value -= self.before[end as usize].get(name).unwrap_or(&0);
            }
        }
        mibs
    }

    /// Waits until a MIB has moved that far.
    pub(crate) fn wait(&self, end: Place, mib: &str, wanted: u64) -> Result<()> {
        self.pair.wait_for(self.host(end), mib, wanted)
    }

    /// Runs `ip mptcp` at an end.
    pub(crate) fn mptcp(&self, end: Place, command: &str) -> Result<()> {
        self.host(end).ip(&format!("mptcp {command}"))?;
        Ok(())
    }

    /// One more subflow, from the client's second address.
    pub(crate) fn join(&self, options: &str) -> Result<()> {
        let second = self.address(Client, 1);
        self.mptcp(
            Client,
            &format!("endpoint add {second} id 5 subflow {options}"),
        )
    }

    /// The client ends a session by force.
    pub(crate) fn fast_close(&self, client: Socket, server: Socket) -> Result<()> {
        client.set_linger(Some(Duration::ZERO))?;
        drop(client);
        self.wait(Server, "MPFastcloseRx", 1)?;
        drop(server);
        Ok(())
    }

    /// The option disappears from what the client sends from now on, until both have fallen back to TCP.
    pub(crate) fn lose_options(&self, client: &Socket, server: &Socket) -> Result<()> {
        self.strip(Client, "tcp flags & (syn | ack) == ack")?;
        // One segment each way: the client gives a subflow up that acknowledges no data.
        transfer(client, server, 1_000)?;
        self.wait(Server, "DssFallback", 1)?;
        transfer(server, client, 1_000)?;
        self.wait(Client, "DssFallback", 1)
    }

    /// Takes the option out of segments that an end sends, from here on, visible on the wire.
    pub(crate) fn strip(&self, end: Place, segments: &str) -> Result<()> {
        self.rule(end, &format!("{segments} reset tcp option mptcp"))
    }

    pub(crate) fn rule(&self, end: Place, rule: &str) -> Result<()> {
        self.chain(end, "output", rule)
    }

    pub(crate) fn chain(&self, end: Place, hook: &str, rule: &str) -> Result<()> {
        let table = format!(
            "table inet x {{ chain p {{ type filter hook {hook} priority 300; {rule}\n}}\n}}"
        );
        self.host(end).run("nft", &[&table])?;
        Ok(())
    }

    /// While connections are open and nothing moves: sessions and subflows that exist, in the
    /// table and in the kernel.
    pub(crate) fn open(&self, sessions: u64, subflows: u64) -> Result<()> {
        self.open_at(&[Client, Server], sessions, subflows)
    }

    /// The same, at these ends.
    pub(crate) fn open_at(&self, ends: &[Place], sessions: u64, subflows: u64) -> Result<()> {
        self.pair.settle()?;
        let mut verdict = Verdict::default();
        for &end in ends {
            let account = self.account(end)?;
            let sockets = self
                .host(end)
                .run("ss", &["-Htni", "state", "established"])?;
            let kernel = (
                account.mib("MPCurrEstab")?,
                sockets.matches("tcp-ulp-mptcp").count() as u64,
            );
            for (what, is, wanted) in [
                ("MPCurrEstab", kernel.0, sessions),
                ("sockets of subflows", kernel.1, subflows),
                ("PendSF", account.row("PendSF")?, 0),
            ] {
                verdict.compare(format!("{end:?} {what}, open,"), is, "wanted", wanted);
            }
            for (row, witness, of) in GAUGES {
                let (is, wanted) = (account.row(row)?, of(&kernel.0, &kernel.1));
                verdict.compare(format!("{end:?} {row}, open,"), is, witness, wanted);
            }
        }
        verdict.end()
    }

    /// When all is closed: laws, quiet rows, and these numbers.
    pub(crate) fn check(&self, wanted: &[(Place, &str, u64)]) -> Result<()> {
        self.check_but(&[], wanted)
    }

    /// The same, without these rules: laws by their left side, and rows.
    pub(crate) fn check_but(
        &self,
        broken: &[(Place, &str)],
        wanted: &[(Place, &str, u64)],
    ) -> Result<()> {
        check_scenario(wanted.iter().map(|(_, rows, value)| (*rows, *value)))?;
        self.pair.settle()?;
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
            // On a busy machine so is a join whose answer comes late. And what MPTCP itself sends again
            // on another subflow, it maps together with what has been added since.
            let again = |account: &Account| account.mib("MPTCPRetrans");
            for (name, most) in [
                ("DupmapErTx", account.retransmitted),
                ("DupmapEr", other.retransmitted),
                ("JoinSYNretxTx", account.retransmitted),
                ("JoinSYNretx", other.retransmitted),
                ("JoinSynackRetx", account.retransmitted),
                ("JoinSynackRetxRx", other.retransmitted),
                ("SfnErTx", again(account)?),
                ("SfnEr", again(other)?),
            ]
            .into_iter()
            .filter(|(name, _)| holds(name))
            {
                let is = row(name)?.max(most);
                verdict.compare(format!("{end:?} {name}"), is, "sent again", most);
            }
            verdict.only_ranges_lost(end, &account.stat)?;
        }
        let middle = self.compare_middle(&accounts[1].stat, broken, &mut verdict)?;
        let mut live = vec![(Client, &accounts[0].stat), (Server, &accounts[1].stat)];
        live.extend(middle.as_ref().map(|stat| (Middle, stat)));
        let named = wanted.iter().filter(|(.., value)| *value > 0);
        let named = named.map(|(end, rows, _)| (*end, *rows));
        let named: Vec<_> = named.chain(broken.iter().copied()).collect();
        self.compare_answers(&live, &named, &mut verdict)?;
        self.compare_captures(&live, &mut verdict)?;
        verdict.end()
    }

    /// The router's table against the server's; its numbers.
    pub(crate) fn compare_middle(
        &self,
        server: &Value,
        broken: &[(Place, &str)],
        verdict: &mut Verdict,
    ) -> Result<Option<Value>> {
        let Some(middle) = &self.middle else {
            return Ok(None);
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
        verdict.only_ranges_lost(Middle, &middle)?;
        Ok(Some(middle))
    }
}
