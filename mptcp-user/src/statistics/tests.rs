//! The rows and the raw counters hold together.

use std::collections::BTreeSet;

use mptcp_common::counter::{Counters, DirectionCounters, FexitHook, Gauges, Role};

use super::{Advice, EXTRAS, Need, Quality, ROWS, Row, RowKind, Severity};

#[test]
fn rows_are_numbered_and_named_once() {
    for (i, row) in ROWS.iter().enumerate() {
        assert_eq!(usize::from(row.number), i + 1);
    }
    let names =
        |name: fn(&Row) -> &'static str| ROWS.iter().map(name).collect::<BTreeSet<_>>().len();
    assert_eq!((names(|row| row.short), names(|row| row.nitro)), (83, 83));
    let extras: BTreeSet<_> = EXTRAS.iter().map(|extra| extra.name).collect();
    assert_eq!(extras.len(), EXTRAS.len());
    assert!(ROWS.iter().all(|row| !extras.contains(row.short)));
    assert_eq!(
        ROWS.iter().filter(|row| row.kind == RowKind::Gauge).count(),
        5
    );
}

#[test]
fn a_row_has_a_number_or_is_unavailable() {
    for row in &ROWS {
        for role in [Role::Host, Role::Middlebox] {
            let is_known = row
                .total(&Counters::default(), Some(&Gauges::default()), role)
                .or(row.failures(&[Some(0); FexitHook::ALL.len()], role))
                .is_some();
            assert_eq!(
                is_known,
                row.quality(role) != Quality::Unavailable,
                "{}",
                row.short
            );
        }
    }
}

/// A row of hooks has no number unless each of them counts, and each of them feeds a row.
#[test]
fn a_missing_hook_is_no_zero() {
    for (i, hook) in FexitHook::ALL.into_iter().enumerate() {
        assert_eq!(hook as usize, i);
        let mut counts = [Some(1); FexitHook::ALL.len()];
        counts[i] = None;
        let is_fed = |row: &&Row| row.hooks().is_some_and(|hooks| hooks.contains(&hook));
        assert!(ROWS.iter().any(|row| is_fed(&row)), "{hook:?}");
        for row in &ROWS {
            let wanted = row
                .hooks()
                .filter(|_| !is_fed(&row))
                .map(|hooks| hooks.len() as u64);
            assert_eq!(row.failures(&counts, Role::Host), wanted, "{}", row.short);
        }
    }
}

/// Every raw counter is in some row or further number: none is kept for nothing.
#[test]
fn every_event_is_shown() {
    let words = size_of::<DirectionCounters>() / 8;
    let mut index = 0;
    for (name, length, _) in DirectionCounters::FIELDS {
        for i in 0..*length {
            let mut events = vec![0_u64; words];
            events[index + i] = 1;
            let events: DirectionCounters =
                bytemuck::pod_read_unaligned(bytemuck::cast_slice(&events));
            let counters = Counters {
                rx: events,
                tx: events,
                unknown: events,
                ..Counters::default()
            };
            let shown = ROWS
                .iter()
                .any(|row| row.total(&counters, Some(&Gauges::default()), Role::Host) > Some(0))
                || EXTRAS
                    .iter()
                    .any(|extra| extra.total(&counters, Role::Host) > Some(0));
            // The options by subtype are shown as such.
            assert!(
                shown || name.starts_with("option"),
                "{name}[{i}] is in no number"
            );
        }
        index += length;
    }
    assert_eq!(index, words);
}

#[test]
fn a_middlebox_claims_no_direction_it_does_not_know() {
    let mut counters = Counters::default();
    counters.unknown.dss_flags[0] = 5;
    let row = |short| ROWS.iter().find(|row| row.short == short).expect("a row");
    let gauges = Gauges::default();
    let total = |short, gauges| row(short).total(&counters, gauges, Role::Middlebox);
    assert_eq!(total("TotDSS", Some(&gauges)), Some(5));
    assert_eq!(total("DSSrcv", Some(&gauges)), Some(0));
    // Without following flows no packet has a direction.
    assert_eq!(total("TotDSS", None), Some(5));
    assert_eq!(total("DSSrcv", None), None);
}

/// What a row is made of and what it says that it needs hold together.
#[test]
fn a_row_needs_what_it_is_made_of() {
    for row in &ROWS {
        assert_eq!(
            row.needs(Need::KernelHooks),
            row.hooks().is_some(),
            "{}",
            row.short
        );
        let is_gauge = row.kind == RowKind::Gauge;
        assert!(!is_gauge || row.needs(Need::Flows), "{}", row.short);
    }
    let known = |role| ROWS.iter().filter(|row| row.is_stateless(role)).count();
    assert_eq!((known(Role::Host), known(Role::Middlebox)), (25, 13));
}

/// Rows and further numbers that say nothing of health. A new one is either here or says what it means.
const NEUTRAL: &str = "TotSess TotV1Sess subCon CurSess CurV1Sess CurSF PendSF MPSYN MPV1SYN ConSter ConReq SYNACK \
    FinalACK JoinSYN SFsteer SFsynack SFFACK FACKVald TotSFRep PendRep SFfrhACK REMAddr TotDSS DSSrcv DSSsnd DSSA DSSa \
    FreshAck SeqMapM SeqMapm LDataLen PrioBkup ClrBkup TxFin RxFin SfFin \
    MPSYNtx SYNACKrx FinalACKPkts FinalACKPktsTx MpcMap JoinSYNtx SFsynackRx SFFACKPkts SFFACKPktsTx JoinBkup JoinBkupTx \
    RxFinPkts TxFinPkts SfFinPkts SfFinPktsRx DSSunknown DssChecksum LDataLenTx AddAddrRx AddAddrTx AddAddrEchoRx \
    AddAddrEchoTx AddAddrPortRx AddAddrPortTx RmAddrRx RmAddrTx PrioBkupTx PrioClearRx PrioClearTx TcpRstRx TcpRstTx \
    RstOddOpt ExpOpt ReservedBits FinalACKtx MPSYNretx MPSYNretxTx SYNACKretx subConJoin JoinSYNretx JoinSYNretxTx \
    JoinSynackRetx JoinSynackRetxRx JoinAckRetx SFFACKtx FACKValdRx JoinHmacUnverified PendRepTx TotSFRepTx SFfrhACKtx \
    REMAddrTx RmAddrUnknown AddAddrUnverified ClrBkupTx PrioElsewhere SfFinRx DataFinOnBackup FastcloseOnBackup FCRetx \
    FCunverified MPFAILresp MapRepeat MapReinject RetxSubflow RemapSubflow Reinject CsumVerified CsumUnverified \
    UnknownFlow TcpRstTransient";

#[test]
fn each_number_is_a_failure_or_normal_or_neutral() {
    let rows = ROWS.iter().map(|row| row.short);
    let all: BTreeSet<_> = rows.chain(EXTRAS.iter().map(|extra| extra.name)).collect();
    let named: Vec<_> = NEUTRAL.split_whitespace().chain(Advice::names()).collect();
    let once: BTreeSet<_> = named.iter().copied().collect();
    assert_eq!(named.len(), once.len(), "a name stands twice");
    assert_eq!(all, once);
    let errors = ROWS.iter().filter(|row| row.group.is_error());
    for row in errors {
        assert_ne!(row.advice().severity, Severity::Neutral, "{}", row.short);
    }
}

#[test]
fn what_failed_says_what_to_do_next() {
    for name in Advice::names() {
        let Advice {
            severity,
            meaning,
            next,
            instead,
        } = Advice::of(name);
        assert_ne!(severity, Severity::Neutral, "{name}");
        assert!(!meaning.is_empty(), "{name}");
        let is_failure = severity == Severity::Failure;
        assert_eq!(is_failure, !next.is_empty(), "{name}");
        assert_eq!(is_failure, meaning.ends_with('.'), "{name}");
        for other in instead {
            assert_eq!(Advice::of(other).severity, Severity::Failure, "{name}");
            assert_ne!(other, &name);
        }
    }
}
