//! The parts of the engine that are functions of their own here: the verifier looks at each once, by
//! itself, knowing nothing of its caller. They find everything in maps.

use mptcp_common::{
    counter::{Counters, Report},
    crypto,
    engine::{self, Stages},
    packet::Work,
    state,
    state::{Session, Subflow, Tables as _},
    track,
};

use crate::{
    memory::Maps,
    tables::{self, Kernel, Verifier},
};

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
    fn lookup_join(&self) {
        lookup_join(self.counters, self.work);
    }

    #[inline(always)]
    fn handshake(&self) {
        handshake(self.counters, self.work);
    }

    #[inline(always)]
    fn open_session(&self) {
        open_session(self.counters, self.work);
    }

    #[inline(always)]
    fn open_subflow(&self) {
        open_subflow(self.counters, self.work);
    }

    #[inline(always)]
    fn verify_join(&self) {
        verify_join(self.counters, self.work);
    }

    #[inline(always)]
    fn accept(&self) {
        accept(self.counters, self.work);
    }

    #[inline(always)]
    fn refuse(&self) {
        refuse(self.counters, self.work);
    }

    #[inline(always)]
    fn established(&self) {
        established(self.counters, self.work);
    }

    #[inline(always)]
    fn insert_ranges(&self) {
        insert_ranges(self.counters, self.work);
    }

    #[inline(always)]
    fn find_ranges(&self) {
        find_ranges(self.counters, self.work);
    }

    #[inline(always)]
    fn insert_range(&self) {
        insert_range(self.counters, self.work);
    }

    #[inline(always)]
    fn walk_chunk(&self) {
        walk_chunk(self.counters, self.work);
    }

    #[inline(always)]
    fn find_runs(&self) {
        find_runs(self.counters, self.work);
    }

    #[inline(always)]
    fn walk_runs(&self) {
        walk_runs(self.counters, self.work);
    }

    #[inline(always)]
    fn count_runs(&self) {
        count_runs(self.counters, self.work);
    }

    #[inline(always)]
    fn checksum(&self) {
        checksum(self.counters, self.work);
    }

    #[inline(always)]
    fn signals(&self) {
        signals(self.counters, self.work);
    }

    #[inline(always)]
    fn close(&self) {
        close(self.counters, self.work);
    }
}

/// Functions that the verifier looks at once each, by themselves, knowing nothing of the caller.
/// They find everything in maps.
macro_rules! stages {
    ($($name:ident),+) => {
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

stages!(
    lookup_join,
    handshake,
    open_session,
    open_subflow,
    verify_join,
    accept,
    refuse,
    established,
    find_ranges,
    walk_chunk,
    insert_range,
    find_runs,
    walk_runs,
    count_runs,
    checksum,
    signals,
    close
);

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

/// So many reports a second and CPU, so that a flood drowns nobody.
const MAX_REPORTS: u64 = 1000;

/// Puts a report in the ring.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn tell(
    counters: *mut Counters,
    work: *mut Work,
    happening: u32,
    detail: u32,
    token: u32,
) -> u32 {
    let Some(kernel) = Kernel::of(counters, work) else {
        return 0;
    };
    let packet = kernel.work();
    let time = kernel.now();
    let [second, made] = &packet.reports;
    if second.get() != time >> 30 {
        second.set(time >> 30);
        made.set(0);
    }
    made.set(made.get() + 1);
    let is_allowed = made.get() <= MAX_REPORTS || tables::is_test();
    // What follows finds the packet anew, and writes a report word by word: less is held on the stack, which is
    // scarce behind `established`.
    if is_allowed && let Some(mut entry) = tables::REPORTS.reserve::<Report>(0) {
        let report = entry.as_mut_ptr();
        // SAFETY: the entry is as large as a report and aligned as one, and nobody else sees it yet. Each field is
        // written.
        unsafe {
            (&raw mut (*report).time).write(time);
            for (i, word) in packet.flow.words.iter().enumerate() {
                (&raw mut (*report).flow[i]).write_volatile(*word);
            }
            (&raw mut (*report).happening).write(happening);
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
    if let Some(work) = tables::work() {
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
    if let Some(work) = tables::work() {
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
        engine::examine(&kernel, &tables::policy());
    }
    0
}

/// SHA-256 of the block in [`tables::digest`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn compress_sha256() -> u32 {
    if let Some(digest) = tables::digest() {
        // SAFETY: the value belongs to this CPU and run.
        crypto::compress_sha256(unsafe { &mut *digest });
    }
    0
}

/// SHA-1 of the block in [`tables::digest`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn compress_sha1() -> u32 {
    if let Some(digest) = tables::digest() {
        // SAFETY: the value belongs to this CPU and run.
        crypto::compress_sha1(unsafe { &mut *digest });
    }
    0
}
