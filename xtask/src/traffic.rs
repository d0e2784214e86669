//! A client and a server that speak MPTCP, for the demo and the virtual machines.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};

const TIMEOUT: Duration = Duration::from_secs(60);

fn socket(address: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::MPTCP),
    )
    .context("the kernel has no MPTCP (net.mptcp.enabled, CONFIG_MPTCP)")?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

/// Takes one connection, reads to its end, answers with the number of bytes.
pub(crate) fn serve(address: SocketAddr) -> Result<()> {
    let listener = socket(address)?;
    listener.set_reuse_address(true)?;
    listener.bind(&address.into())?;
    listener.listen(1)?;
    println!("listening on {address}");
    let (mut connection, _) = listener.accept()?;
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0_u64;
    loop {
        match connection.read(&mut buffer)? {
            0 => break,
            n => total += n as u64,
        }
    }
    connection.write_all(&total.to_be_bytes())?;
    Ok(())
}

/// Sends `bytes` in many parts, so that a second subflow can join and carry some, and checks the
/// answer.
pub(crate) fn send(address: SocketAddr, bytes: usize) -> Result<()> {
    let mut connection = socket(address)?;
    connection
        .connect(&address.into())
        .with_context(|| format!("cannot reach {address}"))?;
    let part = vec![0x5a; bytes / 10];
    for _ in 0..10 {
        connection.write_all(&part)?;
        thread::sleep(Duration::from_millis(50));
    }
    connection.shutdown(Shutdown::Write)?;
    let mut answer = [0; 8];
    connection.read_exact(&mut answer)?;
    let received = u64::from_be_bytes(answer);
    if received != part.len() as u64 * 10 {
        bail!(
            "{} bytes were sent and {received} received",
            part.len() * 10
        );
    }
    Ok(())
}
