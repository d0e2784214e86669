//! `mptcp-user attach`

use std::time::Duration;

use anyhow::Result;
use aya_log::EbpfLogger;

use super::{interrupted, print};
use crate::{
    cli::{Attach, KernelLog},
    failure::{self, Failure, Kind},
    probe::{self, Attached, Interface, Network, Pins, Probe, Settings},
    render::table::role_name,
};

pub(crate) async fn run(pins: &Pins, options: &Attach) -> Result<()> {
    pins.prepare()?;
    let network = Network::connect()?;
    let settings = Settings {
        role: options.role.into(),
        xdp: options.xdp,
        min_mss: [options.min_mss_v4, options.min_mss_v6],
        v1_only: options.v1_only,
        log_level: options.kernel_log.map_or(0, KernelLog::level),
    };
    let mut failures = Vec::new();
    let lock = pins.lock()?;
    for name in &options.interfaces {
        match attach(&network, pins, name, &settings).await {
            Ok((interface, attached)) => {
                print(&said(&interface, &attached, &settings))?;
            }
            Err(error) => failures.push(error),
        }
    }
    warn_of_stacks(&network, pins, &options.interfaces).await?;
    drop(lock);
    if options.kernel_log.is_some() && failures.is_empty() {
        follow_log(&network, pins, options).await?;
        let quiet = Settings {
            log_level: 0,
            ..settings
        };
        let _lock = pins.lock()?;
        for name in &options.interfaces {
            attach(&network, pins, name, &quiet).await?;
        }
    }
    conclude(failures, options.interfaces.len())
}

async fn attach(
    network: &Network,
    pins: &Pins,
    name: &str,
    settings: &Settings,
) -> Result<(Interface, Attached)> {
    let interface = network.interface(name).await?;
    let attached = Probe::attach(network, pins, &interface, settings).await?;
    Ok((interface, attached))
}

fn said(interface: &Interface, attached: &Attached, settings: &Settings) -> String {
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
        role_name(settings.role)
    )
}

/// All went wrong, or some.
pub(super) fn conclude(mut failures: Vec<anyhow::Error>, asked: usize) -> Result<()> {
    let Some(first) = failures.pop() else {
        return Ok(());
    };
    if failures.len() + 1 == asked && failures.is_empty() {
        return Err(first);
    }
    failures.push(first);
    let kind = if failures.len() < asked {
        Kind::Partly
    } else {
        failure::kind(&failures[0])
    };
    let reasons: Vec<_> = failures.iter().map(|error| format!("{error:#}")).collect();
    Err(Failure::error(
        kind,
        format!(
            "{} of {asked} interfaces failed\n{}",
            failures.len(),
            reasons.join("\n")
        ),
    ))
}

/// Packets that cross two probes are counted twice.
async fn warn_of_stacks(network: &Network, pins: &Pins, chosen: &[String]) -> Result<()> {
    let namespace = probe::namespace()?;
    let probed: Vec<_> = network
        .interfaces()
        .await?
        .into_iter()
        .filter(|interface| pins.interface(namespace, interface.index).exists())
        .collect();
    for (i, one) in probed.iter().enumerate() {
        for other in &probed[i + 1..] {
            let concerns = |interface: &Interface| chosen.contains(&interface.name);
            if (concerns(one) || concerns(other)) && one.shares_frames_with(other) {
                eprintln!(
                    "mptcp-user: {0} and {1} are layers of one stack: their packets are counted on \
                     both\n  next: keep the probe on one layer (mptcp-user detach -i ...), or name \
                     one to `stat -i`",
                    one.name, other.name
                );
            }
        }
    }
    Ok(())
}

/// Prints what the programs log until interrupted.
async fn follow_log(network: &Network, pins: &Pins, options: &Attach) -> Result<()> {
    let mut logs = Vec::new();
    for name in &options.interfaces {
        let interface = network.interface(name).await?;
        let probe = Probe::open(&pins.interface(probe::namespace()?, interface.index))?;
        // The programs of an interface share one ring.
        let programs = probe::attachments(network, &interface, probe.counters_id()).await;
        if let Some(attachment) = programs.first() {
            logs.push(EbpfLogger::init_from_id_with_logger(
                attachment.program,
                StandardError,
            )?);
        }
    }
    let mut poll = tokio::time::interval(LOG_INTERVAL);
    let mut interrupt = std::pin::pin!(interrupted());
    loop {
        tokio::select! {
            _ = poll.tick() => logs.iter_mut().for_each(EbpfLogger::flush),
            result = &mut interrupt => return result,
        }
    }
}

/// How often the ring buffer of the log is emptied; it holds some 1,000 lines.
const LOG_INTERVAL: Duration = Duration::from_millis(50);

/// Where the programs' log goes.
#[derive(Debug)]
struct StandardError;

impl log::Log for StandardError {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("{} {}", record.level(), record.args());
    }

    fn flush(&self) {}
}
