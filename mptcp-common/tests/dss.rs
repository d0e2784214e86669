//! The fast path of a lone DSS (`Dss::read_in_place`) and the walk over all options: on areas that
//! are right, on those that are nearly right, and on any. Each has to say what the other says.

mod random;

use mptcp_common::{
    engine,
    packet::Work,
    verifier::Plain,
    wire::{
        Area, Dss, DssFlags, KIND_EOL, KIND_MPTCP, KIND_NOP, MAX_OPTIONS, RawOption, Segment,
        Subtype, TcpFlags, walk,
    },
};

use random::Random;

const AREAS: u32 = 10_000_000;

/// Where a DSS stands that has a timestamp in front of it.
const BEHIND_TIMESTAMP: u32 = 12;
const TIMESTAMP: [u8; 4] = [KIND_NOP, KIND_NOP, 8, 10];

/// A number below `end`.
fn below(random: &mut Random, end: u64) -> usize {
    (((random.next() >> 32) * end) >> 32) as usize
}

/// An option area: 40 bytes, of which those behind its length are left over from earlier packets.
#[derive(Debug)]
struct Bytes {
    bytes: [u8; MAX_OPTIONS],
    /// A multiple of 4, as a TCP header has it.
    length: u32,
}

impl Bytes {
    fn any(random: &mut Random) -> Self {
        let mut bytes = [0; MAX_OPTIONS];
        for word in bytes.chunks_exact_mut(8) {
            word.copy_from_slice(&random.next().to_ne_bytes());
        }
        let length = 4 * below(random, 11) as u32;
        Self { bytes, length }
    }

    /// A timestamp or not, a DSS with any flags that fits them, and what fills it up.
    fn right(random: &mut Random) -> Self {
        let mut area = Self::any(random);
        let mut at = 0;
        if below(random, 2) == 0 {
            area.bytes[..4].copy_from_slice(&TIMESTAMP);
            at = BEHIND_TIMESTAMP as usize;
        }
        let mut flags = DssFlags(below(random, 32) as u8);
        if !flags.all(DssFlags::MAPPING) {
            flags.0 &= !DssFlags::DATA_FIN;
        }
        let mut length = flags.option_length() as usize;
        if flags.all(DssFlags::MAPPING) && below(random, 2) == 0 {
            length += 2;
        }
        let head = [KIND_MPTCP, length as u8, (Subtype::Dss as u8) << 4, flags.0];
        area.bytes[at..at + 4].copy_from_slice(&head);
        let end = at + length;
        area.length = end.next_multiple_of(4) as u32;
        area.bytes[end..area.length as usize].fill(KIND_NOP);
        area
    }

    /// The same with something in it changed, or nothing.
    fn nearly_right(random: &mut Random) -> Self {
        let mut area = Self::right(random);
        let dss = if area.bytes.starts_with(&TIMESTAMP) {
            BEHIND_TIMESTAMP as usize
        } else {
            0
        };
        let any = random.next() as u8;
        let last = (area.length as usize).saturating_sub(1);
        match below(random, 8) {
            // Lengths, of the option and of the area.
            0 => area.bytes[dss + 1] = area.bytes[dss + 1] + any % 9 - 4,
            1 => {
                let length = area.length + 4 * u32::from(any % 3);
                area.length = length.saturating_sub(4).min(40);
            }
            // Flags, and what is reserved among them.
            2 => area.bytes[dss + 2 + usize::from(any & 1)] ^= 1 << (any >> 5),
            // What fills it up, or the checksum's place.
            3 => area.bytes[last - usize::from(any & 1)] = any >> 6,
            // What stands in front of it.
            4 => area.bytes[usize::from(any & 3)] ^= 1 << (any >> 5),
            5 => area.bytes[below(random, 40)] = any,
            6 => {
                area.bytes[below(random, 40)] =
                    [KIND_EOL, KIND_NOP, 8, KIND_MPTCP][below(random, 4)];
            }
            _ => {}
        }
        area
    }
}

/// What the walk says of an area.
#[derive(Debug, Default)]
struct Walked {
    /// Kind and place of the options, NOPs left out; only the first two.
    options: [Option<(u8, u32)>; 2],
    count: usize,
    /// The numbers of the last DSS.
    dss: Dss,
}

impl Walked {
    fn new(area: &Area, length: u32) -> Self {
        let mut walked = Self::default();
        let mut see = |option: &RawOption<'_>| {
            if let Some(place) = walked.options.get_mut(walked.count) {
                *place = Some((option.kind(), option.at()));
            }
            walked.count += 1;
            if option.kind() == KIND_MPTCP && option.subtype() == Subtype::Dss as u8 {
                walked.dss = Dss::read(option);
            }
        };
        walk(area, length, &Plain, &mut see);
        walked
    }

    /// The numbers of the area's DSS if that is alone, in one of the forms that the fast path is for.
    fn lone_dss(&self, bytes: &Bytes) -> Option<Dss> {
        let at = match self.options {
            [Some((KIND_MPTCP, 0)), None] => 0,
            [Some((8, 2)), Some((KIND_MPTCP, BEHIND_TIMESTAMP))] if self.count == 2 => {
                BEHIND_TIMESTAMP
            }
            _ => return None,
        };
        let end = at + self.dss.option_length();
        let is_filled = end.next_multiple_of(4) == bytes.length
            && bytes.bytes[end as usize..bytes.length as usize]
                .iter()
                .all(|byte| *byte == KIND_NOP);
        // Of an option that is no DSS the numbers are 0, a length among them that is none.
        (is_filled && self.dss.check(later()).is_ok() && !self.dss.has_reserved_bits())
            .then_some(self.dss)
    }
}

/// A segment behind the handshake.
fn later() -> Segment {
    Segment {
        flags: TcpFlags(TcpFlags::ACK),
        has_payload: true,
    }
}

#[test]
fn a_lone_dss_is_the_same_by_the_short_way_and_by_the_walk() {
    let mut random = Random(1);
    // By the timestamp, the flags and the checksum.
    let mut forms = [0_u32; 2 * 32 * 2];
    let mut others = 0_u32;
    let mut work = Work::default();
    for number in 0..AREAS {
        let bytes = match number % 4 {
            0 => Bytes::any(&mut random),
            _ => Bytes::nearly_right(&mut random),
        };
        let area = Area::from_bytes(&bytes.bytes);
        let short = Dss::read_in_place(|index| area.word(index), bytes.length);
        let walked = Walked::new(&area, bytes.length);
        assert_eq!(short, walked.lone_dss(&bytes), "{bytes:x?} {walked:?}");
        let Some(dss) = short else {
            others += 1;
            continue;
        };
        work.area = area;
        work.packet.options = bytes.length;
        engine::walk(&mut work, &Plain);
        assert_eq!(work.route.seen.get(), Subtype::Dss.bit(), "{bytes:x?}");
        assert_eq!(work.dss, dss, "{bytes:x?}");
        let is_behind = usize::from(bytes.bytes.starts_with(&TIMESTAMP));
        let has_checksum = usize::from(dss.has_checksum());
        forms[is_behind * 64 + usize::from(dss.flags().0) * 2 + has_checksum] += 1;
    }
    // Neither way may rot to "never": 8 forms without a mapping and 32 with one, each with and
    // without a timestamp.
    let seen = forms.iter().filter(|count| **count > 10_000).count();
    assert_eq!(seen, 80, "{forms:?}");
    assert!(others > AREAS / 4, "{others}");
}
