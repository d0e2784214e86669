//! Frames in ordinary memory, whole or as a capture holds them.

use std::cell::Cell;

use bytemuck::AnyBitPattern;
use mptcp_common::{
    packet::{Frame, View},
    verifier::Opaque,
    wire::Area,
};

/// A frame as a capture holds it.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    /// Its first bytes.
    pub bytes: &'a [u8],
    /// How many it had.
    pub length: u32,
    /// True if it begins with the IP header.
    pub is_layer_3: bool,
    /// True if it came in, and did not go out.
    pub ingress: bool,
}

/// A frame in memory, perhaps without its end.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    /// Its first bytes.
    pub bytes: &'a [u8],
    /// How many it had.
    pub length: usize,
    /// As [`Frame::stripped_tags`].
    pub stripped_tags: u32,
    /// True if it is a buffer of several packets.
    pub is_merged: bool,
    /// True if its bytes can be read at once. The engine says the same if not.
    pub is_whole: bool,
}

/// Bytes that are there.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl View for Bytes<'_> {
    fn get<T: AnyBitPattern>(&self, at: u32) -> T {
        bytemuck::pod_read_unaligned(&self.0[at as usize..][..size_of::<T>()])
    }
}

impl Frame for Slice<'_> {
    fn load<T: AnyBitPattern>(&self, at: u32) -> Option<T> {
        let bytes = self.bytes.get(at as usize..)?.get(..size_of::<T>())?;
        Some(bytemuck::pod_read_unaligned(bytes))
    }

    fn view(&self, at: u32, length: u32) -> Option<impl View> {
        let bytes = self.bytes.get(at as usize..)?.get(..length as usize)?;
        self.is_whole.then_some(Bytes(bytes))
    }

    fn copy_options(&self, at: u32, length: u32, area: &mut Area, _: &impl Opaque) -> bool {
        let (at, length) = (at as usize, length as usize);
        let Some(bytes) = self.bytes.get(at..).and_then(|bytes| bytes.get(..length)) else {
            return false;
        };
        area.bytes_mut()[..length].copy_from_slice(bytes);
        true
    }

    fn merged_length(&self) -> u32 {
        // No single packet is longer than the field of the IP header says.
        if self.is_merged || self.length > usize::from(u16::MAX) {
            self.length as u32
        } else {
            0
        }
    }

    fn stripped_tags(&self) -> u32 {
        self.stripped_tags
    }
}

/// A frame of which the bytes are at hand.
pub(super) trait Readable<'a>: Frame + Copy {
    fn bytes(&self) -> &'a [u8];
}

impl<'a> Readable<'a> for Slice<'a> {
    fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// A frame of a capture. Where that was taken in front of segmentation, buffers of several packets have no length in
/// the IP header, and nothing else tells them from a packet: what the capture says of the frame's length is all that
/// is known.
#[derive(Clone, Copy)]
pub(super) struct Unsegmented<'a> {
    pub(super) slice: Slice<'a>,
    pub(super) is_layer_3: bool,
    /// Is set where the IP header has no length.
    pub(super) lacks_length: &'a Cell<bool>,
}

/// The least that an Ethernet frame carries. What is shorter is filled up, and nothing but the length in the IP header
/// tells the packet from what fills it.
const PADDED: usize = 46;

impl Unsegmented<'_> {
    /// Returns bytes in front of the IP header.
    fn link(&self) -> usize {
        if self.is_layer_3 {
            return 0;
        }
        let is_tag = |at: usize| {
            let ethertype = self.slice.bytes.get(at..at + 2);
            ethertype == Some(&[0x81, 0x00]) || ethertype == Some(&[0x88, 0xa8])
        };
        match (is_tag(12), is_tag(16)) {
            (false, _) => 14,
            (true, false) => 18,
            (true, true) => 22,
        }
    }
}

impl<'a> Readable<'a> for Unsegmented<'a> {
    fn bytes(&self) -> &'a [u8] {
        self.slice.bytes
    }
}

impl Frame for Unsegmented<'_> {
    fn load<T: AnyBitPattern>(&self, at: u32) -> Option<T> {
        self.slice.load(at)
    }

    fn view(&self, at: u32, length: u32) -> Option<impl View> {
        self.slice.view(at, length)
    }

    fn copy_options(&self, at: u32, length: u32, area: &mut Area, verifier: &impl Opaque) -> bool {
        self.slice.copy_options(at, length, area, verifier)
    }

    /// Is only asked for where the IP header has no length.
    fn merged_length(&self) -> u32 {
        if self.slice.length <= self.link() + PADDED {
            return 0;
        }
        self.lacks_length.set(true);
        self.slice.length as u32
    }

    fn is_merged(&self) -> bool {
        self.slice.is_merged()
    }

    fn stripped_tags(&self) -> u32 {
        self.slice.stripped_tags()
    }
}
