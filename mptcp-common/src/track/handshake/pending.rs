//! Joins that are pending, and what they leave when they come to nothing.

use crate::{
    state::{HalfOpen, HandshakeFacts, Session, Tables, clear_bit},
    table::{Table, Word},
};

/// The session of a pending join, while it is the same.
#[inline(always)]
pub(crate) fn session_of_entry<'a, T: Tables>(
    tables: &'a T,
    entry: &HalfOpen<T::Memory>,
) -> Option<&'a Session<T::Memory>> {
    if entry.flags.load() & HandshakeFacts::RESOLVED == 0 {
        return None;
    }
    let session = tables.sessions().slot(entry.session.load())?;
    (session.generation.load() == entry.generation.load()).then_some(session)
}

/// A pending join is no longer pending: its session sees that by its entry.
#[inline(always)]
pub(crate) fn undo<T: Tables>(tables: &T, entry: &HalfOpen<T::Memory>) {
    let limits = tables.limits();
    if limits.threshold != 0
        && entry.flags.load() & HandshakeFacts::RESOLVED != 0
        && let Some(all) = tables.pending_joins()
    {
        all.remove(&limits, entry.created.load());
    }
}

/// A pending join that comes to nothing: the identifiers that it brought are free again, too.
#[inline(always)]
pub(crate) fn abandon<T: Tables>(tables: &T, entry: &HalfOpen<T::Memory>) {
    undo(tables, entry);
    let Some(session) = session_of_entry(tables, entry) else {
        return;
    };
    let (flags, ids) = (entry.flags.load(), entry.ids());
    let opener = usize::from(flags & HandshakeFacts::OPENER_LISTENS != 0);
    for (end, id) in ids.into_iter().enumerate() {
        if flags & HandshakeFacts::NEW_ID << end != 0 {
            clear_bit(&session.sides[(opener ^ end) & 1].used, id);
        }
    }
}
