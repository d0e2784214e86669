//! Tokens lead to their sessions: who joins names the token of the other side.
//!
//! A word has the token in its upper half, and in the lower whose it is, a bit, and the session's slot plus 1. It
//! stands in one of two neighbouring buckets, and is free when its session is over or has another token.

use crate::{
    packet::hash::{self, Secrets},
    state::{expiry::is_session_over, limits::Limits, session::Session},
    table::{Bucket, Memory, Table, Word},
};

/// Buckets of words for each bucket of sessions: a session has two tokens.
pub const BUCKETS: u32 = 2;

/// Below the token: the side whose it is.
const SIDE: u32 = 31;

#[inline(always)]
fn word(token: u32, side: u32, slot: u32) -> u64 {
    u64::from(token) << 32 | u64::from(side) << SIDE | u64::from(slot + 1)
}

/// The slot that a word leads to, if it leads anywhere.
#[inline(always)]
pub(crate) fn slot_of(word: u64) -> Option<u32> {
    (word as u32 & !(1 << SIDE)).checked_sub(1)
}

/// The tables of sessions and tokens, and what is needed to read them.
pub(crate) struct Tokens<'a, S, F, K> {
    pub(crate) sessions: &'a S,
    /// Buckets by their numbers.
    pub(crate) buckets: F,
    /// What buckets are found with: a token is the choice of whoever chose the key.
    pub(crate) secrets: &'a K,
    pub(crate) limits: Limits,
    pub(crate) now: u64,
}

impl<'a, M, S, F, K> Tokens<'a, S, F, K>
where
    K: Secrets,
    M: Memory + 'a,
    S: Table<Memory = M, Slot = Session<M>>,
    F: Fn(u32) -> Option<&'a Bucket<M>>,
{
    /// The session that has a token, by its slot, and which side's token it is: a listener's before an
    /// initiator's, since two hosts can have the same.
    #[inline(always)]
    pub(crate) fn find(&self, token: u32) -> Option<(u32, u32)> {
        let home = self.home(token);
        // One by one: in the kernel this may be no loop.
        if let Some(slot) = self.find_in(home, token, 1) {
            return Some((slot, 1));
        }
        if let Some(slot) = self.find_in(home ^ 1, token, 1) {
            return Some((slot, 1));
        }
        if let Some(slot) = self.find_in(home, token, 0) {
            return Some((slot, 0));
        }
        let slot = self.find_in(home ^ 1, token, 0)?;
        Some((slot, 0))
    }

    /// Makes the token of a side lead to its session; false if its buckets have no room.
    #[inline(always)]
    pub(crate) fn register(&self, token: u32, side: u32, slot: u32) -> bool {
        let (home, word) = (self.home(token), word(token, side, slot));
        self.put(home, word) || self.put(home ^ 1, word)
    }

    /// The first bucket of a token.
    #[inline(always)]
    fn home(&self, token: u32) -> u32 {
        let buckets = self.sessions.buckets() * BUCKETS;
        (((hash::token(self.secrets, token) >> 32) * u64::from(buckets)) >> 32) as u32
    }

    #[inline(always)]
    fn find_in(&self, bucket: u32, token: u32, side: u32) -> Option<u32> {
        let wanted = word(token, side, 0) >> SIDE;
        let words = (self.buckets)(bucket)?.words();
        let mut found = 0;
        for word in words {
            let value = word.load();
            if found == 0 && value >> SIDE == wanted {
                found = value;
            }
        }
        let slot = slot_of(found)?;
        let session = self.sessions.slot(slot)?;
        self.is_of(session, found).then_some(slot)
    }

    #[inline(always)]
    fn put(&self, bucket: u32, new: u64) -> bool {
        let Some(bucket) = (self.buckets)(bucket) else {
            return false;
        };
        for word in bucket.words() {
            let present = word.load();
            let session = slot_of(present).and_then(|slot| self.sessions.slot(slot));
            let is_free = match session {
                Some(session) => !self.is_of(session, present),
                None => true,
            };
            if is_free && word.replace(present, new) {
                return true;
            }
        }
        false
    }

    /// Is it this session that a word leads to, and does it live?
    #[inline(always)]
    fn is_of(&self, session: &Session<M>, word: u64) -> bool {
        let side = (word as u32 >> SIDE) as usize & 1;
        session.sides[side].token.load() == (word >> 32) as u32
            && !is_session_over(session, &self.limits, self.now)
    }
}
