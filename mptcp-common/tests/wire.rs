//! The decoder on options that were seen on wires, and on those that were not.

use std::net::{Ipv4Addr, Ipv6Addr};

use mptcp_common::wire::{
    AddAddr, Address, CapableFlags, Dss, DssFlags, Error, Fault, Key, MpCapable, MpFail,
    MpFastclose, MpJoin, MpPrio, MpTcpRst, Mptcp, Nonce, Segment, SequenceNumber, TcpFlags, decode,
};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = 0x12;
const RST: u8 = 0x04;

fn on(flags: u8, has_payload: bool, hex: &str) -> Vec<Result<Mptcp, Error>> {
    let bytes: Vec<u8> = (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hexadecimal"))
        .collect();
    let mut all = Vec::new();
    decode(
        &bytes,
        Segment {
            flags: TcpFlags(flags),
            has_payload,
        },
        |option| all.push(option),
    );
    all
}

fn one(flags: u8, has_payload: bool, hex: &str) -> Mptcp {
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
    let syn = capable(one(SYN, false, "1e040101"));
    assert_eq!(
        syn,
        MpCapable {
            version: 1,
            flags: CapableFlags(0x01),
            sender_key: None,
            receiver_key: None,
            data_length: None,
            checksum: None,
        }
    );
    let syn_ack = capable(one(SYN_ACK, false, "1e0c0101081ff63b38e80105"));
    assert_eq!(syn_ack.sender_key, Some(Key(0x081f_f63b_38e8_0105)));
    // The first data: keys of both, 3 bytes, a checksum.
    let data = capable(one(
        ACK,
        true,
        "1e1801819078c30663ba022da093168ad2cc482e000391df",
    ));
    assert_eq!(data.sender_key, Some(Key(0x9078_c306_63ba_022d)));
    assert_eq!(data.receiver_key, Some(Key(0xa093_168a_d2cc_482e)));
    assert_eq!((data.data_length, data.checksum), (Some(3), Some(0x91df)));
    assert!(data.flags.any(CapableFlags::CHECKSUM_REQUIRED));
}

#[test]
fn joins() {
    assert_eq!(
        one(SYN, false, "1e0c10053286abc1c5003625"),
        Mptcp::MpJoin(MpJoin::Syn {
            backup: false,
            address_id: 5,
            token: 0x3286_abc1,
            nonce: Nonce(0xc500_3625),
        })
    );
    assert_eq!(
        one(SYN_ACK, false, "1e101100f214aae10c35b196163c1537"),
        Mptcp::MpJoin(MpJoin::SynAck {
            backup: true,
            address_id: 0,
            hmac: 0xf214_aae1_0c35_b196,
            nonce: Nonce(0x163c_1537),
        })
    );
    let ack = "1e18100061f5250bf81a71dc7dfd1fef8b57eadd36502a70";
    let Mptcp::MpJoin(MpJoin::Ack { hmac }) = one(ACK, false, ack) else {
        panic!("no ACK form")
    };
    assert_eq!((hmac[0], hmac[19]), (0x61, 0x70));
}

#[test]
fn data_sequence_signals() {
    let dss = |hex| match one(ACK, true, hex) {
        Mptcp::Dss(dss) => dss,
        other => panic!("{other:?}"),
    };
    let ack = dss("1e08200100000009");
    assert_eq!(ack.data_ack, Some(SequenceNumber::Low(9)));
    assert_eq!(
        (ack.data_sequence, ack.data_length, ack.checksum),
        (None, None, None)
    );
    // Everything 8 bytes, DATA_FIN and checksum: the longest form.
    let all = dss("1e1c201f000000000000000900000000000000080000000700065555");
    assert_eq!(
        all,
        Dss {
            flags: DssFlags(0x1f),
            data_ack: Some(SequenceNumber::Full(9)),
            data_sequence: Some(SequenceNumber::Full(8)),
            subflow_sequence: Some(7),
            data_length: Some(6),
            checksum: Some(0x5555),
        }
    );
    let short = dss("1e0e20040000000800000007000a0101");
    assert_eq!(short.data_sequence, Some(SequenceNumber::Low(8)));
    assert_eq!(
        (short.subflow_sequence, short.data_length),
        (Some(7), Some(10))
    );
    assert_eq!(fault(ACK, "1e0420100101").fault, Fault::Flags);
}

#[test]
fn addresses() {
    let v4 = "1e1030090a4d0202360f1fd4dee8e776";
    let address = Address {
        ip: Ipv4Addr::new(10, 77, 2, 2).into(),
        port: None,
    };
    let hmac = Some(0x360f_1fd4_dee8_e776);
    assert_eq!(
        one(ACK, false, v4),
        Mptcp::AddAddr(AddAddr {
            address_id: 9,
            address,
            echo: false,
            hmac
        })
    );
    let v6 = "1e163101fd0000000000000000000000000000011f90";
    let ip = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into();
    let address = Address {
        ip,
        port: Some(8080),
    };
    assert_eq!(
        one(ACK, false, v6),
        Mptcp::AddAddr(AddAddr {
            address_id: 1,
            address,
            echo: true,
            hmac: None
        })
    );
    let Mptcp::RemoveAddr(removed) = one(ACK, false, "1e0640050607") else {
        panic!("no REMOVE")
    };
    assert_eq!(removed.address_ids(), [5, 6, 7]);
}

#[test]
fn short_options() {
    let prio = |backup, address_id| Mptcp::MpPrio(MpPrio { backup, address_id });
    assert_eq!(one(ACK, false, "1e035101"), prio(true, None));
    assert_eq!(one(ACK, false, "1e045007"), prio(false, Some(7)));
    assert_eq!(
        one(ACK, false, "1e0c60000000000000000005"),
        Mptcp::MpFail(MpFail { data_sequence: 5 })
    );
    assert_eq!(
        on(RST, false, "1e0c700000000000000000061e048101"),
        [
            Ok(Mptcp::MpFastclose(MpFastclose {
                receiver_key: Key(6)
            })),
            Ok(Mptcp::MpTcpRst(MpTcpRst {
                transient: true,
                reason: 1
            })),
        ]
    );
    assert_eq!(one(ACK, false, "1e04f000"), Mptcp::Experimental);
    assert_eq!(one(ACK, false, "1e049000"), Mptcp::Unassigned(9));
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
        text.contains("Nonce(..)") && !text.to_lowercase().contains("7b7b"),
        "{text}"
    );
}

/// Every string of up to 3 bytes, and many longer ones, decode without panic and with positions
/// inside of the area.
#[test]
fn no_bytes_are_too_odd() {
    let check = |bytes: &[u8]| {
        for flags in [SYN, SYN_ACK, ACK, RST, 0x06] {
            for has_payload in [false, true] {
                decode(
                    bytes,
                    Segment {
                        flags: TcpFlags(flags),
                        has_payload,
                    },
                    |option| {
                        if let Err(error) = option {
                            assert!(
                                usize::from(error.at) < bytes.len().max(1),
                                "{error} {bytes:x?}"
                            );
                        }
                    },
                );
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
