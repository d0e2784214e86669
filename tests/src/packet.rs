//! Packet sockets: frames in and out of an interface, as they are.

use std::{io, os::fd::AsRawFd as _, thread, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use nix::libc;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Linux 4.20: do not deliver what is sent.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;

/// A packet socket that gets what comes in at an interface of this thread's namespace, and sends
/// there.
pub fn packet_socket(interface: &str) -> Result<Socket> {
    let index = i32::try_from(nix::net::if_::if_nametoindex(interface)?)?;
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    let socket = Socket::new(
        Domain::PACKET,
        Type::RAW,
        Some(Protocol::from(i32::from(protocol))),
    )?;
    // SAFETY: `sockaddr_ll` is smaller than the storage, which is zeroed; the length is set.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = libc::AF_PACKET as u16;
            (*link).sll_protocol = protocol;
            (*link).sll_ifindex = index;
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })?
    };
    socket.bind(&address)?;
    enable(&socket, PACKET_IGNORE_OUTGOING).context("PACKET_IGNORE_OUTGOING")?;
    socket.set_recv_buffer_size(8 << 20)?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    Ok(socket)
}

/// Sends a frame, once the interface has room for it.
///
/// # Errors
/// If it has none for a second, or another reason.
pub fn send(socket: &Socket, frame: &[u8]) -> Result<()> {
    for _ in 0..1000 {
        match socket.send(frame) {
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                thread::sleep(Duration::from_millis(1));
            }
            result => {
                ensure!(result? == frame.len(), "a frame was cut");
                return Ok(());
            }
        }
    }
    bail!("the interface has no room for a frame")
}

/// Sends a frame, of more than a page, as a socket buffer of which only the first `linear` bytes
/// lie in its linear part.
///
/// The virtio header in front of the frame (`struct virtio_net_hdr`) tells the kernel how long the
/// headers are, and `packet_alloc_skb` puts the rest into pages.
pub fn send_non_linear(interface: &str, frame: &[u8], linear: u16) -> Result<()> {
    let socket = packet_socket(interface)?;
    enable(&socket, libc::PACKET_VNET_HDR).context("PACKET_VNET_HDR")?;
    // flags, gso_type, hdr_len, gso_size, csum_start, csum_offset
    let mut bytes = vec![0; 10];
    bytes[2..4].copy_from_slice(&linear.to_ne_bytes());
    bytes.extend(frame);
    socket.send(&bytes)?;
    Ok(())
}

fn enable(socket: &Socket, option: libc::c_int) -> io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: the value is an int, as these options want it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            (&raw const yes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
