//! The relay of one track: frames, the ring, resume by id, de-duplication, acknowledgements.
//!
//! A relay keeps the recent objects of a track in one [`Ring`](ring::Ring). The ring is the only
//! queue: each child and each local subscriber is a cursor into it, so that an object is held once
//! however many read it, and a reader that stops costs nothing but its place. [`Track`] puts ring
//! and readers together; see there for how a reliable track keeps its promise. The two ends of a
//! data stream are a parent's [`Feed`] and a child's [`Pull`].

pub mod epochs;
pub mod feed;
pub mod frame;
pub mod opening;
pub mod pull;
pub mod ring;
pub mod track;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use epochs::Epochs;
pub use feed::Feed;
pub use frame::{Decoder, Frame, FrameError};
pub use opening::{Opening, OpeningFrom};
pub use pull::Pull;
pub use track::{Start, Track, TrackConfig};

/// Largest object, in bytes.
pub const OBJECT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What happens to a subscriber that cannot keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It skips ahead and is told which objects it missed.
    #[default]
    Live,
    /// Nothing is lost: the publisher waits, bounded by the ring.
    Reliable,
}
