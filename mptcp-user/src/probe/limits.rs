//! Limits that rows are judged by: from options, from the host's own MPTCP, or the defaults.

use std::{fs, io, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use mptcp_common::state::Limits;
use mptcp_pm::{MptcpPathManagerAttr, MptcpPathManagerLimitsAttr};

use super::settings::{ChosenLimits, LimitOptions, LimitOrigin, LimitOrigins, nanoseconds};
use crate::failure::causes;

/// Subflows that a path manager outside of the kernel may have beside the first: the kernel's
/// MPTCP_SUBFLOWS_MAX.
const MOST_SUBFLOWS: u32 = 8;

/// The limits that this network namespace's own MPTCP has now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostLimits {
    /// Subflows of a session, the first included; `None` without MPTCP.
    pub(crate) subflows: Option<u32>,
    /// How long a session is kept that has no subflow.
    pub(crate) alone: Option<Duration>,
    /// Why some of them are not known, though there may be some.
    pub(crate) unknown: Vec<String>,
}

/// A limit that is judged by, and that is not the host's any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outdated {
    /// Subflows of a session.
    Subflows { judged: u32, now: u32 },
    /// How long a session is kept that has no subflow.
    Alone { judged: Duration, now: Duration },
}

impl Outdated {
    /// Returns the limit's name in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Subflows { .. } => "subflows",
            Self::Alone { .. } => "alone_ns",
        }
    }

    /// In words.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Subflows { judged, now } => format!(
                "MaxsfEr and TotSFRep are judged by {judged} subflows, and the host's limit is now {now} (ip mptcp \
                 limits)"
            ),
            Self::Alone { judged, now } => format!(
                "SessNoSF is judged by {} s, and the host's limit is now {} s (net.mptcp.close_timeout)",
                judged.as_secs(),
                now.as_secs()
            ),
        }
    }
}

impl HostLimits {
    /// Returns what the options say, else what this host says of itself, else the defaults.
    pub(crate) fn choose(&self, options: &LimitOptions) -> ChosenLimits {
        ChosenLimits::new(options, self.subflows, self.alone)
    }

    /// Returns true if the host's limits need to be asked for.
    pub(crate) fn matter(origins: &LimitOrigins, is_host: bool) -> bool {
        is_host || [origins.subflows, origins.alone].contains(&(LimitOrigin::Host as u8))
    }

    /// Asks the kernel for those of this thread's network namespace.
    pub(crate) async fn read() -> Self {
        let mut host = Self::default();
        let mut unknown = Vec::new();
        let mut note = |what: &str, error: anyhow::Error| {
            unknown.push(format!("{what} cannot be read: {}", causes(&error)));
        };
        match has_mptcp() {
            Ok(false) => return host,
            Ok(true) => {}
            Err(error) => note("whether this host has MPTCP", error),
        }
        match host_subflows().await {
            Ok(subflows) => host.subflows = subflows,
            Err(error) => note("the host's limit of subflows", error),
        }
        match host_close_timeout() {
            Ok(alone) => host.alone = alone,
            Err(error) => note("the host's net.mptcp.close_timeout", error),
        }
        host.unknown = unknown;
        host
    }

    /// Returns those that `limits` follow and that differ from them. On a host, limits follow that had none to
    /// follow, too.
    pub(crate) fn outdated(
        &self,
        limits: &Limits,
        origins: &LimitOrigins,
        is_host: bool,
    ) -> Vec<Outdated> {
        let follows = |origin| {
            origin == LimitOrigin::Host as u8 || (is_host && origin == LimitOrigin::Default as u8)
        };
        let mut outdated = Vec::new();
        if let Some(now) = self.subflows
            && follows(origins.subflows)
            && now != limits.subflows
        {
            let judged = limits.subflows;
            outdated.push(Outdated::Subflows { judged, now });
        }
        if let Some(now) = self.alone
            && follows(origins.alone)
            && nanoseconds(now) != limits.alone
        {
            let judged = Duration::from_nanos(limits.alone);
            outdated.push(Outdated::Alone { judged, now });
        }
        outdated
    }
}

/// Returns true if this network namespace has MPTCP.
///
/// # Errors
/// If that cannot be seen: without a /proc, every limit would look as if it were not there.
pub(super) fn has_mptcp() -> Result<bool> {
    let found = exists(Path::new("/proc/sys/net/mptcp"))?;
    if !found && !exists(Path::new("/proc/sys/net/core"))? {
        anyhow::bail!("there is no /proc/sys/net/core (mount /proc)");
    }
    Ok(found)
}

/// Returns subflows of a session, the first included, that this network namespace's path manager allows; `None`
/// if it does not say.
async fn host_subflows() -> Result<Option<u32>> {
    let is_elsewhere = match sysctl("path_manager")? {
        Some(name) => name != "kernel",
        // Older kernels number them.
        None => sysctl("pm_type")?.is_some_and(|number| number != "0"),
    };
    if is_elsewhere {
        return Ok(Some(1 + MOST_SUBFLOWS));
    }
    let (connection, handle, _) =
        mptcp_pm::new_connection().context("cannot open a netlink socket")?;
    tokio::spawn(connection);
    let mut answers = Box::pin(handle.limits().get().execute().await);
    let answer = answers.try_next().await?;
    let attributes = answer
        .into_iter()
        .flat_map(|answer| answer.payload.nlas)
        .collect::<Vec<_>>();
    Ok(attributes.iter().find_map(|attribute| match attribute {
        MptcpPathManagerAttr::Limits(MptcpPathManagerLimitsAttr::Subflows(more)) => {
            Some(more.saturating_add(1))
        }
        _ => None,
    }))
}

/// Returns how long this network namespace keeps a session that has no subflow; `None` of older kernels.
fn host_close_timeout() -> Result<Option<Duration>> {
    let Some(text) = sysctl("close_timeout")? else {
        return Ok(None);
    };
    let seconds = text
        .parse()
        .with_context(|| format!("{text:?} is no number of seconds"))?;
    Ok(Some(Duration::from_secs(seconds)))
}

/// Returns true if there is such a file or directory.
///
/// # Errors
/// If that cannot be seen, which must not look like "no".
fn exists(path: &Path) -> Result<bool> {
    let found = path.try_exists();
    found.with_context(|| format!("cannot look for {}", path.display()))
}

/// Returns a sysctl of MPTCP; `None` if this kernel does not have it.
pub(super) fn sysctl(name: &str) -> Result<Option<String>> {
    let path = format!("/proc/sys/net/mptcp/{name}");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {path}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::settings::follow;

    fn host(subflows: Option<u32>, alone: Option<u64>) -> HostLimits {
        HostLimits {
            subflows,
            alone: alone.map(Duration::from_secs),
            unknown: Vec::new(),
        }
    }

    fn policy(limit: Option<u32>, host: &HostLimits) -> ChosenLimits {
        let options = LimitOptions {
            subflows: limit,
            ..LimitOptions::default()
        };
        host.choose(&options)
    }

    #[test]
    fn what_differs_from_the_hosts_is_told_but_not_what_was_asked_for() {
        let then = host(Some(3), Some(60));
        let ChosenLimits { limits, origins } = policy(None, &then);
        assert!(then.outdated(&limits, &origins, true).is_empty());
        let seconds = Duration::from_secs;
        assert_eq!(
            host(Some(9), Some(5)).outdated(&limits, &origins, true),
            [
                Outdated::Subflows { judged: 3, now: 9 },
                Outdated::Alone {
                    judged: seconds(60),
                    now: seconds(5)
                }
            ]
        );
        // What cannot be read now says nothing.
        assert!(
            host(None, None)
                .outdated(&limits, &origins, true)
                .is_empty()
        );
        let ChosenLimits { limits, origins } = policy(Some(4), &then);
        let outdated = host(Some(9), Some(60)).outdated(&limits, &origins, true);
        assert!(outdated.is_empty(), "{outdated:?}");
        // MPTCP was not there, or was not to be seen, when the defaults were taken.
        let ChosenLimits { limits, origins } = policy(None, &host(None, None));
        let outdated = host(Some(9), None).outdated(&limits, &origins, true);
        assert_eq!(outdated.len(), 1, "{outdated:?}");
        // The hosts of a middlebox are elsewhere.
        let outdated = host(Some(9), None).outdated(&limits, &origins, false);
        assert!(outdated.is_empty(), "{outdated:?}");
    }

    #[test]
    fn limits_follow_the_hosts_but_not_over_options() {
        let ChosenLimits {
            mut limits,
            mut origins,
        } = policy(None, &host(Some(3), Some(60)));
        let now = policy(None, &host(Some(9), Some(60)));
        assert!(follow(&mut limits, &mut origins, &now));
        assert_eq!((limits.subflows, origins.generation), (9, 1));
        assert!(!follow(&mut limits, &mut origins, &now));
        assert_eq!(origins.generation, 1);
        // What is not known any more stays.
        assert!(!follow(
            &mut limits,
            &mut origins,
            &policy(None, &host(None, None))
        ));
        assert_eq!(limits.subflows, 9);
        let ChosenLimits {
            mut limits,
            mut origins,
        } = policy(Some(4), &host(Some(3), Some(60)));
        assert!(!follow(&mut limits, &mut origins, &now));
        assert_eq!(limits.subflows, 4);
    }
}
