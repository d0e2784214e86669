//! Captures, by tcpdump.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::net::{LIMIT, Namespace};

/// A running capture; its file goes when it is dropped.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Child,
    path: PathBuf,
}

impl Capture {
    /// Of the headers of what an interface sends.
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Self> {
        Self::of(namespace, interface, &["-Q", "out", "-s", "256"])
    }

    /// With these options of tcpdump. Returns when it is capturing.
    pub fn of(namespace: &Namespace, interface: &str, options: &[&str]) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("mptcp-test-{}-{number}.pcap", std::process::id()));
        let tcpdump = namespace
            .command("tcpdump")
            .args(["-i", interface, "-B", "65536", "-U", "--immediate-mode"])
            .args(options)
            .arg("-w")
            .arg(&path)
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run tcpdump")?;
        let capture = Self { tcpdump, path };
        let start = Instant::now();
        while !capture.path.metadata().is_ok_and(|data| data.len() >= 24) {
            ensure!(start.elapsed() < LIMIT, "tcpdump does not start");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(capture)
    }

    /// Stops, checks that nothing was lost, and returns the file.
    pub fn stop(&mut self) -> Result<&Path> {
        // What was sent a moment ago is still on its way to the file.
        thread::sleep(Duration::from_millis(200));
        kill(
            Pid::from_raw(i32::try_from(self.tcpdump.id())?),
            Signal::SIGINT,
        )?;
        let mut text = String::new();
        self.tcpdump
            .stderr
            .take()
            .context("stopped twice")?
            .read_to_string(&mut text)?;
        self.tcpdump.wait()?;
        ensure!(
            text.contains("\n0 packets dropped by kernel"),
            "the capture lost packets: {text}"
        );
        Ok(&self.path)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
        let _ = std::fs::remove_file(&self.path);
    }
}
