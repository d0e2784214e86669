//! A row of the statistics table, and how far its number can be trusted.

use mptcp_common::counter::{Counters, FexitCounts, FexitHook, Gauges, Role};

use super::advice::Advice;

/// How far a number can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quality {
    /// What the packets themselves say.
    Exact,
    /// Follows from state that must be complete.
    Derived,
    /// A rule that is right in most cases.
    Heuristic,
    /// Depends on a limit or rule of the product that the table comes from, not on the protocol.
    Policy,
    /// Stands in for something that this vantage point does not have.
    Analog,
    /// Cannot be known here: the row has no number.
    Unavailable,
}

impl Quality {
    /// Returns its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Derived => "derived",
            Self::Heuristic => "heuristic",
            Self::Policy => "policy",
            Self::Analog => "analog",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Whether a number only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowKind {
    /// Grows, and has a rate.
    Counter,
    /// A number of things that exist now.
    Gauge,
}

/// Rows that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "Group::name says it")]
pub enum Group {
    Session,
    MpCapable,
    MpJoin,
    FallbackAddr,
    Dss,
    Priority,
    Close,
    ErrMpc,
    ErrJoin,
    ErrOption,
    ErrSteer,
    ErrDss,
    ErrMss,
    ErrFallback,
    ErrClose,
    ErrFail,
    ErrMem,
}

impl Group {
    /// Returns its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "Session",
            Self::MpCapable => "MP_CAPABLE",
            Self::MpJoin => "MP_JOIN",
            Self::FallbackAddr => "Fallback/Addr",
            Self::Dss => "DSS",
            Self::Priority => "Priority",
            Self::Close => "Close",
            Self::ErrMpc => "Err MPC",
            Self::ErrJoin => "Err JOIN",
            Self::ErrOption => "Err Option",
            Self::ErrSteer => "Err Steer",
            Self::ErrDss => "Err DSS",
            Self::ErrMss => "Err MSS",
            Self::ErrFallback => "Err Fallback",
            Self::ErrClose => "Err Close",
            Self::ErrFail => "Err Fail",
            Self::ErrMem => "Err Mem",
        }
    }

    /// Returns true if its rows are counts of things that went wrong.
    pub fn is_error(self) -> bool {
        self.name().starts_with("Err ")
    }
}

/// How a number is made.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// Of the raw counters.
    Count {
        /// The sum.
        of: fn(&Counters) -> u64,
        /// The number in words, for documents.
        formula: &'static str,
    },
    /// Of what exists now.
    Now {
        /// Which of it.
        of: fn(&Gauges) -> u64,
        /// The number in words, for documents.
        formula: &'static str,
    },
    /// Of the failures of kernel functions.
    Hooks {
        /// Which are added up.
        of: &'static [FexitHook],
        /// The number in words, for documents.
        formula: &'static str,
    },
}

impl Value {
    /// Returns the number in words.
    pub fn formula(&self) -> &'static str {
        match self {
            Self::Count { formula, .. }
            | Self::Now { formula, .. }
            | Self::Hooks { formula, .. } => formula,
        }
    }

    /// Returns the number as packets tell it; `None` for what exists now where that is not known, and for
    /// what only the kernel's functions know.
    pub fn of(&self, counters: &Counters, gauges: Option<&Gauges>) -> Option<u64> {
        match self {
            Self::Count { of, .. } => Some(of(counters)),
            Self::Now { of, .. } => gauges.map(of),
            Self::Hooks { .. } => None,
        }
    }
}

/// What a number is not known without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// Flows are followed.
    Flows,
    /// On a middlebox flows are followed, which tells directions.
    FlowsOnMiddlebox,
    /// Each packet is seen with its receive queue.
    Queues,
    /// Payload is summed (`--verify-checksums`).
    Checksums,
    /// The kernel's functions are hooked.
    KernelHooks,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// 1 to 83.
    pub number: u8,
    /// Rows that belong together.
    pub group: Group,
    /// Label, as the table prints it.
    pub label: &'static str,
    /// Short name. Case matters: `AddrIdEr` and `addridEr` are two rows.
    pub short: &'static str,
    /// True if the table prints the short name behind the label.
    pub shows_short: bool,
    /// Name in NITRO's `protocolmptcp` object.
    pub nitro: &'static str,
    /// Counter or gauge.
    pub kind: RowKind,
    /// True if it is shown without `-detail`.
    pub in_summary: bool,
    /// The number; `None` while nothing feeds it.
    pub value: Option<Value>,
    /// Without which of these nothing feeds it.
    pub(super) needs: &'static [Need],
    pub(super) host: Quality,
    pub(super) middlebox: Quality,
}

impl Row {
    /// Returns how far the row can be trusted in this role.
    pub fn quality(&self, role: Role) -> Quality {
        match role {
            Role::Host => self.host,
            Role::Middlebox => self.middlebox,
        }
    }

    /// Returns what it means that the row is not 0.
    pub fn advice(&self) -> Advice {
        Advice::of(self.short)
    }

    /// Returns true if nothing feeds the row without `need`.
    pub fn needs(&self, need: Need) -> bool {
        self.needs.contains(&need)
    }

    /// Returns true if this role knows the row from each packet by itself, flows not followed.
    pub fn is_stateless(&self, role: Role) -> bool {
        !self.needs(Need::Flows)
            && !self.needs(Need::KernelHooks)
            && (role == Role::Host || !self.needs(Need::FlowsOnMiddlebox))
    }

    /// Returns the kernel functions that feed the row, if these do.
    pub fn hooks(&self) -> Option<&'static [FexitHook]> {
        match self.value {
            Some(Value::Hooks { of, .. }) => Some(of),
            _ => None,
        }
    }

    /// Returns the number of a row that [`Self::hooks`] feed; `None` where one of them is missing, and on a
    /// middlebox, whose kernel ends no sessions.
    pub fn failures(&self, counts: &FexitCounts, role: Role) -> Option<u64> {
        let hooks = self.hooks().filter(|_| role == Role::Host)?;
        hooks.iter().map(|hook| counts[*hook as usize]).sum()
    }

    /// Returns the row's number, `None` where it cannot be known: in this role, or without following flows
    /// (then there are no gauges).
    pub fn total(&self, counters: &Counters, gauges: Option<&Gauges>, role: Role) -> Option<u64> {
        let is_known = self.quality(role) != Quality::Unavailable
            && (gauges.is_some() || self.is_stateless(role));
        self.value
            .filter(|_| is_known)
            .and_then(|value| value.of(counters, gauges))
    }
}
