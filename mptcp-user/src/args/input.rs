//! What is typed where a capture or a log is read.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;

use super::{
    attach::{CapacityArgs, LimitArgs, MssArgs, RoleName},
    value::moment,
};
use crate::{
    failure::{Failure, FailureKind},
    offline::Config,
    probe::settings::ChosenLimits,
    snapshot::reading::Range,
};

// A capture to read, or where the command knows them, a log.
#[derive(Clone, Debug, Args)]
#[command(
    next_help_heading = "Captures",
    mut_arg("role", |role| role.requires("recording")),
    mut_group("MssArgs", |group| group.requires("recording")),
    mut_group("CapacityArgs", |group| group.requires("recording")),
    mut_group("LimitArgs", |group| group.requires("recording")),
)]
#[group(skip)]
pub(crate) struct CaptureFile {
    /// Read this capture (pcap or pcapng, also compressed; - is standard input), and no probe
    #[arg(value_name = "FILE", group = "recording")]
    pub(crate) file: Option<PathBuf>,
    /// Names the capture or log as FILE does
    #[arg(
        long,
        value_name = "FILE",
        group = "recording",
        conflicts_with = "file"
    )]
    pub(crate) log_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) analysis: Analysis,
}

impl CaptureFile {
    /// Returns the file that is named, in whichever way.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.file.as_deref().or(self.log_file.as_deref())
    }
}

// How a capture is counted. The options that `attach` has too mean the same.
#[derive(Clone, Debug, Args)]
pub(crate) struct Analysis {
    /// Where the capture was taken: host needs one that says which packets came in
    /// [default: middlebox]
    #[arg(long, value_enum)]
    pub(crate) role: Option<RoleName>,
    // `None` where none of their options is given.
    #[command(flatten)]
    mss: Option<MssArgs>,
    #[command(flatten)]
    capacity: Option<CapacityArgs>,
    #[command(flatten)]
    limits: Option<LimitArgs>,
}

impl Analysis {
    /// Its options.
    pub(super) const OPTIONS: &str = "--role, --min-mss-v4, --min-mss-v6, --v1-only, --max-sessions, --max-subflows, \
        --max-ranges, --limit-subflows, --limit-pending, --join-threshold, --no-passive-close, --handshake-timeout, \
        --close-timeout and --idle-timeout";

    /// An error if there are options: what a log says was counted when it was recorded.
    pub(crate) fn refuse(&self) -> anyhow::Result<()> {
        if self.role.is_none()
            && self.mss.is_none()
            && self.capacity.is_none()
            && self.limits.is_none()
        {
            return Ok(());
        }
        Err(Failure::new(
            FailureKind::Usage,
            "this is a log, whose numbers were counted when it was recorded",
        )
        .next(format!(
            "leave out the options of captures: {}",
            Self::OPTIONS
        ))
        .into())
    }

    /// What the engine is to be made with.
    pub(crate) fn config(&self) -> Config {
        Config {
            role: self.role.unwrap_or(RoleName::Middlebox).into(),
            policy: self.mss.map(Into::into).unwrap_or_default(),
            limits: ChosenLimits::new(&self.limits.unwrap_or_default().into(), None, None).limits,
            sizes: self.capacity.map(Into::into).unwrap_or_default(),
            ..Config::default()
        }
    }
}

// Which readings of a log.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Logs")]
pub(crate) struct RangeArgs {
    /// Leave out the readings of a log before this time (2026-11-24T18:00:00Z, or "2026-11-24 18:00"
    /// in the time of this machine)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<Timestamp>,
    /// Leave out the readings of a log after this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<Timestamp>,
}

impl RangeArgs {
    /// Those of the named interfaces, or of all.
    pub(crate) fn of(&self, interfaces: &[String]) -> Range {
        Range {
            since: self.since,
            until: self.until,
            interfaces: interfaces.to_vec(),
        }
    }

    /// Returns true if all readings are wanted.
    pub(crate) fn is_all(&self) -> bool {
        self.since.is_none() && self.until.is_none()
    }
}
