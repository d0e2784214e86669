//! Separate ranges of data over unequal paths: all of them are remembered, and what was sent before is counted to the
//! packet.
//!
//! `MPTCP_RUNS` says how many transfers there are for each number of paths over each family.

mod paths;

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

fn number(stat: &Value, name: &str) -> Result<u64> {
    let value = match &stat["extra"][name] {
        Value::Null => &stat["counters"][name]["total"],
        value => value,
    };
    value.as_u64().with_context(|| format!("no number {name}"))
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
