//! `mptcp-user`: counts Multipath TCP on the wire.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    mptcp_user::main()
}
