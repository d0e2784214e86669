//! Hooks on the kernel's functions, as far as this kernel permits them: `cargo xtask vm` has some that
//! do, and makes the functions fail.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    net::{Namespace, output},
    probe::Probe,
};
use serde_json::{Value, json};

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
        // None is laid at the door of types that are there, or of what nobody asked for.
        ensure!(
            !wanted.contains("are not to be had") && !wanted.contains("--no-hooks"),
            "{wanted}"
        );
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
    let (_namespace, probe) = probed(&["--role", "middlebox"])?;
    let hooks = &probe.status()?["interfaces"][0]["hooks"];
    ensure!(*hooks == json!([]), "{hooks}");
    check_rows(&probe, |_| false)?;
    let (_namespace, probe) = probed(&["--no-hooks"])?;
    check_rows(&probe, |_| false)?;
    for hook in hooks_of(&probe)? {
        let reason = hook["reason"].as_str().context("no reason")?;
        ensure!(
            hook["state"] == "off" && reason.contains("--no-hooks"),
            "{hook}"
        );
    }
    let text = probe.run(&["status"])?;
    ensure!(text.contains("off: --no-hooks leaves it alone"), "{text}");
    // Whoever attaches without the option gets what this kernel gives.
    probe.run(&["attach", "-i", "p0"])?;
    for hook in hooks_of(&probe)? {
        ensure!(hook["state"] != "off", "{hook}");
    }
    probe.run(&["detach", "-i", "p0"])?;
    ensure!(!probe.pins().exists(), "detach leaves hooks");
    Ok(())
}

fn hooks_of(probe: &Probe) -> Result<Vec<Value>> {
    let status = probe.status()?;
    let hooks = status["interfaces"][0]["hooks"].as_array();
    let hooks = hooks.context("no hooks")?.clone();
    ensure!(hooks.len() == HOOKS.len(), "{hooks:?}");
    Ok(hooks)
}

/// A function that is not there is refused like others, and hinders nothing; nor does one that takes something else.
#[test]
fn a_kernel_without_the_function_is_no_failure() -> Result<()> {
    for (function, wanted) in [
        ("no_such_function", "this kernel has no such function"),
        ("vfs_read", "the function takes something else"),
    ] {
        let (_namespace, probe) = probed(&["--hook", &format!("subflow_create_ctx={function}")])?;
        let hook = &hooks_of(&probe)?[0];
        let reason = hook["reason"].as_str().context("no reason")?;
        ensure!(
            hook["state"] == "refused" && reason.starts_with(wanted),
            "{hook}"
        );
        let refused = probe.refused_rows()?;
        check_rows(&probe, |row| !refused.contains(row))?;
    }
    Ok(())
}

/// Attaches in mounts of its own, where something is hidden before; the reasons that `status` then gives outside of
/// them.
fn reasons_without(hide: &str, options: &[&str]) -> Result<Vec<String>> {
    let namespace = Namespace::new("hooks")?;
    namespace.ip("link add p0 up type veth peer name p1")?;
    let probe = Probe::new(&namespace);
    let attach = probe.command(&[&["attach", "-i", "p0"], options].concat());
    let mut command = Command::new("unshare");
    command.args([
        "-m",
        "sh",
        "-e",
        "-c",
        &format!("{hide}\nexec \"$@\""),
        "sh",
    ]);
    command.arg(attach.get_program()).args(attach.get_args());
    output(&mut command)?;
    ensure!(probe.status()?["interfaces"][0]["state"] == "counting");
    let hooks = hooks_of(&probe)?;
    check_rows(&probe, |_| false)?;
    let text = probe.run(&["status"])?;
    let mut reasons = Vec::new();
    for hook in hooks {
        let reason = hook["reason"].as_str().context("no reason")?;
        ensure!(text.contains(&format!("refused: {reason}\n")), "{text}");
        reasons.push(reason.to_owned());
    }
    Ok(reasons)
}

/// A kernel without BTF has the functions all the same.
#[test]
fn types_that_are_missing_are_the_reason() -> Result<()> {
    const HIDE: &str = "mount -t tmpfs x /sys/kernel/btf";
    for (there, wanted) in [
        ("", "there is no /sys/kernel/btf/vmlinux"),
        (
            "mkdir /sys/kernel/btf/vmlinux",
            "cannot be read: Is a directory",
        ),
        (
            "echo no types at all >/sys/kernel/btf/vmlinux",
            "no types (BTF) that this program understands",
        ),
        (
            "head -c 100 /dev/zero >/sys/kernel/btf/vmlinux",
            "no types (BTF) that this program understands",
        ),
    ] {
        for reason in reasons_without(&format!("{HIDE}\n{there}"), &[])? {
            ensure!(
                reason.contains("BTF") && reason.contains(wanted),
                "{there}: {reason}"
            );
            ensure!(!reason.contains("no such function"), "{reason}");
        }
    }
    Ok(())
}

/// What cannot be looked up is not said not to be there.
#[test]
fn a_list_of_functions_that_cannot_be_read_says_nothing() -> Result<()> {
    let namespace = Namespace::new("hooks")?;
    namespace.ip("link add p0 up type veth peer name p1")?;
    let probe = Probe::new(&namespace);
    let attach = probe.command(&["attach", "-i", "p0", "--hook", "subflow_create_ctx=no_such"]);
    let hide = "mount --bind /dev/null /proc/kallsyms\nexec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-e", "-c", hide, "sh"]);
    output(command.arg(attach.get_program()).args(attach.get_args()))?;
    let hook = &hooks_of(&probe)?[0];
    let reason = hook["reason"].as_str().context("no reason")?;
    ensure!(
        reason.contains("whether the kernel has it cannot be said"),
        "{hook}"
    );
    Ok(())
}
