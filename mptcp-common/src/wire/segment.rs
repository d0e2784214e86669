//! What a decoder has to know of the segment that carries an option.

/// TCP flags, byte 13 of the TCP header (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// ACK.
    pub const ACK: u8 = 0x10;

    /// Is any of these bits set?
    #[inline(always)]
    pub const fn any(self, bits: u8) -> bool {
        self.0 & bits != 0
    }

    /// Which part of a connection's life these flags belong to.
    #[inline(always)]
    pub const fn stage(self) -> Stage {
        match self.0 & (Self::SYN | Self::ACK | Self::RST) {
            Self::SYN => Stage::Syn,
            0x12 => Stage::SynAck,
            bits if bits & Self::SYN == 0 => Stage::Later,
            _ => Stage::Impossible,
        }
    }
}

/// The part of a connection's life that a segment belongs to, told from its flags alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// SYN without ACK.
    Syn,
    /// SYN with ACK.
    SynAck,
    /// No SYN: the third segment of the handshake and all that follow, resets included.
    Later,
    /// SYN together with RST.
    Impossible,
}

/// The segment that carries an option, as far as the option's form depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// TCP flags.
    pub flags: TcpFlags,
    /// Has it payload bytes?
    pub has_payload: bool,
}

impl Segment {
    /// One that opens a connection, without data.
    pub(crate) const SYN: Self = Self {
        flags: TcpFlags(TcpFlags::SYN),
        has_payload: false,
    };

    /// No SYN, and ACK set.
    #[inline(always)]
    pub(crate) const fn is_later_ack(self) -> bool {
        matches!(self.flags.stage(), Stage::Later) && self.flags.any(TcpFlags::ACK)
    }

    /// No SYN.
    #[inline(always)]
    pub(crate) const fn is_later(self) -> bool {
        matches!(self.flags.stage(), Stage::Later)
    }
}
