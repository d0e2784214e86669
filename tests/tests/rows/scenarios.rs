//! Each row that needs state: a scenario that moves it by exactly the expected amount, and a near
//! miss that does not. Every packet is run through the user-space engine and, as root, through the
//! kernel program, which have to agree; then again in the middlebox role, where the same packets are
//! seen on their way.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mptcp_tests::{
    conversation::{Conversation, fastclose_option},
    differential::{A, B, Differential},
    frame::{ACK, FIN, RST, SYN, SYN_ACK, option},
    kernel::host,
};
use mptcp_user::offline::Config;
use mptcp_user::statistics::ROWS;

/// What moves a row, or nearly does.
pub(crate) type Story = fn(&mut Differential) -> Result<Conversation<'_>>;

pub(crate) struct Scenario {
    pub(crate) row: &'static str,
    /// By how much the story moves it.
    pub(crate) by: u64,
    moves: Story,
    near_miss: Story,
    /// What makes the difference.
    pub(crate) because: &'static str,
}

pub(crate) const fn s(
    row: &'static str,
    by: u64,
    moves: Story,
    near_miss: Story,
    because: &'static str,
) -> Scenario {
    Scenario {
        row,
        by,
        moves,
        near_miss,
        because,
    }
}

/// SYN and SYN/ACK only.
fn half_open(engines: &mut Differential) -> Result<Conversation<'_>> {
    let mut talk = Conversation::new(engines);
    let (syn, syn_ack) = (talk.capable_syn(), talk.capable_syn_ack());
    talk.send(0, A, SYN, &syn, 0)?;
    talk.send(0, B, SYN_ACK, &syn_ack, 0)?;
    Ok(talk)
}

fn established(engines: &mut Differential) -> Result<Conversation<'_>> {
    Conversation::established(engines)
}

fn version_0(engines: &mut Differential) -> Result<Conversation<'_>> {
    let mut talk = Conversation::version_0(engines);
    talk.handshake()?;
    Ok(talk)
}

fn joined(engines: &mut Differential) -> Result<Conversation<'_>> {
    Conversation::joined(engines)
}

/// A join up to its third segment.
fn join_asked(engines: &mut Differential) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    talk.join_until_ack(A, 5)?;
    Ok(talk)
}

/// A join whose third segment is answered by a reset.
fn join_refused(engines: &mut Differential) -> Result<Conversation<'_>> {
    let mut talk = join_asked(engines)?;
    talk.reset(1, B, 3)?;
    Ok(talk)
}

/// A closed session.
fn closed(engines: &mut Differential) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    talk.close(0)?;
    Ok(talk)
}

/// The third segment with this change.
fn third(
    engines: &mut Differential,
    change: fn(&mut Conversation<'_>) -> (Vec<u8>, usize),
) -> Result<Conversation<'_>> {
    let mut talk = half_open(engines)?;
    let (options, payload) = change(&mut talk);
    talk.send(0, A, ACK, &options, payload)?;
    Ok(talk)
}

/// A SYN of a join with this token, answered by a reset or not at all.
fn join_with_token(
    engines: &mut Differential,
    token: Option<u32>,
    reset: bool,
) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    let flow = talk.flow();
    let mut syn = talk.join_syn_option(flow, A);
    if let Some(token) = token {
        syn[4..8].copy_from_slice(&token.to_be_bytes());
    }
    talk.send(flow, A, SYN, &syn, 0)?;
    if reset {
        talk.send(flow, B, RST | ACK, &[], 0)?;
    }
    Ok(talk)
}

/// Clears what the preparation counted, then goes on.
pub(crate) fn then<'a>(
    mut talk: Conversation<'a>,
    act: impl FnOnce(&mut Conversation<'a>) -> Result<()>,
) -> Result<Conversation<'a>> {
    talk.clear();
    act(&mut talk)?;
    Ok(talk)
}

/// Sends data of 100 bytes with a mapping made by `map` of the right one.
fn mapped(
    talk: &mut Conversation<'_>,
    flow: usize,
    payload: usize,
    map: impl FnOnce((u64, u32, u16)) -> (u64, u32, u16),
) -> Result<()> {
    let right = talk.map(flow, A, 100);
    let options = talk.dss(A, Some(map(right)), false);
    talk.send(flow, A, ACK, &options, payload)?;
    Ok(())
}

/// A FIN long before what was acknowledged, and then 3 MB.
fn forged_fin(engines: &mut Differential) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    let right = talk.flows[0];
    talk.flows[0].next[A] = right.next[A].wrapping_sub(900_000_000);
    talk.send(0, A, ACK | FIN, &[], 0)?;
    talk.flows[0] = right;
    for _ in 0..100 {
        talk.data(0, A, 30_000)?;
        talk.ack(0, B)?;
    }
    Ok(talk)
}

/// A join that is reset on its way, so far from the responder's next number, and goes on.
fn blind_reset(engines: &mut Differential, offset: u32) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    let flow = talk.flow();
    let (syn, syn_ack) = (
        talk.join_syn_option(flow, A),
        talk.join_syn_ack_option(flow, B),
    );
    talk.send(flow, A, SYN, &syn, 0)?;
    talk.send(flow, B, SYN_ACK, &syn_ack, 0)?;
    let right = talk.flows[flow];
    talk.flows[flow].next[B] = right.next[B].wrapping_add(offset);
    talk.send(flow, B, RST, &[], 0)?;
    talk.flows[flow] = right;
    let ack = talk.join_ack_option(flow, A);
    talk.send(flow, A, ACK, &ack, 0)?;
    talk.ack(flow, B)?;
    Ok(talk)
}

/// A join that is not answered, and another of its identifier some seconds later, from the same addresses and in
/// their place.
fn asked_again(engines: &mut Differential, seconds: u64) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    let first = talk.flow();
    let mut syn = talk.join_syn_option(first, A);
    syn[3] = 5;
    talk.send(first, A, SYN, &syn, 0)?;
    talk.wait(Duration::from_secs(seconds))?;
    if seconds > 75 {
        // The place is taken by the same addresses.
        talk.flows[first].next[A] += 5000;
        talk.send(first, A, SYN, &syn, 0)?;
    } else {
        let second = talk.flow();
        let mut syn = talk.join_syn_option(second, A);
        syn[3] = 5;
        talk.send(second, A, SYN, &syn, 0)?;
    }
    Ok(talk)
}

/// A segment with an option of a flow that nobody knows.
fn stray(engines: &mut Differential) -> Result<Conversation<'_>> {
    let mut talk = Conversation::new(engines);
    talk.flows[0].next[B] += 10_000;
    talk.ack(0, A)?;
    Ok(talk)
}

/// A session whose SYN had data that was taken (TCP Fast Open), and that SYN again, so far from its number.
pub(crate) fn fast_open(engines: &mut Differential, offset: u32) -> Result<Conversation<'_>> {
    let mut talk = Conversation::new(engines);
    let (syn, syn_ack, ack) = (
        talk.capable_syn(),
        talk.capable_syn_ack(),
        talk.capable_ack(),
    );
    talk.send(0, A, SYN, &syn, 10)?;
    talk.send(0, B, SYN_ACK, &syn_ack, 0)?;
    talk.send(0, A, ACK, &ack, 0)?;
    talk.flows[0].next[A] = talk.flows[0].isn[A].wrapping_add(offset);
    talk.send(0, A, SYN, &syn, 10)?;
    Ok(talk)
}

/// An acknowledgment whose number is so far ahead of the next.
fn ahead(engines: &mut Differential, offset: u32) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    talk.ack(0, B)?;
    talk.clear();
    talk.flows[0].next[A] = talk.flows[0].next[A].wrapping_add(offset);
    talk.ack(0, A)?;
    Ok(talk)
}

/// A segment that is not in order and acknowledges what is so far ahead of what was sent.
fn acknowledging(engines: &mut Differential, offset: u32) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    talk.ack(0, B)?;
    talk.ack(0, A)?;
    talk.clear();
    talk.flows[0].next[A] += 1;
    talk.flows[0].next[B] = talk.flows[0].next[B].wrapping_add(offset);
    talk.ack(0, A)?;
    Ok(talk)
}

/// A segment of somebody who knows the addresses and ports of the second subflow, and no number.
fn blind(talk: &mut Conversation<'_>, flags: u8) -> Result<()> {
    let flows = talk.flows.clone();
    talk.flows[1].next = talk.flows[1].next.map(|next| next.wrapping_add(1 << 29));
    talk.send(1, A, flags, &[], 0)?;
    talk.flows = flows;
    Ok(())
}

/// A segment that ends a subflow, at exactly the next number, with a checksum made of the right one.
fn ending(
    engines: &mut Differential,
    flags: u8,
    payload: usize,
    checksum: fn(u16) -> u16,
) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    talk.clear();
    let mut frame = talk.frame(0, A, flags, &[], payload);
    let bytes = frame.ip();
    let right = u16::from_be_bytes([bytes[20 + 16], bytes[20 + 17]]);
    frame.checksum = Some(checksum(right));
    talk.raw(A, &frame)?;
    Ok(talk)
}

/// A reset behind an extension header, whose checksum is not of the addresses in the IP header.
fn ending_routed(engines: &mut Differential) -> Result<Conversation<'_>> {
    const AUTHENTICATION: u8 = 51;
    let mut talk = Conversation::confirmed(engines)?;
    let mut frame = talk.frame(0, A, RST, &[], 0);
    // The length of the header, in words less 2, and what is in it.
    frame.extensions = vec![(AUTHENTICATION, [&[1][..], &[0; 10]].concat())];
    frame.checksum = Some(0x1234);
    talk.raw(A, &frame)?;
    Ok(talk)
}

/// Both ends go on from numbers that nobody saw, for longer than two seconds.
fn resumed(engines: &mut Differential) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    talk.ack(0, B)?;
    talk.wait(Duration::from_secs(3))?;
    talk.clear();
    talk.flows[0].next = talk.flows[0].next.map(|next| next.wrapping_add(1 << 29));
    talk.ack(0, A)?;
    talk.ack(0, B)?;
    talk.wait(Duration::from_secs(1))?;
    talk.ack(0, A)?;
    talk.wait(Duration::from_millis(1500))?;
    talk.ack(0, B)?;
    talk.ack(0, A)?;
    Ok(talk)
}

/// What a segment of nothing but acknowledged bytes, or one that is new, says of the other end's data.
fn acknowledging_from(twins: &mut Differential, offset: u32) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(twins)?;
    talk.data(0, B, 50)?;
    talk.clear();
    talk.flows[0].next[A] = talk.flows[0].next[A].wrapping_add(offset);
    talk.ack(0, A)?;
    Ok(talk)
}

/// Bytes that were acknowledged, once more with a mapping so far from their own.
fn old_data(twins: &mut Differential, offset: u64) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(twins)?;
    let (dsn, ssn, _) = talk.map(0, A, 100);
    for _ in 0..10 {
        talk.data(0, A, 100)?;
    }
    talk.ack(0, B)?;
    talk.clear();
    let options = talk.dss(A, Some((dsn.wrapping_add(offset), ssn, 100)), false);
    talk.flows[0].next[A] -= 1000;
    talk.send(0, A, ACK, &options, 100)?;
    Ok(talk)
}

/// As [`resumed`], of somebody who knows no data sequence numbers; the session itself goes on behind him.
fn taken_over(twins: &mut Differential) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(twins)?;
    talk.ack(0, B)?;
    talk.wait(Duration::from_secs(3))?;
    let right = (talk.flows.clone(), talk.dsn);
    talk.flows[0].next = talk.flows[0].next.map(|next| next.wrapping_add(1 << 29));
    talk.dsn = talk.dsn.map(|dsn| dsn.wrapping_add(1 << 40));
    for _ in 0..3 {
        for from in [A, B] {
            // Also what is said to be of the host comes in.
            for options in [talk.dss(from, None, false), Vec::new()] {
                let frame = talk.frame(0, from, ACK, &options, 0);
                talk.raw(A, &frame)?;
            }
        }
        talk.wait(Duration::from_millis(1500))?;
    }
    (talk.flows, talk.dsn) = right;
    talk.clear();
    talk.data(0, A, 100)?;
    Ok(talk)
}

/// The SYN of a join on the addresses of the second subflow, so far from that one's.
fn rejoin(talk: &mut Conversation<'_>, offset: u32) -> Result<()> {
    let isn = talk.flows[1].isn[A].wrapping_add(offset);
    talk.flows[1].next[A] = isn;
    let syn = talk.join_syn_option(1, A);
    talk.send(1, A, SYN, &syn, 0)?;
    Ok(())
}

/// What answers it.
fn rejoin_answer(talk: &mut Conversation<'_>) -> Result<()> {
    let syn_ack = talk.join_syn_ack_option(1, B);
    talk.send(1, B, SYN_ACK, &syn_ack, 0)?;
    Ok(())
}

/// An answer to the SYN that is changed.
fn answered(engines: &mut Differential, change: fn(&mut [u8])) -> Result<Conversation<'_>> {
    let mut talk = Conversation::new(engines);
    let (syn, mut syn_ack) = (talk.capable_syn(), talk.capable_syn_ack());
    change(&mut syn_ack);
    talk.send(0, A, SYN, &syn, 0)?;
    talk.send(0, B, SYN_ACK, &syn_ack, 0)?;
    Ok(talk)
}

/// A DSS of the initiator in the place of its key, with an announcement or data, and what the listener answers.
fn keyless(
    engines: &mut Differential,
    answer: fn(&mut Conversation<'_>) -> (u8, Vec<u8>),
) -> Result<Conversation<'_>> {
    let mut talk = half_open(engines)?;
    let dss = talk.dss(A, Some(talk.map(0, A, 9)), false);
    talk.send(0, A, ACK, &dss, 9)?;
    talk.dsn[A] += 9;
    let (flags, options) = answer(&mut talk);
    talk.send(0, B, flags, &options, 0)?;
    Ok(talk)
}

/// A mapping: data sequence number, subflow sequence number and length.
type Map = (u64, u32, u16);

/// 100 bytes with a mapping made by `map` of the right one, and what the listener answers.
fn mapped_badly(
    engines: &mut Differential,
    map: fn(Map) -> Map,
    answer: fn(&Conversation<'_>) -> Vec<u8>,
) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    talk.clear();
    mapped(&mut talk, 0, 100, map)?;
    let options = answer(&talk);
    talk.send(0, B, ACK, &options, 0)?;
    Ok(talk)
}

/// A DATA_ACK of so many bytes beyond what was mapped.
fn data_ack(talk: &Conversation<'_>, beyond: u64) -> Vec<u8> {
    let ack = (talk.dsn[A] + beyond).to_be_bytes();
    option(2, 0, &[&[3][..], &ack].concat())
}

/// Two DSS in one segment, each of half its bytes, and what the listener answers.
fn mapped_twice(
    engines: &mut Differential,
    answer: fn(&Conversation<'_>) -> Vec<u8>,
) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    talk.short_numbers = [true; 2];
    let (dsn, ssn, _) = talk.map(0, A, 50);
    let halves =
        [(dsn, ssn, 50), (dsn + 50, ssn + 50, 50)].map(|map| talk.dss(A, Some(map), false));
    talk.send(0, A, ACK, &halves.concat(), 100)?;
    let options = answer(&talk);
    talk.send(0, B, ACK, &options, 0)?;
    Ok(talk)
}

/// The first data of a session, mapped by MP_CAPABLE with a checksum or without, whether or not checksums were agreed
/// on.
fn capable_data(
    engines: &mut Differential,
    is_agreed: bool,
    has_checksum: bool,
) -> Result<Conversation<'_>> {
    let mut talk = Conversation::new(engines);
    if is_agreed {
        talk.capable_flags |= 0x80;
    }
    talk.handshake()?;
    let mut options = talk.capable_ack();
    options.extend([0, 35]);
    if has_checksum {
        options.extend([0x12, 0x34]);
    }
    options[1] = options.len() as u8;
    talk.send(0, A, ACK, &options, 35)?;
    Ok(talk)
}

/// A reset so far from the next number, with an MP_FASTCLOSE or alone.
fn forged_reset(
    engines: &mut Differential,
    offset: u32,
    has_fastclose: bool,
) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    let right = talk.flows[0];
    talk.flows[0].next[A] = right.next[A].wrapping_add(offset);
    let options = if has_fastclose {
        fastclose_option(talk.keys[B])
    } else {
        Vec::new()
    };
    talk.send(0, A, RST, &options, 0)?;
    talk.flows[0] = right;
    Ok(talk)
}

/// Data that a subflow has sent, once more on it with another mapping, after so many other mappings.
fn remapped(engines: &mut Differential, others: u32) -> Result<Conversation<'_>> {
    let mut talk = Conversation::joined(engines)?;
    let (dsn, ..) = talk.map(0, A, 100);
    talk.data(0, A, 100)?;
    for _ in 0..others {
        talk.data(0, A, 10)?;
    }
    talk.clear();
    mapped(&mut talk, 0, 100, |(_, ssn, length)| (dsn, ssn, length))?;
    Ok(talk)
}

/// Data that one subflow has sent, once more on the same or on the other one, after so many mappings of each in turn.
/// All that was sent may be acknowledged each time, and then be as much as that.
fn in_turn(
    engines: &mut Differential,
    others: u32,
    [first, second]: [usize; 2],
    acknowledged: Option<u16>,
) -> Result<Conversation<'_>> {
    let mut talk = Conversation::joined(engines)?;
    let (dsn, ..) = talk.map(first, A, 100);
    talk.data(first, A, 100)?;
    for _ in 0..others {
        if acknowledged.is_some() {
            talk.ack(0, B)?;
        }
        for flow in [first ^ 1, first] {
            talk.data(flow, A, acknowledged.unwrap_or(10))?;
        }
    }
    talk.clear();
    mapped(&mut talk, second, 100, |(_, ssn, length)| {
        (dsn, ssn, length)
    })?;
    Ok(talk)
}

/// Data that a session sent before it had another subflow, once more on the first or on the other one, after so many
/// mappings of each in turn.
fn before_join(engines: &mut Differential, others: u32, second: usize) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    let (dsn, ..) = talk.map(0, A, 100);
    talk.data(0, A, 100)?;
    for _ in 0..20 {
        talk.data(0, A, 10)?;
    }
    talk.join(A, 5)?;
    for _ in 0..others {
        for flow in [1, 0] {
            talk.data(flow, A, 10)?;
        }
    }
    talk.clear();
    mapped(&mut talk, second, 100, |(_, ssn, length)| {
        (dsn, ssn, length)
    })?;
    Ok(talk)
}

/// Four joins whose handshakes are not ended; so many seconds later two more, and a reset of the first of those that may
/// be pending.
fn crowded(engines: &mut Differential, seconds: u64) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    for id in 1..=4 {
        talk.join_until_ack(A, id)?;
    }
    talk.wait(Duration::from_secs(seconds))?;
    for id in 5..=6 {
        talk.join_until_ack(A, id)?;
    }
    talk.send(if seconds == 0 { 1 } else { 5 }, B, RST, &[], 0)?;
    Ok(talk)
}

/// A join that nobody answers, and the end of its session by a reset with MP_FASTCLOSE, or of nothing.
fn left_alone(engines: &mut Differential, ends: bool) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    let flow = talk.flow();
    let syn = talk.join_syn_option(flow, A);
    talk.send(flow, A, SYN, &syn, 0)?;
    if ends {
        let options = fastclose_option(talk.keys[B]);
        talk.send(0, A, RST, &options, 0)?;
    }
    Ok(talk)
}

/// Data mapped by MP_CAPABLE to so many bytes, and a segment without an option.
fn no_length(engines: &mut Differential, length: u8) -> Result<Conversation<'_>> {
    let mut talk = Conversation::established(engines)?;
    let mut options = talk.capable_ack();
    options[1] += 2;
    options.extend([0, length]);
    talk.send(0, A, ACK, &options, 9)?;
    talk.send(0, A, ACK, &[], 9)?;
    Ok(talk)
}

/// 5,000 bytes of which 4,000 were acknowledged, and a reset so far from the next number.
fn reset_at(engines: &mut Differential, offset: u32) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    talk.data(0, A, 4000)?;
    talk.ack(0, B)?;
    talk.data(0, A, 1000)?;
    let next = &mut talk.flows[0].next[A];
    *next = next.wrapping_add(offset);
    talk.reset(0, A, 0)?;
    Ok(talk)
}

/// An announcement of the listener, its HMAC wrong or right; then data mapped by MP_CAPABLE.
fn first_mapped(engines: &mut Differential, wrong: bool) -> Result<Conversation<'_>> {
    let mut talk = Conversation::established(engines)?;
    let mut announcement = talk.add_addr_option(B, 9);
    announcement[15] ^= u8::from(wrong);
    talk.send(0, B, ACK, &announcement, 0)?;
    let mut options = talk.capable_ack();
    options[1] += 2;
    options.extend([0, 9]);
    talk.send(0, A, ACK, &options, 9)?;
    Ok(talk)
}

/// The same segment as the last one, which had 100 bytes.
fn again(talk: &mut Conversation<'_>, flow: usize, options: &[u8]) -> Result<()> {
    talk.flows[flow].next[A] -= 100;
    talk.send(flow, A, ACK, options, 100)?;
    Ok(())
}

#[rustfmt::skip]
pub(crate) const SCENARIOS: &[Scenario] = &[
    s("TotSess", 1, established, half_open, "the third segment is missing"),
    s("TotV1Sess", 1, established, version_0, "version 0"),
    s("subCon", 1, |t| then(Conversation::confirmed(t)?, |t| { t.join(A, 5)?; Ok(()) }),
        |t| then(Conversation::confirmed(t)?, |t| { t.join_until_ack(A, 5)?; Ok(()) }), "the fourth segment is missing"),
    s("subCon", 1, |t| then(Conversation::confirmed(t)?, |t| { t.join(B, 5)?; Ok(()) }),
        |t| then(Conversation::confirmed(t)?, |t| { t.join_until_ack(B, 5)?; Ok(()) }), "the same of the listener"),
    s("subCon", 1, established, half_open, "the third segment is missing"),
    s("CurSess", 1, established, closed, "closed"),
    s("CurSess", 1, |t| { let mut t = Conversation::confirmed(t)?; let key = t.keys[A]; t.fastclose(0, A, key)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; let key = t.keys[B]; t.fastclose(0, A, key)?; Ok(t) }, "the right key ends it"),
    s("CurV1Sess", 1, established, version_0, "version 0"),
    s("CurSF", 2, joined, |t| { let mut t = closed(t)?; t.clear(); Ok(t) }, "closed"),
    s("CurSF", 1, |t| { let mut t = Conversation::joined(t)?; t.reset(1, A, 0)?; Ok(t) },
        |t| { let mut t = Conversation::established(t)?; t.reset(0, A, 0)?; Ok(t) }, "each is reset"),
    s("CurSF", 1, |t| reset_at(t, 1 << 29), |t| reset_at(t, 0), "far from what was sent"),
    s("CurSF", 1, |t| reset_at(t, 0_u32.wrapping_sub(1001)), |t| reset_at(t, 0_u32.wrapping_sub(1000)), "the byte before was acknowledged"),
    s("PendSF", 1, join_asked, join_refused, "refused"),
    s("PendSF", 1, |t| join_with_token(t, None, false), joined, "established"),
    s("SessNoSF", 1, |t| { let mut t = Conversation::confirmed(t)?; t.reset(0, A, 0)?; Ok(t) }, closed, "both DATA_FIN were acknowledged"),
    s("SessNoSF", 1, |t| { let mut t = forged_fin(t)?; t.reset(0, A, 0)?; Ok(t) }, forged_fin, "a FIN that nobody takes holds nothing up"),
    s("ConReq", 1, established, half_open, "the third segment is missing"),
    s("FinalACK", 1, |t| { let mut t = Conversation::established(t)?; let o = t.capable_ack(); t.send(0, A, ACK, &o, 0)?; Ok(t) },
        half_open, "once per subflow"),
    s("SFFACK", 1, |t| { let mut t = join_asked(t)?; let o = t.join_ack_option(1, A); t.send(1, A, ACK, &o, 0)?; Ok(t) },
        |t| join_with_token(t, None, false), "once per join"),
    s("FACKVald", 1, |t| blind_reset(t, 1 << 29), |t| blind_reset(t, 0), "the reset of somebody else"),
    s("FACKVald", 1, joined, join_refused, "refused"),
    s("FACKVald", 1, joined, |t| { let mut t = Conversation::confirmed(t)?; let f = t.flow(); let (s, a) = (t.join_syn_option(f, A), t.join_syn_ack_option(f, B));
        t.send(f, A, SYN, &s, 0)?; t.send(f, B, SYN_ACK, &a, 0)?; t.send(f, B, ACK, &[], 0)?; Ok(t) }, "no third segment"),
    s("TotSFRep", 1, |t| then(Conversation::joined(t)?, |t| { rejoin(t, 77_777)?; rejoin_answer(t) }),
        |t| then(Conversation::joined(t)?, |t| { rejoin(t, 0)?; rejoin_answer(t) }), "the same SYN once more"),
    s("TotSFRep", 1, |t| then(Conversation::joined(t)?, |t| { rejoin(t, 77_777)?; rejoin_answer(t) }),
        |t| then(Conversation::joined(t)?, |t| rejoin(t, 77_777)), "nobody answers the SYN"),
    s("CurSF", 2, |t| then(Conversation::joined(t)?, |t| rejoin(t, 77_777)),
        |t| then(Conversation::joined(t)?, |t| { rejoin(t, 77_777)?; rejoin_answer(t)?; t.reset(0, A, 0)?; Ok(()) }), "the other end answers the SYN"),
    s("PendRep", 1, |t| then(join_with_token(t, None, false)?, |t| { t.flows[1].next[A] += 5000; let o = t.join_syn_option(1, A); t.send(1, A, SYN, &o, 0)?; Ok(()) }),
        |t| then(join_with_token(t, None, false)?, |t| { t.flows[1].next[A] -= 1; let o = t.join_syn_option(1, A); t.send(1, A, SYN, &o, 0)?; Ok(()) }), "the same SYN once more"),
    s("PendRep", 1, |t| { let mut t = Conversation::confirmed(t)?; for id in 1..=5 { t.join_until_ack(A, id)?; } t.send(1, B, RST, &[], 0)?; t.send(2, B, RST, &[], 0)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; for id in 1..=5 { t.join_until_ack(A, id)?; } t.send(5, B, RST, &[], 0)?; Ok(t) }, "the fifth is reset itself"),
    s("PendRep", 1, |t| { let mut t = Conversation::confirmed(t)?; for id in 1..=5 { t.join_until_ack(A, id)?; } t.send(1, B, RST, &[], 0)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; for id in 1..=4 { t.join_until_ack(A, id)?; } t.send(1, B, RST, &[], 0)?; Ok(t) }, "four may be pending"),
    s("SFfrhACK", 1, |t| { let mut t = Conversation::confirmed(t)?; t.data(0, B, 50)?; t.ack(0, A)?; t.ack(0, A)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; t.ack(0, A)?; Ok(t) }, "acknowledges nothing new"),
    s("SFfrhACK", 1, |t| { let mut t = Conversation::confirmed(t)?; t.data(0, B, 50)?; t.send(0, B, ACK | FIN, &[], 0)?; t.ack(0, A)?; t.ack(0, A)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; t.send(0, B, ACK | FIN, &[], 0)?; t.ack(0, A)?; Ok(t) }, "a FIN is no data"),
    s("SFfrhACK", 1, |t| { let mut t = Conversation::confirmed(t)?; t.data(0, B, 50)?; t.send(0, B, ACK | FIN, &[], 0)?; t.ack(0, B)?; t.ack(0, A)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; t.send(0, B, ACK | FIN, &[], 0)?; t.ack(0, B)?; t.ack(0, A)?; Ok(t) }, "nor is it if more came behind it"),
    s("SFfrhACK", 1, |t| then(Conversation::confirmed(t)?, |t| { t.data(0, B, 50)?; t.ack(0, A)?; Ok(()) }),
        |t| then(Conversation::confirmed(t)?, |t| { let (d, s, _) = t.map(0, A, 0); let o = t.dss(A, Some((d, s, 0)), false); t.send(0, A, ACK, &o, 10)?; t.data(0, B, 50)?; t.ack(0, A)?; Ok(()) }), "a fallback"),
    s("TotFB", 1, |t| third(t, |_| (vec![], 0)), established, "the third segment has the option"),
    s("TotFB", 1, |t| { let mut t = Conversation::established(t)?; t.send(0, A, ACK, &[], 10)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; t.send(0, A, ACK, &[], 0)?; Ok(t) }, "fully established"),
    s("TotFB", 1, |t| { let mut t = Conversation::established(t)?; t.data(0, B, 50)?; t.send(0, A, ACK, &[], 0)?; Ok(t) },
        |t| { let mut t = Conversation::established(t)?; t.data(0, B, 50)?; t.send(0, A, RST | ACK, &[], 0)?; Ok(t) }, "a reset is no plain ACK"),
    s("TotFB", 1, |t| { let mut t = Conversation::established(t)?; let f = t.flows[0]; t.flows[0].next[A] += 1 << 29; t.reset(0, A, 0)?; t.flows[0] = f; t.send(0, A, ACK, &[], 0)?; Ok(t) },
        |t| { let mut t = Conversation::established(t)?; let f = t.flows[0]; t.flows[0].next[A] += 1 << 29; t.reset(0, A, 0)?; t.flows[0] = f; t.ack(0, A)?; Ok(t) }, "a reset that nobody takes says nothing"),
    s("InfSet", 1, |t| no_length(t, 0), |t| no_length(t, 9), "an MP_CAPABLE of no length is an infinite mapping too"),
    s("InfMapFg", 1, |t| no_length(t, 0), |t| no_length(t, 9), "in MP_CAPABLE"),
    // A session exists when the listener has answered.
    s("TotSess", 1, |t| keyless(t, |t| (ACK, t.dss(B, None, false))), |t| keyless(t, |_| (RST, vec![])), "answered by a reset, as by SYN cookies"),
    s("subCon", 1, |t| keyless(t, |t| (ACK, t.add_addr_option(B, 9))), |t| keyless(t, |_| (ACK, vec![])), "answered without an option"),
    s("TotFB", 1, |t| keyless(t, |_| (ACK, vec![])), |t| keyless(t, |t| (ACK, t.dss(B, None, false))), "a listener that answers with a DSS has a session"),
    s("TotFB", 1, |t| keyless(t, |_| (ACK, vec![])), |t| keyless(t, |_| (RST, vec![])), "a reset is no fallback"),
    s("V1DataPriorToKey", 1, |t| keyless(t, |_| (RST, vec![])), established, "the key came first"),
    // Answers are judged against their questions.
    s("NoMpcSynack", 1, |t| answered(t, |o| o[2] &= 0xf0), |t| answered(t, |_| {}), "of the SYN's version"),
    s("NoMpcSynack", 1, |t| answered(t, |o| o[2] |= 2), |t| answered(t, |_| {}), "of no higher version"),
    s("NoMpcSynack", 1, |t| answered(t, |o| o[3] |= 0x40), |t| answered(t, |o| o[3] |= 0x80), "checksums may be asked for, extensions not"),
    s("NoMpcSynack", 1, |t| answered(t, |o| o[3] = 0x02), |t| answered(t, |_| {}), "with the algorithm of the SYN"),
    s("NoMpcSynack", 1, |t| answered(t, |o| o[3] = 0x03), |t| answered(t, |o| o[3] |= 0x20), "with one algorithm"),
    s("TotFB", 1, |t| third(t, |t| { let mut o = t.capable_ack(); o[2] &= 0xf0; (o, 0) }), |t| third(t, |t| (t.capable_ack(), 0)), "a third segment of the SYN/ACK's version"),
    s("TotFB", 1, |t| third(t, |t| { let mut o = t.capable_ack(); o[3] |= 0x40; (o, 0) }), |t| third(t, |t| { let mut o = t.capable_ack(); o[3] |= 0x80; (o, 0) }), "a third segment that asks for an extension is ignored"),
    s("TotSess", 1, established, |t| third(t, |t| { let mut o = t.capable_ack(); o[3] = 2; (o, 0) }), "with the algorithm of the SYN/ACK"),
    // Bytes are judged for a mapping, and not segments.
    s("NomapEr", 1, |t| mapped_badly(t, |(d, s, l)| (d, s + 3, l - 3), |_| vec![]), |t| mapped_badly(t, |m| m, |_| vec![]), "a mapping that begins inside of its segment"),
    s("NomapEr", 1, |t| mapped_badly(t, |(d, s, l)| (d, s + 500, l), |_| vec![]), |t| mapped_badly(t, |m| m, |_| vec![]), "a mapping elsewhere"),
    s("NomapEr", 1, |t| mapped_badly(t, |(d, s, _)| (d, s, 60), |_| vec![]), |t| mapped_badly(t, |(d, s, _)| (d, s, 160), |_| vec![]), "a mapping that ends inside of its segment"),
    s("MrDataEr", 1, |t| mapped_badly(t, |(d, s, _)| (d, s, 60), |_| vec![]), |t| mapped_badly(t, |(d, s, l)| (d, s + 3, l - 3), |_| vec![]), "one that begins there ends with it"),
    s("FBnoMap", 1, |t| mapped_badly(t, |(d, s, l)| (d, s + 3, l - 3), |_| vec![]), |t| mapped_badly(t, |(d, s, l)| (d, s + 3, l - 3), |t| t.dss(B, None, false)), "a receiver that goes on with DATA_ACKs has not fallen back"),
    s("FBnoMap", 1, |t| mapped_twice(t, |_| vec![]), |t| mapped_twice(t, |t| data_ack(t, 100)), "a DATA_ACK for the bytes"),
    s("NomapEr", 1, |t| mapped_twice(t, |_| vec![]), |t| mapped_twice(t, |t| data_ack(t, 100)), "a DATA_ACK for the bytes: they had a mapping"),
    // What holds of a mapping in a DSS holds of one in MP_CAPABLE.
    s("CsumPresenceEr", 1, |t| capable_data(t, true, false), |t| capable_data(t, true, true), "an MP_CAPABLE with the checksum that was agreed on"),
    s("CsumPresenceEr", 1, |t| capable_data(t, false, true), |t| capable_data(t, false, false), "an MP_CAPABLE without a checksum that was not"),
    s("OptRstEr", 1, |t| { let mut t = capable_data(t, true, false)?; t.send(0, B, RST | ACK, &[], 0)?; Ok(t) }, |t| { let mut t = capable_data(t, true, true)?; t.send(0, B, RST | ACK, &[], 0)?; Ok(t) }, "a reset that answers no missing checksum"),
    s("InMapEr", 1, |t| { let mut t = capable_data(t, false, true)?; t.send(0, B, RST | ACK, &[], 0)?; Ok(t) }, |t| { let mut t = capable_data(t, false, false)?; t.send(0, B, RST | ACK, &[], 0)?; Ok(t) }, "an MP_CAPABLE whose checksum nobody agreed on"),
    // A reset is taken at the next number alone.
    s("CurSF", 1, |t| forged_reset(t, 10, false), |t| forged_reset(t, 0, false), "a reset in the window is challenged"),
    s("CurSF", 1, |t| forged_reset(t, 10u32.wrapping_neg(), false), |t| forged_reset(t, 0, false), "one before it is too old"),
    s("FCRcvEr", 1, |t| forged_reset(t, 0, true), |t| forged_reset(t, 10, true), "a fast close in the window is challenged"),
    // Data sent again: by TCP, by MPTCP on the same subflow, on another.
    s("RemapSubflow", 1, |t| remapped(t, 0), |t| { let mut t = Conversation::joined(t)?; t.data(0, A, 100)?; mapped(&mut t, 1, 100, |(d, s, l)| (d - 100, s, l))?; Ok(t) }, "on another subflow"),
    s("RemapSubflow", 1, |t| remapped(t, 5), |t| { let mut t = Conversation::confirmed(t)?; let o = t.dss(A, Some(t.map(0, A, 100)), false); t.send(0, A, ACK, &o, 100)?; again(&mut t, 0, &o)?; Ok(t) }, "by TCP"),
    s("RemapSubflow", 1, |t| in_turn(t, 20, [0, 0], None), |t| in_turn(t, 20, [0, 1], None), "on another subflow, 20 mappings of each later"),
    s("RemapSubflow", 1, |t| in_turn(t, 100, [1, 1], None), |t| in_turn(t, 100, [1, 0], None), "on another subflow, 100 mappings of each later"),
    s("RemapSubflow", 1, |t| in_turn(t, 14, [0, 0], Some(40_000)), |t| in_turn(t, 15, [0, 0], Some(40_000)), "more than 1 MiB was acknowledged since, and the subflow went on at 15 other places"),
    s("RemapSubflow", 1, |t| in_turn(t, 40, [0, 0], Some(10)), |t| in_turn(t, 15, [0, 0], Some(40_000)), "more than 1 MiB was acknowledged since"),
    s("RemapSubflow", 1, |t| before_join(t, 0, 0), |t| before_join(t, 0, 1), "from before the session had the other subflow"),
    s("RemapSubflow", 1, |t| before_join(t, 40, 0), |t| before_join(t, 40, 1), "from before the session had the other subflow, 40 mappings of each later"),
    s("RetxSubflow", 1, |t| { let mut t = Conversation::confirmed(t)?; let o = t.dss(A, Some(t.map(0, A, 100)), false); t.send(0, A, ACK, &o, 100)?; again(&mut t, 0, &o)?; Ok(t) }, |t| remapped(t, 0), "with a mapping of its own"),
    s("Reinject", 1, |t| in_turn(t, 20, [1, 0], None), |t| in_turn(t, 20, [1, 1], None), "onto the subflow that had it, 20 mappings of each later"),
    s("Reinject", 1, |t| { let mut t = Conversation::joined(t)?; t.data(1, A, 100)?; mapped(&mut t, 0, 100, |(d, s, l)| (d - 100, s, l))?; Ok(t) }, |t| remapped(t, 0), "onto the subflow that had it"),
    s("PendRep", 1, |t| crowded(t, 0), |t| crowded(t, 76), "joins whose time is over are pending no longer"),
    // A gauge asks whether its session lives.
    s("PendSF", 1, |t| left_alone(t, false), |t| left_alone(t, true), "of a session that is over"),
    s("TotFBtx", 1, |t| { let mut t = first_mapped(t, true)?; t.send(0, B, ACK, &[], 0)?; Ok(t) },
        |t| { let mut t = first_mapped(t, false)?; t.send(0, B, ACK, &[], 0)?; Ok(t) }, "an announcement with a right HMAC says as much as a DATA_ACK"),
    s("InfMapFg", 1, |t| then(Conversation::confirmed(t)?, |t| { let (d, s, _) = t.map(0, A, 0); let o = t.dss(A, Some((d, s, 0)), false); t.send(0, A, ACK, &o, 10)?; Ok(()) }),
        |t| then(Conversation::joined(t)?, |t| { let (d, s, _) = t.map(0, A, 0); let o = t.dss(A, Some((d, s, 0)), false); t.send(0, A, ACK, &o, 10)?; Ok(()) }), "another subflow, and no MP_FAIL"),
    s("InfSet", 1, |t| { let mut t = Conversation::confirmed(t)?; let (d, s, _) = t.map(0, A, 0); let o = t.dss(A, Some((d, s, 0)), false); t.send(0, A, ACK, &o, 10)?; t.send(0, A, ACK, &o, 10)?; Ok(t) },
        |t| { let mut t = Conversation::joined(t)?; let (d, s, _) = t.map(0, A, 0); let o = t.dss(A, Some((d, s, 0)), false); t.send(0, A, ACK, &o, 10)?; Ok(t) }, "another subflow"),
    s("REMAddr", 2, |t| { let mut t = Conversation::joined(t)?; t.add_addr(0, A, 9)?; t.remove_addr(0, A, &[5, 9])?; Ok(t) },
        |t| { let mut t = Conversation::joined(t)?; t.remove_addr(0, A, &[9])?; Ok(t) }, "never announced"),
    s("REMAddr", 1, |t| { let mut t = Conversation::joined(t)?; t.remove_addr(0, A, &[5])?; t.remove_addr(0, A, &[5])?; Ok(t) },
        |t| { let mut t = Conversation::joined(t)?; t.add_addr(0, B, 9)?; t.remove_addr(0, A, &[9])?; Ok(t) }, "the other side's identifier"),
    s("FreshAck", 1, |t| then(Conversation::confirmed(t)?, |t| { t.data(0, B, 50)?; t.ack(0, A)?; t.ack(0, A)?; Ok(()) }),
        |t| then(Conversation::confirmed(t)?, |t| { t.ack(0, A)?; Ok(()) }), "the same DATA_ACK"),
    s("FreshAck", 1, |t| then(Conversation::joined(t)?, |t| { t.data(0, B, 50)?; t.ack(0, A)?; t.ack(1, A)?; Ok(()) }),
        |t| then(Conversation::confirmed(t)?, |t| { t.dsn[B] += 1000; t.ack(0, A)?; t.dsn[B] -= 1000; Ok(()) }), "beyond what was sent"),
    s("ClrBkup", 1, |t| { let mut t = Conversation::joined(t)?; t.prio(1, A, true)?; t.prio(1, A, false)?; Ok(t) },
        |t| { let mut t = Conversation::joined(t)?; t.prio(1, A, false)?; Ok(t) }, "it was no backup"),
    s("TxFin", 1, |t| { let mut t = Conversation::joined(t)?; t.data_fin(0, B)?; t.dsn[B] -= 1; t.data_fin(1, B)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; t.data(0, B, 1)?; Ok(t) }, "no flag F"),
    s("RxFin", 1, |t| { let mut t = Conversation::joined(t)?; t.data_fin(0, A)?; t.dsn[A] -= 1; t.data_fin(1, A)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; t.send(0, A, ACK | FIN, &[], 0)?; Ok(t) }, "a FIN of TCP"),
    s("SfFin", 1, closed, |t| { let mut t = Conversation::confirmed(t)?; t.data_fin(0, B)?; Ok(t) }, "a FIN of data"),
    s("CookieEr", 1, |t| third(t, |t| { let mut o = t.capable_ack(); o[19] ^= 1; (o, 0) }), established, "the listener's key"),
    s("CookieEr", 1, |t| third(t, |t| { t.flows[0].next[B] += 1 << 24; (t.capable_ack(), 0) }), established, "what was sent"),
    s("CookieEr", 1, |t| { let mut t = Conversation::version_0(t); let (a, b, mut c) = (t.capable_syn(), t.capable_syn_ack(), t.capable_ack()); c[4] ^= 1;
        t.send(0, A, SYN, &a, 0)?; t.send(0, B, SYN_ACK, &b, 0)?; t.send(0, A, ACK, &c, 0)?; Ok(t) }, version_0, "the initiator's key (v0)"),
    s("CookieEr", 1, |t| { let mut t = Conversation::new(t); let o = t.capable_ack(); t.send(0, A, ACK, &o, 0)?; t.send(0, B, RST, &[], 0)?; Ok(t) },
        |t| { let mut t = Conversation::new(t); let o = t.capable_ack(); t.send(0, A, ACK, &o, 0)?; Ok(t) }, "no reset"),
    s("TokenEr", 1, |t| join_with_token(t, Some(1), true), |t| join_with_token(t, Some(1), false), "no reset"),
    s("TokenEr", 1, |t| join_with_token(t, Some(2), true), |t| join_with_token(t, None, true), "the token is known"),
    s("AddrIdEr", 1, |t| { let mut t = Conversation::joined(t)?; t.join_until_ack(A, 5)?; Ok(t) },
        |t| { let mut t = Conversation::joined(t)?; t.join_until_ack(A, 6)?; Ok(t) }, "another identifier"),
    s("AddrIdEr", 1, |t| { let mut t = Conversation::joined(t)?; t.join_until_ack(A, 5)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; t.join_until_ack(A, 0)?; Ok(t) }, "identifier 0 counts elsewhere"),
    s("AddrIdEr", 1, |t| { let mut t = Conversation::joined(t)?; t.join_until_ack(A, 5)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; let f = t.join_until_ack(A, 5)?; t.reset(f, B, 3)?; t.join_until_ack(A, 5)?; Ok(t) }, "the one before was refused"),
    s("AddrIdEr", 1, |t| { let mut t = join_asked(t)?; t.join_until_ack(A, 5)?; Ok(t) },
        |t| { let mut t = join_asked(t)?; t.flows[1].next[A] += 5000; let o = t.join_syn_option(1, A); t.send(1, A, SYN, &o, 0)?; Ok(t) }, "it takes the place of the one before"),
    s("AddrIdEr", 1, |t| asked_again(t, 60), |t| asked_again(t, 100), "the one before was forgotten"),
    s("MaxsfEr", 1, join_refused, |t| { let mut t = join_asked(t)?; t.reset(1, B, 0)?; Ok(t) }, "no limit and no such reason"),
    s("MaxsfEr", 1, |t| { let mut t = Conversation::confirmed(t)?; for id in 1..4 { t.join(A, id)?; } let f = t.join_until_ack(A, 9)?; t.send(f, B, RST, &[], 0)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; for id in 1..4 { t.join(A, id)?; } t.join(A, 9)?; Ok(t) }, "accepted"),
    s("FBJoinEr", 1, |t| { let mut t = Conversation::confirmed(t)?; let (d, s, _) = t.map(0, A, 0); let o = t.dss(A, Some((d, s, 0)), false); t.send(0, A, ACK, &o, 10)?; t.join_until_ack(A, 5)?; Ok(t) },
        join_asked, "no fallback"),
    s("InMACEr", 1, |t| { let mut t = Conversation::confirmed(t)?; let f = t.flow(); let (s, a, mut k) = (t.join_syn_option(f, A), t.join_syn_ack_option(f, B), t.join_ack_option(f, A));
        k[23] ^= 1; t.send(f, A, SYN, &s, 0)?; t.send(f, B, SYN_ACK, &a, 0)?; t.send(f, A, ACK, &k, 0)?; t.send(f, A, ACK, &k, 0)?; Ok(t) }, joined, "the right HMAC"),
    s("UnknownFlow", 1, |t| { let mut t = Conversation::new(t); t.ack(0, A)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; t.clear(); t.ack(0, A)?; Ok(t) }, "its handshake was seen"),
    s("OptSesEr", 1, |t| { let mut t = Conversation::new(t); t.ack(0, A)?; t.send(0, B, RST, &[], 0)?; Ok(t) },
        |t| { let mut t = Conversation::new(t); t.ack(0, A)?; Ok(t) }, "no reset"),
    s("OptSesEr", 1, |t| { let mut t = Conversation::new(t); for _ in 0..2 { t.ack(0, A)?; t.send(0, B, RST, &[], 0)?; } Ok(t) },
        |t| { let mut t = Conversation::new(t); for _ in 0..2 { t.ack(0, A)?; t.send(0, B, RST | ACK, &[], 0)?; } Ok(t) }, "once per flow; who knows the connection acknowledges"),
    s("OptSesEr", 1, |t| { let mut t = Conversation::new(t); t.ack(0, A)?; t.flows[0].next[B] += 500; t.ack(0, A)?; t.send(0, B, RST, &[], 0)?; Ok(t) },
        |t| { let mut t = Conversation::new(t); t.ack(0, A)?; t.flows[0].next[B] += 500; t.send(0, B, RST, &[], 0)?; Ok(t) }, "no segment asked for that number"),
    s("OptSesEr", 1, |t| { let mut t = stray(t)?; t.flows[0].next[B] -= 500; t.send(0, B, RST, &[], 0)?; t.flows[0].next[B] += 500; t.send(0, B, RST, &[], 0)?; Ok(t) },
        |t| { let mut t = stray(t)?; t.flows[0].next[B] -= 500; t.send(0, B, RST, &[], 0)?; Ok(t) }, "of a segment before, without an option"),
    s("OptSesEr", 1, |t| { let mut t = stray(t)?; t.flows[0].next[B] -= 500; t.ack(0, A)?; t.flows[0].next[B] += 500; t.send(0, B, RST, &[], 0)?; Ok(t) },
        |t| { let mut t = stray(t)?; t.flows[0].next[B] -= 500; t.ack(0, A)?; t.flows[0].next[B] += 1 << 30; t.send(0, B, RST, &[], 0)?; Ok(t) }, "segments in another order ask for no more"),
    s("REMEr", 1, |t| { let mut t = Conversation::confirmed(t)?; let mut o = t.add_addr_option(A, 9); o[15] ^= 1; t.send(0, A, ACK, &o, 0)?; t.remove_addr(0, A, &[9])?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; t.add_addr(0, A, 9)?; t.remove_addr(0, A, &[9])?; Ok(t) }, "announced with the right HMAC"),
    s("REMEr", 1, |t| { let mut t = Conversation::joined(t)?; t.remove_addr(0, A, &[9])?; Ok(t) },
        |t| { let mut t = Conversation::joined(t)?; t.remove_addr(0, A, &[5])?; t.remove_addr(0, A, &[5])?; Ok(t) }, "a repetition"),
    s("OptRstEr", 1, |t| { let mut t = Conversation::confirmed(t)?; t.send(0, A, ACK, &[30, 3, 0x90, 0], 0)?; t.send(0, B, RST, &[], 0)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; t.send(0, B, RST, &[], 0)?; Ok(t) }, "no bad option"),
    s("OptRstEr", 1, |t| { let mut t = Conversation::confirmed(t)?; t.reset(0, B, 1)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; t.reset(0, B, 5)?; Ok(t) }, "the reason"),
    s("RemSlfEr", 1, |t| { let mut t = Conversation::joined(t)?; t.remove_addr(1, A, &[5])?; Ok(t) },
        |t| { let mut t = Conversation::joined(t)?; t.remove_addr(0, A, &[5])?; Ok(t) }, "on another subflow"),
    s("LenEr", 1, |t| third(t, |t| (t.capable_ack(), 10)), |t| third(t, |t| (t.capable_ack(), 0)), "payload"),
    s("LenEr", 1, |t| { let mut t = Conversation::joined(t)?; let (d, s, _) = t.map(0, A, 0); let o = t.dss(A, Some((d, s, 0)), false); t.send(0, A, ACK, &o, 10)?; Ok(t) },
        |t| { let mut t = Conversation::joined(t)?; let f = option(6, 0, &[0; 9]); t.send(0, B, ACK, &f, 0)?; let (d, s, _) = t.map(0, A, 0); let o = t.dss(A, Some((d, s, 0)), false); t.send(0, A, ACK, &o, 10)?; Ok(t) }, "MP_FAIL came before"),
    s("TotPArst", 1, |t| { let mut t = Conversation::established(t)?; t.ack(0, B)?; t.join(A, 5)?; t.data(0, B, 50)?; t.send(0, A, ACK, &[], 0)?; t.send(0, B, RST, &[], 0)?; Ok(t) },
        |t| { let mut t = Conversation::established(t)?; t.ack(0, B)?; t.join(A, 5)?; t.data(0, B, 50)?; t.send(0, A, ACK, &[], 0)?; Ok(t) }, "no reset"),
    s("TotPArst", 1, |t| { let mut t = Conversation::joined(t)?; t.data(1, B, 50)?; t.send(1, A, ACK, &[], 0)?; t.send(1, B, RST, &[], 0)?; Ok(t) },
        |t| { let mut t = Conversation::joined(t)?; t.ack(1, A)?; t.data(1, B, 50)?; t.send(1, A, ACK, &[], 0)?; t.send(1, B, RST, &[], 0)?; Ok(t) }, "a DATA_ACK came there before"),
    s("TotPArst", 1, |t| { let mut t = Conversation::joined(t)?; let o = t.join_ack_option(1, A); t.send(1, A, ACK, &o, 0)?; t.send(1, A, ACK, &[], 0)?; t.send(1, B, RST, &[], 0)?; Ok(t) },
        |t| { let mut t = Conversation::joined(t)?; t.send(1, A, ACK, &[], 0)?; t.ack(1, A)?; t.send(1, B, RST, &[], 0)?; Ok(t) }, "a DATA_ACK came behind it"),
    s("FCRcvEr", 1, |t| { let mut t = Conversation::confirmed(t)?; let o = fastclose_option(t.keys[B]); t.send(0, A, RST, &o, 0)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; let o = fastclose_option(t.keys[B]); t.flows[0].next[A] += 1 << 29; t.send(0, A, RST, &o, 0)?; Ok(t) }, "on a reset that nobody takes"),
    s("FCRcvEr", 1, |t| { let mut t = Conversation::confirmed(t)?; let k = t.keys[B]; t.fastclose(0, A, k)?; t.fastclose(0, A, k)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; let k = t.keys[A]; t.fastclose(0, A, k)?; Ok(t) }, "the sender's key"),
    s("FCkeyEr", 1, |t| { let mut t = Conversation::confirmed(t)?; let k = t.keys[A]; t.fastclose(0, A, k)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; let k = t.keys[B]; t.fastclose(0, A, k)?; Ok(t) }, "the receiver's key"),
    s("NomapEr", 1, |t| { let mut t = Conversation::confirmed(t)?; t.send(0, A, ACK, &[], 50)?; t.ack(0, B)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; t.send(0, A, ACK, &[], 50)?; Ok(t) }, "not acknowledged"),
    s("NomapEr", 1, |t| { let mut t = Conversation::confirmed(t)?; t.send(0, A, ACK, &[], 50)?; t.ack(0, B)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; let m = t.map(0, A, 100); t.send(0, A, ACK, &[], 50)?; let o = t.dss(A, Some(m), false); t.send(0, A, ACK, &o, 50)?; t.ack(0, B)?; Ok(t) }, "its mapping came later"),
    s("MrDataEr", 1, |t| { let mut t = Conversation::confirmed(t)?; mapped(&mut t, 0, 101, |m| m)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; mapped(&mut t, 0, 100, |m| m)?; Ok(t) }, "as much as the mapping says"),
    s("MrDataEr", 1, |t| { let mut t = Conversation::confirmed(t)?; mapped(&mut t, 0, 50, |m| m)?; t.send(0, A, ACK, &[], 51)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; mapped(&mut t, 0, 50, |m| m)?; t.send(0, A, ACK, &[], 50)?; Ok(t) }, "the rest of the mapping"),
    s("MrDataEr", 1, |t| third(t, |t| { let mut o = t.capable_ack(); o[1] = 22; o.extend([0, 8]); (o, 9) }),
        |t| third(t, |t| { let mut o = t.capable_ack(); o[1] = 22; o.extend([0, 0]); (o, 9) }), "of no length"),
    s("InMapEr", 1, |t| { let mut t = Conversation::confirmed(t)?; mapped(&mut t, 0, 100, |(d, s, l)| (d, s + 500, l))?; t.send(0, B, RST, &[], 0)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; mapped(&mut t, 0, 100, |m| m)?; t.send(0, B, RST, &[], 0)?; Ok(t) }, "a mapping of what it carries"),
    s("InMapEr", 1, |t| { let mut t = Conversation::confirmed(t)?; mapped(&mut t, 0, 100, |(d, s, l)| (d + (1 << 33), s, l))?; t.send(0, B, RST, &[], 0)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; mapped(&mut t, 0, 100, |(d, s, l)| (d + (1 << 33), s, l))?; Ok(t) }, "no reset"),
    s("DupmapEr", 1, |t| { let mut t = Conversation::confirmed(t)?; let o = t.dss(A, Some(t.map(0, A, 100)), false); t.send(0, A, ACK, &o, 100)?; again(&mut t, 0, &o)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; let o = t.dss(A, Some(t.map(0, A, 200)), false); t.send(0, A, ACK, &o, 100)?; t.send(0, A, ACK, &o, 100)?; Ok(t) }, "new bytes of it"),
    s("SfnEr", 1, |t| { let mut t = Conversation::joined(t)?; t.data(0, A, 100)?; mapped(&mut t, 1, 100, |(d, s, l)| (d - 50, s, l))?; Ok(t) },
        |t| { let mut t = Conversation::joined(t)?; t.data(0, A, 100)?; mapped(&mut t, 1, 100, |(d, s, l)| (d - 100, s, l))?; Ok(t) }, "all of it again"),
    s("BadMapEr", 1, |t| { let mut t = Conversation::confirmed(t)?; let m = t.map(0, A, 100); let o = t.dss(A, Some(m), false); t.send(0, A, ACK, &o, 100)?; let o = t.dss(A, Some((m.0 + 5, m.1, m.2)), false); again(&mut t, 0, &o)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; let m = t.map(0, A, 100); let o = t.dss(A, Some(m), false); t.send(0, A, ACK, &o, 100)?; let o = t.dss(A, Some((m.0 + 5, m.1 + 5, m.2 - 5)), false); again(&mut t, 0, &o)?; Ok(t) }, "the same bytes to the same data"),
    s("RetxEr", 1, |t| { let mut t = Conversation::joined(t)?; t.data(0, A, 100)?; mapped(&mut t, 1, 100, |(d, s, l)| (d - 100, s, l))?; Ok(t) },
        |t| { let mut t = Conversation::joined(t)?; t.data(0, A, 100)?; t.data(1, A, 100)?; Ok(t) }, "new data"),
    s("RetxEr", 1, |t| { let mut t = Conversation::confirmed(t)?; let o = t.dss(A, Some(t.map(0, A, 100)), false); t.send(0, A, ACK, &o, 100)?; again(&mut t, 0, &o)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; let o = t.dss(A, Some(t.map(0, A, 200)), false); t.send(0, A, ACK, &o, 100)?; t.send(0, A, ACK, &o, 100)?; Ok(t) }, "the next part of the mapping"),
    s("PktSfEr", 1, |t| { let mut t = Conversation::new(t); t.ack(0, B)?; t.send(0, A, RST, &[], 0)?; Ok(t) },
        |t| { let mut t = Conversation::new(t); t.ack(0, B)?; Ok(t) }, "no reset"),
    s("V1DataPriorToKey", 1, |t| third(t, |t| (t.dss(A, Some(t.map(0, A, 9)), false), 9)),
        |t| third(t, |t| { let mut o = t.capable_ack(); o[1] = 22; o.extend([0, 9]); (o, 9) }), "the key comes with it"),
    // Numbers beyond the table.
    s("MPSYNretx", 1, |t| { let mut t = Conversation::new(t); let o = t.capable_syn(); let f = t.frame(0, A, SYN, &o, 0); t.raw(A, &f)?; t.raw(A, &f)?; Ok(t) },
        |t| { let mut t = Conversation::new(t); let o = t.capable_syn(); let f = t.frame(0, A, SYN, &o, 0); t.raw(A, &f)?; Ok(t) }, "once"),
    s("MPSYNretx", 1, |t| { let mut t = Conversation::established(t)?; t.flows[0].next[A] = t.flows[0].isn[A]; let o = t.capable_syn(); t.send(0, A, SYN, &o, 0)?; Ok(t) },
        |t| { let mut t = Conversation::established(t)?; t.flows[0].next[A] += 77_777; let o = t.capable_syn(); t.send(0, A, SYN, &o, 0)?; Ok(t) }, "another connection"),
    s("MPSYNretx", 1, |t| fast_open(t, 0), |t| fast_open(t, 77_777), "another connection, after one that began with data"),
    s("SYNACKretx", 1, |t| { let mut t = Conversation::established(t)?; t.flows[0].next[B] = t.flows[0].isn[B]; let o = t.capable_syn_ack(); t.send(0, B, SYN_ACK, &o, 0)?; Ok(t) },
        |t| { let mut t = Conversation::established(t)?; t.flows[0].next[B] += 77_777; let o = t.capable_syn_ack(); t.send(0, B, SYN_ACK, &o, 0)?; Ok(t) }, "another number"),
    s("JoinSYNretx", 1, |t| { let mut t = Conversation::joined(t)?; t.flows[1].next[A] = t.flows[1].isn[A]; let o = t.join_syn_option(1, A); t.send(1, A, SYN, &o, 0)?; Ok(t) },
        |t| { let mut t = Conversation::joined(t)?; t.flows[1].next[A] += 77_777; let o = t.join_syn_option(1, A); t.send(1, A, SYN, &o, 0)?; Ok(t) }, "another connection"),
    s("JoinSynackRetx", 1, |t| { let mut t = Conversation::joined(t)?; t.flows[1].next[B] = t.flows[1].isn[B]; let o = t.join_syn_ack_option(1, B); t.send(1, B, SYN_ACK, &o, 0)?; Ok(t) },
        |t| { let mut t = Conversation::joined(t)?; t.flows[1].next[B] += 77_777; let o = t.join_syn_ack_option(1, B); t.send(1, B, SYN_ACK, &o, 0)?; Ok(t) }, "another number"),
    s("NoMpcSynack", 1, |t| { let mut t = Conversation::new(t); let o = t.capable_syn(); t.send(0, A, SYN, &o, 0)?; t.send(0, B, SYN_ACK, &[], 0)?; Ok(t) }, half_open, "with the option"),
    s("MpcBlackhole", 1, |t| { let mut t = Conversation::new(t); let o = t.capable_syn(); let f = t.frame(0, A, SYN, &o, 0); t.raw(A, &f)?; let f = t.frame(0, A, SYN, &[], 0); t.raw(A, &f)?; Ok(t) },
        |t| { let mut t = Conversation::new(t); let o = t.capable_syn(); let f = t.frame(0, A, SYN, &o, 0); t.raw(A, &f)?; t.raw(A, &f)?; Ok(t) }, "with the option"),
    s("AddAddrMacEr", 1, |t| { let mut t = Conversation::confirmed(t)?; let mut o = t.add_addr_option(A, 9); o[15] ^= 1; t.send(0, A, ACK, &o, 0)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; t.add_addr(0, A, 9)?; Ok(t) }, "the right HMAC"),
    s("JoinSynackMacEr", 1, |t| { let mut t = Conversation::confirmed(t)?; let f = t.flow(); let (s, mut a) = (t.join_syn_option(f, A), t.join_syn_ack_option(f, B)); a[4] ^= 1;
        t.send(f, A, SYN, &s, 0)?; t.send(f, B, SYN_ACK, &a, 0)?; Ok(t) }, joined, "the right HMAC"),
    s("MPFAILresp", 1, |t| { let mut t = Conversation::confirmed(t)?; let f = option(6, 0, &[0; 9]); t.send(0, A, ACK, &f, 0)?; t.send(0, B, ACK, &f, 0)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; let f = option(6, 0, &[0; 9]); t.send(0, A, ACK, &f, 0)?; Ok(t) }, "not answered"),
    s("DataFinOnBackup", 1, |t| { let mut t = Conversation::joined(t)?; t.prio(1, A, true)?; t.data_fin(1, A)?; Ok(t) },
        |t| { let mut t = Conversation::joined(t)?; t.prio(1, A, true)?; t.data_fin(0, A)?; Ok(t) }, "on the other"),
    s("CksumEr", 1, |t| { let mut t = Conversation::checksummed(t)?; summed(&mut t, &[100], 100, |o| o[26] ^= 1)?; Ok(t) },
        |t| { let mut t = Conversation::checksummed(t)?; summed(&mut t, &[100], 100, |_| {})?; Ok(t) }, "the right checksum"),
    s("CksumEr", 1, |t| { let mut t = Conversation::checksummed(t)?; summed(&mut t, &[33, 1, 600], 634, |o| o[27] ^= 1)?; Ok(t) },
        |t| { let mut t = Conversation::checksummed(t)?; summed(&mut t, &[33, 1, 600], 634, |_| {})?; Ok(t) }, "the same over three segments, two at odd places"),
    s("CksumEr", 1, |t| { let mut t = Conversation::checksummed(t)?; summed(&mut t, &[100], 100, |o| o[26] ^= 1)?; t.flows[0].next[A] -= 100; summed(&mut t, &[100], 100, |o| o[26] ^= 1)?; Ok(t) },
        |t| { let mut t = Conversation::checksummed(t)?; summed(&mut t, &[50], 100, |o| o[26] ^= 1)?; Ok(t) }, "sent twice counts once; half of it is not judged"),
    s("CksumEr", 1, |t| { let mut t = Conversation::checksummed(t)?; let mut o = t.dss_with_checksum(0, A, 1, true); o[26] ^= 1; t.send(0, A, ACK, &o, 0)?; Ok(t) },
        |t| { let mut t = Conversation::checksummed(t)?; t.data_fin(0, A)?; Ok(t) }, "of a DATA_FIN alone"),
    s("CksumEr", 1, |t| first_data(t, 1), |t| first_data(t, 0), "of data with MP_CAPABLE"),
    s("CksumEr", 1, |t| { let mut t = Conversation::checksummed(t)?; let o = t.dss_with_checksum(0, A, 101, false); t.send(0, A, ACK, &with_fin(o), 100)?; Ok(t) },
        |t| { let mut t = Conversation::checksummed(t)?; let o = t.dss_with_checksum(0, A, 101, true); t.send(0, A, ACK, &o, 100)?; Ok(t) }, "the DATA_FIN is in the length, and is no byte"),
    s("CksumEr", 1, |t| contradicted(t, 1, 1), |t| contradicted(t, 0, 1), "another mapping of the same bytes changes nothing of the first"),
    s("CsumVerified", 1, |t| contradicted(t, 0, 1), |t| contradicted(t, 1, 1), "of two that map the same bytes, the first"),
    s("CsumVerified", 1, |t| contradicted(t, 0, 7), |t| contradicted(t, 0, 8), "eight mappings later it is forgotten"),
    s("CksumEr", 1, |t| overlapped(t, [1, 0]), |t| overlapped(t, [0, 1]), "bytes that are mapped belong to no other mapping"),
    s("CksumEr", 1, |t| announced(t, 1), |t| announced(t, 0), "the checksum of a mapping that is announced is not that of the data beside it"),
    s("CsumVerified", 2, |t| { let mut t = Conversation::checksummed(t)?; t.clear(); t.data(0, A, 40_000)?; t.data(0, B, 1)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; t.clear(); t.data(0, A, 40_000)?; Ok(t) }, "no checksums"),
    s("CsumUnverified", 1, |t| { let mut t = Conversation::checksummed(t)?; let (o, map) = (t.dss_with_checksum(0, A, 300, false), 100); t.send(0, A, ACK, &o, map)?; t.flows[0].next[A] += 100; t.send(0, A, ACK, &o, map)?; t.dsn[A] += 300; t.data(0, A, 10)?; Ok(t) },
        |t| { let mut t = Conversation::checksummed(t)?; summed(&mut t, &[100, 100, 100], 300, |_| {})?; t.data(0, A, 10)?; Ok(t) }, "the middle was not seen"),
    s("CsumUnverified", 1, |t| { let mut t = Conversation::checksummed(t)?; let o = t.dss_with_checksum(0, A, 300, false); t.send(0, A, ACK, &o, 100)?; t.dsn[A] += 100; t.data(0, A, 100)?; t.send(0, A, ACK, &o, 100)?; Ok(t) },
        |t| { let mut t = Conversation::checksummed(t)?; summed(&mut t, &[100, 100, 100], 300, |_| {})?; Ok(t) }, "one that another cuts in two counts once"),
    s("OptAfterFallback", 1, |t| { let mut t = Conversation::confirmed(t)?; let (d, s, _) = t.map(0, A, 0); let o = t.dss(A, Some((d, s, 0)), false); t.send(0, A, ACK, &o, 10)?; t.ack(0, A)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; t.ack(0, A)?; Ok(t) }, "no fallback"),
    s("Reinject", 1, |t| { let mut t = Conversation::joined(t)?; t.data(0, A, 100)?; mapped(&mut t, 1, 100, |(d, s, l)| (d - 100, s, l))?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; let o = t.dss(A, Some(t.map(0, A, 100)), false); t.send(0, A, ACK, &o, 100)?; again(&mut t, 0, &o)?; Ok(t) }, "on the same subflow"),
    s("NotTaken", 1, |t| ahead(t, 65536), |t| ahead(t, 65535), "the last number of the window"),
    s("NotTaken", 1, |t| ahead(t, (1_u32 << 20).wrapping_neg() - 1), |t| ahead(t, (1_u32 << 20).wrapping_neg()), "as old as a segment that comes again may be"),
    s("NotTaken", 1, |t| acknowledging(t, 65536), |t| acknowledging(t, 65535), "the other end may have sent it, where the probe does not see it"),
    s("NotTaken", 2, |t| { let mut t = Conversation::joined(t)?; blind(&mut t, RST)?; blind(&mut t, RST | ACK)?; Ok(t) },
        |t| { let mut t = Conversation::joined(t)?; t.send(1, A, RST, &[], 0)?; Ok(t) }, "a reset at exactly the next number"),
    s("CurSF", 2, |t| { let mut t = Conversation::joined(t)?; for flags in [RST, RST | ACK, FIN | ACK, SYN, SYN_ACK, ACK] { blind(&mut t, flags)?; } Ok(t) },
        |t| { let mut t = Conversation::joined(t)?; t.send(1, A, RST, &[], 0)?; t.send(0, A, RST, &[], 0)?; Ok(t) }, "resets, FINs and SYNs of somebody else"),
    s("FreshAck", 1, |t| { let mut t = resumed(t)?; t.clear(); t.data(0, A, 100)?; t.ack(0, B)?; Ok(t) },
        |t| { let mut t = resumed(t)?; t.clear(); t.data(0, A, 100)?; Ok(t) }, "what they say then is heard again"),
    s("NotTaken", 1, |t| acknowledging(t, (1_u32 << 20).wrapping_neg() - 1), |t| acknowledging(t, (1_u32 << 20).wrapping_neg()), "as old as an acknowledgment that was overtaken may be"),
    s("FreshAck", 1, |t| acknowledging_from(t, 0), |t| acknowledging_from(t, 700_u32.wrapping_neg()), "its receiver drops what it has acknowledged"),
    s("SFfrhACK", 1, |t| acknowledging_from(t, 0), |t| acknowledging_from(t, 700_u32.wrapping_neg()), "its receiver drops what it has acknowledged"),
    s("RetxEr", 1, |t| old_data(t, 0), |t| old_data(t, 5000_u64.wrapping_neg()), "old bytes have the mapping that they had, also one that is forgotten"),
    s("FreshAck", 1, |t| { let mut t = taken_over(t)?; t.ack(0, B)?; Ok(t) }, taken_over, "nobody takes a silent session over who does not know its data"),
    s("NotTaken", 1, |t| { let mut t = Conversation::confirmed(t)?; let mut f = t.frame(0, A, RST, &[], 8); f.fragment = 0x2000; t.raw(A, &f)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; let f = t.frame(0, A, RST, &[], 8); t.raw(A, &f)?; Ok(t) }, "the checksum of a fragment cannot be looked at"),
    s("NotTaken", 1, |t| ending(t, RST, 0, |right| right ^ 1), |t| ending(t, RST, 0, |right| right), "a reset with the right checksum"),
    s("NotTaken", 1, |t| ending(t, FIN | ACK, 33, |right| right.wrapping_sub(1)), |t| ending(t, FIN | ACK, 33, |right| right), "a FIN with data and the right checksum"),
    s("CurSF", 1, |t| ending(t, RST, 0, |right| right ^ 1), ending_routed, "behind a routing header the checksum is of other addresses"),
    s("CurSF", 1, |t| ending(t, RST | ACK, 0, |right| right.swap_bytes() ^ 0x100), |t| ending(t, RST | ACK, 0, |right| right), "the right checksum"),
    s("DataAckBad", 1, |t| { let mut t = Conversation::confirmed(t)?; t.dsn[B] += 1000; t.ack(0, A)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; t.data(0, B, 1000)?; t.ack(0, A)?; Ok(t) }, "of what was sent"),
];

/// Segments of `parts` bytes, of one mapping with a checksum: the DSS of all of them after a change.
fn summed(
    talk: &mut Conversation<'_>,
    parts: &[usize],
    length: u16,
    change: fn(&mut Vec<u8>),
) -> Result<()> {
    let mut options = talk.dss_with_checksum(0, A, length, false);
    change(&mut options);
    for part in parts {
        talk.send(0, A, ACK, &options, *part)?;
    }
    Ok(())
}

/// A DSS that maps the next bytes to data further on than they are, with the right checksum of that.
fn elsewhere(talk: &mut Conversation<'_>, further: u64, length: u16) -> Vec<u8> {
    talk.dsn[A] += further;
    let options = talk.dss_with_checksum(0, A, length, false);
    talk.dsn[A] -= further;
    options
}

/// Half of a mapping, whose checksum is `off` from the right one; the same bytes again some times, each time
/// mapped to other data; the other half.
fn contradicted(engines: &mut Differential, off: u8, times: u64) -> Result<Conversation<'_>> {
    let mut talk = Conversation::checksummed(engines)?;
    talk.clear();
    let mut options = talk.dss_with_checksum(0, A, 100, false);
    options[27] ^= off;
    let others: Vec<_> = (1..=times)
        .map(|n| {
            let other = elsewhere(&mut talk, 1000 * n, 100);
            talk.frame(0, A, ACK, &other, 50)
        })
        .collect();
    talk.send(0, A, ACK, &options, 50)?;
    for again in &others {
        talk.raw(A, again)?;
    }
    let rest = talk.dss(A, None, false);
    talk.send(0, A, ACK, &rest, 50)?;
    Ok(talk)
}

/// Half of a mapping; the other half, which a mapping of its own maps to other data. Their checksums are
/// `off` from the right ones.
fn overlapped(engines: &mut Differential, off: [u8; 2]) -> Result<Conversation<'_>> {
    let mut talk = Conversation::checksummed(engines)?;
    talk.clear();
    let mut options = talk.dss_with_checksum(0, A, 100, false);
    options[27] ^= off[0];
    talk.send(0, A, ACK, &options, 50)?;
    let mut other = elsewhere(&mut talk, 1000, 50);
    other[27] ^= off[1];
    talk.send(0, A, ACK, &other, 50)?;
    Ok(talk)
}

/// A mapping without its bytes, and the bytes with the next mapping, whose checksum is `off` from the right
/// one; then the bytes of that one.
fn announced(engines: &mut Differential, off: u8) -> Result<Conversation<'_>> {
    let mut talk = Conversation::checksummed(engines)?;
    talk.clear();
    let first = talk.dss_with_checksum(0, A, 100, false);
    talk.send(0, A, ACK, &first, 0)?;
    talk.dsn[A] += 100;
    talk.flows[0].next[A] += 100;
    let mut next = talk.dss_with_checksum(0, A, 60, false);
    next[27] ^= off;
    talk.flows[0].next[A] -= 100;
    talk.send(0, A, ACK, &next, 100)?;
    talk.send(0, A, ACK, &next, 60)?;
    Ok(talk)
}

/// The first data of a session with checksums, mapped by MP_CAPABLE; `off` from the right one.
fn first_data(engines: &mut Differential, off: u8) -> Result<Conversation<'_>> {
    let mut talk = Conversation::new(engines);
    talk.capable_flags |= 0x80;
    talk.handshake()?;
    let dss = talk.dss_with_checksum(0, A, 35, false);
    let checksum = [dss[26], dss[27].wrapping_add(off)];
    let mut options = talk.capable_ack();
    options.extend([&[0, 35][..], &checksum].concat());
    options[1] += 4;
    talk.send(0, A, ACK, &options, 35)?;
    Ok(talk)
}

/// The same DSS with the flag of a DATA_FIN.
fn with_fin(mut dss: Vec<u8>) -> Vec<u8> {
    dss[3] |= 0x10;
    dss
}

pub(crate) fn run(mut config: Config, scenarios: &[Scenario]) -> Result<()> {
    config.scope.is_checking = true;
    let mut engines = Differential::as_permitted(config)?;
    let mut failures = Vec::new();
    for Scenario {
        row,
        by,
        moves,
        near_miss,
        because,
    } in scenarios
    {
        for (story, wanted, what) in [(moves, *by, "moves"), (near_miss, 0, "near miss")] {
            let gauges = engines.gauges();
            let talk = story(&mut engines).with_context(|| format!("{row}, {what} ({because})"))?;
            let is_gauge = ROWS.iter().any(|known| {
                known.short == *row && known.kind == mptcp_user::statistics::RowKind::Gauge
            });
            let Some(value) = talk.value(row)? else {
                continue;
            };
            let moved = if is_gauge {
                let before =
                    mptcp_tests::differential::value(row, &talk.counted, &gauges, config.role)?;
                value - before.unwrap_or_default()
            } else {
                value
            };
            if moved != wanted {
                failures.push(format!("{row}, {what} ({because}): {moved}, not {wanted}"));
            }
        }
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(())
}

#[test]
fn on_a_host() -> Result<()> {
    run(host(), SCENARIOS)
}

#[test]
fn on_a_middlebox() -> Result<()> {
    run(Config::default(), SCENARIOS)
}
