//! How numbers are shown.

pub(crate) mod events;
pub(crate) mod json;
pub(crate) mod lost;
pub(crate) mod nitro;
pub(crate) mod number;
pub(crate) mod outcome;
pub(crate) mod passed;
pub(crate) mod report;
pub(crate) mod sessions;
pub(crate) mod table;
