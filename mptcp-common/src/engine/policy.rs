//! What the options of a SYN are judged by.

/// What the table's policy rows are judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct SynPolicy {
    /// Smallest MSS in bytes that is not an error, over IPv4.
    pub min_mss_v4: u16,
    /// The same over IPv6.
    pub min_mss_v6: u16,
    /// Is version 0 supported? Where it is not, a version 0 SYN counts in VerEr.
    pub version_0: bool,
}

impl Default for SynPolicy {
    fn default() -> Self {
        Self {
            min_mss_v4: DEFAULT_MSS[0],
            min_mss_v6: DEFAULT_MSS[1],
            version_0: true,
        }
    }
}

/// MSS that a SYN without the option stands for (RFC 9293 section 3.7.1).
pub(crate) const DEFAULT_MSS: [u16; 2] = [536, 1220];
