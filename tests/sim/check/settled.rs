//! When all is quiet: one tree a track, everyone in it, every path leads to the origin.

use banyan_gossip::TrackName;
use banyan_tree::State;

use crate::{
    queue::{Nanos, SECOND},
    world::World,
};

impl World {
    /// What keeps a track from being one tree with all its subscribers in it; `Ok` if nothing does.
    pub fn one_tree(&self, track: &TrackName) -> Result<(), String> {
        for (host, mesh) in self.running().filter(|(host, _)| !self.checks.liars.contains(host)) {
            let Some(tree) = mesh.tree(track) else {
                if self.is_subscribed(host, track) {
                    return Err(format!("host {host} has no tree of {track}"));
                }
                continue;
            };
            match tree.state() {
                State::Idle | State::Origin => continue,
                State::Attached => {}
                state => return Err(format!("host {host} is {state}")),
            }
            let parent = tree.parent().ok_or_else(|| format!("host {host} is attached to nobody"))?;
            let source = tree.source().ok_or_else(|| format!("host {host} follows nobody"))?;
            let path = tree.root_path();
            if path.first() != Some(&source.origin) || path.last() != Some(&parent) {
                return Err(format!("the path of host {host} does not lead from its parent to the origin"));
            }
            if tree.depth() != u8::try_from(path.len()).ok() {
                return Err(format!("the depth of host {host} is not that of its path"));
            }
            let above = self.host_of(&parent).and_then(|parent| self.mesh(parent)?.tree(track));
            let above = above.ok_or_else(|| format!("the parent of host {host} is dead"))?;
            if above.root_path() != &path[..path.len() - 1] {
                return Err(format!("the path of host {host} is not that of its parent"));
            }
            if !above.children().any(|(child, _)| child == mesh.me()) {
                return Err(format!("the parent of host {host} does not know it"));
            }
        }
        Ok(())
    }

    /// What keeps the world from being at rest.
    pub fn settled(&self, track: &TrackName) -> Result<(), String> {
        self.one_tree(track)?;
        self.tables_equal()
    }

    /// Demands that within `limit` there is one tree and all tables are equal. Returns how long it took.
    pub fn settle(&mut self, track: &TrackName, limit: Nanos) -> Nanos {
        let began = self.now;
        // A moment that happens to look right is not rest.
        let mut since = None;
        let done = self.run_until(limit + SECOND / 2, |world| {
            match (world.settled(track).is_ok(), since) {
                (false, _) => since = None,
                (true, None) => since = Some(world.now),
                (true, Some(at)) => return world.now - at >= SECOND / 4,
            }
            false
        });
        self.check_bounds();
        match since.filter(|_| done) {
            Some(at) => at - began,
            None => {
                let why = self.settled(track).err().unwrap_or_else(|| "it does not last".to_owned());
                self.violated(&format!("not at rest {:.1} s after healing: {why}", limit as f64 / 1e9));
            }
        }
    }
}
