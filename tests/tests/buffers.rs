//! The same transfer past four places: the sender's egress, where segments still stand in buffers (GSO); the wire; the
//! receiver's XDP; and the receiver at TC, where they stand in buffers again (GRO). Every count is that of the wire.
//!
//! client c0, c1 === r0, r1 router r2 --- s0 server. The router cuts the buffers. Where the path of c0 has an outage,
//! what it carries is lost behind all four places.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    capture::Capture,
    net::{Family, Namespace, Pair, close, transfer, veth},
    probe::{Probe, recorded},
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde_json::Value;
use socket2::Socket;

/// What a buffer cannot tell: checksums are added up over it as a whole; of a few of its packets that were sent before,
/// whether that was on this subflow. The queue is that of the interface, and no property of the packet.
const BOUNDS: [&str; 5] = [
    "checksum_verified",
    "checksum_unverified",
    "checksum_failed",
    "capable_steered",
    "join_steered",
];

/// What depends on the order of packets of different subflows, where they carry parts of the same data. Between the
/// sender's egress and the wire lie the queues of two paths: which of two copies comes second differs there.
const ORDERED: [&str; 4] = [
    "map_partial",
    "map_reinjected",
    "remapped and reinjected",
    "retransmitted",
];

/// Which of two acknowledgments is the first depends on the order as well. Those that come in at the sender, from two
/// paths, may have overtaken each other behind the router; at the receiver's places they are exact.
const FRESH: [&str; 2] = ["fresh_ack", "fresh_data_ack"];

/// How much these may differ, of some 1,500 packets that are sent again in a run.
const DISORDER: u64 = 8;

/// What one direction's packets held, by name, where it is not 0.
fn events(stat: &Value, direction: &str) -> Result<BTreeMap<String, Vec<u64>>> {
    let events = stat["events"][direction].as_object();
    let mut events: BTreeMap<String, Vec<u64>> = events
        .context("no events")?
        .iter()
        .map(|(name, value)| {
            let values = match value {
                Value::Array(values) => values.iter().filter_map(Value::as_u64).collect(),
                value => value.as_u64().into_iter().collect(),
            };
            (name.clone(), values)
        })
        .filter(|(name, _)| !BOUNDS.contains(&name.as_str()))
        .collect();
    let again: u64 = ["remapped", "reinjected"]
        .iter()
        .filter_map(|name| events.remove(*name))
        .flatten()
        .sum();
    events.insert("remapped and reinjected".to_owned(), vec![again]);
    events.retain(|_, values| values.iter().any(|value| *value != 0));
    Ok(events)
}

/// The names whose values differ, with both.
fn differences(
    one: &BTreeMap<String, Vec<u64>>,
    other: &BTreeMap<String, Vec<u64>>,
) -> Vec<String> {
    let names = one.keys().chain(other.keys());
    let mut differ: Vec<_> = names
        .filter(|name| one.get(*name) != other.get(*name))
        .map(|name| format!("{name} {:?} and {:?}", one.get(name), other.get(name)))
        .collect();
    differ.sort();
    differ.dedup();
    differ
}

/// The hosts, the router, and a probe at each of three places.
struct Path {
    pair: Pair,
    router: Namespace,
    sender: Probe,
    xdp: Probe,
    tc: Probe,
}

impl Path {
    fn new() -> Result<Self> {
        // In the order of packets: what one CPU does in its interrupts, it does one after the other.
        let mut first = CpuSet::new();
        first.set(0)?;
        sched_setaffinity(Pid::from_raw(0), &first)?;
        let pair = Pair::apart(Family::V4)?;
        let router = Namespace::new("r")?;
        for i in 0..2 {
            veth(
                (&pair.client, &format!("c{i}")),
                (&router, &format!("r{i}")),
            )?;
            pair.client
                .ip(&format!("addr add 10.79.{i}.1/24 dev c{i}"))?;
            router.ip(&format!("addr add 10.79.{i}.2/24 dev r{i}"))?;
            pair.client
                .ip(&format!("rule add from 10.79.{i}.1 table {}", i + 1))?;
            pair.client.ip(&format!(
                "route add default via 10.79.{i}.2 dev c{i} table {}",
                i + 1
            ))?;
        }
        veth((&router, "r2"), (&pair.server, "s0"))?;
        router.ip("addr add 10.78.1.9/24 dev r2")?;
        pair.assign(&pair.server, "s0", 0, 2)?;
        pair.client.ip("route add default via 10.79.0.2")?;
        pair.server.ip("route add default via 10.78.1.9")?;
        router.sysctl("ipv4/ip_forward", "1")?;
        router.run("ethtool", &["-K", "r2", "tso", "off", "gso", "off"])?;
        let (sender, xdp, tc) = (
            Probe::new(&pair.client),
            Probe::new(&pair.server),
            Probe::new(&pair.server),
        );
        sender.run(&["attach", "-i", "c0", "c1", "--xdp", "off"])?;
        xdp.run(&["attach", "-i", "s0", "--xdp", "native"])?;
        tc.run(&["attach", "-i", "s0", "--xdp", "off"])?;
        Ok(Self {
            pair,
            router,
            sender,
            xdp,
            tc,
        })
    }

    /// What leaves the router, to either side.
    fn capture(&self) -> Result<Capture> {
        Capture::of(&self.router, "any", &["-Q", "out", "-s", "128", "tcp"])
    }

    /// Compares what each place counted with the wire; returns what the wire counted of the sender's packets.
    fn compare(&self, capture: &mut Capture) -> Result<BTreeMap<String, Vec<u64>>> {
        self.pair.settle()?;
        let wire = recorded(capture.stop()?, &["--role", "middlebox"])?;
        ensure!(wire["source"]["state_loss"] == 0, "{}", wire["source"]);
        // On the way of the client's packets, and of the server's.
        let places = [
            ("the sender's egress", &self.sender, ["tx", "rx"]),
            ("the receiver's XDP", &self.xdp, ["rx", "tx"]),
            ("the receiver at TC", &self.tc, ["rx", "tx"]),
        ];
        for (place, probe, directions) in places {
            let stat = probe.stat(&[])?;
            for (direction, of_wire) in directions.iter().zip(["rx", "tx"]) {
                let (mut here, mut there) = (events(&stat, direction)?, events(&wire, of_wire)?);
                if *direction == "tx" && of_wire == "rx" {
                    for name in ORDERED {
                        let [one, other] = [&mut here, &mut there]
                            .map(|events| events.remove(name).map_or(0, |values| values[0]));
                        ensure!(
                            one.abs_diff(other) <= DISORDER,
                            "{place} and the wire: {name} {one} and {other}"
                        );
                    }
                }
                if place == places[0].0 && *direction == "rx" {
                    for name in FRESH {
                        let [one, other] = [&mut here, &mut there]
                            .map(|events| events.remove(name).map_or(0, |values| values[0]));
                        ensure!(
                            one.abs_diff(other) <= other / 20,
                            "{place} and the wire: {name} {one} and {other}"
                        );
                    }
                }
                let differ = differences(&here, &there);
                ensure!(
                    differ.is_empty(),
                    "{place} ({direction}) and the wire: {}",
                    differ.join("; ")
                );
            }
        }
        events(&wire, "rx")
    }

    fn clear(&self) -> Result<()> {
        for probe in [&self.sender, &self.xdp, &self.tc] {
            probe.run(&["stat", "-clearstats", "full"])?;
        }
        Ok(())
    }
}

/// Sends for this long, some of which the path of c0 has an outage; the bytes.
fn send_through_an_outage(path: &Path, client: &Socket, server: &Socket) -> Result<usize> {
    const BYTES: usize = 12_000_000;
    let data = vec![0x5a; BYTES];
    thread::scope(|scope| {
        let (mut from, mut to) = (client, server);
        let sender = scope.spawn(move || from.write_all(&data));
        let reader = scope.spawn(move || {
            let mut buffer = vec![0; BYTES];
            to.read_exact(&mut buffer)
        });
        thread::sleep(Duration::from_millis(30));
        path.pair.server.run(
            "nft",
            &["add rule inet outage in ip saddr 10.79.0.1 tcp dport 5000 drop"],
        )?;
        thread::sleep(Duration::from_millis(600));
        path.pair
            .server
            .run("nft", &["flush chain inet outage in"])?;
        sender.join().unwrap_or(Ok(()))?;
        reader.join().unwrap_or(Ok(()))?;
        Ok(BYTES)
    })
}

#[test]
fn a_transfer_with_outages_counts_alike_everywhere() -> Result<()> {
    const RUNS: usize = 10;
    let path = Path::new()?;
    path.pair.server.run(
        "nft",
        &["add table inet outage; add chain inet outage in { type filter hook prerouting priority -300; }"],
    )?;
    path.pair
        .client
        .ip("mptcp endpoint add 10.79.1.1 dev c1 id 5 subflow")?;
    // What the paths take, so that both are needed, and data is on its way when the outage begins.
    for interface in ["c0", "c1"] {
        path.pair.client.run(
            "tc",
            &[
                "qdisc", "replace", "dev", interface, "root", "tbf", "rate", "60mbit", "burst",
                "64kb", "latency", "400ms",
            ],
        )?;
    }
    let mut again = 0;
    for run in 0..RUNS {
        path.clear()?;
        let mut capture = path.capture()?;
        let (client, server) = path.pair.connect()?;
        transfer(&client, &server, 100_000)?;
        path.pair
            .wait_for(&path.pair.server, "MPJoinAckRx", run as u64 + 1)?;
        send_through_an_outage(&path, &client, &server)?;
        close(client, server)?;
        let counted = path
            .compare(&mut capture)
            .with_context(|| format!("run {run}"))?;
        again += counted.get("retransmitted").map_or(0, |values| values[0]);
    }
    ensure!(
        again > 100,
        "{again} packets sent again: no outage to speak of"
    );
    eprintln!("{again} packets were sent again in {RUNS} runs");
    Ok(())
}
