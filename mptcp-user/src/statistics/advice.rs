//! What a number that is not 0 says of the health of MPTCP, and what to do next.

/// How bad it is that a number is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Something failed, or was lost.
    Failure,
    /// Linux does it in good health.
    NormalOnLinux,
    /// It says nothing of health.
    Neutral,
}

impl Severity {
    /// Returns its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::NormalOnLinux => "normal on Linux",
            Self::Neutral => "neutral",
        }
    }
}

/// What a number that is not 0 means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// How bad it is.
    pub severity: Severity,
    /// What it means, in a sentence; empty for neutral ones.
    pub meaning: &'static str,
    /// What to do next; empty unless something failed.
    pub next: &'static str,
    /// Where one of these is not 0, it tells the same thing, and this number need not be told.
    pub instead: &'static [&'static str],
}

impl Advice {
    const NEUTRAL: Self = Self {
        severity: Severity::Neutral,
        meaning: "",
        next: "",
        instead: &[],
    };

    /// Returns what a row or further number of this name means.
    pub fn of(name: &str) -> Self {
        if let Some((_, meaning, next)) = FAILURES.iter().find(|(known, ..)| *known == name) {
            let same = SAME.iter().find(|(known, _)| *known == name);
            return Self {
                severity: Severity::Failure,
                meaning,
                next,
                instead: same.map_or(&[], |(_, others)| others),
            };
        }
        let normal = NORMAL.iter().find(|(names, _)| names.contains(&name));
        normal.map_or(Self::NEUTRAL, |(_, meaning)| Self {
            severity: Severity::NormalOnLinux,
            meaning,
            ..Self::NEUTRAL
        })
    }

    /// Returns true if one of these numbers, which are not 0, tells the same.
    pub fn is_told_by(&self, names: &[&str]) -> bool {
        self.instead.iter().any(|other| names.contains(other))
    }

    /// Returns the names of all that is not neutral.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let failures = FAILURES.iter().map(|(name, ..)| *name);
        failures.chain(NORMAL.iter().flat_map(|(names, _)| names.iter().copied()))
    }
}

/// Numbers, and those that tell the same by session or subflow, where flows are followed.
const SAME: [(&str, &[&str]); 5] = [
    ("InfMapFg", &["InfSet"]),
    ("InfMapTx", &["InfSetTx"]),
    ("RssfEr", &["LostSessions"]),
    ("FCsnt", &["FCfirstTx", "FCkeyErTx"]),
    ("FCPktsRx", &["FCRcvEr", "FCkeyEr"]),
];

const STRIPPED: &str = "capture at both ends and compare the options (tcpdump 'tcp[tcpflags] & tcp-syn != 0'): where MP_CAPABLE is missing at one end, the path takes it out";
const MID_FLOW: &str =
    "capture at both ends: where the option is sent and does not arrive, a middlebox takes it out";
const PEER: &str = "see which peer it is (mptcp-user events), and update its kernel or product";
const LIMITS: &str = "ip mptcp limits show on the end that refuses; raise it: ip mptcp limits set subflows N add_addr_accepted N";
const ALTERED: &str = "look for a proxy, NAT helper (ALG) or accelerator on the path that rewrites payload or merges segments";
const MEMORY: &str = "see free memory and net.ipv4.tcp_mem on this host (dmesg, nstat)";
const FORGED: &str = "see who sends it (mptcp-user events); if it goes on, filter the sender";
const RESET: &str = "see which subflow it was (mptcp-user events)";
const ROOM: &str = "attach with more room (mptcp-user status says how much there is)";

/// Numbers that tell of failures: name, what it means, what to do next.
#[rustfmt::skip]
const FAILURES: &[(&str, &str, &str)] = &[
    // Sessions.
    ("NoMpcSynack", "The answer to an MPTCP SYN came without MP_CAPABLE, and the connection is plain TCP: the server does not speak MPTCP, or the path takes the option out.", STRIPPED),
    ("MpcBlackhole", "MPTCP SYNs got no answer and a plain SYN followed: the path or a firewall drops SYNs with MP_CAPABLE.", "find the hop that drops them; Linux gives MPTCP up for net.mptcp.blackhole_timeout after that"),
    ("SessNoSF", "Sessions have no subflow now, and wait for a new one.", "see which address went away (mptcp-user sessions --state alone) and whether another endpoint is there (ip mptcp endpoint)"),
    ("TotFB", "A segment that came in had no MPTCP option when the session was new, and it fell back to TCP: the option was taken out on the way here.", MID_FLOW),
    ("TotFBtx", "A segment that went out had no MPTCP option when the session was new, and it fell back to TCP: the option was taken out before this place, or the sender fell back.", MID_FLOW),
    ("InfSet", "The peer ended MPTCP by an infinite mapping, and the session is TCP now: its data or options were altered.", ALTERED),
    ("InfSetTx", "This end ended MPTCP by an infinite mapping, and the session is TCP now: data or options that it got were altered.", ALTERED),
    ("InfMapFg", "Infinite mappings came in: their sessions are TCP now.", ALTERED),
    ("InfMapTx", "Infinite mappings went out: their sessions are TCP now.", ALTERED),
    ("InfTooEarly", "An infinite mapping came while there were other subflows and no MP_FAIL, which is not allowed.", PEER),
    ("FBnoMap", "The receiver took data without a mapping, and the session is TCP now: options were taken out in mid-flow.", MID_FLOW),
    ("BareData", "Data of a subflow came without any MPTCP option: options were taken out in mid-flow.", MID_FLOW),
    ("OptAfterFallback", "One end still sends MPTCP options after a fallback.", "it is harmless by itself; the fallback is what to look at"),
    ("CookieEr", "The third segment of a handshake has other keys than its SYN/ACK, or none that is known.", FORGED),
    ("CookieErTx", "The third segment that went out has other keys than its SYN/ACK.", FORGED),
    ("ExtnFlEr", "A SYN asks for an extension (flag B) that nobody has defined.", PEER),
    ("ResFlgEr", "A SYN sets flags that are reserved.", PEER),
    ("CryptoEr", "A SYN offers no HMAC that is known.", PEER),
    ("VerEr", "A SYN asks for a version of MPTCP that is not supported.", PEER),
    ("V1DataPriorToKey", "Data of a version 1 session came before its key.", "it comes with packets that overtake each other; if often, capture and compare"),
    ("V1DataPriorToKeyTx", "Data of a version 1 session went out before its key.", "it comes with packets that overtake each other; if often, capture and compare"),
    ("LenEr", "A mapping that came in has no length.", PEER),
    ("MSSErr", "The MSS of a SYN or SYN/ACK is below --min-mss-v4 or --min-mss-v6.", "look for tunnels and MSS clamping on the path"),
    // Joins.
    ("NoMpjSynack", "The answer to a join came without MP_JOIN, and the subflow is lost: the path takes the option out, or the address leads to another host.", "capture the join at both ends; see that the address is the peer's own and not a load balancer's"),
    ("JoinSynackMacEr", "The answer to a join has a wrong HMAC: another host answers, or its address is translated to another session.", "see that the address leads to the session's own host"),
    ("JoinRefused", "Joins were reset by who was asked.", "the other numbers and mptcp-user events say the reason"),
    ("TokenEr", "Joins came for a token that no session has: they reach the wrong host, or the session is over.", "see whether a load balancer sends subflows to different hosts"),
    ("TokenErTx", "Joins that went out were refused for their token: they reach the wrong host, or the session is over.", "see whether a load balancer sends subflows to different hosts"),
    ("MaxsfEr", "Joins that came in were refused by the limit of subflows.", LIMITS),
    ("MaxsfErTx", "Joins that went out were refused by the limit of subflows.", LIMITS),
    ("JoinThEr", "Joins that came in were refused while more than --join-threshold were pending.", LIMITS),
    ("JoinThErTx", "Joins that went out were refused while more than --join-threshold were pending.", LIMITS),
    ("FBJoinEr", "Joins came for sessions that had fallen back to TCP.", "the fallback is what to look at"),
    ("FBJoinErTx", "Joins went out for sessions that had fallen back to TCP.", "the fallback is what to look at"),
    ("InMACEr", "Joins came with a wrong HMAC: forged, or for another session.", FORGED),
    ("InMACErTx", "Joins went out with a wrong HMAC.", FORGED),
    ("TotPArst", "A subflow was reset since its peer's segments came without the option.", MID_FLOW),
    ("TotPArstTx", "The peer reset a subflow since segments that went out reached it without the option.", MID_FLOW),
    // Options.
    ("OPTEr", "Options came in that are not allowed.", PEER),
    ("OPTErTx", "Options went out that are not allowed.", PEER),
    ("OPTErUnknown", "There were options that are not allowed.", PEER),
    ("OptShort", "An option is too short.", PEER),
    ("OptOverrun", "An option runs past the option area.", PEER),
    ("OptLength", "An option has a wrong length.", PEER),
    ("OptFlags", "An option has flags that contradict each other.", PEER),
    ("OptSegment", "An option is on a segment where it is not allowed.", PEER),
    ("OptVersion", "An option is of a version that is not known.", PEER),
    ("OptRepeated", "A segment has an option twice.", PEER),
    ("OptCombination", "A segment has options that exclude each other.", PEER),
    ("SubtypEr", "Options of a subtype came in that nobody has defined.", PEER),
    ("SubtypErTx", "Options of a subtype went out that nobody has defined.", PEER),
    ("OptSesEr", "Options came in for a session that does not exist any more, and were reset.", "late packets of an ended session do it; if often, see whether sessions end early"),
    ("OptSesErTx", "Options went out for a session that does not exist any more, and were reset.", "late packets of an ended session do it; if often, see whether sessions end early"),
    ("OptRstEr", "A subflow was reset for an option that is not allowed.", RESET),
    ("OptRstErRx", "The peer reset a subflow for an option that is not allowed.", RESET),
    ("REMEr", "The peer removed an address that it had never announced.", "its announcement, or a join from that address, was lost or dropped on the way"),
    ("REMErTx", "This end removed an address that was never announced on the wire.", "its announcement, or a join from that address, was lost or dropped on the way"),
    ("AddAddrMacEr", "An ADD_ADDR has a wrong HMAC, and is ignored.", FORGED),
    // Data.
    ("CksumEr", "Data came in with a wrong checksum: it was altered on the way here.", ALTERED),
    ("CksumErTx", "Data went by with a wrong checksum: it was altered before this place.", ALTERED),
    ("CsumPresenceEr", "A subflow has checksums that were not agreed on, or lacks those that were.", PEER),
    ("MPFAILst", "MP_FAIL was sent: data came with a wrong checksum, and its subflow ends or falls back.", ALTERED),
    ("MPFAILrv", "MP_FAIL was received: the peer got data with a wrong checksum, and the subflow ends or falls back.", ALTERED),
    ("NomapEr", "Data came in and was taken without a mapping: options were taken out in mid-flow.", MID_FLOW),
    ("NomapErTx", "Data went out and was taken without a mapping: options were taken out in mid-flow.", MID_FLOW),
    ("MrDataEr", "Packets came in with more payload than their mapping: segments were merged on the way.", ALTERED),
    ("MrDataErTx", "Packets went out with more payload than their mapping.", ALTERED),
    ("InMapEr", "A subflow was reset for an invalid mapping that came in.", ALTERED),
    ("InMapErTx", "The peer reset a subflow for an invalid mapping.", ALTERED),
    ("BadMapEr", "A mapping came in that contradicts an earlier one.", FORGED),
    ("BadMapErTx", "A mapping went out that contradicts an earlier one.", FORGED),
    ("DataAckBad", "A DATA_ACK is of data that nobody sent here.", "data may take a path without a probe: attach to all interfaces of the session"),
    ("PktSfEr", "Data went out on a subflow that its receiver does not know, and was reset.", RESET),
    ("PktSfErRx", "Data came in on a subflow that its receiver does not know, and was reset.", RESET),
    // Resets.
    ("FCRcvEr", "The peer ended sessions at once (MP_FASTCLOSE): its application gave up, or was killed.", "see the peer's application"),
    ("FCfirstTx", "This end ended sessions at once (MP_FASTCLOSE): its application gave up, or was killed.", "see this end's application"),
    ("FCPktsRx", "The peer ended sessions at once (MP_FASTCLOSE): its application gave up, or was killed.", "see the peer's application"),
    ("FCsnt", "This end ended sessions at once (MP_FASTCLOSE): its application gave up, or was killed.", "see this end's application"),
    ("FCkeyEr", "An MP_FASTCLOSE came with a wrong key, and is ignored.", FORGED),
    ("FCkeyErTx", "An MP_FASTCLOSE went out with a wrong key.", FORGED),
    ("TcpRstUnspecifiedRx", "The peer reset subflows and gave no reason.", RESET),
    ("TcpRstUnspecifiedTx", "This end reset subflows and gave no reason.", RESET),
    ("TcpRstMptcpErrorRx", "The peer reset subflows for an error of MPTCP.", RESET),
    ("TcpRstMptcpErrorTx", "This end reset subflows for an error of MPTCP.", RESET),
    ("TcpRstNoResourcesRx", "The peer reset subflows for lack of resources.", LIMITS),
    ("TcpRstNoResourcesTx", "This end reset subflows for lack of resources.", LIMITS),
    ("TcpRstProhibitedRx", "The peer reset subflows that its policy or limits prohibit.", LIMITS),
    ("TcpRstProhibitedTx", "This end reset subflows that its policy or limits prohibit.", LIMITS),
    ("TcpRstTooMuchDataRx", "The peer reset subflows with too much outstanding data.", "see whether one path is much slower than the others"),
    ("TcpRstTooMuchDataTx", "This end reset subflows with too much outstanding data.", "see whether one path is much slower than the others"),
    ("TcpRstBadPerformanceRx", "The peer reset subflows for bad performance.", "see loss and delay of that path"),
    ("TcpRstBadPerformanceTx", "This end reset subflows for bad performance.", "see loss and delay of that path"),
    ("TcpRstMiddleboxRx", "The peer reset subflows since a middlebox interferes.", MID_FLOW),
    ("TcpRstMiddleboxTx", "This end reset subflows since a middlebox interferes.", MID_FLOW),
    ("TcpRstOtherRx", "The peer reset subflows for a reason that nobody has defined.", PEER),
    ("TcpRstOtherTx", "This end reset subflows for a reason that nobody has defined.", PEER),
    ("NotTaken", "Segments came that their receiver does not take: forged, or of an older connection. They changed nothing.", FORGED),
    // The host's memory.
    ("SfMemEr", "The kernel had no memory for a subflow's MPTCP state.", MEMORY),
    ("SesMemEr", "The kernel had no memory for a session that was accepted.", MEMORY),
    ("SfPcbEr", "The kernel had no memory for a subflow's socket.", MEMORY),
    ("MpcbEr", "The kernel had no memory for an MPTCP socket.", MEMORY),
    ("PktMemEr", "The kernel had no memory for a segment to send.", MEMORY),
    // The probe.
    ("RssfEr", "The probe had no room for sessions, and does not follow them.", ROOM),
    ("LostSessions", "The probe had no room for sessions, and does not follow them.", ROOM),
    ("LostSubflows", "The probe had no room for subflows, and does not follow them.", ROOM),
    ("LostHandshakes", "The probe forgot handshakes for newer ones.", "see whether SYNs are forged; a filter in front of the probe helps"),
    ("LostTokens", "The probe had no room for tokens: joins to them find no session.", ROOM),
    ("LostRanges", "The probe had no room for ranges of data: RetxEr, SfnEr and their like are at least what is shown.", ROOM),
];

/// Numbers that healthy Linux hosts move, and why.
const NORMAL: &[(&[&str], &str)] = &[
    (
        &["AddrIdEr", "AddrIdErTx"],
        "a Linux client joins two addresses with one identifier",
    ),
    (
        &["addridEr"],
        "a join from the first address to one that the peer announced has identifier 0",
    ),
    (
        &["DupmapEr", "DupmapErTx"],
        "a mapping is sent again by a tail loss probe or retransmission",
    ),
    (
        &["RetxEr", "RetxErTx"],
        "data is sent again by a tail loss probe, a retransmission, or on another subflow",
    ),
    (
        &["SfnEr", "SfnErTx"],
        "data that is sent again on another subflow is cut elsewhere",
    ),
    (
        &["RemSlfEr", "RemSlfErTx"],
        "an address is removed on a subflow that uses it",
    ),
    (
        &["RmAddrRepeat"],
        "the removal of an address is sent more than once",
    ),
    (
        &["DFpasveEr", "DFpasveErTx"],
        "Linux sends DATA_FIN on every subflow, backups included",
    ),
    (
        &["FCpasvEr", "FCpasvErTx"],
        "Linux sends MP_FASTCLOSE on every subflow, backups included",
    ),
    (
        &["AddAddrMacOld"],
        "old Linux kernels compute this HMAC otherwise, and take it",
    ),
    (
        &["LostReports"],
        "events are lost where nobody watches them (mptcp-user events)",
    ),
];
