//! Gossip and the trees of all tracks, composed into one machine.
//!
//! [`Mesh`] holds the peer table, one [`Tree`] a track, the links and the decision whom to dial. It
//! knows neither sockets nor clocks. Drive it so:
//!
//! 1. feed what happened: [`Mesh::handle_input`], or [`Mesh::handle_timeout`] when
//!    [`Mesh::poll_timeout`] is due;
//! 2. take every [`Output`] from [`Mesh::poll_output`] and carry it out, in order;
//! 3. sleep until the next input or timeout.
//!
//! Requests of the node's own user ([`Mesh::publish`] and so on) are methods that answer at once;
//! what they cause comes out as outputs too. Everything else only looks.

mod connector;
mod deeds;
pub mod inspect;
mod io;
mod links;
pub mod message;
pub mod offload;
pub mod repairs;
mod requests;
mod seek;
pub mod select;
mod session;
#[cfg(test)]
mod tests;
mod volunteer;
pub mod why;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use banyan_gossip::{Gossip, Keys, LibraryDigest, LocalPeer, Offence, PeerId, RowBody, TrackName, table::PeerTable};
use banyan_tree::{Context, SlotPool, Source, Tree};

use connector::Connector;
pub use connector::ConnectorConfig;
use deeds::Deeds;
pub use io::{CAPACITY_CEILING, Config, Event, Input, Output, RequestError};
use links::Finding;
pub use links::{Link, LinkConfig, Links};
pub use message::{ByeReason, Control};
use offload::{Forwarded, Offload};
pub use session::{Session, supersedes};
use volunteer::Askers;

/// Gossip, trees and links of one node.
pub struct Mesh {
    me: PeerId,
    config: Config,
    rng: fastrand::Rng,
    keys: Arc<dyn Keys>,
    gossip: Gossip,
    trees: BTreeMap<TrackName, Tree>,
    /// What origins have signed; of the tracks that have a tree.
    deeds: BTreeMap<TrackName, Deeds>,
    /// Who forwards how much; of the tracks that have a tree.
    offload: BTreeMap<TrackName, Offload>,
    /// The incarnation that this node started with.
    life: u64,
    slots: SlotPool,
    links: Links,
    connector: Connector,
    addresses: Vec<String>,
    /// Links that trees asked for and that are being dialled.
    wanted: BTreeSet<PeerId>,
    /// Peers whose links the node's own user needs.
    held: BTreeSet<PeerId>,
    /// The parents of all trees as the links know them, in the order of the tracks.
    parents: Vec<PeerId>,
    why_closed: BTreeMap<PeerId, &'static str>,
    table_seen: u64,
    row_changed: bool,
    /// What this node offers.
    library: Option<LibraryDigest>,
    /// Free slots as the own row says.
    free_told: u16,
    askers: Askers,
    leaving: Option<Instant>,
    left: bool,
    next_idle_check: Instant,
    outputs: VecDeque<Output>,
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mesh").field("me", &self.me).field("tracks", &self.trees.keys()).finish_non_exhaustive()
    }
}

impl Mesh {
    /// A node that is alone so far.
    #[must_use]
    pub fn new(me: LocalPeer, config: Config, keys: Arc<dyn Keys>, mut rng: fastrand::Rng, now: Instant) -> Self {
        let capacity = config.capacity.unwrap_or(CAPACITY_CEILING).min(CAPACITY_CEILING);
        let (peer, life) = (me.peer, me.incarnation);
        let gossip = Gossip::new(me, config.gossip.clone(), Arc::clone(&keys), rng.fork(), now);
        let connector = Connector::new(peer, config.connector.clone(), config.bootstraps, rng.fork(), now);
        let mut mesh = Self {
            me: peer,
            rng,
            keys,
            gossip,
            trees: BTreeMap::new(),
            deeds: BTreeMap::new(),
            offload: BTreeMap::new(),
            life,
            slots: SlotPool::new(capacity),
            links: Links::new(config.links),
            connector,
            addresses: Vec::new(),
            wanted: BTreeSet::new(),
            held: BTreeSet::new(),
            parents: Vec::new(),
            why_closed: BTreeMap::new(),
            table_seen: 0,
            row_changed: true,
            library: None,
            free_told: capacity,
            askers: Askers::new(now),
            leaving: None,
            left: false,
            next_idle_check: now + config.link_idle / seek::IDLE_CHECKS,
            outputs: VecDeque::new(),
            config,
        };
        mesh.settle(now);
        mesh
    }

    // --- Looking ---------------------------------------------------------------------------

    /// This node's id.
    #[must_use]
    pub const fn me(&self) -> PeerId {
        self.me
    }

    /// What this node is configured to be.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Who is there.
    #[must_use]
    pub fn table(&self) -> &PeerTable {
        self.gossip.table()
    }

    /// This node's incarnation.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.gossip.incarnation()
    }

    /// This node's links.
    #[must_use]
    pub const fn links(&self) -> &Links {
        &self.links
    }

    /// The tree of a track in which this node has a part.
    #[must_use]
    pub fn tree(&self, track: &TrackName) -> Option<&Tree> {
        self.trees.get(track)
    }

    /// The trees in which this node has a part.
    pub fn trees(&self) -> impl Iterator<Item = (&TrackName, &Tree)> {
        self.trees.iter()
    }

    /// The slots of this node.
    #[must_use]
    pub const fn slots(&self) -> &SlotPool {
        &self.slots
    }

    // --- Input -------------------------------------------------------------------------------

    /// Takes what happened outside.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::LinkUp { peer, dialer, bootstrap } => self.on_link_up(now, peer, dialer, bootstrap),
            Input::LinkDown { peer } => self.on_link_down(now, peer),
            Input::Heard { peer, at, times } => {
                if self.links.heard_data(at.min(now), times, &peer) {
                    self.all_trees(now, || banyan_tree::Input::Heard { peer });
                }
            }
            Input::Message { from, message } => self.on_message(now, from, message),
            Input::DialFailed { peer, unreachable } => {
                self.connector.peer_failed(now, peer);
                if unreachable {
                    self.gossip.handle_input(now, banyan_gossip::Input::Unreachable { peer });
                }
                if self.wanted.remove(&peer) {
                    self.all_trees(now, || banyan_tree::Input::ConnectFailed { peer });
                }
            }
            Input::BootstrapFailed { index, to_self: true } => self.connector.bootstrap_is_me(index),
            Input::BootstrapFailed { index, to_self: false } => self.connector.bootstrap_failed(now, index),
            Input::Discovered { peer, addresses } => self.connector.discovered(now, peer, addresses),
            Input::Addresses(addresses) => {
                self.row_changed |= self.addresses != addresses;
                self.addresses = addresses;
            }
            Input::Ring { track, oldest, next } => {
                self.tree_input(now, &track, banyan_tree::Input::Ring { oldest, next });
            }
            Input::Brought { track, ticket, next } => {
                self.tree_input(now, &track, banyan_tree::Input::Brought { ticket, next });
            }
            Input::Forwarded { track, total, children } => {
                self.on_forwarded(track, Forwarded { life: self.life, total, children });
            }
            Input::ChildOpened { track, peer, ticket } if self.trees.contains_key(&track) => {
                self.tree_input(now, &track, banyan_tree::Input::ChildOpened { peer, ticket });
            }
            Input::ChildOpened { track, peer, ticket } => {
                self.outputs.push_back(Output::Drop { track, child: peer, ticket });
            }
            Input::ChildClosed { track, peer, ticket } => {
                self.tree_input(now, &track, banyan_tree::Input::ChildClosed { peer, ticket });
            }
            Input::ParentOpened { track, peer, ticket } => {
                self.tree_input(now, &track, banyan_tree::Input::ParentOpened { peer, ticket });
            }
            Input::ParentLied { track, peer } => self.on_lie(now, &track, peer),
            Input::ParentClosed { track, peer, ticket, reason } => {
                self.tree_input(now, &track, banyan_tree::Input::ParentClosed { peer, ticket, reason });
            }
        }
        self.settle(now);
    }

    fn on_link_up(&mut self, now: Instant, peer: PeerId, dialer: bool, bootstrap: Option<usize>) {
        // Somebody new, while there are others, who tells this node nothing new.
        let known = self.links.link(&peer).is_none() && !self.links.is_empty() && self.table().live(&peer).is_some();
        self.links.up(now, peer, dialer);
        let probe = self.connector.linked(now, peer, bootstrap, known);
        let needed = dialer || self.wanted.contains(&peer);
        self.wanted.remove(&peer);
        self.outputs.push_back(Output::Event(Event::LinkUp(peer)));
        if self.links.len() > self.config.links_total_max && !needed {
            self.close_link(peer, ByeReason::Busy, "too many links");
            return;
        }
        self.gossip.handle_input(now, banyan_gossip::Input::LinkUp { peer });
        self.all_trees(now, || banyan_tree::Input::LinkUp { peer });
        if probe && !self.in_use().contains(&peer) {
            self.send(peer, Control::Release);
        }
    }

    fn on_link_down(&mut self, now: Instant, peer: PeerId) {
        let Some(link) = self.links.down(&peer) else {
            return;
        };
        let why = self.why_closed.remove(&peer).unwrap_or("connection closed");
        self.connector.unlinked(now, peer);
        self.gossip.handle_input(now, banyan_gossip::Input::LinkDown { peer, graceful: link.graceful });
        self.all_trees(now, || banyan_tree::Input::LinkDown { peer });
        self.outputs.push_back(Output::Event(Event::LinkDown(peer, why)));
    }

    fn on_heard(&mut self, now: Instant, peer: PeerId) {
        if self.links.heard(now, &peer) {
            self.all_trees(now, || banyan_tree::Input::Heard { peer });
        }
    }

    fn on_message(&mut self, now: Instant, from: PeerId, message: Control) {
        if self.links.link(&from).is_none() {
            return;
        }
        self.on_heard(now, from);
        match message {
            Control::Gossip(message) => {
                self.gossip.handle_input(now, banyan_gossip::Input::Message { from, message });
            }
            Control::Tree { track, message, deed } => {
                if self.take_deed(now, from, &track, &message, deed) {
                    self.on_tree_message(now, from, track, message);
                }
            }
            Control::Report { track, report } => self.on_report(from, &track, report),
            Control::Ping(nonce) => self.send(from, Control::Pong(nonce)),
            Control::Pong(nonce) => self.links.pong(now, &from, nonce),
            Control::Streams => self.outputs.push_back(Output::StreamsWanted { peer: from }),
            // For the outside, which has a clock.
            Control::Probe(_) | Control::Probed(_) => {}
            Control::Release if !self.in_use().contains(&from) => {
                self.close_link(from, ByeReason::Surplus, "not needed");
            }
            Control::Release => {}
            Control::Bye(_) => {
                if let Some(link) = self.links.link_mut(&from) {
                    link.graceful = true;
                }
                self.why_closed.entry(from).or_insert("closed by the peer");
                self.outputs.push_back(Output::CloseLink { peer: from, reason: "closed by the peer" });
            }
        }
    }

    fn on_tree_message(&mut self, now: Instant, from: PeerId, track: TrackName, message: banyan_tree::Message) {
        if self.trees.contains_key(&track) {
            self.tree_input(now, &track, banyan_tree::Input::Message { from, message });
        } else if let banyan_tree::Message::Summon { source } = message {
            let refused = self.volunteer(now, from, &track, source).err();
            let message = banyan_tree::Message::Summoned { refused };
            self.send(from, Control::Tree { track, message, deed: None });
        } else if let Some(message) = message.refusal_of_stranger() {
            self.send(from, Control::Tree { track, message, deed: None });
        }
    }

    // --- Time --------------------------------------------------------------------------------

    /// When [`Mesh::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.left {
            return None;
        }
        let trees = self.trees.values().filter_map(Tree::poll_timeout);
        // A node that leaves dials nobody any more.
        let connector = self.connector.deadline().filter(|_| self.leaving.is_none());
        let own = [self.gossip.poll_timeout(), self.links.deadline(), connector, self.leaving];
        trees.chain(own.into_iter().flatten()).chain([self.next_idle_check]).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.links.deadline().is_some_and(|at| at <= now) {
            for finding in self.links.watch(now) {
                match finding {
                    Finding::Ping(peer, nonce) => self.send(peer, Control::Ping(nonce)),
                    Finding::Silent(peer) => self.all_trees(now, || banyan_tree::Input::Silent { peer }),
                    Finding::GivenUp(peer) => self.all_trees(now, || banyan_tree::Input::Lost { peer }),
                    Finding::Lost(peer) => {
                        self.why_closed.insert(peer, "silent for too long");
                        self.outputs.push_back(Output::CloseLink { peer, reason: "silent for too long" });
                        self.on_link_down(now, peer);
                    }
                }
            }
        }
        if self.gossip.poll_timeout().is_some_and(|at| at <= now) {
            self.gossip.handle_timeout(now);
        }
        let due = self.trees.iter().filter(|(_, tree)| tree.poll_timeout().is_some_and(|at| at <= now));
        for track in due.map(|(track, _)| track.clone()).collect::<Vec<_>>() {
            self.with_tree(&track, |tree, cx| tree.handle_timeout(now, cx));
        }
        if self.connector.deadline().is_some_and(|at| at <= now) && self.leaving.is_none() {
            self.reconcile(now);
        }
        if self.next_idle_check <= now {
            self.release_idle_links(now);
        }
        self.settle(now);
    }

    // --- Output ------------------------------------------------------------------------------

    /// The next thing to do outside.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn send(&mut self, to: PeerId, message: Control) {
        self.outputs.push_back(Output::Send { to, message });
    }

    fn close_link(&mut self, peer: PeerId, bye: ByeReason, reason: &'static str) {
        if let Some(link) = self.links.link_mut(&peer) {
            link.graceful = true;
            self.why_closed.insert(peer, reason);
            self.send(peer, Control::Bye(bye));
            self.outputs.push_back(Output::CloseLink { peer, reason });
        }
    }

    fn with_tree(&mut self, track: &TrackName, act: impl FnOnce(&mut Tree, &mut Context<'_>)) {
        if let Some(tree) = self.trees.get_mut(track) {
            let mut cx = Context { peers: self.gossip.table(), slots: &mut self.slots, links: &self.links };
            act(tree, &mut cx);
        }
    }

    fn tree_input(&mut self, now: Instant, track: &TrackName, input: banyan_tree::Input) {
        self.with_tree(track, |tree, cx| tree.handle_input(now, cx, input));
    }

    fn all_trees(&mut self, now: Instant, input: impl Fn() -> banyan_tree::Input) {
        for tree in self.trees.values_mut() {
            let mut cx = Context { peers: self.gossip.table(), slots: &mut self.slots, links: &self.links };
            tree.handle_input(now, &mut cx, input());
        }
    }

    /// Lets gossip and trees react to one another until all is quiet.
    fn settle(&mut self, now: Instant) {
        loop {
            self.collect_gossip(now);
            if self.gossip.table().revision() != self.table_seen {
                self.table_seen = self.gossip.table().revision();
                self.connector.wake(now + Duration::from_millis(20));
                self.all_trees(now, || banyan_tree::Input::TableChanged);
            }
            self.collect_trees(now);
            // A slot may come and go without any tree's entry changing: one that was reserved for a repair.
            let free = self.slots.free();
            if !std::mem::take(&mut self.row_changed) && free == self.free_told {
                break;
            }
            self.free_told = free;
            let body = self.row_body();
            self.gossip.handle_input(now, banyan_gossip::Input::Update(body));
        }
        let parents = || self.trees.values().filter_map(Tree::parent);
        if !parents().eq(self.parents.iter().copied()) {
            self.parents = parents().collect();
            self.links.set_parents(now, self.parents.iter().copied().collect());
        }
        self.links.schedule();
        self.finish_leaving(now);
    }

    fn collect_gossip(&mut self, now: Instant) {
        while let Some(output) = self.gossip.poll_output() {
            match output {
                banyan_gossip::Output::Send { to, message } => self.send(to, Control::Gossip(message)),
                banyan_gossip::Output::Event(event) => {
                    if let banyan_gossip::Event::Left { peer } = event {
                        self.connector.departed(now, self.gossip.table(), peer);
                    }
                    if let banyan_gossip::Event::Died { peer, .. } = event {
                        self.connector.died(now, self.gossip.table(), peer);
                    }
                    self.outputs.push_back(Output::Event(Event::Gossip(event)));
                    if let banyan_gossip::Event::Misbehaved { peer, offence: Offence::ForgedOp } = event {
                        // Each forgery costs a look at its signature; a new link costs the forger more.
                        self.close_link(peer, ByeReason::Misbehaved, "it forged what another said");
                    }
                }
                banyan_gossip::Output::UserEvent(event) => self.outputs.push_back(Output::Event(Event::User(event))),
                banyan_gossip::Output::PersistIncarnation(incarnation) => {
                    self.outputs.push_back(Output::PersistIncarnation(incarnation));
                }
            }
        }
    }

    fn collect_trees(&mut self, now: Instant) {
        let next = |(track, tree): (&TrackName, &mut Tree)| Some((track.clone(), tree.poll_output()?));
        while let Some((track, output)) = self.trees.iter_mut().find_map(next) {
            self.on_tree_output(now, track, output);
        }
    }

    fn on_tree_output(&mut self, now: Instant, track: TrackName, output: banyan_tree::Output) {
        use banyan_tree::Output as Tree;
        match output {
            Tree::Send { to, message } => {
                let deed = self.deed_for(&track, &message);
                self.send(to, Control::Tree { track, message, deed });
            }
            Tree::Connect { peer } => self.connect(now, &track, peer),
            Tree::Open { parent, ticket, epoch, origin, depth, .. } => {
                let terms = self.terms_of(&track, Source { epoch, origin });
                self.outputs.push_back(Output::Open { track, parent, ticket, epoch, origin, terms, depth });
            }
            Tree::Close { parent, ticket, owed } => {
                self.outputs.push_back(Output::Close { track, parent, ticket, owed });
            }
            Tree::Serve { child, ticket } => self.outputs.push_back(Output::Serve { track, child, ticket }),
            Tree::Reject { child, ticket } | Tree::Drop { child, ticket } => {
                self.outputs.push_back(Output::Drop { track, child, ticket });
            }
            Tree::RowChanged => self.row_changed = true,
            Tree::Event(event) => self.outputs.push_back(Output::Event(Event::Tree(track, event))),
            Tree::Left => {
                self.trees.remove(&track);
                self.deeds.remove(&track);
                self.offload.remove(&track);
                self.row_changed = true;
                self.outputs.push_back(Output::Event(Event::TrackClosed(track)));
            }
        }
    }

    fn row_body(&self) -> RowBody {
        RowBody {
            label: self.config.label.clone(),
            addresses: self.addresses.clone(),
            tags: self.config.tags.clone(),
            capacity: self.slots.capacity(),
            free: self.slots.free(),
            relay: self.config.relay,
            tracks: self.trees.iter().filter_map(|(track, tree)| Some((track.clone(), tree.entry()?))).collect(),
            library: self.library.clone(),
        }
    }

    fn finish_leaving(&mut self, now: Instant) {
        let Some(deadline) = self.leaving else {
            return;
        };
        if self.left || !(self.trees.is_empty() || now >= deadline) {
            return;
        }
        self.left = true;
        self.gossip.handle_input(now, banyan_gossip::Input::Leave);
        self.collect_gossip(now);
        for peer in self.links.iter().map(|(peer, _)| *peer).collect::<Vec<_>>() {
            self.close_link(peer, ByeReason::Leaving, "leaving");
        }
        self.outputs.push_back(Output::Left);
    }
}
