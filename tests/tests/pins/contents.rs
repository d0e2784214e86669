//! Pins that are not this program's, and what pinned maps hold.

use super::*;

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
