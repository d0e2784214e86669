//! What commands make of the contents of pinned maps, whatever these hold: for tests, which need no kernel for it.

use anyhow::Result;
use bytemuck::{Pod, Zeroable as _};
use mptcp_common::{
    counter::{Counters, Event, FexitCounts, FexitHook, Gauges, bounded_sum},
    state::{self, HalfOpen, Limits, RangeChunk, Session, Subflow},
    table::{self, Atomics, BUCKET_SLOTS, Entry, Table},
};

use crate::{
    capacity::Capacity,
    clock::{nanoseconds, timestamp},
    offline::Owned,
    probe::{
        layout::{Meta, StoredReading},
        mmap::{Slot, of_words},
        settings::ChosenLimits,
        shared_config::{Adopted, MAPS, SharedConfig},
    },
    render::{
        events::TimedEvent,
        json, report,
        sessions::{Document, table},
        table::{Style, statistics},
    },
    snapshot::{
        census::Census,
        reading::{Hooks, InterfaceReading, Reading},
        select::{Order, Selection, select},
        session::SessionState,
        statistics::{Origin, Recent},
    },
    source::log_line,
    text::visible,
};

/// Entries of each table here.
const ENTRIES: u32 = 16;

/// Bytes that contents are taken from, one after the other; zeros behind their end.
struct ByteSource<'a>(&'a [u8]);

impl ByteSource<'_> {
    fn take<T: Pod>(&mut self) -> T {
        let mut value = T::zeroed();
        let bytes = bytemuck::bytes_of_mut(&mut value);
        let (taken, rest) = self.0.split_at(self.0.len().min(bytes.len()));
        bytes[..taken.len()].copy_from_slice(taken);
        self.0 = rest;
        value
    }

    fn table<S: Slot + Entry>(&mut self) -> Owned<S>
    where
        Owned<S>: Table<Slot = S, Memory = Atomics>,
    {
        let mut table = Owned::new(ENTRIES, None);
        for number in 0..u64::from(ENTRIES) {
            let slot = table::claim(&table, table::tag(number << 33 | number), |_| false);
            let words: S::Words = self.take();
            if let Some(slot) = slot {
                table.put(slot, of_words(&words));
            }
        }
        table
    }
}

/// Returns the bytes of contents that commands believe, of a probe that has just been attached: to corrupt.
pub fn contents() -> Vec<u8> {
    let mut meta = Meta {
        version: mptcp_common::counter::LAYOUT_VERSION,
        since: 1_700_000_000_000_000_000,
        ..Meta::zeroed()
    };
    meta.set_name("eth0");
    let capacity = Capacity::default();
    let mut bytes = bytemuck::bytes_of(&meta).to_vec();
    if let Ok(config) = SharedConfig::new(capacity, ChosenLimits::default()) {
        bytes.extend(bytemuck::bytes_of(&config));
    }
    bytes
}

/// Shows contents as commands do: each text that comes out, and whether what is believed of `meta` was taken. Tables
/// and pages are made where the whole is asked for, which takes long.
///
/// # Errors
/// Where a command ends in words.
pub fn show(bytes: &[u8], is_whole: bool) -> Result<(bool, Vec<String>)> {
    let mut bytes = ByteSource(bytes);
    let mut texts = Vec::new();
    let (meta, mut config) = (bytes.take::<Meta>(), bytes.take::<SharedConfig>());
    let is_taken = meta.check(1).is_ok() && config.check().is_ok();
    let limits = match config.check() {
        Ok(()) => {
            config.add(Adopted {
                sessions: u32::MAX,
                subflows: 1,
            });
            let shapes: Vec<_> = MAPS.iter().map(|(name, ..)| config.shape(name)).collect();
            texts.push(format!(
                "{:?} {:?} {} {} {:?}",
                config.constants().buckets,
                config.capacity(),
                config.memory(),
                config.chunks(),
                shapes
            ));
            config.limits
        }
        Err(error) => {
            texts.push(format!("{error:#}"));
            Limits::DEFAULT
        }
    };
    let reading = reading(&mut bytes, &meta);
    let now: u64 = bytes.take();
    let sessions: Owned<Session<Atomics>> = bytes.table();
    let subflows: Owned<Subflow<Atomics>> = bytes.table();
    let handshakes: Owned<HalfOpen<Atomics>> = bytes.table();
    let chunks: Owned<RangeChunk<Atomics>> = bytes.table();
    let gauges = gauges(&sessions, &subflows, &handshakes, &chunks, &limits, now);
    for order in [
        Order::Oldest,
        Order::LeastIdle,
        Order::MostBytes,
        Order::MostSubflows,
    ] {
        let selection = Selection {
            address: None,
            port: None,
            state: (order == Order::MostBytes).then_some(SessionState::Established),
            order,
            limit: (order == Order::LeastIdle).then_some(3),
        };
        let found = select(&(&sessions, &subflows), &selection, &limits, now)?;
        let document = Document {
            sessions: &found,
            role: meta.role(),
            time: Some(reading.time),
        };
        if is_whole {
            texts.push(table(&found, meta.role(), order == Order::Oldest));
            texts.push(serde_json::to_string(&document)?);
        }
    }
    for report in bytes.0.chunks(size_of::<Event>()) {
        let event = Event::of(report);
        let event = event
            .as_ref()
            .and_then(|report| TimedEvent::of(report, now, reading.time));
        texts.extend(event.map(|event| format!("{}{}", event.text(), event.json())));
    }
    let reading = Reading {
        gauges: Some(gauges),
        ..reading
    };
    texts.extend(statistics_of(&reading, is_whole)?);
    Ok((
        is_taken,
        texts
            .iter()
            .map(|text| visible(text).into_owned())
            .collect(),
    ))
}

/// Returns what exists by these tables. Chunks of ranges are looked at, too.
fn gauges(
    sessions: &Owned<Session<Atomics>>,
    subflows: &Owned<Subflow<Atomics>>,
    handshakes: &Owned<HalfOpen<Atomics>>,
    chunks: &Owned<RangeChunk<Atomics>>,
    limits: &Limits,
    now: u64,
) -> Gauges {
    let mut census = Census::new(*limits, now, sessions.buckets() * BUCKET_SLOTS);
    table::entries(sessions).for_each(|(slot, entry)| census.session(slot, entry));
    table::entries(subflows).for_each(|(_, entry)| census.subflow(entry));
    for (_, entry) in table::entries(handshakes) {
        if let Some([slot, generation]) = census.joins(entry)
            && let Some(session) = sessions.slot(slot)
        {
            census.join(generation, session);
        }
    }
    for (_, chunk) in table::entries(chunks) {
        let session = sessions.slot(chunk.session_slot());
        state::is_chunk_free(chunk, session, limits, now);
    }
    census.gauges()
}

/// Returns what `stat` and `record` read.
fn reading(bytes: &mut ByteSource<'_>, meta: &Meta) -> Reading {
    let mut counters = Counters::default();
    let mut is_settled = true;
    for _ in 0..2 {
        let cpu: Counters = bytes.take();
        is_settled &= cpu.is_settled();
        counters.add(&cpu);
    }
    let mut remembered = || {
        let reading: StoredReading = bytes.take();
        (reading.time != 0).then(|| (timestamp(reading.time), reading.counters))
    };
    let [rows, extras] = [remembered(), remembered()];
    let hooks: FexitCounts = FexitHook::ALL.map(|_| Some(bounded_sum(bytes.take(), 0)));
    Reading {
        // What is remembered is written again.
        time: timestamp(nanoseconds(timestamp(bytes.take()))),
        role: meta.role(),
        interfaces: vec![InterfaceReading {
            name: meta.name(),
            since: timestamp(meta.since),
            attached_mid_traffic: meta.attached_mid_traffic != 0,
            in_flight: !is_settled,
            has_queues: meta.has_queues != 0,
            verifies_checksums: meta.verifies_checksums != 0,
            counters,
            cleared_rows: rows,
            cleared_extras: extras,
        }],
        gauges: None,
        hooks: Some(Hooks {
            counts: hooks,
            cleared: Some(FexitHook::ALL.map(|_| Some(bytes.take()))),
        }),
    }
}

fn statistics_of(reading: &Reading, is_whole: bool) -> Result<Vec<String>> {
    let interface = &reading.interfaces[0];
    let recent = Recent {
        seconds: reading.time.duration_since(interface.since).as_secs_f64(),
        counters: interface.counters,
    };
    let hooks = reading
        .hooks
        .as_ref()
        .map_or(FexitCounts::default(), |hooks| hooks.counts);
    let shown = reading.statistics(Origin::Live, vec![recent], (0.0, hooks));
    if !is_whole {
        return Ok(vec![shown.rows.state_loss().to_string()]);
    }
    let style = Style {
        detail: true,
        zeros: true,
        width: None,
        full_values: false,
    };
    Ok(vec![
        statistics(&shown, style),
        json::statistics(&shown).to_string(),
        // A count may be larger than a log holds, which is said.
        log_line(reading).unwrap_or_else(|error| error.to_string()),
        report::page(&report::Page {
            statistics: &shown,
            history: None,
            remarks: &[],
        })?,
    ])
}
