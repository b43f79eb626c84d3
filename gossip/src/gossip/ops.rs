//! Ops: which are news, and what they change.

use std::{cmp::Ordering, time::Instant};

use super::{Gossip, push::mark};
use crate::{
    PeerId, Presence, Row,
    io::{Applied, Event, Offence, Output, Reason},
    message::Message,
    op::{INCARNATION_MAX, Op, SignedOp},
    table::{Entry, Merged, Status},
};

impl Gossip {
    /// Takes an op, and passes it on if it is news.
    pub fn apply(&mut self, now: Instant, from: Option<PeerId>, signed: SignedOp) -> Applied {
        match signed.read() {
            Ok(op) => self.apply_marked(now, from, op, &signed, mark(self.salt, &op.id())),
            Err(reason) => Applied::Rejected(reason),
        }
    }

    /// Takes the ops of a message.
    pub(super) fn apply_all(&mut self, now: Instant, from: PeerId, ops: &[SignedOp]) {
        // What is known of a crowd's ops lies anywhere in memory. Looked up in a row, it is fetched side by side: a
        // simulated crowd of a thousand takes 7 % longer without.
        let readable = ops.iter().filter_map(|signed| Some((signed, signed.op()?)));
        let marked: Vec<_> = readable.map(|(signed, op)| (signed, op, mark(self.salt, &op.id()))).collect();
        let full = self.is_full();
        let outside =
            |op: &Op| full && self.outside.newest(subject(op)).is_some() | self.rates.is_taken(&op.id().author);
        std::hint::black_box(marked.iter().filter(|(_, op, mark)| self.push.has_heard(*mark) || outside(op)).count());
        for (signed, op, mark) in marked {
            let applied = self.apply_marked(now, Some(from), op, signed, mark);
            if applied == Applied::Rejected(Reason::BadSignature) {
                // Nothing else that it says is worth the time.
                break;
            }
        }
    }

    fn apply_marked(&mut self, now: Instant, from: Option<PeerId>, op: &Op, signed: &SignedOp, mark: u64) -> Applied {
        let author = op.id().author;
        // Most of what comes in is a copy, and most copies end here. Who introduces itself may have been
        // heard of and not have got a place in a table that is full.
        let asked_for = || matches!(op, Op::Row(row) if self.is_asked_for(row));
        let copy = from != Some(author) && self.push.has_heard(mark) && !asked_for();
        let applied = if copy { Applied::AlreadySeen } else { self.take(now, from, op, signed) };
        if let (Some(from), Applied::Rejected(reason)) = (from, applied) {
            self.note_offence(now, from, author, reason);
        }
        if let Some(from) = from {
            self.judge_feed(now, from, &author, mark, applied);
        }
        applied
    }

    /// Whoever sent what is not signed is at fault, and the author who sent too much. What others send in its
    /// name beyond its rate was not verified, and says nothing of anybody.
    fn note_offence(&mut self, now: Instant, from: PeerId, author: PeerId, reason: Reason) {
        let (peer, offence) = match reason {
            Reason::BadSignature => (from, Offence::ForgedOp),
            Reason::RateLimited if from == author => (author, Offence::OpFlood),
            _ => return,
        };
        if self.offences.note(now, peer, offence) {
            self.event(Event::Misbehaved { peer, offence });
        }
    }

    /// Prunes a link that brings what enough others have brought, and grafts one that brings by
    /// anti-entropy what the others should have pushed.
    fn judge_feed(&mut self, now: Instant, from: PeerId, author: &PeerId, mark: u64, applied: Applied) {
        match applied {
            Applied::Applied if self.push.on_first(now, &from, author, mark) => self.graft(from),
            Applied::AlreadySeen | Applied::Stale if self.push.on_copy(now, &from, author, mark, self.feeds()) => {
                self.send(from, Message::Prune);
            }
            _ => {}
        }
    }

    fn take(&mut self, now: Instant, from: Option<PeerId>, op: &Op, signed: &SignedOp) -> Applied {
        if let Op::UserEvent(event) = op {
            return self.take_user_event(now, event, signed);
        }
        let entry = self.table.entry(subject(op));
        let outside = self.is_full() && *subject(op) != self.me && entry.and_then(Entry::status).is_none();
        let news = if outside { self.is_news_outside(op) } else { self.is_news(op, entry) };
        let contradiction = entry.and_then(|entry| contradiction(op, entry)).cloned();
        // What is known need not be verified.
        if news != Applied::Applied {
            self.contradict(from, contradiction);
            return news;
        }
        let (author, rate) = (op.id().author, self.config.author_rate);
        // To verify is what a flood costs, and would be for nothing.
        if from.is_some() && !self.rates.allow(now, &author, rate) {
            return Applied::Rejected(Reason::RateLimited);
        }
        if !signed.is_signed_by(&author, &self.config.mesh, &*self.keys) {
            return Applied::Rejected(Reason::BadSignature);
        }
        // What is forged takes nothing from whom it names.
        if from.is_some() {
            self.rates.take(now, &author, rate);
        }
        if self.lacks_room_for(op) {
            return Applied::Rejected(Reason::Full);
        }
        self.contradict(from, contradiction);
        match op {
            _ if outside => self.take_outside(now, op, signed),
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
            // Events are in no table; they were taken above.
            Op::UserEvent(_) => {}
        }
        Applied::Applied
    }

    /// Whether it speaks of a dead peer that is not known, of whom there are enough.
    fn lacks_room_for(&self, op: &Op) -> bool {
        let (tombstones, most) = self.table.tombstones();
        let dead = match op {
            Op::Row(row) => row.presence == Presence::Left,
            Op::Death(_) => true,
            Op::Suspicion(_) | Op::UserEvent(_) => false,
        };
        let subject = subject(op);
        dead && tombstones >= most && *subject != self.me && self.table.entry(subject).is_none()
    }

    /// Whoever sends the row of a peer that is dead does not know it yet.
    fn contradict(&mut self, from: Option<PeerId>, contradiction: Option<SignedOp>) {
        if let (Some(to), Some(signed)) = (from, contradiction)
            && self.push.is_linked(&to)
        {
            self.send(to, Message::Ops(vec![signed]));
        }
    }

    /// `Applied` if it is. `entry`: what is held of the op's subject.
    fn is_news(&self, op: &Op, entry: Option<&Entry>) -> Applied {
        match op {
            Op::Row(row) => {
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
                let row = entry.filter(|entry| entry.is_live()).and_then(Entry::row);
                let covers = row.is_some_and(|row| row.incarnation <= claim.suspect_incarnation);
                if covers { Applied::Applied } else { Applied::Stale }
            }
            Op::Death(claim) if entry.is_some_and(|entry| claim.suspect_incarnation < entry.row_version().0) => {
                Applied::Stale
            }
            Op::Death(claim) => compare(Some(claim.suspect_incarnation), entry.and_then(Entry::death_incarnation)),
            Op::UserEvent(_) => Applied::Applied,
        }
    }

    pub(super) fn take_row(&mut self, now: Instant, row: &Row, signed: &SignedOp) {
        let (peer, incarnation) = (row.peer, row.incarnation);
        let Merged { before, reborn, after } = self.table.take_row(now, peer, signed.clone());
        if reborn {
            self.suspicions.forget(&peer);
        }
        let live_before = before.is_some_and(Status::is_live);
        match after {
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
        Op::UserEvent(event) => &event.id.author,
    }
}

/// What is held against an op that is the row of a peer: the certificate of its death.
fn contradiction<'a>(op: &Op, entry: &'a Entry) -> Option<&'a SignedOp> {
    let (Op::Row(row), (claim, signed)) = (op, entry.death()?) else {
        return None;
    };
    (claim.suspect_incarnation >= row.incarnation).then_some(signed)
}

fn compare<T: Ord>(new: T, known: T) -> Applied {
    match new.cmp(&known) {
        Ordering::Greater => Applied::Applied,
        Ordering::Equal => Applied::AlreadySeen,
        Ordering::Less => Applied::Stale,
    }
}
