//! The machine that keeps the table.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Keys, PeerId, Presence,
    io::{Config, Event, Input, LocalPeer, Output},
    message::Message,
    offences::Offences,
    op::{INCARNATION_MAX, Op, OpId, SignedOp},
    own_row::OwnRow,
    recent::Recent,
    suspicion::{Suspected, Suspicions},
    sync::{Shared, ops_messages},
    table::{Entry, PeerTable, Status},
};

mod liveness;
mod ops;
mod push;
mod rates;
mod user_events;
mod versions;
mod view;
mod wanted;

use liveness::Health;
use push::{News, Push, mark};
use rates::Rates;
use user_events::UserEvents;
use versions::Versions;
use wanted::Wanted;

/// The machine that keeps the table.
pub struct Gossip {
    me: PeerId,
    incarnation: u64,
    version: u64,
    presence: Presence,
    config: Config,
    keys: Arc<dyn Keys>,
    rng: fastrand::Rng,
    /// Drawn at the start, and told to nobody.
    salt: u64,
    table: PeerTable,
    own: OwnRow,
    push: Push,
    suspicions: Suspicions,
    health: Health,
    sync_at: Instant,
    /// Links that came up while this node was fed: when to compare tables over them.
    late_syncs: BTreeSet<(Instant, PeerId)>,
    bury_at: Instant,
    rates: Rates,
    /// What was heard of peers that have no place in the table.
    outside: Versions,
    /// Suspicions of such peers that were passed on.
    passed_on: Recent,
    user_events: UserEvents,
    wanted: Wanted,
    offences: Offences,
    outputs: VecDeque<Output>,
}

/// How long a comparison over a new link may wait if this node is fed.
const LATE_SYNC: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3));
/// Most comparisons that wait; beyond it they are made at once.
const LATE_SYNCS_MAX: usize = 1024;
/// Between two looks for tombstones whose life is over.
const BURY_INTERVAL: Duration = Duration::from_secs(10);

impl std::fmt::Debug for Gossip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gossip").field("me", &self.me).field("incarnation", &self.incarnation).finish_non_exhaustive()
    }
}

impl Gossip {
    /// A node that knows nobody yet.
    #[must_use]
    pub fn new(me: LocalPeer, config: Config, keys: Arc<dyn Keys>, mut rng: fastrand::Rng, now: Instant) -> Self {
        let sync_at = now + draw(&mut rng, config.sync_interval);
        let salt = rng.u64(..);
        Self {
            me: me.peer,
            incarnation: me.incarnation.min(INCARNATION_MAX),
            version: 0,
            presence: Presence::Alive,
            config,
            keys,
            rng,
            salt,
            table: PeerTable::new(salt),
            own: OwnRow::new(),
            push: Push::new(),
            suspicions: Suspicions::default(),
            health: Health::new(now),
            sync_at,
            late_syncs: BTreeSet::new(),
            bury_at: now + BURY_INTERVAL,
            rates: Rates::new(salt),
            outside: Versions::new(salt),
            passed_on: Recent::default(),
            user_events: UserEvents::new(now, salt),
            wanted: Wanted::default(),
            offences: Offences::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Everyone known, oneself included.
    #[must_use]
    pub const fn table(&self) -> &PeerTable {
        &self.table
    }

    /// The suspicion under which a peer is, if it is under one.
    #[must_use]
    pub fn suspicion(&self, peer: &PeerId) -> Option<Suspected> {
        self.suspicions.of(peer)
    }

    /// This node's incarnation.
    #[must_use]
    pub const fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Takes what happened.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        match input {
            Input::LinkUp { peer } => {
                self.on_link_up(now, peer);
            }
            Input::LinkDown { peer, graceful } => {
                if self.push.remove_link(&peer) {
                    self.find_feeds();
                    self.stop_sparing(now, peer);
                    if !graceful {
                        self.lose_touch(now, peer);
                    }
                    self.give_up_place();
                }
            }
            Input::Unreachable { peer } => {
                if !self.push.is_linked(&peer) {
                    self.lose_touch(now, peer);
                }
            }
            Input::Message { from, message } => self.on_message(now, from, message),
            Input::Update(body) => {
                self.own.update(now, body, self.config.row_interval);
                self.consider_asking(now);
            }
            Input::Leave => {
                self.presence = Presence::Left;
                self.own.hurry(now);
            }
        }
        self.publish_if_due(now);
        self.push_if_due(now);
    }

    /// When [`Gossip::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let late_sync = self.late_syncs.first().map(|(at, _)| *at);
        let optional = [self.push.due(), self.own.due(), self.suspicions.deadline(), late_sync, self.wanted.at];
        optional.into_iter().flatten().chain([self.sync_at, self.bury_at]).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late = self.poll_timeout().map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
        let starved = late > self.config.starved;
        self.health.on_timer(now, starved, self.config.suspicion.max);
        if starved {
            self.suspicions.extend(late);
        }
        while let Some((peer, incarnation, dead)) = self.suspicions.take_due(now) {
            if dead {
                self.declare_dead(now, peer, incarnation);
            }
        }
        if self.sync_at <= now {
            self.sync_at = now + draw(&mut self.rng, self.config.sync_interval);
            self.consider_asking(now);
            if let Some(peer) = self.rng.choice(self.push.links().collect::<Vec<_>>()) {
                let message = self.shared(now).root();
                self.send(peer, message);
                self.retell(now, peer);
            }
        }
        self.open_late_syncs(now);
        self.ask_if_due(now);
        if self.bury_at <= now {
            self.bury_at = now + BURY_INTERVAL;
            self.bury(now);
        }
        self.publish_if_due(now);
        self.push_if_due(now);
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    // --- Messages ----------------------------------------------------------------------------

    fn on_message(&mut self, now: Instant, from: PeerId, message: Message) {
        if !message.is_within_bounds() {
            return;
        }
        // Late words of a link that broke prove nothing.
        if self.push.is_linked(&from) && self.clear_suspicion(now, from) {
            self.tell_accusation(from);
        }
        let answers = match message {
            Message::Ops(ops) => return self.apply_all(now, from, &ops),
            Message::Root(sum) => self.shared(now).answer_root(sum).into_iter().collect(),
            Message::Buckets(sums) => self.shared(now).answer_buckets(&sums),
            Message::Digest(digest) => self.shared(now).answer_digest(&digest),
            Message::Want(tracks) => self.answer_want(&tracks),
            Message::Prune => {
                self.push.silence(&from);
                return;
            }
            Message::Graft => {
                if self.push.unsilence(&from) {
                    self.open_sync(now, from);
                }
                return;
            }
        };
        for message in answers {
            self.send(from, message);
        }
    }

    fn shared(&mut self, now: Instant) -> Shared<'_> {
        self.table.hush(now, self.config.tombstone_life / 2);
        let slice = self.is_full().then(|| self.rng.u8(..));
        Shared::new(&self.table, self.config.full_digest_max).sliced(slice)
    }

    fn on_link_up(&mut self, now: Instant, peer: PeerId) {
        let fed = self.push.feeding() >= self.feeds() && self.table.status(&peer) == Some(Status::Alive);
        self.push.add_link(peer);
        self.clear_suspicion(now, peer);
        self.tell_accusation(peer);
        self.introduce(peer);
        if !fed || self.late_syncs.len() >= LATE_SYNCS_MAX {
            return self.open_sync(now, peer);
        }
        // A node that is fed lacks nothing that could not wait. In a crowd that joins a tree, tables
        // differ all the time, and a comparison with everybody at once would drown the parents.
        self.push.prune(now, &peer);
        self.send(peer, Message::Prune);
        self.late_syncs.insert((now + draw(&mut self.rng, LATE_SYNC), peer));
    }

    fn open_late_syncs(&mut self, now: Instant) {
        while let Some((_, peer)) = self.late_syncs.first().copied().filter(|(at, _)| *at <= now) {
            self.late_syncs.pop_first();
            if self.push.is_linked(&peer) {
                let message = self.shared(now).root();
                self.send(peer, message);
                self.retell(now, peer);
            }
        }
    }

    fn open_sync(&mut self, now: Instant, peer: PeerId) {
        let message = self.shared(now).opening();
        self.send(peer, message);
        self.retell(now, peer);
    }

    /// Sends the own row: who is linked gets a place in the fullest table.
    fn introduce(&mut self, peer: PeerId) {
        if let Some(signed) = self.table.entry(&self.me).and_then(Entry::signed_row) {
            let message = Message::Ops(vec![signed.clone()]);
            self.send(peer, message);
        }
    }

    /// Links that are to feed this node: one less in a mesh so large that each copy counts.
    fn feeds(&self) -> usize {
        let large = self.table.live_len() > self.config.table_rows_max / 2;
        if large { self.config.feeds.saturating_sub(1).max(1) } else { self.config.feeds }
    }

    /// Sees to it that enough links feed this node, if there are as many.
    fn find_feeds(&mut self) {
        while let Some(peer) = self.push.lacks_feed(self.feeds(), &mut self.rng) {
            self.graft(peer);
        }
    }

    fn graft(&mut self, peer: PeerId) {
        self.push.graft(&peer);
        self.send(peer, Message::Graft);
    }

    // --- Publishing --------------------------------------------------------------------------

    fn next_id(&mut self) -> OpId {
        self.version += 1;
        OpId { author: self.me, incarnation: self.incarnation, version: self.version }
    }

    fn publish(&mut self, now: Instant, op: Op) {
        let signed = SignedOp::sign(op, &self.config.mesh, &*self.keys);
        match signed.op() {
            Some(Op::Row(_)) => {
                self.table.merge_row(now, signed.clone());
                self.push_later(now, &signed);
            }
            Some(Op::Suspicion(claim)) => drop(self.take_suspicion(now, claim, &signed)),
            Some(Op::Death(claim)) => self.take_death(now, claim, &signed),
            Some(Op::UserEvent(_)) | None => {}
        }
    }

    fn publish_if_due(&mut self, now: Instant) {
        if self.own.due().is_none_or(|at| at > now) {
            return;
        }
        self.own.publish(now);
        let id = self.next_id();
        let row = self.own.body.to_row(id, self.presence);
        self.publish(now, Op::Row(row));
        if self.presence == Presence::Left {
            self.push.hurry(now);
        }
    }

    fn push_later(&mut self, now: Instant, signed: &SignedOp) {
        if let Some(op) = signed.op() {
            let id = op.id();
            self.push.queue(
                now,
                self.config.coalesce,
                News { author: id.author, mark: mark(self.salt, &id), op: signed.clone() },
            );
        }
    }

    fn push_if_due(&mut self, now: Instant) {
        for (peer, news) in self.push.take_due(now, &self.me) {
            for message in ops_messages(news) {
                self.send(peer, message);
            }
        }
    }

    fn send(&mut self, to: PeerId, message: Message) {
        self.outputs.push_back(Output::Send { to, message });
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Forgets tombstones whose life is over, and the oldest of more than twice the live rows.
    fn bury(&mut self, now: Instant) {
        if self.table.forget(now, self.config.tombstone_life) {
            // A peer that was forgotten may come back with the very row that was heard of it then.
            self.push.forget_heard();
        }
    }
}

fn draw(rng: &mut fastrand::Rng, (least, most): (Duration, Duration)) -> Duration {
    least + (most - least).mul_f64(rng.f64())
}
