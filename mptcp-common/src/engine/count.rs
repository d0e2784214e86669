//! What the options of one packet say by themselves: found, judged and counted.

use crate::{
    counter::DirectionCounters,
    engine::{
        policy::{DEFAULT_MSS, SynPolicy},
        stages::Stages,
    },
    packet::{Packet, Work},
    verifier::Opaque,
    wire::{
        AddAddr, CapableFlags, Dss, DssFlags, Fault, JoinForm, MpCapable, MpFail, MpFastclose,
        MpJoin, MpPrio, MpTcpRst, NO_NIBBLE, OptionOffsets, Options, RemoveAddr, SHORTS, Segment,
        Stage, Subtype, TcpFlags,
    },
};

/// Counts a packet whose options are a lone DSS ([`Dss::read_in_place`]) that belongs where it
/// stands, as [`count`] does.
#[inline(always)]
pub fn count_dss_segment(packet: &Packet, fields: &Dss, events: &mut DirectionCounters) {
    let n = u64::from(packet.packets);
    events.option[Subtype::Dss as usize] += n;
    dss(fields, packet, n, events);
    events.fin += u64::from(packet.flags.any(TcpFlags::FIN));
}

/// Counts a packet with options of kind 30, and returns the set of those that are allowed.
#[inline(always)]
pub(crate) fn count(
    work: &Work,
    seen: u32,
    policy: &SynPolicy,
    verifier: &impl Opaque,
    events: &mut DirectionCounters,
) -> u32 {
    let packet = &work.packet;
    let n = u64::from(packet.packets);
    tally(&work.found, seen, n, verifier, events);
    let options = Options::new(&work.area, &work.found, seen, verifier);
    let mut signs = 0;
    if seen & Subtype::Dss.bit() != 0 {
        signs = verifier.opaque(judge_dss(&work.dss, packet, verifier, n, events));
    }
    signs |= verifier.opaque(handshake(&options, packet, policy, n, events))
        | verifier.opaque(others(&options, packet, n, events));
    if signs & RESERVED_BITS != 0 {
        events.reserved_bits += n;
    }
    if signs & HANDSHAKE != 0 && is_mss_refused(packet, &options, policy) {
        events.mss += n;
    }
    if excludes(signs) {
        invalid(events, Fault::Combination, n);
    }
    if packet.flags.any(TcpFlags::RST) && seen & DEFINED & !ON_RST != 0 {
        events.rst_odd += n;
    }
    // Segmentation leaves FIN on the last packet only.
    events.fin += u64::from(packet.flags.any(TcpFlags::FIN));
    signs & DEFINED
}

/// Counts the options themselves.
#[inline(always)]
fn tally(
    found: &OptionOffsets,
    seen: u32,
    n: u64,
    verifier: &impl Opaque,
    events: &mut DirectionCounters,
) {
    let last = verifier.opaque(found.last) & 15;
    if verifier.opaque(seen) == 1 << last && found.count(last as usize) == 1 {
        // One option, as nearly always.
        events.option[last as usize] += n;
        if UNASSIGNED & (1 << last) != 0 {
            events.subtype_unassigned += n;
        }
        return;
    }
    for nibble in 0..16 {
        let count = u64::from(verifier.opaque(found.count(nibble)));
        if count == 0 {
            continue;
        }
        let bit = 1 << nibble;
        events.option[nibble] += n * count;
        if UNASSIGNED & bit != 0 {
            events.subtype_unassigned += n * count;
        } else if DEFINED & bit != 0 {
            invalid_option(events, nibble as u32, Fault::Repeated, n * (count - 1));
        }
    }
    let shorts = n * u64::from(found.count(SHORTS));
    events.option_short += shorts;
    invalid(events, Fault::Short, shorts);
    match found.overrun {
        0 => {}
        NO_NIBBLE => {
            events.option_short += n;
            invalid(events, Fault::Overrun, n);
        }
        nibble => {
            let nibble = verifier.opaque(nibble).wrapping_sub(1) & 15;
            let bit = 1 << nibble;
            events.option[nibble as usize] += n;
            if UNASSIGNED & bit != 0 {
                events.subtype_unassigned += n;
            } else if DEFINED & bit != 0 {
                invalid_option(events, nibble, Fault::Overrun, n);
            }
        }
    }
}

const UNASSIGNED: u32 = 0b0111_1110_0000_0000;

const DEFINED: u32 = 0b1_1111_1111;

const HANDSHAKE: u32 = Subtype::MpCapable.bit() | Subtype::MpJoin.bit();

const ON_RST: u32 = Subtype::MpFail.bit() | Subtype::MpFastclose.bit() | Subtype::MpTcpRst.bit();

/// What the parts of the engine find: the subtypes of options that are allowed, and these. An
/// option that is not allowed is to be ignored, so it excludes no other.
const RESERVED_BITS: u32 = 1 << 16;

const CAPABLE_V1: u32 = 1 << 17;

const ADD_ADDR_V1: u32 = 1 << 18;

#[inline(always)]
fn segment(packet: &Packet, verifier: &impl Opaque) -> Segment {
    Segment {
        flags: TcpFlags(verifier.opaque(packet.flags.0.into()) as u8),
        has_payload: packet.is_fragment || verifier.opaque(packet.payload) > 0,
    }
}

/// Counts an option that is not allowed, by its subtype too.
#[inline(always)]
fn invalid_option(events: &mut DirectionCounters, nibble: u32, fault: Fault, n: u64) {
    invalid(events, fault, n);
    events.option_invalid[(nibble as usize & 15) * 8 + (fault as usize & 7)] += n;
}

#[inline(always)]
fn invalid(events: &mut DirectionCounters, fault: Fault, n: u64) {
    events.invalid[fault as usize & 7] += n;
}

/// MP_CAPABLE and MP_JOIN.
#[inline(always)]
fn handshake(
    options: &Options<'_, impl Opaque>,
    packet: &Packet,
    policy: &SynPolicy,
    n: u64,
    events: &mut DirectionCounters,
) -> u32 {
    let mut signs = 0;
    if let Some(option) = options.get(Subtype::MpCapable) {
        match MpCapable::parse(option, segment(packet, options.verifier)) {
            Err(fault) => invalid_option(events, Subtype::MpCapable as u32, fault, n),
            Ok(capable) => {
                signs |= Subtype::MpCapable.bit();
                let version = capable.version();
                if version == 1 {
                    signs |= CAPABLE_V1;
                }
                match segment(packet, options.verifier).flags.stage() {
                    Stage::Syn => capable_syn(&capable, version, policy, n, events),
                    Stage::SynAck => events.capable_synack += n,
                    Stage::Later | Stage::Impossible => {
                        events.capable_ack += n;
                        if let Some((length, checksum)) = capable.mapping() {
                            events.capable_map += n;
                            if length == 0 {
                                // As in a DSS.
                                if checksum.is_some_and(|checksum| checksum != 0) {
                                    events.dss_no_length += n;
                                } else {
                                    events.dss_infinite += n;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    signs = options.verifier.opaque(signs);
    if let Some(option) = options.get(Subtype::MpJoin) {
        match MpJoin::parse(option, segment(packet, options.verifier)) {
            Err(fault) => invalid_option(events, Subtype::MpJoin as u32, fault, n),
            Ok(join) => {
                signs |= Subtype::MpJoin.bit();
                match join.form() {
                    JoinForm::Syn => {
                        events.join_syn += n;
                        if join.backup() {
                            events.join_backup += n;
                        }
                        if join.address_id() == 0 {
                            events.join_id_0 += n;
                        }
                    }
                    JoinForm::SynAck => events.join_synack += n,
                    JoinForm::Ack => events.join_ack += n,
                }
                if join.has_reserved_bits() {
                    signs |= RESERVED_BITS;
                }
            }
        }
    }
    signs
}

#[inline(always)]
fn capable_syn(
    capable: &MpCapable<'_>,
    version: u8,
    policy: &SynPolicy,
    n: u64,
    events: &mut DirectionCounters,
) {
    events.capable_syn += n;
    if version > 1 {
        // Its flags are those of a protocol that is not known.
        events.capable_version += n;
        return;
    }
    let reserved = if version == 1 {
        events.capable_syn_v1 += n;
        CapableFlags::RESERVED_V1
    } else {
        if !policy.version_0 {
            events.capable_version += n;
        }
        CapableFlags::RESERVED_V0
    };
    let flags = capable.flags();
    if flags.any(CapableFlags::EXTENSIBILITY) {
        events.capable_extensibility += n;
    }
    if flags.any(reserved) {
        events.capable_reserved += n;
    }
    if !flags.any(CapableFlags::HMAC) {
        events.capable_crypto += n;
    }
}

/// Judges a DSS, and counts it.
#[inline(always)]
fn judge_dss(
    fields: &Dss,
    packet: &Packet,
    verifier: &impl Opaque,
    n: u64,
    events: &mut DirectionCounters,
) -> u32 {
    if let Err(fault) = fields.check(segment(packet, verifier)) {
        invalid_option(events, Subtype::Dss as u32, fault, n);
        return 0;
    }
    dss(fields, packet, n, events);
    if fields.has_reserved_bits() {
        Subtype::Dss.bit() | RESERVED_BITS
    } else {
        Subtype::Dss.bit()
    }
}

/// A DSS that is allowed.
#[inline(always)]
fn dss(fields: &Dss, packet: &Packet, n: u64, events: &mut DirectionCounters) {
    let flags = fields.flags();
    // One counter for all flags at once.
    events.dss_flags[usize::from(flags.0 & 31)] += n;
    if !flags.all(DssFlags::MAPPING) {
        return;
    }
    if fields.has_checksum() {
        events.dss_checksum += n;
    }
    let fin = flags.all(DssFlags::DATA_FIN);
    if fields.data_length == 0 {
        if fin || fields.checksum != 0 {
            events.dss_no_length += n;
        } else {
            events.dss_infinite += n;
        }
    } else {
        events.dss_partial += shorter_than(packet, fields.data_length - u32::from(fin));
    }
}

/// How many of the wire packets carry less than `length` bytes of payload.
#[inline(always)]
fn shorter_than(packet: &Packet, length: u32) -> u64 {
    if packet.is_fragment {
        return 0;
    }
    if packet.packets <= 1 {
        return u64::from(packet.payload < length);
    }
    let full = packet.packets - 1;
    let last = packet
        .payload
        .saturating_sub(packet.segment_size.saturating_mul(full));
    let full = if packet.segment_size < length {
        u64::from(full)
    } else {
        0
    };
    full + u64::from(last < length)
}

/// The options of an established session.
#[inline(always)]
fn others(
    options: &Options<'_, impl Opaque>,
    packet: &Packet,
    n: u64,
    events: &mut DirectionCounters,
) -> u32 {
    let mut signs = 0;
    if let Some(option) = options.get(Subtype::AddAddr) {
        match AddAddr::parse(option, segment(packet, options.verifier)) {
            Err(fault) => invalid_option(events, Subtype::AddAddr as u32, fault, n),
            Ok(add_addr) => {
                if add_addr.is_echo() {
                    events.add_addr_echo += n;
                } else {
                    events.add_addr += n;
                }
                if add_addr.has_port() {
                    events.add_addr_port += n;
                }
                signs |= Subtype::AddAddr.bit();
                if add_addr.is_v1() {
                    signs |= ADD_ADDR_V1;
                }
                if add_addr.has_reserved_bits() {
                    signs |= RESERVED_BITS;
                }
            }
        }
    }
    signs = options.verifier.opaque(signs);
    if let Some(option) = options.get(Subtype::RemoveAddr) {
        match RemoveAddr::parse(option, segment(packet, options.verifier)) {
            Err(fault) => invalid_option(events, Subtype::RemoveAddr as u32, fault, n),
            Ok(remove_addr) => {
                signs |= Subtype::RemoveAddr.bit();
                events.remove_addr += n;
                if remove_addr.has_reserved_bits() {
                    signs |= RESERVED_BITS;
                }
            }
        }
    }
    signs = options.verifier.opaque(signs);
    if let Some(option) = options.get(Subtype::MpPrio) {
        match MpPrio::parse(option, segment(packet, options.verifier)) {
            Err(fault) => invalid_option(events, Subtype::MpPrio as u32, fault, n),
            Ok(prio) => {
                signs |= Subtype::MpPrio.bit();
                if prio.backup() {
                    events.prio_backup += n;
                } else {
                    events.prio_clear += n;
                }
                if prio.has_reserved_bits() {
                    signs |= RESERVED_BITS;
                }
            }
        }
    }
    signs = options.verifier.opaque(signs);
    if let Some(option) = options.get(Subtype::MpFail) {
        match MpFail::parse(option, segment(packet, options.verifier)) {
            Err(fault) => invalid_option(events, Subtype::MpFail as u32, fault, n),
            Ok(fail) => {
                events.fail += n;
                signs |= Subtype::MpFail.bit() | reserved(fail.has_reserved_bits());
            }
        }
    }
    signs = options.verifier.opaque(signs);
    if let Some(option) = options.get(Subtype::MpFastclose) {
        match MpFastclose::parse(option, segment(packet, options.verifier)) {
            Err(fault) => invalid_option(events, Subtype::MpFastclose as u32, fault, n),
            Ok(fastclose) => {
                events.fastclose += n;
                signs |= Subtype::MpFastclose.bit() | reserved(fastclose.has_reserved_bits());
            }
        }
    }
    signs = options.verifier.opaque(signs);
    if let Some(option) = options.get(Subtype::MpTcpRst) {
        match MpTcpRst::parse(option, segment(packet, options.verifier)) {
            Err(fault) => invalid_option(events, Subtype::MpTcpRst as u32, fault, n),
            Ok(rst) => {
                signs |= Subtype::MpTcpRst.bit();
                events.tcprst += n;
                let reason = usize::from(rst.reason());
                events.tcprst_reason[if reason > 6 { 7 } else { reason }] += n;
                if rst.is_transient() {
                    events.tcprst_transient += n;
                }
            }
        }
    }
    signs
}

/// [`RESERVED_BITS`] where there are any.
#[inline(always)]
fn reserved(has_reserved_bits: bool) -> u32 {
    if has_reserved_bits { RESERVED_BITS } else { 0 }
}

/// Is the MSS of this SYN or SYN/ACK malformed, 0 or below the limit?
#[inline(always)]
fn is_mss_refused(packet: &Packet, options: &Options<'_, impl Opaque>, policy: &SynPolicy) -> bool {
    if !matches!(packet.flags.stage(), Stage::Syn | Stage::SynAck) {
        return false;
    }
    let min = if packet.ipv6 {
        policy.min_mss_v6
    } else {
        policy.min_mss_v4
    };
    let mss = options.mss(DEFAULT_MSS[usize::from(packet.ipv6)]);
    mss == 0 || mss < min
}

/// Do options that are allowed, each by itself, exclude each other?
///
/// RFC 8684 sections 3.1 and 3.2 (MP_CAPABLE with MP_JOIN), 3.5 and 3.7; and what the lengths
/// leave no room for or the Linux sender never combines.
#[inline(always)]
fn excludes(signs: u32) -> bool {
    const CAPABLE: u32 = Subtype::MpCapable.bit();
    const JOIN: u32 = Subtype::MpJoin.bit();
    const DSS: u32 = Subtype::Dss.bit();
    const ADD: u32 = Subtype::AddAddr.bit();
    const FAIL: u32 = Subtype::MpFail.bit();
    const CLOSE: u32 = Subtype::MpFastclose.bit();
    const RST: u32 = Subtype::MpTcpRst.bit();
    let seen = signs & DEFINED;
    let capable_v1 = signs & CAPABLE_V1 != 0;
    let add_v1 = signs & ADD_ADDR_V1 != 0;
    (seen & CAPABLE != 0 && seen & JOIN != 0)
        || (seen & CLOSE != 0 && seen & !(CLOSE | RST | DSS) != 0)
        || (seen & FAIL != 0 && seen & !(FAIL | DSS | RST) != 0)
        || (capable_v1 && seen & (DSS | ADD) != 0)
        || (add_v1 && seen & JOIN != 0)
}

/// Counts what the options of a packet say by themselves, whichever they are.
#[inline(always)]
pub fn examine(stages: &impl Stages, policy: &SynPolicy) {
    let work = stages.work();
    let route = &work.route;
    let seen = stages.opaque(route.seen.get());
    let mut events = stages.events(route.direction.get());
    let valid = count(work, seen, policy, stages, &mut events);
    route.valid.set(valid);
}
