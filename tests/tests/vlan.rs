//! Real kernel MPTCP in tagged frames: one VLAN tag and two.
