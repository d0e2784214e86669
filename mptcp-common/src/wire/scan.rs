//! Finds the options of an area, and hands out the first of each subtype.

use crate::{
    verifier::Opaque,
    wire::{
        address::{AddAddr, RemoveAddr},
        area::{Area, RawOption, walk},
        capable::MpCapable,
        join::MpJoin,
        option::{Fault, KIND_MPTCP, KIND_MSS, KIND_WINDOW_SCALE, Subtype},
        signal::{MpFastclose, MpPrio, MpTcpRst},
    },
};

/// Where the first option of each subtype stands, by nibble, and behind them the MSS and window scale options
/// (the last ones, which are those that the kernel believes). Kept outside the stack, which in the
/// kernel is small and costly to verify.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct OptionOffsets {
    at: [u8; 24],
    length: [u8; 24],
    /// Options of each nibble that fit the area, and at [`SHORTS`] those too short to have one: a byte each,
    /// in words, for three stores to clear them.
    count: [u64; 3],
    /// The nibble plus 1 of an option that runs past the area's end, [`NO_NIBBLE`] where that is
    /// not in the area either, 0 if there is no such option.
    pub(crate) overrun: u32,
    /// The nibble of the last option that fits the area.
    pub(crate) last: u32,
}

/// Index of the MSS option in [`OptionOffsets`].
const MSS: usize = 16;

/// Index of the window scale option.
const WINDOW_SCALE: usize = 17;

/// Index of options without a subtype.
pub(crate) const SHORTS: usize = 16;

/// See [`OptionOffsets::overrun`].
pub(crate) const NO_NIBBLE: u32 = 17;

impl OptionOffsets {
    /// With a zero of which the compiler does not know: of those that it knows it makes a call of memset,
    /// which goes byte by byte on the kernel side.
    #[inline(always)]
    fn clear(&mut self, verifier: &impl Opaque) {
        let zero = verifier.opaque(0);
        self.length[MSS] = 0;
        self.length[WINDOW_SCALE] = 0;
        self.count = [u64::from(zero); 3];
        self.overrun = zero;
    }

    /// Where the DSS stands, if there is one.
    #[inline(always)]
    pub(crate) fn dss<'a>(&self, area: &'a Area, verifier: &impl Opaque) -> RawOption<'a> {
        let at = verifier.opaque(self.at[Subtype::Dss as usize].into());
        let length = verifier.opaque(self.length[Subtype::Dss as usize].into());
        RawOption::new(area, at, length)
    }

    #[inline(always)]
    fn add(&mut self, index: usize) {
        let count: &mut [u8; 24] = bytemuck::cast_mut(&mut self.count);
        count[index] = count[index].wrapping_add(1);
    }

    #[inline(always)]
    pub(crate) fn count(&self, index: usize) -> u32 {
        let count: &[u8; 24] = bytemuck::cast_ref(&self.count);
        count[index].into()
    }
}

/// Finds the options; returns a set of the subtypes of those of kind 30, 0 if there are none.
#[inline(always)]
pub(crate) fn find(
    area: &Area,
    length: u32,
    found: &mut OptionOffsets,
    verifier: &impl Opaque,
) -> u32 {
    let mut seen = verifier.opaque(0);
    found.clear(verifier);
    let length = verifier.opaque(length);
    let stop = walk(area, length, verifier, |option| match option.kind() {
        KIND_MSS => {
            found.at[MSS] = option.at() as u8;
            found.length[MSS] = option.length() as u8;
        }
        KIND_WINDOW_SCALE if option.length() == 3 => {
            found.at[WINDOW_SCALE] = option.at() as u8;
            found.length[WINDOW_SCALE] = 3;
        }
        KIND_MPTCP if option.length() < 3 => {
            seen = verifier.opaque(seen | SHORT);
            found.add(SHORTS);
        }
        KIND_MPTCP => {
            let nibble = usize::from(option.subtype() & 15);
            let bit = 1u32 << nibble;
            if seen & bit == 0 {
                found.at[nibble] = option.at() as u8;
                found.length[nibble] = option.length() as u8;
            }
            found.add(nibble);
            found.last = nibble as u32;
            seen = verifier.opaque(seen | bit);
        }
        _ => {}
    });
    if stop.kind == KIND_MSS {
        // One that ends the walk is malformed, and not absent.
        found.length[MSS] = 1;
    }
    if let Some((fault, subtype)) = stop.mptcp_fault(area) {
        seen |= SHORT;
        match (fault, subtype) {
            (_, Some(nibble)) => found.overrun = u32::from(nibble & 15) + 1,
            (Fault::Short, None) => found.add(SHORTS),
            (_, None) => found.overrun = NO_NIBBLE,
        }
    }
    verifier.opaque(seen)
}

/// An option of kind 30 without a subtype; above the 16 subtype bits of a set.
const SHORT: u32 = 1 << 16;

/// The options that a packet holds, the first of each subtype.
///
/// What is asked of it is forgotten at once: what one option said must not make the verifier look
/// at the next one twice.
pub(crate) struct Options<'a, V> {
    area: &'a Area,
    found: &'a OptionOffsets,
    set: u32,
    pub(crate) verifier: &'a V,
}

impl<'a, V: Opaque> Options<'a, V> {
    /// Those of an area that are in `set`, a set of subtypes, where `found` says.
    #[inline(always)]
    pub(crate) fn new(area: &'a Area, found: &'a OptionOffsets, set: u32, verifier: &'a V) -> Self {
        Self {
            area,
            found,
            set,
            verifier,
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self, subtype: Subtype) -> Option<RawOption<'a>> {
        let i = subtype as usize;
        let at = u32::from(self.found.at[i]);
        let length = u32::from(self.found.length[i]);
        (self.verifier.opaque(self.set) & subtype.bit() != 0)
            .then(|| RawOption::new(self.area, at, length))
    }

    /// Returns the option's place and length, of length 0 where there is none.
    #[inline(always)]
    fn get_or_empty(&self, subtype: Subtype) -> RawOption<'a> {
        let i = subtype as usize;
        let is_there = self.verifier.opaque(self.set) & subtype.bit() != 0;
        let length = if is_there { self.found.length[i] } else { 0 };
        let length = self.verifier.opaque(length.into());
        RawOption::new(self.area, self.found.at[i].into(), length)
    }

    /// Returns what the window scale option says (RFC 7323 section 2.2), if there is one.
    #[inline(always)]
    pub(crate) fn window_scale(&self) -> Option<u32> {
        let (at, length) = (self.found.at[WINDOW_SCALE], self.found.length[WINDOW_SCALE]);
        let option = RawOption::new(self.area, at.into(), length.into());
        (length != 0).then(|| u32::from(option.u8(2)))
    }

    /// Returns the MSS in bytes (RFC 9293 section 3.7.1): `absent` without the option, 0 of one that is malformed.
    #[inline(always)]
    pub(crate) fn mss(&self, absent: u16) -> u16 {
        let (at, length) = (self.found.at[MSS], self.found.length[MSS]);
        match length {
            0 => absent,
            4 => RawOption::new(self.area, at.into(), length.into()).u16(2),
            _ => 0,
        }
    }
}

/// The options of a packet that were checked, and are allowed where they stand.
pub(crate) struct Allowed<'a, V>(Options<'a, V>);

impl<'a, V: Opaque> Allowed<'a, V> {
    /// Those of `options`, whose set is that of the ones that their `parse` has allowed.
    #[inline(always)]
    pub(crate) fn new(options: Options<'a, V>) -> Self {
        Self(options)
    }

    /// Returns its MP_CAPABLE.
    #[inline(always)]
    pub(crate) fn capable(&self) -> Option<MpCapable<'a>> {
        self.0.get(Subtype::MpCapable).map(MpCapable::allowed)
    }

    /// Returns its MP_CAPABLE, or one that [is absent](MpCapable::is_absent): the verifier goes one way.
    #[inline(always)]
    pub(crate) fn capable_or_absent(&self) -> MpCapable<'a> {
        MpCapable::allowed(self.0.get_or_empty(Subtype::MpCapable))
    }

    /// Returns its MP_JOIN.
    #[inline(always)]
    pub(crate) fn join(&self) -> Option<MpJoin<'a>> {
        self.0.get(Subtype::MpJoin).map(MpJoin::allowed)
    }

    /// Returns its ADD_ADDR.
    #[inline(always)]
    pub(crate) fn add_addr(&self) -> Option<AddAddr<'a>> {
        self.0.get(Subtype::AddAddr).map(AddAddr::allowed)
    }

    /// Returns its REMOVE_ADDR.
    #[inline(always)]
    pub(crate) fn remove_addr(&self) -> Option<RemoveAddr<'a>> {
        self.0.get(Subtype::RemoveAddr).map(RemoveAddr::allowed)
    }

    /// Returns its MP_PRIO.
    #[inline(always)]
    pub(crate) fn prio(&self) -> Option<MpPrio<'a>> {
        self.0.get(Subtype::MpPrio).map(MpPrio::allowed)
    }

    /// Returns its MP_FASTCLOSE.
    #[inline(always)]
    pub(crate) fn fastclose(&self) -> Option<MpFastclose<'a>> {
        self.0.get(Subtype::MpFastclose).map(MpFastclose::allowed)
    }

    /// Returns its MP_TCPRST.
    #[inline(always)]
    pub(crate) fn tcprst(&self) -> Option<MpTcpRst<'a>> {
        self.0.get(Subtype::MpTcpRst).map(MpTcpRst::allowed)
    }

    /// Returns what the window scale option says (RFC 7323 section 2.2), if there is one.
    #[inline(always)]
    pub(crate) fn window_scale(&self) -> Option<u32> {
        self.0.window_scale()
    }
}
