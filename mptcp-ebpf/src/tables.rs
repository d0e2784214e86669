//! The maps and constants of the programs, and what the verifier has to be told.

use core::ops::DerefMut;

use aya_ebpf::{
    Global,
    btf_maps::PerCpuArray,
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_map_lookup_elem},
    macros::{btf_map, map},
    maps::{Array, RingBuf},
};
use mptcp_common::{
    counter::{Counters, Direction, Events, Happening, Role, place},
    crypto::{Compress, Digest, Hash},
    engine::{Policy, Stages as _},
    packet::{
        Work,
        hash::{Ends, SECRETS, Secrets},
    },
    state,
    state::{HalfOpen, Keys, Limits, PendingJoins, RangeChunk, Session, Subflow, Tables},
    table::{Bucket, Cell, Table, Word},
    verifier::Forget,
    wire::{Area, MAX_OPTIONS},
};

use crate::{
    frame::CHUNK,
    memory::{Maps, Shared},
    stages,
};

/// The counters of one interface, or of several that have programs in common, each at its [`place`]: pinned,
/// documented, read by user space.
#[btf_map]
static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

/// The packet in work.
#[btf_map]
static WORK: PerCpuArray<Work, 1> = PerCpuArray::new();

/// What had to be copied out of a frame, aligned for any number.
#[btf_map]
static SPILL: PerCpuArray<[u64; 8], 1> = PerCpuArray::new();

/// What payload is summed in: twice a chunk.
#[btf_map]
static PAYLOAD: PerCpuArray<[u64; CHUNK as usize / 4], 1> = PerCpuArray::new();

/// What hashes are computed in.
#[btf_map]
static DIGEST: PerCpuArray<Digest, 1> = PerCpuArray::new();

/// The key of the only value of a map.
#[unsafe(no_mangle)]
static FIRST: Global<u32> = Global::new(0);

/// Lets user space map an array into its memory.
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// A table of the probe: two arrays, sized when they are loaded.
macro_rules! table {
    ($name:ident, $slot:ident: $tags:ident, $slots:ident, $buckets:ident $(, $filter:ident)?) => {
        #[map]
        static $tags: Array<Bucket<Maps>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
        #[map]
        static $slots: Array<$slot<Maps>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
        /// Buckets: even.
        #[unsafe(no_mangle)]
        static $buckets: Global<u32> = Global::new(2);

        pub(crate) struct $name;

        impl Table for $name {
            type Memory = Maps;
            type Slot = $slot<Maps>;

            #[inline(always)]
            fn buckets(&self) -> u32 {
                $buckets.load()
            }

            #[inline(always)]
            fn bucket(&self, bucket: u32) -> Option<&Bucket<Maps>> {
                $tags.get(bucket)
            }

            #[inline(always)]
            fn slot(&self, slot: u32) -> Option<&$slot<Maps>> {
                $slots.get(slot)
            }

            $(
                #[inline(always)]
                fn cell(&self, place: u64) -> Option<Cell<'_, Shared<u64>>> {
                    Cell::find(place, hashing(SECRETS) as u32, |word| {
                        // SAFETY: inside of the map, as the verifier makes sure.
                        Some(unsafe { &*$filter(word) })
                    })
                }

                #[inline(always)]
                fn is_absent(&self, place: u64) -> bool {
                    let (mut index, shift) = (place, hashing(SECRETS));
                    // SAFETY: the index >> the shift, of 63 bits at most. The compiler would mask that, and
                    // not know that nothing but the filter is behind it.
                    unsafe {
                        core::arch::asm!(
                            "{0} >>= {1}",
                            inout(reg) index,
                            in(reg) shift,
                            options(nomem, nostack, preserves_flags),
                        );
                    }
                    let cell: *const u8 = filter_start().wrapping_add(index as usize);
                    // SAFETY: inside of the map, as the verifier makes sure. Any bytes are cells.
                    unsafe { cell.read_volatile() == 0 }
                }
            )?
        }
    };
}

table!(HalfOpens, HalfOpen: HALF_OPEN_TAGS, HALF_OPENS, HALF_OPEN_BUCKETS, filter);
table!(Subflows, Subflow: SUBFLOW_TAGS, SUBFLOWS, SUBFLOW_BUCKETS, filter);
table!(Sessions, Session: SESSION_TAGS, SESSIONS, SESSION_BUCKETS);
table!(RangeChunks, RangeChunk: RANGE_TAGS, RANGES, RANGE_BUCKETS);
/// Of subflows and handshakes: who is in neither table is known from one cell. A variable, since the address of
/// one is known without a lookup: its place is taken by the map that the loader gives (`filter::give` in
/// mptcp-user).
#[unsafe(no_mangle)]
static FILTER: Shared<u64> = Shared::new(0);
/// As [`Tables::tokens`].
#[map]
static TOKENS: Array<Bucket<Maps>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// As many keys as there are sessions. Secret: pinned, and in no document.
#[map]
static KEYS: Array<Keys<Maps>> = Array::with_max_entries(1, 0);

/// What [`Tables::report`] tells: a quarter of a megabyte of it.
#[map]
pub(crate) static REPORTS: RingBuf = RingBuf::with_byte_size(1 << 18, 0);

/// Pending joins of all sessions.
#[map]
static PENDING_JOINS: Array<PendingJoins<Maps>> = Array::with_max_entries(1, 0);

/// The words of a `Hashing`: what tags are made with, secret, so that nobody outside can aim at a bucket, and the
/// filter's shift.
#[unsafe(no_mangle)]
static HASHING: Global<[u64; SECRETS + 1]> = Global::new([0; SECRETS + 1]);
/// What the secrets come from.
#[unsafe(no_mangle)]
static SEED: Global<u64> = Global::new(0);
/// The fields of [`Limits`].
#[unsafe(no_mangle)]
static HANDSHAKE_TIME: Global<u64> = Global::new(Limits::DEFAULT.handshake);
#[unsafe(no_mangle)]
static ALONE_TIME: Global<u64> = Global::new(Limits::DEFAULT.alone);
#[unsafe(no_mangle)]
static IDLE_TIME: Global<u64> = Global::new(Limits::DEFAULT.idle);
#[unsafe(no_mangle)]
static LINGER_TIME: Global<u64> = Global::new(Limits::DEFAULT.linger);
#[unsafe(no_mangle)]
static MAX_SUBFLOWS: Global<u32> = Global::new(Limits::DEFAULT.subflows);
#[unsafe(no_mangle)]
static MAX_PENDING: Global<u32> = Global::new(Limits::DEFAULT.pending);
#[unsafe(no_mangle)]
static JOIN_THRESHOLD: Global<u32> = Global::new(Limits::DEFAULT.threshold);
#[unsafe(no_mangle)]
static PASSIVE_CLOSE_REFUSED: Global<u32> = Global::new(Limits::DEFAULT.passive_close_refused);
/// The time where [`TEST_CLOCK`] is set.
#[map]
static CLOCK: Array<Shared<u64>> = Array::with_max_entries(1, 0);
/// 1: the time is what a test wrote to [`CLOCK`]. The verifier removes the code for what is not so.
#[unsafe(no_mangle)]
static TEST_CLOCK: Global<u8> = Global::new(0);
/// 0: only what a packet says by itself is counted.
#[unsafe(no_mangle)]
static TRACK: Global<u8> = Global::new(1);
/// 1: DSS checksums are verified.
#[unsafe(no_mangle)]
static VERIFY_CHECKSUMS: Global<u8> = Global::new(0);
/// 1: TCP checksums are looked at of segments that end something.
#[unsafe(no_mangle)]
static CHECK_SEGMENTS: Global<u8> = Global::new(1);

/// A [`Role`], by its discriminant.
#[unsafe(no_mangle)]
static ROLE: Global<u8> = Global::new(Role::Host as u8);
/// 1 on a device without link-layer header (tun).
#[unsafe(no_mangle)]
static LAYER_3: Global<u8> = Global::new(0);
/// The three fields of [`Policy`].
#[unsafe(no_mangle)]
static MIN_MSS_V4: Global<u16> = Global::new(536);
#[unsafe(no_mangle)]
static MIN_MSS_V6: Global<u16> = Global::new(1220);
#[unsafe(no_mangle)]
static VERSION_0: Global<u8> = Global::new(1);

/// The filter's word with this number.
#[inline(always)]
fn filter(mut index: u64) -> *const Shared<u64> {
    // SAFETY: x = x. The compiler does not know where the index comes from: it would scale that by bits, of
    // which the verifier keeps less.
    unsafe {
        core::arch::asm!(
            "{0} = {0}",
            inout(reg) index,
            options(nomem, nostack, preserves_flags),
        );
    }
    filter_start()
        .cast::<Shared<u64>>()
        .wrapping_add(index as usize)
}

/// The filter's first byte. Of the compiler's own load of the address it would know that it is a variable of one
/// word.
#[inline(always)]
fn filter_start() -> *const u8 {
    let filter: *const u8;
    // SAFETY: the address of a static.
    unsafe {
        core::arch::asm!(
            "{0} = {1} ll",
            out(reg) filter,
            sym FILTER,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    filter
}

/// This CPU's value of a map that has one. Its key stands in memory: on the stack, where aya puts it, it is made
/// anew for each packet, by four instructions.
#[inline(always)]
fn only<T>(map: &'static PerCpuArray<T, 1>) -> Option<*mut T> {
    at(map, &raw const FIRST)
}

/// This CPU's value of a map, by an address where the key stands.
#[inline(always)]
fn at<T, K>(map: &'static PerCpuArray<T, 1>, key: *const K) -> Option<*mut T> {
    const { assert!(size_of::<K>() == size_of::<u32>()) };
    let map = core::ptr::from_ref(map);
    // SAFETY: a map, and a key of its type.
    let value = unsafe { bpf_map_lookup_elem(map.cast_mut().cast(), key.cast()) };
    (!value.is_null()).then_some(value.cast())
}

/// What hashes are computed in.
#[inline(always)]
pub(crate) fn digest() -> Option<*mut Digest> {
    only(&DIGEST)
}

/// This CPU's counters, of the only interface.
#[inline(always)]
pub(crate) fn counters() -> Option<&'static mut Counters> {
    // SAFETY: the value belongs to this CPU, and a run asks once. Runs do not nest: ingress is in
    // softirq, egress has softirqs off (a kernel without that lock, PREEMPT_RT, is not supported).
    only(&COUNTERS).map(|counters| unsafe { &mut *counters })
}

/// This CPU's counters, of the interface with this index.
#[inline(always)]
pub(crate) fn counters_of(interface: u32) -> Option<&'static mut Counters> {
    let key = place(interface);
    // SAFETY: as above.
    at(&COUNTERS, &raw const key).map(|counters| unsafe { &mut *counters })
}

/// This CPU's packet in work.
#[inline(always)]
pub(crate) fn work() -> Option<&'static mut Work> {
    // SAFETY: as for the counters. Integers throughout but for `bool`s: the map starts as zeros, and
    // only `true` and `false` are written.
    only(&WORK).map(|work| unsafe { &mut *work })
}

/// 64 bytes to copy to.
#[inline(always)]
pub(crate) fn spill() -> Option<*mut u8> {
    only(&SPILL).map(|bytes| bytes.cast())
}

/// Room for a chunk of payload.
#[inline(always)]
pub(crate) fn chunk() -> Option<*mut u8> {
    only(&PAYLOAD).map(|bytes| bytes.cast())
}

/// Is the clock a test's?
#[inline(always)]
pub(crate) fn is_test() -> bool {
    TEST_CLOCK.load() != 0
}

#[inline(always)]
pub(crate) fn role() -> Role {
    if ROLE.load() == Role::Host as u8 {
        Role::Host
    } else {
        Role::Middlebox
    }
}

/// Do frames begin with the IP header?
#[inline(always)]
pub(crate) fn is_layer_3() -> bool {
    LAYER_3.load() != 0
}

/// A word of [`HASHING`], by its number. Each is loaded by itself, where it is needed.
#[inline(always)]
fn hashing(word: usize) -> u64 {
    let words = (&raw const HASHING).cast::<u64>();
    // SAFETY: one of the words, and nothing else is in a `Global`. Volatile, as its own load is.
    unsafe { words.add(word).read_volatile() }
}

/// The secrets that the programs were loaded with.
pub(crate) struct Loaded;

impl Secrets for Loaded {
    #[inline(always)]
    fn secret(&self, which: usize) -> u64 {
        hashing(which)
    }

    #[inline(always)]
    fn times(mut number: u64, secret: u64) -> u64 {
        // SAFETY: registers only. The compiler may put the product in the secret's place, of which it then needs
        // copies.
        unsafe {
            core::arch::asm!(
                "{0} *= {1}",
                inout(reg) number,
                in(reg) secret,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        number
    }

    #[inline(always)]
    fn plus(mut number: u64, secret: u64) -> u64 {
        // SAFETY: as above.
        unsafe {
            core::arch::asm!(
                "{0} += {1}",
                inout(reg) number,
                in(reg) secret,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        number
    }
}

/// Does nobody follow this flow? Where no flow is followed, the filter is empty.
#[inline(always)]
pub(crate) fn is_strange(ends: &Ends) -> bool {
    state::is_strange(&Subflows, &Loaded, ends)
}

/// Are flows followed?
#[inline(always)]
pub(crate) fn is_tracking() -> bool {
    TRACK.load() != 0
}

#[inline(always)]
pub(crate) fn policy() -> Policy {
    Policy {
        min_mss_v4: MIN_MSS_V4.load(),
        min_mss_v6: MIN_MSS_V6.load(),
        version_0: VERSION_0.load() != 0,
    }
}

/// The same pointer, of which the compiler does not know that it is.
#[inline(always)]
pub(crate) fn hidden_pointer<T>(mut pointer: *mut T) -> *mut T {
    // SAFETY: x = x.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    pointer
}

/// The same counters, of which the compiler does not know that they are.
#[inline(always)]
pub(crate) fn hidden(counters: &mut Counters) -> &mut Counters {
    // SAFETY: those that were handed in, which nobody else uses as long as these.
    unsafe { &mut *hidden_pointer(core::ptr::from_mut(counters)) }
}

/// The compiler moves no access to memory across this.
#[inline(always)]
pub(crate) fn barrier() {
    // SAFETY: no instructions; without `nomem` it counts as touching all memory.
    unsafe { core::arch::asm!("") };
}

/// Overwrites an option area: it can hold a key or a nonce, if it is not that of a lone DSS.
#[inline(always)]
pub(crate) fn wipe(area: &mut Area) {
    let words = area.bytes_mut().as_mut_ptr().cast::<u64>();
    for i in 0..MAX_OPTIONS / 8 {
        // SAFETY: inside of the 40 bytes, which are aligned as the map's value is. Volatile, since
        // nobody reads them: and no call of memset, which the verifier would walk byte by byte.
        unsafe { words.add(i).write_volatile(0) };
    }
}

/// Makes the verifier forget, by two instructions that it does not see through. Holds a number of
/// which it knows nothing.
pub(crate) struct Verifier(u64);

impl Verifier {
    /// With a number from the packet in work: what went through a map is unknown.
    #[inline(always)]
    pub(crate) fn new(work: &Work) -> Self {
        // SAFETY: eight bytes of an aligned array.
        Self(unsafe { core::ptr::read_volatile(core::ptr::from_ref(&work.area).cast()) })
    }

    /// With another number out of a map.
    #[inline(always)]
    pub(crate) fn of(unknown: u64) -> Self {
        Self(unknown)
    }
}

impl Forget for Verifier {
    #[inline(always)]
    fn forget(&self, value: u32) -> u32 {
        self.forget_by(value, self.0)
    }

    #[inline(always)]
    fn forget_by(&self, value: u32, unknown: u64) -> u32 {
        let mut wide = u64::from(value);
        // SAFETY: x ^ y ^ y is x; registers only. The verifier knows no more of a number than its
        // known bits and its bounds: after the first instruction both are gone.
        unsafe {
            core::arch::asm!(
                "{value} ^= {unknown}",
                "{value} ^= {unknown}",
                value = inout(reg) wide,
                unknown = in(reg) unknown,
                options(nomem, nostack, preserves_flags),
            );
        }
        wide as u32
    }
}

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

impl Forget for Kernel {
    #[inline(always)]
    fn forget(&self, value: u32) -> u32 {
        self.verifier.forget(value)
    }

    #[inline(always)]
    fn forget_by(&self, value: u32, unknown: u64) -> u32 {
        self.verifier.forget_by(value, unknown)
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
        KEYS.get(session)
    }

    #[inline(always)]
    fn tokens(&self, bucket: u32) -> Option<&Bucket<Maps>> {
        TOKENS.get(bucket)
    }

    #[inline(always)]
    fn pending_joins(&self) -> Option<&PendingJoins<Maps>> {
        PENDING_JOINS.get(0)
    }

    #[inline(always)]
    fn with_digest<R>(&self, hash: impl FnOnce(&mut Hasher) -> R) -> Option<R> {
        let mut hasher = Hasher(digest()?);
        let result = hash(&mut hasher);
        hasher.wipe();
        Some(result)
    }

    #[inline(always)]
    fn seed(&self) -> u64 {
        SEED.load()
    }

    #[inline(always)]
    fn secrets(&self) -> &impl Secrets {
        &Loaded
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        if is_test() {
            return CLOCK.get(0).map_or(0, Word::load);
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
        role()
    }

    #[inline(always)]
    fn limits(&self) -> Limits {
        Limits {
            handshake: HANDSHAKE_TIME.load(),
            alone: ALONE_TIME.load(),
            idle: IDLE_TIME.load(),
            linger: LINGER_TIME.load(),
            subflows: MAX_SUBFLOWS.load(),
            pending: MAX_PENDING.load(),
            threshold: JOIN_THRESHOLD.load(),
            passive_close_refused: PASSIVE_CLOSE_REFUSED.load(),
        }
    }

    #[inline(always)]
    fn checks_segments(&self) -> bool {
        CHECK_SEGMENTS.load() != 0
    }

    #[inline(always)]
    fn verifies_checksums(&self) -> bool {
        VERIFY_CHECKSUMS.load() != 0
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
        stages::keep_oldest(subflow, session, sender as u32) != 0
    }

    #[inline(always)]
    fn queue(&self) -> u32 {
        self.work().packet.queue
    }

    #[inline(always)]
    fn report(&self, happening: Happening, detail: u32, token: u32) {
        stages::tell(self.counters, self.work, happening as u32, detail, token);
    }

    /// By an index that the verifier does not know: it looks at the code behind once, and not once
    /// per direction.
    #[inline(always)]
    fn events(&self, direction: u32) -> impl DerefMut<Target = Events> {
        const _: () = {
            use core::mem::offset_of;
            let size = size_of::<Events>();
            assert!(offset_of!(Counters, tx) == offset_of!(Counters, rx) + size);
            assert!(offset_of!(Counters, unknown) == offset_of!(Counters, tx) + size);
        };
        let index = self.forget(direction).min(Direction::Unknown as u32) as usize;
        let first = self
            .counters
            .wrapping_byte_add(core::mem::offset_of!(Counters, rx));
        // SAFETY: `rx`, `tx` and `unknown` are neighbours of one type, in the order of the indices.
        unsafe { &mut *first.cast::<Events>().add(index) }
    }
}

/// Hashes in [`DIGEST`].
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
            Hash::Sha1 => stages::compress_sha1(),
            Hash::Sha256 => stages::compress_sha256(),
        };
    }

    #[inline(always)]
    fn digest(&mut self) -> &mut Digest {
        // SAFETY: the value belongs to this CPU and run.
        unsafe { &mut *self.0 }
    }
}
