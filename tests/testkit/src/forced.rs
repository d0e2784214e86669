//! Rows whose events are failures of the kernel: no packet moves them, and `cargo xtask vm` forces them.

/// Their names, in the order in which `xtask/src/hooks.rs` asks for them.
pub const ROWS: [&str; 5] = ["SfMemEr", "SesMemEr", "SfPcbEr", "MpcbEr", "PktMemEr"];
