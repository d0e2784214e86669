//! Files that somebody put where root writes: `record` appends to its own logs alone, and to nothing by a link.

use std::{
    fs,
    os::unix::{
        fs::{chown, lchown, symlink},
        net::UnixListener,
    },
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use mptcp_tests::{
    captures,
    files::Directory,
    net::{Namespace, finished, output, wait, wait_until},
    probe::{Probe, binary, failure},
};
use nix::{
    fcntl::{AT_FDCWD, RenameFlags, renameat2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A namespace with a probe on p0.
fn probed() -> Result<(Namespace, Probe)> {
    let namespace = Namespace::new("files")?;
    namespace.ip("link add p0 up type veth peer name p1")?;
    let probe = Probe::new(&namespace);
    probe.run(&["attach", "-i", "p0"])?;
    Ok((namespace, probe))
}

fn record(probe: &Probe, file: &str, more: &[&str]) -> Command {
    let mut command = probe.command(&["record", "-o", file, "--interval", "0.02"]);
    command.args(more);
    command
}

/// A line that `record` wrote.
fn line(probe: &Probe) -> Result<String> {
    probe.run(&["record", "-o", "-", "--ntimes", "1"])
}

#[test]
fn only_logs_are_appended_to() -> Result<()> {
    let (_namespace, probe) = probed()?;
    let line = line(&probe)?;
    let newer = line.replacen("{\"log_version\":1", "{\"log_version\":2", 1);
    let others: [&[u8]; 13] = [
        b"root:x:0:0:root:/root:/bin/sh\n",
        b"\n",
        b"{",
        b"{\n",
        b"{}\n",
        b"{\"log_version\": 1}\n",
        b"{\"log_version\":1}\n",
        b"{\"log_version\":1,\"time\":\"now\",\"role\":\"host\",\"interfaces\":[]}\n",
        b"{\"version\":1,\"log_version\":1}\n",
        b"{\"log_version\x00",
        newer.as_bytes(),
        b"\x1f\x8b\x08\x00",
        &[b'{'; 100_000],
    ];
    let directory = Directory::new()?;
    for (number, other) in others.into_iter().enumerate() {
        // But a byte of a line that was torn is one.
        let is_torn = other == b"{";
        let file = directory.write(&number.to_string(), other)?;
        let out = finished(&mut record(&probe, &file, &["--ntimes", "1"]))?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(
            out.status.success() == is_torn,
            "{:?}: {said}",
            String::from_utf8_lossy(other)
        );
        ensure!(is_torn || said.contains("next: "), "{said}");
        ensure!(
            is_torn || fs::read(&file)? == other,
            "{number} was written to"
        );
    }
    // Its own, whole, torn, and torn where it began.
    for (name, bytes) in [
        ("whole", &*line),
        ("torn", &line[..line.len() - 40]),
        ("begun", &line[..9]),
        ("empty", ""),
    ] {
        let file = directory.write(name, bytes)?;
        output(&mut record(&probe, &file, &["--ntimes", "2"]))?;
        let text = fs::read_to_string(&file)?;
        ensure!(
            text.starts_with(bytes) && text.lines().count() >= 2,
            "{name}: {text}"
        );
        let stat = output(Command::new(binary()).args(["stat", "-logFile", &file]));
        ensure!(stat.is_ok(), "{name}: {stat:?}");
    }
    Ok(())
}

#[test]
fn no_link_is_followed_and_nothing_but_files_of_ones_own() -> Result<()> {
    let (_namespace, probe) = probed()?;
    let line = line(&probe)?;
    let directory = Directory::new()?;
    let log = directory.write("log", &line)?;
    let empty = directory.write("empty", "")?;
    let fifo = directory.fifo("fifo")?;
    let made = |name: &str| directory.path().join(name);
    for (name, to) in [
        ("to-log", &*log),
        ("to-empty", &empty),
        ("to-nothing", "/nowhere"),
        ("to-fifo", &fifo),
        ("to-itself", "to-itself"),
    ] {
        symlink(to, made(name))?;
    }
    symlink(made("made-by-link"), made("to-new"))?;
    fs::create_dir(made("directory"))?;
    fs::hard_link(&empty, made("hard"))?;
    let _socket = UnixListener::bind(made("socket"))?;
    let foreign = directory.write("foreign", &line)?;
    chown(&foreign, Some(65534), None)?;
    let foreign_empty = directory.write("foreign-empty", "")?;
    chown(&foreign_empty, Some(1000), None)?;
    for name in [
        "to-log",
        "to-empty",
        "to-nothing",
        "to-fifo",
        "to-itself",
        "to-new",
        "directory",
        "hard",
        "socket",
        "fifo",
        "foreign",
        "foreign-empty",
    ] {
        let said = failure(
            1,
            &mut record(&probe, &directory.file(name), &["--ntimes", "1"]),
        )?;
        ensure!(
            said.contains("next: ") && !said.contains("os error"),
            "{name}: {said}"
        );
    }
    for device in ["/dev/null", "/dev/zero"] {
        failure(1, &mut record(&probe, device, &["--ntimes", "1"]))?;
    }
    ensure!(fs::read_to_string(&log)? == line && fs::read_to_string(&foreign)? == line);
    ensure!(fs::read(&empty)?.is_empty() && fs::read(&foreign_empty)?.is_empty());
    ensure!(!made("made-by-link").exists());
    Ok(())
}

/// What takes the log's place while it is written to.
#[test]
fn a_link_that_comes_later_is_not_followed() -> Result<()> {
    let (_namespace, probe) = probed()?;
    let line = line(&probe)?;
    let directory = Directory::new()?;
    for kind in ["link", "fifo", "other", "foreign"] {
        let victim = directory.write("victim", &line)?;
        let log = directory.file(kind);
        let child = record(&probe, &log, &[])
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        wait_until(|| Ok(fs::metadata(&log).is_ok_and(|data| data.len() > 100)))?;
        let new = directory.file("new");
        match kind {
            "link" => symlink(&victim, &new)?,
            "fifo" => drop(directory.fifo("new")?),
            "other" => fs::write(&new, "root:x:0:0\n")?,
            _ => {
                fs::write(&new, &line)?;
                chown(&new, Some(65534), None)?;
            }
        }
        fs::rename(&new, &log)?;
        let out = wait(child)?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(
            out.status.code() == Some(1) && said.contains("cannot record to"),
            "{kind}: {} {said}",
            out.status
        );
        ensure!(
            fs::read_to_string(&victim)? == line,
            "{kind}: the victim was written to"
        );
        fs::remove_file(&log)?;
    }
    Ok(())
}

#[test]
fn only_logs_are_renamed_and_overwritten() -> Result<()> {
    let (_namespace, probe) = probed()?;
    let line = line(&probe)?;
    let rotate = ["--ntimes", "60", "--rotate-size", "4096", "--keep", "3"];
    for number in 1..=3 {
        for kind in ["directory", "link", "other", "foreign", "fifo", "newer"] {
            let directory = Directory::new()?;
            let log = directory.file("log");
            for earlier in 1..number {
                directory.write(&format!("log.{earlier}"), &line)?;
            }
            let name = format!("log.{number}");
            let path = directory.path().join(&name);
            let victim = directory.write("victim", &line)?;
            match kind {
                "directory" => fs::create_dir(&path)?,
                "link" => symlink(&victim, &path)?,
                "other" => drop(directory.write(&name, "my diary\n")?),
                "fifo" => drop(directory.fifo(&name)?),
                "newer" => {
                    drop(directory.write(&name, line.replacen("version\":1", "version\":9", 1))?);
                }
                _ => {
                    directory.write(&name, &line)?;
                    chown(&path, Some(65534), None)?;
                }
            }
            let before = fs::symlink_metadata(&path)?;
            let said = failure(1, &mut record(&probe, &log, &rotate))?;
            ensure!(said.contains(&name), "{kind}: {said}");
            let after = fs::symlink_metadata(&path)?;
            ensure!(
                before.file_type() == after.file_type() && before.len() == after.len(),
                "{name}, a {kind}, was renamed"
            );
            ensure!(fs::read_to_string(&victim)? == line);
            // What was recorded until then is there.
            output(Command::new(binary()).args(["stat", "-logFile", &log]))?;
        }
    }
    // As many as are kept, and no more, whatever else has such a name.
    let directory = Directory::new()?;
    let log = directory.file("log");
    directory.write("log.5", "five\n")?;
    directory.write("log.4", "four\n")?;
    output(&mut record(&probe, &log, &rotate))?;
    for number in 1..=3 {
        ensure!(directory.path().join(format!("log.{number}")).exists());
    }
    ensure!(
        fs::read(directory.file("log.4"))? == b"four\n"
            && fs::read(directory.file("log.5"))? == b"five\n"
    );
    let said = failure(2, &mut record(&probe, &log, &["--keep", "4000000000"]))?;
    ensure!(said.contains("10000"), "{said}");
    Ok(())
}

/// A command below a limit of the size of files, in kilobytes.
fn limited(command: &Command, kilobytes: u32) -> Command {
    let mut limited = Command::new("bash");
    limited
        .args(["-c", &format!("ulimit -f {kilobytes}; exec \"$0\" \"$@\"")])
        .arg(command.get_program())
        .args(command.get_args());
    limited
}

#[test]
fn a_limit_of_the_size_of_files_is_told_and_survived() -> Result<()> {
    let (_namespace, probe) = probed()?;
    let directory = Directory::new()?;
    let log = directory.file("log");
    let child = limited(&record(&probe, &log, &[]), 8)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    wait_until(|| Ok(fs::metadata(&log).is_ok_and(|data| data.len() == 8192)))?;
    thread::sleep(Duration::from_millis(200));
    // There is room again, as when somebody moved it away.
    fs::rename(&log, directory.path().join("full"))?;
    wait_until(|| Ok(fs::metadata(&log).is_ok_and(|data| data.len() > 1000)))?;
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM)?;
    let out = wait(child)?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(
        out.status.success() && said.contains("ulimit -f") && said.contains("next: "),
        "{}: {said}",
        out.status
    );
    ensure!(said.contains("recording again"), "{said}");
    for file in ["full", "log"] {
        output(Command::new(binary()).args(["stat", "-logFile", &directory.file(file)]))?;
    }
    // With files that are smaller nothing is lost.
    let rotated = directory.file("rotated");
    let rotate = ["--ntimes", "30", "--rotate-size", "7000", "--keep", "100"];
    let out = finished(&mut limited(&record(&probe, &rotated, &rotate), 8))?;
    ensure!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    // Others end in words.
    let captures = captures::all()?;
    let capture = captures
        .first()
        .context("no captures")?
        .display()
        .to_string();
    let page = directory.file("page");
    let mut report = Command::new(binary());
    report.args(["report", &capture, "-o", &page]);
    let said = failure(1, &mut limited(&report, 1))?;
    ensure!(
        said.contains("next: ") && !Path::new(&page).exists(),
        "{said}"
    );
    let shown = fs::File::create(directory.file("shown"))?;
    let out = wait(
        limited(&probe.command(&["stat", "--output", "json"]), 1)
            .stdout(shown)
            .stderr(Stdio::piped())
            .spawn()?,
    )?;
    ensure!(out.status.code() == Some(1), "{out:?}");
    Ok(())
}

/// A working directory that no path leads to: its mount is none of this mount namespace any more.
#[test]
fn a_relative_page_is_written_where_its_directory_is() -> Result<()> {
    let namespace = Namespace::new("files")?;
    let captures = captures::all()?;
    let capture = captures.first().context("no captures")?;
    let there = Directory::new()?;
    let out = there.file("out");
    fs::create_dir(&out)?;
    let script = "mount -t tmpfs t $1; mkdir $1/below; cp $2 $1/below/capture; cd $1/below; umount -l $1; \
        $0 --netns $3 report capture -o page; $0 --netns $3 report capture -o ../page; \
        $0 report capture -o page --force; ls page ../page; \
        ! $0 --netns $3 report capture -o page; ! $0 report capture -o nowhere/page";
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "sh", "-ec", script]).arg(binary());
    unshare.arg(&out).arg(capture).arg(namespace.name());
    let done = finished(&mut unshare)?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(
        done.status.success() && String::from_utf8_lossy(&done.stdout) == "../page\npage\n",
        "{}: {}{said}",
        done.status,
        String::from_utf8_lossy(&done.stdout)
    );
    ensure!(
        said.contains("exists") && said.matches("next: ").count() >= 1,
        "{said}"
    );
    Ok(())
}

/// A link on the way to a log is followed if it is root's or the user's own, and is refused otherwise: its owner says
/// where it leads, also later.
#[test]
fn a_link_of_somebody_else_on_the_way_is_refused() -> Result<()> {
    let (_namespace, probe) = probed()?;
    let directory = Directory::new()?;
    let path = |name: &str| directory.file(name);
    fs::create_dir(path("real"))?;
    let once = ["--ntimes", "1"];
    for (link, target) in [
        ("absolute", path("real").as_str()),
        ("relative", "real"),
        ("twice", "relative"),
    ] {
        symlink(target, path(link))?;
        let log = format!("{}/../{link}/{link}.log", path("real"));
        output(&mut record(&probe, &log, &once))?;
        ensure!(fs::metadata(format!("{}/{link}.log", path("real")))?.is_file());
    }
    symlink("loop", path("loop"))?;
    let said = fails(&mut record(&probe, &path("loop/log"), &once))?;
    ensure!(said.contains("cannot open"), "{said}");
    lchown(path("relative"), Some(65534), None)?;
    for link in ["relative", "twice"] {
        let said = fails(&mut record(
            &probe,
            &path(&format!("{link}/new.log")),
            &once,
        ))?;
        ensure!(
            said.contains("symbolic link of user 65534") && said.contains("next:"),
            "{said}"
        );
    }
    ensure!(!Path::new(&path("real/new.log")).exists());
    Ok(())
}

/// Somebody who may write above the directory of a log swaps that for a link, over and over, while logs are rotated:
/// what lies where the link leads stays as it was.
#[test]
fn a_directory_that_is_swapped_leads_nowhere() -> Result<()> {
    let (_namespace, probe) = probed()?;
    let directory = Directory::new()?;
    let line = line(&probe)?;
    let victim = directory.file("victim");
    let (here, link) = (directory.file("here"), directory.file("link"));
    fs::create_dir(&victim)?;
    fs::create_dir(&here)?;
    symlink(&victim, &link)?;
    lchown(&link, Some(65534), None)?;
    let precious = ["log", "log.1", "log.2"].map(|name| format!("{victim}/{name}"));
    for file in &precious {
        fs::write(file, &line)?;
    }
    let rotate = ["--ntimes", "30", "--rotate-size", "4096", "--keep", "1"];
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                let _ = renameat2(
                    AT_FDCWD,
                    &*here,
                    AT_FDCWD,
                    &*link,
                    RenameFlags::RENAME_EXCHANGE,
                );
            }
        });
        for _ in 0..8 {
            // It may end with an error: whichever of the two is there when it looks.
            let _ = output(&mut record(&probe, &format!("{here}/log"), &rotate));
        }
        is_over.store(true, Relaxed);
    });
    for file in &precious {
        ensure!(fs::read_to_string(file)? == line, "{file} was written to");
    }
    ensure!(
        fs::read_dir(&victim)?.count() == precious.len(),
        "a file was made"
    );
    Ok(())
}

/// What a command that fails says.
fn fails(command: &mut Command) -> Result<String> {
    let out = command.output()?;
    ensure!(!out.status.success(), "it does not fail");
    Ok(String::from_utf8_lossy(&out.stderr).into_owned())
}
