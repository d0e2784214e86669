//! The lock of a pin directory: who changes what is pinned there is alone meanwhile.
//!
//! A bpffs has no files, so what is locked is a directory: that of the layout's version, in which everything is
//! pinned, which this program makes, and which only its owner may open. It is where the pins are, so that whoever sees
//! these sees the lock.

use std::{
    fmt,
    fs::{self, File},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::stat::{major, minor},
};
use tokio::time::{Instant, sleep};

use super::directory::Directory;
use crate::{
    failure::{Failure, FailureKind, warn},
    interrupt::Interrupt,
    text::shown,
};

/// What takes less is not spoken of.
const PATIENCE: Duration = Duration::from_millis(150);

/// How often it is tried.
const INTERVAL: Duration = Duration::from_millis(5);

/// Held as long as the value lives.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "it is held")] Flock<File>);

impl Lock {
    pub(super) fn of(held: Flock<File>) -> Self {
        Self(held)
    }
}

/// Tries to lock a directory until it succeeds. Says whom it waits for.
///
/// # Errors
/// If a signal ends the wait.
pub(super) async fn wait(
    directory: &Directory,
    how: FlockArg,
    interrupt: Option<&mut Interrupt>,
) -> Result<Lock> {
    let interrupted = async {
        match interrupt {
            Some(interrupt) => interrupt.wait().await,
            // Then a signal ends the process.
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        lock = try_until(directory, how) => lock,
        () = interrupted => Err(Failure::new(FailureKind::Busy, format!(
                "ended while waiting for {}; nothing was done",
                Holder::of(directory)
            )).into()),
    }
}

async fn try_until(directory: &Directory, how: FlockArg) -> Result<Lock> {
    let start = Instant::now();
    let mut has_told = false;
    let mut file = directory.opened()?;
    loop {
        file = match Flock::lock(file, how) {
            Ok(lock) => return Ok(Lock(lock)),
            Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
            Err((_, error)) => {
                let path = shown(directory.path());
                return Err(error).with_context(|| format!("cannot lock {path}"));
            }
        };
        if !has_told && start.elapsed() >= PATIENCE {
            warn(format!(
                "waiting for {}; Ctrl-C ends the wait",
                Holder::of(directory)
            ));
            has_told = true;
        }
        sleep(INTERVAL).await;
    }
}

/// Who holds the lock of a directory, as far as that can be seen.
struct Holder<'a> {
    directory: &'a Directory,
    process: Option<u32>,
}

impl<'a> Holder<'a> {
    fn of(directory: &'a Directory) -> Self {
        let process = || {
            let (device, inode) = directory.identity().ok()?;
            holder(&fs::read_to_string("/proc/locks").ok()?, device, inode)
        };
        Self {
            directory,
            process: process(),
        }
    }
}

/// Returns the process that holds a lock of this inode, by /proc/locks (proc_locks(5)).
fn holder(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let wanted = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        // Those who wait have an arrow there.
        let is_flock = fields.next()? == "FLOCK";
        let process = fields.nth(2)?.parse().ok()?;
        (is_flock && fields.next()? == wanted && process != 0).then_some(process)
    })
}

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.process {
            Some(process) => {
                let name = fs::read_to_string(format!("/proc/{process}/comm"));
                let name = name.unwrap_or_default();
                write!(
                    f,
                    "process {process} ({})",
                    shown(name.trim_end_matches('\n'))
                )?;
            }
            None => f.write_str("another process")?,
        }
        let path = shown(self.directory.path());
        write!(f, ", which reads or changes what is pinned under {path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_lock_is_found() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 00:1f:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 22 00:1f:77 0 EOF\n\
            2: -> FLOCK  ADVISORY  READ 33 00:1f:77 0 EOF\n3: FLOCK  ADVISORY  READ 44 fd:01:9 0 EOF\n";
        assert_eq!(holder(locks, 0x1f, 77), Some(22));
        assert_eq!(holder(locks, 0xfd01, 9), Some(44));
        assert_eq!(holder(locks, 0x1f, 9), None);
        assert_eq!(holder("FLOCK\n\n1:", 0x1f, 9), None);
    }
}
