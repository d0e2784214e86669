//! Packets of a buffer of several (GSO, GRO): each counts as it would on the wire.

use crate::{packet::segment::Packet, wire::after};

impl Packet {
    /// Returns how many of its packets end at or before this sequence number.
    #[inline(always)]
    pub(crate) fn packets_before(&self, number: u32) -> u32 {
        if !after(self.sequence.wrapping_add(self.payload), number) {
            return self.packets;
        }
        if self.packets <= 1 || !after(number, self.sequence) {
            return 0;
        }
        number.wrapping_sub(self.sequence) / self.segment_size.max(1)
    }

    /// Returns how many of its packets have bytes behind the first `length` bytes of payload.
    #[inline(always)]
    pub(crate) fn packets_behind(&self, length: u32) -> u32 {
        if length >= self.payload {
            return 0;
        }
        if self.packets <= 1 {
            return 1;
        }
        self.packets
            .saturating_sub(length / self.segment_size.max(1))
    }

    /// Returns how many packets the first `length` bytes of its payload are, 1 or more of them.
    #[inline(always)]
    pub(crate) fn packets_of(&self, length: u32) -> u32 {
        if length >= self.payload || self.packets <= 1 {
            return self.packets;
        }
        length.div_ceil(self.segment_size.max(1))
    }
}

/// Returns how many of `packets` packets of `size` bytes, the first of which begins with the data sequence number
/// `start`, begin in the `length` numbers from `first` on.
#[inline(always)]
pub(crate) fn packets_from(start: u64, size: u32, packets: u32, first: u64, length: u32) -> u32 {
    let first = first.wrapping_sub(start);
    let behind = first.wrapping_add(length.into());
    packets_before(size, packets, behind).saturating_sub(packets_before(size, packets, first))
}

/// Returns how many packets begin before this offset, negative where its highest bit is set.
#[inline(always)]
fn packets_before(size: u32, packets: u32, offset: u64) -> u32 {
    if offset as i64 <= 0 {
        return 0;
    }
    // A buffer is far shorter.
    if packets <= 1 || offset > u64::from(u32::MAX >> 1) {
        return packets;
    }
    (offset as u32).div_ceil(size.max(1)).min(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The packets of a buffer, each by its first byte and its end.
    fn cut(packet: &Packet) -> impl Iterator<Item = (u32, u32)> {
        (0..packet.packets).map(|i| {
            let start = i * packet.segment_size;
            (start, (start + packet.segment_size).min(packet.payload))
        })
    }

    #[test]
    fn they_count_as_their_packets_do() {
        for payload in 1..40 {
            for size in 1..=payload {
                let packet = Packet {
                    payload,
                    packets: payload.div_ceil(size),
                    segment_size: size,
                    sequence: 0xffff_fff0,
                    ..Packet::default()
                };
                let count = |is: &dyn Fn(u32, u32) -> bool| {
                    cut(&packet).filter(|(start, end)| is(*start, *end)).count() as u32
                };
                for length in 0..45 {
                    let number = packet.sequence.wrapping_add(length);
                    assert_eq!(
                        packet.packets_before(number),
                        count(&|_, end| end <= length)
                    );
                    assert_eq!(packet.packets_behind(length), count(&|_, end| end > length));
                    if length > 0 {
                        let expected = count(&|start, _| start < length);
                        assert_eq!(packet.packets_of(length), expected);
                    }
                    for first in -5_i64..45 {
                        let start = 1 << 33;
                        let found = packets_from(
                            start,
                            size,
                            packet.packets,
                            start.wrapping_add_signed(first),
                            length,
                        );
                        let expected = count(&|at, _| {
                            i64::from(at) >= first && i64::from(at) < first + i64::from(length)
                        });
                        assert_eq!(found, expected, "{payload} {size} {first} {length}");
                    }
                }
            }
        }
    }
}
