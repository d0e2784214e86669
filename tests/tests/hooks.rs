//! Hooks on the kernel's functions, as far as this kernel permits them: `cargo xtask vm` has some that
//! do, and makes the functions fail.

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{net::Namespace, probe::Probe};
use serde_json::json;

/// The functions, and the rows that they feed.
const HOOKS: [(&str, &[&str]); 8] = [
    ("subflow_create_ctx", &["SfMemEr"]),
    ("mptcp_subflow_create_socket", &["SfPcbEr"]),
    ("inet_reqsk_alloc", &["SfPcbEr"]),
    ("inet_csk_clone_lock", &["SfPcbEr"]),
    ("mptcp_sk_clone_init", &["SesMemEr", "MpcbEr"]),
    ("inet_create", &["MpcbEr"]),
    ("inet6_create", &["MpcbEr"]),
    ("mptcp_sendmsg_frag", &["PktMemEr"]),
];

fn probed(options: &[&str]) -> Result<(Namespace, Probe)> {
    let namespace = Namespace::new("hooks")?;
    namespace.ip("link add p0 up type veth peer name p1")?;
    let probe = Probe::new(&namespace);
    probe.run(&[&["attach", "-i", "p0"], options].concat())?;
    Ok((namespace, probe))
}

/// Which rows of hooks have numbers.
fn check_rows(probe: &Probe, is_known: impl Fn(&str) -> bool) -> Result<()> {
    let stat = probe.stat(&[])?;
    for row in HOOKS.iter().flat_map(|(_, rows)| *rows) {
        let total = &stat["counters"][row]["total"];
        let wanted = is_known(row).then_some(0);
        ensure!(
            total.as_u64() == wanted && total.is_null() == wanted.is_none(),
            "{row} is {total} and not {wanted:?}"
        );
    }
    Ok(())
}

#[test]
fn status_tells_of_each_and_its_rows_follow() -> Result<()> {
    let (_namespace, probe) = probed(&[])?;
    let status = probe.status()?;
    ensure!(status["interfaces"][0]["state"] == "counting", "{status}");
    let found = status["interfaces"][0]["hooks"]
        .as_array()
        .context("no hooks")?;
    ensure!(found.len() == HOOKS.len(), "{found:?}");
    let text = probe.run(&["status"])?;
    for ((function, rows), hook) in HOOKS.iter().zip(found) {
        ensure!(
            hook["function"] == *function && hook["rows"] == json!(rows),
            "{hook}"
        );
        let (state, reason) = (&hook["state"], &hook["reason"]);
        ensure!(
            (state == "attached" && reason.is_null()) || (state == "refused" && reason.is_string()),
            "{hook}"
        );
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(&format!("{function} ")))
            .with_context(|| format!("no {function} in {text}"))?;
        let wanted = reason
            .as_str()
            .map_or("attached".to_owned(), |reason| format!("refused: {reason}"));
        ensure!(line.ends_with(&wanted), "{line}");
    }
    let refused = probe.refused_rows()?;
    check_rows(&probe, |row| !refused.contains(row))?;
    probe.run(&["detach", "-i", "p0"])?;
    ensure!(!probe.pins().exists(), "detach leaves hooks");
    Ok(())
}

#[test]
fn without_them_rows_have_no_number() -> Result<()> {
    for options in [&["--no-hooks"][..], &["--role", "middlebox"]] {
        let (_namespace, probe) = probed(options)?;
        let hooks = &probe.status()?["interfaces"][0]["hooks"];
        ensure!(*hooks == json!([]), "{hooks}");
        check_rows(&probe, |_| false)?;
    }
    Ok(())
}

/// A function that is not there is refused like others, and hinders nothing.
#[test]
fn a_kernel_without_the_function_is_no_failure() -> Result<()> {
    let (_namespace, probe) = probed(&["--hook", "subflow_create_ctx=no_such_function"])?;
    let hook = &probe.status()?["interfaces"][0]["hooks"][0];
    ensure!(
        hook["state"] == "refused" && hook["reason"] == "this kernel has no such function",
        "{hook}"
    );
    let refused = probe.refused_rows()?;
    check_rows(&probe, |row| !refused.contains(row))
}
