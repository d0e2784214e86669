//! `mptcp-user stat`

use anyhow::Result;
use mptcp_common::counter::Role;

use super::{find_pins, interrupted, print};
use crate::{
    cli::{Stat, StatOutput},
    failure::{Failure, Kind},
    probe::{self, Network, Pins, Probe, Settings},
    render::{
        json,
        table::{self, Style},
    },
    source::Live,
};

pub(crate) async fn run(pins: &Pins, options: &Stat) -> Result<()> {
    let network = Network::connect()?;
    let Opened {
        probes,
        role,
        is_temporary,
    } = open(&network, pins, options).await?;
    let mut live = Live::new(probes, role);
    let mut interval = tokio::time::interval(options.interval);
    // The first tick is at once; a probe that has just come has nothing to show before the second.
    interval.tick().await;
    let mut interrupt = std::pin::pin!(interrupted());
    let mut displays = 0;
    loop {
        if displays > 0 || is_temporary {
            tokio::select! {
                _ = interval.tick() => {}
                result = &mut interrupt => return result,
            }
        }
        let statistics = live.read()?;
        let text = match options.output {
            StatOutput::Json => format!("{:#}\n", json::statistics(&statistics)),
            StatOutput::Jsonl => format!("{}\n", json::statistics(&statistics)),
            StatOutput::Table => {
                let style = Style {
                    detail: options.detail,
                    full_values: options.full_values,
                };
                let gap = if displays > 0 { "\n" } else { "" };
                format!("{gap}{}", table::statistics(&statistics, style))
            }
        };
        // Before it is printed: whoever reads the output may already look at the next one.
        live.remember()?;
        if let Some(what) = options.clear_stats {
            live.clear(what)?;
        }
        print(&text)?;
        displays += 1;
        if displays == options.ntimes {
            return Ok(());
        }
    }
}

/// The probes that the numbers come from.
struct Opened {
    /// By the names of their interfaces.
    probes: Vec<(String, Probe)>,
    role: Role,
    is_temporary: bool,
}

async fn open(network: &Network, pins: &Pins, options: &Stat) -> Result<Opened> {
    let _lock = pins.lock_to_read()?;
    let interfaces = network.interfaces().await?;
    let mut opened = Opened {
        probes: Vec::new(),
        role: Role::Host,
        is_temporary: false,
    };
    if options.interfaces.is_empty() {
        let namespace = probe::namespace()?;
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
                Some(interface) => interface.name.clone(),
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
    for name in &options.interfaces {
        match find_pins(pins, &interfaces, name)? {
            Some((here, interface)) => {
                if interface.is_none() {
                    warn_gone(name);
                }
                opened.probes.push((name.clone(), Probe::open(&here)?));
            }
            None => {
                let interface = network.interface(name).await?;
                let probe = Probe::temporary(&interface, &Settings::default())?;
                opened.probes.push((name.clone(), probe));
                opened.is_temporary = true;
                eprintln!(
                    "mptcp-user: {name} has no probe; it gets one until this command ends, and the \
                     first display comes in {:?}",
                    options.interval
                );
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
    Ok(opened)
}

fn warn_gone(name: &str) {
    eprintln!(
        "mptcp-user: {name} is gone; these are its last counts\n  next: mptcp-user detach -i {name}"
    );
}
