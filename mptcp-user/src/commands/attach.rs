//! `mptcp-user attach`

use anyhow::Result;
use mptcp_common::counter::Role;

use super::{
    lookup::{LOOPBACK, dedup},
    output::{conclude, print},
};
use crate::{
    args::{AttachArgs, KernelLog},
    failure::{Notice, causes, warn},
    interrupt::Interrupt,
    probe::{
        self, Adopted, Attached, FexitHooks, HostLimits, Interface, Loads, Network, Pins, Probe,
        Settings,
    },
    progress::Progress,
    schema::role_name,
};

pub(crate) async fn run(pins: &Pins, options: &AttachArgs) -> Result<()> {
    let mut interrupt = Interrupt::new()?;
    let network = Network::connect()?;
    let role = options.role.into();
    let host = match role {
        Role::Host => HostLimits::read().await,
        // The hosts are elsewhere.
        Role::Middlebox => HostLimits::default(),
    };
    for unknown in &host.unknown {
        warn(
            Notice::new(format!(
                "{unknown}; rows that follow it are judged by a default \
                     (mptcp-user status shows it)"
            ))
            .next("--limit-subflows and --close-timeout set the limits"),
        );
    }
    let settings = Settings {
        role,
        xdp: options.xdp.into(),
        min_mss: [options.mss.min_mss_v4, options.mss.min_mss_v6],
        v1_only: options.mss.v1_only,
        log_level: options.kernel_log.map_or(0, KernelLog::level),
        track: !options.no_track,
        verify_checksums: options.verify_checksums,
        capacity: options.capacity.into(),
        limits: host.choose(&options.limits.into()),
    };
    let names = dedup(&options.interfaces);
    let mut text = String::new();
    let mut done = Vec::new();
    let mut failures = Vec::new();
    let mut is_host = false;
    let lock = pins.lock(&mut interrupt).await?;
    let progress = Progress::new();
    let mut loads = Loads::new(&network, &names, progress).await?;
    for name in &names {
        match attach(&network, pins, name, &settings, &mut loads).await {
            Ok((interface, attached)) => {
                text.push_str(&attach_summary(&interface, &attached));
                if interface.is_loopback {
                    warn(format!("{name}: {LOOPBACK}"));
                }
                is_host |= attached.role == Role::Host;
                done.push(interface);
            }
            Err(error) => failures.push(error),
        }
    }
    // Now only the pins hold the programs.
    drop(loads);
    if is_host {
        hook(pins, options)?;
    }
    if is_host && settings.track {
        text.push_str(&adopt(&network, pins).await);
    }
    pins.remove_if_empty();
    warn_of_stacks(&network, pins, &names).await?;
    if !done.is_empty() {
        warn_of_earlier_limits(pins, &done)?;
    }
    drop(lock);
    probe::sweep(pins);
    // Only now: nobody may read it, and the work is done all the same.
    let printed = print(&text);
    if options.kernel_log.is_some() && !done.is_empty() {
        if failures.is_empty() && printed.is_ok() {
            probe::follow_log(&network, pins, &done, &mut interrupt).await?;
        }
        disable_logging(&network, pins, &done, &settings, &mut interrupt).await?;
    }
    conclude(failures, names.len())?;
    printed
}

/// Hooks the kernel's functions, or notes that nobody asks for it. It is no failure if they cannot be.
fn hook(pins: &Pins, options: &AttachArgs) -> Result<()> {
    let namespace = probe::namespace()?;
    let directory = pins.hooks(namespace);
    let hooked = match options.no_hooks {
        true => FexitHooks::leave(&directory),
        false => FexitHooks::attach(&directory, namespace, &options.substitutes),
    };
    if let Err(error) = hooked {
        warn(format!(
            "no hooks on the kernel's functions: {}",
            causes(&error)
        ));
    }
    Ok(())
}

/// Replaces programs that log by such that do not, where they still are.
async fn disable_logging(
    network: &Network,
    pins: &Pins,
    interfaces: &[Interface],
    settings: &Settings,
    interrupt: &mut Interrupt,
) -> Result<()> {
    let quiet = Settings {
        log_level: 0,
        ..*settings
    };
    let Some(_lock) = pins.lock_to_remove(Some(interrupt)).await? else {
        return Ok(());
    };
    // Their counters are there, and so are the programs that they have in common.
    let mut loads = Loads::new(network, &[], Progress::new()).await?;
    for attached in interfaces {
        let here = pins.interface(probe::namespace()?, attached.index);
        // As it is now, with the programs that were attached to it since.
        let now = network.interfaces().await?;
        let Some(interface) = now
            .iter()
            .find(|interface| interface.index == attached.index)
        else {
            continue;
        };
        if let Ok(probe) = Probe::open(&here)
            && !probe::attachments(network, interface, probe.counters_id())
                .await?
                .is_empty()
        {
            Probe::attach(network, pins, interface, &quiet, &mut loads).await?;
        }
    }
    Ok(())
}

async fn attach(
    network: &Network,
    pins: &Pins,
    name: &str,
    settings: &Settings,
    loads: &mut Loads,
) -> Result<(Interface, Attached)> {
    let interface = network.interface(name).await?;
    let attached = Probe::attach(network, pins, &interface, settings, loads).await?;
    Ok((interface, attached))
}

fn attach_summary(interface: &Interface, attached: &Attached) -> String {
    let egress = match attached.egress {
        Some(hook) => format!(", egress {}", hook.name()),
        None => String::new(),
    };
    format!(
        "{}: {} (ingress {}{egress}; {})\n",
        interface.name,
        if attached.replaced {
            "programs replaced, counts go on"
        } else {
            "attached"
        },
        attached.ingress.name(),
        role_name(attached.role)
    )
}

/// Adopts the sessions that were there before the programs, which run now, and returns what to print of it.
async fn adopt(network: &Network, pins: &Pins) -> String {
    match probe::adopt_pinned(network, pins, false).await {
        Ok(adopted) if adopted == Adopted::default() => String::new(),
        Ok(Adopted { sessions, subflows }) => {
            format!("{sessions} sessions and {subflows} subflows that were there are followed\n")
        }
        Err(error) => {
            let causes = causes(&error);
            warn(format!(
                "sessions that were there are not followed: {causes}"
            ));
            String::new()
        }
    }
}

/// Packets that cross two probes are counted twice.
async fn warn_of_stacks(network: &Network, pins: &Pins, chosen: &[&str]) -> Result<()> {
    let namespace = probe::namespace()?;
    let mut probed = Vec::new();
    for interface in network.interfaces().await? {
        if pins.interface(namespace, interface.index).exists()? {
            probed.push(interface);
        }
    }
    for (i, one) in probed.iter().enumerate() {
        for other in &probed[i + 1..] {
            let concerns = |interface: &Interface| chosen.contains(&interface.name.as_str());
            if (concerns(one) || concerns(other)) && one.shares_frames_with(other) {
                warn(
                    Notice::new(format!(
                        "{0} and {1} are layers of one stack: their packets are \
                     counted on both",
                        one.name, other.name
                    ))
                    .next(
                        "keep the probe on one layer (mptcp-user detach -i ...), or \
                     name one to `stat -i`",
                    ),
                );
            }
        }
    }
    Ok(())
}

/// Limits that follow the host's are now what they are: programs that were loaded before judge by others.
fn warn_of_earlier_limits(pins: &Pins, done: &[Interface]) -> Result<()> {
    let namespace = probe::namespace()?;
    for here in pins.interfaces()? {
        if here.namespace != namespace || done.iter().any(|interface| interface.index == here.index)
        {
            continue;
        }
        if let Ok(probe) = Probe::open(&here)
            && probe.has_earlier_limits()
        {
            warn(
                Notice::new(format!(
                    "{0}: still judged by the host's limits of before",
                    probe.name()
                ))
                .next(format!(
                    "mptcp-user attach -i {0}, with the options of before",
                    probe.name()
                )),
            );
        }
    }
    Ok(())
}
