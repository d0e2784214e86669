//! Names of option kinds and subtypes, and why an option is not allowed.

/// TCP option kind of Multipath TCP (RFC 8684 section 3, IANA "TCP Option Kind Numbers").
pub const KIND_MPTCP: u8 = 30;

/// TCP option kind "end of option list" (RFC 9293 section 3.1).
pub const KIND_EOL: u8 = 0;

/// TCP option kind "no operation" (RFC 9293 section 3.1).
pub const KIND_NOP: u8 = 1;

/// TCP option kind "maximum segment size" (RFC 9293 section 3.7.1), length 4.
pub const KIND_MSS: u8 = 2;

/// Window scale option (RFC 7323 section 2.2).
pub const KIND_WINDOW_SCALE: u8 = 3;

/// The first word, in memory order, of two NOPs and a timestamp (RFC 7323 section 3.2): with it nearly every
/// option area begins. Alone it is the most common one of all, and one without kind 30.
pub(crate) const TIMESTAMP: u32 = u32::from_ne_bytes([KIND_NOP, KIND_NOP, 8, 10]);

/// How long these are in words of 4 bytes.
pub(crate) const TIMESTAMP_WORDS: usize = 3;

/// MPTCP option subtype, the upper four bits of the third byte (RFC 8684 section 7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Subtype {
    /// MP_CAPABLE, RFC 8684 section 3.1.
    MpCapable = 0,
    /// MP_JOIN, RFC 8684 section 3.2.
    MpJoin = 1,
    /// Data Sequence Signal, RFC 8684 section 3.3.
    Dss = 2,
    /// ADD_ADDR, RFC 8684 section 3.4.1.
    AddAddr = 3,
    /// REMOVE_ADDR, RFC 8684 section 3.4.2.
    RemoveAddr = 4,
    /// MP_PRIO, RFC 8684 section 3.3.8.
    MpPrio = 5,
    /// MP_FAIL, RFC 8684 section 3.7.
    MpFail = 6,
    /// MP_FASTCLOSE, RFC 8684 section 3.5.
    MpFastclose = 7,
    /// MP_TCPRST, RFC 8684 section 3.6.
    MpTcpRst = 8,
    /// Private use (experiments), RFC 8684 section 7.2.
    Experimental = 15,
}

impl Subtype {
    /// The subtypes that RFC 8684 defines, in their order.
    pub const DEFINED: [Self; 9] = [
        Self::MpCapable,
        Self::MpJoin,
        Self::Dss,
        Self::AddAddr,
        Self::RemoveAddr,
        Self::MpPrio,
        Self::MpFail,
        Self::MpFastclose,
        Self::MpTcpRst,
    ];

    /// The subtype of a nibble; `None` for the unassigned 9 to 14.
    pub fn from_nibble(nibble: u8) -> Option<Self> {
        match nibble {
            15 => Some(Self::Experimental),
            n => Self::DEFINED.get(usize::from(n)).copied(),
        }
    }

    /// The name that RFC 8684 gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::MpCapable => "MP_CAPABLE",
            Self::MpJoin => "MP_JOIN",
            Self::Dss => "DSS",
            Self::AddAddr => "ADD_ADDR",
            Self::RemoveAddr => "REMOVE_ADDR",
            Self::MpPrio => "MP_PRIO",
            Self::MpFail => "MP_FAIL",
            Self::MpFastclose => "MP_FASTCLOSE",
            Self::MpTcpRst => "MP_TCPRST",
            Self::Experimental => "EXPERIMENTAL",
        }
    }

    /// This subtype's bit in a set of subtypes.
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Why an option is not one of those that RFC 8684 or RFC 6824 allow.
///
/// The discriminants index `DirectionCounters::invalid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Fault {
    /// The length byte is missing or below 3, so there is no subtype.
    Short = 0,
    /// The option runs past the end of the option area.
    Overrun = 1,
    /// The length is not one of those defined for this subtype, version and segment.
    Length = 2,
    /// The flags contradict each other (DATA_FIN without a mapping; an echo with an HMAC).
    Flags = 3,
    /// The option does not belong on a segment with these TCP flags.
    Segment = 4,
    /// An MP_CAPABLE of a version that defines no such option.
    Version = 5,
    /// A second option of the same subtype in one segment.
    Repeated = 6,
    /// Options that exclude each other share the segment.
    Combination = 7,
}

impl Fault {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 8] = [
        Self::Short,
        Self::Overrun,
        Self::Length,
        Self::Flags,
        Self::Segment,
        Self::Version,
        Self::Repeated,
        Self::Combination,
    ];

    /// What is wrong, as the rest of a sentence that began with the option.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Short => "is too short to hold a subtype",
            Self::Overrun => "runs past the option area",
            Self::Length => "has a length that its subtype, version and segment do not allow",
            Self::Flags => "has flags that contradict each other",
            Self::Segment => "does not belong on a segment with these TCP flags",
            Self::Version => "has a version that defines no such option",
            Self::Repeated => "repeats a subtype of the same segment",
            Self::Combination => "excludes another option of the same segment",
        }
    }
}

/// An MPTCP key: a secret. It can be compared, and is never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub u64);

impl core::fmt::Debug for Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A handshake nonce ("random number" in RFC 8684 section 3.2): a secret, never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub u32);

impl core::fmt::Debug for Nonce {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Nonce(..)")
    }
}
