//! The program in the kernel and the decoder on the host say the same of every option area.

use anyhow::{Result, ensure};
use mptcp_common::{counter::Counters, packet::Buffer, wire::Fault};
use mptcp_tests::{
    frame::{ACK, FIN, Frame, RST, SYN, SYN_ACK},
    kernel::{self, Kernel, Program},
    numbers::Numbers,
    options::agree,
};
use mptcp_user::offline::{Config, Offline, Scope};

/// The programs in the kernel, and the same engine over ordinary memory.
struct Both {
    kernel: Kernel,
    offline: Offline,
    before: Counters,
}

impl Both {
    /// Of programs that follow flows, and of those that do not, which read a lone DSS in place.
    fn all() -> Result<[Self; 2]> {
        let of = |is_tracking| -> Result<Self> {
            let scope = Scope {
                is_tracking,
                ..kernel::host().scope
            };
            let config = Config {
                scope,
                ..kernel::host()
            };
            Ok(Self {
                kernel: Kernel::with(config)?,
                offline: Offline::new(config),
                before: Counters::default(),
            })
        };
        Ok([of(true)?, of(false)?])
    }

    /// What the engine counts of a frame that comes in.
    fn expected(&mut self, frame: &[u8]) -> Counters {
        let one = Buffer {
            queue: 1,
            ..Buffer::ONE
        };
        self.offline.frame(frame, one, kernel::START);
        let now = self.offline.counters();
        let counted = now.since(&self.before);
        self.before = now;
        counted
    }
}

/// Compares kernel, engine and decoder over one option area, a multiple of 4 bytes.
fn compare(all: &mut [Both; 2], flags: u8, options: &[u8], payload: usize) -> Result<()> {
    for both in all {
        compare_one(both, flags, options, payload)?;
    }
    Ok(())
}

fn compare_one(both: &mut Both, flags: u8, options: &[u8], payload: usize) -> Result<()> {
    let ipv6 = options.len().is_multiple_of(8);
    let frame = Frame {
        ipv6,
        ..Frame::new(flags, options, payload)
    }
    .bytes();
    let counted = both.kernel.run(Program::XdpIngress, &frame)?;
    let wanted = both.expected(&frame);
    let events = wanted.rx;
    ensure!(
        counted == wanted,
        "flags {flags:#x}, payload {payload}, options {options:02x?}\nkernel {counted:#?}\nhost \
         {wanted:#?}"
    );
    // By subtype too: all but those without one, and those between options.
    let by_subtype: u64 = events.option_invalid.iter().sum();
    let short = events.invalid[Fault::Short as usize] + events.invalid[Fault::Combination as usize];
    let all: u64 = events.invalid.iter().sum();
    ensure!(
        by_subtype + short == all || events.option_short > 0,
        "{by_subtype} by subtype, {short} without, {all} in all: {options:02x?}"
    );
    for (i, count) in events.option_invalid.iter().enumerate() {
        ensure!(*count <= events.option[i / 8], "{options:02x?}");
    }
    agree(&events, flags, payload > 0, options)
}

/// NOP, NOP, timestamp: what nearly every option area begins with.
const TIMESTAMP: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];

/// Segments that an option can stand on.
const SEGMENTS: [(u8, usize); 10] = [
    (SYN, 0),
    (SYN_ACK, 0),
    (ACK, 0),
    (ACK, 7),
    (ACK, 100),
    (FIN | ACK, 100),
    (RST, 0),
    (RST | ACK, 3),
    (SYN | RST, 0),
    (FIN, 1),
];

#[test]
fn every_subtype_length_and_truncation() -> Result<()> {
    let mut all = Both::all()?;
    let mut numbers = Numbers::new(1);
    for subtype in 0..16_u8 {
        for length in 2..=40_u8 {
            for end in (4..=40).step_by(4) {
                for (flags, payload) in SEGMENTS {
                    // Where the option starts; flags and fields at random, often few bits.
                    let at = numbers.below(4) as usize;
                    let mut options = vec![1; at];
                    options.extend([30, length, subtype << 4 | numbers.byte() & 0x0f]);
                    options.push(numbers.byte() & numbers.byte());
                    while options.len() < at + usize::from(length) {
                        options.push(numbers.byte() & numbers.byte() & numbers.byte());
                    }
                    options.resize(options.len().max(end), 0);
                    options.truncate(end);
                    compare(&mut all, flags, &options, payload)?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn every_byte_of_flags_of_a_dss_in_every_length() -> Result<()> {
    let mut all = Both::all()?;
    for flags in 0..=255_u8 {
        for length in 2..=40_u8 {
            for (start, fill, payload) in [(0, 0, 9), (0, 1, 100), (TIMESTAMP.len(), 1, 100)] {
                let mut options = TIMESTAMP[..start].to_vec();
                options.extend([30, length, 0x20, flags]);
                options.resize(start + usize::from(length).next_multiple_of(4), fill);
                options.truncate(40);
                compare(&mut all, ACK, &options, payload)?;
            }
        }
    }
    Ok(())
}

#[test]
fn options_at_random() -> Result<()> {
    let mut all = Both::all()?;
    let mut numbers = Numbers::new(2);
    for _ in 0..60_000 {
        let end = 4 + numbers.below(10) as usize * 4;
        let mut options = Vec::new();
        while options.len() < end {
            match numbers.below(8) {
                0 => options.push(numbers.byte()),
                1 => options.push(1),
                2 => options.extend([2, 4, numbers.byte() & 7, numbers.byte()]),
                _ => {
                    // Of the lengths that exist, or near them.
                    const LENGTHS: [u8; 16] =
                        [2, 3, 4, 4, 5, 8, 8, 10, 12, 12, 12, 16, 18, 20, 24, 26];
                    let length = LENGTHS[numbers.below(16) as usize];
                    options.extend([30, length, numbers.byte() & 0xaf, numbers.byte() & 0x1f]);
                    for _ in 4..length {
                        options.push(numbers.byte() & numbers.byte());
                    }
                }
            }
        }
        if numbers.below(4) == 0 {
            options.splice(0..0, TIMESTAMP);
        }
        options.truncate(end);
        let (flags, payload) = SEGMENTS[numbers.below(10) as usize];
        compare(&mut all, flags, &options, payload)?;
    }
    Ok(())
}
