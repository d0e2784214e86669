//! Sets with chunks against sets without bound.

extern crate std;

use core::sync::atomic::AtomicU64;
use std::{boxed::Box, collections::BTreeMap, sync::Mutex, thread, vec::Vec};

use bytemuck::Zeroable;

use super::*;
use crate::{
    counter::{DirectionCounters, EventKind, Role},
    crypto::Digest,
    packet::hash::{Hashing, Secrets},
    state::{CHUNK_RANGES, HalfOpen, Keys, Limits, PendingJoins, Session, SessionSide, Subflow},
    table::{Atomics, BUCKET_SLOTS, Bucket, buckets_for},
    verifier::Opaque,
};

/// Pseudo-random numbers, the same in each run (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

// The atomics of `core` have methods of the same names.
fn get<T>(word: &impl Word<T>) -> T {
    word.load()
}

fn put<T>(word: &impl Word<T>, value: T) {
    word.store(value);
}

fn get_cell(cell: &Cell<u32>) -> u32 {
    cell.get()
}

fn add<T>(word: &impl Word<T>, value: T) {
    word.add(value);
}

struct Owned<S> {
    tags: Box<[Bucket<Atomics>]>,
    slots: Box<[S]>,
}

impl<S: Zeroable> Owned<S> {
    fn new(entries: u32) -> Self {
        let buckets = buckets_for(entries);
        Self {
            tags: (0..buckets).map(|_| Bucket::zeroed()).collect(),
            slots: (0..buckets * BUCKET_SLOTS).map(|_| S::zeroed()).collect(),
        }
    }
}

impl<S> Table for Owned<S> {
    type Memory = Atomics;
    type Slot = S;

    fn buckets(&self) -> u32 {
        self.tags.len() as u32
    }

    fn bucket(&self, bucket: u32) -> Option<&Bucket<Atomics>> {
        self.tags.get(bucket as usize)
    }

    fn slot(&self, slot: u32) -> Option<&S> {
        self.slots.get(slot as usize)
    }
}

/// Sessions and chunks, and nothing else.
struct Pools {
    sessions: Owned<Session<Atomics>>,
    chunks: Owned<RangeChunk<Atomics>>,
    nothing: (
        Owned<HalfOpen<Atomics>>,
        Owned<Subflow<Atomics>>,
        Mutex<DirectionCounters>,
    ),
    hashing: Hashing,
    now: AtomicU64,
}

/// Sessions of [`Pools`].
const SESSIONS: u32 = 3;

impl Pools {
    /// With room for so many chunks on average.
    fn new(chunks: u32) -> Self {
        let pools = Self {
            sessions: Owned::new(SESSIONS),
            chunks: Owned::new(chunks),
            nothing: (Owned::new(1), Owned::new(1), Mutex::default()),
            hashing: Hashing::new(0, 0),
            now: AtomicU64::new(1_000_000_000_000),
        };
        for slot in 0..SESSIONS {
            pools.begin(slot);
        }
        pools
    }

    /// A new session in a slot.
    fn begin(&self, slot: u32) {
        let session = &self.sessions.slots[slot as usize];
        put(&session.tag, 1);
        add(&session.generation, 1);
        put(&session.flags, 0);
        put(&session.open, 1);
        put(&session.last_seen, get(&self.now));
    }

    fn set(&self, slot: u32, side: usize, which: usize) -> Set<'_, Atomics> {
        let side: &SessionSide<Atomics> = &self.sessions.slots[slot as usize].sides[side];
        if which == 0 {
            side.mapped_set()
        } else {
            side.sent_set()
        }
    }

    fn insert(&self, slot: u32, side: usize, which: usize, start: u64, end: u64) -> Relation {
        let set = self.set(slot, side, which);
        match set.insert(start, end, self) {
            Relation::Lost => {}
            relation => return relation,
        }
        let session = &self.sessions.slots[slot as usize];
        put(&session.last_seen, get(&self.now));
        let range_search = RangeSearch::default();
        let pool = Pool::new(self, &range_search);
        pool.begin([slot, get(&session.generation)], side, which);
        for tries in 0..ATTEMPTS {
            pool.find_in_session(&set, start, end);
            while range_search.has_chunks() {
                pool.walk(0);
            }
            let relation = pool.insert(&set);
            if tries == get_cell(&range_search.tries) {
                return relation;
            }
        }
        Relation::Lost
    }

    /// Chunks that are somebody's.
    fn used(&self) -> usize {
        let limits = self.limits();
        table::entries(&self.chunks)
            .filter(|(_, chunk)| {
                let session = self.sessions.slot(get(&chunk.session));
                !is_chunk_free(chunk, session, &limits, get(&self.now))
            })
            .count()
    }

    /// No tag stands twice.
    fn check(&self) {
        let mut tags: Vec<_> = self.chunks.tags.iter().flat_map(Bucket::tags).collect();
        tags.retain(|tag| *tag != 0);
        tags.sort_unstable();
        let all = tags.len();
        tags.dedup();
        assert_eq!(tags.len(), all);
    }
}

impl Opaque for Pools {
    fn opaque(&self, value: u32) -> u32 {
        value
    }

    fn opaque_by(&self, value: u32, _: u64) -> u32 {
        value
    }
}

impl Tables for Pools {
    type Memory = Atomics;
    type HalfOpens = Owned<HalfOpen<Atomics>>;
    type Subflows = Owned<Subflow<Atomics>>;
    type Sessions = Owned<Session<Atomics>>;
    type RangeChunks = Owned<RangeChunk<Atomics>>;
    type Digest = Digest;

    fn half_opens(&self) -> &Self::HalfOpens {
        &self.nothing.0
    }

    fn subflows(&self) -> &Self::Subflows {
        &self.nothing.1
    }

    fn sessions(&self) -> &Self::Sessions {
        &self.sessions
    }

    fn range_chunks(&self) -> &Self::RangeChunks {
        &self.chunks
    }

    fn keys(&self, _: u32) -> Option<&Keys<Atomics>> {
        None
    }

    fn tokens(&self, _: u32) -> Option<&Bucket<Atomics>> {
        None
    }

    fn pending_joins(&self) -> Option<&PendingJoins<Atomics>> {
        None
    }

    fn with_digest<R>(&self, _: impl FnOnce(&mut Digest) -> R) -> Option<R> {
        None
    }

    fn seed(&self) -> u64 {
        0x6d70_7463_702d_7573
    }

    fn secrets(&self) -> &impl Secrets {
        &self.hashing
    }

    fn now(&self) -> u64 {
        get(&self.now)
    }

    fn role(&self) -> Role {
        Role::Host
    }

    fn limits(&self) -> Limits {
        Limits::DEFAULT
    }

    fn checks_segments(&self) -> bool {
        false
    }

    fn verifies_checksums(&self) -> bool {
        false
    }

    fn queue(&self) -> u32 {
        0
    }

    fn emit(&self, _: EventKind, _: u32, _: u32) {}

    fn events(&self, _: u32) -> impl core::ops::DerefMut<Target = DirectionCounters> {
        self.nothing.2.lock().expect("nobody holds it")
    }
}

/// A set without bound: what is below `next`, and ranges above it that do not touch, by their starts. Numbers are
/// counted from where the set begins.
#[derive(Default)]
struct Model {
    next: u64,
    above: BTreeMap<u64, u64>,
}

impl Model {
    fn insert(&mut self, start: u64, end: u64) -> Relation {
        let present: Vec<_> = core::iter::once((0, self.next))
            .chain(self.above.iter().map(|(low, high)| (*low, *high)))
            .collect();
        let covered: u64 = present
            .iter()
            .map(|(low, high)| (*high).min(end).saturating_sub((*low).max(start)))
            .sum();
        let touched: Vec<_> = present
            .into_iter()
            .filter(|(low, high)| *low <= end && start <= *high)
            .collect();
        let low = touched
            .iter()
            .fold(start, |least, range| least.min(range.0));
        let high = touched.iter().fold(end, |most, range| most.max(range.1));
        for (low, _) in touched {
            self.above.remove(&low);
        }
        self.above.insert(low, high);
        self.absorb();
        match covered {
            0 => Relation::New,
            _ if covered == end - start => Relation::Inside,
            _ => Relation::Partial,
        }
    }

    fn acknowledge(&mut self, next: u64) {
        self.next = self.next.max(next);
        self.absorb();
    }

    /// What begins in the contiguous part belongs to it.
    fn absorb(&mut self) {
        while let Some((low, high)) = self.above.first_key_value()
            && *low <= self.next
        {
            self.next = self.next.max(*high);
            self.above.pop_first();
        }
    }
}

/// How a sequence is made.
struct Shape {
    /// Blocks that lie open at most, and bytes in a block.
    window: u64,
    block: u64,
    /// Of a thousand steps, how many are acknowledgments.
    acknowledgments: u64,
}

impl Shape {
    fn any(random: &mut Random) -> Self {
        Self {
            window: [20, 100, 900, 4000][random.below(4) as usize],
            block: [1, 2, 1400, 60_000][random.below(4) as usize],
            acknowledgments: [0, 2, 20, 200][random.below(4) as usize],
        }
    }
}

/// What was found in many sequences.
#[derive(Default)]
struct Sum {
    /// By [`Relation`].
    relations: [u64; 4],
    wanted: [u64; 4],
    most_ranges: usize,
    most_chunks: usize,
}

/// One sequence over several sets of several sessions: `compare` gets what is found and what is wanted.
fn sequence(
    pools: &Pools,
    random: &mut Random,
    sum: &mut Sum,
    most: usize,
    compare: impl Fn(Relation, Relation),
) {
    let mut sets = Vec::new();
    for slot in 0..SESSIONS {
        pools.begin(slot);
        for (side, which) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            if random.below(4) != 0 {
                continue;
            }
            // Where they begin, the lower or all bits soon wrap.
            let origin = match random.below(3) {
                0 => 0_u64.wrapping_sub(random.below(1 << 20)),
                1 => (random.next() << 32).wrapping_sub(random.below(1 << 20)),
                _ => random.next(),
            };
            pools.set(slot, side, which).reset(origin);
            sets.push((
                slot,
                side,
                which,
                origin,
                Model::default(),
                Shape::any(random),
            ));
        }
    }
    if sets.is_empty() {
        return;
    }
    for _ in 0..random.below(2000) {
        let chosen = random.below(sets.len() as u64) as usize;
        let (slot, side, which, origin, model, shape) = &mut sets[chosen];
        if random.below(100) == 0 {
            // Now and then for so long that empty chunks are handed on.
            let time = [4_000_000, 300_000_000, 1_200_000_000][random.below(3) as usize];
            add(&pools.now, time);
        }
        if random.below(1000) < shape.acknowledgments {
            let to = model.next + random.below(shape.window * shape.block / 2 + 1);
            model.acknowledge(to);
            pools
                .set(*slot, *side, *which)
                .acknowledge(origin.wrapping_add(to));
            continue;
        }
        let is_full = model.above.len() >= most;
        let behind = random.below(4) * shape.block;
        let start = if is_full || random.below(6) == 0 {
            model.next.saturating_sub(behind)
        } else {
            let ahead = random.below(shape.window) * shape.block;
            (model.next + ahead)
                .saturating_sub(behind + random.below(2) * random.below(shape.block))
        };
        let blocks = if random.below(50) == 0 { 40 } else { 1 };
        let length = 1 + random.below(blocks * shape.block);
        let end = start + length;
        let wanted = model.insert(start, end);
        let (from, to) = (origin.wrapping_add(start), origin.wrapping_add(end));
        let found = pools.insert(*slot, *side, *which, from, to);
        compare(found, wanted);
        sum.relations[found as usize] += 1;
        sum.wanted[wanted as usize] += 1;
        sum.most_ranges = sum.most_ranges.max(model.above.len());
    }
    sum.most_chunks = sum.most_chunks.max(pools.used());
    pools.check();
}

/// Ranges that a set has room for, but for one that has become contiguous and was not looked at since.
const ROOM: usize = GAPS + CHUNKS as usize * CHUNK_RANGES - 1;

#[test]
fn they_are_those_without_bound() {
    let mut sum = Sum::default();
    let pools = Pools::new(4096);
    let mut random = Random(1);
    for i in 0..3000 {
        sequence(&pools, &mut random, &mut sum, ROOM, |found, wanted| {
            assert_eq!(found, wanted, "in sequence {i}");
        });
    }
    assert!(
        sum.relations[..3].iter().all(|n| *n > 10_000),
        "{:?}",
        sum.relations
    );
    assert!(sum.most_ranges > 256 && sum.most_chunks > 16);
    // Nothing is left behind a second later.
    for slot in 0..SESSIONS {
        pools.begin(slot);
    }
    assert_eq!(pools.used(), 0);
}

#[test]
fn as_many_as_are_promised_have_room_and_one_more_is_lost() {
    let pools = Pools::new(4096);
    for (side, which) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let range = |i: usize| (10 + 20 * i as u64, 20 + 20 * i as u64);
        let insert = |(start, end)| pools.insert(0, side, which, start, end);
        for i in 0..=ROOM {
            assert_eq!(insert(range(i)), Relation::New);
        }
        assert_eq!(insert(range(ROOM + 1)), Relation::Lost);
        for i in 0..=ROOM {
            assert_eq!(insert(range(i)), Relation::Inside);
        }
        // All of them become one by one that closes the gaps.
        for i in 0..=ROOM {
            let start = range(i).0 - 10;
            assert_eq!(insert((start, start + 10)), Relation::New);
        }
        let filled = pools.set(0, side, which);
        assert!(filled.is_contiguous(range(ROOM).1));
    }
    // A second later their places are others'.
    assert_eq!(pools.used(), 4 * CHUNKS as usize);
    add(&pools.now, 2 * HOLD_TIME);
    assert_eq!(pools.used(), 0);
}

#[test]
fn without_room_they_hold_less_and_never_more() {
    let mut sum = Sum::default();
    let mut random = Random(2);
    let pools = Pools::new(6);
    let room = pools.chunks.slots.len();
    for i in 0..2000 {
        sequence(
            &pools,
            &mut random,
            &mut sum,
            usize::MAX,
            |found, wanted| {
                let is_less = match found {
                    Relation::Inside => wanted == Relation::Inside,
                    Relation::Partial => wanted != Relation::New,
                    Relation::New | Relation::Lost => true,
                };
                assert!(is_less, "{found:?}, not {wanted:?}, in sequence {i}");
            },
        );
    }
    let inside = Relation::Inside as usize;
    assert!(sum.relations[Relation::Lost as usize] > 10_000);
    assert!(sum.relations[inside] < sum.wanted[inside]);
    assert!(sum.most_chunks == room, "{} of {room}", sum.most_chunks);
}

#[test]
fn an_empty_chunk_is_handed_on_and_taken_again() {
    // As many places as one set has chunks, in one bucket and its neighbour.
    let pools = Pools::new(6);
    let range = |i: u64| (10 + 20 * i, 20 + 20 * i);
    let fill = |slot| {
        (0..u64::MAX)
            .take_while(|i| {
                let (start, end) = range(*i);
                pools.insert(slot, 0, 0, start, end) != Relation::Lost
            })
            .count()
    };
    let all = fill(0);
    assert!(all > 300, "{all}");
    assert_eq!(fill(1), GAPS);
    // One chunk is emptied, and is kept for a second.
    pools.set(0, 0, 0).acknowledge(range(all as u64).1);
    assert_eq!(
        pools.insert(
            0,
            0,
            0,
            range(all as u64).1 + 100,
            range(all as u64).1 + 110
        ),
        Relation::New
    );
    let insert_second = || {
        let (start, end) = range(GAPS as u64);
        pools.insert(1, 0, 0, start, end)
    };
    assert_eq!(insert_second(), Relation::Lost);
    add(&pools.now, HOLD_TIME + 1_000_000);
    assert_eq!(insert_second(), Relation::New);
    // The first set finds others in the places of its chunks, and takes what is left.
    let again = (1..100)
        .map(|i| range(all as u64 + 10 * i))
        .filter(|(start, end)| pools.insert(0, 0, 0, *start, *end) == Relation::New)
        .count();
    assert_eq!(again, 99);
    assert_eq!(insert_second(), Relation::Inside);
    // What is in the chunks of a session that is over is nobody's.
    pools.begin(0);
    pools.set(0, 0, 0).reset(0);
    assert!(fill(1) > 300);
}

/// Several CPUs at work on the same sets and with one pool: they may forget what others insert, and invent nothing.
#[test]
fn cpus_at_the_same_sets_invent_nothing() {
    /// Every fourth block of numbers is inserted by nobody.
    const BLOCK: u64 = 100;
    let pools = Pools::new(24);
    for round in 0..60 {
        for slot in 0..SESSIONS {
            pools.begin(slot);
            for (side, which) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                pools.set(slot, side, which).reset(0);
            }
        }
        thread::scope(|scope| {
            for cpu in 0..3 {
                let pools = &pools;
                scope.spawn(move || {
                    let mut random = Random(1000 * round + cpu);
                    for _ in 0..3000 {
                        let block = 4 * random.below(300) + 1 + random.below(3);
                        let start = block * BLOCK + random.below(20);
                        let end = start + 1 + random.below(BLOCK - 20);
                        // Two of the sessions have one set each at which all are, and the third is this CPU's.
                        let slot = random.below(3) as u32;
                        let which = if slot < 2 { 0 } else { cpu as usize & 1 };
                        let side = if slot < 2 { 0 } else { cpu as usize >> 1 };
                        pools.insert(slot, side, which, start, end);
                        if random.below(500) == 0 {
                            add(&pools.now, HOLD_TIME / 2);
                        }
                    }
                });
            }
        });
        pools.check();
        let mut random = Random(round);
        for slot in 0..SESSIONS {
            for (side, which) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                for block in (0..300).map(|i| 4 * i + 1).filter(|_| random.below(9) == 0) {
                    let start = (block - 1) * BLOCK;
                    let found = pools.insert(slot, side, which, start, start + BLOCK / 2);
                    assert!(
                        matches!(found, Relation::New | Relation::Lost),
                        "{found:?} of what nobody inserted, in round {round}"
                    );
                }
            }
        }
    }
    for slot in 0..SESSIONS {
        pools.begin(slot);
    }
    assert_eq!(pools.used(), 0);
}
