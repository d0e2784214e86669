//! One packet in, counts out.
//!
//! The engine sees a packet that was already parsed: addresses, TCP header, option area. It is
//! the same code in the kernel, over BPF maps, and in user space. A packet is **located** (whose
//! flow is it?), its options are **found**, its direction follows from both, its options are
//! **counted** by themselves, and what they mean to their session is **tracked**.

mod count;
mod find;
mod packet;
mod policy;
mod stages;

pub use self::{
    count::{count_dss_segment, examine},
    find::{find, find_common, parse, walk},
    packet::{direction, insert_ranges, packet},
    policy::SynPolicy,
    stages::Stages,
};
