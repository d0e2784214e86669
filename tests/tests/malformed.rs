//! The hand-made odd options of ../shared/captures, where that folder is: each gets the verdict
//! that docs/malformed.md lists, from the engine on the host and from the program in the kernel,
//! and tcpdump's verdict is the one that is listed beside it.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use mptcp_common::{
    counter::{Counters, DirectionCounters},
    wire::Fault,
};
use mptcp_tests::{
    kernel::{Kernel, Program},
    net::output,
    record,
};

const DOCUMENT: &str = include_str!("../../docs/malformed.md");

/// Case, our verdict, tcpdump's.
fn documented() -> BTreeMap<&'static str, (&'static str, &'static str)> {
    DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|line| {
            let mut cells = line.split('|').map(str::trim);
            let mut next = || cells.next().expect("four cells");
            (next().trim_end_matches('`'), (next(), next()))
        })
        .collect()
}

fn verdict(counted: &Counters) -> String {
    let events: &DirectionCounters = &counted.rx;
    let faults: Vec<_> = Fault::ALL
        .into_iter()
        .filter(|fault| events.invalid[*fault as usize] > 0)
        .map(|fault| format!("{fault:?}").to_lowercase())
        .collect();
    if !faults.is_empty() {
        faults.join(", ")
    } else if events.subtype_unassigned > 0 {
        "unassigned".to_owned()
    } else if counted.leaves.mptcp > 0 {
        "ok".to_owned()
    } else {
        "no option".to_owned()
    }
}

/// What tcpdump prints of each packet.
fn tcpdump(path: &Path) -> Result<Vec<&'static str>> {
    let text = output(Command::new("tcpdump").args(["-nn", "-r"]).arg(path))?;
    Ok(text
        .lines()
        .map(|line| {
            if line.contains("[bad opt]") || line.contains("[|tcp]") {
                "bad"
            } else if line.contains("mptcp") {
                "ok"
            } else {
                "no option"
            }
        })
        .collect())
}

#[test]
fn each_case_has_its_verdict() -> Result<()> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let path = base.join("handmade__malformed.pcap");
    if !path.exists() {
        eprintln!("no {}: nothing to judge", path.display());
        return Ok(());
    }
    let file = fs::read(&path)?;
    let names = fs::read_to_string(base.join("handmade__malformed.names"))?;
    let records = record::read(&file)?;
    let tcpdump = tcpdump(&path)?;
    let documented = documented();
    ensure!(records.len() == names.lines().count() && records.len() == tcpdump.len());
    ensure!(
        records.len() == documented.len(),
        "{} cases are documented",
        documented.len()
    );
    let mut kernel = Kernel::new()?;
    let mut differ = Vec::new();
    for ((name, record), tcpdump) in names.lines().zip(records).zip(tcpdump) {
        let ours = verdict(&kernel.run(Program::XdpIngress, &record.bytes)?);
        let wanted = documented
            .get(name)
            .with_context(|| format!("{name} is not documented"))?;
        if (ours.as_str(), tcpdump) != *wanted {
            differ.push(format!("{name}: {ours} | {tcpdump}, documented {wanted:?}"));
        }
    }
    ensure!(differ.is_empty(), "{}", differ.join("\n"));
    Ok(())
}
