//! The engine over ordinary memory: the code that runs in the kernel, fed with frames from elsewhere.

mod config;
mod engine;
mod frame;
mod table;

pub use self::{
    config::{Config, Scope},
    engine::Offline,
    frame::{Captured, Slice},
    table::Owned,
};
pub use crate::capacity::Capacity;
