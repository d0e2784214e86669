//! What the kernel calls when a function of its own returns (fexit): counts the failures.
//!
//! One program for all functions. It is loaded once for each, and what differs are constants. An
//! object of its own: a kernel that refuses such programs takes the others all the same.

#![no_std]
#![no_main]
#![expect(
    internal_features,
    reason = "the target has the instruction, and core::sync::atomic does not know it"
)]
#![feature(core_intrinsics)]

mod object;

use core::intrinsics::{self, AtomicOrdering::SeqCst};

use aya_ebpf::{
    EbpfContext as _, Global,
    btf_maps::Array,
    helpers::{bpf_probe_read_kernel, generated::bpf_get_func_arg},
    macros::{btf_map, fexit},
    programs::FExitContext,
};
use mptcp_common::counter::FexitHook;

/// The failures of a network namespace: pinned, documented, read by user space.
#[btf_map]
static FAILURES: Array<u64, { FexitHook::ALL.len() }> = Array::new();

/// A [`FexitHook`], by its discriminant.
#[unsafe(no_mangle)]
static HOOK: Global<u32> = Global::new(0);
/// Inode number of the network namespace.
#[unsafe(no_mangle)]
static NAMESPACE: Global<u32> = Global::new(0);
/// 1 if the function returns a pointer, 0 if an error number.
#[unsafe(no_mangle)]
static RETURNS_POINTER: Global<u8> = Global::new(0);
/// Which argument is a `struct sock *` or, where [`SOCK_NET`] is [`NONE`], a `struct net *`.
#[unsafe(no_mangle)]
static OWNER: Global<u32> = Global::new(0);
/// Which argument has to be [`IPPROTO_MPTCP`].
#[unsafe(no_mangle)]
static PROTOCOL: Global<u32> = Global::new(NONE);
/// Offsets: of the namespace in a socket, and of the inode number in that.
#[unsafe(no_mangle)]
static SOCK_NET: Global<u32> = Global::new(NONE);
#[unsafe(no_mangle)]
static NET_INODE: Global<u32> = Global::new(0);
/// Offsets: of the upper layer protocol in a socket that has to have MPTCP's, and of its name.
#[unsafe(no_mangle)]
static SOCK_ULP: Global<u32> = Global::new(NONE);
#[unsafe(no_mangle)]
static ULP_NAME: Global<u32> = Global::new(0);

/// No argument, no offset.
const NONE: u32 = u32::MAX;

const IPPROTO_MPTCP: u32 = 262;
/// The name of the upper layer protocol: its first eight bytes.
const ULP_MPTCP: u64 = u64::from_le_bytes(*b"mptcp\0\0\0");

const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const ENOBUFS: i32 = 105;

#[fexit]
fn kernel_hook(ctx: FExitContext) -> i32 {
    if has_failed(&ctx)
        && is_counted(&ctx).unwrap_or(false)
        && let Some(count) = FAILURES.get_ptr_mut(HOOK.load())
    {
        // Other CPUs count here too, and so does what interrupts this.
        // SAFETY: an aligned word of a map.
        unsafe { intrinsics::atomic_xadd::<u64, u64, { SeqCst }>(count, 1) };
    }
    0
}

/// For lack of memory.
#[inline(always)]
fn has_failed(ctx: &FExitContext) -> bool {
    if RETURNS_POINTER.load() != 0 {
        ctx.ret::<u64>() == Ok(0)
    } else {
        ctx.ret::<i32>()
            .is_ok_and(|error| matches!(error.wrapping_neg(), ENOMEM | ENFILE | ENOBUFS))
    }
}

/// Returns true in this network namespace, and for MPTCP.
#[inline(always)]
fn is_counted(ctx: &FExitContext) -> Option<bool> {
    let owner = argument(ctx, OWNER.load())?;
    let net = match SOCK_NET.load() {
        NONE => owner,
        offset => read::<u64>(owner, offset)?,
    };
    if read::<u32>(net, NET_INODE.load())? != NAMESPACE.load() {
        return Some(false);
    }
    if PROTOCOL.load() != NONE {
        return Some(argument(ctx, PROTOCOL.load())? as u32 == IPPROTO_MPTCP);
    }
    if SOCK_ULP.load() != NONE {
        let protocol = read::<u64>(owner, SOCK_ULP.load())?;
        // A plain TCP listener has none.
        return Some(protocol != 0 && read::<u64>(protocol, ULP_NAME.load())? == ULP_MPTCP);
    }
    Some(true)
}

#[inline(always)]
fn argument(ctx: &FExitContext, index: u32) -> Option<u64> {
    let mut value = 0;
    // SAFETY: the helper checks the index, and writes eight bytes.
    let error = unsafe { bpf_get_func_arg(ctx.as_ptr(), index, &raw mut value) };
    (error == 0).then_some(value)
}

/// Memory of the kernel.
#[inline(always)]
fn read<T>(base: u64, offset: u32) -> Option<T> {
    let address = base + u64::from(offset);
    // SAFETY: the helper checks the address; T is an integer.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}
