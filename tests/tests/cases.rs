//! Captures of single faults, each written from a report or made with the kernel as one end: what is counted of them,
//! and what is told. By the binary, by the program in the kernel, and in both roles where both can know.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use mptcp_common::counter::{Counters, Gauges, Role};
use mptcp_tests::{
    conversation::Conversation,
    differential::{A, B, Differential, value},
    files::Directory,
    frame::{ACK, SYN, SYN_ACK, option},
    kernel::host,
    net::output,
    probe::{command, recorded},
    record::{PCAP, pcap},
};
use mptcp_user::offline::Config;
use serde_json::Value;

struct Case {
    /// Of tests/data/cases.
    file: &'static str,
    /// What the host is, or 'middlebox' where the capture does not say which packets came in.
    place: Place,
    /// Options of `stat`.
    options: &'static [&'static str],
    /// Are these the options of [`LIMITED`]?
    is_limited: bool,
    /// Rows and further numbers at that place.
    numbers: &'static [(&'static str, u64)],
    /// The first events by name, each with its detail, in their order.
    events: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// The table of a middlebox is the same.
    Listener,
    Initiator,
    Middlebox,
}

const PLAIN: fn(&mut Config) = |_| {};
const LIMITED: fn(&mut Config) = |config| {
    config.limits.subflows = 3;
    config.limits.threshold = 2;
};

/// The kernel's counters of the same packets stand beside each.
const CASES: [Case; 12] = [
    // The mapping begins inside of the segment, the receiver takes all of it and goes on without options. Kernel:
    // DSSNoMatchTCP 1, DssFallback 1.
    Case {
        file: "map_not_covering.pcap",
        place: Place::Listener,
        options: &[],
        is_limited: false,
        numbers: &[
            ("NomapEr", 1),
            ("FBnoMap", 1),
            ("MrDataEr", 0),
            ("OptAfterFallback", 1),
        ],
        events: &[
            ("session_created", "version 1"),
            ("error", "NomapEr"),
            ("fallback", "data without mapping"),
        ],
    },
    // Checksums were agreed on, and the MP_CAPABLE with data has none. Kernel: DataCsumErr 1, DssFallback 1.
    Case {
        file: "mpc_checksum_absent_plain.pcap",
        place: Place::Listener,
        options: &[],
        is_limited: false,
        numbers: &[("CsumPresenceEr", 1), ("OptRstEr", 0), ("TotFBtx", 1)],
        events: &[
            ("session_created", "version 1"),
            ("fallback", "segment without option"),
        ],
    },
    Case {
        file: "mpc_checksum_absent_reset.pcap",
        place: Place::Listener,
        options: &[],
        is_limited: false,
        numbers: &[("CsumPresenceEr", 1), ("OptRstEr", 1), ("InMapEr", 1)],
        events: &[
            ("session_created", "version 1"),
            ("reset", "without MP_TCPRST"),
        ],
    },
    // SYN cookies: a DSS without the key is answered by a reset. Kernel: SyncookiesFailed 1, no socket.
    Case {
        file: "v1_dss_without_key.pcap",
        place: Place::Listener,
        options: &[],
        is_limited: false,
        numbers: &[
            ("TotSess", 0),
            ("ConReq", 0),
            ("subCon", 0),
            ("CurSess", 0),
            ("SessNoSF", 0),
            ("TotFB", 0),
            ("V1DataPriorToKey", 1),
        ],
        events: &[],
    },
    // A reset in the window, but not at the next number, is challenged. Kernel: the session lives.
    Case {
        file: "rst_challenged.pcap",
        place: Place::Listener,
        options: &[],
        is_limited: false,
        numbers: &[
            ("CurSess", 1),
            ("CurSF", 1),
            ("SessNoSF", 0),
            ("FreshAck", 3),
            ("OptRstEr", 0),
        ],
        events: &[("session_created", "version 1")],
    },
    // Version 1 is answered by version 0. Kernel: MPCapableFallbackSYNACK 1.
    Case {
        file: "synack_unusable_v0.pcap",
        place: Place::Initiator,
        options: &[],
        is_limited: false,
        numbers: &[
            ("NoMpcSynack", 1),
            ("TotFBtx", 0),
            ("TotSess", 0),
            ("UnknownFlow", 0),
        ],
        events: &[(
            "fallback",
            "SYN/ACK with an MP_CAPABLE that does not answer the SYN's",
        )],
    },
    // A join that nobody answers outlives its session.
    Case {
        file: "pending_of_ended_session.pcap",
        place: Place::Listener,
        options: &[],
        is_limited: false,
        numbers: &[("PendSF", 0), ("CurSess", 0), ("JoinSYN", 1)],
        events: &[
            ("session_created", "version 1"),
            ("subflow_closed", ""),
            ("session_closed", ""),
        ],
    },
    // Two joins that nobody answered, ten hours before one that is refused for a limit.
    Case {
        file: "join_threshold.pcap",
        place: Place::Listener,
        options: &["--limit-subflows", "3", "--join-threshold", "2"],
        is_limited: true,
        numbers: &[("JoinThEr", 0), ("MaxsfEr", 1), ("PendSF", 0)],
        events: &[
            ("session_created", "version 1"),
            ("address_added", "id 1"),
            ("address_added", "id 2"),
            ("subflow_joined", ""),
        ],
    },
    // Outstanding data is mapped again, onto the only subflow that is left.
    Case {
        file: "reinject_same_subflow.pcap",
        place: Place::Initiator,
        options: &[],
        is_limited: false,
        numbers: &[
            ("Reinject", 0),
            ("RetxSubflow", 0),
            ("RemapSubflow", 1),
            ("RetxErTx", 1),
        ],
        events: &[
            ("session_created", "version 1"),
            ("address_added", "id 1"),
            ("subflow_joined", ""),
            ("subflow_joined", ""),
        ],
    },
    // Failures that no reset ends.
    Case {
        file: "capable_syn_dropped.pcap",
        place: Place::Middlebox,
        options: &[],
        is_limited: false,
        numbers: &[("MpcBlackhole", 1), ("NoMpcSynack", 0), ("TotSess", 0)],
        events: &[(
            "fallback",
            "SYN with MP_CAPABLE unanswered, plain one answered",
        )],
    },
    Case {
        file: "join_synack_plain.pcap",
        place: Place::Middlebox,
        options: &[],
        is_limited: false,
        numbers: &[("NoMpjSynack", 1), ("PendSF", 0), ("JoinRefused", 0)],
        events: &[
            ("session_created", "version 1"),
            ("join_failed", "SYN/ACK without MP_JOIN"),
        ],
    },
    Case {
        file: "mp_fail.pcap",
        place: Place::Middlebox,
        options: &[],
        is_limited: false,
        numbers: &[("MPFAILst", 1), ("MPFAILrv", 0)],
        events: &[("session_created", "version 1"), ("fail", "sent")],
    },
];

fn path(case: &Case) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("data/cases")
        .join(case.file)
}

#[test]
fn the_binary_counts_and_tells_them() -> Result<()> {
    let mut wrong = Vec::new();
    for case in &CASES {
        let mut options = case.options.to_vec();
        if case.place != Place::Middlebox {
            options.extend(["--role", "host"]);
        }
        let stat = recorded(path(case), &options)?;
        for (name, wanted) in case.numbers {
            let number = [&stat["counters"][name]["total"], &stat["extra"][name]]
                .into_iter()
                .find_map(Value::as_u64);
            if number != Some(*wanted) {
                wrong.push(format!("{}: {name} {number:?}, not {wanted}", case.file));
            }
        }
        let mut events = command(&["events", "--output", "jsonl"]);
        events.args(&options).arg("--log-file").arg(path(case));
        let told = output(&mut events)?;
        let told: Vec<(String, String)> = told
            .lines()
            .map(|line| {
                let event: Value = serde_json::from_str(line)?;
                let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
                Ok((text("event"), text("detail")))
            })
            .collect::<Result<_>>()?;
        let is_told = case
            .events
            .iter()
            .zip(&told)
            .all(|(wanted, is)| wanted.0 == is.0 && wanted.1 == is.1);
        if !is_told || told.len() < case.events.len() {
            wrong.push(format!("{}: {told:?}", case.file));
        }
    }
    ensure!(wrong.is_empty(), "\n  {}", wrong.join("\n  "));
    Ok(())
}

/// A frame with an Ethernet header, and whether it came in.
struct Frame {
    nanoseconds: u64,
    bytes: Vec<u8>,
    ingress: bool,
}

/// The frames of a pcap file of Ethernet or of Linux cooked packets.
fn frames(path: &Path) -> Result<Vec<Frame>> {
    let file = fs::read(path)?;
    let word = |at: usize| -> Result<u32> {
        let bytes = file.get(at..at + 4).context("the file ends early")?;
        Ok(u32::from_le_bytes(bytes.try_into()?))
    };
    ensure!(word(0)? == 0xa1b2_c3d4, "{} is no pcap", path.display());
    // Of the header in front of IP: its length, where the EtherType stands, and the packet's type.
    let (header, ether_type, packet_type) = match word(20)? {
        1 => (14, 12, None),
        113 => (16, 14, Some(1)),
        276 => (20, 0, Some(10)),
        other => anyhow::bail!("link type {other}"),
    };
    let mut frames = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let length = word(at + 8)? as usize;
        let packet = file.get(at + 16..at + 16 + length).context("cut off")?;
        let ethernet = [
            &[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2],
            &packet[ether_type..][..2],
        ];
        frames.push(Frame {
            nanoseconds: u64::from(word(at)?) * 1_000_000_000 + u64::from(word(at + 4)?) * 1000,
            bytes: [&ethernet.concat(), &packet[header..]].concat(),
            ingress: packet_type.is_none_or(|at| packet[at] != 4),
        });
        at += 16 + length;
    }
    Ok(frames)
}

/// The program in the kernel, frame by frame beside the engine in user space.
#[test]
fn the_program_in_the_kernel_counts_them() -> Result<()> {
    let mut wrong = Vec::new();
    let configs: [fn(&mut Config); 2] = [PLAIN, LIMITED];
    for role in [Role::Host, Role::Middlebox] {
        for configure in configs {
            let mut config = match role {
                Role::Host => host(),
                Role::Middlebox => Config::default(),
            };
            configure(&mut config);
            // For all cases: their programs take a second to load.
            let mut engines = Differential::new(config)?;
            for case in CASES
                .iter()
                .filter(|case| case.is_limited == (config.limits.threshold != 0))
            {
                let told = run(case, &mut engines, role).with_context(|| case.file)?;
                wrong.extend(
                    told.into_iter()
                        .map(|what| format!("{}: {what}", case.file)),
                );
            }
        }
    }
    ensure!(wrong.is_empty(), "\n  {}", wrong.join("\n  "));
    Ok(())
}

/// The numbers of a case that are wrong.
fn run(case: &Case, engines: &mut Differential, role: Role) -> Result<Vec<String>> {
    // Until what others left is over: they have the same addresses and keys.
    engines.wait(Duration::from_hours(3))?;
    let before = engines.gauges();
    ensure!(before == Gauges::default(), "{before:?} are left");
    let mut counted = Counters::default();
    let mut then = None;
    for frame in frames(&path(case))? {
        let passed = frame
            .nanoseconds
            .saturating_sub(then.unwrap_or(frame.nanoseconds));
        then = Some(frame.nanoseconds);
        engines.wait(Duration::from_nanos(passed))?;
        let ingress = frame.ingress || role == Role::Middlebox;
        counted.add(&engines.frame(&frame.bytes, ingress)?);
    }
    engines.compare_tables()?;
    let is_known = match case.place {
        Place::Listener => true,
        Place::Initiator => role == Role::Host,
        Place::Middlebox => role == Role::Middlebox,
    };
    let gauges = engines.gauges();
    let mut wrong = Vec::new();
    for (name, wanted) in case.numbers.iter().filter(|_| is_known) {
        let number = value(name, &counted, &gauges, role)?;
        if number != Some(*wanted) {
            wrong.push(format!("as {role:?} {name} is {number:?}, not {wanted}"));
        }
    }
    Ok(wrong)
}

/// Failures that no reset of a listener ends, of packets made here: what is told of them, and of near misses nothing.
#[test]
fn failures_without_a_reset_are_told() -> Result<()> {
    type Story = fn(&mut Conversation<'_>) -> Result<()>;
    /// A join whose SYN/ACK is changed, and its third segment.
    fn join(talk: &mut Conversation<'_>, change: u8, third: Option<Vec<u8>>) -> Result<()> {
        let flow = talk.flow();
        let syn = talk.join_syn_option(flow, A);
        let mut syn_ack = talk.join_syn_ack_option(flow, B);
        syn_ack[4] ^= change;
        talk.send(flow, A, SYN, &syn, 0)?;
        talk.send(flow, B, SYN_ACK, &syn_ack, 0)?;
        let third = third.unwrap_or_else(|| talk.join_ack_option(flow, A));
        talk.send(flow, A, ACK, &third, 0)?;
        Ok(())
    }
    let stories: [(&str, Story); 5] = [
        ("join failed SYN/ACK with a wrong HMAC", |talk| {
            join(talk, 1, None)
        }),
        ("join failed third segment without MP_JOIN", |talk| {
            join(talk, 0, Some(Vec::new()))
        }),
        ("", |talk| join(talk, 0, None)),
        ("MP_FAIL sent", |talk| {
            let fail = option(6, 0, &[0; 9]);
            talk.send(0, A, ACK, &fail, 0)?;
            // Once more is no other failure.
            talk.send(0, A, ACK, &fail, 0).map(drop)
        }),
        ("", |talk| talk.ack(0, A).map(drop)),
    ];
    let directory = Directory::new()?;
    for (wanted, story) in stories {
        let mut engines = Differential::alone(Config::default());
        engines.record();
        let mut talk = Conversation::confirmed(&mut engines)?;
        story(&mut talk)?;
        let file = directory.write("story.pcap", pcap(PCAP, 1, &engines.take_recorded()))?;
        let told = output(command(&["events", "--log-file"]).arg(&file))?;
        let failures: Vec<_> = told
            .lines()
            .filter(|line| !line.contains("session created"))
            .collect();
        let is_right = match (wanted, &failures[..]) {
            ("", []) => true,
            ("", _) => false,
            (wanted, [line]) => line.ends_with(wanted),
            _ => false,
        };
        ensure!(is_right, "{wanted:?}: {told}");
    }
    Ok(())
}
