//! Pins where others may write: what somebody without rights puts there is neither believed nor removed, and what
//! pinned maps hold makes no command panic.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData};
use mptcp_tests::{
    files::Directory,
    net::{Attached as _, Family, Namespace, Pair, finished, output, run, transfer, wait},
    numbers::Numbers,
    probe::{Probe, binary},
};
use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Somebody without any right.
const NOBODY: u32 = 65534;

/// A namespace with one veth pair, p0-p1.
fn one_link() -> Result<Namespace> {
    let namespace = Namespace::new("pins")?;
    namespace.ip("link add p0 up type veth peer name p1")?;
    namespace.ip("link set p1 up")?;
    Ok(namespace)
}

/// A bpffs of its own, as `mount -t bpf` makes it: anybody may write there.
struct Bpffs(Directory);

impl Bpffs {
    fn new(mode: u32) -> Result<Self> {
        let directory = Directory::new()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let options = format!("mode={mode:o}");
        let kind = Some("bpf");
        mount(
            kind,
            directory.path(),
            kind,
            MsFlags::empty(),
            Some(&*options),
        )?;
        Ok(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}

/// A command with pins there.
fn command(namespace: &Namespace, pins: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .arg("--pin-dir")
        .arg(pins)
        .args(["--netns", namespace.name()]);
    command.args(arguments);
    command
}

/// Runs a shell script as somebody without rights.
fn as_nobody(script: &str) -> Result<String> {
    let ids = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    output(
        Command::new("setpriv")
            .args(ids)
            .args(["sh", "-ec", script]),
    )
}

/// What a command says that has to fail in words.
fn refusal(command: &mut Command) -> Result<String> {
    let out = finished(command)?;
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    ensure!(
        out.status.code() == Some(1) && text.contains("next: ") && !text.contains("panicked"),
        "{command:?}: {}, {text}{}",
        out.status,
        String::from_utf8_lossy(&out.stdout)
    );
    Ok(text)
}

/// The first command that a sentence tells to run next.
fn next(text: &str) -> Result<&str> {
    let (_, next) = text.split_once("next: ").context("no next step")?;
    next.split([',', ';', '\n']).next().context("no next step")
}

/// The commands that look at pins, and those that change them.
const COMMANDS: [&[&str]; 9] = [
    &["attach", "-i", "p0", "--no-hooks", "--xdp", "off"],
    &["attach", "-i", "p0"],
    &["detach", "--all"],
    &["detach", "-i", "p0"],
    &["status"],
    &["stat"],
    &["sessions"],
    &["record", "-o", "-", "--ntimes", "1"],
    &["events", "--count", "1"],
];

/// Inode of a namespace, and index of an interface in it.
fn numbers(namespace: &Namespace, interface: &str) -> Result<(u64, u64)> {
    let inode = fs::metadata(format!("/run/netns/{}", namespace.name()))?.ino();
    let links: serde_json::Value =
        serde_json::from_str(&namespace.ip(&format!("-j link show {interface}"))?)?;
    let index = links[0]["ifindex"].as_u64().context("no ifindex")?;
    Ok((inode, index))
}

/// Links in the place of each directory of the pin path, and of what is pinned: made by who has no rights, and by
/// root, whoever made him do it.
#[test]
fn a_link_in_the_place_of_pins_removes_nothing() -> Result<()> {
    let namespace = one_link()?;
    let (inode, index) = numbers(&namespace, "p0")?;
    let names = ["passwd", "counters", "meta", "xdp", "keys", "77"];
    for place in [
        "mptcp".to_owned(),
        "mptcp/v1".to_owned(),
        format!("mptcp/v1/{inode}"),
        format!("mptcp/v1/{inode}/if"),
        format!("mptcp/v1/{inode}/if/{index}"),
        format!("mptcp/v1/{inode}/tables"),
        format!("mptcp/v1/{inode}/hooks"),
    ] {
        for is_root in [false, true] {
            let bpffs = Bpffs::new(0o1777)?;
            let victim = Directory::new()?;
            for name in names {
                victim.write(name, "precious")?;
            }
            let path = bpffs.path().join(&place);
            let parent = path.parent().context("a parent")?.display();
            let script = format!(
                "umask 022; mkdir -p {parent} {}/mptcp/v1/{inode}/if/77 || true; ln -s {} {}",
                bpffs.path().display(),
                victim.path().display(),
                path.display()
            );
            // What is in the way of the link was made by the same.
            let script = format!(
                "{}; [ -L {} ]",
                script.replace(
                    "; ln -s",
                    &format!(
                        "; rmdir {0} 2>/dev/null || rm -rf {0}; ln -s",
                        path.display()
                    )
                ),
                path.display()
            );
            match is_root {
                true => output(Command::new("sh").args(["-c", &script]))?,
                false => as_nobody(&script)?,
            };
            let pins = bpffs.path().join("mptcp");
            for arguments in COMMANDS {
                let out = finished(&mut command(&namespace, &pins, arguments))?;
                let said = String::from_utf8_lossy(&out.stderr);
                let left: Vec<_> = fs::read_dir(victim.path())?.collect();
                ensure!(
                    left.len() == names.len(),
                    "{place}, {arguments:?}: {} files of {} are left; {said}",
                    left.len(),
                    names.len()
                );
                ensure!(
                    !said.contains("panicked") && matches!(out.status.code(), Some(0 | 1 | 3)),
                    "{place}, {arguments:?}: {}, {said}",
                    out.status
                );
            }
            for name in names {
                ensure!(fs::read(victim.path().join(name))? == b"precious", "{name}");
            }
            ensure!(
                fs::symlink_metadata(&path)?.is_symlink(),
                "{place} was removed"
            );
        }
    }
    Ok(())
}

/// Of pins that somebody else made, or that anybody may write, nothing is used; and what is said mends it.
#[test]
fn what_others_may_write_is_refused_until_it_is_mended() -> Result<()> {
    let namespace = one_link()?;
    let (inode, _) = numbers(&namespace, "p0")?;
    // A script that makes it, and whether it is somebody else's.
    let cases = [
        ("umask 077; mkdir -p B/mptcp/v1", true),
        ("mkdir B/mptcp", true),
        ("mkdir -m 0777 B/mptcp", false),
        ("mkdir -m 0775 B/mptcp", false),
        ("mkdir -m 1777 B/mptcp", false),
        ("mkdir -m 0700 B/mptcp; mkdir -m 0772 B/mptcp/v1", false),
        (
            "mkdir -m 0700 B/mptcp; mkdir B/mptcp/v1; chown 65534 B/mptcp/v1",
            false,
        ),
        (
            "mkdir -p B/mptcp/v1/N/if; chmod 0757 B/mptcp/v1/N/if",
            false,
        ),
        ("mkdir -p B/mptcp/v1/N; chown 1000:1000 B/mptcp/v1/N", false),
        (
            "mkdir -p B/mptcp/v1/N/tables; chown 1000 B/mptcp/v1/N/tables",
            false,
        ),
        (
            "mkdir -p B/mptcp/v1/N/hooks; chmod 0770 B/mptcp/v1/N/hooks",
            false,
        ),
        // In the way, below the mount point.
        ("mkdir B/mptcp; chmod 0777 B; chmod -t B", false),
        ("mkdir B/mptcp; chown 65534 B", false),
    ];
    for (script, is_nobody) in cases {
        let bpffs = Bpffs::new(0o1777)?;
        let pins = bpffs.path().join("mptcp");
        let script = script
            .replace("B/", &format!("{}/", bpffs.path().display()))
            .replace(" B;", &format!(" {};", bpffs.path().display()))
            .replace("/N", &format!("/{inode}"));
        let script = match script.strip_suffix(" B") {
            Some(start) => format!("{start} {}", bpffs.path().display()),
            None => script,
        };
        match is_nobody {
            true => as_nobody(&script)?,
            false => output(Command::new("sh").args(["-ec", &script]))?,
        };
        let attach = ["attach", "-i", "p0", "--xdp", "off"];
        let mut is_attached = false;
        for tries in 0..4 {
            let out = finished(&mut command(&namespace, &pins, &attach))?;
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            ensure!(!said.contains("panicked"), "{script}: {said}");
            // Hooks are no part of a probe that it cannot do without.
            is_attached = out.status.success() && !said.contains("no hooks");
            if is_attached {
                ensure!(tries > 0, "{script}: it is taken as it is");
                break;
            }
            ensure!(
                said.contains("belongs to user") || said.contains("written by others"),
                "{script}: {said}"
            );
            ensure!(!said.contains("os error"), "{script}: {said}");
            // Where it is no root's directory, its owner is trusted as little as others.
            let mend = match next(&said)? {
                rm if rm.starts_with("rm -r ")
                    && said.contains(&format!("{} belongs", bpffs.path().display())) =>
                {
                    format!("chown 0:0 {}", bpffs.path().display())
                }
                other => other.to_owned(),
            };
            output(Command::new("sh").args(["-ec", &mend]))?;
        }
        ensure!(is_attached, "{script}: it is not mended by what is said");
        output(&mut command(&namespace, &pins, &["detach", "--all"]))?;
        ensure!(!pins.exists(), "{script}: {} is left", pins.display());
    }
    Ok(())
}

/// A directory above the bpffs that anybody may write, and a link on the way.
#[test]
fn the_way_to_the_bpffs_is_looked_at_as_well() -> Result<()> {
    let namespace = one_link()?;
    let above = Directory::new()?;
    fs::set_permissions(above.path(), fs::Permissions::from_mode(0o777))?;
    let there = above.path().join("bpf");
    fs::create_dir(&there)?;
    mount(
        Some("bpf"),
        &there,
        Some("bpf"),
        MsFlags::empty(),
        Some("mode=0700"),
    )?;
    let result = (|| {
        let pins = there.join("mptcp");
        let attach = ["attach", "-i", "p0", "--no-hooks", "--xdp", "off"];
        let said = refusal(&mut command(&namespace, &pins, &attach))?;
        ensure!(said.contains("can be written by others"), "{said}");
        output(Command::new("sh").args(["-ec", next(&said)?]))?;
        // By a link that leads to the right place.
        let link = above.path().join("link");
        symlink(&there, &link)?;
        let said = refusal(&mut command(&namespace, &link.join("mptcp"), &attach))?;
        ensure!(said.contains("is a symbolic link"), "{said}");
        let up = above.path().join("bpf/../bpf/mptcp");
        let out = finished(&mut command(&namespace, &up, &attach))?;
        ensure!(out.status.code() == Some(2), "{out:?}");
        output(&mut command(&namespace, &pins, &attach))?;
        output(&mut command(&namespace, &pins, &["detach", "--all"]))?;
        Ok(())
    })();
    umount2(&there, MntFlags::MNT_DETACH)?;
    result
}

#[test]
fn directories_are_the_owners_alone_whatever_the_umask() -> Result<()> {
    let namespace = one_link()?;
    for umask in ["000", "022", "077", "777"] {
        let bpffs = Bpffs::new(0o1777)?;
        let pins = bpffs.path().join("some/where/mptcp");
        let mut attach = Command::new("sh");
        attach
            .args(["-c", "umask $0; exec \"$@\"", umask])
            .arg(binary())
            .arg("--pin-dir")
            .arg(&pins)
            .args(["--netns", namespace.name(), "attach", "-i", "p0"]);
        output(&mut attach)?;
        let found = run(
            "find",
            &[
                &bpffs.path().display().to_string(),
                "-mindepth",
                "1",
                "-printf",
                "%y %m %u %p\n",
            ],
        )?;
        ensure!(found.lines().count() > 25, "{found}");
        for line in found.lines() {
            let wanted = match line.starts_with('d') {
                true => "d 700 root ",
                false => "f ",
            };
            ensure!(line.starts_with(wanted), "umask {umask}: {line}");
            let mode = u32::from_str_radix(line.split(' ').nth(1).unwrap_or_default(), 8)?;
            ensure!(mode & 0o077 == 0, "umask {umask}: {line}");
        }
        output(&mut command(&namespace, &pins, &["status"]))?;
        output(&mut command(&namespace, &pins, &["detach", "--all"]))?;
        ensure!(!pins.exists());
    }
    Ok(())
}

/// Of each pin: another owner, a mode by which others may write, another type, size, number of entries, flags, and
/// something that is no map.
#[test]
fn a_pin_that_is_not_this_programs_is_not_used() -> Result<()> {
    let namespace = one_link()?;
    let (inode, index) = numbers(&namespace, "p0")?;
    let probe = Probe::new(&namespace);
    let attach = ["attach", "-i", "p0", "--xdp", "off", "--max-sessions", "64"];
    let directory = probe.pins().join(format!("v1/{inode}"));
    let interface = |name: &str| format!("if/{index}/{name}");
    let pins = [
        interface("counters"),
        interface("meta"),
        interface("readings"),
        "tables/meta".to_owned(),
        "tables/sessions".to_owned(),
        "tables/session-tags".to_owned(),
        "tables/keys".to_owned(),
        "tables/filter".to_owned(),
        "tables/events".to_owned(),
        "tables/pending-joins".to_owned(),
        "hooks/counters".to_owned(),
        "hooks/refused".to_owned(),
    ];
    for pin in &pins {
        for damage in [
            "owner", "mode", "type", "value", "entries", "flags", "program",
        ] {
            probe.run(&attach)?;
            let path = directory.join(pin);
            let shape: serde_json::Value = serde_json::from_str(&output(
                Command::new("bpftool")
                    .args(["-j", "map", "show", "pinned"])
                    .arg(&path),
            )?)?;
            let number = |name: &str| shape[name].as_u64().unwrap_or(0);
            let kind = shape["type"].as_str().context("a type")?;
            let (key, mut value, mut entries) = (
                number("bytes_key"),
                number("bytes_value"),
                number("max_entries"),
            );
            // BPF_F_MMAPABLE and BPF_F_RDONLY_PROG: bits that make a map another one.
            let mut flags = number("flags");
            let mut other_kind = kind;
            match damage {
                "owner" => chown(&path, Some(NOBODY), None)?,
                "mode" => fs::set_permissions(&path, fs::Permissions::from_mode(0o622))?,
                "program" => {
                    let link = directory.join(interface("tcx"));
                    if !link.exists() {
                        continue;
                    }
                    fs::remove_file(&path)?;
                    fs::hard_link(link, &path)?;
                }
                _ if kind == "ringbuf" => {
                    fs::remove_file(&path)?;
                    let [kind, key, value, entries] = match damage {
                        "entries" => ["ringbuf", "0", "0", "4096"],
                        _ => ["array", "4", "8", "4"],
                    };
                    create(&path, kind, key, value, entries, "0")?;
                }
                _ => {
                    match damage {
                        "type" => {
                            other_kind = if kind == "hash" { "array" } else { "hash" };
                            flags = 0;
                        }
                        "value" => value = if value > 8 { value - 8 } else { value + 8 },
                        "entries" => entries += 1000,
                        _ => flags ^= 1 << 7,
                    }
                    fs::remove_file(&path)?;
                    let [key, value, entries] =
                        [key, value, entries].map(|number| number.to_string());
                    create(
                        &path,
                        other_kind,
                        &key,
                        &value,
                        &entries,
                        &flags.to_string(),
                    )?;
                }
            }
            for arguments in COMMANDS
                .into_iter()
                .filter(|words| ["attach", "status", "stat"].contains(&words[0]))
            {
                let out = finished(&mut command(&namespace, probe.pins(), arguments))?;
                let text = format!(
                    "{}{}",
                    String::from_utf8_lossy(&out.stderr),
                    String::from_utf8_lossy(&out.stdout)
                );
                ensure!(
                    !text.contains("panicked") && matches!(out.status.code(), Some(0 | 1 | 3)),
                    "{pin}, {damage}, {arguments:?}: {} {text}",
                    out.status
                );
                if arguments[0] == "attach" {
                    // It goes on without hooks, and says so.
                    let is_told = !out.status.success() || text.contains("no hooks");
                    let is_asked = !(pin.starts_with("hooks") && arguments.contains(&"--no-hooks"));
                    ensure!(
                        is_told || !is_asked,
                        "{pin}, {damage}: {arguments:?} takes it: {text}"
                    );
                    ensure!(
                        is_told == text.contains("next: "),
                        "{pin}, {damage}: {text}"
                    );
                }
            }
            if damage != "owner" && damage != "mode" {
                fs::remove_file(&path)?;
            } else {
                chown(&path, Some(0), None)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            }
            probe.run(&["detach", "--all"])?;
            ensure!(!probe.pins().exists(), "{pin}, {damage}");
            ensure!(namespace.programs("p0")?.is_empty(), "{pin}, {damage}");
        }
    }
    Ok(())
}

/// Pins a new map.
fn create(
    path: &Path,
    kind: &str,
    key: &str,
    value: &str,
    entries: &str,
    flags: &str,
) -> Result<()> {
    let mut bpftool = Command::new("bpftool");
    bpftool.args(["map", "create"]).arg(path);
    bpftool.args(["type", kind, "key", key, "value", value, "entries", entries]);
    output(bpftool.args(["name", "other", "flags", flags])).map(drop)
}

/// What is in a directory of pins and was not made here stays, and is named.
#[test]
fn what_is_no_pin_is_left_alone() -> Result<()> {
    let namespace = one_link()?;
    let (inode, index) = numbers(&namespace, "p0")?;
    let victim = Directory::new()?;
    victim.write("precious", "precious")?;
    for place in [
        format!("if/{index}"),
        "tables".to_owned(),
        "hooks".to_owned(),
    ] {
        for (name, is_link) in [
            ("counters", true),
            ("other", true),
            ("other", false),
            ("meta", false),
        ] {
            let probe = Probe::new(&namespace);
            probe.run(&["attach", "-i", "p0"])?;
            let path = probe.pins().join(format!("v1/{inode}/{place}/{name}"));
            let _ = fs::remove_file(&path);
            match is_link {
                true => symlink(victim.path().join("precious"), &path)?,
                false => fs::create_dir(&path)?,
            }
            let said = refusal(&mut probe.command(&["detach", "--all"]))?;
            ensure!(said.contains(&*path.display().to_string()), "{said}");
            ensure!(
                fs::symlink_metadata(&path).is_ok(),
                "{} is gone",
                path.display()
            );
            match is_link {
                true => fs::remove_file(&path)?,
                false => fs::remove_dir(&path)?,
            }
            probe.run(&["detach", "--all"])?;
            ensure!(!probe.pins().exists(), "{place}/{name}");
        }
    }
    ensure!(fs::read(victim.path().join("precious"))? == b"precious");
    Ok(())
}

/// Whoever waits for the lock says for whom, and a signal ends the wait at once; nothing is done.
#[test]
fn a_wait_for_the_lock_is_told_and_ends_by_a_signal() -> Result<()> {
    let namespace = one_link()?;
    let probe = Probe::new(&namespace);
    probe.run(&["attach", "-i", "p0"])?;
    // Held by this test, as by a command that was stopped.
    let path = probe.pins().join("v1");
    let hold = || {
        let lock = Flock::lock(fs::File::open(&path)?, FlockArg::LockExclusive);
        lock.map_err(|(_, error)| anyhow::Error::from(error))
    };
    let me = std::process::id().to_string();
    let programs = || Ok::<_, anyhow::Error>(probe.status()?["interfaces"][0]["programs"].clone());
    let before = programs()?;
    let commands: [&[&str]; 10] = [
        &["attach", "-i", "p0"],
        &["attach", "-i", "p1", "p0", "--xdp", "off"],
        &["detach", "-i", "p0"],
        &["detach", "--all"],
        &["status"],
        &["stat"],
        &["stat", "-ntimes", "0"],
        &["stat", "-clearstats", "full"],
        &["sessions"],
        &["record", "-o", "-"],
    ];
    for arguments in commands {
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            let lock = hold()?;
            let child = probe
                .command(arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            thread::sleep(Duration::from_millis(500));
            kill(Pid::from_raw(child.id() as i32), signal)?;
            let start = Instant::now();
            let out = wait(child)?;
            let said = String::from_utf8_lossy(&out.stderr);
            ensure!(
                start.elapsed() < Duration::from_secs(1) && !out.status.success(),
                "{arguments:?}, {signal}: {} after {:?}",
                out.status,
                start.elapsed()
            );
            ensure!(
                said.contains("waiting for process") && said.contains(&me),
                "{arguments:?}, {signal}: {said:?}"
            );
            ensure!(
                out.stdout.is_empty(),
                "{arguments:?}: {:?}",
                String::from_utf8_lossy(&out.stdout)
            );
            drop(lock);
        }
    }
    ensure!(
        programs()? == before
            && before
                .as_array()
                .is_some_and(|programs| programs.len() == 2)
    );
    // One that is left alone gets it as soon as it is free.
    let lock = hold()?;
    let stat = probe
        .command(&["stat"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    thread::sleep(Duration::from_millis(400));
    drop(lock);
    ensure!(wait(stat)?.status.success());
    Ok(())
}

/// Who may only look into the pin directory holds no lock that commands wait for.
#[test]
fn only_the_owner_can_hold_the_lock() -> Result<()> {
    let namespace = one_link()?;
    for mode in [0o700, 0o755] {
        let bpffs = Bpffs::new(0o1777)?;
        let pins = bpffs.path().join("mptcp");
        fs::create_dir(&pins)?;
        fs::create_dir(pins.join("v1"))?;
        fs::set_permissions(&pins, fs::Permissions::from_mode(mode))?;
        output(&mut command(&namespace, &pins, &["attach", "-i", "p0"]))?;
        let mut holders = Vec::new();
        for directory in [bpffs.path().to_owned(), pins.clone(), pins.join("v1")] {
            let mut flock = Command::new("setpriv");
            flock
                .args([
                    "--reuid",
                    "65534",
                    "--regid",
                    "65534",
                    "--clear-groups",
                    "flock",
                    "-x",
                ])
                .arg(&directory)
                .args(["sleep", "30"])
                .stderr(Stdio::null());
            holders.push(flock.spawn()?);
        }
        thread::sleep(Duration::from_millis(300));
        let result = (|| {
            for arguments in [
                &["stat"][..],
                &["status"],
                &["attach", "-i", "p0"],
                &["detach", "--all"],
            ] {
                let start = Instant::now();
                output(&mut command(&namespace, &pins, arguments))?;
                ensure!(start.elapsed() < Duration::from_secs(10), "{arguments:?}");
            }
            Ok(())
        })();
        for holder in &mut holders {
            // The shell's child has the lock as well.
            let _ = run("pkill", &["-P", &holder.id().to_string()]);
            let _ = holder.kill();
            holder.wait()?;
        }
        result?;
        ensure!(!pins.join("v1").exists());
    }
    Ok(())
}

/// Overwrites bytes of a value of a pinned array.
fn spoil<const N: usize>(
    path: &Path,
    key: u32,
    spoil: impl FnOnce(&mut [u8; N]),
) -> Result<[u8; N]> {
    let map = MapData::from_pin(path).with_context(|| path.display().to_string())?;
    let mut map = Array::<_, [u8; N]>::try_from(Map::Array(map))?;
    let before = map.get(&key, 0)?;
    let mut value = before;
    spoil(&mut value);
    map.set(key, value, 0)?;
    Ok(before)
}

/// Numbers at which arithmetic goes wrong.
const EDGES: [u64; 11] = [
    0,
    1,
    2,
    7,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0xffff_fffc,
    (1 << 26) + 5,
    1 << 63,
    u64::MAX,
];

/// No command panics, hangs, or ends by a signal.
fn all_end(probe: &Probe, what: &str) -> Result<()> {
    for arguments in [
        &["stat", "-detail"][..],
        &["stat", "--output", "json"],
        &["sessions"],
        &["status"],
        &["status", "--output", "json"],
        &["record", "-o", "-", "--ntimes", "1"],
        &["attach", "-i", "s0", "--no-hooks", "--xdp", "off"],
    ] {
        let start = Instant::now();
        let out = finished(&mut probe.command(arguments))?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(
            matches!(out.status.code(), Some(0 | 1 | 3)) && !said.contains("panicked"),
            "{what}: {arguments:?}: {} {said}",
            out.status
        );
        ensure!(
            out.status.success() || said.contains("next: "),
            "{what}: {arguments:?}: {said}"
        );
        ensure!(
            start.elapsed() < Duration::from_secs(10),
            "{what}: {arguments:?} takes {:?}",
            start.elapsed()
        );
    }
    Ok(())
}

#[test]
fn whatever_pinned_maps_hold_commands_end_in_words() -> Result<()> {
    let pair = Pair::new(Family::V4)?;
    let probe = Probe::new(&pair.server);
    let attach = [
        "attach",
        "-i",
        "s0",
        "--no-hooks",
        "--xdp",
        "off",
        "--max-sessions",
        "64",
        "--max-subflows",
        "64",
    ];
    probe.run(&attach)?;
    let (client, server) = pair.connect()?;
    transfer(&client, &server, 20_000)?;
    let (inode, index) = numbers(&pair.server, "s0")?;
    let directory = probe.pins().join(format!("v1/{inode}"));
    let meta = directory.join(format!("if/{index}/meta"));
    let tables = directory.join("tables/meta");
    const META: usize = 40;
    const TABLES: usize = 96;
    let mut random = Numbers::new(20);
    for edge in EDGES {
        for at in (0..TABLES).step_by(4) {
            // Each of the sizes, and of the rest one here and there.
            if at >= 24 && !random.one_in(4) {
                continue;
            }
            let before = spoil::<TABLES>(&tables, 0, |value| {
                let length = if at < 24 { 4 } else { 8.min(TABLES - at) };
                value[at..at + length].copy_from_slice(&edge.to_ne_bytes()[..length]);
            })?;
            all_end(&probe, &format!("tables/meta[{at}] = {edge:#x}"))?;
            spoil::<TABLES>(&tables, 0, |value| *value = before)?;
        }
    }
    for at in (4..META).step_by(2) {
        for value in [[0xff; 2], [0, 0], [b'\n', 2], [0x80, 0]] {
            if !random.one_in(3) {
                continue;
            }
            let before =
                spoil::<META>(&meta, 0, |bytes| bytes[at..at + 2].copy_from_slice(&value))?;
            all_end(&probe, &format!("meta[{at}] = {value:?}"))?;
            spoil::<META>(&meta, 0, |bytes| *bytes = before)?;
        }
    }
    probe.run(&["detach", "--all"])?;
    ensure!(!probe.pins().exists());
    drop((client, server));
    Ok(())
}

/// Where a program has its pins is where they are documented.
#[test]
fn pins_are_where_they_are_documented() -> Result<()> {
    let namespace = one_link()?;
    let probe = Probe::new(&namespace);
    probe.run(&["attach", "-i", "p0"])?;
    let (inode, index) = numbers(&namespace, "p0")?;
    let status = probe.status()?;
    let path: PathBuf = probe.pins().join(format!("v1/{inode}/if/{index}"));
    ensure!(status["interfaces"][0]["pins"] == *path.display().to_string());
    Ok(())
}
