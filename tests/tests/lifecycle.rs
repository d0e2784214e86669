//! What the probe survives: the death of its loader, attaching again, other layouts, cleared counts.
