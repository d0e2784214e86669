//! What pinned maps hold may be anything: no reader panics, and nothing that commands a terminal comes out.

use anyhow::{Result, ensure};
use mptcp_tests::numbers::Numbers;
use mptcp_user::pinned::{contents, show};

/// Bytes of everything that is read: counters of two CPUs, readings, hooks, tables, records of the ring.
const LENGTH: u64 = 100_000;

#[test]
fn a_hundred_thousand_corruptions_are_shown_in_words() -> Result<()> {
    let mut numbers = Numbers::new(20);
    let good = contents();
    let mut taken = 0;
    for _ in 0..100_000 {
        let mut bytes = good.clone();
        // Some of what is believed is as it was, some is changed in a place or two, some is anything.
        match numbers.below(4) {
            0 => {}
            1 | 2 => {
                for _ in 0..=numbers.below(2) {
                    let at = numbers.below(bytes.len() as u64) as usize;
                    bytes[at] = edge(&mut numbers);
                }
            }
            _ => bytes
                .iter_mut()
                .skip(4)
                .for_each(|byte| *byte = numbers.byte()),
        }
        // Zeros with a few words in them, of numbers at which arithmetic goes wrong, at any place; now and then long.
        let length = match numbers.one_in(16) {
            true => numbers.below(LENGTH),
            false => numbers.below(2000),
        };
        // Now and then all of them are as large as can be.
        let fill = if numbers.one_in(8) {
            edge(&mut numbers)
        } else {
            0
        };
        bytes.extend(std::iter::repeat_n(fill, length as usize));
        for _ in 0..numbers.below(40 + length / 40) {
            let at =
                numbers.below(bytes.len() as u64 - good.len() as u64 + 1) as usize + good.len();
            let word = word(&mut numbers).to_ne_bytes();
            let end = (at + 8).min(bytes.len());
            bytes[at..end].copy_from_slice(&word[..end - at]);
        }
        let (is_taken, texts) = show(&bytes, numbers.one_in(50))?;
        taken += u64::from(is_taken);
        for text in texts {
            let hidden = text.find(|c: char| c.is_control() && c != '\n');
            ensure!(hidden.is_none(), "{text:?}");
        }
    }
    // Both what is refused and what is taken was there.
    ensure!(
        (10_000..90_000).contains(&taken),
        "{taken} of 100,000 are taken"
    );
    Ok(())
}

fn edge(numbers: &mut Numbers) -> u8 {
    match numbers.below(5) {
        0 => 0,
        1 => 1,
        2 => 0x7f,
        3 => 0xff,
        _ => numbers.byte(),
    }
}

fn word(numbers: &mut Numbers) -> u64 {
    match numbers.below(6) {
        0 => u64::MAX,
        1 => 1 << 63,
        2 => i64::MAX as u64,
        3 => 0xffff_ffff_0000_0001,
        4 => numbers.below(64),
        _ => numbers.next(),
    }
}
