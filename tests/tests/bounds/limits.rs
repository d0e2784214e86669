//! Limits and times.

use super::*;

/// Limits that nobody has by default.
#[test]
fn rows_of_limits_that_were_set() -> Result<()> {
    let [threshold, data_fin, fastclose] = of_bounds("rows_of_limits_that_were_set")?;
    let limits = Limits {
        threshold: 2,
        passive_close_refused: 1,
        ..Limits::DEFAULT
    };
    let mut engines = Differential::new(Config { limits, ..host() })?;
    for (pending, wanted) in [(2, Some(0)), (3, Some(1))] {
        let mut talk = Conversation::confirmed(&mut engines)?;
        for id in 1..=pending {
            let flow = talk.join_until_ack(A, id)?;
            if id == pending {
                talk.send(flow, B, RST, &[], 0)?;
            }
        }
        ensure!(
            talk.value(threshold)? == wanted,
            "{pending}: {:?}",
            talk.value(threshold)?
        );
        for flow in 1..pending {
            talk.send(flow.into(), B, RST, &[], 0)?;
        }
    }
    for (on, wanted) in [(1, Some(1)), (0, Some(0))] {
        let mut talk = Conversation::joined(&mut engines)?;
        talk.prio(1, A, true)?;
        talk.data_fin(on, A)?;
        let key = talk.keys[B];
        talk.fastclose(on, A, key)?;
        ensure!(talk.value(data_fin)? == wanted && talk.value(fastclose)? == wanted);
    }
    Ok(())
}

/// What depends on time, on both sides of the limit.
#[test]
fn times_are_kept() -> Result<()> {
    let mut engines = Differential::new(host())?;
    // An option so long after the close belongs to nothing.
    for (seconds, wanted) in [(1, Some(0)), (3, Some(1))] {
        let mut talk = Conversation::confirmed(&mut engines)?;
        talk.close(0)?;
        talk.clear();
        talk.wait(Duration::from_secs(seconds))?;
        talk.ack(0, A)?;
        talk.ack(0, A)?;
        ensure!(talk.value("OptSesEr")? == wanted, "after {seconds} s");
    }
    // A reset answers an option that was not allowed a moment ago.
    for (milliseconds, wanted) in [(100, Some(1)), (300, Some(0))] {
        let mut talk = Conversation::confirmed(&mut engines)?;
        talk.send(0, A, ACK, &[30, 3, 0x90, 0], 0)?;
        talk.wait(Duration::from_millis(milliseconds))?;
        talk.send(0, B, RST, &[], 0)?;
        ensure!(talk.value("OptRstEr")? == wanted, "after {milliseconds} ms");
    }
    // A join that nobody answers is pending for 75 s, a session without subflows waits for 60 s.
    let before = engines.gauges();
    let mut talk = Conversation::confirmed(&mut engines)?;
    talk.join_until_ack(A, 5)?;
    talk.reset(0, A, 0)?;
    let now = talk.gauges();
    ensure!((now.pending, now.alone) == (before.pending + 1, before.alone + 1));
    talk.wait(Duration::from_secs(59))?;
    ensure!(talk.gauges().pending == before.pending + 1);
    talk.wait(Duration::from_secs(2))?;
    ensure!(talk.gauges().alone == 0, "{:?}", talk.gauges());
    talk.wait(Duration::from_secs(15))?;
    ensure!(talk.gauges().pending == 0);
    Ok(())
}

/// The clock of a CPU can be a tick behind that of another, which has just seen the same session.
#[test]
fn a_clock_that_is_behind_ends_nothing() -> Result<()> {
    const TICK: Duration = Duration::from_millis(10);
    let mut engines = Differential::new(host())?;
    let mut talk = Conversation::new(&mut engines);
    let (syn, syn_ack, ack) = (
        talk.capable_syn(),
        talk.capable_syn_ack(),
        talk.capable_ack(),
    );
    talk.send(0, A, SYN, &syn, 0)?;
    talk.set_back(TICK)?;
    talk.send(0, B, SYN | ACK, &syn_ack, 0)?;
    talk.send(0, A, ACK, &ack, 0)?;
    talk.data(0, A, 100)?;
    talk.ack(0, B)?;
    talk.set_back(TICK)?;
    talk.join(A, 5)?;
    talk.set_back(TICK)?;
    talk.data(1, A, 100)?;
    ensure!(talk.value("TotSess")? == Some(1) && talk.value("subCon")? == Some(2));
    ensure!(talk.value("UnknownFlow")? == Some(0));
    let gauges = talk.gauges();
    ensure!((gauges.sessions, gauges.subflows) == (1, 2), "{gauges:?}");
    Ok(())
}
