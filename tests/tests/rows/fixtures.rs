//! For each counter that needs no state: a packet that moves it, and a near miss that does not.

use anyhow::{Context as _, Result, ensure};
use mptcp_common::{counter::Counters, counter::Gauges, counter::Role, engine::SynPolicy};
use mptcp_tests::{
    differential::Differential,
    frame::{ACK, FIN, Frame, RST, SYN, SYN_ACK, option, sized},
    kernel::{self, Kernel, Program},
    root::is_root,
};
use mptcp_user::offline;
use mptcp_user::statistics::{EXTRAS, ROWS};

const MPC_V1: [u8; 4] = [30, 4, 0x01, 0x01];

/// A DSS with these flags, and the rest of its bytes.
fn dss(flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut body = vec![flags];
    body.extend(rest);
    option(2, 0, &body)
}

/// A mapping with an 8-byte DSN: DSN 5, SSN 1, and the data-level length.
fn map8(length: u16) -> Vec<u8> {
    [
        &[0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1],
        &length.to_be_bytes()[..],
    ]
    .concat()
}

fn mss(value: u16) -> Vec<u8> {
    [&[2, 4], &value.to_be_bytes()[..]].concat()
}

fn join_syn(nibble: u8, id: u8) -> Vec<u8> {
    option(1, nibble, &[id, 1, 2, 3, 4, 5, 6, 7, 8])
}

/// An MP_CAPABLE SYN of version 1 with flags.
fn capable(flags: u8) -> Vec<u8> {
    vec![30, 4, 0x01, flags]
}

pub(crate) struct Fixture {
    pub(crate) row: &'static str,
    program: Program,
    moves: Frame,
    near_miss: Frame,
    /// What makes the difference.
    pub(crate) because: &'static str,
}

/// Received on a host.
fn rx(row: &'static str, moves: Frame, near_miss: Frame, because: &'static str) -> Fixture {
    Fixture {
        row,
        program: Program::XdpIngress,
        moves,
        near_miss,
        because,
    }
}

/// Sent by a host.
fn tx(row: &'static str, moves: Frame, near_miss: Frame, because: &'static str) -> Fixture {
    Fixture {
        row,
        program: Program::TcEgress,
        moves,
        near_miss,
        because,
    }
}

fn f(flags: u8, options: &[u8], payload: usize) -> Frame {
    Frame::new(flags, options, payload)
}

#[rustfmt::skip]
pub(crate) fn fixtures() -> Vec<Fixture> {
    let ack4 = dss(0x01, &[0, 0, 0, 9]);
    let ack8 = dss(0x03, &[0, 0, 0, 0, 0, 0, 0, 9]);
    let map = |length| dss(0x0c, &map8(length));
    let map4 = dss(0x04, &[0, 0, 0, 5, 0, 0, 0, 1, 0, 10]);
    let infinite = dss(0x0c, &[&map8(0)[..], &[0, 0]].concat());
    let not_infinite = dss(0x0c, &[&map8(0)[..], &[0, 1]].concat());
    let fin = |length| dss(0x1c, &map8(length));
    let fail = sized(12, &[0x60]);
    let close = sized(12, &[0x70]);
    let reset = [30, 4, 0x80, 1];
    let join_ack = sized(24, &[0x10]);
    let capable_ack = sized(20, &[0x01, 0x01]);
    let v0_syn = sized(12, &[0x00, 0x01]);
    let prio = |backup: u8| vec![30, 3, 0x50 | backup];
    vec![
        rx("MPSYN", f(SYN, &MPC_V1, 0), f(SYN, &sized(5, &[1, 1]), 0), "v1 has length 4"),
        rx("MPSYN", f(SYN, &v0_syn, 0), f(SYN_ACK, &v0_syn, 0), "a SYN/ACK is none"),
        rx("MPSYN", f(SYN, &sized(9, &[0x02, 1]), 0), f(SYN | RST, &sized(9, &[0x02, 1]), 0), "RST"),
        rx("MPV1SYN", f(SYN, &MPC_V1, 0), f(SYN, &v0_syn, 0), "v0"),
        rx("MPV1SYN", f(SYN, &MPC_V1, 0), f(SYN, &sized(4, &[0x02, 1]), 0), "v2"),
        tx("SYNACK", f(SYN_ACK, &sized(12, &[1, 1]), 0), f(SYN_ACK, &sized(20, &[1, 1]), 0), "length 12"),
        rx("JoinSYN", f(SYN, &join_syn(0, 1), 0), f(SYN, &sized(11, &[0x10]), 0), "length 12"),
        tx("SFsynack", f(SYN_ACK, &sized(16, &[0x10]), 0), f(SYN_ACK, &sized(12, &[0x10]), 0), "length 16"),
        rx("TotDSS", f(ACK, &ack4, 0), f(ACK, &sized(3, &[0x20]), 0), "a DSS has 4 bytes at least"),
        tx("TotDSS", f(ACK, &ack4, 0), f(SYN, &ack4, 0), "no DSS on a SYN"),
        rx("DSSrcv", f(ACK, &ack4, 0), f(ACK, &sized(10, &[0x20, 1]), 0), "a checksum needs a mapping"),
        rx("DSSrcv", f(ACK, &sized(4, &[0x20]), 0), f(ACK, &sized(4, &[0x20, 0x10]), 0), "DATA_FIN needs a mapping"),
        tx("DSSsnd", f(ACK, &ack4, 0), f(ACK, &sized(9, &[0x20, 1]), 0), "length 8"),
        rx("DSSA", f(ACK, &ack4, 0), f(ACK, &map(1), 1), "no A"),
        rx("DSSa", f(ACK, &ack8, 0), f(ACK, &ack4, 0), "4 bytes"),
        rx("DSSa", f(ACK, &ack8, 0), f(ACK, &sized(4, &[0x20, 0x02]), 0), "a without A means nothing"),
        rx("SeqMapM", f(ACK, &map(10), 10), f(ACK, &ack8, 10), "no M"),
        rx("SeqMapm", f(ACK, &map(10), 10), f(ACK, &map4, 10), "4 bytes"),
        rx("InfMapFg", f(ACK, &map(0), 1), f(ACK, &map(1), 1), "length 1"),
        rx("InfMapFg", f(ACK, &infinite, 1), f(ACK, &not_infinite, 1), "checksum 1"),
        rx("LDataLen", f(ACK, &map(10), 9), f(ACK, &map(10), 10), "all of it is there"),
        rx("LDataLen", f(ACK, &map(1), 0), f(ACK, &fin(1), 0), "the DATA_FIN takes no payload"),
        rx("LDataLen", f(ACK, &fin(11), 9), f(ACK, &fin(11), 10), "the DATA_FIN takes no payload"),
        rx("PrioBkup", f(ACK, &prio(1), 0), f(ACK, &prio(0), 0), "B clear"),
        rx("PrioBkup", f(ACK, &[30, 4, 0x51, 7], 0), f(ACK, &sized(5, &[0x51]), 0), "v0 has length 4"),
        rx("ExtnFlEr", f(SYN, &capable(0x41), 0), f(SYN, &capable(0x81), 0), "A and not B"),
        rx("ResFlgEr", f(SYN, &capable(0x03), 0), f(SYN, &capable(0x21), 0), "C has a meaning in v1"),
        rx("ResFlgEr", f(SYN, &sized(12, &[0x00, 0x21]), 0), f(SYN, &v0_syn, 0), "C has none in v0"),
        rx("CryptoEr", f(SYN, &capable(0x80), 0), f(SYN, &capable(0x81), 0), "H"),
        rx("VerEr", f(SYN, &sized(4, &[0x02, 1]), 0), f(SYN, &MPC_V1, 0), "v1"),
        rx("VerEr", f(SYN, &sized(12, &[0x0f, 1]), 0), f(SYN, &sized(4, &[0x00, 1]), 0), "a wrong length is no version"),
        rx("addridEr", f(SYN, &join_syn(0, 0), 0), f(SYN, &join_syn(0, 1), 0), "id 1"),
        rx("OPTEr", f(ACK, &[30, 2], 0), f(ACK, &[29, 2], 0), "another kind"),
        rx("OPTEr", f(ACK, &[1, 1, 1, 30], 0), f(ACK, &[1, 1, 1, 1], 0), "a kind without length"),
        rx("OPTEr", f(ACK, &[30, 12, 0x20, 1], 0), f(ACK, &[0, 12, 0x20, 1], 0), "behind an EOL"),
        rx("OPTEr", f(ACK, &sized(7, &[0x31]), 0), f(ACK, &sized(8, &[0x31]), 0), "an echo"),
        rx("OPTEr", f(ACK, &sized(16, &[0x31]), 0), f(ACK, &sized(16, &[0x30]), 0), "an echo has no HMAC"),
        rx("OPTEr", f(ACK, &sized(8, &[0x36]), 0), f(ACK, &sized(8, &[0x34]), 0), "v0, IPv4"),
        rx("OPTEr", f(ACK, &sized(3, &[0x40]), 0), f(ACK, &sized(4, &[0x40, 5]), 0), "an address"),
        rx("OPTEr", f(ACK, &reset, 0), f(RST, &reset, 0), "a RST"),
        rx("OPTEr", f(ACK, &sized(22, &[1, 1]), 0), f(ACK, &sized(22, &[1, 1]), 9), "payload"),
        rx("OPTEr", f(ACK, &sized(20, &[2, 1]), 0), f(ACK, &capable_ack, 0), "v1"),
        rx("OPTEr", f(SYN_ACK, &sized(12, &[2, 1]), 0), f(SYN_ACK, &sized(12, &[1, 1]), 0), "v1"),
        rx("OPTEr", f(ACK, &[&ack4[..], &ack4].concat(), 0), f(ACK, &[&ack4[..], &fail].concat(), 0), "once each"),
        rx("OPTEr", f(SYN, &[&MPC_V1[..], &join_syn(0, 1)].concat(), 0), f(SYN, &[&[1, 1, 1, 1], &join_syn(0, 1)[..]].concat(), 0), "alone"),
        rx("OPTEr", f(RST, &[&close[..], &fail].concat(), 0), f(RST, &[&close[..], &reset].concat(), 0), "MP_FASTCLOSE goes with MP_TCPRST"),
        rx("OPTEr", f(ACK, &[&fail[..], &prio(1)].concat(), 0), f(ACK, &[&ack4[..], &prio(1)].concat(), 0), "MP_FAIL goes with DSS"),
        rx("OPTEr", f(ACK, &[&sized(20, &[1, 1])[..], &ack4].concat(), 0), f(ACK, &[&sized(20, &[0, 1])[..], &ack4].concat(), 0), "v0 has both"),
        rx("OPTEr", f(ACK, &[&sized(20, &[1, 1])[..], &sized(16, &[0x30])].concat(), 0), f(ACK, &[&ack4[..], &sized(16, &[0x30])].concat(), 0), "ADD_ADDR goes with DSS"),
        rx("OPTEr", f(ACK, &[&join_ack[..], &sized(16, &[0x30])].concat(), 0), f(ACK, &[&join_ack[..], &sized(8, &[0x34])].concat(), 0), "v0 has both"),
        rx("OPTEr", f(ACK, &sized(25, &[0x10]), 0), f(ACK, &[&join_ack[..], &prio(1), &sized(4, &[0x40, 1])].concat(), 0), "MP_PRIO and REMOVE_ADDR go with MP_JOIN"),
        rx("OPTEr", f(ACK, &[30, 12, 0x80, 0], 0), f(ACK, &[30, 12, 0x90, 0], 0), "past the end, but unassigned"),
        rx("OPTEr", f(ACK, &[30, 12, 0x20, 0], 0), f(ACK, &[30, 12, 0xf0, 0], 0), "past the end, but private use"),
        rx("SubtypEr", f(ACK, &[30, 12, 0x90, 0], 0), f(ACK, &[30, 12, 0xf0, 0], 0), "private use, past the end"),
        rx("SubtypEr", f(ACK, &[30, 4, 0x90, 0], 0), f(ACK, &[30, 4, 0xf0, 0], 0), "private use"),
        rx("SubtypEr", f(ACK, &[30, 3, 0xe0], 0), f(ACK, &[30, 4, 0x50, 0], 0), "MP_PRIO"),
        rx("LenEr", f(ACK, &fin(0), 0), f(ACK, &fin(1), 0), "DATA_FIN has length 1"),
        rx("LenEr", f(ACK, &not_infinite, 1), f(ACK, &infinite, 1), "an infinite mapping"),
        rx("MSSErr", f(SYN, &[&mss(535)[..], &MPC_V1].concat(), 0), f(SYN, &[&mss(536)[..], &MPC_V1].concat(), 0), "the limit"),
        rx("MSSErr", f(SYN_ACK, &[&[2, 3, 9, 1], &sized(16, &[0x10])[..]].concat(), 0), f(SYN_ACK, &sized(16, &[0x10]), 0), "absent is 536"),
        rx("MSSErr", f(SYN, &[&mss(0)[..], &MPC_V1].concat(), 0), f(SYN, &mss(0), 0), "not MPTCP"),
        rx("MSSErr", Frame { ipv6: true, ..f(SYN, &[&mss(1219)[..], &MPC_V1].concat(), 0) }, Frame { ipv6: true, ..f(SYN, &[&mss(1220)[..], &MPC_V1].concat(), 0) }, "the limit over IPv6"),
        rx("MSSErr", f(SYN, &[&MPC_V1[..], &[2, 8, 5, 0xb4]].concat(), 0), f(SYN, &[&MPC_V1[..], &[3, 8, 5, 0xb4]].concat(), 0), "an MSS that runs past the end"),
        rx("MSSErr", f(SYN, &[&MPC_V1[..], &[2, 0, 0, 0]].concat(), 0), f(SYN, &[&MPC_V1[..], &[0, 2, 0, 0]].concat(), 0), "an MSS of length 0"),
        rx("MSSErr", f(SYN, &[&MPC_V1[..], &[1, 1, 1, 2]].concat(), 0), f(SYN, &[&MPC_V1[..], &[1, 1, 1, 1]].concat(), 0), "an MSS without length"),
        rx("MSSErr", f(SYN, &[&mss(100)[..], &MPC_V1].concat(), 0), f(SYN, &[&mss(100)[..], &sized(5, &[1, 1])].concat(), 0), "an MP_CAPABLE that is ignored"),
        tx("MPFAILst", f(ACK, &fail, 0), f(ACK, &sized(11, &[0x60]), 0), "length 12"),
        rx("MPFAILrv", f(RST, &fail, 0), f(SYN, &fail, 0), "not on a SYN"),
        rx("FinalACKPkts", f(ACK, &capable_ack, 0), f(ACK, &sized(18, &[1, 1]), 0), "length 20"),
        rx("FinalACKPkts", f(ACK, &sized(24, &[1, 1]), 5), f(ACK, &sized(24, &[0, 1]), 5), "v0 has no 24"),
        rx("MpcMap", f(ACK, &sized(22, &[1, 1]), 5), f(ACK, &capable_ack, 5), "no length"),
        rx("SFFACKPkts", f(ACK, &join_ack, 0), f(SYN_ACK, &join_ack, 0), "not on a SYN/ACK"),
        rx("JoinBkup", f(SYN, &join_syn(1, 1), 0), f(SYN, &join_syn(0, 1), 0), "B clear"),
        rx("RxFinPkts", f(ACK, &fin(1), 0), f(ACK, &map(1), 1), "F clear"),
        tx("TxFinPkts", f(ACK, &fin(1), 0), f(ACK, &map(1), 1), "F clear"),
        tx("SfFinPkts", f(FIN | ACK, &ack4, 0), f(FIN | ACK, &[], 0), "no MPTCP option"),
        rx("TcpRstRx", f(RST, &reset, 0), f(RST, &sized(5, &[0x80]), 0), "length 4"),
        rx("AddAddrRx", f(ACK, &sized(28, &[0x30]), 0), f(ACK, &sized(20, &[0x31]), 0), "an echo"),
        rx("AddAddrEchoRx", f(ACK, &sized(22, &[0x31]), 0), f(ACK, &sized(22, &[0x36]), 0), "v0"),
        rx("AddAddrPortRx", f(ACK, &sized(18, &[0x30]), 0), f(ACK, &sized(16, &[0x30]), 0), "no port"),
        rx("RmAddrRx", f(ACK, &sized(6, &[0x40, 1, 2, 3]), 0), f(SYN, &sized(6, &[0x40, 1]), 0), "not on a SYN"),
        rx("DssChecksum", f(ACK, &infinite, 1), f(ACK, &map(0), 1), "no checksum"),
        rx("ReservedBits", f(ACK, &sized(4, &[0x20, 0x20]), 0), f(ACK, &sized(4, &[0x20, 0x08]), 0), "m is known"),
        rx("ReservedBits", f(ACK, &sized(4, &[0x41, 5]), 0), f(ACK, &sized(4, &[0x40, 5]), 0), "REMOVE_ADDR has four"),
        rx("ReservedBits", f(ACK, &sized(16, &[0x3e]), 0), f(ACK, &sized(8, &[0x34]), 0), "the IP version in v0"),
        rx("RstOddOpt", f(RST, &ack4, 0), f(RST, &fail, 0), "MP_FAIL may be there"),
        rx("ExpOpt", f(ACK, &[30, 3, 0xf0], 0), f(ACK, &[30, 3, 0xe0], 0), "unassigned"),
    ]
}

/// The number of a row or of a further number, on a host.
fn value(name: &str, counters: &Counters) -> Result<u64> {
    if let Some(row) = ROWS.iter().find(|row| row.short == name) {
        return row
            .total(counters, Some(&Gauges::default()), Role::Host)
            .with_context(|| format!("{name} has no number"));
    }
    let extra = EXTRAS
        .iter()
        .find(|extra| extra.name == name)
        .with_context(|| name.to_owned())?;
    extra
        .total(counters, Role::Host)
        .with_context(|| format!("{name} has no number"))
}

/// What packets say by themselves: no fixture depends on the one before.
fn stateless() -> offline::Config {
    let mut config = kernel::host();
    config.scope.is_tracking = false;
    config
}

#[test]
fn each_counter_moves_and_has_a_near_miss() -> Result<()> {
    let mut engines = Differential::as_permitted(stateless())?;
    for Fixture {
        row,
        program,
        moves,
        near_miss,
        because,
    } in fixtures()
    {
        let context = || format!("{row} ({because})");
        let ingress = program != Program::TcEgress;
        let moved = value(
            row,
            &engines
                .frame(&moves.bytes(), ingress)
                .with_context(context)?,
        )?;
        ensure!(
            moved == 1,
            "{row} moved by {moved} and not by 1: {:02x?}",
            moves.options
        );
        let missed = value(
            row,
            &engines
                .frame(&near_miss.bytes(), ingress)
                .with_context(context)?,
        )?;
        ensure!(
            missed == 0,
            "{row} moved in spite of: {because}: {:02x?}",
            near_miss.options
        );
    }
    Ok(())
}

/// `attach --min-mss-v4 1000 --min-mss-v6 1300 --v1-only`
#[test]
fn policy_rows_go_by_the_policy() -> Result<()> {
    let policy = SynPolicy {
        min_mss_v4: 1000,
        min_mss_v6: 1300,
        version_0: false,
    };
    let mut strict = Differential::as_permitted(offline::Config {
        policy,
        ..kernel::host()
    })?;
    let mut usual = Differential::as_permitted(kernel::host())?;
    let v0_syn = sized(12, &[0x00, 0x01]);
    for (ipv6, size, is_refused) in [
        (false, 999, 1),
        (false, 1000, 0),
        (true, 1299, 1),
        (true, 1300, 0),
    ] {
        let options = [&mss(size)[..], &MPC_V1].concat();
        let frame = Frame {
            ipv6,
            ..f(SYN, &options, 0)
        }
        .bytes();
        let refused = |engines: &mut Differential| -> Result<u64> {
            value("MSSErr", &engines.frame(&frame, true)?)
        };
        ensure!(
            refused(&mut strict)? == is_refused,
            "IPv6 {ipv6}, MSS {size}"
        );
        ensure!(
            refused(&mut usual)? == 0,
            "IPv6 {ipv6}, MSS {size}, by default"
        );
    }
    for (options, wanted) in [(&v0_syn[..], 1), (&MPC_V1, 0)] {
        let frame = f(SYN, options, 0).bytes();
        let counted = strict.frame(&frame, true)?;
        ensure!(value("VerEr", &counted)? == wanted && value("MPSYN", &counted)? == 1);
        ensure!(value("VerEr", &usual.frame(&frame, true)?)? == 0);
    }
    Ok(())
}

#[test]
fn the_three_programs_count_alike() -> Result<()> {
    if !is_root("that the three programs in the kernel count alike") {
        return Ok(());
    }
    let mut kernel = Kernel::with(stateless())?;
    for Fixture { row, moves, .. } in fixtures() {
        let frame = moves.bytes();
        let xdp = kernel.run(Program::XdpIngress, &frame)?;
        let ingress = kernel.run(Program::TcIngress, &frame)?;
        let egress = kernel.run(Program::TcEgress, &frame)?;
        ensure!(xdp == ingress, "{row}: XDP and TC differ on ingress");
        ensure!(
            (xdp.rx, xdp.leaves) == (egress.tx, egress.leaves),
            "{row}: ingress and egress"
        );
    }
    Ok(())
}
