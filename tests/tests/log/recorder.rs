//! What `record` does while it runs.

use super::*;

/// A recorder that runs.
struct Recorder(Child);

impl Recorder {
    fn start(probe: &Probe, arguments: &[&str]) -> Result<Self> {
        let mut command = probe.command(&[&["record", "--interval", "10ms"], arguments].concat());
        Ok(Self(command.stderr(Stdio::piped()).spawn()?))
    }

    fn end(mut self, signal: Signal) -> Result<std::process::ExitStatus> {
        kill(Pid::from_raw(self.0.id() as i32), signal)?;
        Ok(self.0.wait()?)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a log has so many lines.
fn grown(log: &str, lines: usize) -> Result<()> {
    wait_until(|| Ok(fs::read_to_string(log).is_ok_and(|text| text.lines().count() >= lines)))
}

#[test]
fn it_ends_with_whole_lines_and_survives_being_killed() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    let directory = Directory::new()?;
    let log = directory.file("log");
    let mut lines = 0;
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGKILL,
        Signal::SIGKILL,
    ] {
        let recorder = Recorder::start(&probe, &["-o", &log])?;
        grown(&log, lines + 5)?;
        let status = recorder.end(signal)?;
        ensure!(
            status.success() == (signal != Signal::SIGKILL),
            "{signal}: {status}"
        );
        let text = fs::read_to_string(&log)?;
        ensure!(signal == Signal::SIGKILL || text.ends_with('\n'));
        lines = text.lines().count();
        ensure!(displays(&log, &[])?.len() == lines, "readings were lost");
    }
    // Torn, as when the machine stopped.
    let length = fs::metadata(&log)?.len();
    OpenOptions::new()
        .write(true)
        .open(&log)?
        .set_len(length - 100)?;
    let (steps, said) = displayed(&log, &[])?;
    ensure!(said.contains("torn") && steps.len() == lines - 1, "{said}");
    // What comes behind it is not lost with it.
    record(&probe, &log)?;
    record(&probe, &log)?;
    let (steps, said) = displayed(&log, &[])?;
    ensure!(steps.len() == lines + 1, "{}", steps.len());
    ensure!(
        said.contains("1 lines are no readings") && said.contains(&format!("line {lines}")),
        "{said}"
    );
    ensure!(steps[lines]["source"]["skipped"] == 1);
    Ok(())
}

#[test]
fn a_full_disk_costs_what_did_not_fit_and_nothing_else() -> Result<()> {
    let (namespace, probe) = one_link()?;
    let directory = Directory::new()?;
    let script = "
        mount -t tmpfs -o size=64k tmpfs \"$1\"
        head -c 49152 /dev/zero > \"$1/filler\"
        \"$0\" record -o \"$1/log\" --interval 10ms --netns \"$2\" --pin-dir \"$3\" 2> \"$4/said\" &
        i=0; until grep -q 'No space left' \"$4/said\"; do i=$((i + 1)); test $i -lt 500; sleep 0.02; done
        sleep 0.2
        cp \"$1/log\" \"$4/full\"
        rm \"$1/filler\"
        until grep -q 'recording again' \"$4/said\"; do i=$((i + 1)); test $i -lt 500; sleep 0.02; done
        sleep 0.1
        kill -INT $!; wait $!
        cp \"$1/log\" \"$4/log\"";
    let mount = directory.path().join("mount");
    fs::create_dir(&mount)?;
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-ec", script])
        .arg(binary())
        .arg(&mount);
    output(
        command
            .arg(namespace.name())
            .arg(probe.pins())
            .arg(directory.path()),
    )?;
    let said = fs::read_to_string(directory.path().join("said"))?;
    ensure!(
        said.matches("No space left").count() == 1,
        "told again and again: {said}"
    );
    let readings = |name: &str| -> Result<(usize, String)> {
        let (steps, said) = displayed(&directory.file(name), &[])?;
        Ok((steps.len(), said))
    };
    let full = fs::read_to_string(directory.path().join("full"))?;
    ensure!(!full.ends_with('\n'), "the disk was not full within a line");
    let (before, torn) = readings("full")?;
    ensure!(
        torn.contains("torn") && before == full.lines().count() - 1,
        "{torn}"
    );
    let (after, skipped) = readings("log")?;
    let text = fs::read_to_string(directory.path().join("log"))?;
    ensure!(skipped.contains("1 lines are no readings"), "{skipped}");
    ensure!(
        after == text.lines().count() - 1 && after > before + 2,
        "{before}, then {after}"
    );
    Ok(())
}

#[test]
fn it_rotates_by_size_and_by_age() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    let directory = Directory::new()?;
    let log = directory.file("log");
    let old = |number: u32| directory.file(&format!("log.{number}"));
    let record = |log: &str, rotation: &[&str]| {
        let often = ["record", "-o", log, "--interval", "10ms", "--ntimes", "60"];
        probe.run(&[&often, rotation].concat())
    };
    record(&log, &["--rotate-size", "8K"])?;
    let files: Vec<_> = (1..=9)
        .rev()
        .map(old)
        .filter(|file| Path::new(file).exists())
        .collect();
    ensure!(files.len() >= 2, "{files:?}");
    let mut all = Vec::new();
    for file in files.iter().chain([&log]) {
        ensure!(fs::metadata(file)?.len() <= 8192, "{file}");
        ensure!(fs::metadata(file)?.len() > 4096 || *file == log, "{file}");
        all.extend(fs::read(file)?);
    }
    // One behind the other they are the whole log.
    let whole = directory.write("whole", &all)?;
    let steps = displays(&whole, &[])?;
    ensure!(steps.len() == 60);
    let times: Vec<_> = steps.iter().map(|stat| stat["time"].to_string()).collect();
    ensure!(times.is_sorted());

    // As many as are to be kept.
    record(&log, &["--rotate-age", "100ms", "--keep", "2"])?;
    for file in [&old(1), &old(2)] {
        let steps = displays(file, &[])?;
        let span = seconds(&steps[steps.len() - 1]["time"])? - seconds(&steps[0]["time"])?;
        ensure!(span.rem_euclid(86400.0) < 0.1, "{file} spans {span} s");
    }
    let kept = |number| directory.file(&format!("aged.{number}"));
    let aged = directory.file("aged");
    record(&aged, &["--rotate-age", "100ms", "--keep", "2"])?;
    ensure!(Path::new(&kept(2)).exists() && !Path::new(&kept(3)).exists());

    // Somebody else may rotate.
    let recorder = Recorder::start(&probe, &["-o", &aged])?;
    grown(&aged, 3)?;
    fs::rename(&aged, kept(7))?;
    grown(&aged, 3)?;
    ensure!(recorder.end(Signal::SIGINT)?.success());
    ensure!(displays(&kept(7), &[])?.len() >= 3 && displays(&aged, &[])?.len() >= 3);
    Ok(())
}

#[test]
fn a_probe_that_goes_and_comes_is_waited_for() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    let directory = Directory::new()?;
    let log = directory.file("log");
    let mut recorder = Recorder::start(&probe, &["-o", &log])?;
    grown(&log, 2)?;
    probe.run(&["detach", "-i", "p0"])?;
    let gone = fs::read_to_string(&log)?.lines().count();
    probe.run(&["attach", "-i", "p0", "p1"])?;
    grown(&log, gone + 3)?;
    let stderr = recorder.0.stderr.take();
    ensure!(recorder.end(Signal::SIGINT)?.success());
    let said = io::read_to_string(stderr.context("no standard error")?)?;
    // Unless it waited for the lock in the meantime.
    let is_told = ["readings are missing", "was detached and attached anew"]
        .iter()
        .any(|words| said.contains(words));
    ensure!(is_told, "{said}");
    ensure!(said.matches("no probe is attached").count() <= 1, "{said}");
    let last = display(&log, &[])?;
    ensure!(last["source"]["interfaces"].as_array().map(Vec::len) == Some(2));
    Ok(())
}

/// Who sits at a terminal is told what goes on, in a line; a unit's journal or a script is not.
#[test]
fn a_terminal_is_told_what_is_recorded() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    let directory = Directory::new()?;
    let log = directory.file("log");
    let mut record = probe.command(&["record", "-o", &log, "--ntimes", "2", "--interval", "20ms"]);
    let (_, said) = outputs(&mut record)?;
    ensure!(said.is_empty(), "{said}");
    let words = [record.get_program()].into_iter().chain(record.get_args());
    let words: Vec<_> = words.map(|word| format!("'{}'", word.display())).collect();
    let line = words.join(" ");
    let said = output(Command::new("script").args(["-qec", &line, "/dev/null"]))?;
    ensure!(
        said.trim_end() == format!("mptcp-user: recording p0 to {log} every 20ms; Ctrl-C ends it"),
        "{said:?}"
    );
    Ok(())
}

#[test]
fn what_cannot_be_recorded_to_is_told() -> Result<()> {
    let (_namespace, probe) = one_link()?;
    let directory = Directory::new()?;
    let log = directory.file("log");
    let recorder = Recorder::start(&probe, &["-o", &log])?;
    grown(&log, 1)?;
    let said = probe.fails(4, &["record", "-o", &log, "--ntimes", "1"])?;
    ensure!(
        said.contains("somebody else records") && said.contains("next:"),
        "{said}"
    );
    ensure!(recorder.end(Signal::SIGINT)?.success());

    let line = fs::read_to_string(&log)?;
    let newer = line.replace("\"log_version\":1", "\"log_version\":2");
    let newer = directory.write("newer", newer)?;
    let other = directory.write("other", "something else\n")?;
    let fifo = directory.fifo("fifo")?;
    for (path, word) in [
        (&newer, "version 2"),
        (&other, "something else"),
        (&fifo, "no regular file"),
        (&directory.file(""), "no regular file"),
        (&directory.file("nowhere/log"), "No such file"),
        (&"/sys/log".to_owned(), "Permission denied"),
    ] {
        let said = probe.fails(1, &["record", "-o", path, "--ntimes", "1"])?;
        // No capability helps.
        ensure!(
            said.contains(word) && !said.contains("CAP_"),
            "{path}: {said}"
        );
    }
    ensure!(fs::read_to_string(&other)? == "something else\n");

    let said = probe.fails(1, &["record", "-o", &log, "-i", "nope0"])?;
    ensure!(said == probe.fails(1, &["stat", "-i", "nope0"])?, "{said}");
    ensure!(
        said.contains("no interface nope0") && said.contains("next:"),
        "{said}"
    );

    // Without a probe there is no file either.
    let bare = Namespace::new("bare")?;
    let nothing = directory.file("nothing");
    for arguments in [
        &["record", "-o", &nothing][..],
        &["record", "-o", &nothing, "-i", "lo"],
    ] {
        let said = Probe::new(&bare).fails(1, arguments)?;
        ensure!(
            said.contains("next:") && !Path::new(&nothing).exists(),
            "{said}"
        );
    }

    // To standard output, until nobody reads it.
    unread(probe.command(&["record", "-o", "-", "--interval", "10ms"]))
}
