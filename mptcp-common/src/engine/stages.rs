//! The stages that are functions of their own in the kernel.

use crate::{packet::Work, state::Tables};

/// The packet in work, and the stages that are functions of their own in the kernel. Each acts on
/// that packet, and says what it found in its [`Route`]; none calls another, but for [`insert_ranges`].
pub trait Stages: Tables {
    /// The packet in work.
    fn work(&self) -> &Work;
    /// [`examine`].
    fn examine(&self);
    /// [`track::lookup_join`](crate::track::lookup_join).
    fn lookup_join(&self);
    /// [`track::handshake`](crate::track::handshake()).
    fn handshake(&self);
    /// [`track::verify_join`](crate::track::verify_join).
    fn verify_join(&self);
    /// [`track::open_session`](crate::track::open_session).
    fn open_session(&self);
    /// [`track::open_subflow`](crate::track::open_subflow).
    fn open_subflow(&self);
    /// [`track::accept`](crate::track::accept).
    fn accept(&self);
    /// [`track::refuse`](crate::track::refuse).
    fn refuse(&self);
    /// [`track::established`](crate::track::established()).
    fn established(&self);
    /// [`insert_ranges`], by the six that follow.
    fn insert_ranges(&self);
    /// [`track::find_ranges`](crate::track::find_ranges), of one of the two sets that can be asked for.
    fn find_ranges(&self);
    /// [`track::walk_chunk`](crate::track::walk_chunk), for each chunk of the set.
    fn walk_chunk(&self);
    /// [`track::insert_range`](crate::track::insert_range).
    fn insert_range(&self);
    /// [`track::find_runs`](crate::track::find_runs).
    fn find_runs(&self);
    /// [`track::walk_runs`](crate::track::walk_runs), for each chunk of the subflow.
    fn walk_runs(&self);
    /// [`track::count_runs`](crate::track::count_runs).
    fn count_runs(&self);
    /// [`track::checksum`](crate::track::checksum()).
    fn checksum(&self);
    /// [`track::signals`](crate::track::signals()).
    fn signals(&self);
    /// [`track::close`](crate::track::close()).
    fn close(&self);
}
