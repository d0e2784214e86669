//! What wrong use and a hostile system get: a sentence with the next step and an exit code, no panic.
