//! Links, and directories of others.

use super::*;

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
