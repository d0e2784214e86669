//! What a probe lost for want of room, in words.

use jiff::Timestamp;
use mptcp_common::counter::{Counters, DirectionCounters, bounded_sum};

/// What was lost: its further number, what happened in words, its counter and what helps.
struct Kind {
    name: &'static str,
    what: &'static str,
    field: fn(&DirectionCounters) -> u64,
    next: Next,
}

#[derive(Clone, Copy)]
enum Next {
    /// An option gives more room.
    Room(&'static str),
    /// Something else helps.
    Else(&'static str),
}

const KINDS: [Kind; 6] = [
    Kind {
        name: "LostSessions",
        what: "sessions found no room",
        field: |events| events.lost_sessions,
        next: Next::Room("--max-sessions"),
    },
    Kind {
        name: "LostSubflows",
        what: "subflows found no room",
        field: |events| events.lost_subflows,
        next: Next::Room("--max-subflows"),
    },
    Kind {
        name: "LostHandshakes",
        what: "handshakes were forgotten for newer ones",
        field: |events| events.lost_handshakes,
        next: Next::Else("see whether SYNs are forged; a filter in front of the probe helps"),
    },
    Kind {
        name: "LostTokens",
        what: "tokens found no room, and joins to them find no session",
        field: |events| events.lost_tokens,
        next: Next::Room("--max-sessions"),
    },
    Kind {
        name: "LostRanges",
        what: "ranges of data found no room",
        field: |events| events.lost_ranges,
        next: Next::Room("--max-ranges"),
    },
    Kind {
        name: EVENTS,
        what: "events were told to nobody",
        field: |events| events.lost_reports,
        next: Next::Else("mptcp-user events reads them as they happen"),
    },
];

/// Where nobody watches events, these are lost in health too: that is not said in text.
const EVENTS: &str = "LostReports";

/// Something that was lost.
pub(crate) struct Loss {
    /// The further number.
    pub(crate) name: &'static str,
    what: &'static str,
    pub(crate) count: u64,
    pub(crate) since: Option<Timestamp>,
    pub(crate) next: String,
}

impl Loss {
    /// In a sentence.
    pub(crate) fn sentence(&self) -> String {
        let since = match self.since {
            Some(since) => format!(" since {since:.0}"),
            None => String::new(),
        };
        format!("{} {}{since}; next: {}", self.count, self.what, self.next)
    }

    /// Is it of state, so that rows are less than they could be?
    pub(crate) fn is_of_state(&self) -> bool {
        self.name != EVENTS
    }
}

/// What of these counters, of packets since a time, was lost. A capture is read again with more room, and a probe is
/// attached anew.
pub(crate) fn losses(counters: &Counters, since: Option<Timestamp>, is_capture: bool) -> Vec<Loss> {
    let loss = |kind: &Kind| {
        let directions = counters.directions();
        let counts = directions.iter().map(|(_, events)| (kind.field)(events));
        let count = counts.fold(0, bounded_sum);
        (count > 0).then(|| Loss {
            name: kind.name,
            what: kind.what,
            count,
            since,
            next: match kind.next {
                Next::Room(option) if is_capture => format!("{option} N, a larger one"),
                Next::Room(option) => format!(
                    "mptcp-user attach ... {option} N, a larger one (needs mptcp-user detach of all interfaces first)"
                ),
                Next::Else(what) => what.to_owned(),
            },
        })
    };
    KINDS.iter().filter_map(loss).collect()
}

#[cfg(test)]
mod tests {
    use mptcp_common::counter::EXTRAS;

    use super::*;

    #[test]
    fn each_is_a_further_number_and_none_is_left_out() {
        let lost = EXTRAS.iter().filter(|extra| extra.name.starts_with("Lost"));
        let names: Vec<_> = lost.map(|extra| extra.name).collect();
        assert_eq!(names, KINDS.map(|kind| kind.name));
    }

    #[test]
    fn nothing_is_said_in_health() {
        let mut counters = Counters::default();
        assert!(losses(&counters, None, false).is_empty());
        counters.unknown.lost_sessions = 400;
        counters.rx.lost_sessions = 12;
        let since = Timestamp::from_second(1_800_000_000).ok();
        let [loss] = &losses(&counters, since, false)[..] else {
            panic!("one loss");
        };
        let sentence = loss.sentence();
        assert!(
            sentence.starts_with("412 sessions found no room since 2027-01-15T08:00:00Z; next: ")
                && sentence.contains("--max-sessions N"),
            "{sentence}"
        );
    }
}
