//! `mptcp-user report`

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Write as _},
    ops::ControlFlow,
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use anyhow::Result;
use nix::libc::{O_DIRECTORY, O_PATH};

use super::output::{conclude_capture, conclude_log, print};
use crate::{
    args::ReportArgs,
    failure::{Failure, FailureKind, of_file},
    render::report::{self, page},
    source::{Capture, Log, Recording},
    text::shown,
};

pub(crate) fn run(options: &ReportArgs) -> Result<()> {
    // Told before a large capture is read, and looked at again when the page is there.
    may_write(options)?;
    let to = Target::open(&options.output)?;
    let range = options.range.of(&[]);
    match Recording::open(options.path(), options.analysis.config(), range, true)? {
        Recording::Capture(mut capture) => {
            write(options, &to, &of_capture(&mut capture, options)?)?;
            conclude_capture(&capture)
        }
        Recording::Log(mut log) => {
            write(options, &to, &of_log(&mut log, options)?)?;
            conclude_log(&log)
        }
    }
}

fn of_capture(capture: &mut Capture, options: &ReportArgs) -> Result<String> {
    if !options.range.is_all() {
        return Err(Failure::new(
            FailureKind::Usage,
            "--since and --until choose readings of a log, and this is a capture",
        )
        .into());
    }
    capture.watch();
    capture.read(|_, _| Ok(ControlFlow::Continue(())))?;
    let history = capture.history();
    page(&report::Page {
        statistics: &capture.statistics(),
        history: history.as_ref(),
        remarks: &remarks(capture.remarks(), capture.conclude()),
    })
}

fn of_log(log: &mut Log, options: &ReportArgs) -> Result<String> {
    options.analysis.refuse()?;
    let (statistics, history) = log.history()?;
    page(&report::Page {
        statistics: &statistics,
        history: Some(&history),
        remarks: &remarks(log.remarks(), log.conclude()),
    })
}

/// Returns those that standard error gets too.
fn remarks(mut remarks: Vec<String>, conclusion: Result<()>) -> Vec<String> {
    remarks.extend(conclusion.err().map(|error| error.to_string()));
    remarks
}

/// The directory of the page, open: a relative path may lead nowhere from the root of this process's mounts.
struct Target(Option<File>);

impl Target {
    fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self(None));
        }
        let directory = directory(path);
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(O_DIRECTORY | O_PATH)
            .open(directory)
            .map_err(|error| of_file(&format!("cannot write {}", shown(path)), &error))?;
        Ok(Self(Some(file)))
    }

    /// Returns a path of it that does not begin with the working directory's.
    fn path(&self) -> Option<PathBuf> {
        let number = self.0.as_ref()?.as_raw_fd();
        Some(PathBuf::from(format!("/proc/self/fd/{number}"))).filter(|path| path.exists())
    }
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// The whole page or none: it takes its name when it is complete.
fn write(options: &ReportArgs, to: &Target, page: &str) -> Result<()> {
    let path = &options.output;
    if path == Path::new("-") {
        return print(page);
    }
    let Some(name) = path.file_name() else {
        return Err(not_regular(path));
    };
    let directory = to.path().unwrap_or_else(|| directory(path).to_owned());
    let path_in_it = directory.join(name);
    let cannot = |error| of_file(&format!("cannot write {}", shown(path)), &error);
    // As far as the umask lets others read it. Opened here, since errors of tempfile name the draft.
    let mut draft = tempfile::Builder::new()
        .make_in(&directory, |path| {
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o666).open(path)
        })
        .map_err(cannot)?;
    draft
        .as_file_mut()
        .write_all(page.as_bytes())
        .map_err(cannot)?;
    let result = if options.force {
        draft.persist(path_in_it)
    } else {
        draft.persist_noclobber(path_in_it)
    };
    match result {
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(options)),
        result => result.map(drop).map_err(|error| cannot(error.error)),
    }
}

/// Fails if the page cannot have the name that it is to have.
fn may_write(options: &ReportArgs) -> Result<()> {
    let path = &options.output;
    match fs::metadata(path) {
        Err(_) => Ok(()),
        _ if path == Path::new("-") => Ok(()),
        Ok(there) if !there.is_file() => Err(not_regular(path)),
        Ok(_) if !options.force => Err(exists(options)),
        Ok(there) => {
            let id = |file: &Metadata| (file.dev(), file.ino());
            match fs::metadata(options.path()) {
                Ok(source) if id(&source) == id(&there) => {
                    Err(cannot_write(path, "it is what the page is made of")
                        .next("name another file")
                        .into())
                }
                _ => Ok(()),
            }
        }
    }
}

fn cannot_write(path: &Path, why: &str) -> Failure {
    Failure::new(FailureKind::Failed, format!("cannot write {}", shown(path))).why(why)
}

fn not_regular(path: &Path) -> anyhow::Error {
    cannot_write(path, "it is no regular file")
        .next("name a file, or - for standard output")
        .into()
}

fn exists(options: &ReportArgs) -> anyhow::Error {
    Failure::new(
        FailureKind::Failed,
        format!("{} exists", shown(&options.output)),
    )
    .next("name another file, or --force to replace it")
    .into()
}
