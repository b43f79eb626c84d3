//! What goes wrong.

use std::time::Duration;

use banyan_gossip::{PeerId, Presence};
use banyan_tree::Input;

use super::{World, ms, pair, peer};

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
            }
        }
        self.vanish(dead, ms(300), ms(1_500));
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
            self.streams.remove(&(child, parent, ticket));
            if noticed < ms(100) {
                let at_child = parent == dead;
                self.later(noticed, super::Happening::StreamEnds { child, parent, ticket, at_child });
            }
        }
        // What gossip makes of it: everyone holds it for dead a while later.
        let mut row = self.rows[&dead].clone();
        (row.presence, row.version) = (Presence::Left, row.version + 1_000_000);
        self.rows.insert(dead, row.clone());
        for to in self.nodes.keys().copied().collect::<Vec<_>>() {
            let delay = known + self.draw(self.delays.gossip);
            let life = self.nodes[&to].incarnation;
            self.later(delay, super::Happening::Row { to, life, row: Box::new(row.clone()) });
        }
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
                self.streams.retain(|(child, parent, _), _| pair(*child, *parent) != pair(a, b));
            }
        }
        for (at, other) in self.cut_pairs() {
            if let Some(mut row) = self.rows.get(&other).cloned().filter(|_| self.nodes.contains_key(&at)) {
                (row.presence, row.version) = (Presence::Left, row.version + 1);
                if let Some(node) = self.nodes.get_mut(&other) {
                    // The next row of its own refutes that.
                    node.version = node.version.max(row.version);
                }
                self.rows.get_mut(&other).expect("just seen").version = row.version;
                self.nodes.get_mut(&at).expect("just seen").table.merge_row(row);
                self.input_later(ms(1_000), at, Input::TableChanged);
            }
        }
    }

    fn cut_pairs(&self) -> Vec<(PeerId, PeerId)> {
        self.cut.iter().flat_map(|(a, b)| [(*a, *b), (*b, *a)]).collect()
    }

    /// Everyone can reach everyone again, and publishes its row.
    pub fn heal(&mut self) {
        self.cut.clear();
        for at in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.publish_row(at);
        }
    }
}
