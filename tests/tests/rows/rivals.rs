//! Handshakes of one flow that rival: what somebody sends who knows addresses and ports, and no numbers, in the name of
//! either end. What is real is followed, before and after.

use std::time::Duration;

use anyhow::Result;
use mptcp_tests::{
    conversation::Conversation,
    differential::{A, B, Differential},
    frame::{ACK, RST, SYN, SYN_ACK},
    kernel::host,
};
use mptcp_user::offline::Config;

use super::scenarios::{Scenario, fast_open, run, s, then};

/// Does something with other numbers and other keys on the flow of a session.
fn as_other(
    talk: &mut Conversation<'_>,
    flow: usize,
    number: u32,
    act: impl FnOnce(&mut Conversation<'_>) -> Result<()>,
) -> Result<()> {
    let (flows, keys, dsn) = (talk.flows.clone(), talk.keys, talk.dsn);
    become_other(talk, flow, number);
    act(talk)?;
    (talk.flows, talk.keys, talk.dsn) = (flows, keys, dsn);
    Ok(())
}

/// Goes on as another connection on the flow.
fn become_other(talk: &mut Conversation<'_>, flow: usize, number: u32) {
    let it = &mut talk.flows[flow];
    it.isn = it
        .isn
        .map(|isn| isn.wrapping_add(0x1000_0000 + 0x0100_0000 * number));
    it.next = it.isn;
    talk.keys = talk.keys.map(|key| key ^ u64::from(number) << 32);
    talk.dsn = [A, B].map(|side| talk.idsn(side).wrapping_add(1));
}

fn syn(talk: &mut Conversation<'_>) -> Result<()> {
    let options = talk.capable_syn();
    talk.send(0, A, SYN, &options, 0)?;
    Ok(())
}

fn answer(talk: &mut Conversation<'_>) -> Result<()> {
    let options = talk.capable_syn_ack();
    talk.send(0, B, SYN_ACK, &options, 0)?;
    Ok(())
}

fn third(talk: &mut Conversation<'_>) -> Result<()> {
    let options = talk.capable_ack();
    talk.send(0, A, ACK, &options, 0)?;
    Ok(())
}

fn answered_syn(talk: &mut Conversation<'_>) -> Result<()> {
    syn(talk)?;
    answer(talk)
}

/// A SYN in the name of the other end.
fn syn_of_listener(talk: &mut Conversation<'_>) -> Result<()> {
    let options = talk.capable_syn();
    talk.send(0, B, SYN, &options, 0)?;
    Ok(())
}

fn talks(talk: &mut Conversation<'_>) -> Result<()> {
    talk.data(0, A, 100)?;
    talk.ack(0, B)?;
    Ok(())
}

/// A session that begins after, between and before what others send.
fn begin(
    engines: &mut Differential,
    before: impl FnOnce(&mut Conversation<'_>) -> Result<()>,
    behind_syn: impl FnOnce(&mut Conversation<'_>) -> Result<()>,
    behind_answer: impl FnOnce(&mut Conversation<'_>) -> Result<()>,
) -> Result<Conversation<'_>> {
    let mut talk = Conversation::new(engines);
    before(&mut talk)?;
    syn(&mut talk)?;
    behind_syn(&mut talk)?;
    answer(&mut talk)?;
    behind_answer(&mut talk)?;
    Ok(talk)
}

#[allow(clippy::unnecessary_wraps, reason = "what others do may fail")]
fn nothing(_: &mut Conversation<'_>) -> Result<()> {
    Ok(())
}

/// Then it completes, and talks.
fn ends(talk: Conversation<'_>) -> Result<Conversation<'_>> {
    then(talk, |t| {
        third(t)?;
        talks(t)
    })
}

/// A session, and what others send. Then only what it says counts.
fn followed(
    engines: &mut Differential,
    act: impl FnOnce(&mut Conversation<'_>) -> Result<()>,
) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    act(&mut talk)?;
    talk.clear();
    Ok(talk)
}

/// A whole handshake of somebody else, and what he says behind it.
fn other(
    talk: &mut Conversation<'_>,
    number: u32,
    behind: impl FnOnce(&mut Conversation<'_>) -> Result<()>,
) -> Result<()> {
    as_other(talk, 0, number, |t| {
        t.handshake()?;
        behind(t)
    })
}

/// Whatever its numbers are, a SYN is opened once.
fn forged_syns(talk: &mut Conversation<'_>, count: u32) -> Result<()> {
    for number in 1..=count {
        as_other(talk, 0, number, syn)?;
    }
    Ok(())
}

/// The first join of a session, beside one of somebody who does not know its token.
fn joins(engines: &mut Differential, is_before: bool, is_whole: bool) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    talk.clear();
    let flow = talk.flow();
    talk.flows[flow].ids[A] = 5;
    let others = |t: &mut Conversation<'_>| {
        as_other(t, flow, 1, |t| {
            let (syn, answer) = (t.join_syn_option(flow, A), t.join_syn_ack_option(flow, B));
            t.send(flow, A, SYN, &syn, 0)?;
            t.send(flow, B, SYN_ACK, &answer, 0)?;
            Ok(())
        })
    };
    if is_before {
        others(&mut talk)?;
    }
    let (syn, answer, third) = (
        talk.join_syn_option(flow, A),
        talk.join_syn_ack_option(flow, B),
        talk.join_ack_option(flow, A),
    );
    talk.send(flow, A, SYN, &syn, 0)?;
    if !is_before {
        others(&mut talk)?;
    }
    talk.send(flow, B, SYN_ACK, &answer, 0)?;
    talk.send(flow, A, ACK, &third, 0)?;
    if is_whole {
        talk.ack(flow, B)?;
    }
    Ok(talk)
}

/// The SYN of a session comes again after one of somebody else.
fn syn_again(engines: &mut Differential, offset: u32) -> Result<Conversation<'_>> {
    let mut talk = Conversation::new(engines);
    as_other(&mut talk, 0, 1, syn)?;
    syn(&mut talk)?;
    talk.clear();
    talk.flows[0].next[A] = talk.flows[0].isn[A].wrapping_add(offset);
    syn(&mut talk)?;
    Ok(talk)
}

/// Another connection of the ends of one whose end was not seen; both say something.
fn another(
    engines: &mut Differential,
    old_talks: bool,
    new_talks: bool,
) -> Result<Conversation<'_>> {
    let mut talk = Conversation::confirmed(engines)?;
    let (old, keys, dsn) = (talk.flows.clone(), talk.keys, talk.dsn);
    become_other(&mut talk, 0, 1);
    talk.clear();
    talk.handshake()?;
    if new_talks {
        talks(&mut talk)?;
    }
    if old_talks {
        let new = (talk.flows.clone(), talk.keys, talk.dsn);
        (talk.flows, talk.keys, talk.dsn) = (old, keys, dsn);
        talks(&mut talk)?;
        (talk.flows, talk.keys, talk.dsn) = new;
    }
    if new_talks {
        talks(&mut talk)?;
    }
    Ok(talk)
}

/// A session that begins behind a whole handshake of somebody else, with the largest windows and data beyond them, in
/// the name of the other end.
fn behind_wide(engines: &mut Differential, goes_on: bool) -> Result<Conversation<'_>> {
    let before = |t: &mut Conversation<'_>| {
        as_other(t, 0, 1, |t| {
            let wide = [3, 3, 14, 1];
            let (syn, answer, third) = (t.capable_syn(), t.capable_syn_ack(), t.capable_ack());
            t.send(0, B, SYN, &[&wide[..], &syn].concat(), 0)?;
            t.send(0, A, SYN_ACK, &[&wide[..], &answer].concat(), 0)?;
            t.send(0, B, ACK, &third, 0)?;
            for from in [A, B] {
                t.send(0, from, ACK, &[], 10)?;
                t.flows[0].next[from] = t.flows[0].next[from].wrapping_add(0x3800_0000);
                t.send(0, from, ACK, &[], 10)?;
            }
            Ok(())
        })
    };
    then(begin(engines, before, nothing, nothing)?, |t| {
        third(t)?;
        t.clear();
        if goes_on {
            for _ in 0..3 {
                talks(t)?;
                // A segment that overtakes another.
                let (options, first) = (t.dss(A, None, false), t.flows[0].next[A]);
                t.flows[0].next[A] = first.wrapping_add(10);
                t.send(0, A, ACK, &options, 10)?;
                t.flows[0].next[A] = first;
                talks(t)?;
            }
        }
        Ok(())
    })
}

/// Three handshakes of somebody else, with data, after more packets of the session than each of these has.
fn several(talk: &mut Conversation<'_>) -> Result<()> {
    talks(talk)?;
    for number in 1..=3 {
        other(talk, number, talks)?;
    }
    Ok(())
}

/// A session that begins behind a join of somebody else, of which a plain SYN with its number says the end.
fn behind_a_join(engines: &mut Differential) -> Result<Conversation<'_>> {
    let join = |t: &mut Conversation<'_>| {
        as_other(t, 0, 1, |t| {
            let option = t.join_syn_option(0, A);
            t.send(0, A, SYN, &option, 0)?;
            Ok(())
        })
    };
    let end = |t: &mut Conversation<'_>| {
        as_other(t, 0, 1, |t| {
            t.send(0, A, SYN, &[], 0)?;
            t.send(0, A, ACK, &[], 0)?;
            Ok(())
        })
    };
    begin(engines, join, end, nothing)
}

/// A session that begins as the time of somebody else's handshake ends.
fn behind_an_old_one(engines: &mut Differential) -> Result<Conversation<'_>> {
    let before = |t: &mut Conversation<'_>| {
        as_other(t, 0, 1, syn)?;
        t.wait(Duration::from_millis(74_990))
    };
    let amid = |t: &mut Conversation<'_>| {
        t.wait(Duration::from_millis(20))?;
        as_other(t, 0, 2, |t| {
            t.send(0, A, ACK, &[], 0)?;
            Ok(())
        })
    };
    begin(engines, before, amid, nothing)
}

/// A session whose numbers lie in the windows of a whole handshake that somebody else has sent before.
fn within_windows(engines: &mut Differential) -> Result<Conversation<'_>> {
    let before = |t: &mut Conversation<'_>| {
        as_other(t, 0, 0xd0, |t| {
            let wide = [3, 3, 14, 1];
            let (syn, answer, third) = (t.capable_syn(), t.capable_syn_ack(), t.capable_ack());
            t.send(0, A, SYN, &[&wide[..], &syn].concat(), 0)?;
            t.send(0, B, SYN_ACK, &[&wide[..], &answer].concat(), 0)?;
            t.send(0, A, ACK, &third, 0)?;
            Ok(())
        })
    };
    then(begin(engines, before, nothing, nothing)?, |t| {
        third(t)?;
        t.clear();
        Ok(())
    })
}

/// A session of few packets behind a conversation of somebody else, who then sends a handshake that he does not complete.
fn beside_a_longer_one(engines: &mut Differential) -> Result<Conversation<'_>> {
    let before = |t: &mut Conversation<'_>| {
        other(t, 1, |t| {
            talks(t)?;
            talks(t)
        })
    };
    then(ends(begin(engines, before, nothing, nothing)?)?, |t| {
        as_other(t, 0, 2, |t| {
            answered_syn(t)?;
            t.send(0, A, RST, &[], 0)?;
            Ok(())
        })?;
        t.clear();
        Ok(())
    })
}

#[rustfmt::skip]
pub(crate) const RIVALS: &[Scenario] = &[
    s("TotSess", 1, |t| ends(begin(t, nothing, |t| as_other(t, 0, 1, syn), nothing)?),
        |t| begin(t, nothing, |t| as_other(t, 0, 1, syn), nothing), "a SYN of somebody else does not replace one that waits"),
    s("FreshAck", 1, |t| ends(begin(t, nothing, |t| as_other(t, 0, 1, syn), nothing)?),
        |t| then(begin(t, nothing, |t| as_other(t, 0, 1, syn), nothing)?, third), "what comes of it is followed"),
    s("TotSess", 1, |t| ends(begin(t, nothing, |t| as_other(t, 0, 1, syn_of_listener), nothing)?),
        |t| begin(t, nothing, |t| as_other(t, 0, 1, syn_of_listener), nothing), "nor does one in the name of the other end"),
    s("TotSess", 1, |t| ends(begin(t, nothing, |t| forged_syns(t, 70), nothing)?),
        |t| begin(t, nothing, |t| forged_syns(t, 70), nothing), "nor do many of them"),
    s("TotSess", 1, |t| ends(begin(t, |t| forged_syns(t, 70), nothing, nothing)?),
        |t| begin(t, |t| forged_syns(t, 70), nothing, nothing), "nor those that came before"),
    s("TotSess", 1, |t| ends(begin(t, nothing, |t| as_other(t, 0, 1, |t| { t.send(0, A, SYN, &[], 0)?; Ok(()) }), nothing)?),
        |t| begin(t, nothing, |t| as_other(t, 0, 1, |t| { t.send(0, A, SYN, &[], 0)?; Ok(()) }), nothing), "nor one without an option"),
    s("TotSess", 1, |t| ends(begin(t, |t| as_other(t, 0, 1, answered_syn), nothing, nothing)?),
        |t| begin(t, |t| as_other(t, 0, 1, answered_syn), nothing, nothing), "a SYN that was answered, and that nobody completes, hides no other"),
    s("TotSess", 1, |t| ends(begin(t, |t| as_other(t, 0, 1, answered_syn), |t| as_other(t, 0, 2, answered_syn), |t| as_other(t, 0, 3, answered_syn))?),
        |t| begin(t, |t| as_other(t, 0, 1, answered_syn), |t| as_other(t, 0, 2, answered_syn), |t| as_other(t, 0, 3, answered_syn)), "nor do several"),
    s("TotSess", 1, |t| ends(begin(t, |t| as_other(t, 0, 1, syn), |t| as_other(t, 0, 1, |t| { t.flows[0].next[A] += 1; t.send(0, A, RST, &[], 0)?; Ok(()) }), nothing)?),
        |t| begin(t, |t| as_other(t, 0, 1, syn), |t| as_other(t, 0, 1, |t| { t.flows[0].next[A] += 1; t.send(0, A, RST, &[], 0)?; Ok(()) }), nothing), "nor does the end of the first"),
    s("FreshAck", 1, |t| ends(begin(t, |t| as_other(t, 0, 1, syn), |t| as_other(t, 0, 1, |t| { t.flows[0].next[A] += 1; t.send(0, A, RST, &[], 0)?; Ok(()) }), nothing)?),
        |t| then(begin(t, |t| as_other(t, 0, 1, syn), |t| as_other(t, 0, 1, |t| { t.flows[0].next[A] += 1; t.send(0, A, RST, &[], 0)?; Ok(()) }), nothing)?, third), "what comes of it is followed, too"),
    s("NoMpcSynack", 1, |t| { let mut t = Conversation::new(t); as_other(&mut t, 0, 1, syn)?; syn(&mut t)?; t.send(0, B, SYN_ACK, &[], 0)?; Ok(t) },
        |t| begin(t, |t| as_other(t, 0, 1, syn), nothing, nothing), "its answer has the option"),
    s("MpcBlackhole", 1, |t| { let mut t = Conversation::new(t); as_other(&mut t, 0, 1, syn)?; let isn = t.flows[0].next; syn(&mut t)?; t.flows[0].next = isn; t.send(0, A, SYN, &[], 0)?; Ok(t) },
        |t| { let mut t = Conversation::new(t); as_other(&mut t, 0, 1, syn)?; syn(&mut t)?; t.send(0, A, SYN, &[], 0)?; Ok(t) }, "the SYN once more"),
    s("MPSYNretx", 1, |t| syn_again(t, 0), |t| syn_again(t, 77_777), "another number"),
    s("TotFB", 1, |t| then(begin(t, |t| as_other(t, 0, 1, answered_syn), nothing, nothing)?, |t| { t.send(0, A, ACK, &[], 0)?; Ok(()) }),
        |t| then(begin(t, |t| as_other(t, 0, 1, answered_syn), nothing, nothing)?, |t| as_other(t, 0, 2, |t| { t.send(0, A, ACK, &[], 0)?; Ok(()) })), "a third segment of nobody's numbers"),
    s("subCon", 1, |t| joins(t, true, true), |t| joins(t, true, false), "the fourth segment is missing, behind a join of somebody else"),
    s("subCon", 1, |t| joins(t, false, true), |t| joins(t, false, false), "the fourth segment is missing, before a join of somebody else"),
    s("TotSess", 1, |t| ends(behind_a_join(t)?), behind_a_join, "nor does a join, and what seems to end it"),
    s("TotSess", 1, |t| ends(behind_an_old_one(t)?), behind_an_old_one, "nor does the end of another's time"),
];

#[rustfmt::skip]
pub(crate) const AT_A_HOST: &[Scenario] = &[
    s("CurSF", 1, |t| fast_open(t, 0), |t| { let mut t = fast_open(t, 77_777)?; answer(&mut t)?; Ok(t) }, "the SYN of a fast open once more ends nothing"),
    s("CurSF", 1, |t| fast_open(t, 77_777), |t| { let mut t = fast_open(t, 77_777)?; answer(&mut t)?; Ok(t) }, "a SYN that a host does not answer ends nothing"),
];

#[rustfmt::skip]
pub(crate) const PAST_A_ROUTER: &[Scenario] = &[
    s("FreshAck", 1, |t| then(followed(t, |t| as_other(t, 0, 1, answered_syn))?, talks), |t| followed(t, |t| as_other(t, 0, 1, answered_syn)),
        "an open subflow is followed behind a SYN and a SYN/ACK of somebody else"),
    s("CurSF", 1, |t| { let mut t = Conversation::established(t)?; as_other(&mut t, 0, 1, answered_syn)?; Ok(t) },
        |t| { let mut t = Conversation::confirmed(t)?; as_other(&mut t, 0, 1, answered_syn)?; t.reset(0, A, 0)?; Ok(t) }, "its own reset ends it"),
    s("FreshAck", 2, |t| then(followed(t, |t| other(t, 1, nothing))?, |t| { talks(t)?; talks(t) }), |t| followed(t, |t| other(t, 1, nothing)),
        "and behind a whole handshake"),
    s("FreshAck", 2, |t| then(followed(t, |t| other(t, 1, talks))?, |t| { talks(t)?; talks(t) }), |t| followed(t, |t| other(t, 1, talks)),
        "and behind one with data"),
    s("FreshAck", 2, |t| then(followed(t, several)?, |t| { talks(t)?; talks(t) }),
        |t| followed(t, several), "and behind several"),
    s("FreshAck", 1, |t| then(followed(t, |t| other(t, 1, |t| { t.reset(0, A, 0)?; Ok(()) }))?, talks), |t| followed(t, |t| other(t, 1, |t| { t.reset(0, A, 0)?; Ok(()) })),
        "and behind the end of it"),
    s("FreshAck", 1, |t| then(followed(t, |t| { other(t, 1, |t| { t.reset(0, A, 0)?; Ok(()) })?; as_other(t, 0, 2, answered_syn) })?, talks),
        |t| followed(t, |t| { other(t, 1, |t| { t.reset(0, A, 0)?; Ok(()) })?; as_other(t, 0, 2, answered_syn) }), "and behind another SYN after that"),
    s("FreshAck", 1, |t| ends(begin(t, |t| other(t, 1, talks), nothing, nothing)?), |t| then(begin(t, |t| other(t, 1, talks), nothing, nothing)?, third),
        "a session is followed that begins behind a whole handshake of somebody else"),
    s("FreshAck", 1, |t| ends(begin(t, nothing, |t| other(t, 1, talks), nothing)?), |t| then(begin(t, nothing, |t| other(t, 1, talks), nothing)?, third),
        "and before one"),
    s("FreshAck", 1, |t| ends(begin(t, nothing, nothing, |t| other(t, 1, talks))?), |t| then(begin(t, nothing, nothing, |t| other(t, 1, talks))?, third),
        "and beside one"),
    s("FreshAck", 6, |t| behind_wide(t, true), |t| behind_wide(t, false), "windows of somebody else take nothing away"),
    s("DSSrcv", 9, |t| behind_wide(t, true), |t| behind_wide(t, false), "nor do they make the initiator the listener"),
    s("FreshAck", 1, |t| then(within_windows(t)?, talks), within_windows, "a session is followed whose numbers lie in the windows of somebody else"),
    s("FreshAck", 1, |t| then(beside_a_longer_one(t)?, talks), beside_a_longer_one, "a handshake that nobody completes takes no place"),
    s("TotSess", 1, |t| another(t, true, true), |t| { let mut t = Conversation::confirmed(t)?; become_other(&mut t, 0, 1); t.clear(); answered_syn(&mut t)?; Ok(t) },
        "a connection that begins where the end of another was not seen is a new one"),
    s("FreshAck", 2, |t| another(t, false, true), |t| another(t, false, false), "it is followed"),
    s("FreshAck", 3, |t| another(t, true, true), |t| another(t, false, false), "both are followed, if the other goes on"),
];

#[test]
fn on_a_host() -> Result<()> {
    run(host(), RIVALS)?;
    run(host(), AT_A_HOST)
}

#[test]
fn on_a_middlebox() -> Result<()> {
    run(Config::default(), RIVALS)
}

#[test]
fn past_a_router() -> Result<()> {
    run(Config::default(), PAST_A_ROUTER)
}
