//! User events: what a person tells the whole mesh, once.
//!
//! They are in no table. Each node passes an event on when it hears it first, and keeps it for
//! [`LIFE`] to give it to the neighbour that it compares tables with, for that one may have missed it.
//! A node that has just started keeps none: what is news to it may be old, and would live on for as
//! long as nodes join.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Gossip, push::mark, rates::Rates};
use crate::{
    Message, PeerId,
    io::{Applied, Output, Reason},
    op::{Op, SignedOp, UserEvent, UserEventError},
    recent::Recent,
};

/// How long an event is kept for those who may have missed it.
const LIFE: Duration = Duration::from_secs(30);
/// Most events kept, of at most about 1 KiB each; beyond it the oldest is let go.
const KEPT_MAX: usize = 64;
/// Events that this node publishes: a second, and at once. Half of what others take of an author.
const OWN_RATE: (u32, u32) = (4, 32);
/// Events taken of one author.
const AUTHOR_RATE: (u32, u32) = (8, 64);

/// The user events of late.
#[derive(Debug)]
pub(super) struct UserEvents {
    started: Instant,
    seen: Recent,
    kept: VecDeque<(Instant, SignedOp)>,
    rates: Rates,
    own_rate: Rates,
}

impl UserEvents {
    /// None yet. The salt is secret.
    pub(super) fn new(now: Instant, salt: u64) -> Self {
        Self {
            started: now,
            seen: Recent::default(),
            kept: VecDeque::new(),
            rates: Rates::new(salt),
            own_rate: Rates::new(salt),
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.kept.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= LIFE) {
            self.kept.pop_front();
        }
    }

    fn keep(&mut self, now: Instant, signed: SignedOp) {
        self.expire(now);
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((now, signed));
    }
}

impl Gossip {
    /// Tells the whole mesh, this node included: an [`Output::UserEvent`] comes out at every node.
    ///
    /// # Errors
    /// [`UserEventError`]: nothing was told.
    pub fn tell(&mut self, now: Instant, name: String, payload: String) -> Result<UserEvent, UserEventError> {
        UserEvent::check(&name, &payload)?;
        if !self.user_events.own_rate.take(now, &self.me, OWN_RATE) {
            return Err(UserEventError::TooMany);
        }
        let event = UserEvent { id: self.next_id(), name, payload };
        let signed = SignedOp::sign(Op::UserEvent(event.clone()), &self.config.mesh, &*self.keys);
        self.user_events.seen.insert(mark(self.salt, &event.id));
        self.take_news(now, &event, signed);
        self.push_if_due(now);
        Ok(event)
    }

    /// Takes an event that came in.
    pub(super) fn take_user_event(&mut self, now: Instant, event: &UserEvent, signed: &SignedOp) -> Applied {
        let mark = mark(self.salt, &event.id);
        if event.id.author == self.me || self.user_events.seen.contains(mark) {
            return Applied::AlreadySeen;
        }
        if !self.user_events.rates.allow(now, &event.id.author, AUTHOR_RATE) {
            return Applied::Rejected(Reason::RateLimited);
        }
        if !signed.is_signed_by(&event.id.author, &self.config.mesh, &*self.keys) {
            return Applied::Rejected(Reason::BadSignature);
        }
        self.user_events.rates.take(now, &event.id.author, AUTHOR_RATE);
        self.user_events.seen.insert(mark);
        self.take_news(now, event, signed.clone());
        Applied::Applied
    }

    fn take_news(&mut self, now: Instant, event: &UserEvent, signed: SignedOp) {
        self.outputs.push_back(Output::UserEvent(event.clone()));
        self.push_later(now, &signed);
        let young = now.saturating_duration_since(self.user_events.started) < LIFE;
        if event.id.author == self.me || !young {
            self.user_events.keep(now, signed);
        }
    }

    /// Gives a peer the events that it may have missed.
    pub(super) fn retell(&mut self, now: Instant, peer: PeerId) {
        self.user_events.expire(now);
        if !self.user_events.kept.is_empty() {
            let ops = self.user_events.kept.iter().map(|(_, signed)| signed.clone()).collect();
            self.send(peer, Message::Ops(ops));
        }
    }
}
