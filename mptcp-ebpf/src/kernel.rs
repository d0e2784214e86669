//! The engine's tables over maps, and its stages, each a function of its own: the verifier looks at it once, knowing
//! nothing of its caller. They find everything in maps.

use core::ops::DerefMut;

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use mptcp_common::{
    counter::{Counters, Direction, DirectionCounters, Event, EventKind, Role},
    crypto::{self, Compress, Digest, Hash},
    engine::{self, Stages},
    packet::{Work, hash::Secrets},
    state::{self, Keys, Limits, PendingJoins, Session, Subflow, Tables},
    table::{Bucket, Word},
    track,
    verifier::Opaque,
    with_stages,
};

use crate::{
    maps::{self, HalfOpens, Loaded, RangeChunks, Sessions, Subflows},
    memory::Maps,
    verifier::Verifier,
};

/// The tables, counters and the packet in work of this CPU.
pub(crate) struct Kernel {
    pub(crate) counters: *mut Counters,
    pub(crate) work: *mut Work,
    verifier: Verifier,
}

impl Kernel {
    /// Of what a caller looked up.
    #[inline(always)]
    pub(crate) fn of(counters: *mut Counters, work: *mut Work) -> Option<Self> {
        // SAFETY: values of maps, of this CPU and run.
        let (counters, work) = unsafe { (counters.as_mut()?, work.as_mut()?) };
        let verifier = Verifier::new(work);
        Some(Self::with(counters, work, verifier))
    }

    #[inline(always)]
    pub(crate) fn with(counters: &mut Counters, work: &mut Work, verifier: Verifier) -> Self {
        Self {
            verifier,
            counters,
            work,
        }
    }
}

impl Opaque for Kernel {
    #[inline(always)]
    fn opaque(&self, value: u32) -> u32 {
        self.verifier.opaque(value)
    }

    #[inline(always)]
    fn opaque_by(&self, value: u32, unknown: u64) -> u32 {
        self.verifier.opaque_by(value, unknown)
    }
}

impl Tables for Kernel {
    type Memory = Maps;
    type HalfOpens = HalfOpens;
    type Subflows = Subflows;
    type Sessions = Sessions;
    type RangeChunks = RangeChunks;
    type Digest = Hasher;

    #[inline(always)]
    fn half_opens(&self) -> &HalfOpens {
        &HalfOpens
    }

    #[inline(always)]
    fn subflows(&self) -> &Subflows {
        &Subflows
    }

    #[inline(always)]
    fn sessions(&self) -> &Sessions {
        &Sessions
    }

    #[inline(always)]
    fn range_chunks(&self) -> &RangeChunks {
        &RangeChunks
    }

    #[inline(always)]
    fn keys(&self, session: u32) -> Option<&Keys<Maps>> {
        maps::KEYS.get(session)
    }

    #[inline(always)]
    fn tokens(&self, bucket: u32) -> Option<&Bucket<Maps>> {
        maps::TOKENS.get(bucket)
    }

    #[inline(always)]
    fn pending_joins(&self) -> Option<&PendingJoins<Maps>> {
        maps::PENDING_JOINS.get(0)
    }

    #[inline(always)]
    fn with_digest<R>(&self, hash: impl FnOnce(&mut Hasher) -> R) -> Option<R> {
        let mut hasher = Hasher(maps::digest()?);
        let result = hash(&mut hasher);
        hasher.wipe();
        Some(result)
    }

    #[inline(always)]
    fn seed(&self) -> u64 {
        maps::SEED.load()
    }

    #[inline(always)]
    fn secrets(&self) -> &impl Secrets {
        &Loaded
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        if maps::is_test() {
            return maps::CLOCK.get(0).map_or(0, Word::load);
        }
        // The coarse time changes with each tick, and asking for the tick is one load: the kernel
        // puts that in the place of the call.
        // SAFETY: helpers without arguments.
        unsafe {
            let [tick, time] = &self.work().clock;
            let now = bpf_jiffies64();
            if now != tick.get() {
                time.set(bpf_ktime_get_coarse_ns());
                tick.set(now);
            }
            time.get()
        }
    }

    #[inline(always)]
    fn role(&self) -> Role {
        maps::role()
    }

    #[inline(always)]
    fn limits(&self) -> Limits {
        maps::limits()
    }

    #[inline(always)]
    fn checks_segments(&self) -> bool {
        maps::checks_segments()
    }

    #[inline(always)]
    fn verifies_checksums(&self) -> bool {
        maps::verifies_checksums()
    }

    #[inline(always)]
    fn guess(&self, value: u32, guess: u32) -> u32 {
        let mut hidden = u64::from(guess);
        // SAFETY: x = x. The compiler, which would take the value in either case, does not know that this is
        // the guess.
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) hidden, options(nomem, nostack));
        }
        if value == guess { hidden as u32 } else { value }
    }

    #[inline(always)]
    fn keep_oldest(&self, subflow: &Subflow<Maps>, session: &Session<Maps>, sender: usize) -> bool {
        keep_oldest(subflow, session, sender as u32) != 0
    }

    #[inline(always)]
    fn queue(&self) -> u32 {
        self.work().packet.queue
    }

    #[inline(always)]
    fn emit(&self, kind: EventKind, detail: u32, token: u32) {
        emit_event(self.counters, self.work, kind as u32, detail, token);
    }

    /// By an index that the verifier does not know: it looks at the code behind once, and not once
    /// per direction.
    #[inline(always)]
    fn events(&self, direction: u32) -> impl DerefMut<Target = DirectionCounters> {
        const _: () = {
            use core::mem::offset_of;
            let size = size_of::<DirectionCounters>();
            assert!(offset_of!(Counters, tx) == offset_of!(Counters, rx) + size);
            assert!(offset_of!(Counters, unknown) == offset_of!(Counters, tx) + size);
        };
        let index = self.opaque(direction).min(Direction::Unknown as u32) as usize;
        let first = self
            .counters
            .wrapping_byte_add(core::mem::offset_of!(Counters, rx));
        // SAFETY: `rx`, `tx` and `unknown` are neighbours of one type, in the order of the indices.
        unsafe { &mut *first.cast::<DirectionCounters>().add(index) }
    }
}

/// Hashes in [`maps::digest`].
pub(crate) struct Hasher(*mut Digest);

impl Hasher {
    /// Overwrites what was hashed: keys.
    #[inline(always)]
    fn wipe(&mut self) {
        let words = self.0.cast::<u64>();
        for i in 0..size_of::<Digest>() / 8 {
            // SAFETY: inside of the value, which is aligned as a map's is.
            unsafe { words.add(i).write_volatile(0) };
        }
    }
}

impl Compress for Hasher {
    #[inline(always)]
    fn compress(&mut self, hash: Hash) {
        match hash {
            Hash::Sha1 => compress_sha1(),
            Hash::Sha256 => compress_sha256(),
        };
    }

    #[inline(always)]
    fn digest(&mut self) -> &mut Digest {
        // SAFETY: the value belongs to this CPU and run.
        unsafe { &mut *self.0 }
    }
}

macro_rules! stages {
    ($($name:ident),+) => {
        impl Stages for Kernel {
            #[inline(always)]
            fn work(&self) -> &Work {
                // SAFETY: the value belongs to this CPU and run. What the stages change of it is in cells.
                unsafe { &*self.work }
            }

            #[inline(always)]
            fn examine(&self) {
                examine(self.counters, self.work);
            }

            #[inline(always)]
            fn insert_ranges(&self) {
                insert_ranges(self.counters, self.work);
            }

            $(
                #[inline(always)]
                fn $name(&self) {
                    $name(self.counters, self.work);
                }
            )+
        }

        $(
            /// The stage of this name in `mptcp_common::track`.
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $name(counters: *mut Counters, work: *mut Work) -> u32 {
                if let Some(kernel) = Kernel::of(counters, work) {
                    track::$name(&kernel, kernel.work());
                }
                0
            }
        )+
    };
}
with_stages!(stages);

/// See [`state::has_kept_oldest`]: not for every packet, and so not among what is.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn keep_oldest(
    subflow: *const Subflow<Maps>,
    session: *const Session<Maps>,
    sender: u32,
) -> u32 {
    // SAFETY: entries of tables, which the caller looked up.
    let (subflow, session) = unsafe { (subflow.as_ref(), session.as_ref()) };
    let (Some(subflow), Some(session)) = (subflow, session) else {
        return 0;
    };
    state::has_kept_oldest(subflow, session, sender as usize).into()
}

/// So many events a second and CPU, so that a flood drowns nobody: of sessions that are known, and of others, which
/// cost nobody a handshake.
const MAX_REPORTS: u64 = 1000;

/// Puts an event in the ring.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn emit_event(
    counters: *mut Counters,
    work: *mut Work,
    kind: u32,
    detail: u32,
    token: u32,
) -> u32 {
    let Some(kernel) = Kernel::of(counters, work) else {
        return 0;
    };
    let packet = kernel.work();
    let time = kernel.now();
    let [second, of_sessions, of_others] = &packet.emitted;
    if second.get() != time >> 30 {
        second.set(time >> 30);
        of_sessions.set(0);
        of_others.set(0);
    }
    let made = if token == 0 { of_others } else { of_sessions };
    made.set(made.get() + 1);
    let is_allowed = made.get() <= MAX_REPORTS || maps::is_test();
    // What follows finds the packet anew, and writes an event word by word: less is held on the stack, which is
    // scarce behind `established`.
    if is_allowed && let Some(mut entry) = maps::REPORTS.reserve::<Event>(0) {
        let report = entry.as_mut_ptr();
        // SAFETY: the entry is as large as an event and aligned as one, and nobody else sees it yet. Each field is
        // written.
        unsafe {
            (&raw mut (*report).time).write(time);
            for (i, word) in packet.flow.words.iter().enumerate() {
                (&raw mut (*report).flow[i]).write_volatile(*word);
            }
            (&raw mut (*report).kind).write(kind);
            (&raw mut (*report).detail).write(detail);
            (&raw mut (*report).direction).write(packet.route.direction.get());
            (&raw mut (*report).token).write(token);
        }
        entry.submit(0);
    } else if let Some(kernel) = Kernel::of(counters, work) {
        let direction = kernel.work().route.direction.get();
        kernel.count(direction, |events| events.lost_reports += 1);
    }
    0
}

/// Logs the packet in work.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn log() -> u32 {
    if let Some(work) = maps::work() {
        aya_log_ebpf::debug!(
            (),
            "MPTCP: TCP flags {}, {} option bytes, {} bytes of payload in {} packets",
            work.packet.flags.0,
            work.packet.options,
            work.packet.payload,
            work.packet.packets
        );
    }
    0
}

/// See [`engine::walk`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn walk() -> u32 {
    if let Some(work) = maps::work() {
        let verifier = Verifier::new(work);
        engine::walk(work, &verifier);
    }
    0
}

/// See [`engine::insert_ranges`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn insert_ranges(counters: *mut Counters, work: *mut Work) -> u32 {
    if let Some(kernel) = Kernel::of(counters, work) {
        engine::insert_ranges(&kernel);
    }
    0
}

/// See [`engine::examine`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn examine(counters: *mut Counters, work: *mut Work) -> u32 {
    if let Some(kernel) = Kernel::of(counters, work) {
        engine::examine(&kernel, &maps::policy());
    }
    0
}

/// SHA-256 of the block in [`maps::digest`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn compress_sha256() -> u32 {
    if let Some(digest) = maps::digest() {
        // SAFETY: the value belongs to this CPU and run.
        crypto::compress_sha256(unsafe { &mut *digest });
    }
    0
}

/// SHA-1 of the block in [`maps::digest`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn compress_sha1() -> u32 {
    if let Some(digest) = maps::digest() {
        // SAFETY: the value belongs to this CPU and run.
        crypto::compress_sha1(unsafe { &mut *digest });
    }
    0
}
