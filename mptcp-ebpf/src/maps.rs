//! The maps and constants of the programs.

use aya_ebpf::{
    Global,
    btf_maps::PerCpuArray,
    helpers::generated::bpf_map_lookup_elem,
    macros::{btf_map, map},
    maps::{Array, RingBuf},
};
use mptcp_common::{
    counter::{Counters, Role, place},
    crypto::Digest,
    engine::SynPolicy,
    packet::{
        Work,
        hash::{Ends, SECRETS, Secrets},
    },
    state::{self, HalfOpen, Keys, Limits, PendingJoins, RangeChunk, Session, Subflow},
    table::{Bucket, Cell, Table},
    wire::{Area, MAX_OPTIONS},
};

use crate::memory::{Maps, Shared};

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
/// As [`Tables::tokens`](mptcp_common::state::Tables::tokens).
#[map]
pub(crate) static TOKENS: Array<Bucket<Maps>> = Array::with_max_entries(1, BPF_F_MMAPABLE);
/// As many keys as there are sessions. Secret: pinned, and in no document.
#[map]
pub(crate) static KEYS: Array<Keys<Maps>> = Array::with_max_entries(1, 0);

/// What [`Tables::emit`](mptcp_common::state::Tables::emit) tells: a quarter of a megabyte of it.
#[map]
pub(crate) static REPORTS: RingBuf = RingBuf::with_byte_size(1 << 18, 0);

/// Pending joins of all sessions.
#[map]
pub(crate) static PENDING_JOINS: Array<PendingJoins<Maps>> = Array::with_max_entries(1, 0);

/// The words of a `Hashing`: what tags are made with, secret, so that nobody outside can aim at a bucket, and the
/// filter's shift.
#[unsafe(no_mangle)]
static HASHING: Global<[u64; SECRETS + 1]> = Global::new([0; SECRETS + 1]);
/// What the secrets come from.
#[unsafe(no_mangle)]
pub(crate) static SEED: Global<u64> = Global::new(0);
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
pub(crate) static CLOCK: Array<Shared<u64>> = Array::with_max_entries(1, 0);
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
/// The three fields of [`SynPolicy`].
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

/// Returns true if the clock is a test's.
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

/// Returns true if frames begin with the IP header.
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

/// Returns true if nobody follows this flow. Where no flow is followed, the filter is empty.
#[inline(always)]
pub(crate) fn is_untracked(ends: &Ends) -> bool {
    state::is_untracked(&Subflows, &Loaded, ends)
}

/// Returns true if flows are followed.
#[inline(always)]
pub(crate) fn is_tracking() -> bool {
    TRACK.load() != 0
}

#[inline(always)]
pub(crate) fn policy() -> SynPolicy {
    SynPolicy {
        min_mss_v4: MIN_MSS_V4.load(),
        min_mss_v6: MIN_MSS_V6.load(),
        version_0: VERSION_0.load() != 0,
    }
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

/// Limits and times.
#[inline(always)]
pub(crate) fn limits() -> Limits {
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

/// Returns true if TCP checksums are looked at of segments that end something.
#[inline(always)]
pub(crate) fn checks_segments() -> bool {
    CHECK_SEGMENTS.load() != 0
}

/// Returns true if DSS checksums are verified.
#[inline(always)]
pub(crate) fn verifies_checksums() -> bool {
    VERIFY_CHECKSUMS.load() != 0
}

/// Bytes that are summed at once: what the helper takes on Linux 6.1.
pub(crate) const CHUNK: u32 = 512;
