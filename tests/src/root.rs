//! What needs root, and is left out without it.

use std::{
    collections::BTreeSet,
    env,
    io::{self, Write as _},
    sync::{Mutex, PoisonError},
};

/// Returns true for root. For others it says once what they do not get to see, past the test harness, which hides what
/// a test prints that passes.
///
/// # Panics
/// If it is not root where nothing may be left out: under CI.
pub fn is_root(left_out: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(
        env::var_os("CI").is_none(),
        "under CI nothing is left out: run as root"
    );
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.insert(left_out.to_owned()) {
        let _ = writeln!(io::stderr(), "not root: left out {left_out}");
    }
    false
}
