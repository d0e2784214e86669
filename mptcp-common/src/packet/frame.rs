//! Access to the bytes of a frame.

use bytemuck::AnyBitPattern;

use crate::{verifier::Opaque, wire::Area};

/// Bytes of a frame, and what is known of them otherwise.
pub trait Frame {
    /// The value at offset `at`, as it lies in memory; `None` if the frame ends before.
    fn load<T: AnyBitPattern>(&self, at: u32) -> Option<T>;
    /// So many bytes at offset `at`, if they can be read at once; `None` says nothing.
    fn view(&self, at: u32, length: u32) -> Option<impl View>;
    /// The value at offset `at`, if it can be read at once; `None` says nothing.
    #[inline(always)]
    fn peek<T: AnyBitPattern>(&self, at: u32) -> Option<T> {
        Some(self.view(at, size_of::<T>() as u32)?.get(0))
    }
    /// Copies `length` bytes (4 to 40, a multiple of 4) at offset `at` to an option area; false if
    /// the frame ends before.
    fn copy_options(&self, at: u32, length: u32, area: &mut Area, verifier: &impl Opaque) -> bool;
    /// Length in bytes of a buffer of several packets, else 0. Above 64 KiB (BIG TCP) the IP header
    /// of such a buffer has none.
    fn merged_length(&self) -> u32;
    /// Is it a buffer of several packets, for certain?
    #[inline(always)]
    fn is_merged(&self) -> bool {
        self.merged_length() != 0
    }
    /// VLAN tags that the device took out of the frame.
    fn stripped_tags(&self) -> u32;
}

/// Bytes of a frame that are there.
pub trait View: Copy {
    /// The value at offset `at` of these bytes, as it lies in memory. It has to end with them, or before.
    fn get<T: AnyBitPattern>(&self, at: u32) -> T;
    /// The same bytes, of which the compiler knows nothing: what is compared before is not compared after.
    #[inline(always)]
    fn opaque(self) -> Self {
        self
    }
}

/// What a buffer holds besides bytes.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    /// Packets on the wire; 0 where that still has to be found, from payload and `segment_size`.
    pub packets: u32,
    /// Payload bytes of each packet but the last of a GSO or GRO buffer, else 0.
    pub segment_size: u32,
    /// Receive queue plus 1, 0 where that is not known.
    pub queue: u32,
    /// Did it come in, and not go out?
    pub ingress: bool,
}

impl Buffer {
    /// One packet that came in.
    pub const ONE: Self = Self {
        packets: 1,
        segment_size: 0,
        queue: 0,
        ingress: true,
    };

    /// Are its packets still to be counted?
    #[inline(always)]
    pub fn is_uncounted(&self) -> bool {
        self.packets == 0
    }

    /// Packets on the wire, as far as is known: 1 or more.
    #[inline(always)]
    pub fn count(&self) -> u64 {
        self.packets.max(1).into()
    }
}
