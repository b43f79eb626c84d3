//! The dead and the departed by the time of their burial: those whose time is over come first.

use std::{collections::BTreeSet, time::Instant};

use crate::PeerId;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Graves {
    /// Those who are spoken of.
    shared: BTreeSet<(Instant, PeerId)>,
    /// Those who are only remembered; all of them are older.
    silent: BTreeSet<(Instant, PeerId)>,
}

impl Graves {
    pub(super) fn len(&self) -> usize {
        self.shared.len() + self.silent.len()
    }

    pub(super) fn insert(&mut self, at: Instant, peer: PeerId, shared: bool) {
        self.side(shared).insert((at, peer));
    }

    pub(super) fn remove(&mut self, at: Instant, peer: PeerId, shared: bool) {
        self.side(shared).remove(&(at, peer));
    }

    const fn side(&mut self, shared: bool) -> &mut BTreeSet<(Instant, PeerId)> {
        if shared { &mut self.shared } else { &mut self.silent }
    }

    pub(super) fn oldest(&self) -> Option<(Instant, PeerId)> {
        self.silent.first().or(self.shared.first()).copied()
    }

    /// The oldest who is spoken of.
    pub(super) fn oldest_shared(&self) -> Option<(Instant, PeerId)> {
        self.shared.first().copied()
    }
}
