//! Tokens lead to their sessions: who joins names the token of the other side.
//!
//! A word has the token in its upper half and the session's slot plus 1 in the lower. It stands in one of
//! two neighbouring buckets, and is free when its session is over or has another token.

use super::{
    Limits,
    entry::{Session, session},
    is_session_over,
    table::{self, Bucket, Table},
    word::{Memory, Word},
};

/// Buckets of words for each bucket of sessions: a session has two tokens.
pub const BUCKETS: u32 = 2;

/// The first bucket of a token.
#[inline(always)]
fn home(sessions: &impl Table, seed: u64, token: u32) -> u32 {
    let buckets = sessions.buckets() * BUCKETS;
    (((table::mix(seed, token.into()) >> 32) * u64::from(buckets)) >> 32) as u32
}

/// The session that has a token, by its slot, and which side's token it is: a listener's before an initiator's,
/// where two hosts have the same.
#[inline(always)]
pub(super) fn find<'a, M: Memory + 'a>(
    sessions: &impl Table<Memory = M, Slot = Session<M>>,
    tokens: impl Fn(u32) -> Option<&'a Bucket<M>>,
    seed: u64,
    token: u32,
    limits: &Limits,
    now: u64,
) -> Option<(u32, u32)> {
    let home = home(sessions, seed, token);
    let mut initiators = None;
    for bucket in [home, home ^ 1] {
        for word in tokens(bucket)?.words() {
            let value = word.load();
            if (value >> 32) as u32 != token || value as u32 == 0 {
                continue;
            }
            let slot = value as u32 - 1;
            let session = sessions.slot(slot)?;
            if is_session_over(session, limits, now) {
                continue;
            }
            match side_of(session, token) {
                Some(1) => return Some((slot, 1)),
                Some(_) => initiators = Some((slot, 0)),
                None => {}
            }
        }
    }
    initiators
}

/// Makes a token lead to its session; false if its buckets have no room.
#[inline(always)]
pub(super) fn register<'a, M: Memory + 'a>(
    sessions: &impl Table<Memory = M, Slot = Session<M>>,
    tokens: impl Fn(u32) -> Option<&'a Bucket<M>>,
    seed: u64,
    (token, slot): (u32, u32),
    limits: &Limits,
    now: u64,
) -> bool {
    let home = home(sessions, seed, token);
    let new = u64::from(token) << 32 | u64::from(slot + 1);
    for bucket in [home, home ^ 1] {
        let Some(bucket) = tokens(bucket) else {
            return false;
        };
        for word in bucket.words() {
            let present = word.load();
            let is_free = present as u32 == 0
                || sessions.slot(present as u32 - 1).is_none_or(|session| {
                    side_of(session, (present >> 32) as u32).is_none()
                        || is_session_over(session, limits, now)
                });
            if is_free && word.replace(present, new) {
                return true;
            }
        }
    }
    false
}

/// The side of a session that has a token.
#[inline(always)]
fn side_of<M: Memory>(entry: &Session<M>, token: u32) -> Option<u32> {
    if entry.sides[1].token.load() == token {
        return Some(1);
    }
    let is_known = entry.flags.load() & (session::KNOWN | session::ADOPTED) != 0;
    (is_known && entry.sides[0].token.load() == token).then_some(0)
}
