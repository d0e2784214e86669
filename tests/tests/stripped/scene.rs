//! A path that can be made to misbehave.

use std::{net::SocketAddr, net::TcpListener, thread, time::Duration};

use anyhow::Result;
use mptcp_tests::{
    net::{LIMIT, Namespace, Pair, close, mptcp_socket, transfer},
    probe::Probe,
};
use socket2::Socket;

/// A client, a router and a server, each probed.
pub(super) struct Scene {
    pub(super) pair: Pair,
    pub(super) router: Namespace,
    pub(super) probes: [Probe; 3],
}

impl Scene {
    pub(super) fn new() -> Result<Self> {
        let (pair, router) = Pair::routed()?;
        pair.client.ip("addr add 10.79.1.3/24 dev c0")?;
        for (host, interfaces) in [
            (&pair.client, &["c0"][..]),
            (&router, &["r0", "r1"]),
            (&pair.server, &["s0"]),
        ] {
            for interface in interfaces {
                host.ip(&format!("link set {interface} gso_max_segs 1"))?;
                let _ = host.run("ethtool", &["-K", interface, "gro", "off"]);
            }
        }
        let probes = [&pair.client, &router, &pair.server].map(Probe::new);
        for (probe, interfaces) in
            probes
                .iter()
                .zip([&["c0"][..], &["r0", "r1", "--role", "middlebox"], &["s0"]])
        {
            probe.run(&[&["attach", "--verify-checksums", "-i"], interfaces].concat())?;
        }
        Ok(Self {
            pair,
            router,
            probes,
        })
    }

    /// What the router does to packets that it forwards.
    pub(super) fn filter(&self, rule: &str) -> Result<()> {
        let table = format!(
            "table inet x {{ chain p {{ type filter hook forward priority 300; {rule}\n}}\n}}"
        );
        self.router.run("nft", &[&table])?;
        Ok(())
    }

    pub(super) fn one_subflow(&self) -> Result<()> {
        let (client, server) = self.pair.connect()?;
        transfer(&client, &server, 1000)?;
        transfer(&server, &client, 1000)?;
        close(client, server)
    }

    /// The client joins from its second address.
    pub(super) fn endpoint(&self) -> Result<()> {
        self.pair
            .client
            .ip("mptcp endpoint add 10.79.1.3 id 5 subflow")?;
        Ok(())
    }

    /// With a join from the client's second address, until the server's kernel has counted so much.
    pub(super) fn two_subflows(&self, mib: &str, wanted: u64) -> Result<()> {
        self.endpoint()?;
        let (client, server) = self.pair.connect()?;
        transfer(&client, &server, 1000)?;
        self.pair.wait_for(&self.pair.server, mib, wanted)?;
        // A join without an answer is tried again after a second.
        thread::sleep(Duration::from_millis(1500));
        transfer(&server, &client, 1000)?;
        close(client, server)
    }

    pub(super) fn plain_server(&self) -> Result<()> {
        let address = SocketAddr::new(self.pair.server_address(0), 5000);
        let listener = self.pair.server.enter(|| Ok(TcpListener::bind(address)?))?;
        let client = self.pair.client.enter(|| {
            let client = mptcp_socket(address)?;
            client.connect_timeout(&address.into(), LIMIT)?;
            Ok(client)
        })?;
        let server = Socket::from(listener.accept()?.0);
        server.set_read_timeout(Some(LIMIT))?;
        transfer(&client, &server, 1000)?;
        transfer(&server, &client, 1000)?;
        close(client, server)
    }

    pub(super) fn altered(&self) -> Result<()> {
        for host in [&self.pair.client, &self.pair.server] {
            host.sysctl("mptcp/checksum_enabled", "1")?;
        }
        let (client, server) = self.pair.connect()?;
        transfer(&client, &server, 1000)?;
        self.filter(
            "tcp dport 5000 meta length > 600 limit rate 1/hour burst 1 packets @ih,64,16 set 0x5a5b",
        )?;
        transfer(&client, &server, 1000)?;
        self.pair.wait_for(&self.pair.client, "MPFailRx", 1)?;
        self.pair.settle()?;
        transfer(&client, &server, 1000)?;
        close(client, server)
    }
}
