//! What a flow is known by: its tag, and its place in the filter.
//!
//! Who opens connections may choose their addresses and ports, and must not be able to choose what they share with
//! those of others. So nothing of a flow meets anything else of it before a secret was multiplied by it. Both are the
//! same in both directions: a number is made of each end, and the two are multiplied. (Of a sum, `{a, b}` and
//! `{a + 1, b - 1}` have the same under every secret; of ports and addresses by themselves, an address has the port
//! of the other.)
//!
//! Of two flows that differ in any way, whoever chose them without knowing the secrets:
//!
//! - the **places** agree in n leading bits for two in 2^n secrets, and in at most one of 2^15 more. The latter only of
//!   pairs that differ in the highest bits of several numbers at once; nearly all others have less than one in 2^29.
//! - the upper halves of the **tags**, of other secrets, agree for less than one in 2^28.

use bytemuck::{Pod, Zeroable};

use crate::{packet::flow::FlowKey, table};

/// The secret numbers that flows and tokens are hashed with.
pub trait Secrets {
    /// The one at this place in [`Hashing`].
    fn secret(&self, which: usize) -> u64;
    /// A number multiplied by a secret, in the number's own register.
    #[inline(always)]
    fn times(number: u64, secret: u64) -> u64 {
        number.wrapping_mul(secret)
    }
    /// The same of the sum.
    #[inline(always)]
    fn plus(number: u64, secret: u64) -> u64 {
        number.wrapping_add(secret)
    }
}

/// Their places. What is multiplied by is odd.
const PLACE_FACTOR: usize = 0;

const PLACE_OFFSET: usize = 1;

const FACTOR: usize = 2;

const PORT_FACTOR: usize = 3;

const OFFSET: usize = 4;

const HIGH_OFFSET: usize = 5;

const LOW_OFFSET: usize = 6;

const TOKEN_FACTOR: usize = 7;

/// How many there are.
pub const SECRETS: usize = 8;

/// Secrets, and behind them the filter's [`cell_shift`](table::cell_shift): constants of the programs that each packet
/// needs, side by side so that one address is enough.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Hashing {
    secrets: [u64; SECRETS],
    cell_shift: u64,
}

impl Hashing {
    /// Of a seed (splitmix64), for a filter with this shift.
    pub fn new(seed: u64, cell_shift: u32) -> Self {
        let mut state = seed;
        let secrets = core::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            (word ^ word >> 31) | 1
        });
        Self {
            secrets,
            cell_shift: cell_shift.into(),
        }
    }

    /// As plain numbers.
    pub fn words(self) -> [u64; SECRETS + 1] {
        bytemuck::cast(self)
    }
}

impl core::fmt::Debug for Hashing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Hashing").finish_non_exhaustive()
    }
}

impl Secrets for Hashing {
    #[inline(always)]
    fn secret(&self, which: usize) -> u64 {
        self.secrets[which]
    }
}

/// The ends of a flow: what [`FlowKey`] has, with the ports by themselves, and who has which address in a word.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// As the first four words of a [`FlowKey`].
    pub addresses: [u64; 4],
    /// The ports, as in memory.
    pub ports: [u64; 2],
    /// Is it IPv6's? Of an address of IPv4 only the upper half of the lower word says something.
    pub ipv6: bool,
}

impl Ends {
    /// Those of a flow.
    #[inline(always)]
    pub fn of(flow: &FlowKey, ipv6: bool) -> Self {
        let [source_high, source, destination_high, destination, ports] = flow.words;
        Self {
            addresses: [source_high, source, destination_high, destination],
            ports: [ports & 0xffff, ports >> 16],
            ipv6,
        }
    }

    /// What `end` makes of each end, its address (two words) and its port: multiplied.
    #[inline(always)]
    fn product(&self, end: impl Fn(u64, u64, u64) -> u64) -> u64 {
        let [source_high, source, destination_high, destination] = self.addresses;
        end(source_high, source, self.ports[0]).wrapping_mul(end(
            destination_high,
            destination,
            self.ports[1],
        ))
    }
}

/// What begins with the number of a flow's cell in a filter, as the [`place`](table::place) of its tag. It is for
/// every packet, and so costs as little as can be.
///
/// Of IPv4, (factor · address + port + offset) of each end, by the product's own factor: as a polynomial in secrets it
/// says which addresses there are, which ports, and which has which. Differences are of 32 bits, so that no two of them
/// make 0 modulo 2^64. Those of IPv6 are of 64: the highest bits of a product depend on the highest bits of a word
/// alone, of which two could cancel (in both words) or make 0 (of both ends). So both come down to lower bits, each in
/// its own way.
#[inline(always)]
pub fn flow_place<S: Secrets>(secrets: &S, ends: &Ends) -> u64 {
    let factor = secrets.secret(PLACE_FACTOR);
    let offset = secrets.secret(PLACE_OFFSET);
    let end = |high: u64, low: u64, port: u64| {
        let sum = if ends.ipv6 {
            let low = S::times(low, factor).swap_bytes();
            let address = low.wrapping_add(S::times(high, offset) >> 32);
            address.wrapping_add(S::times(port, factor))
        } else {
            S::times(low >> 32, factor).wrapping_add(port)
        };
        S::plus(sum, offset)
    };
    S::times(ends.product(end), offset)
}

/// The tag of a flow, the same in both directions. Its lower half begins as its [`flow_place`]. Nothing is known of the
/// upper half by that: it is what [`flow_place`] is, of other secrets, of the upper half of each end's sum.
#[inline(always)]
pub fn flow_tag<S: Secrets>(secrets: &S, ends: &Ends) -> u64 {
    let place = flow_place(secrets, ends) >> 32;
    let halves = |word: u64| (word & u64::from(u32::MAX)).wrapping_mul(word >> 32);
    // Secrets are loaded where they are needed: in the kernel, that takes less than to keep them.
    let end = |high: u64, low: u64, port: u64| {
        let address = if ends.ipv6 {
            let high = halves(S::plus(high, secrets.secret(HIGH_OFFSET)));
            high.wrapping_add(halves(S::plus(low, secrets.secret(LOW_OFFSET))))
        } else {
            low >> 32
        };
        let port = S::times(port, secrets.secret(PORT_FACTOR));
        let sum = S::times(address, secrets.secret(FACTOR)).wrapping_add(port);
        S::plus(sum, secrets.secret(OFFSET)) >> 32
    };
    let upper = S::times(ends.product(end), secrets.secret(OFFSET));
    table::tag((upper & !u64::from(u32::MAX)) | place)
}

/// A number for a token: its upper half finds a bucket.
#[inline(always)]
pub fn token(secrets: &impl Secrets, token: u32) -> u64 {
    let product = u64::from(token).wrapping_mul(secrets.secret(TOKEN_FACTOR));
    // Of tokens at equal distances the products are at equal distances, too: for few factors, short ones.
    (product ^ product >> 32).wrapping_mul(secrets.secret(TOKEN_FACTOR))
}
