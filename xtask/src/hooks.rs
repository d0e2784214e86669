//! The hooks on kernel functions: attached to the real ones, and counting the failures that are
//! forced on them or, where none can be, on others in their place.

use std::{
    fs,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use mptcp_testkit::{forced::ROWS, net::SERVER_INTERFACES, probe::Probe, process::Running};
use nix::libc;
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{network::Network, shell::run, smoke::json};

/// How many hooks there are.
const HOOKS: usize = 8;

/// Functions that fail when they are asked to, in the place of those that cannot be made to: where a
/// pointer is returned, accept(2) finds nobody; where an error is, there are too many memberships.
const SUBSTITUTES: [&str; 5] = [
    "subflow_create_ctx=inet_csk_accept",
    "mptcp_sk_clone_init=inet_csk_accept",
    "inet_reqsk_alloc=inet_csk_accept",
    "inet_csk_clone_lock=inet_csk_accept",
    "mptcp_subflow_create_socket=ip_mc_join_group",
];

/// How often [`fail`] makes them fail.
const MPTCP_ACCEPTS: u64 = 5;
const TCP_ACCEPTS: u64 = 3;
const JOINS: u64 = 7;

/// Checks that hooks are attached and count right, and says how many. A machine's own kernel may refuse
/// them. Failures that concern the whole machine are forced in a virtual one.
pub(crate) fn check(binary: &Path, program: &Path, is_virtual: bool) -> Result<String> {
    let network = Network::new()?;
    let probe = Probe::of(binary, network.server());
    let [first, second] = SERVER_INTERFACES;
    let attach = |interface: &str, substitutes: &[&str]| -> Result<usize> {
        let mut command = probe.command(&["attach", "-i", interface]);
        for substitute in substitutes {
            command.args(["--hook", substitute]);
        }
        run(&mut command)?;
        attached(&probe)
    };
    let count = attach(first, &[])?;
    let mut text = format!("{count} of {HOOKS} attached");
    if count < HOOKS && !is_virtual {
        return Ok(text);
    }
    ensure!(count == HOOKS, "{text}");
    ensure!(rows(&probe)? == [Some(0); 5], "{:?}", rows(&probe)?);
    if is_virtual {
        let calls = calls(&network)?;
        ensure!(calls == CALLS, "the functions were called {calls:?} times");
        // Where nothing fails, nothing counts.
        ensure!(rows(&probe)? == [Some(0); 5], "{:?}", rows(&probe)?);
        let (sockets, segments) = (starve(&network, program)?, press(&network, program)?);
        let [.., counted_sockets, counted_segments] = rows(&probe)?;
        ensure!(
            (counted_sockets, counted_segments) == (Some(sockets), Some(segments))
                && sockets > 0
                && segments > 0,
            "{sockets} sockets and {segments} segments were refused memory: {:?}",
            rows(&probe)?
        );
        text += &format!("; {sockets} sockets and {segments} segments refused");
    }
    let detach = |interface| run(&mut probe.command(&["detach", "-i", interface]));
    detach(first)?;

    // The hooks are the namespace's: two interfaces do not count twice.
    for interface in [first, second] {
        let count = attach(interface, &SUBSTITUTES)?;
        ensure!(count == HOOKS, "{count} substitutes are attached");
    }
    for namespace in [network.server(), network.client()] {
        run(namespace.command(program).arg("fail"))?;
    }
    // The client's do not count; nor where a listener has to be MPTCP's do those of TCP.
    let all = MPTCP_ACCEPTS + TCP_ACCEPTS;
    let wanted = [all, all, JOINS + 2 * MPTCP_ACCEPTS, all, 0].map(Some);
    ensure!(rows(&probe)? == wanted, "{:?}", rows(&probe)?);
    run(&mut probe.command(&["stat", "-clearstats", "basic"]))?;
    ensure!(rows(&probe)? == [Some(0); 5], "{:?}", rows(&probe)?);
    detach(first)?;
    run(network.server().command(program).arg("fail"))?;
    ensure!(rows(&probe)? == wanted, "{:?}", rows(&probe)?);
    detach(second)?;
    ensure!(
        !probe.pins().exists(),
        "detach leaves {}",
        probe.pins().display()
    );
    Ok(text)
}

/// How often one transfer calls functions that compilers might have put in the place of a call, where
/// no hook would see them: a listener, a session, a join.
fn calls(network: &Network) -> Result<[(&'static str, usize); 5]> {
    let definitions = CALLS.map(|(name, _)| format!("p:{name} {name} seen=\\1:s32"));
    let trace = Trace::new(&definitions)?;
    network.transfer(200_000)?;
    let events = trace.events()?;
    Ok(CALLS.map(|(name, _)| {
        let calls = events.iter().filter(|(event, _)| event == name);
        (name, calls.count())
    }))
}

const CALLS: [(&str, usize); 5] = [
    // Three that were opened, two that were accepted.
    ("subflow_create_ctx", 5),
    ("mptcp_subflow_create_socket", 3),
    ("inet_reqsk_alloc", 2),
    ("inet_csk_clone_lock", 2),
    ("mptcp_sk_clone_init", 1),
];

/// How many hooks are attached; the others have to say why they are not.
fn attached(probe: &Probe) -> Result<usize> {
    let status = json(&mut probe.command(&["status", "--output", "json"]))?;
    let hooks = status["interfaces"][0]["hooks"]
        .as_array()
        .context("status tells of no hooks")?;
    ensure!(hooks.len() == HOOKS, "{hooks:?}");
    let is_attached = |hook: &&Value| hook["state"] == "attached";
    ensure!(
        hooks
            .iter()
            .all(|hook| is_attached(&hook) == hook["reason"].is_null()),
        "{hooks:?}"
    );
    Ok(hooks.iter().filter(is_attached).count())
}

/// The rows' numbers.
fn rows(probe: &Probe) -> Result<[Option<u64>; 5]> {
    let stat = json(&mut probe.command(&["stat", "--output", "json"]))?;
    Ok(ROWS.map(|row| stat["counters"][row]["total"].as_u64()))
}

/// Makes functions fail that can be told to. Runs in a namespace, as `xtask fail`.
pub(crate) fn fail() -> Result<()> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    for (protocol, times) in [
        (Protocol::MPTCP, MPTCP_ACCEPTS),
        (Protocol::TCP, TCP_ACCEPTS),
    ] {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, Some(protocol))?;
        listener.bind(&any.into())?;
        listener.listen(1)?;
        listener.set_nonblocking(true)?;
        for _ in 0..times {
            match listener.accept() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => bail!("accept found {other:?}"),
            }
        }
    }
    fs::write("/proc/sys/net/ipv4/igmp_max_memberships", "0")?;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    let join = |interface| socket.join_multicast_v4(&Ipv4Addr::new(239, 0, 0, 1), &interface);
    for _ in 0..JOINS {
        expect(libc::ENOBUFS, join(Ipv4Addr::LOCALHOST))?;
    }
    // These fail, and not for lack of memory.
    expect(libc::ENODEV, join(Ipv4Addr::new(192, 0, 2, 1)))?;
    fs::write("/proc/sys/net/mptcp/enabled", "0")?;
    let session = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
    fs::write("/proc/sys/net/mptcp/enabled", "1")?;
    expect(libc::ENOPROTOOPT, session)
}

fn expect<T>(errno: i32, result: io::Result<T>) -> Result<()> {
    let found = result.err().and_then(|error| error.raw_os_error());
    ensure!(found == Some(errno), "error {found:?} and not {errno}");
    Ok(())
}

/// Refuses MPTCP sockets their memory; how many.
fn starve(network: &Network, program: &Path) -> Result<u64> {
    const IPPROTO_MPTCP: i32 = 262;
    let trace = Trace::new(&[
        "p:create inet_create protocol=$arg3:s32",
        "r:created inet_create error=$retval:s32",
    ])?;
    run(network.server().command(program).arg("starve"))?;
    // A session's socket makes that of its first subflow, on kernels before 6.5.
    let mut under_way = Vec::new();
    let mut refused = 0;
    for (event, value) in trace.events()? {
        if event == "create" {
            under_way.push(value);
        } else if under_way.pop() == Some(IPPROTO_MPTCP) && value < 0 {
            refused += 1;
        }
    }
    Ok(refused)
}

/// Opens MPTCP sockets in a control group that has no memory for them, but for a page more with each
/// that fails. Runs in a namespace, as `xtask starve`.
pub(crate) fn starve_here() -> Result<()> {
    const PAGE: usize = 4096;
    let root = Path::new("/sys/fs/cgroup");
    let group = root.join("starved");
    fs::write(root.join("cgroup.subtree_control"), "+memory")?;
    fs::create_dir_all(&group)?;
    // So that nobody is killed for it.
    fs::write("/proc/self/oom_score_adj", "-1000")?;
    // While there is memory for that.
    let open = |path: PathBuf| fs::OpenOptions::new().write(true).open(path);
    let mut limit = open(group.join("memory.max"))?;
    let mut home = open(root.join("cgroup.procs"))?;
    let mut sockets = Vec::with_capacity(1000);
    fs::write(group.join("cgroup.procs"), "0")?;
    let mut pages = 64;
    while pages < 96 {
        limit.write_all((pages * PAGE).to_string().as_bytes())?;
        while let Ok(socket) = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)) {
            sockets.push(socket);
        }
        pages += 1;
    }
    home.write_all(b"0")?;
    Ok(())
}

/// Refuses the segments of a transfer their memory; how many.
fn press(network: &Network, program: &Path) -> Result<u64> {
    let limits = "/proc/sys/net/ipv4/tcp_mem";
    let usual = fs::read_to_string(limits)?;
    let trace = Trace::new(&["r:sent mptcp_sendmsg_frag result=$retval:s32"])?;
    let mut transfer = Running::start(
        network
            .server()
            .command(program)
            .arg("press")
            .stdout(Stdio::piped()),
    )?;
    transfer.wait_for_line()?;
    fs::write(limits, "1 1 1")?;
    thread::sleep(2 * READ_LATER);
    fs::write(limits, usual)?;
    transfer.wait(Duration::from_mins(1))?;
    let refused = |(_, result): &(String, i32)| *result == -libc::ENOMEM;
    Ok(trace
        .events()?
        .iter()
        .filter(|event| refused(event))
        .count() as u64)
}

/// When [`press_here`] begins to read, after it said that buffers are full.
const READ_LATER: Duration = Duration::from_millis(500);

/// A transfer whose data waits for a receiver. Runs in a namespace, as `xtask press`.
pub(crate) fn press_here() -> Result<()> {
    const BYTES: usize = 16 << 20;
    let new = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
    let listener = new()?;
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    listener.listen(1)?;
    let mut sender = new()?;
    sender.connect(&listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    let writer = thread::spawn(move || sender.write_all(&vec![0; BYTES]));
    thread::sleep(READ_LATER);
    println!("full");
    thread::sleep(READ_LATER);
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    while total < BYTES {
        match receiver.read(&mut buffer)? {
            0 => bail!("the sender closed after {total} bytes"),
            n => total += n,
        }
    }
    match writer.join() {
        Ok(result) => Ok(result?),
        Err(_) => bail!("the writer panicked"),
    }
}

/// Probes of the kernel's own tracing: the witness.
struct Trace;

impl Trace {
    const DIRECTORY: &str = "/sys/kernel/tracing";

    /// Begins, with events as of `kprobe_events` that have one value each.
    fn new(definitions: &[impl AsRef<str>]) -> Result<Self> {
        let directory = Path::new(Self::DIRECTORY);
        fs::write(directory.join("trace"), "")?;
        for definition in definitions {
            let mut events = fs::OpenOptions::new()
                .append(true)
                .open(directory.join("kprobe_events"))?;
            events.write_all(definition.as_ref().as_bytes())?;
        }
        fs::write(directory.join("events/kprobes/enable"), "1")?;
        Ok(Self)
    }

    /// What was seen since: names and values.
    fn events(&self) -> Result<Vec<(String, i32)>> {
        let text = fs::read_to_string(Path::new(Self::DIRECTORY).join("trace"))?;
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                // TASK-PID [CPU] FLAGS TIME: EVENT: (WHERE) NAME=VALUE
                let event = line.split(": ").nth(1);
                let value = line.rsplit('=').next().and_then(|value| value.parse().ok());
                event
                    .map(ToOwned::to_owned)
                    .zip(value)
                    .with_context(|| format!("the kernel traced {line:?}"))
            })
            .collect()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let directory = Path::new(Self::DIRECTORY);
        // In a virtual machine, which ends anyway.
        let _ = fs::write(directory.join("events/kprobes/enable"), "0");
        let _ = fs::write(directory.join("kprobe_events"), "");
    }
}
