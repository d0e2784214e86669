//! What wrong use and a hostile system get: a sentence with the next step and an exit code, never
//! a panic, and nothing left behind.

use std::{
    env, fs,
    process::{self, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    net::{Family, Namespace, Pair, output, outputs, session},
    probe::{Probe, binary, command, failure, total, unread},
};
use tempfile::NamedTempFile;

/// A namespace with one veth pair, p0-p1, and a probe for it.
fn one_link() -> Result<(Namespace, Probe)> {
    let namespace = Namespace::new("bad")?;
    namespace.ip("link add p0 up type veth peer name p1")?;
    namespace.ip("link set p1 up")?;
    let probe = Probe::new(&namespace);
    Ok((namespace, probe))
}

fn says(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(text.contains(word), "{word:?} is not in: {text}");
    }
    ensure!(
        !text.contains("panicked") && !text.contains("RUST_BACKTRACE"),
        "a panic: {text}"
    );
    Ok(())
}

/// Runs a script in a mount namespace of its own, with the binary as $0 and arguments behind.
fn unshared(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    // With processes of its own too: its first one shares its mounts, as on a whole machine.
    command.args(["-m", "-p", "-f", "--mount-proc", "sh", "-ec", script]);
    command.arg(binary()).args(arguments);
    command
}

#[test]
fn an_unknown_interface_is_named_with_the_next_step() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    let said = probe.fails(1, &["attach", "-i", "nope0"])?;
    says(&said, &["nope0", "next:", "ip link"])?;
    says(
        &probe.fails(1, &["stat", "-i", "nope0"])?,
        &["nope0", "next:"],
    )?;
    says(
        &probe.fails(1, &["detach", "-i", "nope0"])?,
        &["nope0", "next:"],
    )?;
    ensure!(
        fs::read_dir(probe.pins()).map_or(0, Iterator::count) == 0,
        "pins of an interface that does not exist"
    );
    Ok(())
}

#[test]
fn one_of_two_interfaces_is_partly_done() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    let said = probe.fails(3, &["attach", "-i", "p0", "nope0"])?;
    says(&said, &["nope0"])?;
    let stat = probe.stat(&[])?;
    ensure!(stat["source"]["interfaces"] == serde_json::json!(["p0"]));
    Ok(())
}

#[test]
fn nothing_attached_has_a_next_step() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    says(&probe.fails(1, &["stat"])?, &["next:", "attach"])?;
    says(&probe.fails(1, &["detach", "-i", "p0"])?, &["p0", "next:"])?;
    says(&probe.run(&["status"])?, &["attach"])?;
    ensure!(!probe.pins().exists(), "a look created the pin directory");
    Ok(())
}

/// Of two namespaces with the same interfaces, it is told which one is meant.
#[test]
fn probes_of_other_namespaces_are_told_apart() -> Result<()> {
    let ((there, probe), (here, _)) = (one_link()?, one_link()?);
    probe.run(&["attach", "-i", "p0"])?;
    let from_here = |arguments: &[&str]| {
        let mut from_here = command(arguments);
        from_here.arg("--pin-dir").arg(probe.pins());
        from_here
    };
    let said = failure(
        1,
        from_here(&["stat", "--netns", here.name()]).arg("--full-values"),
    )?;
    says(
        &said,
        &["no probe", "next:", "mptcp-user status", "--netns"],
    )?;
    let label = format!("p0 in {}", there.name());
    let status = output(&mut from_here(&["status"]))?;
    says(
        &status,
        &[&format!("{label} "), &format!("Tables of {label}:")],
    )?;
    let json: serde_json::Value =
        serde_json::from_str(&output(&mut from_here(&["status", "--output", "json"]))?)?;
    ensure!(json["interfaces"][0]["netns"] == there.name(), "{json}");
    // What is wrong there is mended there.
    there.ip("link delete p0")?;
    let status = output(&mut from_here(&["status"]))?;
    let next = format!("next: mptcp-user --netns {} detach -i p0", there.name());
    says(&status, &["gone", &next])
}

#[test]
fn an_interface_without_its_option_is_told_where_it_belongs() -> Result<()> {
    for name in ["attach", "detach", "stat", "record"] {
        says(&failure(2, &mut command(&[name, "p0"]))?, &["-i p0"])?;
    }
    Ok(())
}

#[test]
fn without_root_the_sentence_says_so() -> Result<()> {
    let (namespace, probe) = one_link()?;
    // Where a user without rights can run it.
    let copy = NamedTempFile::new()?.into_temp_path();
    fs::copy(binary(), &copy).context("cannot copy the binary")?;
    for arguments in [
        &["attach", "-i", "p0"][..],
        &["stat"],
        &["stat", "-i", "p0"],
        &["detach", "-i", "p0"],
    ] {
        probe.run(&["attach", "-i", "p0"])?;
        let mut command = namespace.command("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&copy)
            .arg("--pin-dir")
            .arg(probe.pins())
            .args(arguments);
        says(&failure(1, &mut command)?, &["root", "CAP_", "next:"])?;
    }
    ensure!(
        total(&probe.stat(&[])?, "MPSYN")? == 0,
        "the probe has gone"
    );
    Ok(())
}

#[test]
fn a_missing_bpffs_is_mounted() -> Result<()> {
    let (namespace, _) = one_link()?;
    for hide in ["umount -l /sys/fs/bpf", "mount -t tmpfs tmpfs /sys/fs/bpf"] {
        let script = format!(
            "mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf\n{hide}\n\
             \"$0\" attach \"$@\" -i p0\n\"$0\" stat \"$@\" --output json\n\
             \"$0\" detach \"$@\" -i p0\ntest ! -e /sys/fs/bpf/mptcp"
        );
        let said = output(&mut unshared(&script, &["--netns", namespace.name()]))?;
        says(&said, &["p0: attached", "\"MPSYN\"", "p0: detached"])?;
    }
    Ok(())
}

#[test]
fn a_pin_directory_elsewhere_is_refused() -> Result<()> {
    let (namespace, _) = one_link()?;
    let elsewhere = env::temp_dir().join(format!("mptcp-user-pins-{}", process::id()));
    let said = failure(
        1,
        command(&["attach", "-i", "p0", "--netns", namespace.name()])
            .arg("--pin-dir")
            .arg(&elsewhere),
    )?;
    says(&said, &["bpffs", "next:"])?;
    ensure!(!elsewhere.exists(), "it was created all the same");
    Ok(())
}

#[test]
fn without_btf_it_counts() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    let pins = probe.pins().to_string_lossy().into_owned();
    output(&mut unshared(
        "mount -t tmpfs tmpfs /sys/kernel/btf\ntest ! -e /sys/kernel/btf/vmlinux\n\
         mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf\n\
         exec \"$0\" attach -i s0 \"$@\"",
        &["--netns", pair.server.name(), "--pin-dir", &pins],
    ))?;
    session(&pair)?;
    ensure!(total(&probe.stat(&[])?, "MPSYN")? == 1);
    Ok(())
}

#[test]
fn another_xdp_program_keeps_the_interface() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let (first, second) = (Probe::new(&pair.server), Probe::new(&pair.server));
    for (mode, other_mode) in [("native", "generic"), ("generic", "native")] {
        first.run(&["attach", "-i", "s0", "--xdp", mode])?;
        let before = total(&first.stat(&[])?, "MPSYN")?;
        for choice in [mode, other_mode] {
            let said = second.fails(4, &["attach", "-i", "s0", "--xdp", choice])?;
            says(&said, &["s0", "next:"])?;
            ensure!(
                fs::read_dir(second.pins()).map_or(0, Iterator::count) == 0,
                "the refused probe left pins"
            );
        }
        session(&pair)?;
        ensure!(total(&first.stat(&[])?, "MPSYN")? == before + 1);
        first.run(&["detach", "-i", "s0"])?;
    }
    Ok(())
}

#[test]
fn an_interface_that_has_gone_is_reported_and_detached() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0", "s1"])?;
    session(&pair)?;
    pair.server.ip("link delete s0")?;
    says(&probe.run(&["status"])?, &["s0", "gone", "s1"])?;
    let (mut stat, mut named) = (
        probe.command(&["stat", "--output", "json"]),
        probe.command(&["stat", "-i", "s0", "--output", "json"]),
    );
    for command in [&mut stat, &mut named] {
        let (text, said) = outputs(command)?;
        says(&said, &["s0", "gone", "detach"])?;
        // What it counted is still there.
        ensure!(total(&serde_json::from_str(&text)?, "MPSYN")? == 1);
    }
    probe.run(&["detach", "-i", "s0"])?;
    probe.stat(&[])?;
    probe
        .run(&["detach", "--all"].map(|word| word))
        .err()
        .map_or(Ok(()), |error| {
            // `--all` is for all namespaces and does not go with `--netns`.
            says(&error.to_string(), &["--netns"])
        })?;
    output(
        command(&["detach", "--all"])
            .arg("--pin-dir")
            .arg(probe.pins()),
    )?;
    ensure!(!probe.pins().exists(), "detach left pins");
    Ok(())
}

#[test]
fn usage_errors_are_2() -> Result<()> {
    for line in [
        "",
        "frobnicate",
        "attach",
        "attach -i",
        "attach -i lo --role router",
        "attach -i lo --xdp sometimes",
        "detach",
        "detach --all -i lo",
        "stat --nonsense",
        "stat -ntimes",
        "stat -ntimes many",
        "stat -ntimes -1",
        "stat -clearstats all",
        "stat --interval soon",
        "stat --output xml",
        "stat protocol tcp",
        "stat -i lo --role middlebox",
    ] {
        let said = failure(2, command(&[]).args(line.split_whitespace()))
            .with_context(|| format!("mptcp-user {line}"))?;
        says(&said, &[]).with_context(|| format!("mptcp-user {line}"))?;
    }
    Ok(())
}

#[test]
fn an_unknown_namespace_is_named() -> Result<()> {
    for arguments in [&["attach", "-i", "lo"][..], &["stat"], &["status"]] {
        let said = failure(1, command(arguments).args(["--netns", "no-such-netns"]))?;
        says(&said, &["no-such-netns", "ip netns"])?;
    }
    Ok(())
}

#[test]
fn a_closed_pipe_is_no_error() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    probe.run(&["attach", "-i", "p0"])?;
    for arguments in [
        &["stat"][..],
        &["stat", "--detail"],
        &["stat", "--output", "json"],
        &["stat", "-ntimes", "0", "--interval", "50ms"],
        &["status"],
        &["--help"],
    ] {
        unread(probe.command(arguments))?;
    }
    Ok(())
}

#[test]
fn two_layers_of_a_stack() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    pair.server.ip("link add m0 link s1 type macvlan")?;
    let probe = Probe::new(&pair.server);
    let (_, said) = outputs(&mut probe.command(&["attach", "-i", "m0", "s1", "--xdp", "off"]))?;
    says(&said, &["m0", "s1", "layers", "next: "])
}

#[test]
fn the_role_of_a_probe_does_not_change() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    probe.run(&["attach", "-i", "s0"])?;
    says(
        &probe.fails(1, &["attach", "-i", "s0", "--role", "middlebox"])?,
        &["role", "next: "],
    )?;
    probe.run(&["attach", "-i", "s1", "--role", "middlebox"])?;
    says(&probe.fails(1, &["stat"])?, &["roles", "next: "])?;
    ensure!(probe.run(&["stat", "-i", "s1"])?.contains("middlebox"));
    Ok(())
}

/// What the kernel does not let us ask must not be taken for "nothing": counts would be lost.
#[test]
fn without_the_right_to_ask_nothing_is_thrown_away() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    probe.run(&["attach", "-i", "p0"])?;
    let before = probe.stat(&[])?["source"]["frames"].as_u64();
    let attach = probe.command(&["attach", "-i", "p0"]);
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-all,+bpf,+net_admin,+perfmon,+dac_override");
    command.arg(attach.get_program()).args(attach.get_args());
    let said = failure(1, &mut command)?;
    says(&said, &["next:"])?;
    let after = probe.stat(&[])?["source"]["frames"].as_u64();
    ensure!(
        after >= before && after.is_some(),
        "{before:?}, then {after:?}"
    );
    Ok(())
}

#[test]
fn a_sys_of_its_own_holds_no_pins() -> Result<()> {
    let (namespace, probe) = one_link()?;
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", namespace.name()])
        .arg(binary());
    command
        .arg("--pin-dir")
        .arg(probe.pins())
        .args(["attach", "-i", "p0"]);
    says(&failure(1, &mut command)?, &["--netns", "next:"])
}

#[test]
fn who_sees_no_pins_is_told_why() -> Result<()> {
    let (namespace, probe) = one_link()?;
    probe.run(&["attach", "-i", "p0"])?;
    let inside = |name: &str| {
        let mut inside = Command::new("ip");
        inside
            .args(["netns", "exec", namespace.name()])
            .arg(binary());
        inside.arg("--pin-dir").arg(probe.pins()).arg(name);
        inside
    };
    let why = ["no probe", "next: mptcp-user --netns", "ip netns exec"];
    says(&failure(1, &mut inside("stat"))?, &why)?;
    says(&output(&mut inside("status"))?, &why)
}

#[test]
fn an_interface_named_twice_is_taken_once() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    let said = probe.run(&["attach", "-i", "p0", "p0"])?;
    ensure!(said.lines().count() == 1, "{said}");
    let stat = probe.stat(&["-i", "p0", "p0"])?;
    ensure!(
        stat["source"]["interfaces"].as_array().map(Vec::len) == Some(1),
        "{stat}"
    );
    probe.run(&["detach", "-i", "p0", "p0"])?;
    Ok(())
}

#[test]
fn work_is_done_though_nobody_reads_of_it() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    for arguments in [
        &["attach", "-i", "p0", "p1"][..],
        &["attach", "-i", "p0", "--kernel-log", "debug"],
    ] {
        let mut attach = probe
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        drop((attach.stdout.take(), attach.stderr.take()));
        let status = attach.wait()?;
        ensure!(status.success(), "{arguments:?}: {status}");
    }
    let status = probe.run(&["status"])?;
    ensure!(status.matches("counting").count() == 2, "{status}");
    Ok(())
}

#[test]
fn one_object_cannot_be_several_displays() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    probe.run(&["attach", "-i", "p0"])?;
    let said = probe.fails(2, &["stat", "--output", "json", "-ntimes", "2"])?;
    says(&said, &["jsonl"])
}
