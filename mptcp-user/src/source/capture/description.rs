//! Where packets were captured, as the file describes it.

use pcap_parser::{
    Linktype, PcapHeader,
    pcapng::{IDB_MAGIC, InterfaceDescriptionBlock, OptionCode, PcapNGOption},
};

use super::{link::Link, time::SECOND};

/// Where packets were captured, as the file describes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct InterfaceDescription {
    pub(super) linktype: Linktype,
    pub(super) link: Option<Link>,
    /// 0 is no limit.
    pub(super) snap_length: u32,
    pub(super) ticks_per_second: u64,
    /// Seconds that are to be added to each time.
    pub(super) offset: i64,
}

impl InterfaceDescription {
    /// Of a pcap file, which has one.
    pub(super) fn of_file(header: &PcapHeader) -> Self {
        Self {
            linktype: header.network,
            link: Link::new(header.network),
            snap_length: header.snaplen,
            ticks_per_second: if header.is_nanosecond_precision() {
                SECOND
            } else {
                1_000_000
            },
            offset: 0,
        }
    }

    pub(super) fn of_block(block: &InterfaceDescriptionBlock<'_>) -> Self {
        // The exponent of 10, or of 2.
        let exponent = u32::from(block.if_tsresol & 0x7f);
        let ticks = match block.if_tsresol & 0x80 {
            0 => 10_u64.checked_pow(exponent),
            _ => 2_u64.checked_pow(exponent),
        };
        // The block's own field takes every file for a little-endian one.
        let offset = value(&block.options, OptionCode::IfTsoffset).map(|bytes| {
            if block.block_type == IDB_MAGIC {
                i64::from_le_bytes(bytes)
            } else {
                i64::from_be_bytes(bytes)
            }
        });
        Self {
            linktype: block.linktype,
            link: Link::new(block.linktype),
            snap_length: block.snaplen,
            ticks_per_second: ticks.unwrap_or(u64::MAX),
            offset: offset.unwrap_or_default(),
        }
    }

    pub(super) fn nanoseconds(&self, ticks: u64) -> u64 {
        let per_tick = SECOND / self.ticks_per_second;
        let time = if per_tick * self.ticks_per_second == SECOND {
            ticks.saturating_mul(per_tick)
        } else {
            let exact = u128::from(ticks) * u128::from(SECOND) / u128::from(self.ticks_per_second);
            u64::try_from(exact).unwrap_or(u64::MAX)
        };
        let offset = self.offset.saturating_mul(SECOND as i64);
        time.saturating_add_signed(offset)
    }
}

/// Returns the value of an option, as it stands in the file.
pub(super) fn value<const N: usize>(
    options: &[PcapNGOption<'_>],
    code: OptionCode,
) -> Option<[u8; N]> {
    let option = options.iter().find(|option| option.code == code)?;
    option.value().first_chunk().copied()
}
