//! A small mesh of [`Tree`] machines in virtual time: every node has its own table, fed from the
//! others' entries with a delay; links, messages and data streams take time, break and get lost.
//! Checkers look at everything after each step.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unreachable_pub, reason = "shared by test binaries")]

mod check;
mod faults;
mod link;
mod step;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use banyan_gossip::{
    PeerId, Row, TrackName,
    op::{Op, SignedOp},
    table::PeerTable,
};
use banyan_tree::{Config, Event, Input, Message, SlotPool, Tree};

/// Milliseconds.
pub const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Seconds.
pub const fn s(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The peer of this number. The order of the ids is that of the numbers.
pub fn peer(number: u16) -> PeerId {
    let mut key = [0; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    PeerId::from_key_bytes(key)
}

/// The number of a peer.
pub fn number(peer: PeerId) -> u16 {
    u16::from_be_bytes([peer.key_bytes()[0], peer.key_bytes()[1]])
}

/// Tables keep signatures and do not check them.
fn unsigned(row: Row) -> SignedOp {
    SignedOp::new(Op::Row(row), [0; 64])
}

/// A table of these rows.
pub fn table_of(rows: impl IntoIterator<Item = Row>) -> PeerTable {
    let mut table = PeerTable::default();
    let now = Instant::now();
    for row in rows {
        table.merge_row(now, unsigned(row));
    }
    table
}

/// How long things take, drawn anew each time.
#[derive(Debug, Clone)]
pub struct Delays {
    pub message: (Duration, Duration),
    pub gossip: (Duration, Duration),
    pub connect: (Duration, Duration),
    pub open: (Duration, Duration),
    /// How long changes of a row are collected.
    pub collect: Duration,
}

impl Delays {
    pub const INSTANT: Self = Self {
        message: (Duration::ZERO, Duration::ZERO),
        gossip: (Duration::ZERO, Duration::ZERO),
        connect: (Duration::ZERO, Duration::ZERO),
        open: (Duration::ZERO, Duration::ZERO),
        collect: Duration::ZERO,
    };
    pub const LAN: Self = Self {
        message: (ms(0), ms(2)),
        gossip: (ms(5), ms(60)),
        connect: (ms(1), ms(5)),
        open: (ms(1), ms(4)),
        collect: ms(20),
    };
    pub const SLOW: Self = Self {
        message: (ms(1), ms(80)),
        gossip: (ms(20), ms(900)),
        connect: (ms(5), ms(200)),
        open: (ms(2), ms(150)),
        collect: ms(100),
    };
}

pub struct Node {
    pub tree: Tree,
    pub slots: SlotPool,
    pub table: PeerTable,
    pub links: link::LinkSet,
    /// Which of its lives this is.
    life: u64,
    incarnation: u64,
    version: u64,
    /// Changes of the own row, and of the table, are told a moment later and together.
    publishing: bool,
    telling: bool,
    /// Slots used after the last step.
    used_before: u16,
    left: bool,
    wake: Option<Instant>,
}

#[derive(Debug)]
enum Happening {
    Input { to: PeerId, life: u64, input: Input },
    Message { from: PeerId, to: PeerId, link: u64, message: Message },
    Publish { at: PeerId, life: u64 },
    Row { to: PeerId, life: u64, row: Box<Row> },
    TableChanged { to: PeerId, life: u64 },
    Connect { from: PeerId, life: u64, to: PeerId },
    StreamArrives { child: PeerId, parent: PeerId, ticket: u64 },
    StreamWorks { child: PeerId, parent: PeerId, ticket: u64 },
    StreamEnds { child: PeerId, parent: PeerId, ticket: u64, at_child: bool },
    LinkGone { at: PeerId, life: u64, peer: PeerId, link: u64 },
}

pub struct World {
    pub now: Instant,
    pub start: Instant,
    pub rng: fastrand::Rng,
    pub track: TrackName,
    pub delays: Delays,
    pub nodes: BTreeMap<PeerId, Node>,
    /// What happened, for tests to read.
    pub events: Vec<(Duration, u16, Event)>,
    /// Latest row of everyone, dead or alive.
    rows: BTreeMap<PeerId, Row>,
    queue: BTreeMap<(Instant, u64), Happening>,
    wakes: BTreeSet<(Instant, PeerId)>,
    sequence: u64,
    links: BTreeMap<(PeerId, PeerId), u64>,
    /// Pairs that cannot reach each other.
    cut: BTreeSet<(PeerId, PeerId)>,
    /// When the last message of a direction arrives: they do not overtake each other.
    arrivals: BTreeMap<(PeerId, PeerId), Instant>,
    /// (child, parent, ticket) → whether the parent serves it.
    streams: BTreeMap<(PeerId, PeerId, u64), bool>,
    /// Streams that a parent serves.
    served: BTreeMap<PeerId, usize>,
    pub streams_opened: u64,
    configs: BTreeMap<PeerId, (Config, u16)>,
    /// Where loops of parents were seen, and since when.
    loops: BTreeMap<PeerId, Instant>,
    /// Nodes that have to be fed at every instant.
    pub never_starving: BTreeSet<PeerId>,
    lives: u64,
    pub trace: bool,
}

impl World {
    pub fn new(seed: u64, delays: Delays) -> Self {
        let start = Instant::now();
        Self {
            now: start,
            start,
            rng: fastrand::Rng::with_seed(seed),
            track: TrackName::new("cam/1").expect("a valid name"),
            delays,
            nodes: BTreeMap::new(),
            events: Vec::new(),
            rows: BTreeMap::new(),
            queue: BTreeMap::new(),
            wakes: BTreeSet::new(),
            sequence: 0,
            links: BTreeMap::new(),
            cut: BTreeSet::new(),
            arrivals: BTreeMap::new(),
            streams: BTreeMap::new(),
            served: BTreeMap::new(),
            streams_opened: 0,
            configs: BTreeMap::new(),
            loops: BTreeMap::new(),
            never_starving: BTreeSet::new(),
            lives: 0,
            trace: std::env::var_os("TREE_TRACE").is_some(),
        }
    }

    // --- Nodes -------------------------------------------------------------------------------

    /// A node that knows everyone and has no part in the track yet.
    pub fn add(&mut self, number: u16, capacity: u16, config: Config) {
        let me = peer(number);
        self.lives += 1;
        self.configs.insert(me, (config.clone(), capacity));
        let tree = Tree::new(me, self.track.clone(), config, self.rng.fork(), self.now);
        let node = Node {
            tree,
            slots: SlotPool::new(capacity),
            table: table_of(self.rows.values().cloned()),
            links: link::LinkSet::default(),
            life: self.lives,
            incarnation: self.lives,
            version: 0,
            publishing: false,
            telling: false,
            used_before: 0,
            left: false,
            wake: None,
        };
        self.nodes.insert(me, node);
        self.publish_row(me);
    }

    /// An origin, number 0.
    pub fn origin(&mut self, capacity: u16, config: Config) {
        self.add(0, capacity, config);
        self.input(0, Input::Publish { epoch: 1 });
    }

    pub fn has_left(&self, number: u16) -> bool {
        self.nodes[&peer(number)].left
    }

    pub fn tree(&self, number: u16) -> &Tree {
        &self.nodes[&peer(number)].tree
    }

    pub fn input(&mut self, number: u16, input: Input) {
        self.step(peer(number), Some(input));
    }

    pub fn set_capacity(&mut self, number: u16, capacity: u16) {
        let node = self.nodes.get_mut(&peer(number)).expect("a living node");
        node.slots.set_capacity(capacity);
        self.input(number, Input::CapacityChanged);
    }

    // --- Time --------------------------------------------------------------------------------

    /// Lets this much time pass.
    pub fn run(&mut self, period: Duration) {
        let end = self.now + period;
        while self.advance(end) {}
        self.now = end;
    }

    /// Lets time pass until the condition holds. Says whether it does.
    pub fn run_until(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while self.now < end {
            if condition(self) {
                return true;
            }
            // Everything that happens within a millisecond counts as one.
            self.run(ms(1).min(end - self.now));
        }
        condition(self)
    }

    /// The next thing, if it happens before the end.
    fn advance(&mut self, end: Instant) -> bool {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let woken = self.wakes.first().map(|(at, _)| *at);
        let Some(at) = queued.into_iter().chain(woken).min().filter(|at| *at <= end) else {
            return false;
        };
        self.now = self.now.max(at);
        if queued == Some(at) {
            let (_, happening) = self.queue.pop_first().expect("just seen");
            self.happen(happening);
        } else {
            let (_, node) = self.wakes.pop_first().expect("just seen");
            self.step(node, None);
        }
        true
    }

    fn later(&mut self, delay: Duration, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    fn at(&mut self, at: Instant, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((at, self.sequence), happening);
    }

    fn draw(&mut self, (least, most): (Duration, Duration)) -> Duration {
        least + (most - least).mul_f64(self.rng.f64())
    }

    pub fn input_later(&mut self, delay: Duration, to: PeerId, input: Input) {
        if let Some(node) = self.nodes.get(&to) {
            let life = node.life;
            self.later(delay, Happening::Input { to, life, input });
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Input { to, life, input } if self.lives_still(to, life) => self.step(to, Some(input)),
            Happening::Row { to, life, row } if self.lives_still(to, life) => self.row_arrives(to, *row),
            Happening::TableChanged { to, life } if self.lives_still(to, life) => {
                self.nodes.get_mut(&to).expect("just seen").telling = false;
                self.step(to, Some(Input::TableChanged));
            }
            Happening::Publish { at, life } if self.nodes.get(&at).is_some_and(|node| node.life == life) => {
                self.nodes.get_mut(&at).expect("just seen").publishing = false;
                self.publish_row(at);
            }
            Happening::Message { from, to, link, message }
                if self.links.get(&pair(from, to)) == Some(&link) && !self.is_cut(from, to) =>
            {
                self.step(to, Some(Input::Message { from, message }));
            }
            Happening::Connect { from, life, to } if self.lives_still(from, life) => self.connect(from, to),
            Happening::LinkGone { at, life, peer, link } if self.lives_still(at, life) => {
                self.link_gone(at, peer, link)
            }
            Happening::StreamArrives { child, parent, ticket } => self.stream_arrives(child, parent, ticket),
            Happening::StreamWorks { child, parent, ticket } if self.streams.contains_key(&(child, parent, ticket)) => {
                self.step(child, Some(Input::ParentOpened { peer: parent, ticket }));
            }
            Happening::StreamEnds { child, parent, ticket, at_child: true } => {
                let reason = "closed".to_owned();
                self.step(child, Some(Input::ParentClosed { peer: parent, ticket, reason }));
            }
            Happening::StreamEnds { child, parent, ticket, at_child: false } => {
                self.step(parent, Some(Input::ChildClosed { peer: child, ticket }));
            }
            _ => {}
        }
    }

    fn lives_still(&self, peer: PeerId, life: u64) -> bool {
        self.nodes.get(&peer).is_some_and(|node| node.life == life && !node.left)
    }
}

fn pair(a: PeerId, b: PeerId) -> (PeerId, PeerId) {
    if a < b { (a, b) } else { (b, a) }
}

fn ms_since(start: Instant, now: Instant) -> f64 {
    (now - start).as_secs_f64() * 1e3
}

/// A debug text with numbers in place of ids.
fn short(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let mut short = String::new();
    let mut rest = text.as_str();
    while let Some(index) = rest.find("PeerId(") {
        let (before, after) = rest.split_at(index);
        let (id, after) = after["PeerId(".len()..].split_once(')').expect("closed");
        short += &format!("{before}#{}", id.parse().map(number).expect("an id"));
        rest = after;
    }
    short + rest
}
