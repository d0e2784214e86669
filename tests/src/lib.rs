//! What the tests are made of: frames, the programs in the kernel, network namespaces with real
//! MPTCP traffic, and witnesses that share no code with what they judge.

pub use mptcp_testkit::probe;

pub mod capture;
pub mod captures;
pub mod conversation;
pub mod coverage;
pub mod differential;
pub mod document;
pub mod exact;
pub mod files;
pub mod forger;
pub mod frame;
pub mod headers;
pub mod kernel;
pub mod machine;
pub mod net;
pub mod numbers;
pub mod options;
pub mod oracle;
pub mod packet;
pub mod raw;
pub mod record;
pub mod relay;
pub mod root;
pub mod running;
pub mod sessions;
pub mod tables;
pub mod transcript;
pub mod tshark;
pub mod tun;
pub mod version_0;
pub mod witness;
