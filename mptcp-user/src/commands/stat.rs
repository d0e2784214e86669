//! `mptcp-user stat`

use std::{io, ops::ControlFlow, path::Path};

use anyhow::Result;
use terminal_size::terminal_size_of;
use tokio::time::{Instant, MissedTickBehavior};

use super::{
    lookup::recording,
    output::{conclude_capture, conclude_log, print},
    probes::{Pinned, Remarks},
};
use crate::{
    args::{ClearStats, StatArgs, StatOutput},
    failure::{self, Failure, FailureKind, Notice, sentence, warn},
    interrupt::Interrupt,
    probe::{self, HostLimits, Lock, Network, Pins, Probe, Settings, settings::LimitOptions},
    render::{
        json, nitro,
        table::{self, Style},
    },
    snapshot::statistics::Statistics,
    source::{Capture, Clearing, Live, Log, Recording},
};

pub(crate) async fn run(pins: &Pins, options: &StatArgs) -> Result<()> {
    if [StatOutput::Json, StatOutput::Nitro].contains(&options.output) && options.ntimes != 1 {
        return Err(Failure::new(
            FailureKind::Usage,
            "--output json and nitro are one object; for several displays use --output jsonl",
        )
        .into());
    }
    if let Some(file) = recording(&options.capture)? {
        return recorded(file, options);
    }
    if !options.range.is_all() {
        return Err(Failure::new(
            FailureKind::Usage,
            "--since and --until choose readings of a log, which -logFile names",
        )
        .into());
    }
    counting(pins, options).await
}

/// What probes count now.
async fn counting(pins: &Pins, options: &StatArgs) -> Result<()> {
    let mut interrupt = Interrupt::new()?;
    let network = Network::connect()?;
    let mut remarks = Remarks::default();
    let (mut live, is_temporary) =
        open(&network, pins, options, &mut remarks, &mut interrupt).await?;
    if options.ntimes != 1 {
        live.watch();
    }
    probe::sweep(pins);
    // A probe that has just come has nothing to show at once.
    let period = options.live_interval();
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut displays = 0;
    let (mut limits, mut troubles) = (Remarks::default(), Remarks::default());
    loop {
        if displays > 0 || is_temporary {
            tokio::select! {
                _ = interval.tick() => {}
                () = interrupt.wait() => return Ok(()),
            }
        }
        let mut lock = None;
        if displays > 0 {
            match go_on(
                &mut live,
                &network,
                pins,
                options,
                &mut remarks,
                &mut interrupt,
            )
            .await
            {
                Ok(held) => lock = held,
                // A signal ended the wait for the lock.
                Err(error) if failure::kind(&error) == FailureKind::Busy => return Err(error),
                Err(error) => {
                    displays += 1;
                    if displays == options.ntimes {
                        return Err(error);
                    }
                    let what = sentence(&error);
                    troubles.tell(vec![Notice::new(format!(
                        "{what}\n  the display goes on when that is done"
                    ))]);
                    continue;
                }
            }
            troubles = Remarks::default();
        }
        let mut statistics = live.read()?;
        // Nobody may read what is printed, and others wait for the lock.
        drop(lock);
        statistics.host = live.host(&statistics).await;
        let text = display(&statistics, options);
        live.remember()?;
        print(&format!("{}{text}", gap(displays, options)))?;
        limits.tell(live.outdated_limits().await);
        // What nobody has seen is not cleared.
        match options.clear_stats {
            None => {}
            Some(ClearStats::Basic) => live.clear(Clearing::Rows)?,
            Some(ClearStats::Full) => {
                live.clear(Clearing::All)?;
                live.clear_tables(&network, pins, &mut interrupt).await?;
            }
        }
        displays += 1;
        // Who reads does not wait for it.
        probe::wipe_keys(pins);
        if displays == options.ntimes {
            return Ok(());
        }
        probe::sweep(pins);
    }
}

/// Goes on with the probes that are there now, of which others may have attached some anew, and says so. They stay as
/// long as the lock is held.
async fn go_on(
    live: &mut Live,
    network: &Network,
    pins: &Pins,
    options: &StatArgs,
    remarks: &mut Remarks,
    interrupt: &mut Interrupt,
) -> Result<Option<Lock>> {
    let names = options.interfaces.iter();
    let names: Vec<_> = names
        .filter(|name| !live.is_temporary(name))
        .cloned()
        .collect();
    if names.is_empty() && !options.interfaces.is_empty() {
        return Ok(None);
    }
    let lock = pins.lock_to_read(Some(interrupt)).await?;
    let mut opened = Pinned::open(network, pins, &names).await?;
    remarks.tell(std::mem::take(&mut opened.remarks));
    if names.len() == options.interfaces.len()
        && opened.probes.is_empty()
        && let Some(name) = names.first()
    {
        return Err(
            Failure::new(FailureKind::Failed, format!("{name} has no probe any more"))
                .next(format!("mptcp-user attach -i {name}"))
                .into(),
        );
    }
    for sentence in live.go_on(opened.live(pins)?) {
        warn(sentence);
    }
    Ok(lock)
}

/// The table of a capture, or of the readings of a log.
fn recorded(file: &Path, options: &StatArgs) -> Result<()> {
    let range = options.range.of(&options.interfaces);
    match Recording::open(file, options.capture.analysis.config(), range, true)? {
        Recording::Capture(capture) => show_capture(*capture, options),
        Recording::Log(log) => show_log(*log, options),
    }
}

fn show_capture(mut capture: Capture, options: &StatArgs) -> Result<()> {
    // Told here: clap does not know what the file is.
    if !options.interfaces.is_empty()
        || options.ntimes != 1
        || options.interval.is_some()
        || options.clear_stats.is_some()
        || !options.range.is_all()
    {
        return Err(Failure::new(
            FailureKind::Usage,
            "-logFile: a capture is displayed once and as a whole, and has no interfaces to \
                    choose from and nothing to clear",
        )
        .next("leave out -i, -ntimes, --interval, --since, --until and -clearstats")
        .into());
    }
    capture.read(|_, _| Ok(ControlFlow::Continue(())))?;
    print(&display(&capture.statistics(), options))?;
    conclude_capture(&capture)
}

fn show_log(mut log: Log, options: &StatArgs) -> Result<()> {
    options.capture.analysis.refuse()?;
    if options.clear_stats.is_some() {
        return Err(
            Failure::new(FailureKind::Usage, "-logFile: a log has nothing to clear")
                .next("leave out -clearstats")
                .into(),
        );
    }
    match options.ntimes {
        1 => show_last(&mut log, options)?,
        _ => show_steps(&mut log, options)?,
    }
    conclude_log(&log)
}

/// What the last reading says, with rates since the first one.
fn show_last(log: &mut Log, options: &StatArgs) -> Result<()> {
    let Some(first) = log.next()? else {
        return Err(log.nothing());
    };
    let before = log.take();
    let mut last = None;
    while let Some(reading) = log.next()? {
        last = Some(reading);
    }
    let statistics = match last {
        Some(last) => {
            let taken = log.take();
            log.statistics(&last, taken)
        }
        None => log.statistics(&first, before),
    };
    print(&display(&statistics, options))
}

/// Reading after reading, as far apart as is wanted, with rates since the one that was displayed
/// before. Of the first one they are since the reading in front of it, or since counting began.
fn show_steps(log: &mut Log, options: &StatArgs) -> Result<()> {
    let mut displays = 0;
    let mut next = None;
    while let Some(reading) = log.next()? {
        if next.is_some_and(|next| reading.time < next) {
            continue;
        }
        let taken = log.take();
        let text = display(&log.statistics(&reading, taken), options);
        print(&format!("{}{text}", gap(displays, options)))?;
        displays += 1;
        if displays == options.ntimes {
            return Ok(());
        }
        next = options
            .interval
            .and_then(|interval| reading.time.checked_add(interval).ok());
    }
    if displays == 0 {
        return Err(log.nothing());
    }
    Ok(())
}

/// Returns what tells one table from the next.
fn gap(displays: u64, options: &StatArgs) -> &'static str {
    if displays > 0 && options.output == StatOutput::Table {
        "\n"
    } else {
        ""
    }
}

fn display(statistics: &Statistics, options: &StatArgs) -> String {
    match options.output {
        StatOutput::Json => format!("{:#}\n", json::statistics(statistics)),
        StatOutput::Jsonl => format!("{}\n", json::statistics(statistics)),
        StatOutput::Nitro => format!("{:#}\n", nitro::envelope(statistics)),
        StatOutput::Table => {
            let style = Style {
                detail: options.detail,
                zeros: options.zeros,
                full_values: options.full_values,
                width: terminal_size_of(io::stdout()).map(|(width, _)| width.0.into()),
            };
            table::statistics(statistics, style)
        }
    }
}

/// Opens the probes on the interfaces that were asked for. One without a probe gets it for the time of this command;
/// returns true behind the source if that was so.
async fn open(
    network: &Network,
    pins: &Pins,
    options: &StatArgs,
    remarks: &mut Remarks,
    interrupt: &mut Interrupt,
) -> Result<(Live, bool)> {
    let _lock = pins.lock_to_read(Some(interrupt)).await?;
    let mut opened = Pinned::open(network, pins, &options.interfaces).await?;
    remarks.tell(std::mem::take(&mut opened.remarks));
    let absent = std::mem::take(&mut opened.absent);
    for name in &absent {
        let interface = network.interface(name).await?;
        let settings = Settings {
            limits: HostLimits::read().await.choose(&LimitOptions::default()),
            ..Settings::default()
        };
        let probe = Probe::temporary(network, &interface, &settings).await?;
        opened.probes.push((name.clone(), probe));
        warn(format!(
            "{name} has no probe; it gets one until this command ends, and the first display comes \
             in {:?}",
            options.live_interval()
        ));
    }
    Ok((opened.live(pins)?, !absent.is_empty()))
}
