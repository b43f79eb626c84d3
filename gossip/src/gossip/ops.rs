//! Ops: which are news, and what they change.

use std::{cmp::Ordering, time::Instant};

use super::Gossip;
use crate::{
    PeerId, Presence, Row,
    io::{Applied, Event, Output, Reason},
    message::Message,
    op::{Claim, INCARNATION_MAX, Op, OpId, SignedOp},
    table::{Entry, Status},
};

impl Gossip {
    /// Takes an op, and passes it on if it is news.
    pub fn apply(&mut self, now: Instant, from: Option<PeerId>, signed: SignedOp) -> Applied {
        let Some(op) = signed.op() else {
            return Applied::Rejected(Reason::Malformed);
        };
        if !op.is_within_bounds() {
            return Applied::Rejected(Reason::OutOfBounds);
        }
        let applied = self.take(now, from, op, &signed);
        if let Some(from) = from {
            self.judge_feed(now, from, &op.id(), applied);
        }
        applied
    }

    /// Prunes a link that brings what enough others have brought, and grafts one that brings by
    /// anti-entropy what the others should have pushed.
    fn judge_feed(&mut self, now: Instant, from: PeerId, id: &OpId, applied: Applied) {
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
        match self.is_news(op) {
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
        if from.is_some() && !self.rates.take(now, author, self.config.author_rate) {
            return Applied::Rejected(Reason::RateLimited);
        }
        if self.lacks_room_for(op) {
            return Applied::Rejected(Reason::Full);
        }
        self.contradict(from, op);
        match op {
            _ if self.is_outside(subject(op)) => self.take_outside(now, op, signed),
            Op::Row(row) if row.peer == self.me => self.outbid(now, row.incarnation),
            Op::Row(row) => {
                self.take_row(now, row, signed);
                self.push_later(now, signed);
            }
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
        let dead = match op {
            Op::Row(row) => row.presence == Presence::Left,
            Op::Death(_) => true,
            Op::Suspicion(_) => false,
        };
        let subject = subject(op);
        dead && tombstones >= most && *subject != self.me && self.table.entry(subject).is_none()
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

    /// `Applied` if it is.
    fn is_news(&self, op: &Op) -> Applied {
        match op {
            _ if self.is_outside(subject(op)) => self.is_news_outside(op),
            Op::Row(row) => {
                let entry = self.table.entry(&row.peer);
                let known = match entry {
                    _ if row.peer == self.me => Some((self.incarnation, self.version)),
                    Some(entry) => entry.row().map(|_| entry.row_version()),
                    None => None,
                };
                compare(Some((row.incarnation, row.version)), known)
            }
            Op::Suspicion(claim) | Op::Death(claim) if claim.suspect == self.me => {
                let covers = claim.suspect_incarnation >= self.incarnation && self.presence == Presence::Alive;
                if covers { Applied::Applied } else { Applied::Stale }
            }
            Op::Suspicion(claim) => {
                let row = self.table.live(&claim.suspect);
                let covers = row.is_some_and(|row| row.incarnation <= claim.suspect_incarnation);
                if covers { Applied::Applied } else { Applied::Stale }
            }
            Op::Death(claim) => self.is_death_news(claim),
        }
    }

    fn is_death_news(&self, claim: &Claim) -> Applied {
        let entry = self.table.entry(&claim.suspect);
        if entry.is_some_and(|entry| claim.suspect_incarnation < entry.row_version().0) {
            return Applied::Stale;
        }
        compare(Some(claim.suspect_incarnation), entry.and_then(Entry::death_incarnation))
    }

    pub(super) fn take_row(&mut self, now: Instant, row: &Row, signed: &SignedOp) {
        let (peer, incarnation) = (row.peer, row.incarnation);
        let before = self.table.status(&peer);
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
    }

    /// Somebody speaks of this node under an incarnation that is not below its own: rise above it.
    fn outbid(&mut self, now: Instant, incarnation: u64) {
        self.incarnation = incarnation.saturating_add(1).min(INCARNATION_MAX);
        self.version = 0;
        self.outputs.push_back(Output::PersistIncarnation(self.incarnation));
        self.own.hurry(now);
    }
}

/// Whom an op is about.
const fn subject(op: &Op) -> &PeerId {
    match op {
        Op::Row(row) => &row.peer,
        Op::Suspicion(claim) | Op::Death(claim) => &claim.suspect,
    }
}

fn compare<T: Ord>(new: T, known: T) -> Applied {
    match new.cmp(&known) {
        Ordering::Greater => Applied::Applied,
        Ordering::Equal => Applied::AlreadySeen,
        Ordering::Less => Applied::Stale,
    }
}
