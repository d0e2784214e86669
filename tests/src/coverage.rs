//! Where rows are tried that have no scenario of crafted packets or no law, as data. The tests that are named take
//! their rows from here, so that a row which nobody tries any more fails.

use std::cell::Cell;

use anyhow::{Context as _, Result, ensure};

/// Rows that crafted packets move in tests/tests/bounds, and the test.
pub const BOUNDS: &[(&str, &[&str])] = &[
    ("a_full_table_evicts_nothing", &["RssfEr"]),
    (
        "rows_of_limits_that_were_set",
        &["JoinThEr", "DFpasveEr", "FCpasvEr"],
    ),
    (
        "other_receive_queues_are_told_apart",
        &["ConSter", "SFsteer"],
    ),
];

/// Numbers whose only other witness is what happens in a session of real traffic, and the scenario of
/// tests/tests/scenarios_real that asks for them.
pub const EVENTS: &[(&str, &str)] = &[
    ("ClrBkup", "a_backup_that_is_none_for_a_while"),
    ("TxFin", "a_transfer_and_its_end"),
    ("RxFin", "a_transfer_and_its_end"),
    ("SfFin", "a_transfer_and_its_end"),
    ("FCkeyEr", "a_fast_close_with_a_wrong_key"),
    ("JoinBkupTx", "a_backup_that_is_none_for_a_while"),
    ("AddAddrPortTx", "a_join_from_the_server"),
    ("TcpRstRx", "a_fast_close"),
    ("SFFACKtx", "two_subflows"),
    ("InMACErTx", "a_join_with_a_wrong_hmac"),
    ("JoinRefused", "a_join_that_is_refused"),
    ("TokenErTx", "a_join_with_a_token_of_no_session"),
    ("MaxsfErTx", "a_join_that_is_refused"),
    ("TotFBtx", "a_third_segment_that_loses_its_option"),
    ("FBnoMap", "options_that_get_lost_in_mid_flow"),
    ("AddAddrMacEr", "an_address_with_a_wrong_hmac"),
    ("ClrBkupTx", "a_backup_that_is_none_for_a_while"),
    ("SfFinRx", "a_transfer_and_its_end"),
    ("FCkeyErTx", "a_fast_close_with_a_wrong_key"),
    ("MPFAILresp", "a_corrupted_payload_on_the_only_subflow"),
    ("CksumErTx", "a_corrupted_payload_on_the_only_subflow"),
    ("TcpRstMptcpErrorRx", "a_join_with_a_wrong_hmac"),
    ("TcpRstMptcpErrorTx", "a_join_with_a_wrong_hmac"),
    ("TcpRstProhibitedRx", "a_join_that_is_refused"),
    ("TcpRstProhibitedTx", "a_join_that_is_refused"),
];

/// Returns the rows that a test of tests/tests/bounds has to move.
///
/// # Errors
/// If it has another number of them.
pub fn of_bounds<const N: usize>(test: &str) -> Result<[&'static str; N]> {
    let (_, rows) = BOUNDS
        .iter()
        .find(|(name, _)| *name == test)
        .with_context(|| format!("{test} is not in BOUNDS"))?;
    <[&str; N]>::try_from(*rows).with_context(|| format!("BOUNDS has {rows:?} of {test}"))
}

thread_local! {
    static SCENARIO: Cell<&'static str> = const { Cell::new("") };
}

/// Runs a scenario of real traffic that is known by this name from here on.
///
/// # Errors
/// Those of the scenario.
pub fn in_scenario(name: &'static str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    SCENARIO.set(name);
    run()
}

/// Checks that the scenario asks for what it is said to be the witness of: for a value that is not 0.
///
/// # Errors
/// If a number of it is not asked for.
pub fn check_scenario<'a>(asked: impl Iterator<Item = (&'a str, u64)> + Clone) -> Result<()> {
    let name = SCENARIO.get();
    for (row, _) in EVENTS.iter().filter(|(_, scenario)| *scenario == name) {
        ensure!(
            asked.clone().any(|(is, value)| is == *row && value > 0),
            "{name} does not ask for {row} any more, and EVENTS says so"
        );
    }
    Ok(())
}
