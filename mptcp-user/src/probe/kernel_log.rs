//! What the programs log (`attach --kernel-log`).

use std::{
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use aya_log::EbpfLogger;

use super::{
    attachment::attachments,
    instance::Probe,
    network::{Interface, Network, namespace},
    pins::Pins,
};
use crate::{interrupt::Interrupt, text::visible};

/// Prints what the programs on interfaces log, until interrupted or until nobody reads it any more.
pub(crate) async fn follow_log(
    network: &Network,
    pins: &Pins,
    interfaces: &[Interface],
    interrupt: &mut Interrupt,
) -> Result<()> {
    let is_read = Arc::new(AtomicBool::new(true));
    let (mut logs, mut read) = (Vec::new(), Vec::new());
    for attached in interfaces {
        // As it is now, with the programs that were just attached to it.
        let interface = &network.interface(&attached.name).await?;
        let probe = Probe::open(&pins.interface(namespace()?, interface.index))?;
        // The programs of an interface share one ring, and those that several have in common.
        if read.contains(&probe.counters_id()) {
            continue;
        }
        read.push(probe.counters_id());
        let programs = attachments(network, interface, probe.counters_id()).await?;
        if let Some(attachment) = programs.first() {
            let to = StandardError(Arc::clone(&is_read));
            logs.push(EbpfLogger::init_from_id_with_logger(
                attachment.program,
                to,
            )?);
        }
    }
    let mut poll = tokio::time::interval(LOG_INTERVAL);
    while is_read.load(Ordering::Relaxed) {
        tokio::select! {
            _ = poll.tick() => logs.iter_mut().for_each(EbpfLogger::flush),
            () = interrupt.wait() => break,
        }
    }
    Ok(())
}

/// How often the ring buffer of the log is emptied; it holds some 1,000 lines.
const LOG_INTERVAL: Duration = Duration::from_millis(50);

/// Where the programs' log goes.
#[derive(Debug)]
struct StandardError(Arc<AtomicBool>);

impl log::Log for StandardError {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        let line = writeln!(io::stderr(), "{} {}", record.level(), visible(&text));
        self.0.fetch_and(line.is_ok(), Ordering::Relaxed);
    }

    fn flush(&self) {}
}
