//! What a tree shows of itself, and what must hold of it.

use std::{collections::BTreeSet, time::Instant};

use banyan_gossip::{PeerId, Role, TrackEntry, TrackName};

use crate::{Context, Source, State, Tree, machine::Part, message::PATH_MAX};

impl Tree {
    pub(crate) fn current_state(&self, now: Instant) -> State {
        match self.part {
            Part::Idle => State::Idle,
            Part::Origin { .. } => State::Origin,
            Part::Member if self.upstream.parent.is_none() => State::Seeking { reason: self.upstream.stuck },
            Part::Member if self.is_fresh(now) => State::Attached,
            Part::Member => State::Stalled,
        }
    }

    pub(crate) fn current_entry(&self, now: Instant, cx: &Context<'_>) -> Option<TrackEntry> {
        let role = match self.part {
            Part::Idle => return None,
            Part::Origin { ended: false } => Role::Origin,
            Part::Origin { ended: true } => Role::Ended,
            Part::Member => Role::Member,
        };
        let depth = match self.part {
            Part::Origin { .. } => Some(0),
            // A fragment that is repaired at once does not stir the whole mesh: until the origin's
            // silence shows, its inner nodes keep their depths (and refuse all who ask).
            _ if self.upstream.parent.is_some() && self.is_fresh(now) => self.upstream.last_depth,
            _ => None,
        };
        let open = self.children.values().filter(|child| child.is_open()).count();
        let free = if self.leaving.is_some() { 0 } else { self.free_slots(cx, false) };
        Some(TrackEntry {
            role,
            origin: self.source.map(|source| source.origin),
            epoch: self.source.map_or(0, |source| source.epoch),
            depth,
            parent: self.parent(),
            children: u16::try_from(open).unwrap_or(u16::MAX),
            free,
            volunteer: self.volunteer,
        })
    }

    /// This node's part in the track, for its row; `None` if it has none.
    #[must_use]
    pub fn entry(&self) -> Option<TrackEntry> {
        self.shown.clone()
    }

    /// The track.
    #[must_use]
    pub const fn track(&self) -> &TrackName {
        &self.track
    }

    /// Who feeds this node.
    #[must_use]
    pub fn parent(&self) -> Option<PeerId> {
        self.upstream.parent.as_ref().map(|parent| parent.peer)
    }

    /// Distance from the origin; `None` while not attached to a live origin.
    #[must_use]
    pub fn depth(&self) -> Option<u8> {
        self.shown.as_ref()?.depth
    }

    /// The ancestors, topmost first. It begins at the origin unless this node's fragment is
    /// detached; empty at the origin and at the top of a fragment.
    #[must_use]
    pub fn root_path(&self) -> &[PeerId] {
        self.upstream.parent.as_ref().map_or(&[], |parent| &parent.path)
    }

    /// The children whose data streams are open, with their tickets.
    pub fn children(&self) -> impl Iterator<Item = (PeerId, u64)> {
        self.children.iter().filter(|(_, child)| child.is_open()).map(|(peer, child)| (*peer, child.ticket))
    }

    /// Slots that this tree holds: its children and its reservations.
    #[must_use]
    pub fn slots_held(&self) -> usize {
        self.children.len()
    }

    /// Parents chosen in advance.
    #[must_use]
    pub fn backups(&self) -> &[PeerId] {
        &self.backups.list
    }

    /// The publication that is followed.
    #[must_use]
    pub const fn source(&self) -> Option<Source> {
        self.source
    }

    /// Where this node stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether this node relays the track for others' sake alone.
    #[must_use]
    pub const fn is_volunteer(&self) -> bool {
        self.volunteer
    }

    /// Whether this node is giving the track up.
    #[must_use]
    pub const fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Messages dropped because no honest peer sends them.
    #[must_use]
    pub const fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Everyone whose link this tree uses: parent, children, backups, and whoever is being asked.
    #[must_use]
    pub fn link_peers(&self) -> BTreeSet<PeerId> {
        let asked = self.upstream.attempt.as_ref().and_then(|attempt| attempt.phase.peer());
        let upstream = self.parent().into_iter().chain(asked).chain(self.summons.asked);
        upstream.chain(self.children.keys().copied()).chain(self.backups.list.iter().copied()).collect()
    }

    /// Checks what must hold after every step.
    ///
    /// # Panics
    /// If something does not hold, with a sentence that says what.
    pub fn assert_invariants(&self) {
        assert!(!self.children.contains_key(&self.me), "a node is not its own child");
        assert!(!self.root_path().contains(&self.me), "a node does not stand in its own root path");
        assert!(self.root_path().len() <= PATH_MAX, "a root path is bounded");
        if let Some(parent) = &self.upstream.parent {
            assert_eq!(parent.path.last(), Some(&parent.peer), "a root path ends at the parent");
            assert!(!self.children.contains_key(&parent.peer), "the parent is not a child");
            assert_eq!(self.part, Part::Member, "only members have parents");
            assert!(self.upstream.given_up.is_none(), "another parent was parted from");
            assert!(parent.path.len() <= usize::from(self.config.max_depth) || !self.is_attached(), "depth is limited");
        }
        if self.upstream.attempt.is_some() {
            assert_eq!(self.part, Part::Member, "only members look for parents");
            assert!(self.leaving.is_none(), "who leaves looks for no parent");
        }
        if self.part == Part::Member && self.leaving.is_none() && self.upstream.parent.is_none() {
            assert!(self.upstream.attempt.is_some(), "a member without a parent looks for one");
        }
        assert!(self.backups.list.len() <= crate::BACKUPS_MAX, "backups are bounded");
        assert!(!self.backups.list.contains(&self.me), "a node is not its own backup");
        if self.volunteer {
            assert_ne!(self.part, Part::Origin { ended: false }, "who publishes is no volunteer");
            assert!(self.summons.at.is_none(), "volunteers summon nobody");
        }
        if self.left {
            assert!(self.children.is_empty() && self.upstream.parent.is_none(), "who has left holds nothing");
            assert!(self.upstream.given_up.is_none(), "nor anybody");
        }
    }
}
