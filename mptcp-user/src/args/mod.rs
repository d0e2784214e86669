//! The command line: what was typed, and nothing else.

mod attach;
mod input;
mod log;
mod netscaler;
mod sessions;
mod stat;
mod value;

use std::{borrow::Cow, ffi::OsString, path::PathBuf};

use clap::{
    CommandFactory as _, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};

use self::netscaler::normalise;
pub(crate) use self::{
    attach::{AttachArgs, DetachArgs, KernelLog, StatusArgs, StatusOutput},
    input::CaptureFile,
    log::{RecordArgs, ReportArgs},
    sessions::{EventsArgs, EventsOutput, SessionsArgs, SessionsOutput},
    stat::{ClearStats, StatArgs, StatOutput},
};
use crate::text::visible;

/// Counts Multipath TCP on the wire, in the kernel's fast path.
#[derive(Debug, Parser)]
#[command(
    name = "mptcp-user",
    bin_name = "mptcp-user",
    version,
    max_term_width = 100
)]
#[command(arg_required_else_help = true)]
#[command(after_help = "Where to begin:\n  \
    mptcp-user attach -i eth0    then  mptcp-user stat    on a machine that MPTCP ends on, or passes\n  \
    mptcp-user stat trace.pcap                            of a capture, without root\n\n\
    Exit codes: 0 done; 1 failed; 2 not as it can be asked for; 3 done for some of the interfaces;\n  \
    4 somebody else holds the interface")]
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
    Attach(AttachArgs),
    /// Take the probe off interfaces
    Detach(DetachArgs),
    /// Show where the probe is and how it is attached
    Status(StatusArgs),
    /// Show the statistics table
    Stat(StatArgs),
    /// Show the sessions that are alive, with their subflows
    Sessions(SessionsArgs),
    /// Show what happens to sessions, as it happens, until interrupted
    Events(EventsArgs),
    /// Write a log of what the probes count, which `stat -logFile` reads
    Record(RecordArgs),
    /// Make a page (HTML) of a capture or a log
    Report(ReportArgs),
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

/// How other programs name a file to read.
const FILE_OPTIONS: [&str; 9] = [
    "-f",
    "-F",
    "-r",
    "--file",
    "--read",
    "--input",
    "--capture",
    "--pcap",
    "--log",
];

/// An interface that stands by itself, as many commands have it, is told where it belongs.
fn with_tip(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let is_unknown = error.kind() == ErrorKind::UnknownArgument;
    if is_unknown && FILE_OPTIONS.contains(&argument.as_str()) {
        let tip = "a capture or log is named as FILE, or with '--log-file FILE'";
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![tip.to_owned().into()]),
        );
        return error;
    }
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
    if is_unknown && !argument.starts_with('-') && takes_interfaces {
        let tip = format!("if it is an interface, write '-i {argument}'");
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![tip.into()]),
        );
    }
    error
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::{input::Analysis, *};

    fn stat(arguments: &[&str]) -> StatArgs {
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

    /// Parses a command line as the program does.
    fn parsed(words: &str) -> Result<Command, clap::Error> {
        let arguments = ["mptcp-user"].into_iter().chain(words.split(' '));
        let arguments = normalise(arguments.map(OsString::from));
        let parsed = Cli::try_parse_from(&arguments).map_err(|error| with_tip(error, &arguments));
        parsed.map(|cli| cli.command)
    }

    #[test]
    fn a_file_has_one_name_in_every_command() {
        for command in [
            "stat",
            "stat protocol mptcp",
            "sessions",
            "events",
            "report -o p",
        ] {
            for name in [
                "f",
                "--log-file f",
                "-logFile f",
                "-logfile=f",
                "--log-file=f",
            ] {
                let words = format!("{command} {name}");
                let path = match parsed(&words).expect(&words) {
                    Command::Stat(stat) => stat.capture.path().map(ToOwned::to_owned),
                    Command::Sessions(sessions) => sessions.capture.path().map(ToOwned::to_owned),
                    Command::Events(events) => events.capture.path().map(ToOwned::to_owned),
                    Command::Report(report) => Some(report.path().to_owned()),
                    other => panic!("{other:?}"),
                };
                assert_eq!(path, Some("f".into()), "{words}");
            }
            for wrong in ["--file f", "-r f", "--pcap f", "--logfile f"] {
                let error = parsed(&format!("{command} {wrong}")).expect_err(wrong);
                let text = error.render().to_string();
                assert!(text.contains("--log-file"), "{command} {wrong}: {text}");
            }
            assert!(parsed(&format!("{command} f --log-file g")).is_err());
        }
        assert!(parsed("report -o p").is_err());
        // Options of captures need one, however it is named.
        assert!(parsed("stat f --role host").is_ok());
        assert!(parsed("stat --role host").is_err());
    }

    #[test]
    fn interfaces_may_stand_in_one_word() {
        for words in [
            "stat -i a,b",
            "stat -i a b",
            "stat -i a -i b",
            "stat --interface=a,b",
        ] {
            match parsed(words).expect(words) {
                Command::Stat(stat) => assert_eq!(stat.interfaces, ["a", "b"], "{words}"),
                other => panic!("{other:?}"),
            }
        }
        for words in ["attach -i a,b", "detach -i a,b", "record -o f -i a,b"] {
            let interfaces = match parsed(words).expect(words) {
                Command::Attach(attach) => attach.interfaces,
                Command::Detach(detach) => detach.interfaces,
                Command::Record(record) => record.interfaces,
                other => panic!("{other:?}"),
            };
            assert_eq!(interfaces, ["a", "b"], "{words}");
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
}
