//! What a host's own kernel says of its MPTCP, and what of it explains what was counted.

use mptcp_common::counter::{Counters, Role};

/// What the kernel of a network namespace says. `None` is what it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostMptcp {
    /// True if the kernel has MPTCP at all.
    pub(crate) is_there: Option<bool>,
    /// net.mptcp.enabled
    pub(crate) is_enabled: Option<bool>,
    /// net.mptcp.blackhole_timeout, in seconds; 0 is off.
    pub(crate) blackhole_timeout: Option<u64>,
    /// Times that it took the path for one that drops MPTCP SYNs.
    pub(crate) blackholes: Option<u64>,
    /// Connections that it opened as plain TCP for that reason.
    pub(crate) syns_disabled: Option<u64>,
    /// Joins that it could not send.
    pub(crate) joins_not_sent: Option<u64>,
    /// Subflows of a session besides the first that its path manager allows.
    pub(crate) subflows: Option<u32>,
    /// Announced addresses of a session that its path manager joins.
    pub(crate) addresses: Option<u32>,
    /// Endpoints that its path manager knows.
    pub(crate) endpoints: Option<usize>,
}

/// Something of the host that explains what was counted, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remark {
    pub(crate) what: String,
    pub(crate) next: String,
}

impl Remark {
    fn new(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            next: next.into(),
        }
    }
}

impl HostMptcp {
    /// Returns what explains these numbers; nothing where it is not this host's sessions that are counted.
    pub(crate) fn remarks(&self, role: Role, counters: &Counters) -> Vec<Remark> {
        if role != Role::Host {
            return Vec::new();
        }
        if self.is_there == Some(false) {
            return vec![Remark::new(
                "the kernel of this host has no MPTCP, and all that it opens and accepts is plain TCP",
                "use a kernel with CONFIG_MPTCP (Linux 5.6 or later)",
            )];
        }
        let mut remarks = Vec::new();
        if self.is_enabled == Some(false) {
            remarks.push(Remark::new(
                "MPTCP is switched off on this host (net.mptcp.enabled is 0)",
                "sysctl -w net.mptcp.enabled=1",
            ));
        }
        remarks.extend(self.blackhole());
        remarks.extend(self.joins(counters));
        remarks
    }

    /// Returns what the detection of blackholes did.
    fn blackhole(&self) -> Option<Remark> {
        let counts = [self.blackholes, self.syns_disabled].map(Option::unwrap_or_default);
        let [blackholes, disabled] = counts;
        let timeout = self.blackhole_timeout.filter(|timeout| *timeout > 0)?;
        if counts == [0, 0] {
            return None;
        }
        Some(Remark::new(
            format!(
                "the kernel of this host found MPTCP SYNs unanswered and plain ones answered ({blackholes} times since it \
                 started), gives MPTCP up for {timeout} s and longer each time, and opened {disabled} connections as \
                 plain TCP meanwhile (MPTcpExt Blackhole, MPCapableSYNTXDisabled)"
            ),
            "find the hop that drops SYNs with MP_CAPABLE; sysctl -w net.mptcp.blackhole_timeout=0 switches this off",
        ))
    }

    /// Returns why joins are missing that were to be expected.
    fn joins(&self, counters: &Counters) -> Vec<Remark> {
        let mut remarks = Vec::new();
        let Counters { rx, tx, .. } = counters;
        if let Some(failed) = self.joins_not_sent.filter(|failed| *failed > 0) {
            remarks.push(Remark::new(
                format!("the kernel of this host could not send {failed} joins since it started (MPTcpExt MPJoinSynTx...Err)"),
                "see that the addresses of ip mptcp endpoint show exist, are up, and have a route (ip route get PEER from ADDRESS)",
            ));
        }
        if rx.join_over_limit > 0
            && let Some(subflows) = self.subflows
        {
            remarks.push(Remark::new(
                format!("this host allows a session {subflows} subflows besides its first, and refused joins for that"),
                format!("ip mptcp limits set subflows {}", subflows.saturating_add(1).min(8)),
            ));
        }
        // The peer offers addresses, and nobody here goes there.
        let offered = rx.add_addr > 0 && tx.join_syn == 0;
        match (offered, self.addresses, self.subflows) {
            (true, Some(0), _) => remarks.push(Remark::new(
                "peers announced addresses, and this host joins none of them (ip mptcp limits: add_addr_accepted 0)",
                "ip mptcp limits set add_addr_accepted 2 subflows 2",
            )),
            (true, _, Some(0)) => remarks.push(Remark::new(
                "peers announced addresses, and this host allows no further subflow (ip mptcp limits: subflows 0)",
                "ip mptcp limits set subflows 2",
            )),
            _ => {}
        }
        // MPTCP is in use, and every session stays on one path.
        let is_alone = tx.session_created > 0 && tx.join_syn + rx.join_syn + rx.add_addr == 0;
        if is_alone && self.subflows == Some(0) && self.endpoints.is_some_and(|count| count > 0) {
            remarks.push(Remark::new(
                "this host has endpoints, and allows no further subflow (ip mptcp limits: subflows 0)",
                "ip mptcp limits set subflows 2",
            ));
        }
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(host: &HostMptcp, counters: Counters) -> Vec<String> {
        let remarks = host.remarks(Role::Host, &counters);
        remarks.into_iter().map(|remark| remark.next).collect()
    }

    /// A host in good health, whose path manager is set up as usual.
    fn healthy() -> HostMptcp {
        HostMptcp {
            is_there: Some(true),
            is_enabled: Some(true),
            blackhole_timeout: Some(3600),
            blackholes: Some(0),
            syns_disabled: Some(0),
            joins_not_sent: Some(0),
            subflows: Some(2),
            addresses: Some(0),
            endpoints: Some(0),
        }
    }

    #[test]
    fn nothing_is_said_in_health_or_of_what_is_not_known() {
        let mut counters = Counters::default();
        counters.tx.session_created = 5;
        counters.tx.join_syn = 2;
        assert!(next(&healthy(), counters).is_empty());
        counters.rx.join_over_limit = 1;
        assert!(next(&HostMptcp::default(), counters).is_empty());
    }

    #[test]
    fn each_cause_has_its_command() {
        let none = Counters::default();
        let off = HostMptcp {
            is_enabled: Some(false),
            ..healthy()
        };
        assert_eq!(next(&off, none), ["sysctl -w net.mptcp.enabled=1"]);
        assert!(off.remarks(Role::Middlebox, &none).is_empty());
        let mut blackhole = HostMptcp {
            syns_disabled: Some(3),
            ..healthy()
        };
        assert!(next(&blackhole, none)[0].contains("blackhole_timeout=0"));
        blackhole.blackhole_timeout = Some(0);
        assert!(next(&blackhole, none).is_empty());
        let mut refused = Counters::default();
        refused.rx.join_over_limit = 1;
        assert_eq!(
            next(&healthy(), refused),
            ["ip mptcp limits set subflows 3"]
        );
        let mut offered = Counters::default();
        offered.rx.add_addr = 1;
        assert!(next(&healthy(), offered)[0].contains("add_addr_accepted"));
        offered.tx.join_syn = 1;
        assert!(next(&healthy(), offered).is_empty());
        let mut alone = Counters::default();
        alone.tx.session_created = 1;
        let limited = HostMptcp {
            subflows: Some(0),
            endpoints: Some(1),
            ..healthy()
        };
        assert_eq!(next(&limited, alone), ["ip mptcp limits set subflows 2"]);
    }
}
