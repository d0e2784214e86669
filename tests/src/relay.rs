//! A path whose middle is in a VLAN or in PPPoE: relays on both sides put that on and take it off, as
//! switches and access routers do. The kernel here may have no devices of either.
//!
//! ```text
//! c0 --- n0 near n1 ===wrapped=== f1 far f0 --- s0
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

/// EtherType of IPv4 or IPv6, and the protocol of PPP.
const IP: [([u8; 2], [u8; 2]); 2] = [([0x08, 0x00], [0x00, 0x21]), ([0x86, 0xdd], [0x00, 0x57])];
/// EtherType of a PPPoE session; version and type 1, code 0, session 7.
const PPPOE: [u8; 6] = [0x88, 0x64, 0x11, 0x00, 0x00, 0x07];

/// What the frames in the middle are wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrapping {
    /// A VLAN tag.
    pub vlan: bool,
    /// PPPoE. ARP goes on as it is.
    pub pppoe: bool,
}

impl Wrapping {
    /// A frame of a host, wrapped.
    fn wrap(self, frame: &[u8]) -> Vec<u8> {
        let (addresses, rest) = frame.split_at(12);
        let mut wrapped = addresses.to_vec();
        if self.vlan {
            wrapped.extend(TAG);
        }
        match IP.iter().find(|(ethertype, _)| rest.starts_with(ethertype)) {
            Some((_, protocol)) if self.pppoe => {
                let packet = &rest[2..];
                wrapped.extend(PPPOE);
                wrapped.extend((packet.len() as u16 + 2).to_be_bytes());
                wrapped.extend(protocol);
                wrapped.extend(packet);
            }
            _ => wrapped.extend(rest),
        }
        wrapped
    }

    /// The reverse. The kernel takes the tag off, before a packet socket sees the frame.
    fn unwrap(self, frame: &[u8]) -> Vec<u8> {
        let (addresses, rest) = frame.split_at(12);
        let Some([high, low, ppp @ ..]) = rest.strip_prefix(&PPPOE) else {
            return frame.to_vec();
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (protocol, packet) = ppp[..length].split_at(2);
        let ethertype = IP.iter().find(|(_, known)| known == protocol);
        let ethertype = ethertype.map_or([0, 0], |(ethertype, _)| *ethertype);
        [addresses, &ethertype, packet].concat()
    }
}

/// A client and a server with such a path between them.
#[derive(Debug)]
pub struct Wrapped {
    /// The hosts.
    pub pair: Pair,
    /// The relay beside the client; its interface n1 is on the link in the middle.
    pub near: Namespace,
    /// The relay beside the server; its interface f1 is on the link in the middle.
    pub far: Namespace,
    stop: Arc<AtomicBool>,
    relays: Vec<JoinHandle<()>>,
}

impl Wrapped {
    /// Makes all of it.
    pub fn new(family: Family, wrapping: Wrapping) -> Result<Self> {
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
            for (from, to, is_inward) in [(outer, inner, true), (inner, outer, false)] {
                let (from, to) = relay.enter(|| Ok((packet_socket(from)?, packet_socket(to)?)))?;
                let stop = Arc::clone(&stop);
                let change = move |frame: &[u8]| {
                    if is_inward {
                        wrapping.wrap(frame)
                    } else {
                        wrapping.unwrap(frame)
                    }
                };
                relays.push(thread::spawn(move || forward(&from, &to, change, &stop)));
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

impl Drop for Wrapped {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for relay in mem::take(&mut self.relays) {
            let _ = relay.join();
        }
    }
}

/// Carries frames over until told to stop.
fn forward(mut from: &Socket, to: &Socket, change: impl Fn(&[u8]) -> Vec<u8>, stop: &AtomicBool) {
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = std::io::Read::read(&mut from, &mut buffer) else {
            continue;
        };
        // A frame that cannot be sent is lost, as on any wire; TCP sends it again.
        let _ = to.send(&change(&buffer[..length]));
    }
}
