//! Real kernel MPTCP, scenario by scenario: rows that the kernel counts too agree with its MIBs
//! (`MPTcpExt` of /proc/net/netstat) on both ends, gauges agree with its sockets, and rows that
//! nothing healthy moves stay 0.
//!
//! [`LAWS`] hold at both ends in every scenario, [`QUIET`] rows are 0 unless a scenario says
//! otherwise. A scenario adds the numbers that its events must have, and names the rules that it
//! breaks, with the reason. The scenarios run on a direct path and through a router, which is probed
//! too and must print the server's table. All that disagrees is reported at once.

mod answers;
mod broken;
mod closing;
mod forged;
mod healthy;
mod scene;
mod seeded;

use anyhow::{Result, ensure};
use mptcp_tests::{
    coverage::{EVENTS, in_scenario},
    net::Family,
    oracle::EXCEPTIONS,
};

use self::{broken::*, closing::*, forged::*, healthy::*, scene::*, seeded::*};

/// A module of tests: these scenarios on one path.
macro_rules! on_path {
    ($module:ident, $path:expr, $($scenario:ident)*) => {
        mod $module {
            use super::*;

            /// The scenarios on this path.
            pub(super) const NAMES: &[&str] = &[$(stringify!($scenario)),*];

            $(#[test]
            fn $scenario() -> Result<()> {
                in_scenario(stringify!($scenario), || super::$scenario($path))
            })*
        }
    };
    ($module:ident, $path:expr) => {
        on_path!(
            $module, $path,
            a_transfer_and_its_end
            two_subflows
            addresses_come_and_go
            a_backup_that_is_none_for_a_while
            a_join_from_the_server
            a_fast_close
            a_fast_close_of_two_subflows
            a_join_that_is_refused
            a_join_with_a_token_of_no_session
            a_join_with_a_wrong_hmac
            an_answer_to_a_join_with_a_wrong_hmac
            an_address_with_a_wrong_hmac
            a_fast_close_with_a_wrong_key
            a_syn_ack_that_loses_its_option
            a_third_segment_that_loses_its_option
            a_syn_that_loses_its_option
            options_that_get_lost_in_mid_flow
            syns_that_are_dropped_for_their_option
            a_corrupted_payload_on_the_only_subflow
            a_corrupted_payload_on_one_of_two_subflows
            the_server_speaks_first
            handshakes_with_cookies
            several_sessions_at_once
            the_first_address_goes
            a_session_without_subflows
            packets_that_get_lost
            a_syn_to_a_listener_without_mptcp
            a_syn_to_a_closed_port
            joins_that_cookies_refuse_without_an_answer
            a_join_that_the_hosts_own_filter_drops
            answers_that_lose_their_options_in_mid_flow
            a_join_that_a_firewall_drops
            a_join_that_a_firewall_resets
            a_join_that_a_firewall_prohibits
            a_join_whose_syn_ack_loses_its_option
        );
    };
}

on_path!(over_ipv4, Path::Direct(Family::V4));
on_path!(through_a_router, Path::Routed);
on_path!(
    over_ipv6,
    Path::Direct(Family::V6),
    a_transfer_and_its_end
    two_subflows
    addresses_come_and_go
    a_join_from_the_server
    a_fast_close
    a_join_with_a_token_of_no_session
    a_join_with_a_wrong_hmac
    an_answer_to_a_join_with_a_wrong_hmac
    an_address_with_a_wrong_hmac
    a_fast_close_with_a_wrong_key
    a_join_that_is_refused
    a_syn_ack_that_loses_its_option
    a_third_segment_that_loses_its_option
    a_syn_that_loses_its_option
    options_that_get_lost_in_mid_flow
    answers_that_lose_their_options_in_mid_flow
    syns_that_are_dropped_for_their_option
    a_corrupted_payload_on_the_only_subflow
    a_syn_to_a_listener_without_mptcp
    a_join_that_the_hosts_own_filter_drops
    a_join_that_a_firewall_drops
    a_join_that_a_firewall_resets
    a_join_that_a_firewall_prohibits
    a_join_whose_syn_ack_loses_its_option
);
on_path!(
    on_the_way,
    Path::Routed,
    a_syn_that_loses_its_option_on_its_way
);
on_path!(
    that_was_there_over_ipv4,
    Path::Direct(Family::V4),
    an_old_session
    an_old_session_with_checksums
    an_old_session_in_full_flow
    an_old_session_that_lost_its_first_subflow
    an_old_session_without_subflows
    an_old_session_that_fell_back
    an_old_session_that_is_half_closed
    a_fast_close_of_an_old_session
    a_join_whose_token_nobody_knows
);
on_path!(
    that_was_there_over_ipv6,
    Path::Direct(Family::V6),
    an_old_session
    an_old_session_in_full_flow
);

/// What the documents name as a witness is a scenario that runs.
#[test]
fn every_scenario_that_is_named_runs() -> Result<()> {
    let names = [
        over_ipv4::NAMES,
        through_a_router::NAMES,
        over_ipv6::NAMES,
        on_the_way::NAMES,
        that_was_there_over_ipv4::NAMES,
        that_was_there_over_ipv6::NAMES,
    ]
    .concat();
    let exceptions = EXCEPTIONS.iter().flat_map(|exception| exception.scenarios);
    let events = EVENTS.iter().map(|(_, scenario)| scenario);
    for scenario in exceptions.chain(events) {
        ensure!(names.contains(scenario), "there is no scenario {scenario}");
    }
    Ok(())
}
