//! Packets forged from off the path, against real sessions: who knows addresses and ports, and no numbers, changes
//! nothing of what is said of a session, and moves no row but those of options by themselves.
//!
//! Forged frames go to an Ethernet address that nobody has, so that no stack sees them and what changes is the probe's
//! error; or to the next host, which answers, and goes on with its session.

use std::{
    collections::BTreeMap,
    io::Read as _,
    mem,
    net::{IpAddr, SocketAddr},
    slice, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use bytemuck::cast_slice;
use mptcp_common::{
    counter::{DirectionCounters, Role},
    packet::Buffer,
};
use mptcp_tests::{
    frame::{ACK, FIN, Frame, RST, SYN, SYN_ACK, option},
    net::{Family, LIMIT, Namespace, Pair, transfer, wait_until},
    numbers::Numbers,
    packet::{packet_socket, send},
    probe::{Probe, total},
};
use mptcp_user::offline::{Config, Offline};
use serde_json::Value;
use socket2::Socket;

/// Nobody's Ethernet address.
const NOBODY: [u8; 6] = [2, 0xee, 0xee, 0xee, 0xee, 0xee];

/// Where the probe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Server,
    Router,
}

/// Who gets forged frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiver {
    Nobody,
    Next,
}

/// An end of a session: what it sends next, and the last number that it offered to take of the other.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    next: u32,
    acknowledged: u32,
    window_end: u32,
    scale: u32,
    /// Packets seen behind its SYN.
    packets: u64,
}

/// Ports, sender's first, and header and payload of TCP.
struct Segment<'a> {
    ports: [u16; 2],
    tcp: &'a [u8],
    payload: usize,
}

fn segment(frame: &[u8]) -> Option<Segment<'_>> {
    let (start, end) = match frame.get(12..14)? {
        [0x08, 0] if *frame.get(23)? == 6 => {
            let length = u16::from_be_bytes(frame[16..18].try_into().ok()?);
            (34, 14 + usize::from(length))
        }
        [0x86, 0xdd] if *frame.get(20)? == 6 => {
            let length = u16::from_be_bytes(frame[18..20].try_into().ok()?);
            (54, 54 + usize::from(length))
        }
        _ => return None,
    };
    let tcp = frame.get(start..end)?;
    let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    Some(Segment {
        ports: [port(0), port(2)],
        tcp,
        payload: tcp.len() - 4 * usize::from(tcp[12] >> 4),
    })
}

impl Segment<'_> {
    fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes([0, 1, 2, 3].map(|i| self.tcp[at + i]))
    }

    fn flags(&self) -> u8 {
        self.tcp[13]
    }

    /// The shift of the window scale option.
    fn scale(&self) -> u32 {
        let mut options = &self.tcp[20..self.tcp.len() - self.payload];
        loop {
            match options {
                [1, rest @ ..] => options = rest,
                [3, 3, shift, ..] => return (*shift).into(),
                [2..=255, length @ 2..=255, ..] if usize::from(*length) <= options.len() => {
                    options = &options[usize::from(*length)..];
                }
                _ => return 0,
            }
        }
    }
}

/// What is forged.
struct Kind {
    name: &'static str,
    /// Frames, and their TTL.
    frames: Vec<(Frame, u8)>,
    /// A host tells it from real ones by where it comes in, a router does not.
    only_host: bool,
    /// The receiver's stack answers so that rows move as they have to.
    only_nobody: bool,
    /// Packets that cannot be told from old ones that come again. They are packets of the session, and what they say
    /// is not heard.
    old: u64,
}

/// Two hosts, a session, and a probe.
struct Scene {
    probe: Probe,
    pair: Pair,
    _router: Option<Namespace>,
    place: Place,
    receiver: Receiver,
    /// What comes in at each host, and sends: the client's end of the link first.
    wires: [Socket; 2],
    /// Ethernet addresses of the next host, for frames sent from each host.
    next: [[u8; 6]; 2],
    sockets: (Socket, Socket),
    old: Vec<(Socket, Socket)>,
    client: SocketAddr,
    /// The client's end of the session and the server's.
    ends: [End; 2],
}

impl Scene {
    fn new(family: Family, place: Place, receiver: Receiver) -> Result<Self> {
        let (pair, router) = match place {
            Place::Server => (Pair::new(family)?, None),
            Place::Router => {
                let (pair, router) = Pair::routed_over(family)?;
                (pair, Some(router))
            }
        };
        let hosts = [(&pair.client, "c0"), (&pair.server, "s0")];
        let (probe, next) = match &router {
            None => {
                let probe = Probe::new(&pair.server);
                probe.run(&["attach", "-i", "s0"])?;
                (probe, [pair.server.mac("s0")?, pair.client.mac("c0")?])
            }
            Some(router) => {
                let probe = Probe::new(router);
                probe.run(&["attach", "-i", "r0", "r1", "--role", "middlebox"])?;
                (probe, [router.mac("r0")?, router.mac("r1")?])
            }
        };
        let wire = |(host, name): (&Namespace, &str)| {
            // A packet is one on the wire, and has its checksum.
            host.ip(&format!("link set {name} gso_max_segs 1"))?;
            host.run("ethtool", &["-K", name, "tx", "off"])?;
            let wire = host.enter(|| packet_socket(name))?;
            wire.set_nonblocking(true)?;
            Ok::<_, anyhow::Error>(wire)
        };
        let wires = [wire(hosts[0])?, wire(hosts[1])?];
        let sockets = pair.connect()?;
        let client = sockets.0.local_addr()?.as_socket().context("no address")?;
        Ok(Self {
            probe,
            _router: router,
            place,
            receiver,
            wires,
            next,
            client,
            sockets,
            old: Vec::new(),
            pair,
            ends: [End::default(); 2],
        })
    }

    /// Another session instead. The old one stays open, so as to be silent.
    fn renew(&mut self) -> Result<()> {
        self.drain()?;
        let old = mem::replace(&mut self.sockets, self.pair.connect()?);
        self.old.push(old);
        let client = self.sockets.0.local_addr()?.as_socket();
        self.client = client.context("no address")?;
        self.ends = [End::default(); 2];
        self.talk()
    }

    /// Frames that came in at the client and at the server since the last call.
    fn drain(&self) -> Result<[Vec<Vec<u8>>; 2]> {
        let read = |mut wire: &Socket| {
            let mut frames = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                match wire.read(&mut buffer) {
                    Ok(length) => frames.push(buffer[..length].to_vec()),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                    Err(error) => bail!(error),
                }
            }
            Ok(frames)
        };
        Ok([read(&self.wires[0])?, read(&self.wires[1])?])
    }

    /// Reads true numbers until both ends have acknowledged all.
    fn follow(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            let [at_client, at_server] = self.drain()?;
            for (side, frames) in [(0, at_server), (1, at_client)] {
                for segment in frames.iter().filter_map(|frame| segment(frame)) {
                    let port = segment.ports[side];
                    if port != self.client.port() {
                        continue;
                    }
                    let end = &mut self.ends[side];
                    let is_syn = segment.flags() & SYN != 0;
                    if is_syn {
                        end.scale = segment.scale();
                    }
                    end.packets += u64::from(!is_syn);
                    end.next = segment.word(4) + segment.payload as u32 + u32::from(is_syn);
                    end.acknowledged = segment.word(8);
                    let window = u32::from(u16::from_be_bytes([segment.tcp[14], segment.tcp[15]]));
                    let window = if is_syn { window } else { window << end.scale };
                    let offered = end.acknowledged.wrapping_add(window);
                    // What was offered once may be sent.
                    if is_syn || offered.wrapping_sub(end.window_end) as i32 > 0 {
                        end.window_end = offered;
                    }
                }
            }
            let [client, server] = self.ends;
            if client.acknowledged == server.next && server.acknowledged == client.next {
                return Ok(());
            }
            ensure!(start.elapsed() < LIMIT, "no end of it: {:?}", self.ends);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The session sends 3 times 1000 bytes.
    fn talk(&mut self) -> Result<()> {
        for _ in 0..3 {
            transfer(&self.sockets.0, &self.sockets.1, 1000)?;
            self.follow()?;
        }
        Ok(())
    }

    /// The kinds, with numbers of now.
    fn kinds(&self, random: &mut Numbers) -> Vec<Kind> {
        let [client, server] = self.ends;
        // From numbers that no window reaches.
        let mut wrong = |next: u32| next.wrapping_add(0x4000_0000 + random.below(1 << 20) as u32);
        let far = wrong(client.next);
        let far_of_server = wrong(server.next);
        let other_ack = wrong(server.next);
        let (seq, ack) = (client.next, server.next);
        let mut key = || random.next().to_be_bytes();
        let ports = [self.client.port(), 5000];
        let by_client = |sequence, acknowledgment, flags, options: &[u8], payload| Frame {
            ports,
            sequence,
            acknowledgment,
            ..Frame::new(flags, options, payload)
        };
        let by_server = |sequence, acknowledgment, flags, options: &[u8], payload| Frame {
            ports: [ports[1], ports[0]],
            ..by_client(sequence, acknowledgment, flags, options, payload)
        };
        let dss = |flags: u8, fields: &[u8]| option(2, 0, &[&[flags], fields].concat());
        let map = |dsn: u64, ssn: u32, length: u16| {
            let fields = [
                &dsn.to_be_bytes()[..],
                &ssn.to_be_bytes(),
                &length.to_be_bytes(),
            ];
            fields.concat()
        };
        let infinite = dss(0x0c, &map(1, 0, 0));
        let fastclose = option(7, 0, &[&[0][..], &key()].concat());
        let capable_syn = option(0, 1, &[1]);
        let answer = key();
        let capable_syn_ack = option(0, 1, &[&[1][..], &answer].concat());
        let capable_ack = option(0, 1, &[&[1][..], &key(), &answer].concat());
        let acked = dss(3, &key());
        let data = dss(0x0f, &[&key()[..], &map(5, 9, 10)].concat());
        let fin = dss(0x1c, &map(77, 0, 1));
        let fail = option(6, 0, &[&[0][..], &key()].concat());
        let address = option(3, 0, &[&[7, 10, 0, 9, 7][..], &key()].concat());
        let join = option(1, 0, &[&[3][..], &key()].concat());
        // As far behind as nothing that is sent again is.
        let window = server.window_end.wrapping_sub(seq).max(1 << 20);
        let before = seq.wrapping_sub(window).wrapping_sub(1);
        let behind = server.window_end.wrapping_add(1);
        let (prio, remove) = (option(5, 1, &[]), option(4, 0, &[0]));
        let one = |name, frame| (name, vec![frame]);
        let kinds = vec![
            one("RST", by_client(far, 0, RST, &[], 0)),
            one(
                "RST of the server",
                by_server(far_of_server, 0, RST, &[], 0),
            ),
            one(
                "RST with an acknowledgment",
                by_client(far, ack, RST | ACK, &[], 0),
            ),
            one("FIN", by_client(far, ack, FIN | ACK, &[], 0)),
            one(
                "RST far behind",
                by_client(seq.wrapping_sub(0x1000_0000), ack, RST, &[], 0),
            ),
            one("RST and FASTCLOSE", by_client(far, 0, RST, &fastclose, 0)),
            one("FASTCLOSE", by_client(far, ack, ACK, &fastclose, 0)),
            one("SYN", by_client(far, 0, SYN, &[], 0)),
            one(
                "SYN with MP_CAPABLE",
                by_client(far, 0, SYN, &capable_syn, 0),
            ),
            one("SYN with MP_JOIN", by_client(far, 0, SYN, &join, 0)),
            one(
                "SYN of the server",
                by_server(far_of_server, 0, SYN, &[], 0),
            ),
            one("infinite mapping", by_client(far, ack, ACK, &infinite, 10)),
            one(
                "infinite mapping of the server",
                by_server(far_of_server, far, ACK, &infinite, 0),
            ),
            (
                "mapped data far ahead, and a RST behind it",
                vec![
                    by_client(seq.wrapping_add(0x3000_0000), ack, ACK, &data, 10),
                    by_client(seq.wrapping_add(0x2000_0000), ack, RST, &[], 0),
                ],
            ),
            (
                "data far ahead, and a RST behind it",
                vec![
                    by_client(seq.wrapping_add(0x3000_0000), ack, ACK, &[], 10),
                    by_client(seq.wrapping_add(0x2000_0000), ack, RST, &[], 0),
                ],
            ),
            (
                "data without a mapping, and its acknowledgment",
                vec![
                    by_client(far, ack, ACK, &[], 10),
                    by_server(far_of_server, far.wrapping_add(10), ACK, &[], 0),
                ],
            ),
            one("DATA_FIN", by_client(far, ack, ACK, &fin, 0)),
            one("mapped data", by_client(far, ack, ACK, &data, 10)),
            one("DATA_ACK", by_server(far_of_server, seq, ACK, &acked, 0)),
            one("MP_FAIL", by_client(far, ack, ACK, &fail, 0)),
            one("MP_PRIO", by_client(far, ack, ACK, &prio, 0)),
            one("REMOVE_ADDR", by_client(far, ack, ACK, &remove, 0)),
            one("ADD_ADDR", by_client(far, ack, ACK, &address, 0)),
            one(
                "SYN/ACK",
                by_server(far_of_server, far, SYN_ACK, &capable_syn_ack, 0),
            ),
            one("third segment", by_client(far, ack, ACK, &capable_ack, 0)),
            one(
                "RST 1 MiB ahead",
                by_client(seq.wrapping_add((1 << 20) - 5), ack, RST, &[], 0),
            ),
            one(
                "RST at the next number but one",
                by_client(seq.wrapping_add(1), 0, RST, &[], 0),
            ),
            one(
                "RST at the last number",
                by_client(seq.wrapping_sub(1), 0, RST, &[], 0),
            ),
            one(
                "RST at the end of the window",
                by_client(server.window_end, 0, RST, &[], 0),
            ),
            one(
                "RST of the server beside its number",
                by_server(ack.wrapping_sub(1), 0, RST, &[], 0),
            ),
            one(
                "FIN behind the window",
                by_client(behind, ack, FIN | ACK, &[], 0),
            ),
            one(
                "infinite mapping behind the window",
                by_client(behind, ack, ACK, &infinite, 10),
            ),
            one(
                "MP_PRIO behind the window",
                by_client(behind, ack, ACK, &prio, 0),
            ),
            one(
                "FASTCLOSE behind the window",
                by_client(behind, ack, ACK, &fastclose, 0),
            ),
            one(
                "FIN before all that comes again",
                by_client(before, ack, FIN | ACK, &[], 0),
            ),
            one(
                "infinite mapping before all that comes again",
                by_client(before.wrapping_sub(10), ack, ACK, &infinite, 10),
            ),
            one(
                "acknowledgment of what nobody sent, in the window",
                by_client(seq.wrapping_add(10), other_ack, ACK, &infinite, 10),
            ),
            one(
                "REMOVE_ADDR in the past",
                by_client(seq.wrapping_sub(700), ack, ACK, &remove, 0),
            ),
            one(
                "MP_PRIO in the past",
                by_client(seq.wrapping_sub(700), ack, ACK, &prio, 0),
            ),
            one(
                "FIN in the past",
                by_client(seq.wrapping_sub(700), ack, FIN | ACK, &[], 0),
            ),
        ];
        let mut kinds: Vec<_> = kinds
            .into_iter()
            .map(|(name, frames)| Kind {
                old: name.ends_with("in the past").into(),
                name,
                frames: frames.into_iter().map(|frame| (frame, 64)).collect(),
                only_host: false,
                only_nobody: false,
            })
            .collect();
        kinds.push(Kind {
            name: "RST that dies on its way",
            frames: vec![(by_client(far, 0, RST, &[], 0), 1)],
            only_host: false,
            only_nobody: false,
            old: 0,
        });
        // At exactly the next number: the one thing that is wrong is the checksum.
        for (name, flags) in [
            ("RST with a wrong checksum", RST),
            ("FIN with a wrong checksum", FIN | ACK),
        ] {
            let frame = Frame {
                checksum: Some(0x1234),
                ..by_client(seq, ack, flags, &[], 0)
            };
            kinds.push(Kind {
                name,
                frames: vec![(frame, 64)],
                only_host: false,
                only_nobody: false,
                old: 0,
            });
        }
        if self.place == Place::Router {
            let of_client = vec![
                by_client(far, 0, SYN, &capable_syn, 0),
                by_server(
                    far_of_server,
                    far.wrapping_add(1),
                    SYN_ACK,
                    &capable_syn_ack,
                    0,
                ),
            ];
            let of_server = vec![
                by_server(far_of_server, 0, SYN, &capable_syn, 0),
                by_client(
                    far,
                    far_of_server.wrapping_add(1),
                    SYN_ACK,
                    &capable_syn_ack,
                    0,
                ),
            ];
            for (name, frames, ttl) in [
                ("SYN and SYN/ACK", of_client.clone(), 64),
                ("SYN and SYN/ACK that die on their way", of_client, 1),
                ("SYN of the server and SYN/ACK", of_server, 64),
            ] {
                kinds.push(Kind {
                    name,
                    frames: frames.into_iter().map(|frame| (frame, ttl)).collect(),
                    only_host: false,
                    only_nobody: false,
                    old: 0,
                });
            }
        }
        kinds.push(Kind {
            name: "a whole handshake from outside",
            frames: [
                by_client(far, 0, SYN, &capable_syn, 0),
                by_server(
                    far_of_server,
                    far.wrapping_add(1),
                    SYN_ACK,
                    &capable_syn_ack,
                    0,
                ),
                by_client(
                    far.wrapping_add(1),
                    far_of_server.wrapping_add(1),
                    ACK,
                    &capable_ack,
                    0,
                ),
            ]
            .map(|frame| (frame, 64))
            .into(),
            only_host: true,
            only_nobody: false,
            old: 0,
        });
        kinds.push(Kind {
            name: "SYN with MP_JOIN from elsewhere",
            frames: vec![(
                Frame {
                    ports: [ports[0] ^ 1, ports[1]],
                    ..by_client(far, 0, SYN, &join, 0)
                },
                64,
            )],
            only_host: false,
            only_nobody: true,
            old: 0,
        });
        kinds.retain(|kind| {
            (self.place == Place::Server || !kind.only_host)
                && (self.receiver == Receiver::Nobody || !kind.only_nobody)
        });
        kinds
    }

    /// Sends a forged frame, and returns it.
    fn forge(&self, frame: &Frame, ttl: u8) -> Result<Vec<u8>> {
        let is_servers = frame.ports[0] == 5000;
        let client = self.client.ip();
        let server = self.pair.server_address(0);
        let addresses: [IpAddr; 2] = if is_servers {
            [server, client]
        } else {
            [client, server]
        };
        // A router knows where it comes from, a host that it comes in.
        let wire = usize::from(is_servers && self.place == Place::Router);
        let to = match self.receiver {
            Receiver::Nobody => NOBODY,
            Receiver::Next => self.next[wire],
        };
        let bytes = frame.addressed(to, addresses, ttl);
        send(&self.wires[wire], &bytes)?;
        Ok(bytes)
    }

    /// What `sessions` says of the session.
    fn session(&self) -> Result<Value> {
        let port = self.client.port().to_string();
        let text = self
            .probe
            .run(&["sessions", "--output", "json", "--port", &port])?;
        let value: Value = serde_json::from_str(&text)?;
        match value["sessions"].as_array().map(Vec::as_slice) {
            Some([session]) => Ok(session.clone()),
            other => bail!("one session is {other:?}"),
        }
    }

    /// Counts of all directions by their names, options, and frames of TCP.
    fn counts(&self) -> Result<Counts> {
        let stat = self.probe.stat(&[])?;
        let mut counts = Counts::new();
        for part in ["events", "options"] {
            let directions = stat[part].as_object().context("no counts")?;
            for (name, value) in directions.values().filter_map(Value::as_object).flatten() {
                let is_option = part == "options";
                add(&mut counts, if is_option { part } else { name }, value);
            }
        }
        for name in ["tcp", "mptcp"] {
            add(&mut counts, name, &stat["probe"][name]);
        }
        Ok(counts)
    }

    /// Forges a kind, and checks what is said.
    fn check(&mut self, kind: &Kind) -> Result<()> {
        self.follow()?;
        let (session, before) = (self.session()?, self.counts()?);
        let packets = self.ends[0].packets;
        let mut alone = Offline::new(untracked(self.place));
        let mut forged = Vec::new();
        for (frame, ttl) in &kind.frames {
            let bytes = self.forge(frame, *ttl)?;
            alone.frame(&bytes, Buffer::ONE, 0);
            forged.push(bytes);
        }
        let reached = before["tcp"] + before["mptcp"] + forged.len() as u64;
        wait_until(|| {
            let counts = self.counts()?;
            Ok(counts["tcp"] + counts["mptcp"] >= reached)
        })?;
        if self.receiver == Receiver::Next {
            thread::sleep(Duration::from_millis(20));
        }
        // Answers of the ends are real packets.
        let [at_client, at_server] = self.drain()?;
        let tcp = |frame: &[u8]| segment(frame).map(|segment| segment.tcp.to_vec());
        let known: Vec<_> = forged.iter().map(|frame| tcp(frame)).collect();
        let mut answers = 0;
        for frame in at_client.iter().chain(&at_server) {
            let tcp = tcp(frame);
            if tcp.is_some() && !known.contains(&tcp) {
                alone.frame(frame, Buffer::ONE, 0);
                answers += 1;
            }
        }
        ensure!(
            answers == 0 || self.receiver == Receiver::Next,
            "{answers} answers"
        );
        let after = self.counts()?;
        let wanted = engine_counts(&alone);
        let names = after.keys().chain(wanted.keys());
        let moved: BTreeMap<_, _> = names
            .filter(|name| *name != "not_taken")
            .map(|name| {
                let get = |counts: &Counts| counts.get(name).copied().unwrap_or_default();
                (name, (get(&after) - get(&before), get(&wanted)))
            })
            .filter(|(_, (moved, wanted))| moved != wanted)
            .collect();
        ensure!(moved.is_empty(), "moved, and should have: {moved:?}");
        let real = self.ends[0].packets;
        self.talk().context("the session itself")?;
        let now = self.session()?;
        ensure!(now["state"] == "established", "{}", now["state"]);
        let number = |session: &Value, name: &str| session[name].as_u64().context("no number");
        let bytes =
            number(&now, "bytes_from_initiator")? - number(&session, "bytes_from_initiator")?;
        ensure!(bytes == 3000, "{bytes} bytes are counted of 3000");
        let counted =
            number(&now, "packets_from_initiator")? - number(&session, "packets_from_initiator")?;
        let sent = self.ends[0].packets - real;
        ensure!(
            packets == real && (sent + kind.old..=sent + kind.old + answers).contains(&counted),
            "{counted} packets are counted, {sent} and {answers} answers were sent"
        );
        ensure!(lasting(&now) == lasting(&session), "{now}\n{session}");
        Ok(())
    }
}

type Counts = BTreeMap<String, u64>;

fn add(counts: &mut Counts, name: &str, value: &Value) {
    match value {
        Value::Array(values) => {
            for (i, value) in values.iter().enumerate() {
                add(counts, &format!("{name} {i}"), value);
            }
        }
        value => *counts.entry(name.to_owned()).or_default() += value.as_u64().unwrap_or_default(),
    }
}

/// What an engine counted, as [`Scene::counts`] names it.
fn engine_counts(engine: &Offline) -> Counts {
    let mut counts = Counts::new();
    let counters = engine.counters();
    for (_, events) in counters.directions() {
        let mut words: &[u64] = cast_slice(slice::from_ref(events));
        for (name, length, _) in DirectionCounters::FIELDS {
            let (field, rest) = words.split_at(*length);
            words = rest;
            let is_array = field.len() > 1;
            for (i, value) in field.iter().enumerate() {
                let name = match *name {
                    "option" => "options".to_owned(),
                    "invalid" | "option_invalid" => continue,
                    name if is_array => format!("{name} {i}"),
                    name => name.to_owned(),
                };
                *counts.entry(name).or_default() += value;
            }
        }
    }
    counts.insert("tcp".to_owned(), counters.leaves.tcp);
    counts.insert("mptcp".to_owned(), counters.leaves.mptcp);
    counts
}

fn untracked(place: Place) -> Config {
    let role = match place {
        Place::Server => Role::Host,
        Place::Router => Role::Middlebox,
    };
    let mut config = Config {
        role,
        ..Config::default()
    };
    config.scope.is_tracking = false;
    config
}

/// What stays the same of a session: versions, tokens, what its subflows are.
fn lasting(session: &Value) -> Value {
    let mut session = session.clone();
    let forget = |value: &mut Value, names: &[&str]| {
        if let Some(object) = value.as_object_mut() {
            object.retain(|name, _| !names.iter().any(|start| name.starts_with(start)));
        }
    };
    const MOVING: [&str; 4] = ["age_s", "idle_s", "packets", "bytes"];
    forget(&mut session, &MOVING);
    for subflow in session["subflows"].as_array_mut().into_iter().flatten() {
        forget(subflow, &MOVING);
        for end in ["initiator", "listener"] {
            forget(&mut subflow[end], &MOVING);
        }
    }
    session
}

fn forged(family: Family, place: Place, receiver: Receiver) -> Result<()> {
    let mut scene = Scene::new(family, place, receiver)?;
    scene.talk()?;
    let mut random = Numbers::new(u64::from(std::process::id()));
    let count = scene.kinds(&mut random).len();
    let mut wrong = Vec::new();
    for i in 0..count {
        let kind = scene.kinds(&mut random).swap_remove(i);
        if let Err(error) = scene.check(&kind) {
            wrong.push(format!("{}: {error:#}", kind.name));
            // The other kinds get a session that is well.
            scene.renew()?;
        }
    }
    ensure!(
        wrong.is_empty(),
        "{family:?}, {place:?}, {receiver:?}: {} of {count}\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    // The same reset with the one right number is believed: all else was.
    let reset = Frame {
        ports: [scene.client.port(), 5000],
        sequence: scene.ends[0].next,
        ..Frame::new(RST, &[], 0)
    };
    scene.forge(&reset, 64)?;
    wait_until(|| {
        let subflow = |now: Value| now["subflows"][0]["state"] == "established";
        Ok(!scene.session().is_ok_and(subflow))
    })
    .context("a reset at the next number")
}

#[test]
fn nobody_gets_them_over_ipv4() -> Result<()> {
    forged(Family::V4, Place::Server, Receiver::Nobody)
}

#[test]
fn nobody_gets_them_over_ipv6() -> Result<()> {
    forged(Family::V6, Place::Server, Receiver::Nobody)
}

#[test]
fn the_host_answers_them_over_ipv4() -> Result<()> {
    forged(Family::V4, Place::Server, Receiver::Next)
}

#[test]
fn the_host_answers_them_over_ipv6() -> Result<()> {
    forged(Family::V6, Place::Server, Receiver::Next)
}

#[test]
fn past_a_router_over_ipv4() -> Result<()> {
    forged(Family::V4, Place::Router, Receiver::Nobody)
}

#[test]
fn past_a_router_over_ipv6() -> Result<()> {
    forged(Family::V6, Place::Router, Receiver::Nobody)
}

#[test]
fn through_a_router_over_ipv4() -> Result<()> {
    forged(Family::V4, Place::Router, Receiver::Next)
}

#[test]
fn through_a_router_over_ipv6() -> Result<()> {
    forged(Family::V6, Place::Router, Receiver::Next)
}

/// A handshake past a router in the names of both ends, and what is said behind it: an address and a port, frames.
fn handshake(scene: &Scene, port: u16, isn: [u32; 2], is_whole: bool) -> Result<()> {
    let ports = [port, 5000];
    let [client, server] = isn;
    let (key, other) = ([7; 8], [9; 8]);
    let segment =
        |by_server: bool, sequence, acknowledgment, flags, options: &[u8], payload| Frame {
            ports: if by_server {
                [ports[1], ports[0]]
            } else {
                ports
            },
            sequence,
            acknowledgment,
            ..Frame::new(flags, options, payload)
        };
    let answer = option(0, 1, &[&[1][..], &other].concat());
    let third = option(0, 1, &[&[1][..], &key, &other].concat());
    let (seq, ack) = (client.wrapping_add(1), server.wrapping_add(1));
    let mut frames = vec![
        segment(false, client, 0, SYN, &option(0, 1, &[1]), 0),
        segment(true, server, seq, SYN_ACK, &answer, 0),
    ];
    if is_whole {
        let acknowledged = seq.wrapping_add(10);
        frames.extend([
            segment(false, seq, ack, ACK, &third, 0),
            segment(false, seq, ack, ACK, &[], 10),
            segment(true, ack, acknowledged, ACK, &[], 0),
        ]);
    }
    for frame in &frames {
        scene.forge(frame, 64)?;
    }
    Ok(())
}

/// Sessions of the client's port that are established, and have so many bytes of it.
fn followed(scene: &Scene, bytes: u64) -> Result<usize> {
    let port = scene.client.port().to_string();
    let text = scene
        .probe
        .run(&["sessions", "--output", "json", "--port", &port])?;
    let value: Value = serde_json::from_str(&text)?;
    let sessions = value["sessions"].as_array().context("no sessions")?;
    let is_followed = |session: &&Value| {
        session["state"] == "established" && session["bytes_from_initiator"] == bytes
    };
    Ok(sessions.iter().filter(is_followed).count())
}

fn a_whole_handshake_takes_nothing(family: Family) -> Result<()> {
    let mut scene = Scene::new(family, Place::Router, Receiver::Nobody)?;
    scene.talk()?;
    ensure!(followed(&scene, 3000)? == 1);
    for n in 1..=3 {
        let [client, server] = scene.ends.map(|end| end.next.wrapping_add(n << 28));
        handshake(&scene, scene.client.port(), [client, server], true)?;
        scene.talk()?;
        let bytes = 3000 * (1 + u64::from(n));
        ensure!(followed(&scene, bytes)? == 1, "{n} handshakes were forged");
    }
    Ok(())
}

#[test]
fn a_whole_handshake_past_a_router_takes_no_session_over_ipv4() -> Result<()> {
    a_whole_handshake_takes_nothing(Family::V4)
}

#[test]
fn a_whole_handshake_past_a_router_takes_no_session_over_ipv6() -> Result<()> {
    a_whole_handshake_takes_nothing(Family::V6)
}

/// Before a connection begins, somebody sends a SYN and a SYN/ACK of it, or a whole handshake.
#[test]
fn a_handshake_past_a_router_hides_no_session() -> Result<()> {
    let mut scene = Scene::new(Family::V4, Place::Router, Receiver::Nobody)?;
    for (port, is_whole) in [(20_001, false), (20_002, true)] {
        scene.drain()?;
        handshake(&scene, port, [77, 99], is_whole)?;
        let sockets = scene.pair.connect_from(port)?;
        scene.old.push(mem::replace(&mut scene.sockets, sockets));
        scene.client.set_port(port);
        scene.ends = [End::default(); 2];
        scene.talk()?;
        ensure!(followed(&scene, 3000)? == 1, "of port {port}");
    }
    Ok(())
}

/// While data flows both ways, and numbers and windows move, all kinds of them come all the time.
fn forged_under_load(family: Family, place: Place) -> Result<()> {
    const BYTES: usize = 2_000_000;
    let mut scene = Scene::new(family, place, Receiver::Nobody)?;
    scene.talk()?;
    let before = scene.session()?;
    let mut random = Numbers::new(u64::from(std::process::id()));
    // Those that no window reaches for long.
    let kinds = scene.kinds(&mut random);
    let frames: Vec<_> = kinds.iter().flat_map(|kind| &kind.frames).collect();
    let [client, server] = scene.ends;
    let is_far = |(frame, _): &&&(Frame, u8)| {
        let is_servers = frame.ports[0] == 5000;
        let next = if is_servers { server.next } else { client.next };
        let distance = frame.sequence.wrapping_sub(next) as i32;
        distance.unsigned_abs() > 0x0800_0000
    };
    let frames: Vec<_> = frames.iter().filter(is_far).collect();
    ensure!(frames.len() > 20);
    let (a, b) = (&scene.sockets.0, &scene.sockets.1);
    let forged = thread::scope(|scope| -> Result<u64> {
        let real = scope.spawn(|| {
            for _ in 0..10 {
                transfer(a, b, BYTES / 10)?;
                transfer(b, a, BYTES / 10)?;
            }
            anyhow::Ok(())
        });
        let mut forged = 0;
        while !real.is_finished() {
            for (frame, ttl) in &frames {
                scene.forge(frame, *ttl)?;
                forged += 1;
            }
        }
        real.join().expect("no panic")?;
        Ok(forged)
    })?;
    scene.pair.settle()?;
    let now = scene.session()?;
    ensure!(now["state"] == "established", "{now}");
    ensure!(lasting(&now) == lasting(&before), "{now}\n{before}");
    let stat = scene.probe.stat(&[])?;
    let again =
        total(&stat, "RetxEr")? + stat["extra"]["RetxErTx"].as_u64().context("no number")?;
    for end in ["bytes_from_initiator", "bytes_from_listener"] {
        let number = |session: &Value| session[end].as_u64().context("no number");
        let (sent, bytes) = (BYTES as u64, number(&now)? - number(&before)?);
        ensure!(
            (sent..=sent + 1500 * again).contains(&bytes),
            "{end}: {bytes} of {sent} while {forged} were forged, {again} packets again"
        );
    }
    for row in [
        "TotFB", "InfSet", "NomapEr", "BadMapEr", "InMapEr", "FCRcvEr", "FCkeyEr", "RxFin",
    ] {
        let is = total(&stat, row)?;
        ensure!(is == 0, "{row} is {is} while {forged} were forged");
    }
    for (row, wanted) in [("TotSess", 1), ("CurSess", 1), ("CurSF", 1)] {
        let is = total(&stat, row)?;
        ensure!(is == wanted, "{row} is {is} while {forged} were forged");
    }
    println!("{forged} were forged, {again} packets came again");
    ensure!(forged > 1000, "{forged} were forged");
    Ok(())
}

#[test]
fn while_data_flows_to_a_host() -> Result<()> {
    forged_under_load(Family::V4, Place::Server)
}

#[test]
fn while_data_flows_through_a_router() -> Result<()> {
    forged_under_load(Family::V6, Place::Router)
}
