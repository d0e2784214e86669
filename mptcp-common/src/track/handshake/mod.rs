//! Handshakes: from the SYN to the segment that proves that both ends speak MPTCP.

mod begin;
mod capable;
mod entry;
mod join;
mod known;
mod pending;
mod rival;
mod stray;

pub use self::{
    begin::open_handshake,
    join::{lookup_join, verify_join},
    known::handshake,
    rival::find_handshake,
};
