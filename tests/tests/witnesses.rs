//! The witnesses agree with each other, and with the kernel's own counters, on real captures: those
//! in ../shared/captures beside the project, where they exist. Traffic made on the spot is compared
//! in `kernel_traffic`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::witness::{Seen, tshark};
use serde_json::Value;

/// Capture files of Ethernet that hold what some stack sent; none without the directory.
fn captures() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures");
    let mut files: Vec<_> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Odd options are no test of witnesses: tshark is lenient with them.
            let is_odd = name.starts_with("handmade") || name.contains("oobr");
            name.ends_with(".pcap") && !is_odd && is_ethernet(path)
        })
        .collect();
    files.sort();
    if files.is_empty() {
        eprintln!("no ../shared/captures: nothing to compare");
    }
    files
}

/// A little-endian pcap file with link type 1.
fn is_ethernet(path: &Path) -> bool {
    fs::read(path).is_ok_and(|file| {
        file.starts_with(&[0xd4, 0xc3, 0xb2, 0xa1]) && file.get(20..24) == Some(&[1, 0, 0, 0])
    })
}

#[test]
fn tshark_and_the_second_decoder_count_the_same() -> Result<()> {
    let files = captures();
    let mut total = [0; 9];
    for path in &files {
        let seen = Seen::of(&[path]).with_context(|| path.display().to_string())?;
        let counts = tshark(&[path])?;
        ensure!(
            counts == seen.defined(),
            "{}: tshark {counts:?}, second decoder {:?}",
            path.display(),
            seen.options
        );
        for (sum, count) in total.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    // MP_PRIO (5) is in none of them; the sessions of `kernel_traffic` have it.
    let is_missing = |subtype: &usize| *subtype != 5 && total[*subtype] == 0;
    ensure!(
        files.is_empty() || !(0..9).any(|subtype| is_missing(&subtype)),
        "a subtype is in none of {} captures: {total:?}",
        files.len()
    );
    Ok(())
}

#[test]
fn the_kernels_own_counters_say_the_same() -> Result<()> {
    for path in captures() {
        let Ok(text) = fs::read_to_string(path.with_extension("nstat")) else {
            continue;
        };
        let mibs: Value = serde_json::from_str(&text)?;
        let mib = |host: &str, name: &str| {
            mibs[host][format!("MPTcpExt{name}")]
                .as_u64()
                .unwrap_or_default()
        };
        let both = |name| mib("client", name) + mib("server", name);
        let seen = Seen::of(&[&path])?;
        for (what, wire, kernel) in [
            ("MP_JOIN SYNs", seen.join_syn, both("MPJoinSynRx")),
            (
                "ADD_ADDR",
                seen.options[3],
                both("AddAddrTx") + both("EchoAdd"),
            ),
            ("REMOVE_ADDR", seen.options[4], both("RmAddrTx")),
            ("MP_PRIO", seen.options[5], both("MPPrioRx")),
            ("MP_FAIL", seen.options[6], both("MPFailTx")),
            ("MP_FASTCLOSE", seen.options[7], both("MPFastcloseRx")),
        ] {
            ensure!(
                wire == kernel,
                "{}: {what}: {wire} on the wire, {kernel} in the kernel's counters",
                path.display()
            );
        }
    }
    Ok(())
}
