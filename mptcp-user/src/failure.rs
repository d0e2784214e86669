//! How a command ends when it could not do what it was asked: exit code and sentence.
//!
//! Most errors of the command line end with 2 before this is asked, which is clap's doing.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

use crate::text::visible;

/// What went wrong, as far as the exit code tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// It could not be done: 1.
    Failed,
    /// It makes no sense as it was asked for: 2.
    Usage,
    /// Done for some of the interfaces: 3.
    Partly,
    /// Somebody else holds the interface: 4.
    Busy,
}

/// An error that knows its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    what: String,
    why: Option<String>,
    next: Option<String>,
}

impl Failure {
    /// Says what went wrong.
    pub(crate) fn new(kind: FailureKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            why: None,
            next: None,
        }
    }

    /// Says why.
    pub(crate) fn why(mut self, why: impl fmt::Display) -> Self {
        self.why = Some(why.to_string());
        self
    }

    /// Says what to do.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &self.what, self.why.as_deref(), self.next.as_deref())
    }
}

impl std::error::Error for Failure {}

/// Something that the user should know, and perhaps what to do. It is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    what: String,
    next: Option<String>,
}

impl Notice {
    /// Says what is so.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            next: None,
        }
    }

    /// Says what to do.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Makes an error of it.
    pub(crate) fn into_failure(self, kind: FailureKind) -> Failure {
        Failure {
            kind,
            what: self.what,
            why: None,
            next: self.next,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, &self.what, None, self.next.as_deref())
    }
}

/// Writes what an error or a notice says: the one place that knows how.
fn write(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    why: Option<&str>,
    next: Option<&str>,
) -> fmt::Result {
    f.write_str(what)?;
    if let Some(why) = why {
        write!(f, ": {why}")?;
    }
    match next {
        Some(next) => write!(f, "\n{}", next_step(next)),
        None => Ok(()),
    }
}

/// Returns the line that says what to do.
pub(crate) fn next_step(next: &str) -> String {
    format!("  next: {next}")
}

/// The next step where a file may not grow.
const TOO_LARGE: &str = "a limit of this process (ulimit -f) lets files grow no further: raise it, or have \
    `record` begin new files with --rotate-size";

/// Returns an error of a file that the user named, with which no capability helps.
pub(crate) fn of_file(what: &str, error: &io::Error) -> anyhow::Error {
    let failure = Failure::new(FailureKind::Failed, what).why(error);
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            failure.next("name another file, or run it as a user who may use this one")
        }
        io::ErrorKind::FileTooLarge => failure.next(TOO_LARGE),
        _ => failure,
    }
    .into()
}

/// Returns the kind of an error.
pub(crate) fn kind(error: &anyhow::Error) -> FailureKind {
    let failure = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Failure>());
    failure.map_or(FailureKind::Failed, |failure| failure.kind)
}

/// Returns true if an error says what to do.
pub(crate) fn says_next(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Failure>())
        .any(|failure| failure.next.is_some())
}

/// Tells the user something that is no result: on standard error, if anybody still reads it.
pub(crate) fn warn(text: impl fmt::Display) {
    let text = text.to_string();
    let _ = writeln!(io::stderr(), "mptcp-user: {}", visible(&text));
}

/// Returns the system's error number under an error.
pub(crate) fn os_error(error: &anyhow::Error) -> Option<i32> {
    error.chain().find_map(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error)
            .or_else(|| {
                cause
                    .downcast_ref::<nix::Error>()
                    .map(|errno| *errno as i32)
            })
    })
}

/// Returns true if an error is for want of rights.
pub(crate) fn is_forbidden(error: &anyhow::Error) -> bool {
    matches!(os_error(error), Some(nix::libc::EPERM | nix::libc::EACCES))
}

/// Says on standard error what went wrong and what to do, and returns the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    warn(sentence(error));
    ExitCode::from(match kind(error) {
        FailureKind::Failed => 1,
        FailureKind::Usage => 2,
        FailureKind::Partly => 3,
        FailureKind::Busy => 4,
    })
}

/// Returns an error with its causes and, where the system's error number tells it, the next step.
pub(crate) fn sentence(error: &anyhow::Error) -> String {
    let mut text = causes(error);
    if let Some(next) = hint(error) {
        text.push('\n');
        text.push_str(&next_step(next));
    }
    text
}

/// Returns an error with its causes.
pub(crate) fn causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let said = cause.to_string();
        // Some errors say what their cause says.
        if text.ends_with(&said) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&said);
    }
    text
}

/// Whoever reads our output has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

fn hint(error: &anyhow::Error) -> Option<&'static str> {
    match os_error(error)? {
        nix::libc::EPERM | nix::libc::EACCES => Some(
            "run it as root (sudo), or with CAP_SYS_ADMIN, CAP_BPF, CAP_NET_ADMIN and \
             CAP_PERFMON and access to the pin directory",
        ),
        nix::libc::EFBIG => Some(TOO_LARGE),
        nix::libc::ENODEV => Some("`ip link` lists the interfaces"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn what_a_cause_says_is_said_once() {
        let error = anyhow!("no memory").context("map: no memory");
        assert_eq!(
            sentence(&error.context("no probe")),
            "no probe: map: no memory"
        );
    }
}
