//! What the node's own user asks for: publish, subscribe, offer slots, leave.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use banyan_gossip::{
    LibraryDigest, PeerId, Role, TrackEntry, TrackName,
    op::{UserEvent, UserEventError},
    row::TRACKS_BUDGET_BYTES,
};
use banyan_tree::{Right, Rules, Tree};

use super::{CAPACITY_CEILING, Control, Mesh, Output, RequestError, connector::Dial};
use crate::relay::Terms;

/// How far above the epochs in sight a new one may be.
const EPOCH_STEP_MAX: u64 = 1 << 20;

impl Mesh {
    /// Becomes the origin of a track. Returns the publishing epoch.
    ///
    /// # Errors
    /// [`RequestError`]: nothing has changed.
    pub fn publish(&mut self, now: Instant, track: &TrackName, terms: Terms) -> Result<u64, RequestError> {
        self.check_not_leaving()?;
        self.check_right(Right::Publish, track)?;
        if self.own_entry(track).is_some_and(|entry| entry.role == Role::Origin) {
            return Err(RequestError::AlreadyPublished);
        }
        let others = || self.table().iter_live().filter_map(|row| Some((row.peer, row.tracks.get(track)?)));
        let publishes = |peer: &PeerId, entry: &TrackEntry| {
            *peer != self.me && entry.role == Role::Origin && self.allows(Right::Publish, track, peer)
        };
        if let Some((peer, _)) = others().find(|(peer, entry)| publishes(peer, entry)) {
            return Err(RequestError::PublishedBy(peer));
        }
        // Greater than any epoch in sight, and than what this node used before a restart. Two nodes
        // that see the same and publish at once should not come to the same epoch: rings and resumed
        // streams know a publication by its epoch alone.
        let seen = others().map(|(_, entry)| entry.epoch).max().unwrap_or(0);
        let above = seen.saturating_add(self.rng.u64(1..=EPOCH_STEP_MAX));
        let epoch = self.incarnation().max(above);
        self.open_tree(now, track)?;
        self.sign_deed(track, epoch, terms);
        self.tree_input(now, track, banyan_tree::Input::Publish { epoch });
        self.settle(now);
        Ok(epoch)
    }

    /// Whether another live peer publishes the track as well, and everyone follows that one.
    #[must_use]
    pub fn is_overtaken(&self, track: &TrackName) -> bool {
        let Some(entry) = self.own_entry(track).filter(|entry| entry.role != Role::Member) else {
            return false;
        };
        let greater = self.table().publications(track).rev();
        let mut greater = greater.take_while(|(epoch, origin, _)| (*epoch, *origin) > (entry.epoch, self.me));
        greater.any(|(epoch, origin, _)| {
            let other = self.table().live(&origin).and_then(|row| row.tracks.get(track));
            let publishes = other.is_some_and(|other| other.role == Role::Origin && other.epoch == epoch);
            publishes && self.allows(Right::Publish, track, &origin)
        })
    }

    /// The track that this node publishes has come to its end; it is served on.
    pub fn end_publish(&mut self, now: Instant, track: &TrackName) {
        self.tree_input(now, track, banyan_tree::Input::EndPublish);
        self.settle(now);
    }

    /// Takes part in a track.
    ///
    /// # Errors
    /// [`RequestError`]: nothing has changed.
    pub fn subscribe(&mut self, now: Instant, track: &TrackName) -> Result<(), RequestError> {
        self.check_not_leaving()?;
        self.check_right(Right::Subscribe, track)?;
        if self.own_entry(track).is_none_or(|entry| entry.role == Role::Member) {
            self.open_tree(now, track)?;
            self.tree_input(now, track, banyan_tree::Input::Subscribe);
            self.settle(now);
        }
        Ok(())
    }

    /// No longer takes part in a track; children are handed over first.
    pub fn unsubscribe(&mut self, now: Instant, track: &TrackName) {
        self.tree_input(now, track, banyan_tree::Input::Unsubscribe);
        self.settle(now);
    }

    /// Needs the link to a peer from now on: it is not offered for closing, and dialled now if it is not
    /// there. `false`: it is not, and no address is known.
    pub fn hold_link(&mut self, now: Instant, peer: PeerId) -> bool {
        self.held.insert(peer);
        if self.links.link(&peer).is_some() || self.connector.is_dialling(&peer) {
            return true;
        }
        let dial = self.connector.dial_now(now, self.gossip.table(), peer);
        let Some(Dial::Peer(peer, addresses)) = dial else { return false };
        self.outputs.push_back(Output::Dial { peer, addresses });
        true
    }

    /// No longer needs the link to a peer.
    pub fn let_go(&mut self, peer: &PeerId) {
        self.held.remove(peer);
    }

    /// Asks a linked peer to open the stream that carries typed streams.
    pub fn ask_for_streams(&mut self, peer: PeerId) {
        self.send(peer, Control::Streams);
    }

    /// Offers another number of slots.
    pub fn set_capacity(&mut self, now: Instant, capacity: u16) {
        self.slots.set_capacity(capacity.min(CAPACITY_CEILING));
        self.row_changed = true;
        self.all_trees(now, || banyan_tree::Input::CapacityChanged);
        self.settle(now);
    }

    /// Says other things of this node in its row; the caller has checked the bounds of tags.
    pub fn set_tags(&mut self, now: Instant, tags: BTreeMap<String, String>) {
        self.row_changed |= self.config.tags != tags;
        self.config.tags = tags;
        self.settle(now);
    }

    /// Goes by these rules from now on. What they forbid of others ends; what this node publishes and follows itself goes
    /// on until it ends or nobody feeds it any more.
    pub fn set_rules(&mut self, now: Instant, rules: Arc<Rules>) {
        self.config.tree.rules = Arc::clone(&rules);
        self.all_trees(now, || banyan_tree::Input::Rules(Arc::clone(&rules)));
        self.settle(now);
    }

    /// Tells every node of the mesh, this one included.
    ///
    /// # Errors
    /// [`UserEventError`]: nothing was told.
    pub fn tell(&mut self, now: Instant, name: String, payload: String) -> Result<UserEvent, UserEventError> {
        let told = self.gossip.tell(now, name, payload);
        self.settle(now);
        told
    }

    /// There are other bootstrap addresses now, so many.
    pub fn set_bootstraps(&mut self, now: Instant, bootstraps: usize) {
        self.config.bootstraps = bootstraps;
        self.connector.set_bootstraps(now, bootstraps);
    }

    /// Says what this node offers in its library.
    pub fn set_library(&mut self, now: Instant, library: Option<LibraryDigest>) {
        self.row_changed |= self.library != library;
        self.library = library;
        self.settle(now);
    }

    /// Leaves the mesh: hands children over, says goodbye. Ends with [`super::Output::Left`].
    pub fn leave(&mut self, now: Instant) {
        if self.leaving.is_none() {
            self.leaving = Some(now + self.config.leave_timeout);
            self.all_trees(now, || banyan_tree::Input::Leave);
            self.settle(now);
        }
    }

    const fn check_not_leaving(&self) -> Result<(), RequestError> {
        if self.leaving.is_some() { Err(RequestError::Leaving) } else { Ok(()) }
    }

    /// Whether the rules give a peer a right to a track, by the tags that it says of itself.
    pub(super) fn allows(&self, right: Right, track: &TrackName, peer: &PeerId) -> bool {
        let tags = if *peer == self.me {
            // Its row may be behind.
            Some(&self.config.tags)
        } else {
            self.table().row(peer).map(|row| &row.tags)
        };
        self.config.tree.rules.allow(right, track, peer, tags)
    }

    fn check_right(&self, right: Right, track: &TrackName) -> Result<(), RequestError> {
        if self.allows(right, track, &self.me) { Ok(()) } else { Err(RequestError::Forbidden(right)) }
    }

    fn own_entry(&self, track: &TrackName) -> Option<TrackEntry> {
        self.trees.get(track)?.entry()
    }

    fn open_tree(&mut self, now: Instant, track: &TrackName) -> Result<(), RequestError> {
        if self.trees.contains_key(track) {
            return Ok(());
        }
        // What is relayed for others makes room.
        while !self.has_room_for(track, |_| true) {
            if !self.has_room_for(track, |tree| !tree.is_volunteer()) || !self.give_up_volunteering(now) {
                return Err(RequestError::TooManyTracks);
            }
        }
        self.add_tree(now, track);
        Ok(())
    }

    /// Whether the row has room for another track beside these.
    pub(super) fn has_room_for(&self, track: &TrackName, counts: impl Fn(&Tree) -> bool) -> bool {
        let others = self.trees.iter().filter(|(_, tree)| !tree.is_leaving() && counts(tree)).map(|(name, _)| name);
        others.chain([track]).map(TrackEntry::budget).sum::<usize>() <= TRACKS_BUDGET_BYTES
    }

    pub(super) fn add_tree(&mut self, now: Instant, track: &TrackName) {
        let tree = Tree::new(self.me, track.clone(), self.config.tree.clone(), self.rng.fork(), now);
        self.trees.insert(track.clone(), tree);
    }
}
