//! A capture of version 0 (RFC 6824), which no kernel here speaks: every form that an option has
//! there, in sessions whose keys, HMACs and checksums are right.

use std::time::Duration;

use anyhow::Result;
use mptcp_user::offline::Config;

use crate::{
    conversation::Conversation,
    differential::{A, B, Differential},
    frame::{ACK, FIN, RST, dss_checksum, option, payload},
    record::Record,
};

/// Its packets, always the same.
///
/// # Errors
/// Only if the engine, which reads along, fails.
pub fn packets() -> Result<Vec<Record>> {
    let mut engines = Differential::alone(Config::default());
    engines.record();
    for checksums in [false, true] {
        let mut talk = Conversation::version_0(&mut engines);
        if checksums {
            talk.capable_flags |= 0x80;
        }
        talk.handshake()?;
        let forms = || {
            [0, 4, 8]
                .into_iter()
                .flat_map(|ack| [0, 4, 8].map(|map| (ack, map)))
        };
        for from in [A, B] {
            for (ack, map) in forms() {
                let length = if map == 0 { 0 } else { 100 + ack + map };
                let options = dss(&talk, from, [ack, map], length, false);
                talk.send(0, from, ACK, &options, length.into())?;
                talk.dsn[from] = talk.dsn[from].wrapping_add(length.into());
            }
        }
        let flow = talk.join(A, 5)?;
        talk.data(flow, A, 40)?;
        addresses(&mut talk)?;
        // This subflow, and by its identifier another one.
        for (backup, id) in [(1, &[][..]), (0, &[]), (1, &[5]), (0, &[5])] {
            talk.send(0, A, ACK, &option(5, backup, id), 0)?;
        }
        if checksums {
            violent_end(&mut talk, flow)?;
        } else {
            for (from, (ack, map)) in [A, B]
                .into_iter()
                .flat_map(|from| forms().map(move |f| (from, f)))
            {
                // Repeated in every form.
                if map != 0 {
                    let options = dss(&talk, from, [ack, map], 1, true);
                    talk.send(0, from, ACK, &options, 0)?;
                }
            }
            talk.dsn = talk.dsn.map(|dsn| dsn.wrapping_add(1));
            for from in [A, B] {
                talk.ack(0, from)?;
            }
            for (flow, from) in [(0, A), (0, B), (flow, A), (flow, B)] {
                talk.send(flow, from, ACK | FIN, &[], 0)?;
            }
            for (flow, from) in [(0, A), (flow, A)] {
                talk.send(flow, from, ACK, &[], 0)?;
            }
        }
        talk.wait(Duration::from_secs(1))?;
    }
    let mut packets = engines.take_recorded();
    for (i, packet) in (0..).zip(&mut packets) {
        packet.nanoseconds += i * 1_000_000;
    }
    Ok(packets)
}

/// A DSS whose DATA_ACK and data sequence number have this many bytes, of the next bytes, or of a
/// DATA_FIN alone.
fn dss(
    talk: &Conversation<'_>,
    from: usize,
    [ack, map]: [u16; 2],
    length: u16,
    fin: bool,
) -> Vec<u8> {
    let of = |number: u64, bytes: u16| number.to_be_bytes()[8 - usize::from(bytes)..].to_vec();
    let flag = |bytes: u16, present: u8| match bytes {
        0 => 0,
        4 => present,
        _ => present * 3,
    };
    let flags = flag(ack, 1) | flag(map, 4) | if fin { 0x10 } else { 0 };
    let mut rest = vec![flags];
    rest.extend(of(talk.dsn[from ^ 1], ack));
    if map != 0 {
        let (dsn, ssn) = (talk.dsn[from], if fin { 0 } else { talk.ssn(0, from) });
        rest.extend(of(dsn, map));
        rest.extend(ssn.to_be_bytes());
        rest.extend(length.to_be_bytes());
        if talk.capable_flags & 0x80 != 0 {
            let bytes = if fin { 0 } else { length };
            let payload = payload(talk.flows[0].next[from], bytes.into());
            rest.extend(dss_checksum(&payload, dsn, ssn, length));
        }
    }
    option(2, 0, &rest)
}

/// ADD_ADDR has the version of IP and no HMAC, with and without a port; REMOVE_ADDR has one
/// identifier or several.
fn addresses(talk: &mut Conversation<'_>) -> Result<()> {
    let port = 5001_u16.to_be_bytes();
    let v6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9];
    for (id, version, address, port) in [
        (6, 4, &[10, 0, 9, 6][..], &[][..]),
        (7, 4, &[10, 0, 9, 7], &port),
        (8, 6, &v6, &[]),
        (9, 6, &v6, &port),
    ] {
        let rest = [&[id][..], address, port].concat();
        talk.send(0, B, ACK, &option(3, version, &rest), 0)?;
    }
    for ids in [&[6][..], &[7, 8, 9]] {
        talk.send(0, B, ACK, &option(4, 0, ids), 0)?;
    }
    Ok(())
}

/// A mapping whose checksum is wrong, MP_FAIL on the reset that answers it, and a fast close.
fn violent_end(talk: &mut Conversation<'_>, flow: usize) -> Result<()> {
    let (dsn, ..) = talk.map(flow, A, 40);
    let mut options = talk.dss_with_checksum(flow, A, 40, false);
    options[26] ^= 1;
    talk.send(flow, A, ACK, &options, 40)?;
    let fail = option(6, 0, &[&[0][..], &dsn.to_be_bytes()].concat());
    talk.send(flow, B, ACK | RST, &fail, 0)?;
    talk.fastclose(0, A, talk.keys[B])?;
    talk.send(0, B, ACK | RST, &[], 0)?;
    Ok(())
}
