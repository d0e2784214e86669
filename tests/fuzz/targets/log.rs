//! Any bytes as a log: each line is a reading or costs nothing but itself, one of a newer version ends
//! it, no number is below zero, memory is bounded, and it does not matter in which pieces the bytes come.

#![no_main]

use std::{alloc::System, collections::BTreeMap, io::Cursor};

use cap::Cap;
use libfuzzer_sys::fuzz_target;
use mptcp_fuzz::Pieces;
use mptcp_user::log::{Contents, Range, Reading, displays, line, page, read};
use serde_json::{Value, value::RawValue};

/// What is read and displayed of all readings of an input at once, and their page.
#[global_allocator]
static LIMIT: Cap<System> = Cap::new(System, 64 << 20);

/// By it a file is known as a log. It is no reading.
const FIRST: &[u8] = b"{}\n";

fuzz_target!(|data: &[u8]| {
    let [how, seed, lines @ ..] = data else {
        return;
    };
    let file = [FIRST, lines].concat();
    let whole = contents(&file, Range::default());
    let pieces = read(Pieces::new(&file, *seed), Range::default()).expect("a log");
    assert_eq!(whole, pieces);
    let alone = one_by_one(lines, &whole);
    assert_eq!(whole.readings, alone);
    chooses(&file, &whole, *how);
    // What was read is written and read as the same.
    let lines = whole.readings.iter().map(line);
    let again: String = lines.collect::<Result<_, _>>().expect("what was read");
    let again = contents(&[FIRST, again.as_bytes()].concat(), Range::default());
    assert_eq!(again.readings, whole.readings);
    assert!(again.broken.is_none() && again.skipped == 1, "{again:?}");
    // These take their time.
    if seed & 3 == 0 {
        let shown = displays(Cursor::new(file.clone())).expect("a log");
        assert_eq!(shown.len(), whole.readings.len());
        shown.iter().for_each(is_not_negative);
    }
    if seed & 15 == 1
        && let Ok(page) = page(Cursor::new(file))
    {
        assert!(page.ends_with("</html>"));
        assert!(!page.contains("NaN"));
    }
});

fn contents(file: &[u8], range: Range) -> Contents {
    read(Cursor::new(file.to_vec()), range).expect("a log")
}

/// The readings of the lines, of which each is a log of its own, up to one of a newer version.
fn one_by_one(lines: &[u8], whole: &Contents) -> Vec<Reading> {
    let mut readings = Vec::new();
    let mut skipped = 1;
    for text in lines.split_inclusive(|byte| *byte == b'\n') {
        let object = serde_json::from_slice::<BTreeMap<String, &RawValue>>(text);
        let is_newer = object.is_ok_and(|object| {
            let version = object
                .get("log_version")
                .map(|version| version.get().parse());
            version.is_some_and(|version: Result<u64, _>| version.is_ok_and(|version| version > 1))
        });
        let alone = contents(&[FIRST, text].concat(), Range::default());
        assert_eq!(is_newer, alone.broken.is_some(), "{alone:?}");
        if is_newer {
            let broken = whole.broken.as_deref().unwrap_or_default();
            assert!(broken.contains("log version"), "{broken}");
            return readings;
        }
        readings.extend(alone.readings);
        skipped += alone.skipped - 1;
    }
    assert!(whole.broken.is_none(), "{whole:?}");
    assert_eq!(whole.skipped, skipped);
    readings
}

fn is_not_negative(display: &Value) {
    let counters = display["counters"].as_object().expect("counters");
    for (short, counter) in counters {
        let (total, rate) = (&counter["total"], &counter["rate"]);
        assert!(total.is_null() || total.is_u64(), "{short}: {total}");
        let is_rate = rate.as_f64().is_some_and(|rate| rate >= 0.0);
        assert!(rate.is_null() || is_rate, "{short}: {rate}");
    }
}

/// Those that are chosen by time and interface are those that the whole has.
fn chooses(file: &[u8], whole: &Contents, how: u8) {
    let pick = |number: u8| whole.readings.get(usize::from(number));
    let range = Range {
        since: pick(how & 3).map(|reading| reading.time),
        until: pick(how >> 2 & 3).map(|reading| reading.time),
        interfaces: pick(how >> 4 & 3)
            .map(|reading| reading.interfaces[0].name.clone())
            .into_iter()
            .collect(),
    };
    let mut wanted = whole.readings.clone();
    wanted.retain_mut(|reading| {
        let interfaces = &mut reading.interfaces;
        interfaces.retain(|i| range.interfaces.is_empty() || range.interfaces.contains(&i.name));
        !interfaces.is_empty()
            && range.since.is_none_or(|since| since <= reading.time)
            && range.until.is_none_or(|until| reading.time <= until)
    });
    assert_eq!(contents(file, range).readings, wanted);
}
