//! How fast captures are read: `cargo test -p mptcp-tests --test capture_speed -- --ignored
//! --nocapture`, with a release binary and 2 GB of room in the directory for temporary files.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Result, ensure};
use mptcp_tests::{
    net::output,
    probe::binary,
    record::{self, PCAP, Record, pcap},
};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;

/// Payload of the data packet that is sent on and on.
const PAYLOAD: u32 = 1424;

/// One gigabyte of a bulk transfer, of which at most `snap_length` bytes per packet were captured: its
/// beginning is real, and its data goes on as it began. Returns the number of packets.
fn write_bulk(path: &Path, snap_length: usize) -> Result<u64> {
    let basic = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/captures/basic.pcap");
    let records = record::read(&fs::read(basic)?)?;
    let (start, [data, acknowledgment]) = (&records[..5], [&records[5], &records[6]]);
    let mut file = BufWriter::new(File::create(path)?);
    let mut written = 0;
    let mut packets = 0;
    let mut write = |record: &Record| -> Result<usize> {
        let mut record = record.clone();
        record.bytes.truncate(snap_length);
        record.nanoseconds += packets * 1000;
        packets += 1;
        let bytes = pcap(PCAP, 1, &[record]);
        let skipped = if packets == 1 { 0 } else { 24 };
        file.write_all(&bytes[skipped..])?;
        Ok(bytes.len() - skipped)
    };
    for record in start {
        written += write(record)?;
    }
    let mut sent = 0;
    while written < 1 << 30 {
        // Sequence number, data sequence number, subflow sequence number.
        let mut bulk = data.clone();
        add(&mut bulk.bytes[38..42], sent);
        add(&mut bulk.bytes[74..82], sent);
        add(&mut bulk.bytes[82..86], sent);
        written += write(&bulk)?;
        // Acknowledgment, DATA_ACK.
        let mut answer = acknowledgment.clone();
        add(&mut answer.bytes[42..46], sent);
        add(&mut answer.bytes[70..78], sent);
        written += write(&answer)?;
        sent += u64::from(PAYLOAD);
    }
    file.flush()?;
    Ok(packets)
}

/// Adds to a big-endian number.
fn add(number: &mut [u8], addend: u64) {
    let value = number
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte));
    let sum = (value + addend).to_be_bytes();
    number.copy_from_slice(&sum[8 - number.len()..]);
}

/// Processor time of a command, in user space and in the kernel.
fn timed(command: &mut Command) -> Result<(String, Duration)> {
    let used = || -> Result<Duration> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        let micros = |time: nix::sys::time::TimeVal| {
            Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000)
        };
        Ok(micros(usage.user_time()) + micros(usage.system_time()))
    };
    let before = used()?;
    let text = output(command)?;
    Ok((text, used()? - before))
}

#[test]
#[ignore = "takes minutes, and a machine that does nothing else"]
fn a_gigabyte() -> Result<()> {
    let directory = std::env::temp_dir().join(format!("mptcp-speed-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let path = directory.join("bulk.pcap");
    for (snap_length, packets_per_second, bytes_per_second) in
        [(128, 5e6, 0.0), (1 << 18, 0.0, 2e9)]
    {
        let packets = write_bulk(&path, snap_length)?;
        let bytes = path.metadata()?.len();
        let mut ours = Command::new(binary());
        ours.args(["stat", "--output", "json", "-logFile"])
            .arg(&path);
        let (text, time) = timed(&mut ours)?;
        let stat: Value = serde_json::from_str(&text)?;
        ensure!(stat["source"]["frames"] == packets, "{}", stat["source"]);
        let mut tshark = Command::new("tshark");
        tshark
            .arg("-r")
            .arg(&path)
            .args(["-T", "fields", "-e", "tcp.options.mptcp.subtype"]);
        tshark.args(["-c", "200000"]);
        let (_, witness) = timed(&mut tshark)?;
        let rates = [packets as f64, bytes as f64].map(|total| total / time.as_secs_f64());
        let times = rates[0] / (200_000.0 / witness.as_secs_f64());
        println!(
            "snap length {snap_length}: {packets} packets, {bytes} bytes in {time:?}: {:.1} million \
             packets/s, {:.2} GB/s, {times:.0} times tshark's speed",
            rates[0] / 1e6,
            rates[1] / 1e9,
        );
        ensure!(rates[0] >= packets_per_second && rates[1] >= bytes_per_second && times >= 50.0);
    }
    fs::remove_dir_all(directory)?;
    Ok(())
}
