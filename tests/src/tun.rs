//! A tun device: packets without link-layer header, by a file.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::libc;

use crate::net::{LIMIT, Namespace};

/// A tun device, as long as the value lives.
#[derive(Debug)]
pub struct Tun(File);

impl Tun {
    /// Makes `name` in a namespace, and sets it up.
    pub fn new(namespace: &Namespace, name: &str) -> Result<Self> {
        let file = namespace.enter(|| {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open("/dev/net/tun")
                .context("/dev/net/tun")?;
            // struct ifreq: the name, then the flags.
            let mut request = [0_u8; 40];
            request[..name.len()].copy_from_slice(name.as_bytes());
            let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as u16;
            request[16..18].copy_from_slice(&flags.to_ne_bytes());
            // SAFETY: the request is as long as a struct ifreq, and outlives the call.
            let result = unsafe {
                libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, request.as_mut_ptr())
            };
            ensure!(
                result == 0,
                "TUNSETIFF: {}",
                std::io::Error::last_os_error()
            );
            Ok(file)
        })?;
        namespace.ip(&format!("link set {name} up"))?;
        Ok(Self(file))
    }

    /// Lets a packet come in.
    pub fn send(&mut self, packet: &[u8]) -> Result<()> {
        ensure!(self.0.write(packet)? == packet.len(), "a packet was cut");
        Ok(())
    }

    /// The next packet that goes out and that `wanted` likes.
    pub fn receive(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
        let start = Instant::now();
        let mut buffer = [0; 2048];
        while start.elapsed() < LIMIT {
            match self.0.read(&mut buffer) {
                Ok(length) if wanted(&buffer[..length]) => return Ok(buffer[..length].to_vec()),
                Ok(_) => {}
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
        anyhow::bail!("no such packet goes out")
    }
}
