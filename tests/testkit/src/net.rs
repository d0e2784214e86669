//! Two hosts on this machine that speak kernel MPTCP, and what happens between them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr},
    path::Path,
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, Socket, Type};

use crate::process::{LIMIT, output, run, wait_until};

/// Which addresses the hosts have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A network namespace, deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one, with loopback up.
    pub fn new(label: &str) -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "the tests make network namespaces: run as root"
        );
        sweep();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mpt-{}-{number}-{label}", std::process::id());
        run("ip", &["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` in it.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments.split_whitespace());
        run("ip", &all)
    }

    /// A command in it, with this process's /sys (`ip netns exec` would mount another).
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.name))
            .arg(program.as_ref());
        command
    }

    /// Runs a command in it to its end.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        output(self.command(program).args(arguments))
    }

    /// Runs a closure in a thread that is in it.
    pub fn enter<T: Send>(&self, closure: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let file = File::open(format!("/run/netns/{}", self.name))?;
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET)?;
                closure()
            });
            thread.join().unwrap_or_else(|_| bail!("a thread panicked"))
        })
    }

    /// Sets a sysctl below net.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        self.enter(|| Ok(fs::write(format!("/proc/sys/net/{path}"), value)?))
    }

    /// The Ethernet address of an interface in it.
    pub fn mac(&self, interface: &str) -> Result<[u8; 6]> {
        let text = self.ip(&format!("-o link show {interface}"))?;
        let (_, rest) = text.split_once("link/ether ").context("no Ethernet")?;
        let mut address = [0; 6];
        let octets = rest.split([':', ' ']).take(6);
        for (octet, text) in address.iter_mut().zip(octets) {
            *octet = u8::from_str_radix(text, 16)?;
        }
        Ok(address)
    }

    /// A counter of the kernel's MPTCP in it.
    pub fn mib(&self, name: &str) -> Result<u64> {
        let all = self.mibs()?;
        all.get(name)
            .copied()
            .with_context(|| format!("no MIB {name}"))
    }

    /// All counters of the kernel's MPTCP in it, by name.
    pub fn mibs(&self) -> Result<BTreeMap<String, u64>> {
        self.counters("netstat", "MPTcpExt:")
    }

    /// Packets that its interfaces sent, loopback included.
    pub fn sent(&self) -> Result<u64> {
        let text = self.enter(|| Ok(fs::read_to_string("/proc/thread-self/net/dev")?))?;
        let columns = text.lines().skip(2).map(|line| {
            let numbers = line.split_once(':').context("no interface")?.1;
            let packets = numbers.split_whitespace().nth(9).context("no packets")?;
            Ok(packets.parse::<u64>()?)
        });
        columns.sum()
    }

    /// A group of the kernel's counters in a file of /proc/net: a line of names and one of values.
    pub fn counters(&self, file: &str, group: &str) -> Result<BTreeMap<String, u64>> {
        let path = format!("/proc/thread-self/net/{file}");
        let text = self.enter(|| Ok(fs::read_to_string(path)?))?;
        let mut lines = text.lines().filter(|line| line.starts_with(group));
        let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
            bail!("no {group} in {file}");
        };
        let pairs = names.split_whitespace().zip(values.split_whitespace());
        // One of TCP's is -1.
        Ok(pairs
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = run("ip", &["netns", "delete", &self.name]);
    }
}

/// Removes what killed test runs left.
fn sweep() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix("mpt-")
            .and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = run("ip", &["netns", "delete", &name]);
        }
    }
}

/// Joins two namespaces by a veth pair.
pub fn veth(a: (&Namespace, &str), b: (&Namespace, &str)) -> Result<()> {
    run(
        "ip",
        &[
            "link",
            "add",
            a.1,
            "netns",
            a.0.name(),
            "type",
            "veth",
            "peer",
            "name",
            b.1,
            "netns",
            b.0.name(),
        ],
    )?;
    a.0.ip(&format!("link set {} up", a.1))?;
    b.0.ip(&format!("link set {} up", b.1))?;
    Ok(())
}

/// A client and a server with two veth pairs between them: c0-s0 and c1-s1.
///
/// Both ends send buffers of one packet, so that a capture of what an end sends shows the packets
/// on the wire.
#[derive(Debug)]
pub struct Pair {
    /// The client.
    pub client: Namespace,
    /// The server.
    pub server: Namespace,
    /// Their addresses.
    pub family: Family,
    listener: Mutex<Option<Socket>>,
}

/// The client's interfaces.
pub const CLIENT_INTERFACES: [&str; 2] = ["c0", "c1"];
/// The server's interfaces.
pub const SERVER_INTERFACES: [&str; 2] = ["s0", "s1"];

impl Pair {
    /// Makes both hosts, with nothing between them.
    pub fn apart(family: Family) -> Result<Self> {
        let (client, server) = (Namespace::new("c")?, Namespace::new("s")?);
        let pair = Self {
            client,
            server,
            family,
            listener: Mutex::new(None),
        };
        for namespace in [&pair.client, &pair.server] {
            namespace.ip("mptcp limits set subflows 8 add_addr_accepted 8")?;
        }
        Ok(pair)
    }

    /// Makes both over IPv4, with a host between them that forwards: c0 - r0 router r1 - s0.
    pub fn routed() -> Result<(Self, Namespace)> {
        Self::routed_over(Family::V4)
    }

    /// The same over either.
    pub fn routed_over(family: Family) -> Result<(Self, Namespace)> {
        let pair = Self::apart(family)?;
        let router = Namespace::new("r")?;
        veth((&pair.client, "c0"), (&router, "r0"))?;
        veth((&router, "r1"), (&pair.server, "s0"))?;
        pair.assign(&pair.server, "s0", 0, 2)?;
        let (near, own, gateways, forwarding) = match family {
            Family::V4 => (
                "10.79.1.1/24",
                ["10.79.1.2/24", "10.78.1.9/24"],
                ["10.79.1.2", "10.78.1.9"],
                "ipv4/ip_forward",
            ),
            Family::V6 => (
                "fd79:1::1/64 nodad",
                ["fd79:1::2/64 nodad", "fd78:1::9/64 nodad"],
                ["fd79:1::2", "fd78:1::9"],
                "ipv6/conf/all/forwarding",
            ),
        };
        pair.client.ip(&format!("addr add {near} dev c0"))?;
        for (interface, address) in ["r0", "r1"].into_iter().zip(own) {
            router.ip(&format!("addr add {address} dev {interface}"))?;
        }
        for (host, gateway) in [&pair.client, &pair.server].into_iter().zip(gateways) {
            host.ip(&format!("route add default via {gateway}"))?;
        }
        router.sysctl(forwarding, "1")?;
        Ok((pair, router))
    }

    /// Makes both, joined.
    pub fn new(family: Family) -> Result<Self> {
        let pair = Self::apart(family)?;
        for i in 0..2 {
            let (c, s) = (format!("c{i}"), format!("s{i}"));
            veth((&pair.client, &c), (&pair.server, &s))?;
            for (namespace, side, host) in [(&pair.client, 'c', 1), (&pair.server, 's', 2)] {
                namespace.ip(&format!("link set {side}{i} gso_max_segs 1"))?;
                pair.assign(namespace, &format!("{side}{i}"), i, host)?;
            }
        }
        Ok(pair)
    }

    /// Gives an interface the address of a host on a network.
    pub fn assign(&self, at: &Namespace, interface: &str, net: usize, host: u8) -> Result<()> {
        let prefix = if self.family == Family::V6 {
            "64 nodad"
        } else {
            "24"
        };
        let address = self.address(net, host);
        at.ip(&format!("addr add {address}/{prefix} dev {interface}"))?;
        Ok(())
    }

    fn address(&self, net: usize, host: u8) -> IpAddr {
        let net = net as u8 + 1;
        match self.family {
            Family::V6 => IpAddr::from([0xfd78, u16::from(net), 0, 0, 0, 0, 0, u16::from(host)]),
            Family::V4 => IpAddr::from([10, 78, net, host]),
        }
    }

    /// The client's address on network 0 or 1.
    pub fn client_address(&self, net: usize) -> IpAddr {
        self.address(net, 1)
    }

    /// The server's address on network 0 or 1.
    pub fn server_address(&self, net: usize) -> IpAddr {
        self.address(net, 2)
    }

    /// A connection from the client to the server's first address.
    pub fn connect(&self) -> Result<(Socket, Socket)> {
        self.connect_from(0)
    }

    /// One from this port of the client; from any if that is 0.
    pub fn connect_from(&self, port: u16) -> Result<(Socket, Socket)> {
        let address = SocketAddr::new(self.server_address(0), 5000);
        let mut held = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = match held.take() {
            Some(listener) => listener,
            None => self.server.enter(|| listener(address))?,
        };
        // It stays: without a listener, joins that come now get a RST.
        let listener = held.insert(listener);
        let client = self.client.enter(|| {
            let client = mptcp_socket(address)?;
            if port != 0 {
                let any: IpAddr = match self.family {
                    Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
                    Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
                };
                client.bind(&SocketAddr::new(any, port).into())?;
            }
            client.connect_timeout(&address.into(), LIMIT)?;
            Ok(client)
        })?;
        let (server, _) = listener.accept()?;
        server.set_read_timeout(Some(LIMIT))?;
        Ok((client, server))
    }

    /// A session with every option that one can be made to send, but for those of its violent ends, and
    /// some multiples of `bytes`.
    pub fn every_option(&self, bytes: usize) -> Result<()> {
        let second = self.client_address(1);
        self.client
            .ip(&format!("mptcp endpoint add {second} id 5 subflow"))?;
        let signalled = self.server_address(1);
        self.server
            .ip(&format!("mptcp endpoint add {signalled} id 9 signal"))?;
        let (client, server) = self.connect()?;
        transfer(&client, &server, bytes)?;
        self.wait_for(&self.server, "MPJoinAckRx", 1)?;
        self.wait_for(&self.server, "EchoAdd", 1)?;
        transfer(&client, &server, 3 * bytes)?;
        transfer(&server, &client, 3 * bytes)?;
        self.client.ip("mptcp endpoint change id 5 backup")?;
        self.wait_for(&self.server, "MPPrioRx", 1)?;
        self.client.ip("mptcp endpoint change id 5 nobackup")?;
        self.wait_for(&self.server, "MPPrioRx", 2)?;
        transfer(&client, &server, bytes / 2)?;
        self.client.ip("mptcp endpoint delete id 5")?;
        self.wait_for(&self.server, "RmAddr", 1)?;
        self.server.ip("mptcp endpoint delete id 9")?;
        self.wait_for(&self.client, "RmAddr", 1)?;
        transfer(&server, &client, bytes / 2)?;
        close(client, server)
    }

    /// Waits until nothing has been sent on the wires for a third of a second: neighbour discovery
    /// and multicast reports at the start, the ends of subflows and MPTCP's workers at the end.
    pub fn settle(&self) -> Result<()> {
        const STILL: Duration = Duration::from_millis(300);
        let sent = || Ok::<_, anyhow::Error>((self.client.sent()?, self.server.sent()?));
        let start = Instant::now();
        let (mut last, mut since) = (sent()?, Instant::now());
        while since.elapsed() < STILL {
            ensure!(start.elapsed() < LIMIT, "the wires do not become still");
            thread::sleep(Duration::from_millis(20));
            let now = sent()?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// Waits until a MIB of a host has a value.
    pub fn wait_for(&self, host: &Namespace, mib: &str, wanted: u64) -> Result<()> {
        let mut value = 0;
        wait_until(|| {
            value = host.mib(mib)?;
            Ok(value >= wanted)
        })
        .with_context(|| format!("{mib} is {value} and not {wanted}"))
    }
}

fn listener(address: SocketAddr) -> Result<Socket> {
    let listener = mptcp_socket(address)?;
    listener.set_reuse_address(true)?;
    // On all addresses, since joins go to others.
    let any = match address {
        SocketAddr::V4(_) => IpAddr::from([0; 4]),
        SocketAddr::V6(_) => IpAddr::from([0; 16]),
    };
    listener.bind(&SocketAddr::new(any, address.port()).into())?;
    listener.listen(8)?;
    Ok(listener)
}

/// An MPTCP socket with bounded waits.
pub fn mptcp_socket(address: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::MPTCP),
    )
    .context("the kernel has no MPTCP")?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.set_write_timeout(Some(LIMIT))?;
    Ok(socket)
}

/// Sends bytes one way and reads them at the other end.
pub fn transfer(mut from: &Socket, mut to: &Socket, bytes: usize) -> Result<()> {
    let data = vec![0x5a; bytes];
    thread::scope(|scope| {
        let sender = scope.spawn(move || from.write_all(&data));
        let mut buffer = vec![0; bytes];
        to.read_exact(&mut buffer)?;
        sender.join().unwrap_or(Ok(()))?;
        Ok(())
    })
}

/// A session of its own, of 20,000 bytes, until the kernel has ended it.
///
/// # Errors
/// If it fails.
pub fn session(pair: &Pair) -> Result<()> {
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 20_000)?;
    close(client, server)?;
    pair.settle()
}

/// Ends a connection from both sides, and waits for the ends.
pub fn close(mut client: Socket, mut server: Socket) -> Result<()> {
    client.shutdown(Shutdown::Write)?;
    ensure!(server.read(&mut [0; 16])? == 0, "data behind the end");
    server.shutdown(Shutdown::Write)?;
    ensure!(client.read(&mut [0; 16])? == 0, "data behind the end");
    Ok(())
}
