//! What is typed for `stat`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{
    input::{CaptureFile, RangeArgs},
    value::duration,
};

#[derive(Debug, Args)]
#[command(
    override_usage = "mptcp-user stat [protocol mptcp] [-i IFACE...] [-detail] [-fullValues]\n       \
    [-ntimes N] [--interval 7s] [-clearstats basic|full] [--output table|json|jsonl|nitro]\n       \
    mptcp-user stat [protocol mptcp] CAPTURE [--role host|middlebox] [-detail] \
    [-fullValues]\n       [--output table|json|jsonl]\n       \
    mptcp-user stat [protocol mptcp] LOG [-i IFACE...] [--since TIME] [--until TIME]\n       \
    [-ntimes N] [--interval 1m] [-detail] [-fullValues] [--output table|json|jsonl]"
)]
#[command(
    after_help = "The options of `stat protocol mptcp` can be spelled -detail, -fullValues, \
    -ntimes N, -logFile FILE and -clearstats basic|full too.\n\n\
    Examples:\n  \
    mptcp-user stat                                   what all probes of this host saw\n  \
    mptcp-user stat -i eth0,eth1 -ntimes 0            every 7 seconds, until interrupted\n  \
    mptcp-user stat trace.pcap --role host --output json",
    mut_arg("file", |file| file.help("Read this capture (pcap or pcapng), or log of `mptcp-user \
        record`, and no probe (also compressed; - is standard input)"))
)]
pub(crate) struct StatArgs {
    /// Interfaces; all that have a probe if none is named. One without a probe gets it for the
    /// time of this command
    #[arg(short, long = "interface", value_name = "IFACE", num_args = 1.., value_delimiter = ',')]
    pub(crate) interfaces: Vec<String>,
    /// All rows, and the numbers that the table has no row for
    #[arg(long)]
    pub(crate) detail: bool,
    /// With --detail: further numbers that are 0, too
    #[arg(long, requires = "detail")]
    pub(crate) zeros: bool,
    /// Numbers and labels in full
    #[arg(long)]
    pub(crate) full_values: bool,
    /// How many times to display; 0 is until interrupted. Of a log: once what its last reading says,
    /// with rates over all of it; else step by step from its first one, 0 is to its end
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) ntimes: u64,
    /// Time between displays, such as 7s or 500ms [default: 7s; of a log, each reading]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) interval: Option<Duration>,
    /// Start again from zero, after this display: basic is the table's rows, full also the further
    /// numbers and the sessions that are known
    #[arg(long, value_enum, value_name = "basic|full")]
    pub(crate) clear_stats: Option<ClearStats>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = StatOutput::Table)]
    pub(crate) output: StatOutput,
    #[command(flatten)]
    pub(crate) capture: CaptureFile,
    #[command(flatten)]
    pub(crate) range: RangeArgs,
}

impl StatArgs {
    /// Time between displays of what counts now.
    pub(crate) fn live_interval(&self) -> Duration {
        self.interval.unwrap_or(Duration::from_secs(7))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClearStats {
    Basic,
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatOutput {
    Table,
    /// One object
    Json,
    /// One object and line for each display
    Jsonl,
    /// One object as the appliance's REST interface (NITRO) has it: rows that are n/a are left out
    Nitro,
}
