//! Where numbers come from. A source hands out values of `snapshot`; what shows them does not know which source it
//! was.

pub(crate) mod capture;
mod file;
mod live;
pub(crate) mod log;
mod packed;
mod recording;
mod window;

pub(crate) use self::{
    capture::Capture,
    live::{Clearing, Live},
    log::{Appender, Log, line as log_line},
    recording::Recording,
};
