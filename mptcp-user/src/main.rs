//! `mptcp-user`: counts Multipath TCP on the wire.

use std::process::ExitCode;

fn main() -> ExitCode {
    mptcp_user::main()
}
