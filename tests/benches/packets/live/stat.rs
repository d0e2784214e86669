//! What one `stat` takes.

use super::*;

/// What one `stat` takes with so many sessions in the tables.
pub(super) fn run(
    feeder: &mut Feeder,
    count: u32,
    rounds: usize,
    milliseconds: f64,
) -> Result<Vec<Row>> {
    let namespace = Namespace::new("stat")?;
    namespace.ip("link add p0 up type veth peer name p1")?;
    let probe = Probe::new(&namespace);
    let most = count.max(DEFAULT);
    let (max_sessions, max_subflows) = (most.to_string(), (2 * most).to_string());
    probe.run(&[
        "attach",
        "-i",
        "p0",
        "--xdp",
        "native",
        "--max-sessions",
        &max_sessions,
        "--max-subflows",
        &max_subflows,
    ])?;
    let status = probe.status()?;
    let programs = status["interfaces"][0]["programs"].as_array();
    let id = programs
        .into_iter()
        .flatten()
        .find(|program| program["name"] == "xdp_ingress")
        .and_then(|program| program["id"].as_u64())
        .context("no xdp_ingress")?;
    let program = loaded_programs()
        .filter_map(Result::ok)
        .find(|program| u64::from(program.id()) == id)
        .context("the program is gone")?;
    feeder.measure_program(&program.fd()?)?;
    open(feeder, sessions(count))?;
    let known = total(&probe.stat(&[])?, "CurSess")?;
    ensure!(
        report::is_nearly(known, count.into()),
        "{known} of {count} sessions are known"
    );
    let displays = DISPLAYS.to_string();
    let several = ["stat", "-ntimes", &displays, "--interval", "10ms"];
    let [mut once, mut nothing, mut empty, mut list] = [(); 4].map(|()| Vec::new());
    let mut displaying = Vec::new();
    for _ in 0..rounds {
        let one = used(&probe.command(&["stat"]))?;
        let all = used(&probe.command(&several))?;
        displaying.push((all.processor - one.processor) / f64::from(DISPLAYS - 1));
        once.push(one);
        nothing.push(used(&probe.command(&["--version"]))?);
        empty.push(used(&Command::new("true"))?);
        list.push(used(&probe.command(&["sessions", "--limit", "10"]))?);
    }
    let row =
        |what, unit, samples| Row::new(format!("stat, {count} sessions: {what}"), unit, samples);
    let sessions =
        |what, unit, samples| Row::new(format!("sessions, {count} of them: {what}"), unit, samples);
    let times = |all: &[Used]| -> Vec<_> { all.iter().map(|used| used.time).collect() };
    let memory = |all: &[Used]| all.iter().map(|used| used.memory).collect();
    let pairs = times(&once).into_iter().zip(times(&empty));
    let beyond = pairs.map(|(stat, empty)| stat - empty).collect();
    Ok(vec![
        row("time", "ms", times(&once)).wanted(Wanted::AtMost(milliseconds)),
        row("time beyond that of true", "ms", beyond),
        row("time of --version", "ms", times(&nothing)),
        row("time of true", "ms", times(&empty)),
        row("processor, each further display", "ms", displaying),
        row("system calls", "calls", vec![system_calls(&probe)? as f64]),
        row("resident set", "MiB", memory(&once)).wanted(Wanted::AtMost(64.0)),
        row(
            "tables",
            "MiB",
            vec![
                status["interfaces"][0]["tables"]["bytes"]
                    .as_f64()
                    .context("status tells no size of tables")?
                    / f64::from(1 << 20),
            ],
        ),
        sessions("time", "ms", times(&list)),
        sessions("resident set", "MiB", memory(&list)),
    ])
}

/// What a command takes.
struct Used {
    /// From its start to its end, in milliseconds.
    time: f64,
    /// Of processors, in milliseconds.
    processor: f64,
    /// Its largest resident set, in MiB.
    memory: f64,
}

/// Runs a command to its end. A small process does, since the kernel counts with a command what the
/// process had that it came from.
fn used(command: &Command) -> Result<Used> {
    let text = output(
        Command::new(std::env::current_exe()?)
            .arg("used")
            .arg(command.get_program())
            .args(command.get_args()),
    )?;
    let [time, processor, memory] = serde_json::from_str(&text)?;
    Ok(Used {
        time,
        processor,
        memory,
    })
}

/// The other process of [`used`].
pub(crate) fn tell_used() -> Result<()> {
    let mut arguments = std::env::args_os().skip(2);
    let mut command = Command::new(arguments.next().context("no command")?);
    let start = Instant::now();
    let status = command.args(arguments).stdout(Stdio::null()).status()?;
    let time = start.elapsed().as_secs_f64() * 1e3;
    ensure!(status.success(), "{command:?}: {status}");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let processor = [usage.user_time(), usage.system_time()]
        .map(|time| time.num_microseconds() as f64 / 1e3)
        .iter()
        .sum::<f64>();
    let memory = usage.max_rss() as f64 / 1024.0;
    println!("{}", json!([time, processor, memory]));
    Ok(())
}

/// System calls of one `stat`, those of its start among them.
fn system_calls(probe: &Probe) -> Result<usize> {
    let log = std::env::temp_dir().join(format!("mptcp-bench-{}", std::process::id()));
    let stat = probe.command(&["stat"]);
    output(
        Command::new("strace")
            .args(["-f", "-qq", "-e", "signal=none", "-o"])
            .arg(&log)
            .arg(stat.get_program())
            .args(stat.get_args()),
    )?;
    let text = fs::read_to_string(&log)?;
    fs::remove_file(&log)?;
    Ok(text
        .lines()
        .filter(|line| !line.contains(" resumed>"))
        .count())
}
