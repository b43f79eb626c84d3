//! The machine that keeps the table.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Keys, PeerId, Presence, Row,
    io::{Applied, Config, Event, Input, LocalPeer, Output, Reason},
    message::Message,
    op::{INCARNATION_MAX, Op, OpId, SignedOp},
    own_row::OwnRow,
    recent::Recent,
    suspicion::Suspicions,
    sync::{Shared, ops_messages},
    table::{Entry, PeerTable, Status},
};

mod liveness;
mod push;

use liveness::Health;
use push::Push;

/// What an author may still publish: a token an op.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: u32,
    filled: Instant,
}

/// The machine that keeps the table.
pub struct Gossip {
    me: PeerId,
    incarnation: u64,
    version: u64,
    presence: Presence,
    config: Config,
    keys: Arc<dyn Keys>,
    rng: fastrand::Rng,
    table: PeerTable,
    own: OwnRow,
    push: Push,
    suspicions: Suspicions,
    health: Health,
    sync_at: Instant,
    bury_at: Instant,
    rates: BTreeMap<PeerId, Bucket>,
    turned_away: Recent,
    outputs: VecDeque<Output>,
}

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
        let table = PeerTable::new(rng.u64(..));
        Self {
            me: me.peer,
            incarnation: me.incarnation.min(INCARNATION_MAX),
            version: 0,
            presence: Presence::Alive,
            config,
            keys,
            rng,
            table,
            own: OwnRow::new(),
            push: Push::default(),
            suspicions: Suspicions::default(),
            health: Health::new(now),
            sync_at,
            bury_at: now + BURY_INTERVAL,
            rates: BTreeMap::new(),
            turned_away: Recent::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Everyone known, oneself included.
    #[must_use]
    pub const fn table(&self) -> &PeerTable {
        &self.table
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
                self.push.add_link(peer);
                self.clear_suspicion(now, peer);
                self.tell_accusation(peer);
                self.open_sync(now, peer);
            }
            Input::LinkDown { peer, graceful } => {
                if self.push.remove_link(&peer) {
                    self.find_feeds();
                    self.stop_sparing(now, peer);
                    if !graceful {
                        self.lose_touch(now, peer);
                    }
                }
            }
            Input::Unreachable { peer } => {
                if !self.push.is_linked(&peer) {
                    self.lose_touch(now, peer);
                }
            }
            Input::Message { from, message } => self.on_message(now, from, message),
            Input::Update(body) => self.own.update(now, body, self.config.row_interval),
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
        let optional = [self.push.due(), self.own.due(), self.suspicions.deadline()];
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
            if let Some(peer) = self.rng.choice(self.push.links().collect::<Vec<_>>()) {
                let message = self.shared(now).root();
                self.send(peer, message);
            }
        }
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
            Message::Ops(ops) => {
                for op in ops {
                    self.apply(now, Some(from), op);
                }
                return;
            }
            Message::Root(sum) => self.shared(now).answer_root(sum).into_iter().collect(),
            Message::Buckets(sums) => self.shared(now).answer_buckets(&sums),
            Message::Digest(digest) => self.shared(now).answer_digest(&digest),
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
        Shared::new(&self.table, self.config.full_digest_max)
    }

    fn open_sync(&mut self, now: Instant, peer: PeerId) {
        let message = self.shared(now).opening();
        self.send(peer, message);
    }

    /// Sees to it that enough links feed this node, if there are as many.
    fn find_feeds(&mut self) {
        while let Some(peer) = self.push.lacks_feed(self.config.feeds, &mut self.rng) {
            self.graft(peer);
        }
    }

    fn graft(&mut self, peer: PeerId) {
        self.push.graft(&peer);
        self.send(peer, Message::Graft);
    }

    // --- Ops ---------------------------------------------------------------------------------

    /// Takes an op, and passes it on if it is news.
    pub fn apply(&mut self, now: Instant, from: Option<PeerId>, signed: SignedOp) -> Applied {
        let Some(op) = signed.op() else {
            return Applied::Rejected(Reason::Malformed);
        };
        if !op.is_within_bounds() {
            return Applied::Rejected(Reason::OutOfBounds);
        }
        let id = op.id();
        let applied = self.take(now, from, op, &signed);
        if let Some(from) = from {
            self.judge_feed(now, from, id, applied);
        }
        applied
    }

    /// Prunes a link that brings what enough others have brought, and grafts one that brings by
    /// anti-entropy what the others should have pushed.
    fn judge_feed(&mut self, now: Instant, from: PeerId, id: OpId, applied: Applied) {
        match applied {
            Applied::Applied if self.push.on_first(now, &from, id) => self.graft(from),
            Applied::AlreadySeen | Applied::Stale if self.push.on_copy(now, &from, id, self.config.feeds) => {
                self.send(from, Message::Prune);
            }
            _ => {}
        }
    }

    fn take(&mut self, now: Instant, from: Option<PeerId>, op: &Op, signed: &SignedOp) -> Applied {
        // What is known need not be verified.
        match self.is_news(op, signed) {
            Applied::Applied => {}
            known => {
                self.contradict(from, op);
                return known;
            }
        }
        let author = op.id().author;
        if !signed.is_signed_by(&author, &self.config.mesh, &*self.keys) {
            return Applied::Rejected(Reason::BadSignature);
        }
        if from.is_some() && !self.take_token(now, author) {
            return Applied::Rejected(Reason::RateLimited);
        }
        if self.lacks_room_for(op) {
            return Applied::Rejected(Reason::Full);
        }
        self.contradict(from, op);
        match op {
            Op::Row(row) if row.peer == self.me => self.outbid(now, row.incarnation),
            Op::Row(row) => self.take_row(now, row, signed),
            Op::Suspicion(claim) | Op::Death(claim) if claim.suspect == self.me => {
                self.outbid(now, claim.suspect_incarnation);
            }
            Op::Suspicion(claim) => return self.take_suspicion(now, claim, signed),
            Op::Death(claim) => self.take_death(now, claim, signed),
        }
        Applied::Applied
    }

    /// Whether it speaks of a dead peer that is not known, of whom there are enough.
    fn lacks_room_for(&self, op: &Op) -> bool {
        let (tombstones, most) = self.table.tombstones();
        let (dead, subject) = match op {
            Op::Row(row) => (row.presence == Presence::Left, row.peer),
            Op::Death(claim) => (claim.suspect != self.me, claim.suspect),
            Op::Suspicion(_) => return false,
        };
        dead && tombstones >= most && self.table.entry(&subject).is_none()
    }

    /// Whoever sends the row of a peer that is dead does not know it yet.
    fn contradict(&mut self, from: Option<PeerId>, op: &Op) {
        if let (Op::Row(row), Some(to)) = (op, from)
            && let Some((claim, signed)) = self.table.entry(&row.peer).and_then(Entry::death)
            && claim.suspect_incarnation >= row.incarnation
            && self.push.is_linked(&to)
        {
            let message = Message::Ops(vec![signed.clone()]);
            self.send(to, message);
        }
    }

    fn is_news(&self, op: &Op, signed: &SignedOp) -> Applied {
        let entry = |peer| self.table.entry(peer);
        let (new, known) = match op {
            Op::Row(row) if row.peer == self.me => ((row.incarnation, row.version), (self.incarnation, self.version)),
            Op::Row(row) => {
                let Some(known) = entry(&row.peer).filter(|entry| entry.row().is_some()) else {
                    let seen = self.turned_away.contains(signed.fingerprint());
                    return if seen { Applied::AlreadySeen } else { Applied::Applied };
                };
                ((row.incarnation, row.version), known.row_version())
            }
            Op::Suspicion(claim) | Op::Death(claim) if claim.suspect == self.me => {
                let covers = claim.suspect_incarnation >= self.incarnation && self.presence == Presence::Alive;
                return if covers { Applied::Applied } else { Applied::Stale };
            }
            Op::Suspicion(claim) => {
                let covers = match self.table.status(&claim.suspect) {
                    Some(Status::Dead | Status::Left) | None => false,
                    Some(_) => entry(&claim.suspect).is_some_and(|e| e.row_version().0 <= claim.suspect_incarnation),
                };
                return if covers { Applied::Applied } else { Applied::Stale };
            }
            Op::Death(claim) => {
                let new = Some(claim.suspect_incarnation);
                let known = entry(&claim.suspect);
                if known.is_some_and(|known| new < Some(known.row_version().0)) {
                    return Applied::Stale;
                }
                return match new.cmp(&known.and_then(|known| known.death_incarnation())) {
                    std::cmp::Ordering::Greater => Applied::Applied,
                    std::cmp::Ordering::Equal => Applied::AlreadySeen,
                    std::cmp::Ordering::Less => Applied::Stale,
                };
            }
        };
        match new.cmp(&known) {
            std::cmp::Ordering::Greater => Applied::Applied,
            std::cmp::Ordering::Equal => Applied::AlreadySeen,
            std::cmp::Ordering::Less => Applied::Stale,
        }
    }

    fn take_row(&mut self, now: Instant, row: &Row, signed: &SignedOp) {
        let (peer, incarnation) = (row.peer, row.incarnation);
        let before = self.table.status(&peer);
        if before.is_none() && row.presence == Presence::Alive && !self.make_room(&peer, signed) {
            self.push_later(now, signed);
            return;
        }
        let reborn = self.table.entry(&peer).is_some_and(|entry| entry.row_version().0 < incarnation);
        self.table.merge_row(now, signed.clone());
        if reborn {
            self.suspicions.forget(&peer);
        }
        let live_before = before.is_some_and(Status::is_live);
        match self.table.status(&peer) {
            Some(Status::Left) if live_before => {
                self.suspicions.forget(&peer);
                self.event(Event::Left { peer });
            }
            Some(Status::Alive) if before == Some(Status::Suspect) => self.event(Event::Refuted { peer }),
            Some(Status::Alive | Status::Suspect) if !live_before => self.event(Event::Joined { peer, incarnation }),
            Some(Status::Alive | Status::Suspect) => self.event(Event::Updated { peer }),
            _ => {}
        }
        self.push_later(now, signed);
    }

    /// Somebody speaks of this node under an incarnation that is not below its own: rise above it.
    fn outbid(&mut self, now: Instant, incarnation: u64) {
        self.incarnation = incarnation.saturating_add(1).min(INCARNATION_MAX);
        self.version = 0;
        self.outputs.push_back(Output::PersistIncarnation(self.incarnation));
        self.own.hurry(now);
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
            None => {}
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
            self.push.queue(now, self.config.coalesce, op.id(), signed.clone());
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

    // --- Bounds ------------------------------------------------------------------------------

    fn take_token(&mut self, now: Instant, author: PeerId) -> bool {
        let (rate, burst) = self.config.author_rate;
        let bucket = self.rates.entry(author).or_insert(Bucket { tokens: burst, filled: now });
        let since = now.saturating_duration_since(bucket.filled);
        let grown = u32::try_from(since.as_millis() * u128::from(rate) / 1000).unwrap_or(burst);
        if grown > 0 {
            *bucket = Bucket { tokens: bucket.tokens.saturating_add(grown).min(burst), filled: now };
        }
        let allowed = bucket.tokens > 0;
        bucket.tokens = bucket.tokens.saturating_sub(1);
        allowed
    }

    /// Whether a row of a peer that is not known gets a place. In a full table few do, for which
    /// others drawn at random go; links always do and never go. The rest is only passed on, and
    /// remembered for a while: each copy would be news again, and go round for ever.
    fn make_room(&mut self, newcomer: &PeerId, signed: &SignedOp) -> bool {
        // This node's own row is not counted.
        if self.table.live_len() <= self.config.table_rows_max {
            return true;
        }
        self.turned_away.insert(signed.fingerprint());
        if !self.push.is_linked(newcomer) && self.rng.u8(..16) != 0 {
            return false;
        }
        let live = self.table.iter_live().map(|row| row.peer);
        let spare: Vec<PeerId> = live.filter(|peer| *peer != self.me && !self.push.is_linked(peer)).collect();
        if let Some(peer) = self.rng.choice(spare) {
            self.suspicions.forget(&peer);
            if let Some(signed) = self.table.entry(&peer).and_then(Entry::signed_row) {
                self.turned_away.insert(signed.fingerprint());
            }
            self.table.remove(&peer);
        }
        true
    }

    /// Forgets tombstones whose life is over, and the oldest of more than twice the live rows.
    fn bury(&mut self, now: Instant) {
        self.table.forget(now, self.config.tombstone_life);
        let (_, burst) = self.config.author_rate;
        self.rates
            .retain(|_, bucket| bucket.tokens < burst && now.saturating_duration_since(bucket.filled) < BURY_INTERVAL);
    }
}

fn draw(rng: &mut fastrand::Rng, (least, most): (Duration, Duration)) -> Duration {
    least + (most - least).mul_f64(rng.f64())
}
