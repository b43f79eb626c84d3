//! Links, messages and data streams.

use std::{collections::BTreeSet, time::Duration};

use banyan_gossip::PeerId;
use banyan_tree::{Input, Links, Message};

use super::{Happening, World, pair};

/// The links of a node.
#[derive(Debug, Default)]
pub struct LinkSet(BTreeSet<PeerId>, BTreeSet<PeerId>);

impl LinkSet {
    /// Follows what the node is told of its links.
    pub(super) fn follow(&mut self, input: &Input) {
        match input {
            Input::Lost { peer } => drop(self.1.insert(*peer)),
            Input::Heard { peer } | Input::LinkUp { peer } | Input::LinkDown { peer } => drop(self.1.remove(peer)),
            _ => {}
        }
    }
}

impl Links for LinkSet {
    fn linked(&self, peer: &PeerId) -> bool {
        self.0.contains(peer)
    }

    fn silent(&self, peer: &PeerId) -> bool {
        self.1.contains(peer)
    }

    fn rtt(&self, peer: &PeerId) -> Option<Duration> {
        self.0.contains(peer).then_some(Duration::from_millis(2))
    }
}

impl World {
    pub fn is_cut(&self, a: PeerId, b: PeerId) -> bool {
        self.cut.contains(&pair(a, b))
    }

    fn reachable(&self, a: PeerId, b: PeerId) -> bool {
        self.nodes.contains_key(&b) && self.nodes.contains_key(&a) && !self.is_cut(a, b)
    }

    pub(super) fn connect(&mut self, from: PeerId, to: PeerId) {
        if !self.reachable(from, to) {
            return self.step(from, Some(Input::ConnectFailed { peer: to }));
        }
        let key = pair(from, to);
        if !self.links.contains_key(&key) {
            self.sequence += 1;
            self.links.insert(key, self.sequence);
        }
        for (at, peer) in [(from, to), (to, from)] {
            if self.nodes.get_mut(&at).is_some_and(|node| node.links.0.insert(peer)) {
                self.step(at, Some(Input::LinkUp { peer }));
            }
        }
    }

    /// The link breaks; each end learns of it after the delay.
    pub fn drop_link(&mut self, a: PeerId, b: PeerId, delay: Duration) {
        let Some(link) = self.links.remove(&pair(a, b)) else {
            return;
        };
        for (at, peer) in [(a, b), (b, a)] {
            if let Some(node) = self.nodes.get(&at) {
                let life = node.life;
                self.later(delay, Happening::LinkGone { at, life, peer, link });
            }
        }
    }

    pub(super) fn link_gone(&mut self, at: PeerId, peer: PeerId, _link: u64) {
        // Unless a new link replaced it meanwhile; then the node hears of the old one's end first.
        let node = self.nodes.get_mut(&at).expect("a living node");
        if node.links.0.remove(&peer) {
            self.step(at, Some(Input::LinkDown { peer }));
        }
        if self.links.contains_key(&pair(at, peer)) {
            self.links.remove(&pair(at, peer));
            if self.nodes.get_mut(&peer).is_some_and(|node| node.links.0.remove(&at)) {
                self.step(peer, Some(Input::LinkDown { peer: at }));
            }
        }
    }

    pub(super) fn links_of(&self, peer: PeerId) -> Vec<PeerId> {
        let of_peer = self.links.keys().filter(|(a, b)| *a == peer || *b == peer);
        of_peer.map(|(a, b)| if *a == peer { *b } else { *a }).collect()
    }

    pub(super) fn post(&mut self, from: PeerId, to: PeerId, message: Message) {
        let Some(link) = self.links.get(&pair(from, to)).copied() else {
            return;
        };
        let delay = self.draw(self.delays.message);
        let last = self.arrivals.get(&(from, to)).copied().unwrap_or(self.now);
        let arrival = (self.now + delay).max(last);
        self.arrivals.insert((from, to), arrival);
        self.at(arrival, Happening::Message { from, to, link, message });
    }

    // --- Data streams ------------------------------------------------------------------------

    pub(super) fn stream_arrives(&mut self, child: PeerId, parent: PeerId, ticket: u64) {
        if !self.streams.contains_key(&(child, parent, ticket)) {
            return;
        }
        if self.reachable(child, parent) && !self.nodes[&parent].left {
            self.step(parent, Some(Input::ChildOpened { peer: child, ticket }));
        } else {
            self.end_stream(child, parent, ticket, true);
        }
    }

    /// A stream ends; the other end learns of it.
    pub(super) fn end_stream(&mut self, child: PeerId, parent: PeerId, ticket: u64, at_child: bool) {
        if self.remove_stream(child, parent, ticket) && !self.is_cut(child, parent) {
            let delay = self.draw(self.delays.message);
            self.later(delay, Happening::StreamEnds { child, parent, ticket, at_child });
        }
    }

    pub(super) fn remove_stream(&mut self, child: PeerId, parent: PeerId, ticket: u64) -> bool {
        let serves = self.streams.remove(&(child, parent, ticket));
        if serves == Some(true) {
            *self.served.get_mut(&parent).expect("counted when it was served") -= 1;
        }
        serves.is_some()
    }

    pub(super) fn streams_between(&self, a: PeerId, b: PeerId) -> Vec<(PeerId, PeerId, u64)> {
        let ours = |(child, parent, _): &&(PeerId, PeerId, u64)| pair(*child, *parent) == pair(a, b);
        self.streams.keys().filter(ours).copied().collect()
    }

    /// Breaks the data stream from the parent, and nothing else.
    pub fn break_stream(&mut self, child: PeerId) {
        let of_child = self.streams.keys().filter(|(c, ..)| *c == child).copied();
        for (child, parent, ticket) in of_child.collect::<Vec<_>>() {
            self.remove_stream(child, parent, ticket);
            for at_child in [true, false] {
                self.later(Duration::ZERO, Happening::StreamEnds { child, parent, ticket, at_child });
            }
        }
    }

    /// Who feeds this node by an open stream.
    pub fn feeders(&self, child: PeerId) -> Vec<PeerId> {
        let lowest = PeerId::from_key_bytes([0; 32]);
        let from_child = self.streams.range((child, lowest, 0)..).take_while(|((c, ..), _)| *c == child);
        from_child.filter(|(_, serves)| **serves).map(|((_, parent, _), _)| *parent).collect()
    }

    /// Whom this node feeds by open streams.
    pub fn fed_by(&self, parent: PeerId) -> usize {
        self.served.get(&parent).copied().unwrap_or(0)
    }
}
