//! What an engine is made with.

use mptcp_common::{counter::Role, engine::SynPolicy, state::Limits};

use crate::capacity::Capacity;

/// How the frames begin, and how much is to be found out about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// They begin with the IP header.
    pub is_layer_3: bool,
    /// Flows are followed.
    pub is_tracking: bool,
    /// DSS checksums are verified.
    pub is_verifying: bool,
    /// TCP checksums are looked at of segments that end something. Captures of a sending host, and those in which
    /// addresses were changed, have none that are right.
    pub is_checking: bool,
}

/// What an engine is made with.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Where the frames were seen.
    pub role: Role,
    /// How they begin, and whether flows are followed.
    pub scope: Scope,
    /// What policy rows are judged by.
    pub policy: SynPolicy,
    /// Limits and times.
    pub limits: Limits,
    /// Room.
    pub sizes: Capacity,
    /// What tags are made with. Nobody outside can aim at a bucket of tables that only live while a
    /// file is read, so that it need not be secret.
    pub seed: u64,
    /// See [`Tables::fast_path_enabled`](mptcp_common::state::Tables::fast_path_enabled).
    pub fast_path_enabled: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: Role::Middlebox,
            scope: Scope {
                is_layer_3: false,
                is_tracking: true,
                is_verifying: true,
                is_checking: false,
            },
            policy: SynPolicy::default(),
            limits: Limits::default(),
            sizes: Capacity::default(),
            seed: 0x6d70_7463_702d_7573,
            fast_path_enabled: true,
        }
    }
}
