//! Machines, links and messages under way, in virtual time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use banyan_gossip::{
    Config, Event, Gossip, Input, LocalPeer, MeshName, Message, Output, PeerId, RowBody,
    op::UserEvent,
    table::{PeerTable, Status},
};

use crate::keys::TestKeys;

pub(crate) fn peer(index: usize) -> PeerId {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(index as u64 + 1).to_be_bytes());
    PeerId::from_key_bytes(key)
}

pub(crate) fn body(free: u16) -> RowBody {
    RowBody { capacity: 9, free, ..RowBody::default() }
}

pub(crate) fn config() -> Config {
    Config::new(MeshName::new("test").expect("valid"))
}

pub(crate) fn machine(index: usize, incarnation: u64, now: Instant) -> Gossip {
    machine_with(index, incarnation, config(), now)
}

fn machine_with(index: usize, incarnation: u64, config: Config, now: Instant) -> Gossip {
    let me = LocalPeer { peer: peer(index), incarnation };
    let mut gossip = Gossip::new(me, config, Arc::new(TestKeys(me.peer)), fastrand::Rng::with_seed(index as u64), now);
    gossip.handle_input(now, Input::Update(body(1)));
    gossip
}

/// A mesh of machines.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) nodes: BTreeMap<usize, Gossip>,
    pub(crate) links: BTreeSet<(usize, usize)>,
    pub(crate) under_way: VecDeque<(Instant, usize, usize, Message)>,
    pub(crate) events: Vec<(usize, Event)>,
    /// What was told to everybody, as each machine heard it.
    pub(crate) told: Vec<(usize, UserEvent)>,
    pub(crate) persisted: BTreeMap<usize, u64>,
    /// Messages sent.
    pub(crate) sent: usize,
    /// Ops that came in anywhere.
    pub(crate) copies: usize,
    /// When each machine wants to be called, in both directions.
    timers: BTreeSet<(Instant, usize)>,
    timer_of: BTreeMap<usize, Instant>,
}

const LATENCY: Duration = Duration::from_millis(1);

impl World {
    pub(crate) fn new(nodes: usize) -> Self {
        Self::with(nodes, &config())
    }

    fn with(nodes: usize, config: &Config) -> Self {
        let now = Instant::now();
        let nodes = (0..nodes).map(|index| (index, machine_with(index, 1, config.clone(), now))).collect();
        let mut world = Self {
            now,
            nodes,
            links: BTreeSet::new(),
            under_way: VecDeque::new(),
            events: Vec::new(),
            told: Vec::new(),
            persisted: BTreeMap::new(),
            sent: 0,
            copies: 0,
            timers: BTreeSet::new(),
            timer_of: BTreeMap::new(),
        };
        world.collect();
        world
    }

    /// A ring with chords: every node has at least four links.
    pub(crate) fn linked(nodes: usize) -> Self {
        let mut world = Self::new(nodes);
        for index in 0..nodes {
            world.link(index, (index + 1) % nodes);
            world.link(index, (index * 7 + 3) % nodes);
        }
        world
    }

    /// Every node has three links to others drawn at random, and about three from others.
    pub(crate) fn random(nodes: usize, config: &Config, seed: u64) -> Self {
        let mut world = Self::with(nodes, config);
        let mut rng = fastrand::Rng::with_seed(seed);
        for index in 0..nodes {
            for _ in 0..3 {
                world.link(index, rng.usize(..nodes));
            }
        }
        world
    }

    fn key(a: usize, b: usize) -> (usize, usize) {
        (a.min(b), a.max(b))
    }

    pub(crate) fn link(&mut self, a: usize, b: usize) {
        if a != b && self.links.insert(Self::key(a, b)) {
            self.input(a, Input::LinkUp { peer: peer(b) });
            self.input(b, Input::LinkUp { peer: peer(a) });
        }
    }

    pub(crate) fn unlink(&mut self, a: usize, b: usize) {
        if self.links.remove(&Self::key(a, b)) {
            self.input(a, Input::LinkDown { peer: peer(b), graceful: false });
            self.input(b, Input::LinkDown { peer: peer(a), graceful: false });
        }
    }

    pub(crate) fn links_of(&self, index: usize) -> Vec<usize> {
        let other = |(a, b): &(usize, usize)| (*a == index).then_some(*b).or((*b == index).then_some(*a));
        self.links.iter().filter_map(other).collect()
    }

    /// It is gone; its neighbours do not notice yet.
    pub(crate) fn vanish(&mut self, index: usize) {
        self.nodes.remove(&index);
        self.settle(index);
    }

    pub(crate) fn crash(&mut self, index: usize) {
        self.vanish(index);
        for other in self.links_of(index) {
            self.unlink(index, other);
        }
    }

    pub(crate) fn input(&mut self, index: usize, input: Input) {
        if let Some(node) = self.nodes.get_mut(&index) {
            node.handle_input(self.now, input);
        }
        self.settle(index);
    }

    /// Takes what the machines put out.
    pub(crate) fn collect(&mut self) {
        for index in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.settle(index);
        }
    }

    fn settle(&mut self, index: usize) {
        let timer = self.nodes.get(&index).and_then(Gossip::poll_timeout);
        if let Some(before) = self.timer_of.remove(&index) {
            self.timers.remove(&(before, index));
        }
        if let Some(timer) = timer {
            self.timers.insert((timer, index));
            self.timer_of.insert(index, timer);
        }
        while let Some(output) = self.nodes.get_mut(&index).and_then(Gossip::poll_output) {
            match output {
                Output::Send { to, message } => {
                    self.sent += 1;
                    self.under_way.push_back((self.now + LATENCY, index, number(&to), message));
                }
                Output::Event(event) => self.events.push((index, event)),
                Output::UserEvent(event) => self.told.push((index, event)),
                Output::PersistIncarnation(incarnation) => drop(self.persisted.insert(index, incarnation)),
            }
        }
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let message = self.under_way.front().map(|(at, ..)| *at);
            let timer = self.timers.first().map(|(at, _)| *at);
            let Some(next) = message.into_iter().chain(timer).min().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if message == Some(next) {
                self.deliver();
            } else {
                let (_, index) = *self.timers.first().expect("a timer is due");
                self.nodes.get_mut(&index).expect("timers of the vanished never run").handle_timeout(self.now);
                self.settle(index);
            }
        }
    }

    fn deliver(&mut self) {
        let (_, from, to, message) = self.under_way.pop_front().expect("there is one");
        let bytes = encode(&message);
        assert!(bytes.len() <= 256 * 1024, "a message of {} bytes", bytes.len());
        if self.links.contains(&Self::key(from, to)) && self.nodes.contains_key(&to) {
            if let Message::Ops(ops) = &message {
                self.copies += ops.len();
            }
            self.input(to, Input::Message { from: peer(from), message });
        }
    }

    pub(crate) fn all_see(&self, of: usize, status: Status) -> bool {
        self.nodes
            .iter()
            .filter(|(index, _)| **index != of)
            .all(|(_, node)| node.table().status(&peer(of)) == Some(status))
    }

    pub(crate) fn tables_are_equal(&self) -> bool {
        let mut tables = self.nodes.values().map(|node| picture(node.table()));
        let first = tables.next();
        tables.all(|table| Some(table) == first)
    }
}

/// The inverse of [`peer`].
fn number(peer: &PeerId) -> usize {
    let index = u64::from_be_bytes(peer.key_bytes()[..8].try_into().expect("8 bytes"));
    usize::try_from(index).expect("small") - 1
}

pub(crate) fn encode(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(message, &mut bytes).expect("writes");
    bytes
}

pub(crate) fn picture(table: &PeerTable) -> Vec<(PeerId, bool, u64, u64, u16)> {
    table.iter().map(|(status, row)| (row.peer, status.is_live(), row.incarnation, row.version, row.free)).collect()
}
