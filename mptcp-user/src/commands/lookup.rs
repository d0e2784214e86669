//! The probe that a name means.

use std::{fs, io, path::Path};

use anyhow::Result;

use crate::probe::{self, Interface, InterfacePins, Pins, Probe};
use crate::{
    args::CaptureFile,
    failure::{Failure, FailureKind},
    text::shown,
};

/// What a probe on the loopback interface counts.
pub(super) const LOOPBACK: &str = "each packet passes it twice, going out and coming in, and is counted once, where it comes in (role \
    middlebox). Both ends are this host: received is what the initiator of a session sends, sent is \
    what its listener sends";

/// Returns the file that is to be read, if one is named.
///
/// # Errors
/// If a word stands by itself and is no file: it may be meant as an interface.
pub(super) fn recording(capture: &CaptureFile) -> Result<Option<&Path>> {
    if let Some(file) = &capture.file
        && file != Path::new("-")
        && let Err(error) = fs::symlink_metadata(file)
        && error.kind() == io::ErrorKind::NotFound
    {
        return Err(Failure::new(
            FailureKind::Usage,
            format!("there is no file {}", shown(file)),
        )
        .next(format!(
            "name a capture or a log, or if it is an interface, write -i {}",
            shown(file)
        ))
        .into());
    }
    Ok(capture.path())
}

/// Returns names without those that were given before.
pub(super) fn dedup(names: &[String]) -> Vec<&str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name.as_str()) {
            seen.push(name.as_str());
        }
    }
    seen
}

/// Returns true if the network namespace of a probe is certainly gone. That nothing names it here does not say so.
pub(super) fn is_namespace_gone(here: &InterfacePins) -> bool {
    match probe::find_namespace(here.namespace) {
        Ok(Some(_)) => false,
        Ok(None) => probe::is_on_interface(here) != Some(true),
        Err(_) => probe::is_on_interface(here) == Some(false),
    }
}

/// Returns the pins of an interface by name: of the interface that has the name, or else of one that had
/// it and is gone, or whose network namespace is.
pub(super) fn find_pins(
    pins: &Pins,
    interfaces: &[Interface],
    name: &str,
) -> Result<Option<(InterfacePins, Option<Interface>)>> {
    let namespace = probe::namespace()?;
    if let Some(interface) = interfaces.iter().find(|interface| interface.name == name) {
        let here = pins.interface(namespace, interface.index);
        return Ok(here.exists()?.then(|| (here, Some(interface.clone()))));
    }
    for here in pins.interfaces()? {
        let is_gone = if here.namespace == namespace {
            interfaces
                .iter()
                .all(|interface| interface.index != here.index)
        } else {
            is_namespace_gone(&here)
        };
        if is_gone && Probe::open(&here).is_ok_and(|probe| probe.name() == name) {
            return Ok(Some((here, None)));
        }
    }
    Ok(None)
}
