//! The stages that are functions of their own in the kernel.

use crate::{packet::Work, state::Tables};

/// Hands the names of the stages of [`track`](crate::track) to a macro: whoever implements [`Stages`] writes them once.
#[macro_export]
macro_rules! with_stages {
    ($use:ident) => {
        $use! {
            lookup_join,
            find_handshake,
            handshake,
            open_handshake,
            verify_join,
            open_session,
            open_subflow,
            choose,
            accept,
            refuse,
            established,
            find_ranges,
            walk_chunk,
            insert_range,
            find_runs,
            walk_runs,
            count_runs,
            checksum,
            signals,
            close
        }
    };
}

macro_rules! declare {
    ($($name:ident),+) => {
        /// The packet in work, and the stages that are functions of their own in the kernel, so that its verifier looks
        /// at each once. Each acts on that packet, and says what it found in its [`Route`](crate::packet::Route); none
        /// calls another, but for [`insert_ranges`](Self::insert_ranges).
        pub trait Stages: Tables {
            /// Returns the packet in work.
            fn work(&self) -> &Work;
            /// Runs [`examine`](super::examine).
            fn examine(&self);
            /// Runs [`insert_ranges`](super::insert_ranges), by the stages for ranges and runs.
            fn insert_ranges(&self);
            $(
                #[doc = concat!("Runs [`track::", stringify!($name), "`](crate::track::", stringify!($name), "()).")]
                fn $name(&self);
            )+
        }
    };
}
with_stages!(declare);
