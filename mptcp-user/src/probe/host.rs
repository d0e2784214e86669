//! What this thread's network namespace says of its own MPTCP: sysctls, counters, path manager.

use std::{fs, pin::pin};

use anyhow::{Context as _, Result};
use futures_util::{TryStream, TryStreamExt as _};
use mptcp_pm::{MptcpPathManagerAttr, MptcpPathManagerLimitsAttr};

use super::limits::{has_mptcp, sysctl};
use crate::snapshot::host::HostMptcp;

/// Endpoints that are counted: there are 8 at most.
const MOST_ENDPOINTS: usize = 64;

/// Asks the kernel. What it does not say is not known, and no error: it only explains what was counted.
pub(crate) async fn read() -> HostMptcp {
    let mut host = HostMptcp {
        is_there: has_mptcp().ok(),
        ..HostMptcp::default()
    };
    if host.is_there != Some(true) {
        return host;
    }
    let number = |name: &str| {
        let text = sysctl(name).ok().flatten()?;
        text.parse::<u64>().ok()
    };
    host.is_enabled = number("enabled").map(|enabled| enabled != 0);
    host.blackhole_timeout = number("blackhole_timeout");
    if let Ok(text) = fs::read_to_string("/proc/net/netstat") {
        host.blackholes = counter(&text, "Blackhole");
        host.syns_disabled = counter(&text, "MPCapableSYNTXDisabled");
        host.joins_not_sent = ["CreatSkErr", "BindErr", "ConnectErr"]
            .iter()
            .map(|end| counter(&text, &format!("MPJoinSynTx{end}")))
            .sum();
    }
    // A path manager outside of the kernel has limits of its own.
    let is_the_kernels = match sysctl("path_manager") {
        Ok(Some(name)) => name == "kernel",
        _ => number("pm_type").is_none_or(|kind| kind == 0),
    };
    if is_the_kernels && let Ok(said) = path_manager().await {
        (host.subflows, host.addresses, host.endpoints) = said;
    }
    host
}

/// Returns a counter of MPTcpExt: a line of names, and one of values.
fn counter(netstat: &str, name: &str) -> Option<u64> {
    let mut lines = netstat
        .lines()
        .filter_map(|line| line.strip_prefix("MPTcpExt: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs.find(|(known, _)| *known == name)?.1.parse().ok()
}

/// Returns the kernel's limits of subflows and of announced addresses, and how many endpoints it has.
async fn path_manager() -> Result<(Option<u32>, Option<u32>, Option<usize>)> {
    let (connection, handle, _) =
        mptcp_pm::new_connection().context("cannot open a netlink socket")?;
    tokio::spawn(connection);
    let mut answers = Box::pin(handle.limits().get().execute().await);
    let (mut subflows, mut addresses) = (None, None);
    let answer = answers.try_next().await?;
    for attribute in answer.into_iter().flat_map(|answer| answer.payload.nlas) {
        match attribute {
            MptcpPathManagerAttr::Limits(MptcpPathManagerLimitsAttr::Subflows(most)) => {
                subflows = Some(most);
            }
            MptcpPathManagerAttr::Limits(MptcpPathManagerLimitsAttr::RcvAddAddrs(most)) => {
                addresses = Some(most);
            }
            _ => {}
        }
    }
    let endpoints = count(handle.address().get().execute().await).await;
    Ok((subflows, addresses, endpoints.ok()))
}

/// Returns how many answers come, up to a bound.
async fn count<A: TryStream>(answers: A) -> Result<usize, A::Error> {
    let mut answers = pin!(answers.into_stream());
    let mut count = 0;
    while count < MOST_ENDPOINTS && answers.try_next().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name() {
        let text = "TcpExt: A B\nTcpExt: 1 2\nMPTcpExt: MPCapableSYNRX Blackhole\nMPTcpExt: 7 3\n";
        assert_eq!(counter(text, "Blackhole"), Some(3));
        assert_eq!(counter(text, "A"), None);
        assert_eq!(counter("MPTcpExt: Blackhole\n", "Blackhole"), None);
        assert_eq!(
            counter("MPTcpExt: Blackhole\nMPTcpExt: x\n", "Blackhole"),
            None
        );
    }
}
