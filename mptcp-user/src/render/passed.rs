//! What was passed by, in words: that nothing was counted must not read as if there had been nothing.

use mptcp_common::counter::{Counters, Outcomes, Protocol};
use serde_json::{Map, Value};

/// Kinds that a sentence names; the others are one number.
const NAMED: usize = 6;

/// Where a reader finds more.
const MORE: &str = "See docs/counters.md (What is passed by)";

/// Frames without TCP that is read.
struct Kind {
    called: String,
    count: u64,
    /// May it be TCP all the same?
    hides: bool,
}

/// What frames hold that are not IP or not TCP, by the names of docs/json.md; those that there are.
pub(crate) fn protocols(counters: &Counters) -> Map<String, Value> {
    counters
        .protocols()
        .map(|(protocol, count)| (name(protocol), count.into()))
        .collect()
}

fn name(protocol: Protocol) -> String {
    let name = protocol.name().map(|(name, _)| name.to_owned());
    name.unwrap_or_else(|| format!("ip_protocol_{}", protocol.0))
}

/// What a reader has to know before trusting a table of zeros: that no frame was seen, that none of them holds TCP,
/// or that more than a hundredth of them may hold TCP that is not read.
pub(crate) fn note(counters: &Counters) -> Option<String> {
    let Counters { leaves, frames, .. } = counters;
    if *frames == 0 {
        return Some("No frame was seen".to_owned());
    }
    let mut kinds = kinds(counters);
    if leaves.tcp + leaves.mptcp + leaves.malformed_tcp > 0 {
        kinds.retain(|kind| kind.hides);
    }
    let sum = kinds
        .iter()
        .map(|kind| kind.count)
        .fold(0, u64::saturating_add);
    if sum.saturating_mul(100) <= *frames {
        return None;
    }
    kinds.sort_by_key(|kind| std::cmp::Reverse(kind.count));
    let mut list: Vec<_> = kinds
        .iter()
        .take(NAMED)
        .map(|Kind { called, count, .. }| format!("{} {called}", grouped(*count)))
        .collect();
    let others = kinds
        .iter()
        .skip(NAMED)
        .map(|kind| kind.count)
        .fold(0, u64::saturating_add);
    if others > 0 {
        list.push(format!("{} others", grouped(others)));
    }
    // Not more than there is: while packets are being counted, some have a leaf and do not count as frames yet.
    let percent = (u128::from(sum) * 100 / u128::from(*frames)).min(100);
    let list = list.join(", ");
    Some(format!(
        "{percent} % of the frames hold no TCP that is read: {list}. {MORE}"
    ))
}

/// All of a reading.
fn kinds(counters: &Counters) -> Vec<Kind> {
    let Outcomes {
        vlan_depth,
        fragment,
        ipv6_extensions,
        truncated,
        malformed_ip,
        ..
    } = counters.leaves;
    let leaves = [
        (vlan_depth, "with more than two VLAN tags", true),
        (fragment, "later fragments", true),
        (
            ipv6_extensions,
            "with more than eight extension headers",
            true,
        ),
        (truncated, "cut off within their headers", false),
        (malformed_ip, "with a malformed IP header", false),
    ];
    let leaves = leaves.map(|(count, called, hides)| Kind {
        called: called.to_owned(),
        count,
        hides,
    });
    let protocols = counters.protocols().map(|(protocol, count)| Kind {
        called: protocol.name().map_or_else(
            || format!("of IP protocol {}", protocol.0),
            |(_, called)| called.to_owned(),
        ),
        count,
        hides: protocol.hides_tcp(),
    });
    protocols
        .chain(leaves)
        .filter(|kind| kind.count > 0)
        .collect()
}

/// A number in groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use mptcp_common::counter::{Outcome, Passed};

    use super::*;

    fn counted(frames: &[(Passed, u64)]) -> Counters {
        let mut counters = Counters::default();
        for (Passed { leaf, protocol }, count) in frames {
            counters.frames += count;
            counters.protocols.add(*protocol, *count);
            counters.leaves.add(*leaf, *count);
        }
        counters
    }

    #[test]
    fn a_number_in_groups() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn no_frame_is_no_silence() {
        let note = note(&Counters::default());
        assert_eq!(note.as_deref(), Some("No frame was seen"));
    }

    #[test]
    fn what_may_hide_tcp_is_told_from_a_hundredth_on() {
        let tcp = Outcome::Tcp.into();
        let mpls = Passed::from(Protocol::MPLS);
        let at = |mpls_count| note(&counted(&[(tcp, 1000 - mpls_count), (mpls, mpls_count)]));
        assert_eq!(at(10), None);
        let text = at(11).expect("a note");
        assert_eq!(
            text,
            format!(
                "1 % of the frames hold no TCP that is read: 11 MPLS (EtherType 0x8847). {MORE}"
            )
        );
        for leaf in [
            Outcome::VlanDepth,
            Outcome::Fragment,
            Outcome::Ipv6Extensions,
        ] {
            assert!(note(&counted(&[(tcp, 10), (leaf.into(), 1)])).is_some());
        }
        // An IP protocol without a name may be anything.
        let text = note(&counted(&[(tcp, 10), (Passed::from(Protocol(253)), 1)]));
        let text = text.expect("a note");
        assert!(text.contains(": 1 of IP protocol 253."), "{text}");
    }

    #[test]
    fn what_hides_nothing_is_told_where_there_is_no_tcp_alone() {
        let harmless = [
            (Passed::from(Protocol::ARP), 2),
            (Passed::from(Protocol::UDP), 1_204),
            (Passed::from(Protocol(58)), 3),
            (Passed::from(Protocol::LLC), 5),
        ];
        let text = note(&counted(&harmless)).expect("a note");
        assert_eq!(
            text,
            format!(
                "100 % of the frames hold no TCP that is read: 1,204 UDP, 5 LLC (802.3: spanning tree, \
                 IS-IS ...), 3 ICMPv6, 2 ARP (EtherType 0x0806). {MORE}"
            )
        );
        let with_tcp = [&harmless[..], &[(Outcome::Mptcp.into(), 1)]].concat();
        assert_eq!(note(&counted(&with_tcp)), None);
    }

    #[test]
    fn a_long_list_ends() {
        let many: Vec<_> = (200..220)
            .map(|n| (Passed::from(Protocol(n)), u64::from(n)))
            .collect();
        let text = note(&counted(&many)).expect("a note");
        assert!(text.contains(": 219 of IP protocol 219, 218 "), "{text}");
        let others: u32 = (200..214).sum();
        let end = format!(", {} others. {MORE}", grouped(others.into()));
        assert!(text.ends_with(&end), "{text}");
    }

    #[test]
    fn kinds_add_up_to_their_leaves() {
        let frames = [
            (Passed::from(Protocol::ARP), 1),
            (Passed::from(Protocol::SNAP), 20),
            (Passed::from(Protocol::UDP), 300),
            (Passed::from(Protocol::VXLAN), 4_000),
            (Passed::from(Protocol(47)), 50_000),
            (Outcome::Tcp.into(), 7),
        ];
        let counters = counted(&frames);
        let object = protocols(&counters);
        let sum: u64 = object.values().filter_map(Value::as_u64).sum();
        assert_eq!(sum, counters.leaves.not_ip + counters.leaves.not_tcp);
        for (name, count) in [
            ("arp", 1),
            ("snap", 20),
            ("udp", 300),
            ("vxlan", 4_000),
            ("gre", 50_000),
        ] {
            assert_eq!(object[name], count, "{name}");
        }
        assert_eq!(object.len(), 5);
    }
}
