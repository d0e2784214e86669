//! Handshakes that are not complete.

use bytemuck::Zeroable;

use crate::{
    table::{Entry, Memory, Word},
    wire::Nonce,
};

/// What an entry of the half-open table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum HandshakeKind {
    /// Opened by an MP_CAPABLE SYN.
    Capable = 1,
    /// Opened by an MP_JOIN SYN.
    Join = 2,
    /// A segment with an MPTCP option on a flow of which no handshake was seen. A reset in answer
    /// tells that its receiver did not know it either.
    Stray = 3,
}

/// A handshake that is not complete, or an option on a flow that nobody knows: a cache line, since a flood of
/// SYNs writes one each. Whose it is says its tag.
#[derive(Debug, Zeroable)]
#[zeroable(bound = "M::W32: Zeroable, M::W64: Zeroable")]
#[repr(C, align(64))]
pub struct HalfOpen<M: Memory> {
    /// Tag of the flow, 0 while free.
    pub tag: M::W64,
    /// When its first packet was seen.
    pub created: M::W64,
    /// Of opener and responder: MP_CAPABLE keys, 0 where not known; MP_JOIN nonces, with their `WindowOffer`s in the
    /// upper halves.
    pub secrets: [M::W64; 2],
    /// See [`HandshakeFacts`]; between the facts are kind and direction.
    pub flags: M::W32,
    /// Address identifiers of opener and responder (8 bits each, MP_JOIN), version (4 bits), receive
    /// queue (12 bits).
    pub facts: M::W32,
    /// Initial sequence numbers of opener and responder. Of stray segments: the first one's number, and what it
    /// acknowledged.
    pub isn: [M::W32; 2],
    /// What the responder acknowledged in its SYN/ACK.
    pub syn_acked: M::W32,
    /// Highest sequence number that the responder sent, plus 1; what the last stray segment acknowledged.
    pub next: M::W32,
    /// MP_JOIN: the session's slot. Else as the upper halves of `secrets` with MP_JOIN: what the opener's SYN
    /// says of its window.
    pub session: M::W32,
    /// MP_JOIN: the session's generation. Else the same of the responder's SYN/ACK.
    pub generation: M::W32,
}

impl<M: Memory> HalfOpen<M> {
    const KIND: u32 = 20;
    const DIRECTION: u32 = 22;
    const VERSION: u32 = 16;
    const QUEUE: u32 = 20;

    /// The flags of an entry of this kind, whose SYN counts in this direction, for [`flags`](Self::flags).
    #[inline(always)]
    pub fn flags_of(kind: u32, direction: u32, facts: u32) -> u32 {
        facts | (kind & 3) << Self::KIND | direction << Self::DIRECTION
    }

    /// Forgets whose it is, and overwrites its keys and nonces.
    #[inline(always)]
    pub(crate) fn forget(&self) {
        self.tag.store(0);
        for secret in &self.secrets {
            secret.store(0);
        }
    }

    /// Leaves nothing of a handshake but that there were others of its flow: what comes is stray.
    #[inline(always)]
    pub(crate) fn empty(&self) {
        const FACTS: u32 = HandshakeFacts::RIVALED | HandshakeFacts::REFUSED;
        let flags = Self::flags_of(HandshakeKind::Stray as u32, self.direction(), FACTS);
        self.flags.store(flags);
        for secret in &self.secrets {
            secret.store(0);
        }
    }

    /// A [`HandshakeKind`], by its discriminant; 0 if the entry was never used.
    #[inline(always)]
    pub fn kind(&self) -> u32 {
        (self.flags.load() >> Self::KIND) & 3
    }

    /// The direction that the SYN counted in, by its discriminant.
    #[inline(always)]
    pub(crate) fn direction(&self) -> u32 {
        (self.flags.load() >> Self::DIRECTION) & 3
    }

    /// Begins with the SYN's version, and its receive queue plus 1: 0 where that is not known, as of one
    /// above 4094.
    #[inline(always)]
    pub(crate) fn set_syn(&self, version: u32, queue: u32) {
        let queue = if queue < 1 << 12 { queue } else { 0 };
        self.facts
            .store((version & 15) << Self::VERSION | queue << Self::QUEUE);
    }

    /// Version of the SYN/ACK, or of the SYN before that.
    #[inline(always)]
    pub(crate) fn version(&self) -> u32 {
        (self.facts.load() >> Self::VERSION) & 15
    }

    /// Sets the version.
    #[inline(always)]
    pub(crate) fn set_version(&self, version: u32) {
        let others = self.facts.load() & !(15 << Self::VERSION);
        self.facts.store(others | (version & 15) << Self::VERSION);
    }

    /// Receive queue of the SYN, plus 1; 0 where not known.
    #[inline(always)]
    pub(crate) fn queue(&self) -> u32 {
        self.facts.load() >> Self::QUEUE
    }

    /// What opener (0) or responder (1) said of its window.
    #[inline(always)]
    pub(crate) fn offer(&self, end: usize) -> WindowOffer {
        WindowOffer(if self.kind() == HandshakeKind::Join as u32 {
            (self.secrets[end & 1].load() >> 32) as u32
        } else if end == 0 {
            self.session.load()
        } else {
            self.generation.load()
        })
    }

    /// Sets what the opener said of its window, of MP_CAPABLE, and forgets what the responder said.
    #[inline(always)]
    pub(crate) fn set_offer(&self, offer: WindowOffer) {
        self.session.store(offer.0);
        self.generation.store(0);
    }

    /// Sets what the responder said of its window.
    #[inline(always)]
    pub(crate) fn set_answer(&self, offer: WindowOffer) {
        self.generation.store(offer.0);
    }

    /// Address identifiers of opener and responder.
    #[inline(always)]
    pub(crate) fn ids(&self) -> [u32; 2] {
        let facts = self.facts.load();
        [facts & 0xff, facts >> 8 & 0xff]
    }

    /// Sets the address identifier of the opener (0) or the responder (1).
    #[inline(always)]
    pub(crate) fn set_id(&self, end: u32, id: u8) {
        let others = self.facts.load() & !(0xff << (8 * end));
        self.facts.store(others | u32::from(id) << (8 * end));
    }
}

impl<M: Memory> Entry for HalfOpen<M> {
    #[inline(always)]
    fn tag(&self) -> u64 {
        self.tag.load()
    }

    #[inline(always)]
    fn fetch(&self) {
        self.tag.load();
    }
}

/// Facts of a [`HalfOpen`].
#[derive(Clone, Copy, Debug)]
pub struct HandshakeFacts;

impl HandshakeFacts {
    /// The first end of the key sent the SYN.
    pub const OPENER_IS_FIRST: u32 = 1;
    /// The opener is the session's listener (a join from the server).
    pub const OPENER_LISTENS: u32 = 1 << 1;
    /// A SYN/ACK with the option was seen.
    pub const ANSWERED: u32 = 1 << 2;
    /// A SYN/ACK without the option was seen; to a stray segment, the reset of somebody who knows of no connection.
    pub const REFUSED: u32 = 1 << 3;
    /// The third segment with the option was seen.
    pub const CONFIRMED: u32 = 1 << 4;
    /// The HMAC of the third segment was right, or could not be checked.
    pub const PROVEN: u32 = 1 << 5;
    /// The token belongs to a session.
    pub const RESOLVED: u32 = 1 << 6;
    /// Checksums are required by one of the ends.
    pub const CHECKSUM: u32 = 1 << 7;
    /// The opener's, and by `<< 1` the responder's, backup flag.
    pub const BACKUP: u32 = 1 << 8;
    /// The session had as many subflows as the policy allows.
    pub const OVER_LIMIT: u32 = 1 << 10;
    /// The third segment was wrong, and was counted as that.
    pub const FAILED: u32 = 1 << 12;
    /// More joins were pending than the policy allows.
    pub const OVER_PENDING: u32 = 1 << 13;
    /// It is known which end is the session's listener.
    pub const SIDES_KNOWN: u32 = 1 << 14;
    /// The opener sent a segment without an option instead of the third one.
    pub const PLAIN: u32 = 1 << 15;
    /// A stray segment had a DSS.
    pub const DSS: u32 = 1 << 16;
    /// A stray segment had an MP_CAPABLE.
    pub const CAPABLE: u32 = 1 << 17;
    /// The session had fallen back to TCP.
    pub const AFTER_FALLBACK: u32 = 1 << 18;
    /// More joins were pending in all sessions than the policy allows.
    pub const OVER_THRESHOLD: u32 = 1 << 19;
    /// The MP_CAPABLE of the SYN is to be ignored (extensibility, no known algorithm).
    pub const IGNORED: u32 = 1 << 11;
    /// Version 1: the initiator sent a DSS, and its key was not seen.
    pub const KEYLESS: u32 = 1 << 26;
    /// The SYN came again without MP_CAPABLE.
    pub const DROPPED: u32 = 1 << 27;
    /// The opener's, and by `<< 1` the responder's, address identifier was used by no other subflow.
    pub const NEW_ID: u32 = 1 << 24;
    /// Another SYN of the flow, with another number, has an entry of its own (see `track::handshake::rival`).
    pub const RIVALED: u32 = 1 << 28;
}

/// What a SYN or a SYN/ACK says of its sender's window: the window in the lowest 16 bits, which is not scaled
/// there, then the window scale in 4 bits, and a bit that tells whether it has one. 0 where nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowOffer(pub(crate) u32);

impl WindowOffer {
    pub(crate) const NONE: Self = Self(0);
    const IS_SCALED: u32 = 1 << 20;
    const IS_KNOWN: u32 = 1 << 21;

    /// Of a segment with this window, and this window scale option.
    #[inline(always)]
    pub(crate) fn new(window: u16, scale: Option<u32>) -> Self {
        let scale = match scale {
            Some(scale) => Self::IS_SCALED | scale.min(MAX_SCALE) << 16,
            None => 0,
        };
        Self(u32::from(window) | scale | Self::IS_KNOWN)
    }

    /// One of [`HalfOpen::secrets`] with MP_JOIN.
    #[inline(always)]
    pub(crate) fn with_nonce(self, nonce: Nonce) -> u64 {
        u64::from(self.0) << 32 | u64::from(nonce.0)
    }

    #[inline(always)]
    pub(crate) fn is_known(self) -> bool {
        self.0 & Self::IS_KNOWN != 0
    }

    #[inline(always)]
    pub(crate) fn is_scaled(self) -> bool {
        self.0 & Self::IS_SCALED != 0
    }

    #[inline(always)]
    pub(crate) fn scale(self) -> u32 {
        self.0 >> 16 & 15
    }

    /// Bytes.
    #[inline(always)]
    pub(crate) fn window(self) -> u32 {
        self.0 & 0xffff
    }
}

/// The highest window scale (RFC 7323 section 2.3).
pub(crate) const MAX_SCALE: u32 = 14;
