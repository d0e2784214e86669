//! `mptcp-user stat`

use std::{ops::ControlFlow, path::Path};

use anyhow::Result;
use mptcp_common::counter::Role;
use tokio::time::MissedTickBehavior;

use super::{Interrupt, conclude_capture, find_pins, once, print};
use crate::{
    cli::{ClearStats, PolicyLimits, Stat, StatOutput},
    failure::{Failure, Kind, say},
    probe::{self, Interface, KernelHooks, Network, Pins, Policy, Probe, Settings},
    render::{
        json,
        table::{self, Style},
    },
    source::{Capture, Live, Statistics},
};

pub(crate) async fn run(pins: &Pins, options: &Stat) -> Result<()> {
    if let Some(file) = &options.capture.log_file {
        return capture(file, options);
    }
    if options.output == StatOutput::Json && options.ntimes != 1 {
        return Err(Failure::error(
            Kind::Usage,
            "--output json is one object; for several displays use --output jsonl",
        ));
    }
    let mut interrupt = Interrupt::new()?;
    let network = Network::connect()?;
    let Opened {
        probes,
        role,
        hooks,
        is_temporary,
    } = open(&network, pins, options).await?;
    let mut live = Live::new(probes, role, hooks);
    let mut interval = tokio::time::interval(options.interval);
    // The first tick is at once; a probe that has just come has nothing to show before the second.
    interval.tick().await;
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut displays = 0;
    loop {
        if displays > 0 || is_temporary {
            tokio::select! {
                _ = interval.tick() => {}
                () = interrupt.wait() => return Ok(()),
            }
        }
        let statistics = live.read()?;
        let text = display(&statistics, options);
        let is_table = options.output == StatOutput::Table;
        let gap = if is_table && displays > 0 { "\n" } else { "" };
        live.remember()?;
        print(&format!("{gap}{text}"))?;
        // What nobody has seen is not cleared.
        if let Some(what) = options.clear_stats {
            live.clear(what)?;
            if what == ClearStats::Full {
                live.clear_tables(&network, pins).await?;
            }
        }
        displays += 1;
        if displays == options.ntimes {
            return Ok(());
        }
    }
}

/// The table of a capture.
fn capture(file: &Path, options: &Stat) -> Result<()> {
    // Told here: clap does not ask for what an option requires where another one excludes it.
    if !options.interfaces.is_empty() || options.ntimes != 1 || options.clear_stats.is_some() {
        return Err(Failure::error(
            Kind::Usage,
            "-logFile: a capture is displayed once, and has no interfaces to choose from and \
             nothing to clear\n  next: leave out -i, -ntimes and -clearstats",
        ));
    }
    let mut capture = Capture::open(file, options.capture.config(), true)?;
    capture.read(|_, _| Ok(ControlFlow::Continue(())))?;
    print(&display(&capture.statistics(), options))?;
    conclude_capture(&capture)
}

fn display(statistics: &Statistics, options: &Stat) -> String {
    match options.output {
        StatOutput::Json => format!("{:#}\n", json::statistics(statistics)),
        StatOutput::Jsonl => format!("{}\n", json::statistics(statistics)),
        StatOutput::Table => {
            let style = Style {
                detail: options.detail,
                full_values: options.full_values,
            };
            table::statistics(statistics, style)
        }
    }
}

/// The probes that the numbers come from.
struct Opened {
    /// By the names of their interfaces.
    probes: Vec<(String, Probe)>,
    role: Role,
    /// Of the network namespace that the probes are in.
    hooks: Option<KernelHooks>,
    is_temporary: bool,
}

async fn open(network: &Network, pins: &Pins, options: &Stat) -> Result<Opened> {
    let _lock = pins.lock_to_read()?;
    let interfaces = network.interfaces().await?;
    let mut opened = Opened {
        probes: Vec::new(),
        role: Role::Host,
        hooks: None,
        is_temporary: false,
    };
    let mut namespace = probe::namespace()?;
    if options.interfaces.is_empty() {
        for here in pins
            .interfaces()?
            .iter()
            .filter(|here| here.namespace == namespace)
        {
            let probe = Probe::open(here)?;
            let name = match interfaces
                .iter()
                .find(|interface| interface.index == here.index)
            {
                Some(interface) => {
                    warn_idle(network, interface, &probe).await?;
                    interface.name.clone()
                }
                None => {
                    warn_gone(&probe.name());
                    probe.name()
                }
            };
            opened.probes.push((name, probe));
        }
        if opened.probes.is_empty() {
            return Err(Failure::error(
                Kind::Failed,
                format!(
                    "no probe is attached in this network namespace (pin directory {})\n  next: \
                     mptcp-user attach -i IFACE, or mptcp-user stat -i IFACE for a look",
                    pins.root().display()
                ),
            ));
        }
    }
    for name in once(&options.interfaces) {
        match find_pins(pins, &interfaces, name)? {
            Some((here, interface)) => {
                let probe = Probe::open(&here)?;
                namespace = here.namespace;
                match interface {
                    Some(interface) => warn_idle(network, &interface, &probe).await?,
                    None => warn_gone(name),
                }
                opened.probes.push((name.to_owned(), probe));
            }
            None => {
                let interface = network.interface(name).await?;
                let settings = Settings {
                    policy: Policy::new(&PolicyLimits::default(), Role::Host).await,
                    ..Settings::default()
                };
                let probe = Probe::temporary(network, &interface, &settings).await?;
                opened.probes.push((name.to_owned(), probe));
                opened.is_temporary = true;
                say(format!(
                    "{name} has no probe; it gets one until this command ends, and the \
                     first display comes in {:?}",
                    options.interval
                ));
            }
        }
    }
    opened.role = opened.probes[0].1.role();
    if opened
        .probes
        .iter()
        .any(|(_, probe)| probe.role() != opened.role)
    {
        return Err(Failure::error(
            Kind::Failed,
            "these interfaces have different roles, and their counts cannot be added\n  next: name \
             interfaces of one role with -i; `mptcp-user status` shows the roles",
        ));
    }
    opened.hooks = KernelHooks::open(&pins.hooks(namespace))?;
    Ok(opened)
}

fn warn_gone(name: &str) {
    say(format!(
        "{name} is gone; these are its last counts\n  next: mptcp-user detach -i {name}"
    ));
}

/// Pins can outlive their interface or namespace, and the kernel uses its numbers again.
async fn warn_idle(network: &Network, interface: &Interface, probe: &Probe) -> Result<()> {
    if probe::attachments(network, interface, probe.counters_id())
        .await?
        .is_empty()
    {
        say(format!(
            "no program counts on {0}; these are the last counts of a probe that was there\n  next: \
             mptcp-user attach -i {0}, which starts anew, or detach -i {0}",
            interface.name
        ));
    }
    Ok(())
}
