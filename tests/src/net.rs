//! Two hosts on this machine, as the testkit makes them, and what the kernel says is attached there.

use anyhow::Result;
use aya::programs::{SchedClassifier, TcAttachType};
pub use mptcp_testkit::{net::*, process::*};

/// Asks the kernel what is attached.
pub trait Attached {
    /// Names of the programs on an interface in it, as the kernel lists them: of XDP and TCX. (The
    /// bpftool of Debian 12 does not know TCX.)
    ///
    /// # Errors
    /// If the kernel does not say.
    fn programs(&self, interface: &str) -> Result<Vec<String>>;
}

impl Attached for Namespace {
    fn programs(&self, interface: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        if self
            .ip(&format!("-d link show {interface}"))?
            .contains("xdp")
        {
            names.push("XDP".to_owned());
        }
        self.enter(|| {
            for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
                let (_, programs) = SchedClassifier::query_tcx(interface, direction)?;
                names.extend(
                    programs
                        .iter()
                        .map(|p| p.name_as_str().unwrap_or("?").to_owned()),
                );
            }
            Ok(names)
        })
    }
}
