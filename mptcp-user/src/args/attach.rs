//! What is typed for `attach`, `detach` and `status`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use mptcp_common::{
    counter::{FexitHook, Role},
    engine,
    state::MAX_PENDING,
};

use super::value::duration;
use crate::{
    capacity::Capacity,
    probe::settings::{LimitOptions, Substitute, XdpMode},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mptcp-user attach -i eth0,eth1                         on a host that opens or accepts sessions\n  \
    mptcp-user attach -i eth0,eth1 --role middlebox        on a router\n  \
    mptcp-user attach -i eth0 --verify-checksums --xdp off")]
pub(crate) struct AttachArgs {
    /// Interfaces
    #[arg(short, long = "interface", value_name = "IFACE", required = true, num_args = 1..,
        value_delimiter = ',')]
    pub(crate) interfaces: Vec<String>,
    /// host: this machine ends the sessions; middlebox: it forwards them, and what passes lo is counted
    /// like that, whatever is said here
    #[arg(long, value_enum, default_value_t = RoleName::Host)]
    pub(crate) role: RoleName,
    /// How to see what comes in: auto is XDP in the driver, else TC
    #[arg(long, value_enum, default_value_t = XdpName::Auto)]
    pub(crate) xdp: XdpName,
    #[command(flatten)]
    pub(crate) mss: MssArgs,
    /// Count what packets say by themselves, and follow no sessions: rows that need them are n/a
    #[arg(long)]
    pub(crate) no_track: bool,
    /// Verify DSS checksums (CksumEr), where they are in use: reads the payload
    #[arg(long, conflicts_with = "no_track")]
    pub(crate) verify_checksums: bool,
    #[command(flatten)]
    pub(crate) capacity: CapacityArgs,
    /// Leave the kernel's functions alone: rows of failed allocations are n/a
    #[arg(long)]
    pub(crate) no_hooks: bool,
    /// Hook another function in the place of one: for tests, which cannot make each of them fail
    #[arg(long = "hook", hide = true, value_name = "FUNCTION=OTHER", value_parser = substitute)]
    pub(crate) substitutes: Vec<Substitute>,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// Stay, and print what the programs log at this level and above; slow, for debugging
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) kernel_log: Option<KernelLog>,
}

// What policy rows are judged by.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct MssArgs {
    /// Smallest MSS over IPv4 that MSSErr accepts, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 536)]
    pub(crate) min_mss_v4: u16,
    /// Smallest MSS over IPv6 that MSSErr accepts, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1220)]
    pub(crate) min_mss_v6: u16,
    /// Count MP_CAPABLE SYNs of version 0 in VerEr
    #[arg(long)]
    pub(crate) v1_only: bool,
}

impl From<MssArgs> for engine::SynPolicy {
    fn from(args: MssArgs) -> Self {
        Self {
            min_mss_v4: args.min_mss_v4,
            min_mss_v6: args.min_mss_v6,
            version_0: !args.v1_only,
        }
    }
}

// CapacityArgs in the tables.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct CapacityArgs {
    /// Sessions that there is room for (the probes of a network namespace share their tables, and
    /// the first one decides)
    #[arg(long, value_name = "N", default_value_t = Capacity::default().sessions,
        value_parser = clap::value_parser!(u32).range(16..=1 << 24))]
    pub(crate) max_sessions: u32,
    /// Subflows that there is room for
    #[arg(long, value_name = "N", default_value_t = Capacity::default().subflows,
        value_parser = clap::value_parser!(u32).range(16..=1 << 24))]
    pub(crate) max_subflows: u32,
    /// Ranges of data beyond gaps that there is room for in all sessions together, besides 16 of each
    /// direction of each session: bulk transfers over paths of different length have more
    #[arg(long, value_name = "N", default_value_t = Capacity::default().ranges,
        value_parser = clap::value_parser!(u32).range(1..=1 << 27))]
    pub(crate) max_ranges: u32,
}

impl From<CapacityArgs> for Capacity {
    fn from(args: CapacityArgs) -> Self {
        Self {
            sessions: args.max_sessions,
            subflows: args.max_subflows,
            ranges: args.max_ranges,
            ..Self::default()
        }
    }
}

// Limits and times that rows are judged by.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Subflows of a session, the first included; a join beyond that is refused counts in MaxsfEr
    /// [default: on a host what its `ip mptcp limits` allow, else 4]
    #[arg(long, value_name = "N")]
    pub(crate) limit_subflows: Option<u32>,
    /// Pending joins of a session and side, at most 6 [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=MAX_PENDING as i64))]
    pub(crate) limit_pending: Option<u32>,
    /// Pending joins of all sessions, 0 is no limit; a join beyond that is refused counts in JoinThEr
    /// [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) join_threshold: Option<u32>,
    /// Count closing on a backup subflow in DFpasveEr and FCpasvEr
    #[arg(long)]
    pub(crate) no_passive_close: bool,
    /// A handshake is forgotten after this time [default: 75s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) handshake_timeout: Option<Duration>,
    /// A session without subflows is over after this time [default: on a host its
    /// net.mptcp.close_timeout, else 60s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) close_timeout: Option<Duration>,
    /// A session without packets is over after this time [default: 1h]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) idle_timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct DetachArgs {
    /// Interfaces
    #[arg(
        short,
        long = "interface",
        value_name = "IFACE",
        num_args = 1..,
        value_delimiter = ',',
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub(crate) interfaces: Vec<String>,
    /// Every interface under the pin directory, in all network namespaces or in that of --netns
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Form of the output
    #[arg(long, value_enum, default_value_t = StatusOutput::Table)]
    pub(crate) output: StatusOutput,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleName {
    Host,
    Middlebox,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Host => Self::Host,
            RoleName::Middlebox => Self::Middlebox,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum XdpName {
    /// Native where the driver has it, else TC
    Auto,
    /// In the driver, or not at all
    Native,
    /// In the network stack; counts merged segments once
    Generic,
    /// TC
    Off,
}

impl From<XdpName> for XdpMode {
    fn from(name: XdpName) -> Self {
        match name {
            XdpName::Auto => Self::Auto,
            XdpName::Native => Self::Native,
            XdpName::Generic => Self::Generic,
            XdpName::Off => Self::Off,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KernelLog {
    Error,
    Warn,
    Info,
    Debug,
}

impl KernelLog {
    /// The number that the programs compare with: `aya_log_common::Level`.
    pub(crate) fn level(self) -> u8 {
        match self {
            Self::Error => 1,
            Self::Warn => 2,
            Self::Info => 3,
            Self::Debug => 4,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusOutput {
    Table,
    Json,
}

/// Parses `FUNCTION=OTHER`.
fn substitute(text: &str) -> Result<Substitute, String> {
    let (name, other) = text.split_once('=').ok_or("expected FUNCTION=OTHER")?;
    let hook = FexitHook::ALL
        .into_iter()
        .find(|hook| hook.function() == name)
        .ok_or_else(|| format!("there is no hook on {name}"))?;
    Ok(Substitute {
        hook,
        function: other.to_owned(),
    })
}

impl From<LimitArgs> for LimitOptions {
    fn from(args: LimitArgs) -> Self {
        Self {
            subflows: args.limit_subflows,
            pending: args.limit_pending,
            threshold: args.join_threshold,
            passive_close_refused: args.no_passive_close.then_some(1),
            handshake: args.handshake_timeout,
            alone: args.close_timeout,
            idle: args.idle_timeout,
        }
    }
}
