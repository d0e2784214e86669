//! Numbers that look random, for tests that try many things.

use std::collections::VecDeque;

/// Pseudo-random numbers, the same in each run (splitmix64).
#[derive(Debug)]
pub struct Numbers {
    state: u64,
    /// Bytes that numbers are made of first.
    given: VecDeque<u8>,
}

impl Numbers {
    /// Those of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed,
            given: VecDeque::new(),
        }
    }

    /// Those that bytes say: one each where it is enough. Behind them, those of seed 0.
    pub fn given(bytes: &[u8]) -> Self {
        Self {
            state: 0,
            given: bytes.iter().copied().collect(),
        }
    }

    /// Are there given ones left?
    pub fn has_given(&self) -> bool {
        !self.given.is_empty()
    }

    /// Any.
    #[expect(
        clippy::should_implement_trait,
        reason = "it never ends, and is no iterator"
    )]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        let number = match self.given.pop_front() {
            Some(low) if end > 256 => {
                let high = self.given.pop_front().unwrap_or_default();
                u64::from(high) << 8 | u64::from(low)
            }
            Some(byte) => byte.into(),
            None => self.next(),
        };
        number % end
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
