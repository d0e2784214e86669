//! The command line.

use std::{
    borrow::Cow,
    ffi::{OsStr, OsString},
    net::IpAddr,
    path::PathBuf,
    time::Duration,
};

use clap::{
    Args, CommandFactory as _, Parser, Subcommand, ValueEnum,
    error::{ContextKind, ContextValue, ErrorKind},
};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use mptcp_common::{
    counter::{FexitHook, Role},
    engine,
    state::MAX_PENDING,
};

use crate::{
    failure::{Failure, Kind},
    offline::{Config, Sizes},
    probe::{Policy, Substitute},
    source::{Order, Range, Selection, State},
    text::visible,
};

/// Counts Multipath TCP on the wire, in the kernel's fast path.
#[derive(Debug, Parser)]
#[command(
    name = "mptcp-user",
    bin_name = "mptcp-user",
    version,
    max_term_width = 100
)]
#[command(arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Where programs and maps are pinned: a directory of a bpffs.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/sys/fs/bpf/mptcp"
    )]
    pub(crate) pin_dir: PathBuf,
    /// Work in this network namespace: a name of `ip netns`, or a path.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) netns: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

// Options are made of the command that is asked for, and of no other. They come after its description, so what
// is flattened into it must not have one: no doc comment.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Put the probe on interfaces; it counts on after this command has ended
    Attach(Attach),
    /// Take the probe off interfaces
    Detach(Detach),
    /// Show where the probe is and how it is attached
    Status(Status),
    /// Show the statistics table
    Stat(Stat),
    /// Show the sessions that are alive, with their subflows
    Sessions(Sessions),
    /// Show what happens to sessions, as it happens, until interrupted
    Events(Events),
    /// Write a log of what the probes count, which `stat -logFile` reads
    Record(Record),
    /// Make a page (HTML) of a capture or a log
    Report(Report),
}

#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Interfaces
    #[arg(short, long = "interface", value_name = "IFACE", required = true, num_args = 1..)]
    pub(crate) interfaces: Vec<String>,
    /// host: this machine ends the sessions; middlebox: it forwards them, and what passes lo is counted
    /// like that, whatever is said here
    #[arg(long, value_enum, default_value_t = RoleName::Host)]
    pub(crate) role: RoleName,
    /// How to see what comes in: auto is XDP in the driver, else TC
    #[arg(long, value_enum, default_value_t = XdpChoice::Auto)]
    pub(crate) xdp: XdpChoice,
    #[command(flatten)]
    pub(crate) judgment: Judgment,
    /// Count what packets say by themselves, and follow no sessions: rows that need them are n/a
    #[arg(long)]
    pub(crate) no_track: bool,
    /// Verify DSS checksums (CksumEr), where they are in use: reads the payload
    #[arg(long, conflicts_with = "no_track")]
    pub(crate) verify_checksums: bool,
    #[command(flatten)]
    pub(crate) room: Room,
    /// Leave the kernel's functions alone: rows of failed allocations are n/a
    #[arg(long)]
    pub(crate) no_hooks: bool,
    /// Hook another function in the place of one: for tests, which cannot make each of them fail
    #[arg(long = "hook", hide = true, value_name = "FUNCTION=OTHER", value_parser = substitute)]
    pub(crate) substitutes: Vec<Substitute>,
    #[command(flatten)]
    pub(crate) limits: PolicyLimits,
    /// Stay, and print what the programs log at this level and above; slow, for debugging
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) kernel_log: Option<KernelLog>,
}

// What policy rows are judged by.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Judgment {
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

impl From<Judgment> for engine::SynPolicy {
    fn from(judgment: Judgment) -> Self {
        Self {
            min_mss_v4: judgment.min_mss_v4,
            min_mss_v6: judgment.min_mss_v6,
            version_0: !judgment.v1_only,
        }
    }
}

// Room in the tables.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Room {
    /// Sessions that there is room for (the probes of a network namespace share their tables, and
    /// the first one decides)
    #[arg(long, value_name = "N", default_value_t = Sizes::default().sessions,
        value_parser = clap::value_parser!(u32).range(16..=1 << 24))]
    pub(crate) max_sessions: u32,
    /// Subflows that there is room for
    #[arg(long, value_name = "N", default_value_t = Sizes::default().subflows,
        value_parser = clap::value_parser!(u32).range(16..=1 << 24))]
    pub(crate) max_subflows: u32,
    /// Ranges of data beyond gaps that there is room for in all sessions together, besides 16 of each
    /// direction of each session: bulk transfers over paths of different length have more
    #[arg(long, value_name = "N", default_value_t = Sizes::default().ranges,
        value_parser = clap::value_parser!(u32).range(1..=1 << 27))]
    pub(crate) max_ranges: u32,
}

impl From<Room> for Sizes {
    fn from(room: Room) -> Self {
        Self {
            sessions: room.max_sessions,
            subflows: room.max_subflows,
            ranges: room.max_ranges,
            ..Self::default()
        }
    }
}

// A capture to read, or where the command knows them, a log.
#[derive(Clone, Debug, Args)]
#[command(
    next_help_heading = "Captures",
    mut_arg("role", |role| role.requires("log_file")),
    mut_group("Judgment", |group| group.requires("log_file")),
    mut_group("Room", |group| group.requires("log_file")),
    mut_group("PolicyLimits", |group| group.requires("log_file")),
)]
pub(crate) struct CaptureFile {
    /// Read this capture (pcap or pcapng, also compressed; - is standard input), and no probe
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) analysis: Analysis,
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
    judgment: Option<Judgment>,
    #[command(flatten)]
    room: Option<Room>,
    #[command(flatten)]
    limits: Option<PolicyLimits>,
}

impl Analysis {
    /// Its options.
    const OPTIONS: &str = "--role, --min-mss-v4, --min-mss-v6, --v1-only, --max-sessions, --max-subflows, \
        --max-ranges, --limit-subflows, --limit-pending, --join-threshold, --no-passive-close, --handshake-timeout, \
        --close-timeout and --idle-timeout";

    /// An error if there are options: what a log says was counted when it was recorded.
    pub(crate) fn refuse(&self) -> anyhow::Result<()> {
        if self.role.is_none()
            && self.judgment.is_none()
            && self.room.is_none()
            && self.limits.is_none()
        {
            return Ok(());
        }
        Err(Failure::error(
            Kind::Usage,
            format!(
                "this is a log, whose numbers were counted when it was recorded\n  next: leave out the \
                 options of captures: {}",
                Self::OPTIONS
            ),
        ))
    }

    /// What the engine is to be made with.
    pub(crate) fn config(&self) -> Config {
        Config {
            role: self.role.unwrap_or(RoleName::Middlebox).into(),
            policy: self.judgment.map(Into::into).unwrap_or_default(),
            limits: Policy::of(&self.limits.unwrap_or_default(), None, None).limits,
            sizes: self.room.map(Into::into).unwrap_or_default(),
            ..Config::default()
        }
    }
}

// Which readings of a log.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Logs")]
pub(crate) struct Readings {
    /// Leave out the readings of a log before this time (2026-11-24T18:00:00Z, or "2026-11-24 18:00"
    /// in the time of this machine)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) since: Option<Timestamp>,
    /// Leave out the readings of a log after this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub(crate) until: Option<Timestamp>,
}

impl Readings {
    /// Those of the named interfaces, or of all.
    pub(crate) fn of(&self, interfaces: &[String]) -> Range {
        Range {
            since: self.since,
            until: self.until,
            interfaces: interfaces.to_vec(),
        }
    }

    /// Is it all of them?
    pub(crate) fn is_all(&self) -> bool {
        self.since.is_none() && self.until.is_none()
    }
}

// Limits and times that rows are judged by.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct PolicyLimits {
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
pub(crate) struct Detach {
    /// Interfaces
    #[arg(
        short,
        long = "interface",
        value_name = "IFACE",
        num_args = 1..,
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub(crate) interfaces: Vec<String>,
    /// Every interface under the pin directory, in all network namespaces or in that of --netns
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Form of the output
    #[arg(long, value_enum, default_value_t = StatusOutput::Table)]
    pub(crate) output: StatusOutput,
}

#[derive(Debug, Args)]
#[command(
    override_usage = "mptcp-user stat [protocol mptcp] [-i IFACE...] [-detail] [-fullValues]\n       \
    [-ntimes N] [--interval 7s] [-clearstats basic|full] [--output table|json|jsonl]\n       \
    mptcp-user stat [protocol mptcp] -logFile CAPTURE [--role host|middlebox] [-detail] \
    [-fullValues]\n       [--output table|json|jsonl]\n       \
    mptcp-user stat [protocol mptcp] -logFile LOG [-i IFACE...] [--since TIME] [--until TIME]\n       \
    [-ntimes N] [--interval 1m] [-detail] [-fullValues] [--output table|json|jsonl]"
)]
#[command(
    after_help = "The options of `stat protocol mptcp` can be spelled -detail, -fullValues, \
    -ntimes N, -logFile FILE and -clearstats basic|full too.",
    mut_arg("log_file", |file| file.help("Read this capture (pcap or pcapng), or log of `mptcp-user \
        record`, and no probe (also compressed; - is standard input)"))
)]
pub(crate) struct Stat {
    /// Interfaces; all that have a probe if none is named. One without a probe gets it for the
    /// time of this command
    #[arg(short, long = "interface", value_name = "IFACE", num_args = 1..)]
    pub(crate) interfaces: Vec<String>,
    /// All rows, and the numbers that the table has no row for
    #[arg(long)]
    pub(crate) detail: bool,
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
    pub(crate) readings: Readings,
}

impl Stat {
    /// Time between displays of what counts now.
    pub(crate) fn live_interval(&self) -> Duration {
        self.interval.unwrap_or(Duration::from_secs(7))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Record {
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
pub(crate) struct Report {
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
    pub(crate) readings: Readings,
}

#[derive(Debug, Args)]
pub(crate) struct Sessions {
    /// Only sessions with a subflow from or to this address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Option<IpAddr>,
    /// Only sessions with a subflow from or to this port
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Only sessions in this state
    #[arg(long, value_enum)]
    pub(crate) state: Option<StateName>,
    /// The oldest, the least idle, those with most bytes or most subflows first
    #[arg(long, value_enum, default_value_t = SortBy::Age)]
    pub(crate) sort: SortBy,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Numbers in full
    #[arg(long)]
    pub(crate) full_values: bool,
    /// Form of the output; a table has 10,000 sessions at most, and more come in further ones
    #[arg(long, value_enum, default_value_t = SessionsOutput::Table)]
    pub(crate) output: SessionsOutput,
    #[command(flatten)]
    pub(crate) capture: CaptureFile,
}

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// End after so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = EventsOutput::Text)]
    pub(crate) output: EventsOutput,
    #[command(flatten)]
    pub(crate) capture: CaptureFile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventsOutput {
    Text,
    /// One object and line for each event
    Jsonl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateName {
    Established,
    Closing,
    Fallback,
    Alone,
}

impl From<StateName> for State {
    fn from(name: StateName) -> Self {
        match name {
            StateName::Established => Self::Established,
            StateName::Closing => Self::Closing,
            StateName::Fallback => Self::Fallback,
            StateName::Alone => Self::Alone,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortBy {
    Age,
    Idle,
    Bytes,
    Subflows,
}

impl From<SortBy> for Order {
    fn from(by: SortBy) -> Self {
        match by {
            SortBy::Age => Self::Oldest,
            SortBy::Idle => Self::LeastIdle,
            SortBy::Bytes => Self::MostBytes,
            SortBy::Subflows => Self::MostSubflows,
        }
    }
}

impl Sessions {
    /// Which sessions are asked for.
    pub(crate) fn selection(&self) -> Selection {
        Selection {
            address: self.address,
            port: self.port,
            state: self.state.map(State::from),
            order: self.sort.into(),
            limit: self.limit,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SessionsOutput {
    Table,
    Json,
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
pub(crate) enum XdpChoice {
    /// Native where the driver has it, else TC
    Auto,
    /// In the driver, or not at all
    Native,
    /// In the network stack; counts merged segments once
    Generic,
    /// TC
    Off,
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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusOutput {
    Table,
    Json,
}

/// Parses `7s`, `500ms` or a bare number of seconds; at least 10 ms.
fn duration(text: &str) -> Result<Duration, String> {
    let span: Duration = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds)
            .map_err(|_| "expected a time such as 7s, 500ms or 1m".to_owned())?,
        Err(_) => text
            .parse::<jiff::SignedDuration>()
            .map_err(|_| "expected a time such as 7s, 500ms or 1m".to_owned())?
            .try_into()
            .map_err(|_| "a time cannot be negative".to_owned())?,
    };
    if span < Duration::from_millis(10) {
        return Err("10ms is the shortest interval".to_owned());
    }
    Ok(span)
}

/// Parses a time with its offset, or one of this machine's time zone.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    text.parse::<DateTime>()
        .and_then(|time| TimeZone::system().to_timestamp(time))
        .map_err(|_| {
            "expected a time such as 2026-11-24T18:00:00Z or \"2026-11-24 18:00\"".to_owned()
        })
}

/// Parses a number of bytes such as 4096, 512K, 100M or 2G, at least 4096.
fn size(text: &str) -> Result<u64, String> {
    let units = [('K', 10), ('M', 20), ('G', 30)];
    let (number, shift) = units
        .into_iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))
        .unwrap_or((text, 0));
    let size = number
        .parse()
        .ok()
        .and_then(|n: u64| n.checked_mul(1 << shift));
    match size {
        Some(size) if size >= 4096 => Ok(size),
        _ => Err("expected a number of bytes such as 512K, 100M or 2G, at least 4096".to_owned()),
    }
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

/// Reads the command line; ends the process where it makes no sense, with what to write instead.
pub(crate) fn parse() -> Cli {
    let arguments = normalise(std::env::args_os());
    Cli::try_parse_from(&arguments).unwrap_or_else(|error| {
        let error = with_tip(error, &arguments);
        let text = error.render().to_string();
        match visible(&text) {
            Cow::Borrowed(_) => error.exit(),
            // It says what was typed, which a script may have from elsewhere.
            Cow::Owned(text) => {
                eprint!("{text}");
                std::process::exit(error.exit_code());
            }
        }
    })
}

/// An interface that stands by itself, as many commands have it, is told where it belongs.
fn with_tip(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let mut cli = Cli::command();
    cli.build();
    let command = cli
        .get_subcommands()
        .find(|command| arguments.iter().any(|word| word == command.get_name()));
    let takes_interfaces = command.is_some_and(|command| {
        command
            .get_arguments()
            .any(|arg| arg.get_short() == Some('i'))
    });
    if error.kind() == ErrorKind::UnknownArgument && !argument.starts_with('-') && takes_interfaces
    {
        let tip = format!("if it is an interface, write '-i {argument}'");
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![tip.into()]),
        );
    }
    error
}

/// NetScaler's spelling of the options of `stat`, and ours.
const SPELLINGS: [(&str, &str); 6] = [
    ("-detail", "--detail"),
    ("-fullvalues", "--full-values"),
    ("-ntimes", "--ntimes"),
    ("-interval", "--interval"),
    ("-logfile", "--log-file"),
    ("-clearstats", "--clear-stats"),
];

/// Replaces NetScaler's spelling of the options of `stat`, whatever its case, by the usual one, and
/// leaves out the words `protocol mptcp`.
pub(crate) fn normalise(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<_> = arguments.collect();
    let Some(stat) = arguments.iter().position(|argument| argument == "stat") else {
        return arguments;
    };
    let rest = arguments.split_off(stat + 1);
    let words = rest
        .windows(2)
        .position(|pair| pair[0] == "protocol" && pair[1] == "mptcp");
    for (i, argument) in rest.into_iter().enumerate() {
        if words.is_none_or(|at| i != at && i != at + 1) {
            arguments.push(spelling(&argument).unwrap_or(argument));
        }
    }
    arguments
}

fn spelling(argument: &OsStr) -> Option<OsString> {
    let text = argument.to_str()?;
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let (_, ours) = SPELLINGS
        .iter()
        .find(|(theirs, _)| theirs.eq_ignore_ascii_case(name))?;
    Some(match value {
        Some(value) => format!("{ours}={value}").into(),
        None => (*ours).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(arguments: &[&str]) -> Stat {
        let arguments = ["mptcp-user"].iter().chain(arguments).map(OsString::from);
        match Cli::try_parse_from(normalise(arguments))
            .expect("parses")
            .command
        {
            Command::Stat(stat) => stat,
            other => panic!("not stat: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_leave_a_command_its_description() {
        let command = Cli::command();
        let mut built = command.clone();
        built.build();
        for (before, after) in command.get_subcommands().zip(built.get_subcommands()) {
            let about = |command: &clap::Command| command.get_about().map(ToString::to_string);
            assert_eq!(about(before), about(after));
        }
    }

    #[test]
    fn both_spellings_mean_the_same() {
        let theirs = stat(&[
            "stat",
            "protocol",
            "mptcp",
            "-detail",
            "-fullValues",
            "-ntimes",
            "3",
            "-clearstats",
            "full",
        ]);
        let ours = stat(&[
            "stat",
            "--detail",
            "--full-values",
            "--ntimes=3",
            "--clear-stats",
            "full",
        ]);
        for stat in [theirs, ours] {
            assert!(stat.detail && stat.full_values);
            assert_eq!((stat.ntimes, stat.clear_stats), (3, Some(ClearStats::Full)));
        }
    }

    #[test]
    fn the_options_of_captures_are_told_by_name() {
        let command = Analysis::augment_args(clap::Command::new("analysis"));
        let named: Vec<_> = Analysis::OPTIONS
            .split([',', ' '])
            .filter_map(|word| word.strip_prefix("--"))
            .collect();
        let known: Vec<_> = command
            .get_arguments()
            .filter_map(|option| option.get_long())
            .collect();
        assert_eq!(named, known);
    }

    #[test]
    fn a_log_takes_no_options_of_captures() {
        assert!(
            stat(&["stat", "-logFile", "f"])
                .capture
                .analysis
                .refuse()
                .is_ok()
        );
        for option in [
            &["--role", "host"][..],
            // Also where it says what is so anyway.
            &["--min-mss-v4", "536"],
            &["--v1-only"],
            &["--max-sessions", "8192"],
            &["--limit-subflows", "4"],
            &["--no-passive-close"],
            &["--idle-timeout", "1h"],
        ] {
            let stat = stat(&[&["stat", "-logFile", "f"], option].concat());
            assert!(stat.capture.analysis.refuse().is_err(), "{option:?}");
        }
    }

    #[test]
    fn times_are_read_with_and_without_a_unit() {
        assert_eq!(duration("7s"), Ok(Duration::from_secs(7)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "-1s", "0", "soon", "1ms"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("512K"), Ok(512 << 10));
        assert_eq!(size("2G"), Ok(2 << 30));
        for bad in [
            "",
            "M",
            "4095",
            "1.5M",
            "-1M",
            "100MB",
            "99999999999999999G",
        ] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn moments_are_absolute() {
        let utc = moment("2026-11-24T18:00:00Z").expect("a time");
        assert_eq!(moment("2026-11-24T19:00:00+01:00"), Ok(utc));
        let day = moment("2026-11-24").expect("midnight here");
        assert_eq!(moment("2026-11-24 00:00"), Ok(day));
        for bad in ["", "now", "18:00", "7s"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
