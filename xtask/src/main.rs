//! Development commands.

mod toolchain;

fn main() {}
