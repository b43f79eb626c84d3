//! The machine of one track.

use std::{collections::{BTreeSet, VecDeque}, time::Instant};

use banyan_gossip::{PeerId, TrackEntry, TrackName};

use crate::{Config, Context, Input, Output, Source, State};

/// The part of this node in the tree of one track.
#[derive(Debug)]
pub struct Tree {
    outputs: VecDeque<Output>,
}

impl Tree {
    /// A node without a part in the track so far.
    #[must_use]
    pub fn new(_me: PeerId, _track: TrackName, _config: Config, _rng: fastrand::Rng, _now: Instant) -> Self {
        Self { outputs: VecDeque::new() }
    }
    /// Tells the machine what happened.
    pub fn handle_input(&mut self, _now: Instant, _cx: &mut Context<'_>, _input: Input) {}
    /// Does what is due.
    pub fn handle_timeout(&mut self, _now: Instant, _cx: &mut Context<'_>) {}
    /// When `handle_timeout` wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
    /// This node's part in the track, for its row.
    #[must_use]
    pub fn entry(&self) -> Option<TrackEntry> {
        None
    }
    /// Who feeds this node.
    #[must_use]
    pub fn parent(&self) -> Option<PeerId> {
        None
    }
    /// Distance from the origin.
    #[must_use]
    pub fn depth(&self) -> Option<u8> {
        None
    }
    /// The ancestors, topmost first.
    #[must_use]
    pub fn root_path(&self) -> &[PeerId] {
        &[]
    }
    /// The children whose streams are open, with their tickets.
    pub fn children(&self) -> impl Iterator<Item = (PeerId, u64)> {
        std::iter::empty()
    }
    /// Parents chosen in advance.
    #[must_use]
    pub fn backups(&self) -> &[PeerId] {
        &[]
    }
    /// The publication that is followed.
    #[must_use]
    pub fn source(&self) -> Option<Source> {
        None
    }
    /// Where this node stands.
    #[must_use]
    pub fn state(&self) -> State {
        State::Idle
    }
    /// Everyone whose link this tree uses.
    #[must_use]
    pub fn link_peers(&self) -> BTreeSet<PeerId> {
        BTreeSet::new()
    }
}
