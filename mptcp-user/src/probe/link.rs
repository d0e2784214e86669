//! Links of programs, asked for what aya does not ask for: the interface that one is on, and how to cut it at once.

use std::{
    ffi::CString,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    thread,
    time::{Duration, Instant},
};

use aya::programs::{links::FdLink, loaded_links, loaded_programs};
use nix::libc;

/// Index of the interface that a pinned link is on, in whatever network namespace; 0 if that is gone. `None` if the
/// kernel does not say.
pub(super) fn link_interface(path: &Path) -> Option<u32> {
    // The parts of `union bpf_attr` that BPF_OBJ_GET and BPF_OBJ_GET_INFO_BY_FD read, and what the latter writes of
    // links on interfaces (linux/bpf.h).
    #[repr(C)]
    struct Get {
        path: u64,
        descriptor: u32,
        flags: u32,
    }
    #[repr(C)]
    struct GetInfo {
        descriptor: u32,
        length: u32,
        info: u64,
    }
    #[derive(Default)]
    #[repr(C)]
    struct Info {
        kind: u32,
        id: u32,
        program: u32,
        padding: u32,
        interface: u32,
        rest: u32,
    }
    const BPF_OBJ_GET: i32 = 7;
    const BPF_OBJ_GET_INFO_BY_FD: i32 = 15;
    // bpf_link_type: XDP and TCX.
    const ON_INTERFACES: [u32; 2] = [6, 11];
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let get = Get {
        path: path.as_ptr() as u64,
        descriptor: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads the attributes and the path, which both live until it returns.
    let number =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const get, size_of::<Get>()) };
    let number = i32::try_from(number).ok().filter(|number| *number >= 0)?;
    // SAFETY: the kernel has just opened it for this process, and nobody else closes it.
    let link = unsafe { OwnedFd::from_raw_fd(number) };
    let mut info = Info::default();
    let get = GetInfo {
        descriptor: link.as_raw_fd() as u32,
        length: size_of::<Info>() as u32,
        info: &raw mut info as u64,
    };
    // SAFETY: the kernel reads the attributes, and writes as many bytes to `info` as it has; both live until it
    // returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_GET_INFO_BY_FD,
            &raw const get,
            size_of::<GetInfo>(),
        )
    };
    (result == 0 && ON_INTERFACES.contains(&info.kind)).then_some(info.interface)
}

/// Takes a link's program off its interface, now and not when the kernel lets go of the link. The link's id.
pub(super) fn cut(link: &FdLink) -> Option<u32> {
    const BPF_LINK_GET_FD_BY_ID: libc::c_int = 30;
    const BPF_LINK_DETACH: libc::c_int = 34;
    let ask = |command: libc::c_int, number: u32| {
        let size = size_of_val(&number);
        // SAFETY: the kernel reads the bytes of a number, which both commands begin with.
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw const number, size) }
    };
    let id = link.info().ok()?.id();
    if let Ok(descriptor @ 0..) = i32::try_from(ask(BPF_LINK_GET_FD_BY_ID, id)) {
        // SAFETY: a new descriptor, which nobody else has.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        // Where it cannot, the link goes with its pin, a little later.
        ask(BPF_LINK_DETACH, descriptor.as_raw_fd() as u32);
    }
    Some(id)
}

/// The kernel lets go of a link some time after its pin, from a work queue, and until then its program
/// may count and be in the way of others. Programs that other links hold stay. Whoever follows the kernel side's
/// log has the program open, and is not waited for.
pub(super) fn wait_until_unloaded(programs: &[u32], links: &[u32]) {
    const PATIENCE: Duration = Duration::from_secs(2);
    let start = Instant::now();
    let is_held = || {
        let others: Vec<_> = loaded_links()
            .flatten()
            .filter(|link| !links.contains(&link.id()))
            .map(|link| link.program_id())
            .collect();
        let mut loaded = loaded_programs().flatten().map(|program| program.id());
        loaded.any(|program| programs.contains(&program) && !others.contains(&program))
    };
    while is_held() && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
}
