//! What Multipath TCP packets mean.
//!
//! Pure code without I/O and without `unsafe`, shared by the eBPF programs, the user-space binary
//! and the tests, so that a packet is judged the same everywhere:
//!
//! - [`wire`]: bytes of the TCP option area to typed MPTCP options (RFC 8684 v1, RFC 6824 v0);
//! - [`counter`]: what is counted, and the rows of the statistics table made of it;
//! - [`crypto`]: the hashes that tokens and HMACs are made with;
//! - [`track`]: handshakes, subflows and sessions;
//! - [`gather`]: a frame's headers;
//! - [`engine`]: one packet in, counts out.
#![no_std]
#![deny(missing_docs)]
#![deny(unsafe_code)]

pub mod counter;
pub mod crypto;
pub mod engine;
pub mod packet;
pub mod state;
pub mod table;
pub mod track;
pub mod verifier;
pub mod wire;
