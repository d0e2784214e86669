//! The 83 rows of the statistics table, in the order of the command they come from.

use mptcp_common::{
    counter::{Counters, FexitHook, Gauges},
    wire::DssFlags,
};

use super::row::{Group, Need, Quality, Row, RowKind, Value};

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

/// One row: number, group, label, short name, in the summary, NITRO name, kind, needs, number.
macro_rules! row {
    (
        $number:literal $group:ident $label:literal ($short:literal $shown:literal)
        $summary:literal $nitro:literal $kind:ident [$($need:ident)*]
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
            kind: RowKind::$kind,
            in_summary: $summary,
            value: VALUE.0,
            needs: &[$(Need::$need),*],
            host: VALUE.1,
            middlebox: VALUE.2,
        }
    }};
}

/// The 83 rows.
#[rustfmt::skip]
pub const ROWS: [Row; 83] = [
    row!(1 Session "MPTCP sessions created" ("TotSess" true) true "mptcptotmpcapsession" Counter [Flows]
        Exact, Exact, |c| all!(c.session_created)),
    row!(2 Session "MPTCP V1 sessions created" ("TotV1Sess" true) true "mptcptotv1mpcapsession" Counter [Flows]
        Exact, Exact, |c| all!(c.session_created_v1)),
    row!(3 Session "Subflow connections created" ("subCon" true) true "mptcptotsfconn" Counter [Flows]
        Exact, Derived, |c| all!(c.subflow_created)),
    row!(4 Session "Current MPTCP sessions" ("CurSess" false) true "mptcpcurmpcapablesessions" Gauge [Flows]
        now Exact, Derived, |g| g.sessions),
    row!(5 Session "Current V1 MPTCP sessions" ("CurV1Sess" true) true "mptcpcurv1mpcapablesessions" Gauge [Flows]
        now Exact, Derived, |g| g.sessions_v1),
    row!(6 Session "Current Subflow connections" ("CurSF" false) true "mptcpcursfconnections" Gauge [Flows]
        now Exact, Derived, |g| g.subflows),
    row!(7 Session "Pending subflow connections" ("PendSF" false) true "mptcpcurpendingjoin" Gauge [Flows]
        now Exact, Derived, |g| g.pending),
    row!(8 Session "Sessions without any subflows" ("SessNoSF" false) true "mptcpcursesswithoutsfs" Gauge [Flows]
        now Exact, Heuristic, |g| g.alone),
    row!(9 MpCapable "MP_CAPABLE SYN received" ("MPSYN" true) true "mptcptotmpcapsyn" Counter []
        Exact, Exact, |c| c.rx.capable_syn),
    row!(10 MpCapable "MP_CAPABLE V1 SYN received" ("MPV1SYN" true) false "mptcptotv1mpcapsyn" Counter []
        Exact, Exact, |c| c.rx.capable_syn_v1),
    row!(11 MpCapable "MP_CAPABLE sessions steered" ("ConSter" true) false "mptcptotmpcapsteered" Counter [Flows Queues]
        Analog, Analog, |c| c.rx.capable_steered),
    row!(12 MpCapable "MP_CAPABLE sessions created" ("ConReq" true) false "mptcptotconnest" Counter [Flows]
        Exact, Exact, |c| all!(c.session_created)),
    row!(13 MpCapable "MP_CAPABLE SYN/ACKs sent" ("SYNACK" true) true "mptcptotmpcapsynacksent" Counter []
        Exact, Exact, |c| c.tx.capable_synack),
    row!(14 MpCapable "MP_CAPABLE Final ACKs" ("FinalACK" true) true "mptcptotmpcapfackrecvd" Counter [Flows]
        Exact, Exact, |c| c.rx.final_ack),
    row!(15 MpJoin "MP_JOIN SYN received" ("JoinSYN" true) true "mptcptotmpjoinsyn" Counter [FlowsOnMiddlebox]
        Exact, Derived, |c| c.rx.join_syn),
    row!(16 MpJoin "MP_JOIN subflows steered" ("SFsteer" true) false "mptcptotmpjoinsteered" Counter [Flows Queues]
        Analog, Analog, |c| c.rx.join_steered),
    row!(17 MpJoin "MP_JOIN SYN/ACKs sent" ("SFsynack" true) true "mptcptotmpjoinsynacksent" Counter [FlowsOnMiddlebox]
        Exact, Derived, |c| c.tx.join_synack),
    row!(18 MpJoin "MP_JOIN Final ACKs" ("SFFACK" true) true "mptcptotmpjoinfackrecvd" Counter [Flows]
        Exact, Derived, |c| c.rx.join_final_ack),
    row!(19 MpJoin "MP_JOIN Final ACK validated" ("FACKVald" true) false "mptcptotmpjoin4thacksent" Counter [Flows]
        Exact, Derived, |c| c.tx.join_validated),
    row!(20 MpJoin "Established subflows replaced" ("TotSFRep" true) false "mptcptotestsfreplaced" Counter [Flows]
        Heuristic, Heuristic, |c| c.rx.subflow_replaced),
    row!(21 MpJoin "Pending subflows replaced" ("PendRep" true) false "mptcptotpendsfreplaced" Counter [Flows]
        Heuristic, Heuristic, |c| c.rx.pending_replaced),
    row!(22 FallbackAddr "Fresh ACK on subflow" ("SFfrhACK" true) false "mptcptotfreshackfrwd" Counter [Flows]
        Exact, Derived, |c| c.rx.fresh_ack),
    row!(23 FallbackAddr "Fallback to TCP on plain ACK" ("TotFB" true) true "mptcpplainackfallback" Counter [Flows]
        Exact, Exact, |c| c.rx.fallback_plain_ack),
    row!(24 FallbackAddr "Infinite map set" ("InfSet" true) true "mptcpinfinitemaprecvd" Counter [Flows]
        Exact, Exact, |c| c.rx.infinite_set),
    row!(25 FallbackAddr "Addresses removed with REMOVE_ADDR" ("REMAddr" true) true "mptcptotaddrremoved" Counter [Flows]
        Exact, Derived, |c| c.rx.address_removed),
    row!(26 Dss "DSS(Data Sequence Signal) packets" ("TotDSS" true) true "mptcptotdss" Counter []
        Exact, Exact, |c| c.rx.dss() + c.tx.dss() + c.unknown.dss()),
    row!(27 Dss "DSS received" ("DSSrcv" true) true "mptcptotrxdss" Counter [FlowsOnMiddlebox]
        Exact, Derived, |c| c.rx.dss()),
    row!(28 Dss "DSS sent" ("DSSsnd" true) true "mptcptottxdss" Counter [FlowsOnMiddlebox]
        Exact, Derived, |c| c.tx.dss()),
    row!(29 Dss "DSS with DATA_ACK" ("DSSA" true) false "mptcptotdssa" Counter []
        Exact, Exact, |c| c.rx.dss_with(DssFlags::ACK) + c.tx.dss_with(DssFlags::ACK) + c.unknown.dss_with(DssFlags::ACK)),
    row!(30 Dss "DSS with 8 octet DATA_ACK" ("DSSa" true) false "mptcptotdss8a" Counter []
        Exact, Exact, |c| c.rx.dss_with(DssFlags::ACK | DssFlags::ACK_8) + c.tx.dss_with(DssFlags::ACK | DssFlags::ACK_8) + c.unknown.dss_with(DssFlags::ACK | DssFlags::ACK_8)),
    row!(31 Dss "DSS with Fresh ACK" ("FreshAck" true) false "mptcptotdssfreshack" Counter [Flows]
        Exact, Derived, |c| all!(c.fresh_data_ack)),
    row!(32 Dss "DSS with Sequence Map" ("SeqMapM" true) false "mptcptotdssm" Counter []
        Exact, Exact, |c| c.rx.dss_with(DssFlags::MAPPING) + c.tx.dss_with(DssFlags::MAPPING) + c.unknown.dss_with(DssFlags::MAPPING)),
    row!(33 Dss "DSS with 8 octet Sequence Map" ("SeqMapm" true) false "mptcptotdss8m" Counter []
        Exact, Exact, |c| c.rx.dss_with(DssFlags::MAPPING | DssFlags::DSN_8) + c.tx.dss_with(DssFlags::MAPPING | DssFlags::DSN_8) + c.unknown.dss_with(DssFlags::MAPPING | DssFlags::DSN_8)),
    row!(34 Dss "DSS with infinite map flag" ("InfMapFg" true) false "mptcptotinfinitemapfrwd" Counter [FlowsOnMiddlebox]
        Exact, Derived, |c| c.rx.dss_infinite.saturating_sub(c.rx.infinite_too_early)),
    row!(35 Dss "Map amount of data not received" ("LDataLen" true) false "mptcptotdatalessthandatalen" Counter [FlowsOnMiddlebox]
        Exact, Derived, |c| c.rx.dss_partial),
    row!(36 Priority "Subflow used as backup path" ("PrioBkup" true) true "mptcppriobackuprx" Counter [FlowsOnMiddlebox]
        Exact, Derived, |c| c.rx.prio_backup),
    row!(37 Priority "Clear backup subflow(MP_PRIO)" ("ClrBkup" true) false "mptcpprioclearbackuprx" Counter [Flows]
        Exact, Derived, |c| c.rx.prio_cleared),
    row!(38 Close "MP_CAPABLE DATA_FIN sent" ("TxFin" true) true "mptcptottxdatafin" Counter [Flows]
        Exact, Derived, |c| c.tx.session_fin),
    row!(39 Close "MP_CAPABLE DATA_FIN received" ("RxFin" true) true "mptcptotrxdatafin" Counter [Flows]
        Exact, Derived, |c| c.rx.session_fin),
    row!(40 Close "Subflow FIN" ("SfFin" true) false "mptcptottxsffin" Counter [Flows]
        Exact, Derived, |c| c.tx.subflow_fin),
    row!(41 ErrMpc "Invalid cookie in MP_CAPABLE ACK" ("CookieEr" true) false "mptcperrinvalcookie" Counter [Flows]
        Exact, Exact, |c| c.rx.cookie + c.unknown.cookie),
    row!(42 ErrMpc "MP_CAPABLE Extension flag set" ("ExtnFlEr" true) false "mptcperrextnflagset" Counter []
        Exact, Exact, |c| c.rx.capable_extensibility),
    row!(43 ErrMpc "MP_CAPABLE Reserved flag set" ("ResFlgEr" true) false "mptcperrresflagset" Counter []
        Exact, Exact, |c| c.rx.capable_reserved),
    row!(44 ErrJoin "Invalid token in MP_JOIN Request" ("TokenEr" true) false "mptcperrunknowntoken" Counter [Flows]
        Derived, Heuristic, |c| c.rx.join_token_unknown + c.unknown.join_token_unknown),
    row!(45 ErrJoin "MP_JOIN on existing address id" ("AddrIdEr" true) false "mptcperraddridexist" Counter [Flows]
        Policy, Policy, |c| c.rx.join_id_in_use),
    row!(46 ErrJoin "MP_JOIN request with addr id 0" ("addridEr" true) false "mptcperraddrid0" Counter [FlowsOnMiddlebox]
        Policy, Policy, |c| c.rx.join_id_0 + c.unknown.join_id_0),
    row!(47 ErrJoin "MP_JOIN after Maximum subflows" ("MaxsfEr" true) false "mptcperrmaxsf" Counter [Flows]
        Derived, Heuristic, |c| c.rx.join_over_limit),
    row!(48 ErrJoin "MP_JOIN Threshold limit reached" ("JoinThEr" true) false "mptcperrjointhreshold" Counter [Flows]
        Policy, Policy, |c| c.rx.join_over_threshold),
    row!(49 ErrJoin "MP_JOIN request after fallback" ("FBJoinEr" true) false "mptcperrjoinafterfallback" Counter [Flows]
        Derived, Derived, |c| c.rx.join_after_fallback),
    row!(50 ErrJoin "Invalid MAC in MP_JOIN" ("InMACEr" true) false "mptcperrinvalmac" Counter [Flows]
        Exact, Exact, |c| c.rx.join_hmac),
    row!(51 ErrOption "Invalid MPTCP option received" ("OPTEr" true) false "mptcperrinvalopts" Counter [FlowsOnMiddlebox]
        Exact, Derived, |c| c.rx.invalid.iter().sum()),
    row!(52 ErrOption "Invalid subtype in option" ("SubtypEr" true) false "mptcperroptiondiscarded" Counter [FlowsOnMiddlebox]
        Exact, Derived, |c| c.rx.subtype_unassigned),
    row!(53 ErrOption "Option on nonexistent session" ("OptSesEr" true) false "mptcperroptsnosession" Counter [Flows]
        Derived, Derived, |c| c.rx.option_no_session + c.unknown.option_no_session),
    row!(54 ErrOption "Invalid remove address ID" ("REMEr" true) false "mptcperrinvalremaddr" Counter [Flows]
        Derived, Heuristic, |c| c.rx.address_unknown),
    row!(55 ErrOption "RST on bad options" ("OptRstEr" true) false "mptcperroptssendrst" Counter [Flows]
        Derived, Derived, |c| c.tx.option_reset),
    row!(56 ErrOption "Remove self address" ("RemSlfEr" true) false "mptcperrremaddrself" Counter [Flows]
        Derived, Derived, |c| c.rx.address_own),
    row!(57 ErrSteer "Add RSS filter failed" ("RssfEr" true) false "mptcperrrssffail" Counter [Flows]
        Analog, Analog, |c| all!(c.lost_sessions)),
    row!(58 ErrDss "No Payload length" ("LenEr" true) false "mptcperrnopayloadlenpkt" Counter [Flows]
        Exact, Derived, |c| c.rx.capable_no_length + c.rx.dss_no_length + c.rx.infinite_too_early),
    row!(59 ErrMss "Unsupported MSS negotiated" ("MSSErr" true) false "mptcperrunsupportedmssnegotiated" Counter []
        Policy, Policy, |c| c.rx.mss + c.tx.mss + c.unknown.mss),
    row!(60 ErrDss "MPTCP Checksum failure" ("CksumEr" true) false "mptcperrbadcksum" Counter [Flows Checksums]
        Exact, Derived, |c| c.rx.checksum_failed),
    row!(61 ErrMpc "Client crypto algo not supported" ("CryptoEr" true) false "mptcperrcryptonotsupported" Counter []
        Exact, Exact, |c| c.rx.capable_crypto),
    row!(62 ErrMpc "Client version not supported" ("VerEr" true) false "mptcperrversionnotsupported" Counter []
        Exact, Exact, |c| c.rx.capable_version),
    row!(63 ErrFallback "RST subflow on plain ACK" ("TotPArst" true) false "mptcpplainackrst" Counter [Flows]
        Exact, Derived, |c| c.rx.plain_ack_reset),
    row!(64 ErrClose "DATA_FIN on passive subflow" ("DFpasveEr" true) false "mptcperrdatafinpassive" Counter [Flows]
        Policy, Policy, |c| c.rx.fin_on_backup_refused),
    row!(65 ErrClose "FAST_CLOSE on passive subflow" ("FCpasvEr" true) false "mptcperrfastclosepassive" Counter [Flows]
        Policy, Policy, |c| c.rx.fastclose_on_backup_refused),
    row!(66 ErrClose "FAST_CLOSE received" ("FCRcvEr" true) false "mptcperrfastclose" Counter [Flows]
        Exact, Exact, |c| c.rx.fastclose_first),
    row!(67 ErrClose "FAST_CLOSE with invalid key" ("FCkeyEr" true) false "mptcperrfastclosekey" Counter [Flows]
        Exact, Exact, |c| c.rx.fastclose_key),
    row!(68 ErrFail "MP_FAIL sent" ("MPFAILst" true) false "mptcpmpfailsent" Counter [FlowsOnMiddlebox]
        Exact, Derived, |c| c.tx.fail),
    row!(69 ErrFail "MP_FAIL received" ("MPFAILrv" true) false "mptcpmpfailrecvd" Counter [FlowsOnMiddlebox]
        Exact, Derived, |c| c.rx.fail),
    row!(70 ErrDss "Packet without Sequence mapping" ("NomapEr" true) false "mptcperrnomappktrcvd" Counter [Flows]
        Derived, Derived, |c| c.rx.no_mapping),
    row!(71 ErrDss "More data than Sequence mapping" ("MrDataEr" true) false "mptcptotmoredatarcvd" Counter [Flows]
        Exact, Derived, |c| c.rx.more_data),
    row!(72 ErrDss "Invalid Sequence Map" ("InMapEr" true) false "mptcperrbadmapconndrop" Counter [Flows]
        Derived, Derived, |c| c.rx.map_reset),
    row!(73 ErrDss "Duplicate Sequence Map" ("DupmapEr" true) false "mptcperrdupmaprecvd" Counter [Flows]
        Derived, Derived, |c| c.rx.map_duplicate),
    row!(74 ErrDss "Invalid subflow sequence" ("SfnEr" true) false "mptcperrinvalidsfn" Counter [Flows]
        Policy, Policy, |c| c.rx.map_partial),
    row!(75 ErrDss "Received bad sequence map" ("BadMapEr" true) false "mptcperrmapexists" Counter [Flows]
        Derived, Derived, |c| c.rx.map_altered),
    row!(76 ErrDss "Retransmitted Data Recevied" ("RetxEr" true) false "mptcperrretxpktrcvd" Counter [Flows]
        Derived, Derived, |c| c.rx.retransmitted),
    row!(77 ErrMem "Subflow MEM ALLOC Fail" ("SfMemEr" true) false "mptcperrsfsessionallocfail" Counter [KernelHooks]
        hooks Exact, SubflowContext),
    row!(78 ErrMem "Session MEM ALLOC Fail" ("SesMemEr" true) false "mptcperrmpcapsessionallocfail" Counter [KernelHooks]
        hooks Exact, SessionChild),
    row!(79 ErrMem "Subflow connection ALLOC Fail" ("SfPcbEr" true) false "mptcptotmpcapsfpcballoc" Counter [KernelHooks]
        hooks Derived, SubflowSocket + SubflowRequest + SubflowChild),
    row!(80 ErrMem "Session connection ALLOC Fail" ("MpcbEr" true) false "mptcptotmpcballocfailed" Counter [KernelHooks]
        hooks Derived, SessionSocketV4 + SessionSocketV6 + SessionChild),
    row!(81 ErrMem "Output packet MEM ALLOC Fail" ("PktMemEr" true) false "mptcperrnsballocfailed" Counter [KernelHooks]
        hooks Exact, OutputSegment),
    row!(82 ErrMem "Output packet without subflow" ("PktSfEr" true) false "mptcperrnosffreensb" Counter [Flows]
        Analog, Unavailable, |c| c.tx.dss_no_subflow),
    row!(83 ErrMpc "MPTCP V1 Invalid Data_Key Seq" ("V1DataPriorToKey" true) false "mptcperrv1datapriortokey" Counter [Flows]
        Exact, Exact, |c| c.rx.data_before_key),
];
