//! What a flood of forged SYNs leaves: nothing, once somebody looks. Who chooses addresses and ports chooses no cell of
//! the filter, and no flow's tag.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{TestRun as _, TestRunOptions};
use mptcp_common::{packet::Buffer, state::Tables as _, table};
use mptcp_tests::{
    conversation::Conversation,
    differential::{A, B, Differential},
    frame::{ACK, FIN, Frame, RST, SYN, SYN_ACK},
    kernel::{Kernel, host},
    net::{Family, Pair, mptcp_socket, transfer},
    packet::{packet_socket, send},
    probe::{Probe, total},
    record::Record,
};
use mptcp_user::offline::Offline;
use serde_json::Value;

/// An MP_CAPABLE SYN.
const CAPABLE: [u8; 4] = [30, 4, 1, 1];

/// SYNs in groups whose addresses have the same exclusive or, `each` of them.
fn flood(groups: u32, each: u32, mut pass: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut frame = Frame::new(SYN, &CAPABLE, 0).bytes();
    // Its receiver's stack has nothing to do with it.
    frame[..6].copy_from_slice(&[2, 0xee, 0xee, 0xee, 0xee, 0xee]);
    for group in 0..groups {
        let both = group.wrapping_mul(0x9e37_79b9) ^ 0x5bd1_e995;
        for i in 0..each {
            let source = both.rotate_left(9) ^ i.wrapping_mul(2_654_435_761);
            frame[26..30].copy_from_slice(&source.to_be_bytes());
            frame[30..34].copy_from_slice(&(source ^ both).to_be_bytes());
            frame[38..42].copy_from_slice(&source.to_be_bytes());
            pass(&frame)?;
        }
    }
    Ok(())
}

/// Each cell says how many handshakes there are, also after many came and went.
#[test]
fn a_flood_that_aims_at_cells_fills_none() -> Result<()> {
    let kernel = Kernel::with(host())?;
    flood(3000, 100, |frame| {
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        kernel.xdp()?.test_run(options)?;
        Ok(())
    })?;
    kernel.check_filter()
}

/// The filter, as `status` tells of it.
fn filter(probe: &Probe) -> Result<[u64; 3]> {
    let status = probe.status()?;
    let filter = &status["interfaces"][0]["tables"]["filter"];
    let number = |name: &str| {
        filter[name]
            .as_u64()
            .with_context(|| format!("no {name}: {filter}"))
    };
    Ok([number("cells")?, number("used")?, number("fullest")?])
}

/// After a flood, and half a minute, packets of others meet nothing of it; and sessions that begin while it is swept
/// away are all followed.
#[test]
fn a_filter_is_empty_again_after_a_flood() -> Result<()> {
    const SESSIONS: usize = 100;
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "--xdp", "off"])?;
    let [cells, used, _] = filter(&probe)?;
    ensure!(used == 0);
    let forge = |groups| {
        pair.client.enter(|| {
            let socket = packet_socket("c0")?;
            flood(groups, 100, |frame| {
                send(&socket, frame)?;
                Ok(())
            })
        })
    };
    forge(600)?;
    let end = Instant::now();
    let [_, used, fullest] = filter(&probe)?;
    ensure!(
        used > cells / 3 && fullest < 24,
        "{used} of {cells}, {fullest}"
    );
    let text = probe.run(&["status"])?;
    ensure!(text.contains("of 32768 cells in use, at most"), "{text}");
    ensure!(total(&probe.stat(&[])?, "MPSYN")? == 60_000);
    thread::sleep(Duration::from_millis(30_500).saturating_sub(end.elapsed()));
    // What has just come is not swept: a SYN waits for its answer.
    forge(1)?;
    let connections = thread::scope(|scope| {
        let connecting = scope.spawn(|| -> Result<Vec<_>> {
            (0..SESSIONS)
                .map(|_| {
                    let ends = pair.connect()?;
                    transfer(&ends.0, &ends.1, 1000)?;
                    Ok(ends)
                })
                .collect()
        });
        while !connecting.is_finished() {
            probe.run(&["status"])?;
        }
        connecting.join().expect("no panic")
    })?;
    let [_, used, fullest] = filter(&probe)?;
    ensure!(
        used <= SESSIONS as u64 + 100 && fullest < 8,
        "{used} of {cells}, {fullest}"
    );
    let stat = probe.stat(&[])?;
    ensure!(total(&stat, "MPSYN")? == 60_100 + SESSIONS as u64);
    let status = probe.status()?;
    let sessions = &status["interfaces"][0]["tables"]["sessions"];
    ensure!(*sessions == SESSIONS, "{sessions}");
    ensure!(stat["counters"]["RssfEr"]["total"] == 0, "{stat}");
    drop(connections);
    Ok(())
}

/// A packet as it was recorded.
fn pass(engine: &mut Offline, record: &Record) {
    let buffer = Buffer {
        ingress: record.ingress == Some(true),
        ..Buffer::ONE
    };
    engine.frame(&record.bytes, buffer, 1_000_000_000);
}

/// Nobody can choose a tag. If two flows had one all the same, the subflow's key would tell them apart where a session
/// would end by it.
#[test]
fn a_flow_with_the_tag_of_a_subflow_does_not_end_it() -> Result<()> {
    for (flags, is_new) in [(RST | ACK, false), (FIN | ACK, false), (SYN, true)] {
        let mut engines = Differential::alone(host());
        engines.record();
        let mut talk = Conversation::new(&mut engines);
        talk.handshake()?;
        talk.data(0, A, 100)?;
        talk.ack(0, B)?;
        let options = if is_new {
            talk.capable_syn()
        } else {
            Vec::new()
        };
        talk.send(0, A, flags, &options, 0)?;
        if is_new {
            // Only what is answered ends a subflow.
            let options = talk.capable_syn_ack();
            talk.send(0, B, SYN_ACK, &options, 0)?;
        }
        let mut records = engines.take_recorded();
        let last = records.split_off(records.len() - 1 - usize::from(is_new));
        for is_other in [false, true] {
            let mut engine = Offline::new(host());
            for record in &records {
                pass(&mut engine, record);
            }
            let change = |engine: &Offline| {
                let mut subflows = table::entries(engine.subflows());
                let (_, subflow) = subflows.next().context("no subflow")?;
                if is_other {
                    subflow.key[4].fetch_xor(1, Relaxed);
                }
                let facts = subflow.flags.load(Relaxed);
                Ok::<_, anyhow::Error>((subflow.tag.load(Relaxed), facts))
            };
            let before = change(&engine)?;
            for record in &last {
                pass(&mut engine, record);
            }
            let after = table::entries(engine.subflows())
                .next()
                .map(|(_, subflow)| (subflow.tag.load(Relaxed), subflow.flags.load(Relaxed)));
            ensure!(
                (after == Some(before)) == is_other,
                "flags {flags:#x}, another flow {is_other}: {before:x?} and {after:x?}"
            );
        }
    }
    Ok(())
}

/// A connection from an address and port to the server, and its session: by that address.
struct Client {
    ends: (socket2::Socket, socket2::Socket),
    address: IpAddr,
}

/// Bytes that the initiator of the session with this client sent.
fn sent(probe: &Probe, client: &Client) -> Result<u64> {
    let all: Value = serde_json::from_str(&probe.run(&["sessions", "--output", "json"])?)?;
    let sessions = all["sessions"].as_array().context("no sessions")?;
    let session = sessions
        .iter()
        .find(|session| {
            session["subflows"][0]["initiator"]["address"] == client.address.to_string()
        })
        .with_context(|| format!("no session of {}: {all}", client.address))?;
    session["bytes_from_initiator"].as_u64().context("no bytes")
}

/// Addresses of one /64, and ports that make up for what they differ by.
#[test]
fn two_sessions_of_one_prefix_are_two() -> Result<()> {
    let pair = Pair::new(Family::V6)?;
    let probe = Probe::new(&pair.server);
    let server = SocketAddr::new(pair.server_address(0), 5006);
    let listener = pair.server.enter(|| {
        let listener = mptcp_socket(server)?;
        listener.bind(&server.into())?;
        listener.listen(9)?;
        Ok(listener)
    })?;
    let clients = [(0x11, 40000), (0x12, 40000 ^ 3), (0x17, 40000 ^ 6)].map(|(hextet, port)| {
        let address = IpAddr::from([0xfd78, 1, 0, 0, hextet, 0, 0, 1]);
        (address, port)
    });
    for (address, _) in clients {
        pair.client
            .ip(&format!("addr add {address}/64 dev c0 nodad"))?;
    }
    probe.run(&["attach", "-i", "s0", "--xdp", "off"])?;
    let mut connected = Vec::new();
    for (i, (address, port)) in clients.into_iter().enumerate() {
        let client = pair.client.enter(|| {
            let client = mptcp_socket(server)?;
            client.bind(&SocketAddr::new(address, port).into())?;
            client.connect(&server.into())?;
            Ok(client)
        })?;
        let (accepted, _) = listener.accept()?;
        transfer(&client, &accepted, 1000 * (i + 1))?;
        let ends = (client, accepted);
        connected.push(Client { ends, address });
    }
    for client in &connected {
        transfer(&client.ends.0, &client.ends.1, 500)?;
    }
    thread::sleep(Duration::from_millis(200));
    for (i, client) in connected.iter().enumerate() {
        let (is, wanted) = (sent(&probe, client)?, 1000 * (i as u64 + 1) + 500);
        ensure!(is == wanted, "{}: {is} bytes, of {wanted}", client.address);
    }
    Ok(())
}
