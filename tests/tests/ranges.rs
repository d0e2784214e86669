//! Separate ranges of data over unequal paths: all of them are remembered, and what was sent before is counted to the
//! packet.
//!
//! `MPTCP_RUNS` says how many transfers there are for each number of paths over each family.

use std::{
    env, fs,
    io::Read as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use mptcp_common::{
    counter::{Counters, DirectionCounters},
    packet::Buffer,
    state::{RangeChunk, Tables as _},
    table::{self, Atomics, BUCKET_SLOTS, Memory, Table as _, Word as _},
};
use mptcp_tests::{
    capture::Capture,
    captures::own,
    exact::{self, Again, Packet},
    kernel::{Kernel, Program, host},
    net::{Family, Namespace, Pair, close, transfer, veth, wait_until},
    packet::{packet_socket, send},
    probe::{Probe, recorded},
};
use mptcp_user::offline::{Capacity, Config, Offline};
use serde_json::Value;
use socket2::Socket;

/// The packets of a transfer over four subflows, without their payload.
fn unequal_paths() -> Result<Vec<Packet>> {
    let file = fs::read(own().join("unequal_paths.pcap.zst"))?;
    exact::read(&zstd::decode_all(&file[..])?)
}

fn events(events: &DirectionCounters) -> Again {
    Again {
        sent: events.retransmitted,
        on_subflow: events.retransmitted_subflow,
        remapped: events.remapped,
        elsewhere: events.reinjected,
        mapped_partly: events.map_partial,
        mapped: events.map_reinjected,
        most_ranges: 0,
    }
}

/// What an engine counts of packets.
fn engine(packets: &[Packet], sizes: Capacity) -> Counters {
    let mut engine = Offline::new(Config { sizes, ..host() });
    for packet in packets {
        engine.frame(&packet.frame(), buffer(packet), packet.nanoseconds);
    }
    engine.counters()
}

fn buffer(packet: &Packet) -> Buffer {
    Buffer {
        ingress: !packet.is_outgoing,
        ..Buffer::ONE
    }
}

fn small(ranges: u32) -> Capacity {
    Capacity {
        sessions: 64,
        subflows: 64,
        handshakes: 64,
        ranges,
    }
}

#[test]
fn all_ranges_of_a_transfer_over_unequal_paths_are_remembered() -> Result<()> {
    let [client, _] = exact::count(&unequal_paths()?)?;
    ensure!(client.sent == 1316 && client.most_ranges > 64, "{client:?}");
    let path = own().join("unequal_paths.pcap.zst");
    let stat = recorded(&path, &["--role", "host"])?;
    ensure!(stat["source"]["state_loss"] == 0 && stat["extra"]["LostRanges"] == 0);
    for (name, wanted) in [
        ("RetxErTx", client.sent),
        ("RetxSubflow", client.on_subflow),
        ("RemapSubflow", client.remapped),
        ("Reinject", client.elsewhere),
        ("SfnErTx", client.mapped_partly),
        ("MapReinject", client.mapped),
    ] {
        let is = &stat["extra"][name];
        ensure!(*is == wanted, "{name} is {is} and not {wanted}");
    }
    Ok(())
}

/// The program in the kernel does with them what the engine in user space does, and in its tables is the same.
#[test]
fn the_kernel_remembers_them_too() -> Result<()> {
    let packets = unequal_paths()?;
    let config = Config {
        // What subflows remember of what they mapped is in the pool, too.
        sizes: small(1000),
        ..host()
    };
    let (mut kernel, mut engine) = (Kernel::with(config)?, Offline::new(config));
    for (packet, i) in packets.iter().zip(1..) {
        let frame = packet.frame();
        kernel.set_clock(packet.nanoseconds)?;
        let program = if packet.is_outgoing {
            Program::TcEgress
        } else {
            Program::XdpIngress
        };
        kernel.run(program, &frame)?;
        engine.frame(&frame, buffer(packet), packet.nanoseconds);
        if i % 1000 == 0 || i == packets.len() {
            let (is, wanted) = (kernel.read()?, engine.counters());
            ensure!(is == wanted, "packet {i}: {is:?}\n{wanted:?}");
            kernel
                .compare_tables(&engine)
                .with_context(|| format!("packet {i}"))?;
        }
    }
    let counted = kernel.read()?;
    ensure!(counted.tx.retransmitted == 1316 && counted.state_loss() == 0);
    Ok(())
}

/// Without room, what is counted is less, by as much as is said to be lost at most, and nothing else changes.
#[test]
fn a_pool_that_is_full_says_so() -> Result<()> {
    let packets = unequal_paths()?;
    let [exact, _] = exact::count(&packets)?;
    let full = engine(&packets, small(1000));
    // No place is anybody's, and none is free.
    let mut engine = Offline::new(Config {
        sizes: small(1),
        ..host()
    });
    let chunks = engine.range_chunks();
    let tags = (0..10_000).map(|i| table::tag(table::mix(1, i)));
    let taken = tags.filter_map(|tag| table::claim(chunks, tag, |_| false));
    ensure!(taken.count() == (chunks.buckets() * BUCKET_SLOTS) as usize);
    for packet in &packets {
        engine.frame(&packet.frame(), buffer(packet), packet.nanoseconds);
    }
    let counted = engine.counters();
    ensure!(counted.state_loss() == counted.tx.lost_ranges && counted.tx.lost_ranges > 1000);
    let less = events(&counted.tx);
    ensure!(
        less.sent < exact.sent && less.sent > 0,
        "{less:?} {exact:?}"
    );
    ensure!(
        less.elsewhere + less.remapped < exact.elsewhere + exact.remapped
            && less.remapped <= exact.remapped
            && less.on_subflow <= exact.on_subflow,
        "{less:?} {exact:?}"
    );
    ensure!(less.mapped_partly <= exact.mapped_partly && less.mapped <= exact.mapped);
    // All other numbers are the same.
    let mut others = [full, counted];
    for counters in &mut others {
        let events = &mut counters.tx;
        for field in [
            &mut events.retransmitted,
            &mut events.retransmitted_subflow,
            &mut events.reinjected,
            &mut events.remapped,
            &mut events.map_partial,
            &mut events.map_reinjected,
            &mut events.lost_ranges,
        ] {
            *field = 0;
        }
    }
    ensure!(others[0] == others[1], "{:?}\n{:?}", others[0], others[1]);
    Ok(())
}

/// How fast a path is.
#[derive(Clone, Copy)]
struct Speed {
    /// Bits per second.
    rate: u64,
    /// One way.
    delay: Duration,
}

const fn speed(megabits: u64, milliseconds: u64) -> Speed {
    Speed {
        rate: megabits * 1_000_000,
        delay: Duration::from_millis(milliseconds),
    }
}

const SPEEDS: [Speed; 4] = [speed(20, 10), speed(5, 80), speed(10, 30), speed(3, 50)];

/// A client and a server with a relay on each path between them, which lets a frame go on when its turn has come.
struct Paths {
    pair: Pair,
    // It holds the links.
    _relay: Namespace,
    stop: Arc<AtomicBool>,
    /// Has the first path an outage?
    is_out: Arc<AtomicBool>,
    relays: Vec<JoinHandle<()>>,
}

impl Paths {
    fn new(family: Family, count: usize) -> Result<Self> {
        let (pair, relay) = (Pair::apart(family)?, Namespace::new("r")?);
        let stop = Arc::new(AtomicBool::new(false));
        let is_out = Arc::new(AtomicBool::new(false));
        let mut relays = Vec::new();
        for (net, speed) in SPEEDS.into_iter().enumerate().take(count) {
            let [near, far] = ["n", "f"].map(|side| format!("{side}{net}"));
            for (host, side, own, number) in
                [(&pair.client, "c", &near, 1), (&pair.server, "s", &far, 2)]
            {
                let interface = format!("{side}{net}");
                veth((host, &interface), (&relay, own))?;
                // A relay sees frames as they are sent: whole, and with their checksums.
                host.ip(&format!("link set {interface} gso_max_segs 1"))?;
                host.run("ethtool", &["-K", &interface, "tx", "off"])?;
                pair.assign(host, &interface, net, number)?;
            }
            for (from, to) in [(&near, &far), (&far, &near)] {
                let sockets = relay.enter(|| Ok((packet_socket(from)?, packet_socket(to)?)))?;
                let is_out = (net == 0).then(|| Arc::clone(&is_out));
                relays.extend(carry(sockets, speed, &stop, is_out));
            }
            if net > 0 {
                let address = pair.server_address(net);
                pair.server
                    .ip(&format!("mptcp endpoint add {address} id {net} signal"))?;
            }
        }
        Ok(Self {
            pair,
            _relay: relay,
            stop,
            is_out,
            relays,
        })
    }
}

impl Drop for Paths {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for relay in self.relays.drain(..) {
            let _ = relay.join();
        }
    }
}

/// Carries frames one way until told to stop, and none while there is an outage.
fn carry(
    (from, to): (Socket, Socket),
    speed: Speed,
    stop: &Arc<AtomicBool>,
    is_out: Option<Arc<AtomicBool>>,
) -> [JoinHandle<()>; 2] {
    /// A queue that is longer than this takes no more.
    const QUEUE: Duration = Duration::from_millis(200);
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    let stop = Arc::clone(stop);
    let read = thread::spawn(move || {
        let (mut from, mut buffer, mut free) = (&from, [0; 2048], Instant::now());
        while !stop.load(Ordering::Relaxed) {
            let Ok(length) = from.read(&mut buffer) else {
                continue;
            };
            let now = Instant::now();
            let start = free.max(now);
            let is_out = is_out
                .as_ref()
                .is_some_and(|is_out| is_out.load(Ordering::Relaxed));
            if is_out || start > now + QUEUE {
                continue;
            }
            let bits = 8 * length as u64;
            free = start + Duration::from_nanos(bits * 1_000_000_000 / speed.rate);
            let _ = sender.send((free + speed.delay, buffer[..length].to_vec()));
        }
    });
    let write = thread::spawn(move || {
        for (due, frame) in receiver {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // A frame that cannot be sent is lost, as on any wire.
            let _ = to.send(&frame);
        }
    });
    [read, write]
}

fn number(stat: &Value, name: &str) -> Result<u64> {
    let value = match &stat["extra"][name] {
        Value::Null => &stat["counters"][name]["total"],
        value => value,
    };
    value.as_u64().with_context(|| format!("no number {name}"))
}

/// A transfer over so many paths: both ends count what a capture of theirs holds.
fn transfers(family: Family, paths: usize) -> Result<()> {
    let runs = match env::var("MPTCP_RUNS") {
        Ok(runs) => runs.parse().context("MPTCP_RUNS is a number")?,
        Err(_) => 1,
    };
    for run in 0..runs {
        transfer_over(family, paths).with_context(|| format!("run {run}"))?;
    }
    Ok(())
}

fn transfer_over(family: Family, count: usize) -> Result<()> {
    /// A few seconds.
    const BYTES: usize = 8 << 20;
    let paths = Paths::new(family, count)?;
    let counted = counted_at_both_ends(&paths, count, |client, server| {
        transfer(client, server, BYTES)
    })?;
    let most = counted.iter().map(|again| again.most_ranges).max();
    // Else this was no test of many ranges.
    ensure!(most > Some(16), "{most:?} ranges at a time");
    Ok(())
}

/// A session over so many paths: both ends count what a capture of theirs holds. Returns that, of the client's data.
fn counted_at_both_ends(
    paths: &Paths,
    count: usize,
    send: impl FnOnce(&Socket, &Socket) -> Result<()>,
) -> Result<Vec<Again>> {
    let pair = &paths.pair;
    let hosts = [(&pair.client, "c"), (&pair.server, "s")];
    let probes = hosts.map(|(host, _)| Probe::new(host));
    for (probe, (_, side)) in probes.iter().zip(hosts) {
        let interfaces: Vec<_> = (0..count).map(|net| format!("{side}{net}")).collect();
        let interfaces: Vec<_> = interfaces.iter().map(String::as_str).collect();
        probe.run(&[&["attach", "-i"], &interfaces[..]].concat())?;
    }
    let mut captures = Vec::new();
    for (host, _) in hosts {
        captures.push(Capture::of(host, "any", &["-s", "160", "tcp"])?);
    }
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 10_000)?;
    pair.wait_for(&pair.server, "MPJoinAckRx", count as u64 - 1)?;
    send(&client, &server)?;
    close(client, server)?;
    pair.settle()?;
    let mut counted = Vec::new();
    for ((probe, capture), at_sender) in probes.iter().zip(&mut captures).zip([true, false]) {
        let exact = exact::count(&exact::read(&fs::read(capture.stop()?)?)?)?;
        counted.push(exact[0]);
        let stat = probe.stat(&[])?;
        let loss = &stat["source"]["state_loss"];
        ensure!(*loss == 0, "state_loss {loss}: {exact:?}");
        let [sent, came] = if at_sender { [0, 1] } else { [1, 0] };
        let both = |field: fn(&Again) -> u64| exact.iter().map(field).sum::<u64>();
        for (name, wanted) in [
            ("RetxErTx", exact[sent].sent),
            ("RetxEr", exact[came].sent),
            ("SfnErTx", exact[sent].mapped_partly),
            ("SfnEr", exact[came].mapped_partly),
            ("RetxSubflow", both(|side| side.on_subflow)),
            ("RemapSubflow", both(|side| side.remapped)),
            ("Reinject", both(|side| side.elsewhere)),
            ("MapReinject", both(|side| side.mapped)),
        ] {
            let is = number(&stat, name)?;
            ensure!(
                is == wanted,
                "{name} is {is} and not {wanted}, at the sender: {at_sender}: {exact:?}"
            );
        }
        eprintln!("at the sender: {at_sender}: {:?}", exact[0]);
    }
    Ok(counted)
}

/// Where a path has an outage, what it was to carry is sent again, on the other and on itself.
///
/// Each transfer is counted exactly. Whether the kernel maps data anew depends on its timers: transfers go on until all
/// three kinds were there.
fn outages(family: Family) -> Result<()> {
    const TRIES: usize = 6;
    let mut kinds = [0; 3];
    for _ in 0..TRIES {
        let at_sender = outage(family)?;
        let now = [
            at_sender.elsewhere,
            at_sender.remapped,
            at_sender.on_subflow,
        ];
        for (all, one) in kinds.iter_mut().zip(now) {
            *all += one;
        }
        if kinds.iter().all(|count| *count > 0) {
            return Ok(());
        }
    }
    bail!("elsewhere, mapped anew, on the subflow: {kinds:?} in {TRIES} transfers")
}

/// One transfer with three outages of a path: what the sender sent again, by a capture of its own.
fn outage(family: Family) -> Result<Again> {
    const BYTES: usize = 6 << 20;
    const TIMES: [(u64, u64); 3] = [(300, 1200), (500, 2500), (300, 600)];
    let paths = Paths::new(family, 2)?;
    // So that the kernel gives a path up soon.
    for host in [&paths.pair.client, &paths.pair.server] {
        host.sysctl("mptcp/stale_loss_cnt", "1")?;
    }
    let counted = counted_at_both_ends(&paths, 2, |client, server| {
        thread::scope(|scope| {
            let outages = scope.spawn(|| {
                for (after, time) in TIMES {
                    thread::sleep(Duration::from_millis(after));
                    paths.is_out.store(true, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(time));
                    paths.is_out.store(false, Ordering::Relaxed);
                }
            });
            let sent = transfer(client, server, BYTES);
            let _ = outages.join();
            sent
        })
    })?;
    Ok(counted[0])
}

#[test]
fn what_an_outage_has_sent_again_is_told_apart() -> Result<()> {
    outages(Family::V4)
}

#[test]
fn what_an_outage_has_sent_again_is_told_apart_over_ipv6() -> Result<()> {
    outages(Family::V6)
}

#[test]
fn over_two_paths() -> Result<()> {
    transfers(Family::V4, 2)
}

#[test]
fn over_three_paths() -> Result<()> {
    transfers(Family::V4, 3)
}

#[test]
fn over_four_paths() -> Result<()> {
    transfers(Family::V4, 4)
}

#[test]
fn over_two_paths_of_ipv6() -> Result<()> {
    transfers(Family::V6, 2)
}

#[test]
fn over_three_paths_of_ipv6() -> Result<()> {
    transfers(Family::V6, 3)
}

#[test]
fn over_four_paths_of_ipv6() -> Result<()> {
    transfers(Family::V6, 4)
}

/// A pool's size is an option and its fill is told, of a session in the middle of a transfer; and it is emptied with the
/// other tables.
#[test]
fn status_tells_of_the_pool() -> Result<()> {
    let packets = unequal_paths()?;
    let sizes = small(500);
    let mut engine = Offline::new(Config {
        sizes,
        ..Config::default()
    });
    // Up to where there are chunks in use in each set.
    let used = |engine: &Offline| {
        let entries = table::entries(engine.range_chunks());
        let empty = RangeChunk::<Atomics>::EMPTY;
        entries
            .filter(|(_, chunk)| seen(chunk) & empty == 0)
            .count()
    };
    let mut end = 0;
    while used(&engine) < 3 {
        let packet = packets.get(end).context("never so many ranges")?;
        engine.frame(
            &packet.frame(),
            Buffer {
                ingress: true,
                ..Buffer::ONE
            },
            packet.nanoseconds,
        );
        end += 1;
    }
    let (here, there) = (Namespace::new("h")?, Namespace::new("t")?);
    veth((&here, "h0"), (&there, "t0"))?;
    let probe = Probe::new(&there);
    let attach = [
        "attach",
        "-i",
        "t0",
        "--role",
        "middlebox",
        "--max-ranges",
        "500",
    ];
    probe.run(&attach)?;
    let tables = || Ok::<_, anyhow::Error>(probe.status()?["interfaces"][0]["tables"].clone());
    let before = tables()?;
    ensure!(
        before["max_ranges"] == 500 && before["max_range_chunks"] == 18,
        "{before}"
    );
    ensure!(
        before["range_chunks"] == 0 && before["bytes_per_range_chunk"] == 265,
        "{before}"
    );
    here.enter(|| {
        let socket = packet_socket("h0")?;
        for (packet, i) in packets[..end].iter().zip(1..) {
            send(&socket, &packet.frame())?;
            if i % 100 == 0 {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    })?;
    let wanted = engine.counters();
    wait_until(|| Ok(number(&probe.stat(&[])?, "TotDSS")? >= wanted.rx.dss() + wanted.tx.dss()))?;
    let stat = probe.stat(&[])?;
    ensure!(stat["source"]["state_loss"] == 0);
    ensure!(number(&stat, "RetxEr")? == wanted.rx.retransmitted);
    ensure!(number(&stat, "Reinject")? == wanted.rx.reinjected + wanted.tx.reinjected);
    let full = tables()?;
    ensure!(full["range_chunks"] == used(&engine), "{full}");
    let text = probe.run(&["status"])?;
    let wanted = format!("{} of 18 chunks of 29 ranges", used(&engine));
    ensure!(text.contains(&wanted), "{text}");
    probe.run(&["stat", "-clearstats", "full"])?;
    ensure!(tables()?["range_chunks"] == 0, "{}", tables()?);
    // As large for captures: without room, it says so.
    let path = own().join("unequal_paths.pcap.zst");
    let stat = recorded(&path, &["--role", "host", "--max-ranges", "500"])?;
    ensure!(stat["source"]["state_loss"] == 0, "{}", stat["source"]);
    Ok(())
}

fn seen<M: Memory>(chunk: &RangeChunk<M>) -> u64 {
    chunk.seen.load()
}
