//! Debian's kernel packages, fetched and unpacked but not installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::shell::{command, run, target};

/// Modules that the smoke test needs, each after those it depends on.
const MODULES: [&str; 3] = ["veth", "sch_ingress", "cls_bpf"];

pub(super) struct Kernel {
    pub(super) image: PathBuf,
    pub(super) modules: Vec<Module>,
}

pub(super) struct Module {
    pub(super) name: &'static str,
    /// The module, not compressed.
    pub(super) bytes: Vec<u8>,
}

/// Gets the kernel that the meta package `package` depends on; from target/xtask if it is there.
pub(super) fn fetch(version: &str, package: &str) -> Result<Kernel> {
    let directory = target().join(format!("kernel-{version}"));
    if !directory.join("complete").exists() {
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        unpack(package, &directory)
            .with_context(|| format!("cannot get the kernel of Debian's package {package}"))?;
        fs::write(directory.join("complete"), "")?;
    }
    let boot = directory.join("boot");
    let image = files(&boot)?
        .into_iter()
        .find(|path| {
            path.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with("vmlinuz"))
        })
        .with_context(|| format!("no kernel in {}", boot.display()))?;
    let modules = MODULES
        .into_iter()
        .filter_map(|name| module(&directory, name).transpose())
        .collect::<Result<_>>()?;
    Ok(Kernel { image, modules })
}

fn unpack(package: &str, directory: &Path) -> Result<()> {
    let depends = run(&mut command(&format!("apt-cache depends {package}")))?;
    let Some(real) = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
    else {
        bail!("it depends on no linux-image: {depends}");
    };
    run(command(&format!("apt-get download {real}")).current_dir(directory))?;
    let package = files(directory)?
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get downloaded no package")?;
    run(Command::new("dpkg-deb")
        .arg("-x")
        .arg(&package)
        .arg(directory))?;
    fs::remove_file(package)?;
    Ok(())
}

/// A module; `None` if it is built into the kernel.
fn module(directory: &Path, name: &'static str) -> Result<Option<Module>> {
    let mut found = None;
    // Packages of a merged-/usr system have modules there.
    for root in ["lib/modules", "usr/lib/modules"] {
        let root = directory.join(root);
        if root.exists() {
            let list = run(Command::new("find")
                .arg(&root)
                .args(["-name", &format!("{name}.ko*")]))?;
            found = found.or_else(|| list.lines().next().map(PathBuf::from));
        }
    }
    let Some(path) = found else { return Ok(None) };
    let bytes = if path.extension().is_some_and(|extension| extension == "xz") {
        let output = Command::new("xz")
            .args(["--decompress", "--stdout"])
            .arg(&path)
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            bail!("xz cannot decompress {}", path.display());
        }
        output.stdout
    } else {
        fs::read(&path)?
    };
    Ok(Some(Module { name, bytes }))
}

fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

/// Shared libraries that a program needs, and their loader.
pub(super) fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let list = run(Command::new("ldd").arg(program))?;
    Ok(list
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}
