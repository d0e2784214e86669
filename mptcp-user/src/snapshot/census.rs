//! How many sessions, subflows and pending joins exist, counted entry by entry: tables may be larger
//! than what a reader wants in its memory.

use mptcp_common::{
    counter::Gauges,
    state::{
        HalfOpen, HandshakeFacts, HandshakeKind, Limits, Session, SessionFacts, Subflow,
        is_half_open_over, is_session_over, is_subflow_open,
    },
    table::{Memory, Word as _},
};

/// A count under way: all sessions come first, since subflows and joins belong to them.
pub(crate) struct Census {
    limits: Limits,
    now: u64,
    /// Of each slot's session the generation, which begins at 1; 0 where none is alive.
    alive: Vec<u32>,
    gauges: Gauges,
}

impl Census {
    /// Returns what exists at `now`, in a table of so many slots of sessions.
    pub(crate) fn new(limits: Limits, now: u64, slots: u32) -> Self {
        Self {
            limits,
            now,
            alive: vec![0; slots as usize],
            gauges: Gauges::default(),
        }
    }

    /// Counts a session.
    pub(crate) fn session<M: Memory>(&mut self, slot: u32, entry: &Session<M>) {
        if is_session_over(entry, &self.limits, self.now) {
            return;
        }
        if let Some(alive) = self.alive.get_mut(slot as usize) {
            *alive = entry.generation.load();
        }
        self.gauges.sessions += 1;
        self.gauges.sessions_v1 += u64::from(entry.version.load() == 1);
        self.gauges.fallback += u64::from(entry.flags.load() & SessionFacts::FALLBACK != 0);
        self.gauges.alone += u64::from(entry.open.load() == 0);
    }

    /// Counts a subflow, if it is open and its session alive.
    pub(crate) fn subflow<M: Memory>(&mut self, entry: &Subflow<M>) {
        let generation = self.alive.get(entry.session.load() as usize);
        let lives =
            generation.is_some_and(|alive| *alive != 0 && *alive == entry.generation.load());
        self.gauges.subflows += u64::from(lives && is_subflow_open(entry, &self.limits, self.now));
    }

    /// Returns the slot and generation of the session that a pending join is for; `None` of any other
    /// handshake.
    pub(crate) fn joins<M: Memory>(&self, entry: &HalfOpen<M>) -> Option<[u32; 2]> {
        let is_join = entry.kind() == HandshakeKind::Join as u32
            && entry.flags.load() & HandshakeFacts::RESOLVED != 0
            && !is_half_open_over(entry, &self.limits, self.now);
        is_join.then(|| [entry.session.load(), entry.generation.load()])
    }

    /// Counts a pending join; `session` is what is in its session's slot now.
    pub(crate) fn join<M: Memory>(&mut self, generation: u32, session: &Session<M>) {
        let lives = session.generation.load() == generation
            && !is_session_over(session, &self.limits, self.now);
        self.gauges.pending += u64::from(lives);
    }

    /// Returns what was counted.
    pub(crate) fn gauges(self) -> Gauges {
        self.gauges
    }
}

#[cfg(test)]
mod tests {
    use mptcp_common::{
        state,
        table::{self, Atomics, BUCKET_SLOTS, Entry, Table},
    };

    use super::*;
    use crate::offline::Owned;

    /// Numbers that look random (xorshift64*).
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u32) -> u32 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32 % end
        }

        /// Returns one of these bits, or none.
        fn bit(&mut self, bits: &[u32]) -> u32 {
            let chosen = self.below(bits.len() as u32 + 1) as usize;
            bits.get(chosen).copied().unwrap_or(0)
        }

        /// Returns a time, 0 among them.
        fn time(&mut self) -> u64 {
            u64::from(self.below(5)) * Limits::DEFAULT.idle / 3
        }
    }

    /// Claims places of a table and hands what is there to `fill`.
    fn fill<S: Entry>(table: &Owned<S>, random: &mut Random, fill: impl Fn(&S, &mut Random)) {
        for _ in 0..200 {
            let tag = u64::from(random.below(u32::MAX)) << 32 | 1;
            let slot = table::claim(table, tag, |_| false);
            if let Some(entry) = slot.and_then(|slot| table.slot(slot)) {
                fill(entry, random);
            }
        }
    }

    fn any_session<M: Memory>(entry: &Session<M>, random: &mut Random) {
        entry.tag.store(random.below(9).min(1).into());
        entry.generation.store(1 + random.below(2));
        let flags = random.bit(&[SessionFacts::FALLBACK, SessionFacts::FASTCLOSED]);
        entry.flags.store(flags);
        entry.open.store(random.below(2));
        entry.version.store(random.below(2));
        entry.last_seen.store(random.time());
        entry
            .alone
            .store(NOW - u64::from(random.below(3)) * Limits::DEFAULT.alone);
    }

    fn any_subflow<M: Memory>(entry: &Subflow<M>, random: &mut Random, slots: u32) {
        entry.tag.store(random.below(9).min(1).into());
        entry.session.store(random.below(slots + 1));
        entry.generation.store(random.below(3));
        entry.last_seen.store(random.time());
        entry
            .closed
            .store(random.time() * u64::from(random.below(2)));
    }

    fn any_handshake<M: Memory>(entry: &HalfOpen<M>, random: &mut Random, slots: u32) {
        entry.tag.store(random.below(9).min(1).into());
        let kind = [
            HandshakeKind::Capable,
            HandshakeKind::Join,
            HandshakeKind::Stray,
        ][random.below(3) as usize];
        let facts = random.bit(&[HandshakeFacts::RESOLVED]);
        entry
            .flags
            .store(HalfOpen::<M>::flags_of(kind as u32, 0, facts));
        entry.session.store(random.below(slots + 1));
        entry.generation.store(random.below(3));
        entry
            .created
            .store(NOW - u64::from(random.below(3)) * Limits::DEFAULT.handshake);
    }

    /// Where every time that is made here is past.
    const NOW: u64 = Limits::DEFAULT.idle * 2;

    #[test]
    fn it_counts_what_a_census_of_whole_tables_counts() {
        let mut most = Gauges::default();
        for seed in 1..400 {
            let mut random = Random(seed);
            let limits = Limits::DEFAULT;
            let (half_opens, subflows, sessions) = (
                Owned::new(100, None),
                Owned::new(200, None),
                Owned::new(150, None),
            );
            let slots = sessions.buckets() * BUCKET_SLOTS;
            fill(&sessions, &mut random, any_session::<Atomics>);
            fill(&subflows, &mut random, |entry, random| {
                any_subflow::<Atomics>(entry, random, slots);
            });
            fill(&half_opens, &mut random, |entry, random| {
                any_handshake::<Atomics>(entry, random, slots);
            });
            let mut census = Census::new(limits, NOW, slots);
            for (slot, entry) in table::entries(&sessions) {
                census.session(slot, entry);
            }
            for (_, entry) in table::entries(&subflows) {
                census.subflow(entry);
            }
            for (_, entry) in table::entries(&half_opens) {
                if let Some([slot, generation]) = census.joins(entry)
                    && let Some(entry) = sessions.slot(slot)
                {
                    census.join(generation, entry);
                }
            }
            let whole = state::census(&half_opens, &subflows, &sessions, &limits, NOW);
            assert_eq!(census.gauges(), whole, "seed {seed}");
            most.subflows = most.subflows.max(whole.subflows);
            most.pending = most.pending.max(whole.pending);
            most.alone = most.alone.max(whole.alone);
        }
        assert!(
            most.subflows > 5 && most.pending > 2 && most.alone > 5,
            "{most:?}"
        );
    }
}
