//! Which publication of a track a tree follows.

use std::{
    fmt,
    time::{Duration, Instant},
};

use banyan_gossip::{PeerId, TrackEntry};
use serde::{Deserialize, Serialize};

/// One publication of a track. Of several, the greatest is followed: the newest epoch, then the
/// greatest origin id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// Grows each time that the track is published anew.
    pub epoch: u64,
    /// The peer that publishes it.
    pub origin: PeerId,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.epoch, self.origin.short())
    }
}

impl Source {
    /// The publication that the entry of a peer's row belongs to.
    pub(crate) fn of(peer: PeerId, entry: &TrackEntry) -> Option<Self> {
        Some(Self { epoch: entry.epoch, origin: entry.publisher(peer)? })
    }
}

/// When the origin was last heard of, as an age: an `Instant` so far back might not exist.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OriginAge {
    age: Duration,
    at: Instant,
}

/// Ages beyond this are all the same.
const AGE_MAX: Duration = Duration::from_secs(3600);

impl OriginAge {
    pub(crate) fn from_ms(now: Instant, age_ms: u64) -> Self {
        Self { age: Duration::from_millis(age_ms).min(AGE_MAX), at: now }
    }

    pub(crate) fn at(&self, now: Instant) -> Duration {
        (self.age + now.saturating_duration_since(self.at)).min(AGE_MAX)
    }

    /// When the age reaches `limit`.
    pub(crate) fn reaches(&self, limit: Duration) -> Instant {
        self.at + limit.saturating_sub(self.age)
    }

    /// Having heard of the origin is a fact that later, older news does not undo.
    pub(crate) fn merge(&mut self, now: Instant, other: Self) {
        if other.at(now) < self.at(now) {
            *self = other;
        }
    }
}
