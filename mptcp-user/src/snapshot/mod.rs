//! What probes, captures and logs say at a moment, as values: whoever shows them does not know where they came from.

pub(crate) mod census;
pub(crate) mod history;
pub(crate) mod host;
pub(crate) mod outcome;
pub(crate) mod reading;
pub(crate) mod select;
pub(crate) mod session;
pub(crate) mod statistics;
