//! Nobody is its own ancestor (A7, E2).
//!
//! A parent checks its root path when it accepts. Two orphans may each be accepted deep below the
//! other at the same moment, before either path change has come down; no node can see that alone.
//! The path change that comes round then tells the first who sees itself in it. So a loop may last
//! as long as a message needs round it, and not longer.

use std::collections::BTreeMap;

use banyan_gossip::{PeerId, TrackName};
use banyan_node::mesh::Control;
use banyan_tree::Message;

use super::since;
use crate::{
    queue::{MS, Nanos},
    world::World,
};

/// Longest life of a loop whose members are all awake and reach each other.
const LOOP_MAX: Nanos = 2_000 * MS;

/// Loops that were seen.
#[derive(Debug, Default)]
pub(crate) struct Loops {
    seen: BTreeMap<(u32, TrackName), (Nanos, Nanos)>,
    /// How many there were.
    pub(crate) count: u64,
    /// How long the longest lasted.
    pub(crate) longest: Nanos,
}

impl Loops {
    pub(super) fn forget(&mut self, host: u32) {
        self.seen.retain(|(at, _), _| *at != host);
    }
}

impl World {
    /// How many loops there were, and how long the longest lasted.
    #[must_use]
    pub const fn loops(&self) -> (u64, Nanos) {
        (self.checks.loops.count, self.checks.loops.longest)
    }

    /// Only a change of a host's parent closes a loop, and it closes it around that host.
    pub(super) fn check_loops(&mut self, changed: u32) {
        let tracks: Vec<TrackName> =
            self.mesh(changed).expect("it runs").trees().map(|(track, _)| track.clone()).collect();
        for track in tracks {
            if self.loop_around(changed, &track).is_some()
                && !self.checks.loops.seen.contains_key(&(changed, track.clone()))
            {
                self.checks.loops.count += 1;
                self.checks.loops.seen.insert((changed, track), (self.now, self.now));
            }
        }
        let (now, mut seen) = (self.now, std::mem::take(&mut self.checks.loops.seen));
        seen.retain(|(host, track), (first, calm)| {
            self.checks.loops.longest = self.checks.loops.longest.max(since(now, *first));
            let Some(members) = self.loop_around(*host, track) else {
                return false;
            };
            if !self.all_hear_each_other(&members) {
                *calm = now;
            }
            if since(now, *calm) > LOOP_MAX {
                self.violated(&format!("hosts {members:?} are their own ancestors in {track} (A7)"));
            }
            true
        });
        self.checks.loops.seen = seen;
    }

    /// The members of the loop that a host is in, if it is in one.
    fn loop_around(&self, start: u32, track: &TrackName) -> Option<Vec<u32>> {
        let mut members = vec![start];
        loop {
            let at = *members.last().expect("there is one");
            let parent = self.mesh(at)?.tree(track)?.parent()?;
            let parent = self.host_of(&parent)?;
            if parent == start {
                return Some(members);
            }
            if members.contains(&parent) {
                return None;
            }
            members.push(parent);
        }
    }

    /// The parent's half of the rule, at the one moment when it can be kept: nobody is accepted by who
    /// is below it, as far as that one knows.
    pub(crate) fn check_accept(&self, host: u32, to: &PeerId, message: &Control) {
        if let Control::Tree { message: Message::Accept { path, .. }, track, .. } = message
            && path.contains(to)
        {
            self.violated(&format!("host {host} accepts {} in {track}, its own ancestor (A7)", self.name(to)));
        }
    }

    fn all_hear_each_other(&self, members: &[u32]) -> bool {
        let next = members.iter().cycle().skip(1);
        let pairs = || members.iter().zip(next.clone());
        members.iter().all(|host| self.is_awake(*host))
            && pairs().all(|(a, b)| self.net.reaches(*a, *b) && self.net.reaches(*b, *a))
            && !pairs().any(|(a, b)| self.is_held(*a, *b))
    }
}
