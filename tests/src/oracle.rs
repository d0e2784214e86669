//! Who else knows the rows: what the tests hold them against, as data, so that the documents can say
//! it too.

use crate::witness::Seen;

/// Sums of the table (rows and extra numbers), and sums of MIBs that they equal. `?` behind a MIB:
/// 1 if it is not 0, where the kernel counts packets and the table sessions.
pub const LAWS: &[(&str, &str)] = &[
    ("TotSess", "MPCapableACKRX + MPCapableSYNACKRX"),
    ("TotV1Sess", "MPCapableACKRX + MPCapableSYNACKRX"),
    ("ConReq", "MPCapableACKRX + MPCapableSYNACKRX"),
    ("MPSYN - MPSYNretx", "MPCapableSYNRX"),
    ("MPV1SYN - MPSYNretx", "MPCapableSYNRX"),
    ("MPSYNtx - MPSYNretxTx", "MPCapableSYNTX"),
    ("SYNACKrx", "MPCapableSYNACKRX"),
    ("FinalACK", "MPCapableACKRX"),
    ("FinalACKtx", "MPCapableSYNACKRX"),
    (
        "subCon",
        "MPCapableACKRX + MPCapableSYNACKRX + MPJoinAckRx + MPJoinSynAckRx",
    ),
    (
        "JoinSYN - JoinSYNretx + JoinSYNtx - JoinSYNretxTx",
        "MPJoinSynRx + MPJoinSynTx",
    ),
    ("JoinSYNtx - JoinSYNretxTx", "MPJoinSynTx"),
    ("JoinBkup", "MPJoinSynBackupRx"),
    (
        "SFsynackRx - JoinSynackRetxRx",
        "MPJoinSynAckRx + MPJoinSynAckHMacFailure",
    ),
    ("JoinSynackMacEr", "MPJoinSynAckHMacFailure"),
    (
        "SFFACK",
        "MPJoinAckRx + MPJoinAckHMacFailure + MPJoinRejected",
    ),
    ("FACKVald", "MPJoinAckRx"),
    ("InMACEr", "MPJoinAckHMacFailure"),
    ("TokenEr", "MPJoinNoTokenFound"),
    ("MaxsfEr", "MPJoinRejected"),
    ("TotFB", "MPCapableFallbackACK + MPCapableDataFallback"),
    ("NoMpcSynack", "MPCapableFallbackSYNACK"),
    ("MpcBlackhole", "MPCapableSYNTXDrop"),
    ("InfSet", "InfiniteMapRx?"),
    ("InfSetTx", "InfiniteMapTx?"),
    ("AddAddrRx", "AddAddr"),
    ("AddAddrTx", "AddAddrTx"),
    ("AddAddrEchoRx", "EchoAdd"),
    ("AddAddrEchoTx", "EchoAddTx"),
    ("AddAddrPortRx", "PortAdd"),
    ("REMAddr + REMEr", "RmAddr"),
    ("REMAddrTx + REMErTx", "RmAddrTx"),
    ("PrioBkup + PrioClearRx", "MPPrioRx"),
    ("PrioBkupTx + PrioClearTx", "MPPrioTx"),
    ("MPFAILst", "MPFailTx"),
    ("MPFAILrv", "MPFailRx"),
    ("FCRcvEr", "MPFastcloseRx"),
    ("FCsnt", "MPFastcloseTx"),
    ("CksumEr", "DataCsumErr"),
];

/// Where some of the [`LAWS`] do not hold, since kernel and probe do not look at the same place.
#[derive(Clone, Copy, Debug)]
pub struct Exception {
    /// When that is so, and what each of them counts: sentences of the documents.
    pub when: &'static str,
    /// The laws, by their left sides.
    pub laws: &'static [&'static str],
    /// Scenarios that show it.
    pub scenarios: &'static [&'static str],
}

/// The kernel counts SYNs of MPTCP listeners.
pub const NO_MPTCP_LISTENER: Exception = Exception {
    when: "A SYN with MP_CAPABLE goes to a port without an MPTCP listener (one of plain TCP, or none). The kernel \
           counts SYNs of MPTCP listeners only; the table counts what the packet says, and the SYN/ACK that answers \
           without the option.",
    laws: &["MPSYN - MPSYNretx", "MPV1SYN - MPSYNretx", "NoMpcSynack"],
    scenarios: &[
        "a_syn_to_a_listener_without_mptcp",
        "a_syn_to_a_closed_port",
    ],
};

/// With SYN cookies a join beyond the limits is not answered.
pub const SILENT_COOKIES: Exception = Exception {
    when: "A listener with SYN cookies refuses a join beyond its limit of subflows, and does not answer: there is no \
           reset. The kernel counts each SYN, and each of them as rejected; the table counts a SYN that comes again \
           in JoinSYNretx, and what nobody refused on the wire in no row of refusals.",
    laws: &[
        "JoinSYN - JoinSYNretx + JoinSYNtx - JoinSYNretxTx",
        "SFFACK",
        "MaxsfEr",
    ],
    scenarios: &["joins_that_cookies_refuse_without_an_answer"],
};

/// A host's own filter comes before the probe.
pub const OUTPUT_FILTER: Exception = Exception {
    when: "The host's own filter (nft hook output, iptables OUTPUT) drops a packet that the kernel counted as sent, \
           or takes its option away. It comes before the probe, which sees what leaves. (What a filter on the way in drops comes behind the \
           probe: there the table counts, and the kernel does not.)",
    laws: &[
        "MPSYNtx - MPSYNretxTx",
        "JoinSYN - JoinSYNretx + JoinSYNtx - JoinSYNretxTx",
        "JoinSYNtx - JoinSYNretxTx",
    ],
    scenarios: &[
        "a_join_that_the_hosts_own_filter_drops",
        "a_syn_that_loses_its_option",
    ],
};

/// All of them.
pub const EXCEPTIONS: &[&Exception] = &[&NO_MPTCP_LISTENER, &SILENT_COOKIES, &OUTPUT_FILTER];

/// A row, who else knows it, and what it is of what those know.
pub type Known<T> = (&'static str, &'static str, fn(&T, &T) -> u64);

/// Gauges while connections are open, of the sessions that the kernel counts and of the sockets of
/// subflows that `ss` shows.
pub const GAUGES: &[Known<u64>] = &[
    ("CurSess", "MPCurrEstab", |sessions, _| *sessions),
    ("CurV1Sess", "MPCurrEstab", |sessions, _| *sessions),
    ("CurSF", "ss", |_, subflows| *subflows),
    (
        "SessNoSF",
        "MPCurrEstab while ss shows no subflow",
        |sessions, subflows| if *subflows == 0 { *sessions } else { 0 },
    ),
];

const DECODER: &str = "second decoder";
const BOTH: &str = "tshark, second decoder";

/// Rows of a host, of what captures say that it received and sent.
pub const ON_THE_WIRE: &[Known<Seen>] = &[
    ("MPSYN", DECODER, |rx, _| rx.capable_syn),
    ("MPV1SYN", DECODER, |rx, _| rx.capable_syn_v1),
    ("SYNACK", DECODER, |_, tx| tx.capable_synack),
    ("JoinSYN", DECODER, |rx, _| rx.join_syn),
    ("SFsynack", DECODER, |_, tx| tx.join_synack),
    ("TotDSS", BOTH, |rx, tx| rx.options[2] + tx.options[2]),
    ("DSSrcv", BOTH, |rx, _| rx.options[2]),
    ("DSSsnd", BOTH, |_, tx| tx.options[2]),
    ("DSSA", DECODER, |rx, tx| rx.dss[0] + tx.dss[0]),
    ("DSSa", DECODER, |rx, tx| rx.dss[1] + tx.dss[1]),
    ("SeqMapM", DECODER, |rx, tx| rx.dss[2] + tx.dss[2]),
    ("SeqMapm", DECODER, |rx, tx| rx.dss[3] + tx.dss[3]),
    ("InfMapFg", DECODER, |rx, _| rx.infinite),
    ("LDataLen", DECODER, |rx, _| rx.partial),
    ("PrioBkup", DECODER, |rx, _| rx.backup),
    ("FCRcvEr", BOTH, |rx, _| rx.options[7]),
    ("MPFAILst", BOTH, |_, tx| tx.options[6]),
    ("MPFAILrv", BOTH, |rx, _| rx.options[6]),
];
