//! `cargo xtask vm`: Debian's kernels under QEMU, with a root file system of what is needed.

mod archive;
mod guest;
mod kernel;

use std::{
    env,
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use mptcp_testkit::figures::{Figures, Guard};

pub(crate) use self::guest::init;
use self::kernel::Kernel;
use crate::{
    hooks, setup, shell,
    smoke::{self, Loaded},
};

/// Packages of the kernels, by the version they stand for.
const KERNELS: [(&str, &str); 2] = [
    ("6.1", "linux-image-cloud-amd64"),
    ("6.12", "linux-image-6.12-cloud-amd64"),
];

/// What the programs cost on these kernels, and on the host's if that is of the series [`HOST`].
const GUARD: Guard = Guard {
    file: "programs.tsv",
    columns: &[
        "program",
        "verified_instructions",
        "translated_bytes",
        "jited_bytes",
        "stack_bytes",
        "helper_calls",
        "map_lookups",
    ],
    update: "cargo xtask vm --update",
};
const HOST: &str = "6.18";

/// A guest prints this before each line that is meant for the host.
const MARK: &str = "@@ ";
const TIMEOUT: Duration = Duration::from_mins(5);

pub(crate) fn run(update: bool) -> Result<()> {
    if shell::became_root("the smoke test makes network namespaces, which")? {
        return Ok(());
    }
    setup::run(true)?;
    let binary = shell::release_binary()?;
    let program = env::current_exe()?;
    eprintln!("==> virtual machines, and the same on this kernel");
    // Each guest is mostly busy with one processor.
    let guests = KERNELS.map(|(version, package)| {
        let (binary, program) = (binary.clone(), program.clone());
        thread::spawn(move || guest(version, package, &binary, &program))
    });
    let mut failures = Vec::new();
    let mut measured = Figures::new();
    let mut report = |name: &str, result: Result<Report>| match result {
        Ok(report) => {
            smoke::print(&report.kernel, &report.loaded);
            println!("{:28} hooks: {}", report.kernel, report.hooks);
            measured.extend(figures(&report));
        }
        Err(error) => failures.push(format!("{name}: {error:#}")),
    };
    smoke::print_heading();
    report("this kernel", here(&binary, &program));
    for ((version, _), guest) in KERNELS.into_iter().zip(guests) {
        let result = guest
            .join()
            .unwrap_or_else(|_| bail!("the host side panicked"));
        report(version, result);
    }
    if !failures.is_empty() {
        bail!(failures.join("\n"));
    }
    guard(measured, update)
}

/// What a kernel's programs cost, by the kernel's series, program and role.
fn figures(report: &Report) -> impl Iterator<Item = (String, Vec<u64>)> {
    let series: Vec<_> = report.kernel.splitn(3, '.').take(2).collect();
    let series = series.join(".");
    report.loaded.iter().map(move |loaded| {
        let name = format!("{series} {} {}", loaded.program, loaded.role);
        (name, loaded.figures.to_vec())
    })
}

/// Compares with the table, or writes it.
fn guard(mut measured: Figures, update: bool) -> Result<()> {
    let is_of = |name: &str, series| name.split(' ').next() == Some(series);
    let guests = KERNELS.map(|(series, _)| series);
    // The host may run any kernel.
    measured.retain(|name, _| {
        guests
            .iter()
            .chain([&HOST])
            .any(|series| is_of(name, *series))
    });
    if !measured.keys().any(|name| is_of(name, HOST)) {
        eprintln!("    the kernel that runs is not Linux {HOST}: its figures are not compared");
        let here = GUARD.read()?.into_iter();
        measured.extend(here.filter(|(name, _)| is_of(name, HOST)));
    }
    if update {
        GUARD.write(&measured)
    } else {
        GUARD.compare(&GUARD.read()?, &measured)
    }
}

/// What a kernel has shown.
struct Report {
    kernel: String,
    hooks: String,
    loaded: Vec<Loaded>,
}

/// The kernel that runs.
fn here(binary: &Path, program: &Path) -> Result<Report> {
    Ok(Report {
        kernel: smoke::kernel(),
        hooks: hooks::check(binary, program, false)?,
        loaded: smoke::check(binary)?,
    })
}

/// Boots one kernel and reads what the guest has to say. Under emulation a kernel may crash before it
/// runs anything of ours; it gets a second try then, and only then.
fn guest(version: &str, package: &str, binary: &Path, program: &Path) -> Result<Report> {
    let kernel = kernel::fetch(version, package)?;
    let initrd = shell::target().join(format!("vm-{version}.cpio"));
    archive::write(&initrd, binary, program, &kernel.modules)?;
    let mut log = shell::target().join(format!("vm-{version}.log"));
    let mut text = boot(&kernel, &initrd, &log)?;
    if guest::is_not_ours(&text) {
        eprintln!(
            "    Linux {version} ended by no fault of ours ({}; see {}), and is started once more",
            guest::last_words(&text),
            log.display()
        );
        log.set_file_name(format!("vm-{version}-again.log"));
        text = boot(&kernel, &initrd, &log)?;
    }
    guest::parse(&text).with_context(|| format!("see {}", log.display()))
}

/// Runs a guest to its end; what it wrote to its console, which is also in `log`.
fn boot(kernel: &Kernel, initrd: &Path, log: &Path) -> Result<String> {
    let console = File::create(log)?;
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-accel",
        "tcg",
        "-m",
        "1G",
        "-smp",
        "2",
        "-nographic",
        "-no-reboot",
    ])
    .args([
        "-nic",
        "none",
        "-append",
        "console=ttyS0 panic=-1 quiet rdinit=/bin/xtask -- vm-init",
    ])
    .arg("-kernel")
    .arg(&kernel.image)
    .arg("-initrd")
    .arg(initrd)
    .stdin(Stdio::null())
    .stdout(console.try_clone()?)
    .stderr(console);
    let mut machine = qemu.spawn().context("cannot run qemu-system-x86_64")?;
    let start = Instant::now();
    while machine.try_wait()?.is_none() {
        if start.elapsed() > TIMEOUT {
            machine.kill()?;
            machine.wait()?;
            bail!(
                "the guest did not end in {TIMEOUT:?}; see {}",
                log.display()
            );
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(String::from_utf8_lossy(&fs::read(log)?).into_owned())
}
