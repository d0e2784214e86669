//! How a probe is to be attached, what it judges by, and where its limits come from.

use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use mptcp_common::{
    counter::{FexitHook, Role},
    state::Limits,
};

use crate::capacity::Capacity;

/// How a probe is to be attached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) role: Role,
    pub(crate) xdp: XdpMode,
    /// Smallest MSS over IPv4 and IPv6, in bytes.
    pub(crate) min_mss: [u16; 2],
    pub(crate) v1_only: bool,
    /// Level of the programs' log; 0 is off, and then they hold no code for it.
    pub(crate) log_level: u8,
    /// True if flows are followed.
    pub(crate) track: bool,
    /// True if DSS checksums are verified.
    pub(crate) verify_checksums: bool,
    pub(crate) capacity: Capacity,
    pub(crate) limits: ChosenLimits,
}

impl Settings {
    /// Returns what becomes of them on an interface. On the loopback interface each packet passes twice; counted
    /// where it comes in, as on a middlebox, it counts once, and each end of a session has its direction.
    pub(super) fn on(self, is_loopback: bool) -> Self {
        let role = match is_loopback {
            true => Role::Middlebox,
            false => self.role,
        };
        Self { role, ..self }
    }

    /// Returns room in the tables: hardly any where nothing is followed.
    pub(super) fn capacity(&self) -> Capacity {
        if self.track {
            self.capacity
        } else {
            Capacity {
                sessions: 1,
                subflows: 1,
                handshakes: 1,
                ranges: 1,
            }
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            role: Role::Host,
            xdp: XdpMode::Auto,
            min_mss: [536, 1220],
            v1_only: false,
            log_level: 0,
            track: true,
            verify_checksums: false,
            capacity: Capacity::default(),
            limits: ChosenLimits::default(),
        }
    }
}

/// How to see what comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum XdpMode {
    /// Native where the driver has it, else TC.
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the network stack; counts merged segments once.
    Generic,
    /// At TC.
    Off,
}

/// Another function than a hook's own: how a test makes one fail.
#[derive(Clone, Debug)]
pub(crate) struct Substitute {
    pub(crate) hook: FexitHook,
    pub(crate) function: String,
}

/// Where a limit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum LimitOrigin {
    Default = 0,
    Option = 1,
    Host = 2,
}

impl LimitOrigin {
    /// Returns its name in documents.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Option => "option",
            Self::Host => "host",
        }
    }
}

/// An [`LimitOrigin`] by its discriminant for each limit.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct LimitOrigins {
    pub(super) handshake: u8,
    pub(super) alone: u8,
    pub(super) idle: u8,
    pub(super) subflows: u8,
    pub(super) pending: u8,
    pub(super) threshold: u8,
    pub(super) passive_close_refused: u8,
    /// How often limits that follow the host's have changed, modulo 256.
    pub(super) generation: u8,
}

impl LimitOrigins {
    /// Tells the limits that programs were loaded with from those of before and after.
    pub(crate) fn generation(&self) -> u8 {
        self.generation
    }

    /// With the names that JSON has for the limits.
    pub(crate) fn named(&self) -> [(&'static str, LimitOrigin); 7] {
        [
            ("subflows", self.subflows),
            ("pending_joins", self.pending),
            ("join_threshold", self.threshold),
            ("passive_close_refused", self.passive_close_refused),
            ("handshake_ns", self.handshake),
            ("alone_ns", self.alone),
            ("idle_ns", self.idle),
        ]
        .map(|(name, origin)| {
            let origin = match origin {
                1 => LimitOrigin::Option,
                2 => LimitOrigin::Host,
                _ => LimitOrigin::Default,
            };
            (name, origin)
        })
    }
}

/// What options say of limits; `None` where they do not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LimitOptions {
    /// Subflows of a session, the first included.
    pub(crate) subflows: Option<u32>,
    /// Pending joins of a session and side.
    pub(crate) pending: Option<u32>,
    /// Pending joins of all sessions.
    pub(crate) threshold: Option<u32>,
    /// Closing on a backup subflow is refused.
    pub(crate) passive_close_refused: Option<u32>,
    /// A handshake is forgotten after this time.
    pub(crate) handshake: Option<Duration>,
    /// A session without subflows is over after this time.
    pub(crate) alone: Option<Duration>,
    /// A session without packets is over after this time.
    pub(crate) idle: Option<Duration>,
}

/// Limits and where they come from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChosenLimits {
    pub(crate) limits: Limits,
    pub(crate) origins: LimitOrigins,
}

impl ChosenLimits {
    /// Returns what the options say, else these, else the defaults.
    pub(crate) fn new(
        options: &LimitOptions,
        subflows: Option<u32>,
        alone: Option<Duration>,
    ) -> Self {
        let default = Limits::DEFAULT;
        let mut policy = Self {
            limits: default,
            origins: LimitOrigins::default(),
        };
        let Self { limits, origins } = &mut policy;
        let set = [
            (
                &mut limits.subflows,
                &mut origins.subflows,
                options.subflows,
                subflows,
            ),
            (
                &mut limits.pending,
                &mut origins.pending,
                options.pending,
                None,
            ),
            (
                &mut limits.threshold,
                &mut origins.threshold,
                options.threshold,
                None,
            ),
            (
                &mut limits.passive_close_refused,
                &mut origins.passive_close_refused,
                options.passive_close_refused,
                None,
            ),
        ];
        for (limit, origin, option, host) in set {
            *origin = choose(limit, option, host) as u8;
        }
        let set = [
            (
                &mut limits.handshake,
                &mut origins.handshake,
                options.handshake,
                None,
            ),
            (&mut limits.alone, &mut origins.alone, options.alone, alone),
            (&mut limits.idle, &mut origins.idle, options.idle, None),
        ];
        for (limit, origin, option, host) in set {
            *origin = choose(limit, option.map(nanoseconds), host.map(nanoseconds)) as u8;
        }
        policy
    }
}

fn choose<T>(limit: &mut T, option: Option<T>, host: Option<T>) -> LimitOrigin {
    let (value, origin) = match (option, host) {
        (Some(value), _) => (value, LimitOrigin::Option),
        (None, Some(value)) => (value, LimitOrigin::Host),
        (None, None) => return LimitOrigin::Default,
    };
    *limit = value;
    origin
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Makes limits that follow the host's what they are in `wanted`, if that knows them; true if some changed.
pub(crate) fn follow(
    limits: &mut Limits,
    origins: &mut LimitOrigins,
    wanted: &ChosenLimits,
) -> bool {
    const OPTION: u8 = LimitOrigin::Option as u8;
    const HOST: u8 = LimitOrigin::Host as u8;
    let before = *limits;
    if origins.subflows != OPTION && wanted.origins.subflows == HOST {
        limits.subflows = wanted.limits.subflows;
        origins.subflows = HOST;
    }
    if origins.alone != OPTION && wanted.origins.alone == HOST {
        limits.alone = wanted.limits.alone;
        origins.alone = HOST;
    }
    let has_changed = *limits != before;
    if has_changed {
        origins.generation = origins.generation.wrapping_add(1);
    }
    has_changed
}
