//! Frames of every shape: where the TCP header is found, where there is none, and what other
//! programs of this field get wrong.

mod buffers;
mod headers;
mod lengths;

use anyhow::{Result, ensure};
use mptcp_common::counter::{Counters, Outcome, Outcomes};
use mptcp_tests::{
    frame::{ACK, Frame, SYN, SYN_ACK, option, sized},
    kernel::{self, Kernel, Merged, Program},
};
use mptcp_user::offline::{self, Scope};

const DSS: [u8; 8] = [30, 8, 0x20, 0x01, 0, 0, 0, 9];

/// Runs a frame through all programs, and says the leaf it ended in and the DSS that were seen.
fn leaf(kernel: &mut Kernel, frame: &[u8]) -> Result<(Outcome, u64)> {
    let counted = kernel.run(Program::XdpIngress, frame)?;
    let again = kernel.run(Program::TcEgress, frame)?;
    ensure!(
        counted.leaves == again.leaves,
        "XDP and TC end in different leaves"
    );
    let leaf = Outcome::ALL.into_iter().find(|leaf| {
        let mut leaves = Outcomes::default();
        leaves.add(*leaf, 1);
        leaves == counted.leaves
    });
    Ok((leaf.expect("one leaf"), counted.rx.dss()))
}

fn dss() -> Frame {
    Frame::new(ACK, &DSS, 5)
}

/// The option is found.
fn sees(kernel: &mut Kernel, what: &str, frame: &Frame) -> Result<()> {
    let result = leaf(kernel, &frame.bytes())?;
    ensure!(result == (Outcome::Mptcp, 1), "{what}: {result:?}");
    Ok(())
}

/// The frame ends in another leaf, and nothing is counted of it.
fn ends(kernel: &mut Kernel, what: &str, frame: &[u8], wanted: Outcome) -> Result<()> {
    let result = leaf(kernel, frame)?;
    ensure!(
        result == (wanted, 0),
        "{what}: {result:?} and not {wanted:?}"
    );
    Ok(())
}

/// An extension header of `units` times 8 bytes.
fn extension(units: usize) -> Vec<u8> {
    let mut body = vec![(units - 1) as u8];
    body.resize(units * 8 - 1, 0);
    body
}

/// An AH of `words` times 4 bytes.
fn authentication(words: usize) -> Vec<u8> {
    let mut body = vec![(words - 2) as u8];
    body.resize(words * 4 - 1, 0x77);
    body
}

fn fragment_header(offset: u16) -> Vec<u8> {
    // The reserved byte is not a length.
    let mut body = vec![0xff];
    body.extend((offset << 3 | 1).to_be_bytes());
    body.extend([0, 0, 0, 1]);
    body
}

#[test]
fn a_middlebox_knows_the_direction_of_syns_only() -> Result<()> {
    let mut kernel = Kernel::with(offline::Config::default())?;
    let mut run = |frame: Frame| kernel.run(Program::XdpIngress, &frame.bytes());
    let syn = run(Frame::new(SYN, &[30, 4, 1, 1], 0))?;
    ensure!((syn.rx.capable_syn, syn.tx, syn.unknown) == (1, zero().tx, zero().unknown));
    // Each of a connection of its own, of which nothing else was seen.
    let other = |port, frame| Frame {
        ports: [port, 5000],
        ..frame
    };
    let syn_ack = run(other(1, Frame::new(SYN_ACK, &sized(12, &[1, 1]), 0)))?;
    ensure!((syn_ack.tx.capable_synack, syn_ack.rx) == (1, zero().rx));
    let later = run(other(2, dss()))?;
    ensure!((later.unknown.dss(), later.rx, later.tx) == (1, zero().rx, zero().tx));
    Ok(())
}

fn zero() -> Counters {
    Counters::default()
}
