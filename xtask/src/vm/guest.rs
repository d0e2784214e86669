//! Inside of a virtual machine: the first process, and the lines it tells the host.

use std::{fs, fs::File, path::Path};

use anyhow::{Context as _, Result, bail};
use nix::{
    kmod::{ModuleInitFlags, finit_module},
    mount::{MsFlags, mount},
    sys::reboot::{RebootMode, reboot},
};

use super::{MARK, Report};
use crate::{
    hooks,
    smoke::{self, FIGURES, Loaded},
};

/// Where the archive puts the programs.
pub(super) const BINARY: &str = "/bin/mptcp-user";
pub(super) const PROGRAM: &str = "/bin/xtask";
/// Kernel modules, in the order in which they are loaded.
pub(super) const MODULES: &str = "/modules";
/// What the first process says first, behind the mark.
const BEGUN: &str = "begun";

/// The first process of a guest. It never returns.
pub(crate) fn init() -> Result<()> {
    println!("{MARK}{BEGUN}");
    match check() {
        Ok((hooks, loaded)) => {
            println!("{MARK}hooks\t{hooks}");
            for Loaded {
                program,
                hook,
                role,
                figures,
            } in loaded
            {
                let figures = figures.map(|figure| figure.to_string()).join("\t");
                println!("{MARK}{program}\t{hook}\t{role}\t{figures}");
            }
            println!("{MARK}kernel\t{}", smoke::kernel());
        }
        Err(error) => println!(
            "{MARK}failed\t{}",
            format!("{error:#}").replace('\n', " | ")
        ),
    }
    match reboot(RebootMode::RB_POWER_OFF)? {}
}

fn check() -> Result<(String, Vec<Loaded>)> {
    for (what, at, kind) in [
        ("proc", "/proc", "proc"),
        ("sys", "/sys", "sysfs"),
        ("dev", "/dev", "devtmpfs"),
        ("run", "/run", "tmpfs"),
        ("tmp", "/tmp", "tmpfs"),
        ("tracing", "/sys/kernel/tracing", "tracefs"),
        ("cgroup", "/sys/fs/cgroup", "cgroup2"),
    ] {
        fs::create_dir_all(at)?;
        mount(Some(what), at, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount {at}"))?;
    }
    let mut modules: Vec<_> = fs::read_dir(MODULES)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    modules.sort();
    for path in modules {
        finit_module(File::open(&path)?, c"", ModuleInitFlags::empty())
            .with_context(|| format!("cannot load {}", path.display()))?;
    }
    let (binary, program) = (Path::new(BINARY), Path::new(PROGRAM));
    Ok((hooks::check(binary, program, true)?, smoke::check(binary)?))
}

/// Returns true if the guest ended before it ran anything of ours, or by a breakpoint in its kernel: that sets some while
/// it changes its own code, and the emulator may run into one.
pub(super) fn is_not_ours(text: &str) -> bool {
    // The kernel may have written into the same line.
    !text.contains(&format!("{MARK}{BEGUN}")) || text.contains("int3: 0000")
}

/// Why the guest ended, as far as its kernel says.
pub(super) fn last_words(text: &str) -> &str {
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines()
        .find(|line| line.contains("Kernel panic"))
        .or_else(|| lines().next_back())
        .unwrap_or("it wrote nothing")
}

/// What the guest said: its kernel, what became of the hooks, and the programs.
pub(super) fn parse(text: &str) -> Result<Report> {
    let mut loaded = Vec::new();
    let mut hooks = String::new();
    for line in text
        .lines()
        .filter_map(|line| line.trim_end().strip_prefix(MARK))
    {
        match *line.split('\t').collect::<Vec<_>>() {
            [BEGUN] => {}
            ["kernel", kernel] => {
                return Ok(Report {
                    kernel: kernel.to_owned(),
                    hooks,
                    loaded,
                });
            }
            ["hooks", text] => hooks = text.to_owned(),
            ["failed", reason] => bail!("{}", reason.replace(" | ", "\n")),
            [program, hook, role, ref figures @ ..] if figures.len() == FIGURES => {
                let figures: Vec<_> = figures
                    .iter()
                    .map(|f| f.parse())
                    .collect::<Result<_, _>>()?;
                loaded.push(Loaded {
                    program: program.to_owned(),
                    hook: hook.to_owned(),
                    role: role.to_owned(),
                    figures: std::array::from_fn(|i| figures[i]),
                });
            }
            _ => bail!("the guest said {line:?}"),
        }
    }
    let lines: Vec<_> = text.lines().collect();
    bail!(
        "the guest ended early:\n{}",
        lines[lines.len().saturating_sub(20)..].join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_crashed_is_told_from_a_failure_of_ours() {
        let crashed = "int3: 0000 [#1] SMP\nKernel panic - not syncing: Fatal exception\nend\n";
        assert!(is_not_ours(crashed));
        assert_eq!(
            last_words(crashed),
            "Kernel panic - not syncing: Fatal exception"
        );
        assert!(is_not_ours(""));
        assert!(is_not_ours(&format!("{MARK}begun\r\n{crashed}")));
        let ours = crashed.replace("int3: 0000", "general protection fault");
        assert!(!is_not_ours(&format!("{MARK}begun\r\n{ours}")));
        assert!(!is_not_ours(&format!(
            "{MARK}begun\n{MARK}failed\tno veth\n"
        )));
    }
}
