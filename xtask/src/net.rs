//! Two hosts on this machine: network namespaces joined by two veth pairs.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::shell::{command, run};

/// A client and a server namespace, with the interfaces c0-s0 and c1-s1 between them. The client
/// joins with its second address. Both go when this is dropped.
pub(crate) struct Network {
    pub(crate) client: String,
    pub(crate) server: String,
}

/// Where the server listens.
pub(crate) const SERVER: &str = "10.77.1.2:5001";
/// The server's interfaces.
pub(crate) const SERVER_INTERFACES: [&str; 2] = ["s0", "s1"];

impl Network {
    /// Makes both, with names of their own.
    pub(crate) fn new() -> Result<Self> {
        let pid = std::process::id();
        let network = Self {
            client: format!("mptcp-c{pid}"),
            server: format!("mptcp-s{pid}"),
        };
        for name in [&network.client, &network.server] {
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!(
                "-n {name} mptcp limits set subflows 4 add_addr_accepted 4"
            ))?;
        }
        let (client, server) = (&network.client, &network.server);
        for i in 0..2 {
            ip(&format!(
                "link add c{i} netns {client} type veth peer name s{i} netns {server}"
            ))?;
            let net = i + 1;
            ip(&format!("-n {client} addr add 10.77.{net}.1/24 dev c{i}"))?;
            ip(&format!("-n {server} addr add 10.77.{net}.2/24 dev s{i}"))?;
            for (namespace, side) in [(client, 'c'), (server, 's')] {
                // Buffers of one packet, so that what a capture shows is what the wire would.
                ip(&format!(
                    "-n {namespace} link set {side}{i} up gso_max_segs 1"
                ))?;
            }
        }
        ip(&format!(
            "-n {client} mptcp endpoint add 10.77.2.1 dev c1 subflow"
        ))?;
        Ok(network)
    }

    /// One transfer from the client to the server, by the `serve` and `send` of this program.
    pub(crate) fn transfer(&self, program: &Path, bytes: usize) -> Result<()> {
        let mut server = Running::start(
            inside(&self.server, program)
                .args(["serve", SERVER])
                .stdout(Stdio::piped()),
        )?;
        server.wait_for_line()?;
        run(inside(&self.client, program).args(["send", SERVER, &bytes.to_string()]))?;
        server.wait(Duration::from_secs(10))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in [&self.client, &self.server] {
            // Said already, or never made.
            let _ = ip(&format!("netns delete {name}"));
        }
    }
}

/// Runs `ip`.
pub(crate) fn ip(arguments: &str) -> Result<String> {
    run(&mut command(&format!("ip {arguments}")))
}

/// A command in a namespace, with this one's /sys (`ip netns exec` would mount another).
pub(crate) fn inside(namespace: &str, program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/{namespace}"))
        .arg(program.as_ref());
    command
}

/// A process that is killed when this is dropped.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
        Ok(Self(child))
    }

    /// Waits until it has printed a line, or ends.
    pub(crate) fn wait_for_line(&mut self) -> Result<()> {
        let output = self.0.stdout.take().context("its output goes elsewhere")?;
        BufReader::new(output).read_line(&mut String::new())?;
        Ok(())
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                bail!("a process ended with {status}");
            }
            if start.elapsed() > limit {
                bail!("a process did not end in {limit:?}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to end, and waits.
    pub(crate) fn interrupt(&mut self) -> Result<()> {
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.0.id())?);
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT)?;
        self.0.wait()?;
        Ok(())
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
