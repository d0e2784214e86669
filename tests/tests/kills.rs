//! A loader that is killed, wherever in its run; probes that come and go; programs that are replaced under load. No
//! packet is lost to the counts, nobody who reads is blind, and nothing is left behind.
//!
//! How often, environment variables say: `MPTCP_KILLS`, `MPTCP_CYCLES`, `MPTCP_REPLACEMENTS`.

use std::{
    collections::BTreeSet,
    env, fs,
    path::Path,
    process::{Child, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    maps::{MapInfo, loaded_maps},
    programs::loaded_programs,
};
use mptcp_tests::{
    frame::{ACK, Frame, option},
    net::{Attached as _, Family, Namespace, Pair, wait_until},
    packet::packet_socket,
    probe::Probe,
};
use nix::libc;
use serde_json::Value;
use socket2::Socket;

/// How often, unless the environment says otherwise.
fn times(variable: &str, usual: u32) -> Result<u32> {
    match env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}={text}")),
        Err(_) => Ok(usual),
    }
}

/// Senders of packets with a DSS each, at both ends of c0-s0, which no stack takes.
struct Wire<'a> {
    up: Socket,
    down: Socket,
    frame: Vec<u8>,
    client: &'a Namespace,
    server: &'a Namespace,
}

impl<'a> Wire<'a> {
    fn new(pair: &'a Pair) -> Result<Self> {
        let mut frame = Frame::new(ACK, &option(2, 0, &[1, 0, 0, 0, 9]), 0).bytes();
        frame[..6].copy_from_slice(&[2, 0xee, 0xee, 0xee, 0xee, 0xee]);
        let socket = |host: &Namespace, name| {
            let socket = host.enter(|| packet_socket(name))?;
            // Nobody reads here.
            socket.set_recv_buffer_size(1)?;
            Ok::<_, anyhow::Error>(socket)
        };
        Ok(Self {
            up: socket(&pair.client, "c0")?,
            down: socket(&pair.server, "s0")?,
            frame,
            client: &pair.client,
            server: &pair.server,
        })
    }

    /// Those that the link drops, as far as that is told at once, are among them.
    fn send(&self, socket: &Socket, packets: u64) -> Result<()> {
        for _ in 0..packets {
            match socket.send(&self.frame) {
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                sent => {
                    sent?;
                }
            }
        }
        Ok(())
    }

    /// Frames that the links dropped before they were received.
    fn dropped(&self) -> Result<[u64; 2]> {
        let dropped = |host: &Namespace, name: &str| {
            let text = host.ip(&format!("-s -j link show {name}"))?;
            let links: Value = serde_json::from_str(&text)?;
            let dropped = &links[0]["stats64"]["tx"]["dropped"];
            dropped.as_u64().context("no statistics")
        };
        Ok([dropped(self.client, "c0")?, dropped(self.server, "s0")?])
    }
}

/// DSS received and sent.
fn counted(probe: &Probe, interface: &str) -> Result<[u64; 2]> {
    let stat = probe.stat(&["-i", interface])?;
    let number = |direction: &str| stat["options"][direction]["DSS"].as_u64().context("no DSS");
    Ok([number("rx")?, number("tx")?])
}

/// Sends some packets each way, and fails unless they are counted.
fn counts_both_ways(probe: &Probe, wire: &Wire<'_>) -> Result<()> {
    let before = counted(probe, "s0")?;
    wire.send(&wire.up, 7)?;
    wire.send(&wire.down, 5)?;
    let wanted = [before[0] + 7, before[1] + 5];
    let mut now = before;
    wait_until(|| {
        now = counted(probe, "s0")?;
        Ok(now[0] >= wanted[0] && now[1] >= wanted[1])
    })
    .with_context(|| format!("{now:?} of {wanted:?}"))?;
    ensure!(now == wanted, "{now:?} and not {wanted:?}");
    Ok(())
}

/// What a probe has in the kernel, by their numbers: maps that are pinned, and the programs that use them.
#[derive(Debug, Default)]
struct Objects {
    maps: BTreeSet<u32>,
    programs: BTreeSet<u32>,
}

impl Objects {
    fn of(probe: &Probe) -> Result<Self> {
        let mut maps = BTreeSet::new();
        pinned_maps(probe.pins(), &mut maps)?;
        let mut programs = BTreeSet::new();
        for program in loaded_programs() {
            // One that has just gone cannot be asked.
            let Ok(program) = program else { continue };
            let Ok(Some(used)) = program.map_ids() else {
                continue;
            };
            if used.iter().any(|id| maps.contains(id)) {
                programs.insert(program.id());
            }
        }
        Ok(Self { maps, programs })
    }

    /// Waits until the kernel has none of them.
    fn are_gone(&self) -> Result<()> {
        wait_until(|| {
            let maps = loaded_maps().flatten().map(|map| map.id());
            let programs = loaded_programs().flatten().map(|program| program.id());
            let maps = maps.filter(|id| self.maps.contains(id)).count();
            let programs = programs.filter(|id| self.programs.contains(id)).count();
            Ok(maps + programs == 0)
        })
        .context("maps or programs stay")
    }
}

fn pinned_maps(directory: &Path, maps: &mut BTreeSet<u32>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            pinned_maps(&entry.path(), maps)?;
        } else if let Ok(map) = MapInfo::from_pin(entry.path()) {
            maps.insert(map.id());
        }
    }
    Ok(())
}

/// Detaches all, and fails if anything stays.
fn detach(probe: &Probe, server: &Namespace, interfaces: &[&str]) -> Result<()> {
    let objects = Objects::of(probe)?;
    ensure!(
        objects.maps.len() > 5 && objects.programs.len() > 1,
        "{objects:?}"
    );
    probe.run(&[&["detach", "-i"], interfaces].concat())?;
    ensure!(!probe.pins().exists(), "pins stay");
    for interface in interfaces {
        let left = server.programs(interface)?;
        ensure!(left.is_empty(), "{left:?} at {interface}");
    }
    objects.are_gone()
}

/// Processor time of a child so far. It says where a run is on a busy machine, too.
fn processor_time(child: &Child) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{}/schedstat", child.id())).ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

fn loader(probe: &Probe) -> Result<Child> {
    let mut command = probe.command(&["attach", "-i", "s0"]);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command.spawn()?)
}

const PAUSE: Duration = Duration::from_micros(200);

/// Processor time that an attach takes.
fn length(probe: &Probe) -> Result<Duration> {
    let mut loader = loader(probe)?;
    let mut length = Duration::ZERO;
    while loader.try_wait()?.is_none() {
        length = length.max(processor_time(&loader).unwrap_or_default());
        thread::sleep(PAUSE);
    }
    Ok(length)
}

/// Attaches, and kills the loader after so much processor time. Returns whether it was still there.
fn kill(probe: &Probe, after: Duration) -> Result<bool> {
    let mut loader = loader(probe)?;
    while processor_time(&loader).is_some_and(|time| time < after) && loader.try_wait()?.is_none() {
        thread::sleep(PAUSE);
    }
    let was_there = loader.try_wait()?.is_none();
    let _ = loader.kill();
    loader.wait()?;
    Ok(was_there)
}

#[test]
fn killed_at_moments_all_over_its_run() -> Result<()> {
    let kills = times("MPTCP_KILLS", 10)?;
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    let wire = Wire::new(&pair)?;
    let length = length(&probe)?;
    probe.run(&["detach", "-i", "s0"])?;
    let (mut killed, mut leftovers) = (0, 0);
    for k in 0..kills {
        let after = length * k / kills;
        let context = || format!("killed after {after:?} of {length:?}");
        // Who looks at another interface must not notice.
        let has_another = k % 2 == 0;
        if has_another {
            probe.run(&["attach", "-i", "s1"])?;
        }
        killed += u32::from(kill(&probe, after)?);
        leftovers += u32::from(!pair.server.programs("s0")?.is_empty());
        if has_another {
            probe.stat(&[]).with_context(context)?;
            counted(&probe, "s1").with_context(context)?;
        }
        probe.run(&["attach", "-i", "s0"]).with_context(context)?;
        let status = probe.status()?;
        for interface in status["interfaces"].as_array().context("no interfaces")? {
            ensure!(
                interface["state"] == "counting",
                "{}: {interface}",
                context()
            );
        }
        counts_both_ways(&probe, &wire).with_context(context)?;
        probe.stat(&[]).with_context(context)?;
        let interfaces: &[_] = if has_another { &["s0", "s1"] } else { &["s0"] };
        detach(&probe, &pair.server, interfaces).with_context(context)?;
    }
    println!("{killed} of {kills} loaders were killed in {length:?}, {leftovers} left programs");
    ensure!(killed > kills / 2 && leftovers < kills, "not all over it");
    Ok(())
}

#[test]
fn comes_and_goes_many_times() -> Result<()> {
    let cycles = times("MPTCP_CYCLES", 12)?;
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    let wire = Wire::new(&pair)?;
    let start = Instant::now();
    for cycle in 0..cycles {
        let context = || format!("cycle {cycle}");
        let said = probe.run(&["attach", "-i", "s0"])?;
        ensure!(!said.contains("replaced"), "{said}");
        ensure!(counted(&probe, "s0")? == [0, 0], "old counts stay");
        counts_both_ways(&probe, &wire).with_context(context)?;
        detach(&probe, &pair.server, &["s0"]).with_context(context)?;
    }
    println!(
        "{cycles} times attached and detached in {:?}",
        start.elapsed()
    );
    Ok(())
}

/// Packets both ways all the time, a reader that reads all the time, and `change` so many times. All are counted.
fn under_load(
    arguments: &[&str],
    packets: u64,
    changes: u32,
    mut change: impl FnMut(&Probe, u32) -> Result<()>,
) -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&[&["attach", "-i", "s0"], arguments].concat())?;
    let wire = Wire::new(&pair)?;
    pair.settle()?;
    let dropped = wire.dropped()?;
    let done = AtomicBool::new(false);
    let start = Instant::now();
    let (sent, readings) = thread::scope(|scope| -> Result<_> {
        let (wire, done, probe) = (&wire, &done, &probe);
        let send = |socket| {
            move || -> Result<u64> {
                let mut sent = 0;
                while sent < packets / 2 || !done.load(Ordering::Relaxed) {
                    wire.send(socket, 100)?;
                    sent += 100;
                    // The others need a processor, too.
                    thread::sleep(Duration::from_micros(100));
                }
                Ok(sent)
            }
        };
        let senders = [&wire.up, &wire.down].map(|socket| scope.spawn(send(socket)));
        let reader = scope.spawn(move || -> Result<u64> {
            let (mut last, mut readings) = ([0, 0], 0);
            while !done.load(Ordering::Relaxed) {
                let now = counted(probe, "s0").with_context(|| format!("after {last:?}"))?;
                ensure!(
                    now[0] >= last[0] && now[1] >= last[1],
                    "{now:?} behind {last:?}"
                );
                (last, readings) = (now, readings + 1);
                thread::sleep(Duration::from_millis(2));
            }
            Ok(readings)
        });
        let changed = (0..changes).try_for_each(|i| change(probe, i));
        done.store(true, Ordering::Relaxed);
        let readings = reader.join().expect("no panic");
        let mut sent = [0; 2];
        for (sent, sender) in sent.iter_mut().zip(senders) {
            *sent = sender.join().expect("no panic")?;
        }
        changed?;
        Ok((sent, readings?))
    })?;
    let elapsed = start.elapsed();
    let now = wire.dropped()?;
    let lost = [now[0] - dropped[0], now[1] - dropped[1]];
    let wanted = [sent[0] - lost[0], sent[1] - lost[1]];
    let mut counted_now = [0, 0];
    let waited = wait_until(|| {
        counted_now = counted(&probe, "s0")?;
        Ok(counted_now == wanted)
    });
    println!(
        "{changes} changes in {elapsed:?}: {sent:?} packets sent, {lost:?} dropped by the links, \
         {counted_now:?} counted; {readings} readings"
    );
    waited?;
    ensure!(readings > 1, "{readings} readings");
    detach(&probe, &pair.server, &["s0"])
}

fn replaced_under_load(xdp: &str) -> Result<()> {
    let replacements = times("MPTCP_REPLACEMENTS", 5)?;
    let packets = 50_000 * u64::from(replacements);
    let arguments = ["--xdp", xdp];
    under_load(&arguments, packets, replacements, |probe, _| {
        let said = probe.run(&[&["attach", "-i", "s0"], &arguments[..]].concat())?;
        ensure!(said.contains("replaced"), "{said}");
        Ok(())
    })
}

#[test]
fn replaced_under_load_at_xdp() -> Result<()> {
    replaced_under_load("auto")
}

#[test]
fn replaced_under_load_at_tc() -> Result<()> {
    replaced_under_load("off")
}

/// A replacement that is killed half-way, and then made.
#[test]
fn a_replacement_is_killed_under_load() -> Result<()> {
    let kills = times("MPTCP_KILLS", 8)?;
    let mut length = Duration::ZERO;
    under_load(&[], 0, kills + 1, |probe, i| {
        if i == 0 {
            length = self::length(probe)?;
            return Ok(());
        }
        kill(probe, length * i / kills)?;
        probe.stat(&[])?;
        if i % 4 == 0 {
            probe.run(&["attach", "-i", "s0"])?;
        }
        Ok(())
    })
}
