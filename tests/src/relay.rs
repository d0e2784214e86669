//! A path whose middle is in a VLAN: relays on both sides put the tag on and take it off, as
//! switches do. The kernel here may have no VLAN devices.
//!
//! ```text
//! c0 --- n0 near n1 ===tagged=== f1 far f0 --- s0
//! ```

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::Result;
use socket2::Socket;

use crate::{
    net::{Family, Namespace, Pair, veth},
    packet::packet_socket,
};

/// VLAN 100, IEEE 802.1Q.
const TAG: [u8; 4] = [0x81, 0x00, 0x00, 0x64];

/// A client and a server with the tagged path between them.
#[derive(Debug)]
pub struct Tagged {
    /// The hosts.
    pub pair: Pair,
    /// The relay beside the client; its interface n1 is on the tagged link.
    pub near: Namespace,
    /// The relay beside the server; its interface f1 is on the tagged link.
    pub far: Namespace,
    stop: Arc<AtomicBool>,
    relays: Vec<JoinHandle<()>>,
}

impl Tagged {
    /// Makes all of it.
    pub fn new(family: Family) -> Result<Self> {
        let pair = Pair::apart(family)?;
        let (near, far) = (Namespace::new("n")?, Namespace::new("f")?);
        veth((&pair.client, "c0"), (&near, "n0"))?;
        veth((&near, "n1"), (&far, "f1"))?;
        veth((&far, "f0"), (&pair.server, "s0"))?;
        for (host, interface, number) in [(&pair.client, "c0", 1), (&pair.server, "s0", 2)] {
            // The relays see frames as they are sent: whole, and with their checksums.
            host.ip(&format!("link set {interface} gso_max_segs 1"))?;
            host.run("ethtool", &["-K", interface, "tx", "off"])?;
            pair.assign(host, interface, 0, number)?;
        }
        near.ip("link set n1 mtu 1600")?;
        far.ip("link set f1 mtu 1600")?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut relays = Vec::new();
        for (relay, outer, inner) in [(&near, "n0", "n1"), (&far, "f0", "f1")] {
            // Incoming frames lose their tag in the kernel, before a packet socket sees them.
            for (from, to, tag) in [(outer, inner, true), (inner, outer, false)] {
                let (from, to) = relay.enter(|| Ok((packet_socket(from)?, packet_socket(to)?)))?;
                let stop = Arc::clone(&stop);
                relays.push(thread::spawn(move || forward(&from, &to, tag, &stop)));
            }
        }
        Ok(Self {
            pair,
            near,
            far,
            stop,
            relays,
        })
    }
}

impl Drop for Tagged {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for relay in mem::take(&mut self.relays) {
            let _ = relay.join();
        }
    }
}

/// Carries frames over until told to stop.
fn forward(mut from: &Socket, to: &Socket, tag: bool, stop: &AtomicBool) {
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = std::io::Read::read(&mut from, &mut buffer) else {
            continue;
        };
        let (addresses, rest) = buffer[..length].split_at(12);
        let tag = if tag { &TAG[..] } else { &[] };
        // A frame that cannot be sent is lost, as on any wire; TCP sends it again.
        let _ = to.send(&[addresses, tag, rest].concat());
    }
}
