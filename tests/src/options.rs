//! Option areas, judged three times: by the engine, by the decoder on the host, and by the tables of
//! RFC 8684 and RFC 6824 as they stand in this file.

use anyhow::{Result, ensure};
use mptcp_common::{
    counter::DirectionCounters,
    wire::{self, Area, Fault, Mptcp, Segment, TcpFlags},
};

use crate::frame::{ACK, RST, SYN};

/// What stands in an option area, by a walk that goes byte after byte.
#[derive(Debug, Default)]
struct Walked<'a> {
    /// Options of kind 30 that fit the area.
    whole: Vec<&'a [u8]>,
    /// One that runs past the end, from its kind byte on.
    overrun: Option<&'a [u8]>,
}

fn walked(mut area: &[u8]) -> Walked<'_> {
    let mut walked = Walked::default();
    while let [kind, behind @ ..] = area {
        match (*kind, behind.first()) {
            (0, _) => break,
            (1, _) => area = behind,
            (kind, Some(length)) if *length >= 2 && usize::from(*length) <= area.len() => {
                let (option, rest) = area.split_at(usize::from(*length));
                if kind == 30 {
                    walked.whole.push(option);
                }
                area = rest;
            }
            (kind, _) => {
                walked.overrun = (kind == 30).then_some(area);
                break;
            }
        }
    }
    walked
}

/// Is an option of a defined subtype one that the RFCs have on such a segment?
fn is_allowed(option: &[u8], flags: u8, has_payload: bool) -> bool {
    let [_, length, third, ref rest @ ..] = *option else {
        return false;
    };
    let (nibble, fourth) = (third & 15, rest.first().copied().unwrap_or_default());
    let (syn, ack, rst) = (flags & SYN != 0, flags & ACK != 0, flags & RST != 0);
    let on_syn = syn && !ack && !rst;
    let on_syn_ack = syn && ack && !rst;
    match third >> 4 {
        0 if on_syn => match nibble {
            0 => length == 12,
            1 => length == 4,
            _ => length >= 4,
        },
        0 if on_syn_ack => nibble < 2 && length == 12,
        0 => {
            let data = nibble == 1 && has_payload && (length == 22 || length == 24);
            !syn && ack && nibble < 2 && (length == 20 || data)
        }
        1 if on_syn => length == 12,
        1 if on_syn_ack => length == 16,
        1 => !syn && ack && length == 24,
        2 => {
            let [_, _, _, ref fields @ ..] = *option else {
                return false;
            };
            let ack_length = [0, 4, 0, 8][usize::from(fourth & 3)];
            let map_length = [0, 10, 0, 14][usize::from(fourth >> 2 & 3)];
            let exact = 4 + ack_length + map_length;
            let has_map = map_length != 0;
            let fits = length == exact || (has_map && length == exact + 2);
            !syn && !fields.is_empty() && fits && (has_map || fourth & 16 == 0)
        }
        3 => {
            let is_echo = nibble & 1 != 0;
            let fits = match length {
                16 | 18 | 28 | 30 => !is_echo,
                8 | 10 => is_echo || nibble == 4,
                20 | 22 => is_echo || nibble == 6,
                _ => false,
            };
            !syn && fits
        }
        4 => !syn && length >= 4,
        5 => !syn && (length == 3 || length == 4),
        6 | 7 => !syn && (ack || rst) && length == 12,
        8 => !syn && rst && length == 4,
        _ => true,
    }
}

/// Do engine and decoder agree with what is written here? `events` is what the engine counted of a
/// segment with this option area.
///
/// # Errors
/// In what they differ.
pub fn agree(
    events: &DirectionCounters,
    flags: u8,
    has_payload: bool,
    options: &[u8],
) -> Result<()> {
    let found = walked(options);
    let mut subtypes = [0; 16];
    let (mut faults, mut repeated, mut short) = (0, 0, 0);
    for option in &found.whole {
        let Some(third) = option.get(2) else {
            short += 1;
            continue;
        };
        let nibble = usize::from(third >> 4);
        subtypes[nibble] += 1;
        if nibble > 8 {
            continue;
        }
        if subtypes[nibble] > 1 {
            repeated += 1;
        } else if !is_allowed(option, flags, has_payload) {
            faults += 1;
        }
    }
    let mut overrun = 0;
    if let Some(option) = found.overrun {
        let length = option.get(1).copied().unwrap_or_default();
        match option.get(2) {
            _ if length < 3 => short += 1,
            None => overrun += 1,
            Some(third) => {
                let nibble = usize::from(third >> 4);
                subtypes[nibble] += 1;
                overrun += u64::from(nibble < 9);
            }
        }
    }
    let invalid = |fault: Fault| events.invalid[fault as usize];
    let by_itself = [Fault::Length, Fault::Flags, Fault::Segment, Fault::Version];
    let judged: u64 = by_itself.into_iter().map(invalid).sum();
    for (what, engine, wanted) in [
        ("wrong by itself", judged, faults),
        ("repeated", invalid(Fault::Repeated), repeated),
        ("short", invalid(Fault::Short), short),
        ("overrun", invalid(Fault::Overrun), overrun),
    ] {
        ensure!(
            engine == wanted,
            "{what}: engine {engine}, by the RFC {wanted}: {options:02x?}, flags {flags:#x}"
        );
    }
    ensure!(
        events.option == subtypes,
        "engine {:?}, by the RFC {subtypes:?}: {options:02x?}",
        events.option
    );
    decoder(events, flags, has_payload, options)
}

/// The same of the decoder on the host.
fn decoder(events: &DirectionCounters, flags: u8, has_payload: bool, options: &[u8]) -> Result<()> {
    // It knows no other options of the segment, so that it never sees what is between them.
    let mut faults = [0; 8];
    let segment = Segment {
        flags: TcpFlags(flags),
        has_payload,
    };
    let mut first = [true; 16];
    let area = Area::from_bytes(options);
    wire::decode(&area, options.len(), segment, |result| {
        if let Err(error) = result {
            // The engine judges only the first option of a subtype; the next is a repetition.
            let repeated = error.fault != Fault::Overrun
                && error
                    .subtype
                    .is_some_and(|nibble| !first[usize::from(nibble)]);
            faults[error.fault as usize] += u64::from(!repeated);
            if let Some(nibble) = error.subtype {
                first[usize::from(nibble)] = false;
            }
        } else if let Ok(option) = result {
            first[usize::from(nibble(&option))] = false;
        }
    });
    for fault in Fault::ALL.into_iter().take(6) {
        let (decoder, engine) = (faults[fault as usize], events.invalid[fault as usize]);
        ensure!(
            decoder == engine,
            "{fault:?}: decoder {decoder}, engine {engine}: {options:02x?}"
        );
    }
    Ok(())
}

fn nibble(option: &Mptcp<'_>) -> u8 {
    match option {
        Mptcp::MpCapable(_) => 0,
        Mptcp::MpJoin(_) => 1,
        Mptcp::Dss(_) => 2,
        Mptcp::AddAddr(_) => 3,
        Mptcp::RemoveAddr(_) => 4,
        Mptcp::MpPrio(_) => 5,
        Mptcp::MpFail(_) => 6,
        Mptcp::MpFastclose(_) => 7,
        Mptcp::MpTcpRst(_) => 8,
        Mptcp::Experimental => 15,
        Mptcp::Unassigned(nibble) => *nibble,
    }
}
