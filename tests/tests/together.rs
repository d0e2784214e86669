//! Interfaces that are attached by one command have their programs in common, and each counts by itself.

use std::{
    collections::BTreeSet,
    fs::File,
    net::{Ipv4Addr, UdpSocket},
    process::Stdio,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    net::{Attached as _, Namespace, veth, wait, wait_until},
    probe::Probe,
};
use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;

const INTERFACES: usize = 8;

/// A host with eight interfaces, and one that is at the other end of each.
struct Hosts {
    here: Namespace,
    there: Namespace,
}

fn name(i: usize) -> String {
    format!("v{i}")
}

impl Hosts {
    fn new() -> Result<Self> {
        let (here, there) = (Namespace::new("here")?, Namespace::new("there")?);
        for i in 0..INTERFACES {
            let (near, far) = (name(i), format!("w{i}"));
            veth((&here, &near), (&there, &far))?;
            for (host, interface, last) in [(&here, &near, 1), (&there, &far, 2)] {
                host.ip(&format!("addr add 10.9.{i}.{last}/24 dev {interface}"))?;
                host.ip(&format!("link set {interface} up"))?;
            }
        }
        Ok(Self { here, there })
    }

    /// Some packets by each interface: more by each next one, in both directions.
    fn talk(&self) -> Result<()> {
        for i in 0..INTERFACES {
            let [near, far] = [1, 2].map(|last| Ipv4Addr::new(10, 9, i as u8, last));
            for (host, from, to) in [(&self.here, near, far), (&self.there, far, near)] {
                host.enter(|| {
                    let socket = UdpSocket::bind((from, 0))?;
                    for _ in 0..=i {
                        // Nobody listens, and may say so.
                        let _ = socket.send_to(b"x", (to, 9));
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Packets that an interface has received and sent.
    fn packets(&self, i: usize) -> Result<u64> {
        let links: Value =
            serde_json::from_str(&self.here.ip(&format!("-j -s link show {}", name(i)))?)?;
        let number = |way: &str| links[0]["stats64"][way]["packets"].as_u64();
        Ok(number("rx").context("no rx")? + number("tx").context("no tx")?)
    }
}

/// The arguments of a command on some interfaces.
fn on(command: &str, interfaces: impl IntoIterator<Item = usize>) -> Vec<String> {
    let names = interfaces.into_iter().map(name);
    [command.to_owned(), "-i".to_owned()]
        .into_iter()
        .chain(names)
        .collect()
}

fn run(probe: &Probe, arguments: &[String]) -> Result<String> {
    probe.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn frames(probe: &Probe, i: usize) -> Result<u64> {
    let stat = probe.stat(&["-i", &name(i)])?;
    stat["source"]["frames"].as_u64().context("no frames")
}

/// The programs of all interfaces, by direction and id.
fn programs(probe: &Probe) -> Result<BTreeSet<(String, u64)>> {
    let status = probe.status()?;
    let mut programs = BTreeSet::new();
    for interface in status["interfaces"].as_array().context("no interfaces")? {
        ensure!(interface["state"] == "counting", "{interface}");
        for program in interface["programs"].as_array().context("no programs")? {
            let direction = program["direction"].as_str().context("no direction")?;
            let id = program["id"].as_u64().context("no id")?;
            programs.insert((direction.to_owned(), id));
        }
    }
    Ok(programs)
}

/// Each interface counts what passes it, and nothing else.
fn count_by_themselves(hosts: &Hosts, probe: &Probe) -> Result<()> {
    let read = || -> Result<Vec<(u64, u64)>> {
        (0..INTERFACES)
            .map(|i| Ok((frames(probe, i)?, hosts.packets(i)?)))
            .collect()
    };
    // When nothing passes any more of what hosts say to each other at first: the two are read one after the other.
    let mut before = read()?;
    wait_until(|| {
        let now = read()?;
        let is_quiet = now == before;
        before = now;
        Ok(is_quiet)
    })?;
    hosts.talk()?;
    let differs = || -> Result<Option<String>> {
        for (i, (was, is)) in before.iter().zip(read()?).enumerate() {
            let [counted, passed] = [is.0 - was.0, is.1 - was.1];
            if counted != passed || passed < 2 * (i as u64 + 1) {
                return Ok(Some(format!(
                    "{}: {counted} counted, {passed} passed",
                    name(i)
                )));
            }
        }
        Ok(None)
    };
    let mut said = None;
    wait_until(|| {
        said = differs()?;
        Ok(said.is_none())
    })
    .with_context(|| said.unwrap_or_default())
}

#[test]
fn eight_interfaces_have_one_pair_of_programs() -> Result<()> {
    let hosts = Hosts::new()?;
    let probe = Probe::new(&hosts.here);
    run(&probe, &on("attach", 0..INTERFACES))?;
    let first = programs(&probe)?;
    ensure!(first.len() == 2, "{first:?}");
    count_by_themselves(&hosts, &probe)?;
    // All again: other programs, as few, and the counts go on.
    let counted: Vec<_> = (0..INTERFACES)
        .map(|i| frames(&probe, i))
        .collect::<Result<_>>()?;
    let said = run(&probe, &on("attach", 0..INTERFACES))?;
    ensure!(said.matches("counts go on").count() == INTERFACES, "{said}");
    let second = programs(&probe)?;
    ensure!(
        second.len() == 2 && second.is_disjoint(&first),
        "{first:?}, then {second:?}"
    );
    for (i, before) in counted.iter().enumerate() {
        ensure!(frames(&probe, i)? >= *before, "{} lost counts", name(i));
    }
    count_by_themselves(&hosts, &probe)?;
    // Some of them leave, and come back one by one.
    run(&probe, &on("detach", [0, 5]))?;
    ensure!(programs(&probe)? == second);
    for i in [0, 5] {
        ensure!(
            hosts.here.programs(&name(i))?.is_empty(),
            "{} is still attached",
            name(i)
        );
        run(&probe, &on("attach", [i]))?;
    }
    ensure!(programs(&probe)?.len() == 6);
    count_by_themselves(&hosts, &probe)?;
    // A part again, of both kinds.
    run(&probe, &on("attach", [5, 6, 7]))?;
    count_by_themselves(&hosts, &probe)?;
    probe.run(&["detach", "--all"])?;
    for i in 0..INTERFACES {
        ensure!(
            hosts.here.programs(&name(i))?.is_empty(),
            "{} is still attached",
            name(i)
        );
    }
    ensure!(!probe.pins().exists(), "detach leaves pins");
    Ok(())
}

#[test]
fn one_that_cannot_be_attached_leaves_the_others() -> Result<()> {
    let hosts = Hosts::new()?;
    let probe = Probe::new(&hosts.here);
    // Where somebody else's XDP program is: the first of all, and one in the middle.
    let others = Probe::new(&hosts.here);
    run(&others, &on("attach", [0, 4]))?;
    let all = on("attach", 0..INTERFACES);
    let said = probe.fails(3, &all.iter().map(String::as_str).collect::<Vec<_>>())?;
    ensure!(said.contains("2 of 8 interfaces failed"), "{said}");
    run(&others, &on("detach", [0, 4]))?;
    run(&probe, &on("attach", 0..INTERFACES))?;
    count_by_themselves(&hosts, &probe)?;
    probe.run(&["detach", "--all"])?;
    ensure!(!probe.pins().exists(), "detach leaves pins");
    Ok(())
}

#[test]
fn killed_at_any_moment_all_can_be_attached() -> Result<()> {
    let hosts = Hosts::new()?;
    for milliseconds in (0..1200).step_by(150) {
        let probe = Probe::new(&hosts.here);
        let all = on("attach", 0..INTERFACES);
        let all: Vec<_> = all.iter().map(String::as_str).collect();
        let mut loader = probe
            .command(&all)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        thread::sleep(Duration::from_millis(milliseconds));
        let _ = loader.kill();
        loader.wait()?;
        probe.run(&all)?;
        count_by_themselves(&hosts, &probe)?;
        probe.run(&["detach", "--all"])?;
        ensure!(!probe.pins().exists(), "detach leaves pins");
    }
    Ok(())
}

#[test]
fn what_takes_long_is_said_in_plain_lines() -> Result<()> {
    let hosts = Hosts::new()?;
    let probe = Probe::new(&hosts.here);
    run(&probe, &on("attach", [0]))?;
    // What commands lock: see `pins`.
    let directory = File::open(probe.pins().join("v1"))?;
    let lock = Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    let attach = probe
        .command(&["attach", "-i", "v1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    thread::sleep(Duration::from_millis(2500));
    drop(lock);
    let result = wait(attach)?;
    let said = String::from_utf8(result.stderr)?;
    ensure!(result.status.success(), "{said}");
    // Once, however long it takes.
    ensure!(said.matches("waiting for process").count() == 1, "{said}");
    ensure!(
        said.chars().all(|c| c == '\n' || !c.is_control()),
        "{said:?}"
    );
    Ok(())
}
