//! Relaying tracks that this node does not follow, when somebody asks who finds no slot.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use banyan_gossip::{PeerId, RelayPolicy, TrackName};
use banyan_tree::{Right, Source, Tree, Unwilling, VOLUNTEER_SLOTS_MIN};

use super::Mesh;

/// Most tracks relayed for others at a time; each may fill a ring (8 MiB).
const VOLUNTEERED_MAX: usize = 8;
/// How often a peer may ask, about any track, in each [`WINDOW`].
const ASKS_MAX: u8 = 12;
/// See [`ASKS_MAX`].
const WINDOW: Duration = Duration::from_secs(60);
/// Most peers that may ask in a window; about 40 bytes each.
const ASKERS_MAX: usize = 1024;

/// Who has asked how often of late.
#[derive(Debug)]
pub(super) struct Askers {
    since: Instant,
    asks: BTreeMap<PeerId, u8>,
}

impl Askers {
    pub(super) const fn new(now: Instant) -> Self {
        Self { since: now, asks: BTreeMap::new() }
    }

    /// Counts a question. `false`: it is one too many.
    fn admit(&mut self, now: Instant, peer: PeerId) -> bool {
        if now.saturating_duration_since(self.since) >= WINDOW {
            *self = Self::new(now);
        }
        if self.asks.len() >= ASKERS_MAX && !self.asks.contains_key(&peer) {
            return false;
        }
        let asks = self.asks.entry(peer).or_default();
        *asks = asks.saturating_add(1);
        *asks <= ASKS_MAX
    }
}

impl Mesh {
    /// Whether this node relays a track for others' sake alone.
    #[must_use]
    pub fn is_volunteer(&self, track: &TrackName) -> bool {
        self.trees.get(track).is_some_and(Tree::is_volunteer)
    }

    /// A linked peer finds every slot of a track taken, in which this node has no part.
    pub(super) fn volunteer(
        &mut self,
        now: Instant,
        from: PeerId,
        track: &TrackName,
        source: Source,
    ) -> Result<(), Unwilling> {
        let publication = self.table().publication(track, source.epoch, source.origin);
        let published = publication.is_some_and(|publication| publication.is_published());
        let allowed = self.allows(Right::Publish, track, &source.origin)
            && [&self.me, &from].into_iter().all(|peer| self.allows(Right::Subscribe, track, peer));
        let volunteered = self.trees.values().filter(|tree| tree.is_volunteer()).count();
        let refused = if self.leaving.is_some() {
            Some(Unwilling::Leaving)
        } else if self.table().live(&from).is_none() {
            Some(Unwilling::Stranger)
        } else if !self.askers.admit(now, from) {
            Some(Unwilling::TooOften)
        } else if !allowed {
            Some(Unwilling::Forbidden)
        } else if self.config.relay == RelayPolicy::Never {
            Some(Unwilling::Never)
        } else if self.slots.free() < VOLUNTEER_SLOTS_MIN {
            Some(Unwilling::Full)
        } else if volunteered >= VOLUNTEERED_MAX || !self.has_room_for(track, |_| true) {
            Some(Unwilling::TooManyTracks)
        } else if !published {
            Some(Unwilling::NoOrigin)
        } else {
            None
        };
        if let Some(refused) = refused {
            return Err(refused);
        }
        self.add_tree(now, track);
        self.tree_input(now, track, banyan_tree::Input::Volunteer);
        Ok(())
    }

    /// Hands a track over that is relayed for others. `false`: there is none.
    pub(super) fn give_up_volunteering(&mut self, now: Instant) -> bool {
        let given = self.trees.iter().find(|(_, tree)| tree.is_volunteer() && !tree.is_leaving());
        let Some(track) = given.map(|(track, _)| track.clone()) else {
            return false;
        };
        self.tree_input(now, &track, banyan_tree::Input::Unsubscribe);
        true
    }
}
