//! One search for a parent: choose, connect, ask, open; next, if that fails.
//!
//! One request is outstanding at a time. The former parent, if it is still there, is given up only
//! when the stream of the new one works (A8).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use banyan_gossip::PeerId;

use crate::{
    Context, DetachReason, LinkSettings, Message, MoveReason, Output, Source, StuckReason, Tree, source::OriginAge,
    upstream::NotAsked,
};

/// A search for a parent.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) reason: MoveReason,
    pub(crate) phase: Phase,
    pub(crate) started: Instant,
    pub(crate) tries: u32,
    /// Tries since the last wait.
    pub(crate) burst: u32,
    /// Whom to ask first: who was named by others, backups.
    pub(crate) hints: VecDeque<PeerId>,
    /// Whom to ask then: drawn from the table.
    pub(crate) drawn: VecDeque<PeerId>,
    /// Greatest depth that the new parent may have.
    pub(crate) deepest: u8,
    /// Somebody no longer held what this node needs.
    pub(crate) behind: bool,
    /// Nobody held it: whatever comes will do, the gap is reported.
    pub(crate) any_object: bool,
    /// Why the last candidate could not be had.
    pub(crate) last_failure: Option<StuckReason>,
    /// Height that the peer being asked was told.
    pub(crate) told_height: u8,
}

/// How far a search has come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Nobody can be asked.
    Waiting { until: Instant },
    /// A link is awaited.
    Connecting { peer: PeerId, until: Instant },
    /// An answer is awaited.
    Asked { peer: PeerId, request: u64, until: Instant },
    /// A slot is reserved, the data stream is being opened, or on trial.
    Opening(Box<Opening>),
}

/// The session-to-be with a parent that has accepted.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) peer: PeerId,
    pub(crate) ticket: u64,
    pub(crate) path: Vec<PeerId>,
    pub(crate) source: Source,
    pub(crate) age: OriginAge,
    pub(crate) siblings: Vec<PeerId>,
    pub(crate) settings: LinkSettings,
    pub(crate) deadline: Instant,
    /// When its stream opened, if the former parent may still speak up: until then this one is on
    /// trial. Both feed this node, and whatever comes twice is dropped.
    pub(crate) trial: Option<Instant>,
    /// The object that came next when the trial of one beside a parent that brings nothing began, and
    /// whether this one has brought it.
    pub(crate) known: u64,
    pub(crate) brings: bool,
}

/// Most hints kept.
pub(crate) const HINTS_MAX: usize = 16;
/// Most requests whose late answers are still welcome.
const LATE_MAX: usize = 4;
/// How long a link may take to come up while the stream waits; then somebody else is asked.
const CONNECT_IN_REPAIR: Duration = Duration::from_millis(500);
/// What a link without a measured round-trip time is granted.
const RTT_GRANT: Duration = Duration::from_millis(100);

impl Phase {
    pub(crate) fn deadline(&self) -> Instant {
        match self {
            Self::Waiting { until } | Self::Connecting { until, .. } | Self::Asked { until, .. } => *until,
            Self::Opening(opening) => opening.deadline,
        }
    }

    /// Who is being asked.
    pub(crate) fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Waiting { .. } => None,
            Self::Connecting { peer, .. } | Self::Asked { peer, .. } => Some(*peer),
            Self::Opening(opening) => Some(opening.peer),
        }
    }
}

impl Tree {
    // --- Begin and end -----------------------------------------------------------------------

    /// Looks for a parent, or goes on looking for a new reason.
    pub(crate) fn seek(&mut self, now: Instant, cx: &mut Context<'_>, reason: MoveReason) {
        self.seek_among(now, cx, reason, Vec::new());
    }

    /// As [`Tree::seek`], and asks these first.
    pub(crate) fn seek_among(&mut self, now: Instant, cx: &mut Context<'_>, reason: MoveReason, hints: Vec<PeerId>) {
        self.begin_attempt(now, cx, reason, u8::MAX, hints);
    }

    pub(crate) fn begin_attempt(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        reason: MoveReason,
        deepest: u8,
        mut hints: Vec<PeerId>,
    ) {
        if !self.may_seek() {
            return;
        }
        if self.is_repair(reason) {
            hints.extend(self.ranked_backups(cx));
        }
        hints.truncate(HINTS_MAX);
        let Some(attempt) = self.upstream.attempt.as_mut() else {
            self.upstream.attempt = Some(Attempt {
                reason,
                phase: Phase::Waiting { until: now },
                started: now,
                tries: 0,
                burst: 0,
                hints: hints.into(),
                drawn: VecDeque::new(),
                deepest,
                behind: false,
                any_object: false,
                last_failure: None,
                told_height: 0,
            });
            return self.next_try(now, cx);
        };
        // A silent parent that is lost then: the search began with the silence.
        if attempt.reason != MoveReason::ParentSilent {
            attempt.started = now;
        }
        (attempt.reason, attempt.deepest, attempt.hints) = (reason, deepest, hints.into());
        attempt.drawn.clear();
        attempt.burst = 0;
        match &mut attempt.phase {
            Phase::Waiting { .. } => self.next_try(now, cx),
            Phase::Asked { until, .. } => *until = (*until).min(now + self.config.repair_timeout + RTT_GRANT),
            Phase::Opening(opening) if opening.trial.is_some() => self.adopt_parent(now, cx),
            Phase::Connecting { .. } | Phase::Opening(_) => {}
        }
    }

    /// Gives a search up. What was promised to this node meanwhile is given back.
    pub(crate) fn cancel_attempt(&mut self, cx: &Context<'_>) {
        self.upstream.late.clear();
        if let Some(Attempt { phase: Phase::Opening(opening), .. }) = self.upstream.attempt.take() {
            self.give_back(cx, &opening);
        }
    }

    fn give_back(&mut self, cx: &Context<'_>, opening: &Opening) {
        // The parent that was silent for a moment feeds this node as before.
        if opening.trial.is_some() && self.upstream.parent.is_some() {
            return self.part_from(opening.peer, opening.ticket);
        }
        self.push(Output::Close { parent: opening.peer, ticket: opening.ticket, owed: true });
        self.decline(cx, opening, DetachReason::Cancelled);
    }

    pub(crate) fn decline(&mut self, cx: &Context<'_>, opening: &Opening, reason: DetachReason) {
        if cx.links.linked(&opening.peer) {
            self.send(opening.peer, Message::Detach { ticket: opening.ticket, reason });
        }
    }

    pub(crate) fn opening(&self) -> Option<&Opening> {
        match self.upstream.attempt.as_ref().map(|attempt| &attempt.phase) {
            Some(Phase::Opening(opening)) => Some(opening),
            _ => None,
        }
    }

    pub(crate) fn opening_mut(&mut self) -> Option<&mut Opening> {
        match self.upstream.attempt.as_mut().map(|attempt| &mut attempt.phase) {
            Some(Phase::Opening(opening)) => Some(opening),
            _ => None,
        }
    }

    pub(crate) fn is_opening(&self, peer: PeerId, ticket: u64) -> bool {
        match self.upstream.attempt.as_ref().map(|attempt| &attempt.phase) {
            Some(Phase::Opening(opening)) => opening.peer == peer && opening.ticket == ticket,
            _ => false,
        }
    }

    // --- Connect, ask ------------------------------------------------------------------------

    pub(crate) fn approach(&mut self, now: Instant, cx: &mut Context<'_>, peer: PeerId) {
        let Some(reason) = self.upstream.attempt.as_ref().map(|attempt| attempt.reason) else {
            return;
        };
        let hurry = if self.is_repair(reason) { CONNECT_IN_REPAIR } else { Duration::MAX };
        let Some(attempt) = self.upstream.attempt.as_mut() else {
            return;
        };
        attempt.burst += 1;
        if cx.links.linked(&peer) {
            return self.ask(now, cx, peer);
        }
        attempt.phase = Phase::Connecting { peer, until: now + self.config.connect_timeout.min(hurry) };
        self.push(Output::Connect { peer });
    }

    pub(crate) fn ask(&mut self, now: Instant, cx: &Context<'_>, peer: PeerId) {
        let height = self.height();
        let need = self.ring.map(|(_, next)| next);
        let (source, request) = (self.source, self.rng.u64(1..));
        let Some(reason) = self.upstream.attempt.as_ref().map(|attempt| attempt.reason) else {
            return;
        };
        let repair = self.is_repair(reason);
        let rtt = cx.links.rtt(&peer).unwrap_or(RTT_GRANT);
        let patience = if repair { self.config.repair_timeout + rtt } else { self.config.join_timeout };
        self.upstream.late.retain(|(asked, _)| *asked != peer);
        let Some(attempt) = self.upstream.attempt.as_mut() else {
            return;
        };
        attempt.tries += 1;
        attempt.told_height = height;
        attempt.phase = Phase::Asked { peer, request, until: now + patience };
        let need = if attempt.any_object { None } else { need };
        // Whoever asks anew has given up its former session there.
        self.close_given_up(Some(peer));
        self.send(peer, Message::Join { request, source, height, need, repair });
    }

    /// The peer being asked cannot be the parent now.
    pub(crate) fn fail_target(&mut self, now: Instant, cx: &mut Context<'_>) {
        let Some(attempt) = self.upstream.attempt.as_mut() else {
            return;
        };
        let phase = std::mem::replace(&mut attempt.phase, Phase::Waiting { until: now });
        if let Phase::Asked { peer, request, .. } = phase {
            self.upstream.late.push_back((peer, request));
            if self.upstream.late.len() > LATE_MAX {
                self.upstream.late.pop_front();
            }
        }
        if let Some(peer) = phase.peer() {
            attempt.last_failure = Some(StuckReason::Unreachable);
            self.upstream.spend(now, peer, self.config.refused_for, NotAsked::Unreachable);
        }
        if let Phase::Opening(opening) = phase {
            self.give_back(cx, &opening);
        }
        self.next_try(now, cx);
    }

    pub(crate) fn on_connect_failed(&mut self, now: Instant, cx: &mut Context<'_>, peer: PeerId) {
        match self.upstream.attempt.as_ref().map(|attempt| &attempt.phase) {
            Some(Phase::Connecting { peer: wanted, .. }) if *wanted == peer => self.fail_target(now, cx),
            _ => {}
        }
    }

    pub(crate) fn on_attempt_timeout(&mut self, now: Instant, cx: &mut Context<'_>) {
        let doubts = self.doubts();
        match self.upstream.attempt.as_mut() {
            Some(attempt) if attempt.phase.deadline() <= now => match attempt.phase {
                Phase::Waiting { .. } => self.look(now, cx),
                Phase::Opening(ref opening) if opening.trial.is_some() && doubts => self.judge_parent(now, cx),
                // The silent parent was neither heard nor lost: the other one feeds this node.
                Phase::Opening(ref opening) if opening.trial.is_some() => self.adopt_parent(now, cx),
                _ => self.fail_target(now, cx),
            },
            _ => {}
        }
    }

    /// Whoever waits looks again.
    pub(crate) fn wake_attempt(&mut self, now: Instant, cx: &mut Context<'_>) {
        if let Some(attempt) = self.upstream.attempt.as_mut().filter(|a| matches!(a.phase, Phase::Waiting { .. })) {
            attempt.burst = 0;
            self.next_try(now, cx);
        }
    }
}
