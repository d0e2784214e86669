//! Sessions at random: handshakes that are broken off, joins, data in every order, signals, resets,
//! and frames with a byte changed; and what has to hold of the numbers of any traffic.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mptcp_common::{
    counter::{Counters, DirectionCounters, Gauges, Role},
    wire::DssFlags,
};

use crate::{
    conversation::Conversation,
    differential::{A, B, Differential, value},
    frame::{ACK, FIN, Frame, RST, SYN, SYN_ACK, option},
    numbers::Numbers,
};

/// A session that is at one of several points of its life.
pub fn begin<'a>(engines: &'a mut Differential, numbers: &mut Numbers) -> Result<Conversation<'a>> {
    engines.wait(Duration::from_secs(numbers.below(30)))?;
    let mut talk = match numbers.below(9) {
        0 => Conversation::new(engines),
        1 => Conversation::established(engines)?,
        2 => Conversation::version_0(engines),
        3 => Conversation::checksummed(engines)?,
        4..=6 => Conversation::joined(engines)?,
        _ => Conversation::confirmed(engines)?,
    };
    talk.timestamps = numbers.one_in(2);
    talk.short_numbers = [numbers.one_in(3), numbers.one_in(3)];
    if numbers.one_in(3) {
        talk.packet_size = 1 + numbers.below(120) as usize;
    }
    Ok(talk)
}

/// One packet or a few, of a session that is in any state.
pub fn act(
    talk: &mut Conversation<'_>,
    numbers: &mut Numbers,
    last: &mut Option<(usize, Frame)>,
) -> Result<()> {
    let from = numbers.below(2) as usize;
    let flow = numbers.below(talk.flows.len() as u64) as usize;
    let length = 1 + numbers.below(200) as u16;
    let is_new = talk.flows[0].next == talk.flows[0].isn;
    match numbers.below(26) {
        // Another connection in the place of one would have mappings of other bytes than it carries.
        0 if is_new || !talk.is_cutting() => {
            let (syn, syn_ack, ack) = (
                talk.capable_syn(),
                talk.capable_syn_ack(),
                talk.capable_ack(),
            );
            let parts = [(A, SYN, syn), (B, SYN_ACK, syn_ack), (A, ACK, ack)];
            for (from, flags, options) in parts {
                if !numbers.one_in(6) {
                    let options = if numbers.one_in(8) {
                        Vec::new()
                    } else {
                        options
                    };
                    talk.send(0, from, flags, &options, 0)?;
                }
            }
        }
        1 | 2 if talk.flows.len() < 12 => {
            let id = numbers.below(8) as u8;
            let flow = talk.join_until_ack(from, id)?;
            if !numbers.one_in(4) {
                talk.ack(flow, from ^ 1)?;
            }
        }
        3 | 4 => mapping_in_parts(talk, numbers, flow, from)?,
        5..=9 => {
            let frame = {
                let options = talk.dss(from, Some(talk.map(flow, from, length)), false);
                talk.frame(flow, from, ACK, &options, length.into())
            };
            talk.data(flow, from, length)?;
            *last = Some((from, frame));
        }
        10 | 11 => {
            talk.ack(flow, from)?;
        }
        12 => {
            // The same packet again, or one that its network has changed.
            if let Some((from, frame)) = last.as_ref() {
                let mut frame = frame.clone();
                if !numbers.one_in(3) && !frame.options.is_empty() && !talk.is_cutting() {
                    let at = numbers.below(frame.options.len() as u64) as usize;
                    frame.options[at] ^= 1 << numbers.below(8);
                }
                talk.raw(*from, &frame)?;
            }
        }
        13 => {
            // Data that another subflow has sent, or parts of it.
            let (dsn, ssn, length) = talk.map(flow, from, length);
            let map = (dsn.wrapping_sub(numbers.below(300)), ssn, length);
            let options = talk.dss(from, Some(map), false);
            talk.send(flow, from, ACK, &options, length.into())?;
        }
        14 => {
            // Of a buffer without a mapping, all bytes are judged by the first.
            let tens = if talk.is_cutting() {
                0
            } else {
                numbers.below(3)
            };
            talk.send(flow, from, ACK, &[], tens as usize * 10)?;
        }
        15 => {
            talk.data_fin(flow, from)?;
        }
        // Behind a FIN comes no data, of which a buffer could have some more.
        16 if !talk.is_cutting() => {
            talk.send(flow, from, ACK | FIN, &[], 0)?;
        }
        17 if numbers.one_in(3) => {
            talk.reset(flow, from, numbers.below(8) as u8)?;
        }
        18 => {
            talk.add_addr(flow, from, numbers.below(6) as u8)?;
        }
        19 => {
            let ids: Vec<u8> = (0..=numbers.below(4))
                .map(|_| numbers.below(8) as u8)
                .collect();
            talk.remove_addr(flow, from, &ids)?;
        }
        20 => {
            talk.prio(flow, from, numbers.one_in(2))?;
        }
        21 if numbers.one_in(6) => {
            let key = talk.keys[numbers.below(2) as usize];
            talk.fastclose(flow, from, key)?;
        }
        22 => {
            let (dsn, ssn, _) = talk.map(flow, from, 0);
            let options = if numbers.one_in(2) {
                talk.dss(from, Some((dsn, ssn, 0)), false)
            } else {
                option(6, 0, &[&[0][..], &dsn.to_be_bytes()].concat())
            };
            talk.send(flow, from, ACK, &options, 0)?;
        }
        23 if numbers.one_in(4) => {
            // Of another connection.
            let stray = talk.flow();
            talk.ack(stray, from)?;
            talk.send(stray, from ^ 1, RST, &[], 0)?;
        }
        25 if numbers.one_in(8) => scattered(talk, numbers, flow, from)?,
        24 if numbers.one_in(4) => {
            // From a moment to longer than a handshake may last.
            let tenths = numbers.below(10).pow(3);
            talk.wait(Duration::from_millis(100 * tenths + numbers.below(100)))?;
        }
        _ => {
            // A gap: bytes that never come.
            let next = &mut talk.flows[flow].next[from];
            *next = next.wrapping_add(u32::from(length));
            talk.dsn[from] = talk.dsn[from].wrapping_add(length.into());
        }
    }
    Ok(())
}

/// A mapping that spans segments, some of which are lost, repeated, changed or longer than they should be, or have
/// others between them.
fn mapping_in_parts(
    talk: &mut Conversation<'_>,
    numbers: &mut Numbers,
    flow: usize,
    from: usize,
) -> Result<()> {
    let (length, fin) = (3 + numbers.below(3000) as u16, numbers.one_in(8));
    let mut options = if talk.capable_flags & 0x80 != 0 {
        talk.dss_with_checksum(flow, from, length, fin)
    } else {
        talk.dss(from, Some(talk.map(flow, from, length)), fin)
    };
    talk.dsn[from] = talk.dsn[from].wrapping_add(length.into());
    let mut left = u64::from(length);
    while left > 0 {
        let share = left.div_ceil(1 + numbers.below(3));
        let mut part = 1 + numbers.below(share);
        left -= part;
        // A buffer is judged by the mapping that it comes with.
        let changes = !talk.is_cutting();
        if numbers.one_in(20) && changes {
            part += numbers.below(20);
        }
        if numbers.one_in(12) && changes {
            let at = 4 + numbers.below(options.len() as u64 - 4) as usize;
            options[at] ^= 1 << numbers.below(8);
        }
        let frame = talk.frame(flow, from, ACK, &options, part as usize);
        for _ in 0..numbers.below(16).div_ceil(14) {
            talk.raw(from, &frame)?;
        }
        let next = &mut talk.flows[flow].next[from];
        *next = next.wrapping_add(part as u32);
        if numbers.one_in(10) {
            talk.ack(flow, from ^ 1)?;
        }
        let other = numbers.below(talk.flows.len() as u64) as usize;
        if numbers.one_in(12) && other != flow {
            talk.data(other, from, 1 + numbers.below(200) as u16)?;
        }
    }
    Ok(())
}

/// Data in any order, so that there are many ranges with gaps between them.
fn scattered(
    talk: &mut Conversation<'_>,
    numbers: &mut Numbers,
    flow: usize,
    from: usize,
) -> Result<()> {
    let (count, first) = (10 + numbers.below(70), talk.dsn[from]);
    for _ in 0..count {
        let dsn = first.wrapping_add(50 * numbers.below(2 * count));
        let length = 1 + numbers.below(60) as u16;
        let map = (dsn, talk.ssn(flow, from), length);
        let options = talk.dss(from, Some(map), false);
        talk.send(flow, from, ACK, &options, length.into())?;
    }
    if numbers.one_in(2) {
        // Some of it is acknowledged by what comes next.
        talk.dsn[from] = first.wrapping_add(50 * numbers.below(2 * count));
    }
    Ok(())
}

/// What holds of the numbers of any traffic.
pub fn invariants(counters: &Counters, gauges: &Gauges, role: Role) -> Result<()> {
    let get = |name: &str| -> Result<u64> {
        value(name, counters, gauges, role)?.with_context(|| format!("{name} is not known"))
    };
    let all = |field: fn(&DirectionCounters) -> u64| -> u64 {
        counters
            .directions()
            .into_iter()
            .map(|(_, events)| field(events))
            .sum()
    };
    let not_more = [
        ("DSSa", "DSSA"),
        ("DSSA", "TotDSS"),
        ("SeqMapm", "SeqMapM"),
        ("SeqMapM", "TotDSS"),
        ("FreshAck", "DSSA"),
        ("TotV1Sess", "TotSess"),
        ("ConReq", "TotSess"),
        ("MPV1SYN", "MPSYN"),
        ("SFFACK", "JoinSYN"),
        ("CurV1Sess", "CurSess"),
        ("SessNoSF", "CurSess"),
        ("subConJoin", "subCon"),
    ];
    for (less, more) in not_more {
        ensure!(
            get(less)? <= get(more)?,
            "{less} {} > {more} {}",
            get(less)?,
            get(more)?
        );
    }
    ensure!(get("TotDSS")? == get("DSSrcv")? + get("DSSsnd")? + get("DSSunknown")?);
    // Each join is judged once, and each session begins with a subflow.
    ensure!(all(|e| e.join_validated) + all(|e| e.join_hmac) <= all(|e| e.join_final_ack));
    let without = all(|e| e.session_created)
        - all(|e| e.lost_sessions)
        - (all(|e| e.subflow_created) - all(|e| e.join_created));
    ensure!(without <= all(|e| e.lost_subflows), "{without} sessions");
    ensure!(
        all(|e| e.final_ack) + all(|e| e.data_before_key) + all(|e| e.dss_with(DssFlags::ACK))
            >= all(|e| e.session_created)
    );
    ensure!(get("CurSF")? <= get("subCon")?);
    // A mapping is judged once at most.
    ensure!(
        all(|e| e.checksum_verified) + all(|e| e.checksum_failed) + all(|e| e.checksum_unverified)
            <= get("SeqMapM")? + get("MpcMap")?
    );
    ensure!(all(|e| e.session_fin) <= 2 * all(|e| e.session_created));
    ensure!(
        all(|e| e.retransmitted)
            == all(|e| e.retransmitted_subflow) + all(|e| e.remapped) + all(|e| e.reinjected)
    );
    Ok(())
}
