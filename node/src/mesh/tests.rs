//! Meshes of machines in virtual time, with links and data streams that obey.

mod bounds;
mod volunteers;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use banyan_gossip::{Ed25519Keys, LocalPeer, MeshName, PeerId, TrackName};

use super::{Config, Control, Event, Input, Mesh, Output};
use crate::relay::Terms;

const LATENCY: Duration = Duration::from_millis(1);

enum Do {
    Input(PeerId, Box<Input>),
    Dial { from: PeerId, to: PeerId, bootstrap: Option<usize> },
}

struct World {
    now: Instant,
    nodes: BTreeMap<PeerId, Mesh>,
    order: Vec<PeerId>,
    links: BTreeSet<(PeerId, PeerId)>,
    /// Hosts from and to which nothing passes, though nothing is closed.
    cut: BTreeSet<PeerId>,
    /// What waits for them; a link loses nothing while it lives.
    held: Vec<(PeerId, PeerId, Control)>,
    /// Parent, child, ticket, whether the child knows that it is open.
    streams: BTreeMap<(PeerId, PeerId, u64), bool>,
    queue: BTreeMap<(Instant, u64), Do>,
    sequence: u64,
    dials: Vec<(PeerId, PeerId)>,
    pings: Vec<(PeerId, PeerId)>,
    events: Vec<(PeerId, Event)>,
    left: BTreeSet<PeerId>,
}

fn track() -> TrackName {
    TrackName::new("feed").expect("valid")
}

fn pair(a: PeerId, b: PeerId) -> (PeerId, PeerId) {
    (a.min(b), a.max(b))
}

impl World {
    /// Nodes whose bootstrap address is that of the first.
    fn new(count: usize, configure: impl Fn(&mut Config)) -> Self {
        let now = Instant::now();
        let mut world = Self {
            now,
            nodes: BTreeMap::new(),
            order: Vec::new(),
            links: BTreeSet::new(),
            cut: BTreeSet::new(),
            held: Vec::new(),
            streams: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            dials: Vec::new(),
            pings: Vec::new(),
            events: Vec::new(),
            left: BTreeSet::new(),
        };
        for index in 0..count {
            world.start(index, 1, &configure);
        }
        world
    }

    fn start(&mut self, index: usize, incarnation: u64, configure: impl Fn(&mut Config)) {
        let keys = Ed25519Keys::from_seed(&[index as u8 + 1; 32]);
        let peer = keys.peer_id();
        let mut config = Config::new(MeshName::new("test").expect("valid"));
        config.bootstraps = 1;
        configure(&mut config);
        let rng = fastrand::Rng::with_seed(index as u64);
        let mut mesh = Mesh::new(LocalPeer { peer, incarnation }, config, Arc::new(keys), rng, self.now);
        mesh.handle_input(self.now, Input::Addresses(vec![format!("/ip4/10.0.0.{index}/tcp/1")]));
        self.nodes.insert(peer, mesh);
        if self.order.len() == index {
            self.order.push(peer);
        }
        self.collect();
    }

    fn mesh(&mut self, index: usize) -> &mut Mesh {
        self.nodes.get_mut(&self.order[index]).expect("it lives")
    }

    fn later(&mut self, what: Do) {
        self.sequence += 1;
        self.queue.insert((self.now + LATENCY, self.sequence), what);
    }

    fn input(&mut self, peer: PeerId, input: Input) {
        let now = self.now;
        if let Some(mesh) = self.nodes.get_mut(&peer) {
            mesh.handle_input(now, input);
        }
        self.collect();
    }

    fn unlink(&mut self, a: PeerId, b: PeerId) {
        if self.links.remove(&pair(a, b)) {
            self.held.retain(|(from, to, _)| pair(*from, *to) != pair(a, b));
            self.later(Do::Input(a, Box::new(Input::LinkDown { peer: b })));
            self.later(Do::Input(b, Box::new(Input::LinkDown { peer: a })));
        }
    }

    fn crash(&mut self, index: usize) {
        let peer = self.order[index];
        self.nodes.remove(&peer);
        for (a, b) in self.links.clone() {
            if a == peer || b == peer {
                self.unlink(a, b);
            }
        }
        for (parent, child, ticket) in self.streams.keys().copied().collect::<Vec<_>>() {
            if parent == peer || child == peer {
                self.close_stream(parent, child, ticket);
            }
        }
    }

    fn heal(&mut self) {
        self.cut.clear();
        for (from, to, message) in std::mem::take(&mut self.held) {
            self.later(Do::Input(to, Box::new(Input::Message { from, message })));
        }
    }

    fn close_stream(&mut self, parent: PeerId, child: PeerId, ticket: u64) {
        if self.streams.remove(&(parent, child, ticket)).is_some() {
            self.later(Do::Input(parent, Box::new(Input::ChildClosed { track: track(), peer: child, ticket })));
            let reason = "closed".to_owned();
            self.later(Do::Input(
                child,
                Box::new(Input::ParentClosed { track: track(), peer: parent, ticket, reason }),
            ));
        }
    }

    fn collect(&mut self) {
        for peer in self.nodes.keys().copied().collect::<Vec<_>>() {
            while let Some(output) = self.nodes.get_mut(&peer).and_then(Mesh::poll_output) {
                self.carry_out(peer, output);
            }
        }
    }

    fn carry_out(&mut self, me: PeerId, output: Output) {
        match output {
            Output::Send { to, message } => {
                if matches!(message, Control::Ping(_)) {
                    self.pings.push((me, to));
                }
                let message = Control::decode(&message.encode()).expect("what is encoded can be decoded");
                let cut = self.cut.contains(&me) || self.cut.contains(&to);
                if !self.links.contains(&pair(me, to)) {
                    return;
                }
                if cut {
                    self.held.push((me, to, message));
                } else {
                    self.later(Do::Input(to, Box::new(Input::Message { from: me, message })));
                }
            }
            Output::Dial { peer, .. } => {
                self.dials.push((me, peer));
                self.later(Do::Dial { from: me, to: peer, bootstrap: None });
            }
            Output::DialBootstrap(index) => {
                let to = self.order.first().copied().unwrap_or(me);
                self.dials.push((me, to));
                self.later(Do::Dial { from: me, to, bootstrap: Some(index) });
            }
            Output::CloseLink { peer, .. } => self.unlink(me, peer),
            Output::Open { parent, ticket, .. } => {
                self.streams.insert((parent, me, ticket), false);
                self.later(Do::Input(parent, Box::new(Input::ChildOpened { track: track(), peer: me, ticket })));
            }
            Output::Close { parent, ticket, .. } => {
                if self.streams.remove(&(parent, me, ticket)).is_some() {
                    self.later(Do::Input(parent, Box::new(Input::ChildClosed { track: track(), peer: me, ticket })));
                }
            }
            Output::Serve { child, ticket, .. } => {
                if let Some(open) = self.streams.get_mut(&(me, child, ticket)) {
                    *open = true;
                    self.later(Do::Input(child, Box::new(Input::ParentOpened { track: track(), peer: me, ticket })));
                }
            }
            Output::Drop { child, ticket, .. } => {
                if self.streams.remove(&(me, child, ticket)).is_some() {
                    let reason = "dropped".to_owned();
                    self.later(Do::Input(
                        child,
                        Box::new(Input::ParentClosed { track: track(), peer: me, ticket, reason }),
                    ));
                }
            }
            Output::PersistIncarnation(_) | Output::StreamsWanted { .. } => {}
            Output::Event(event) => self.events.push((me, event)),
            Output::Left => drop(self.left.insert(me)),
        }
    }

    fn dial(&mut self, from: PeerId, to: PeerId, bootstrap: Option<usize>) {
        let reachable = self.nodes.contains_key(&to) && !self.cut.contains(&to) && !self.cut.contains(&from);
        if from == to || !reachable {
            self.input(
                from,
                match bootstrap {
                    Some(index) => Input::BootstrapFailed { index, to_self: from == to },
                    None => Input::DialFailed { peer: to, unreachable: true },
                },
            );
        } else if self.links.insert(pair(from, to)) {
            self.input(from, Input::LinkUp { peer: to, dialer: true, bootstrap });
            self.input(to, Input::LinkUp { peer: from, dialer: false, bootstrap: None });
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut turns = (self.now, 0);
        loop {
            turns = if turns.0 == self.now { (self.now, turns.1 + 1) } else { (self.now, 0) };
            assert!(turns.1 < 100_000, "a machine wants to be woken again and again");
            let timer = self.nodes.values().filter_map(Mesh::poll_timeout).min();
            let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = timer.into_iter().chain(queued).min().filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if queued == Some(next) {
                match self.queue.pop_first().expect("there is one").1 {
                    Do::Input(peer, input) => self.input(peer, *input),
                    Do::Dial { from, to, bootstrap } => self.dial(from, to, bootstrap),
                }
            } else {
                let now = self.now;
                for mesh in self.nodes.values_mut().filter(|mesh| mesh.poll_timeout().is_some_and(|at| at <= now)) {
                    mesh.handle_timeout(now);
                }
                self.collect();
            }
            for mesh in self.nodes.values() {
                assert!(mesh.slots().used() <= mesh.slots().capacity(), "a slot too many (A3)");
            }
        }
    }

    fn publish_and_subscribe(&mut self, origin: usize) {
        let now = self.now;
        self.mesh(origin).publish(now, &track(), Terms::default()).expect("publishes");
        for index in (0..self.order.len()).filter(|index| *index != origin) {
            self.mesh(index).subscribe(now, &track()).expect("subscribes");
        }
        self.collect();
    }

    fn attached(&self) -> usize {
        let depth = |mesh: &&Mesh| mesh.tree(&track()).and_then(|tree| tree.entry()?.depth).is_some();
        self.nodes.values().filter(depth).count()
    }

    fn parent(&mut self, index: usize) -> Option<usize> {
        let parent = self.mesh(index).tree(&track())?.parent()?;
        self.order.iter().position(|peer| *peer == parent)
    }

    fn children(&mut self, parent: usize) -> Vec<usize> {
        (0..self.order.len()).filter(|index| *index != parent && self.parent(*index) == Some(parent)).collect()
    }

    /// A node that feeds somebody and is not the origin.
    fn relay(&self, origin: usize) -> usize {
        let relays = |peer: &PeerId| {
            let tree = self.nodes.get(peer).and_then(|mesh| mesh.tree(&track()));
            tree.is_some_and(|tree| tree.children().next().is_some())
        };
        let found = (0..self.order.len()).find(|index| *index != origin && relays(&self.order[*index]));
        found.expect("somebody relays")
    }
}

fn narrow(config: &mut Config) {
    config.capacity = Some(2);
}

#[test]
fn everyone_learns_everyone_from_one_bootstrap_and_links_stay_few_c1() {
    let mut world = World::new(30, |_| {});
    world.run(Duration::from_secs(60));
    for mesh in world.nodes.values() {
        assert_eq!(mesh.table().live_len(), 30);
    }
    // Each keeps about six; the bootstrap node, whom all dialled, is let off.
    let most = world.nodes.values().map(|mesh| mesh.links().len()).max();
    assert!(most < Some(25), "{most:?} links");
    assert!(world.dials.iter().all(|(from, to)| from != to || *from == world.order[0]), "nobody dials itself (C6)");
}

#[test]
fn a_bootstrap_node_is_soon_let_off_by_those_who_joined_and_then_only_visited_c1() {
    let mut world = World::new(60, |_| {});
    world.run(Duration::from_secs(15));
    let links = |world: &World| world.nodes[&world.order[0]].links().len();
    assert!(links(&world) <= 30, "{} links", links(&world));
    // Nobody comes back for good, but everybody looks in.
    world.dials.clear();
    for _ in 0..60 {
        world.run(Duration::from_secs(4));
        assert!(links(&world) <= 30, "{} links", links(&world));
    }
    let visitors: BTreeSet<_> =
        world.dials.iter().filter(|(_, to)| *to == world.order[0]).map(|(from, _)| from).collect();
    assert!(visitors.len() > 30, "{} visitors", visitors.len());
}

#[test]
fn no_supplementary_links_when_they_are_switched_off_c1() {
    let mut world = World::new(6, |config| config.connector.max_links = 0);
    world.run(Duration::from_secs(30));
    for index in 1..6 {
        assert_eq!(world.mesh(index).links().len(), 1, "the bootstrap node only");
        assert_eq!(world.mesh(index).table().live_len(), 6);
    }
}

#[test]
fn a_dead_bootstrap_is_tried_for_ever_with_growing_pauses_c10() {
    let mut world = World::new(2, |_| {});
    world.crash(0);
    world.run(Duration::from_secs(1));
    world.dials.clear();
    world.run(Duration::from_secs(600));
    let dials = world.dials.iter().filter(|(from, to)| *from == world.order[1] && *to == world.order[0]).count();
    // About every 22 s on average for the bootstrap address, every 2 s for the lost member until its
    // tombstone is gone.
    assert!((20..700).contains(&dials), "{dials} dials");
    world.start(0, 2, |_| {});
    world.run(Duration::from_secs(31));
    assert_eq!(world.mesh(1).links().len(), 1);
}

#[test]
fn the_mesh_outlives_its_bootstrap_node_c3() {
    let mut world = World::new(8, narrow);
    world.run(Duration::from_secs(2));
    world.crash(0);
    world.run(Duration::from_secs(6));
    let now = world.now;
    world.mesh(3).publish(now, &track(), Terms::default()).expect("publishes");
    world.mesh(5).subscribe(now, &track()).expect("subscribes");
    world.collect();
    world.run(Duration::from_secs(2));
    assert_eq!(world.attached(), 2);
}

#[test]
fn a_crash_of_a_relay_is_repaired_at_once_and_the_subtree_stays_a6() {
    let mut world = World::new(12, narrow);
    world.run(Duration::from_secs(1));
    world.publish_and_subscribe(1);
    world.run(Duration::from_secs(2));
    assert_eq!(world.attached(), 12);
    let relay = world.relay(1);
    let children = world.children(relay);
    world.crash(relay);
    world.run(Duration::from_millis(100));
    for child in children {
        assert!(world.parent(child).is_some_and(|parent| parent != relay));
    }
    assert_eq!(world.attached(), 11);
}

#[test]
fn a_silent_parent_is_left_in_less_than_half_a_second() {
    let mut world = World::new(12, narrow);
    world.run(Duration::from_secs(1));
    world.publish_and_subscribe(1);
    world.run(Duration::from_secs(2));
    let relay = world.relay(1);
    let children = world.children(relay);
    world.cut.insert(world.order[relay]);
    world.run(Duration::from_millis(450));
    for child in children {
        assert!(world.parent(child).is_some_and(|parent| parent != relay), "{child} still hangs on");
    }
    world.run(Duration::from_secs(6));
    let gone = world.order[relay];
    let others = world.nodes.iter().filter(|(peer, _)| **peer != gone);
    assert!({ others }.all(|(_, mesh)| mesh.table().live(&gone).is_none()), "everyone knows (B12)");
    world.heal();
    world.run(Duration::from_secs(10));
    assert_eq!(world.attached(), 12, "and it comes back");
}

#[test]
fn a_relay_that_stalls_is_left_but_neither_unlinked_nor_suspected() {
    let mut world = World::new(12, narrow);
    world.run(Duration::from_secs(1));
    world.publish_and_subscribe(1);
    world.run(Duration::from_secs(2));
    let relay = world.relay(1);
    let children = world.children(relay);
    world.events.clear();
    world.cut.insert(world.order[relay]);
    world.run(Duration::from_secs(2));
    for child in children {
        assert!(world.parent(child).is_some_and(|parent| parent != relay), "{child} still hangs on");
    }
    world.heal();
    world.run(Duration::from_secs(3));
    assert_eq!(world.attached(), 12);
    let accused = |event: &Event| {
        matches!(event, Event::LinkDown(_, "silent for too long" | "connection closed"))
            || matches!(event, Event::Gossip(banyan_gossip::Event::Suspected { .. }))
    };
    assert!(!world.events.iter().any(|(_, event)| accused(event)));
}

#[test]
fn pings_are_for_silence_and_now_and_then_for_the_round_trip_time() {
    let mut world = World::new(3, |_| {});
    world.run(Duration::from_secs(5));
    for mesh in world.nodes.values() {
        assert!(mesh.links().iter().all(|(peer, _)| banyan_tree::Links::rtt(mesh.links(), peer) == Some(2 * LATENCY)));
    }
    world.pings.clear();
    world.run(Duration::from_secs(60));
    let per_link = world.pings.len() / world.links.len();
    assert!((50..70).contains(&per_link), "{per_link} pings in a minute on an idle link");
    world.publish_and_subscribe(0);
    world.run(Duration::from_secs(1));
    world.pings.clear();
    world.run(Duration::from_secs(60));
    for child in 1..3 {
        let parent = world.parent(child).expect("attached");
        let pair = (world.order[child], world.order[parent]);
        let pings = world.pings.iter().filter(|ping| **ping == pair).count();
        assert!((1..5).contains(&pings), "{pings} pings in a minute to a parent that pulses");
    }
}

#[test]
fn leaving_hands_children_over_and_says_goodbye() {
    let mut world = World::new(10, narrow);
    world.run(Duration::from_secs(1));
    world.publish_and_subscribe(1);
    world.run(Duration::from_secs(2));
    let relay = world.relay(1);
    let (now, peer) = (world.now, world.order[relay]);
    world.mesh(relay).leave(now);
    world.collect();
    world.run(Duration::from_secs(3));
    assert!(world.left.contains(&peer));
    world.nodes.remove(&peer);
    assert_eq!(world.attached(), 9);
    let suspected = |event: &Event| matches!(event, Event::Gossip(banyan_gossip::Event::Suspected { .. }));
    assert!(!world.events.iter().any(|(_, event)| suspected(event)), "nobody is suspected");
}

#[test]
fn a_node_that_waits_for_its_children_to_go_sleeps_meanwhile() {
    let mut world = World::new(3, |config| config.capacity = Some(1));
    world.run(Duration::from_secs(1));
    world.publish_and_subscribe(1);
    world.run(Duration::from_secs(2));
    let relay = world.relay(1);
    let now = world.now;
    world.mesh(relay).leave(now);
    world.collect();
    for _ in 0..100 {
        world.run(Duration::from_millis(20));
        let (now, mesh) = (world.now, world.mesh(relay));
        assert!(mesh.poll_timeout().is_none_or(|at| at >= now), "it wants to be woken again and again");
    }
    assert!(world.left.contains(&world.order[relay]));
}

#[test]
fn of_two_origins_that_know_nothing_of_one_another_the_smaller_is_overtaken() {
    let mut world = World::new(3, |_| {});
    world.run(Duration::from_secs(1));
    let now = world.now;
    // Both at once: neither has heard of the other.
    let epochs = [1, 2].map(|index| world.mesh(index).publish(now, &track(), Terms::default()).expect("publishes"));
    assert_ne!(epochs[0], epochs[1]);
    assert!([1, 2].iter().all(|index| !world.mesh(*index).is_overtaken(&track())));
    world.collect();
    world.run(Duration::from_secs(1));
    let overtaken = [1, 2].map(|index| world.mesh(index).is_overtaken(&track()));
    assert_eq!(overtaken, [epochs[0] < epochs[1], epochs[0] > epochs[1]]);
}

#[test]
fn a_track_that_is_published_elsewhere_or_does_not_fit_is_refused() {
    let mut world = World::new(3, |_| {});
    world.run(Duration::from_secs(1));
    let now = world.now;
    world.mesh(1).publish(now, &track(), Terms::default()).expect("publishes");
    assert_eq!(world.mesh(1).publish(now, &track(), Terms::default()), Err(super::RequestError::AlreadyPublished));
    world.collect();
    world.run(Duration::from_secs(1));
    let (origin, now) = (world.order[1], world.now);
    assert_eq!(world.mesh(2).publish(now, &track(), Terms::default()), Err(super::RequestError::PublishedBy(origin)));
    let names = (0..50).map(|index| TrackName::new(&format!("track-{index}")).expect("valid"));
    let taken = names.take_while(|name| world.mesh(2).subscribe(now, name).is_ok()).count();
    assert!((8..50).contains(&taken), "{taken} tracks fit");
}

#[test]
fn garbage_is_no_control_message() {
    for bytes in [&b""[..], b"\x00", b"\xa1ai\x01\x00", b"\xff\xff\xff", &[0x9f; 1000]] {
        assert!(Control::decode(bytes).is_err(), "{bytes:?}");
    }
    assert!(matches!(Control::decode(&Control::Ping(7).encode()), Ok(Control::Ping(7))));
}
