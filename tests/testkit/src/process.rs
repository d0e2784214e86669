//! Other programs: run to their end, or beside this one.

use std::{
    io::{self, BufRead as _, BufReader},
    process::{Child, Command, Output, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

/// No wait of a test is longer.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Runs a program to its end; its output, or an error that holds it.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    output(Command::new(program).args(arguments))
}

/// Runs a command to its end; its output, or an error that holds it.
pub fn output(command: &mut Command) -> Result<String> {
    outputs(command).map(|(text, _)| text)
}

/// The same, and what it says on standard error.
pub fn outputs(command: &mut Command) -> Result<(String, String)> {
    let output = finished(command)?;
    let [text, said] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{text}{said}",
        output.status
    );
    Ok((text, said))
}

/// Runs a command to its end, however it ends.
pub fn finished(command: &mut Command) -> Result<Output> {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {command:?}"))?;
    wait(child).with_context(|| format!("{command:?}"))
}

/// Waits for the end of a child, and reads what it writes to pipes; kills it when it takes too
/// long.
pub fn wait(mut child: Child) -> Result<Output> {
    fn read(pipe: Option<impl io::Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
            bytes
        })
    }
    let (stdout, stderr) = (read(child.stdout.take()), read(child.stderr.take()));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > 2 * LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            bail!("no end after {:?}: killed", 2 * LIMIT);
        }
        thread::sleep(Duration::from_millis(2));
    };
    Ok(Output {
        status,
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    })
}

/// Waits until something is the case.
pub fn wait_until(mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !condition()? {
        ensure!(start.elapsed() < LIMIT, "waited for {LIMIT:?} in vain");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().to_string_lossy()))?;
        Ok(Self(child))
    }

    /// Waits until it has printed a line, or ends.
    pub fn wait_for_line(&mut self) -> Result<()> {
        let output = self.0.stdout.take().context("its output goes elsewhere")?;
        BufReader::new(output).read_line(&mut String::new())?;
        Ok(())
    }

    /// Waits for its end.
    pub fn wait(&mut self, limit: Duration) -> Result<()> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                bail!("a process ended with {status}");
            }
            if start.elapsed() > limit {
                bail!("a process did not end in {limit:?}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to end, and waits.
    pub fn interrupt(&mut self) -> Result<()> {
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.0.id())?);
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT)?;
        self.0.wait()?;
        Ok(())
    }

    /// kill -9.
    pub fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
