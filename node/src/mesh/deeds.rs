//! The proofs that publications are their origins': signed here, checked when a parent accepts, handed down.

use std::{collections::BTreeMap, time::Instant};

use banyan_gossip::{Deed, PeerId, TrackName};
use banyan_tree::{Message, Source, Tree};

use super::{Mesh, Output};
use crate::relay::Terms;

/// Of the publication that a tree follows, and of the one that it may follow next.
pub(super) type Deeds = BTreeMap<Source, Deed>;

impl Mesh {
    /// This node is about to publish.
    pub(super) fn sign_deed(&mut self, track: &TrackName, epoch: u64, terms: Terms) {
        let deed = Deed::sign(&*self.keys, &self.config.mesh, track, epoch, terms.bits());
        self.deeds.insert(track.clone(), [(Source { epoch, origin: self.me }, deed)].into());
    }

    /// What goes with a message.
    pub(super) fn deed_for(&self, track: &TrackName, message: &Message) -> Option<Deed> {
        match message {
            Message::Accept { source, .. } => self.deeds.get(track)?.get(source).copied(),
            _ => None,
        }
    }

    /// How a publication is published, as its origin says.
    pub(super) fn terms_of(&self, track: &TrackName, source: Source) -> Terms {
        let deed = self.deeds.get(track).and_then(|deeds| deeds.get(&source));
        deed.and_then(|deed| Terms::from_bits(deed.terms)).unwrap_or_default()
    }

    /// Checks what comes with a message. Says whether the message may be heard.
    pub(super) fn take_deed(
        &mut self,
        now: Instant,
        from: PeerId,
        track: &TrackName,
        message: &Message,
        deed: Option<Deed>,
    ) -> bool {
        let Message::Accept { source, .. } = message else {
            return true;
        };
        let Some(tree) = self.trees.get(track) else {
            return true;
        };
        let known = self.deeds.get(track).and_then(|deeds| deeds.get(source));
        let is_signed = deed.is_some_and(|deed| {
            known == Some(&deed)
                || Terms::from_bits(deed.terms).is_some()
                    && deed.is_of(&*self.keys, &self.config.mesh, track, source.epoch, &source.origin)
        });
        let Some(deed) = deed.filter(|_| is_signed) else {
            self.on_lie(now, track, from);
            return false;
        };
        let followed = Tree::source(tree);
        let deeds = self.deeds.entry(track.clone()).or_default();
        deeds.retain(|source, _| Some(*source) == followed);
        deeds.insert(*source, deed);
        true
    }

    /// A peer promised, or passed on, what no origin has signed.
    pub(super) fn on_lie(&mut self, now: Instant, track: &TrackName, peer: PeerId) {
        self.outputs.push_back(Output::Event(super::Event::Liar(track.clone(), peer)));
        self.all_trees(now, || banyan_tree::Input::Lied { peer });
    }
}
