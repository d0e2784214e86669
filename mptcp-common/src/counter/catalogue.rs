//! The 83 rows of the statistics table, in the order of the command they come from.

use super::{Counters, FexitCounts, FexitHook};
use crate::wire::DssFlags;

/// Where the probe stands, seen from the sessions it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// On an end of the sessions: ingress is received, egress is sent.
    Host = 0,
    /// Between the ends: the table reads as the listener of each session would print it.
    Middlebox = 1,
}

/// The direction that a packet counts in, as [`Role`] defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// Received by the host, or sent by the session's initiator.
    Rx = 0,
    /// Sent by the host, or by the session's listener.
    Tx = 1,
    /// A middlebox does not know who initiated the session.
    Unknown = 2,
}

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
    SynPolicy,
    /// Stands in for something that this vantage point does not have.
    Analog,
    /// Cannot be known here: the row has no number.
    Unavailable,
}

impl Quality {
    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Derived => "derived",
            Self::Heuristic => "heuristic",
            Self::SynPolicy => "policy",
            Self::Analog => "analog",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Does a number only grow?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
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
    /// Its name in documents.
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

    /// Are its rows counts of things that went wrong?
    pub fn is_error(self) -> bool {
        self.name().starts_with("Err ")
    }
}

/// What exists at a moment, counted in the tables of sessions, subflows and handshakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Sessions that are not over.
    pub sessions: u64,
    /// The part of these of version 1.
    pub sessions_v1: u64,
    /// The part of these that fell back to TCP.
    pub fallback: u64,
    /// The part of these without an open subflow.
    pub alone: u64,
    /// Open subflows.
    pub subflows: u64,
    /// Joins whose handshake is under way.
    pub pending: u64,
}

/// How a number is made.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// Of the raw counters.
    Count {
        /// The sum.
        of: fn(&Counters) -> u64,
        /// The same in words, for documents.
        formula: &'static str,
    },
    /// Of what exists now.
    Now {
        /// Which of it.
        of: fn(&Gauges) -> u64,
        /// The same in words.
        formula: &'static str,
    },
    /// Of the failures of kernel functions.
    Hooks {
        /// Which are added up.
        of: &'static [FexitHook],
        /// The same in words.
        formula: &'static str,
    },
}

impl Value {
    /// The number in words.
    pub fn formula(&self) -> &'static str {
        match self {
            Self::Count { formula, .. }
            | Self::Now { formula, .. }
            | Self::Hooks { formula, .. } => formula,
        }
    }

    /// The number as packets tell it; `None` for what exists now where that is not known, and for
    /// what only the kernel's functions know.
    pub fn of(&self, counters: &Counters, gauges: Option<&Gauges>) -> Option<u64> {
        match self {
            Self::Count { of, .. } => Some(of(counters)),
            Self::Now { of, .. } => gauges.map(of),
            Self::Hooks { .. } => None,
        }
    }
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
    /// Does the table print the short name behind the label?
    pub shows_short: bool,
    /// Name in NITRO's `protocolmptcp` object.
    pub nitro: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// Is it shown without `-detail`?
    pub in_summary: bool,
    /// The number; `None` while nothing feeds it.
    pub value: Option<Value>,
    host: Quality,
    middlebox: Quality,
}

impl Row {
    /// How far the row can be trusted in this role.
    pub fn quality(&self, role: Role) -> Quality {
        match role {
            Role::Host => self.host,
            Role::Middlebox => self.middlebox,
        }
    }

    /// Does the row compare receive queues? Where the hook does not see them nothing feeds it.
    pub fn needs_queues(&self) -> bool {
        matches!(self.number, 11 | 16)
    }

    /// Does the row judge payload? Without `--verify-checksums` nothing feeds it.
    pub fn needs_checksums(&self) -> bool {
        self.number == 60
    }

    /// Can this role know the row from each packet by itself, flows not followed?
    pub fn is_stateless(&self, role: Role) -> bool {
        const EVERYWHERE: [u8; 13] = [9, 10, 13, 26, 29, 30, 32, 33, 42, 43, 59, 61, 62];
        const ON_A_HOST: [u8; 12] = [15, 17, 27, 28, 34, 35, 36, 46, 51, 52, 68, 69];
        EVERYWHERE.contains(&self.number)
            || (role == Role::Host && ON_A_HOST.contains(&self.number))
    }

    /// The kernel functions that feed the row, if these do.
    pub fn hooks(&self) -> Option<&'static [FexitHook]> {
        match self.value {
            Some(Value::Hooks { of, .. }) => Some(of),
            _ => None,
        }
    }

    /// The number of a row that [`Self::hooks`] feed; `None` where one of them is missing, and on a
    /// middlebox, whose kernel ends no sessions.
    pub fn failures(&self, counts: &FexitCounts, role: Role) -> Option<u64> {
        let hooks = self.hooks().filter(|_| role == Role::Host)?;
        hooks.iter().map(|hook| counts[*hook as usize]).sum()
    }

    /// The row's number, `None` where it cannot be known: in this role, or without following flows
    /// (then there are no gauges).
    pub fn total(&self, counters: &Counters, gauges: Option<&Gauges>, role: Role) -> Option<u64> {
        let is_known = self.quality(role) != Quality::Unavailable
            && (gauges.is_some() || self.is_stateless(role));
        self.value
            .filter(|_| is_known)
            .and_then(|value| value.of(counters, gauges))
    }
}

/// A number that the raw counters hold, and how far to trust it on a host and on a middlebox.
macro_rules! value {
    () => {
        (None, Quality::Unavailable, Quality::Unavailable)
    };
    ($host:ident, $middlebox:ident, |$c:ident| $sum:expr) => {
        (
            Some(Value::Count {
                of: |$c: &Counters| $sum,
                formula: stringify!($sum),
            }),
            Quality::$host,
            Quality::$middlebox,
        )
    };
    (hooks $host:ident, $first:ident $(+ $more:ident)*) => {
        (
            Some(Value::Hooks {
                of: &[FexitHook::$first $(, FexitHook::$more)*],
                formula: concat!(stringify!($first) $(, " + ", stringify!($more))*),
            }),
            Quality::$host,
            Quality::Unavailable,
        )
    };
    (now $host:ident, $middlebox:ident, |$g:ident| $sum:expr) => {
        (
            Some(Value::Now {
                of: |$g: &Gauges| $sum,
                formula: stringify!($sum),
            }),
            Quality::$host,
            Quality::$middlebox,
        )
    };
}

/// One row: number, group, label, short name, in the summary, NITRO name, kind, number.
macro_rules! row {
    (
        $number:literal $group:ident $label:literal ($short:literal $shown:literal)
        $summary:literal $nitro:literal $kind:ident
        $($value:tt)*
    ) => {{
        const VALUE: (Option<Value>, Quality, Quality) = value!($($value)*);
        Row {
            number: $number,
            group: Group::$group,
            label: $label,
            short: $short,
            shows_short: $shown,
            nitro: $nitro,
            kind: Kind::$kind,
            in_summary: $summary,
            value: VALUE.0,
            host: VALUE.1,
            middlebox: VALUE.2,
        }
    }};
}

/// The 83 rows.
#[rustfmt::skip]
pub const ROWS: [Row; 83] = [
    row!(1 Session "MPTCP sessions created" ("TotSess" true) true "mptcptotmpcapsession" Counter
        Exact, Exact, |c| all!(c.session_created)),
    row!(2 Session "MPTCP V1 sessions created" ("TotV1Sess" true) true "mptcptotv1mpcapsession" Counter
        Exact, Exact, |c| all!(c.session_created_v1)),
    row!(3 Session "Subflow connections created" ("subCon" true) true "mptcptotsfconn" Counter
        Exact, Derived, |c| all!(c.subflow_created)),
    row!(4 Session "Current MPTCP sessions" ("CurSess" false) true "mptcpcurmpcapablesessions" Gauge
        now Exact, Derived, |g| g.sessions),
    row!(5 Session "Current V1 MPTCP sessions" ("CurV1Sess" true) true "mptcpcurv1mpcapablesessions" Gauge
        now Exact, Derived, |g| g.sessions_v1),
    row!(6 Session "Current Subflow connections" ("CurSF" false) true "mptcpcursfconnections" Gauge
        now Exact, Derived, |g| g.subflows),
    row!(7 Session "Pending subflow connections" ("PendSF" false) true "mptcpcurpendingjoin" Gauge
        now Exact, Derived, |g| g.pending),
    row!(8 Session "Sessions without any subflows" ("SessNoSF" false) true "mptcpcursesswithoutsfs" Gauge
        now Exact, Heuristic, |g| g.alone),
    row!(9 MpCapable "MP_CAPABLE SYN received" ("MPSYN" true) true "mptcptotmpcapsyn" Counter
        Exact, Exact, |c| c.rx.capable_syn),
    row!(10 MpCapable "MP_CAPABLE V1 SYN received" ("MPV1SYN" true) false "mptcptotv1mpcapsyn" Counter
        Exact, Exact, |c| c.rx.capable_syn_v1),
    row!(11 MpCapable "MP_CAPABLE sessions steered" ("ConSter" true) false "mptcptotmpcapsteered" Counter
        Analog, Analog, |c| c.rx.capable_steered),
    row!(12 MpCapable "MP_CAPABLE sessions created" ("ConReq" true) false "mptcptotconnest" Counter
        Exact, Exact, |c| all!(c.session_created)),
    row!(13 MpCapable "MP_CAPABLE SYN/ACKs sent" ("SYNACK" true) true "mptcptotmpcapsynacksent" Counter
        Exact, Exact, |c| c.tx.capable_synack),
    row!(14 MpCapable "MP_CAPABLE Final ACKs" ("FinalACK" true) true "mptcptotmpcapfackrecvd" Counter
        Exact, Exact, |c| c.rx.final_ack),
    row!(15 MpJoin "MP_JOIN SYN received" ("JoinSYN" true) true "mptcptotmpjoinsyn" Counter
        Exact, Derived, |c| c.rx.join_syn),
    row!(16 MpJoin "MP_JOIN subflows steered" ("SFsteer" true) false "mptcptotmpjoinsteered" Counter
        Analog, Analog, |c| c.rx.join_steered),
    row!(17 MpJoin "MP_JOIN SYN/ACKs sent" ("SFsynack" true) true "mptcptotmpjoinsynacksent" Counter
        Exact, Derived, |c| c.tx.join_synack),
    row!(18 MpJoin "MP_JOIN Final ACKs" ("SFFACK" true) true "mptcptotmpjoinfackrecvd" Counter
        Exact, Derived, |c| c.rx.join_final_ack),
    row!(19 MpJoin "MP_JOIN Final ACK validated" ("FACKVald" true) false "mptcptotmpjoin4thacksent" Counter
        Exact, Derived, |c| c.tx.join_validated),
    row!(20 MpJoin "Established subflows replaced" ("TotSFRep" true) false "mptcptotestsfreplaced" Counter
        Heuristic, Heuristic, |c| c.rx.subflow_replaced),
    row!(21 MpJoin "Pending subflows replaced" ("PendRep" true) false "mptcptotpendsfreplaced" Counter
        Heuristic, Heuristic, |c| c.rx.pending_replaced),
    row!(22 FallbackAddr "Fresh ACK on subflow" ("SFfrhACK" true) false "mptcptotfreshackfrwd" Counter
        Exact, Derived, |c| c.rx.fresh_ack),
    row!(23 FallbackAddr "Fallback to TCP on plain ACK" ("TotFB" true) true "mptcpplainackfallback" Counter
        Exact, Exact, |c| c.rx.fallback_plain_ack),
    row!(24 FallbackAddr "Infinite map set" ("InfSet" true) true "mptcpinfinitemaprecvd" Counter
        Exact, Exact, |c| c.rx.infinite_set),
    row!(25 FallbackAddr "Addresses removed with REMOVE_ADDR" ("REMAddr" true) true "mptcptotaddrremoved" Counter
        Exact, Derived, |c| c.rx.address_removed),
    row!(26 Dss "DSS(Data Sequence Signal) packets" ("TotDSS" true) true "mptcptotdss" Counter
        Exact, Exact, |c| c.rx.dss() + c.tx.dss() + c.unknown.dss()),
    row!(27 Dss "DSS received" ("DSSrcv" true) true "mptcptotrxdss" Counter
        Exact, Derived, |c| c.rx.dss()),
    row!(28 Dss "DSS sent" ("DSSsnd" true) true "mptcptottxdss" Counter
        Exact, Derived, |c| c.tx.dss()),
    row!(29 Dss "DSS with DATA_ACK" ("DSSA" true) false "mptcptotdssa" Counter
        Exact, Exact, |c| c.rx.dss_with(DssFlags::ACK) + c.tx.dss_with(DssFlags::ACK) + c.unknown.dss_with(DssFlags::ACK)),
    row!(30 Dss "DSS with 8 octet DATA_ACK" ("DSSa" true) false "mptcptotdss8a" Counter
        Exact, Exact, |c| c.rx.dss_with(DssFlags::ACK | DssFlags::ACK_8) + c.tx.dss_with(DssFlags::ACK | DssFlags::ACK_8) + c.unknown.dss_with(DssFlags::ACK | DssFlags::ACK_8)),
    row!(31 Dss "DSS with Fresh ACK" ("FreshAck" true) false "mptcptotdssfreshack" Counter
        Exact, Derived, |c| all!(c.fresh_data_ack)),
    row!(32 Dss "DSS with Sequence Map" ("SeqMapM" true) false "mptcptotdssm" Counter
        Exact, Exact, |c| c.rx.dss_with(DssFlags::MAPPING) + c.tx.dss_with(DssFlags::MAPPING) + c.unknown.dss_with(DssFlags::MAPPING)),
    row!(33 Dss "DSS with 8 octet Sequence Map" ("SeqMapm" true) false "mptcptotdss8m" Counter
        Exact, Exact, |c| c.rx.dss_with(DssFlags::MAPPING | DssFlags::DSN_8) + c.tx.dss_with(DssFlags::MAPPING | DssFlags::DSN_8) + c.unknown.dss_with(DssFlags::MAPPING | DssFlags::DSN_8)),
    row!(34 Dss "DSS with infinite map flag" ("InfMapFg" true) false "mptcptotinfinitemapfrwd" Counter
        Exact, Derived, |c| c.rx.dss_infinite.saturating_sub(c.rx.infinite_too_early)),
    row!(35 Dss "Map amount of data not received" ("LDataLen" true) false "mptcptotdatalessthandatalen" Counter
        Exact, Derived, |c| c.rx.dss_partial),
    row!(36 Priority "Subflow used as backup path" ("PrioBkup" true) true "mptcppriobackuprx" Counter
        Exact, Derived, |c| c.rx.prio_backup),
    row!(37 Priority "Clear backup subflow(MP_PRIO)" ("ClrBkup" true) false "mptcpprioclearbackuprx" Counter
        Exact, Derived, |c| c.rx.prio_cleared),
    row!(38 Close "MP_CAPABLE DATA_FIN sent" ("TxFin" true) true "mptcptottxdatafin" Counter
        Exact, Derived, |c| c.tx.session_fin),
    row!(39 Close "MP_CAPABLE DATA_FIN received" ("RxFin" true) true "mptcptotrxdatafin" Counter
        Exact, Derived, |c| c.rx.session_fin),
    row!(40 Close "Subflow FIN" ("SfFin" true) false "mptcptottxsffin" Counter
        Exact, Derived, |c| c.tx.subflow_fin),
    row!(41 ErrMpc "Invalid cookie in MP_CAPABLE ACK" ("CookieEr" true) false "mptcperrinvalcookie" Counter
        Exact, Exact, |c| c.rx.cookie + c.unknown.cookie),
    row!(42 ErrMpc "MP_CAPABLE Extension flag set" ("ExtnFlEr" true) false "mptcperrextnflagset" Counter
        Exact, Exact, |c| c.rx.capable_extensibility),
    row!(43 ErrMpc "MP_CAPABLE Reserved flag set" ("ResFlgEr" true) false "mptcperrresflagset" Counter
        Exact, Exact, |c| c.rx.capable_reserved),
    row!(44 ErrJoin "Invalid token in MP_JOIN Request" ("TokenEr" true) false "mptcperrunknowntoken" Counter
        Derived, Heuristic, |c| c.rx.join_token_unknown + c.unknown.join_token_unknown),
    row!(45 ErrJoin "MP_JOIN on existing address id" ("AddrIdEr" true) false "mptcperraddridexist" Counter
        SynPolicy, SynPolicy, |c| c.rx.join_id_in_use),
    row!(46 ErrJoin "MP_JOIN request with addr id 0" ("addridEr" true) false "mptcperraddrid0" Counter
        SynPolicy, SynPolicy, |c| c.rx.join_id_0 + c.unknown.join_id_0),
    row!(47 ErrJoin "MP_JOIN after Maximum subflows" ("MaxsfEr" true) false "mptcperrmaxsf" Counter
        Derived, Heuristic, |c| c.rx.join_over_limit),
    row!(48 ErrJoin "MP_JOIN Threshold limit reached" ("JoinThEr" true) false "mptcperrjointhreshold" Counter
        SynPolicy, SynPolicy, |c| c.rx.join_over_threshold),
    row!(49 ErrJoin "MP_JOIN request after fallback" ("FBJoinEr" true) false "mptcperrjoinafterfallback" Counter
        Derived, Derived, |c| c.rx.join_after_fallback),
    row!(50 ErrJoin "Invalid MAC in MP_JOIN" ("InMACEr" true) false "mptcperrinvalmac" Counter
        Exact, Exact, |c| c.rx.join_hmac),
    row!(51 ErrOption "Invalid MPTCP option received" ("OPTEr" true) false "mptcperrinvalopts" Counter
        Exact, Derived, |c| c.rx.invalid.iter().sum()),
    row!(52 ErrOption "Invalid subtype in option" ("SubtypEr" true) false "mptcperroptiondiscarded" Counter
        Exact, Derived, |c| c.rx.subtype_unassigned),
    row!(53 ErrOption "Option on nonexistent session" ("OptSesEr" true) false "mptcperroptsnosession" Counter
        Derived, Derived, |c| c.rx.option_no_session + c.unknown.option_no_session),
    row!(54 ErrOption "Invalid remove address ID" ("REMEr" true) false "mptcperrinvalremaddr" Counter
        Derived, Heuristic, |c| c.rx.address_unknown),
    row!(55 ErrOption "RST on bad options" ("OptRstEr" true) false "mptcperroptssendrst" Counter
        Derived, Derived, |c| c.tx.option_reset),
    row!(56 ErrOption "Remove self address" ("RemSlfEr" true) false "mptcperrremaddrself" Counter
        Derived, Derived, |c| c.rx.address_own),
    row!(57 ErrSteer "Add RSS filter failed" ("RssfEr" true) false "mptcperrrssffail" Counter
        Analog, Analog, |c| all!(c.lost_sessions)),
    row!(58 ErrDss "No Payload length" ("LenEr" true) false "mptcperrnopayloadlenpkt" Counter
        Exact, Derived, |c| c.rx.capable_no_length + c.rx.dss_no_length + c.rx.infinite_too_early),
    row!(59 ErrMss "Unsupported MSS negotiated" ("MSSErr" true) false "mptcperrunsupportedmssnegotiated" Counter
        SynPolicy, SynPolicy, |c| c.rx.mss + c.tx.mss + c.unknown.mss),
    row!(60 ErrDss "MPTCP Checksum failure" ("CksumEr" true) false "mptcperrbadcksum" Counter
        Exact, Derived, |c| c.rx.checksum_failed),
    row!(61 ErrMpc "Client crypto algo not supported" ("CryptoEr" true) false "mptcperrcryptonotsupported" Counter
        Exact, Exact, |c| c.rx.capable_crypto),
    row!(62 ErrMpc "Client version not supported" ("VerEr" true) false "mptcperrversionnotsupported" Counter
        Exact, Exact, |c| c.rx.capable_version),
    row!(63 ErrFallback "RST subflow on plain ACK" ("TotPArst" true) false "mptcpplainackrst" Counter
        Exact, Derived, |c| c.rx.plain_ack_reset),
    row!(64 ErrClose "DATA_FIN on passive subflow" ("DFpasveEr" true) false "mptcperrdatafinpassive" Counter
        SynPolicy, SynPolicy, |c| c.rx.fin_on_backup_refused),
    row!(65 ErrClose "FAST_CLOSE on passive subflow" ("FCpasvEr" true) false "mptcperrfastclosepassive" Counter
        SynPolicy, SynPolicy, |c| c.rx.fastclose_on_backup_refused),
    row!(66 ErrClose "FAST_CLOSE received" ("FCRcvEr" true) false "mptcperrfastclose" Counter
        Exact, Exact, |c| c.rx.fastclose_first),
    row!(67 ErrClose "FAST_CLOSE with invalid key" ("FCkeyEr" true) false "mptcperrfastclosekey" Counter
        Exact, Exact, |c| c.rx.fastclose_key),
    row!(68 ErrFail "MP_FAIL sent" ("MPFAILst" true) false "mptcpmpfailsent" Counter
        Exact, Derived, |c| c.tx.fail),
    row!(69 ErrFail "MP_FAIL received" ("MPFAILrv" true) false "mptcpmpfailrecvd" Counter
        Exact, Derived, |c| c.rx.fail),
    row!(70 ErrDss "Packet without Sequence mapping" ("NomapEr" true) false "mptcperrnomappktrcvd" Counter
        Derived, Derived, |c| c.rx.no_mapping),
    row!(71 ErrDss "More data than Sequence mapping" ("MrDataEr" true) false "mptcptotmoredatarcvd" Counter
        Exact, Derived, |c| c.rx.more_data),
    row!(72 ErrDss "Invalid Sequence Map" ("InMapEr" true) false "mptcperrbadmapconndrop" Counter
        Derived, Derived, |c| c.rx.map_reset),
    row!(73 ErrDss "Duplicate Sequence Map" ("DupmapEr" true) false "mptcperrdupmaprecvd" Counter
        Derived, Derived, |c| c.rx.map_duplicate),
    row!(74 ErrDss "Invalid subflow sequence" ("SfnEr" true) false "mptcperrinvalidsfn" Counter
        SynPolicy, SynPolicy, |c| c.rx.map_partial),
    row!(75 ErrDss "Received bad sequence map" ("BadMapEr" true) false "mptcperrmapexists" Counter
        Derived, Derived, |c| c.rx.map_altered),
    row!(76 ErrDss "Retransmitted Data Recevied" ("RetxEr" true) false "mptcperrretxpktrcvd" Counter
        Derived, Derived, |c| c.rx.retransmitted),
    row!(77 ErrMem "Subflow MEM ALLOC Fail" ("SfMemEr" true) false "mptcperrsfsessionallocfail" Counter
        hooks Exact, SubflowContext),
    row!(78 ErrMem "Session MEM ALLOC Fail" ("SesMemEr" true) false "mptcperrmpcapsessionallocfail" Counter
        hooks Exact, SessionChild),
    row!(79 ErrMem "Subflow connection ALLOC Fail" ("SfPcbEr" true) false "mptcptotmpcapsfpcballoc" Counter
        hooks Derived, SubflowSocket + SubflowRequest + SubflowChild),
    row!(80 ErrMem "Session connection ALLOC Fail" ("MpcbEr" true) false "mptcptotmpcballocfailed" Counter
        hooks Derived, SessionSocketV4 + SessionSocketV6 + SessionChild),
    row!(81 ErrMem "Output packet MEM ALLOC Fail" ("PktMemEr" true) false "mptcperrnsballocfailed" Counter
        hooks Exact, OutputSegment),
    row!(82 ErrMem "Output packet without subflow" ("PktSfEr" true) false "mptcperrnosffreensb" Counter
        Analog, Unavailable, |c| c.tx.dss_no_subflow),
    row!(83 ErrMpc "MPTCP V1 Invalid Data_Key Seq" ("V1DataPriorToKey" true) false "mptcperrv1datapriortokey" Counter
        Exact, Exact, |c| c.rx.data_before_key),
];
