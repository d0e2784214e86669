//! How a command ends when it could not do what it was asked: exit code and sentence.
//!
//! The command line's own errors end with 2, which is clap's doing.

use std::{fmt, io, process::ExitCode};

/// What went wrong, as far as the exit code tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It could not be done: 1.
    Failed,
    /// Done for some of the interfaces: 3.
    Partly,
    /// Somebody else holds the interface: 4.
    Busy,
}

/// An error that knows its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    message: String,
}

impl Failure {
    pub(crate) fn error(kind: Kind, message: impl Into<String>) -> anyhow::Error {
        Self {
            kind,
            message: message.into(),
        }
        .into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The kind of an error: its own, or what the system call under it says.
pub(crate) fn kind(error: &anyhow::Error) -> Kind {
    if let Some(failure) = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Failure>())
    {
        return failure.kind;
    }
    match os_error(error) {
        Some(nix::libc::EBUSY | nix::libc::EEXIST) => Kind::Busy,
        _ => Kind::Failed,
    }
}

/// The system's error number under an error.
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

/// Says on standard error what went wrong and what to do, and returns the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    eprintln!("mptcp-user: {error:#}{}", hint(error).unwrap_or_default());
    ExitCode::from(match kind(error) {
        Kind::Failed => 1,
        Kind::Partly => 3,
        Kind::Busy => 4,
    })
}

/// Whoever reads our output has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn hint(error: &anyhow::Error) -> Option<&'static str> {
    match os_error(error)? {
        nix::libc::EPERM | nix::libc::EACCES => Some(
            "\n  next: run it as root (sudo), or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON and \
             access to the pin directory",
        ),
        nix::libc::ENODEV => Some("\n  next: `ip link` lists the interfaces"),
        _ => None,
    }
}
