//! The lock of the pin directory.

use super::*;

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
