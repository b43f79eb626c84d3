//! Suspicions and deaths: what is said of peers with whom somebody lost touch.

use std::time::{Duration, Instant};

use super::Gossip;
use crate::{
    PeerId, Presence, SuspicionConfig,
    io::{Applied, Event},
    message::Message,
    op::{Claim, Op, SignedOp},
    table::Status,
};

/// Most that a node may be behind.
const BEHIND_MAX: u32 = 8;

/// How well this node keeps time, as Lifeguard's local health (<https://arxiv.org/abs/1707.00788>):
/// who is late itself hears refutations late, and gives suspects more time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Health {
    /// 0 while its timers run on time.
    behind: u32,
    better_at: Instant,
}

impl Health {
    pub(super) const fn new(now: Instant) -> Self {
        Self { behind: 0, better_at: now }
    }

    /// A timer ran; after a `period` without a late one all is a little better.
    pub(super) fn on_timer(&mut self, now: Instant, late: bool, period: Duration) {
        if late {
            self.behind = (self.behind + 1).min(BEHIND_MAX);
        } else if now >= self.better_at {
            self.behind = self.behind.saturating_sub(1);
        } else {
            return;
        }
        self.better_at = now + period;
    }
}

impl Gossip {
    pub(super) fn stop_sparing(&mut self, now: Instant, peer: PeerId) {
        let before = self.table.status(&peer);
        self.table.unspare(now, peer);
        if before.is_some_and(Status::is_live) && self.table.status(&peer) == Some(Status::Dead) {
            self.suspicions.forget(&peer);
            let incarnation = self.table.entry(&peer).map_or(0, |entry| entry.row_version().0);
            self.event(Event::Died { peer, incarnation });
        }
    }

    /// This node has lost touch with a peer. It says so unless enough others have: more would say
    /// nothing new.
    pub(super) fn lose_touch(&mut self, now: Instant, peer: PeerId) {
        if self.presence == Presence::Left {
            return;
        }
        let Some(incarnation) = self.table.live(&peer).map(|row| row.incarnation) else {
            return;
        };
        let claim = self.claim(peer, incarnation);
        self.publish(now, Op::Suspicion(claim));
    }

    pub(super) fn declare_dead(&mut self, now: Instant, peer: PeerId, incarnation: u64) {
        if self.table.live(&peer).is_some_and(|row| row.incarnation <= incarnation) {
            let claim = self.claim(peer, incarnation);
            self.publish(now, Op::Death(claim));
        }
    }

    fn claim(&mut self, suspect: PeerId, suspect_incarnation: u64) -> Claim {
        Claim { id: self.next_id(), suspect, suspect_incarnation }
    }

    /// A peer is there after all. Returns whether it was under suspicion.
    pub(super) fn clear_suspicion(&mut self, now: Instant, peer: PeerId) -> bool {
        let cleared = self.suspicions.clear(now, &self.patience(), &peer);
        if cleared {
            self.table.set_suspect(now, peer, false);
            self.event(Event::Refuted { peer });
        }
        cleared
    }

    /// Tells a peer what is said of it, so that it refutes without delay.
    pub(super) fn tell_accusation(&mut self, peer: PeerId) {
        if let Some(signed) = self.suspicions.accusation(&peer) {
            let message = Message::Ops(vec![signed.clone()]);
            self.send(peer, message);
        }
    }

    /// How long suspects have.
    fn patience(&self) -> SuspicionConfig {
        self.config.suspicion.slowed(1 + self.health.behind)
    }

    pub(super) fn take_suspicion(&mut self, now: Instant, claim: &Claim, signed: &SignedOp) -> Applied {
        let (own, suspect) = (claim.id.author == self.me, claim.suspect);
        let patience = self.patience();
        let accused = self.suspicions.accuse(now, &patience, claim, signed, own, &mut self.rng);
        if accused.raised && !own && self.push.is_linked(&suspect) {
            // Our own link says that it is there.
            self.suspicions.clear(now, &patience, &suspect);
            self.tell_accusation(suspect);
        } else if accused.raised {
            self.table.set_suspect(now, suspect, true);
            self.event(Event::Suspected { peer: suspect, by: claim.id.author });
        }
        if !accused.news {
            return Applied::AlreadySeen;
        }
        self.push_later(now, signed);
        Applied::Applied
    }

    pub(super) fn take_death(&mut self, now: Instant, claim: &Claim, signed: &SignedOp) {
        let peer = claim.suspect;
        let before = self.table.status(&peer);
        let spare = self.push.is_linked(&peer);
        self.table.merge_death(now, signed.clone(), spare);
        match (before, self.table.status(&peer)) {
            (Some(Status::Alive | Status::Suspect), Some(Status::Dead)) => {
                self.suspicions.forget(&peer);
                self.event(Event::Died { peer, incarnation: claim.suspect_incarnation });
            }
            (Some(Status::Alive), Some(Status::Suspect)) => {
                self.event(Event::Suspected { peer, by: claim.id.author });
            }
            _ => {}
        }
        self.push_later(now, signed);
    }
}
