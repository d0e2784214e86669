//! What a segment does to the state of its handshake, its subflow and its session.
//!
//! A packet that carries an MP_CAPABLE or MP_JOIN SYN opens an entry in the table of half-open
//! handshakes, which forgets the oldest when it is full. A handshake that completes moves into the
//! tables of subflows and sessions, which never evict: what has no room there is counted as lost.
//! So a flood of forged SYNs can displace handshakes, and nothing else.
//!
//! The code is the same in the kernel, over BPF maps, and in user space: functions take the tables
//! ([`Tables`](crate::state::Tables)) and the packet in work ([`Work`](crate::packet::Work)).

mod accept;
mod acknowledge;
#[cfg(not(target_arch = "bpf"))]
pub mod adopt;
mod checksum;
#[cfg(not(target_arch = "bpf"))]
mod clear;
mod close;
mod create;
mod established;
mod fast_path;
mod handshake;
mod mapping;
mod payload;
mod pool;
mod ranges;
mod release;
mod repeats;
mod runs;
mod segment;
mod signals;
#[cfg(not(target_arch = "bpf"))]
pub mod sweep;

pub use self::accept::{accept, choose, ends, needs_choice, refuse};
pub use self::checksum::checksum;
#[cfg(not(target_arch = "bpf"))]
pub use self::clear::clear;
pub use self::close::close;
pub use self::create::{open_session, open_subflow};
pub use self::established::established;
pub use self::fast_path::{FastPath, count_fast_path, fast_path, take_fast_path};
pub use self::handshake::{find_handshake, handshake, lookup_join, open_handshake, verify_join};
pub(crate) use self::pool::ATTEMPTS;
pub use self::ranges::{find_ranges, insert_range, walk_chunk};
pub use self::runs::{count_runs, find_runs, walk_runs};
pub use self::signals::signals;
