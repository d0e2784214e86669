//! What was recorded before: a capture or a log, whichever a file is.

use std::path::Path;

use anyhow::Result;

use super::{capture::Capture, file::File, log::Log};
use crate::{offline::Config, snapshot::reading::Range};

/// What was recorded before.
pub(crate) enum Recording {
    Capture(Box<Capture>),
    Log(Box<Log>),
}

impl Recording {
    /// Opens a file, or standard input (`-`), whichever it is.
    pub(crate) fn open(
        path: &Path,
        config: Config,
        range: Range,
        shows_progress: bool,
    ) -> Result<Self> {
        let file = File::open(path, shows_progress)?;
        Ok(if file.is_log {
            Self::Log(Box::new(Log::new(file, range)))
        } else {
            Self::Capture(Box::new(Capture::new(file, config)?))
        })
    }
}
