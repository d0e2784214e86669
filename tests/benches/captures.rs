//! `cargo xtask bench --captures`: how fast captures are read on one core, beside tshark.
//!
//! A gigabyte of a bulk transfer is written, and read from the page cache: cut off at 128 bytes a
//! packet, and in full frames. tshark finds the subtypes of as many packets as it has time for. Times
//! are judged in what this prints and nowhere else; the counts have to be the same.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    net::output,
    probe::binary,
    record::{self, PCAP, pcap},
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::resource::{UsageWho, getrusage},
    unistd::Pid,
};
use serde_json::{Value, json};

/// How often a capture is read.
const ROUNDS: usize = 5;
/// Packets that tshark gets.
const WITNESSED: u64 = 200_000;
/// How much faster than tshark this is to be.
const TIMES: f64 = 50.0;

/// What is read, and how fast that has to be.
struct Capture {
    name: &'static str,
    snap_length: usize,
    packets_per_second: Option<f64>,
    bytes_per_second: Option<f64>,
}

const CAPTURES: [Capture; 2] = [
    Capture {
        name: "snap length 128",
        snap_length: 128,
        packets_per_second: Some(5e6),
        bytes_per_second: None,
    },
    Capture {
        name: "full frames",
        snap_length: 1 << 18,
        packets_per_second: None,
        bytes_per_second: Some(2e9),
    },
];

/// What it took.
struct Reading {
    packets: u64,
    /// Those without a DSS.
    others: u64,
    bytes: u64,
    /// Of each round, the shortest first.
    times: Vec<Duration>,
    /// Memory that was in use at most, in KiB.
    memory: i64,
    /// Of [`WITNESSED`] packets.
    tshark: Duration,
}

impl Reading {
    fn rates(&self, time: Duration) -> [f64; 2] {
        [self.packets, self.bytes].map(|total| total as f64 / time.as_secs_f64())
    }

    fn times_tshark(&self, time: Duration) -> f64 {
        self.rates(time)[0] / (WITNESSED as f64 / self.tshark.as_secs_f64())
    }
}

fn main() -> Result<()> {
    let is_json = std::env::args().any(|argument| argument == "json");
    let mut cpu = CpuSet::new();
    cpu.set(0)?;
    sched_setaffinity(Pid::from_raw(0), &cpu)?;
    let directory = std::env::temp_dir().join(format!("mptcp-captures-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let rows = measure(&directory);
    fs::remove_dir_all(directory)?;
    let rows = rows?;
    if is_json {
        println!("{}", json!({ "captures": rows }));
    } else {
        table(&rows);
    }
    Ok(())
}

fn measure(directory: &Path) -> Result<Vec<Value>> {
    let captures = CAPTURES.map(|capture| (directory.join(capture.name), capture));
    let mut readings = Vec::new();
    for (path, capture) in &captures {
        readings.push(read(capture, path)?);
    }
    // Behind them: the kernel tells the most memory of all processes that were waited for.
    let mut rows = Vec::new();
    for (reading, (path, capture)) in readings.iter_mut().zip(&captures) {
        reading.tshark = witness(reading, path)?;
        rows.push(row(capture, reading));
    }
    Ok(rows)
}

/// Writes a capture and reads it.
fn read(capture: &Capture, path: &Path) -> Result<Reading> {
    let packets = write_bulk(path, capture.snap_length)?;
    let mut times = Vec::new();
    let mut others = Vec::new();
    for round in 0..=ROUNDS {
        let start = Instant::now();
        let text = output(
            Command::new(binary())
                .args(["stat", "--output", "json", "-logFile"])
                .arg(path),
        )?;
        let stat: Value = serde_json::from_str(&text)?;
        let time = start.elapsed();
        // The first one brings the file into the page cache.
        if round > 0 {
            times.push(time);
        }
        ensure!(stat["source"]["frames"] == packets, "{}", stat["source"]);
        let dss = ["rx", "tx", "unknown"].map(|way| stat["options"][way]["DSS"].as_u64());
        let dss: Option<u64> = dss.into_iter().sum();
        others.push(packets - dss.context("no count of DSS")?);
    }
    ensure!(others.iter().all(|count| *count == others[0]));
    times.sort();
    Ok(Reading {
        packets,
        others: others[0],
        bytes: path.metadata()?.len(),
        times,
        memory: getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss(),
        tshark: Duration::ZERO,
    })
}

/// How long tshark takes for the first packets, among which are all without a DSS.
fn witness(reading: &Reading, path: &Path) -> Result<Duration> {
    let mut tshark = Command::new("tshark");
    tshark.args(["-T", "fields", "-e", "tcp.options.mptcp.subtype", "-r"]);
    tshark.arg(path).args(["-c", &WITNESSED.to_string()]);
    let start = Instant::now();
    let text = output(&mut tshark)?;
    let elapsed = start.elapsed();
    let others = WITNESSED - text.lines().filter(|line| *line == "2").count() as u64;
    ensure!(
        others == reading.others,
        "{} packets without DSS, by tshark {others}",
        reading.others
    );
    Ok(elapsed)
}

fn row(capture: &Capture, reading: &Reading) -> Value {
    let (least, median) = (reading.times[0], reading.times[reading.times.len() / 2]);
    let [packets, bytes] = reading.rates(least);
    let is_within = capture
        .packets_per_second
        .is_none_or(|least| packets >= least)
        && capture.bytes_per_second.is_none_or(|least| bytes >= least)
        && reading.times_tshark(least) >= TIMES;
    json!({
        "capture": capture.name,
        "packets": reading.packets,
        "bytes": reading.bytes,
        "least_s": least.as_secs_f64(),
        "median_s": median.as_secs_f64(),
        "packets_per_second": packets.round(),
        "bytes_per_second": bytes.round(),
        "times_tshark": reading.times_tshark(least).round(),
        "memory_kib": reading.memory,
        "wanted": {
            "packets_per_second": capture.packets_per_second,
            "bytes_per_second": capture.bytes_per_second,
            "times_tshark": TIMES,
        },
        "is_reached": is_within,
    })
}

fn table(rows: &[Value]) {
    println!(
        "{:16} {:>9} {:>11} {:>8} {:>8} {:>6} {:>7} {:>10}",
        "", "least s", "median s", "M pkt/s", "GB/s", "MiB", "tshark", "wanted"
    );
    for row in rows {
        let number = |name: &str| row[name].as_f64().unwrap_or(f64::NAN);
        let wanted = &row["wanted"];
        let wanted = match wanted["packets_per_second"].as_f64() {
            Some(packets) => format!("{} M pkt/s", packets / 1e6),
            None => format!(
                "{} GB/s",
                wanted["bytes_per_second"].as_f64().unwrap_or(0.0) / 1e9
            ),
        };
        println!(
            "{:16} {:>9.3} {:>11.3} {:>8.2} {:>8.2} {:>6.0} {:>6}x {wanted:>10}, {TIMES}x {}",
            row["capture"].as_str().unwrap_or_default(),
            number("least_s"),
            number("median_s"),
            number("packets_per_second") / 1e6,
            number("bytes_per_second") / 1e9,
            number("memory_kib") / 1024.0,
            number("times_tshark"),
            if row["is_reached"] == true {
                "reached"
            } else {
                "NOT REACHED"
            },
        );
    }
}

/// One gigabyte of a bulk transfer, of which at most `snap_length` bytes per packet were captured. Returns
/// the number of packets.
fn write_bulk(path: &Path, snap_length: usize) -> Result<u64> {
    let mut file = BufWriter::new(File::create(path)?);
    let mut written = 0;
    let mut packets = 0;
    for mut record in record::bulk()? {
        record.bytes.truncate(snap_length);
        record.nanoseconds += packets * 1000;
        let bytes = pcap(PCAP, 1, &[record]);
        let skipped = if packets == 0 { 0 } else { 24 };
        file.write_all(&bytes[skipped..])?;
        packets += 1;
        written += bytes.len() - skipped;
        if written >= 1 << 30 {
            break;
        }
    }
    file.flush()?;
    Ok(packets)
}
