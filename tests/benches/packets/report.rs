//! What was measured, for people and for programs.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};

use crate::feeder::Hook;

/// The line that the others are compared with: a figure that is known from many machines.
pub(crate) const LOOKUP: &str = "one lookup in an LRU hash map";

/// So many packets of a line at XDP ingress, by its name and its sessions.
type Part = (u32, &'static str, u32);

/// Traffic as it comes.
const MIXES: [(&str, &[Part]); 4] = [
    (
        "bulk: an acknowledgment for two data packets",
        &[
            (2, "DSS data, part of a mapping", 1000),
            (1, "DSS acknowledgment", 1000),
        ],
    ),
    (
        "web: handshake, join, ten data packets, ten acknowledgments",
        &[
            (1, "MP_CAPABLE SYN, a new entry", 0),
            (1, "MP_CAPABLE SYN/ACK", 0),
            (1, "MP_CAPABLE ACK, tokens derived", 0),
            (1, "MP_JOIN SYN", 0),
            (1, "MP_JOIN SYN/ACK, HMAC checked", 0),
            (1, "MP_JOIN ACK, HMAC checked", 0),
            (10, "DSS data", 1000),
            (10, "DSS acknowledgment", 1000),
        ],
    ),
    (
        "storm: handshakes and nothing else",
        &[
            (1, "MP_CAPABLE SYN, a new entry", 0),
            (1, "MP_CAPABLE SYN/ACK", 0),
            (1, "MP_CAPABLE ACK, tokens derived", 0),
        ],
    ),
    (
        "other: nine of ten packets are not MPTCP",
        &[(9, "TCP with a timestamp", 1000), (1, "DSS data", 1000)],
    ),
];

/// What a packet of a mix costs, in nanoseconds: computed from the lines that it is made of.
fn mixed(rows: &[Row], parts: &[Part]) -> f64 {
    let cost = |name: &str, sessions| {
        rows.iter()
            .find(|row| row.hook == Hook::Xdp && row.name == name && row.sessions == sessions)
            .map_or(f64::NAN, Row::least)
    };
    let (packets, time) =
        parts
            .iter()
            .fold((0.0, 0.0), |(packets, time), (count, name, sessions)| {
                let count = f64::from(*count);
                (packets + count, time + count * cost(name, *sessions))
            });
    time / packets
}

/// All, or all but one in a hundred.
pub(crate) fn is_nearly(counted: u64, wanted: u64) -> bool {
    counted <= wanted && counted * 100 >= wanted * 99
}

/// The values that a quarter, half and three quarters are not above.
pub(crate) fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

/// Where the median of what was sampled is, at 95 %: between two of the samples, by their ranks. A few samples do
/// not tell.
pub(crate) fn interval(mut values: Vec<f64>) -> Option<[f64; 2]> {
    let count = values.len();
    // Below the median are as many as of so many coins fall on one side.
    let below = (count as f64 / 2.0 - 1.96 * (count as f64).sqrt() / 2.0).floor();
    if below < 1.0 {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let rank = below as usize - 1;
    Some([values[rank], values[count - 1 - rank]])
}

/// A line of the table: times per packet without and with the program.
pub(crate) struct Row {
    pub(crate) hook: Hook,
    name: &'static str,
    sessions: u32,
    budget: Option<f64>,
    samples: Vec<[f64; 2]>,
}

impl Row {
    pub(crate) fn new(hook: Hook, name: &'static str, sessions: u32, budget: Option<f64>) -> Self {
        Self {
            hook,
            name,
            sessions,
            budget,
            samples: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, sample: [f64; 2]) {
        self.samples.push(sample);
    }

    /// Fails if the packets were not counted as what they are meant to be.
    pub(crate) fn check(&self, counted: u64, packets: u64) -> Result<()> {
        ensure!(
            is_nearly(counted, packets),
            "{}: {counted} of {packets} packets counted as that",
            self.name
        );
        Ok(())
    }

    /// Least time without the program.
    fn floor(&self) -> f64 {
        self.least_of(0)
    }

    /// Least time with it, less the least without: what others do on the machine only adds.
    fn least(&self) -> f64 {
        self.least_of(1) - self.least_of(0)
    }

    fn least_of(&self, part: usize) -> f64 {
        self.samples
            .iter()
            .map(|sample| sample[part])
            .fold(f64::INFINITY, f64::min)
    }

    /// Quartiles of the difference between neighbours.
    fn quartiles(&self) -> [f64; 3] {
        let samples = self.samples.iter();
        quartiles(samples.map(|[floor, whole]| whole - floor).collect())
    }

    fn is_within_budget(&self) -> Option<bool> {
        Some(self.least() <= self.budget?)
    }

    fn verdict(&self) -> &'static str {
        match self.is_within_budget() {
            None => "",
            Some(true) => "within",
            Some(false) => "OVER",
        }
    }
}

/// What the figures depend on.
pub(crate) struct Machine {
    kernel: String,
    cpu: String,
    jit: String,
    mitigations: Vec<(String, String)>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or("unknown", |(_, model)| model);
        let mut mitigations: Vec<_> = fs::read_dir("/sys/devices/system/cpu/vulnerabilities")
            .into_iter()
            .flatten()
            .flatten()
            .map(|file| {
                (
                    file.file_name().to_string_lossy().into_owned(),
                    line(&file.path()),
                )
            })
            .filter(|(_, state)| state != "Not affected")
            .collect();
        mitigations.sort();
        Self {
            kernel: line("/proc/sys/kernel/osrelease".as_ref()),
            cpu: cpu.to_owned(),
            jit: line("/proc/sys/net/core/bpf_jit_enable".as_ref()),
            mitigations,
        }
    }

    fn jit(&self) -> &'static str {
        match self.jit.as_str() {
            "0" => "off",
            "unknown" => "unknown",
            _ => "on",
        }
    }
}

/// The first line of a file of the kernel.
fn line(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

impl Hook {
    fn name(self) -> &'static str {
        match self {
            Self::Xdp => "XDP ingress",
            Self::Tc => "TC egress",
        }
    }
}

/// Prints what figures depend on.
pub(crate) fn heading(machine: &Machine) {
    println!("Linux {}, {}", machine.kernel, machine.cpu);
    println!("BPF JIT {}", machine.jit());
    for (name, state) in &machine.mitigations {
        println!("{name}: {state}");
    }
}

/// Prints a table.
pub(crate) fn table(machine: &Machine, rows: &[Row]) {
    heading(machine);
    println!(
        "\nns per packet over a program that does nothing: least, median and quartiles;\n\
         lookups: how many lookups in an LRU hash map the least is\n"
    );
    println!(
        "{:11} {:32} {:>9} {:>6} {:>7} {:>7} {:>16} {:>8} {:>6}",
        "", "", "sessions", "floor", "least", "median", "quartiles", "lookups", "budget"
    );
    for row in rows {
        let [low, median, high] = row.quartiles();
        println!(
            "{:11} {:32} {:>9} {:>6.1} {:>7.1} {:>7.1} {:>16} {:>8.1} {:>6} {}",
            row.hook.name(),
            row.name,
            if row.sessions == 0 {
                String::new()
            } else {
                row.sessions.to_string()
            },
            row.floor(),
            row.least(),
            median,
            format!("{low:.1} to {high:.1}"),
            row.least() / lookup(rows),
            row.budget
                .map_or_else(String::new, |budget| budget.to_string()),
            row.verdict(),
        );
    }
    println!("\nmixes of these lines, computed: ns per packet\n");
    for (name, parts) in MIXES {
        println!("{name:60} {:>7.1}", mixed(rows, parts));
    }
}

/// What a lookup costs.
fn lookup(rows: &[Row]) -> f64 {
    let row = rows.iter().find(|row| row.name == LOOKUP);
    row.map_or(f64::NAN, Row::least)
}

/// Prints one object.
pub(crate) fn json(machine: &Machine, rows: &[Row]) -> Result<()> {
    let lookup = lookup(rows);
    let mixes: Vec<_> = MIXES
        .iter()
        .map(|(name, parts)| json!({ "mix": name, "ns": tenths(mixed(rows, parts)) }))
        .collect();
    let lines: Vec<_> = rows
        .iter()
        .map(|row| {
            let [low, median, high] = row.quartiles().map(tenths);
            json!({
                "hook": row.hook.name(),
                "packet": row.name,
                "sessions": row.sessions,
                "floor_ns": tenths(row.floor()),
                "least_ns": tenths(row.least()),
                "least_in_lookups": tenths(row.least() / lookup),
                "median_ns": median,
                "quartiles_ns": [low, high],
                "samples": row.samples.len(),
                "budget_ns": row.budget,
                "within_budget": row.is_within_budget(),
            })
        })
        .collect();
    object(machine, json!({ "rows": lines, "mixes": mixes }))
}

/// Prints one object, of what figures depend on and of them.
pub(crate) fn object(machine: &Machine, figures: Value) -> Result<()> {
    let mitigations: Map<_, _> = machine
        .mitigations
        .iter()
        .map(|(name, state)| (name.clone(), state.as_str().into()))
        .collect();
    let mut object = json!({
        "kernel": machine.kernel,
        "cpu": machine.cpu,
        "bpf_jit": machine.jit(),
        "mitigations": mitigations,
    });
    if let (Some(object), Value::Object(figures)) = (object.as_object_mut(), figures) {
        object.extend(figures);
    }
    println!("{}", serde_json::to_string_pretty(&object)?);
    Ok(())
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
