//! What this place saw of MPTCP, and what failed: made once, and shown by table, JSON and page.

use mptcp_common::counter::{Counters, DirectionCounters, Role};

use crate::statistics::{Advice, EXTRAS, ROWS, RowKind, Severity};

use super::{host::Remark, statistics::Statistics};

/// Who opened what is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opener {
    /// This host.
    Here,
    /// The peers of this host.
    Peers,
    /// Somebody behind one of the interfaces: a middlebox does not know whom it belongs to.
    Anybody,
}

/// What became of the sessions that one side asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sessions {
    /// Handshakes with MP_CAPABLE in their SYN.
    pub(crate) asked: u64,
    /// Those that made a session.
    pub(crate) established: u64,
    /// Those whose SYN/ACK came without MP_CAPABLE, or with one that does not answer.
    pub(crate) plain_syn_ack: u64,
    /// Those whose SYN was sent again without the option, since none with it was answered.
    pub(crate) dropped_syn: u64,
    /// Those whose third segment came without MP_CAPABLE.
    pub(crate) plain_third_segment: u64,
    /// Those without a SYN/ACK: reset, lost, or under way.
    pub(crate) unanswered: u64,
    /// Those with a SYN/ACK, and neither a session nor a fallback: reset, lost, or under way.
    pub(crate) unfinished: u64,
}

impl Sessions {
    /// Returns true if any was asked for.
    pub(crate) fn is_used(&self) -> bool {
        self.asked > 0 || self.established > 0
    }

    /// Returns those that are plain TCP.
    pub(crate) fn plain(&self) -> u64 {
        self.plain_syn_ack + self.dropped_syn + self.plain_third_segment
    }
}

/// Why joins were refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusals {
    pub(crate) token: u64,
    pub(crate) hmac: u64,
    pub(crate) after_fallback: u64,
    pub(crate) plain_third_segment: u64,
    pub(crate) threshold: u64,
    /// The limit of subflows, or a reset that says that it is prohibited or that resources lack.
    pub(crate) limit: u64,
    /// Any other reset.
    pub(crate) other: u64,
}

impl Refusals {
    /// Returns each reason, with its name.
    pub(crate) fn named(&self) -> [(&'static str, u64); 7] {
        [
            ("limit", self.limit),
            ("token", self.token),
            ("hmac", self.hmac),
            ("after_fallback", self.after_fallback),
            ("plain_third_segment", self.plain_third_segment),
            ("threshold", self.threshold),
            ("other", self.other),
        ]
    }
}

/// What became of the joins that one side tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Joins {
    pub(crate) tried: u64,
    pub(crate) established: u64,
    /// Those that who was asked reset.
    pub(crate) refused: u64,
    pub(crate) reasons: Refusals,
    /// Those whose SYN/ACK came without MP_JOIN.
    pub(crate) plain_syn_ack: u64,
    /// Those whose SYN/ACK had a wrong HMAC.
    pub(crate) wrong_syn_ack: u64,
    /// Those without an answer: lost, or under way.
    pub(crate) unanswered: u64,
    /// Those with a SYN/ACK that came to nothing, or are under way.
    pub(crate) unfinished: u64,
}

/// Sessions that became plain TCP after they had begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fallbacks {
    /// By a segment without option while they were new.
    pub(crate) plain_segment: u64,
    pub(crate) infinite_mapping: u64,
    /// Since the receiver took data without a mapping.
    pub(crate) no_mapping: u64,
}

impl Fallbacks {
    pub(crate) fn sum(&self) -> u64 {
        self.plain_segment + self.infinite_mapping + self.no_mapping
    }
}

/// Where the number of a finding comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FindingKind {
    /// One of the 83 rows.
    Row,
    /// A further number.
    Extra,
    /// What is left of what was asked for.
    Outcome,
}

/// A number that is not 0, and what that means.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// Its short name.
    pub(crate) name: &'static str,
    /// What it counts.
    pub(crate) label: &'static str,
    pub(crate) kind: FindingKind,
    pub(crate) total: u64,
    pub(crate) rate: Option<f64>,
    pub(crate) advice: Advice,
}

/// What one opener's sessions and joins became.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    pub(crate) opener: Opener,
    pub(crate) sessions: Sessions,
    pub(crate) joins: Joins,
}

/// What this place saw of MPTCP, and what failed.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// `None` where flows are not followed.
    pub(crate) accounts: Option<Vec<Account>>,
    pub(crate) fallbacks: Fallbacks,
    /// SYNs with MP_CAPABLE, each counted.
    pub(crate) syns: u64,
    /// TCP packets without an MPTCP option.
    pub(crate) other_tcp: u64,
    /// TCP packets with one.
    pub(crate) mptcp: u64,
    /// What the host says of its own MPTCP, as far as it explains this.
    pub(crate) host: Vec<Remark>,
    /// What failed, rows first.
    pub(crate) failures: Vec<Finding>,
    /// What healthy Linux hosts do.
    pub(crate) normal: Vec<Finding>,
}

impl Outcome {
    /// Makes it of all that was counted.
    pub(crate) fn of(statistics: &Statistics) -> Self {
        let counters = &statistics.rows;
        let accounts = accounts(counters, statistics.role);
        let third: u64 = accounts
            .iter()
            .map(|account| account.sessions.plain_third_segment)
            .sum();
        let directions = counters.directions().map(|(_, events)| events);
        let all = |field: fn(&DirectionCounters) -> u64| sum(&directions, field);
        let mut findings = findings(statistics);
        if statistics.gauges.is_some() {
            findings.extend(unanswered(statistics, &accounts));
        }
        let (failures, normal) = findings
            .into_iter()
            .partition(|finding| finding.advice.severity == Severity::Failure);
        Self {
            accounts: statistics.gauges.map(|_| accounts),
            fallbacks: Fallbacks {
                plain_segment: all(|events| events.fallback_plain_ack).saturating_sub(third),
                infinite_mapping: all(|events| events.infinite_set),
                no_mapping: all(|events| events.fallback_no_mapping),
            },
            syns: all(|events| events.capable_syn),
            other_tcp: counters.leaves.tcp,
            mptcp: counters.leaves.mptcp,
            host: statistics.host.clone(),
            failures,
            normal,
        }
    }
}

impl Account {
    /// Returns true if anything was asked for.
    pub(crate) fn is_used(&self) -> bool {
        self.sessions.is_used() || self.joins.tried > 0
    }
}

fn sum(directions: &[&DirectionCounters], field: fn(&DirectionCounters) -> u64) -> u64 {
    let counts = directions.iter().map(|events| field(events));
    counts.fold(0, u64::saturating_add)
}

/// Returns the accounts of a host's two openers, or the one of a middlebox.
fn accounts(counters: &Counters, role: Role) -> Vec<Account> {
    let Counters {
        rx, tx, unknown, ..
    } = counters;
    let all = [rx, tx, unknown];
    if role == Role::Middlebox {
        let created = sum(&all, |events| events.session_created);
        return vec![account(Opener::Anybody, &all, &all, created)];
    }
    // A session counts with the segment that completes it, which is nearly always its opener's.
    let asked = |events: &DirectionCounters| {
        events
            .capable_syn
            .saturating_sub(events.capable_syn_repeated)
    };
    let surplus = |events: &DirectionCounters| events.session_created.saturating_sub(asked(events));
    let created = |own: &DirectionCounters, other: &DirectionCounters| {
        let room = asked(own).saturating_sub(own.session_created);
        let kept = own.session_created
            - surplus(own).min(asked(other).saturating_sub(other.session_created));
        kept + surplus(other).min(room)
    };
    vec![
        account(Opener::Here, &[tx], &[rx], created(tx, rx)),
        account(Opener::Peers, &[rx], &[tx], created(rx, tx)),
    ]
}

/// Returns the account of who opens in these directions, and is answered in those.
fn account(
    by: Opener,
    opener: &[&DirectionCounters],
    answer: &[&DirectionCounters],
    established: u64,
) -> Account {
    Account {
        opener: by,
        sessions: sessions(opener, answer, established),
        joins: joins(opener, answer),
    }
}

fn sessions(
    opener: &[&DirectionCounters],
    answer: &[&DirectionCounters],
    established: u64,
) -> Sessions {
    let asked = sum(opener, |events| {
        events
            .capable_syn
            .saturating_sub(events.capable_syn_repeated)
    });
    let plain_syn_ack = sum(answer, |events| events.capable_synack_plain);
    let dropped_syn = sum(opener, |events| events.capable_syn_dropped);
    let answered = sum(answer, |events| {
        events
            .capable_synack
            .saturating_sub(events.capable_synack_repeated)
    });
    // Of sessions that had begun, fallbacks count in the same number.
    let plain_third_segment =
        sum(opener, |events| events.fallback_plain_ack).min(answered.saturating_sub(established));
    let without = asked.saturating_sub(plain_syn_ack + dropped_syn);
    let rest = without.saturating_sub(established + plain_third_segment);
    let unanswered = rest.min(without.saturating_sub(answered));
    Sessions {
        asked,
        established,
        plain_syn_ack,
        dropped_syn,
        plain_third_segment,
        unanswered,
        unfinished: rest - unanswered,
    }
}

fn joins(opener: &[&DirectionCounters], answer: &[&DirectionCounters]) -> Joins {
    let tried = sum(opener, |events| {
        events.join_syn.saturating_sub(events.join_syn_repeated)
    });
    let established = sum(answer, |events| events.join_validated);
    let refused = sum(opener, |events| events.join_refused);
    let plain_syn_ack = sum(answer, |events| events.join_synack_plain);
    let wrong_syn_ack = sum(answer, |events| events.join_synack_hmac);
    let answered = sum(answer, |events| {
        events
            .join_synack
            .saturating_sub(events.join_synack_repeated)
    });
    let mut left = refused;
    // In the order in which the engine asks for them; some of these numbers count other things as well.
    let mut of = |count: fn(&DirectionCounters) -> u64| {
        let part = sum(opener, count).min(left);
        left -= part;
        part
    };
    let reasons = Refusals {
        token: of(|events| events.join_token_unknown),
        limit: of(|events| events.join_over_limit),
        threshold: of(|events| events.join_over_threshold),
        hmac: of(|events| events.join_hmac),
        after_fallback: of(|events| events.join_after_fallback),
        plain_third_segment: of(|events| events.plain_ack_reset),
        other: left,
    };
    let rest = tried.saturating_sub(established + refused + plain_syn_ack + wrong_syn_ack);
    let unanswered = rest.min(tried.saturating_sub(answered + plain_syn_ack + reasons.token));
    Joins {
        tried,
        established,
        refused,
        reasons,
        plain_syn_ack,
        wrong_syn_ack,
        unanswered,
        unfinished: rest - unanswered,
    }
}

/// Returns all numbers that are not 0 and not neutral, without those that tell what another one tells.
fn findings(statistics: &Statistics) -> Vec<Finding> {
    let rows = ROWS.iter().map(|row| {
        let rate = (row.kind == RowKind::Counter).then(|| statistics.row_rate(row));
        Finding {
            name: row.short,
            label: row.label,
            kind: FindingKind::Row,
            total: statistics.row_total(row).unwrap_or(0),
            rate: rate.flatten(),
            advice: row.advice(),
        }
    });
    let extras = EXTRAS.iter().map(|extra| Finding {
        name: extra.name,
        label: extra.description,
        kind: FindingKind::Extra,
        total: statistics.extra_total(extra).unwrap_or(0),
        rate: statistics.extra_rate(extra),
        advice: extra.advice(),
    });
    let is_told =
        |finding: &Finding| finding.total > 0 && finding.advice.severity != Severity::Neutral;
    let mut found: Vec<_> = rows.chain(extras).filter(is_told).collect();
    let names: Vec<_> = found.iter().map(|finding| finding.name).collect();
    found.retain(|finding| !finding.advice.is_told_by(&names));
    found
}

/// Returns handshakes that nobody answered, though their SYNs were sent more than once or their time is over: one that
/// has just begun is no failure.
fn unanswered(statistics: &Statistics, accounts: &[Account]) -> Vec<Finding> {
    let directions = statistics.rows.directions().map(|(_, events)| events);
    let joins: u64 = accounts
        .iter()
        .map(|account| account.joins.unanswered)
        .sum();
    let pending = statistics.gauges.map_or(joins, |gauges| gauges.pending);
    let finding = |name, label, count: fn(&Account) -> u64, again, meaning, next| Finding {
        name,
        label,
        kind: FindingKind::Outcome,
        total: accounts.iter().map(count).sum::<u64>().min(again),
        rate: None,
        advice: Advice {
            severity: Severity::Failure,
            meaning,
            next,
            instead: &[],
        },
    };
    let mut found = vec![
        finding(
            "MpcUnanswered",
            "MP_CAPABLE SYNs that were sent again, without an answer",
            |account| account.sessions.unanswered,
            sum(&directions, |events| events.capable_syn_repeated),
            "MPTCP SYNs got no answer, and no plain one followed: the path or a firewall drops them, or the server is down.",
            "see whether plain TCP reaches the server; if so, find the hop that drops SYNs with MP_CAPABLE",
        ),
        finding(
            "MpjUnanswered",
            "MP_JOIN SYNs that were sent again, without an answer",
            |account| account.joins.unanswered,
            sum(&directions, |events| events.join_syn_repeated).max(joins.saturating_sub(pending)),
            "Joins got no answer: the path or a firewall drops them, or the address cannot be reached from there.",
            "ping the peer from the joining address (ping -I); look for firewalls that drop SYNs with MP_JOIN",
        ),
    ];
    found.retain(|finding| finding.total > 0);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(rx: DirectionCounters, tx: DirectionCounters) -> [Account; 2] {
        let counters = Counters {
            rx,
            tx,
            ..Counters::default()
        };
        accounts(&counters, Role::Host)
            .try_into()
            .expect("two accounts")
    }

    #[test]
    fn each_session_that_was_asked_for_ends_in_one_way() {
        let tx = DirectionCounters {
            capable_syn: 14,
            capable_syn_repeated: 2,
            session_created: 5,
            capable_syn_dropped: 1,
            // One of a third segment, one of a session that had begun.
            fallback_plain_ack: 2,
            ..DirectionCounters::default()
        };
        let rx = DirectionCounters {
            capable_synack: 8,
            capable_synack_repeated: 1,
            capable_synack_plain: 2,
            ..DirectionCounters::default()
        };
        let [here, peers] = host(rx, tx);
        assert_eq!(
            here.sessions,
            Sessions {
                asked: 12,
                established: 5,
                plain_syn_ack: 2,
                dropped_syn: 1,
                plain_third_segment: 2,
                unanswered: 2,
                unfinished: 0,
            }
        );
        assert!(!peers.is_used());
        // The same, seen by who was asked.
        let [here, peers] = host(tx, rx);
        assert_eq!((here.is_used(), peers.sessions.plain()), (false, 5));
    }

    #[test]
    fn a_session_that_its_listener_completes_is_its_openers() {
        let tx = DirectionCounters {
            capable_syn: 3,
            session_created: 2,
            ..DirectionCounters::default()
        };
        let rx = DirectionCounters {
            capable_synack: 3,
            session_created: 1,
            ..DirectionCounters::default()
        };
        let [here, peers] = host(rx, tx);
        assert_eq!(
            (here.sessions.established, here.sessions.unfinished),
            (3, 0)
        );
        assert_eq!(peers.sessions, Sessions::default());
    }

    #[test]
    fn each_join_that_was_tried_ends_in_one_way() {
        let tx = DirectionCounters {
            join_syn: 12,
            join_syn_repeated: 2,
            join_refused: 4,
            join_token_unknown: 1,
            join_over_limit: 1,
            join_hmac: 1,
            ..DirectionCounters::default()
        };
        let rx = DirectionCounters {
            join_synack: 6,
            join_synack_plain: 1,
            join_synack_hmac: 1,
            join_validated: 2,
            ..DirectionCounters::default()
        };
        let [here, _] = host(rx, tx);
        assert_eq!(
            here.joins,
            Joins {
                tried: 10,
                established: 2,
                refused: 4,
                reasons: Refusals {
                    token: 1,
                    limit: 1,
                    hmac: 1,
                    other: 1,
                    ..Refusals::default()
                },
                plain_syn_ack: 1,
                wrong_syn_ack: 1,
                unanswered: 2,
                unfinished: 0,
            }
        );
    }

    #[test]
    fn a_middlebox_adds_up_all_directions() {
        let mut counters = Counters::default();
        counters.rx.capable_syn = 2;
        counters.rx.session_created = 1;
        counters.tx.capable_synack = 1;
        counters.unknown.join_syn = 1;
        counters.unknown.join_refused = 1;
        counters.unknown.join_token_unknown = 1;
        let [through] = &accounts(&counters, Role::Middlebox)[..] else {
            panic!("one account");
        };
        let Sessions {
            asked, unanswered, ..
        } = through.sessions;
        assert_eq!((asked, unanswered), (2, 1));
        assert_eq!((through.joins.tried, through.joins.reasons.token), (1, 1));
    }
}
