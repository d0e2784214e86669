//! What commands print of the captures and logs of the project, and how pinned maps are laid out, is what it was.
//!
//! tests/data/outputs.tsv has a digest of each output, tests/data/pins.tsv a line for each pin. A change that is meant
//! to change them writes them anew, in its own commit: `UPDATE_OUTPUTS=1 cargo test -p mptcp-tests --test unchanged`,
//! as root for pins.tsv.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    thread::{self, ScopedJoinHandle},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{MapData, MapInfo};
use mptcp_tests::{
    files::Directory,
    net::Namespace,
    probe::{Probe, binary},
    root::is_root,
    transcript::{data, transcript},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What is run on every capture: the file goes where `{}` is.
const OF_CAPTURES: [&str; 8] = [
    "stat -logFile {}",
    "stat -detail -fullValues -logFile {}",
    "stat --output json -logFile {}",
    "stat --output json --role host -logFile {}",
    "sessions --output json --log-file {}",
    "events --output text --log-file {}",
    "events --output jsonl --log-file {}",
    "report {} -o -",
];

/// What is run on every log.
const OF_LOGS: [&str; 4] = [
    "stat -logFile {}",
    "stat -detail -logFile {}",
    "stat --output jsonl -ntimes 0 -logFile {}",
    "report {} -o -",
];

/// The files in a directory of tests/data, each as a path relative to that.
fn files(directory: &str) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(data().join(directory))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        files.push(format!("{directory}/{name}"));
    }
    files.sort();
    ensure!(!files.is_empty(), "nothing in tests/data/{directory}");
    Ok(files)
}

fn digest(text: &str) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(text) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// The digest of the output of each of these commands.
fn digests(commands: &[String]) -> Result<BTreeMap<String, String>> {
    let workers = thread::available_parallelism()?.get();
    let parts: Vec<Result<Vec<_>>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|worker| {
                let own = commands.iter().skip(worker).step_by(workers);
                scope.spawn(move || {
                    own.map(|words| Ok((words.clone(), digest(&transcript(words)?.text()))))
                        .collect()
                })
            })
            .collect();
        let joined = threads.into_iter().map(ScopedJoinHandle::join);
        joined
            .map(|part| part.unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked"))))
            .collect()
    });
    let mut all = BTreeMap::new();
    for part in parts {
        all.extend(part?);
    }
    Ok(all)
}

/// The lines of a file of tests/data: what stands before the first tab, and what stands behind it.
fn lines(name: &str) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(data().join(name)).unwrap_or_default();
    let lines = text.lines().map(|line| {
        let (key, value) = line
            .split_once('\t')
            .with_context(|| format!("{name}: no tab in {line:?}"))?;
        Ok((key.to_owned(), value.to_owned()))
    });
    lines.collect()
}

/// What differs from a file of tests/data, which is written anew if that is asked for.
fn compare(name: &str, is: &BTreeMap<String, String>) -> Result<Vec<String>> {
    if env::var_os("UPDATE_OUTPUTS").is_some() {
        let mut text = String::new();
        for (key, value) in is {
            let _ = writeln!(text, "{key}\t{value}");
        }
        fs::write(data().join(name), text)?;
        return Ok(Vec::new());
    }
    let was = lines(name)?;
    let mut keys: Vec<_> = was.keys().chain(is.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| was.get(key) != is.get(key));
    Ok(keys)
}

#[test]
fn what_commands_print_of_captures_and_logs_is_what_it_was() -> Result<()> {
    let mut commands = Vec::new();
    let captures = [files("captures")?, files("cases")?].concat();
    for (of, files) in [(&OF_CAPTURES[..], captures), (&OF_LOGS, files("logs")?)] {
        for file in files {
            commands.extend(of.iter().map(|words| words.replace("{}", &file)));
        }
    }
    let is = digests(&commands)?;
    let changed = compare("outputs.tsv", &is)?;
    ensure!(
        changed.is_empty(),
        "{} of {} outputs are not what they were (a digest of each is in tests/data/outputs.tsv):\n  mptcp-user {}\n\
         To see what differs, build the program of the commit before in another work tree, and compare, for instance:\n  \
         cd {} && diff <($BEFORE/target/debug/mptcp-user {} 2>&1) <({} {} 2>&1)\n\
         If it is meant to differ, UPDATE_OUTPUTS=1 writes the digests anew.",
        changed.len(),
        is.len(),
        changed.join("\n  mptcp-user "),
        data().display(),
        changed[0],
        binary().display(),
        changed[0],
    );
    Ok(())
}

/// Where a pin is below the directory of its network namespace and layout version, with the numbers of this run masked.
fn pin_name(pins: &Path, path: &Path, namespace: u64) -> Result<String> {
    let below = path.strip_prefix(pins)?.to_string_lossy().into_owned();
    Ok(below.replace(&namespace.to_string(), "NETNS"))
}

/// A line for a pin: what it is, and if it is a map, its name, type, sizes, entries and flags.
fn pin(path: &Path) -> Result<String> {
    let map = MapData::from_pin(path)?;
    // The kernel gives out any pin, and says by the name of the file which kind it is.
    let fd = map.fd().as_fd().as_raw_fd();
    let kind = fs::read_link(format!("/proc/self/fd/{fd}"))?;
    Ok(match kind.to_string_lossy().as_ref() {
        "anon_inode:bpf-map" => layout(&map.info()?),
        kind => kind.to_owned(),
    })
}

fn layout(map: &MapInfo) -> String {
    let kind = map
        .map_type()
        .map_or("?".to_owned(), |kind| format!("{kind:?}"));
    format!(
        "{}\t{kind}\tkey {}\tvalue {}\tentries {}\tflags {:#x}",
        map.name_as_str().unwrap_or_default(),
        map.key_size(),
        map.value_size(),
        map.max_entries(),
        map.map_flags(),
    )
}

/// All files below a directory.
fn walk(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// The fields of a JSON value in their order, each with its type: what stays when the numbers are others.
fn shape(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(values) => {
            let mut shapes: Vec<_> = values.iter().map(shape).collect();
            shapes.dedup();
            format!("[{}]", shapes.join(","))
        }
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| format!("{name}:{}", shape(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
    }
}

/// The shape of each line of JSON, a digest of them.
fn shapes(text: &str) -> Result<String> {
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let shapes: Vec<_> = values
        .map(|value| Ok(shape(&value?)))
        .collect::<Result<_>>()?;
    Ok(format!(
        "{} values\t{}",
        shapes.len(),
        digest(&shapes.join("\n"))
    ))
}

#[test]
fn pins_and_what_live_commands_print_are_laid_out_as_they_were() -> Result<()> {
    if !is_root("pins, and what live commands print") {
        return Ok(());
    }
    let namespace = Namespace::new("unchanged")?;
    // No packet comes by itself, so that each number is there or not in every run.
    namespace.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
    namespace.ip("link add p0 index 77 up type veth peer name p1")?;
    namespace.ip("link set p1 up")?;
    let probe = Probe::new(&namespace);
    probe.run(&["attach", "-i", "p0"])?;
    let id = fs::metadata(format!("/run/netns/{}", namespace.name()))?.ino();
    let mut is = BTreeMap::new();
    let mut paths = Vec::new();
    walk(probe.pins(), &mut paths)?;
    for path in paths {
        is.insert(pin_name(probe.pins(), &path, id)?, pin(&path)?);
    }
    let directory = Directory::new()?;
    let log = directory.file("log");
    probe.run(&["record", "-o", &log, "--ntimes", "2", "--interval", "100ms"])?;
    is.insert("record".to_owned(), shapes(&fs::read_to_string(&log)?)?);
    for words in [
        "stat --output json",
        "status --output json",
        "sessions --output json",
    ] {
        let text = probe.run(&words.split(' ').collect::<Vec<_>>())?;
        is.insert(words.to_owned(), shapes(&text)?);
    }
    let was = lines("pins.tsv")?;
    let changed = compare("pins.tsv", &is)?;
    let none = "nothing".to_owned();
    let told: Vec<_> = changed
        .iter()
        .map(|key| {
            let [was, is] = [&was, &is].map(|all| all.get(key).unwrap_or(&none));
            format!("{key}\n    was {was}\n    is  {is}")
        })
        .collect();
    ensure!(
        told.is_empty(),
        "not what tests/data/pins.tsv has (UPDATE_OUTPUTS=1 writes it anew; digests are of the fields and types of JSON \
         in their order):\n{}",
        told.join("\n")
    );
    Ok(())
}
