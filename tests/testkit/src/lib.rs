//! What tests and `cargo xtask` are both made of: network namespaces with kernel MPTCP between them, probes under test,
//! other programs, the instructions of eBPF programs as the kernel's verifier left them, figures that may not grow.

pub mod figures;
pub mod forced;
pub mod instruction;
pub mod net;
pub mod probe;
pub mod process;
pub mod translated;
