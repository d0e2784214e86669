//! `cargo xtask bench --live`: the probe where it belongs, on interfaces.
//!
//! Frames and transfers are timed with the probe and with programs that do nothing, attached the same
//! way, in turn: what others do on the machine hits both. Nothing fails for being slow.

pub(crate) mod stat;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::Shutdown,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::{TcAttachType, XdpMode, loaded_programs};
use mptcp_tests::{
    kernel::{Clock, Kernel},
    net::{Family, Namespace, Pair, output, run as run_program, veth},
    probe::{Probe, total},
};
use nix::{
    net::if_::if_nametoindex,
    sched::{sched_getaffinity, sched_setaffinity},
    sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike as _,
    },
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::{
    DEFAULT, FLOWS, MANY, PAYLOAD, config, feeder,
    feeder::Feeder,
    open, pin,
    report::{self, Machine},
    sessions,
    traffic::{self, Packets},
};

/// How often frames are sent to each program, and how many: so many that steps of the clock's tick, which the
/// times come in, do not matter.
const BURSTS: usize = 40;
const FRAMES: u32 = 2_000_000;
/// A transfer: its blocks, in bytes, and how many are under way at once.
const BLOCK: usize = 32 << 10;
const BLOCKS: usize = 4;
/// How often each program has its turn in it, how long that is, and what is left out of it first.
const SLICES: usize = 400;
const SLICE: Duration = Duration::from_millis(50);
const SETTLE: Duration = Duration::from_millis(10);
/// Sessions that live frames belong to.
const SESSIONS: u32 = 1000;
/// Displays of a `stat` that goes on.
const DISPLAYS: u32 = 5;

pub(crate) fn run(is_json: bool) -> Result<()> {
    let machine = Machine::new();
    let mut feeder = feeder(MANY)?;
    eprintln!("==> transfers");
    let mut rows = transfers(&mut feeder)?;
    eprintln!("==> frames");
    // Whoever sends is to stay where what it sends is taken in, or sometimes two processors would share the work.
    rows.extend(on_one_cpu(|| frames(&mut feeder))?);
    // The second number says how often a command is timed.
    for (sessions, rounds, milliseconds) in [(10, 41, 1.0), (MANY, 9, 1000.0)] {
        eprintln!("==> stat, {sessions} sessions");
        rows.extend(stat::run(&mut feeder, sessions, rounds, milliseconds)?);
    }
    if is_json {
        let rows: Vec<_> = rows.iter().map(Row::json).collect();
        return report::object(&machine, json!({ "live": rows }));
    }
    report::heading(&machine);
    println!(
        "\n{:46} {:12} {:>9} {:>20} {:>20} {:>10}",
        "", "unit", "median", "95 %", "quartiles", "wanted"
    );
    for row in &rows {
        row.print();
    }
    Ok(())
}

/// A line of the table: what was measured several times, and what is wanted of it.
struct Row {
    name: String,
    unit: &'static str,
    samples: Vec<f64>,
    wanted: Option<Wanted>,
}

#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

impl Row {
    fn new(name: impl Into<String>, unit: &'static str, samples: Vec<f64>) -> Self {
        Self {
            name: name.into(),
            unit,
            samples,
            wanted: None,
        }
    }

    fn wanted(self, wanted: Wanted) -> Self {
        Self {
            wanted: Some(wanted),
            ..self
        }
    }

    fn quartiles(&self) -> [f64; 3] {
        report::quartiles(self.samples.clone())
    }

    /// Where the median is at 95 %; with a few samples, the median.
    fn interval(&self) -> [f64; 2] {
        let [_, median, _] = self.quartiles();
        report::interval(self.samples.clone()).unwrap_or([median; 2])
    }

    /// Nothing if that cannot be told: the bound lies inside of the interval.
    fn is_met(&self) -> Option<bool> {
        let [low, high] = self.interval();
        let [is_met, is_missed] = match self.wanted? {
            Wanted::AtLeast(least) => [low >= least, high < least],
            Wanted::AtMost(most) => [high <= most, low > most],
        };
        (is_met || is_missed).then_some(is_met)
    }

    fn print(&self) {
        let [low, median, high] = self.quartiles();
        let range = |[low, high]: [f64; 2]| format!("{low:.2} to {high:.2}");
        println!(
            "{:46} {:12} {median:>9.2} {:>20} {:>20} {:>10} {}",
            self.name,
            self.unit,
            report::interval(self.samples.clone()).map_or_else(String::new, range),
            range([low, high]),
            match self.wanted {
                Some(Wanted::AtLeast(least)) => format!(">= {least}"),
                Some(Wanted::AtMost(most)) => format!("<= {most}"),
                None => String::new(),
            },
            match self.is_met() {
                Some(true) => "met",
                Some(false) => "NOT MET",
                None if self.wanted.is_some() => "UNCLEAR",
                None => "",
            },
        );
    }

    fn json(&self) -> Value {
        let [low, median, high] = self.quartiles();
        let (at_least, at_most) = match self.wanted {
            Some(Wanted::AtLeast(least)) => (Some(least), None),
            Some(Wanted::AtMost(most)) => (None, Some(most)),
            None => (None, None),
        };
        json!({
            "name": self.name,
            "unit": self.unit,
            "median": median,
            "interval": report::interval(self.samples.clone()),
            "quartiles": [low, high],
            "samples": self.samples.len(),
            "at_least": at_least,
            "at_most": at_most,
            "met": self.is_met(),
        })
    }
}

/// Does something on the first processor alone.
fn on_one_cpu<T>(action: impl FnOnce() -> Result<T>) -> Result<T> {
    let this = Pid::from_raw(0);
    let all = sched_getaffinity(this)?;
    pin()?;
    let result = action();
    sched_setaffinity(this, &all)?;
    result
}

/// Frames that come in at a veth: the probe counts, then drops them, in turn with a program that drops.
fn frames(feeder: &mut Feeder) -> Result<Vec<Row>> {
    let veths = "link add v0 type veth peer name v1";
    run_program("ip", &veths.split(' ').collect::<Vec<_>>())?;
    for interface in ["v0", "v1"] {
        run_program("ip", &["link", "set", interface, "up"])?;
    }
    // A veth takes frames from programs if it has one.
    feeder.xdp("xdp_nothing")?.attach("v0", XdpMode::Driver)?;
    let sender = if_nametoindex("v0")?;
    let mut probe = Kernel::load_from(&dropping()?, config(DEFAULT, true, false), Clock::Real)?;
    let followed = sessions(SESSIONS);
    feeder.measure(&probe)?;
    open(feeder, followed)?;
    let other = Packets::flows(&traffic::TIMESTAMP, PAYLOAD as usize, FLOWS, 1000);
    let mut rows = Vec::new();
    for (name, packets, wanted) in [
        ("TCP with a timestamp", other, 90.0),
        ("DSS data, 1,000 sessions", followed.data(), 60.0),
    ] {
        let (mut empty, mut counting) = (Vec::new(), Vec::new());
        let mut number = u64::from(SESSIONS);
        for _ in 0..BURSTS {
            let link = feeder.xdp("xdp_drop")?.attach("v1", XdpMode::Driver)?;
            let before = came_in("v1")?;
            empty.push(feeder.send(sender, &packets, number, FRAMES)?);
            check_arrived(came_in("v1")? - before)?;
            feeder.xdp("xdp_drop")?.detach(link)?;
            let before = probe.read()?.frames;
            let link = probe.attach("v1")?;
            counting.push(feeder.send(sender, &packets, number, FRAMES)?);
            probe.detach(link)?;
            check_arrived(probe.read()?.frames - before)?;
            number += u64::from(FRAMES);
            feeder.pass(
                &followed.acknowledgments(),
                number - u64::from(SESSIONS),
                SESSIONS,
            )?;
        }
        let ratios = shares(&counting, &empty);
        let millions = |samples: Vec<f64>| samples.into_iter().map(|n| n / 1e6).collect();
        rows.push(Row::new(
            format!("{name}: dropped by an empty program"),
            "million/s",
            millions(empty),
        ));
        rows.push(Row::new(
            format!("{name}: counted and dropped"),
            "million/s",
            millions(counting),
        ));
        rows.push(
            Row::new(format!("{name}: rate left"), "%", ratios).wanted(Wanted::AtLeast(wanted)),
        );
    }
    Ok(rows)
}

/// Frames that have come in at an interface, whatever a program did with them.
fn came_in(interface: &str) -> Result<u64> {
    let text = run_program("ip", &["-json", "-statistics", "link", "show", interface])?;
    let links: Value = serde_json::from_str(&text)?;
    links[0]["stats64"]["rx"]["packets"]
        .as_u64()
        .with_context(|| format!("no statistics of {interface}: {text}"))
}

/// Did all of a burst come in? The stack sends a few of its own.
fn check_arrived(frames: u64) -> Result<()> {
    let is_all = frames.abs_diff(FRAMES.into()) * 100 <= u64::from(FRAMES);
    ensure!(is_all, "{frames} of {FRAMES} frames came in");
    Ok(())
}

/// Percentages of neighbours.
fn shares(part: &[f64], whole: &[f64]) -> Vec<f64> {
    let pairs = part.iter().zip(whole);
    pairs.map(|(part, whole)| part / whole * 100.0).collect()
}

/// The probe's object, whose XDP program ends with another verdict.
fn dropping() -> Result<Vec<u8>> {
    // w0 = XDP_PASS; exit
    const END: [u8; 16] = [0xb4, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
    let mut object = mptcp_user::OBJECT.to_vec();
    let ends = object.windows(END.len()).enumerate();
    let places: Vec<_> = ends
        .filter(|(_, code)| *code == END)
        .map(|(at, _)| at)
        .collect();
    let [at] = places[..] else {
        anyhow::bail!("the XDP program does not end in one place: {places:?}");
    };
    object[at + 4] = 1;
    Ok(object)
}

/// Bulk transfers of the kernel's MPTCP between two namespaces: one without programs, and others that go on while
/// programs take turns at its receiver's interface. Those that do nothing have two turns, which tells the noise.
fn transfers(feeder: &mut Feeder) -> Result<Vec<Row>> {
    let pair = Pair::apart(Family::V4)?;
    veth((&pair.client, "c0"), (&pair.server, "s0"))?;
    pair.assign(&pair.client, "c0", 0, 1)?;
    pair.assign(&pair.server, "s0", 0, 2)?;
    let mut none = Vec::new();
    transfer(&pair, |rate| {
        none.extend((0..SLICES / 8).map(|_| rate()));
        Ok(())
    })?;
    let mut rows = vec![Row::new("MPTCP transfer: no program", "Gbit/s", none)];
    for is_xdp in [true, false] {
        rows.extend(watched_transfer(feeder, &pair, is_xdp)?);
    }
    Ok(rows)
}

/// One at whose receiver programs take turns: at XDP or TCX on ingress, and at TCX on egress.
fn watched_transfer(feeder: &mut Feeder, pair: &Pair, is_xdp: bool) -> Result<Vec<Row>> {
    let kernel = Kernel::load(config(DEFAULT, true, false), Clock::Real)?;
    feeder.measure(&kernel)?;
    // Of the handshake the probe has to know.
    feeder.switch(true)?;
    let (xdp, ingress, egress) = pair.server.enter(|| {
        let (mut xdp, mut ingress) = (None, None);
        if is_xdp {
            xdp = Some(feeder.xdp("xdp_switch")?.attach("s0", XdpMode::Driver)?);
        } else {
            let program = feeder.tc("tc_ingress_switch")?;
            ingress = Some(program.attach("s0", TcAttachType::Ingress)?);
        }
        let egress = feeder.tc("tc_switch")?.attach("s0", TcAttachType::Egress)?;
        Ok((xdp, ingress, egress))
    })?;
    let [mut empty, mut again, mut probed] = [const { Vec::new() }; 3];
    transfer(pair, |rate| {
        for round in 0..SLICES {
            // Each comes first as often.
            let mut turns = [
                (&mut empty, false),
                (&mut again, false),
                (&mut probed, true),
            ];
            turns.rotate_left(round % 3);
            for (rates, is_measured) in turns {
                feeder.switch(is_measured)?;
                rates.push(rate());
            }
        }
        Ok(())
    })?;
    if let Some(link) = xdp {
        feeder.xdp("xdp_switch")?.detach(link)?;
    }
    if let Some(link) = ingress {
        feeder.tc("tc_ingress_switch")?.detach(link)?;
    }
    feeder.tc("tc_switch")?.detach(egress)?;
    let counted = kernel.read()?.rx.dss();
    ensure!(counted > 1000, "{counted} DSS came in");
    let losses = |part: &[f64], whole: &[f64]| -> Vec<_> {
        let shares = shares(part, whole).into_iter();
        shares.map(|share| 100.0 - share).collect()
    };
    let both = empty.iter().zip(&again).map(|(a, b)| (a + b) / 2.0);
    let lost = losses(&probed, &both.collect::<Vec<_>>());
    let noise = losses(&again, &empty);
    let hooks = if is_xdp { "XDP and TCX" } else { "TCX alone" };
    let row = |name, unit, samples| {
        let name = format!("MPTCP transfer, {hooks}: {name}");
        Row::new(name, unit, samples)
    };
    Ok(vec![
        row("empty programs", "Gbit/s", empty),
        row("the probe", "Gbit/s", probed),
        row("lost to empty ones (noise)", "%", noise),
        row("lost to the probe", "%", lost).wanted(Wanted::AtMost(2.0)),
    ])
}

/// A transfer that goes on while `measure` asks for its rate, in Gbit/s of the next slice.
///
/// The receiver tells the sender of each block that it took, as who speaks HTTP or NFS does, and the sender has a few
/// under way. So none is lost for want of room in the interface's ring, and MPTCP's window never closes: Linux 6.18
/// goes on from that by a timer at times, and the rate would be the timer's.
fn transfer(pair: &Pair, measure: impl FnOnce(&dyn Fn() -> f64) -> Result<()>) -> Result<()> {
    let (mut client, mut server) = pair.connect()?;
    let (received, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let rate = || {
        thread::sleep(SETTLE);
        let (start, before) = (Instant::now(), received.load(Relaxed));
        thread::sleep(SLICE);
        let bytes = received.load(Relaxed) - before;
        bytes as f64 * 8e-9 / start.elapsed().as_secs_f64()
    };
    thread::scope(|scope| -> Result<()> {
        let sender = scope.spawn(|| -> Result<()> {
            let block = [0x5a; BLOCK];
            let (mut under_way, mut taken) = (0, [0; BLOCKS]);
            while !is_over.load(Relaxed) {
                while under_way < BLOCKS {
                    client.write_all(&block)?;
                    under_way += 1;
                }
                under_way -= client.read(&mut taken)?;
            }
            Ok(client.shutdown(Shutdown::Write)?)
        });
        let receiver = scope.spawn(|| -> Result<()> {
            let mut buffer = vec![0; BLOCK * BLOCKS];
            let mut part = 0;
            loop {
                let bytes = server.read(&mut buffer)?;
                if bytes == 0 {
                    return Ok(());
                }
                received.fetch_add(bytes as u64, Relaxed);
                part += bytes;
                server.write_all(&[1; BLOCKS][..part / BLOCK])?;
                part %= BLOCK;
            }
        });
        let measured = measure(&rate);
        is_over.store(true, Relaxed);
        for thread in [sender, receiver] {
            thread.join().unwrap_or(Ok(()))?;
        }
        measured
    })
}
