//! Limits that rows are judged by: from options, from the host's own MPTCP, or the defaults.

use std::{fs, time::Duration};

use bytemuck::{Pod, Zeroable};
use futures_util::TryStreamExt as _;
use mptcp_common::{counter::Role, track::Limits};
use mptcp_pm::{MptcpPathManagerAttr, MptcpPathManagerLimitsAttr};

use crate::cli::PolicyLimits;

/// Where a limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Origin {
    Default = 0,
    Option = 1,
    Host = 2,
}

impl Origin {
    /// Its name in documents.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Option => "option",
            Self::Host => "host",
        }
    }
}

/// An [`Origin`] by its discriminant for each limit.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Origins {
    handshake: u8,
    alone: u8,
    idle: u8,
    subflows: u8,
    pending: u8,
    threshold: u8,
    passive_close_refused: u8,
    reserved: u8,
}

impl Origins {
    /// With the names that JSON has for the limits.
    pub(crate) fn named(&self) -> [(&'static str, Origin); 7] {
        [
            ("subflows", self.subflows),
            ("pending_joins", self.pending),
            ("join_threshold", self.threshold),
            ("passive_close_refused", self.passive_close_refused),
            ("handshake_ns", self.handshake),
            ("alone_ns", self.alone),
            ("idle_ns", self.idle),
        ]
        .map(|(name, origin)| {
            let origin = match origin {
                1 => Origin::Option,
                2 => Origin::Host,
                _ => Origin::Default,
            };
            (name, origin)
        })
    }
}

/// Limits and where they come from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy {
    pub(crate) limits: Limits,
    pub(crate) origins: Origins,
}

impl Policy {
    /// What the options say, else what this host says of itself, else the defaults.
    pub(crate) async fn new(options: &PolicyLimits, role: Role) -> Self {
        let (subflows, alone) = match role {
            Role::Host => (host_subflows().await, host_close_timeout()),
            // The hosts are elsewhere.
            Role::Middlebox => (None, None),
        };
        Self::of(options, subflows, alone)
    }

    /// What the options say, else these, else the defaults.
    pub(crate) fn of(
        options: &PolicyLimits,
        subflows: Option<u32>,
        alone: Option<Duration>,
    ) -> Self {
        let default = Limits::DEFAULT;
        let mut policy = Self {
            limits: default,
            origins: Origins::default(),
        };
        let Self { limits, origins } = &mut policy;
        let set = [
            (
                &mut limits.subflows,
                &mut origins.subflows,
                options.limit_subflows,
                subflows,
            ),
            (
                &mut limits.pending,
                &mut origins.pending,
                options.limit_pending,
                None,
            ),
            (
                &mut limits.threshold,
                &mut origins.threshold,
                options.join_threshold,
                None,
            ),
            (
                &mut limits.passive_close_refused,
                &mut origins.passive_close_refused,
                options.no_passive_close.then_some(1),
                None,
            ),
        ];
        for (limit, origin, option, host) in set {
            *origin = choose(limit, option, host) as u8;
        }
        let set = [
            (
                &mut limits.handshake,
                &mut origins.handshake,
                options.handshake_timeout,
                None,
            ),
            (
                &mut limits.alone,
                &mut origins.alone,
                options.close_timeout,
                alone,
            ),
            (
                &mut limits.idle,
                &mut origins.idle,
                options.idle_timeout,
                None,
            ),
        ];
        for (limit, origin, option, host) in set {
            *origin = choose(limit, option.map(nanoseconds), host.map(nanoseconds)) as u8;
        }
        policy
    }
}

fn choose<T>(limit: &mut T, option: Option<T>, host: Option<T>) -> Origin {
    let (value, origin) = match (option, host) {
        (Some(value), _) => (value, Origin::Option),
        (None, Some(value)) => (value, Origin::Host),
        (None, None) => return Origin::Default,
    };
    *limit = value;
    origin
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Subflows that a path manager outside of the kernel may have beside the first: the kernel's
/// MPTCP_SUBFLOWS_MAX.
const MOST_SUBFLOWS: u32 = 8;

/// Subflows of a session, the first included, that this network namespace's path manager allows; `None`
/// without MPTCP.
async fn host_subflows() -> Option<u32> {
    let is_elsewhere = match sysctl("path_manager") {
        Some(name) => name != "kernel",
        // Older kernels number them.
        None => sysctl("pm_type").is_some_and(|number| number != "0"),
    };
    if is_elsewhere {
        return Some(1 + MOST_SUBFLOWS);
    }
    let (connection, handle, _) = mptcp_pm::new_connection().ok()?;
    tokio::spawn(connection);
    let mut answers = Box::pin(handle.limits().get().execute().await);
    let answer = answers.try_next().await.ok()??;
    answer
        .payload
        .nlas
        .iter()
        .find_map(|attribute| match attribute {
            MptcpPathManagerAttr::Limits(MptcpPathManagerLimitsAttr::Subflows(more)) => {
                Some(more.saturating_add(1))
            }
            _ => None,
        })
}

/// How long this network namespace keeps a session that has no subflow.
fn host_close_timeout() -> Option<Duration> {
    let seconds = sysctl("close_timeout")?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn sysctl(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/net/mptcp/{name}")).ok()?;
    Some(text.trim().to_owned())
}
