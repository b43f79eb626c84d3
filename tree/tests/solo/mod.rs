//! One [`Tree`] machine, driven by hand: what it is told and what it says.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unreachable_pub, reason = "shared by test binaries")]

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use banyan_gossip::{
    PeerId, Presence, RelayPolicy, Role, Row, TrackEntry, TrackName,
    op::{Op, SignedOp},
    table::PeerTable,
};
use banyan_tree::{Config, Context, Input, LinkSettings, Links, Message, Output, RefuseReason, SlotPool, Source, Tree};

/// Linked with everyone but these.
#[derive(Default)]
struct Linked {
    unlinked: RefCell<BTreeSet<PeerId>>,
    silent: RefCell<BTreeSet<PeerId>>,
}

impl Links for Linked {
    fn linked(&self, peer: &PeerId) -> bool {
        !self.unlinked.borrow().contains(peer)
    }

    fn silent(&self, peer: &PeerId) -> bool {
        self.silent.borrow().contains(peer)
    }

    fn rtt(&self, _: &PeerId) -> Option<Duration> {
        Some(Duration::from_millis(1))
    }
}

pub const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub fn peer(number: u8) -> PeerId {
    PeerId::from_key_bytes([number; 32])
}

/// Published by peer 1.
pub const SOURCE: Source = Source { epoch: 3, origin: PeerId::from_key_bytes([1; 32]) };

pub fn join(request: u64) -> Message {
    Message::Join { request, source: Some(SOURCE), height: 0, need: None, repair: false }
}

pub fn path_message(path: &[PeerId]) -> Message {
    Message::Path { path: path.to_vec(), source: SOURCE, backups: Vec::new() }
}

/// One machine, and what it said.
pub struct Solo {
    pub tree: Tree,
    pub slots: SlotPool,
    pub now: Instant,
    pub outputs: Vec<Output>,
    table: PeerTable,
    links: Linked,
    versions: u64,
    last_request: Option<u64>,
    used_before: u16,
}

impl Solo {
    pub fn new(number: u8, capacity: u16, config: Config) -> Self {
        let now = Instant::now();
        let track = TrackName::new("cam/1").expect("a valid name");
        Self {
            tree: Tree::new(peer(number), track, config, fastrand::Rng::with_seed(1), now),
            slots: SlotPool::new(capacity),
            now,
            outputs: Vec::new(),
            table: PeerTable::default(),
            links: Linked::default(),
            versions: 0,
            last_request: None,
            used_before: 0,
        }
    }

    /// Peer 1, the origin.
    pub fn origin(capacity: u16, config: Config) -> Self {
        let mut solo = Self::new(1, capacity, config);
        solo.input(Input::Publish { epoch: SOURCE.epoch });
        solo
    }

    /// Peer 50, attached at this depth; above it are 1 (the origin), 100, 101, …
    pub fn member(depth: u8, capacity: u16, config: Config) -> Self {
        let mut solo = Self::new(50, capacity, config);
        let path: Vec<PeerId> = [SOURCE.origin].into_iter().chain((1..depth).map(|level| peer(99 + level))).collect();
        let parent = *path.last().expect("the origin at least");
        for (depth, above) in (0_u8..).zip(&path) {
            let parent_of = depth.checked_sub(1).map(|index| path[usize::from(index)]);
            solo.row(*above, Some(depth), parent_of, if *above == parent { 5 } else { 0 });
        }
        solo.input(Input::Subscribe);
        solo.accepted_by(parent, &path, 7);
        assert_eq!((solo.tree.depth(), solo.tree.parent()), (Some(depth), Some(parent)));
        solo.outputs.clear();
        solo
    }

    /// The peer that was asked accepts, and its stream opens.
    pub fn accepted_by(&mut self, parent: PeerId, path: &[PeerId], ticket: u64) {
        let request = self.asked(parent).expect("it asks").0;
        self.message(parent, accept(request, path, ticket));
        self.input(Input::ParentOpened { peer: parent, ticket });
    }

    /// As [`Solo::accepted_by`], of a request that was made before the outputs were cleared.
    pub fn accepted_later(&mut self, parent: PeerId, path: &[PeerId], ticket: u64) {
        let request = self.last_request.expect("it asked");
        self.message(parent, accept(request, path, ticket));
        self.input(Input::ParentOpened { peer: parent, ticket });
    }

    /// What the table says of a peer from now on.
    pub fn row(&mut self, peer: PeerId, depth: Option<u8>, parent: Option<PeerId>, free: u16) {
        let role = if peer == SOURCE.origin { Role::Origin } else { Role::Member };
        let (origin, epoch) = (Some(SOURCE.origin), SOURCE.epoch);
        let entry = TrackEntry { role, origin, epoch, depth, parent, children: 0, free, volunteer: false };
        self.any_row(peer, Presence::Alive, free, Some(entry));
    }

    pub fn any_row(&mut self, peer: PeerId, presence: Presence, free: u16, entry: Option<TrackEntry>) {
        self.row_of(peer, presence, free, RelayPolicy::default(), entry);
    }

    /// The row of one that has no part in the track.
    pub fn bystander(&mut self, peer: PeerId, free: u16, relay: RelayPolicy) {
        self.row_of(peer, Presence::Alive, free, relay, None);
    }

    fn row_of(&mut self, peer: PeerId, presence: Presence, free: u16, relay: RelayPolicy, entry: Option<TrackEntry>) {
        self.versions += 1;
        let row = Row {
            peer,
            incarnation: 1,
            version: self.versions,
            presence,
            label: None,
            addresses: Vec::new(),
            tags: BTreeMap::new(),
            capacity: 5,
            free,
            relay,
            tracks: entry.map(|entry| (self.tree.track().clone(), entry)).into_iter().collect(),
            library: None,
        };
        self.table.merge_row(self.now, SignedOp::new(Op::Row(row), [0; 64]));
    }

    pub fn unlink(&mut self, peer: PeerId) {
        self.links.unlinked.borrow_mut().insert(peer);
    }

    pub fn link(&mut self, peer: PeerId) {
        self.links.unlinked.borrow_mut().remove(&peer);
    }

    /// The peer was not heard of for so long that it is given up.
    pub fn give_up(&mut self, peer: PeerId) {
        self.links.silent.borrow_mut().insert(peer);
        self.input(Input::Lost { peer });
    }

    pub fn hear(&mut self, peer: PeerId) {
        self.links.silent.borrow_mut().remove(&peer);
        self.input(Input::Heard { peer });
    }

    pub fn input(&mut self, input: Input) {
        let mut cx = Context { peers: &self.table, slots: &mut self.slots, links: &self.links };
        self.tree.handle_input(self.now, &mut cx, input);
        self.collect();
    }

    pub fn message(&mut self, from: PeerId, message: Message) {
        self.input(Input::Message { from, message });
    }

    /// Lets time pass.
    pub fn pass(&mut self, period: Duration) {
        let end = self.now + period;
        while let Some(at) = self.tree.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let mut cx = Context { peers: &self.table, slots: &mut self.slots, links: &self.links };
            self.tree.handle_timeout(self.now, &mut cx);
            self.collect();
        }
        self.now = end;
    }

    /// Lets time pass while the parent says that the origin is there.
    pub fn pass_attached(&mut self, period: Duration) {
        let end = self.now + period;
        while self.now < end {
            self.pass(ms(100));
            let parent = self.tree.parent().expect("a parent");
            self.message(parent, Message::Pulse { origin_age_ms: 0 });
        }
    }

    fn collect(&mut self) {
        while let Some(output) = self.tree.poll_output() {
            if let Output::Send { message: Message::Join { request, .. }, .. } = &output {
                self.last_request = Some(*request);
            }
            self.outputs.push(output);
        }
        self.tree.assert_invariants();
        assert_eq!(usize::from(self.slots.used()), self.tree.slots_held());
    }

    /// Asks for a slot: the ticket or the reason.
    pub fn ask(&mut self, from: PeerId, message: Message) -> Result<u64, RefuseReason> {
        self.outputs.clear();
        self.message(from, message);
        let answer = self.outputs.iter().find_map(|output| match output {
            Output::Send { to, message: Message::Accept { ticket, .. } } if *to == from => Some(Ok(*ticket)),
            Output::Send { to, message: Message::Refuse { reason, .. } } if *to == from => Some(Err(*reason)),
            _ => None,
        });
        answer.expect("every request is answered")
    }

    /// Asks, and opens the stream.
    pub fn take(&mut self, from: PeerId) -> u64 {
        let ticket = self.ask(from, join(1)).expect("a free slot");
        self.input(Input::ChildOpened { peer: from, ticket });
        ticket
    }

    /// The last `Join` to a peer: its request, height, need, and whether it is a repair.
    pub fn asked(&self, parent: PeerId) -> Option<(u64, u8, Option<u64>, bool)> {
        self.outputs.iter().rev().find_map(|output| match output {
            Output::Send { to, message: Message::Join { request, height, need, repair, .. } } if *to == parent => {
                Some((*request, *height, *need, *repair))
            }
            _ => None,
        })
    }

    /// The ticket that was last promised to a peer, or opened from it.
    pub fn ticket_of(&self, peer: PeerId) -> Option<u64> {
        self.outputs.iter().rev().find_map(|output| match output {
            Output::Send { to, message: Message::Accept { ticket, .. } } if *to == peer => Some(*ticket),
            Output::Open { parent, ticket, .. } if *parent == peer => Some(*ticket),
            _ => None,
        })
    }

    /// Slots are never given beyond the capacity.
    pub fn check_slots(&mut self) {
        let used = self.slots.used();
        assert!(used <= self.slots.capacity().max(self.used_before), "{used} slots used");
        self.used_before = used;
    }

    /// Everyone who was asked, in order.
    pub fn all_asked(&self) -> Vec<PeerId> {
        let asked = |output: &Output| match output {
            Output::Send { to, message: Message::Join { .. } } => Some(*to),
            _ => None,
        };
        self.outputs.iter().filter_map(asked).collect()
    }

    pub fn sent(&self, to: PeerId, message: Message) -> bool {
        self.outputs.contains(&Output::Send { to, message })
    }

    /// The peer that was asked refuses.
    pub fn refused_by(&mut self, from: PeerId, reason: RefuseReason, try_instead: &[PeerId]) {
        let request = self.asked(from).expect("it was asked").0;
        self.message(from, Message::Refuse { request, reason, try_instead: try_instead.to_vec() });
    }
}

pub fn accept(request: u64, path: &[PeerId], ticket: u64) -> Message {
    Message::Accept {
        request,
        ticket,
        path: path.to_vec(),
        source: SOURCE,
        origin_age_ms: 0,
        backups: Vec::new(),
        settings: LinkSettings::default(),
    }
}
