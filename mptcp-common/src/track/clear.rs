//! Empties the tables of sessions, subflows and ranges while programs work on them.

use crate::{
    state::{HandshakeKind, is_session_over, tokens},
    table::{self, BUCKET_SLOTS, Table, Word},
    track::adopt::Shared,
};

/// Forgets all sessions, their subflows, their ranges and the joins to them, and flows of which only stray segments
/// were seen. `grace` waits until all programs that run have ended.
///
/// An entry is first put out of reach, then nobody can be at work on it any more, then its place is
/// free. Sessions that are over by themselves are left to who takes their place, and MP_CAPABLE handshakes to
/// their end: their sessions are still to come.
///
/// # Errors
/// Those of `grace`, which is asked before anything is done, too.
pub fn clear<T: Shared, E>(
    tables: &T,
    now: u64,
    grace: impl Fn() -> Result<(), E>,
) -> Result<(), E> {
    grace()?;
    let limits = tables.limits();
    let (sessions, subflows) = (tables.sessions(), tables.subflows());
    let handshakes = tables.half_opens();
    let chunks = tables.range_chunks();
    for (slot, session) in table::entries(sessions) {
        if !is_session_over(session, &limits, now) && table::bar(sessions, slot, session.tag.load())
        {
            // Joins under way do not find it, and packets of its subflows neither.
            session.generation.add(1);
        }
    }
    for word in (0..sessions.buckets() * tokens::BUCKETS)
        .filter_map(|bucket| tables.tokens(bucket))
        .flat_map(table::Bucket::words)
    {
        let value = word.load();
        if tokens::slot_of(value).is_some_and(|slot| table::is_barred(sessions, slot)) {
            word.replace(value, 0);
        }
    }
    grace()?;
    // Those too that a program was about to add.
    for (slot, subflow) in table::entries(subflows) {
        if table::is_barred(sessions, subflow.session.load()) {
            table::bar(subflows, slot, subflow.tag.load());
        }
    }
    for (slot, handshake) in table::entries(handshakes) {
        if handshake.kind() != HandshakeKind::Capable as u32 {
            table::bar(handshakes, slot, handshake.tag.load());
        }
    }
    tables.clear_pending_joins();
    for (slot, chunk) in table::entries(chunks) {
        if table::is_barred(sessions, chunk.session.load()) {
            table::bar(chunks, slot, chunk.tag.load());
        }
    }
    grace()?;
    for slot in
        (0..handshakes.buckets() * BUCKET_SLOTS).filter(|slot| table::is_barred(handshakes, *slot))
    {
        if let Some(handshake) = handshakes.slot(slot) {
            handshake.forget();
        }
        table::free_barred(handshakes, slot);
    }
    for slot in 0..subflows.buckets() * BUCKET_SLOTS {
        table::free_barred(subflows, slot);
    }
    for slot in 0..chunks.buckets() * BUCKET_SLOTS {
        table::free_barred(chunks, slot);
    }
    for slot in
        (0..sessions.buckets() * BUCKET_SLOTS).filter(|slot| table::is_barred(sessions, *slot))
    {
        // A place with keys is left barred rather than handed on.
        if tables.wipe_keys(slot) {
            table::free_barred(sessions, slot);
        }
    }
    Ok(())
}
