//! The decoder on options that were seen on wires, and on those that were not.

use std::net::{Ipv4Addr, Ipv6Addr};

use mptcp_common::wire::{
    AddAddr, Address, Area, CapableFlags, Dss, DssFlags, Error, Fault, JoinForm, Key, MpCapable,
    MpJoin, Mptcp, Nonce, Segment, TcpFlags, decode,
};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = 0x12;
const RST: u8 = 0x04;

fn on(flags: u8, has_payload: bool, hex: &str) -> Vec<Result<Mptcp<'static>, Error>> {
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal"))
        .collect();
    let mut all = Vec::new();
    // Options are views of their area.
    let area = Box::leak(Box::new(Area::from_bytes(&bytes)));
    let segment = Segment {
        flags: TcpFlags(flags),
        has_payload,
    };
    decode(area, bytes.len(), segment, |option| all.push(option));
    all
}

fn one(flags: u8, has_payload: bool, hex: &str) -> Mptcp<'static> {
    match on(flags, has_payload, hex).as_slice() {
        [Ok(option)] => *option,
        other => panic!("{hex}: {other:?}"),
    }
}

fn fault(flags: u8, hex: &str) -> Error {
    match on(flags, false, hex).as_slice() {
        [Err(error)] => *error,
        other => panic!("{hex}: {other:?}"),
    }
}

#[test]
fn handshake_of_version_1() {
    let capable = |option| match option {
        Mptcp::MpCapable(capable) => capable,
        other => panic!("{other:?}"),
    };
    let keys = |capable: &MpCapable<'_>| (capable.sender_key(), capable.receiver_key());
    let mapping = |capable: &MpCapable<'_>| (capable.data_length(), capable.checksum());
    let syn = capable(one(SYN, false, "1e040101"));
    assert_eq!((syn.version(), syn.flags()), (1, CapableFlags(0x01)));
    assert_eq!((keys(&syn), mapping(&syn)), ((None, None), (None, None)));
    let syn_ack = capable(one(SYN_ACK, false, "1e0c0101081ff63b38e80105"));
    assert_eq!(keys(&syn_ack), (Some(Key(0x081f_f63b_38e8_0105)), None));
    // The first data: keys of both, 3 bytes, a checksum.
    let data = capable(one(
        ACK,
        true,
        "1e1801819078c30663ba022da093168ad2cc482e000391df",
    ));
    let both = [0x9078_c306_63ba_022d, 0xa093_168a_d2cc_482e].map(|key| Some(Key(key)));
    assert_eq!(keys(&data), both.into());
    assert_eq!(mapping(&data), (Some(3), Some(0x91df)));
    assert!(data.flags().any(CapableFlags::CHECKSUM_REQUIRED));
}

#[test]
fn joins() {
    let join = |flags, hex| match one(flags, false, hex) {
        Mptcp::MpJoin(join) => join,
        other => panic!("{other:?}"),
    };
    let hmac = |join: &MpJoin<'_>, words: usize| -> Vec<u32> {
        (0..words).map(|word| join.hmac_word(word)).collect()
    };
    let syn = join(SYN, "1e0c10053286abc1c5003625");
    assert_eq!(syn.form(), JoinForm::Syn);
    assert_eq!((syn.backup(), syn.address_id()), (false, 5));
    assert_eq!(
        (syn.token(), syn.syn_nonce()),
        (0x3286_abc1, Nonce(0xc500_3625))
    );
    let syn_ack = join(SYN_ACK, "1e101100f214aae10c35b196163c1537");
    assert_eq!(syn_ack.form(), JoinForm::SynAck);
    assert_eq!((syn_ack.backup(), syn_ack.address_id()), (true, 0));
    assert_eq!(hmac(&syn_ack, 2), [0xf214_aae1, 0x0c35_b196]);
    assert_eq!(syn_ack.syn_ack_nonce(), Nonce(0x163c_1537));
    let ack = join(ACK, "1e18100061f5250bf81a71dc7dfd1fef8b57eadd36502a70");
    assert_eq!(ack.form(), JoinForm::Ack);
    let wanted = [
        0x61f5_250b,
        0xf81a_71dc,
        0x7dfd_1fef,
        0x8b57_eadd,
        0x3650_2a70,
    ];
    assert_eq!(hmac(&ack, 5), wanted);
}

#[test]
fn data_sequence_signals() {
    let dss = |hex| match one(ACK, true, hex) {
        Mptcp::Dss(dss) => dss,
        other => panic!("{other:?}"),
    };
    let ack = dss("1e08200100000009");
    let wanted = Dss {
        data_ack: 9,
        head: 0x1e08_2001,
        ..Dss::default()
    };
    assert_eq!((ack, ack.flags()), (wanted, DssFlags(0x01)));
    // Everything 8 bytes, DATA_FIN and checksum: the longest form.
    let all = dss("1e1c201f000000000000000900000000000000080000000700065555");
    let wanted = Dss {
        data_ack: 9,
        data_sequence: 8,
        subflow_sequence: 7,
        data_length: 6,
        head: 0x1e1c_201f,
        checksum: 0x5555,
    };
    assert_eq!((all, all.has_checksum()), (wanted, true));
    let short = dss("1e0e20040000000800000007000a0101");
    let wanted = Dss {
        data_sequence: 8,
        subflow_sequence: 7,
        data_length: 10,
        head: 0x1e0e_2004,
        ..Dss::default()
    };
    assert_eq!((short, short.has_checksum()), (wanted, false));
    assert_eq!(fault(ACK, "1e0420100101").fault, Fault::Flags);
}

#[test]
fn addresses() {
    let announced = |hex| match one(ACK, false, hex) {
        Mptcp::AddAddr(option) => option,
        other => panic!("{other:?}"),
    };
    let facts = |option: &AddAddr<'_>| (option.address_id(), option.is_echo(), option.hmac());
    let v4 = announced("1e1030090a4d0202360f1fd4dee8e776");
    let address = Address {
        ip: Ipv4Addr::new(10, 77, 2, 2).into(),
        port: None,
    };
    assert_eq!(v4.address(), address);
    assert_eq!(facts(&v4), (9, false, Some(0x360f_1fd4_dee8_e776)));
    let v6 = announced("1e163101fd0000000000000000000000000000011f90");
    let address = Address {
        ip: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into(),
        port: Some(8080),
    };
    assert_eq!(v6.address(), address);
    assert_eq!(facts(&v6), (1, true, None));
    let Mptcp::RemoveAddr(removed) = one(ACK, false, "1e0640050607") else {
        panic!("no REMOVE")
    };
    assert!(removed.address_ids().eq([5, 6, 7]));
}

#[test]
fn short_options() {
    for (hex, backup, address_id) in [("1e035101", true, None), ("1e045007", false, Some(7))] {
        let Mptcp::MpPrio(prio) = one(ACK, false, hex) else {
            panic!("no MP_PRIO")
        };
        assert_eq!((prio.backup(), prio.address_id()), (backup, address_id));
    }
    let Mptcp::MpFail(fail) = one(ACK, false, "1e0c60000000000000000005") else {
        panic!("no MP_FAIL")
    };
    assert_eq!(fail.data_sequence(), 5);
    let ends = on(RST, false, "1e0c700000000000000000061e048101");
    let [Ok(Mptcp::MpFastclose(close)), Ok(Mptcp::MpTcpRst(rst))] = ends.as_slice() else {
        panic!("{ends:?}")
    };
    assert_eq!(close.receiver_key(), Key(6));
    assert_eq!((rst.is_transient(), rst.reason()), (true, 1));
    assert!(matches!(one(ACK, false, "1e04f000"), Mptcp::Experimental));
    assert!(matches!(one(ACK, false, "1e049000"), Mptcp::Unassigned(9)));
}

#[test]
fn errors_say_what_is_wrong_where() {
    let error = fault(ACK, "01011e07200100000001");
    assert_eq!(
        error,
        Error {
            at: 2,
            length: 7,
            subtype: Some(2),
            fault: Fault::Length
        }
    );
    assert_eq!(
        error.to_string(),
        "DSS of length 7 at byte 2 has a length that its subtype, version and segment do not allow"
    );
    assert_eq!(fault(ACK, "0101011e").fault, Fault::Short);
    assert_eq!(fault(ACK, "1e0c2001").fault, Fault::Overrun);
    assert_eq!(fault(SYN, "1e08200100000009").fault, Fault::Segment);
}

#[test]
fn secrets_are_not_printed() {
    let text = format!("{:?}", on(ACK, false, "1e0c70004b4b4b4b4b4b4b4b"));
    assert!(text.contains("Key(..)") && !text.contains("4b4b"), "{text}");
    let text = format!("{:?}", on(SYN, false, "1e0c1005000000017b7b7b7b"));
    assert!(
        !text.contains("2071690107") && !text.to_lowercase().contains("7b7b"),
        "{text}"
    );
}

/// Every string of up to 3 bytes, and many longer ones, decode without panic and with positions
/// inside of the area.
#[test]
fn no_bytes_are_too_odd() {
    let check = |bytes: &[u8]| {
        let area = Area::from_bytes(bytes);
        for flags in [SYN, SYN_ACK, ACK, RST, 0x06] {
            for has_payload in [false, true] {
                let segment = Segment {
                    flags: TcpFlags(flags),
                    has_payload,
                };
                decode(&area, bytes.len(), segment, |option| match option {
                    Ok(option) => assert!(!format!("{option:?}").is_empty()),
                    Err(error) => assert!(
                        usize::from(error.at) < bytes.len().max(1),
                        "{error} {bytes:x?}"
                    ),
                });
            }
        }
    };
    check(&[]);
    for first in 0..=255 {
        check(&[first]);
        for second in 0..=255 {
            check(&[first, second]);
            check(&[30, first, second]);
        }
    }
    let mut state = 1_u64;
    for _ in 0..15_000 {
        let mut bytes = Vec::new();
        while bytes.len() <= 40 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let byte = (state >> 56) as u8;
            bytes.push(if byte & 3 == 0 {
                30
            } else {
                byte & (state >> 48) as u8
            });
        }
        for end in 0..=40 {
            check(&bytes[..end]);
        }
    }
}
