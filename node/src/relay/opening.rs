//! What a child says first on a data stream: which track, by which ticket, and from where.

use banyan_gossip::TrackName;
use serde::{Deserialize, Serialize};

use super::Start;

/// Longest encoded opening, in bytes. Checked before anything is allocated for it.
pub const OPENING_BYTES_MAX: usize = 512;

/// What a child says first. On the wire: a 2-byte big-endian length, then CBOR.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The track.
    #[serde(rename = "n")]
    pub track: TrackName,
    /// The ticket that the parent gave.
    #[serde(rename = "k")]
    pub ticket: u64,
    /// The epoch that the child follows.
    #[serde(rename = "e")]
    pub epoch: u64,
    /// Where to start.
    #[serde(rename = "f")]
    pub from: OpeningFrom,
}

/// Where a child wants to start: what can be said of [`Start`] on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpeningFrom {
    /// See [`Start::Oldest`].
    #[serde(rename = "o")]
    Oldest,
    /// See [`Start::Stable`].
    #[serde(rename = "s")]
    Stable,
    /// See [`Start::Id`].
    #[serde(rename = "i")]
    Id(u64),
}

/// Bytes that are no opening. The child is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the opening cannot be read")]
pub struct OpeningError;

impl Opening {
    /// The CBOR of the opening, without the length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        ciborium::into_writer(self, &mut bytes).expect("writing to memory does not fail");
        bytes
    }

    /// Reads an opening.
    ///
    /// # Errors
    /// [`OpeningError`] if the bytes do not begin with one.
    pub fn decode(bytes: &[u8]) -> Result<Self, OpeningError> {
        ciborium::from_reader(bytes).map_err(|_| OpeningError)
    }
}

impl From<Start> for OpeningFrom {
    fn from(start: Start) -> Self {
        match start {
            Start::Oldest => Self::Oldest,
            // A child that wants only what is new must still hold what others may need of it.
            Start::Stable | Start::Latest => Self::Stable,
            Start::Id(id) => Self::Id(id),
        }
    }
}

impl From<OpeningFrom> for Start {
    fn from(from: OpeningFrom) -> Self {
        match from {
            OpeningFrom::Oldest => Self::Oldest,
            OpeningFrom::Stable => Self::Stable,
            OpeningFrom::Id(id) => Self::Id(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_undoes_encoding_and_the_longest_fits() {
        let track: TrackName = "x".repeat(banyan_gossip::name::TRACK_MAX).parse().expect("at the limit");
        for from in [OpeningFrom::Oldest, OpeningFrom::Stable, OpeningFrom::Id(u64::MAX)] {
            let opening = Opening { track: track.clone(), ticket: u64::MAX, epoch: u64::MAX, from };
            let bytes = opening.encode();
            assert!(bytes.len() <= OPENING_BYTES_MAX);
            assert_eq!(Opening::decode(&bytes), Ok(opening));
            assert_eq!(Opening::decode(&bytes[..bytes.len() - 1]), Err(OpeningError));
        }
    }
}
