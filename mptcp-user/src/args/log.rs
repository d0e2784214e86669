//! What is typed for `record` and `report`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::{
    input::{Analysis, RangeArgs},
    value::{duration, size},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mptcp-user record -o mptcp.log                         a reading every 7 seconds\n  \
    mptcp-user record -i eth0,eth1 -o mptcp.log --interval 1m --rotate-age 24h --keep 30\n  \
    mptcp-user stat mptcp.log                              what it holds")]
pub(crate) struct RecordArgs {
    /// Append to this file; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Interfaces; all that have a probe if none is named
    #[arg(short, long = "interface", value_name = "IFACE", num_args = 1.., value_delimiter = ',')]
    pub(crate) interfaces: Vec<String>,
    /// Time between readings, such as 7s or 500ms
    #[arg(long, value_name = "TIME", default_value = "7s", value_parser = duration)]
    pub(crate) interval: Duration,
    /// End after so many readings; 0 is until interrupted
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) ntimes: u64,
    /// Begin a new file before this one is larger, such as 100M; the old ones are FILE.1, FILE.2 ...
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) rotate_size: Option<u64>,
    /// Begin a new file when the first reading of this one is so old, such as 24h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) rotate_age: Option<Duration>,
    /// Old files to keep
    #[arg(long, value_name = "N", default_value_t = 9,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) keep: u32,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    mptcp-user report trace.pcap -o trace.html             a page of a capture\n  \
    mptcp-user report mptcp.log -o week.html --since 2026-11-24 --force")]
pub(crate) struct ReportArgs {
    /// A capture, or a log of `mptcp-user record` (also compressed; - is standard input)
    #[arg(value_name = "FILE", required_unless_present = "log_file")]
    pub(crate) file: Option<PathBuf>,
    /// Names the capture or log as FILE does
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub(crate) log_file: Option<PathBuf>,
    /// Write the page to this file; - is standard output
    #[arg(short, long, value_name = "PAGE")]
    pub(crate) output: PathBuf,
    /// Replace the page if it is there
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten, next_help_heading = "Captures")]
    pub(crate) analysis: Analysis,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
}

impl ReportArgs {
    /// Returns the file that is named, in whichever way: clap asks for one.
    pub(crate) fn path(&self) -> &Path {
        let path = self.file.as_deref().or(self.log_file.as_deref());
        path.unwrap_or(Path::new("-"))
    }
}
