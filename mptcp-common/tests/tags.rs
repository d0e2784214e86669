//! Nobody who may choose addresses, ports and tokens makes two of them share a tag, a cell of the filter or a bucket:
//! whichever they are, that is up to the secrets.

use std::collections::HashSet;

use mptcp_common::{
    packet::{
        FlowKey,
        hash::{Ends, Hashing, flow_place, flow_tag, token},
    },
    table,
};

/// Secrets that are tried.
const SEEDS: u64 = 512;
/// In a byte of two hashes, one of 256 agrees by chance, and what is multiplied by an odd secret at twice these odds.
/// So of [`SEEDS`] these are 2 to 4, and more than this in no pair of a million.
const AGREEMENTS: u32 = 24;

/// The secrets of a seed.
fn hashing(seed: u64) -> Hashing {
    Hashing::new(seed.wrapping_mul(0x5851_f42d_4c95_7f2d), 48)
}

/// An end: its address as bytes, and its port.
type End = ([u8; 16], u16);

/// A flow between two ends, the sender first.
fn flow([source, destination]: [End; 2]) -> FlowKey {
    let word = |address: [u8; 16], at: usize| {
        u64::from_ne_bytes(address[at..at + 8].try_into().expect("eight bytes"))
    };
    let [port, other] = [source.1, destination.1].map(|port| u64::from(port.to_be()));
    FlowKey {
        words: [
            word(source.0, 0),
            word(source.0, 8),
            word(destination.0, 0),
            word(destination.0, 8),
            other << 16 | port,
        ],
    }
}

fn ends(flow: &FlowKey) -> Ends {
    Ends::of(flow, !flow.is_ipv4())
}

/// An address of IPv4.
fn v4(address: u32) -> [u8; 16] {
    (0xffff_0000_0000_u128 | u128::from(address)).to_be_bytes()
}

/// Of IPv6.
fn v6(high: u64, low: u64) -> [u8; 16] {
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

/// As it is read from memory, so that the highest bits are those of the last byte.
fn memory(high: u64, low: u64) -> [u8; 16] {
    let mut address = [0; 16];
    address[..8].copy_from_slice(&high.to_le_bytes());
    address[8..].copy_from_slice(&low.to_le_bytes());
    address
}

/// The same for IPv4.
fn memory_v4(address: u32) -> [u8; 16] {
    v4(address.swap_bytes())
}

const PREFIX: u64 = 0xfd66_0000_0000_0000;

/// Sets of flows in which each has something in common with each.
fn families() -> Vec<(&'static str, Vec<[End; 2]>)> {
    let server = (v4(0x0a42_0002), 443);
    let server_v6 = (v6(PREFIX, 2), 443);
    let mut all = Vec::new();
    // What one of them adds to an address, its port or the other address takes away, bit by bit or as a number.
    for hextet in 0..4 {
        let clients = (0..256).map(|i| {
            let address = v6(PREFIX, 1 | i << (16 * hextet));
            [(address, 40000 ^ i as u16), server_v6]
        });
        all.push((
            "addresses of one /64, and ports that make up for them",
            clients.collect(),
        ));
        let clients = (0..128).map(|i| {
            let [low, other] = [i, 128 ^ i].map(|i| i << (16 * hextet));
            [(v6(PREFIX, low), 40000), (v6(PREFIX, other), 443)]
        });
        all.push(("both addresses of one /64", clients.collect()));
        let clients = (0..128).map(|i| {
            let [high, other] = [i, 127 - i].map(|i| i << (16 * hextet));
            [(v6(high, 1), 40000), (v6(other, 2), 443)]
        });
        all.push(("both prefixes", clients.collect()));
    }
    for byte in 0..4 {
        let hosts = |i: u32| {
            [
                v4(0x0a00_0000 ^ i << (8 * byte)),
                v4(0x0a00_0000 ^ (255 - i) << (8 * byte)),
            ]
        };
        let clients = (0..128).map(|i| {
            let [host, other] = hosts(i);
            [(host, 40000), (other, 443)]
        });
        all.push(("both addresses of IPv4", clients.collect()));
        let clients = (0..256).map(|i| {
            let address = v4(0x0a00_0000 ^ i << (8 * byte));
            [(address, 40000 ^ i as u16), server]
        });
        all.push((
            "addresses of IPv4, and ports that make up for them",
            clients.collect(),
        ));
        let clients = (0..256).map(|i| {
            let address = v4(0x0a00_0000_u32.wrapping_add(i << (8 * byte)));
            [(address, 40000), (server.0, 443 + i as u16)]
        });
        all.push(("sequential addresses, and ports", clients.collect()));
    }
    for [host, other] in [
        [v4(0x0a00_0001), v4(0x0a00_0002)],
        [v6(PREFIX, 1), v6(PREFIX, 2)],
        [v4(0x7f00_0001); 2],
        [v6(0, 1); 2],
    ] {
        let ports = (0..128).map(|i| [(host, 2000 + i), (other, 1999 - i)]);
        all.push(("ports with the same sum", ports.collect()));
        let ports = (0..64).flat_map(|i| {
            [[i, 1000 + i], [1000 + i, i]].map(|[port, its]| [(host, port), (other, its)])
        });
        let ports = ports.filter(|[one, two]| one.0 != two.0 || one.1 < two.1);
        all.push(("mirrored ports", ports.collect()));
        let ports = (1..64).flat_map(|i| {
            [[i, 64 * 3], [64, 3 * i], [3, 64 * i]].map(|[port, its]| [(host, port), (other, its)])
        });
        let ports: Vec<_> = ports
            .filter(|[one, two]| one.1 <= two.1 && one.1 != 64 && two.1 != 64)
            .collect();
        let mut seen = HashSet::new();
        let ports = ports
            .into_iter()
            .filter(|[one, two]| seen.insert([one.1, two.1]));
        all.push(("ports with the same product", ports.collect()));
    }
    // Ends in some ratio: the product of theirs is that of others.
    let ratios = |address: fn(u32) -> [u8; 16]| {
        let all = (0..6).map(move |i| {
            [1 << i, 1 << (11 - i)].map(|n: u32| (address(n * 5), (n as u16 * 3).to_be()))
        });
        all.collect::<Vec<_>>()
    };
    all.push(("ends in ratios", ratios(memory_v4)));
    all.push(("prefixes in ratios", ratios(|n| memory(n.into(), 0))));
    all.push(("interfaces in ratios", ratios(|n| memory(0, n.into()))));
    // The highest bits of several words at once.
    let tops = |bits: u32| {
        let word = |base: u64, i: u64| base ^ i << (64 - bits);
        let hosts = (0..1 << bits).flat_map(|i| (0..1 << bits).map(move |j| [i, j]));
        let hosts = hosts.map(|[i, j]| [(memory(word(7, i), word(9, j)), 40000), server_v6]);
        hosts.collect::<Vec<_>>()
    };
    for bits in 1..=4 {
        all.push(("high bits of both words", tops(bits)));
    }
    let tops = (0..16).flat_map(|i| {
        (0..16).map(move |j| {
            let host = memory_v4(5 ^ i << 28);
            [(host, u16::to_be(3 ^ j << 12)), server]
        })
    });
    all.push(("high bits of address and port", tops.collect()));
    // A single bit.
    for base in [
        [(v4(0x0a42_0001), 40000), server],
        [(v6(PREFIX, 1), 40000), server_v6],
    ] {
        let is_ipv4 = base[0].0 == v4(0x0a42_0001);
        let first = if is_ipv4 { 96 } else { 0 };
        let mut flows = vec![base];
        for end in 0..2 {
            for bit in first..128 {
                let mut flow = base;
                flow[end].0[bit / 8] ^= 1 << (bit % 8);
                flows.push(flow);
            }
            for bit in 0..16 {
                let mut flow = base;
                flow[end].1 ^= 1 << bit;
                flows.push(flow);
            }
        }
        // The ends' ports, and their addresses, the other way round.
        flows.push([(base[0].0, base[1].1), (base[1].0, base[0].1)]);
        all.push(("one bit", flows));
    }
    all
}

/// Fails if some two of a set agree in a byte under more secrets than chance has it. `bytes` makes those of each.
fn check(name: &str, count: usize, bytes: impl Fn(u64) -> Vec<u8>) {
    let mut agree = vec![0_u32; count * count];
    for seed in 0..SEEDS {
        let bytes = bytes(seed);
        assert_eq!(bytes.len(), count);
        for (i, one) in bytes.iter().enumerate() {
            for (j, other) in bytes[..i].iter().enumerate() {
                agree[i * count + j] += u32::from(one == other);
            }
        }
    }
    let most = agree.iter().max().copied().unwrap_or_default();
    assert!(
        most <= AGREEMENTS,
        "{name}: two of {count} agree under {most} of {SEEDS} secrets"
    );
}

#[test]
fn no_two_flows_share_a_cell_or_a_tag_but_by_chance() {
    for (name, flows) in families() {
        let flows: Vec<_> = flows.into_iter().map(flow).collect();
        let distinct: HashSet<_> = flows.iter().map(|flow| flow.words).collect();
        assert_eq!(distinct.len(), flows.len(), "{name}");
        let of = |seed, hash: fn(&Hashing, &Ends) -> u64| {
            let hashing = hashing(seed);
            let all = flows
                .iter()
                .map(|flow| (hash(&hashing, &ends(flow)) >> 56) as u8);
            all.collect::<Vec<_>>()
        };
        let places = |seed| of(seed, flow_place);
        check(&format!("cells of {name}"), flows.len(), places);
        let tags = |seed| of(seed, flow_tag);
        check(&format!("buckets of {name}"), flows.len(), tags);
    }
}

#[test]
fn no_two_flows_have_the_same_tag() {
    for seed in 0..64 {
        let hashing = hashing(seed);
        let mut tags = HashSet::new();
        let flows: HashSet<_> = families()
            .into_iter()
            .flat_map(|(_, flows)| flows)
            .map(|ends| {
                let flow = flow(ends);
                if flow.is_reversed() {
                    flow.reversed()
                } else {
                    flow
                }
                .words
            })
            .collect();
        for words in &flows {
            tags.insert(flow_tag(&hashing, &ends(&FlowKey { words: *words })));
        }
        assert_eq!(tags.len(), flows.len(), "seed {seed}");
    }
}

#[test]
fn both_directions_have_the_same_tag_which_begins_as_the_place() {
    let hashing = hashing(1);
    for (name, flows) in families() {
        for flow in flows.into_iter().map(flow) {
            let tag = flow_tag(&hashing, &ends(&flow));
            assert_eq!(tag, flow_tag(&hashing, &ends(&flow.reversed())), "{name}");
            let place = flow_place(&hashing, &ends(&flow));
            assert_eq!(place, flow_place(&hashing, &ends(&flow.reversed())));
            // The lowest bit says that it is a tag.
            assert_eq!(table::place(tag) | 1 << 32, place & !0xffff_ffff | 1 << 32);
        }
    }
}

#[test]
fn secrets_of_other_seeds_are_others() {
    let all = (0..100).flat_map(|seed| {
        let words = Hashing::new(seed, 48).words();
        let (shift, secrets) = words.split_last().expect("words");
        assert_eq!(*shift, 48);
        secrets.to_vec()
    });
    let all: Vec<_> = all.collect();
    let distinct: HashSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
    assert!(!format!("{:?}", Hashing::new(7, 48)).contains(|c: char| c.is_ascii_digit()));
}

#[test]
fn no_two_tokens_share_a_bucket_but_by_chance() {
    let sets: [(&str, Vec<u32>); 4] = [
        ("one after the other", (0..256).collect()),
        ("highest bits", (0..256).map(|i| i << 24 | 5).collect()),
        ("at a distance", (0..256).map(|i| i * 0x9e_3779).collect()),
        (
            "one bit, and two",
            (0..32)
                .flat_map(|i| (0..=i).map(move |j| 1 << i ^ 1 << j))
                .collect::<HashSet<_>>()
                .into_iter()
                .collect(),
        ),
    ];
    for (name, tokens) in sets {
        check(
            &format!("buckets of tokens, {name}"),
            tokens.len(),
            |seed| {
                let hashing = hashing(seed);
                let all = tokens
                    .iter()
                    .map(|each| (token(&hashing, *each) >> 56) as u8);
                all.collect()
            },
        );
        // Nor do many.
        for seed in 0..SEEDS {
            let hashing = hashing(seed);
            let mut buckets = [0; 256];
            for each in &tokens {
                buckets[(token(&hashing, *each) >> 56) as usize] += 1;
            }
            let most = buckets.into_iter().max().unwrap_or_default();
            assert!(most <= 24, "{name}: {most} of 256 in a bucket, seed {seed}");
        }
    }
}
