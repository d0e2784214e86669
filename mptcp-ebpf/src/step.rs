//! What the benchmark tells its programs. Both compile this file.

#![allow(dead_code, unreachable_pub, reason = "two binaries compile this file")]

/// What a session's packets differ in, in the machine's byte order.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Record {
    /// Address of the session's first end.
    pub address: u32,
    /// Bytes 20 to 24 of the option behind the timestamp: the subflow sequence number of a DSS, say.
    pub third: u32,
    /// Bytes 4 to 12: a DATA_ACK, or a key.
    pub first: u64,
    /// Bytes 12 to 20: a data sequence number, or the other key.
    pub second: u64,
}

/// Numbers of a packet, or how far they move from one packet of a session to its next.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Numbers {
    /// TCP sequence number.
    pub sequence: u32,
    /// TCP acknowledgment number.
    pub acknowledgment: u32,
    /// See [`Record`].
    pub first: u32,
    /// See [`Record`].
    pub second: u32,
    /// See [`Record`].
    pub third: u32,
}

/// Packets of one kind, one session's after the other's, over and over.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Step {
    /// When the first packet was made, by the kernel's clock in nanoseconds.
    pub first_at: u64,
    /// When the last one was.
    pub last_at: u64,
    /// Packets to be made.
    pub packets: u32,
    /// Packets that were made.
    pub made: u32,
    /// 1 if the program that is measured runs behind, and not the one that does nothing.
    pub is_measured: u32,
    /// What is written to the frame: see [`writes`].
    pub writes: u32,
    /// Sessions that take turns.
    pub sessions: u32,
    /// Place of the first of them among the records.
    pub records: u32,
    /// The session whose turn it is.
    pub next: u32,
    /// How often all have had theirs.
    pub round: u32,
    /// What is added to a record's numbers in the first round.
    pub start: Numbers,
    /// What is added with every further one.
    pub stride: Numbers,
    /// Sum of the payload's 16-bit words and the mapping's length.
    pub sum: u32,
    /// Packets that have the same second and third number, one after the other; 0 is one.
    pub parts: u32,
}

/// Parts of a [`Step`]'s frame.
pub mod writes {
    /// The session's address as source, and the sequence numbers.
    pub const SOURCE: u32 = 1;
    /// The session's address as destination, and the sequence numbers.
    pub const DESTINATION: u32 = 1 << 1;
    /// First number.
    pub const FIRST: u32 = 1 << 2;
    /// Second number.
    pub const SECOND: u32 = 1 << 3;
    /// The second number in the first one's place.
    pub const SECOND_FIRST: u32 = 1 << 4;
    /// Third number.
    pub const THIRD: u32 = 1 << 5;
    /// A DSS checksum.
    pub const CHECKSUM: u32 = 1 << 6;
}
