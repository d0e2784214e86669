//! Real transfers over unequal paths, and outages.

use super::*;

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
