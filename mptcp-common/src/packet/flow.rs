//! What a connection is known by.

/// Two ends of a TCP connection, the lesser first, so that both directions have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FlowKey {
    /// Address of the first end (two words, as in memory; IPv4 as `::ffff:a.b.c.d`), of the second
    /// end, and the ports: the first in the lower half of the lower 32 bits.
    pub words: [u64; 5],
}

impl FlowKey {
    /// Sets the addresses, in the order of `words`.
    #[inline(always)]
    pub fn set_addresses(&mut self, addresses: [u64; 4]) {
        for (word, address) in self.words.iter_mut().zip(addresses) {
            *word = address;
        }
    }

    /// Is the first end the greater one, which stands second in a key?
    #[inline(always)]
    pub fn is_reversed(&self) -> bool {
        let [high, low, other_high, other_low, ports] = self.words;
        if high != other_high {
            high > other_high
        } else if low != other_low {
            low > other_low
        } else {
            ports as u16 > (ports >> 16) as u16
        }
    }

    /// Is it of IPv4? (No host has an address of IPv6 that stands for one of IPv4.)
    pub fn is_ipv4(&self) -> bool {
        const MAPPED: u64 = 0xffff_0000;
        self.words[0] == 0 && self.words[1] & u64::from(u32::MAX) == MAPPED
    }

    /// With the ends the other way round.
    #[inline(always)]
    pub fn reversed(&self) -> Self {
        let [a, b, c, d, ports] = self.words;
        let ports = (ports as u32).rotate_left(16);
        Self {
            words: [c, d, a, b, ports.into()],
        }
    }
}
