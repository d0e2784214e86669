//! For `cargo xtask trace`: what one packet does in the programs as the kernel's verifier left them.
//!
//! A packet passes in the kernel (BPF_PROG_TEST_RUN) and in a machine that runs the same
//! instructions over what was in the maps before. The kernel is the machine's witness: both have to
//! leave the same bytes in all maps, and the same reports.

mod maps;
mod run;

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result, ensure};
use mptcp_common::{
    counter::{Counters, DirectionCounters},
    wire::DssFlags,
};
use mptcp_tests::{
    conversation::Conversation,
    differential::{A, B, Differential},
    frame::{ACK, Frame, SYN},
    kernel::{Clock, Kernel, Of, Program, host},
    record::Record,
};
use mptcp_user::offline::{Config, Scope};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::{
    maps::Kind,
    run::{CPU, Layout, Packet, Probe, Trace},
};

/// Sessions that are in the tables.
const SESSIONS: usize = 1000;
/// Payload of a data packet in bytes: a full-size frame.
const PAYLOAD: u16 = 1400;
/// How often everything is tried, if the clock moves under a packet.
const TRIES: usize = 5;
/// NOP, NOP, timestamp.
const TIMESTAMP: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];

/// How many packets were counted as what a line is about.
type Counted = fn(&Counters) -> u64;

/// Packets of a session by their numbers in [`life`].
const LIFE: [(usize, &str, Counted); 11] = [
    (5, "DSS data", new_data),
    (6, "DSS acknowledgment", |c| both(c, |e| e.fresh_data_ack)),
    (8, "acknowledgment without option", |c| {
        both(c, |e| e.fresh_ack)
    }),
    (0, "MP_CAPABLE SYN, a new entry", |c| {
        both(c, |e| e.capable_syn_v1)
    }),
    (1, "MP_CAPABLE SYN/ACK", |c| both(c, |e| e.capable_synack)),
    (2, "MP_CAPABLE ACK, tokens derived", |c| {
        both(c, |e| e.session_created)
    }),
    (9, "MP_JOIN SYN", |c| {
        both(c, |e| e.join_syn - e.join_token_unknown)
    }),
    (10, "MP_JOIN SYN/ACK, HMAC checked", |c| {
        both(c, |e| e.join_synack - e.join_synack_hmac)
    }),
    (11, "MP_JOIN ACK, HMAC checked", |c| {
        both(c, |e| {
            e.join_final_ack - e.join_hmac - e.join_hmac_unverified
        })
    }),
    (12, "DSS data, first of a mapping", new_data),
    (13, "DSS data, more of a mapping", |c| {
        both(c, |e| e.map_repeated)
    }),
];

/// A DSS data packet of [`LIFE`].
const DATA: usize = 5;

fn main() -> Result<()> {
    let mut cpu = CpuSet::new();
    cpu.set(CPU)?;
    sched_setaffinity(Pid::from_raw(0), &cpu)?;
    let layout = Layout::new()?;
    // Everything anew, so that a packet that is tried again finds the same tables.
    let mut tries = (0..TRIES)
        .map(|_| rows(&layout))
        .filter_map(Result::transpose);
    let rows = tries.next().context(
        "the clock moved under a packet each time; next: try it when the machine is less busy",
    )??;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let object = json!({ "kernel": kernel.trim(), "sessions": SESSIONS, "rows": rows });
    println!("{}", serde_json::to_string_pretty(&object)?);
    Ok(())
}

/// All lines; none if the clock moved under one of their packets.
fn rows(layout: &Layout) -> Result<Option<Vec<Value>>> {
    let mut engines = Differential::alone(config(true));
    let mut rows = Vec::new();
    for of in [Of::One, Of::Several] {
        rows.extend(rows_of(layout, of, &mut engines)?);
    }
    Ok(rows.into_iter().collect())
}

/// Those of programs for one interface, or for several.
fn rows_of(layout: &Layout, of: Of, engines: &mut Differential) -> Result<Vec<Option<Value>>> {
    let mut tracking = Subject::new(layout, config(true), of, engines)?;
    let mut untracked = Subject::new(layout, config(false), of, engines)?;
    let mut rows = Vec::new();
    for hook in [Program::XdpIngress, Program::TcEgress] {
        for (name, frame, counted) in nobodys() {
            let packet = Packet {
                program: hook,
                frame: frame.bytes(),
            };
            rows.push(tracking.line(name, counted, vec![packet])?);
        }
        let data = life(engines, hook, DATA)?;
        rows.push(untracked.line("DSS data, --no-track", new_data, data)?);
        for (last, name, counted) in LIFE {
            let packets = life(engines, hook, last)?;
            rows.push(tracking.line(name, counted, packets)?);
        }
    }
    Ok(rows)
}

/// What the programs are made with: as `attach` does.
fn config(is_tracking: bool) -> Config {
    Config {
        scope: Scope {
            is_layer_3: false,
            is_tracking,
            is_verifying: false,
            is_checking: true,
        },
        ..host()
    }
}

/// Packets of nobody's subflows.
fn nobodys() -> [(&'static str, Frame, Counted); 14] {
    let frame = |options: &[u8]| Frame::new(ACK, options, PAYLOAD.into());
    let ethertype = |ethertype| Frame {
        ethertype: Some(ethertype),
        ..frame(&[])
    };
    let ip = |protocol| Frame {
        protocol,
        ..frame(&[])
    };
    let ipv6 = |protocol| Frame {
        ipv6: true,
        ..ip(protocol)
    };
    let vxlan = Frame {
        ports: [40000, 8472],
        ..ip(17)
    };
    // An option of three bytes, which holds a 30, then options of two.
    let options = [&[253, 3, 30, 1][..], &[254, 2].repeat(18)].concat();
    // As Linux makes it: MSS, SACK permitted, timestamp, NOP, window scale.
    let syn = [
        2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
    ];
    let syn = Frame::new(SYN, &syn, 0);
    let tcp: Counted = |c| c.leaves.tcp;
    [
        ("not IP (ARP)", ethertype(0x0806), |c| c.leaves.not_ip),
        ("not IP (MPLS)", ethertype(0x8847), |c| c.protocols.mpls),
        ("not IP (LLC)", ethertype(1400), |c| c.protocols.llc),
        ("not IP (another EtherType)", ethertype(0x88f7), |c| {
            c.protocols.other_ethertype
        }),
        ("not TCP (UDP)", ip(17), |c| c.leaves.not_tcp),
        ("not TCP (VXLAN)", vxlan, |c| c.protocols.vxlan),
        ("not TCP (ICMP)", ip(1), |c| c.protocols.ip[1]),
        ("not TCP (ICMPv6)", ipv6(58), |c| c.protocols.ip[58]),
        ("not TCP (GRE over IPv6)", ipv6(47), |c| c.protocols.ip[47]),
        ("TCP without options", frame(&[]), tcp),
        ("TCP with a timestamp", frame(&TIMESTAMP), tcp),
        ("TCP SYN", syn, tcp),
        ("TCP with 40 one-byte options", frame(&[1; 40]), tcp),
        ("TCP with 20 options to look at", frame(&options), tcp),
    ]
}

/// The packets of a new session up to one that passes at a hook; those that its receiver sends pass at
/// the other.
fn life(engines: &mut Differential, hook: Program, last: usize) -> Result<Vec<Packet>> {
    engines.record();
    let mut talk = Conversation::new(engines);
    talk.timestamps = true;
    talk.handshake()?;
    for _ in 0..2 {
        talk.data(0, A, PAYLOAD)?;
        talk.ack(0, B)?;
    }
    talk.data(0, A, PAYLOAD)?;
    talk.send(0, B, ACK, &[], 0)?;
    talk.join_until_ack(A, 5)?;
    // A mapping of two segments, which both have.
    let options = talk.dss(A, Some(talk.map(0, A, 2 * PAYLOAD)), false);
    for _ in 0..2 {
        talk.send(0, A, ACK, &options, PAYLOAD.into())?;
    }
    let mut records = engines.take_recorded();
    records.truncate(last + 1);
    let sender = records.last().context("no packets")?.ingress;
    let other = if hook == Program::XdpIngress {
        Program::TcEgress
    } else {
        Program::XdpIngress
    };
    let packet = |record: Record| Packet {
        program: if record.ingress == sender {
            hook
        } else {
            other
        },
        frame: record.bytes,
    };
    Ok(records.into_iter().map(packet).collect())
}

/// Packets with new data.
fn new_data(counted: &Counters) -> u64 {
    both(counted, |events| {
        events.dss_with(DssFlags::MAPPING) - events.retransmitted - events.map_duplicate
    })
}

/// In both directions.
fn both(counted: &Counters, events: impl Fn(&DirectionCounters) -> u64) -> u64 {
    events(&counted.rx) + events(&counted.tx)
}

/// A probe, and the last packet that passed it.
struct Subject<'a> {
    layout: &'a Layout,
    of: Of,
    probe: Probe,
    last: Packet,
}

impl<'a> Subject<'a> {
    /// With sessions that have sent data, which was acknowledged.
    fn new(layout: &'a Layout, config: Config, of: Of, engines: &mut Differential) -> Result<Self> {
        let kernel = match of {
            Of::One => Kernel::load(config, Clock::Real)?,
            Of::Several => Kernel::load_set(config, Clock::Real)?,
        };
        let mut probe = Probe::new(kernel)?;
        let mut last = None;
        for _ in 0..SESSIONS {
            for packet in life(engines, Program::TcEgress, 4)? {
                probe.pass(&packet)?;
                last = Some(packet);
            }
        }
        Ok(Self {
            layout,
            of,
            probe,
            last: last.context("no sessions")?,
        })
    }

    /// What the last of some packets does; none if the clock moved under it.
    fn line(
        &mut self,
        name: &str,
        counted: Counted,
        mut packets: Vec<Packet>,
    ) -> Result<Option<Value>> {
        let packet = packets.pop().context("no packets")?;
        let before = packets.pop().unwrap_or_else(|| self.last.clone());
        for packet in packets {
            self.probe.pass(&packet)?;
        }
        let said = || format!("{name}, {:?}", packet.program);
        let trace = self.probe.trace(self.layout, [&before, &packet]);
        let Some(trace) = trace.with_context(said)? else {
            return Ok(None);
        };
        self.last = before;
        ensure!(
            counted(&trace.counted) == 1,
            "{}: counted as something else",
            said()
        );
        Ok(Some(self.row(name, packet.program, &trace)))
    }

    fn row(&self, name: &str, hook: Program, trace: &Trace) -> Value {
        let (mut shared, mut pages, mut per_cpu) = (0, 0, 0);
        let mut by_map = BTreeMap::new();
        for map in self.probe.maps.iter() {
            let touched = map.touched(&trace.memory);
            match map.kind {
                Kind::Shared => {
                    shared += touched.lines;
                    pages += touched.pages;
                }
                Kind::PerCpu => per_cpu += touched.lines,
                Kind::Constants | Kind::Ring => {}
            }
            if touched.lines > 0 {
                by_map.insert(&map.name, touched.lines);
            }
        }
        let executed = &trace.executed;
        let hook = match (hook, self.of) {
            (Program::XdpIngress, Of::One) => "XDP ingress",
            (Program::XdpIngress, Of::Several) => "XDP ingress of several",
            (_, Of::One) => "TC egress",
            (_, Of::Several) => "TC egress of several",
        };
        json!({
            "hook": hook,
            "packet": name,
            "instructions": executed.instructions,
            "functions": executed.functions,
            "helper_calls": executed.helpers.len(),
            "map_lookups": executed.lookups,
            "shared_lines": shared,
            "shared_pages": pages,
            "per_cpu_lines": per_cpu,
            "helpers": self.layout.by_name(&executed.helpers),
            "lines": by_map,
        })
    }
}
