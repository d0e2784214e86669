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
use nix::libc;
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    net::{Network, Running, SERVER_INTERFACES, inside},
    probe::Probe,
    shell::run,
    smoke::json,
};

/// Rows that hooks feed, and the number of them.
const ROWS: [&str; 5] = ["SfMemEr", "SesMemEr", "SfPcbEr", "MpcbEr", "PktMemEr"];
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

/// Checks that hooks are attached, and count right; or that a kernel that does not permit them has no
/// number.
pub(crate) fn check(binary: &Path, program: &Path, is_required: bool) -> Result<()> {
    let network = Network::new()?;
    let probe = Probe::new(binary, &network.server);
    let interface = SERVER_INTERFACES[0];
    let attach = |substitutes: &[&str]| -> Result<usize> {
        let mut command = probe.command(&["attach", "-i", interface]);
        for substitute in substitutes {
            command.args(["--hook", substitute]);
        }
        run(&mut command)?;
        attached(&probe)
    };
    let count = attach(&[])?;
    if count == 0 && !is_required {
        ensure!(rows(&probe)?.iter().all(Option::is_none));
        return Ok(());
    }
    ensure!(count == HOOKS, "{count} hooks are attached");
    ensure!(rows(&probe)? == [Some(0); 5], "{:?}", rows(&probe)?);
    network.transfer(program, 200_000)?;
    ensure!(rows(&probe)? == [Some(0); 5], "{:?}", rows(&probe)?);

    let failed = starve(&network, program)?;
    let [_, _, _, sessions, _] = rows(&probe)?;
    ensure!(
        sessions == Some(failed),
        "{failed} MPTCP sockets were refused memory, and MpcbEr is {sessions:?}"
    );
    let failed = press(&network, program)?;
    let [.., segments] = rows(&probe)?;
    ensure!(
        segments == Some(failed) && failed > 0,
        "{failed} segments were refused memory, and PktMemEr is {segments:?}"
    );
    run(&mut probe.command(&["detach", "-i", interface]))?;

    let count = attach(&SUBSTITUTES)?;
    ensure!(count == HOOKS, "{count} substitutes are attached");
    for namespace in [&network.server, &network.client] {
        run(inside(namespace, program).arg("fail"))?;
    }
    // The client's do not count; nor where a listener has to be MPTCP's do those of TCP.
    let all = MPTCP_ACCEPTS + TCP_ACCEPTS;
    let wanted = [all, all, JOINS + 2 * MPTCP_ACCEPTS, all, 0].map(Some);
    ensure!(rows(&probe)? == wanted, "{:?}", rows(&probe)?);
    run(&mut probe.command(&["detach", "-i", interface]))?;
    ensure!(
        !probe.pins.exists(),
        "detach leaves {}",
        probe.pins.display()
    );
    Ok(())
}

/// How many hooks are attached; the others have to say why they are not.
fn attached(probe: &Probe<'_>) -> Result<usize> {
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
fn rows(probe: &Probe<'_>) -> Result<[Option<u64>; 5]> {
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
    for _ in 0..JOINS {
        let group = Ipv4Addr::new(239, 0, 0, 1);
        let joined = socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST);
        ensure!(
            joined.as_ref().map_err(io::Error::raw_os_error) == Err(Some(libc::ENOBUFS)),
            "{joined:?}"
        );
    }
    Ok(())
}

/// Refuses MPTCP sockets their memory; how many.
fn starve(network: &Network, program: &Path) -> Result<u64> {
    // IPPROTO_MPTCP
    let entered = Trace::new(
        "p:session inet_create protocol=$arg3:s32",
        "protocol == 262",
    )?;
    let text = run(inside(&network.server, program).arg("starve"))?;
    eprintln!("starve: {text}");
    let made: u64 = text.trim().split(' ').next().context("")?.parse()?;
    // Each that began and did not succeed.
    Ok(entered.count()? - made)
}

/// Opens MPTCP sockets in a control group until there is no memory for them, and for some time on.
/// Prints how many there were. Runs in a namespace, as `xtask starve`.
pub(crate) fn starve_here() -> Result<()> {
    let group = Path::new("/sys/fs/cgroup/starved");
    fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory")
        .context("no memory controller")?;
    fs::create_dir_all(group)?;
    // So that nobody is killed for it.
    fs::write("/proc/self/oom_score_adj", "-1000")?;
    // Opened before there is no memory to open files.
    let open = |path: PathBuf| fs::OpenOptions::new().write(true).open(path);
    let mut limit = open(group.join("memory.max"))?;
    let mut home = open("/sys/fs/cgroup/cgroup.procs".into())?;
    let socket = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP));
    let mut sockets = Vec::with_capacity(1000);
    let mut failures = Vec::with_capacity(1000);
    fs::write(group.join("cgroup.procs"), "0")?;
    limit.write_all(b"256K")?;
    for _ in 0..200 {
        match socket() {
            Ok(socket) => sockets.push(socket),
            Err(error) => failures.push(error.raw_os_error()),
        }
        if failures.len() >= 20 {
            break;
        }
        // What was freed is given back a moment later.
        thread::sleep(Duration::from_millis(10));
    }
    home.write_all(b"0")?;
    println!("{} {failures:?}", sockets.len());
    Ok(())
}

/// Refuses the segments of a transfer their memory; how many.
fn press(network: &Network, program: &Path) -> Result<u64> {
    let limits = "/proc/sys/net/ipv4/tcp_mem";
    let usual = fs::read_to_string(limits)?;
    let refused = Trace::new("r:segment mptcp_sendmsg_frag ret=$retval:s32", "ret == -12")?;
    let mut transfer = Running::start(
        inside(&network.server, program)
            .arg("press")
            .stdout(Stdio::piped()),
    )?;
    transfer.wait_for_line()?;
    fs::write(limits, "1 1 1")?;
    thread::sleep(2 * READ_LATER);
    fs::write(limits, usual)?;
    transfer.wait(Duration::from_secs(60))?;
    refused.count()
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

/// A probe of the kernel's own tracing, as a witness.
struct Trace {
    directory: PathBuf,
    name: String,
}

impl Trace {
    /// A definition as of `kprobe_events`, and which calls are seen.
    fn new(definition: &str, filter: &str) -> Result<Self> {
        let directory = PathBuf::from("/sys/kernel/tracing");
        let name = definition
            .split([':', ' '])
            .nth(1)
            .context("the event has no name")?
            .to_owned();
        fs::write(directory.join("kprobe_events"), definition)?;
        let event = directory.join("events/kprobes").join(&name);
        fs::write(event.join("filter"), filter)?;
        fs::write(event.join("enable"), "1")?;
        Ok(Self { directory, name })
    }

    /// How many it saw; then it ends.
    fn count(self) -> Result<u64> {
        let text = fs::read_to_string(self.directory.join("trace"))?;
        let event = self.directory.join("events/kprobes").join(&self.name);
        fs::write(event.join("enable"), "0")?;
        let seen = format!(" {}:", self.name);
        Ok(text.lines().filter(|line| line.contains(&seen)).count() as u64)
    }
}
