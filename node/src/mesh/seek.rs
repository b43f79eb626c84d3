//! Which links are sought, and which are let go.

use std::{collections::BTreeSet, time::Instant};

use banyan_gossip::{PeerId, TrackName};
use banyan_tree::Tree;

use super::{Control, Link, Mesh, Output, connector::Dial};

/// How often idle links are looked for while one becomes idle.
pub(super) const IDLE_CHECKS: u32 = 12;
/// By this factor sooner a link is idle when there are more than twice as many as may stay.
const CROWDED: u32 = 6;

impl Mesh {
    /// A tree wants a link.
    pub(super) fn connect(&mut self, now: Instant, track: &TrackName, peer: PeerId) {
        if self.links.link(&peer).is_some() || peer == self.me {
            return;
        }
        if self.connector.is_dialling(&peer) {
            self.wanted.insert(peer);
        } else if let Some(Dial::Peer(peer, addresses)) = self.connector.dial_now(now, self.gossip.table(), peer) {
            self.wanted.insert(peer);
            self.outputs.push_back(Output::Dial { peer, addresses });
        } else {
            self.tree_input(now, track, banyan_tree::Input::ConnectFailed { peer });
        }
    }

    pub(super) fn reconcile(&mut self, now: Instant) {
        let in_use = self.in_use();
        let random = self.links.iter().filter(|(peer, _)| !in_use.contains(peer)).count();
        for dial in self.connector.reconcile(now, self.gossip.table(), &self.links, random) {
            self.outputs.push_back(match dial {
                Dial::Peer(peer, addresses) => Output::Dial { peer, addresses },
                Dial::Bootstrap(index) => Output::DialBootstrap(index),
            });
        }
    }

    /// Offers links for closing that are more than this node keeps and that nobody has used for a
    /// while; a bootstrap node would keep everybody's otherwise. In a crowd the while is short: each link
    /// costs both ends a ping a second, and this one a copy of what it writes.
    pub(super) fn release_idle_links(&mut self, now: Instant) {
        self.next_idle_check = now + self.config.link_idle / IDLE_CHECKS;
        let in_use = self.in_use();
        for peer in &in_use {
            if let Some(link) = self.links.link_mut(peer) {
                link.used = now;
            }
        }
        let random = self.links.iter().filter(|(peer, _)| !in_use.contains(peer)).count();
        let wanted = self.config.connector.max_links;
        let surplus = random.saturating_sub(2 * wanted.max(1));
        // Where links are kept to nobody, others have no other link than that to their bootstrap node.
        let crowded = wanted > 0 && random > 4 * wanted;
        let patience = if crowded { self.config.link_idle / CROWDED } else { self.config.link_idle };
        let idle = |link: &Link| now.saturating_duration_since(link.used) >= patience;
        let release = self.links.iter().filter(|(peer, link)| idle(link) && !in_use.contains(peer)).take(surplus);
        for peer in release.map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.send(peer, Control::Release);
        }
    }

    /// The peers whose links some tree uses, or the node's own user.
    pub(super) fn in_use(&self) -> BTreeSet<PeerId> {
        self.trees.values().flat_map(Tree::link_peers).chain(self.held.iter().copied()).collect()
    }
}
