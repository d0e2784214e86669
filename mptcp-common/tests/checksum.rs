//! DSS checksums that a Linux kernel sent.

use mptcp_common::wire::checksum::{is_right, sum};

#[test]
fn what_linux_sends_is_right() {
    let z = [b'z'; 50];
    for (payload, dsn, ssn, length, checksum) in [
        (&b"hello world"[..], 0x6f1a_8541_9889_20c2, 1, 11, 0xc07d),
        (&z, 0x6f1a_8541_9889_2ceb, 3114, 50, 0x43dd),
        // A DATA_FIN alone.
        (b"", 0x09af_8ac7_e787_c8e1, 0, 1, 0xbb1e),
    ] {
        assert!(is_right(sum(payload), dsn, ssn, length, checksum));
        assert!(!is_right(sum(payload), dsn, ssn, length, checksum ^ 1));
        assert!(!is_right(sum(payload), dsn + 1, ssn, length, checksum));
        assert!(!is_right(sum(payload), dsn, ssn + 1, length, checksum));
    }
    // Another order of odd bytes and pseudo-header gives this.
    assert!(!is_right(
        sum(b"hello world"),
        0x6f1a_8541_9889_20c2,
        1,
        11,
        0xba83
    ));
}
