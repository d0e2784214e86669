//! Reads all options of kind 30 in an area.

use crate::{
    verifier::Plain,
    wire::{
        AddAddr, MpCapable, MpFail, MpFastclose, MpJoin, MpPrio, MpTcpRst, RemoveAddr, Segment,
        area::{Area, MAX_OPTIONS, RawOption, walk},
        dss::Dss,
        option::{Fault, KIND_MPTCP, Subtype},
    },
};

/// An option that cannot be read: what is wrong with it, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// Offset of the kind byte in the option area, in bytes.
    pub at: u8,
    /// The length byte, 0 where it is missing.
    pub length: u8,
    /// The subtype nibble, where the option is long enough to have one.
    pub subtype: Option<u8>,
    /// What is wrong.
    pub fault: Fault,
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.subtype.map(|n| (n, Subtype::from_nibble(n))) {
            None => f.write_str("MPTCP option")?,
            Some((_, Some(subtype))) => f.write_str(subtype.name())?,
            Some((nibble, None)) => write!(f, "MPTCP option of subtype {nibble}")?,
        }
        write!(
            f,
            " of length {} at byte {} {}",
            self.length,
            self.at,
            self.fault.reason()
        )
    }
}

impl core::error::Error for Error {}

/// One MPTCP option, read.
#[derive(Clone, Copy, Debug)]
pub enum Mptcp<'a> {
    /// MP_CAPABLE.
    MpCapable(MpCapable<'a>),
    /// MP_JOIN.
    MpJoin(MpJoin<'a>),
    /// Data Sequence Signal.
    Dss(Dss),
    /// ADD_ADDR.
    AddAddr(AddAddr<'a>),
    /// REMOVE_ADDR.
    RemoveAddr(RemoveAddr<'a>),
    /// MP_PRIO.
    MpPrio(MpPrio<'a>),
    /// MP_FAIL.
    MpFail(MpFail<'a>),
    /// MP_FASTCLOSE.
    MpFastclose(MpFastclose<'a>),
    /// MP_TCPRST.
    MpTcpRst(MpTcpRst<'a>),
    /// Private use; the bytes are not interpreted.
    Experimental,
    /// An unassigned subtype (9 to 14): to be ignored (RFC 8684 section 3).
    Unassigned(u8),
}

impl<'a> Mptcp<'a> {
    /// Reads one option of kind 30 as it stands on `segment`.
    ///
    /// # Errors
    /// [`Fault::Short`] for a length below 3, else what the subtype's own `check` finds. What only
    /// shows between options of a segment ([`Fault::Repeated`], [`Fault::Combination`]) is the
    /// engine's to see.
    pub fn decode(option: RawOption<'a>, segment: Segment) -> Result<Self, Fault> {
        if option.length() < 3 {
            return Err(Fault::Short);
        }
        Ok(match Subtype::from_nibble(option.subtype()) {
            Some(Subtype::MpCapable) => Self::MpCapable(MpCapable::parse(option, segment)?),
            Some(Subtype::MpJoin) => Self::MpJoin(MpJoin::parse(option, segment)?),
            Some(Subtype::Dss) => {
                let dss = Dss::read(&option);
                dss.check(segment)?;
                Self::Dss(dss)
            }
            Some(Subtype::AddAddr) => Self::AddAddr(AddAddr::parse(option, segment)?),
            Some(Subtype::RemoveAddr) => Self::RemoveAddr(RemoveAddr::parse(option, segment)?),
            Some(Subtype::MpPrio) => Self::MpPrio(MpPrio::parse(option, segment)?),
            Some(Subtype::MpFail) => Self::MpFail(MpFail::parse(option, segment)?),
            Some(Subtype::MpFastclose) => Self::MpFastclose(MpFastclose::parse(option, segment)?),
            Some(Subtype::MpTcpRst) => Self::MpTcpRst(MpTcpRst::parse(option, segment)?),
            Some(Subtype::Experimental) => Self::Experimental,
            None => Self::Unassigned(option.subtype()),
        })
    }
}

/// Reads every option of kind 30 in the first `length` bytes of the option area of `segment`, in the order of the bytes, and
/// gives each to `each`. Stops where the area cannot be walked further, as a receiver does.
pub fn decode<'a>(
    area: &'a Area,
    length: usize,
    segment: Segment,
    mut each: impl FnMut(Result<Mptcp<'a>, Error>),
) {
    let stop = walk(area, length.min(MAX_OPTIONS) as u32, &Plain, |option| {
        if option.kind() == KIND_MPTCP {
            each(Mptcp::decode(*option, segment).map_err(|fault| Error {
                at: option.at() as u8,
                length: option.length() as u8,
                subtype: (option.length() >= 3).then(|| option.subtype()),
                fault,
            }));
        }
    });
    if let Some((fault, subtype)) = stop.mptcp_fault(area) {
        // Of these no length is wrong: they are to be ignored, whatever they are.
        match subtype.map(|nibble| (nibble, Subtype::from_nibble(nibble))) {
            Some((nibble, None)) => return each(Ok(Mptcp::Unassigned(nibble))),
            Some((_, Some(Subtype::Experimental))) => return each(Ok(Mptcp::Experimental)),
            _ => {}
        }
        each(Err(Error {
            at: stop.at as u8,
            length: stop.length as u8,
            subtype,
            fault,
        }));
    }
}
