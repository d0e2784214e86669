//! Any bytes as the contents of pinned maps: what is shown of them is text without control characters, and JSON is JSON.
//! The first bytes are changed ones of what a probe has, so that what is checked of them is taken now and then.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mptcp_user::pinned::{contents, show};

fuzz_target!(|data: &[u8]| {
    let [places @ .., how] = data.first_chunk::<9>().unwrap_or(&[0; 9]);
    let mut bytes = contents();
    for pair in places.chunks(2) {
        if let Some(byte) = bytes.get_mut(usize::from(pair[0])) {
            *byte ^= pair[1];
        }
    }
    bytes.extend(data.get(9..).unwrap_or_default());
    if let Ok((_, texts)) = show(&bytes, how & 3 == 0) {
        for text in texts {
            assert!(
                !text.contains(|c: char| c.is_control() && c != '\n'),
                "{text:?}"
            );
        }
    }
});
