//! What is typed for `record` and `report`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{
    input::{Analysis, RangeArgs},
    value::{duration, size},
};

#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// Append to this file; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Interfaces; all that have a probe if none is named
    #[arg(short, long = "interface", value_name = "IFACE", num_args = 1..)]
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
pub(crate) struct ReportArgs {
    /// A capture, or a log of `mptcp-user record` (also compressed; - is standard input)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
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
