//! Whoever has a parent is known to it, within the time of a handshake.

use std::collections::BTreeMap;

use banyan_gossip::TrackName;

use super::since;
use crate::{
    queue::{Nanos, SECOND},
    world::World,
};

/// Longest that a parent may not know its child while both are awake and reach each other: what a
/// broken link needs to be noticed by the other end, and some.
const STRANGER_MAX: Nanos = 6 * SECOND;

/// Children whose parents do not list them, since when.
#[derive(Debug, Default)]
pub(crate) struct Strangers(BTreeMap<(u32, TrackName), Nanos>);

impl Strangers {
    pub(super) fn forget(&mut self, host: u32) {
        self.0.retain(|(at, _), _| *at != host);
    }
}

impl World {
    pub(super) fn check_parent_knows(&mut self, child: u32) {
        let tracks: Vec<TrackName> =
            self.mesh(child).expect("it runs").trees().map(|(track, _)| track.clone()).collect();
        for track in tracks {
            let stranger = self.stranger_to(child, &track);
            let key = (child, track);
            let Some(parent) = stranger else {
                self.checks.strangers.0.remove(&key);
                continue;
            };
            let apart = !(self.net.reaches(child, parent) && self.net.reaches(parent, child));
            if apart || !self.is_awake(parent) || self.is_held(child, parent) || self.checks.liars.contains(&parent) {
                self.checks.strangers.0.insert(key, self.now);
                continue;
            }
            let first = *self.checks.strangers.0.entry(key).or_insert(self.now);
            if since(self.now, first) > STRANGER_MAX {
                self.violated(&format!("host {child} thinks that {parent} feeds it; {parent} knows nothing of it"));
            }
        }
    }

    /// The parent of a host that does not list it.
    fn stranger_to(&self, child: u32, track: &TrackName) -> Option<u32> {
        let parent = self.host_of(&self.mesh(child)?.tree(track)?.parent()?)?;
        let me = self.peer(child);
        let tree = self.mesh(parent).and_then(|mesh| mesh.tree(track));
        let knows = tree.is_some_and(|tree| tree.children().any(|(peer, _)| peer == me));
        (!knows).then_some(parent)
    }
}
