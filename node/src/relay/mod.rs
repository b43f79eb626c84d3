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
pub mod seal;
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

/// Whether the objects of a track are signed by its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Integrity {
    /// They are: a relay that changes them is found out and left, and nothing that it changed is handed out.
    Signed,
    /// They are not: members trust one another with what they relay.
    #[default]
    None,
}

/// How a track is published: what its origin signs of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// What happens to subscribers that cannot keep up.
    pub mode: Mode,
    /// Whether the objects are signed.
    pub integrity: Integrity,
}

impl Terms {
    /// The bits of a deed.
    #[must_use]
    pub const fn bits(self) -> u8 {
        let signed = matches!(self.integrity, Integrity::Signed) as u8;
        matches!(self.mode, Mode::Reliable) as u8 | signed << 1
    }

    /// What the bits of a deed mean; `None`: this program does not know.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        let mode = if bits & 1 == 0 { Mode::Live } else { Mode::Reliable };
        let integrity = if bits & 2 == 0 { Integrity::None } else { Integrity::Signed };
        if bits & !3 == 0 { Some(Self { mode, integrity }) } else { None }
    }
}

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
