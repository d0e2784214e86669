//! Numbers beyond the 83 rows: the other direction of a row, packets behind a row that counts
//! sessions, and what the table has no row for.

use super::{Counters, Quality, Role, Value};

/// A number beyond the table.
#[derive(Clone, Copy, Debug)]
pub struct Extra {
    /// Name in documents and tables.
    pub name: &'static str,
    /// What it counts.
    pub description: &'static str,
    /// The number.
    pub value: Value,
    middlebox: Quality,
}

impl Extra {
    /// The number in `counters`, `None` where this role cannot know it.
    pub fn total(&self, counters: &Counters, role: Role) -> Option<u64> {
        (role == Role::Host || self.middlebox != Quality::Unavailable)
            .then(|| (self.value.of)(counters))
    }

    /// How far the number can be trusted in this role.
    pub fn quality(&self, role: Role) -> Quality {
        match role {
            Role::Host => Quality::Exact,
            Role::Middlebox => self.middlebox,
        }
    }
}

/// Name, quality on a middlebox (on a host all are exact), formula, description.
macro_rules! extra {
    ($name:literal $middlebox:ident |$c:ident| $sum:expr, $description:literal) => {
        Extra {
            name: $name,
            description: $description,
            value: Value {
                of: |$c: &Counters| $sum,
                formula: stringify!($sum),
            },
            middlebox: Quality::$middlebox,
        }
    };
}

/// The further numbers, in the order in which `-detail` prints them.
#[rustfmt::skip]
pub const EXTRAS: &[Extra] = &[
    extra!("MPSYNtx" Unavailable |c| c.tx.capable_syn,
        "MP_CAPABLE SYN sent"),
    extra!("SYNACKrx" Unavailable |c| c.rx.capable_synack,
        "MP_CAPABLE SYN/ACK received"),
    extra!("FinalACKPkts" Unavailable |c| c.rx.capable_ack,
        "Later segments with MP_CAPABLE, each counted, received"),
    extra!("FinalACKPktsTx" Unavailable |c| c.tx.capable_ack,
        "Later segments with MP_CAPABLE, each counted, sent"),
    extra!("MpcMap" Exact |c| c.rx.capable_map + c.tx.capable_map + c.unknown.capable_map,
        "Segments whose MP_CAPABLE carries a mapping"),
    extra!("JoinSYNtx" Unavailable |c| c.tx.join_syn,
        "MP_JOIN SYN sent"),
    extra!("SFsynackRx" Unavailable |c| c.rx.join_synack,
        "MP_JOIN SYN/ACK received"),
    extra!("SFFACKPkts" Unavailable |c| c.rx.join_ack,
        "Later segments with MP_JOIN, each counted, received"),
    extra!("SFFACKPktsTx" Unavailable |c| c.tx.join_ack,
        "Later segments with MP_JOIN, each counted, sent"),
    extra!("JoinBkup" Unavailable |c| c.rx.join_backup,
        "MP_JOIN SYN with the backup flag, received"),
    extra!("JoinBkupTx" Unavailable |c| c.tx.join_backup,
        "MP_JOIN SYN with the backup flag, sent"),
    extra!("RxFinPkts" Unavailable |c| c.rx.dss_fin,
        "DSS with DATA_FIN, each counted, received"),
    extra!("TxFinPkts" Unavailable |c| c.tx.dss_fin,
        "DSS with DATA_FIN, each counted, sent"),
    extra!("SfFinPkts" Unavailable |c| c.tx.fin,
        "TCP FIN with an MPTCP option sent, each counted"),
    extra!("SfFinPktsRx" Unavailable |c| c.rx.fin,
        "TCP FIN with an MPTCP option received, each counted"),
    extra!("DSSunknown" Exact |c| c.unknown.dss,
        "DSS of which the direction is not known"),
    extra!("DssChecksum" Exact |c| c.rx.dss_checksum + c.tx.dss_checksum + c.unknown.dss_checksum,
        "DSS with a checksum"),
    extra!("InfMapTx" Unavailable |c| c.tx.dss_infinite,
        "DSS with an infinite mapping sent"),
    extra!("LDataLenTx" Unavailable |c| c.tx.dss_partial,
        "DSS sent whose mapping is longer than the segment"),
    extra!("AddAddrRx" Unavailable |c| c.rx.add_addr,
        "ADD_ADDR announcements, received"),
    extra!("AddAddrTx" Unavailable |c| c.tx.add_addr,
        "ADD_ADDR announcements, sent"),
    extra!("AddAddrEchoRx" Unavailable |c| c.rx.add_addr_echo,
        "ADD_ADDR echoes, received"),
    extra!("AddAddrEchoTx" Unavailable |c| c.tx.add_addr_echo,
        "ADD_ADDR echoes, sent"),
    extra!("AddAddrPortRx" Unavailable |c| c.rx.add_addr_port,
        "ADD_ADDR and echoes with a port, received"),
    extra!("AddAddrPortTx" Unavailable |c| c.tx.add_addr_port,
        "ADD_ADDR and echoes with a port, sent"),
    extra!("RmAddrRx" Unavailable |c| c.rx.remove_addr,
        "REMOVE_ADDR options, received"),
    extra!("RmAddrTx" Unavailable |c| c.tx.remove_addr,
        "REMOVE_ADDR options, sent"),
    extra!("PrioBkupTx" Unavailable |c| c.tx.prio_backup,
        "MP_PRIO with the backup flag sent"),
    extra!("PrioClearRx" Unavailable |c| c.rx.prio_clear,
        "MP_PRIO without the backup flag, whatever the state before, received"),
    extra!("PrioClearTx" Unavailable |c| c.tx.prio_clear,
        "MP_PRIO without the backup flag, whatever the state before, sent"),
    extra!("FCsnt" Unavailable |c| c.tx.fastclose,
        "MP_FASTCLOSE sent"),
    extra!("TcpRstRx" Unavailable |c| c.rx.tcprst,
        "MP_TCPRST, received"),
    extra!("TcpRstTx" Unavailable |c| c.tx.tcprst,
        "MP_TCPRST, sent"),
    extra!("RstOddOpt" Exact |c| c.rx.rst_odd + c.tx.rst_odd + c.unknown.rst_odd,
        "RST with options that a reset does not need"),
    extra!("ExpOpt" Exact |c| c.rx.option[15] + c.tx.option[15] + c.unknown.option[15],
        "Options of the private-use subtype"),
    extra!("ReservedBits" Exact |c| c.rx.reserved_bits + c.tx.reserved_bits + c.unknown.reserved_bits,
        "Packets whose options set reserved bits"),
    extra!("OPTErTx" Unavailable |c| c.tx.invalid.iter().sum(),
        "Options sent that are not allowed"),
    extra!("OPTErUnknown" Exact |c| c.unknown.invalid.iter().sum(),
        "Options that are not allowed, direction not known"),
    extra!("SubtypErTx" Unavailable |c| c.tx.subtype_unassigned,
        "Options of an unassigned subtype sent"),
    extra!("OptShort" Exact |c| c.rx.invalid[0] + c.tx.invalid[0] + c.unknown.invalid[0],
        "Options too short, all directions"),
    extra!("OptOverrun" Exact |c| c.rx.invalid[1] + c.tx.invalid[1] + c.unknown.invalid[1],
        "Options running past the option area, all directions"),
    extra!("OptLength" Exact |c| c.rx.invalid[2] + c.tx.invalid[2] + c.unknown.invalid[2],
        "Options of a wrong length, all directions"),
    extra!("OptFlags" Exact |c| c.rx.invalid[3] + c.tx.invalid[3] + c.unknown.invalid[3],
        "Options with contradicting flags, all directions"),
    extra!("OptSegment" Exact |c| c.rx.invalid[4] + c.tx.invalid[4] + c.unknown.invalid[4],
        "Options on the wrong kind of segment, all directions"),
    extra!("OptVersion" Exact |c| c.rx.invalid[5] + c.tx.invalid[5] + c.unknown.invalid[5],
        "Options of an unknown version, all directions"),
    extra!("OptRepeated" Exact |c| c.rx.invalid[6] + c.tx.invalid[6] + c.unknown.invalid[6],
        "Options repeating a subtype, all directions"),
    extra!("OptCombination" Exact |c| c.rx.invalid[7] + c.tx.invalid[7] + c.unknown.invalid[7],
        "Options excluding each other, all directions"),
];
