//! The raw per-CPU counters: the value of the pinned `counters` map.

use bytemuck::{Pod, Zeroable};

use super::Protocol;
use crate::wire::DssFlags;

/// Version of the pinned maps' layout. A map of another version is never read or reused.
pub const LAYOUT_VERSION: u32 = 1;

/// Places of counters in a map that several interfaces have in common: so many at most, and a power of two.
pub const PLACES: u32 = 32;

/// The place of an interface in such a map, by its index.
#[inline(always)]
pub const fn place(interface: u32) -> u32 {
    interface % PLACES
}

/// A `repr(C)` struct of `u64` counters that also knows its fields' names and descriptions.
macro_rules! counters {
    (
        $(#[$outer:meta])*
        pub struct $name:ident { $( $(#[doc = $doc:literal])+ $field:ident: $kind:ty, )+ }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
        #[repr(C)]
        pub struct $name { $( $(#[doc = $doc])+ pub $field: $kind, )+ }

        impl $name {
            /// Name, words of 8 bytes and description of each field, in the order of memory.
            pub const FIELDS: &'static [(&'static str, usize, &'static str)] = &[
                $( (stringify!($field), size_of::<$kind>() / 8, concat!($($doc),+)), )+
            ];
        }

        impl Default for $name {
            fn default() -> Self {
                Self::zeroed()
            }
        }
    };
}

counters! {
    /// Every frame ends in exactly one of these.
    pub struct Outcomes {
        /// Neither IPv4 nor IPv6 (ARP, LLDP, MPLS, 802.3 ...), and PPPoE that carries neither.
        not_ip: u64,
        /// More than two VLAN tags.
        vlan_depth: u64,
        /// IP that carries no TCP (UDP, ICMP, tunnels, ESP ...).
        not_tcp: u64,
        /// A later fragment: it holds no TCP header.
        fragment: u64,
        /// More IPv6 extension headers than are followed.
        ipv6_extensions: u64,
        /// The frame, or what IP says of its length, ends inside the headers.
        truncated: u64,
        /// An IP header that contradicts itself.
        malformed_ip: u64,
        /// A TCP data offset below 5.
        malformed_tcp: u64,
        /// TCP without an option of kind 30.
        tcp: u64,
        /// TCP with an option of kind 30.
        mptcp: u64,
    }
}

/// A field of [`Outcomes`]. As wide as a register's half, which the verifier follows more cheaply than
/// a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the fields of Outcomes, described there")]
pub enum Outcome {
    NotIp,
    VlanDepth,
    NotTcp,
    Fragment,
    Ipv6Extensions,
    Truncated,
    MalformedIp,
    MalformedTcp,
    Tcp,
    Mptcp,
}

impl Outcome {
    /// All of them, in the order of the fields.
    pub const ALL: [Self; 10] = [
        Self::NotIp,
        Self::VlanDepth,
        Self::NotTcp,
        Self::Fragment,
        Self::Ipv6Extensions,
        Self::Truncated,
        Self::MalformedIp,
        Self::MalformedTcp,
        Self::Tcp,
        Self::Mptcp,
    ];
}

impl Outcomes {
    /// Adds to one leaf.
    #[inline(always)]
    pub fn add(&mut self, leaf: Outcome, packets: u64) {
        bytemuck::cast_mut::<Self, [u64; Outcome::ALL.len()]>(self)[leaf as usize] += packets;
    }

    /// All of them.
    pub fn sum(&self) -> u64 {
        bytemuck::cast_ref::<Self, [u64; size_of::<Self>() / 8]>(self)
            .iter()
            .fold(0, |sum, count| sum.wrapping_add(*count))
    }
}

counters! {
    /// What the frames of `not_ip` and `not_tcp` hold. UDP and ARP, the most frequent ones, are not counted: they are
    /// what is left of these leaves (see [`Counters::protocols`]).
    pub struct Protocols {
        /// IP protocols by number; at 17 (UDP) always 0.
        ip: [u64; 256],
        /// UDP over IPv4 to port 4789 or 8472 (VXLAN). These three are no UDP that is left of not_tcp.
        vxlan: u64,
        /// UDP over IPv4 to port 6081 (GENEVE).
        geneve: u64,
        /// UDP over IPv4 to port 2152 (GTP-U).
        gtp_u: u64,
        /// EtherType 0x8847 or 0x8848 (MPLS).
        mpls: u64,
        /// EtherType 0x9100 or 0x9200 (QinQ before IEEE 802.1ad).
        qinq: u64,
        /// EtherType 0x88e5 (MACsec).
        macsec: u64,
        /// EtherType 0x8863 (PPPoE discovery).
        pppoe_discovery: u64,
        /// EtherType 0x8864 with a PPP protocol from 0x8000 on (LCP, IPCP ...).
        pppoe_control: u64,
        /// EtherType 0x8864 with anything else that is not IP (compressed, multilink, another version ...).
        pppoe_other: u64,
        /// IEEE 802.3 length instead of an EtherType, and SNAP with an EtherType behind it (RFC 1042).
        snap: u64,
        /// IEEE 802.3 length and anything else (spanning tree, IS-IS ...).
        llc: u64,
        /// EtherType 0x88cc (LLDP) or 0x8809 (LACP and other slow protocols).
        link_control: u64,
        /// Any other EtherType.
        other_ethertype: u64,
    }
}

impl Protocols {
    /// Adds to one; nothing for what is not counted here.
    #[inline(always)]
    pub fn add(&mut self, protocol: Protocol, packets: u64) {
        let counts = bytemuck::cast_mut::<Self, [u64; Protocol::COUNTED]>(self);
        if let Some(count) = counts.get_mut(protocol.0 as usize) {
            *count += packets;
        }
    }
}

counters! {
    /// What one direction's packets held. What most of them add to stands first, in few cache lines.
    pub struct DirectionCounters {
        /// Well-formed DSS by the flags F, m, M, a and A: 16, 8, 4, 2 and 1.
        dss_flags: [u64; 32],
        /// DSS whose mapping is longer than the segment's payload.
        dss_partial: u64,
        /// Packets that repeat a mapping and bring new bytes of it.
        map_repeated: u64,
        /// Acknowledgments, at the level of TCP, of data that none acknowledged before.
        fresh_ack: u64,
        /// DATA_ACK higher than any before.
        fresh_data_ack: u64,
        /// Options of kind 30 by subtype nibble, well-formed or not.
        option: [u64; 16],
        /// Options of kind 30 without a subtype: length missing or below 3, or the area ends before.
        option_short: u64,
        /// Options that are not allowed, by wire::Fault: short, overrun, length, flags, segment,
        /// version, repeated, combination.
        invalid: [u64; 8],
        /// The part of these that have a subtype: nibble times 8, plus the fault.
        option_invalid: [u64; 128],
        /// Options of an unassigned subtype (9 to 14).
        subtype_unassigned: u64,
        /// Packets in which an allowed option other than MP_CAPABLE sets bits that are reserved.
        reserved_bits: u64,
        /// MP_CAPABLE SYN: version 0 of length 12, version 1 of length 4, higher of any from 4.
        capable_syn: u64,
        /// The same, version 1.
        capable_syn_v1: u64,
        /// The same, version 2 or higher, or version 0 where only version 1 is supported.
        capable_version: u64,
        /// MP_CAPABLE SYN of version 0 or 1 with flag B (extensibility).
        capable_extensibility: u64,
        /// MP_CAPABLE SYN of version 0 or 1 with reserved flags (v0: C to G, v1: D to G).
        capable_reserved: u64,
        /// MP_CAPABLE SYN of version 0 or 1 without flag H: no HMAC that is known.
        capable_crypto: u64,
        /// MP_CAPABLE SYN/ACK of length 12.
        capable_synack: u64,
        /// MP_CAPABLE on a later ACK: length 20, or version 1 with data 22 or 24.
        capable_ack: u64,
        /// The part of these that carries a mapping: length 22 or 24.
        capable_map: u64,
        /// The first of a handshake without a data-level length on a segment with payload, version 1.
        capable_no_length: u64,
        /// MP_JOIN SYN of length 12.
        join_syn: u64,
        /// The same with flag B (backup).
        join_backup: u64,
        /// The same with address identifier 0.
        join_id_0: u64,
        /// MP_JOIN SYN/ACK of length 16.
        join_synack: u64,
        /// MP_JOIN on a later ACK, length 24.
        join_ack: u64,
        /// SYN or SYN/ACK with MP_CAPABLE or MP_JOIN whose MSS is malformed, 0 or below the limit.
        mss: u64,
        /// DSS with a mapping and a checksum.
        dss_checksum: u64,
        /// DSS or MP_CAPABLE with an infinite mapping: data-level length 0, checksum 0 or absent, no F.
        dss_infinite: u64,
        /// DSS or MP_CAPABLE with data-level length 0 that is no infinite mapping.
        dss_no_length: u64,
        /// ADD_ADDR that announces an address.
        add_addr: u64,
        /// ADD_ADDR that echoes an announcement.
        add_addr_echo: u64,
        /// The part of both that names a port.
        add_addr_port: u64,
        /// REMOVE_ADDR.
        remove_addr: u64,
        /// MP_PRIO with flag B.
        prio_backup: u64,
        /// MP_PRIO without flag B.
        prio_clear: u64,
        /// MP_FAIL.
        fail: u64,
        /// MP_FASTCLOSE.
        fastclose: u64,
        /// MP_TCPRST.
        tcprst: u64,
        /// RST with an option other than MP_FAIL, MP_FASTCLOSE and MP_TCPRST.
        rst_odd: u64,
        /// TCP FIN with an option of kind 30.
        fin: u64,
        /// MP_TCPRST by reason 0 to 6; at 7 all others.
        tcprst_reason: [u64; 8],
        /// MP_TCPRST with flag T (transient).
        tcprst_transient: u64,

        /// MP_CAPABLE SYN of the same handshake as one before.
        capable_syn_repeated: u64,
        /// SYN without option of a handshake that began with MP_CAPABLE.
        capable_syn_dropped: u64,
        /// MP_CAPABLE SYN/ACK of the same handshake as one before.
        capable_synack_repeated: u64,
        /// SYN/ACK without MP_CAPABLE in answer to one, or with one that does not answer it.
        capable_synack_plain: u64,
        /// First MP_CAPABLE of a subflow on a later ACK.
        final_ack: u64,
        /// The part of these with keys or an acknowledgment that the SYN/ACK did not have, and
        /// MP_CAPABLE without a handshake that was reset.
        cookie: u64,
        /// Version 1: data of the initiator before its key.
        data_before_key: u64,
        /// Handshakes that ran on another receive queue than their SYN.
        capable_steered: u64,
        /// Sessions whose MP_CAPABLE handshake was completed.
        session_created: u64,
        /// The same, version 1.
        session_created_v1: u64,
        /// Subflows established, the first of each session included.
        subflow_created: u64,
        /// Subflows established by MP_JOIN.
        join_created: u64,

        /// MP_JOIN SYN of the same handshake as one before.
        join_syn_repeated: u64,
        /// MP_JOIN SYN/ACK of the same handshake as one before.
        join_synack_repeated: u64,
        /// SYN/ACK without MP_JOIN in answer to one.
        join_synack_plain: u64,
        /// MP_JOIN SYN/ACK with a wrong HMAC.
        join_synack_hmac: u64,
        /// First MP_JOIN of a pending join on a later ACK.
        join_final_ack: u64,
        /// The part of these with a wrong HMAC.
        join_hmac: u64,
        /// The part of these whose HMAC could not be checked, for want of keys.
        join_hmac_unverified: u64,
        /// MP_JOIN on a later ACK, repeated.
        join_ack_repeated: u64,
        /// First segment of the responder behind a right one of these.
        join_validated: u64,
        /// MP_JOIN SYN with an address identifier that a subflow of its sender has.
        join_id_in_use: u64,
        /// MP_JOIN SYN for a session that had fallen back to TCP.
        join_after_fallback: u64,
        /// MP_JOIN SYN of a session whose first SYN came on another receive queue.
        join_steered: u64,
        /// Pending joins that were reset by who was asked, for any reason.
        join_refused: u64,
        /// The part of these whose token belongs to no session.
        join_token_unknown: u64,
        /// The part of these with more subflows than the limit, or a reason that says so.
        join_over_limit: u64,
        /// The part of these with more pending joins than the threshold.
        join_over_threshold: u64,
        /// Pending joins replaced by another of the same ends.
        pending_replaced: u64,
        /// Established subflows replaced by a join.
        subflow_replaced: u64,

        /// DATA_ACK of data that was not seen.
        data_ack_beyond: u64,
        /// Sessions that fell back to TCP by a segment without option.
        fallback_plain_ack: u64,
        /// Subflows that were reset after such a segment.
        plain_ack_reset: u64,
        /// Sessions that fell back to TCP since the receiver took bytes that no mapping covers.
        fallback_no_mapping: u64,
        /// Sessions that fell back to TCP by an infinite mapping.
        infinite_set: u64,
        /// Infinite mappings with other subflows and without MP_FAIL.
        infinite_too_early: u64,
        /// MPTCP options in sessions that had fallen back.
        option_after_fallback: u64,
        /// Subflows that sent data without any MPTCP option before a fallback.
        bare_data: u64,
        /// Address identifiers removed that were known.
        address_removed: u64,
        /// Address identifiers removed that were not.
        address_unknown: u64,
        /// The same in sessions that were there before the probe, and may have announced them.
        address_unseen: u64,
        /// Address identifiers removed a second time.
        address_repeated: u64,
        /// Known address identifiers removed by the subflow that uses them.
        address_own: u64,
        /// ADD_ADDR with a wrong HMAC.
        add_addr_hmac: u64,
        /// ADD_ADDR with the other end of the HMAC, as old Linux kernels sent it.
        add_addr_hmac_old: u64,
        /// ADD_ADDR whose HMAC could not be checked, for want of keys.
        add_addr_unverified: u64,
        /// MP_PRIO that made a backup subflow a regular one.
        prio_cleared: u64,
        /// MP_PRIO for another subflow than the one that carries it (version 0).
        prio_elsewhere: u64,
        /// Sessions whose DATA_FIN was sent.
        session_fin: u64,
        /// Subflows whose FIN was sent.
        subflow_fin: u64,
        /// Subflows that sent DATA_FIN as a backup.
        fin_on_backup: u64,
        /// The same where the policy refuses that.
        fin_on_backup_refused: u64,
        /// First MP_FASTCLOSE of a subflow, the key right or not known.
        fastclose_first: u64,
        /// MP_FASTCLOSE of a subflow that sent one before.
        fastclose_repeated: u64,
        /// MP_FASTCLOSE with a wrong key.
        fastclose_key: u64,
        /// MP_FASTCLOSE whose key could not be checked.
        fastclose_unverified: u64,
        /// First MP_FASTCLOSE of a backup subflow.
        fastclose_on_backup: u64,
        /// The same where the policy refuses that.
        fastclose_on_backup_refused: u64,
        /// MP_FAIL that answers one.
        fail_response: u64,
        /// Resets of a subflow that got an option that is not allowed, or that say so.
        option_reset: u64,

        /// Data packets of which the receiver took bytes that no mapping covers.
        no_mapping: u64,
        /// Packets with more payload than their mapping.
        more_data: u64,
        /// Subflows that were reset after an invalid mapping.
        map_reset: u64,
        /// Packets that repeat a mapping and bring no new bytes.
        map_duplicate: u64,
        /// Mappings of data that was mapped in part before.
        map_partial: u64,
        /// Mappings of data that was mapped before.
        map_reinjected: u64,
        /// Mappings that map the same bytes of a subflow to other data.
        map_altered: u64,
        /// Packets whose data was sent before.
        retransmitted: u64,
        /// The part of these that TCP sends again on the subflow.
        retransmitted_subflow: u64,
        /// The part of these that the subflow had sent, and that come with a new mapping on new bytes of it.
        remapped: u64,
        /// The part of these that another subflow had sent.
        reinjected: u64,
        /// Subflows with a checksum that was not agreed on, or without one that was.
        checksum_presence: u64,
        /// Mappings whose checksum is wrong.
        checksum_failed: u64,
        /// Mappings whose checksum is right.
        checksum_verified: u64,
        /// Mappings of sessions with checksums of which not all was seen.
        checksum_unverified: u64,

        /// Packets with an option on a flow that is not known.
        unknown_flow: u64,
        /// Flows with an option that no session belongs to.
        option_no_session: u64,
        /// The part of these with a DSS.
        dss_no_subflow: u64,

        /// Sessions that found no room in the table.
        lost_sessions: u64,
        /// Subflows that found no room in the table.
        lost_subflows: u64,
        /// Handshakes that were forgotten for newer ones.
        lost_handshakes: u64,
        /// Tokens that found no room in the table: joins to them find no session.
        lost_tokens: u64,
        /// Ranges of data that found no room.
        lost_ranges: u64,
        /// Reports that nobody could be told, for lack of room or because there were too many.
        lost_reports: u64,
        /// Segments of followed subflows that their receiver does not take: outside of its window, or a reset that
        /// is not at exactly the next number.
        not_taken: u64,
    }
}

counters! {
    /// Value of the per-CPU map `counters`, one per interface.
    ///
    /// The order of the fields is what makes a copy of a running counter trustworthy. A program
    /// adds to `frames`, then to the events, then to a leaf; a reader copies upwards in memory, so
    /// it sees the leaves first and `frames` last. When the leaves' sum equals `frames`, no packet
    /// was under way between the two reads: all packets that had begun had ended, and the events
    /// in between are theirs and no others'. The conservation law is the sequence lock.
    pub struct Counters {
        /// Packets by what became of them.
        leaves: Outcomes,
        /// Received: from the peer on a host, from the session's initiator on a middlebox.
        rx: DirectionCounters,
        /// Sent: by the host, by the session's listener on a middlebox.
        tx: DirectionCounters,
        /// Packets of which a middlebox does not know who initiated their session.
        unknown: DirectionCounters,
        /// What frames hold that are not IP or not TCP.
        protocols: Protocols,
        /// Packets seen.
        frames: u64,
    }
}

impl DirectionCounters {
    /// Well-formed DSS.
    pub fn dss(&self) -> u64 {
        self.dss_with(0)
    }

    /// Those of them with these flags of [`DssFlags`], and perhaps others.
    pub fn dss_with(&self, flags: u8) -> u64 {
        (0..)
            .map(DssFlags)
            .zip(self.dss_flags)
            .filter(|(present, _)| present.all(flags))
            .map(|(_, count)| count)
            .sum()
    }
}

/// A [`Counters`] as words.
type Words = [u64; size_of::<Counters>() / 8];

/// The sum of two counts, up to 2^56: more than anything counts to, and so little that what is made of a
/// hundred such words is no overflow.
pub fn bounded_sum(a: u64, b: u64) -> u64 {
    a.saturating_add(b).min(1 << 56)
}

impl Counters {
    /// Is no packet under way in this copy?
    pub fn is_settled(&self) -> bool {
        self.leaves.sum() == self.frames
    }

    /// Adds `other`, word by word, with [`bounded_sum`].
    pub fn add(&mut self, other: &Self) {
        self.zip(other, bounded_sum);
    }

    /// What has come since `earlier`. A counter that went backwards (another probe took its place)
    /// counts from zero again.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = *self;
        difference.zip(earlier, |now, then| now.checked_sub(then).unwrap_or(now));
        difference
    }

    /// What was forgotten or never remembered for lack of room: while it is 0, rows that need
    /// state are as good as they can be.
    pub fn state_loss(&self) -> u64 {
        self.directions()
            .iter()
            .map(|(_, events)| {
                [
                    events.lost_sessions,
                    events.lost_subflows,
                    events.lost_handshakes,
                    events.lost_tokens,
                    events.lost_ranges,
                ]
            })
            .fold(0, |sum, lost| lost.into_iter().fold(sum, bounded_sum))
    }

    /// What the frames of `not_ip` and `not_tcp` hold, and how many do; those that there are. They add up to these
    /// leaves.
    pub fn protocols(&self) -> impl Iterator<Item = (Protocol, u64)> {
        let counts: [u64; Protocol::COUNTED] = bytemuck::cast(self.protocols);
        let (ip, others) = counts.split_at(Protocol::FIRST_LINK as usize);
        let left = |leaf: u64, counts: &[u64]| {
            leaf.saturating_sub(
                counts
                    .iter()
                    .fold(0, |sum, count| sum.saturating_add(*count)),
            )
        };
        let udp = left(self.leaves.not_tcp, ip);
        let arp = left(self.leaves.not_ip, others);
        (0..)
            .map(Protocol)
            .zip(counts)
            .chain([(Protocol::UDP, udp), (Protocol::ARP, arp)])
            .filter(|(_, count)| *count > 0)
    }

    /// The three directions' events, with the names they have in documents.
    pub fn directions(&self) -> [(&'static str, &DirectionCounters); 3] {
        [
            ("rx", &self.rx),
            ("tx", &self.tx),
            ("unknown", &self.unknown),
        ]
    }

    fn zip(&mut self, other: &Self, combine: impl Fn(u64, u64) -> u64) {
        let words: &mut Words = bytemuck::cast_mut(self);
        let others: &Words = bytemuck::cast_ref(other);
        for (word, other) in words.iter_mut().zip(others) {
            *word = combine(*word, *other);
        }
    }
}
