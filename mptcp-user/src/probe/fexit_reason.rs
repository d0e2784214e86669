//! Why a hook on a kernel function is missing.
//!
//! A function that is not found among no types is not said not to be there: what could not be read is told apart
//! from what was read and has no such function.

use std::{borrow::Cow, fs, io};

use nix::{errno::Errno, libc};

use crate::failure::os_error;

/// Why a hook is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FexitReason {
    /// Nobody tried.
    NotTried,
    /// `--no-hooks`.
    NotAsked,
    /// The kernel shows no types (BTF).
    NoTypes,
    /// Its types are there and cannot be read.
    TypesUnreadable(Errno),
    /// What it shows are no types that are understood.
    TypesDamaged,
    /// Neither its types nor its list of functions have the function.
    NoFunction,
    /// Its types do not have the function, and its list of functions cannot be read.
    NotInTypes,
    /// The compiler left nothing but a changed copy.
    ChangedCopy,
    /// The function is in a module.
    InModule,
    /// The kernel has the function, and its types do not.
    NotDescribed,
    /// The function or a struct is not as this program knows it.
    OtherSignature,
    /// The types have the function, and the kernel does not.
    NoAddress,
    /// This process may not.
    Capability,
    /// Nobody may: lockdown.
    Lockdown,
    /// A policy, or how the kernel was built.
    NotPermitted,
    /// The verifier refuses the program.
    Verifier(Errno),
    /// The kernel, or the processor that it runs on, has no fexit.
    Unsupported,
    /// Something else, by the system's error.
    Other(Errno),
}

#[allow(
    clippy::enum_glob_use,
    reason = "tables of reasons, of which each line names one"
)]
use FexitReason::*;

impl FexitReason {
    /// Those without an error number, by their code.
    const PLAIN: [(i32, Self); 14] = [
        (1, NotAsked),
        (2, NoTypes),
        (4, TypesDamaged),
        (5, NoFunction),
        (6, NotInTypes),
        (7, ChangedCopy),
        (8, InModule),
        (9, NotDescribed),
        (10, OtherSignature),
        (11, NoAddress),
        (12, Capability),
        (13, Lockdown),
        (14, NotPermitted),
        (16, Unsupported),
    ];
    const TYPES_UNREADABLE: i32 = 3;
    const VERIFIER: i32 = 15;

    /// Returns how the map `hooks/refused` has it (docs/maps.md): a code in the upper half, an error number in the
    /// lower.
    pub(super) fn code(self) -> i32 {
        match self {
            NotTried => 0,
            TypesUnreadable(errno) => Self::TYPES_UNREADABLE << 16 | errno as i32,
            Verifier(errno) => Self::VERIFIER << 16 | errno as i32,
            Other(errno) => errno as i32,
            plain => {
                let mut known = Self::PLAIN.iter();
                known
                    .find(|(_, reason)| *reason == plain)
                    .map_or(0, |(code, _)| code << 16)
            }
        }
    }

    /// Returns the reason of a code.
    pub(super) fn of_code(code: i32) -> Self {
        let errno = Errno::from_raw(code & 0xffff);
        match code >> 16 {
            0 if code == 0 => NotTried,
            Self::TYPES_UNREADABLE => TypesUnreadable(errno),
            Self::VERIFIER => Verifier(errno),
            kind => {
                let mut known = Self::PLAIN.iter();
                known
                    .find(|(code, _)| *code == kind)
                    .map_or(Other(errno), |(_, reason)| *reason)
            }
        }
    }

    /// In words.
    pub(crate) fn text(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            NotTried => "attach did not get to it: attach again",
            NotAsked => "--no-hooks leaves it alone: attach without that option to hook it",
            NoTypes => {
                "the kernel's types (BTF) are not to be had: there is no /sys/kernel/btf/vmlinux (a kernel \
                 without CONFIG_DEBUG_INFO_BTF, or a container that hides it)"
            }
            TypesUnreadable(errno) => {
                return Cow::Owned(format!(
                    "the kernel's types (BTF, /sys/kernel/btf/vmlinux) cannot be read: {}",
                    errno.desc()
                ));
            }
            TypesDamaged => {
                "what /sys/kernel/btf/vmlinux holds are no types (BTF) that this program understands"
            }
            NoFunction => {
                "this kernel has no such function, or has it only inside of its callers (inlined): neither its \
                 types (BTF) nor /proc/kallsyms name it"
            }
            NotInTypes => {
                "the kernel's types (BTF) have no such function; whether the kernel has it cannot be said, since \
                 /proc/kallsyms cannot be read"
            }
            ChangedCopy => {
                "this kernel has nothing but a copy that its compiler changed (.isra, .constprop or .part in \
                 /proc/kallsyms), which cannot be hooked"
            }
            InModule => {
                "the function is in a module, and only the kernel's own types (BTF) are looked at"
            }
            NotDescribed => {
                "this kernel has the function (/proc/kallsyms), but its types (BTF) do not describe it"
            }
            OtherSignature => {
                "the function takes something else in this kernel than this program knows"
            }
            NoAddress => {
                "the kernel's types (BTF) have the function, but it stands nowhere in the kernel (inlined)"
            }
            Capability => {
                "fexit takes CAP_BPF and CAP_PERFMON, which the process that attached had not: attach as root"
            }
            Lockdown => "the kernel is locked down (confidentiality), which forbids fexit",
            NotPermitted => {
                "this kernel does not permit fexit (EPERM), to root neither: by a security policy, or by how it \
                 was built"
            }
            Verifier(errno) => {
                return Cow::Owned(format!(
                    "the kernel's verifier refuses the program: {}",
                    errno.desc()
                ));
            }
            Unsupported => "this kernel has no fexit, or none on this processor",
            Other(errno) => {
                return Cow::Owned(format!("the kernel refuses it: {}", errno.desc()));
            }
        })
    }

    /// Why the kernel's types are not there, by what came of reading them.
    pub(super) fn of_types(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENOTDIR) => NoTypes,
            Some(errno) => TypesUnreadable(errno),
            None => TypesDamaged,
        }
    }

    /// Why the kernel's types do not have a function, by its list of functions: the text of /proc/kallsyms, `None`
    /// where that cannot be read.
    pub(super) fn of_missing(function: &str, symbols: Option<&str>) -> Self {
        let Some(symbols) = symbols.filter(|text| !text.trim().is_empty()) else {
            return NotInTypes;
        };
        let mut is_changed = false;
        for line in symbols.lines() {
            // Address, kind, name, and [module].
            let mut words = line.split_whitespace().skip(2);
            let Some(rest) = words.next().and_then(|name| name.strip_prefix(function)) else {
                continue;
            };
            if rest.is_empty() {
                return match words.next() {
                    Some(_) => InModule,
                    None => NotDescribed,
                };
            }
            is_changed |= [".isra.", ".constprop.", ".part.", ".llvm."]
                .iter()
                .any(|suffix| rest.starts_with(suffix));
        }
        if is_changed { ChangedCopy } else { NoFunction }
    }

    /// Why the kernel does not take the program, by its error and what it says of itself.
    pub(super) fn of_load(errno: Errno, kernel: &Rights) -> Self {
        match errno {
            // Its helpers are not there for who may not read the kernel's memory.
            Errno::EPERM | Errno::EINVAL | Errno::EACCES if kernel.is_locked_down => Lockdown,
            Errno::EPERM if kernel.is_capable == Some(false) => Capability,
            Errno::EPERM => NotPermitted,
            Errno::ENOENT => NoAddress,
            Errno::EINVAL | Errno::EACCES | Errno::E2BIG => Verifier(errno),
            errno => Self::of_attach(errno),
        }
    }

    /// Why a program that is loaded is not attached.
    pub(super) fn of_attach(errno: Errno) -> Self {
        match errno {
            // The last is what the kernel's ENOTSUPP becomes, which has no name outside of it.
            Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::UnknownErrno => Unsupported,
            errno => Other(errno),
        }
    }
}

/// Returns the system's error number under an error, where there is one.
pub(super) fn errno_of(error: &anyhow::Error) -> Errno {
    Errno::from_raw(os_error(error).unwrap_or(libc::EINVAL))
}

/// What this process may, by what the kernel says of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rights {
    /// True if it has the capabilities for fexit; `None` if that cannot be read.
    is_capable: Option<bool>,
    is_locked_down: bool,
}

impl Rights {
    pub(super) fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        Self::of(
            read("/proc/thread-self/status").as_deref(),
            read("/sys/kernel/security/lockdown").as_deref(),
        )
    }

    fn of(status: Option<&str>, lockdown: Option<&str>) -> Self {
        // linux/capability.h
        const SYS_ADMIN: u32 = 21;
        const PERFMON: u32 = 38;
        const BPF: u32 = 39;
        let set = status.and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        });
        let has = |set: u64, capability: u32| set & (1 << capability) != 0;
        Self {
            is_capable: set.map(|set| has(set, SYS_ADMIN) || (has(set, BPF) && has(set, PERFMON))),
            is_locked_down: lockdown.is_some_and(|text| text.contains("[confidentiality]")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lead_back() {
        let mut all: Vec<_> = FexitReason::PLAIN
            .iter()
            .map(|(_, reason)| *reason)
            .collect();
        all.extend([
            NotTried,
            TypesUnreadable(Errno::EISDIR),
            Verifier(Errno::EACCES),
            Other(Errno::EBUSY),
        ]);
        for reason in all {
            assert_eq!(FexitReason::of_code(reason.code()), reason);
            assert!(reason == NotTried || reason.code() != 0, "{reason:?}");
            assert!(!reason.text().is_empty());
        }
        // Of a later version, perhaps.
        assert_eq!(FexitReason::of_code(99 << 16 | 22), Other(Errno::EINVAL));
    }

    #[test]
    fn what_was_not_read_is_not_said_to_be_missing() {
        let of_types = |errno: Errno| FexitReason::of_types(&io::Error::from(errno));
        assert_eq!(of_types(Errno::ENOENT), NoTypes);
        assert_eq!(of_types(Errno::EACCES), TypesUnreadable(Errno::EACCES));
        assert_eq!(of_types(Errno::EISDIR), TypesUnreadable(Errno::EISDIR));
        assert_eq!(FexitReason::of_missing("inet_create", None), NotInTypes);
        assert_eq!(FexitReason::of_missing("inet_create", Some("")), NotInTypes);
    }

    #[test]
    fn the_list_of_functions_tells_why_types_lack_one() {
        let symbols = "\
            ffffffff81000000 T _text\n\
            0000000000000000 t inet_create\n\
            0000000000000000 t inet_create.cold\n\
            0000000000000000 t mptcp_sendmsg_frag.isra.0\n\
            0000000000000000 t subflow_create_ctx.cold\n\
            0000000000000000 T inet_csk_clone_lock_more\n\
            0000000000000000 t inet6_create\t[ipv6]\n";
        for (function, wanted) in [
            ("inet_create", NotDescribed),
            ("mptcp_sendmsg_frag", ChangedCopy),
            ("subflow_create_ctx", NoFunction),
            ("inet_csk_clone_lock", NoFunction),
            ("inet6_create", InModule),
            ("mptcp_sk_clone_init", NoFunction),
        ] {
            assert_eq!(FexitReason::of_missing(function, Some(symbols)), wanted);
        }
    }

    #[test]
    fn a_refusal_is_laid_at_the_right_door() {
        let root = "Name:\tx\nCapEff:\t000001ffffffffff\n";
        let few = "CapEff:\t0000000000001000\n";
        let both = "CapEff:\t000000c000000000\n";
        let (open, locked) = (
            "[none] integrity confidentiality\n",
            "none integrity [confidentiality]\n",
        );
        let of =
            |errno, status, lockdown| FexitReason::of_load(errno, &Rights::of(status, lockdown));
        for (errno, status, lockdown, wanted) in [
            (Errno::EPERM, Some(root), Some(open), NotPermitted),
            (Errno::EPERM, Some(both), None, NotPermitted),
            (Errno::EPERM, None, None, NotPermitted),
            (Errno::EPERM, Some(few), Some(open), Capability),
            (Errno::EPERM, Some(root), Some(locked), Lockdown),
            (Errno::EINVAL, Some(root), Some(locked), Lockdown),
            (
                Errno::EINVAL,
                Some(root),
                Some(open),
                Verifier(Errno::EINVAL),
            ),
            (Errno::ENOENT, Some(root), Some(open), NoAddress),
            (Errno::EOPNOTSUPP, Some(root), None, Unsupported),
            (Errno::ENOMEM, Some(root), None, Other(Errno::ENOMEM)),
        ] {
            assert_eq!(of(errno, status, lockdown), wanted);
        }
    }
}
