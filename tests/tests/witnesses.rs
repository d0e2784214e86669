//! The witnesses agree with each other on captures of real traffic.
