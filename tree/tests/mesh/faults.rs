//! What goes wrong.

use std::time::Duration;

use banyan_gossip::{PeerId, Presence};
use banyan_tree::Input;

use super::{Happening, World, ms, pair, peer, s};

impl World {
    /// The node dies; its sockets are closed by its kernel.
    pub fn kill(&mut self, number: u16) {
        self.vanish(peer(number), ms(1), ms(1_000));
    }

    /// The node is cut off: nothing closes, everybody has to notice by its silence.
    pub fn kill_silently(&mut self, number: u16) {
        let dead = peer(number);
        for other in self.links_of(dead) {
            if self.nodes[&other].tree.parent() == Some(dead) {
                self.input_later(ms(150), other, Input::Silent { peer: dead });
                self.input_later(ms(300), other, Input::Lost { peer: dead });
            }
        }
        self.vanish(dead, ms(3_500), ms(4_500));
    }

    fn vanish(&mut self, dead: PeerId, noticed: Duration, known: Duration) {
        let Some(node) = self.nodes.remove(&dead) else {
            return;
        };
        if let Some(at) = node.wake {
            self.wakes.remove(&(at, dead));
        }
        for other in self.links_of(dead) {
            self.drop_link(dead, other, noticed);
        }
        let of_dead = self.streams.keys().filter(|(child, parent, _)| *child == dead || *parent == dead);
        for (child, parent, ticket) in of_dead.copied().collect::<Vec<_>>() {
            self.remove_stream(child, parent, ticket);
            if noticed < ms(100) {
                let at_child = parent == dead;
                self.later(noticed, Happening::StreamEnds { child, parent, ticket, at_child });
            }
        }
        // What gossip makes of it: everyone holds it for dead a while later.
        for to in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.hold_for_dead(to, dead, known);
        }
    }

    fn hold_for_dead(&mut self, to: PeerId, peer: PeerId, known: Duration) {
        let delay = known + self.draw(self.delays.gossip);
        let life = self.nodes[&to].life;
        // Stands for a certificate of that incarnation's death.
        let mut row = self.rows[&peer].clone();
        (row.presence, row.version) = (Presence::Left, u64::MAX);
        self.later(delay, Happening::Row { to, life, row: Box::new(row) });
    }

    /// The node comes back under its id and has forgotten everything.
    pub fn restart(&mut self, number: u16) {
        self.kill(number);
        let (config, capacity) = self.configs[&peer(number)].clone();
        self.add(number, capacity, config);
    }

    /// These cannot reach those any more. Each side holds the other for dead after a while.
    pub fn cut(&mut self, these: &[u16], those: &[u16]) {
        for a in these.iter().map(|number| peer(*number)) {
            for b in those.iter().map(|number| peer(*number)) {
                for (child, parent) in [(a, b), (b, a)] {
                    if self.nodes.get(&child).is_some_and(|node| node.tree.parent() == Some(parent)) {
                        self.input_later(ms(150), child, Input::Silent { peer: parent });
                    }
                }
                self.drop_link(a, b, ms(300));
                self.cut.insert(pair(a, b));
                for (child, parent, ticket) in self.streams_between(a, b) {
                    self.remove_stream(child, parent, ticket);
                }
            }
        }
        for (at, other) in self.cut.clone().into_iter().flat_map(|(a, b)| [(a, b), (b, a)]) {
            if self.nodes.contains_key(&at) && self.nodes.contains_key(&other) {
                self.hold_for_dead(at, other, s(1));
            }
        }
    }

    /// Everyone can reach everyone again, and publishes its row.
    pub fn heal(&mut self) {
        self.cut.clear();
        for at in self.nodes.keys().copied().collect::<Vec<_>>() {
            // Refutes whatever was said of it.
            self.lives += 1;
            self.nodes.get_mut(&at).expect("a living node").incarnation = self.lives;
            self.publish_row(at);
        }
    }
}
